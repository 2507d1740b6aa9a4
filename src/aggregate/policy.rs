//! When the switch moves. Runs once a pass, on the worker; the only other writers are the caller and a producer that
//! finds the worker's heart stopped.

use crate::lane::Directory;
use crate::switch::{Cause, Position, State};
use std::time::Duration;

/// What the policy goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Share of the spans between two looks that may be shed, in 1/1,000.
    pub(crate) shed_permille: u64,
    /// How long it may be exceeded before the switch degrades, and must not be before a probe ends well.
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
    /// The millisecond of the last look.
    looked: Option<u64>,
    /// Since when every look has found too much shed.
    shedding: Option<u64>,
    /// Spans that wanted a place and that found none, as of the last look.
    wanted: u64,
    shed: u64,
    probe: Option<Position>,
    /// Good looks of the present probe in a row, and since when.
    good: u32,
    good_since: u64,
    /// Wait before the next probe.
    backoff: Duration,
}

/// Good looks that end a probe, at least.
const GOOD_LOOKS: u32 = 8;

impl Policy {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        let backoff = thresholds.retry;
        Self {
            thresholds,
            looked: None,
            shedding: None,
            wanted: 0,
            shed: 0,
            probe: None,
            good: 0,
            good_since: 0,
            backoff,
        }
    }

    /// After a pass that went through; `bytes` says what the instance holds. Looks once a millisecond: passes may be 20 µs
    /// apart, and a look goes by every lane and every histogram.
    pub(super) fn after_step(&mut self, directory: &Directory, bytes: impl FnOnce() -> usize) {
        let now = directory.millis_at(directory.clock.ticks());
        if self.looked.replace(now) == Some(now) {
            return;
        }
        let shed_too_much = self.shed_too_much(directory);
        self.shedding = shed_too_much.then(|| self.shedding.unwrap_or(now));
        if bytes() > self.thresholds.memory_cap {
            self.trip(directory, State::Off, Cause::Memory, now);
        } else if self.shedding.is_some_and(|since| self.is_long(now, since)) {
            self.trip(directory, State::Degraded, Cause::Shedding, now);
        } else {
            self.probe(directory, now, !shed_too_much);
        }
    }

    /// After a pass that panicked, the `failures`th in a row.
    pub(super) fn after_panic(&mut self, directory: &Directory, failures: u32) {
        let now = directory.millis_at(directory.clock.ticks());
        if failures > self.thresholds.restarts_max || self.probe.is_some() {
            self.trip(directory, State::Off, Cause::Dead, now);
        }
    }

    /// How long to wait after the `failures`th panic in a row.
    pub(super) fn wait_after_panic(&self, failures: u32) -> Duration {
        let doubled = Duration::from_millis(1).saturating_mul(1 << failures.min(16));
        doubled.min(self.thresholds.retry)
    }

    fn shed_too_much(&mut self, directory: &Directory) -> bool {
        let (wanted, shed) = directory.span_pressure();
        let (more_shed, more) = (shed - self.shed, wanted - self.wanted);
        (self.shed, self.wanted) = (shed, wanted);
        more_shed > 0 && more_shed * 1_000 > more * self.thresholds.shed_permille
    }

    fn is_long(&self, now: u64, since: u64) -> bool {
        Duration::from_millis(now.saturating_sub(since)) >= self.thresholds.shed_after
    }

    fn trip(&mut self, directory: &Directory, to: State, cause: Cause, now: u64) {
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if directory.switch.trip(to, cause, now, retry_at) {
            self.after_failed_probe();
        }
        self.shedding = None;
    }

    fn after_failed_probe(&mut self) {
        if self.probe.take().is_some() {
            self.backoff = self.backoff.saturating_mul(2).min(self.thresholds.retry_max);
        }
    }

    /// Begins a probe when it is due, and ends it after enough good looks.
    fn probe(&mut self, directory: &Directory, now: u64, good: bool) {
        let switch = &directory.switch;
        if self.probe.is_some() && switch.position().state != State::Probing {
            self.after_failed_probe(); // a producer tripped it, or the lease ran out elsewhere
        }
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if switch.expire(now, retry_at) {
            self.after_failed_probe();
        }
        match self.probe {
            Some(probe) => {
                if self.good == 0 {
                    self.good_since = now;
                }
                self.good = if good { self.good.saturating_add(1) } else { 0 };
                let enough = self.good >= GOOD_LOOKS && self.is_long(now, self.good_since);
                if enough && switch.settle(probe, now) {
                    self.probe = None;
                    self.backoff = self.thresholds.retry;
                }
            }
            None => {
                self.good = 0;
                let lease_end = now.saturating_add(self.thresholds.lease.as_millis() as u64);
                self.probe = switch.begin_probe(now, lease_end);
            }
        }
    }
}
