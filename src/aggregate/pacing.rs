//! How long the worker sleeps between two passes: by the fill it finds.

use std::time::Duration;

/// Aims at finding the fullest ring filled to `target` at each pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
    /// In 1/1,000 of a ring.
    pub(crate) target_permille: u32,
    pub(crate) present: Duration,
}

impl Pacing {
    /// The next sleep after finding such a fill. Shorter at once, longer by at most half: a burst must not meet a
    /// worker that has just dozed off. None at all where a ring would fill while it is being woken.
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

/// A sleep that is hardly longer than going to sleep and being woken.
const NAP: Duration = Duration::from_micros(10);

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn pacing(shortest: Duration, longest: Duration, target_permille: u32) -> Pacing {
        Pacing { shortest, longest, target_permille, present: longest }
    }

    #[test]
    fn it_sleeps_less_the_fuller_the_rings() {
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
    fn it_sleeps_where_there_is_nothing_to_do() {
        for target in [0, 1, 10, 1_000] {
            let mut pacing = pacing(Duration::from_micros(20), Duration::from_millis(10), target);
            (0..20).for_each(|_| _ = pacing.next(1_000));
            (0..30).for_each(|_| assert!(!pacing.next(0).is_zero(), "{target}"));
            assert_eq!(pacing.present, pacing.longest, "{target}");
        }
    }

    #[test]
    fn whoever_wants_long_sleeps_has_them() {
        let long = Duration::from_millis(20);
        let mut pacing = pacing(long, long, 250);
        (0..10).for_each(|_| assert_eq!(pacing.next(1_000), long));
    }
}
