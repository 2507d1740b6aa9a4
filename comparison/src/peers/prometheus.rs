//! prometheus (rust-prometheus): plain atomics, and its `local` metrics, which count in a cell until they are flushed.

use super::{assert_lines, set_last, sum_in_text};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row, timed};
use crate::workload::{Class, Method};
use crate::{subject, workload};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use std::hint::black_box;

const UNFLUSHED: &str = "one thread, seen only after a flush";

fn counters(name: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, "help"), &["method", "route"]).expect("a valid name")
}

/// A counter for each pair of enums, asked for once: what `prometheus-static-metric` makes, which its README teaches for
/// label values that are known as the program is written.
fn by_enums(family: &IntCounterVec) -> [[IntCounter; 4]; 4] {
    let one = |method: Method, class: Class| family.with_label_values(&[method.text(), class.text()]);
    Method::ALL.map(|method| Class::ALL.map(|class| one(method, class)))
}

fn options() -> HistogramOpts {
    HistogramOpts::new("latency", "help").buckets(workload::bounds_in_seconds().to_vec())
}

fn histogram() -> Histogram {
    Histogram::with_opts(options()).expect("valid buckets")
}

/// The sum over a vector's series.
fn sum(vector: &IntCounterVec) -> impl FnOnce() -> u64 + use<> {
    let vector = vector.clone();
    move || {
        let registry = Registry::new();
        registry.register(Box::new(vector)).expect("a fresh registry");
        sum_in_text(&render(&registry), "labels{")
    }
}

fn render(registry: &Registry) -> String {
    let mut text = String::new();
    TextEncoder::new().encode_utf8(&registry.gather(), &mut text).expect("a string takes all");
    text
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = counter_rows();
    let gauge = Gauge::new("depth", "help").expect("a valid name");
    let set = gauge.clone();
    rows.push(
        Row::one(subject::GAUGE, "Gauge::set", CALLS, move |number| set.set(f64::from(number)))
            .checked(move |made| set_last(made, gauge.get())),
    );
    rows.extend(enum_rows());
    rows.extend(histogram_rows());
    rows.extend(scrape_rows());
    rows
}

fn counter_rows() -> Vec<Row> {
    let counter = || IntCounter::new("calls", "help").expect("a valid name");
    let (one, local, two) = (counter(), counter(), counter());
    let flushed = local.local();
    let labels = workload::labels();
    let (family, family_two, family_local) = (counters("labels"), counters("labels"), counters("labels"));
    let (sum_one, sum_two) = (sum(&family), sum(&family_two));
    vec![
        Row::one(subject::COUNTER, "IntCounter::inc", CALLS, {
            let one = one.clone();
            move |_| one.inc()
        })
        .exact(move || one.get()),
        Row::batch(subject::COUNTER, "LocalIntCounter::inc", CALLS, move |calls| {
            let batch = timed(calls, |_| flushed.inc());
            flushed.flush();
            batch
        })
        .weaker(UNFLUSHED)
        .exact(move || local.get()),
        Row::two(subject::COUNTER_2T, "IntCounter::inc", CALLS_2T, {
            let two = two.clone();
            move |_| two.inc()
        })
        .exact(move || two.get()),
        Row::one(subject::LABELS, "with_label_values", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            family.with_label_values(&[method, route]).inc();
        })
        .exact(sum_one),
        Row::two(subject::LABELS_2T, "with_label_values", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            family_two.with_label_values(&[method, route]).inc();
        })
        .exact(sum_two),
        Row::batch_on_two(subject::LABELS_2T, "LocalIntCounterVec::with_label_values", CALLS_2T, {
            let family = family_local.clone();
            move |calls| {
                let mut local = family.local();
                let batch = timed(calls, |number| {
                    let (method, route) = workload::pair(labels, number);
                    local.with_label_values(&[method, route]).inc();
                });
                local.flush();
                batch
            }
        })
        .weaker("seen only after a flush")
        .exact(sum(&family_local)),
    ]
}

fn enum_rows() -> Vec<Row> {
    let (texts, texts_two, table, table_two) =
        (counters("labels"), counters("labels"), counters("labels"), counters("labels"));
    let (sum_texts, sum_texts_two) = (sum(&texts), sum(&texts_two));
    let (indexed, indexed_two) = (by_enums(&table), by_enums(&table_two));
    vec![
        Row::one(subject::ENUMS, "with_label_values, the enums' texts", CALLS, move |number| {
            let (method, class) = workload::kinds(number);
            texts.with_label_values(&[method.text(), class.text()]).inc();
        })
        .exact(sum_texts),
        Row::two(subject::ENUMS_2T, "with_label_values, the enums' texts", CALLS_2T, move |number| {
            let (method, class) = workload::kinds(number);
            texts_two.with_label_values(&[method.text(), class.text()]).inc();
        })
        .exact(sum_texts_two),
        Row::one(subject::ENUMS, "IntCounter::inc, a prebuilt array indexed by hand", CALLS, move |number| {
            let (method, class) = workload::kinds(number);
            indexed[method as usize][class as usize].inc();
        })
        .exact(sum(&table)),
        Row::two(
            subject::ENUMS_2T,
            "IntCounter::inc, a prebuilt array indexed by hand",
            CALLS_2T,
            move |number| {
                let (method, class) = workload::kinds(number);
                indexed_two[method as usize][class as usize].inc();
            },
        )
        .exact(sum(&table_two)),
    ]
}

fn histogram_rows() -> Vec<Row> {
    let values = workload::seconds();
    let (one, local, two, timer) = (histogram(), histogram(), histogram(), histogram());
    let flushed = local.local();
    vec![
        Row::one(subject::HISTOGRAM, "Histogram::observe, 11 buckets", CALLS, {
            let one = one.clone();
            move |number| one.observe(workload::at(values, number))
        })
        .exact(move || one.get_sample_count()),
        Row::batch(subject::HISTOGRAM, "LocalHistogram::observe, 11 buckets", CALLS, move |calls| {
            let batch = timed(calls, |number| flushed.observe(workload::at(values, number)));
            flushed.flush();
            batch
        })
        .weaker(UNFLUSHED)
        .exact(move || local.get_sample_count()),
        Row::two(subject::HISTOGRAM_2T, "Histogram::observe, 11 buckets", CALLS_2T, {
            let two = two.clone();
            move |number| two.observe(workload::at(values, number))
        })
        .exact(move || two.get_sample_count()),
        Row::one(subject::TIMER, "Histogram::start_timer", CALLS, {
            let timer = timer.clone();
            move |_| drop(timer.start_timer())
        })
        .exact(move || timer.get_sample_count()),
    ]
}

fn scrape_rows() -> Vec<Row> {
    let (counters, histograms) = (Registry::new(), Registry::new());
    let family = IntCounterVec::new(Opts::new("calls", "help"), &["number"]).expect("a valid name");
    (0..10_000).for_each(|number| family.with_label_values(&[&number.to_string()]).inc());
    counters.register(Box::new(family)).expect("a fresh registry");
    let family = HistogramVec::new(options(), &["number"]).expect("valid buckets");
    for number in 0..1_000 {
        let series = family.with_label_values(&[&number.to_string()]);
        workload::seconds().iter().take(100).for_each(|value| series.observe(*value));
    }
    histograms.register(Box::new(family)).expect("a fresh registry");
    assert_lines(&render(&counters), "calls{", 10_000);
    assert_lines(&render(&histograms), "latency_bucket{", 12_000);
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "gather, TextEncoder", move |_| drop(render(&counters))),
        Row::long(subject::SCRAPE_HISTOGRAMS, "gather, TextEncoder", move |_| drop(render(&histograms))),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Histogram::observe, 11 buckets", |time| {
        let (histogram, values) = (histogram(), workload::seconds());
        let burst =
            |calls| (0..calls).for_each(|number| histogram.observe(workload::at(values, black_box(number))));
        flow(time, 100_000, burst, |_| histogram.get_sample_count())
    })]
}
