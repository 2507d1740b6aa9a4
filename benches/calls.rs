//! The hot calls, one by one; each group asserts that what it timed was counted.

#![allow(missing_docs)] // criterion's macros

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use tellane::{Kind, Telemetry};

/// Long enough for any machine; nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

fn start() -> Telemetry {
    Telemetry::builder("bench").start().expect("the defaults are valid")
}

fn counter(criterion: &mut Criterion) {
    let telemetry = start();
    let (counter, gauge) = (telemetry.counter("calls_total"), telemetry.gauge("level"));
    let (counter, gauge) =
        (counter.register().expect("a fresh name"), gauge.register().expect("a fresh name"));
    let family = telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name");
    let mut group = criterion.benchmark_group("counter");
    group.bench_function("inc", |bench| bench.iter(|| counter.inc()));
    group.bench_function("family, 2 labels", |bench| {
        bench.iter(|| family.with([black_box("GET"), black_box("/shop/cart")]).inc());
    });
    group.bench_function("gauge set", |bench| bench.iter(|| gauge.set(black_box(1.5))));
    group.bench_function("gauge add", |bench| bench.iter(|| gauge.add(black_box(1.5))));
    group.finish();
    let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
    assert!(snapshot.counter("calls_total", &[]) > Some(0));
    assert!(snapshot.counter("served_total", &[("method", "GET"), ("route", "/shop/cart")]) > Some(0));
}

fn histogram(criterion: &mut Criterion) {
    let telemetry = start();
    let latency = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let timer = telemetry.timer("work").register().expect("a fresh name");
    let mut group = criterion.benchmark_group("histogram");
    group.bench_function("record", |bench| bench.iter(|| latency.record(black_box(1_234_567))));
    group.bench_function("record_f64", |bench| bench.iter(|| latency.record_f64(black_box(0.001))));
    group.bench_function("timer", |bench| bench.iter(|| drop(timer.start())));
    group.finish();
    let samples = telemetry.shutdown(DEADLINE).ledger.kind(Kind::Sample);
    assert!(samples.aggregated > 0);
    assert_eq!(samples.recorded, samples.aggregated);
}

fn span(criterion: &mut Criterion) {
    let telemetry = start();
    let sparse = Telemetry::builder("sparse").sampling(0.0).start().expect("the settings are valid");
    let (tracer, unsampled) = (telemetry.tracer(), sparse.tracer());
    let mut group = criterion.benchmark_group("span");
    group.bench_function("root", |bench| bench.iter(|| drop(tracer.span("root"))));
    group.bench_function("2 attributes", |bench| {
        bench.iter(|| {
            let mut span = tracer.span("root");
            span.set("number", black_box(7_u64));
            span.set("method", black_box("GET"));
        });
    });
    group.bench_function("unsampled", |bench| bench.iter(|| drop(unsampled.span("root"))));
    group.finish();
    let spans = telemetry.shutdown(DEADLINE).ledger.kind(Kind::Span);
    assert_eq!(spans.recorded, spans.aggregated + spans.dropped.total());
    let sparse = sparse.shutdown(DEADLINE).ledger.kind(Kind::Span);
    assert_eq!((sparse.recorded, sparse.aggregated), (sparse.unsampled, 0));
}

fn off(criterion: &mut Criterion) {
    let telemetry = start();
    let latency = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let tracer = telemetry.tracer();
    telemetry.switch().force_off();
    let mut group = criterion.benchmark_group("off");
    group.bench_function("histogram", |bench| bench.iter(|| latency.record(black_box(1_234_567))));
    group.bench_function("span", |bench| bench.iter(|| drop(tracer.span("root"))));
    group.finish();
    let total = telemetry.shutdown(DEADLINE).ledger.total();
    assert!(total.recorded > 0);
    assert_eq!(total.recorded, total.suppressed());
}

criterion_group!(benches, counter, histogram, span, off);
criterion_main!(benches);
