//! The cold side: snapshots, the text format, the encoding.

#![allow(missing_docs)] // criterion's macros

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use tellane::record::{Decoder, Record, encode};
use tellane::{Telemetry, prometheus};

/// Long enough for any machine; nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

fn full() -> Telemetry {
    let telemetry = Telemetry::builder("bench").start().expect("the defaults are valid");
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
    group.bench_function("little changed", |bench| {
        bench.iter(|| {
            touched.record(1);
            telemetry.snapshot(DEADLINE)
        });
    });
    group.bench_function("text format", |bench| bench.iter(|| prometheus::render(&taken)));
    group.bench_function("merge", |bench| bench.iter(|| taken.merge(&taken)));
    group.finish();
    assert_eq!(prometheus::render(&taken).matches("\ncalls_total{").count(), 10_000);
}

fn encoding(criterion: &mut Criterion) {
    let records: Vec<_> = (0..1_000).map(|value| Record::Sample { series: 7, value }).collect();
    let mut words = Vec::new();
    records.iter().for_each(|record| encode(record, &mut words).expect("small ids"));
    let mut group = criterion.benchmark_group("encoding");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("encode samples", |bench| {
        bench.iter_batched_ref(
            || Vec::with_capacity(1_000),
            |words| records.iter().try_for_each(|record| encode(record, words)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("decode samples", |bench| {
        bench.iter(|| Decoder::new(&words).filter(Result::is_ok).count())
    });
    group.finish();
    assert!(Decoder::new(&words).map(Result::unwrap).eq(records));
}

criterion_group!(benches, snapshot, encoding);
criterion_main!(benches);
