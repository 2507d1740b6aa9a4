//! The list of the process's instances, and the installed one. Cold, except [`global`].

use super::Instance;
use crate::sync::Arc;
use arc_swap::ArcSwapOption;
use std::sync::{OnceLock, Weak};

/// The instances of this process. Lock-free to read, since a forked child reads it too.
static INSTANCES: ArcSwapOption<Vec<Weak<Instance>>> = ArcSwapOption::const_empty();

/// Adds an instance to the list that [`find`] searches.
pub(crate) fn enlist(instance: &Arc<Instance>) {
    INSTANCES.rcu(|known| {
        let alive = known.iter().flat_map(|known| known.iter()).filter(|other| other.strong_count() > 0);
        Some(Arc::new(alive.cloned().chain([Arc::downgrade(instance)]).collect::<Vec<_>>()))
    });
}

/// The instance of this number, if it still exists. Spans hold only the number: counting a reference for each span
/// would cost more than the rest of the span.
pub(crate) fn find(instance: u32) -> Option<Arc<Instance>> {
    let known = INSTANCES.load();
    let mut alive = known.iter().flat_map(|known| known.iter()).filter_map(Weak::upgrade);
    alive.find(|other| other.lanes.instance == instance)
}

static GLOBAL: OnceLock<Arc<Instance>> = OnceLock::new();

/// The installed instance, which statics record into.
#[inline(always)] // in a program that installs nothing, a static costs just this load
pub(crate) fn global() -> Option<&'static Arc<Instance>> {
    GLOBAL.get()
}

/// Installs the global instance; `false` if there is one already.
pub(crate) fn install_global(instance: &Arc<Instance>) -> bool {
    GLOBAL.set(Arc::clone(instance)).is_ok()
}
