//! What is switched off, not installed, or was never there: nothing should be cheaper, but for not asking.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::task::{Context, Waker};
use support::{DEADLINE, balanced, counted, start};
use tellane::{
    Config, Counter, Family, FixedFamily, Histogram, InSpan, Kind, LazyCounter, LazyGauge, LazyHistogram,
    LazyTimer, LazyUpDownCounter, Level, Logger, Tracer, counter, gauge, histogram, timer, up_down_counter,
};

static HITS: LazyCounter = counter!("hits_total", "A counter that nobody installs.");
static LEVEL: LazyGauge = gauge!("level", "A gauge that nobody installs.");
static OPEN: LazyUpDownCounter = up_down_counter!("open", "One that goes up and down, and nobody installs.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram that nobody installs.");
static WORK: LazyTimer = timer!("worked", "A timer that nobody installs.");

fn off(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let calls_total = telemetry.counter("calls_total").register().expect("a fresh name");
    let latency = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let work = telemetry.timer("work").register().expect("a fresh name");
    let (tracer, log) = (telemetry.tracer(), telemetry.logger("bench"));
    let level = telemetry.gauge("level").register().expect("a fresh name");
    let open = telemetry.up_down_counter("open").register().expect("a fresh name");
    let family = telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name");
    let fixed = telemetry.counter("cached_total").fixed_family::<(bool, bool)>(["hit", "fresh"]);
    let fixed = fixed.expect("a fresh name");
    let by_text = telemetry.histogram("reply").bytes().family(["method", "route"]).expect("a fresh name");
    telemetry.switch().force_off();
    let mut next = 0.0;
    let (mut calls, mut sets, mut ups, mut served, mut cached, mut samples, mut labelled) =
        (0, 0, 0, 0, 0, 0, 0);
    let (mut timed, mut spans, mut carrying, mut eventful, mut owned, mut polls, mut logs) =
        (0, 0, 0, 0, 0, 0, 0);
    let mut group = criterion.benchmark_group("off");
    group.bench_function("counter inc, which goes on", |bench| {
        counted(bench, &mut calls, || calls_total.inc())
    });
    group.bench_function("gauge set, which goes on", |bench| {
        counted(bench, &mut sets, || {
            next += 1.0;
            level.set(black_box(next));
        });
    });
    group.bench_function("up-down-counter inc, which goes on", |bench| {
        counted(bench, &mut ups, || open.inc())
    });
    group.bench_function("counter inc, 2 labels, which goes on", |bench| {
        counted(bench, &mut served, || family.with([black_box("GET"), black_box("/shop/cart")]).inc());
    });
    group.bench_function("counter inc, 2 enums, which goes on", |bench| {
        counted(bench, &mut cached, || fixed.with((black_box(true), black_box(false))).inc());
    });
    group.bench_function("histogram record", |bench| {
        counted(bench, &mut samples, || latency.record(black_box(1_234_567)));
    });
    group.bench_function("histogram record, 2 labels", |bench| {
        counted(bench, &mut labelled, || by_text.with([black_box("GET"), black_box("/shop/cart")]).record(7));
    });
    group.bench_function("timer", |bench| counted(bench, &mut timed, || drop(work.start())));
    group.bench_function("span", |bench| counted(bench, &mut spans, || drop(tracer.span("root"))));
    group.bench_function("span with 2 attributes", |bench| {
        counted(bench, &mut carrying, || {
            let mut span = tracer.span("attributes");
            span.set("number", black_box(7_u64));
            span.set("method", black_box("GET"));
        });
    });
    group.bench_function("span with an event", |bench| {
        counted(bench, &mut eventful, || {
            tracer.span("events").event("retry").set("attempt", black_box(7_u64));
        });
    });
    group.bench_function("owned span", |bench| counted(bench, &mut owned, || drop(tracer.owned("owned"))));
    let mut future = Box::pin(std::future::pending::<()>().in_span(tracer.owned("polled")));
    let mut context = Context::from_waker(Waker::noop());
    let mut pending = 0;
    group.bench_function("poll of a future in a span", |bench| {
        counted(bench, &mut polls, || {
            pending += u64::from(black_box(&mut future).as_mut().poll(&mut context).is_pending());
        });
    });
    drop(future);
    group.bench_function("log, 2 fields", |bench| {
        counted(bench, &mut logs, || {
            tellane::info!(log, "order placed", number = black_box(7_u64), by = "web")
        });
    });
    group.finish();
    let end = telemetry.shutdown(DEADLINE);
    assert_eq!(pending, polls, "the future is polled all the same");
    let last = telemetry.latest();
    assert_eq!(last.counter("calls_total", &[]), Some(calls));
    assert_eq!((last.gauge("level", &[]), next), (Some(next), sets as f64));
    assert_eq!(last.up_down_counter("open", &[]), Some(ups as i64));
    let labels = [("method", "GET"), ("route", "/shop/cart")];
    assert_eq!(last.counter("served_total", &labels).unwrap_or(0), served);
    let enums = [("hit", "true"), ("fresh", "false")];
    assert_eq!(last.counter("cached_total", &enums).unwrap_or(0), cached);
    assert_eq!(last.histogram("latency_seconds", &[]).map_or(0, |view| view.count()), 0);
    assert_eq!(last.histogram("work_seconds", &[]).map_or(0, |view| view.count()), 0);
    assert_eq!(last.spans().count(), 0, "no span was kept");
    let spans = spans + carrying + eventful + owned + 1; // and the one around the future
    for (kind, made) in [(Kind::Sample, samples + labelled + timed), (Kind::Span, spans), (Kind::Log, logs)] {
        let account = balanced(&end.ledger, kind);
        assert_eq!((account.recorded, account.switched_off), (made, made), "{kind:?}");
    }
}

fn not_there(criterion: &mut Criterion) {
    let mut made = 0;
    let mut group = criterion.benchmark_group("not installed");
    group.bench_function("gauge set", |bench| counted(bench, &mut made, || LEVEL.set(black_box(7.0))));
    group.bench_function("up-down-counter inc", |bench| counted(bench, &mut made, || OPEN.inc()));
    group.bench_function("counter inc", |bench| counted(bench, &mut made, || HITS.inc()));
    group
        .bench_function("histogram record", |bench| counted(bench, &mut made, || SIZES.record(black_box(7))));
    group.bench_function("timer", |bench| counted(bench, &mut made, || drop(WORK.start())));
    group.finish();
    let (counter, histogram, tracer) = black_box((Counter::noop(), Histogram::noop(), Tracer::noop()));
    let (family, fixed) =
        black_box((Family::<Counter, 2>::noop(), FixedFamily::<Counter, (bool, bool)>::noop()));
    let mut group = criterion.benchmark_group("noop");
    group.bench_function("counter inc", |bench| counted(bench, &mut made, || counter.inc()));
    group.bench_function("histogram record", |bench| {
        counted(bench, &mut made, || histogram.record(black_box(7)));
    });
    group.bench_function("counter inc, 2 labels", |bench| {
        counted(bench, &mut made, || family.with([black_box("GET"), black_box("/shop/cart")]).inc());
    });
    group.bench_function("counter inc, 2 enums", |bench| {
        counted(bench, &mut made, || fixed.with((black_box(true), black_box(false))).inc());
    });
    let (mut spans, mut recorded) = (0, 0);
    group.bench_function("span", |bench| {
        counted(bench, &mut spans, || recorded += u64::from(tracer.span("noop").is_recorded()));
    });
    group.bench_function("owned span", |bench| {
        counted(bench, &mut spans, || recorded += u64::from(tracer.owned("noop").is_recorded()));
    });
    let log = black_box(Logger::noop());
    group.bench_function("log, 2 fields", |bench| {
        counted(bench, &mut made, || {
            tellane::info!(log, "order placed", number = black_box(7_u64), by = "web");
        });
    });
    group.finish();
    assert!(!log.enabled(Level::Error));
    assert_eq!(
        (recorded, tracer.current_span_context()),
        (0, None),
        "{spans} spans: none is there, none is open"
    );
    // An instance that is installed later hears nothing of what was said before.
    let telemetry = tellane::Telemetry::builder("bench").install().expect("the first one");
    HITS.inc();
    OPEN.dec();
    SIZES.record(7);
    LEVEL.add(0.5);
    drop(WORK.start());
    let snapshot = support::caught_up(&telemetry);
    assert_eq!(snapshot.counter("hits_total", &[]), Some(1));
    assert_eq!(snapshot.up_down_counter("open", &[]), Some(-1));
    assert_eq!(snapshot.gauge("level", &[]), Some(0.5));
    let counts =
        ["sizes", "worked_seconds"].map(|name| snapshot.histogram(name, &[]).map(|view| view.count()));
    assert_eq!(counts, [Some(1), Some(1)]);
}

criterion_group!(benches, off, not_there);
criterion_main!(benches);
