//! Counters and up-down-counters. Hot: one load, one addition, one store in the thread's own cell.

use crate::lane::{Key, LaneRegistry, local};
use crate::sync::Arc;

/// A counter's cell and the instance it belongs to.
#[derive(Clone, Debug)]
pub(super) struct CounterInner {
    key: Key,
    /// `None` in a no-op handle; its key belongs to no instance.
    lanes: Option<Arc<LaneRegistry>>,
}

impl CounterInner {
    const NOOP: Self = Self { key: Key(0), lanes: None };

    pub(super) fn new(key: Key, lanes: &Arc<LaneRegistry>) -> Self {
        Self { key, lanes: Some(Arc::clone(lanes)) }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    #[inline(always)]
    pub(super) fn add(&self, amount: u64) {
        if !local::add(self.key, amount) {
            self.add_cold(amount);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_cold(&self, amount: u64) {
        if let Some(lanes) = &self.lanes {
            local::add_cold(lanes, self.key, amount);
        }
    }
}

/// A metric that only grows, exact at any load and in every state of the switch. It wraps at 2^64.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let orders = telemetry.counter("orders_total").help("Orders placed.").register()?;
/// orders.inc();
/// orders.add(2);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("orders_total", &[]), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "IntCounter")]
#[derive(Clone, Debug)]
pub struct Counter(pub(super) CounterInner);

impl Counter {
    /// Creates a counter that does nothing.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let nothing = telemetry.counter("no name").register().unwrap_or(tellane::Counter::noop());
    /// nothing.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.points().len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn noop() -> Self {
        Self(CounterInner::NOOP)
    }

    /// Adds one.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let orders = telemetry.counter("orders_total").register()?;
    /// orders.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "increment")]
    #[inline]
    pub fn inc(&self) {
        self.0.add(1);
    }

    /// Adds an amount.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let orders = telemetry.counter("orders_total").register()?;
    /// orders.add(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "increment")]
    #[doc(alias = "inc_by")]
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.add(amount);
    }
}

/// A metric that goes up and down by differences, such as requests in flight or items in a queue. The sum over all
/// threads is exact; it wraps at the ends of an `i64`. Exported as a gauge.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let waiting = telemetry.up_down_counter("waiting").help("Customers waiting.").register()?;
/// waiting.add(3);
/// std::thread::scope(|scope| scope.spawn(|| waiting.add(-2)).join()).expect("no panic");
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct UpDownCounter(pub(super) CounterInner);

impl UpDownCounter {
    /// Creates an up-down-counter that does nothing.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let nothing = telemetry.up_down_counter("no name").register().unwrap_or(tellane::UpDownCounter::noop());
    /// nothing.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.points().len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn noop() -> Self {
        Self(CounterInner::NOOP)
    }

    /// Adds a difference.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let waiting = telemetry.up_down_counter("waiting").register()?;
    /// waiting.add(-3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn add(&self, difference: i64) {
        self.0.add(difference as u64); // two's complement: differences are added modulo 2^64
    }

    /// Adds one.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let waiting = telemetry.up_down_counter("waiting").register()?;
    /// waiting.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "increment")]
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts one.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let waiting = telemetry.up_down_counter("waiting").register()?;
    /// waiting.dec();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "decrement")]
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }
}
