//! Threads come and go, more of them than lanes, and record until their very end: nothing is lost, nothing panics, and
//! lanes are reused.

mod support;

use std::cell::RefCell;
use std::sync::Barrier;
use support::{PATIENCE, assert_balanced, eventually, patient};
use tellane::{Config, Counter, Histogram, Kind, Reason, Telemetry, Tracer};

fn start(config: Config) -> Telemetry {
    Telemetry::builder("threads").config(config).start().expect("it starts")
}

#[test]
fn ten_thousand_short_threads_share_a_few_lanes() {
    const THREADS: u64 = 10_000;
    let telemetry = start(Config { ring_words: 256, spill_bytes: 0, idle_lanes: 4, ..patient() });
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let tracer = telemetry.tracer();
    for start in (0..THREADS).step_by(10) {
        std::thread::scope(|scope| {
            for number in start..start + 10 {
                let (counter, sizes, tracer) = (&counter, &sizes, &tracer);
                scope.spawn(move || {
                    counter.inc();
                    sizes.record(number);
                    drop(tracer.span("short"));
                });
            }
        });
    }
    // Surplus lanes go, one pass after their threads.
    eventually("no more lanes than are kept", || {
        telemetry.snapshot(PATIENCE).expect("a snapshot").pipeline().lanes <= 4
    });
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_eq!(snapshot.counter("calls_total", &[]), Some(THREADS));
    let sizes = snapshot.histogram("sizes", &[]).expect("registered");
    assert_eq!((sizes.count(), sizes.sum_recorded()), (THREADS, u128::from(THREADS * (THREADS - 1) / 2)));
    assert_eq!(snapshot.span_durations("short").map(|view| view.count()), Some(THREADS));
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    assert_eq!(report.ledger.kind(Kind::Span).recorded, THREADS);
}

#[test]
fn no_lane_is_kept_and_still_nothing_is_lost() {
    const THREADS: u64 = 2_000;
    let telemetry = start(Config { ring_words: 64, idle_lanes: 0, ..patient() });
    let (counter, sizes, tracer) = (
        telemetry.counter("calls_total").register().expect("a good name"),
        telemetry.histogram("sizes").register().expect("a good name"),
        telemetry.tracer(),
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..THREADS / 4 {
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            counter.inc();
                            sizes.record(number);
                            drop(tracer.span("short"));
                        });
                    });
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..200 {
                telemetry.snapshot(PATIENCE).expect("a snapshot");
            }
        });
    });
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.counter("calls_total", &[]), Some(THREADS));
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(THREADS));
    assert_eq!(last.span_durations("short").map(|view| view.count()), Some(THREADS));
    // A lane that changes hands faster than it is drained may be full.
    let spans = report.ledger.kind(Kind::Span);
    assert_eq!(spans.aggregated + spans.dropped.by(Reason::RingFull), THREADS, "{spans:?}");
}

#[test]
fn over_the_cap_metrics_stay_exact_and_spans_are_dropped_by_name() {
    const THREADS: u64 = 20;
    const ROUNDS: u64 = 2_500; // more than the calls after which a refused thread asks again
    let telemetry = start(Config { lane_cap: 2, ..patient() });
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let timer = telemetry.timer("work").register().expect("a good name");
    let tracer = telemetry.tracer();
    let alive = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                counter.inc();
                alive.wait(); // all of them are there, and two have a lane
                for round in 1..ROUNDS {
                    counter.inc();
                    sizes.record(round);
                    timer.time(|| ());
                    let mut span = tracer.span("work");
                    span.set("round", round);
                    if round % 2 == 0 {
                        span.fail();
                    }
                }
                alive.wait(); // nobody's lane becomes free before all are done
            });
        }
    });
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.pipeline().lanes, 2);
    assert_eq!(last.counter("calls_total", &[]), Some(THREADS * ROUNDS));
    let calls = THREADS * (ROUNDS - 1);
    let view = last.histogram("sizes", &[]).expect("registered");
    assert_eq!((view.count(), view.min(), view.max()), (calls, Some(1.0), Some((ROUNDS - 1) as f64)));
    assert_eq!(view.sum_recorded(), u128::from(THREADS * ROUNDS * (ROUNDS - 1) / 2));
    assert_eq!(last.histogram("work_seconds", &[]).map(|work| work.count()), Some(calls));
    assert_eq!(last.span_durations("work").map(|work| work.count()), Some(calls));
    let labels = [("span_name", "work"), ("span_kind", "SPAN_KIND_INTERNAL")];
    let errors = last.counter("traces_span_metrics_errors_total", &labels);
    assert_eq!(errors, Some(THREADS * ((ROUNDS - 1) / 2)));
    let spans = report.ledger.kind(Kind::Span);
    assert_eq!(spans.recorded, calls);
    assert_eq!(spans.dropped.by(Reason::TooManyThreads), (THREADS - 2) * (ROUNDS - 1));
}

/// Records when its thread's storage is taken down.
struct Late {
    counter: Counter,
    sizes: Histogram,
    tracer: Tracer,
}

impl Drop for Late {
    fn drop(&mut self) {
        self.counter.inc();
        self.sizes.record(7);
        drop(self.tracer.span("late"));
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn recording_from_thread_local_destructors_is_counted_in_either_order() {
    let telemetry = start(patient());
    let late = || Late {
        counter: telemetry.counter("late_total").register().expect("a good name"),
        sizes: telemetry.histogram("sizes").register().expect("a good name"),
        tracer: telemetry.tracer(),
    };
    let recorded_first = [true, false].map(|recorded_first| {
        let late = late();
        let thread = std::thread::spawn(move || {
            // Destructors run in the reverse order of first use, where the system keeps an order at all.
            if recorded_first {
                late.counter.inc();
            }
            let counter = late.counter.clone();
            LATE.with(|slot| *slot.borrow_mut() = Some(late));
            if !recorded_first {
                counter.inc();
            }
        });
        thread.join().expect("no panic")
    });
    // And a thread that records for the first time when it is all but gone.
    let only_late = late();
    let thread = std::thread::spawn(move || LATE.with(|slot| *slot.borrow_mut() = Some(only_late)));
    thread.join().expect("no panic");

    let threads = recorded_first.len() as u64 + 1;
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.counter("late_total", &[]), Some(threads + 2));
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(threads));
    assert_eq!(last.span_durations("late").map(|view| view.count()), Some(threads));
    let spans = report.ledger.kind(Kind::Span);
    assert_eq!(spans.aggregated + spans.dropped.by(Reason::TlsGone), threads, "{spans:?}");
}

#[test]
fn a_thread_that_first_records_after_shutdown_is_told_apart() {
    let telemetry = start(patient());
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let tracer = telemetry.tracer();
    assert!(telemetry.shutdown(PATIENCE).finished);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..100 {
                sizes.record(value);
                drop(tracer.span("late"));
            }
        });
    });
    let ledger = telemetry.ledger();
    assert_balanced(&ledger);
    for kind in [Kind::Sample, Kind::Span] {
        assert_eq!(ledger.kind(kind).dropped.by(Reason::AfterShutdown), 100, "{kind:?}");
    }
}
