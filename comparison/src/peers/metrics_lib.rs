//! metrics-lib: plain atomics, a sharded counter, a timer; labelled lookups make a sorted label set each time.

use super::{assert_lines, sum_in_text};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::{subject, workload};
use metrics_lib::exporters::prometheus;
use metrics_lib::{LabelSet, Registry, ShardedCounter};
use std::hint::black_box;
use std::sync::Arc;

/// Above the default cap of 10,000 series, which the scrape would just miss.
const CAP: usize = 20_000;

pub(super) fn rows() -> Vec<Row> {
    let registry = Arc::new(Registry::with_cardinality_cap(CAP));
    let mut rows = counter_rows(&registry);
    rows.extend(label_rows(&registry));
    rows.extend(histogram_rows(&registry));
    rows.extend(scrape_rows());
    rows
}

fn counter_rows(registry: &Registry) -> Vec<Row> {
    let (one, two) = (registry.counter("one"), registry.counter("two"));
    let (sharded, sharded_two) = (Arc::new(ShardedCounter::new()), Arc::new(ShardedCounter::new()));
    vec![
        Row::one(subject::COUNTER, "Counter::inc", CALLS, {
            let one = Arc::clone(&one);
            move |_| one.inc()
        })
        .exact(move || one.get()),
        Row::one(subject::COUNTER, "ShardedCounter::inc", CALLS, {
            let sharded = Arc::clone(&sharded);
            move |_| sharded.inc()
        })
        .exact(move || sharded.get()),
        Row::two(subject::COUNTER_2T, "Counter::inc", CALLS_2T, {
            let two = Arc::clone(&two);
            move |_| two.inc()
        })
        .exact(move || two.get()),
        Row::two(subject::COUNTER_2T, "ShardedCounter::inc", CALLS_2T, {
            let sharded = Arc::clone(&sharded_two);
            move |_| sharded.inc()
        })
        .exact(move || sharded_two.get()),
    ]
}

fn label_rows(registry: &Arc<Registry>) -> Vec<Row> {
    let labels = workload::labels();
    let call = |name: &'static str| {
        let registry = Arc::clone(registry);
        move |number| {
            let (method, route) = workload::pair(labels, number);
            registry.counter_with(name, &LabelSet::from([("method", method), ("route", route)])).inc();
        }
    };
    let call_enums = |name: &'static str| {
        let registry = Arc::clone(registry);
        move |number| {
            let (method, class) = workload::kinds(number);
            let labels = LabelSet::from([("method", method.text()), ("class", class.text())]);
            registry.counter_with(name, &labels).inc();
        }
    };
    let sum = |begin: &'static str| {
        let registry = Arc::clone(registry);
        move || sum_in_text(&prometheus::render(&registry), begin)
    };
    vec![
        Row::one(subject::LABELS, "counter_with", CALLS, call("labels")).exact(sum("labels{")),
        Row::two(subject::LABELS_2T, "counter_with", CALLS_2T, call("labels_two")).exact(sum("labels_two{")),
        Row::one(subject::ENUMS, "counter_with, the enums' texts", CALLS, call_enums("enums"))
            .exact(sum("enums{")),
        Row::two(subject::ENUMS_2T, "counter_with, the enums' texts", CALLS_2T, call_enums("enums_two"))
            .exact(sum("enums_two{")),
    ]
}

fn histogram_rows(registry: &Registry) -> Vec<Row> {
    let values = workload::seconds();
    for name in ["latency", "latency_two"] {
        registry.configure_histogram(name, workload::bounds_in_seconds()).expect("valid bounds");
    }
    let (one, two) = (registry.histogram("latency"), registry.histogram("latency_two"));
    let timer = registry.timer("work");
    vec![
        Row::one(subject::HISTOGRAM, "Histogram::observe, 11 buckets", CALLS, {
            let one = Arc::clone(&one);
            move |number| one.observe(workload::at(values, number))
        })
        .exact(move || one.count()),
        Row::two(subject::HISTOGRAM_2T, "Histogram::observe, 11 buckets", CALLS_2T, {
            let two = Arc::clone(&two);
            move |number| two.observe(workload::at(values, number))
        })
        .exact(move || two.count()),
        Row::one(subject::TIMER, "Timer::start, no distribution", CALLS, {
            let timer = Arc::clone(&timer);
            move |_| drop(timer.start())
        })
        .exact(move || timer.count()),
    ]
}

fn scrape_rows() -> Vec<Row> {
    let (counters, histograms) = (Registry::with_cardinality_cap(CAP), Registry::with_cardinality_cap(CAP));
    let labels = |number: u32| LabelSet::from([("number", number.to_string())]);
    (0..10_000).for_each(|number| counters.counter_with("calls", &labels(number)).inc());
    histograms.configure_histogram("latency", workload::bounds_in_seconds()).expect("valid bounds");
    for number in 0..1_000 {
        let series = histograms.histogram_with("latency", &labels(number));
        workload::seconds().iter().take(100).for_each(|value| series.observe(*value));
    }
    assert_lines(&prometheus::render(&counters), "calls{", 10_000);
    assert_lines(&prometheus::render(&histograms), "latency_bucket{", 12_000);
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "prometheus::render", move |_| {
            drop(prometheus::render(&counters))
        }),
        Row::long(subject::SCRAPE_HISTOGRAMS, "prometheus::render", move |_| {
            drop(prometheus::render(&histograms));
        }),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Histogram::observe, 11 buckets", |time| {
        let (registry, values) = (Registry::new(), workload::seconds());
        registry.configure_histogram("latency", workload::bounds_in_seconds()).expect("valid bounds");
        let histogram = registry.histogram("latency");
        let burst =
            |calls| (0..calls).for_each(|number| histogram.observe(workload::at(values, black_box(number))));
        flow(time, 100_000, burst, |_| histogram.count())
    })]
}
