//! metrics with metrics-exporter-prometheus: the recorder, without its listener. Handles are kept where the
//! documentation advises it; the macro makes a key of its labels each time.

use super::{assert_lines, set_last, sum_in_text};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::{subject, workload};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::hint::black_box;

/// The global recorder, with buckets.
fn install() -> PrometheusHandle {
    let recorder =
        PrometheusBuilder::new().set_buckets(&workload::bounds_in_seconds()).expect("some").build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the first one");
    handle
}

pub(super) fn rows() -> Vec<Row> {
    let handle = install();
    let (values, labels) = (workload::seconds(), workload::labels());
    let sum = |begin: &'static str| {
        let handle = handle.clone();
        move || sum_in_text(&handle.render(), begin)
    };
    // What a scrape, or the exporter's own task, does from time to time: without it every sample is kept.
    let upkeep = || {
        let handle = handle.clone();
        move || handle.run_upkeep()
    };
    let (one, two) = (counter!("one"), counter!("two"));
    let (latency, latency_two) = (histogram!("latency"), histogram!("latency_two"));
    let depth = gauge!("depth");
    let text = handle.clone();
    let mut rows = vec![
        Row::one(subject::GAUGE, "Gauge::set, kept handle", CALLS, move |number| depth.set(number))
            .checked(move |made| set_last(made, sum_in_text(&text.render(), "depth ") as f64)),
        Row::one(subject::COUNTER, "Counter::increment, kept handle", CALLS, move |_| one.increment(1))
            .exact(sum("one ")),
        Row::two(subject::COUNTER_2T, "Counter::increment, kept handle", CALLS_2T, move |_| two.increment(1))
            .exact(sum("two ")),
        Row::one(subject::LABELS, "counter!", CALLS, move |number| {
            let (method, route) = workload::pair(labels, number);
            counter!("labels", "method" => method, "route" => route).increment(1);
        })
        .exact(sum("labels{")),
        Row::two(subject::LABELS_2T, "counter!", CALLS_2T, move |number| {
            let (method, route) = workload::pair(labels, number);
            counter!("labels_two", "method" => method, "route" => route).increment(1);
        })
        .exact(sum("labels_two{")),
        Row::one(subject::ENUMS, "counter!, the enums' texts", CALLS, move |number| {
            let (method, class) = workload::kinds(number);
            counter!("enums", "method" => method.text(), "class" => class.text()).increment(1);
        })
        .exact(sum("enums{")),
        Row::two(subject::ENUMS_2T, "counter!, the enums' texts", CALLS_2T, move |number| {
            let (method, class) = workload::kinds(number);
            counter!("enums_two", "method" => method.text(), "class" => class.text()).increment(1);
        })
        .exact(sum("enums_two{")),
        Row::one(subject::HISTOGRAM, "Histogram::record, kept handle, 11 buckets", CALLS, move |number| {
            latency.record(workload::at(values, number));
        })
        .rest(upkeep())
        .exact(sum("latency_count ")),
        Row::two(
            subject::HISTOGRAM_2T,
            "Histogram::record, kept handle, 11 buckets",
            CALLS_2T,
            move |number| {
                latency_two.record(workload::at(values, number));
            },
        )
        .rest(upkeep())
        .exact(sum("latency_two_count ")),
    ];
    rows.extend(scrape_rows());
    rows
}

/// Recorders of their own: a scrape shows all that a recorder holds.
fn scrape_rows() -> Vec<Row> {
    let recorder = || {
        PrometheusBuilder::new().set_buckets(&workload::bounds_in_seconds()).expect("some").build_recorder()
    };
    let (counters, histograms) = (recorder(), recorder());
    metrics::with_local_recorder(&counters, || {
        (0..10_000).for_each(|number| counter!("calls", "number" => number.to_string()).increment(1));
    });
    metrics::with_local_recorder(&histograms, || {
        for number in 0..1_000 {
            let series = histogram!("latency", "number" => number.to_string());
            workload::seconds().iter().take(100).for_each(|value| series.record(*value));
        }
    });
    let (counters, histograms) = (counters.handle(), histograms.handle());
    assert_lines(&counters.render(), "calls{", 10_000);
    assert_lines(&histograms.render(), "latency_bucket{", 12_000);
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "render", move |_| drop(counters.render())),
        Row::long(subject::SCRAPE_HISTOGRAMS, "render", move |_| drop(histograms.render())),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Histogram::record, kept handle, 11 buckets", |time| {
        let (handle, values) = (install(), workload::seconds());
        let latency = histogram!("latency");
        let burst =
            |calls| (0..calls).for_each(|number| latency.record(workload::at(values, black_box(number))));
        flow(time, 100_000, burst, |_| sum_in_text(&handle.render(), "latency_count "))
    })]
}
