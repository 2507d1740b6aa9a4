//! The state of the re-entry guards of one thread; [`reentry`](super::reentry) uses it. Cold.

use std::cell::Cell;

/// This thread's guards.
pub(super) struct Guards {
    /// Inside [`without_recording`].
    pub(super) busy: Cell<bool>,
    /// Inside [`locked`].
    pub(super) locked: Cell<bool>,
    /// Runs when the outermost [`without_recording`] ends.
    pub(super) afterwards: Cell<Option<fn()>>,
}

impl Guards {
    pub(super) const fn new() -> Self {
        Self { busy: Cell::new(false), locked: Cell::new(false), afterwards: Cell::new(None) }
    }
}
