//! A running instance behind its handles: requests to the worker, waits with a deadline, the end. Cold.

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
pub(super) struct Inner {
    pub(super) instance: Arc<Instance>,
    pub(super) config: Config,
    pub(super) step: Arc<Mutex<Step>>,
    pub(super) latest: Arc<ArcSwap<Snapshot>>,
    pub(super) requests: Sender<Request>,
    /// Disconnected when the worker takes no more requests. One that is still in the channel then stays there, and its
    /// asker would wait for an answer in vain.
    pub(super) answering: Receiver<()>,
    /// How far the sinks of the logs are, if there are any.
    pub(super) queue_stats: Option<Arc<QueueStats>>,
    /// Disconnected when the worker has ended, and the writer of the logs.
    pub(super) ended: Receiver<()>,
    pub(super) death: Death,
}

impl Inner {
    /// [`Telemetry::snapshot`].
    pub(super) fn snapshot(&self, deadline: Duration) -> Result<Arc<Snapshot>, SnapshotError> {
        if self.instance.lanes.is_forked() {
            return Err(SnapshotError::Forked);
        }
        if is_own_thread() {
            return Err(SnapshotError::OwnThread);
        }
        let until = deadline_in(deadline); // one for both waits
        let (asker, answer) = bounded(1);
        match self.requests.send_deadline(Request::Snapshot(asker), until) {
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
            // It shut down before it came to this request: the last snapshot is there.
            None if self.instance.lanes.is_closed() => self.last(until),
            None => Err(SnapshotError::Ended),
        }
    }

    /// The last snapshot, after the end; no answer if the end was a fault, and not the shutdown.
    pub(super) fn last(&self, until: std::time::Instant) -> Result<Arc<Snapshot>, SnapshotError> {
        self.wait_for_sinks(until);
        if self.death.get().is_some() { Err(SnapshotError::Ended) } else { Ok(self.latest.load_full()) }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }

    /// Waits until what was handed over by now is written. A look now and then: a message to a writer that is stuck
    /// would stay in its queue for ever, and more with each call.
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
            // So many wait that the worker must be stuck: records are refused at least, and it ends as soon as it is
            // back, because it finds the directory closed.
            Err(TrySendError::Full(_)) => self.instance.lanes.close(),
        }
        if !is_own_thread() {
            // Nothing is ever sent: this waits for the end, or the deadline.
            let _ended = self.ended.recv_timeout(deadline);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown(self.config.drop_deadline);
        if self.instance.lanes.is_forked() {
            // The last end of a channel takes the channel's lock when it is dropped, and in the child of a fork a
            // thread that is not there may hold it. So these are not the last.
            let channels = (self.requests.clone(), self.answering.clone(), self.ended.clone());
            std::mem::forget((channels, Arc::clone(&self.step)));
        }
    }
}
