//! Tables that reach their cap. Entries of a table are never removed, so a full table answers for good, without a lock:
//! what is not in it will never be. Hot for whatever is above a cap.

#[cfg(all(test, tellane_loom))]
mod loom;

use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU32, Ordering};

/// Whether a table has all the entries that it will ever have.
#[derive(Debug)]
pub(crate) struct Closed(AtomicU32);

/// The answer of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look<T> {
    Found(T),
    /// Not there, and the table takes no further entries.
    Absent,
    /// Not there yet.
    Open,
}

impl Closed {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The table takes no further entries. The caller has made the last one, or has a lock under which it was made.
    pub(crate) fn close(&self) {
        // Release pairs with the Acquire below: a thread that sees a closed table sees every entry of it.
        self.0.store(1, if planted(Bug::RelaxedClose) { Ordering::Relaxed } else { Ordering::Release });
    }

    /// Looks an entry up by `find`. Of a closed table the answer is final.
    #[inline]
    pub(crate) fn look<T>(&self, find: impl Fn() -> Option<T>) -> Look<T> {
        if let Some(there) = find() {
            return Look::Found(there);
        }
        if self.0.load(Ordering::Acquire) == 0 {
            return Look::Open;
        }
        // Once more: the last entries may have been made between the first look and the closing.
        if !planted(Bug::SingleCheck)
            && let Some(there) = find()
        {
            return Look::Found(there);
        }
        Look::Absent
    }
}
