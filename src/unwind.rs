//! Catches panics of user code on the crate's own threads. Cold.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `act`; `None` if it panics. Everything that `act` changes must be consistent after each step, as under
/// [`sync::Mutex`].
///
/// The payload of a panic is dropped here, since its drop may panic, too. Such a panic elsewhere would end the thread,
/// and std aborts the process when it drops such a payload for a thread that ended. The payload of the second panic is
/// leaked.
///
/// [`sync::Mutex`]: crate::sync::Mutex
pub(crate) fn caught<R>(act: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Some(done),
        Err(payload) => {
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(again);
            }
            None
        }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use std::panic::resume_unwind;

    /// Panics when it is dropped, and so does the payload of that panic.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                resume_unwind(Box::new(Bomb(self.0 - 1)));
            }
        }
    }

    #[test]
    fn a_panic_is_caught_however_often_its_payload_panics() {
        assert_eq!(caught(|| 7), Some(7));
        for times in 0..4 {
            assert_eq!(caught(|| -> () { resume_unwind(Box::new(Bomb(times))) }), None);
        }
    }
}
