//! tellane's counters, families, histograms and timers.

use super::{DEADLINE, rest, settings, started, sum};
use crate::peers::set_last;
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row, timed};
use crate::workload::{Class, Method};
use crate::{subject, workload};
use std::hint::black_box;
use tellane::{Kind, Label, LazyCounter, LazyHistogram, PointValue, Telemetry, counter, histogram};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram in a static.");

impl Label for Method {
    const VALUES: &'static [&'static str] = &["get", "put", "post", "delete"];

    #[inline(always)]
    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Class {
    const VALUES: &'static [&'static str] = &["2xx", "3xx", "4xx", "5xx"];

    #[inline(always)]
    fn index(self) -> usize {
        self as usize
    }
}

pub(in crate::peers) fn rows() -> Vec<Row> {
    let installed = Telemetry::builder("comparison").config(settings()).install().expect("the first one");
    let mut rows = counter_rows(&installed);
    rows.extend(family_rows(&installed));
    rows.push(gauge_row(&installed));
    rows.extend(histogram_rows(&installed));
    rows
}

/// Reads a counter's total after all rounds.
fn total(telemetry: &Telemetry, name: &'static str) -> impl FnOnce() -> u64 + use<> {
    let telemetry = telemetry.clone();
    move || sum(&telemetry.snapshot(DEADLINE).expect("the aggregator is idle"), name)
}

/// Reads a histogram's count after all rounds.
fn count(telemetry: &Telemetry, name: &'static str) -> impl FnOnce() -> u64 + use<> {
    let telemetry = telemetry.clone();
    move || {
        let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
        snapshot.histogram(name, &[]).map_or(0, |taken| taken.count())
    }
}

fn counter_rows(installed: &Telemetry) -> Vec<Row> {
    let counter = |name| installed.counter(name).register().expect("a fresh name");
    let (one, two) = (counter("one_total"), counter("two_total"));
    vec![
        Row::one(subject::COUNTER, "Counter::inc", CALLS, move |_| one.inc())
            .exact(total(installed, "one_total")),
        Row::one(subject::COUNTER, "counter! static", CALLS, |_| HITS.inc())
            .exact(total(installed, "hits_total")),
        Row::two(subject::COUNTER_2T, "Counter::inc", CALLS_2T, move |_| two.inc())
            .exact(total(installed, "two_total")),
    ]
}

fn family_rows(installed: &Telemetry) -> Vec<Row> {
    let labels = workload::labels();
    let family = |name| installed.counter(name).family(["method", "route"]).expect("a fresh name");
    let (one, two) = (family("labels_total"), family("labels_two_total"));
    let fixed = |name| {
        installed.counter(name).fixed_family::<(Method, Class)>(["method", "class"]).expect("a fresh name")
    };
    let (enums, enums_two) = (fixed("enums_total"), fixed("enums_two_total"));
    vec![
        Row::one(subject::LABELS, "Family::with", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            one.with([method, route]).inc();
        })
        .exact(total(installed, "labels_total")),
        Row::two(subject::LABELS_2T, "Family::with", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            two.with([method, route]).inc();
        })
        .exact(total(installed, "labels_two_total")),
        Row::one(subject::ENUMS, "FixedFamily::with", CALLS, move |number| {
            enums.with(workload::kinds(number)).inc();
        })
        .exact(total(installed, "enums_total")),
        Row::two(subject::ENUMS_2T, "FixedFamily::with", CALLS_2T, move |number| {
            enums_two.with(workload::kinds(number)).inc();
        })
        .exact(total(installed, "enums_two_total")),
    ]
}

fn gauge_row(installed: &Telemetry) -> Row {
    let gauge = installed.gauge("depth").register().expect("a fresh name");
    let telemetry = installed.clone();
    Row::one(subject::GAUGE, "Gauge::set", CALLS, move |number| gauge.set(f64::from(number))).checked(
        move |made| {
            let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
            let mut values =
                snapshot.points().filter(|point| point.name() == "depth").map(|point| point.value().clone());
            set_last(made, if let Some(PointValue::Gauge(value)) = values.next() { value } else { f64::NAN })
        },
    )
}

fn histogram_rows(installed: &Telemetry) -> Vec<Row> {
    let values = workload::values();
    let histogram = |name| installed.histogram(name).register().expect("a fresh name");
    let (paced, one, two) = (histogram("paced"), histogram("one"), histogram("two"));
    let (inside, around) = (histogram("inside"), installed.tracer());
    let timer = installed.timer("work").register().expect("a fresh name");
    vec![
        Row::one(subject::HISTOGRAM, "Histogram::record, into the ring", CALLS, move |number| {
            paced.record(workload::at(values, number));
        })
        .rest(rest(installed))
        .exact(count(installed, "paced")),
        Row::one(subject::HISTOGRAM, "Histogram::record, flat out", 20 * CALLS, move |number| {
            one.record(workload::at(values, number));
        })
        .exact(count(installed, "one")),
        Row::one(subject::HISTOGRAM, "histogram! static, flat out", 20 * CALLS, |number| {
            SIZES.record(workload::at(values, number));
        })
        .exact(count(installed, "sizes")),
        Row::two(subject::HISTOGRAM_2T, "Histogram::record, flat out", CALLS_2T, move |number| {
            two.record(workload::at(values, number));
        })
        .exact(count(installed, "two")),
        Row::batch(subject::HISTOGRAM_IN_SPAN, "Histogram::record, into the ring", CALLS, move |calls| {
            let _span = around.span("around");
            timed(calls, |number| inside.record(workload::at(values, number)))
        })
        .rest(rest(installed))
        .exact(count(installed, "inside")),
        Row::one(subject::TIMER, "Timer::start", CALLS, move |_| {
            let _running = timer.start();
        })
        .rest(rest(installed))
        .exact(count(installed, "work_seconds")),
    ]
}

pub(in crate::peers) fn rates() -> Vec<Rate> {
    let flat_out = Rate::new(subject::FLAT_OUT_HISTOGRAM, "Histogram::record", |time| {
        let telemetry = started("flat out");
        let histogram = telemetry.histogram("latency").register().expect("a fresh name");
        let values = workload::values();
        let burst =
            |calls| (0..calls).for_each(|number| histogram.record(workload::at(values, black_box(number))));
        flow(time, 1_000_000, burst, |made| {
            let samples = telemetry.shutdown(DEADLINE).ledger.kind(Kind::Sample);
            assert_eq!(samples.recorded, made);
            let snapshot = telemetry.latest();
            assert_eq!(snapshot.histogram("latency", &[]).map(|taken| taken.count()), Some(made));
            samples.aggregated
        })
    });
    std::iter::once(flat_out).chain(super::drain::rates()).collect()
}
