//! The aggregator's thread: passes, sleeps, answers, and gets up again after a panic.

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

/// What the worker can be asked for. Requests have a channel of their own and never share the records' path.
#[derive(Debug)]
pub(crate) enum Request {
    /// A snapshot of all that was recorded before.
    Snapshot(Sender<Arc<Snapshot>>),
    /// A last snapshot, then the end.
    Shutdown,
}

/// Set once the worker has given up: what ended it was no request. It is set before the channels are closed, so whoever
/// finds them closed sees it.
pub(crate) type Death = Arc<OnceLock<()>>;

/// Everything the worker's thread owns or shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) lanes: Arc<LaneRegistry>,
    pub(crate) step: Arc<Mutex<Step>>,
    pub(crate) latest: Arc<ArcSwap<Snapshot>>,
    pub(crate) requests: Receiver<Request>,
    /// Closed right behind the requests: whoever has one in there that was not answered sees that it will not be.
    pub(crate) answers: Sender<()>,
    /// Closed by its drop: whoever waits for the end sees it, however it came.
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

/// Makes this thread one of tellane's own.
pub(crate) fn become_own_thread() {
    OWN_THREAD.with(|own| own.set(true));
    local::mark_own_thread();
}

/// Whether this thread is tellane's own, which must not wait for itself.
pub(crate) fn is_own_thread() -> bool {
    OWN_THREAD.with(Cell::get)
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has none to give.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("tellane".into());
        thread.spawn(move || self.run()).map(drop) // it ends by request, or with the last handle that can make one
    }

    fn run(mut self) {
        // `work` catches a panic in a pass. A panic outside of a pass is a fault of tellane's own: the worker restarts
        // `restarts_max` times in a row, then the instance ends as if by a shutdown, except that it answers no request.
        // A worker that has run for `retry_max` counts anew: one panic a day is no reason to end.
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
        // The writer of the logs ends when it has written what it has, and with it the instance.
        self.step.lock().close_logs();
        // Who sees the end must find the requests closed. After a panic it does too: fields drop in their order.
        let Self { requests, answers, ended, .. } = self;
        drop(requests);
        drop(answers);
        drop(ended);
    }

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
                // Shut down past a full queue of requests: see `Telemetry::shutdown`.
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

    fn pass(&mut self, policy: &mut Policy, flush: bool) -> Result<Duration, ()> {
        let worked = caught(|| {
            let mut step = self.step.lock();
            let found = step.run();
            if flush {
                self.latest.store(Arc::new(step.snapshot()));
            }
            policy.after_step(&self.lanes, || step.bytes());
            step.keep_up();
            found
        });
        worked.map(|found| self.pacing.next(found.fill_permille)).ok_or(())
    }

    fn answer(&self, request: Request) {
        match request {
            Request::Snapshot(asker) => {
                if let Some(taken) = self.try_hard(|step| Arc::new(step.snapshot())) {
                    self.latest.store(Arc::clone(&taken));
                    // The asker may have given up at its deadline.
                    let _gone = asker.send(taken);
                } // else the asker is left without an answer, which it sees as the channel's end
            }
            Request::Shutdown => {
                self.lanes.close();
                // Once for what was there, once for what was published while the lanes were being closed.
                self.try_hard(Step::run);
                self.try_hard(Step::settle);
                if let Some(last) = self.try_hard(|step| Arc::new(step.snapshot())) {
                    self.latest.store(last);
                }
                self.try_hard(Step::finish_logs);
                self.try_hard(Step::sweep);
                // The last snapshot's account is the last account.
                let mut last = Snapshot::clone(&self.latest.load());
                last.ledger = self.lanes.ledger();
                self.latest.store(Arc::new(last));
            }
        }
    }

    /// Tries again after a panic, as often as the aggregator may be restarted: each try gets past the record that the
    /// one before failed on, so that one bad record costs neither an answer nor the records behind it.
    fn try_hard<R>(&self, act: impl Fn(&mut Step) -> R) -> Option<R> {
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
