//! What the machine charges before tellane does anything: an empty loop, loads, stores, the clocks.

#![allow(clippy::disallowed_methods, missing_docs)] // criterion's macros; the clocks are the subject

use criterion::{Criterion, criterion_group, criterion_main};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

fn baseline(criterion: &mut Criterion) {
    let shared = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("baseline");
    group.bench_function("nothing", |bench| bench.iter(|| black_box(())));
    group.bench_function("relaxed load", |bench| bench.iter(|| shared.load(Ordering::Relaxed)));
    group.bench_function("relaxed fetch_add", |bench| bench.iter(|| shared.fetch_add(1, Ordering::Relaxed)));
    group.bench_function("thread-local add", |bench| bench.iter(|| OWN.with(|own| own.set(own.get() + 1))));
    group.bench_function("OS clock", |bench| bench.iter(Instant::now));
    group.finish();
    assert!(shared.load(Ordering::Relaxed) > 0 && OWN.with(Cell::get) > 0);
}

criterion_group!(benches, baseline);
criterion_main!(benches);
