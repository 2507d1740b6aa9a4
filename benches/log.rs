//! Log calls: what is recorded, what is held back, what is below the level.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use support::{BURST, DEADLINE, balanced, caught_up, counted, in_bursts, start};
use tellane::{Config, Kind, Sink, Telemetry, debug, info};

fn log(criterion: &mut Criterion) {
    let telemetry = start(Config { logs_per_second: None, ..Config::default() });
    let log = telemetry.logger("bench");
    let rest = || drop(caught_up(&telemetry));
    let mut made = [0; 4];
    let [bare, fields, texts, below] = &mut made;
    let mut group = criterion.benchmark_group("log");
    group.bench_function("no field", |bench| {
        in_bursts(bench, bare, BURST, rest, || info!(log, "order placed"));
    });
    group.bench_function("2 fields", |bench| {
        in_bursts(bench, fields, BURST, rest, || {
            info!(log, "order placed", number = black_box(7_u64), by = black_box("web"))
        });
    });
    group.bench_function("a text of 64 bytes", |bench| {
        let text = "0123456789abcdef".repeat(4);
        in_bursts(bench, texts, BURST, rest, || info!(log, "order placed", by = black_box(&*text)));
    });
    group.bench_function("below the level", |bench| {
        counted(bench, below, || debug!(log, "order placed", number = black_box(7_u64), by = "web"));
    });
    group.finish();
    let records = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Log);
    let all: u64 = made[..3].iter().sum();
    assert_eq!((records.recorded, records.aggregated), (all, all));
}

/// A statement that says more than it may.
fn held_back(criterion: &mut Criterion) {
    let (sink, kept) = Sink::memory(10_000);
    let config = Config { logs_per_second: Some(1), ..Config::default() };
    let builder = Telemetry::builder("bench").config(config).log_to(sink);
    let telemetry = builder.start().expect("the settings are valid");
    let log = telemetry.logger("bench");
    let mut made = 0;
    criterion.bench_function("log/held back", |bench| {
        counted(bench, &mut made, || info!(log, "order placed", number = black_box(7_u64), by = "web"));
    });
    let records = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Log);
    // Of each second in which something was held back a summary tells how much, and is a record of its own.
    let written = kept.records();
    let summaries = written.iter().filter(|record| &*record.fields[0].0 == "held_back").count() as u64;
    assert_eq!((records.recorded, records.dropped.total()), (made + summaries, 0));
    assert_eq!(records.aggregated, written.len() as u64);
}

criterion_group!(benches, log, held_back);
criterion_main!(benches);
