//! The lock on a log file that several processes share. Cold. The wait for the lock is bounded, since another program
//! that never releases it must not stop the logs.

use std::fs::{File, TryLockError};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// The number of attempts in one wait. The first ones follow each other without a sleep, since a holder needs the lock
/// only for one write of some microseconds; the others are a millisecond apart.
const ATTEMPTS: u32 = 1_100;
const AT_ONCE: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(1);

/// An exclusive advisory lock (`flock` on Unix), held during one write.
#[derive(Debug, Default)]
pub(super) struct Lock {
    /// `true` if the last wait failed. Then each write makes one attempt until one succeeds, so that a lock that is
    /// never released costs one wait in total, not one wait for each write.
    gave_up: bool,
}

impl Lock {
    /// Locks a file. Returns `false` if another program does not release its lock in time. A file system without locks
    /// counts as locked, since no other program can hold a lock there.
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

    /// Releases the lock if it is held.
    pub(super) fn release(&self, file: &File) {
        let _was_not_held = file.unlock();
    }
}
