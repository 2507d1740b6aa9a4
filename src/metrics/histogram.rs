//! Distributions of values. Hot: one word into the thread's ring, or one count into its spill.

use crate::clock::nanos;
use crate::lane::{Distribution, HistogramHandle, LaneRegistry, local};
use crate::stats::Reason;
use crate::sync::Arc;
use std::time::Duration;

/// Values that one call of [`Histogram::record_corrected`] makes up, at most.
const CORRECTIONS_MAX: u64 = 10_000;

/// A distribution of values with a bounded relative error, exact in count, sum, minimum and maximum at any load.
///
/// Values are integers inside: nanoseconds where the unit is seconds, bytes, or plain numbers, times the scale if one
/// was set. A value above the highest trackable one is counted there (sum and maximum too) and noted in the ledger as
/// clamped.
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
#[derive(Clone, Debug)]
pub struct Histogram(pub(super) Option<HistogramInner>);

#[derive(Clone, Debug)]
pub(super) struct HistogramInner {
    pub(super) recorder: HistogramHandle,
    /// Recorded integers in one shown unit.
    scale: f64,
}

impl HistogramInner {
    pub(super) fn new(to: &Arc<Distribution>, lanes: &Arc<LaneRegistry>, scale: f64) -> Self {
        Self { recorder: HistogramHandle { to: Arc::clone(to), lanes: Arc::clone(lanes) }, scale }
    }

    #[inline(always)]
    pub(super) fn record(&self, value: u64) {
        local::sample(&self.recorder, value);
    }

    fn record_f64(&self, value: f64) {
        let scaled = value * self.scale;
        if scaled.is_finite() && scaled >= 0.0 {
            // Rounded by hand: `round` is a library call on the x86-64 baseline, and took twice as long as all
            // the rest (12.4 ns in all where the bare record took 3.8). The cast saturates, far above any highest value.
            self.record((scaled + 0.5) as u64);
        } else {
            local::reject_sample(&self.recorder.lanes, Reason::Invalid);
        }
    }
}

impl Histogram {
    /// A histogram that records nothing.
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

    /// Records an integer as it is: nanoseconds, bytes, or plain numbers (times the scale, if there is one).
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let wait = telemetry.histogram("wait").seconds().register()?;
    /// wait.record(250_000_000); // nanoseconds
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Records a number in the unit shown: seconds, bytes, or plain, rounded to the histogram's resolution. NaN, the
    /// infinities and negative numbers are rejected and counted as [`Reason::Invalid`].
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
    #[inline]
    pub fn record_f64(&self, value: f64) {
        if let Some(inner) = &self.0 {
            inner.record_f64(value);
        }
    }

    /// Records a value that was measured by a loop meant to start one every `interval`, and the values that the loop
    /// would have seen had it not been held up: `value - interval`, `value - 2 * interval` and so on (Gil Tene's
    /// correction of coordinated omission). Returns how many values that makes, the measured one included; made up are
    /// at most 10,000 a call, the greatest. Never correct values that were corrected already.
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

/// Hands a value and those that are made up for it to `record`; returns how many they are.
pub(super) fn corrected(value: u64, interval: u64, record: impl Fn(u64)) -> u64 {
    record(value);
    let mut made_up = 0;
    let mut missing = value;
    while interval > 0 && missing >= 2 * interval.min(u64::MAX / 2) && made_up < CORRECTIONS_MAX {
        missing -= interval;
        record(missing);
        made_up += 1;
    }
    1 + made_up
}
