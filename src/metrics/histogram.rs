//! Histograms. Hot: one word into the thread's ring, or one count into its spill.

use crate::clock::nanos;
use crate::lane::{Distribution, HistogramHandle, LaneRegistry, local};
use crate::stats::Reason;
use crate::sync::Arc;
use std::time::Duration;

/// The most values that one call of [`Histogram::record_corrected`] adds.
const CORRECTIONS_MAX: u64 = 10_000;

/// A distribution of values with a bounded relative error, exact in count, sum, minimum and maximum at any load.
///
/// Values are stored as integers: nanoseconds if the unit is seconds, bytes, or plain numbers, times the scale if one
/// was set. A value above the highest trackable value is counted as that value (in sum and maximum, too), and the
/// ledger counts it as clamped.
///
/// ```
/// use std::time::Duration;
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let wait = telemetry.histogram("wait").seconds().help("Time in the queue.").register()?;
/// wait.record_duration(Duration::from_millis(250));
/// wait.record_f64(0.75);
/// wait.record_f64(f64::NAN); // rejected and counted
/// let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
/// let waited = snapshot.histogram("wait_seconds", &[]).expect("registered above");
/// assert_eq!((waited.count(), waited.sum(), waited.max()), (2, 1.0, Some(0.75)));
/// assert_eq!(snapshot.ledger().kind(tellane::Kind::Sample).dropped.by(tellane::Reason::Invalid), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "summary")]
#[doc(alias = "distribution")]
#[derive(Clone, Debug)]
pub struct Histogram(pub(super) Option<HistogramInner>);

/// Handle and scale of a registered histogram.
#[derive(Clone, Debug)]
pub(super) struct HistogramInner {
    pub(super) handle: HistogramHandle,
    /// Recorded integers in one exported unit.
    scale: f64,
}

impl HistogramInner {
    pub(super) fn new(to: &Arc<Distribution>, lanes: &Arc<LaneRegistry>, scale: f64) -> Self {
        Self { handle: HistogramHandle { to: Arc::clone(to), lanes: Arc::clone(lanes) }, scale }
    }

    #[inline(always)]
    pub(super) fn record(&self, value: u64) {
        local::sample(&self.handle, value);
    }

    fn record_f64(&self, value: f64) {
        let scaled = value * self.scale;
        if scaled.is_finite() && scaled >= 0.0 {
            // Rounded by hand: `round` is a library call on the x86-64 baseline, and took twice as long as the rest of
            // the call (12.4 ns in total, where the bare record took 3.8). The cast saturates, far above any highest
            // value.
            self.record((scaled + 0.5) as u64);
        } else {
            local::reject_sample(&self.handle.lanes, Reason::Invalid);
        }
    }
}

impl Histogram {
    /// Creates a histogram that does nothing.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let nothing = telemetry.histogram("no name").register().unwrap_or(tellane::Histogram::noop());
    /// nothing.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.points().len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    /// Records an integer without conversion: nanoseconds, bytes, or plain numbers (times the scale, if there is one).
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let wait = telemetry.histogram("wait").seconds().register()?;
    /// wait.record(250_000_000); // nanoseconds
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "observe")]
    #[inline]
    pub fn record(&self, value: u64) {
        if let Some(inner) = &self.0 {
            inner.record(value);
        }
    }

    /// Records a duration. For histograms in seconds.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let wait = telemetry.histogram("wait").seconds().register()?;
    /// wait.record_duration(std::time::Duration::from_millis(250));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn record_duration(&self, duration: Duration) {
        self.record(nanos(duration));
    }

    /// Records a number in the exported unit (seconds, bytes, or plain), rounded to the histogram's resolution. NaN,
    /// the infinities and negative numbers are rejected and counted as [`Reason::Invalid`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let wait = telemetry.histogram("wait").seconds().register()?;
    /// [0.25, -1.0].map(|seconds| wait.record_f64(seconds));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).map(|wait| wait.count()), Some(1));
    /// assert_eq!(snapshot.ledger().total().dropped.by(tellane::Reason::Invalid), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "observe")]
    #[inline]
    pub fn record_f64(&self, value: f64) {
        if let Some(inner) = &self.0 {
            inner.record_f64(value);
        }
    }

    /// Records a value with correction for coordinated omission (Gil Tene): for a loop that should start one operation
    /// every `interval`, also records the values that the loop would have measured without the delay, `value -
    /// interval`, `value - 2 * interval` and so on. Returns the number of recorded values, including the measured one.
    /// A call adds at most 10,000 values, the greatest ones. Never correct values that are corrected already.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("load").start()?;
    /// let latency = telemetry.histogram("latency").seconds().register()?;
    /// assert_eq!(latency.record_corrected(35, 10), 3); // 35, 25 and 15; 5 is below the interval
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record_corrected(&self, value: u64, interval: u64) -> u64 {
        corrected(value, interval, |value| self.record(value))
    }
}

/// Calls `record` with a value and with the values that the correction adds; returns the number of calls.
pub(super) fn corrected(value: u64, interval: u64, record: impl Fn(u64)) -> u64 {
    record(value);
    let mut added = 0;
    let mut missing = value;
    while interval > 0 && missing >= 2 * interval.min(u64::MAX / 2) && added < CORRECTIONS_MAX {
        missing -= interval;
        record(missing);
        added += 1;
    }
    1 + added
}
