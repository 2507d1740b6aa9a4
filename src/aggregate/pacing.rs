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
    /// worker that has just dozed off. None at all if half the shortest would be too long.
    pub(crate) fn next(&mut self, fill_permille: u32) -> Duration {
        let wanted = self.present.saturating_mul(self.target_permille) / fill_permille.max(1);
        let longer = self.present.saturating_add(self.present / 2).saturating_add(Duration::from_micros(1));
        self.present = wanted.min(longer).clamp(self.shortest, self.longest);
        if wanted < self.shortest / 2 { Duration::ZERO } else { self.present }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_less_the_fuller_the_rings() {
        let (shortest, longest) = (Duration::from_micros(200), Duration::from_millis(10));
        let mut pacing = Pacing { shortest, longest, target_permille: 250, present: longest };
        assert_eq!(pacing.next(0), longest);
        assert_eq!(pacing.next(250), longest);
        assert_eq!(pacing.next(500), longest / 2);
        assert_eq!(pacing.next(1_000), longest / 8);
        assert_eq!(pacing.next(1_000), longest / 32);
        assert_eq!(pacing.next(1_000), Duration::ZERO);
        assert_eq!(pacing.next(500), shortest);
        assert_eq!(pacing.next(501), Duration::ZERO);
        assert_eq!(pacing.present, shortest);
        assert_eq!(pacing.next(0), Duration::from_micros(301));
        (0..20).for_each(|_| assert!(pacing.next(0) <= longest));
        assert_eq!(pacing.present, longest);
    }
}
