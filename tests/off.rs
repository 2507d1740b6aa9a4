//! Switched off, recording reads no clock, and what it keeps out is counted to the last record. The aggregator reads
//! the same clock: it is held still where readings are counted.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use support::{PATIENCE, assert_balanced};
use tellane::{Clock, Config, Kind, State, Telemetry};

const CALLS: u64 = 1_000;

#[test]
fn while_it_is_off_no_call_reads_the_clock() {
    let (clock, hand) = Clock::mock();
    // The pass after `hold` is set waits at the gate twice: once to say that it is there, once to be let go.
    let (hold, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(2)));
    let (wanted, met) = (Arc::clone(&hold), Arc::clone(&gate));
    let config = Config {
        ring_words: 1 << 17, // room for all: a sample that finds none may look at the clock
        longest_sleep: Duration::from_millis(1),
        stall_after: PATIENCE,
        ..Config::default()
    };
    let telemetry = Telemetry::builder("off")
        .config(config)
        .clock(clock)
        .inject(move |_| {
            if wanted.swap(false, Ordering::Relaxed) {
                met.wait();
                met.wait();
            }
        })
        .start()
        .expect("it starts");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let family = telemetry.counter("by_route_total").family(["route"]).expect("a good name");
    let gauge = telemetry.gauge("level").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let timer = telemetry.timer("work").register().expect("a good name");
    let tracer = telemetry.tracer();
    let switch = telemetry.switch();
    let record = || {
        counter.inc();
        family.with(["/cart"]).inc();
        gauge.add(1.0);
        sizes.record(77);
    };
    let measure = || {
        let stopped = timer.start().stop();
        let mut span = tracer.span("request");
        span.set("path", "/etc/hosts");
        span.set("bytes", 240_u64);
        span.fail();
        (stopped, span.context())
    };
    hold.store(true, Ordering::Relaxed);
    gate.wait();

    // On, the count counts: two readings for a time, two for a span, none for anything else.
    let start = hand.reads();
    (0..CALLS).for_each(|_| record());
    assert_eq!(hand.reads() - start, 0, "no time is asked for");
    (0..CALLS).for_each(|_| assert!(matches!(measure(), (Some(_), Some(_)))));
    assert_eq!(hand.reads() - start, 4 * CALLS);

    switch.force_off();
    let off = hand.reads();
    let all = || {
        for _ in 0..CALLS {
            record();
            assert!(matches!(measure(), (None, None)));
        }
    };
    all();
    assert_eq!(hand.reads() - off, 0, "on a thread that knew everything");
    std::thread::scope(|scope| {
        scope.spawn(all);
    });
    assert_eq!(hand.reads() - off, 0, "on a thread that met everything while it was off");
    let ledger = telemetry.ledger();
    assert_eq!(ledger.kind(Kind::Sample).switched_off, 4 * CALLS, "a size and a time");
    assert_eq!(ledger.kind(Kind::Span).switched_off, 2 * CALLS);
    assert_eq!(hand.reads() - off, 0, "nor does the account");

    switch.release();
    assert_eq!(switch.state(), State::Healthy);
    let on = hand.reads();
    (0..CALLS).for_each(|_| assert!(matches!(measure(), (Some(_), Some(_)))));
    assert_eq!(hand.reads() - on, 4 * CALLS, "on again");
    gate.wait();

    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_balanced(&report.ledger);
    let (samples, spans) = (report.ledger.kind(Kind::Sample), report.ledger.kind(Kind::Span));
    assert_eq!((samples.recorded, samples.suppressed()), (7 * CALLS, 4 * CALLS));
    assert_eq!((spans.recorded, spans.suppressed()), (4 * CALLS, 2 * CALLS));
    let last = telemetry.latest();
    // Counters and gauges count in every state.
    assert_eq!(last.counter("calls_total", &[]), Some(3 * CALLS));
    assert_eq!(last.counter("by_route_total", &[("route", "/cart")]), Some(3 * CALLS));
    assert_eq!(last.gauge("level", &[]), Some((3 * CALLS) as f64));
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(CALLS));
    assert_eq!(last.histogram("work_seconds", &[]).map(|work| work.count()), Some(2 * CALLS));
}

/// What is counted in a lane is found without a look at the switch: so nothing may be found there while it is off.
#[test]
fn what_is_counted_where_it_is_made_is_kept_out_too() {
    let telemetry = Telemetry::builder("off")
        .config(Config { ring_words: 64, ..Config::default() })
        .start()
        .expect("it starts");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let record = || (0..CALLS).for_each(|size| sizes.record(size));
    let counted = || {
        let snapshot = telemetry.snapshot(PATIENCE).expect("the aggregator is well");
        assert_balanced(snapshot.ledger());
        let samples = snapshot.ledger().kind(Kind::Sample);
        (snapshot.histogram("sizes", &[]).map_or(0, |sizes| sizes.count()), samples.switched_off)
    };
    (0..100).for_each(|_| record()); // the ring is full, sooner or later
    assert_eq!(counted(), (100 * CALLS, 0));
    telemetry.switch().force_off();
    record();
    telemetry.switch().release();
    assert_eq!(counted(), (100 * CALLS, CALLS));
    (0..100).for_each(|_| record());
    telemetry.switch().force_off();
    record();
    assert_eq!(counted(), (200 * CALLS, 2 * CALLS));
}
