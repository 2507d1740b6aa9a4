//! The metric registry of an instance: turns definitions into metrics and series. Cold: runs at registration and at the
//! first use of a label combination.

use super::descriptor::{DURATION_HIGHEST, Descriptor, Shape, duration_bounds};
use super::kind::{MetricKind, Unit};
use super::metric::{Identity, Metric, MetricName, Overflow, Series, SeriesKey, Storage};
use crate::error::RegisterError;
use crate::lane::{Distribution, Key, LaneRegistry, local};
use crate::names::{COUNTS, OVERFLOW};
use crate::record::layout::ID_LIMIT;
use crate::stats::{Bounds, Layout};
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::multiple::RefMulti;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

const COUNTERS_MAX: usize = 1 << 31;

/// All metrics of one instance.
#[derive(Debug)]
pub(crate) struct MetricRegistry {
    pub(super) lanes: Arc<LaneRegistry>,
    /// Every series, in the order of registration.
    pub(crate) catalogue: boxcar::Vec<Arc<Series>>,
    /// The label sets of each name; the first set defines the name's type, unit and precision.
    pub(super) by_name: DashMap<Arc<str>, Vec<Arc<Metric>>>,
    /// Held while a name is checked and inserted. A histogram reserves three more names, which live in other shards of
    /// `by_name`, so the lock of one shard cannot make the check and the insertion one step.
    pub(super) naming: Mutex<()>,
    /// Held while a series number is assigned, and while a counter is raised.
    pub(super) numbering: Mutex<()>,
    /// Cap on the series of a metric that sets no cap.
    series_cap: usize,
    /// Maximum bytes of a label value.
    label_max: usize,
    /// Cap on the names that bridges register.
    #[cfg(feature = "metrics")]
    pub(super) names_cap: usize,
    /// Bytes of definitions, series, families and the caches of bridges. Relaxed: a figure that publishes nothing.
    kept: AtomicUsize,
}

/// The caps of an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Series of a metric that sets no cap.
    pub(crate) series: usize,
    /// Span names, and attribute keys.
    pub(crate) names: usize,
    /// Bytes of a label value, a span name or a log target.
    pub(crate) label: usize,
}

impl MetricRegistry {
    /// A registry with just the metrics of spans. They are registered first, so that no other metric can take their
    /// names: spans would then have no metrics.
    pub(crate) fn new(lanes: Arc<LaneRegistry>, caps: Caps) -> Self {
        let registry = Self {
            lanes,
            catalogue: boxcar::Vec::new(),
            by_name: DashMap::new(),
            naming: Mutex::new(()),
            numbering: Mutex::new(()),
            series_cap: caps.series,
            label_max: caps.label,
            #[cfg(feature = "metrics")]
            names_cap: caps.names,
            kept: AtomicUsize::new(0),
        };
        // Neither can fail: nothing else is registered yet.
        let _reserved = (registry.span_durations(), registry.span_errors());
        registry
    }

    /// Bytes of definitions, series, families and bridges' handles.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Counts bytes that a family or a bridge keeps for the instance.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts bytes that [`add_bytes`](Self::add_bytes) counted.
    pub(crate) fn sub_bytes(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Registers a metric, or returns the existing one with the same definition. A second set of label names is a
    /// conflict here: it is nearly always a programming mistake.
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
            match self.by_name.entry(Arc::clone(&wanted.name)) {
                Entry::Occupied(there) => {
                    let signature = wanted.signature();
                    match there.get().iter().find(|set| set.descriptor.signature() == signature) {
                        Some(same) => Ok(Arc::clone(same)),
                        None => Err(conflict(&wanted, &there.get()[0].descriptor)),
                    }
                }
                Entry::Vacant(vacant) => {
                    let metric = self.first_set(wanted, cap);
                    vacant.insert(vec![Arc::clone(&metric)]);
                    Ok(metric)
                }
            }
        };
        local::locked(register).unwrap_or(Err(RegisterError::Reentrant))
    }

    /// Creates the first metric of a name.
    pub(super) fn first_set(&self, wanted: Descriptor, cap: Option<usize>) -> Arc<Metric> {
        let name = MetricName {
            #[cfg(feature = "metrics")]
            claims: Mutex::default(),
            cap: cap.unwrap_or(self.series_cap).max(1),
            series: Mutex::new(HashMap::new()),
            made: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
        };
        self.add_bytes(wanted.bytes() + size_of::<Metric>() + size_of::<MetricName>() + 2 * COUNTS);
        Metric::new(wanted, 0, Arc::new(name))
    }

    /// Refuses a histogram whose derived names are taken, and a metric whose name is derived from a histogram. The
    /// caller holds `naming` until it has inserted the name.
    pub(super) fn check_derived_names(&self, wanted: &Descriptor) -> Result<(), RegisterError> {
        let name = &*wanted.name;
        for suffix in ["_bucket", "_sum", "_count"] {
            if wanted.kind == MetricKind::Histogram
                && let Some(first) = self.by_name.get(format!("{name}{suffix}").as_str())
            {
                return Err(conflict(wanted, &first[0].descriptor));
            }
            let base = name.strip_suffix(suffix).and_then(|base| self.by_name.get(base));
            if let Some(first) = base.filter(|base| base[0].descriptor.kind == MetricKind::Histogram) {
                return Err(conflict(wanted, &first[0].descriptor));
            }
        }
        Ok(())
    }

    /// The series of a metric for label values, one for each label name. The overflow series above the cap, if a value
    /// is too long, or if a value is the overflow value itself.
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
        let new =
            Series { identity: Arc::new(identity), storage: self.allocate_storage(&metric.descriptor)? };
        self.add_bytes(new.bytes());
        Ok(Arc::new(new))
    }

    /// The overflow series of a metric, created if needed. Snapshots show it from its first use on.
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

    /// The overflow series of a metric, if it was created; snapshots show it from now on. Takes no lock.
    pub(crate) fn show_overflow<'a>(&self, metric: &'a Metric) -> Option<&'a Arc<Series>> {
        let overflow = metric.overflow.get()?;
        if overflow.is_shown.load(Ordering::Relaxed) == 0 && overflow.is_shown.swap(1, Ordering::Relaxed) == 0
        {
            local::without_recording(|| self.catalogue.push(Arc::clone(&overflow.series)));
        }
        Some(&overflow.series)
    }

    /// All series of a metric except the overflow series.
    pub(crate) fn series_of(&self, metric: &Metric) -> Vec<Arc<Series>> {
        let collect = || {
            let series = metric.name.series.lock();
            let own = series.iter().filter(|((set, _), _)| *set == metric.set);
            own.map(|(_, series)| Arc::clone(series)).collect()
        };
        local::locked(collect).unwrap_or_default()
    }

    /// Returns `true` if these label values always go to the overflow series.
    pub(crate) fn is_overflow(&self, values: &[&str]) -> bool {
        values.iter().any(|value| value.len() > self.label_max || *value == OVERFLOW)
    }

    fn allocate_storage(&self, metric: &Descriptor) -> Result<Storage, RegisterError> {
        let lanes = &self.lanes;
        // The caller holds the lock of one name's series only; other names assign numbers at the same time.
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

    /// Returns `true` if a number is left for a series of this metric type.
    #[cfg(feature = "metrics")]
    pub(crate) fn has_numbers(&self, kind: MetricKind) -> bool {
        match kind {
            MetricKind::Gauge => true,
            MetricKind::Counter | MetricKind::UpDownCounter => self.lanes.shared_cells.count() < COUNTERS_MAX,
            MetricKind::Histogram => self.lanes.distributions.count() < ID_LIMIT as usize,
        }
    }

    /// The histogram of span durations. The instance registers it at its start, so that no other metric can take the
    /// name.
    pub(crate) fn span_durations(&self) -> Result<Arc<Metric>, RegisterError> {
        let shape = Shape { digits: 2, highest: DURATION_HIGHEST, scale: 1e9, bounds: duration_bounds() };
        let what = ("traces_span_metrics_duration", "Duration of spans.");
        self.span_metric(what, (MetricKind::Histogram, Unit::Seconds), Some(shape))
    }

    /// The counter of spans that ended in error.
    pub(crate) fn span_errors(&self) -> Result<Arc<Metric>, RegisterError> {
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

    /// Label combinations that were counted in an overflow series, over all metrics. The map's iterator allocates while
    /// it holds a shard's lock, so an allocator that registers a metric must be refused meanwhile.
    pub(crate) fn overflowed(&self) -> u64 {
        let overflowed =
            |sets: RefMulti<'_, _, Vec<Arc<Metric>>>| sets[0].name.overflowed.load(Ordering::Relaxed);
        local::locked(|| self.by_name.iter().map(overflowed).sum()).unwrap_or(0)
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
