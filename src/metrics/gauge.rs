//! Gauges. Each is one shared atomic; the last writer wins.

use crate::sync::{Arc, AtomicU64, Ordering};

/// A metric whose value can be set to anything. Works in every state of the switch. NaN and the infinities are kept.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("oven").start()?;
/// let heat = telemetry.gauge("heat_celsius").help("Heat inside.").register()?;
/// heat.set(180.0);
/// heat.add(2.5);
/// heat.sub(0.5);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.gauge("heat_celsius", &[]), Some(182.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gauge(Option<Arc<AtomicU64>>);

impl Gauge {
    /// Creates a gauge that does nothing.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let nothing = telemetry.gauge("no name").register().unwrap_or(tellane::Gauge::noop());
    /// nothing.set(0.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.points().len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(super) fn new(value: &Arc<AtomicU64>) -> Self {
        Self(Some(Arc::clone(value)))
    }

    /// Sets the value.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let load = telemetry.gauge("load").register()?;
    /// load.set(0.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn set(&self, value: f64) {
        if let Some(cell) = &self.0 {
            cell.store(value.to_bits(), Ordering::Relaxed); // the value publishes no other memory
        }
    }

    /// Adds to the value. Concurrent additions are not lost.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let load = telemetry.gauge("load").register()?;
    /// load.add(1.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(1.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "increment")]
    #[inline]
    pub fn add(&self, difference: f64) {
        if let Some(cell) = &self.0 {
            let add = |bits| Some((f64::from_bits(bits) + difference).to_bits());
            // Always `Ok`: the closure never returns `None`.
            let _previous = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Subtracts from the value.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let load = telemetry.gauge("load").register()?;
    /// load.sub(1.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(-1.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "decrement")]
    #[inline]
    pub fn sub(&self, difference: f64) {
        self.add(-difference);
    }
}
