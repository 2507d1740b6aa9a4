//! What several of these files need. Each is a crate of its own and uses its part.
#![allow(dead_code)]

use std::time::{Duration, Instant};
use tellane::{Config, Kind, Ledger, Snapshot};

/// Long enough for a loaded machine; nothing waits this long unless it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings under which nothing that is only slow counts as sick: a machine that others use holds the aggregator up for
/// longer than the switch allows by default.
pub(crate) fn patient() -> Config {
    Config { shed_share: 1.0, stall_after: PATIENCE, ..Config::default() }
}

/// Waits until something holds. The deadline is generous and only there to turn a hang into a failure.
#[track_caller]
#[allow(clippy::disallowed_methods)] // the deadline is for the test, from outside
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The identity, at a quiescent point after shutdown: to the last record, with nothing on the way.
#[track_caller]
pub(crate) fn assert_balanced(ledger: &Ledger) {
    for kind in Kind::ALL {
        let account = ledger.kind(kind);
        let found = account.aggregated + account.dropped.total() + account.suppressed();
        assert_eq!(account.recorded, found, "{kind:?}: {account:?}");
        assert_eq!(account.in_flight, 0, "{kind:?}: {account:?}");
    }
    let exemplars = ledger.exemplars();
    assert_eq!(exemplars.offered, exemplars.kept + exemplars.replaced + exemplars.no_room, "{exemplars:?}");
}

/// What must hold of any ledger, read at any moment.
#[track_caller]
pub(crate) fn assert_possible(ledger: &Ledger) {
    for kind in Kind::ALL {
        let account = ledger.kind(kind);
        let found = account.aggregated + account.dropped.total() + account.suppressed();
        assert!(account.recorded >= found, "{kind:?}: {account:?}");
    }
    let exemplars = ledger.exemplars();
    let settled = exemplars.kept + exemplars.replaced + exemplars.no_room;
    assert!(exemplars.offered >= settled, "{exemplars:?}");
}

/// What must hold of any snapshot: no histogram is torn.
#[track_caller]
pub(crate) fn assert_whole(snapshot: &Snapshot) {
    for point in snapshot.points() {
        if let tellane::PointValue::Histogram(view) = point.value() {
            let buckets: u64 = view.buckets().map(|(_, _, count)| count).sum();
            assert_eq!(view.count(), buckets, "{}", point.name());
        }
    }
    assert_possible(snapshot.ledger());
}
