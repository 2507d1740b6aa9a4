//! The lock on a log file that several processes share. Cold. The wait for it is bounded: another program that holds the
//! lock must not stop the logs.

use std::fs::{File, TryLockError};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// Attempts of one wait: the first ones at once, since a holder needs the lock for one write of some microseconds, the
/// others a millisecond apart.
const ATTEMPTS: u32 = 1_100;
const AT_ONCE: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(1);

/// An exclusive advisory lock (`flock` on Unix), held during one write.
#[derive(Debug, Default)]
pub(super) struct Lock {
    /// The last wait was in vain. Then there is one attempt a write until one succeeds, so that a lock that is never
    /// released costs one wait in all, not one a write.
    gave_up: bool,
}

impl Lock {
    /// Locks a file; `false` if another program does not release its lock. A file system without locks counts as
    /// locked: nobody else can hold one there.
    pub(super) fn wait_for(&mut self, file: &File) -> bool {
        let attempts = if self.gave_up { 1 } else { ATTEMPTS };
        for attempt in 0..attempts {
            match attempt {
                0 => {}
                1..AT_ONCE => yield_now(),
                _ => sleep(BETWEEN),
            }
            if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                self.gave_up = false;
                return true;
            }
        }
        self.gave_up = true;
        false
    }

    /// Releases the lock, if it is held.
    pub(super) fn release(&self, file: &File) {
        let _was_not_held = file.unlock();
    }
}
