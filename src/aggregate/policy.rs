//! When the switch moves. Runs once a pass, on the worker; the only other writers are the caller and a producer that
//! finds the worker's heart stopped.

use crate::lane::LaneRegistry;
use crate::switch::{Cause, Position, State};
use std::time::Duration;

/// What the policy goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Share of the spans between two looks that may be shed, in 1/1,000.
    pub(crate) shed_permille: u64,
    /// How long in a row it may be exceeded before the switch degrades; a probe lasts as long, at least.
    pub(crate) shed_after: Duration,
    pub(crate) memory_cap: usize,
    /// First wait before a probe; doubled after each probe that fails.
    pub(crate) retry: Duration,
    pub(crate) retry_max: Duration,
    /// How long a probe may take.
    pub(crate) lease: Duration,
    /// Restarts in a row before the aggregator is taken for dead.
    pub(crate) restarts_max: u32,
}

/// The policy's memory.
#[derive(Debug)]
pub(super) struct Policy {
    thresholds: Thresholds,
    /// The millisecond of the last look, and passes since then.
    looked: Option<u64>,
    passes: u32,
    /// Since when every look has found too much shed.
    shedding: Option<u64>,
    /// Spans that wanted a place and that found none, as of the last look.
    wanted: u64,
    shed: u64,
    probe: Option<Position>,
    /// Looks of the present probe, and since when.
    looks: u32,
    probing: u64,
    /// Wait before the next probe.
    backoff: Duration,
}

/// Looks that a probe takes, at least.
const LOOKS: u32 = 8;
/// So many passes are worth a look even if the clock says it is the same millisecond: it may stand still.
const PASSES: u32 = 64;

impl Policy {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        let backoff = thresholds.retry;
        Self {
            thresholds,
            looked: None,
            passes: 0,
            shedding: None,
            wanted: 0,
            shed: 0,
            probe: None,
            looks: 0,
            probing: 0,
            backoff,
        }
    }

    /// After a pass that went through; `bytes` says what the instance holds. Looks once a millisecond: passes may be 20 µs
    /// apart, and a look goes by every lane and every histogram.
    pub(super) fn after_step(&mut self, lanes: &LaneRegistry, bytes: impl FnOnce() -> usize) {
        let now = lanes.uptime.millis();
        self.passes += 1;
        if self.looked == Some(now) && self.passes < PASSES {
            return;
        }
        (self.looked, self.passes) = (Some(now), 0);
        let shed_too_much = self.shed_too_much(lanes);
        self.shedding = shed_too_much.then(|| self.shedding.unwrap_or(now));
        if bytes() > self.thresholds.memory_cap {
            self.trip(lanes, State::Off, Cause::Memory, now);
        } else if self.shedding.is_some_and(|since| self.is_long(now, since)) {
            self.trip(lanes, State::Degraded, Cause::Shedding, now);
        } else {
            self.probe(lanes, now, !shed_too_much);
        }
    }

    /// After a pass that panicked, the `failures`th in a row.
    pub(super) fn after_panic(&mut self, lanes: &LaneRegistry, failures: u32) {
        let now = lanes.uptime.millis();
        if failures > self.thresholds.restarts_max || self.probe.is_some() {
            self.trip(lanes, State::Off, Cause::Dead, now);
        }
    }

    /// How long to wait after the `failures`th panic in a row.
    pub(super) fn wait_after_panic(&self, failures: u32) -> Duration {
        let doubled = Duration::from_millis(1).saturating_mul(1 << failures.min(16));
        doubled.min(self.thresholds.retry)
    }

    fn shed_too_much(&mut self, lanes: &LaneRegistry) -> bool {
        let (wanted, shed) = lanes.span_pressure();
        let (more_shed, more) = (shed - self.shed, wanted - self.wanted);
        (self.shed, self.wanted) = (shed, wanted);
        more_shed > 0 && more_shed * 1_000 > more * self.thresholds.shed_permille
    }

    fn is_long(&self, now: u64, since: u64) -> bool {
        Duration::from_millis(now.saturating_sub(since)) >= self.thresholds.shed_after
    }

    fn trip(&mut self, lanes: &LaneRegistry, to: State, cause: Cause, now: u64) {
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if lanes.switch.trip(to, cause, now, retry_at) {
            self.after_failed_probe();
        }
        self.shedding = None;
    }

    fn after_failed_probe(&mut self) {
        if self.probe.take().is_some() {
            self.backoff = self.backoff.saturating_mul(2).min(self.thresholds.retry_max);
        }
    }

    /// Begins a probe when it is due, and ends it after enough looks.
    fn probe(&mut self, lanes: &LaneRegistry, now: u64, good: bool) {
        let switch = &lanes.switch;
        if self.probe.is_some() && switch.position().state != State::Probing {
            self.after_failed_probe(); // a producer tripped it, or the lease ran out elsewhere
        }
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if switch.expire(now, retry_at) {
            self.after_failed_probe();
        }
        match self.probe {
            Some(probe) => {
                self.looks += 1;
                // What a healthy switch tolerates, it must: shed too much now and then, but not all the time.
                let enough = self.looks >= LOOKS && self.is_long(now, self.probing);
                if good && enough && switch.settle(probe, now) {
                    self.probe = None;
                    self.backoff = self.thresholds.retry;
                }
            }
            None => {
                (self.looks, self.probing) = (0, now);
                let lease_end = now.saturating_add(self.thresholds.lease.as_millis() as u64);
                self.probe = switch.begin_probe(now, lease_end);
            }
        }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::clock::{Clock, MockClock};
    use crate::lane::Limits;
    use crate::stats::{Kind, Reason};

    const THRESHOLDS: Thresholds = Thresholds {
        shed_permille: 100,
        shed_after: Duration::from_millis(100),
        memory_cap: 1_000,
        retry: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        lease: Duration::from_secs(5),
        restarts_max: 5,
    };

    struct Rig {
        lanes: LaneRegistry,
        hand: MockClock,
        policy: Policy,
    }

    fn rig() -> Rig {
        let (clock, hand) = Clock::mock();
        let limits = Limits { ring_words: 64, spill_words: 0, first_cells: 1, lanes: 1, idle: 0 };
        let second = Duration::from_secs(1);
        let lanes = LaneRegistry::new((1 << 20) - 1, limits, clock, second, second);
        Rig { lanes, hand, policy: Policy::new(THRESHOLDS) }
    }

    impl Rig {
        /// Passes for so many milliseconds, of which each `bad`th sheds half of its spans.
        fn pass(&mut self, millis: u32, bad: u32) {
            for milli in 1..=millis {
                self.hand.advance(Duration::from_millis(1));
                let tally = &self.lanes.shared;
                tally.shared_sent(Kind::Span);
                if milli % bad == 0 {
                    tally.shared_dropped(Kind::Span, Reason::RingFull);
                }
                self.policy.after_step(&self.lanes, || 0);
            }
        }

        fn state(&self) -> State {
            self.lanes.switch.position().state
        }
    }

    #[test]
    fn what_is_shed_all_the_time_degrades_and_what_is_shed_now_and_then_does_not() {
        let mut rig = rig();
        rig.pass(999, 2);
        assert_eq!(rig.state(), State::Healthy);
        rig.pass(100, 1);
        assert_eq!(rig.state(), State::Healthy, "for 99 ms");
        rig.pass(1, 1);
        assert_eq!(rig.state(), State::Degraded);
    }

    #[test]
    fn a_probe_asks_no_more_than_a_healthy_switch_does() {
        let mut rig = rig();
        rig.pass(101, 1);
        assert_eq!(rig.state(), State::Degraded);
        rig.pass(1_001, 1_000_000);
        assert_eq!(rig.state(), State::Probing);
        rig.pass(90, 3);
        assert_eq!(rig.state(), State::Probing, "it takes as long as degrading");
        rig.pass(20, 3);
        assert_eq!(rig.state(), State::Healthy);
    }

    #[test]
    fn a_probe_that_sheds_all_the_time_fails() {
        let mut rig = rig();
        rig.pass(101, 1);
        rig.pass(1_001, 1_000_000);
        assert_eq!(rig.state(), State::Probing);
        rig.pass(110, 1);
        assert_eq!(rig.state(), State::Degraded);
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_wait_longer() {
        let mut rig = rig();
        rig.hand.advance(Duration::from_secs(3_600));
        rig.policy.after_step(&rig.lanes, || 1_001);
        assert_eq!(rig.state(), State::Off);
        rig.hand.set(5);
        rig.pass(1, 1_000_000); // sees the step
        rig.pass(999, 1_000_000);
        assert_eq!(rig.state(), State::Off, "a second is not over");
        rig.pass(1, 1_000_000);
        assert_eq!(rig.state(), State::Probing);
        rig.hand.set(5);
        rig.pass(110, 1_000_000);
        assert_eq!(rig.state(), State::Healthy, "the probe takes as long as it would have");
        rig.pass(50, 1);
        rig.hand.set(5);
        rig.pass(60, 1);
        assert_eq!(rig.state(), State::Degraded, "what is shed all the time is found all the same");
    }

    #[test]
    fn a_clock_that_goes_back_hides_no_stopped_heart() {
        let rig = rig();
        rig.hand.advance(Duration::from_secs(3_600));
        rig.lanes.beat(rig.lanes.clock.ticks());
        let lane = rig.lanes.acquire_lane().expect("there is one");
        let suspect = || rig.lanes.suspect_stall(&lane, rig.lanes.clock.ticks());
        rig.hand.set(5);
        suspect();
        rig.hand.advance(Duration::from_millis(999));
        suspect();
        assert_eq!(rig.state(), State::Healthy, "the wait for a beat begins when the step is seen");
        rig.hand.advance(Duration::from_millis(1));
        suspect();
        assert_eq!(rig.state(), State::Off);
    }

    #[test]
    fn a_clock_that_stands_still_does_not_hide_the_memory() {
        let mut rig = rig();
        rig.policy.after_step(&rig.lanes, || 0);
        (0..PASSES).for_each(|_| rig.policy.after_step(&rig.lanes, || 1_001));
        assert_eq!(rig.state(), State::Off);
    }
}
