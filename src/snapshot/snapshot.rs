//! A snapshot and how to read it.

use super::{Catalogue, FinishedSpan, HistogramView, SpanBatch, TailSamplingStats};
use crate::instance::RegistrationFault;
use crate::series::{Identity, MetricKind, Unit};
use crate::stats::Ledger;
use crate::switch::State;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything an instance knew at one moment. Immutable; clone it freely.
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
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) service: Arc<str>,
    pub(crate) unix_nanos: u64,
    pub(crate) uptime: Duration,
    /// Sorted by name and labels. Shared with the snapshots before while no series is added.
    pub(crate) catalogue: Arc<Catalogue>,
    /// One for each of the catalogue.
    pub(crate) values: Vec<PointValue>,
    pub(crate) spans: Vec<SpanBatch>,
    pub(crate) ledger: Ledger,
    pub(crate) tail_sampling: TailSamplingStats,
    pub(crate) pipeline: Pipeline,
}

/// A series' value.
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
    /// A histogram's state.
    Histogram(Arc<HistogramView>),
}

/// How the pipeline itself was doing.
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
    /// Bytes that the instance takes: lanes, histograms and kept spans, names, keys, log targets and series, what waits
    /// for the sinks, what is held for sampling by outcome, and what families and bridges keep to find their series. What
    /// a snapshot holds is not among them. Above [`Config::memory_cap`](crate::Config::memory_cap) recording goes off.
    pub bytes: usize,
    /// Finished spans that were let go to make room for later ones. They were aggregated.
    pub spans_evicted: u64,
    /// Label combinations that met an overflow series.
    pub overflowed: u64,
    /// New traces that [`Config::traces_per_second`](crate::Config::traces_per_second) kept from being sampled.
    pub traces_limited: u64,
    /// Requests whose `traceparent` was refused ([`HeaderFaults`](crate::HeaderFaults)). What came with a request is
    /// counted when its [`Context`](crate::Context) is first attached, or given to a span as its parent.
    pub traceparents_refused: u64,
    /// Requests whose `tracestate` was refused, also for want of a valid `traceparent`.
    pub tracestates_refused: u64,
    /// Members of the baggage of requests that were refused.
    pub baggage_members_refused: u64,
    /// Writes to a log file that was full, or no longer where its path leads, since the rotation failed. No line is lost
    /// by that, but the file grows above its bound. See to the directory's rights and to what stands in the way.
    pub log_rotations_failed: u64,
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
    /// The metric's full name.
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

    /// What the metric says.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.gauge("load").help("Share of time at work.").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.help(), "Share of time at work.");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Label names and values.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").label("by", "web").register()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let point = snapshot.points().next().expect("one series");
    /// assert_eq!(point.labels().collect::<Vec<_>>(), [("by", "web")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.identity.labels()
    }

    /// Upper bounds of the buckets that text expositions show, for a histogram, in the unit shown. The counts of samples
    /// up to them are exact ([`HistogramView::cumulative`]).
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

    /// The value.
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
    /// A snapshot of nothing: what there is before the first.
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

    /// When it was taken.
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

    /// How long the instance had run.
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

    /// Every series, sorted by name and label values.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.gauge("load").register()?.set(0.5);
    /// telemetry.counter("orders_total").register()?.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.points().map(|point| point.name()).collect::<Vec<_>>(), ["load", "orders_total"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn points(&self) -> impl ExactSizeIterator<Item = Point<'_>> {
        self.catalogue.iter().zip(&self.values).map(|(identity, value)| Point { identity, value })
    }

    /// The value of a series. `name` is the full one, with unit and `_total`; labels may come in any order.
    ///
    /// ```
    /// use tellane::PointValue;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").label("by", "web").register()?.add(2);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.value("orders_total", &[("by", "web")]), Some(&PointValue::Counter(2)));
    /// assert_eq!(snapshot.value("orders_total", &[]), None); // another series, which there is not
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&PointValue> {
        let (names, values) = (labels.iter().map(|label| label.0), labels.iter().map(|label| label.1));
        // Labels in the order of registration are found by halving, so that a reader may look up every series.
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

    /// A histogram's state.
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

    /// The durations of the spans of a name and of any kind: all of them, sampled or not. By kind they are the series
    /// of `traces_span_metrics_duration_seconds`.
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
        HistogramView::together(&views)
    }

    /// The latest finished spans, in the order in which the aggregator took them: those of one thread as they ended,
    /// those of several threads ring by ring, whatever the time ([`FinishedSpan::start_unix_nanos`] sorts them), and
    /// those that were held for their trace's outcome when it was decided.
    /// [`Config::kept_spans`](crate::Config::kept_spans) says how many words of them are kept.
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

    /// The slowest finished spans since the start, slowest first.
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

    /// Where the records went.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.ledger().total().aggregated, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What became of traces, if they are sampled by outcome; all zero if they are not.
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

    /// How the pipeline itself was doing.
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

    /// Statics that could not be registered, of all the instances in this snapshot.
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
