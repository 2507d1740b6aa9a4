//! How much the aggregator takes out of full rings, on one core: it is held up while sixteen threads fill theirs, let
//! go, and timed until a snapshot has seen it all.

use super::{DEADLINE, settings};
use crate::rate::{Flow, Rate};
use crate::{subject, workload};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tellane::{Config, FailPoint, Kind, Telemetry};

const THREADS: u64 = 16;
/// Samples of a thread, a word each: half a ring.
const SAMPLES: u64 = 1 << 16;
/// Trees of 100 spans of a thread: they fit the ring, too.
const TREES: u64 = 80;
const RING_WORDS: usize = 1 << 17;

pub(super) fn rates() -> Vec<Rate> {
    vec![
        Rate::new(subject::DRAIN_SAMPLES, "one snapshot over 16 full rings", |time| {
            let (telemetry, gate) = held();
            let histogram = telemetry.histogram("latency").register().expect("a fresh name");
            let values = workload::values();
            let fill =
                || (0..SAMPLES).zip(values.iter().cycle()).for_each(|(_, value)| histogram.record(*value));
            let (passes, took) = passes(time, &telemetry, &gate, fill);
            let made = passes * THREADS * SAMPLES;
            let samples = telemetry.shutdown(DEADLINE).ledger.kind(Kind::Sample);
            assert_eq!((samples.recorded, samples.aggregated), (made, made), "samples counted, and made");
            drained(made, 0, took)
        }),
        Rate::new(subject::DRAIN_SPANS, "one snapshot over 16 full rings; durations all counted", |time| {
            let (telemetry, gate) = held();
            let tracer = telemetry.tracer();
            let span = || tracer.span("span");
            let fill = || (0..TREES).for_each(|_| workload::tree(span, span, span));
            let (passes, took) = passes(time, &telemetry, &gate, fill);
            let made = passes * THREADS * TREES * 100;
            let spans = telemetry.shutdown(DEADLINE).ledger.kind(Kind::Span);
            assert_eq!(spans.recorded, made, "spans counted, and made");
            drained(made, spans.dropped.total(), took)
        }),
    ]
}

/// One thread drains while all others wait: the time that took is the processor time of it all.
fn drained(made: u64, lost: u64, took: Duration) -> Flow {
    Flow { calls: made, took, made, lost, grew: 0, caller: Duration::ZERO, background: took }
}

/// An instance whose aggregator waits while the lock is held.
fn held() -> (Telemetry, Arc<Mutex<()>>) {
    let gate = Arc::new(Mutex::new(()));
    let hook = Arc::clone(&gate);
    let config = Config { ring_words: RING_WORDS, ..settings() };
    let telemetry = Telemetry::builder("drain")
        .config(config)
        .inject(move |at| {
            // Not at every span: taking the lock would be a good part of what is timed.
            if at == FailPoint::Step {
                drop(hook.lock().unwrap_or_else(PoisonError::into_inner));
            }
        })
        .start()
        .expect("the settings are valid");
    (telemetry, gate)
}

/// Fills and drains, as often as the run's length asks for; how often, and how long draining took in all.
fn passes(
    time: Duration,
    telemetry: &Telemetry,
    gate: &Mutex<()>,
    fill: impl Fn() + Sync,
) -> (u64, Duration) {
    let passes = (time.as_millis() as u64 / 100).max(1);
    let took = (0..passes).map(|_| {
        let holding = gate.lock().expect("nobody panics with it");
        let (full, drained) = (Barrier::new(THREADS as usize + 1), Barrier::new(THREADS as usize + 1));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    fill();
                    full.wait();
                    drained.wait();
                });
            }
            full.wait();
            drop(holding);
            let start = Instant::now();
            telemetry.snapshot(DEADLINE).expect("it is let go");
            let took = start.elapsed();
            drained.wait();
            took
        })
    });
    (passes, took.sum())
}
