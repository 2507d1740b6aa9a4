//! The snapshot that is there without being asked for: it is renewed on the flush interval, and on nothing else;
//! reading it drains nothing.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, assert_whole, eventually};
use tellane::{Clock, Config, Snapshot, Telemetry};

#[test]
fn the_latest_snapshot_renews_itself_and_reading_it_drains_nothing() {
    let interval = Duration::from_millis(3);
    let config = Config {
        longest_sleep: interval,
        flush_interval: interval,
        stall_after: PATIENCE,
        ..Config::default()
    };
    let telemetry = Telemetry::builder("flush").config(config).start().expect("it starts");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let tracer = telemetry.tracer();
    for round in 1..=3 {
        (0..100).for_each(|value| sizes.record(value));
        drop(tracer.span("work"));
        counter.inc();
        // Whoever records last is counted last: with the counter's cell, all that was recorded before it is there
        // at the next renewal at the latest.
        let count = |latest: &Snapshot| latest.histogram("sizes", &[]).map(|sizes| sizes.count());
        eventually("it shows what was recorded", || {
            let latest = telemetry.latest();
            (latest.counter("calls_total", &[]), count(&latest), latest.spans().count())
                == (Some(round), Some(100 * round), round as usize)
        });
    }
    // Wall time is not compared: each pass asks the system for it anew.
    let spans = |of: &Snapshot| -> Vec<_> { of.spans().map(|span| (span.span_id, span.duration)).collect() };
    // Two readers, of one snapshot and of one renewed in between, again and again.
    for _ in 0..10 {
        let one = telemetry.latest();
        eventually("it is renewed", || !Arc::ptr_eq(&one, &telemetry.latest()));
        let other = telemetry.latest();
        assert_whole(&other);
        for (one, other) in [(&one, &one), (&one, &other)] {
            assert_eq!(one.histogram("sizes", &[]), other.histogram("sizes", &[]));
            assert_eq!(one.span_durations("work"), other.span_durations("work"));
            assert_eq!(one.counter("calls_total", &[]), other.counter("calls_total", &[]));
            assert_eq!((spans(one), spans(one).len()), (spans(other), 3));
        }
        assert_eq!(other.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(300));
        assert!(other.pipeline().steps > one.pipeline().steps);
    }
    assert_balanced(&telemetry.shutdown(PATIENCE).ledger);
}

#[test]
fn it_is_renewed_once_an_interval_and_not_with_every_pass() {
    let passes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passes);
    let (clock, hand) = Clock::mock();
    let interval = Duration::from_secs(10);
    let config = Config {
        longest_sleep: Duration::from_millis(1),
        flush_interval: interval,
        stall_after: PATIENCE,
        ..Config::default()
    };
    let telemetry = Telemetry::builder("flush")
        .config(config)
        .clock(clock)
        .inject(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .start()
        .expect("it starts");
    let ten_passes = || {
        let before = passes.load(Ordering::Relaxed);
        eventually("ten passes", || passes.load(Ordering::Relaxed) >= before + 10);
    };
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    for round in 0..5 {
        counter.inc();
        let before = telemetry.latest();
        ten_passes();
        assert!(Arc::ptr_eq(&before, &telemetry.latest()), "the interval is not over");
        assert_eq!(before.counter("calls_total", &[]).unwrap_or_default(), round);
        hand.advance(interval - Duration::from_nanos(1));
        ten_passes();
        assert!(Arc::ptr_eq(&before, &telemetry.latest()), "it is a nanosecond short");
        hand.advance(Duration::from_nanos(1));
        eventually("it is renewed", || !Arc::ptr_eq(&before, &telemetry.latest()));
        assert_eq!(telemetry.latest().counter("calls_total", &[]), Some(round + 1));
    }
    assert_balanced(&telemetry.shutdown(PATIENCE).ledger);
}
