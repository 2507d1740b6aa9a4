//! Switched off, recording reads no clock, and what it keeps out is counted to the last record. The aggregator reads
//! the same clock: it is held still where readings are counted.

mod support;

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, patient};
use tellane::{
    Clock, Config, InSpan, Kind, OwnedSpan, Reason, SpanContext, SpanKind, State, Telemetry, Tracer,
};

const CALLS: u64 = 1_000;

/// A look at a future that is not done.
fn poll(future: Pin<&mut impl Future<Output = ()>>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

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
        let task = tracer.owned("task");
        let contexts = (span.span_context(), task.span_context());
        poll(pin!(pending::<()>().in_span(task)));
        (stopped, contexts)
    };
    hold.store(true, Ordering::Relaxed);
    gate.wait();

    // On, the count counts: two readings for a time, two for each span, none for anything else.
    let start = hand.reads();
    (0..CALLS).for_each(|_| record());
    assert_eq!(hand.reads() - start, 0, "no time is asked for");
    (0..CALLS).for_each(|_| assert!(matches!(measure(), (Some(_), (Some(_), Some(_))))));
    assert_eq!(hand.reads() - start, 6 * CALLS);

    switch.force_off();
    let off = hand.reads();
    let all = || {
        for _ in 0..CALLS {
            record();
            assert!(matches!(measure(), (None, (None, None))));
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
    assert_eq!(ledger.kind(Kind::Span).switched_off, 4 * CALLS, "a request and a task");
    assert_eq!(hand.reads() - off, 0, "nor does the account");

    switch.release();
    assert_eq!(switch.state(), State::Healthy);
    let on = hand.reads();
    (0..CALLS).for_each(|_| assert!(matches!(measure(), (Some(_), (Some(_), Some(_))))));
    assert_eq!(hand.reads() - on, 6 * CALLS, "on again");
    gate.wait();

    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_balanced(&report.ledger);
    let (samples, spans) = (report.ledger.kind(Kind::Sample), report.ledger.kind(Kind::Span));
    assert_eq!((samples.recorded, samples.suppressed()), (7 * CALLS, 4 * CALLS));
    assert_eq!((spans.recorded, spans.suppressed()), (8 * CALLS, 4 * CALLS));
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
    let telemetry =
        Telemetry::builder("off").config(Config { ring_words: 64, ..patient() }).start().expect("it starts");
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

/// Spans begin in several ways, each with a look at the switch of its own: all keep to it, and to the account.
#[test]
fn however_a_span_begins_it_is_kept_out_and_counted_once() {
    /// Says of a span what can be said of it: one that is off takes it, and does nothing.
    fn live(mut span: OwnedSpan) -> Option<SpanContext> {
        let context = span.span_context();
        span.set("bytes", 240_u64);
        span.event("retry").set("attempt", 2_u64);
        assert_eq!(span.is_recorded(), context.is_some());
        drop(span.enter());
        span.fail_with("out of stock");
        context
    }
    const WAYS: [fn(&Tracer) -> Option<SpanContext>; 6] = [
        |tracer| tracer.span("work").span_context(),
        |tracer| tracer.span_with_kind("work", SpanKind::Server).span_context(),
        |tracer| tracer.build("work").root().start().span_context(),
        |tracer| live(tracer.owned("work")),
        |tracer| live(tracer.owned_with_kind("work", SpanKind::Client)),
        |tracer| live(tracer.build("work").start_owned()),
    ];
    let telemetry = Telemetry::builder("off").start().expect("it starts");
    let tracer = telemetry.tracer();
    let spans = || {
        let ledger = telemetry.ledger();
        let spans = ledger.kind(Kind::Span);
        (spans.recorded, spans.switched_off, spans.dropped.by(Reason::AfterShutdown))
    };
    // Each on a thread that is at the instance, and as the first call of one that is not.
    let both = |way: fn(&Tracer) -> Option<SpanContext>, on: bool| {
        assert_eq!(way(&tracer).is_some(), on);
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| way(&tracer).is_some()).join();
            assert_eq!(elsewhere.expect("no panic"), on);
        });
    };
    drop(tracer.owned("first"));
    WAYS.iter().for_each(|way| both(*way, true));
    assert_eq!(spans(), (13, 0, 0));
    telemetry.switch().force_off();
    for (way, so_far) in WAYS.iter().zip(0..) {
        both(*way, false);
        assert_eq!(spans(), (15 + 2 * so_far, 2 + 2 * so_far, 0), "way {so_far}");
    }
    // A future is polled as often as it likes: its span was kept out once.
    let mut future = pin!(pending().in_span(tracer.owned("polled")));
    (0..CALLS).for_each(|_| poll(future.as_mut()));
    assert_eq!(spans(), (26, 13, 0));
    // What has begun while it was on and ends while it is off is kept out as well.
    telemetry.switch().release();
    let begun = tracer.owned("begun");
    assert!(begun.span_context().is_some());
    telemetry.switch().force_off();
    drop(begun);
    assert_eq!(spans(), (27, 14, 0));
    assert!(telemetry.shutdown(PATIENCE).finished);
    for (way, so_far) in WAYS.iter().zip(0..) {
        both(*way, false);
        assert_eq!(spans(), (29 + 2 * so_far, 14, 2 + 2 * so_far), "way {so_far} after the end");
    }
    assert_balanced(&telemetry.ledger());
}
