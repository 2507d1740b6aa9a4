//! The watcher of level changes, for a cache of levels kept elsewhere. Cold.

use super::LogTargets;

impl LogTargets {
    /// Sets the watcher: `act` is called after each change of levels, on the thread that made it. Only the first call
    /// has an effect: there is one kind of cache, the interest that `tracing` keeps for each of its callsites.
    pub(crate) fn watch(&self, act: fn()) {
        self.watcher.get_or_init(|| act);
    }
}
