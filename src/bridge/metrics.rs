//! Bridge from the [`metrics`](https://docs.rs/metrics/0.24) crate: `metrics::counter!`, `gauge!` and `histogram!`
//! record into an instance, without changes to the code that calls them.
//!
//! ```
//! use std::time::Duration;
//! use tellane::bridge::metrics::Recorder;
//!
//! let telemetry = tellane::Telemetry::builder("shop").start()?;
//! Recorder::install(&telemetry)?; // in `main`, before others ask for handles
//!
//! metrics::describe_histogram!("queue.wait", metrics::Unit::Seconds, "Time in the queue.");
//! metrics::counter!("orders.placed", "by" => "web").increment(2); // anywhere, in any library
//! metrics::counter!("orders.placed").increment(1);
//! metrics::gauge!("load").set(0.5);
//! metrics::histogram!("queue.wait").record(Duration::from_millis(250));
//!
//! let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
//! assert_eq!(snapshot.counter("orders_placed_total", &[("by", "web")]), Some(2));
//! assert_eq!(snapshot.counter("orders_placed_total", &[]), Some(1));
//! assert_eq!(snapshot.gauge("load", &[]), Some(0.5));
//! assert_eq!(snapshot.histogram("queue_wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.25));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Names
//!
//! Names follow the Prometheus rules. In a metric's name, every character other than an ASCII letter, a digit, `_` or
//! `:` becomes `_`; in a label's name, `:` does too. A leading digit gets a `_` before it; several leading `_` become
//! one; a name that starts with `tellane_` gets a leading `_`; an empty name becomes `_`. Labels called `le` and
//! `quantile` become `exported_le` and `exported_quantile`. Counters end in `_total`. A label that is given twice gets
//! the value that sorts last (for `metrics`, keys that differ only in the order of their labels are equal).
//!
//! Distinct names never share a series. If two names map to the same name, the first one used gets the plain name; the
//! other gets a hash of eight hexadecimal digits before its unit and `_total`, and its help text ends in the original
//! name. The same holds for two label names of one metric, without the help text. The hash (FNV-1a) is the same in
//! every process:
//!
//! ```
//! # use tellane::bridge::metrics::Recorder;
//! # let telemetry = tellane::Telemetry::builder("shop").start()?;
//! metrics::with_local_recorder(&Recorder::new(&telemetry), || {
//!     metrics::counter!("jobs.done").increment(1);
//!     metrics::counter!("jobs-done").increment(2);
//! });
//! let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
//! assert_eq!(snapshot.counter("jobs_done_total", &[]), Some(1));
//! assert_eq!(snapshot.counter("jobs_done_5c9f1c20_total", &[]), Some(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A metric that was registered beforehand ([`Telemetry::counter`] and the like) is shared with the first name that
//! maps to its name.
//!
//! A name that belongs to a metric of another type is refused: its records are discarded, and [`Telemetry::faults`]
//! reports it, once for each name. The same holds for a name, also of a label, of more than 200 bytes (1,024 before it
//! was changed), and for new names above [`Config::names_cap`](crate::Config::names_cap), which counts all metrics of
//! the instance.
//!
//! # Labels
//!
//! One name may be used with different labels. All the series of a name share one
//! [`Config::series_cap`](crate::Config::series_cap); label values above it share an overflow series, with
//! `__overflow__` for the value of each label. Its counts and sums are exact. A gauge there has the value that was set
//! last, and [`absolute`](::metrics::Counter::absolute) raises a counter there to at least the given count. Above 64
//! sets of label names, a name's new sets use the overflow series, too.
//!
//! # Units, descriptions, precision
//!
//! A description has an effect only before the name is first used: its text becomes the help text, and the units
//! seconds and bytes become part of the name (`_seconds`, `_bytes`). Other units are appended to the help text;
//! values are not converted. A name that ends in `_seconds` or `_bytes` needs no description for its unit. Later
//! descriptions are ignored: a name has one meaning for the life of an instance.
//!
//! Histograms have a relative error of 0.8 %. Sums are exact except for the rounding of each value: to nanoseconds for
//! units of time, to a byte or a bit for units of data, to one for counts, and to a millionth if the unit is not known.
//! The highest trackable value is 2^63 - 1 of these: 9 * 10^12 if the unit is not known, 292 years. NaN, the
//! infinities and negative numbers are counted as [`Reason::Invalid`](crate::Reason::Invalid). For another precision or
//! other bounds, register the histogram beforehand ([`Telemetry::histogram`]): the bridge uses an existing histogram.
//!
//! # Cost
//!
//! An increment through a stored handle is one virtual call and tellane's own addition. The macros look up their handle
//! at each call: one lookup in a hash map, under a shard's read lock that never blocks, and one reference count. The
//! same holds for keys that use an overflow series, of which a recorder caches 16,384 for each type of metric; caching
//! one allocates, but does not block. Further keys, keys of more than 1 KiB and refused keys take two lookups more, by
//! the names and by the values of their labels, and no allocation, new or not. The first key of a name and set of label
//! names that overflows or is refused takes a lock. So does each lookup of an uncached key that has more than 32 labels
//! or comes after 2^20 keys or 16,384 sets of label names for each type of metric, and each lookup while another thread
//! adds to the same shard of a map. `absolute` takes a lock when it raises the count, and sums the counter over all
//! lanes.
//!
//! # Before, after and inside
//!
//! - Before [`Recorder::install`], the `metrics` crate itself drops all records and does not count them. A handle that
//!   was made then never records.
//! - After shutdown, records no longer change the last snapshot; samples are counted as
//!   [`Reason::AfterShutdown`](crate::Reason::AfterShutdown). A recorder does not keep the instance running.
//! - In a forked child nothing is registered, and existing handles record nothing. The child cannot install
//!   another recorder: `metrics` has one for the life of the process. It may use
//!   [`with_local_recorder`](::metrics::with_local_recorder).
//! - A global allocator may record through the macros while tellane is at work on the same thread. Then a record of a
//!   new key is lost. It is counted: a histogram's in the ledger as [`Reason::Reentrant`](crate::Reason::Reentrant),
//!   others in [`Telemetry::faults`] as [`RegisterError::RecordsLost`](crate::RegisterError::RecordsLost). Statics and
//!   families lose no count there.

mod handle_cache;
mod handles;
mod names;
mod sets;

use crate::instance::Instance;
use crate::metrics::{Counter, Gauge, Histogram, handle_of};
use crate::series::{MetricKind, Storage};
use crate::sync::Arc;
use crate::telemetry::Telemetry;
use ::metrics::{Key, KeyName, Metadata, SharedString, Unit};
use handle_cache::HandleCache;
use handles::{CounterAdapter, GaugeAdapter, HistogramAdapter, LostRecords};

/// Recorder for the `metrics` crate that records into an instance.
///
/// For the whole process: [`install`](Self::install). For one thread, in tests for example:
///
/// ```
/// use tellane::bridge::metrics::Recorder;
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// metrics::with_local_recorder(&Recorder::new(&telemetry), || {
///     metrics::counter!("orders").increment(3);
/// });
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("orders_total", &[]), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    instance: Arc<Instance>,
    counters: HandleCache<::metrics::Counter>,
    gauges: HandleCache<::metrics::Gauge>,
    histograms: HandleCache<::metrics::Histogram>,
}

impl Recorder {
    /// Creates a recorder into an instance. Several recorders of one instance share its series.
    ///
    /// ```
    /// use tellane::bridge::metrics::Recorder;
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let recorders = [Recorder::new(&telemetry), Recorder::new(&telemetry)];
    /// for recorder in &recorders {
    ///     metrics::with_local_recorder(recorder, || metrics::counter!("orders").increment(1));
    /// }
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(telemetry: &Telemetry) -> Self {
        let instance = Arc::clone(telemetry.instance());
        let lost = Arc::new(LostRecords(Arc::clone(&instance)));
        Self {
            instance,
            counters: HandleCache::new(MetricKind::Counter, ::metrics::Counter::from_arc(Arc::clone(&lost))),
            gauges: HandleCache::new(MetricKind::Gauge, ::metrics::Gauge::from_arc(Arc::clone(&lost))),
            histograms: HandleCache::new(MetricKind::Histogram, ::metrics::Histogram::from_arc(lost)),
        }
    }

    /// Installs a recorder for the macros of the `metrics` crate, for the life of the process.
    ///
    /// ```
    /// use tellane::bridge::metrics::{InstallError, Recorder};
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// Recorder::install(&telemetry)?;
    /// metrics::counter!("orders").increment(1);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// assert_eq!(Recorder::install(&telemetry), Err(InstallError::AlreadyInstalled));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InstallError::AlreadyInstalled`] if the process has a recorder; that one stays.
    #[doc(alias = "set_global_recorder")]
    pub fn install(telemetry: &Telemetry) -> Result<(), InstallError> {
        ::metrics::set_global_recorder(Self::new(telemetry)).map_err(|_unused| InstallError::AlreadyInstalled)
    }
}

impl ::metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.counters.describe(&self.instance, name.as_str(), unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.gauges.describe(&self.instance, name.as_str(), unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.histograms.describe(&self.instance, name.as_str(), unit, &text);
    }

    fn register_counter(&self, key: &Key, _from: &Metadata<'_>) -> ::metrics::Counter {
        let handle = self.counters.handle(&self.instance, key, |series| match series.storage {
            Storage::Cell(cell) => {
                let counter: Counter = handle_of(series, &self.instance);
                ::metrics::Counter::from_arc(Arc::new(CounterAdapter::new(counter, cell, &self.instance)))
            }
            _ => ::metrics::Counter::noop(),
        });
        handle.unwrap_or(::metrics::Counter::noop())
    }

    fn register_gauge(&self, key: &Key, _from: &Metadata<'_>) -> ::metrics::Gauge {
        let handle = self.gauges.handle(&self.instance, key, |series| {
            let gauge: Gauge = handle_of(series, &self.instance);
            ::metrics::Gauge::from_arc(Arc::new(GaugeAdapter(gauge)))
        });
        handle.unwrap_or(::metrics::Gauge::noop())
    }

    fn register_histogram(&self, key: &Key, _from: &Metadata<'_>) -> ::metrics::Histogram {
        let handle = self.histograms.handle(&self.instance, key, |series| {
            let histogram: Histogram = handle_of(series, &self.instance);
            ::metrics::Histogram::from_arc(Arc::new(HistogramAdapter(histogram)))
        });
        handle.unwrap_or(::metrics::Histogram::noop())
    }
}

/// Error of [`Recorder::install`].
///
/// ```
/// use tellane::bridge::metrics::{InstallError, Recorder};
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// metrics::set_global_recorder(metrics::NoopRecorder).expect("the first");
/// let error = Recorder::install(&telemetry).expect_err("the second");
/// assert_eq!(error, InstallError::AlreadyInstalled);
/// assert_eq!(error.to_string(), "the metrics crate has a global recorder already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallError {
    /// The process has a global recorder already, this crate's or another's. Install tellane's first, or use a fanout
    /// layer that records into both.
    AlreadyInstalled,
}

impl std::fmt::Display for InstallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AlreadyInstalled => f.write_str("the metrics crate has a global recorder already"),
        }
    }
}

impl std::error::Error for InstallError {}
