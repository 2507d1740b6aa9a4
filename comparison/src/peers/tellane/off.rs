//! tellane switched off, or not installed.

use super::{DEADLINE, started, sum};
use crate::row::{CALLS, Row};
use crate::subject;
use std::hint::black_box;
use tellane::{Kind, LazyCounter, LazyHistogram, LazyTimer, Tracer, counter, histogram, timer};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram in a static.");
static WORK: LazyTimer = timer!("worked", "A timer in a static.");

/// Statics in a program that never installs anything.
pub(in crate::peers) fn not_installed() -> Vec<Row> {
    let noop = Tracer::noop();
    vec![
        Row::one(subject::OFF, "not installed, counter", CALLS, |_| HITS.inc()),
        Row::one(subject::OFF, "not installed, histogram", CALLS, |number| SIZES.record(u64::from(number))),
        Row::one(subject::OFF, "not installed, timer", CALLS, |_| {
            let _running = WORK.start();
        }),
        Row::one(subject::OFF, "no-op tracer, span", CALLS, move |_| {
            let _span = black_box(&noop).span("off");
        }),
    ]
}

/// An instance that is switched off: what it skips, it counts.
pub(in crate::peers) fn rows() -> Vec<Row> {
    let (histograms, timers, spans) = (started("off"), started("off"), started("off"));
    let (logs, counters) = (started("off"), started("off"));
    let log = logs.logger("comparison");
    let counter = counters.counter("calls_total").register().expect("a fresh name");
    counters.switch().force_off();
    let histogram = histograms.histogram("latency").register().expect("a fresh name");
    let timer = timers.timer("work").register().expect("a fresh name");
    let tracer = spans.tracer();
    let suppressed = |telemetry: tellane::Telemetry, kind| {
        telemetry.switch().force_off();
        move || {
            let report = telemetry.shutdown(DEADLINE);
            report.ledger.kind(kind).switched_off
        }
    };
    vec![
        Row::one(subject::OFF, "switched off, histogram", CALLS, move |number| {
            histogram.record(u64::from(number));
        })
        .exact(suppressed(histograms, Kind::Sample)),
        Row::one(subject::OFF, "switched off, timer", CALLS, move |_| {
            let _running = timer.start();
        })
        .exact(suppressed(timers, Kind::Sample)),
        Row::one(subject::OFF, "switched off, span", CALLS, move |_| {
            let _span = tracer.span("off");
        })
        .exact(suppressed(spans, Kind::Span)),
        Row::one(subject::OFF, "switched off, log, 2 fields", CALLS, move |number| {
            tellane::info!(log, "order placed", number = number, by = "web");
        })
        .exact(suppressed(logs, Kind::Log)),
        // Counters go on: a total that has a gap is no total.
        Row::one(subject::OFF, "switched off, counter, which goes on", CALLS, move |_| counter.inc())
            .exact(move || sum(&counters.snapshot(DEADLINE).expect("the aggregator is idle"), "calls_total")),
    ]
}
