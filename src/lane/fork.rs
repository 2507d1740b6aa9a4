//! Finds out that this process is the child of a fork. Cold, except that the child's hook empties the hot pointer.
//!
//! The child has one thread, the one that forked, and no aggregator; locks that other threads held stay locked for
//! ever. So the hook touches no lock: it forgets this thread's lane and counts the fork. Everything cold compares
//! the count with the one its instance was made under before it takes a lock.

use crate::sync::fixed::{AtomicBool, AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between this process and the first one. Relaxed: written by the hook, when there is one thread.
pub(crate) fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Registers the hook, and returns when it is registered.
///
/// Not a `Once`: the child of a fork in the middle of one would wait in it for ever. Two threads that come at once may
/// both register the hook. Then a fork counts as two, which tells the processes apart as well.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    // Relaxed: the C library's own lock orders the registration and a fork.
    if !WATCHED.load(Ordering::Relaxed) {
        #[cfg(unix)]
        hook::register();
        WATCHED.store(true, Ordering::Relaxed);
    }
}

#[cfg(unix)]
mod hook {
    use super::{FORKS, Ordering};

    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        crate::lane::local::detach();
    }

    #[allow(unsafe_code)] // std has no fork hook
    pub(super) fn register() {
        // SAFETY: the hook is a plain function that lives as long as the process; it stores one atomic and a few
        // const-initialised thread-local cells, which is safe in a child whose other threads vanished. If the
        // registration fails for want of memory, forks go unnoticed until the heartbeat is found stale.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}
