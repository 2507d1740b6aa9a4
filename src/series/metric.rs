//! Metrics and their series: definitions with a place for values. Cold.

#[cfg(feature = "metrics")]
use super::claims::Claims;
use super::descriptor::Descriptor;
use crate::lane::{Distribution, Key};
use crate::names::COUNTS;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

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
    pub(super) fn labels_bytes(&self) -> usize {
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
/// ([`crate::series::MetricRegistry::series_of_set`]); they share the name's series and its cap.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) descriptor: Arc<Descriptor>,
    /// Which of the name's sets it is, in the order of registration.
    pub(super) set: u32,
    pub(super) name: Arc<Named>,
    /// The series that stands in above the cap. A family has it made beforehand: it counts what an allocator records
    /// while the family registers a series.
    pub(super) overflow: OnceLock<Overflow>,
}

#[derive(Debug)]
pub(super) struct Overflow {
    pub(super) series: Arc<Series>,
    /// Not 0 once it stands in the catalogue, which is when it is first used. Relaxed: a swap decides who adds it.
    pub(super) is_shown: AtomicU32,
}

/// A set's number, and its label values.
pub(super) type SeriesKey = (u32, Box<[Box<str>]>);

/// What all sets of one name share.
#[derive(Debug)]
pub(crate) struct Named {
    /// What a bridge calls it.
    #[cfg(feature = "metrics")]
    pub(super) claims: Mutex<Claims>,
    pub(super) cap: usize,
    pub(super) series: Mutex<HashMap<SeriesKey, Arc<Series>>>,
    /// Series that count against the cap: all with labels but the overflow series. Written under the lock of `series`.
    pub(super) made: AtomicUsize,
    /// Label combinations that met the overflow series because the cap was reached.
    pub(super) overflowed: AtomicU64,
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
