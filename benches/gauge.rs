//! Gauges: one shared atomic each.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use support::{caught_up, counted, start};
use tellane::Config;

fn gauge(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let level = telemetry.gauge("level").register().expect("a fresh name");
    let depth = telemetry.gauge("depth").register().expect("a fresh name");
    let (mut set, mut added) = (0, 0);
    let mut group = criterion.benchmark_group("gauge");
    group.bench_function("set", |bench| {
        let mut next = 0.0;
        counted(bench, &mut set, || {
            next += 1.0;
            level.set(black_box(next));
        });
    });
    group.bench_function("add", |bench| counted(bench, &mut added, || depth.add(black_box(0.5))));
    group.finish();
    let snapshot = caught_up(&telemetry);
    assert!(set > 0 && snapshot.gauge("level", &[]) >= Some(1.0));
    assert_eq!(snapshot.gauge("depth", &[]), Some(0.5 * added as f64));
}

criterion_group!(benches, gauge);
criterion_main!(benches);
