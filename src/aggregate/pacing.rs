//! Chooses the worker's sleep between two passes by the fill of the rings. Cold.

use std::time::Duration;

/// Adjusts the sleep so that each pass finds the fullest ring filled to the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
    /// The target fill, in 1/1,000 of a ring.
    pub(crate) target_permille: u32,
    pub(crate) present: Duration,
}

impl Pacing {
    /// The next sleep after a pass that found this fill. The sleep shrinks at once, but grows by at most half, so that
    /// a burst does not find the worker in a long sleep. The sleep is zero if a ring would fill while the worker is
    /// woken.
    pub(crate) fn next(&mut self, fill_permille: u32) -> Duration {
        let longer = self.present.saturating_add(self.present / 2).saturating_add(Duration::from_micros(1));
        let wanted = match fill_permille {
            0 => longer,
            fill => self.present.saturating_mul(self.target_permille) / fill,
        };
        self.present = wanted.min(longer).clamp(self.shortest, self.longest);
        let is_pressed = fill_permille > self.target_permille && wanted < NAP && self.shortest <= 2 * NAP;
        if is_pressed { Duration::ZERO } else { self.present }
    }
}

/// The shortest sleep worth making: it is hardly longer than falling asleep and waking up.
const NAP: Duration = Duration::from_micros(10);

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn pacing(shortest: Duration, longest: Duration, target_permille: u32) -> Pacing {
        Pacing { shortest, longest, target_permille, present: longest }
    }

    #[test]
    fn the_sleep_is_shorter_if_the_rings_are_fuller() {
        let (shortest, longest) = (Duration::from_micros(20), Duration::from_millis(10));
        let mut pacing = pacing(shortest, longest, 250);
        assert_eq!(pacing.next(0), longest);
        assert_eq!(pacing.next(250), longest);
        assert_eq!(pacing.next(500), longest / 2);
        assert_eq!(pacing.next(1_000), longest / 8);
        (0..10).for_each(|_| assert!(pacing.next(500) >= shortest));
        assert_eq!(pacing.present, shortest);
        assert_eq!(pacing.next(501), Duration::ZERO, "a ring is filled in 40 us");
        assert_eq!(pacing.next(500), shortest);
        assert_eq!(pacing.next(0), Duration::from_micros(31));
        (0..30).for_each(|_| assert!(pacing.next(0) <= longest));
        assert_eq!(pacing.present, longest);
    }

    #[test]
    fn idle_rings_always_give_a_sleep() {
        for target in [0, 1, 10, 1_000] {
            let mut pacing = pacing(Duration::from_micros(20), Duration::from_millis(10), target);
            (0..20).for_each(|_| _ = pacing.next(1_000));
            (0..30).for_each(|_| assert!(!pacing.next(0).is_zero(), "{target}"));
            assert_eq!(pacing.present, pacing.longest, "{target}");
        }
    }

    #[test]
    fn a_long_shortest_sleep_is_respected() {
        let long = Duration::from_millis(20);
        let mut pacing = pacing(long, long, 250);
        (0..10).for_each(|_| assert_eq!(pacing.next(1_000), long));
    }
}
