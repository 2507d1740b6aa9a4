//! When the switch moves. Runs once a pass, on the worker; the only other writers are the caller and a producer that
//! finds the worker's heart stopped.

use crate::lane::Directory;
use crate::switch::{Cause, Position, State};
use std::time::Duration;

/// What the policy goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Share of the spans of a pass that may be shed, in 1/1,000.
    pub(crate) shed_permille: u64,
    /// Passes in a row above it before the switch degrades.
    pub(crate) shed_steps: u32,
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
    /// Passes in a row that shed too much.
    shedding: u32,
    /// Spans that wanted a place and that found none, as of the last pass.
    wanted: u64,
    shed: u64,
    probe: Option<Position>,
    /// Good passes of the present probe.
    good: u32,
    /// Wait before the next probe.
    backoff: Duration,
}

/// Good passes that end a probe.
const GOOD_STEPS: u32 = 8;

impl Policy {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        let backoff = thresholds.retry;
        Self { thresholds, shedding: 0, wanted: 0, shed: 0, probe: None, good: 0, backoff }
    }

    /// After a pass that went through. `bytes` is what the instance holds.
    pub(super) fn after_step(&mut self, directory: &Directory, bytes: usize) {
        let now = directory.millis_at(directory.clock.ticks());
        let shed_too_much = self.shed_too_much(directory);
        self.shedding = if shed_too_much { self.shedding.saturating_add(1) } else { 0 };
        if bytes > self.thresholds.memory_cap {
            self.trip(directory, State::Off, Cause::Memory, now);
        } else if self.shedding >= self.thresholds.shed_steps {
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

    fn trip(&mut self, directory: &Directory, to: State, cause: Cause, now: u64) {
        let retry_at = now.saturating_add(self.backoff.as_millis() as u64);
        if directory.switch.trip(to, cause, now, retry_at) {
            self.after_failed_probe();
        }
        self.shedding = 0;
    }

    fn after_failed_probe(&mut self) {
        if self.probe.take().is_some() {
            self.backoff = self.backoff.saturating_mul(2).min(self.thresholds.retry_max);
        }
    }

    /// Begins a probe when it is due, and ends it after enough good passes.
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
                self.good = if good { self.good + 1 } else { 0 };
                if self.good >= GOOD_STEPS && switch.settle(probe, now) {
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
