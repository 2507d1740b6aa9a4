//! Timers of pieces of code. Hot: two clock readings and a sample.

use super::histogram::{Histogram, HistogramInner};
use crate::lane::local;
use std::time::Duration;

/// A histogram of durations, in seconds, with a stopwatch.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let packing = telemetry.timer("packing").help("Time to pack an order.").register()?;
/// let box_size = packing.time(|| 40 + 2);
/// {
///     let _running = packing.start(); // recorded when dropped
/// }
/// packing.start().discard(); // not recorded
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|packing| packing.count()), Some(2));
/// # assert_eq!(box_size, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Timer(pub(super) Histogram);

impl Timer {
    /// Creates a timer that records nothing and reads no clock.
    ///
    /// ```
    /// let nothing = tellane::Timer::noop();
    /// assert_eq!(nothing.time(|| 40 + 2), 42);
    /// assert_eq!(nothing.start().stop(), None);
    /// ```
    pub const fn noop() -> Self {
        Self(Histogram::noop())
    }

    /// Starts a stopwatch. While the switch is off it does not read the clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (clock, hand) = tellane::Clock::mock();
    /// # let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// let watch = packing.start();
    /// hand.advance(Duration::from_millis(3)); // a mock clock's hand
    /// assert_eq!(watch.stop(), Some(Duration::from_millis(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "start_timer")]
    #[inline(always)] // for the cost of a timer that is off; without it, the compiler's choice changed between builds
    pub fn start(&self) -> Stopwatch<'_> {
        let inner = self.0.0.as_ref().filter(|inner| local::wants_sample(&inner.handle));
        Stopwatch { start: inner.map_or(0, |inner| inner.handle.lanes.clock.ticks()), inner }
    }

    /// Runs a closure and records its duration, even if it panics.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// assert_eq!(packing.time(|| 40 + 2), 42);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|packing| packing.count()), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "observe_closure_duration")]
    #[inline]
    pub fn time<R>(&self, act: impl FnOnce() -> R) -> R {
        let _running = self.start();
        act()
    }

    /// Records a duration that was measured elsewhere.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// packing.record(std::time::Duration::from_millis(250));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("packing_seconds", &[]).and_then(|packing| packing.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "observe")]
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.0.record_duration(duration);
    }
}

/// A running stopwatch of a [`Timer`]. Records when dropped; may be sent to another thread.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let packing = telemetry.timer("packing").register()?;
/// let watch = packing.start();
/// std::thread::scope(|scope| scope.spawn(|| drop(watch)).join()).expect("no panic");
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|packing| packing.count()), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "HistogramTimer")]
#[derive(Debug)]
#[must_use = "a stopwatch that is dropped at once records no time"]
pub struct Stopwatch<'a> {
    /// `None` if it was started while the switch was off.
    inner: Option<&'a HistogramInner>,
    /// Ticks at the start.
    start: u64,
}

impl Stopwatch<'_> {
    /// Records and returns the elapsed time; `None` if the switch was off at the start, or if the timer is a no-op.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// assert!(packing.start().stop().is_some());
    /// telemetry.switch().force_off();
    /// assert_eq!(packing.start().stop(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "observe_duration")]
    #[doc(alias = "stop_and_record")]
    #[inline]
    pub fn stop(mut self) -> Option<Duration> {
        self.record().map(Duration::from_nanos)
    }

    /// Ends the stopwatch without a record.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// packing.start().discard();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|packing| packing.count()), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "stop_and_discard")]
    pub fn discard(mut self) {
        self.inner = None;
    }

    #[inline(never)] // keeps the code out of call sites whose timer is off
    fn record(&mut self) -> Option<u64> {
        let inner = self.inner.take()?;
        let clock = &inner.handle.lanes.clock;
        let nanos = clock.nanos_between(self.start, clock.ticks());
        inner.record(nanos);
        Some(nanos)
    }
}

impl Drop for Stopwatch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.record();
        }
    }
}
