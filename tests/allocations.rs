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

    // At every cap: two families of one metric, each with a series that the other has not met, a third series registered by
    // hand, and texts that no number is left for.
    let config = Config { series_cap: 3, names_cap: 5, logs_per_second: None, ..patient() };
    let full = Telemetry::builder("full").config(config).start().expect("it starts");
    let full_family = || full.counter("full_total").family(["route"]).expect("a good name");
    let families = [full_family(), full_family()];
    families.iter().zip(["/one", "/two"]).for_each(|(family, route)| family.with([route]).inc());
    full.counter("full_total").label("route", "/three").register().expect("a good name").inc();
    let beside = full.timer("beside").series_cap(1).fixed_family::<(bool,)>(["cached"]).expect("a good name");
    full.timer("beside").label("cached", "true").register().expect("a good name").record(Duration::ZERO);
    let full_tracer = full.tracer();
    ["a", "b", "c", "d", "e"].iter().for_each(|name| drop(full_tracer.build(name).start()));
    (0..10_000).for_each(|target| drop(full.logger(&target.to_string())));
    #[cfg(feature = "metrics")]
    let recorder = tellane::bridge::metrics::Recorder::new(&full);
    #[cfg(feature = "metrics")]
    metrics::with_local_recorder(&recorder, || {
        ["w", "x", "y"].iter().for_each(|by| metrics::histogram!("spread", "by" => *by).record(1.0));
    });
    #[cfg(feature = "metrics")]
    let bridged = || {
        metrics::with_local_recorder(&recorder, || {
            // Literals: of other values the macro itself makes a key that allocates.
            metrics::counter!("full", "route" => "x").increment(1);
            metrics::counter!("full", "route" => "y").increment(1);
            metrics::histogram!("spread", "by" => "z").record(1.0);
        });
    };
    #[cfg(not(feature = "metrics"))]
    let bridged = || ();

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
    let calls: [(&str, &dyn Fn()); 36] = [
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
        ("one of two families above the cap", &|| {
            families.iter().for_each(|family| family.with(["/four"]).inc());
        }),
        ("another family's series", &|| families[0].with(["/two"]).inc()),
        ("a series registered by hand", &|| families[1].with(["/three"]).inc()),
        ("a fixed family above the cap", &|| beside.with((false,)).record(Duration::ZERO)),
        ("a series registered beside a fixed family", &|| beside.with((true,)).record(Duration::ZERO)),
        ("span, a name above the cap", &|| drop(full_tracer.build("no room").start())),
        ("span, a key above the cap", &|| {
            let mut span = full_tracer.span("a");
            ["k", "l", "m", "n", "o", "p"].iter().for_each(|key| span.set(key, 1_u64));
        }),
        ("log, a target above the cap", &|| full.logger("no room").info("here")),
        ("metrics bridge above the cap", &bridged),
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
    assert_eq!((telemetry.faults().len(), full.faults().len()), (0, 0));
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_eq!(snapshot.counter("calls_total", &[]), Some(30_003));
    assert!(snapshot.ledger().total().switched_off >= 10_000);
    assert!(telemetry.ledger().kind(Kind::Log).dropped.by(Reason::RingFull) > 0);
    assert!(cold.ledger().kind(Kind::Log).held_back > 0);
    // Each combination is counted where it belongs.
    let full = full.snapshot(PATIENCE).expect("a snapshot");
    let count = |route| full.counter("full_total", &[("route", route)]);
    assert_eq!(["/one", "/two", "/three"].map(count), [Some(1), Some(30_004), Some(30_004)]);
    let bridged = if cfg!(feature = "metrics") { 2 * 30_003 } else { 0 };
    assert_eq!(count("__overflow__"), Some(2 * 30_003 + bridged));
    assert_eq!(
        full.histogram("beside_seconds", &[("cached", "true")]).map(|view| view.count()),
        Some(30_004)
    );
}
