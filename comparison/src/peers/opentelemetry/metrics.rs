//! OpenTelemetry's metrics: bound instruments where there are no labels, attributes where there are. The reader
//! collects on demand; there is no text format in the SDK, so a scrape ends with the collected data.

use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::{subject, workload};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};
use std::hint::black_box;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A reader that the provider and we share.
#[derive(Clone, Debug)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// A provider, which must live as long as it is read, what reads it, and a meter.
#[derive(Clone)]
struct Kit {
    _provider: SdkMeterProvider,
    reader: Reader,
    meter: Meter,
}

fn kit() -> Kit {
    let reader = Reader(Arc::new(ManualReader::builder().build()));
    let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
    let meter = provider.meter("comparison");
    Kit { _provider: provider, reader, meter }
}

impl Kit {
    fn collected(&self) -> ResourceMetrics {
        let mut all = ResourceMetrics::default();
        self.reader.collect(&mut all).expect("the reader is registered");
        all
    }

    /// The sum over a counter's series, or how many values a histogram's hold; and the number of series.
    fn total(&self, name: &str) -> (u64, usize) {
        let all = self.collected();
        let metrics = all.scope_metrics().flat_map(|scope| scope.metrics());
        let found = metrics.filter(|metric| metric.name() == name).map(|metric| match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                (sum.data_points().map(|point| point.value()).sum(), sum.data_points().count())
            }
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                let points = histogram.data_points();
                (points.map(|point| point.count()).sum(), histogram.data_points().count())
            }
            _ => (0, 0),
        });
        found.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    fn counted(&self, name: &'static str) -> impl FnOnce() -> u64 + use<> {
        let kit = self.clone();
        move || kit.total(name).0
    }
}

pub(in crate::peers) fn rows() -> Vec<Row> {
    let kit = kit();
    let mut rows = counter_rows(&kit);
    rows.extend(label_rows(&kit));
    rows.extend(histogram_rows(&kit));
    rows.extend(scrape_rows());
    rows
}

fn counter_rows(kit: &Kit) -> Vec<Row> {
    let counter = |name| kit.meter.u64_counter(name).build();
    let one = counter("one").bind(&[]);
    let two = Arc::new(counter("two").bind(&[]));
    let plain = counter("plain");
    vec![
        Row::one(subject::COUNTER, "BoundCounter::add", CALLS, move |_| one.add(1)).exact(kit.counted("one")),
        Row::one(subject::COUNTER, "Counter::add", CALLS, move |_| plain.add(1, &[]))
            .exact(kit.counted("plain")),
        Row::two(subject::COUNTER_2T, "BoundCounter::add", CALLS_2T, move |_| two.add(1))
            .exact(kit.counted("two")),
    ]
}

fn label_rows(kit: &Kit) -> Vec<Row> {
    let labels = workload::labels();
    let call = |name: &'static str| {
        let counter = kit.meter.u64_counter(name).build();
        move |number| {
            let (method, route) = workload::pair(labels, number);
            counter.add(1, &[KeyValue::new("method", method), KeyValue::new("route", route)]);
        }
    };
    let call_enums = |name: &'static str| {
        let counter = kit.meter.u64_counter(name).build();
        move |number| {
            let (method, class) = workload::kinds(number);
            counter.add(1, &[KeyValue::new("method", method.text()), KeyValue::new("class", class.text())]);
        }
    };
    vec![
        Row::one(subject::LABELS, "Counter::add", CALLS, call("labels")).exact(kit.counted("labels")),
        Row::two(subject::LABELS_2T, "Counter::add", CALLS_2T, call("labels_two"))
            .exact(kit.counted("labels_two")),
        Row::one(subject::ENUMS, "Counter::add, the enums' texts", CALLS, call_enums("enums"))
            .exact(kit.counted("enums")),
        Row::two(subject::ENUMS_2T, "Counter::add, the enums' texts", CALLS_2T, call_enums("enums_two"))
            .exact(kit.counted("enums_two")),
    ]
}

fn histogram_rows(kit: &Kit) -> Vec<Row> {
    let values = workload::seconds();
    let histogram =
        |name| kit.meter.f64_histogram(name).with_boundaries(workload::bounds_in_seconds().to_vec()).build();
    let one = histogram("latency").bind(&[]);
    let two = Arc::new(histogram("latency_two").bind(&[]));
    vec![
        Row::one(subject::HISTOGRAM, "BoundHistogram::record, 11 buckets", CALLS, move |number| {
            one.record(workload::at(values, number));
        })
        .exact(kit.counted("latency")),
        Row::two(subject::HISTOGRAM_2T, "BoundHistogram::record, 11 buckets", CALLS_2T, move |number| {
            two.record(workload::at(values, number));
        })
        .exact(kit.counted("latency_two")),
    ]
}

fn scrape_rows() -> Vec<Row> {
    const NO_TEXT: &str = "collected data, no text";
    // Above the default limit of 2,000 series.
    let big = || {
        let reader = Reader(Arc::new(ManualReader::builder().build()));
        let view = |instrument: &opentelemetry_sdk::metrics::Instrument| {
            let stream = opentelemetry_sdk::metrics::Stream::builder().with_cardinality_limit(20_000);
            stream.with_name(instrument.name().to_owned()).build().ok()
        };
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).with_view(view).build();
        let meter = provider.meter("comparison");
        Kit { _provider: provider, reader, meter }
    };
    let (counters, histograms) = (big(), big());
    let calls = counters.meter.u64_counter("calls").build();
    (0..10_000_i64).for_each(|number| calls.add(1, &[KeyValue::new("number", number)]));
    let bounds = workload::bounds_in_seconds().to_vec();
    let latency = histograms.meter.f64_histogram("latency").with_boundaries(bounds).build();
    for number in 0..1_000_i64 {
        let record = |value: &f64| latency.record(*value, &[KeyValue::new("number", number)]);
        workload::seconds().iter().take(100).for_each(record);
    }
    assert_eq!(counters.total("calls"), (10_000, 10_000));
    assert_eq!(histograms.total("latency"), (100_000, 1_000));
    vec![
        Row::long(subject::SCRAPE_COUNTERS, "ManualReader::collect", move |_| drop(counters.collected()))
            .weaker(NO_TEXT),
        Row::long(subject::SCRAPE_HISTOGRAMS, "ManualReader::collect", move |_| drop(histograms.collected()))
            .weaker(NO_TEXT),
    ]
}

pub(in crate::peers) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "BoundHistogram::record, 11 buckets", |time| {
        let (kit, values) = (kit(), workload::seconds());
        let bounds = workload::bounds_in_seconds().to_vec();
        let histogram = kit.meter.f64_histogram("latency").with_boundaries(bounds).build().bind(&[]);
        let burst =
            |calls| (0..calls).for_each(|number| histogram.record(workload::at(values, black_box(number))));
        flow(time, 100_000, burst, |_| kit.total("latency").0)
    })]
}
