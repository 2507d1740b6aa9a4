//! The way into the ring, by its size: rings that fit the first cache, the second, and neither; and a full one.
//!
//! The ring is not public: what is timed is the call that writes to it, with the aggregator held up, and let go between
//! two bursts.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::cell::RefCell;
use std::hint::black_box;
use support::{DEADLINE, balanced, caught_up, counted, gated, in_bursts};
use tellane::{Config, Kind, Reason};

/// Words of 8 bytes: 16 KiB, 256 KiB, 8 MiB.
const SIZES: [usize; 3] = [1 << 11, 1 << 15, 1 << 20];

fn push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    for words in SIZES {
        let (telemetry, gate) = gated(Config { ring_words: words, ..Config::default() });
        let histogram = telemetry.histogram("latency").seconds().register().expect("a fresh name");
        let tracer = telemetry.tracer();
        let bar = RefCell::new(None);
        let rest = || {
            bar.take(); // let go, it drains what there is
            caught_up(&telemetry);
            bar.replace(Some(gate.shut()));
        };
        let (mut samples, mut spans) = (0, 0);
        // Samples may use half of it; a span takes seven words.
        group.bench_function(BenchmarkId::new("sample, ring of words", words), |bench| {
            in_bursts(bench, &mut samples, words as u64 / 2, rest, || histogram.record(black_box(1_234_567)));
        });
        group.bench_function(BenchmarkId::new("span, ring of words", words), |bench| {
            in_bursts(bench, &mut spans, words as u64 / 7, rest, || drop(tracer.span("work")));
        });
        bar.take();
        let end = telemetry.shutdown(DEADLINE);
        for (kind, made) in [(Kind::Sample, samples), (Kind::Span, spans)] {
            let account = balanced(&end.ledger, kind);
            assert_eq!((account.recorded, account.aggregated), (made, made), "{kind:?}");
        }
    }
    group.finish();
}

fn full(criterion: &mut Criterion) {
    const WORDS: usize = 1 << 11;
    let (telemetry, gate) = gated(Config { ring_words: WORDS, ..Config::default() });
    let histogram = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let tracer = telemetry.tracer();
    let bar = gate.shut();
    (0..WORDS).for_each(|_| drop(tracer.span("work")));
    let (mut samples, mut spans) = (0, 0);
    let mut group = criterion.benchmark_group("full ring");
    group.bench_function("sample, counted in the lane", |bench| {
        counted(bench, &mut samples, || histogram.record(black_box(1_234_567)));
    });
    group.bench_function("span, shed and counted", |bench| {
        counted(bench, &mut spans, || drop(tracer.span("work")));
    });
    group.finish();
    drop(bar);
    let end = telemetry.shutdown(DEADLINE);
    balanced(&end.ledger, Kind::Sample); // the durations of spans that were shed are among them
    let account = balanced(&end.ledger, Kind::Span);
    let made = spans + WORDS as u64;
    assert_eq!((account.recorded, account.dropped.total()), (made, made - account.aggregated));
    assert!(account.dropped.by(Reason::RingFull) >= spans);
    let last = telemetry.latest();
    assert_eq!(last.histogram("latency_seconds", &[]).map(|view| view.count()), Some(samples));
    assert_eq!(last.span_durations("work").map(|view| view.count()), Some(made));
}

criterion_group!(benches, push, full);
criterion_main!(benches);
