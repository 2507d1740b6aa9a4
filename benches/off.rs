//! What is switched off, not installed, or was never there: nothing should be cheaper, but for not asking.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use support::{DEADLINE, balanced, counted, start};
use tellane::{
    Config, Counter, Histogram, Kind, LazyCounter, LazyHistogram, LazyTimer, Tracer, counter, histogram,
    timer,
};

static HITS: LazyCounter = counter!("hits_total", "A counter that nobody installs.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram that nobody installs.");
static WORK: LazyTimer = timer!("worked", "A timer that nobody installs.");

fn off(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let calls_total = telemetry.counter("calls_total").register().expect("a fresh name");
    let latency = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let work = telemetry.timer("work").register().expect("a fresh name");
    let (tracer, log) = (telemetry.tracer(), telemetry.logger("bench"));
    telemetry.switch().force_off();
    let mut made = [0; 5];
    let [calls, samples, timed, spans, logs] = &mut made;
    let mut group = criterion.benchmark_group("off");
    group.bench_function("counter inc, which goes on", |bench| counted(bench, calls, || calls_total.inc()));
    group.bench_function("histogram record", |bench| {
        counted(bench, samples, || latency.record(black_box(1_234_567)));
    });
    group.bench_function("timer", |bench| counted(bench, timed, || drop(work.start())));
    group.bench_function("span", |bench| counted(bench, spans, || drop(tracer.span("root"))));
    group.bench_function("log, 2 fields", |bench| {
        counted(bench, logs, || tellane::info!(log, "order placed", number = black_box(7_u64), by = "web"));
    });
    group.finish();
    let end = telemetry.shutdown(DEADLINE);
    let [calls, samples, timed, spans, logs] = made;
    assert_eq!(telemetry.latest().counter("calls_total", &[]), Some(calls));
    for (kind, made) in [(Kind::Sample, samples + timed), (Kind::Span, spans), (Kind::Log, logs)] {
        let account = balanced(&end.ledger, kind);
        assert_eq!((account.recorded, account.switched_off), (made, made), "{kind:?}");
    }
}

fn not_there(criterion: &mut Criterion) {
    let mut made = 0;
    let mut group = criterion.benchmark_group("not installed");
    group.bench_function("counter inc", |bench| counted(bench, &mut made, || HITS.inc()));
    group
        .bench_function("histogram record", |bench| counted(bench, &mut made, || SIZES.record(black_box(7))));
    group.bench_function("timer", |bench| counted(bench, &mut made, || drop(WORK.start())));
    group.finish();
    let (counter, histogram, tracer) = black_box((Counter::noop(), Histogram::noop(), Tracer::noop()));
    let mut group = criterion.benchmark_group("noop");
    group.bench_function("counter inc", |bench| counted(bench, &mut made, || counter.inc()));
    group.bench_function("histogram record", |bench| {
        counted(bench, &mut made, || histogram.record(black_box(7)));
    });
    group.bench_function("span", |bench| counted(bench, &mut made, || drop(tracer.span("noop"))));
    group.finish();
    assert!(made > 0);
    // An instance that is installed later hears nothing of what was said before.
    let telemetry = tellane::Telemetry::builder("bench").install().expect("the first one");
    HITS.inc();
    assert_eq!(support::caught_up(&telemetry).counter("hits_total", &[]), Some(1));
}

criterion_group!(benches, off, not_there);
criterion_main!(benches);
