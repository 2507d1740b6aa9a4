//! fastmetrics: plain atomics, a locked map for families. With borrowed texts its label set allocates nothing.

use super::{assert_lines, sum_in_text};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::workload::{Class, Method};
use crate::{subject, workload};
use fastmetrics::encoder::{EncodeLabelSet, LabelSetEncoder};
use fastmetrics::error::Result;
use fastmetrics::format::text::{self, TextProfile};
use fastmetrics::metrics::counter::Counter;
use fastmetrics::metrics::family::Family;
use fastmetrics::metrics::histogram::Histogram;
use fastmetrics::raw::LabelSetSchema;
use fastmetrics::registry::Registry;
use std::hint::black_box;
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Texts {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Enums {
    method: Method,
    class: Class,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Number {
    number: u32,
}

macro_rules! label_set {
    ($name:ident, $($label:ident = $value:expr),*) => {
        impl LabelSetSchema for $name {
            fn names() -> Option<&'static [&'static str]> {
                Some(&[$(stringify!($label)),*])
            }
        }

        impl EncodeLabelSet for $name {
            fn encode(&self, encoder: &mut dyn LabelSetEncoder) -> Result<()> {
                $(
                    let value: fn(&Self) -> _ = $value;
                    encoder.encode(&(stringify!($label), value(self)))?;
                )*
                Ok(())
            }
        }
    };
}

label_set!(Texts, method = |set| set.method, route = |set| set.route);
label_set!(Enums, method = |set| set.method.text(), class = |set| set.class.text());
label_set!(Number, number = |set| set.number);

fn histogram() -> Histogram {
    Histogram::new(workload::bounds_in_seconds())
}

fn render(registry: &Registry) -> String {
    let mut text = String::new();
    text::encode(&mut text, registry, TextProfile::default()).expect("a string takes all");
    text
}

/// A family, and what reads the sum over its series.
fn family<S>() -> (Family<S, Counter>, impl FnOnce() -> u64 + 'static)
where
    S: EncodeLabelSet + LabelSetSchema + Clone + Eq + std::hash::Hash + Send + Sync + 'static,
{
    let (mut registry, family) = (Registry::default(), Family::<S, Counter>::default());
    registry.register("labels", "help", family.clone()).expect("a fresh registry");
    (family, move || sum_in_text(&render(&registry), "labels_total{"))
}

pub(super) fn rows() -> Vec<Row> {
    let (one, two): (Counter, Counter) = Default::default();
    let labels = workload::labels();
    let ((texts, sum_texts), (texts_two, sum_texts_two)) = (family::<Texts>(), family::<Texts>());
    let ((enums, sum_enums), (enums_two, sum_enums_two)) = (family::<Enums>(), family::<Enums>());
    let mut rows = vec![
        Row::one(subject::COUNTER, "Counter::inc", CALLS, {
            let one = one.clone();
            move |_| {
                one.inc();
            }
        })
        .exact(move || one.total()),
        Row::two(subject::COUNTER_2T, "Counter::inc", CALLS_2T, {
            let two = two.clone();
            move |_| {
                two.inc();
            }
        })
        .exact(move || two.total()),
        Row::one(subject::LABELS, "Family::with_or_new", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            texts.with_or_new(&Texts { method, route }, |counter| {
                counter.inc();
            });
        })
        .exact(sum_texts),
        Row::two(subject::LABELS_2T, "Family::with_or_new", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            texts_two.with_or_new(&Texts { method, route }, |counter| {
                counter.inc();
            });
        })
        .exact(sum_texts_two),
        Row::one(subject::ENUMS, "Family::with_or_new", CALLS, move |number| {
            let (method, class) = workload::kinds(number);
            enums.with_or_new(&Enums { method, class }, |counter| {
                counter.inc();
            });
        })
        .exact(sum_enums),
        Row::two(subject::ENUMS_2T, "Family::with_or_new", CALLS_2T, move |number| {
            let (method, class) = workload::kinds(number);
            enums_two.with_or_new(&Enums { method, class }, |counter| {
                counter.inc();
            });
        })
        .exact(sum_enums_two),
    ];
    rows.extend(histogram_rows());
    rows.extend(scrape_rows());
    rows
}

/// How many values a histogram holds.
fn count(histogram: &Histogram) -> u64 {
    histogram.with_snapshot(|snapshot| snapshot.count())
}

fn histogram_rows() -> Vec<Row> {
    let values = workload::seconds();
    let (one, two) = (Arc::new(histogram()), Arc::new(histogram()));
    vec![
        Row::one(subject::HISTOGRAM, "Histogram::observe, 11 buckets", CALLS, {
            let one = Arc::clone(&one);
            move |number| one.observe(workload::at(values, number))
        })
        .exact(move || count(&one)),
        Row::two(subject::HISTOGRAM_2T, "Histogram::observe, 11 buckets", CALLS_2T, {
            let two = Arc::clone(&two);
            move |number| two.observe(workload::at(values, number))
        })
        .exact(move || count(&two)),
    ]
}

fn scrape_rows() -> Vec<Row> {
    let (mut counters, mut histograms) = (Registry::default(), Registry::default());
    let family = Family::<Number, Counter>::default();
    (0..10_000).for_each(|number| {
        family.with_or_new(&Number { number }, |counter| {
            counter.inc();
        })
    });
    counters.register("calls", "help", family).expect("a fresh registry");
    let family = Family::<Number, Histogram>::new(histogram);
    for number in 0..1_000 {
        family.with_or_new(&Number { number }, |series| {
            workload::seconds().iter().take(100).for_each(|value| series.observe(*value));
        });
    }
    histograms.register("latency", "help", family).expect("a fresh registry");
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
