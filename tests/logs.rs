//! Logs through the front door: what a sink gets, what is held back, shed and lost, and the account of it.

mod support;

use support::{PATIENCE, assert_balanced};
use tellane::{Clock, Kind, Level, Sink, Telemetry, Value};

#[test]
fn a_record_arrives_whole() {
    let (clock, hand) = Clock::mock();
    let (sink, kept) = Sink::memory(10);
    let telemetry = Telemetry::builder("test").clock(clock).log_to(sink).start().expect("it starts");
    let log = telemetry.logger("app::db");
    let tracer = telemetry.tracer();
    hand.set(5_000_000_000);
    let span = tracer.span("query");
    let context = span.context().expect("it is on");
    tellane::info!(log, "slow query", rows = 3_u64, "db.name" = "main", ratio = 0.5, cached = false, diff = -1);
    drop(span);
    hand.set(6_000_000_000);
    log.error("it broke");
    tellane::debug!(log, "not heard", rows = 1);
    telemetry.snapshot(PATIENCE).expect("a snapshot");
    let records = kept.records();
    assert_eq!(records.len(), 2);
    let first = &records[0];
    assert_eq!((first.unix_nanos, first.level, &*first.message), (5_000_000_000, Level::Info, "slow query"));
    assert_eq!(first.span, Some((context.trace_id, context.span_id)));
    assert!(first.location.is_some_and(|(file, line)| file.ends_with("logs.rs") && line > 0));
    let fields: Vec<_> = first.fields.iter().map(|(key, value)| (&**key, value.clone())).collect();
    let expected = [
        ("rows", Value::U64(3)),
        ("db.name", Value::Str("main".into())),
        ("ratio", Value::F64(0.5)),
        ("cached", Value::Bool(false)),
        ("diff", Value::I64(-1)),
    ];
    assert_eq!(fields, expected);
    let second = &records[1];
    assert_eq!((second.level, &*second.message, second.span), (Level::Error, "it broke", None));
    assert_eq!((&*second.target, second.location), ("app::db", None));
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_balanced(&end.ledger);
    let logs = end.ledger.kind(Kind::Log);
    assert_eq!((logs.recorded, logs.aggregated), (2, 2));
    assert_balanced(telemetry.latest().ledger());
    log.warn("too late");
    assert_eq!(telemetry.ledger().kind(Kind::Log).dropped.by(tellane::Reason::AfterShutdown), 1);
}
