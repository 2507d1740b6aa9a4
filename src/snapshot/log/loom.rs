//! Loom models of the way to the sinks: what is handed over is booked once, as written or as lost, before it counts as
//! settled. The channel itself is not tellane's; a queue under a lock stands in for it.

use super::{Inbox, LogBatch, Outbox, outbox};
use crate::clock::{Anchor, Clock};
use crate::lane::{Directory, Limits};
use crate::model::{check, spawn};
use crate::series::{Caps, Registry, Tracing};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::sync::plant::Bug;
use std::time::Duration;

struct Rig {
    registry: Arc<Registry>,
    outbox: Outbox,
}

impl Rig {
    fn new() -> (Self, Inbox) {
        let (clock, _hand) = Clock::mock();
        let limits = Limits { ring_words: 4, spill_words: 0, first_cells: 0, lanes: 1, idle: 1 };
        let directory = Arc::new(Directory::new(1, limits, clock, Duration::ZERO, Duration::ZERO));
        let caps = Caps { series: 1, names: 1, label: 1 };
        let registry = Arc::new(Registry::new(directory, caps, Tracing::default()));
        let (outbox, inbox) = outbox(&registry);
        (Self { registry, outbox }, inbox)
    }

    /// Hands a batch of one record over, as the aggregator does.
    fn post(&self) -> bool {
        let shared = &self.registry.directory.shared;
        shared.shared_sent(Kind::Log);
        let anchor = Anchor { ticks: 0, unix_nanos: 0 };
        let posted = self.outbox.post(LogBatch { words: Vec::new(), records: 1, anchor });
        if let Err(reason) = posted {
            assert_eq!(reason, Reason::SinkFull);
            shared.shared_lost(Kind::Log, reason, 1);
        }
        posted.is_ok()
    }

    /// Whoever sees that all is settled finds it in the account, and nothing on its way.
    fn is_accounted_for(&self, records: u64) {
        let account = self.registry.directory.ledger().kind(Kind::Log);
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
        let (rig, inbox) = Rig::new();
        let writer = spawn(move || {
            let mut written = 0;
            while let Some(mut parcel) = inbox.next() {
                parcel.written = 1;
                written += 1;
            }
            written
        });
        let posted = u64::from(rig.post()) + u64::from(rig.post());
        assert!(posted > 0, "an empty outbox takes a batch of any size");
        let mail = Arc::clone(&rig.outbox.mail);
        assert_eq!(mail.handed(), posted);
        while !mail.has_settled(posted) {
            ::loom::thread::yield_now();
        }
        rig.is_accounted_for(2);
        let Rig { registry, outbox } = rig;
        drop(outbox); // the aggregator's end is the writer's
        assert_eq!(writer.join().expect("it does not fail"), posted);
        assert_eq!(registry.directory.ledger().kind(Kind::Log).dropped.by(Reason::SinkFull), 2 - posted);
        assert_eq!(mail.bytes(), 0, "all room is given back");
    });
}

/// The writer goes before its time, with a batch in hand: that one, what waits, and what is posted later are lost, counted,
/// and waited for by nobody.
#[test]
fn gone() {
    check("outbox gone", 100, &[Bug::UnsettledLoss], || {
        let (rig, inbox) = Rig::new();
        let writer = spawn(move || drop(inbox.next()));
        rig.post();
        rig.post();
        writer.join().expect("it does not fail");
        assert!(rig.outbox.mail.has_settled(rig.outbox.mail.handed()), "nobody waits for ever");
        rig.is_accounted_for(2);
        assert_eq!(rig.registry.directory.ledger().kind(Kind::Log).aggregated, 0);
        assert_eq!(rig.outbox.mail.bytes(), 0, "all room is given back");
    });
}
