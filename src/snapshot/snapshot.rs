//! The [`Snapshot`] type and the accessors that read it. Cold.

use super::{Catalogue, FinishedSpan, HistogramView, SpanBatch, TailSamplingStats};
use crate::instance::RegistrationFault;
use crate::series::{Identity, MetricKind, Unit};
use crate::stats::Ledger;
use crate::switch::State;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The metrics, spans and ledger of an instance at one moment. Immutable; a clone copies no distributions and no spans.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.counter("orders_total").register()?.add(2);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// for point in snapshot.points() {
///     println!("{} {:?} {:?}", point.name(), point.labels().collect::<Vec<_>>(), point.value());
/// }
/// assert_eq!(snapshot.counter("orders_total", &[]), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "gather")]
#[doc(alias = "scrape")]
#[doc(alias = "collect")]
#[doc(alias = "registry")]
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) service: Arc<str>,
    pub(crate) unix_nanos: u64,
    pub(crate) uptime: Duration,
    /// All series, sorted by name and labels. Snapshots share one catalogue until a series is added.
    pub(crate) catalogue: Arc<Catalogue>,
    /// One value for each series of the catalogue, in its order.
    pub(crate) values: Vec<PointValue>,
    pub(crate) spans: Vec<SpanBatch>,
    pub(crate) ledger: Ledger,
    pub(crate) tail_sampling: TailSamplingStats,
    pub(crate) pipeline: Pipeline,
}

/// The value of a series.
///
/// ```
/// use tellane::PointValue;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.gauge("load").register()?.set(0.5);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.value("load", &[]), Some(&PointValue::Gauge(0.5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PointValue {
    /// A counter's total.
    Counter(u64),
    /// The sum of an up-down-counter's differences.
    UpDownCounter(i64),
    /// A gauge's value.
    Gauge(f64),
    /// A histogram's distribution.
    Histogram(Arc<HistogramView>),
}

/// Figures of the telemetry pipeline itself: the switch, the aggregator, lanes, memory, refused headers.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("basket_items").register()?.record(3); // gives this thread a lane
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let pipeline = snapshot.pipeline();
/// assert_eq!((pipeline.state, pipeline.lanes, pipeline.restarts), (tellane::State::Healthy, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pipeline {
    /// The state of the switch that records are made under.
    pub state: State,
    /// Changes of the switch so far.
    pub transitions: u64,
    /// Drain passes of the aggregator so far.
    pub steps: u64,
    /// Times the aggregator was restarted after a panic.
    pub restarts: u64,
    /// Lanes in existence, idle ones included.
    pub lanes: usize,
    /// Idle lanes: their thread has ended, and the next thread takes one over.
    pub idle_lanes: usize,
    /// Bytes that the instance has allocated: lanes, histograms and kept spans, names, keys, log targets and series,
    /// log records queued for the sinks, spans held for tail sampling, and the lookup tables of families and bridges.
    /// Memory that a snapshot holds is not included. Above [`Config::memory_cap`](crate::Config::memory_cap) recording
    /// is switched off.
    pub bytes: usize,
    /// Finished spans that were evicted to make room for later ones. They were aggregated before.
    pub spans_evicted: u64,
    /// Label combinations above the cap, whose records count in an overflow series.
    pub overflowed: u64,
    /// New traces that [`Config::traces_per_second`](crate::Config::traces_per_second) kept from being sampled.
    pub traces_limited: u64,
    /// Requests whose `traceparent` was refused ([`HeaderFaults`](crate::HeaderFaults)). A request's faults are counted
    /// when its [`Context`](crate::Context) is first attached, or given to a span as its parent.
    pub traceparents_refused: u64,
    /// Requests whose `tracestate` was refused, for example because the `traceparent` beside it was not valid.
    pub tracestates_refused: u64,
    /// Members of requests' `baggage` headers that were refused.
    pub baggage_members_refused: u64,
    /// Writes to a log file that was full, or had been moved from its path, because the rotation failed. No line is lost,
    /// but the file grows above its bound. Check the directory's permissions, and for files that are in the way.
    pub log_rotations_failed: u64,
    /// Static metrics that could not be registered; [`Snapshot::faults`] lists them.
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
            traces_limited: 0,
            traceparents_refused: 0,
            tracestates_refused: 0,
            baggage_members_refused: 0,
            log_rotations_failed: 0,
            faults: 0,
        }
    }
}

/// One series of a snapshot.
///
/// ```
/// use tellane::{MetricKind, PointValue, Unit};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.counter("sent_total").help("Bytes sent.").label("by", "web").register()?.add(7);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let point = snapshot.points().next().expect("one series");
/// assert_eq!((point.name(), point.help()), ("sent_total", "Bytes sent."));
/// assert_eq!((point.kind(), point.unit()), (MetricKind::Counter, Unit::None));
/// assert_eq!(point.labels().collect::<Vec<_>>(), [("by", "web")]);
/// assert_eq!(point.value(), &PointValue::Counter(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    pub(crate) identity: &'a Identity,
    value: &'a PointValue,
}

impl<'a> Point<'a> {
    /// The metric's full name, with its unit and `_total`.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.timer("packing").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.name(), "packing_seconds");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> &'a str {
        &self.identity.metric.name
    }

    /// The metric's help text.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.gauge("load").help("Share of time at work.").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.help(), "Share of time at work.");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "description")]
    pub fn help(&self) -> &'a str {
        &self.identity.metric.help
    }

    /// The metric's type.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.timer("packing").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.kind(), tellane::MetricKind::Histogram);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kind(&self) -> MetricKind {
        self.identity.metric.kind
    }

    /// The metric's unit.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.timer("packing").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.unit(), tellane::Unit::Seconds);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unit(&self) -> Unit {
        self.identity.metric.unit
    }

    /// The label names and values, in the order of registration.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").label("by", "web").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.labels().collect::<Vec<_>>(), [("by", "web")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "tags")]
    #[doc(alias = "attributes")]
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.identity.labels()
    }

    /// Upper bounds of the buckets in text expositions, in the metric's unit; empty if the metric is not a histogram.
    /// The cumulative counts at these bounds are exact ([`HistogramView::cumulative`]).
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.timer("packing").bounds(&[0.1, 1.0]).register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.bounds(), [0.1, 1.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bounds(&self) -> &'a [f64] {
        self.identity.metric.shape.as_ref().map_or(&[], |shape| &shape.bounds)
    }

    /// The series' value.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").register()?.add(2);
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.value(), &tellane::PointValue::Counter(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value(&self) -> &'a PointValue {
        self.value
    }
}

impl Snapshot {
    /// Creates a snapshot without series. It stands in until the first one is made.
    pub(crate) fn empty(service: Arc<str>) -> Self {
        Self {
            service,
            unix_nanos: 0,
            uptime: Duration::ZERO,
            catalogue: Arc::default(),
            values: Vec::new(),
            spans: Vec::new(),
            ledger: Ledger::default(),
            tail_sampling: TailSamplingStats::default(),
            pipeline: Pipeline::default(),
        }
    }

    /// The service's name.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.service(), "shop");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The time at which the snapshot was made.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert!(snapshot.taken_at() > std::time::UNIX_EPOCH);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn taken_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.unix_nanos)
    }

    /// The time for which the instance had run.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (clock, hand) = tellane::Clock::mock();
    /// # let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// hand.advance(Duration::from_millis(20));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.uptime(), Duration::from_millis(20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// All series, sorted by name and label values.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.gauge("load").register()?.set(0.5);
    /// telemetry.counter("orders_total").register()?.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.points().map(|point| point.name()).collect::<Vec<_>>(), ["load", "orders_total"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "series")]
    #[doc(alias = "metrics")]
    #[doc(alias = "gather")]
    pub fn points(&self) -> impl ExactSizeIterator<Item = Point<'_>> {
        self.catalogue.iter().zip(&self.values).map(|(identity, value)| Point { identity, value })
    }

    /// The value of a series, or `None` if there is no such series. `name` is the full name, with unit and `_total`;
    /// the labels may be given in any order.
    ///
    /// ```
    /// use tellane::PointValue;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").label("by", "web").register()?.add(2);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.value("orders_total", &[("by", "web")]), Some(&PointValue::Counter(2)));
    /// assert_eq!(snapshot.value("orders_total", &[]), None); // without the label: no such series
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&PointValue> {
        let (names, values) = (labels.iter().map(|label| label.0), labels.iter().map(|label| label.1));
        // Labels in the order of registration take a binary search, so looking up every series stays cheap.
        let in_order = self.catalogue.binary_search_by(|identity| {
            let (own_names, own_values) = (identity.metric.labels.iter(), identity.labels.iter());
            (*identity.metric.name)
                .cmp(name)
                .then_with(|| own_values.map(|value| &**value).cmp(values.clone()))
                .then_with(|| own_names.map(|label| &**label).cmp(names.clone()))
        });
        if let Ok(at) = in_order {
            return self.values.get(at);
        }
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
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").register()?.add(2);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        match self.value(name, labels)? {
            PointValue::Counter(total) => Some(*total),
            _ => None,
        }
    }

    /// An up-down-counter's sum.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.up_down_counter("waiting").register()?.add(-2);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn up_down_counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        match self.value(name, labels)? {
            PointValue::UpDownCounter(sum) => Some(*sum),
            _ => None,
        }
    }

    /// A gauge's value.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.gauge("load").register()?.set(0.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.value(name, labels)? {
            PointValue::Gauge(value) => Some(*value),
            _ => None,
        }
    }

    /// A histogram's distribution.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let items = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!((items.count(), items.max()), (1, Some(3.0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<&HistogramView> {
        match self.value(name, labels)? {
            PointValue::Histogram(view) => Some(view),
            _ => None,
        }
    }

    /// The durations of all spans of a name, of every kind, sampled or not. The series of
    /// `traces_span_metrics_duration_seconds` have them by kind.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// drop(telemetry.tracer().span("order"));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.span_durations("order").map(|taken| taken.count()), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn span_durations(&self, name: &str) -> Option<Arc<HistogramView>> {
        let durations = self.points().filter(|point| point.name() == "traces_span_metrics_duration_seconds");
        let of_name =
            durations.filter(|point| point.identity.labels.first().is_some_and(|label| **label == *name));
        let views: Vec<_> = of_name
            .filter_map(|point| match point.value() {
                PointValue::Histogram(view) => Some(view),
                _ => None,
            })
            .collect();
        HistogramView::merge_all(&views)
    }

    /// The latest finished spans, in the order in which the aggregator read them. The spans of one thread are in the
    /// order in which they ended. The aggregator reads ring by ring, so the spans of several threads are not in the
    /// order of time; sort them by [`FinishedSpan::start_unix_nanos`] if you need that. Spans that tail sampling held
    /// stand where their trace was decided. [`Config::kept_spans`](crate::Config::kept_spans) sets how many words of
    /// them are kept.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// drop(tracer.span("order"));
    /// drop(tracer.span("payment"));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let names: Vec<_> = snapshot.spans().map(|span| span.name.to_string()).collect();
    /// assert_eq!(names, ["order", "payment"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spans(&self) -> impl Iterator<Item = FinishedSpan> + '_ {
        self.spans.iter().flat_map(|batch| batch.read(&batch.latest))
    }

    /// The slowest finished spans since the start, slowest first; 16 at most for each instance.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let (clock, hand) = tellane::Clock::mock();
    /// # let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// let tracer = telemetry.tracer();
    /// drop(tracer.span("fast"));
    /// let slow = tracer.span("slow");
    /// hand.advance(Duration::from_millis(20)); // a mock clock's hand
    /// drop(slow);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*snapshot.slowest_spans()[0].name, "slow");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn slowest_spans(&self) -> Vec<FinishedSpan> {
        let mut slowest: Vec<_> = self.spans.iter().flat_map(|batch| batch.read(&batch.slowest)).collect();
        slowest.sort_by_key(|span| std::cmp::Reverse(span.duration));
        slowest
    }

    /// The account of all records: recorded, aggregated, dropped, in flight.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.ledger().total().aggregated, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "dropped")]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The counts of tail sampling by decision and reason; all zero if tail sampling is off.
    ///
    /// ```
    /// use tellane::{Config, TailSampling, Telemetry};
    /// let config = Config { sampling: 0.0, tail_sampling: Some(TailSampling::default()), ..Config::default() };
    /// let telemetry = Telemetry::builder("shop").config(config).start()?;
    /// telemetry.tracer().span("order").fail();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.tail_sampling().error, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tail_sampling(&self) -> &TailSamplingStats {
        &self.tail_sampling
    }

    /// The figures of the telemetry pipeline itself.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.pipeline().state, tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Static metrics that could not be registered, of all the instances of this process in this snapshot.
    ///
    /// ```
    /// static ORDERS: tellane::LazyCounter = tellane::counter!("orders-total", "Orders placed.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// ORDERS.inc(); // a metric name has no hyphen: nothing is counted
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.faults()[0].name, "orders-total");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn faults(&self) -> Vec<RegistrationFault> {
        let live = self.spans.iter().filter_map(|batch| match &batch.names {
            super::Names::Live(instance) => Some(instance),
            super::Names::Read(_) => None,
        });
        live.flat_map(|instance| instance.faults()).collect()
    }
}
