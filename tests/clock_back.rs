//! A clock that is set back, as a suspended machine or a restored one does: whatever waits goes on from there, at once.

mod support;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{PATIENCE, eventually};
use tellane::testing::Kit;
use tellane::{Cause, Clock, Config, FailPoint, State, TailSampling, Telemetry};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: u64 = 3_600_000_000_000;

/// The clock jumps forward, too, and the aggregator has done nothing wrong.
fn patient() -> Config {
    Config { stall_after: Duration::from_secs(1 << 30), ..Config::default() }
}

#[test]
fn logs_are_written_at_once_and_in_the_order_of_their_making() {
    let kit = Kit::with(patient());
    let logger = kit.logger("app");
    kit.clock().set(HOUR);
    for round in 0..20_u64 {
        // An hour forth, and back to where it was: the first record is of before the step.
        kit.clock().set(2 * HOUR);
        logger.info("before");
        kit.clock().set(HOUR + round);
        logger.info("after");
        kit.clock().advance(Duration::from_nanos(1));
        logger.info("later");
        let logs = kit.logs();
        let told: Vec<_> = logs.iter().skip(3 * round as usize).map(|log| &*log.message).collect();
        assert_eq!(told, ["before", "after", "later"], "round {round}");
    }
    kit.end();
    kit.assert_nothing_lost();
}

#[test]
fn rates_begin_anew() {
    let kit = Kit::with(Config { logs_per_second: Some(3), traces_per_second: Some(5), ..patient() });
    let (logger, tracer) = (kit.logger("app"), kit.tracer());
    let mut sampled = 0;
    let mut written = 0;
    for start in [3 * HOUR, 2 * HOUR, HOUR, HOUR / 3_600] {
        kit.clock().set(start);
        (0..10).for_each(|_| logger.info("hello"));
        (0..10).for_each(|_| drop(tracer.span("order")));
        (sampled, written) = (sampled + 5, written + 3);
        let snapshot = kit.snapshot();
        assert_eq!(snapshot.spans().count(), sampled, "from {start}");
        assert_eq!(kit.logs().iter().filter(|log| &*log.message == "hello").count(), written, "from {start}");
    }
    kit.end();
}

#[test]
fn uptime_goes_on_and_durations_are_never_negative() {
    let kit = Kit::with(patient());
    kit.clock().advance(10 * SECOND);
    assert_eq!(kit.snapshot().uptime(), 10 * SECOND);
    let tracer = kit.tracer();
    let timer = kit.telemetry().timer("packing").register().expect("a good name");
    let (local, owned, watch) = (tracer.span("local"), tracer.owned("owned"), timer.start());
    kit.clock().set(1);
    assert_eq!(watch.stop(), Some(Duration::ZERO));
    drop((owned, local));
    assert_eq!(kit.snapshot().uptime(), 10 * SECOND);
    kit.clock().advance(5 * SECOND);
    let snapshot = kit.snapshot();
    assert_eq!(snapshot.uptime(), 15 * SECOND);
    let durations: Vec<_> = snapshot.spans().map(|span| span.duration).collect();
    assert_eq!(durations, [Duration::ZERO; 2]);
    for name in ["local", "owned"] {
        let view = snapshot.span_durations(name).expect("one each");
        assert_eq!((view.count(), view.sum_recorded()), (1, 0), "{name}");
    }
    kit.end();
}

#[test]
fn a_held_trace_waits_no_longer_than_it_would_have() {
    let outcome =
        TailSampling { slower_than_p99: false, longest_wait: 5 * SECOND, ..TailSampling::default() };
    let kit = Kit::with(Config { sampling: 0.0, tail_sampling: Some(outcome), ..patient() });
    let tracer = kit.tracer();
    kit.clock().set(HOUR);
    let root = tracer.build("open").root().start_owned();
    {
        let _inside = tracer.attach(&tracer.context_of(&root));
        drop(tracer.span("child"));
    }
    assert_eq!(kit.snapshot().tail_sampling().traces_held, 1);
    kit.clock().set(1);
    assert_eq!(kit.snapshot().tail_sampling().traces_held, 1);
    kit.clock().advance(6 * SECOND);
    let decisions = kit.snapshot().tail_sampling().clone();
    assert_eq!((decisions.timed_out, decisions.traces_held), (1, 0));
    drop(root);
    kit.end();
}

#[test]
fn the_latest_snapshot_is_renewed_by_the_interval() {
    let (clock, hand) = Clock::mock();
    let config = Config { flush_interval: 10 * SECOND, ..patient() };
    let telemetry = Telemetry::builder("flush").config(config).clock(clock).start().expect("it starts");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    hand.set(HOUR);
    eventually("it is renewed", || {
        hand.advance(SECOND); // the worker may begin late
        telemetry.latest().uptime() > 10 * SECOND
    });
    counter.inc();
    let before = telemetry.snapshot(PATIENCE).expect("it answers").uptime();
    hand.set(1);
    let passed = telemetry.snapshot(PATIENCE).expect("it answers").uptime();
    assert_eq!(passed, before);
    hand.advance(11 * SECOND);
    eventually("it is renewed again", || telemetry.latest().uptime() == passed + 11 * SECOND);
    assert!(telemetry.shutdown(PATIENCE).finished);
}

#[test]
fn the_switch_is_tried_again_when_the_wait_is_over() {
    const MILLI: Duration = Duration::from_millis(1);
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let (clock, hand) = Clock::mock();
    let config = Config {
        restarts_max: 0,
        retry: 5 * SECOND,
        retry_max: 5 * SECOND,
        probe_lease: PATIENCE,
        longest_sleep: MILLI,
        ..patient()
    };
    let telemetry = Telemetry::builder("retry")
        .config(config)
        .clock(clock)
        .inject(move |at| {
            if at == FailPoint::Step && seen.load(Ordering::Relaxed) {
                resume_unwind(Box::new("injected"));
            }
        })
        .start()
        .expect("it starts");
    hand.set(2 * HOUR);
    telemetry.snapshot(PATIENCE).expect("it answers");
    let mut switch = telemetry.switch();
    broken.store(true, Ordering::Relaxed);
    eventually("it is off", || switch.state() == State::Off);
    broken.store(false, Ordering::Relaxed);
    hand.set(HOUR);
    let uptime = || telemetry.snapshot(PATIENCE).expect("it answers").uptime();
    let off_at = uptime();
    let mut passed = Duration::ZERO;
    eventually("it is tried again", || {
        passed += 100 * MILLI;
        assert!(passed <= 6 * SECOND, "it waits for the clock to catch up");
        hand.advance(100 * MILLI);
        uptime(); // a pass at each hundred milliseconds
        switch.state() != State::Off
    });
    let changes: Vec<_> = std::iter::from_fn(|| switch.next_change()).collect();
    let [off, probe, ..] = changes[..] else { panic!("too few changes: {changes:?}") };
    assert_eq!((off.to, off.cause, probe.to), (State::Off, Cause::Dead, State::Probing));
    let (off, probe) = (Duration::from_millis(off.at_millis), Duration::from_millis(probe.at_millis));
    assert_eq!(off, off_at, "time goes on from the fault, not from where the clock was set");
    assert!(probe >= off + 5 * SECOND, "{off:?} {probe:?}: before the wait was over");
    assert!(telemetry.shutdown(PATIENCE).finished);
}
