//! Logs through the front door: what a sink gets, what is held back, shed and lost, and the account of it.

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, eventually};
use tellane::testing::Kit;
use tellane::{Config, Format, Kind, Level, LogRecord, Logger, Reason, Sink, Telemetry, Value};

fn messages(records: &[LogRecord]) -> Vec<&str> {
    records.iter().map(|record| &*record.message).collect()
}

#[test]
fn a_record_arrives_whole() {
    let kit = Kit::new();
    let log = kit.logger("app::db");
    let tracer = kit.tracer();
    kit.clock().set(5_000_000_000);
    let span = tracer.span("query");
    let context = span.span_context().expect("it is on");
    tellane::info!(
        log,
        "slow query",
        rows = 3_u64,
        "db.name" = "main",
        ratio = 0.5,
        cached = false,
        diff = -1
    );
    drop(span);
    kit.clock().set(6_000_000_000);
    log.error("it broke");
    tellane::debug!(log, "not heard", rows = 1);
    let records = kit.logs();
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
    let end = kit.end();
    let logs = end.kind(Kind::Log);
    assert_eq!((logs.recorded, logs.aggregated), (2, 2));
    assert_balanced(kit.telemetry().latest().ledger());
    log.warn("too late");
    assert_eq!(kit.telemetry().ledger().kind(Kind::Log).dropped.by(Reason::AfterShutdown), 1);
}

#[test]
fn records_of_many_threads_come_in_the_order_of_their_times() {
    let config = Config { logs_per_second: None, ..Config::default() };
    let kit = Kit::with(config);
    let log = kit.logger("app");
    let turn = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    // One at a time, so that each has a time of its own.
                    let _turn = turn.lock().expect("not poisoned");
                    kit.clock().advance(Duration::from_millis(1));
                    tellane::info!(log, "tick");
                }
            });
        }
    });
    let times: Vec<u64> = kit.logs().iter().map(|record| record.unix_nanos).collect();
    assert_eq!(times.len(), 2_000);
    assert!(times.is_sorted());
    kit.end();
}

#[test]
fn levels_change_while_it_runs() {
    let kit = Kit::with(Config { log_level: Some(Level::Warn), ..Config::default() });
    let (db, pool) = (kit.logger("app::db"), kit.logger("app::db::pool"));
    let emit = |what: &str| {
        db.debug(&format!("db {what}"));
        pool.debug(&format!("pool {what}"));
    };
    emit("quiet");
    kit.telemetry().set_level("app", Level::Debug);
    emit("loud");
    kit.telemetry().set_level("app::db::pool", None);
    emit("half");
    kit.telemetry().set_levels("off,app::db::pool=debug").expect("rules");
    emit("other half");
    assert!(kit.telemetry().set_levels("debug,app=loud").is_err());
    emit("as before");
    let expected = ["db loud", "pool loud", "db half", "pool other half", "pool as before"];
    assert_eq!(messages(&kit.logs()), expected);
    let end = kit.end();
    assert_eq!(end.kind(Kind::Log).recorded, 5, "what is below the level is no record");
}

#[test]
fn a_statement_that_says_too_much_is_held_back_and_told_of() {
    let kit = Kit::with(Config { logs_per_second: Some(10), ..Config::default() });
    let log = kit.logger("app");
    let noisy = |log: &Logger| tellane::warn!(log, "again");
    (0..25).for_each(|_| noisy(&log));
    tellane::info!(log, "another statement is free");
    assert_eq!(kit.logs().len(), 11);
    kit.clock().advance(Duration::from_secs(1));
    // The pass after the second's end tells of it.
    eventually("a summary", || kit.logs().len() > 11);
    let told = &kit.logs()[11..];
    assert_eq!(
        (told.len(), &*told[0].message, told[0].level, &*told[0].target),
        (1, "again", Level::Warn, "app")
    );
    assert_eq!((&*told[0].fields[0].0, &told[0].fields[0].1), ("held_back", &Value::U64(15)));
    (0..12).for_each(|_| noisy(&log));
    let end = kit.end();
    let last = &kit.logs()[12..];
    assert_eq!(last.len(), 11, "the end does not wait for the second's end");
    assert_eq!(last[10].fields[0].1, Value::U64(2));
    let logs = end.kind(Kind::Log);
    assert_eq!((logs.recorded, logs.aggregated, logs.held_back), (25 + 1 + 1 + 12 + 1, 23, 17));
}

#[test]
fn a_full_ring_sheds_the_least_first() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().expect("not poisoned");
    let theirs = Arc::clone(&gate);
    let (sink, kept) = Sink::memory(100_000);
    let config = Config {
        ring_words: 1 << 10,
        log_level: Some(Level::Trace),
        logs_per_second: None,
        stall_after: PATIENCE,
        ..Config::default()
    };
    let builder = Telemetry::builder("test").config(config).log_to(sink);
    let builder = builder.inject(move |_| drop(theirs.lock().unwrap_or_else(PoisonError::into_inner)));
    let telemetry = builder.start().expect("it starts");
    let log = telemetry.logger("app");
    let ledger = || telemetry.ledger();
    let mut room = Vec::new();
    for level in Level::ALL {
        let before = ledger().kind(Kind::Log).dropped.by(Reason::RingFull);
        let mut sent = 0;
        while ledger().kind(Kind::Log).dropped.by(Reason::RingFull) == before {
            log.emit(level, "x");
            sent += 1;
        }
        assert_eq!(ledger().logs_shed(level), 1, "{level}");
        room.push(sent);
    }
    let shed = ledger();
    assert!(room.iter().all(|sent| *sent > 1), "each level has room that the one below has not: {room:?}");
    drop(held);
    let end = telemetry.shutdown(PATIENCE);
    assert_balanced(&end.ledger);
    assert_eq!(end.ledger.kind(Kind::Log).dropped.by(Reason::RingFull), 5);
    let last = telemetry.latest();
    let saved = tellane::Snapshot::from_bytes(&last.to_bytes().expect("small")).expect("whole");
    for level in Level::ALL {
        assert_eq!(saved.ledger().logs_shed(level), shed.logs_shed(level), "{level}: saved as well");
    }
    assert_eq!(saved.ledger(), last.ledger());
    assert_eq!(kept.records().len() as u64, end.ledger.kind(Kind::Log).aggregated);
}

#[test]
fn the_switch_keeps_logs_out() {
    let kit = Kit::new();
    let log = kit.logger("app");
    log.info("before");
    kit.telemetry().switch().force_off();
    log.error("while off");
    kit.telemetry().switch().release();
    log.info("after");
    let end = kit.end();
    assert_eq!(messages(&kit.logs()), ["before", "after"]);
    assert_eq!(end.kind(Kind::Log).switched_off, 1);
}

#[test]
fn a_thread_without_a_lane_counts_what_it_loses() {
    let kit = Kit::with(Config { lane_cap: 0, ..Config::default() });
    kit.logger("app").info("nobody carries this");
    let end = kit.end();
    assert!(kit.logs().is_empty());
    assert_eq!(end.kind(Kind::Log).dropped.by(Reason::TooManyThreads), 1);
}

#[derive(Debug)]
struct Chain(u32);

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fault {}", self.0)
    }
}

static CHAIN: [Chain; 8] = [Chain(0), Chain(1), Chain(2), Chain(3), Chain(4), Chain(5), Chain(6), Chain(7)];

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        CHAIN.get(self.0 as usize + 1).map(|next| next as _)
    }
}

#[test]
fn an_error_brings_its_causes() {
    let kit = Kit::new();
    let log = kit.logger("app");
    log.exception(&CHAIN[6]);
    log.error_with(&CHAIN[0], "all of it");
    log.exception(&io::Error::other("x".repeat(5_000)));
    let records = kit.logs();
    let fields = |number: usize| -> Vec<(String, String)> {
        let fields = records[number].fields.iter();
        fields.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    assert_eq!((&*records[0].message, records[0].level), ("fault 6", Level::Error));
    assert_eq!(fields(0), [("error.cause".to_owned(), "fault 7".to_owned())]);
    assert_eq!(&*records[1].message, "all of it");
    let names = ["error", "error.cause", "error.cause.2", "error.cause.3", "error.cause.4"];
    let all = fields(1);
    assert_eq!(all.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), names);
    assert_eq!((&*all[0].1, &*all[4].1), ("fault 0", "fault 4"));
    assert_eq!(records[1].fields_dropped, 1, "the chain is longer than that");
    assert!(records[2].message.ends_with('…') && records[2].message.len() <= 1_024);
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let kit = Kit::with(Config { log_value: 100, ..Config::default() });
    let log = kit.logger("app");
    let huge = "ü".repeat(5 << 20);
    tellane::info!(log, "huge", text = &huge, small = "s");
    log.info(&huge);
    log.at(Level::Info).with("text", &huge).with("more", "x".repeat(90).as_str()).emit(&huge);
    let records = kit.logs();
    assert_eq!(records[0].fields[0].1, Value::Cut("ü".repeat(100)));
    assert_eq!(records[0].fields[1].1, Value::Str("s".into()));
    assert_eq!(*records[1].message, *format!("{}…", "ü".repeat(99)));
    assert_eq!((records[2].fields.len(), records[2].fields_dropped), (2, 0));
    for format in [Format::Human, Format::Logfmt, Format::Json] {
        assert!(format.line(&records[0]).contains("ü…"), "{format:?}");
    }
}

/// A sink that a test opens, shuts and breaks.
#[derive(Clone, Default)]
struct Valve(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    shut: bool,
    reached: bool,
    broken: bool,
    /// Bytes taken before the next failure.
    takes: Option<usize>,
    text: Vec<u8>,
}

impl Valve {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        let state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(state.text.clone()).expect("text")
    }
}

impl Write for Valve {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while state.shut {
            state.reached = true;
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = match state.takes {
            Some(0) => {
                state.takes = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(left) => {
                let most = left.min(bytes.len());
                state.takes = Some(left - most);
                most
            }
            None => bytes.len(),
        };
        state.text.extend_from_slice(&bytes[..most]);
        Ok(most)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_costs_what_it_did_not_take() {
    let valve = Valve::default();
    let sink = Sink::writer(Format::Logfmt, Box::new(valve.clone()));
    let telemetry = Telemetry::builder("test").log_to(sink).start().expect("it starts");
    let log = telemetry.logger("app");
    let emit = |message: &str| {
        log.info(message);
        telemetry.snapshot(PATIENCE).expect("a snapshot");
    };
    emit("one");
    valve.set(|state| state.broken = true);
    emit("two");
    valve.set(|state| state.broken = false);
    emit("three");
    valve.set(|state| state.takes = Some(10)); // tears the line
    emit("four");
    emit("five");
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_balanced(&end.ledger);
    let logs = end.ledger.kind(Kind::Log);
    assert_eq!((logs.aggregated, logs.dropped.by(Reason::SinkFailed)), (3, 2));
    let text = valve.text();
    let whole: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("msg=")).map(|(_, at)| at).collect();
    assert_eq!(whole, ["one", "three", "five"]);
    assert_eq!(text.lines().count(), 4, "the torn line stands alone: {text}");
}

#[test]
fn a_sink_that_panics_costs_its_records_and_nothing_else() {
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            std::panic::resume_unwind(Box::new("on purpose"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (memory, kept) = Sink::memory(10);
    let builder = Telemetry::builder("test").log_to(Sink::writer(Format::Json, Box::new(Panics)));
    let telemetry = builder.log_to(memory).start().expect("it starts");
    telemetry.logger("app").info("one");
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_balanced(&end.ledger);
    assert_eq!(end.ledger.kind(Kind::Log).dropped.by(Reason::SinkFailed), 1);
    assert_eq!(messages(&kept.records()), ["one"], "the other sink has it");
}

#[test]
fn a_sink_that_blocks_stops_nobody() {
    let valve = Valve::default();
    valve.set(|state| state.shut = true);
    let sink = Sink::writer(Format::Logfmt, Box::new(valve.clone()));
    let config = Config { logs_per_second: None, ..Config::default() };
    let builder = Telemetry::builder("test").config(config).log_to(sink);
    let telemetry = builder.start().expect("it starts");
    let log = telemetry.logger("app");
    let calls = telemetry.counter("calls_total").register().expect("a good name");
    log.info("stuck");
    eventually("the writer is stuck", || valve.0.0.lock().is_ok_and(|state| state.reached));
    calls.inc();
    // Each waits for the sink until its deadline, and has its answer from an aggregator that is not stuck.
    eventually("the aggregator answers", || {
        let taken = telemetry.snapshot(Duration::from_millis(100));
        taken.is_ok_and(|snapshot| snapshot.counter("calls_total", &[]) == Some(1))
    });
    // More than may wait.
    let text = "x".repeat(4_000);
    eventually("the queue is full", || {
        (0..20).for_each(|_| log.info(&text));
        telemetry.ledger().kind(Kind::Log).dropped.by(Reason::SinkFull) > 0
    });
    let end = telemetry.shutdown(Duration::from_millis(50));
    assert!(!end.finished);
    let logs = end.ledger.kind(Kind::Log);
    assert!(logs.in_flight > 0);
    valve.set(|state| state.shut = false);
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_balanced(&end.ledger);
    assert_balanced(telemetry.latest().ledger());
    assert_eq!(valve.text().lines().count() as u64, end.ledger.kind(Kind::Log).aggregated);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let sink = Sink::writer(Format::Human, Box::new(full));
    let telemetry = Telemetry::builder("test").log_to(sink).start().expect("it starts");
    (0..5).for_each(|_| telemetry.logger("app").info("no room"));
    let end = telemetry.shutdown(PATIENCE);
    assert_balanced(&end.ledger);
    assert_eq!(end.ledger.kind(Kind::Log).dropped.by(Reason::SinkFailed), 5);
}

#[test]
fn without_a_sink_records_are_counted() {
    let telemetry = Telemetry::builder("test").start().expect("it starts"); // the kit has a sink
    (0..5).for_each(|_| telemetry.logger("app").info("into the blue"));
    let end = telemetry.shutdown(PATIENCE);
    assert_balanced(&end.ledger);
    assert_eq!(end.ledger.kind(Kind::Log).aggregated, 5);
}

#[test]
fn a_file_is_rotated_and_no_line_is_torn() {
    let directory = std::env::temp_dir().join(format!("tellane-logs-{}", std::process::id()));
    let _left_by_another = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory for temporary files");
    let path = directory.join("app.log");
    let rotation = tellane::Rotation { bytes: 1_000, files: 2 };
    let sink = Sink::file(&path, rotation, Format::Logfmt).expect("it can be opened");
    let telemetry = Telemetry::builder("test").log_to(sink).start().expect("it starts");
    let log = telemetry.logger("app");
    for number in 0..100_u64 {
        tellane::info!(log, "numbered", number = number);
        telemetry.snapshot(PATIENCE).expect("a snapshot");
    }
    assert_balanced(&telemetry.shutdown(PATIENCE).ledger);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("it is there");
    let text = [read("app.log.2"), read("app.log.1"), read("app.log")].concat();
    let numbers: Vec<u64> = text
        .lines()
        .filter_map(|line| line.rsplit_once("number=").and_then(|(_, number)| number.parse().ok()))
        .collect();
    assert_eq!(numbers.len(), text.lines().count());
    assert!(numbers.is_sorted() && numbers.last() == Some(&99), "{numbers:?}");
    assert!(read("app.log.1").len() <= 1_000 && !directory.join("app.log.3").exists());
    std::fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn what_many_threads_say_is_accounted_for() {
    let (sink, kept) = Sink::memory(1_000_000);
    let config = Config { ring_words: 1 << 8, logs_per_second: Some(2_000), ..Config::default() };
    let telemetry = Telemetry::builder("test").config(config).log_to(sink).start().expect("it starts");
    let log = telemetry.logger("app");
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..5_000_u64 {
                    tellane::info!(log, "numbered", thread = thread, number = number);
                }
            });
        }
        while kept.records().len() < 10 {
            let account = telemetry.ledger().kind(Kind::Log);
            let found = account.aggregated + account.dropped.total() + account.suppressed();
            assert!(account.recorded >= found, "{account:?}");
        }
    });
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_balanced(&end.ledger);
    let logs = end.ledger.kind(Kind::Log);
    let records = kept.records();
    assert_eq!(records.len() as u64, logs.aggregated);
    // Every summary says how many it stands for; together they are what the ledger has.
    let told = records.iter().filter(|record| &*record.fields[0].0 == "held_back");
    let told: u64 = told.map(|record| record.fields[0].1.to_string().parse::<u64>().expect("a number")).sum();
    assert_eq!(told, logs.held_back);
}
