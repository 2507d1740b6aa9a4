//! The cold side: snapshots, what is made of them, scrapes.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use support::{DEADLINE, start};
use tellane::{Config, Histogram, PointValue, Snapshot, Telemetry, prometheus};

fn full() -> Telemetry {
    let telemetry = start(Config::default());
    let counters =
        telemetry.counter("calls_total").series_cap(10_000).family(["number"]).expect("a fresh name");
    (0..10_000).for_each(|number| counters.with([&number.to_string()]).inc());
    let histograms = telemetry.histogram("latency").seconds().family(["number"]).expect("a fresh name");
    for number in 0..1_000_u64 {
        let series = histograms.with([&number.to_string()]);
        (0..100).for_each(|step| series.record(1_000 + 997 * step * number));
    }
    telemetry
}

fn snapshot(criterion: &mut Criterion) {
    let telemetry = full();
    let touched = telemetry.histogram("touched").register().expect("a fresh name");
    let taken = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
    assert_eq!(taken.points().len(), 11_001);
    let mut group = criterion.benchmark_group("snapshot of 10,000 counters and 1,000 histograms");
    let mut touches = 0;
    group.bench_function("little changed", |bench| {
        bench.iter(|| {
            touches += 1;
            touched.record(1);
            telemetry.snapshot(DEADLINE)
        });
    });
    let last = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
    assert_eq!(last.histogram("touched", &[]).map(|view| view.count()), Some(touches));
    group.bench_function("text format", |bench| bench.iter(|| prometheus::render(&taken)));
    group.bench_function("merge", |bench| bench.iter(|| taken.merge(&taken)));
    group.finish();
    assert_eq!(prometheus::render(&taken).matches("\ncalls_total{").count(), 10_000);
    let twice = taken.merge(&taken).expect("they are of one kind");
    assert_eq!((counts(&taken), counts(&twice)), ((10_000, 100_000), (20_000, 200_000)));
    assert_eq!(twice.points().len(), taken.points().len(), "the same series, with twice as much in them");
    for number in ["0", "7", "999"] {
        let view = |of: &Snapshot| {
            let view =
                of.histogram("latency_seconds", &[("number", number)]).expect("it was recorded").clone();
            (view.count(), view.sum(), view.min(), view.max(), view.quantile(0.5))
        };
        let (once, both) = (view(&taken), view(&twice));
        assert_eq!((both.0, both.1), (2 * once.0, 2.0 * once.1), "{number}");
        assert_eq!((both.2, both.3, both.4), (once.2, once.3, once.4), "{number}");
    }
}

/// What all counters have counted, and how many samples all histograms hold.
fn counts(snapshot: &Snapshot) -> (u64, u64) {
    snapshot.points().fold((0, 0), |(calls, samples), point| match point.value() {
        PointValue::Counter(count) => (calls + count, samples),
        PointValue::Histogram(view) => (calls, samples + view.count()),
        _ => (calls, samples),
    })
}

/// 1,000 histograms with eleven bounds and 100 samples each; the samples are in the snapshot when it returns.
fn histograms() -> (Telemetry, Vec<Histogram>) {
    let telemetry = start(Config::default());
    let bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000].map(|micros| f64::from(micros) / 1e6);
    let family = telemetry.histogram("latency").seconds().bounds(&bounds).family(["number"]);
    let family = family.expect("a fresh name");
    let all: Vec<_> = (0..1_000).map(|number| family.with([&number.to_string()]).clone()).collect();
    for step in 0..100 {
        all.iter().for_each(|series| series.record(1_000 + 9_970 * step));
        // Before the rings are full: what finds no room keeps of its bucket the power of two alone.
        telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
    }
    (telemetry, all)
}

/// From the handles to the text, as a scrape goes.
fn scrapes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scrape");
    let scrape = |telemetry: &Telemetry| {
        prometheus::render(&telemetry.snapshot(DEADLINE).expect("the aggregator is idle"))
    };

    let telemetry = start(Config::default());
    let counters =
        telemetry.counter("calls_total").series_cap(10_000).family(["number"]).expect("a fresh name");
    (0..10_000).for_each(|number| counters.with([&number.to_string()]).inc());
    group.bench_function("10,000 counters", |bench| bench.iter(|| scrape(&telemetry)));
    let text = scrape(&telemetry);
    let lines = text.lines().filter(|line| line.starts_with("calls_total{") && line.ends_with("\"} 1"));
    assert_eq!(lines.count(), 10_000);

    let mut made = 0_u64;
    group.bench_function("10,000 counters, one new series each time", |bench| {
        bench.iter(|| {
            made += 1;
            let new = telemetry.counter(&format!("new_{made}_total")).register();
            new.expect("a fresh name").add(made);
            scrape(&telemetry)
        });
    });
    if made > 0 {
        assert!(scrape(&telemetry).contains(&format!("\nnew_{made}_total {made}\n")));
    }

    let (telemetry, all) = histograms();
    group.bench_function("1,000 histograms", |bench| bench.iter(|| scrape(&telemetry)));
    let text = scrape(&telemetry);
    assert_eq!(text.matches("\nlatency_seconds_bucket{").count(), 12_000);
    assert_eq!(text.matches("le=\"+Inf\"} 100\n").count(), 1_000);
    assert_eq!(text.matches("le=\"0.0001\"} 10\n").count(), 1_000);

    let mut rounds = 100_u64;
    group.bench_function("1,000 histograms, each with a new sample", |bench| {
        bench.iter_batched(
            || {
                rounds += 1;
                all.iter().for_each(|series| series.record(1_000));
            },
            |()| scrape(&telemetry),
            BatchSize::PerIteration,
        );
    });
    assert_eq!(scrape(&telemetry).matches(&format!("le=\"+Inf\"}} {rounds}\n")).count(), 1_000);
    group.finish();
}

criterion_group!(benches, snapshot, scrapes);
criterion_main!(benches);
