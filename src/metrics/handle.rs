//! The trait of everything that a family can hand out. Cold: handles are made at registration.

use crate::instance::Instance;
use crate::series::Series;

pub(super) mod sealed {
    use super::{Instance, Series};

    /// A series and its instance. Opaque, so that other crates cannot make handles.
    #[derive(Clone, Copy)]
    #[allow(missing_debug_implementations)] // other crates cannot name it
    pub struct SeriesSource<'a> {
        pub(in crate::metrics) series: &'a Series,
        pub(in crate::metrics) instance: &'a Instance,
    }

    /// Constructor of a handle from a series.
    pub trait FromSeries: Clone + Send + Sync + 'static {
        fn from_series(source: SeriesSource<'_>) -> Self;
        fn noop_ref() -> &'static Self;
    }
}

use sealed::SeriesSource;

/// Creates a handle of a series.
pub(crate) fn handle_of<H: Handle>(series: &Series, instance: &Instance) -> H {
    H::from_series(SeriesSource { series, instance })
}

/// The handle types of metrics: [`Counter`](crate::Counter),
/// [`UpDownCounter`](crate::UpDownCounter), [`Gauge`](crate::Gauge), [`Histogram`](crate::Histogram) and
/// [`Timer`](crate::Timer).
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
