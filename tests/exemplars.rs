//! Exemplars beside the ledger: the sample is the record, so no count of records changes with its exemplar, and the
//! exemplars' own account adds up to the last one.

mod support;

use crossbeam_channel::bounded;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{PATIENCE, assert_balanced, assert_possible, eventually, patient};
use tellane::{
    Config, FailPoint, Histogram, Kind, PointValue, Report, Snapshot, Telemetry, Tracer, prometheus,
};

/// Powers of two that are recorded: each makes one exemplar between two snapshots.
const POWERS: u64 = 30;

/// One sample of each power of two, in a span of their own.
fn order(tracer: &Tracer, sizes: &Histogram) {
    let _order = tracer.span("order");
    (0..POWERS).for_each(|power| sizes.record(1 << power));
}

/// Exemplars that the snapshot's histograms show.
fn shown(snapshot: &Snapshot) -> u64 {
    let of = |value: &PointValue| match value {
        PointValue::Histogram(view) => view.exemplars().len() as u64,
        _ => 0,
    };
    snapshot.points().map(|point| of(point.value())).sum()
}

/// A snapshot of an instance whose aggregator stood still while one thread recorded: most exemplars found no room.
fn crowded() -> (Telemetry, std::sync::Arc<Snapshot>) {
    let (arrive, arrived) = bounded(0);
    let (release, released) = bounded::<()>(0);
    let config = Config { ring_words: 64, ..patient() };
    let builder = Telemetry::builder("shop").config(config).inject(move |at| {
        if at == FailPoint::Step && arrive.send(()).is_ok() {
            let _free = released.recv();
        }
    });
    let telemetry = builder.start().expect("it starts");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let tracer = telemetry.tracer();
    arrived.recv_timeout(PATIENCE).expect("a pass");
    order(&tracer, &sizes);
    drop((arrived, release));
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    (telemetry, snapshot)
}

#[test]
fn an_exemplar_without_room_is_no_dropped_record() {
    let (telemetry, snapshot) = crowded();
    let ledger = snapshot.ledger();
    let samples = ledger.kind(Kind::Sample);
    assert_eq!((samples.recorded, samples.aggregated), (POWERS, POWERS));
    let total = ledger.total();
    assert_eq!((total.recorded, total.aggregated), (POWERS + 1, POWERS + 1), "the samples and the span");
    assert_eq!((total.dropped.total(), total.suppressed(), total.in_flight), (0, 0, 0));

    let (exemplars, kept) = (ledger.exemplars(), shown(&snapshot));
    assert!(0 < kept && kept < POWERS, "some found room, some did not: {exemplars:?}");
    assert_eq!((exemplars.offered, exemplars.kept, exemplars.replaced), (POWERS, kept, 0));
    assert_eq!((exemplars.no_room, exemplars.in_flight()), (POWERS - kept, 0));
    assert_eq!(telemetry.ledger().exemplars(), exemplars);
    let end = telemetry.shutdown(PATIENCE);
    assert_eq!((end.flushed, end.ledger.exemplars()), (POWERS + 1, exemplars));
    assert_balanced(&end.ledger);
}

#[test]
fn newer_exemplars_replace_the_oldest_and_the_count_says_so() {
    let telemetry = Telemetry::builder("shop").config(patient()).start().expect("it starts");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let (rounds, tracer) = (5, telemetry.tracer());
    for round in 1..=rounds {
        order(&tracer, &sizes);
        order(&tracer, &sizes); // the exemplars of this time are there already
        let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
        let exemplars = snapshot.ledger().exemplars();
        let kept = POWERS * round.min(2);
        assert_eq!((exemplars.kept, shown(&snapshot)), (kept, kept));
        assert_eq!((exemplars.offered, exemplars.replaced), (POWERS * round, POWERS * round - kept));
        assert_eq!(exemplars.no_room, 0);
    }
    telemetry.switch().force_off();
    order(&tracer, &sizes);
    let end = telemetry.shutdown(PATIENCE).ledger;
    assert_eq!(end.exemplars().offered, POWERS * rounds, "what is off offers none");
    assert_eq!(end.kind(Kind::Sample).suppressed(), POWERS);
    assert_balanced(&end);
}

/// Threads come and go, lanes are retired, rings are small, others look, and the end comes in between.
#[test]
fn the_account_holds_over_threads_their_ends_and_a_racing_shutdown() {
    let mut crowded_out = 0;
    for round in 0..10_u64 {
        let config = Config { ring_words: 64, idle_lanes: 1, ..patient() };
        let telemetry = Telemetry::builder("shop").config(config).start().expect("it starts");
        let sizes = telemetry.histogram("sizes").register().expect("a good name");
        let times = telemetry.timer("times").register().expect("a good name");
        let (tracer, done) = (telemetry.tracer(), AtomicBool::new(false));
        let recorded: u64 = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0;
                while looks < 3 || !done.load(Ordering::Acquire) {
                    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot, or the last one");
                    assert_possible(snapshot.ledger());
                    assert_possible(&telemetry.ledger());
                    looks += 1;
                }
            });
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let once = || {
                            order(&tracer, &sizes);
                            let _timed = tracer.span("timed");
                            times.time(|| ());
                            POWERS + 1
                        };
                        let one = || (0..20).map(|_| once()).sum::<u64>();
                        (0..10)
                            .map(|_| std::thread::scope(|s| s.spawn(one).join().expect("no panic")))
                            .sum::<u64>()
                    })
                })
                .collect();
            if round % 2 == 1 {
                eventually("exemplars come", || telemetry.ledger().exemplars().offered > 0);
                assert!(telemetry.shutdown(PATIENCE).finished);
            }
            let recorded = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
            done.store(true, Ordering::Release);
            reader.join().expect("no panic");
            recorded
        });
        let before = telemetry.snapshot(PATIENCE).expect("a snapshot, or the last one");
        if round % 2 == 0 {
            assert_eq!(before.ledger().exemplars().kept, shown(&before));
        }
        assert!(telemetry.shutdown(PATIENCE).finished);
        let ledger = telemetry.ledger();
        assert_balanced(&ledger);
        let samples = ledger.kind(Kind::Sample);
        let shed = ledger.kind(Kind::Span).dropped.total()
            - ledger.kind(Kind::Span).dropped.by(tellane::Reason::AfterShutdown);
        assert!(
            samples.recorded >= recorded && samples.recorded <= recorded + shed,
            "a shed span counts its duration"
        );
        if round % 2 == 0 {
            assert_eq!(samples.dropped.total(), 0);
        }
        crowded_out += ledger.exemplars().no_room;
    }
    assert!(crowded_out > 0, "some found no room");
}

#[test]
fn it_is_saved_merged_exposed_and_shown() {
    let (_telemetry, here) = crowded();
    let exemplars = here.ledger().exemplars();
    let there = Snapshot::from_bytes(&here.to_bytes().expect("it fits")).expect("a snapshot");
    assert_eq!(there.ledger(), here.ledger());
    let both = here.merge(&there).expect("the same metrics").ledger().exemplars();
    assert_eq!((both.offered, both.kept), (2 * exemplars.offered, 2 * exemplars.kept));
    assert_eq!((both.replaced, both.no_room), (0, 2 * exemplars.no_room));

    for snapshot in [&*here, &there] {
        let text = prometheus::render(snapshot);
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<u64>().expect("a number")
        };
        assert_eq!(figure("tellane_exemplars_offered_total"), exemplars.offered);
        assert_eq!(figure("tellane_exemplars_kept"), exemplars.kept);
        assert_eq!(figure("tellane_exemplars_replaced_total"), 0);
        assert_eq!(figure("tellane_exemplars_no_room_total"), exemplars.no_room);
        assert!(!text.contains("\"exemplar\""), "no kind of record: {text}");

        let report = Report(snapshot).to_string();
        let row = format!(
            "  exemplars {} offered, {} kept, 0 replaced, {} did not fit\n",
            exemplars.offered, exemplars.kept, exemplars.no_room
        );
        assert!(report.contains(&row), "{report}");
        let last =
            format!("ledger recorded={0} aggregated={0} dropped=0 suppressed=0 in_flight=0\n", POWERS + 1);
        assert!(report.ends_with(&last), "{report}");
        assert!(!report.lines().any(|line| line.starts_with("    dropped ")), "{report}");
    }
}

/// Earlier versions counted exemplars as a fourth kind of record. What they saved cannot be read right, since it does
/// not say how many were replaced, and is refused.
#[test]
fn an_account_of_an_earlier_version_is_refused() {
    use tellane::record::{Record, encode, to_bytes};
    let (_telemetry, here) = crowded();
    let mut bytes = here.to_bytes().expect("it fits");
    let mut words = Vec::new();
    let account = vec![62, 35, 0, 0, 0, 0, 27]; // recorded, aggregated, …, dropped for lack of room
    encode(&Record::Figures { what: 4, id: 3, words: account }, &mut words).expect("it fits");
    bytes.extend(&to_bytes(&words)[8..]); // without the magic
    let error = Snapshot::from_bytes(&bytes).expect_err("refused");
    assert_eq!(error, tellane::ReadError::Unexpected);
    assert!(error.to_string().contains("another version"), "{error}");
}
