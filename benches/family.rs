//! Families: the series of a label combination, looked up by its texts, or by the numbers of its enums.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use support::{BURST, caught_up, counted, in_bursts, start};
use tellane::{Config, PointValue, Snapshot};

fn family(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let one = telemetry.counter("answered_total").family(["status"]).expect("a fresh name");
    let two = telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name");
    let sizes = telemetry.histogram("sizes").family(["method", "route"]).expect("a fresh name");
    let fixed = telemetry.counter("cached_total").fixed_family::<(bool, bool)>(["hit", "fresh"]);
    let fixed = fixed.expect("a fresh name");
    let routes: Vec<String> = (0..100).map(|number| format!("/shop/{number}/items")).collect();
    let mut at = 0;
    let mut route = || {
        at = if at == 99 { 0 } else { at + 1 };
        black_box(&*routes[at])
    };
    let rest = || drop(caught_up(&telemetry));
    let mut made = [0; 5];
    let [answered, same, served, cached, sized] = &mut made;
    let mut group = criterion.benchmark_group("family");
    group.bench_function("counter, 1 label", |bench| {
        counted(bench, answered, || one.with([black_box("200")]).inc());
    });
    group.bench_function("counter, 2 labels, 1 series", |bench| {
        counted(bench, same, || two.with([black_box("GET"), black_box("/shop/cart")]).inc());
    });
    group.bench_function("counter, 2 labels, 100 series", |bench| {
        counted(bench, served, || two.with(["GET", route()]).inc());
    });
    group.bench_function("counter, 2 enums", |bench| {
        let mut number = 0_u32;
        counted(bench, cached, || {
            number = number.wrapping_add(1);
            fixed.with((black_box(number) & 1 == 0, black_box(number) & 2 == 0)).inc();
        });
    });
    group.bench_function("histogram, 2 labels, 100 series", |bench| {
        in_bursts(bench, sized, BURST, rest, || sizes.with(["GET", route()]).record(black_box(7)));
    });
    group.finish();
    let snapshot = caught_up(&telemetry);
    let [answered, same, served, cached, sized] = made;
    assert_eq!(snapshot.counter("answered_total", &[("status", "200")]), Some(answered));
    // `/shop/cart` is none of the routes.
    let cart = snapshot.counter("served_total", &[("method", "GET"), ("route", "/shop/cart")]);
    assert_eq!(cart.unwrap_or(0), same);
    assert_eq!(total(&snapshot, "served_total"), same + served);
    assert_eq!(total(&snapshot, "cached_total"), cached);
    assert_eq!(total(&snapshot, "sizes"), sized);
}

/// What a family's series have counted together.
fn total(snapshot: &Snapshot, name: &str) -> u64 {
    let counts = snapshot.points().filter(|point| point.name() == name).map(|point| match point.value() {
        PointValue::Counter(count) => *count,
        PointValue::Histogram(view) => view.count(),
        _ => 0,
    });
    counts.sum()
}

criterion_group!(benches, family);
criterion_main!(benches);
