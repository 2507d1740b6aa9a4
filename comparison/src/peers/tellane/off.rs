//! tellane switched off, or not installed.

use super::{DEADLINE, started, sum};
use crate::peers::set_last;
use crate::row::{CALLS, Row, pending, poll};
use crate::workload::{Class, Method};
use crate::{subject, workload};
use std::hint::black_box;
use tellane::{
    Counter, Family, FixedFamily, InSpan, Kind, LazyCounter, LazyGauge, LazyHistogram, LazyTimer,
    LazyUpDownCounter, Level, Logger, PointValue, Telemetry, Tracer, counter, gauge, histogram, timer,
    up_down_counter,
};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");
static DEPTH: LazyGauge = gauge!("depth", "A gauge in a static.");
static OPEN: LazyUpDownCounter = up_down_counter!("open", "A counter in a static that goes up and down.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram in a static.");
static WORK: LazyTimer = timer!("worked", "A timer in a static.");

/// Statics in a program that never installs anything, and handles that do nothing.
pub(in crate::peers) fn not_installed() -> Vec<Row> {
    let labels = workload::labels();
    let family = Family::<Counter, 2>::noop();
    let fixed = FixedFamily::<Counter, (Method, Class)>::noop();
    vec![
        Row::one(subject::OFF, "not installed, counter", CALLS, |_| HITS.inc()),
        Row::one(subject::OFF, "not installed, gauge", CALLS, |number| DEPTH.set(f64::from(number))),
        Row::one(subject::OFF, "not installed, up-down-counter", CALLS, |_| OPEN.inc()),
        Row::one(subject::OFF, "not installed, histogram", CALLS, |number| SIZES.record(u64::from(number))),
        Row::one(subject::OFF, "not installed, timer", CALLS, |_| {
            let _running = WORK.start();
        }),
        Row::one(subject::OFF, "no-op family, counter by 2 labels", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            black_box(&family).with([method, route]).inc();
        }),
        Row::one(subject::OFF, "no-op fixed family, counter by 2 enums", CALLS, move |number| {
            black_box(&fixed).with(workload::kinds(number)).inc();
        }),
        Row::one(subject::OFF, "no-op tracer, span", CALLS, |_| {
            let _span = noop().span("off");
        }),
        Row::one(subject::OFF, "no-op tracer, span with 2 attributes", CALLS, |number| {
            let mut span = noop().span("off");
            span.set("number", number);
            span.set("method", "GET");
        }),
        Row::one(subject::OFF, "no-op tracer, owned span", CALLS, |_| drop(noop().owned("off"))),
        Row::batch(subject::OFF, "no-op tracer, a poll in an owned span", CALLS, |calls| {
            poll(calls, pending().in_span(noop().owned("off")))
        }),
        Row::one(subject::OFF, "no-op logger, info!, 2 fields", CALLS, |number| {
            tellane::info!(no_log(), "order placed", number = number, by = "web");
        })
        .checked(|_| unheard()),
    ]
}

/// One check for all of them, behind the last: an instance that is installed then has heard nothing of what was said
/// before.
fn unheard() -> u64 {
    assert_eq!((noop().current_span_context(), no_log().enabled(Level::Error)), (None, false));
    let telemetry = Telemetry::builder("late").install().expect("the first one");
    HITS.inc();
    OPEN.dec();
    DEPTH.add(0.5);
    SIZES.record(7);
    drop(WORK.start());
    let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
    assert_eq!(
        (snapshot.counter("hits_total", &[]), snapshot.up_down_counter("open", &[])),
        (Some(1), Some(-1))
    );
    assert_eq!(snapshot.gauge("depth", &[]), Some(0.5));
    let count = |name| snapshot.histogram(name, &[]).map(|view| view.count());
    assert_eq!((count("sizes"), count("worked_seconds")), (Some(1), Some(1)));
    assert_eq!((snapshot.spans().count(), telemetry.ledger().kind(Kind::Log).recorded), (0, 0));
    0
}

/// A tracer that nobody can see to be one that does nothing.
#[inline(always)]
fn noop() -> &'static Tracer {
    static NOOP: Tracer = Tracer::noop();
    black_box(&NOOP)
}

/// The same of a logger.
#[inline(always)]
fn no_log() -> &'static Logger {
    static NOOP: Logger = Logger::noop();
    black_box(&NOOP)
}

/// An instance that is switched off: what it skips, it counts. What is only a sum goes on: a total that has a gap is no
/// total, and a gauge says how it stands.
pub(in crate::peers) fn rows() -> Vec<Row> {
    let mut rows = skipped();
    rows.extend(going_on());
    rows
}

/// How many records of a kind an instance has skipped.
fn suppressed(telemetry: Telemetry, kind: Kind) -> impl FnOnce() -> u64 {
    telemetry.switch().force_off();
    move || telemetry.shutdown(DEADLINE).ledger.kind(kind).switched_off
}

fn skipped() -> Vec<Row> {
    let mut rows = skipped_samples();
    rows.extend(skipped_spans());
    let logs = started("off");
    let log = logs.logger("comparison");
    rows.push(
        Row::one(subject::OFF, "switched off, log, 2 fields", CALLS, move |number| {
            tellane::info!(log, "order placed", number = number, by = "web");
        })
        .exact(suppressed(logs, Kind::Log)),
    );
    rows
}

fn skipped_samples() -> Vec<Row> {
    let (histograms, families, texts, timers) =
        (started("off"), started("off"), started("off"), started("off"));
    let labels = workload::labels();
    let by_text = texts.histogram("latency").family(["method", "route"]).expect("a fresh name");
    let histogram = histograms.histogram("latency").register().expect("a fresh name");
    let family = families.histogram("latency").fixed_family(["method", "class"]).expect("a fresh name");
    let timer = timers.timer("work").register().expect("a fresh name");
    vec![
        Row::one(subject::OFF, "switched off, histogram", CALLS, move |number| {
            histogram.record(u64::from(number));
        })
        .exact(suppressed(histograms, Kind::Sample)),
        Row::one(subject::OFF, "switched off, histogram by 2 enums", CALLS, move |number| {
            let kinds: (Method, Class) = workload::kinds(number);
            family.with(kinds).record(u64::from(number));
        })
        .exact(suppressed(families, Kind::Sample)),
        Row::one(subject::OFF, "switched off, histogram by 2 labels", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            by_text.with([method, route]).record(u64::from(number));
        })
        .exact(suppressed(texts, Kind::Sample)),
        Row::one(subject::OFF, "switched off, timer", CALLS, move |_| {
            let _running = timer.start();
        })
        .exact(suppressed(timers, Kind::Sample)),
    ]
}

fn skipped_spans() -> Vec<Row> {
    let (plain, carrying, eventful) = (started("off"), started("off"), started("off"));
    let (owned, polls) = (started("off"), started("off"));
    let (span, attributes, event) = (plain.tracer(), carrying.tracer(), eventful.tracer());
    let (off_owned, off_polled) = (owned.tracer(), polls.tracer());
    let polled = suppressed(polls, Kind::Span);
    vec![
        Row::one(subject::OFF, "switched off, span", CALLS, move |_| {
            let _span = span.span("off");
        })
        .exact(suppressed(plain, Kind::Span)),
        Row::one(subject::OFF, "switched off, span with 2 attributes", CALLS, move |number| {
            let mut span = attributes.span("off");
            span.set("number", number);
            span.set("method", "GET");
        })
        .exact(suppressed(carrying, Kind::Span)),
        Row::one(subject::OFF, "switched off, span with an event", CALLS, move |number| {
            event.span("off").event("retry").set("attempt", number);
        })
        .exact(suppressed(eventful, Kind::Span)),
        Row::one(subject::OFF, "switched off, owned span", CALLS, move |_| drop(off_owned.owned("off")))
            .exact(suppressed(owned, Kind::Span)),
        // A future of its own in each batch.
        Row::batch(subject::OFF, "switched off, a poll in an owned span", CALLS, move |calls| {
            poll(calls, pending().in_span(off_polled.owned("off")))
        })
        .checked(move |made| {
            assert_eq!(polled(), made.batches, "spans skipped, and made");
            0
        }),
    ]
}

fn going_on() -> Vec<Row> {
    let telemetry = started("off");
    let counter = telemetry.counter("calls_total").register().expect("a fresh name");
    let open = telemetry.up_down_counter("open").register().expect("a fresh name");
    let gauge = telemetry.gauge("depth").register().expect("a fresh name");
    let labels = workload::labels();
    let family = telemetry.counter("labels_total").family(["method", "route"]).expect("a fresh name");
    let fixed = telemetry.counter("enums_total").fixed_family(["method", "class"]).expect("a fresh name");
    telemetry.switch().force_off();
    let counted = |name| {
        let telemetry = telemetry.clone();
        move || sum(&telemetry.snapshot(DEADLINE).expect("the aggregator is idle"), name)
    };
    let point = |name| {
        let telemetry = telemetry.clone();
        move || {
            let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
            let mut found = snapshot.points().filter(|point| point.name() == name);
            found.next().map(|point| point.value().clone())
        }
    };
    let (opened, level) = (point("open"), point("depth"));
    vec![
        Row::one(subject::OFF, "switched off, counter, which goes on", CALLS, move |_| counter.inc())
            .exact(counted("calls_total")),
        Row::one(subject::OFF, "switched off, up-down-counter, which goes on", CALLS, move |_| open.inc())
            .exact(move || match opened() {
                Some(PointValue::UpDownCounter(count)) => count as u64,
                _ => 0,
            }),
        Row::one(subject::OFF, "switched off, gauge, which goes on", CALLS, move |number| {
            gauge.set(f64::from(number));
        })
        .checked(move |made| {
            set_last(made, if let Some(PointValue::Gauge(value)) = level() { value } else { f64::NAN })
        }),
        Row::one(subject::OFF, "switched off, counter by 2 labels, which goes on", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            family.with([method, route]).inc();
        })
        .exact(counted("labels_total")),
        Row::one(subject::OFF, "switched off, counter by 2 enums, which goes on", CALLS, move |number| {
            let kinds: (Method, Class) = workload::kinds(number);
            fixed.with(kinds).inc();
        })
        .exact(counted("enums_total")),
    ]
}
