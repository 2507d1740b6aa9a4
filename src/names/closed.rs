//! The closing of a table at its cap. Entries of a table are never removed, so the answer of a full table is final and
//! needs no lock: a missing entry will never be added. Hot for texts above a cap.

#[cfg(all(test, tellane_loom))]
mod loom;

use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU32, Ordering};

/// A flag that is set once a table takes no further entries.
#[derive(Debug)]
pub(crate) struct Closed(AtomicU32);

/// The result of a lookup in a table that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    Found(T),
    /// Missing, and the table takes no further entries.
    Absent,
    /// Missing so far.
    Open,
}

impl Closed {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Closes the table. The caller has made the last entry, or holds the lock under which it was made.
    pub(crate) fn close(&self) {
        // Release pairs with the Acquire in `lookup`: a thread that sees a closed table sees all its entries.
        self.0.store(1, if planted(Bug::RelaxedClose) { Ordering::Relaxed } else { Ordering::Release });
    }

    /// Looks an entry up with `find`. The answer of a closed table is final.
    #[inline]
    pub(crate) fn lookup<T>(&self, find: impl Fn() -> Option<T>) -> Lookup<T> {
        if let Some(there) = find() {
            return Lookup::Found(there);
        }
        if self.0.load(Ordering::Acquire) == 0 {
            return Lookup::Open;
        }
        // Again: the last entries may have been made between the first lookup and the closing.
        if !planted(Bug::SingleCheck)
            && let Some(there) = find()
        {
            return Lookup::Found(there);
        }
        Lookup::Absent
    }
}
