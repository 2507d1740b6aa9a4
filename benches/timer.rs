//! Timers: two clock readings and a sample.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use support::{BURST, DEADLINE, balanced, caught_up, counted, in_bursts, start};
use tellane::{Config, Kind};

fn timer(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let new = |name| telemetry.timer(name).register().expect("a fresh name");
    let (dropped, around, told, flat_out) = (new("dropped"), new("around"), new("told"), new("flat_out"));
    let rest = || drop(caught_up(&telemetry));
    let mut made = [0; 4];
    let [by_drop, by_time, by_record, in_lane] = &mut made;
    let mut group = criterion.benchmark_group("timer");
    group.bench_function("start and drop", |bench| {
        in_bursts(bench, by_drop, BURST, rest, || drop(dropped.start()));
    });
    group.bench_function("time", |bench| {
        in_bursts(bench, by_time, BURST, rest, || around.time(|| black_box(7)));
    });
    group.bench_function("record", |bench| {
        in_bursts(bench, by_record, BURST, rest, || told.record(black_box(Duration::from_micros(20))));
    });
    group.bench_function("flat out", |bench| counted(bench, in_lane, || drop(flat_out.start())));
    group.finish();
    let samples = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Sample);
    assert_eq!((samples.recorded, samples.aggregated), (made.iter().sum(), made.iter().sum()));
    let last = telemetry.latest();
    let counts = ["dropped", "around", "told", "flat_out"]
        .map(|name| last.histogram(&format!("{name}_seconds"), &[]).map_or(0, |view| view.count()));
    assert_eq!(counts, made);
}

criterion_group!(benches, timer);
criterion_main!(benches);
