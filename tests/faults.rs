//! An aggregator that panics, dies, stalls or is overrun: what is lost is counted, the switch goes off and comes back
//! by itself, and whoever subscribed sees it.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, assert_possible, assert_whole, eventually};
use tellane::{Cause, Clock, Config, FailPoint, Kind, Reason, State, Switch, Telemetry, Transition};

/// Settings under which faults are found and forgiven within milliseconds.
fn quick() -> Config {
    Config {
        ring_words: 64,
        shortest_sleep: Duration::from_micros(100),
        longest_sleep: Duration::from_millis(1),
        stall_after: Duration::from_millis(20),
        retry: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        probe_lease: PATIENCE,
        shed_share: 1.0,
        restarts_max: 3,
        ..Config::default()
    }
}

/// Panics without the message that would fill the tests' output.
fn fail() -> ! {
    std::panic::resume_unwind(Box::new("injected"))
}

/// All changes so far, oldest first.
fn changes(switch: &mut Switch) -> Vec<(State, State, Cause)> {
    std::iter::from_fn(|| switch.next_change())
        .map(|Transition { from, to, cause, .. }| (from, to, cause))
        .collect()
}

#[test]
fn a_pass_that_panics_is_repeated() {
    let passes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passes);
    let telemetry = Telemetry::builder("panics")
        .config(Config { ring_words: 1 << 15, stall_after: PATIENCE, ..quick() })
        .inject(move |at| {
            if at == FailPoint::Step && counted.fetch_add(1, Ordering::Relaxed) % 3 == 1 {
                fail();
            }
        })
        .start()
        .expect("it starts");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    (0..10_000).for_each(|value| sizes.record(value));
    eventually("some passes", || passes.load(Ordering::Relaxed) > 10);
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(10_000));
    assert!(last.pipeline().restarts >= 3, "{:?}", last.pipeline());
    assert_eq!(telemetry.switch().changes(), 0, "a panic now and then is no reason to give up");
}

#[test]
fn a_span_that_cannot_be_folded_is_corrupt_and_the_rest_is_not() {
    const SPANS: u64 = 5_000;
    let held = Arc::new(Mutex::new(()));
    let (gate, folded) = (Arc::clone(&held), AtomicU64::new(0));
    let config =
        Config { ring_words: 1 << 17, stall_after: PATIENCE, idle_lanes: 0, restarts_max: 1_000, ..quick() };
    let telemetry = Telemetry::builder("corrupt")
        .config(config)
        .inject(move |at| match at {
            FailPoint::Step => drop(gate.lock().unwrap_or_else(PoisonError::into_inner)),
            _ if folded.fetch_add(1, Ordering::Relaxed) % 100 == 99 => fail(),
            _ => {}
        })
        .start()
        .expect("it starts");
    let tracer = telemetry.tracer();
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    {
        // Held up, the aggregator finds everything at once: panics strike in the middle of chunks that end in the
        // middle of spans, and of lanes that are about to be retired.
        let _held = held.lock().expect("not poisoned");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..SPANS / 2 {
                        let mut span = tracer.span("work");
                        span.set("number", number);
                        sizes.record(number);
                        counter.inc();
                    }
                });
            }
        });
    }
    let ledger = || telemetry.ledger().kind(Kind::Span);
    eventually("all is read", || ledger().in_flight == 0);
    let spans = ledger();
    assert_eq!((spans.recorded, spans.dropped.by(Reason::Corrupt)), (SPANS, SPANS / 100));
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_whole(&snapshot);
    assert!(snapshot.pipeline().restarts >= SPANS / 100);
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    let sizes = last.histogram("sizes", &[]).expect("registered");
    assert_eq!((sizes.count(), sizes.sum_recorded()), (SPANS, u128::from((SPANS / 2 - 1) * (SPANS / 2))));
    assert_eq!(last.counter("calls_total", &[]), Some(SPANS));
    assert_eq!(last.span_durations("work").map(|view| view.count()), Some(SPANS - SPANS / 100));
}

#[test]
fn shutdown_gets_past_what_cannot_be_folded() {
    let held = Arc::new(Mutex::new(()));
    let (gate, folded) = (Arc::clone(&held), AtomicU64::new(0));
    let telemetry = Telemetry::builder("last")
        .config(Config { ring_words: 1 << 15, stall_after: PATIENCE, restarts_max: 1_000, ..quick() })
        .inject(move |at| match at {
            FailPoint::Step => drop(gate.lock().unwrap_or_else(PoisonError::into_inner)),
            // The first one meets the pass that is under way, the others what shutdown itself does.
            _ if folded.fetch_add(1, Ordering::Relaxed) % 10 == 5 => fail(),
            _ => {}
        })
        .start()
        .expect("it starts");
    let report = std::thread::scope(|scope| {
        let held = held.lock().expect("not poisoned");
        let tracer = telemetry.tracer();
        (0..100).for_each(|_| drop(tracer.span("work")));
        let ending = scope.spawn(|| telemetry.shutdown(PATIENCE));
        drop(held);
        ending.join().expect("no panic reaches the caller")
    });
    assert!(report.finished);
    assert_balanced(&report.ledger);
    let spans = report.ledger.kind(Kind::Span);
    assert_eq!((spans.aggregated, spans.dropped.by(Reason::Corrupt)), (90, 10));
    assert_eq!(telemetry.latest().spans().count(), 90);
}

#[test]
fn a_dead_aggregator_switches_off_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let telemetry = Telemetry::builder("dead")
        .config(Config { stall_after: PATIENCE, ..quick() })
        .inject(move |at| {
            if at == FailPoint::Step && seen.load(Ordering::Relaxed) {
                fail();
            }
        })
        .start()
        .expect("it starts");
    let mut switch = telemetry.switch();
    broken.store(true, Ordering::Relaxed); // from here on, the subscription misses nothing
    eventually("it is off", || switch.state() == State::Off);
    assert!(telemetry.snapshot(PATIENCE).is_err());
    let (counter, sizes) = (
        telemetry.counter("calls_total").register().expect("a good name"),
        telemetry.histogram("sizes").register().expect("a good name"),
    );
    counter.inc();
    sizes.record(1);
    broken.store(false, Ordering::Relaxed);
    eventually("it is back", || switch.state() == State::Healthy);
    sizes.record(2);
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let samples = report.ledger.kind(Kind::Sample);
    assert_eq!((samples.aggregated, samples.switched_off), (1, 1));
    assert_eq!(telemetry.latest().counter("calls_total", &[]), Some(1), "counters count in every state");
    let changes = changes(&mut switch);
    let last_three = [
        (State::Healthy, State::Off, Cause::Dead),
        (State::Off, State::Probing, Cause::Probe),
        (State::Probing, State::Healthy, Cause::Recovered),
    ];
    assert_eq!(changes, last_three);
}

#[test]
fn a_stall_is_found_by_producers_and_forgiven() {
    let held = Arc::new(Mutex::new(()));
    let gate = Arc::clone(&held);
    let telemetry = Telemetry::builder("stalled")
        .config(quick())
        .inject(move |_| drop(gate.lock().unwrap_or_else(PoisonError::into_inner)))
        .start()
        .expect("it starts");
    let mut switch = telemetry.switch();
    let (tracer, timer) = (telemetry.tracer(), telemetry.timer("work").register().expect("a good name"));
    let (mut spans, mut timed) = (0_u64, 0_u64);
    let on_hold = held.lock().expect("not poisoned");
    eventually("a producer finds out", || {
        drop(tracer.span("work"));
        spans += 1;
        switch.state() == State::Off
    });
    let before = telemetry.ledger().kind(Kind::Span);
    for _ in 0..1_000 {
        drop(tracer.span("work"));
        spans += 1;
        timer.time(|| ());
        timed += 1;
    }
    let after = telemetry.ledger();
    assert_possible(&after);
    assert_eq!(after.kind(Kind::Span).switched_off - before.switched_off, 1_000, "to the last one");
    assert_eq!(after.kind(Kind::Sample).switched_off, 1_000);
    drop(on_hold);
    eventually("it comes back", || switch.state() == State::Healthy);
    eventually("this thread's lane hears of it", || {
        timed += 1;
        timer.start().stop().is_some()
    });
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let account = report.ledger.kind(Kind::Span);
    assert_eq!(account.recorded, spans);
    assert_eq!(account.aggregated + account.dropped.by(Reason::RingFull) + account.switched_off, spans);
    let last = telemetry.latest();
    let counted = last.span_durations("work").map(|work| work.count());
    assert_eq!(counted, Some(spans - account.switched_off));
    let work = last.histogram("work_seconds", &[]).map(|work| work.count());
    assert!(work.is_some_and(|work| work >= 1 && work <= timed - 1_000), "{work:?}");
    let changes = changes(&mut switch);
    assert_eq!(changes.first(), Some(&(State::Healthy, State::Off, Cause::Stalled)));
    assert_eq!(changes.last(), Some(&(State::Probing, State::Healthy, Cause::Recovered)));
    for pair in changes.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "no change is missing: {changes:?}");
    }
}

#[test]
fn shedding_degrades_and_is_forgiven() {
    // Never asleep for less than 20 ms, the aggregator finds the tiny ring overrun each time.
    let config = Config {
        shortest_sleep: Duration::from_millis(20),
        longest_sleep: Duration::from_millis(20),
        stall_after: PATIENCE,
        shed_share: 0.1,
        shed_after: Duration::from_millis(1),
        ..quick()
    };
    let telemetry = Telemetry::builder("shedding").config(config).start().expect("it starts");
    let mut switch = telemetry.switch();
    let tracer = telemetry.tracer();
    let mut spans = 0_u64;
    eventually("it degrades", || {
        for _ in 0..1_000 {
            drop(tracer.span("work"));
            spans += 1;
        }
        telemetry.ledger().kind(Kind::Span).dropped.by(Reason::Degraded) > 0
    });
    eventually("it recovers when the load is gone", || switch.state() == State::Healthy);
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    assert_eq!(report.ledger.kind(Kind::Span).recorded, spans);
    let durations = telemetry.latest().span_durations("work").map(|work| work.count());
    assert_eq!(durations, Some(spans), "a shed span's duration counts");
    let changes = changes(&mut switch);
    assert_eq!(changes.first(), Some(&(State::Healthy, State::Degraded, Cause::Shedding)));
    assert_eq!(changes.last(), Some(&(State::Probing, State::Healthy, Cause::Recovered)));
}

#[test]
fn above_the_memory_cap_it_goes_off_and_stays_there() {
    let config = Config { memory_cap: 1 << 20, ring_words: 1 << 18, ..quick() };
    let telemetry = Telemetry::builder("memory").config(config).start().expect("it starts");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let mut switch = telemetry.switch();
    sizes.record(1); // a lane, larger than the cap
    let change = switch.wait_for_change(PATIENCE).expect("it goes off");
    assert_eq!((change.from, change.to, change.cause), (State::Healthy, State::Off, Cause::Memory));
    eventually("the lane hears of it", || {
        sizes.record(2);
        telemetry.ledger().kind(Kind::Sample).switched_off > 0
    });
    let steps = telemetry.snapshot(PATIENCE).expect("a snapshot").pipeline().steps;
    eventually("many passes and retries later", || {
        telemetry.snapshot(PATIENCE).expect("a snapshot").pipeline().steps > steps + 50
    });
    assert_eq!((switch.state(), switch.changes()), (State::Off, 1));
    assert_balanced(&telemetry.shutdown(PATIENCE).ledger);
}

#[test]
fn memory_that_threads_give_back_is_forgiven() {
    // Four megabytes of rings against a cap of two; the rest of what an instance holds is far below one.
    const THREADS: u64 = 8;
    let config = Config {
        ring_words: 1 << 16,
        spill_bytes: 0,
        kept_spans: 1 << 10,
        idle_lanes: 0,
        memory_cap: 2 << 20,
        stall_after: PATIENCE,
        ..quick()
    };
    let (clock, hand) = Clock::mock();
    let telemetry = Telemetry::builder("memory").config(config).clock(clock).start().expect("it starts");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let mut switch = telemetry.switch();
    // Whenever a probe could be due, and a whole pass between two answers.
    let later = || {
        hand.advance(Duration::from_secs(1));
        telemetry.snapshot(PATIENCE).expect("a snapshot");
        telemetry.snapshot(PATIENCE).expect("a snapshot")
    };
    std::thread::scope(|scope| {
        let parked: Vec<Sender<()>> = (0..THREADS)
            .map(|_| {
                let (go, wait) = channel();
                let sizes = &sizes;
                scope.spawn(move || {
                    sizes.record(1); // a lane, kept until the thread ends
                    wait.recv().expect_err("nothing is sent, it is let go");
                });
                go
            })
            .collect();
        eventually("it goes off", || {
            later(); // it looks once a millisecond
            switch.state() == State::Off
        });
        assert_eq!(changes(&mut switch), [(State::Healthy, State::Off, Cause::Memory)]);
        eventually("all of them have a lane", || later().pipeline().lanes == THREADS as usize);
        let held = (0..50).map(|_| later().pipeline().bytes).min();
        assert!(held > Some(4 << 20), "{held:?} bytes");
        assert_eq!((switch.state(), switch.changes()), (State::Off, 1), "many passes and retries later");
        drop(parked);
    });
    eventually("the lanes are gone", || later().pipeline().lanes == 0);
    eventually("it comes back", || {
        later();
        switch.state() == State::Healthy
    });
    sizes.record(2); // one lane is not too much
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let samples = report.ledger.kind(Kind::Sample);
    assert_eq!(samples.recorded, THREADS + 1);
    let last = telemetry.latest();
    let kept = last.histogram("sizes", &[]).expect("registered");
    assert_eq!((kept.count(), kept.max()), (samples.aggregated, Some(2.0)), "it records again");
    let there_and_back =
        [(State::Off, State::Probing, Cause::Probe), (State::Probing, State::Healthy, Cause::Recovered)];
    assert_eq!(changes(&mut switch), there_and_back);
}

#[test]
fn the_callers_word_stays_until_it_is_taken_back() {
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let telemetry = Telemetry::builder("forced")
        .config(Config { ring_words: 1 << 12, stall_after: PATIENCE, ..quick() })
        .inject(move |at| {
            if at == FailPoint::Step && seen.load(Ordering::Relaxed) {
                fail();
            }
        })
        .start()
        .expect("it starts");
    let mut switch = telemetry.switch();
    let (counter, sizes, timer, tracer) = (
        telemetry.counter("calls_total").register().expect("a good name"),
        telemetry.histogram("sizes").register().expect("a good name"),
        telemetry.timer("work").register().expect("a good name"),
        telemetry.tracer(),
    );
    let record = |calls: u64| {
        for value in 0..calls {
            counter.inc();
            sizes.record(value);
            let _time = timer.start();
            drop(tracer.span("work"));
        }
    };
    record(10);
    switch.force_off();
    let open_before = tracer.span("inert");
    assert_eq!(open_before.span_context(), None, "a span that begins while it is off does nothing");
    drop(open_before);
    record(1_000);
    // A thread that has no lane yet, and the shared counts of one that gets none, obey as well.
    std::thread::scope(|scope| {
        scope.spawn(|| record(500));
    });
    let ledger = telemetry.ledger();
    assert_eq!(ledger.kind(Kind::Sample).switched_off, 3_000);
    assert_eq!(ledger.kind(Kind::Span).switched_off, 1_501);
    assert_eq!(switch.state(), State::Off);
    switch.release();
    assert_eq!(switch.state(), State::Healthy);
    record(5);
    switch.force_on();
    broken.store(true, Ordering::Relaxed);
    eventually("it would be off by itself", || telemetry.switch().changes() >= 4);
    assert_eq!(switch.state(), State::Healthy, "the caller insists");
    record(5);
    switch.release();
    assert_eq!(switch.state(), State::Off, "the fault was not forgotten");
    broken.store(false, Ordering::Relaxed);
    eventually("it comes back", || switch.state() == State::Healthy);
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    assert_eq!(report.ledger.kind(Kind::Span).aggregated, 20);
    let last = telemetry.latest();
    assert_eq!(last.counter("calls_total", &[]), Some(1_520));
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(20));
    let manual = changes(&mut switch).into_iter().filter(|(_, _, cause)| *cause == Cause::Manual).count();
    assert_eq!(manual, 4);
}

#[test]
fn a_subscription_sees_every_change_or_knows_how_many_it_missed() {
    let telemetry = Telemetry::builder("changes").start().expect("it starts");
    let (hand, mut slow) = (telemetry.switch(), telemetry.switch());
    let seen = std::thread::scope(|scope| {
        let mut quick = telemetry.switch();
        let watcher = scope.spawn(move || {
            let mut seen = Vec::new();
            while seen.len() < 60 {
                seen.push(quick.wait_for_change(PATIENCE).expect("a change"));
            }
            seen
        });
        for _ in 0..30 {
            hand.force_off();
            hand.release();
        }
        watcher.join().expect("no panic")
    });
    for (number, change) in seen.iter().enumerate() {
        let to = if number % 2 == 0 { State::Off } else { State::Healthy };
        assert_eq!((change.to, change.cause), (to, Cause::Manual), "{number}");
    }
    for _ in 0..100 {
        hand.force_off();
        hand.release();
    }
    let late = std::iter::from_fn(|| slow.next_change()).count();
    assert_eq!((late, slow.changes()), (64, 260));
    assert_eq!(slow.wait_for_change(Duration::ZERO), None);
}
