//! Spans: roots, children, with what they carry, around a future; those that are not sampled, held, or shed.

#![allow(missing_docs)] // criterion's macros

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use support::{BURST, DEADLINE, balanced, caught_up, counted, in_bursts, start};
use tellane::{Config, InSpan, Kind, TailSampling};

fn on(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let tracer = telemetry.tracer();
    let rest = || drop(caught_up(&telemetry));
    let mut made = [0; 5];
    let [roots, children, attributes, events, owned] = &mut made;
    let mut group = criterion.benchmark_group("span");
    group.bench_function("root", |bench| {
        in_bursts(bench, roots, BURST, rest, || drop(tracer.span("root")));
    });
    let around = tracer.span("around");
    group.bench_function("child", |bench| {
        in_bursts(bench, children, BURST, rest, || drop(tracer.span("child")));
    });
    group.bench_function("child with 2 attributes", |bench| {
        in_bursts(bench, attributes, BURST, rest, || {
            let mut span = tracer.span("attributes");
            span.set("number", black_box(7_u64));
            span.set("method", black_box("GET"));
        });
    });
    group.bench_function("child with an event", |bench| {
        in_bursts(bench, events, BURST, rest, || {
            tracer.span("event").event("retry").set("attempt", black_box(2_u64));
        });
    });
    drop(around);
    group.bench_function("owned", |bench| {
        in_bursts(bench, owned, BURST, rest, || drop(tracer.owned("owned")));
    });
    let (mut wanted, mut polls, mut inside) = (0, 0, 0);
    let pending = std::future::poll_fn(|_| {
        polls += 1;
        Poll::<()>::Pending
    });
    let mut polled = Box::pin(pending.in_span(tracer.owned("polled")));
    let mut context = Context::from_waker(Waker::noop());
    group.bench_function("a poll of a future in a span", |bench| {
        counted(bench, &mut wanted, || {
            inside += u64::from(black_box(&mut polled).as_mut().poll(&mut context).is_pending());
        });
    });
    drop(polled);
    group.finish();
    assert_eq!((polls, inside), (wanted, wanted), "the future itself was polled each time");
    assert_eq!(tracer.current_span_context(), None, "every poll has left its span");
    let spans = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Span);
    let all = made.iter().sum::<u64>() + 2; // the one around the children, and the polled one
    assert_eq!((spans.recorded, spans.aggregated), (all, all));
    let last = telemetry.latest();
    let counts = ["root", "child", "attributes", "event", "owned"]
        .map(|name| last.span_durations(name).map_or(0, |view| view.count()));
    assert_eq!(counts, made);
    assert_eq!(last.span_durations("polled").map(|view| view.count()), Some(1));
}

/// Faster than one core drains: some are shed and counted, and their durations count.
fn flat_out(criterion: &mut Criterion) {
    let telemetry = start(Config::default());
    let tracer = telemetry.tracer();
    let mut made = 0;
    criterion
        .bench_function("span/flat out", |bench| counted(bench, &mut made, || drop(tracer.span("work"))));
    let spans = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Span);
    assert_eq!(spans.recorded, made);
    let durations = telemetry.latest().span_durations("work").map_or(0, |view| view.count());
    assert_eq!(durations, made - spans.switched_off);
}

fn not_kept(criterion: &mut Criterion) {
    let sparse = Config { sampling: 0.0, ..Config::default() };
    let holding = Config { tail_sampling: Some(TailSampling::default()), ..sparse.clone() };
    for (name, config) in [("span/unsampled", sparse), ("span/held", holding)] {
        let held = config.tail_sampling.is_some();
        let telemetry = start(config);
        let tracer = telemetry.tracer();
        let rest = || drop(caught_up(&telemetry));
        let mut made = 0;
        criterion.bench_function(name, |bench| {
            in_bursts(bench, &mut made, BURST, rest, || drop(tracer.span("work")));
        });
        let spans = balanced(&telemetry.shutdown(DEADLINE).ledger, Kind::Span);
        let unsampled = if held { 0 } else { made };
        assert_eq!((spans.recorded, spans.unsampled, spans.dropped.total()), (made, unsampled, 0));
        let durations = telemetry.latest().span_durations("work").map_or(0, |view| view.count());
        assert_eq!(durations, made);
    }
}

criterion_group!(benches, on, flat_out, not_kept);
criterion_main!(benches);
