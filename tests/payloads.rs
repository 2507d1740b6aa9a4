//! Panics on tellane's own threads where none is expected: with a payload that panics again when it is dropped, and
//! outside of a pass. They cost what any other panic costs, and whoever asks is told when the worker is gone.

mod support;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{PATIENCE, assert_balanced, eventually, patient};
use tellane::{Cause, Clock, Config, FailPoint, Format, Kind, Reason, Sink, SnapshotError, State, Telemetry};

/// A payload that panics when it is dropped, so many times over: each panic's payload is the next.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            fail(self.0 - 1);
        }
    }
}

/// Panics without the message that would fill the tests' output.
fn fail(again: u32) -> ! {
    std::panic::resume_unwind(Box::new(Bomb(again)))
}

#[test]
fn the_aggregator_goes_on() {
    for again in [1, 3] {
        let passes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&passes);
        let builder = Telemetry::builder("payloads").config(patient()).inject(move |at| {
            // Every other pass, so that requests meet it, too.
            if at == FailPoint::Step && counted.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                fail(again);
            }
        });
        let telemetry = builder.start().expect("it starts");
        telemetry.histogram("sizes").register().expect("a good name").record(7);
        eventually("some passes", || passes.load(Ordering::Relaxed) > 4);
        let snapshot = telemetry.snapshot(PATIENCE).expect("the aggregator answers");
        assert_eq!(snapshot.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(1));
        assert!(snapshot.pipeline().restarts > 0);
        let end = telemetry.shutdown(PATIENCE);
        assert!(end.finished);
        assert_balanced(&end.ledger);
    }
}

/// Panics at each write, and once more when it is dropped.
struct Panics(u32);

impl Write for Panics {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        fail(self.0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        fail(self.0)
    }
}

#[test]
fn the_other_sinks_go_on() {
    for again in [0, 1, 3] {
        let (memory, kept) = Sink::memory(100);
        let broken = || Sink::writer(Format::Json, Box::new(Panics(again)));
        let builder = Telemetry::builder("payloads").log_to(broken()).log_to(broken()).log_to(memory);
        let telemetry = builder.start().expect("it starts");
        let log = telemetry.logger("app");
        for number in 0..5_u64 {
            tellane::info!(log, "numbered", number = number);
            telemetry.snapshot(PATIENCE).expect("a snapshot");
        }
        let end = telemetry.shutdown(PATIENCE);
        assert!(end.finished);
        assert_balanced(&end.ledger);
        assert_balanced(telemetry.latest().ledger());
        assert_eq!(end.ledger.kind(Kind::Log).dropped.by(Reason::SinkFailed), 5);
        assert_eq!(kept.records().len(), 5, "the sink that works has them all");
    }
}

#[test]
fn a_panic_between_two_passes_is_forgiven() {
    let panics = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&panics);
    let builder = Telemetry::builder("forgiven").config(patient()).inject(move |at| {
        if at == FailPoint::Between && counted.fetch_add(1, Ordering::Relaxed) < 3 {
            fail(1);
        }
    });
    let telemetry = builder.start().expect("it starts");
    telemetry.histogram("sizes").register().expect("a good name").record(7);
    eventually("the panics are over", || panics.load(Ordering::Relaxed) > 3);
    let snapshot = telemetry.snapshot(PATIENCE).expect("the worker is back");
    assert_eq!(snapshot.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(1));
    assert_eq!(snapshot.pipeline().restarts, 3);
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_balanced(&end.ledger);
}

#[test]
fn panics_far_apart_between_passes_never_end_the_worker() {
    let fails = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&fails);
    let (clock, hand) = Clock::mock();
    let config = Config { restarts_max: 1, ..patient() };
    let retry_max = config.retry_max;
    let config = Config { stall_after: 1_000 * retry_max, ..config };
    let builder = Telemetry::builder("far apart").config(config).clock(clock).inject(move |at| {
        if at == FailPoint::Between && seen.swap(false, Ordering::Relaxed) {
            fail(1);
        }
    });
    let telemetry = builder.start().expect("it starts");
    let restarts = || telemetry.snapshot(PATIENCE).expect("the worker is back").pipeline().restarts;
    for round in 1..=10 {
        restarts(); // it works
        hand.advance(retry_max);
        fails.store(true, Ordering::Relaxed);
        eventually("it has panicked", || !fails.load(Ordering::Relaxed));
        assert_eq!(restarts(), round);
    }
    // The next one is in a row with the last, and one is all there may be.
    fails.store(true, Ordering::Relaxed);
    eventually("it has ended", || telemetry.snapshot(PATIENCE).is_err());
    assert!(telemetry.shutdown(PATIENCE).finished);
}

#[test]
fn a_worker_that_is_dead_answers_nobody_as_if_all_were_well() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_broken);
    let (memory, kept) = Sink::memory(100);
    let config = Config { restarts_max: 2, ..patient() };
    let builder = Telemetry::builder("dead").config(config).log_to(memory).inject(move |at| {
        if at == FailPoint::Between && seen.load(Ordering::Relaxed) {
            fail(0);
        }
    });
    let telemetry = builder.start().expect("it starts");
    let mut switch = telemetry.switch();
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let log = telemetry.logger("app");
    sizes.record(1);
    telemetry.snapshot(PATIENCE).expect("all is well so far");
    is_broken.store(true, Ordering::Relaxed);
    eventually("the worker is dead", || {
        sizes.record(2);
        log.info("again");
        let taken = telemetry.snapshot(PATIENCE);
        taken.is_err_and(|error| error == SnapshotError::Ended)
    });
    assert_eq!(telemetry.snapshot(PATIENCE).map(drop), Err(SnapshotError::Ended), "and so from then on");
    let change = std::iter::from_fn(|| switch.next_change()).last().expect("the switch says so, too");
    assert_eq!((change.to, change.cause), (State::Off, Cause::Dead));
    // Whatever was recorded before is in the last snapshot, and what came later is counted as lost.
    let before = telemetry.latest().histogram("sizes", &[]).map_or(0, |sizes| sizes.count());
    sizes.record(3);
    log.info("too late");
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished, "nothing is left to wait for");
    assert_balanced(&end.ledger);
    let samples = end.ledger.kind(Kind::Sample);
    assert_eq!((samples.aggregated, samples.recorded > before), (before, true));
    assert!(samples.dropped.by(Reason::AfterShutdown) > 0);
    assert!(end.ledger.kind(Kind::Log).dropped.by(Reason::AfterShutdown) > 0);
    assert_eq!(end.ledger.kind(Kind::Log).aggregated, kept.records().len() as u64);
    assert_eq!(
        telemetry.snapshot(PATIENCE).map(drop),
        Err(SnapshotError::Ended),
        "a shutdown changes nothing"
    );
}
