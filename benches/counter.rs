//! Counters: a handle, a static, and one that goes up and down.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use support::{caught_up, counted};
use tellane::{LazyCounter, Telemetry, counter};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");

fn counter(criterion: &mut Criterion) {
    let telemetry = Telemetry::builder("bench").install().expect("the first one");
    let handle = telemetry.counter("calls_total").register().expect("a fresh name");
    let sum = telemetry.counter("bytes_total").register().expect("a fresh name");
    let open = telemetry.up_down_counter("open").register().expect("a fresh name");
    let (mut calls, mut hits, mut bytes, mut opened) = (0, 0, 0, 0);
    let mut group = criterion.benchmark_group("counter");
    group.bench_function("inc", |bench| counted(bench, &mut calls, || handle.inc()));
    group.bench_function("inc in a static", |bench| counted(bench, &mut hits, || HITS.inc()));
    group.bench_function("add", |bench| counted(bench, &mut bytes, || sum.add(black_box(1_500))));
    group.bench_function("up and down", |bench| {
        counted(bench, &mut opened, || {
            open.inc();
            open.add(black_box(-2));
        });
    });
    group.finish();
    let snapshot = caught_up(&telemetry);
    assert_eq!(snapshot.counter("calls_total", &[]), Some(calls));
    assert_eq!(snapshot.counter("hits_total", &[]), Some(hits));
    assert_eq!(snapshot.counter("bytes_total", &[]), Some(1_500 * bytes));
    assert_eq!(snapshot.up_down_counter("open", &[]), Some(-(opened as i64)));
}

criterion_group!(benches, counter);
criterion_main!(benches);
