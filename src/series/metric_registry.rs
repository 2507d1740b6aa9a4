//! From definitions to series. Cold: runs at registration and at the first use of a label combination.

use super::logs::{LogSettings, Logs};
use super::names::{COUNTS, Names};
use super::tracing::Tracing;
use super::validate;
use crate::error::RegisterError;
use crate::lane::{Distribution, Key, LaneRegistry, SpanNameMeta, local};
use crate::record::SpanKind;
use crate::record::layout::ID_LIMIT;
use crate::stats::{Bounds, Layout};
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use arrayvec::ArrayString;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::multiple::RefMulti;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// Label value of the series that stands in for all combinations above the cap.
pub(crate) const OVERFLOW: &str = "__overflow__";
const COUNTERS_MAX: usize = 1 << 31;

/// The type of a metric.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.gauge("load").register()?;
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.points().next().map(|point| point.kind()), Some(tellane::MetricKind::Gauge));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// A count that only grows.
    Counter,
    /// A count that goes up and down by differences.
    UpDownCounter,
    /// A value that is set.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// What a metric's numbers are.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("reply").bytes().register()?;
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let point = snapshot.points().next().expect("one series");
/// assert_eq!((point.name(), point.unit()), ("reply_bytes", tellane::Unit::Bytes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Plain numbers.
    #[default]
    None,
    /// Seconds when shown, nanoseconds when recorded as an integer.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "_seconds",
            Self::Bytes => "_bytes",
        }
    }

    /// Recorded integers in one shown unit.
    pub(crate) fn scale(self) -> f64 {
        if self == Self::Seconds { 1e9 } else { 1.0 }
    }
}

/// A histogram's precision and presentation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) digits: u8,
    pub(crate) highest: u64,
    /// Recorded integers in one shown unit.
    pub(crate) scale: f64,
    /// Upper bounds of the buckets shown, in the unit shown.
    pub(crate) bounds: Box<[f64]>,
}

impl Shape {
    pub(crate) const fn layout(&self) -> Layout {
        Layout::new(self.digits, self.highest)
    }
}

/// A metric's definition.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) name: Arc<str>,
    pub(crate) help: Box<str>,
    pub(crate) kind: MetricKind,
    pub(crate) unit: Unit,
    pub(crate) labels: Box<[Box<str>]>,
    pub(crate) shape: Option<Shape>,
    /// What the shape's bounds mean for counts, for all series of the metric.
    pub(crate) bounds: Option<Bounds>,
    pub(crate) at: &'static Location<'static>,
}

impl Descriptor {
    /// Checks a definition and completes its name.
    pub(crate) fn new(
        (name, help): (&str, &str),
        (kind, unit): (MetricKind, Unit),
        labels: &[&str],
        shape: Option<Shape>,
        at: &'static Location<'static>,
    ) -> Result<Self, RegisterError> {
        let full = validate::full_name(name, kind, unit)?;
        validate::label_names(labels)?;
        if let Some(shape) = &shape {
            if !(1..=5).contains(&shape.digits) {
                return Err(RegisterError::BadDigits { digits: shape.digits });
            }
            if shape.highest < 2 {
                return Err(RegisterError::BadHighest { highest: shape.highest });
            }
            if !(shape.scale.is_finite() && shape.scale > 0.0) {
                return Err(RegisterError::BadScale);
            }
            let increasing = shape.bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if !increasing || shape.bounds.iter().any(|bound| !bound.is_finite()) {
                return Err(RegisterError::BadBounds);
            }
        }
        let bounds = shape.as_ref().map(|shape| Bounds::new(shape.layout(), &shape.bounds, shape.scale));
        Ok(Self {
            name: full.as_str().into(),
            help: if help.is_empty() {
                full.as_str().into()
            } else {
                validate::beginning(help, HELP_MAX).into()
            },
            kind,
            unit,
            labels: labels.iter().map(|label| Box::from(*label)).collect(),
            shape,
            bounds,
            at,
        })
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|label| size_of::<Box<str>>() + label.len()).sum();
        let bounds = self.shape.as_ref().map_or(0, |shape| size_of_val(&*shape.bounds));
        let counted = self.bounds.as_ref().map_or(0, Bounds::bytes);
        size_of::<Self>() + 2 * COUNTS + self.name.len() + self.help.len() + labels + bounds + counted
    }

    /// Whether kind, unit and precision are the same: all series of one name have them in common. Labels are each
    /// set's own.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let precision = |metric: &Self| {
            metric.shape.as_ref().map(|shape| (shape.digits, shape.highest, shape.scale.to_bits()))
        };
        (self.kind, self.unit, precision(self)) == (other.kind, other.unit, precision(other))
    }

    /// The same histogram with other bounds, which increase.
    pub(crate) fn with_bounds(&self, bounds: &[f64]) -> Self {
        let shape = self.shape.as_ref().map(|shape| Shape { bounds: bounds.into(), ..shape.clone() });
        let bounds = shape.as_ref().map(|shape| Bounds::new(shape.layout(), &shape.bounds, shape.scale));
        Self { shape, bounds, ..self.clone() }
    }

    /// What two registrations of one name must have in common.
    pub(crate) fn signature(&self) -> String {
        let labels = &self.labels;
        let precision = self.shape.as_ref().map_or(String::new(), |shape| {
            format!(" of {} digits up to {} at scale {}", shape.digits, shape.highest, shape.scale)
        });
        format!("{:?} in {:?} with labels {labels:?}{precision}", self.kind, self.unit)
    }
}

/// Where a series' value is.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// A counter's or up-down-counter's cell.
    Cell(Key),
    /// A gauge: the bits of an f64.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Distribution>),
}

/// A metric with label values.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) metric: Arc<Descriptor>,
    pub(crate) labels: Box<[Box<str>]>,
}

impl Identity {
    /// What series are sorted by. Label names come last: most metrics have one set of them.
    pub(crate) fn key(&self) -> (&str, &[Box<str>], &[Box<str>]) {
        (&self.metric.name, &self.labels, &self.metric.labels)
    }

    /// Bytes of the label values.
    fn labels_bytes(&self) -> usize {
        self.labels.iter().map(|value| size_of::<Box<str>>() + value.len()).sum()
    }

    /// Label names and values.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metric.labels.iter().map(|name| &**name).zip(self.labels.iter().map(|value| &**value))
    }
}

/// An identity with the place of its value.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) identity: Arc<Identity>,
    pub(crate) storage: Storage,
}

impl Series {
    /// Bytes it takes, the buckets of a histogram aside: those are the lanes' and the aggregator's.
    fn bytes(&self) -> usize {
        let storage = match self.storage {
            Storage::Cell(_) => size_of::<AtomicU64>(),
            Storage::Gauge(_) => COUNTS + size_of::<AtomicU64>(),
            Storage::Histogram(_) => COUNTS + size_of::<Distribution>() + size_of::<Arc<Distribution>>(),
        };
        let identity = COUNTS + size_of::<Identity>() + self.identity.labels_bytes();
        COUNTS + size_of::<Self>() + size_of::<Arc<Self>>() + identity + storage
    }
}

/// A metric with one set of label names. A name has one such set, unless a bridge registers more
/// ([`Instance::series_of_set`]); they share the name's series and its cap.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) descriptor: Arc<Descriptor>,
    /// Which of the name's sets it is, in the order of registration.
    pub(super) set: u32,
    pub(super) name: Arc<Named>,
    /// The series that stands in above the cap. A family has it made beforehand: it counts what an allocator records
    /// while the family registers a series.
    overflow: OnceLock<Overflow>,
}

#[derive(Debug)]
struct Overflow {
    series: Arc<Series>,
    /// Not 0 once it stands in the catalogue, which is when it is first used. Relaxed: a swap decides who adds it.
    is_shown: AtomicU32,
}

/// A set's number, and its label values.
type SeriesKey = (u32, Box<[Box<str>]>);

/// What all sets of one name share.
#[derive(Debug)]
pub(crate) struct Named {
    /// What a bridge calls it.
    #[cfg(feature = "metrics")]
    pub(super) claims: Mutex<super::claims::Claims>,
    cap: usize,
    series: Mutex<HashMap<SeriesKey, Arc<Series>>>,
    /// Series that count against the cap: all with labels but the overflow series. Written under the lock of `series`.
    made: AtomicUsize,
    /// Label combinations that met the overflow series because the cap was reached.
    overflowed: AtomicU64,
}

/// What the registry could not do for a static, whose caller has nowhere to return an error to.
///
/// ```
/// static LOAD: tellane::LazyGauge = tellane::gauge!("my load", "Share of time at work.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// LOAD.set(0.5); // a metric name has no space: nothing is set
/// let fault = &telemetry.faults()[0];
/// assert_eq!(fault.name, "my load");
/// assert!(fault.error.to_string().starts_with("\"my load\" is not a metric name"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationFault {
    /// The metric's name as it was asked for.
    pub name: String,
    /// Why it was refused.
    pub error: RegisterError,
}

/// All metrics of one instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) lanes: Arc<LaneRegistry>,
    pub(crate) names: Names,
    /// Every series, in the order of registration.
    pub(crate) catalogue: boxcar::Vec<Arc<Series>>,
    /// By name, every set of label names there is; the first one speaks for the name.
    pub(super) metrics: DashMap<Arc<str>, Vec<Arc<Metric>>>,
    /// Held while a name is checked and inserted. A histogram reserves three more names, which live in other shards of
    /// `metrics`, so the lock of one shard cannot make the check and the insertion one step.
    pub(super) naming: Mutex<()>,
    /// Series numbers are given out one at a time, and counters raised.
    pub(super) numbering: Mutex<()>,
    faults: Mutex<Vec<RegistrationFault>>,
    lost: Lost,
    pub(crate) tracing: Tracing,
    pub(crate) logs: Logs,
    /// Cap on the series of a metric that names none.
    series_cap: usize,
    label_max: usize,
    /// Bytes of definitions, series, families and what bridges keep. Relaxed: a figure that stands for itself.
    kept: AtomicUsize,
}

/// Records of counters and gauges that were lost. Written from under any lock, so it takes none and allocates nothing.
#[derive(Debug, Default)]
struct Lost {
    /// Relaxed: a count that stands for itself.
    records: AtomicU64,
    /// The first metric's name, or its beginning.
    name: OnceLock<ArrayString<LOST_NAME>>,
}

/// Bytes of the name of a metric whose records were lost.
const LOST_NAME: usize = 200;

/// Bytes of a help text; of a longer one the beginning is kept.
pub(crate) const HELP_MAX: usize = 4_096;
const FAULTS_MAX: usize = 100;

/// The caps of a registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Series of a metric that names no cap.
    pub(crate) series: usize,
    /// Span names, and attribute keys.
    pub(crate) names: usize,
    /// Bytes of a label value, of a span name and of a log target.
    pub(crate) label: usize,
}

impl Instance {
    pub(crate) fn new(lanes: Arc<LaneRegistry>, caps: Caps, tracing: Tracing) -> Self {
        let Caps { series: series_cap, names: names_cap, label: label_max } = caps;
        let instance = Self {
            logs: Logs::new(lanes.instance, &lanes.clock, LogSettings::default(), label_max),
            lanes,
            names: Names::new(names_cap, label_max),
            catalogue: boxcar::Vec::new(),
            metrics: DashMap::new(),
            naming: Mutex::new(()),
            numbering: Mutex::new(()),
            faults: Mutex::new(Vec::new()),
            lost: Lost::default(),
            tracing,
            series_cap,
            label_max,
            kept: AtomicUsize::new(0),
        };
        // Neither can fail: nothing else is registered yet.
        let _reserved = (instance.span_durations(), instance.span_errors());
        instance
    }

    /// The same, with other settings of its logs.
    pub(crate) fn with_logs(mut self, settings: LogSettings) -> Self {
        self.logs = Logs::new(self.lanes.instance, &self.lanes.clock, settings, self.label_max);
        self
    }

    /// Bytes that are kept as long as the instance: names, keys, targets, definitions and series, and what families and
    /// bridges keep to find them. Takes no lock.
    pub(crate) fn bytes(&self) -> usize {
        self.names.bytes() + self.logs.bytes() + self.kept.load(Ordering::Relaxed)
    }

    /// Counts what a family or a bridge keeps for the instance.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what [`add_bytes`](Self::add_bytes) counted.
    pub(crate) fn sub_bytes(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The metric of a definition: the one that is there, if it says the same.
    /// A second set of label names is a conflict here: it is nearly always a slip of the programmer's.
    pub(crate) fn metric(
        &self,
        wanted: Descriptor,
        cap: Option<usize>,
    ) -> Result<Arc<Metric>, RegisterError> {
        if self.lanes.is_forked() {
            return Err(RegisterError::Forked);
        }
        let register = || {
            let _one_name_at_a_time = self.naming.lock();
            self.check_derived_names(&wanted)?;
            match self.metrics.entry(Arc::clone(&wanted.name)) {
                Entry::Occupied(there) => {
                    let signature = wanted.signature();
                    match there.get().iter().find(|set| set.descriptor.signature() == signature) {
                        Some(same) => Ok(Arc::clone(same)),
                        None => Err(conflict(&wanted, &there.get()[0].descriptor)),
                    }
                }
                Entry::Vacant(storage) => {
                    let metric = self.first_set(wanted, cap);
                    storage.insert(vec![Arc::clone(&metric)]);
                    Ok(metric)
                }
            }
        };
        local::locked(register).unwrap_or(Err(RegisterError::Reentrant))
    }

    /// The metric of a name that nobody has yet.
    pub(super) fn first_set(&self, wanted: Descriptor, cap: Option<usize>) -> Arc<Metric> {
        let name = Named {
            #[cfg(feature = "metrics")]
            claims: Mutex::default(),
            cap: cap.unwrap_or(self.series_cap).max(1),
            series: Mutex::new(HashMap::new()),
            made: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
        };
        self.add_bytes(wanted.bytes() + size_of::<Metric>() + size_of::<Named>() + 2 * COUNTS);
        Metric::new(wanted, 0, Arc::new(name))
    }

    /// Refuses a histogram whose derived names are taken, and a metric whose name is derived from a histogram. The
    /// caller holds `naming` until it has inserted the name.
    pub(super) fn check_derived_names(&self, wanted: &Descriptor) -> Result<(), RegisterError> {
        let name = &*wanted.name;
        for suffix in ["_bucket", "_sum", "_count"] {
            if wanted.kind == MetricKind::Histogram
                && let Some(first) = self.metrics.get(format!("{name}{suffix}").as_str())
            {
                return Err(conflict(wanted, &first[0].descriptor));
            }
            let base = name.strip_suffix(suffix).and_then(|base| self.metrics.get(base));
            if let Some(first) = base.filter(|base| base[0].descriptor.kind == MetricKind::Histogram) {
                return Err(conflict(wanted, &first[0].descriptor));
            }
        }
        Ok(())
    }

    /// The series of a metric for label values, one for each label name; the overflow series above the cap, for a
    /// value longer than the limit, or for its own value.
    pub(crate) fn series(&self, metric: &Metric, values: &[&str]) -> Result<Arc<Series>, RegisterError> {
        if self.lanes.is_forked() {
            return Err(RegisterError::Forked);
        }
        local::locked(|| self.series_under_lock(metric, values)).unwrap_or(Err(RegisterError::Reentrant))
    }

    fn series_under_lock(&self, metric: &Metric, values: &[&str]) -> Result<Arc<Series>, RegisterError> {
        let name = &*metric.name;
        let mut series = name.series.lock();
        let is_overflow = self.is_overflow(values);
        let wanted: SeriesKey = (metric.set, values.iter().map(|value| Box::from(*value)).collect());
        if let Some(there) = series.get(&wanted).filter(|_| !is_overflow) {
            return Ok(Arc::clone(there));
        }
        let made = name.made.load(Ordering::Relaxed);
        if is_overflow || (made >= name.cap && !values.is_empty()) {
            name.overflowed.fetch_add(1, Ordering::Relaxed);
            self.overflow_under_lock(metric)?;
            return self.show_overflow(metric).cloned().ok_or(RegisterError::Exhausted);
        }
        let new = self.new_series(metric, wanted.1.clone())?;
        self.add_bytes(size_of::<(SeriesKey, Arc<Series>)>() + new.identity.labels_bytes());
        self.catalogue.push(Arc::clone(&new));
        if !values.is_empty() {
            name.made.store(made + 1, Ordering::Relaxed);
        }
        series.insert(wanted, Arc::clone(&new));
        Ok(new)
    }

    fn new_series(&self, metric: &Metric, labels: Box<[Box<str>]>) -> Result<Arc<Series>, RegisterError> {
        let identity = Identity { metric: Arc::clone(&metric.descriptor), labels };
        let new = Series { identity: Arc::new(identity), storage: self.number(&metric.descriptor)? };
        self.add_bytes(new.bytes());
        Ok(Arc::new(new))
    }

    /// The overflow series of a metric, which is made if it is not there. It is not shown before it is used.
    pub(crate) fn overflow(&self, metric: &Metric) -> Result<Arc<Series>, RegisterError> {
        if self.lanes.is_forked() {
            return Err(RegisterError::Forked);
        }
        let make = || {
            let _series = metric.name.series.lock();
            self.overflow_under_lock(metric)
        };
        local::locked(make).unwrap_or(Err(RegisterError::Reentrant))
    }

    fn overflow_under_lock(&self, metric: &Metric) -> Result<Arc<Series>, RegisterError> {
        if let Some(there) = metric.overflow.get() {
            return Ok(Arc::clone(&there.series));
        }
        let labels = metric.descriptor.labels.iter().map(|_| Box::from(OVERFLOW)).collect();
        let series = self.new_series(metric, labels)?;
        let overflow = Overflow { series: Arc::clone(&series), is_shown: AtomicU32::new(0) };
        metric.overflow.get_or_init(|| overflow);
        Ok(series)
    }

    /// The overflow series of a metric, if it was made; from now on snapshots show it. Takes no lock.
    pub(crate) fn show_overflow<'a>(&self, metric: &'a Metric) -> Option<&'a Arc<Series>> {
        let overflow = metric.overflow.get()?;
        if overflow.is_shown.load(Ordering::Relaxed) == 0 && overflow.is_shown.swap(1, Ordering::Relaxed) == 0
        {
            local::without_recording(|| self.catalogue.push(Arc::clone(&overflow.series)));
        }
        Some(&overflow.series)
    }

    /// Every series of a metric but the overflow series.
    pub(crate) fn series_of(&self, metric: &Metric) -> Vec<Arc<Series>> {
        let collect = || {
            let series = metric.name.series.lock();
            let own = series.iter().filter(|((set, _), _)| *set == metric.set);
            own.map(|(_, series)| Arc::clone(series)).collect()
        };
        local::locked(collect).unwrap_or_default()
    }

    /// Whether label values can only meet the overflow series.
    pub(crate) fn is_overflow(&self, values: &[&str]) -> bool {
        values.iter().any(|value| value.len() > self.label_max || *value == OVERFLOW)
    }

    fn number(&self, metric: &Descriptor) -> Result<Storage, RegisterError> {
        let lanes = &self.lanes;
        // Under the lock of one name's series; other names number theirs at the same time.
        let _one_at_a_time = self.numbering.lock();
        Ok(match metric.kind {
            MetricKind::Gauge => Storage::Gauge(Arc::new(AtomicU64::new(0))),
            MetricKind::Counter | MetricKind::UpDownCounter => {
                if lanes.shared_cells.count() >= COUNTERS_MAX {
                    return Err(RegisterError::Exhausted);
                }
                let cell = lanes.shared_cells.push(AtomicU64::new(0));
                Storage::Cell(Key::new(lanes.instance, cell as u32))
            }
            MetricKind::Histogram => {
                let number = lanes.distributions.count() as u32;
                if number >= ID_LIMIT {
                    return Err(RegisterError::Exhausted);
                }
                let layout = metric.shape.as_ref().map_or(Layout::new(2, u64::MAX), Shape::layout);
                let none = || Bounds::new(layout, &[], 1.0);
                let bounds = metric.bounds.clone().unwrap_or_else(none);
                let made = Arc::new(Distribution::new(lanes.instance, number, layout, &bounds));
                lanes.distributions.push(Arc::clone(&made));
                Storage::Histogram(made)
            }
        })
    }

    /// Whether a number is left for a series of a metric of this type.
    #[cfg(feature = "metrics")]
    pub(crate) fn has_numbers(&self, kind: MetricKind) -> bool {
        match kind {
            MetricKind::Gauge => true,
            MetricKind::Counter | MetricKind::UpDownCounter => self.lanes.shared_cells.count() < COUNTERS_MAX,
            MetricKind::Histogram => self.lanes.distributions.count() < ID_LIMIT as usize,
        }
    }

    /// A span name, with the histogram of its durations and the counter of its errors.
    pub(crate) fn span_name(&self, name: &str, kind: SpanKind) -> SpanNameMeta {
        self.names.span(name, kind, |name| {
            let series = |metric: Result<Arc<Metric>, _>| self.series(&*metric?, &[name, kind.label()]);
            let durations = series(self.span_durations()).ok()?;
            let errors = series(self.span_errors()).ok()?;
            match (&durations.storage, &errors.storage) {
                (Storage::Histogram(durations), Storage::Cell(errors)) => {
                    Some((durations.series(), errors.index()))
                }
                _ => None,
            }
        })
    }

    /// Registered with the instance, so that nobody can take the name for something else: spans would have nowhere
    /// to be counted.
    fn span_durations(&self) -> Result<Arc<Metric>, RegisterError> {
        let shape = Shape { digits: 2, highest: DURATION_HIGHEST, scale: 1e9, bounds: duration_bounds() };
        let what = ("traces_span_metrics_duration", "Duration of spans.");
        self.span_metric(what, (MetricKind::Histogram, Unit::Seconds), Some(shape))
    }

    fn span_errors(&self) -> Result<Arc<Metric>, RegisterError> {
        let what = ("traces_span_metrics_errors", "Spans that ended in error.");
        self.span_metric(what, (MetricKind::Counter, Unit::None), None)
    }

    fn span_metric(
        &self,
        what: (&str, &str),
        kind: (MetricKind, Unit),
        shape: Option<Shape>,
    ) -> Result<Arc<Metric>, RegisterError> {
        // As many series as there are span names, which have their own cap.
        self.metric(
            Descriptor::new(what, kind, &["span_name", "span_kind"], shape, Location::caller())?,
            Some(usize::MAX),
        )
    }

    /// Notes what could not be registered for a static, or by a bridge. The first hundred are kept, with the beginning of
    /// a name that is none.
    pub(crate) fn fault(&self, name: &str, error: RegisterError) {
        if self.lanes.is_forked() {
            return; // the lock may be held by a thread that is not there
        }
        local::without_recording(|| {
            let mut faults = self.faults.lock();
            if faults.len() < FAULTS_MAX {
                let name = validate::beginning(name, validate::SHOWN_MAX).into_owned();
                faults.push(RegistrationFault { name, error });
            }
        });
    }

    /// Counts a record of a counter or a gauge that is lost: an allocator made it under a lock of tellane's.
    #[cold]
    pub(crate) fn lose(&self, name: &str) {
        self.name_lost(name);
        self.lose_one();
    }

    /// The same, of a metric that [`name_lost`](Self::name_lost) has named.
    #[cold]
    pub(crate) fn lose_one(&self) {
        self.lost.records.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the name of the first metric whose records are lost.
    #[cold]
    pub(crate) fn name_lost(&self, name: &str) {
        if self.lost.name.get().is_none() {
            let mut short = ArrayString::new();
            short.push_str(&name[..name.floor_char_boundary(LOST_NAME)]);
            let _another_was_first = self.lost.name.set(short);
        }
    }

    /// None in the child of a fork, where the lock may be held by a thread that is not there.
    pub(crate) fn faults(&self) -> Vec<RegistrationFault> {
        if self.lanes.is_forked() {
            return Vec::new();
        }
        local::without_recording(|| {
            let mut faults = self.faults.lock().clone();
            let records = self.lost.records.load(Ordering::Relaxed);
            if records > 0 {
                let name = self.lost.name.get().map_or(String::new(), ToString::to_string);
                faults.push(RegistrationFault { name, error: RegisterError::RecordsLost { records } });
            }
            faults
        })
    }

    /// Label combinations that met an overflow series, over all metrics. The map's iterator allocates while it holds a
    /// shard's lock, so an allocator that registers a metric must be refused meanwhile.
    pub(crate) fn overflowed(&self) -> u64 {
        let of = |sets: RefMulti<'_, _, Vec<Arc<Metric>>>| sets[0].name.overflowed.load(Ordering::Relaxed);
        local::locked(|| self.metrics.iter().map(of).sum()).unwrap_or(0)
    }
}

impl Named {
    /// Whether the cap on series is reached. It stays so: no series goes.
    #[cfg(feature = "metrics")]
    pub(super) fn is_full(&self) -> bool {
        // Relaxed: whoever reads it then takes the lock under which the last series was made.
        self.made.load(Ordering::Relaxed) >= self.cap
    }
}

impl Metric {
    pub(super) fn new(descriptor: Descriptor, set: u32, name: Arc<Named>) -> Arc<Self> {
        Arc::new(Self { descriptor: Arc::new(descriptor), set, name, overflow: OnceLock::new() })
    }

    /// Counts a record of a combination that the caller sent to the overflow series on its own.
    pub(crate) fn count_overflow(&self) {
        self.name.overflowed.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn conflict(wanted: &Descriptor, first: &Descriptor) -> RegisterError {
    RegisterError::Conflict {
        name: first.name.to_string(),
        first: first.signature(),
        wanted: wanted.signature(),
        at: first.at,
    }
}

/// About 18 minutes: what fits one word.
pub(crate) const DURATION_HIGHEST: u64 = (1 << 40) - 1;

/// Bounds of OpenTelemetry's HTTP durations, extended downwards for what runs in microseconds.
pub(crate) fn duration_bounds() -> Box<[f64]> {
    Box::new([
        0.000_001, 0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
        5.0, 7.5, 10.0,
    ])
}
