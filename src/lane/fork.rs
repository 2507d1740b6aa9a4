//! Detection of forked children. Cold, except that the hook in the child clears the thread-local lane pointer.
//!
//! The child has one thread, the one that forked, and no aggregator. Locks that other threads held stay locked for
//! ever. So the hook takes no lock: it detaches this thread from its lane and counts the fork. Every slow path compares
//! the count with the one at its instance's start before it takes a lock.

use crate::sync::fixed::{AtomicBool, AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// Number of forks between the first process and this one. Relaxed: the hook writes it while there is only one thread.
pub(crate) fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Registers the hook, and returns when it is registered.
///
/// Not a `Once`: a child forked while one runs would wait in it for ever. Two threads that call this at the same time
/// may both register the hook. Then a fork counts as two, which still tells the processes apart.
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
        // SAFETY: the hook is a plain function that lives as long as the process. It stores to one atomic and to a few
        // const-initialised thread-local cells, which is safe in a child whose other threads are gone. If the
        // registration fails for want of memory, a fork goes unnoticed until the child finds the heartbeat stale.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}
