//! A snapshot and how to read it.

use super::{FinishedSpan, HistogramView, SpanBatch};
use crate::series::{Fault, Identity, MetricKind, Unit};
use crate::stats::Ledger;
use crate::switch::State;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything an instance knew at one moment. Immutable; clone it freely.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.counter("orders_total").register()?.add(2);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// for point in snapshot.points() {
///     println!("{} {:?} {:?}", point.name(), point.labels().collect::<Vec<_>>(), point.value());
/// }
/// assert_eq!(snapshot.counter("orders_total", &[]), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) service: Arc<str>,
    pub(crate) unix_nanos: u64,
    pub(crate) uptime: Duration,
    /// Sorted by name and labels. Shared with the snapshots before while no series is added.
    pub(crate) catalogue: Arc<[Arc<Identity>]>,
    /// One for each of the catalogue.
    pub(crate) values: Vec<PointValue>,
    pub(crate) spans: Vec<SpanBatch>,
    pub(crate) ledger: Ledger,
    pub(crate) pipeline: Pipeline,
}

/// A series' value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PointValue {
    /// A counter's total.
    Counter(u64),
    /// The sum of an up-down-counter's differences.
    UpDownCounter(i64),
    /// A gauge's value.
    Gauge(f64),
    /// A histogram's state.
    Histogram(Arc<HistogramView>),
}

/// How the pipeline itself was doing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pipeline {
    /// The switch, as records see it.
    pub state: State,
    /// Changes of the switch so far.
    pub transitions: u64,
    /// Drain passes of the aggregator so far.
    pub steps: u64,
    /// Times the aggregator was restarted after a panic.
    pub restarts: u64,
    /// Lanes there are.
    pub lanes: usize,
    /// Lanes that wait for a new thread.
    pub idle_lanes: usize,
    /// Bytes set aside for lanes, histograms and kept spans.
    pub bytes: usize,
    /// Finished spans that were let go to make room for later ones. They were aggregated.
    pub spans_evicted: u64,
    /// Label combinations that met an overflow series.
    pub overflowed: u64,
    /// Statics that could not be registered, by reason.
    pub faults: usize,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            state: State::Healthy,
            transitions: 0,
            steps: 0,
            restarts: 0,
            lanes: 0,
            idle_lanes: 0,
            bytes: 0,
            spans_evicted: 0,
            overflowed: 0,
            faults: 0,
        }
    }
}

/// One series of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    pub(crate) identity: &'a Identity,
    value: &'a PointValue,
}

impl<'a> Point<'a> {
    /// The metric's full name.
    pub fn name(&self) -> &'a str {
        &self.identity.metric.name
    }

    /// What the metric says.
    pub fn help(&self) -> &'a str {
        &self.identity.metric.help
    }

    /// The metric's type.
    pub fn kind(&self) -> MetricKind {
        self.identity.metric.kind
    }

    /// The metric's unit.
    pub fn unit(&self) -> Unit {
        self.identity.metric.unit
    }

    /// Label names and values.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.identity.labels()
    }

    /// Upper bounds of the buckets to show, for a histogram.
    pub fn bounds(&self) -> &'a [f64] {
        self.identity.metric.shape.as_ref().map_or(&[], |shape| &shape.bounds)
    }

    /// The value.
    pub fn value(&self) -> &'a PointValue {
        self.value
    }
}

impl Snapshot {
    /// A snapshot of nothing: what there is before the first.
    pub(crate) fn empty(service: Arc<str>) -> Self {
        Self {
            service,
            unix_nanos: 0,
            uptime: Duration::ZERO,
            catalogue: Arc::new([]),
            values: Vec::new(),
            spans: Vec::new(),
            ledger: Ledger::default(),
            pipeline: Pipeline::default(),
        }
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// When it was taken.
    pub fn taken_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.unix_nanos)
    }

    /// How long the instance had run.
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// Every series, sorted by name and label values.
    pub fn points(&self) -> impl ExactSizeIterator<Item = Point<'_>> {
        self.catalogue.iter().zip(&self.values).map(|(identity, value)| Point { identity, value })
    }

    /// The value of a series. `name` is the full one, with unit and `_total`; labels may come in any order.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&PointValue> {
        let first = self.catalogue.partition_point(|identity| *identity.metric.name < *name);
        let same_name = self.catalogue[first..].iter().zip(&self.values[first..]);
        let mut same_name = same_name.take_while(|(identity, _)| *identity.metric.name == *name);
        same_name.find_map(|(identity, value)| {
            let all = identity.labels.len() == labels.len()
                && identity.labels().all(|label| labels.contains(&label));
            all.then_some(value)
        })
    }

    /// A counter's total.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        match self.value(name, labels)? {
            PointValue::Counter(total) => Some(*total),
            _ => None,
        }
    }

    /// An up-down-counter's sum.
    pub fn up_down_counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        match self.value(name, labels)? {
            PointValue::UpDownCounter(sum) => Some(*sum),
            _ => None,
        }
    }

    /// A gauge's value.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.value(name, labels)? {
            PointValue::Gauge(value) => Some(*value),
            _ => None,
        }
    }

    /// A histogram's state.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<&HistogramView> {
        match self.value(name, labels)? {
            PointValue::Histogram(view) => Some(view),
            _ => None,
        }
    }

    /// The durations of the spans of a name: all of them, sampled or not.
    pub fn span_durations(&self, name: &str) -> Option<&HistogramView> {
        self.histogram("traces_span_metrics_duration_seconds", &[("span_name", name)])
    }

    /// The latest finished spans, oldest first; [`Config::kept_spans`](crate::Config::kept_spans) says how many words
    /// of them are kept.
    pub fn spans(&self) -> impl Iterator<Item = FinishedSpan> + '_ {
        self.spans.iter().flat_map(|batch| batch.read(&batch.latest))
    }

    /// The slowest finished spans since the start, slowest first.
    pub fn slowest_spans(&self) -> Vec<FinishedSpan> {
        let mut slowest: Vec<_> = self.spans.iter().flat_map(|batch| batch.read(&batch.slowest)).collect();
        slowest.sort_by_key(|span| std::cmp::Reverse(span.duration));
        slowest
    }

    /// Where the records went.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How the pipeline itself was doing.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Statics that could not be registered, of all the instances in this snapshot.
    pub fn faults(&self) -> Vec<Fault> {
        let live = self.spans.iter().filter_map(|batch| match &batch.names {
            super::Names::Live(registry) => Some(registry),
            super::Names::Read(_) => None,
        });
        live.flat_map(|registry| registry.faults()).collect()
    }
}
