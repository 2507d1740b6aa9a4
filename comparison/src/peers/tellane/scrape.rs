//! tellane's snapshot and text.

use super::{DEADLINE, started};
use crate::peers::assert_lines;
use crate::row::Row;
use crate::{subject, workload};
use tellane::prometheus;

pub(in crate::peers) fn rows() -> Vec<Row> {
    let counters = started("counters");
    let family = counters.counter("calls_total").series_cap(10_000).family(["number"]).expect("a fresh name");
    (0..10_000).for_each(|number| family.with([&number.to_string()]).inc());

    let histograms = started("histograms");
    let bounds = workload::bounds_in_seconds();
    let family =
        histograms.histogram("latency").seconds().bounds(&bounds).family(["number"]).expect("a fresh name");
    for number in 0..1_000 {
        let series = family.with([&number.to_string()]);
        workload::values().iter().take(100).for_each(|value| series.record(*value));
    }
    let scrape = |telemetry: &tellane::Telemetry| {
        let telemetry = telemetry.clone();
        move || prometheus::render(&telemetry.snapshot(DEADLINE).expect("the aggregator is idle"))
    };
    let (scrape_counters, scrape_histograms) = (scrape(&counters), scrape(&histograms));
    assert_lines(&scrape_counters(), "calls_total{", 10_000);
    assert_lines(&scrape_histograms(), "latency_seconds_bucket{", 12_000);
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "snapshot, prometheus::render", move |_| drop(scrape_counters())),
        Row::long(subject::SCRAPE_HISTOGRAMS, "snapshot, prometheus::render", move |_| {
            drop(scrape_histograms());
        }),
    ]
}
