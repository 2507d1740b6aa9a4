//! After a thread's first touch, no hot call allocates: not on, not off, not with the ring full.
#![allow(unsafe_code)] // an allocator that counts

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::future::pending;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use support::{PATIENCE, patient};
use tellane::{Config, InSpan, Kind, LazyCounter, LazyHistogram, LazyTimer, Reason, Sink, Telemetry};

static HITS: LazyCounter = tellane::counter!("hits_total", "Hits.");
static SIZES: LazyHistogram = tellane::histogram!("static_sizes", "Sizes.");
static WORK: LazyTimer = tellane::timer!("static_work", "Work.");

/// More than a record's own frame holds.
const LONG: &str = include_str!("support/mod.rs");

/// Held by the test, it holds the aggregator.
static GATE: Mutex<()> = Mutex::new(());

/// Allocations and releases of this thread in 10,000 calls.
fn allocations(mut call: impl FnMut()) -> u64 {
    let before = counting::calls();
    (0..10_000).for_each(|_| call());
    counting::calls() - before
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 20_000);
}

#[test]
fn no_hot_call_allocates() {
    let config =
        Config { ring_words: 1 << 10, series_cap: 4, label_value_max: 8, logs_per_second: None, ..patient() };
    let builder = Telemetry::builder("hot").config(config);
    let builder = builder.log_to(Sink::memory(10).0);
    let builder = builder.inject(|_| drop(GATE.lock().unwrap_or_else(PoisonError::into_inner)));
    let telemetry = builder.install().expect("the only one in this process");
    let cold = Telemetry::builder("cold").sampling(0.0).start().expect("it starts");
    let unsampled = cold.tracer();
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let up_down = telemetry.up_down_counter("up_down").register().expect("a good name");
    let gauge = telemetry.gauge("level").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let wide = telemetry.histogram("wide").highest(u64::MAX).register().expect("a good name");
    let seconds = telemetry.histogram("wait").seconds().register().expect("a good name");
    let timer = telemetry.timer("work").register().expect("a good name");
    let family = telemetry.counter("by_route_total").family(["method", "route"]).expect("a good name");
    let timers = telemetry.timer("by_route").family(["route"]).expect("a good name");
    let tracer = telemetry.tracer();
    let log = telemetry.logger("hot::path");
    let limited = cold.logger("cold::path");
    let quiet = |log: &tellane::Logger| tellane::debug!(log, "not on", bytes = 240_u64);
    let loud = |log: &tellane::Logger| {
        tellane::warn!(log, "request", path = "/etc/hosts", bytes = 240_u64, ratio = 0.5, cached = false);
    };
    let switch = telemetry.switch();

    let span = |tracer: &tellane::Tracer| {
        let mut span = tracer.span("request");
        span.set("path", "/etc/hosts");
        span.set("long", "x".repeat(0).as_str());
        span.set("bytes", 240_u64);
        span.set("ratio", 0.5);
        span.set("cached", false);
        for _ in 0..40 {
            span.set("more than fit", "sixteen bytes of");
        }
        span.fail();
        drop(tracer.span("inside"));
    };
    let calls: [(&str, &dyn Fn()); 27] = [
        ("counter", &|| counter.inc()),
        ("static counter", &|| HITS.add(2)),
        ("family of counters", &|| family.with(["GET", "/cart"]).inc()),
        ("family, a value too long", &|| family.with(["GET", "/a/long/way"]).inc()),
        ("family of timers", &|| timers.with(["/cart"]).record(Duration::from_millis(1))),
        ("up-down-counter", &|| up_down.add(-3)),
        ("gauge", &|| gauge.add(1.5)),
        ("histogram", &|| sizes.record(77)),
        ("static histogram", &|| SIZES.record(77)),
        ("histogram, wide", &|| wide.record(u64::MAX - 1)),
        ("histogram, float", &|| sizes.record_f64(12.5)),
        ("histogram, invalid", &|| sizes.record_f64(f64::NAN)),
        ("histogram, too high", &|| sizes.record(u64::MAX)),
        ("histogram, duration", &|| seconds.record_duration(Duration::from_millis(3))),
        ("timer", &|| timer.time(|| ())),
        ("static timer", &|| WORK.start().discard()),
        ("span", &|| span(&tracer)),
        ("span, a name too long", &|| drop(tracer.build("/a/name/that/a/client/sent").start())),
        ("unsampled span", &|| span(&unsampled)),
        ("owned span", &|| {
            let mut span = tracer.owned("request");
            span.set("path", "/etc/hosts");
            let _inside = span.enter();
            drop(tracer.span("inside"));
        }),
        ("a poll in an owned span", &|| {
            let future = pin!(pending::<()>().in_span(tracer.owned("polled")));
            assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }),
        ("log, level off", &|| quiet(&log)),
        ("log", &|| loud(&log)),
        ("log, held back", &|| loud(&limited)),
        ("log, a text", &|| log.info("short and simple")),
        ("log, a long text", &|| log.info(LONG)),
        ("log, an error", &|| log.error_with(&std::fmt::Error, "not formatted")),
    ];
    // The first touch of everything, on and off.
    for (_, call) in &calls {
        (0..3).for_each(|_| call());
    }
    for (name, call) in &calls {
        assert_eq!(allocations(call), 0, "{name}");
    }
    {
        let _held = GATE.lock().expect("not poisoned");
        for (name, call) in &calls {
            assert_eq!(allocations(call), 0, "{name}, with the ring full");
        }
        assert!(telemetry.ledger().kind(Kind::Span).dropped.by(Reason::RingFull) >= 10_000);
    }
    switch.force_off();
    for (name, call) in &calls {
        assert_eq!(allocations(call), 0, "{name}, switched off");
    }
    switch.release();
    assert_eq!(telemetry.faults().len(), 0);
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_eq!(snapshot.counter("calls_total", &[]), Some(30_003));
    assert!(snapshot.ledger().total().switched_off >= 10_000);
    assert!(telemetry.ledger().kind(Kind::Log).dropped.by(Reason::RingFull) > 0);
    assert!(cold.ledger().kind(Kind::Log).held_back > 0);
}
