//! The instances of this process: found by number, and the installed one. Cold, but for [`global`].

use super::Instance;
use crate::sync::Arc;
use arc_swap::ArcSwapOption;
use std::sync::{OnceLock, Weak};

/// The instances of this process. Lock-free to read, since a child of a fork reads it too.
static INSTANCES: ArcSwapOption<Vec<Weak<Instance>>> = ArcSwapOption::const_empty();

/// Makes an instance known to [`find`].
pub(crate) fn enlist(instance: &Arc<Instance>) {
    INSTANCES.rcu(|known| {
        let alive = known.iter().flat_map(|known| known.iter()).filter(|other| other.strong_count() > 0);
        Some(Arc::new(alive.cloned().chain([Arc::downgrade(instance)]).collect::<Vec<_>>()))
    });
}

/// The registry of an instance that is still there. Spans carry the number only: a reference count for each would
/// cost more than the rest of the span.
pub(crate) fn find(instance: u32) -> Option<Arc<Instance>> {
    let known = INSTANCES.load();
    let mut alive = known.iter().flat_map(|known| known.iter()).filter_map(Weak::upgrade);
    alive.find(|other| other.lanes.instance == instance)
}

static GLOBAL: OnceLock<Arc<Instance>> = OnceLock::new();

/// The installed instance's registry; what statics record into.
#[inline(always)] // a static in a program that installs nothing is one look at this
pub(crate) fn global() -> Option<&'static Arc<Instance>> {
    GLOBAL.get()
}

/// Installs the global instance; `false` if there is one.
pub(crate) fn install_global(instance: &Arc<Instance>) -> bool {
    GLOBAL.set(Arc::clone(instance)).is_ok()
}
