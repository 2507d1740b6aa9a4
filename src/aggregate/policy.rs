//! Decides when the switch moves. Runs once after each pass, on the worker. The only other writers of the switch are
//! the program, and a producer that finds the worker's heartbeat stopped.

use crate::lane::LaneRegistry;
use crate::switch::{Cause, Position, State};
use std::time::Duration;

/// The limits that the policy compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// The share of the spans between two checks that may be shed, in 1/1,000.
    pub(crate) shed_permille: u64,
    /// The time for which that share may be exceeded at every check before the switch degrades; also the least duration
    /// of a probe.
    pub(crate) shed_after: Duration,
    /// The most bytes that the instance may allocate before the switch goes off.
    pub(crate) memory_cap: usize,
    /// The first wait before a probe; doubled after each probe that fails.
    pub(crate) retry: Duration,
    pub(crate) retry_max: Duration,
    /// The longest duration of a probe.
    pub(crate) lease: Duration,
    /// The number of restarts in a row after which the aggregator counts as dead.
    pub(crate) restarts_max: u32,
}

/// The thresholds, and the state between two checks.
#[derive(Debug)]
pub(super) struct Policy {
    thresholds: Thresholds,
    /// The millisecond of the last check, and the passes since then.
    checked: Option<u64>,
    passes: u32,
    /// The millisecond since which every check has found too many spans shed.
    shedding: Option<u64>,
    /// Spans that were to be written to a ring, and spans shed because it was full, up to the last check.
    offered: u64,
    shed: u64,
    probe: Option<Position>,
    /// The checks of the current probe, and the millisecond at which it began.
    probe_checks: u32,
    probing_since: u64,
    /// The wait before the next probe.
    backoff: Duration,
}

/// The least number of checks in a probe.
const PROBE_CHECKS: u32 = 8;
/// The number of passes after which a check is due even if the clock still shows the same millisecond: it may stand
/// still.
const PASSES: u32 = 64;

impl Policy {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        let backoff = thresholds.retry;
        Self {
            thresholds,
            checked: None,
            passes: 0,
            shedding: None,
            offered: 0,
            shed: 0,
            probe: None,
            probe_checks: 0,
            probing_since: 0,
            backoff,
        }
    }

    /// Checks the thresholds after a pass that did not panic; `bytes` returns the instance's memory. Checks once a
    /// millisecond at most, since passes may be 20 µs apart, and a check visits every lane and every histogram.
    pub(super) fn after_step(&mut self, lanes: &LaneRegistry, bytes: impl FnOnce() -> usize) {
        let now = lanes.uptime.millis();
        self.passes += 1;
        if self.checked == Some(now) && self.passes < PASSES {
            return;
        }
        (self.checked, self.passes) = (Some(now), 0);
        let shed_too_much = self.shed_too_much(lanes);
        self.shedding = shed_too_much.then(|| self.shedding.unwrap_or(now));
        if bytes() > self.thresholds.memory_cap {
            self.trip(lanes, State::Off, Cause::Memory, now);
        } else if self.shedding.is_some_and(|since| self.has_lasted(now, since)) {
            self.trip(lanes, State::Degraded, Cause::Shedding, now);
        } else {
            self.probe(lanes, now, !shed_too_much);
        }
    }

    /// Turns the switch off after the `failures`th panic in a row, if these are too many or a probe is running.
    pub(super) fn after_panic(&mut self, lanes: &LaneRegistry, failures: u32) {
        let now = lanes.uptime.millis();
        if failures > self.thresholds.restarts_max || self.probe.is_some() {
            self.trip(lanes, State::Off, Cause::Dead, now);
        }
    }

    /// The wait before the next pass after the `failures`th panic in a row.
    pub(super) fn wait_after_panic(&self, failures: u32) -> Duration {
        let doubled = Duration::from_millis(1).saturating_mul(1 << failures.min(16));
        doubled.min(self.thresholds.retry)
    }

    /// Returns `true` if more than the allowed share of spans was shed since the last check.
    fn shed_too_much(&mut self, lanes: &LaneRegistry) -> bool {
        let (offered, shed) = lanes.span_pressure();
        let (new_shed, new_offered) = (shed - self.shed, offered - self.offered);
        (self.shed, self.offered) = (shed, offered);
        new_shed > 0 && new_shed * 1_000 > new_offered * self.thresholds.shed_permille
    }

    fn has_lasted(&self, now: u64, since: u64) -> bool {
        Duration::from_millis(now.saturating_sub(since)) >= self.thresholds.shed_after
    }

    /// Moves the switch to a worse state, which also ends a running probe.
    fn trip(&mut self, lanes: &LaneRegistry, to: State, cause: Cause, now: u64) {
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if lanes.switch.trip(to, cause, now, retry_at) {
            self.after_failed_probe();
        }
        self.shedding = None;
    }

    /// Doubles the wait before the next probe if one was running.
    fn after_failed_probe(&mut self) {
        if self.probe.take().is_some() {
            self.backoff = self.backoff.saturating_mul(2).min(self.thresholds.retry_max);
        }
    }

    /// Begins a probe when it is due, and ends it after enough checks.
    fn probe(&mut self, lanes: &LaneRegistry, now: u64, good: bool) {
        let switch = &lanes.switch;
        if self.probe.is_some() && switch.position().state != State::Probing {
            self.after_failed_probe(); // a producer tripped the switch, or found that the lease had run out
        }
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if switch.expire(now, retry_at) {
            self.after_failed_probe();
        }
        match self.probe {
            Some(probe) => {
                self.probe_checks += 1;
                // A probe must tolerate what a healthy switch tolerates: too many spans shed now and then, but not at
                // every check.
                let enough = self.probe_checks >= PROBE_CHECKS && self.has_lasted(now, self.probing_since);
                if good && enough && switch.settle(probe, now) {
                    self.probe = None;
                    self.backoff = self.thresholds.retry;
                }
            }
            None => {
                (self.probe_checks, self.probing_since) = (0, now);
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

    struct PolicyRig {
        lanes: LaneRegistry,
        hand: MockClock,
        policy: Policy,
    }

    fn rig() -> PolicyRig {
        let (clock, hand) = Clock::mock();
        let limits = Limits { ring_words: 64, spill_words: 0, first_cells: 1, lanes: 1, idle: 0 };
        let second = Duration::from_secs(1);
        let lanes = LaneRegistry::new((1 << 20) - 1, limits, clock, second, second);
        PolicyRig { lanes, hand, policy: Policy::new(THRESHOLDS) }
    }

    impl PolicyRig {
        /// Runs one pass each millisecond; each `bad`th sheds half of its spans.
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
    fn shedding_all_the_time_degrades_and_shedding_now_and_then_does_not() {
        let mut rig = rig();
        rig.pass(999, 2);
        assert_eq!(rig.state(), State::Healthy);
        rig.pass(100, 1);
        assert_eq!(rig.state(), State::Healthy, "for 99 ms");
        rig.pass(1, 1);
        assert_eq!(rig.state(), State::Degraded);
    }

    #[test]
    fn a_probe_tolerates_what_a_healthy_switch_tolerates() {
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
    fn a_clock_set_back_makes_no_wait_longer() {
        let mut rig = rig();
        rig.hand.advance(Duration::from_secs(3_600));
        rig.policy.after_step(&rig.lanes, || 1_001);
        assert_eq!(rig.state(), State::Off);
        rig.hand.set(5);
        rig.pass(1, 1_000_000); // sees the step
        rig.pass(999, 1_000_000);
        assert_eq!(rig.state(), State::Off, "the wait of a second is not over");
        rig.pass(1, 1_000_000);
        assert_eq!(rig.state(), State::Probing);
        rig.hand.set(5);
        rig.pass(110, 1_000_000);
        assert_eq!(rig.state(), State::Healthy, "the probe takes as long as it would have");
        rig.pass(50, 1);
        rig.hand.set(5);
        rig.pass(60, 1);
        assert_eq!(rig.state(), State::Degraded, "shedding all the time is still found");
    }

    #[test]
    fn a_clock_set_back_hides_no_stopped_heartbeat() {
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
    fn a_clock_that_stands_still_does_not_stop_the_memory_check() {
        let mut rig = rig();
        rig.policy.after_step(&rig.lanes, || 0);
        (0..PASSES).for_each(|_| rig.policy.after_step(&rig.lanes, || 1_001));
        assert_eq!(rig.state(), State::Off);
    }
}
