//! Texts that an instance keeps as long as it lives: bounded in bytes, and counted by `Pipeline::bytes`, whoever sends
//! them.
#![allow(unsafe_code)] // an allocator that counts

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use support::PATIENCE;
use tellane::{Config, Level, Sink, Telemetry};

struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's terms.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How much more a call leaves allocated, and how much more of it the pipeline says it takes.
fn growth(telemetry: &Telemetry, call: impl FnOnce()) -> (i64, i64) {
    let now = || {
        let said = telemetry.snapshot(PATIENCE).expect("in time").pipeline().bytes as i64;
        drop(telemetry.snapshot(PATIENCE).expect("in time")); // the last one is kept; the one before is let go
        (LIVE.load(Ordering::Relaxed), said)
    };
    let before = now();
    call();
    let after = now();
    (after.0 - before.0, after.1 - before.1)
}

/// One test: what other tests allocate meanwhile would be counted, too.
#[test]
fn what_is_kept_is_bounded_and_counted() {
    let config = Config { kept_spans: 0, logs_per_second: Some(1), ..Config::default() };
    let (sink, said) = Sink::memory(10);
    let telemetry = Telemetry::builder("shop").config(config).log_to(sink).start().unwrap();
    let tracer = telemetry.tracer();
    drop(tracer.build("first").start());
    telemetry.logger("first").info("the lane is there");
    let family = telemetry.counter("first_total").series_cap(100_000).family(["path"]).unwrap();
    family.with(["first"]).inc();
    drop(telemetry.snapshot(PATIENCE).unwrap());

    // Each is kept in 1 KiB at most, whatever it is.
    type Touch<'a> = &'a dyn Fn(&str);
    let span = |text: &str| drop(tracer.build(text).start());
    let target = |text: &str| telemetry.logger(text).trace("off");
    let series = |text: &str| family.with([text]).inc();
    let level = |text: &str| telemetry.set_level(text, Some(Level::Info));
    let key = |text: &str| {
        tracer.span("keyed").set(text.to_owned().leak(), 1_u64);
    };
    let help = |text: &str| {
        let name = format!("metric_{}_{}", text.len(), &text[..4]);
        telemetry.gauge(&name).help(text).register().unwrap();
    };
    let touches: [(&str, Touch<'_>); 6] = [
        ("span names", &span),
        ("log targets", &target),
        ("label values", &series),
        ("levels of targets", &level),
        ("attribute keys", &key),
        ("help texts", &help),
    ];
    for (what, touch) in touches {
        let (heap, told) = growth(&telemetry, || {
            (0..20).for_each(|number| touch(&format!("{number:04}{}", "x".repeat(1 << 20))));
        });
        // A leaked key is the program's own.
        let leaked = if what == "attribute keys" { 20 << 20 } else { 0 };
        assert!(heap - leaked < 512 << 10, "{what} of 20 MiB: {heap} bytes");
        assert!((0..256 << 10).contains(&told), "{what} of 20 MiB: {told} bytes counted");

        let (heap, told) = growth(&telemetry, || {
            (0..1_000).for_each(|number| touch(&format!("{number:04}{}", "y".repeat(1_000))));
        });
        let leaked = if what == "attribute keys" { 1_004_000 } else { 0 };
        let heap = heap - leaked;
        assert!(heap > 1_000_000, "{what} of 1 KiB each: {heap} bytes");
        assert!(told > heap * 2 / 3 && told < heap * 11 / 10, "{what}: {told} counted of {heap} bytes");
    }

    // What stands in has its records.
    let snapshot = telemetry.snapshot(PATIENCE).unwrap();
    assert_eq!(snapshot.span_durations("__overflow__").map(|taken| taken.count()), Some(20));
    assert_eq!(snapshot.counter("first_total", &[("path", "__overflow__")]), Some(20));
    telemetry.logger(&"z".repeat(2_000)).info("of a long target");
    telemetry.snapshot(PATIENCE).unwrap();
    support::eventually("the record is written", || {
        said.records().iter().any(|record| &*record.target == "__overflow__")
    });

    // A family that is let go takes nothing any more.
    let (_, told) = growth(&telemetry, || drop(family));
    assert!(told < -1_000_000, "{told} bytes after a family of 1,000 series");
}
