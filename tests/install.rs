//! The global instance: statics before and after it, all five macros, what becomes of a bad one, and that there is one
//! for the life of the process. A single test, since a process installs once.

mod support;

use std::time::Duration;
use support::{PATIENCE, assert_balanced};
use tellane::{
    Kind, LazyCounter, LazyGauge, LazyHistogram, LazyTimer, LazyUpDownCounter, Reason, RegisterError,
    StartError, Telemetry,
};

static HITS: LazyCounter = tellane::counter!("hits_total", "Hits served.", "kind" => "read", "zone" => "a");
static MISSES: LazyCounter = tellane::counter!("hits_total", "Hits served.", "kind" => "miss", "zone" => "a");
static SENT: LazyCounter = tellane::counter!("sent", "Bytes sent.").bytes();
static OPEN: LazyUpDownCounter = tellane::up_down_counter!("open", "Open connections.");
static HEAT: LazyGauge = tellane::gauge!("heat_celsius", "Heat inside.",);
static SIZES: LazyHistogram = tellane::histogram!("reply", "Size of replies.").bytes();
static WAIT: LazyHistogram = tellane::histogram!("wait", "Waiting.").seconds();
static PARSING: LazyTimer = tellane::timer!("parsing", "Time to parse.", "file" => "toml");
static BAD: LazyCounter = tellane::counter!("no name", "Refused.");
static TAKEN: LazyGauge = tellane::gauge!("hits_total", "Another type.");

fn record() {
    HITS.inc();
    MISSES.add(3);
    SENT.add(100);
    OPEN.inc();
    OPEN.add(4);
    HEAT.set(21.5);
    SIZES.record(1_500);
    WAIT.record_duration(Duration::from_millis(250));
    PARSING.time(|| ());
    BAD.inc();
    TAKEN.set(1.0);
}

#[test]
fn statics_record_into_the_one_installed_instance() {
    record(); // nobody is there: nothing happens

    let alone = Telemetry::builder("alone").start().expect("an instance of its own is not global");
    record();
    assert_eq!(alone.snapshot(PATIENCE).expect("a snapshot").points().len(), 0);

    let installed: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16).map(|_| scope.spawn(|| Telemetry::builder("global").install())).collect();
        tries.into_iter().map(|tried| tried.join().expect("no panic")).collect()
    });
    let refused = installed.iter().filter(|tried| matches!(tried, Err(StartError::AlreadyInstalled))).count();
    assert_eq!(refused, 15, "one wins");
    let telemetry = installed.into_iter().find_map(Result::ok).expect("one won");

    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(record);
        }
    });
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let zone = ("zone", "a");
    assert_eq!(snapshot.counter("hits_total", &[("kind", "read"), zone]), Some(8));
    assert_eq!(snapshot.counter("hits_total", &[zone, ("kind", "miss")]), Some(24));
    assert_eq!(snapshot.counter("sent_bytes_total", &[]), Some(800));
    assert_eq!(snapshot.up_down_counter("open", &[]), Some(40));
    assert_eq!(snapshot.gauge("heat_celsius", &[]), Some(21.5));
    let sizes = snapshot.histogram("reply_bytes", &[]).expect("registered at its first use");
    assert_eq!((sizes.count(), sizes.sum()), (8, 12_000.0));
    let wait = snapshot.histogram("wait_seconds", &[]).expect("registered at its first use");
    assert_eq!((wait.count(), wait.max()), (8, Some(0.25)));
    let parsing = snapshot.histogram("parsing_seconds", &[("file", "toml")]);
    assert_eq!(parsing.map(|parsing| parsing.count()), Some(8));

    // What could not be registered does nothing, once and for all, and says why.
    let mut faults = telemetry.faults();
    faults.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert_eq!(faults[1].error, RegisterError::BadName { name: "no name".into() });
    let RegisterError::Conflict { name, at, .. } = &faults[0].error else { panic!("{faults:?}") };
    assert_eq!(name, "hits_total");
    assert!(at.file().ends_with("install.rs"), "where the static is, not where statics are made: {at}");
    assert_eq!(snapshot.pipeline().faults, 2);
    assert_eq!(snapshot.faults().len(), 2);

    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    record();
    let samples = telemetry.ledger().kind(Kind::Sample);
    assert_eq!(samples.dropped.by(Reason::AfterShutdown), 3, "statics count what they drop");
    assert!(matches!(Telemetry::builder("again").install(), Err(StartError::AlreadyInstalled)));
    drop(telemetry);
    assert!(matches!(Telemetry::builder("again").install(), Err(StartError::AlreadyInstalled)));
    record(); // and still nobody panics
}
