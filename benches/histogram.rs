//! Histograms: samples that go through the ring, and those that are counted in the lane.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use support::{BURST, DEADLINE, balanced, caught_up, counted, in_bursts, start, values};
use tellane::{Config, Kind};

fn histogram(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let new = |name| telemetry.histogram(name).seconds().register().expect("a fresh name");
    let (paced, inside, flat_out) = (new("paced"), new("inside"), new("flat_out"));
    let (floats, durations) = (new("floats"), new("durations"));
    let tracer = telemetry.tracer();
    let values = values();
    let mut next = values.iter().copied().cycle();
    let mut next = || next.next().unwrap_or_default();
    let rest = || drop(caught_up(&telemetry));
    let mut made = [0; 5];
    let [in_ring, in_span, in_lane, as_float, as_duration] = &mut made;
    let mut group = criterion.benchmark_group("histogram");
    group.bench_function("record into the ring", |bench| {
        in_bursts(bench, in_ring, BURST, rest, || paced.record(black_box(next())));
    });
    group.bench_function("record in a sampled span", |bench| {
        let _span = tracer.span("around");
        in_bursts(bench, in_span, BURST, rest, || inside.record(black_box(next())));
    });
    group.bench_function("record flat out", |bench| {
        counted(bench, in_lane, || flat_out.record(black_box(next())));
    });
    group.bench_function("record_f64", |bench| {
        in_bursts(bench, as_float, BURST, rest, || floats.record_f64(black_box(0.001)));
    });
    group.bench_function("record_duration", |bench| {
        let duration = Duration::from_micros(20);
        in_bursts(bench, as_duration, BURST, rest, || durations.record_duration(black_box(duration)));
    });
    group.finish();
    let samples = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Sample);
    let all: u64 = made.iter().sum();
    assert_eq!((samples.recorded, samples.aggregated), (all, all));
    let last = telemetry.latest();
    let names = ["paced", "inside", "flat_out", "floats", "durations"];
    let counts =
        names.map(|name| last.histogram(&format!("{name}_seconds"), &[]).map_or(0, |view| view.count()));
    assert_eq!(counts, made);
}

criterion_group!(benches, histogram);
criterion_main!(benches);
