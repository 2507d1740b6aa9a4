//! Families: metrics whose label values are strings given at run time. Hot: [`Family::with`] for cached values.

use super::counter::CounterInner;
use super::handle::{Handle, sealed};
use super::histogram::HistogramInner;
use super::members::{FamilyInner, Handles};
use super::{Counter, Gauge, Histogram, Timer, UpDownCounter};
use crate::names::TextTable;
use crate::series::Storage;
use crate::sync::Arc;

macro_rules! handles {
    ($($handle:ident: $source:ident => $make:expr;)*) => {$(
        impl sealed::FromSeries for $handle {
            fn from_series($source: sealed::SeriesSource<'_>) -> Self {
                $make
            }

            fn noop_ref() -> &'static Self {
                static NOOP: $handle = $handle::noop();
                &NOOP
            }
        }

        impl Handle for $handle {}
    )*};
}

handles! {
    Counter: source => match source.series.storage {
        Storage::Cell(key) => Self(CounterInner::new(key, &source.instance.lanes)),
        _ => Self::noop(),
    };
    UpDownCounter: source => match source.series.storage {
        Storage::Cell(key) => Self(CounterInner::new(key, &source.instance.lanes)),
        _ => Self::noop(),
    };
    Gauge: source => match &source.series.storage {
        Storage::Gauge(value) => Self::new(value),
        _ => Self::noop(),
    };
    Histogram: source => match &source.series.storage {
        Storage::Histogram(to) => {
            let scale = source.series.identity.metric.shape.as_ref().map_or(1.0, |shape| shape.scale);
            Self(Some(HistogramInner::new(to, &source.instance.lanes, scale)))
        }
        _ => Self::noop(),
    };
    Timer: source => Self(Histogram::from_series(source));
}

/// A metric with string labels whose values are only known at run time: `requests.with(["GET", route]).inc()`.
///
/// For values that were used before, a call hashes once, takes no lock and allocates nothing. Above the metric's cap on
/// series, or for a value longer than the limit, all values share one overflow series labelled `__overflow__`, so that
/// totals stay exact; that takes no lock either. If a global allocator records new values while the family registers
/// others, they are counted there, too.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let requests = telemetry.counter("requests_total").help("Requests.").family(["method", "route"])?;
/// requests.with(["GET", "/cart"]).inc();
/// requests.with(["GET", "/cart"]).inc();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("requests_total", &[("method", "GET"), ("route", "/cart")]), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "CounterVec")]
#[doc(alias = "GaugeVec")]
#[doc(alias = "HistogramVec")]
#[derive(Clone, Debug)]
pub struct Family<H, const N: usize>(Option<Arc<TableFamily<H, N>>>);

/// The shared state of a family: the table of handles and the registration.
#[derive(Debug)]
struct TableFamily<H, const N: usize> {
    handles: TextTable<H, N>,
    members: FamilyInner<H>,
}

impl<H: Handle, const N: usize> Family<H, N> {
    /// Creates a family whose handles do nothing.
    ///
    /// ```
    /// let orders: tellane::Family<tellane::Counter, 1> = tellane::Family::noop();
    /// orders.with(["Leith"]).inc(); // counts nothing
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(super) fn from_inner(members: FamilyInner<H>) -> Self {
        members.update_bytes(size_of::<TableFamily<H, N>>());
        Self(Some(Arc::new(TableFamily { handles: TextTable::new(), members })))
    }

    /// Returns the handle for these label values, in the order of the label names. It may be cloned and stored.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let orders = telemetry.counter("orders_total").family(["town", "by"])?;
    /// let leith = orders.with(["Leith", "web"]).clone(); // kept for a loop: no lookup any more
    /// (0..3).for_each(|_| leith.inc());
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[("town", "Leith"), ("by", "web")]), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    // Not inlined, it saves and restores six registers and passes the texts' addresses through memory: 10.4 ns, not
    // 7.8.
    #[doc(alias = "with_label_values")]
    #[doc(alias = "get_or_create")]
    #[inline(always)]
    pub fn with(&self, values: [&str; N]) -> &H {
        match &self.0 {
            Some(inner) => match inner.handles.get(&values) {
                Some(handle) => handle,
                None => inner.register(&values),
            },
            None => H::noop_ref(),
        }
    }
}

impl<H: Handle, const N: usize> TableFamily<H, N> {
    /// Slow path of [`Family::with`]: values that the table does not have.
    #[cold]
    #[inline(never)]
    fn register(&self, values: &[&str; N]) -> &H {
        let before = self.handles.bytes();
        let handle = self.members.get_or_register(values, &&self.handles);
        let bytes = self.handles.bytes();
        if bytes > before {
            self.members.update_bytes(size_of::<Self>() + bytes);
        }
        handle
    }
}

impl<'a, H: Handle, const N: usize> Handles<'a, H> for &'a TextTable<H, N> {
    fn lookup(&self, values: &[&str]) -> Option<&'a H> {
        self.get(values.first_chunk()?)
    }

    fn store(&self, values: &[&str], handle: H) {
        if let Some(values) = values.first_chunk() {
            self.insert(values, handle);
        }
    }
}
