//! Conservation: what the threads of a test counted themselves is what the snapshot and the ledger say, to the last
//! record, with tiny rings, with and without spills, across thread exits, and while others read.

mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{PATIENCE, assert_balanced, assert_possible, assert_whole};
use tellane::{
    Config, Counter, Family, Gauge, Histogram, Kind, Reason, Telemetry, Timer, Tracer, UpDownCounter,
};

const HIGHEST: u64 = 1 << 45;

#[derive(Clone)]
struct Handles {
    counter: Counter,
    by_kind: Family<Counter, 1>,
    up_down: UpDownCounter,
    gauge: Gauge,
    histogram: Histogram,
    timer: Timer,
    tracer: Tracer,
}

/// A thread's own account, in plain numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    counted: u64,
    labelled: u64,
    up_down: i64,
    gauge: i64,
    samples: u64,
    sum: u128,
    min: u64,
    max: u64,
    invalid: u64,
    clamped: u64,
    timed: u64,
    spans: u64,
    sampled: u64,
    errors: u64,
}

impl Own {
    fn add(mut self, other: Self) -> Self {
        self.counted += other.counted;
        self.labelled += other.labelled;
        self.up_down += other.up_down;
        self.gauge += other.gauge;
        self.samples += other.samples;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.invalid += other.invalid;
        self.clamped += other.clamped;
        self.timed += other.timed;
        self.spans += other.spans;
        self.sampled += other.sampled;
        self.errors += other.errors;
        self
    }
}

fn hammer(handles: &Handles, seed: u64, rounds: u64) -> Own {
    let mut own = Own { min: u64::MAX, ..Own::default() };
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for round in 0..rounds {
        let random = next();
        handles.counter.add(random % 7);
        own.counted += random % 7;
        handles.by_kind.with([["a", "b", "c"][(random % 3) as usize]]).inc();
        own.labelled += 1;
        let difference = (random % 11) as i64 - 5;
        handles.up_down.add(difference);
        own.up_down += difference;
        handles.gauge.add(difference as f64);
        own.gauge += difference;

        let value = match random % 5 {
            0 => 0,
            1 => random,
            2 => random << 20,
            3 => HIGHEST - random % 3,
            _ => HIGHEST + 1 + random,
        };
        handles.histogram.record(value);
        let kept = value.min(HIGHEST);
        own.clamped += u64::from(value > HIGHEST);
        own.samples += 1;
        own.sum += u128::from(kept);
        (own.min, own.max) = (own.min.min(kept), own.max.max(kept));
        if round % 5 == 0 {
            handles.histogram.record_f64([f64::NAN, f64::INFINITY, -1.0][(random % 3) as usize]);
            own.invalid += 1;
        }
        if round % 3 == 0 {
            handles.timer.time(|| random);
            own.timed += 1;
        }
        let mut span = handles.tracer.span(["parse", "index", "store"][(random % 3) as usize]);
        span.set("round", round);
        span.set("text", "a text of some length");
        own.sampled += u64::from(span.is_sampled());
        if random % 4 == 0 {
            span.fail();
            own.errors += 1;
        }
        let _child = handles.tracer.span("child");
        own.spans += 2;
        handles.timer.time(|| random); // inside of a span: now and then with an exemplar
        own.timed += 1;
    }
    own
}

fn check_balance(threads: u64, spill_bytes: usize, lane_cap: usize) {
    let config = Config {
        ring_words: 64,
        spill_bytes,
        lane_cap,
        idle_lanes: 2,
        sampling: 0.5,
        shed_share: 1.0, // stay healthy however much is shed
        stall_after: PATIENCE,
        ..Config::default()
    };
    let telemetry = Telemetry::builder("accounting").config(config).start().expect("it starts");
    let handles = Handles {
        counter: telemetry.counter("counted_total").register().expect("a good name"),
        by_kind: telemetry.counter("labelled_total").family(["kind"]).expect("a good name"),
        up_down: telemetry.up_down_counter("up_down").register().expect("a good name"),
        gauge: telemetry.gauge("level").register().expect("a good name"),
        histogram: telemetry.histogram("sizes").highest(HIGHEST).register().expect("a good name"),
        timer: telemetry.timer("timed").register().expect("a good name"),
        tracer: telemetry.tracer(),
    };
    let done = AtomicBool::new(false);
    // All of them have their lanes, or were refused, before any goes on.
    let together = Barrier::new(threads as usize);
    let rounds = 40_000 / threads;
    let own = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Acquire) || looks < 3 {
                assert_whole(&telemetry.snapshot(PATIENCE).expect("a snapshot"));
                assert_possible(&telemetry.ledger());
                looks += 1;
            }
        });
        let workers: Vec<_> = (0..threads)
            .map(|seed| {
                let (handles, together) = (&handles, &together);
                scope.spawn(move || {
                    // Each of them twice: the second begins when the first has ended, maybe with its lane.
                    let first = std::thread::scope(|scope| {
                        let first = scope.spawn(|| {
                            handles.counter.add(0); // the first touch asks for a lane
                            together.wait();
                            hammer(handles, seed, rounds / 2)
                        });
                        first.join().expect("no panic")
                    });
                    first.add(hammer(handles, seed + 1_000, rounds / 2))
                })
            })
            .collect();
        let own: Vec<Own> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        done.store(true, Ordering::Release);
        reader.join().expect("the reader saw nothing impossible");
        own.into_iter().reduce(Own::add).expect("a thread")
    });
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    let (ledger, last) = (report.ledger, telemetry.latest());
    assert_balanced(&ledger);
    assert_whole(&last);

    assert_eq!(last.counter("counted_total", &[]), Some(own.counted));
    let labelled: Option<u64> =
        ["a", "b", "c"].iter().map(|kind| last.counter("labelled_total", &[("kind", kind)])).sum();
    assert_eq!(labelled, Some(own.labelled));
    assert_eq!(last.up_down_counter("up_down", &[]), Some(own.up_down));
    assert_eq!(last.gauge("level", &[]), Some(own.gauge as f64));
    let sizes = last.histogram("sizes", &[]).expect("registered");
    assert_eq!((sizes.count(), sizes.sum_recorded()), (own.samples, own.sum));
    assert_eq!((sizes.min(), sizes.max()), (Some(own.min as f64), Some(own.max as f64)));
    assert_eq!(last.histogram("timed_seconds", &[]).map(|timed| timed.count()), Some(own.timed));

    let names = ["parse", "index", "store", "child"];
    let durations: u64 =
        names.iter().filter_map(|name| last.span_durations(name)).map(|view| view.count()).sum();
    assert_eq!(durations, own.spans);
    let errors: Option<u64> = names
        .iter()
        .map(|name| {
            let labels = [("span_name", *name), ("span_kind", "SPAN_KIND_INTERNAL")];
            last.counter("traces_span_metrics_errors_total", &labels)
        })
        .sum();
    assert_eq!(errors, Some(own.errors));

    let (samples, spans) = (ledger.kind(Kind::Sample), ledger.kind(Kind::Span));
    assert_eq!(spans.recorded, own.spans);
    assert_eq!(samples.dropped.by(Reason::Invalid), own.invalid);
    assert_eq!(samples.dropped.total(), own.invalid);
    assert_eq!(ledger.clamped(), own.clamped);
    // Exemplars change none of the counts above; their own account is a part of the balance.
    assert!(ledger.exemplars().offered > 0);
    // A span that was kept travels alone; the duration of any other is a sample of its own.
    let alone = own.spans - spans.aggregated;
    assert_eq!(samples.recorded, own.samples + own.invalid + own.timed + alone);
    if lane_cap as u64 > threads {
        // A child is sampled as its parent is.
        assert_eq!(spans.unsampled, own.spans - 2 * own.sampled);
    } else {
        assert!(spans.dropped.by(Reason::TooManyThreads) > 0, "{spans:?}");
    }
}

#[test]
fn two_threads() {
    check_balance(2, 512 << 10, 4_096);
}

#[test]
fn eight_threads() {
    check_balance(8, 512 << 10, 4_096);
}

#[test]
fn sixty_four_threads() {
    check_balance(64, 512 << 10, 4_096);
}

#[test]
fn eight_threads_without_a_spill() {
    check_balance(8, 0, 4_096);
}

#[test]
fn a_spill_too_small_for_all() {
    check_balance(8, 40 << 10, 4_096);
}

#[test]
fn more_threads_than_lanes() {
    check_balance(8, 512 << 10, 3);
}
