//! Handles in statics, which record into the installed instance. Hot: one load more than a handle.

use super::counter::CounterInner;
use super::deferred::{Any, DeferredRecord, Make, defer, lost};
use super::definition::StaticDefinition;
use super::histogram::corrected;
use super::{
    Counter, CounterBuilder, Gauge, GaugeBuilder, Handle, Histogram, HistogramBuilder, Timer, TimerBuilder,
    UpDownCounter, UpDownCounterBuilder,
};
use crate::clock::{Clock, nanos};
use crate::error::RegisterError;
use crate::instance::{Instance, global};
use crate::lane::{Key, local};
use crate::sync::Arc;
use crate::sync::fixed::{AtomicU64, Ordering};
use std::ops::Deref;
use std::panic::Location;
use std::sync::OnceLock;
use std::time::Duration;

/// A handle in a static. Before [`install`](crate::Builder::install) it does nothing, at the cost of two loads; after
/// that it registers itself at its first use. If the registration fails, it does nothing, and
/// [`Telemetry::faults`](crate::Telemetry::faults) returns the error.
///
/// Made by [`counter!`](crate::counter), [`gauge!`](crate::gauge), [`histogram!`](crate::histogram),
/// [`timer!`](crate::timer) and [`up_down_counter!`](crate::up_down_counter).
///
/// ```
/// use tellane::{Counter, Lazy, counter};
/// static HITS: Lazy<Counter> = counter!("hits_total", "Hits served.");
///
/// HITS.inc(); // not installed yet: nothing happens
/// let telemetry = tellane::Telemetry::builder("cache").install()?;
/// HITS.inc();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("hits_total", &[]), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Lazy<H> {
    handle: OnceLock<H>,
    /// For counters, the handle's [`Key`], so that the fast path need not test if the handle exists. No instance has
    /// the key 0.
    key: AtomicU64,
    definition: StaticDefinition,
    make: fn(&StaticDefinition, &Arc<Instance>) -> Result<H, RegisterError>,
    make_any: Make,
}

/// A [`Counter`] in a static.
///
/// ```
/// static ORDERS: tellane::LazyCounter = tellane::counter!("orders_total", "Orders placed.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// ORDERS.inc();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LazyCounter = Lazy<Counter>;
/// An [`UpDownCounter`] in a static.
///
/// ```
/// static WAITING: tellane::LazyUpDownCounter = tellane::up_down_counter!("waiting", "Customers waiting.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// WAITING.dec();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LazyUpDownCounter = Lazy<UpDownCounter>;
/// A [`Gauge`] in a static.
///
/// ```
/// static LOAD: tellane::LazyGauge = tellane::gauge!("load", "Share of time at work.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// LOAD.set(0.5);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.gauge("load", &[]), Some(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LazyGauge = Lazy<Gauge>;
/// A [`Histogram`] in a static.
///
/// ```
/// static ITEMS: tellane::LazyHistogram = tellane::histogram!("items", "Items in a basket.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// ITEMS.record(3);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.histogram("items", &[]).map(|items| items.count()), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LazyHistogram = Lazy<Histogram>;
/// A [`Timer`] in a static.
///
/// ```
/// static PACKING: tellane::LazyTimer = tellane::timer!("packing", "Time to pack an order.");
/// let telemetry = tellane::Telemetry::builder("shop").install()?;
/// PACKING.time(|| 40 + 2);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|taken| taken.count()), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LazyTimer = Lazy<Timer>;

impl<H: Handle> Deref for Lazy<H> {
    type Target = H;

    #[inline(always)]
    fn deref(&self) -> &H {
        match self.handle.get() {
            Some(handle) => handle,
            None if global().is_none() => H::noop_ref(), // tested inline: half the cost of a call
            None => self.first_use(),
        }
    }
}

impl<H: Handle> Lazy<H> {
    /// Adds to a counter through its key.
    #[inline(always)]
    fn add_by(&self, inner: fn(&H) -> &CounterInner, amount: u64) {
        // Relaxed: a key is only a number; the cell that it leads to belongs to this thread.
        if !local::add(Key(self.key.load(Ordering::Relaxed)), amount) && global().is_some() {
            self.add_cold(inner, amount);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_cold(&self, inner: fn(&H) -> &CounterInner, amount: u64) {
        let Some(handle) = self.try_use() else { return self.defer(DeferredRecord::Count(amount)) };
        let inner = inner(handle);
        self.key.store(inner.key().0, Ordering::Relaxed);
        inner.add(amount);
    }

    /// Slow path of `deref`. From within tellane it returns a no-op handle and counts one record as lost; the static's
    /// own methods [defer](Self::defer) their records instead.
    #[cold]
    #[inline(never)]
    fn first_use(&self) -> &H {
        self.try_use().unwrap_or_else(|| {
            lost(&self.definition);
            H::noop_ref()
        })
    }

    /// Returns the handle, and registers it if necessary. `None` from within tellane (a global allocator that records),
    /// where a caller further up this stack may hold the registration's locks.
    fn try_use(&self) -> Option<&H> {
        if let Some(there) = self.handle.get() {
            return Some(there);
        }
        let Some(instance) = global().filter(|instance| !instance.lanes.is_forked()) else {
            // In a forked child, the registration's locks may be held for ever by a thread that exists only in the
            // parent.
            return Some(H::noop_ref());
        };
        local::try_without_recording(|| self.register(instance)).flatten()
    }

    /// Registers the static's metric. Not inside `get_or_init`, since the allocator may use this static meanwhile.
    fn register(&self, instance: &Arc<Instance>) -> Option<&H> {
        let (made, error) = match (self.make)(&self.definition, instance) {
            Ok(made) => (made, None),
            Err(RegisterError::Reentrant) => return None,
            Err(error) => (H::noop_ref().clone(), Some(error)),
        };
        if self.handle.set(made).is_ok()
            && let Some(error) = error
        {
            instance.fault(self.definition.name, error); // once, by the first thread
        }
        self.handle.get()
    }

    /// Defers a record until this thread has left tellane.
    fn defer(&self, record: DeferredRecord) {
        defer(&self.definition, self.make_any, record);
    }

    /// Sets the unit to bytes: `_bytes` becomes part of the name.
    ///
    /// ```
    /// static SENT: tellane::LazyCounter = tellane::counter!("sent_total", "Bytes sent.").bytes();
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// SENT.add(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("sent_bytes_total", &[]), Some(1_500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn bytes(mut self) -> Self {
        self.definition.bytes = true;
        self
    }

    /// Sets the unit to seconds: `_seconds` becomes part of the name. A histogram then records durations.
    ///
    /// ```
    /// static AGE: tellane::LazyGauge = tellane::gauge!("age", "Age of the oldest order.").seconds();
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// AGE.set(2.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("age_seconds", &[]), Some(2.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn seconds(mut self) -> Self {
        self.definition.seconds = true;
        self
    }
}

impl Lazy<Counter> {
    /// Adds one.
    ///
    /// ```
    /// static ORDERS: tellane::LazyCounter = tellane::counter!("orders_total", "Orders placed.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// ORDERS.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds an amount.
    ///
    /// ```
    /// static ORDERS: tellane::LazyCounter = tellane::counter!("orders_total", "Orders placed.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// ORDERS.add(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn add(&self, amount: u64) {
        self.add_by(|counter| &counter.0, amount);
    }
}

impl Lazy<UpDownCounter> {
    /// Adds one.
    ///
    /// ```
    /// static WAITING: tellane::LazyUpDownCounter = tellane::up_down_counter!("waiting", "Customers waiting.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// WAITING.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts one.
    ///
    /// ```
    /// static WAITING: tellane::LazyUpDownCounter = tellane::up_down_counter!("waiting", "Customers waiting.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// WAITING.dec();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds a difference.
    ///
    /// ```
    /// static WAITING: tellane::LazyUpDownCounter = tellane::up_down_counter!("waiting", "Customers waiting.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// WAITING.add(-3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn add(&self, difference: i64) {
        self.add_by(|counter| &counter.0, difference as u64); // two's complement, as in the handle
    }
}

impl Lazy<Histogram> {
    /// Records an integer without conversion: nanoseconds, bytes, or plain numbers.
    ///
    /// ```
    /// static ITEMS: tellane::LazyHistogram = tellane::histogram!("items", "Items in a basket.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// ITEMS.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("items", &[]).and_then(|items| items.max()), Some(3.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)] // as a call, a record without an installed instance takes three times as long
    pub fn record(&self, value: u64) {
        match self.handle.get() {
            Some(histogram) => histogram.record(value),
            None if global().is_none() => {}
            // Not through `deref`: this way all calls are in tail position, and no register need be saved.
            None => self.record_cold(value),
        }
    }

    /// Records a duration. For histograms in seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// static WAIT: tellane::LazyHistogram = tellane::histogram!("wait", "Time in the queue.").seconds();
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// WAIT.record_duration(Duration::from_millis(250));
    /// let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn record_duration(&self, duration: Duration) {
        self.record(nanos(duration));
    }

    /// Records a number in the exported unit: seconds, bytes, or plain. NaN, the infinities and negative numbers are
    /// rejected and counted as [`Reason::Invalid`](crate::Reason::Invalid).
    ///
    /// ```
    /// static WAIT: tellane::LazyHistogram = tellane::histogram!("wait", "Time in the queue.").seconds();
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// WAIT.record_f64(0.25);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn record_f64(&self, value: f64) {
        match self.handle.get() {
            Some(histogram) => histogram.record_f64(value),
            None if global().is_none() => {}
            None => self.record_f64_cold(value),
        }
    }

    /// Records a value with correction for coordinated omission: see [`Histogram::record_corrected`].
    ///
    /// ```
    /// static LATENCY: tellane::LazyHistogram = tellane::histogram!("latency", "Time to reply.").seconds();
    /// let telemetry = tellane::Telemetry::builder("load").install()?;
    /// assert_eq!(LATENCY.record_corrected(35, 10), 3); // 35, 25 and 15; 5 is below the interval
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record_corrected(&self, value: u64, interval: u64) -> u64 {
        corrected(value, interval, |value| self.record(value))
    }

    #[cold]
    #[inline(never)]
    fn record_cold(&self, value: u64) {
        match self.try_use() {
            Some(histogram) => histogram.record(value),
            None => self.defer(DeferredRecord::Sample(value)),
        }
    }

    #[cold]
    #[inline(never)]
    fn record_f64_cold(&self, value: f64) {
        match self.try_use() {
            Some(histogram) => histogram.record_f64(value),
            None => self.defer(DeferredRecord::Number(value)),
        }
    }
}

impl Lazy<Gauge> {
    /// Sets the value.
    ///
    /// ```
    /// static LOAD: tellane::LazyGauge = tellane::gauge!("load", "Share of time at work.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// LOAD.set(0.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn set(&self, value: f64) {
        match self.handle.get() {
            Some(gauge) => gauge.set(value),
            None if global().is_none() => {}
            None => self.record_cold(DeferredRecord::Set(value)),
        }
    }

    /// Adds a difference.
    ///
    /// ```
    /// static LOAD: tellane::LazyGauge = tellane::gauge!("load", "Share of time at work.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// LOAD.add(0.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn add(&self, difference: f64) {
        match self.handle.get() {
            Some(gauge) => gauge.add(difference),
            None if global().is_none() => {}
            None => self.record_cold(DeferredRecord::Add(difference)),
        }
    }

    /// Subtracts a difference.
    ///
    /// ```
    /// static LOAD: tellane::LazyGauge = tellane::gauge!("load", "Share of time at work.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// LOAD.sub(0.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("load", &[]), Some(-0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn sub(&self, difference: f64) {
        self.add(-difference);
    }

    #[cold]
    #[inline(never)]
    fn record_cold(&self, record: DeferredRecord) {
        match (self.try_use(), record) {
            (Some(gauge), DeferredRecord::Set(value)) => gauge.set(value),
            (Some(gauge), DeferredRecord::Add(difference)) => gauge.add(difference),
            _ => self.defer(record),
        }
    }
}

impl Lazy<Timer> {
    /// Records a duration that was measured elsewhere.
    ///
    /// ```
    /// use std::time::Duration;
    /// static PACKING: tellane::LazyTimer = tellane::timer!("packing", "Time to pack an order.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// PACKING.record(Duration::from_millis(250));
    /// let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("packing_seconds", &[]).and_then(|taken| taken.max()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn record(&self, duration: Duration) {
        match self.handle.get() {
            Some(timer) => timer.record(duration),
            None if global().is_none() => {}
            None => self.record_cold(duration),
        }
    }

    /// Runs a closure and records its duration, even if it panics.
    ///
    /// ```
    /// static PACKING: tellane::LazyTimer = tellane::timer!("packing", "Time to pack an order.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// assert_eq!(PACKING.time(|| 40 + 2), 42);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|taken| taken.count()), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn time<R>(&self, act: impl FnOnce() -> R) -> R {
        match self.handle.get() {
            Some(timer) => timer.time(act),
            None if global().is_none() => act(),
            None => self.time_cold(act),
        }
    }

    #[cold]
    #[inline(never)]
    fn time_cold<R>(&self, act: impl FnOnce() -> R) -> R {
        struct Running<'a> {
            timer: &'a Lazy<Timer>,
            clock: &'a Clock,
            start: u64,
        }

        impl Drop for Running<'_> {
            fn drop(&mut self) {
                let taken = self.clock.nanos_between(self.start, self.clock.ticks());
                self.timer.record(Duration::from_nanos(taken));
            }
        }

        match (self.try_use(), global()) {
            (Some(timer), _) => timer.time(act),
            (None, None) => act(), // never: without an instance this path is not taken
            (None, Some(instance)) => {
                let clock = &instance.lanes.clock;
                let _running = Running { timer: self, clock, start: clock.ticks() };
                act()
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn record_cold(&self, duration: Duration) {
        match self.try_use() {
            Some(timer) => timer.record(duration),
            None => self.defer(DeferredRecord::Sample(nanos(duration))),
        }
    }
}

macro_rules! lazy {
    ($($handle:ident by $builder:ident, $any:expr;)*) => {$(
        impl Lazy<$handle> {
            #[doc(hidden)]
            #[track_caller]
            pub const fn define(
                name: &'static str,
                help: &'static str,
                labels: &'static [(&'static str, &'static str)],
            ) -> Self {
                Self {
                    handle: OnceLock::new(),
                    key: AtomicU64::new(0),
                    definition: StaticDefinition {
                        name,
                        help,
                        labels,
                        handle: stringify!($handle),
                        bytes: false,
                        seconds: false,
                        at: Location::caller(),
                    },
                    make: Self::make,
                    make_any: |definition, instance| Self::make(definition, instance).ok().map($any),
                }
            }

            fn make(definition: &StaticDefinition, instance: &Arc<Instance>) -> Result<$handle, RegisterError> {
                let mut builder = $builder::new(instance, definition.name).help(definition.help).at(definition.at);
                for (name, value) in definition.labels {
                    builder = builder.label(name, value);
                }
                if definition.bytes {
                    builder = builder.bytes();
                }
                if definition.seconds {
                    builder = builder.seconds();
                }
                builder.register()
            }
        }
    )*};
}

lazy! {
    Counter by CounterBuilder, |counter| Any::Count(counter.0);
    UpDownCounter by UpDownCounterBuilder, |counter| Any::Count(counter.0);
    Gauge by GaugeBuilder, Any::Level;
    Histogram by HistogramBuilder, Any::Sample;
    Timer by TimerBuilder, |timer| Any::Sample(timer.0);
}

macro_rules! static_macro {
    ($dollar:tt $(#[$doc:meta])* $name:ident, $lazy:ident) => {
        $(#[$doc])*
        ///
        /// Arguments: the name, the help text, and labels with fixed values. The names are checked at the first use;
        /// see [`Telemetry::faults`](crate::Telemetry::faults).
        #[macro_export]
        macro_rules! $name {
            ($dollar metric:expr, $dollar help:expr $dollar(, $dollar label:expr => $dollar value:expr)* $dollar(,)?) => {
                $crate::$lazy::define($dollar metric, $dollar help, &[$dollar(($dollar label, $dollar value)),*])
            };
        }
    };
}

static_macro! { $
    /// Defines a counter for a static.
    ///
    /// ```
    /// use tellane::{LazyCounter, counter};
    /// static HITS: LazyCounter = counter!("hits_total", "Hits served.", "kind" => "read");
    ///
    /// HITS.inc(); // not installed yet: nothing happens
    /// let telemetry = tellane::Telemetry::builder("cache").install()?;
    /// HITS.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("hits_total", &[("kind", "read")]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    counter, LazyCounter
}
static_macro! { $
    /// Defines an up-down-counter for a static.
    ///
    /// ```
    /// static IN_FLIGHT: tellane::LazyUpDownCounter = tellane::up_down_counter!("in_flight", "Requests in flight.");
    /// IN_FLIGHT.inc();
    /// IN_FLIGHT.dec();
    /// ```
    up_down_counter, LazyUpDownCounter
}
static_macro! { $
    /// Defines a gauge for a static.
    ///
    /// ```
    /// static HEAT: tellane::LazyGauge = tellane::gauge!("heat_celsius", "Heat inside.");
    /// HEAT.set(21.5);
    /// ```
    gauge, LazyGauge
}
static_macro! { $
    /// Defines a histogram for a static; `.seconds()` or `.bytes()` sets its unit.
    ///
    /// ```
    /// static SIZES: tellane::LazyHistogram = tellane::histogram!("reply", "Size of replies.").bytes();
    /// SIZES.record(1_500);
    /// ```
    histogram, LazyHistogram
}
static_macro! { $
    /// Defines a timer for a static.
    ///
    /// ```
    /// static PARSING: tellane::LazyTimer = tellane::timer!("parsing", "Time to parse a file.");
    /// PARSING.time(|| "some work".len());
    /// ```
    timer, LazyTimer
}
