//! The running instance behind its handles: requests to the worker, waits with a deadline, shutdown. Cold.

use crate::aggregate::{Death, Request, Step, is_own_thread};
use crate::clock::{deadline_in, has_passed, time_left};
use crate::config::Config;
use crate::error::SnapshotError;
use crate::instance::Instance;
use crate::snapshot::{QueueStats, Snapshot};
use crate::sync::Mutex;
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded, select};
use std::sync::Arc;
use std::time::Duration;

/// A running instance: its worker, its latest snapshot and its log writer, shared by all handles.
#[derive(Debug)]
pub(super) struct TelemetryInner {
    pub(super) instance: Arc<Instance>,
    pub(super) config: Config,
    pub(super) step: Arc<Mutex<Step>>,
    pub(super) latest: Arc<ArcSwap<Snapshot>>,
    pub(super) requests: Sender<Request>,
    /// Disconnected when the worker takes no more requests. A request that is still queued is then never answered; its
    /// caller sees the disconnect instead of waiting for its deadline.
    pub(super) answering: Receiver<()>,
    /// Statistics of the queue to the log writer; `None` without sinks.
    pub(super) queue_stats: Option<Arc<QueueStats>>,
    /// Disconnected when both the worker and the log writer have ended.
    pub(super) ended: Receiver<()>,
    pub(super) death: Death,
}

impl TelemetryInner {
    /// Implements `Telemetry::snapshot`: asks the worker, then waits for the sinks.
    pub(super) fn snapshot(&self, deadline: Duration) -> Result<Arc<Snapshot>, SnapshotError> {
        if self.instance.lanes.is_forked() {
            return Err(SnapshotError::Forked);
        }
        if is_own_thread() {
            return Err(SnapshotError::OwnThread);
        }
        let until = deadline_in(deadline); // one for both waits
        let (reply, answer) = bounded(1);
        match self.requests.send_deadline(Request::Snapshot(reply), until) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(SnapshotError::Deadline { after: deadline }),
            Err(SendTimeoutError::Disconnected(_)) => return self.last(until),
        }
        let taken = select! {
            recv(answer) -> taken => taken.ok(),
            recv(self.answering) -> _never_sent => answer.try_recv().ok(),
            default(time_left(until)) => {
                return Err(SnapshotError::Deadline { after: deadline });
            }
        };
        match taken {
            Some(taken) => {
                self.wait_for_sinks(until);
                Ok(taken)
            }
            // The worker shut down before it reached this request, so the last snapshot is published.
            None if self.instance.lanes.is_closed() => self.last(until),
            None => Err(SnapshotError::Ended),
        }
    }

    /// The last snapshot, after the worker has ended. An error if a fault ended the worker and not a shutdown.
    pub(super) fn last(&self, until: std::time::Instant) -> Result<Arc<Snapshot>, SnapshotError> {
        self.wait_for_sinks(until);
        if self.death.get().is_some() { Err(SnapshotError::Ended) } else { Ok(self.latest.load_full()) }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }

    /// Waits until the log records handed over so far are written. It polls: a message to a writer that is stuck would
    /// stay in the writer's queue for ever, and each call would add one.
    pub(super) fn wait_for_sinks(&self, until: std::time::Instant) {
        let Some(queue_stats) = &self.queue_stats else { return };
        let sent = queue_stats.sent();
        while !queue_stats.has_settled(sent) && !has_passed(until) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    pub(super) fn shutdown(&self, deadline: Duration) {
        if self.instance.lanes.is_forked() || self.has_ended() {
            return;
        }
        match self.requests.try_send(Request::Shutdown) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            // The queue is full, so the worker must be stuck. Closing the lanes refuses further records at least, and
            // the worker ends as soon as it runs again, because it finds the lanes closed.
            Err(TrySendError::Full(_)) => self.instance.lanes.close(),
        }
        if !is_own_thread() {
            // Nothing is ever sent here: this waits for the disconnect at the end, or for the deadline.
            let _ended = self.ended.recv_timeout(deadline);
        }
    }
}

impl Drop for TelemetryInner {
    fn drop(&mut self) {
        self.shutdown(self.config.drop_deadline);
        if self.instance.lanes.is_forked() {
            // Dropping the last handle of a channel takes the channel's lock, which in a forked child may be held by a
            // thread that does not exist there. So one handle of each is leaked.
            let channels = (self.requests.clone(), self.answering.clone(), self.ended.clone());
            std::mem::forget((channels, Arc::clone(&self.step)));
        }
    }
}
