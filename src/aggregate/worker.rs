//! The aggregator's thread: makes passes, sleeps, answers requests, and restarts after a panic.

use super::fold::{FailPoint, FailPoints};
use super::pacing::Pacing;
use super::policy::{Policy, Thresholds};
use super::step::Step;
use super::timer_slack;
use crate::lane::{LaneRegistry, local};
use crate::snapshot::Snapshot;
use crate::sync::{Arc, Mutex};
use crate::unwind::caught;
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

/// A request to the worker. Requests have their own channel and are never mixed with the records.
#[derive(Debug)]
pub(crate) enum Request {
    /// Make a snapshot of all records made before, and send it.
    Snapshot(Sender<Arc<Snapshot>>),
    /// Make a last snapshot, then end.
    Shutdown,
}

/// Set when the worker ended because of panics, not by a request. Set before the channels are closed, so a caller that
/// finds them closed also sees this.
pub(crate) type Death = Arc<OnceLock<()>>;

/// The state that the worker's thread owns or shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) lanes: Arc<LaneRegistry>,
    pub(crate) step: Arc<Mutex<Step>>,
    pub(crate) latest: Arc<ArcSwap<Snapshot>>,
    pub(crate) requests: Receiver<Request>,
    /// Dropped right after `requests`; a caller whose request is still queued then sees a disconnect instead of waiting
    /// for its deadline.
    pub(crate) answers: Sender<()>,
    /// Dropped after the other channels; a caller that waits for the end sees a disconnect, even if the worker panicked.
    pub(crate) ended: Sender<()>,
    pub(crate) death: Death,
    pub(crate) fail_points: FailPoints,
    pub(crate) pacing: Pacing,
    pub(crate) flush_interval: Duration,
    pub(crate) thresholds: Thresholds,
}

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one of tellane's own.
pub(crate) fn become_own_thread() {
    OWN_THREAD.with(|own| own.set(true));
    local::mark_own_thread();
}

/// Returns `true` if this is one of tellane's own threads. Such a thread must not wait for tellane: it could be waiting
/// for itself.
pub(crate) fn is_own_thread() -> bool {
    OWN_THREAD.with(Cell::get)
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's error if it cannot start a thread.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("tellane".into());
        // Detached: the thread ends by request, or when the last sender of requests is dropped.
        thread.spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        // `work` catches a panic in a pass. A panic outside of a pass is a fault of tellane's own: the worker restarts
        // `restarts_max` times in a row, then the instance ends as if by a shutdown, except that it answers no request.
        // The count starts again once a worker has run for `retry_max`: one panic a day is no reason to end.
        let mut failures = 0;
        let has_worked = loop {
            let began = self.lanes.uptime.millis();
            if caught(|| self.work()).is_some() {
                break true;
            }
            self.step.lock().restarts += 1;
            let ran = Duration::from_millis(self.lanes.uptime.millis().saturating_sub(began));
            failures = if ran >= self.thresholds.retry_max { 1 } else { failures + 1 };
            if failures > self.thresholds.restarts_max {
                break false;
            }
        };
        if !has_worked {
            let _first = self.death.set(());
            Policy::new(self.thresholds).after_panic(&self.lanes, u32::MAX);
            let _flushed = caught(|| self.answer(Request::Shutdown));
        }
        // Ends the writer of the logs after its queued batches, and so releases its reference to the instance.
        self.step.lock().close_logs();
        // The order matters: a caller that sees the end must find `requests` closed. A panic keeps the order, too,
        // since fields are dropped in the order of their declaration.
        let Self { requests, answers, ended, .. } = self;
        drop(requests);
        drop(answers);
        drop(ended);
    }

    /// Makes passes until a shutdown is requested. A panic in a pass is caught here, any other by `run`.
    fn work(&mut self) {
        become_own_thread();
        timer_slack::minimize();
        let clock = self.lanes.clock.clone();
        let mut policy = Policy::new(self.thresholds);
        let mut failures = 0;
        let lanes = Arc::clone(&self.lanes);
        let mut flushed = lanes.uptime.ticks();
        loop {
            lanes.beat(clock.ticks());
            let since = clock.nanos_between(flushed, lanes.uptime.ticks());
            let flush = Duration::from_nanos(since) >= self.flush_interval;
            let sleep = match self.pass(&mut policy, flush) {
                Ok(sleep) => {
                    failures = 0;
                    sleep
                }
                Err(()) => {
                    failures += 1;
                    policy.after_panic(&self.lanes, failures);
                    self.step.lock().restarts += 1;
                    self.lanes.apply_mode();
                    policy.wait_after_panic(failures)
                }
            };
            if flush {
                flushed = lanes.uptime.ticks();
            }
            lanes.beat(clock.ticks());
            if self.lanes.is_closed() {
                // A shutdown that found the queue of requests full closes the lanes itself: see `Telemetry::shutdown`.
                self.answer(Request::Shutdown);
                return;
            }
            self.fail_points.visit(FailPoint::Between);
            match self.requests.recv_timeout(sleep) {
                Ok(request) => {
                    let end = matches!(request, Request::Shutdown);
                    self.answer(request);
                    if end {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.answer(Request::Shutdown);
                    return;
                }
            }
        }
    }

    /// Makes one pass, with a snapshot if `flush`; returns the sleep before the next pass, or an error if it panicked.
    fn pass(&mut self, policy: &mut Policy, flush: bool) -> Result<Duration, ()> {
        let worked = caught(|| {
            let mut step = self.step.lock();
            let stats = step.run();
            if flush {
                self.latest.store(Arc::new(step.snapshot()));
            }
            policy.after_step(&self.lanes, || step.bytes());
            step.keep_up();
            stats
        });
        worked.map(|stats| self.pacing.next(stats.fill_permille)).ok_or(())
    }

    /// Carries out a request.
    fn answer(&self, request: Request) {
        match request {
            Request::Snapshot(reply) => {
                if let Some(snapshot) = self.retry(|step| Arc::new(step.snapshot())) {
                    self.latest.store(Arc::clone(&snapshot));
                    // The caller may have given up at its deadline.
                    let _gone = reply.send(snapshot);
                } // otherwise the caller gets no snapshot, and sees a disconnect
            }
            Request::Shutdown => {
                self.lanes.close();
                // This pass takes the records published before the lanes were closed. `Step::snapshot` makes another
                // pass, for those published meanwhile.
                self.retry(Step::run);
                self.retry(Step::settle);
                if let Some(last) = self.retry(|step| Arc::new(step.snapshot())) {
                    self.latest.store(last);
                }
                self.retry(Step::finish_logs);
                self.retry(Step::sweep);
                // The last snapshot gets the final ledger, which includes the records found by the sweep.
                let mut last = Snapshot::clone(&self.latest.load());
                last.ledger = self.lanes.ledger();
                self.latest.store(Arc::new(last));
            }
        }
    }

    /// Runs an act of the step, and retries it after a panic as often as the aggregator may be restarted. Each attempt
    /// skips the record on which the previous one panicked, so one bad record blocks neither the answer nor the records
    /// behind it.
    fn retry<R>(&self, act: impl Fn(&mut Step) -> R) -> Option<R> {
        (0..=self.thresholds.restarts_max).find_map(|_| {
            let mut step = self.step.lock();
            let done = caught(|| act(&mut step));
            if done.is_none() {
                step.restarts += 1;
            }
            done
        })
    }
}
