//! Loom models of the queue to the sinks: each record that is sent is counted once, as written or as lost, before it
//! counts as settled. The channel itself is not tellane's; a queue under a lock stands in for it.

use super::{BatchReceiver, BatchSender, LogBatch, log_queue};
use crate::clock::{Anchor, Clock};
use crate::instance::Instance;
use crate::lane::{LaneRegistry, Limits};
use crate::model::{check, spawn};
use crate::sampling::Sampling;
use crate::series::Caps;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::sync::plant::Bug;
use crate::targets::LogSettings;
use std::time::Duration;

/// An instance and the sending end of its log queue.
struct QueueRig {
    instance: Arc<Instance>,
    sender: BatchSender,
}

impl QueueRig {
    fn new() -> (Self, BatchReceiver) {
        let (clock, _hand) = Clock::mock();
        let limits = Limits { ring_words: 4, spill_words: 0, first_cells: 0, lanes: 1, idle: 1 };
        let lanes = Arc::new(LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO));
        let caps = Caps { series: 1, names: 1, label: 1 };
        let instance = Arc::new(Instance::new(lanes, caps, Sampling::default(), LogSettings::default()));
        let (sender, receiver) = log_queue(&instance);
        (Self { instance, sender }, receiver)
    }

    /// Sends a batch of one record, as the aggregator does.
    fn send(&self) -> bool {
        let shared = &self.instance.lanes.shared;
        shared.shared_sent(Kind::Log);
        let anchor = Anchor { ticks: 0, unix_nanos: 0 };
        let sent = self.sender.send(LogBatch { words: Vec::new(), records: 1, anchor });
        if let Err(reason) = sent {
            assert_eq!(reason, Reason::SinkFull);
            shared.shared_lost(Kind::Log, reason, 1);
        }
        sent.is_ok()
    }

    /// Asserts that the ledger has all records as written or lost, and none in flight.
    fn assert_accounted_for(&self, records: u64) {
        let account = self.instance.lanes.ledger().kind(Kind::Log);
        let found = account.aggregated + account.dropped.total();
        assert_eq!((account.recorded, found, account.in_flight), (records, records, 0), "{account:?}");
    }
}

/// A snapshot waits for the sinks, then reads the ledger. Of two batches, of which one fits the queue at a time, each
/// is written or counted as lost.
#[test]
fn settled() {
    let bugs = [Bug::RelaxedSettle, Bug::EarlySettle];
    check("log queue settled", 4_000, &bugs, || {
        let (rig, receiver) = QueueRig::new();
        let writer = spawn(move || {
            let mut written = 0;
            while let Some(mut queued) = receiver.recv() {
                queued.written = 1;
                written += 1;
            }
            written
        });
        let sent = u64::from(rig.send()) + u64::from(rig.send());
        assert!(sent > 0, "an empty queue accepts a batch of any size");
        let queue_stats = Arc::clone(&rig.sender.queue_stats);
        assert_eq!(queue_stats.sent(), sent);
        while !queue_stats.has_settled(sent) {
            ::loom::thread::yield_now();
        }
        rig.assert_accounted_for(2);
        let QueueRig { instance, sender } = rig;
        drop(sender); // ends the writer
        assert_eq!(writer.join().expect("the writer does not panic"), sent);
        assert_eq!(instance.lanes.ledger().kind(Kind::Log).dropped.by(Reason::SinkFull), 2 - sent);
        assert_eq!(queue_stats.bytes(), 0, "no words stay queued");
    });
}

/// The writer ends early, while it holds a batch. That batch, the queued ones and those sent later are counted as lost,
/// and no caller waits for them forever.
#[test]
fn gone() {
    check("log queue gone", 100, &[Bug::UnsettledLoss], || {
        let (rig, receiver) = QueueRig::new();
        let writer = spawn(move || drop(receiver.recv()));
        rig.send();
        rig.send();
        writer.join().expect("the writer does not panic");
        assert!(rig.sender.queue_stats.has_settled(rig.sender.queue_stats.sent()), "no caller waits forever");
        rig.assert_accounted_for(2);
        assert_eq!(rig.instance.lanes.ledger().kind(Kind::Log).aggregated, 0);
        assert_eq!(rig.sender.queue_stats.bytes(), 0, "no words stay queued");
    });
}
