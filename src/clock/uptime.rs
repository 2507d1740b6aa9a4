//! Time since an instance started, for everything that waits: the switch, the policy, flushes, tail sampling. Uptime
//! never goes back, even if the clock does. Cold: each reading takes a read-modify-write.

use super::{Clock, SET_BACK};
use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU64, Ordering};

/// Ticks since an instance started, monotonic.
///
/// The counter of a suspended or restored machine may start again from a lower value. A deadline in plain ticks would
/// then wait until the counter has caught up. Here a reading below the last one moves the origin instead, so that time
/// goes on from the last reading.
#[derive(Debug)]
pub(crate) struct Uptime {
    clock: Clock,
    /// The reading that counts as zero; wraps.
    origin: AtomicU64,
    /// The greatest time returned so far.
    seen: AtomicU64,
    set_back: u64,
}

impl Uptime {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            origin: AtomicU64::new(clock.ticks()),
            seen: AtomicU64::new(0),
            set_back: clock.ticks_in(SET_BACK),
            clock: clock.clone(),
        }
    }

    /// Ticks since the start.
    pub(crate) fn ticks(&self) -> u64 {
        let early = if planted(Bug::EarlyReading) { Some(self.clock.ticks()) } else { None };
        // Acquire pairs with the Release and AcqRel below: a thread that loads a new `origin` then loads a `seen` no
        // older than the one it was computed from.
        // The clock is read last, so as long as the clock runs forward, no other thread's time can be ahead of this
        // reading. If the clock were read first, any pause after it would look like a clock that was set back, and
        // would move the origin by mistake.
        let origin = self.origin.load(Ordering::Acquire);
        let seen = self.seen.load(Ordering::Acquire);
        let now = early.unwrap_or_else(|| self.clock.ticks());
        let elapsed = now.wrapping_sub(origin);
        // Signed: after a step back, the reading may lie before the origin itself.
        let behind = seen.wrapping_sub(elapsed).cast_signed();
        if behind > self.set_back.cast_signed() && !planted(Bug::WaitForClock) {
            // If several threads notice, one of them moves the origin; the others leave it.
            let from_here = now.wrapping_sub(seen);
            let _moved = self.origin.compare_exchange(
                origin,
                from_here,
                Ordering::Release,
                Ordering::Relaxed, // the value of a failed exchange is not used
            );
            return seen;
        }
        let elapsed = if behind > 0 { seen } else { elapsed };
        self.seen.fetch_max(elapsed, Ordering::AcqRel).max(elapsed)
    }

    /// Milliseconds since the start.
    pub(crate) fn millis(&self) -> u64 {
        self.clock.scale().nanos(self.ticks()) / 1_000_000
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn uptime_continues_when_the_clock_goes_back() {
        let (clock, hand) = Clock::mock();
        let uptime = Uptime::new(&clock);
        hand.advance(10 * SECOND);
        assert_eq!(uptime.millis(), 10_000);
        for back in [9_000_000_000, 1_000_000_000, 5, 0] {
            let before = uptime.millis();
            hand.set(back);
            assert_eq!(uptime.millis(), before, "back to {back}");
            hand.advance(SECOND);
            assert_eq!(uptime.millis(), before + 1_000, "back to {back}");
        }
        hand.advance(3_600 * SECOND);
        assert_eq!(uptime.millis(), 10_000 + 4_000 + 3_600_000);
    }

    #[test]
    fn small_differences_between_cores_do_not_move_the_origin() {
        let (clock, hand) = Clock::mock();
        let uptime = Uptime::new(&clock);
        for _ in 0..100 {
            hand.advance(SECOND);
            let ahead = uptime.ticks();
            hand.set(clock.ticks() - 900_000);
            assert_eq!(uptime.ticks(), ahead);
            hand.advance(Duration::from_micros(900));
        }
        assert_eq!(uptime.millis(), 100_000);
    }
}

#[cfg(all(test, tellane_loom))]
mod loom {
    use super::*;
    use crate::model::check;
    use crate::sync::Arc;
    use ::loom::thread;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two threads read a clock that runs forward: uptime follows the clock, and a pause between two steps is not taken
    /// for a clock that was set back.
    #[test]
    fn a_pause_does_not_count_as_a_step_back() {
        check("uptime pause", 60, &[Bug::EarlyReading], || {
            let (clock, hand) = Clock::mock();
            let uptime = Arc::new(Uptime::new(&clock));
            let theirs = Arc::clone(&uptime);
            let other = thread::spawn(move || {
                let before = theirs.millis();
                assert!(theirs.millis() >= before);
            });
            assert!(uptime.millis() < 1, "a place for the other thread to begin");
            hand.advance(SECOND);
            assert_eq!(uptime.millis(), 1_000);
            other.join().expect("no failure");
            hand.advance(SECOND);
            assert_eq!(uptime.millis(), 2_000, "a step back that was none");
        });
    }

    /// A clock is set back while two threads read it: neither sees time go back, and uptime goes on at once.
    #[test]
    fn a_step_back_is_compensated_once() {
        check("uptime step back", 70, &[Bug::WaitForClock], || {
            let (clock, hand) = Clock::mock();
            let uptime = Arc::new(Uptime::new(&clock));
            hand.advance(10 * SECOND);
            assert_eq!(uptime.millis(), 10_000);
            let theirs = Arc::clone(&uptime);
            let other = thread::spawn(move || [theirs.millis(), theirs.millis()]);
            hand.set(0);
            let mine = [uptime.millis(), uptime.millis()];
            let theirs = other.join().expect("no failure");
            assert_eq!((mine, theirs), ([10_000; 2], [10_000; 2]));
            hand.advance(SECOND);
            assert_eq!(uptime.millis(), 11_000);
        });
    }
}
