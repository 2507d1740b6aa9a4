//! What the machine charges before tellane does anything: an empty loop, loads, stores, the clocks.

#![allow(clippy::disallowed_methods, missing_docs)] // criterion's macros; the clocks are the subject

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use support::counted;

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

fn baseline(criterion: &mut Criterion) {
    let (fixed, shared) = (AtomicU64::new(7), AtomicU64::new(0));
    let (mut nothing, mut loaded, mut shared_adds, mut own_adds, mut read) = (0, 0, 0, 0, 0);
    let (mut sum, mut latest, mut later) = (0, Instant::now(), 0);
    let mut group = criterion.benchmark_group("baseline");
    group.bench_function("nothing", |bench| counted(bench, &mut nothing, || black_box(())));
    group.bench_function("relaxed load", |bench| {
        counted(bench, &mut loaded, || sum += black_box(&fixed).load(Ordering::Relaxed));
    });
    group.bench_function("relaxed fetch_add", |bench| {
        counted(bench, &mut shared_adds, || shared.fetch_add(1, Ordering::Relaxed));
    });
    group.bench_function("thread-local add", |bench| {
        counted(bench, &mut own_adds, || OWN.with(|own| own.set(own.get() + 1)));
    });
    group.bench_function("OS clock", |bench| {
        counted(bench, &mut read, || {
            let now = Instant::now();
            later += u64::from(now >= latest);
            latest = now;
        });
    });
    group.finish();
    assert_eq!((sum, later), (7 * loaded, read), "what was loaded, and a clock that never goes back");
    assert_eq!((shared.into_inner(), OWN.with(Cell::get)), (shared_adds, own_adds));
}

criterion_group!(benches, baseline);
criterion_main!(benches);
