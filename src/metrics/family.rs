//! One metric, many label values. Hot: [`Family::with`] on values seen before.

use super::counter::CounterInner;
use super::histogram::HistogramInner;
use super::members::{FamilyInner, Handles};
use super::{Counter, Gauge, Histogram, Timer, UpDownCounter};
use crate::instance::Instance;
use crate::names::Table;
use crate::series::{Series, Storage};
use crate::sync::Arc;

mod sealed {
    use super::{Instance, Series};

    /// A series and where it is registered; opaque, so that nobody else can make handles.
    #[derive(Clone, Copy)]
    #[allow(missing_debug_implementations)] // nobody outside can name it
    pub struct SeriesSource<'a> {
        pub(in crate::metrics) series: &'a Series,
        pub(in crate::metrics) instance: &'a Instance,
    }

    /// What makes a handle of a series.
    pub trait FromSeries: Clone + Send + Sync + 'static {
        fn from_series(source: SeriesSource<'_>) -> Self;
        fn noop_ref() -> &'static Self;
    }
}

use sealed::SeriesSource;

/// A handle of a series.
pub(crate) fn handle_of<H: Handle>(series: &Series, instance: &Instance) -> H {
    H::from_series(SeriesSource { series, instance })
}

/// A handle that families and statics can make: [`Counter`], [`UpDownCounter`], [`Gauge`], [`Histogram`], [`Timer`].
///
/// ```
/// use tellane::{Counter, Family, Handle};
/// fn first<H: Handle>(family: &Family<H, 1>) -> &H {
///     family.with(["first"])
/// }
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// first::<Counter>(&telemetry.counter("orders_total").family(["town"])?).inc();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("orders_total", &[("town", "first")]), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Handle: sealed::FromSeries {}

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

/// A metric whose label values are known only when recording: `requests.with(["GET", route]).inc()`.
///
/// A hit hashes once, takes no lock and allocates nothing. Above the metric's cap on series, or for a value longer
/// than the limit, all values meet in one overflow series labelled `__overflow__`, so that totals stay exact; that takes
/// no lock either. What a global allocator records for new values while the family registers others is counted there, too.
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
#[derive(Clone, Debug)]
pub struct Family<H, const N: usize>(Option<Arc<Inner<H, N>>>);

#[derive(Debug)]
struct Inner<H, const N: usize> {
    handles: Table<H, N>,
    members: FamilyInner<H>,
}

impl<H: Handle, const N: usize> Family<H, N> {
    /// A family whose handles do nothing.
    ///
    /// ```
    /// let orders: tellane::Family<tellane::Counter, 1> = tellane::Family::noop();
    /// orders.with(["Leith"]).inc(); // counts nothing
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(super) fn of(members: FamilyInner<H>) -> Self {
        members.takes(size_of::<Inner<H, N>>());
        Self(Some(Arc::new(Inner { handles: Table::new(), members })))
    }

    /// The handle for these label values, in the order of the label names. It may be cloned and kept.
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
    // As a call it saves and restores six registers and has its texts' addresses through memory: 10.4 ns for 7.8.
    #[inline(always)]
    pub fn with(&self, values: [&str; N]) -> &H {
        match &self.0 {
            Some(inner) => match inner.handles.get(&values) {
                Some(handle) => handle,
                None => inner.meet(&values),
            },
            None => H::noop_ref(),
        }
    }
}

impl<H: Handle, const N: usize> Inner<H, N> {
    /// Values that this family has not seen.
    #[cold]
    #[inline(never)]
    fn meet(&self, values: &[&str; N]) -> &H {
        let before = self.handles.bytes();
        let handle = self.members.meet(values, &&self.handles);
        let bytes = self.handles.bytes();
        if bytes > before {
            self.members.takes(size_of::<Self>() + bytes);
        }
        handle
    }
}

impl<'a, H: Handle, const N: usize> Handles<'a, H> for &'a Table<H, N> {
    fn find(&self, values: &[&str]) -> Option<&'a H> {
        self.get(values.first_chunk()?)
    }

    fn keep(&self, values: &[&str], handle: H) {
        if let Some(values) = values.first_chunk() {
            self.insert(values, handle);
        }
    }
}
