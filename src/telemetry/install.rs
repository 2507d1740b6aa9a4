//! The installed instance: one for the life of the process, flushed by the last handle that is dropped. Cold.

use super::inner::Inner;
use crate::error::StartError;
use crate::sync::fixed;
use std::sync::{Arc, OnceLock};

/// The installed instance, for the life of the process. No handle's drop is the last one, so none shuts it down.
pub(super) static INSTALLED: OnceLock<Arc<Inner>> = std::sync::OnceLock::new();

/// The right to install. Not a mutex: the child of a fork must not wait for a thread of its parent.
pub(super) struct Installing;

/// The process whose thread has the right to install; 0 if no thread has it.
static INSTALLER: fixed::AtomicU32 = fixed::AtomicU32::new(0);

impl Installing {
    /// Waits for other threads of this process that install.
    pub(super) fn begin() -> Result<Self, StartError> {
        let own = std::process::id();
        loop {
            // Acquire pairs with the Release of the drop: what the thread before has installed is seen.
            match INSTALLER.compare_exchange(0, own, fixed::Ordering::Acquire, fixed::Ordering::Relaxed) {
                Ok(_) => return Ok(Self),
                Err(process) if process == own => std::thread::yield_now(),
                // A thread of the parent, in the middle of it at the fork. It is not here to go on.
                Err(_) => return Err(StartError::Forked),
            }
        }
    }
}

impl Drop for Installing {
    fn drop(&mut self) {
        INSTALLER.store(0, fixed::Ordering::Release);
    }
}

/// Shared by the clones of what `install` returned; the last one to go flushes the instance.
#[derive(Debug)]
pub(super) struct FlushOnDrop(pub(super) Arc<Inner>);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        // A drop has nobody to tell. In the child of a fork, on the aggregator's own thread and after a shutdown there
        // is nothing to flush, and this returns at once.
        let _flushed = self.0.snapshot(self.0.config.drop_deadline);
    }
}
