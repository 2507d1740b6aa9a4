//! Guards against re-entry. The program's global allocator may record, and tellane allocates: what the allocator
//! records while this thread attaches, grows a row or holds a lock must not wait for that very thread. Cold.
//!
//! [`without_recording`] sends records to the shared counts. [`try_without_recording`] and [`locked`] also refuse what
//! would need a lock; [`afterwards`] runs what was refused once the thread is outside again.

use super::attach::{LOCAL, NOWHERE};
use crate::lane::SlotCache;

/// Runs `act`, which allocates or takes a lock. Meanwhile this thread is attached to no instance: its records go to the
/// shared counts as [`Reason::Reentrant`](crate::stats::Reason::Reentrant), where they wait for no lock and drop no
/// attachment that a caller uses.
#[cold]
pub(crate) fn without_recording<R>(act: impl FnOnce() -> R) -> R {
    struct Back {
        base: u64,
        sample_base: u64,
        slot_cache: *const SlotCache,
        cells_len: u64,
        inside: bool,
        busy: bool,
    }

    impl Drop for Back {
        fn drop(&mut self) {
            let afterwards = LOCAL.with(|local| {
                local.base.set(self.base);
                local.sample_base.set(self.sample_base);
                local.slot_cache.set(self.slot_cache);
                local.cells_len.set(self.cells_len);
                local.inside.set(self.inside);
                local.guards.busy.set(self.busy);
                // Not while a panic unwinds: the next call of `without_recording` runs it instead.
                let is_outermost = !self.busy && !std::thread::panicking();
                if is_outermost { local.guards.afterwards.take() } else { None }
            });
            if let Some(act) = afterwards {
                act();
            }
        }
    }

    let _back = LOCAL.with(|local| Back {
        base: local.base.replace(NOWHERE),
        sample_base: local.sample_base.replace(NOWHERE),
        slot_cache: local.slot_cache.replace(SlotCache::empty()),
        cells_len: local.cells_len.replace(0),
        inside: local.inside.replace(true),
        busy: local.guards.busy.replace(true),
    });
    act()
}

/// Like [`without_recording`], but returns `None` when already inside one: what `act` needs may be locked, or half
/// made, by a caller further up this stack.
#[cold]
pub(crate) fn try_without_recording<R>(act: impl FnOnce() -> R) -> Option<R> {
    let busy = LOCAL.with(|local| local.guards.busy.get());
    (!busy).then(|| without_recording(act))
}

/// Runs `act`, which takes a lock of the registry. `None` if a caller further up this stack runs inside here: it may
/// hold that lock. The places that take the lock call this, so their callers need no guard of their own.
#[cold]
pub(crate) fn locked<R>(act: impl FnOnce() -> R) -> Option<R> {
    struct Unlock;

    impl Drop for Unlock {
        fn drop(&mut self) {
            LOCAL.with(|local| local.guards.locked.set(false));
        }
    }

    // Loom's threads share one operating system thread, and so its thread-local flag.
    if cfg!(not(tellane_loom)) && LOCAL.with(|local| local.guards.locked.replace(true)) {
        return None;
    }
    Some(without_recording(|| {
        let _unlock = Unlock; // before `without_recording` ends: what runs afterwards may take the lock
        act()
    }))
}

/// Runs `act` when this thread's outermost [`without_recording`] ends; a second one takes the place of the first.
pub(crate) fn afterwards(act: fn()) {
    LOCAL.with(|local| local.guards.afterwards.set(Some(act)));
}
