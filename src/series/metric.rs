//! Metrics and their series: definitions with the storage of their values. Cold.

#[cfg(feature = "metrics")]
use super::claims::Claims;
use super::descriptor::Descriptor;
use crate::lane::{Distribution, Key};
use crate::names::COUNTS;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The storage of a series' value.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// The cell of a counter or an up-down-counter.
    Cell(Key),
    /// The bits of a gauge's `f64`.
    Gauge(Arc<AtomicU64>),
    /// The shared counts of a histogram.
    Histogram(Arc<Distribution>),
}

/// A metric with label values.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) metric: Arc<Descriptor>,
    pub(crate) labels: Box<[Box<str>]>,
}

impl Identity {
    /// The sort key of series. Label names come last: most metrics have one set of them.
    pub(crate) fn key(&self) -> (&str, &[Box<str>], &[Box<str>]) {
        (&self.metric.name, &self.labels, &self.metric.labels)
    }

    /// Bytes of the label values.
    pub(super) fn labels_bytes(&self) -> usize {
        self.labels.iter().map(|value| size_of::<Box<str>>() + value.len()).sum()
    }

    /// Label names and values.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metric.labels.iter().map(|name| &**name).zip(self.labels.iter().map(|value| &**value))
    }
}

/// A series: its identity, and the storage of its value.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) identity: Arc<Identity>,
    pub(crate) storage: Storage,
}

impl Series {
    /// Bytes that the series takes, without the buckets of a histogram, which lanes and the aggregator own.
    pub(super) fn bytes(&self) -> usize {
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
/// ([`crate::series::MetricRegistry::series_of_set`]); all sets of a name share one map of series and one cap.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) descriptor: Arc<Descriptor>,
    /// The index of this set among those of the name, in the order of registration.
    pub(super) set: u32,
    pub(super) name: Arc<MetricName>,
    /// The series that stands in above the cap. A family creates it in advance, because it also takes what an allocator
    /// records through the family while the family registers a series.
    pub(super) overflow: OnceLock<Overflow>,
}

#[derive(Debug)]
pub(super) struct Overflow {
    pub(super) series: Arc<Series>,
    /// Becomes non-zero at the first use, when the series is added to the catalogue. Relaxed: the swap alone decides
    /// which thread adds it.
    pub(super) is_shown: AtomicU32,
}

/// The index of a set, and label values.
pub(super) type SeriesKey = (u32, Box<[Box<str>]>);

/// The state that all label sets of one metric name share.
#[derive(Debug)]
pub(crate) struct MetricName {
    /// The original names under which a bridge registered this metric and its labels.
    #[cfg(feature = "metrics")]
    pub(super) claims: Mutex<Claims>,
    pub(super) cap: usize,
    pub(super) series: Mutex<HashMap<SeriesKey, Arc<Series>>>,
    /// The number of series that count against the cap: all that have labels, except the overflow series. Written under
    /// the lock of `series`.
    pub(super) made: AtomicUsize,
    /// Label combinations that were counted in the overflow series because the cap was reached.
    pub(super) overflowed: AtomicU64,
}

impl MetricName {
    /// Returns `true` if the cap on series is reached. This is final: series are never removed.
    #[cfg(feature = "metrics")]
    pub(super) fn is_full(&self) -> bool {
        // Relaxed: the caller then takes the lock under which the last series was made.
        self.made.load(Ordering::Relaxed) >= self.cap
    }
}

impl Metric {
    pub(super) fn new(descriptor: Descriptor, set: u32, name: Arc<MetricName>) -> Arc<Self> {
        Arc::new(Self { descriptor: Arc::new(descriptor), set, name, overflow: OnceLock::new() })
    }

    /// Counts a label combination that the caller itself sent to the overflow series.
    pub(crate) fn count_overflow(&self) {
        self.name.overflowed.fetch_add(1, Ordering::Relaxed);
    }
}
