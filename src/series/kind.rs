//! Types and units of metrics. Cold.

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
    /// A count that can also be decreased.
    UpDownCounter,
    /// A value that can be set to anything.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// The unit of a metric's values.
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
    /// Plain numbers without a unit.
    #[default]
    None,
    /// Seconds when exported, nanoseconds when recorded as an integer.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "_seconds",
            Self::Bytes => "_bytes",
        }
    }

    /// Recorded integers per exported unit.
    pub(crate) fn scale(self) -> f64 {
        if self == Self::Seconds { 1e9 } else { 1.0 }
    }
}
