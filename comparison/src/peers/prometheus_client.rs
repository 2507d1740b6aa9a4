//! prometheus-client: plain atomics, a locked map for families. Its label set is a type of the caller's; with borrowed
//! texts it allocates nothing, which owned ones would for every call.

use super::{assert_lines, set_last, sum_in_text};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::workload::{Class, Method};
use crate::{subject, workload};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::{Error, Write};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Texts {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Enums {
    method: Method,
    class: Class,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Number {
    number: u32,
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), Error> {
        encoder.write_str(self.text())
    }
}

impl EncodeLabelValue for Class {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), Error> {
        encoder.write_str(self.text())
    }
}

fn histogram() -> Histogram {
    Histogram::new(workload::bounds_in_seconds())
}

fn render(registry: &Registry) -> String {
    let mut text = String::new();
    text::encode(&mut text, registry).expect("a string takes all");
    text
}

/// The sum over a family's series.
fn sum<S>(family: &Family<S, Counter>) -> impl FnOnce() -> u64 + use<S>
where
    S: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
{
    let mut registry = Registry::default();
    registry.register("labels", "help", family.clone());
    move || sum_in_text(&render(&registry), "labels_total{")
}

pub(super) fn rows() -> Vec<Row> {
    let (one, two): (Counter, Counter) = Default::default();
    let labels = workload::labels();
    let (family, family_two): (Family<Texts, Counter>, Family<Texts, Counter>) = Default::default();
    let (sum_one, sum_two) = (sum(&family), sum(&family_two));
    let (enums, enums_two): (Family<Enums, Counter>, Family<Enums, Counter>) = Default::default();
    let (sum_enums, sum_enums_two) = (sum(&enums), sum(&enums_two));
    let depth = Gauge::<f64, AtomicU64>::default();
    let set = depth.clone();
    let mut rows = vec![
        Row::one(subject::GAUGE, "Gauge::set", CALLS, move |number| {
            set.set(f64::from(number));
        })
        .checked(move |made| set_last(made, depth.get())),
        Row::one(subject::COUNTER, "Counter::inc", CALLS, {
            let one = one.clone();
            move |_| {
                one.inc();
            }
        })
        .exact(move || one.get()),
        Row::two(subject::COUNTER_2T, "Counter::inc", CALLS_2T, {
            let two = two.clone();
            move |_| {
                two.inc();
            }
        })
        .exact(move || two.get()),
        Row::one(subject::LABELS, "Family::get_or_create", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            family.get_or_create(&Texts { method, route }).inc();
        })
        .exact(sum_one),
        Row::two(subject::LABELS_2T, "Family::get_or_create", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            family_two.get_or_create(&Texts { method, route }).inc();
        })
        .exact(sum_two),
        Row::one(subject::ENUMS, "Family::get_or_create", CALLS, move |number| {
            let (method, class) = workload::kinds(number);
            enums.get_or_create(&Enums { method, class }).inc();
        })
        .exact(sum_enums),
        Row::two(subject::ENUMS_2T, "Family::get_or_create", CALLS_2T, move |number| {
            let (method, class) = workload::kinds(number);
            enums_two.get_or_create(&Enums { method, class }).inc();
        })
        .exact(sum_enums_two),
    ];
    rows.extend(histogram_rows());
    rows.extend(scrape_rows());
    rows
}

/// How many values a histogram holds, which it shows in the text alone.
fn count(histogram: &Histogram) -> u64 {
    let mut registry = Registry::default();
    registry.register("latency", "help", histogram.clone());
    sum_in_text(&render(&registry), "latency_count ")
}

fn histogram_rows() -> Vec<Row> {
    let values = workload::seconds();
    let (one, two) = (histogram(), histogram());
    vec![
        Row::one(subject::HISTOGRAM, "Histogram::observe, 11 buckets", CALLS, {
            let one = one.clone();
            move |number| one.observe(workload::at(values, number))
        })
        .exact(move || count(&one)),
        Row::two(subject::HISTOGRAM_2T, "Histogram::observe, 11 buckets", CALLS_2T, {
            let two = two.clone();
            move |number| two.observe(workload::at(values, number))
        })
        .exact(move || count(&two)),
    ]
}

fn scrape_rows() -> Vec<Row> {
    let (mut counters, mut histograms) = (Registry::default(), Registry::default());
    let family = Family::<Number, Counter>::default();
    (0..10_000).for_each(|number| {
        family.get_or_create(&Number { number }).inc();
    });
    counters.register("calls", "help", family);
    let family = Family::<Number, Histogram>::new_with_constructor(histogram);
    for number in 0..1_000 {
        let series = family.get_or_create(&Number { number });
        workload::seconds().iter().take(100).for_each(|value| series.observe(*value));
    }
    histograms.register("latency", "help", family);
    assert_lines(&render(&counters), "calls_total{", 10_000);
    assert_lines(&render(&histograms), "latency_bucket{", 12_000);
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "text::encode", move |_| drop(render(&counters))),
        Row::long(subject::SCRAPE_HISTOGRAMS, "text::encode", move |_| drop(render(&histograms))),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Histogram::observe, 11 buckets", |time| {
        let (histogram, values) = (histogram(), workload::seconds());
        let burst =
            |calls| (0..calls).for_each(|number| histogram.observe(workload::at(values, black_box(number))));
        flow(time, 100_000, burst, |_| count(&histogram))
    })]
}
