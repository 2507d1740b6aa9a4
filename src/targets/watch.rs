//! Who keeps a copy of what levels say, and must hear of changes. Cold.

use super::LogTargets;

impl LogTargets {
    /// Calls `act` after each change of levels, on the thread that made it. The first to ask is the one that is called:
    /// there is one kind of copy, the interest that `tracing` keeps for each of its callsites.
    pub(crate) fn watch(&self, act: fn()) {
        self.watcher.get_or_init(|| act);
    }
}
