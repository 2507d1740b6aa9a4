//! Loom models of the way to the sinks: what is handed over is booked once, as written or as lost, before it counts as
//! settled. The channel itself is not tellane's; a queue under a lock stands in for it.

use super::{BatchReceiver, BatchSender, LogBatch, sender};
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

struct Rig {
    instance: Arc<Instance>,
    sender: BatchSender,
}

impl Rig {
    fn new() -> (Self, BatchReceiver) {
        let (clock, _hand) = Clock::mock();
        let limits = Limits { ring_words: 4, spill_words: 0, first_cells: 0, lanes: 1, idle: 1 };
        let lanes = Arc::new(LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO));
        let caps = Caps { series: 1, names: 1, label: 1 };
        let instance = Arc::new(Instance::new(lanes, caps, Sampling::default(), LogSettings::default()));
        let (sender, receiver) = sender(&instance);
        (Self { instance, sender }, receiver)
    }

    /// Hands a batch of one record over, as the aggregator does.
    fn post(&self) -> bool {
        let shared = &self.instance.lanes.shared;
        shared.shared_sent(Kind::Log);
        let anchor = Anchor { ticks: 0, unix_nanos: 0 };
        let posted = self.sender.post(LogBatch { words: Vec::new(), records: 1, anchor });
        if let Err(reason) = posted {
            assert_eq!(reason, Reason::SinkFull);
            shared.shared_lost(Kind::Log, reason, 1);
        }
        posted.is_ok()
    }

    /// Whoever sees that all is settled finds it in the account, and nothing on its way.
    fn is_accounted_for(&self, records: u64) {
        let account = self.instance.lanes.ledger().kind(Kind::Log);
        let found = account.aggregated + account.dropped.total();
        assert_eq!((account.recorded, found, account.in_flight), (records, records, 0), "{account:?}");
    }
}

/// What somebody does who asked for a snapshot: waits for the sinks, then reads the account. Of two batches, of which
/// one may wait at a time, each is written or counted as lost.
#[test]
fn settled() {
    let bugs = [Bug::RelaxedSettle, Bug::EarlySettle];
    check("outbox settled", 4_000, &bugs, || {
        let (rig, receiver) = Rig::new();
        let writer = spawn(move || {
            let mut written = 0;
            while let Some(mut queued) = receiver.next() {
                queued.written = 1;
                written += 1;
            }
            written
        });
        let posted = u64::from(rig.post()) + u64::from(rig.post());
        assert!(posted > 0, "an empty outbox takes a batch of any size");
        let queue_stats = Arc::clone(&rig.sender.queue_stats);
        assert_eq!(queue_stats.handed(), posted);
        while !queue_stats.has_settled(posted) {
            ::loom::thread::yield_now();
        }
        rig.is_accounted_for(2);
        let Rig { instance, sender } = rig;
        drop(sender); // the aggregator's end is the writer's
        assert_eq!(writer.join().expect("it does not fail"), posted);
        assert_eq!(instance.lanes.ledger().kind(Kind::Log).dropped.by(Reason::SinkFull), 2 - posted);
        assert_eq!(queue_stats.bytes(), 0, "all room is given back");
    });
}

/// The writer goes before its time, with a batch in hand: that one, what waits, and what is posted later are lost, counted,
/// and waited for by nobody.
#[test]
fn gone() {
    check("outbox gone", 100, &[Bug::UnsettledLoss], || {
        let (rig, receiver) = Rig::new();
        let writer = spawn(move || drop(receiver.next()));
        rig.post();
        rig.post();
        writer.join().expect("it does not fail");
        assert!(rig.sender.queue_stats.has_settled(rig.sender.queue_stats.handed()), "nobody waits for ever");
        rig.is_accounted_for(2);
        assert_eq!(rig.instance.lanes.ledger().kind(Kind::Log).aggregated, 0);
        assert_eq!(rig.sender.queue_stats.bytes(), 0, "all room is given back");
    });
}
