//! Guards against re-entry. The program's global allocator may record, and tellane allocates: what the allocator records
//! while this thread attaches, grows a row or holds a lock must not wait for that very thread. Cold.
//!
//! [`aside`] sends records to the shared counts. [`aside_once`] and [`locked`] also refuse what would need a lock;
//! [`afterwards`] runs what was refused once the thread is outside again.

use super::{HOT, NOWHERE, Near};
use std::cell::Cell;

/// This thread's guards.
pub(super) struct Guards {
    /// Inside [`aside`].
    busy: Cell<bool>,
    /// Inside [`locked`].
    locked: Cell<bool>,
    /// Runs when the outermost [`aside`] ends.
    afterwards: Cell<Option<fn()>>,
}

impl Guards {
    pub(super) const fn new() -> Self {
        Self { busy: Cell::new(false), locked: Cell::new(false), afterwards: Cell::new(None) }
    }
}

/// Runs `act`, which allocates or takes a lock. Meanwhile this thread is at no instance: its records go to the shared
/// counts as [`Reason::Reentrant`](crate::stats::Reason::Reentrant), where they wait for no lock and drop no seat that
/// a caller uses.
#[cold]
pub(crate) fn aside<R>(act: impl FnOnce() -> R) -> R {
    struct Back {
        base: u64,
        sample_base: u64,
        near: *const Near,
        cells_len: u64,
        inside: bool,
        busy: bool,
    }

    impl Drop for Back {
        fn drop(&mut self) {
            let afterwards = HOT.with(|hot| {
                hot.base.set(self.base);
                hot.sample_base.set(self.sample_base);
                hot.near.set(self.near);
                hot.cells_len.set(self.cells_len);
                hot.inside.set(self.inside);
                hot.guards.busy.set(self.busy);
                // Not while a panic unwinds: the next call of `aside` makes up for it.
                let is_outermost = !self.busy && !std::thread::panicking();
                if is_outermost { hot.guards.afterwards.take() } else { None }
            });
            if let Some(act) = afterwards {
                act();
            }
        }
    }

    let _back = HOT.with(|hot| Back {
        base: hot.base.replace(NOWHERE),
        sample_base: hot.sample_base.replace(NOWHERE),
        near: hot.near.replace(Near::nothing()),
        cells_len: hot.cells_len.replace(0),
        inside: hot.inside.replace(true),
        busy: hot.guards.busy.replace(true),
    });
    act()
}

/// Like [`aside`], but returns `None` when already inside one: what `act` needs may be locked, or half made, by a caller
/// further up this stack.
#[cold]
pub(crate) fn aside_once<R>(act: impl FnOnce() -> R) -> Option<R> {
    let busy = HOT.with(|hot| hot.guards.busy.get());
    (!busy).then(|| aside(act))
}

/// Runs `act`, which takes a lock of the registry. `None` if a caller further up this stack runs inside here: it may hold
/// that lock. The places that take the lock call this, so their callers need no guard of their own.
#[cold]
pub(crate) fn locked<R>(act: impl FnOnce() -> R) -> Option<R> {
    struct Unlock;

    impl Drop for Unlock {
        fn drop(&mut self) {
            HOT.with(|hot| hot.guards.locked.set(false));
        }
    }

    // Loom's threads share one operating system thread, and so its thread-local flag.
    if cfg!(not(tellane_loom)) && HOT.with(|hot| hot.guards.locked.replace(true)) {
        return None;
    }
    Some(aside(|| {
        let _unlock = Unlock; // before `aside` ends: what runs afterwards may take the lock
        act()
    }))
}

/// Runs `act` when this thread's outermost [`aside`] ends; a second one takes the place of the first.
pub(crate) fn afterwards(act: fn()) {
    HOT.with(|hot| hot.guards.afterwards.set(Some(act)));
}
