//! The installed instance: one for the lifetime of the process, flushed when the last handle is dropped. Cold.

use super::inner::TelemetryInner;
use crate::error::StartError;
use crate::sync::fixed;
use std::sync::{Arc, OnceLock};

/// The installed instance. This reference is never dropped, so dropping a handle cannot shut the instance down.
pub(super) static INSTALLED: OnceLock<Arc<TelemetryInner>> = OnceLock::new();

/// A guard for the right to install. Not a mutex: a forked child must not wait for a thread of its parent.
pub(super) struct Installing;

/// The process whose thread has the right to install; 0 if no thread has it.
static INSTALLER: fixed::AtomicU32 = fixed::AtomicU32::new(0);

impl Installing {
    /// Waits until no other thread of this process is installing.
    pub(super) fn begin() -> Result<Self, StartError> {
        let own = std::process::id();
        loop {
            // Acquire pairs with the Release of the drop: this thread sees what the thread before it has installed.
            match INSTALLER.compare_exchange(0, own, fixed::Ordering::Acquire, fixed::Ordering::Relaxed) {
                Ok(_) => return Ok(Self),
                Err(process) if process == own => std::thread::yield_now(),
                // A thread of the parent was installing at the fork. It does not exist here and will never finish.
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

/// Flushes the instance when it is dropped. Shared by the clones of the handle that `install` returned.
#[derive(Debug)]
pub(super) struct FlushOnDrop(pub(super) Arc<TelemetryInner>);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        // A drop cannot return an error. In a forked child, on the aggregator's own thread and after a shutdown there
        // is nothing to flush, and this returns at once.
        let _flushed = self.0.snapshot(self.0.config.drop_deadline);
    }
}
