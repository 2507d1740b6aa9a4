//! Builders that register a metric by name and return its handle. Cold.

use super::family::Family;
use super::fixed::FixedFamily;
use super::handle::{Handle, handle_of};
use super::label::LabelSet;
use super::members::FamilyInner;
use super::{Counter, Gauge, Histogram, Timer, UpDownCounter};
use crate::clock::nanos;
use crate::error::{BOUNDS_MAX, RegisterError};
use crate::instance::Instance;
use crate::series::{Descriptor, MetricKind, Shape, Unit, duration_bounds};
use crate::sync::Arc;
use std::panic::Location;
use std::time::Duration;

/// Everything that all builders collect before the registration.
#[derive(Clone, Debug)]
struct MetricDraft<'a> {
    instance: &'a Arc<Instance>,
    name: &'a str,
    help: &'a str,
    unit: Unit,
    labels: Vec<(&'a str, &'a str)>,
    cap: Option<usize>,
    at: &'static Location<'static>,
}

impl<'a> MetricDraft<'a> {
    fn handle<H: Handle>(self, kind: MetricKind, shape: Option<Shape>) -> Result<H, RegisterError> {
        let (names, values): (Vec<_>, Vec<_>) = self.labels.iter().copied().unzip();
        check_bounds(shape.as_ref())?;
        let descriptor = Descriptor::new((self.name, self.help), (kind, self.unit), &names, shape, self.at)?;
        let metric = self.instance.metrics.metric(descriptor, self.cap)?;
        let series = self.instance.metrics.series(&metric, &values)?;
        Ok(handle_of(&series, self.instance))
    }

    fn family<H: Handle, const N: usize>(
        self,
        kind: MetricKind,
        shape: Option<Shape>,
        labels: [&str; N],
    ) -> Result<Family<H, N>, RegisterError> {
        self.members(kind, shape, &labels).map(Family::from_inner)
    }

    fn fixed_family<H: Handle, L: LabelSet>(
        self,
        kind: MetricKind,
        shape: Option<Shape>,
        labels: &[&str],
    ) -> Result<FixedFamily<H, L>, RegisterError> {
        FixedFamily::register(|| self.members(kind, shape, labels))
    }

    /// Registers a family's metric. Its label names are `labels`, then those of the fixed labels.
    fn members<H: Handle>(
        &self,
        kind: MetricKind,
        shape: Option<Shape>,
        labels: &[&str],
    ) -> Result<FamilyInner<H>, RegisterError> {
        let (names, values): (Vec<_>, Vec<_>) = self.labels.iter().copied().unzip();
        let names: Vec<_> = labels.iter().copied().chain(names).collect();
        check_bounds(shape.as_ref())?;
        let descriptor = Descriptor::new((self.name, self.help), (kind, self.unit), &names, shape, self.at)?;
        FamilyInner::register(self.instance, descriptor, &values, self.cap)
    }
}

/// Checks the number of bounds. The limit applies to registrations only: a saved snapshot may have more bounds.
fn check_bounds(shape: Option<&Shape>) -> Result<(), RegisterError> {
    match shape.map_or(0, |shape| shape.bounds.len()) {
        bounds if bounds > BOUNDS_MAX => Err(RegisterError::TooManyBounds { bounds }),
        _ => Ok(()),
    }
}

macro_rules! builder {
    ($(#[$doc:meta])* $builder:ident, $handle:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "nothing is registered before `register` or `family`"]
        pub struct $builder<'a> {
            draft: MetricDraft<'a>,
            shape: Option<Shape>,
        }

        impl<'a> $builder<'a> {
            #[track_caller]
            pub(crate) fn new(instance: &'a Arc<Instance>, name: &'a str) -> Self {
                let at = Location::caller();
                let draft = MetricDraft { instance, name, help: "", unit: Unit::None, labels: Vec::new(), cap: None, at };
                Self { draft, shape: None }.start()
            }

            /// Sets the source location of a static's declaration; its registration happens elsewhere.
            pub(super) fn at(mut self, at: &'static Location<'static>) -> Self {
                self.draft.at = at;
                self
            }

            /// Sets the help text, one line that explains the metric. Defaults to the metric's name.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// telemetry.counter("orders_total").help("Orders placed.").register()?;
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.points().next().map(|point| point.help()), Some("Orders placed."));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[doc(alias = "description")]
            #[doc(alias = "with_description")]
            pub fn help(mut self, help: &'a str) -> Self {
                self.draft.help = help;
                self
            }

            /// Adds a label with a fixed value.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// telemetry.counter("orders_total").label("by", "web").register()?.inc();
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("orders_total", &[("by", "web")]), Some(1));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[doc(alias = "const_label")]
            #[doc(alias = "attribute")]
            #[doc(alias = "tag")]
            pub fn label(mut self, name: &'a str, value: &'a str) -> Self {
                self.draft.labels.push((name, value));
                self
            }

            /// Sets the cap on the metric's series, not counting the overflow series. Defaults to
            /// [`Config::series_cap`](crate::Config::series_cap). If a metric is registered twice, the first cap
            /// applies.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// let orders = telemetry.counter("orders_total").series_cap(1).family(["town"])?;
            /// ["Leith", "Perth", "Oban"].map(|town| orders.with([town]).inc());
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("orders_total", &[("town", "Leith")]), Some(1));
            /// assert_eq!(snapshot.counter("orders_total", &[("town", "__overflow__")]), Some(2));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[doc(alias = "cardinality_limit")]
            pub fn series_cap(mut self, series: usize) -> Self {
                self.draft.cap = Some(series);
                self
            }

            /// Registers the metric and returns its handle. A second registration returns another handle of the same
            /// series.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// let orders = telemetry.counter("orders_total").register()?;
            /// let same = telemetry.counter("orders_total").register()?;
            /// orders.inc();
            /// same.inc();
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("orders_total", &[]), Some(2));
            /// assert!(telemetry.gauge("orders_total").register().is_err()); // it is a counter
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// [`RegisterError`] if a name is not allowed, or taken by another kind of metric.
            #[doc(alias = "build")]
            #[doc(alias = "init")]
            pub fn register(self) -> Result<$handle, RegisterError> {
                self.draft.handle($kind, self.shape)
            }

            /// Registers the metric with labels whose values are given at each record, in addition to fixed labels.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// let orders = telemetry.counter("orders_total").label("by", "web").family(["town"])?;
            /// orders.with(["Leith"]).inc();
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("orders_total", &[("town", "Leith"), ("by", "web")]), Some(1));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// [`RegisterError`] if a name is not allowed, or taken by another kind of metric.
            #[doc(alias = "vec")]
            #[doc(alias = "labels")]
            pub fn family<const N: usize>(self, labels: [&str; N]) -> Result<Family<$handle, N>, RegisterError> {
                self.draft.family($kind, self.shape, labels)
            }

            /// Registers the metric with labels that are enums, in addition to fixed labels. Faster than
            /// [`family`](Self::family), since nothing is hashed or compared.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// let lookups = telemetry.counter("lookups_total").fixed_family::<(bool,)>(["cached"])?;
            /// lookups.with((true,)).inc();
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("lookups_total", &[("cached", "true")]), Some(1));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// [`RegisterError`] if a name is not allowed, or taken by another kind of metric, or if the labels have
            /// more than 2^20 combinations.
            pub fn fixed_family<L: LabelSet>(
                self,
                labels: L::Names<'_>,
            ) -> Result<FixedFamily<$handle, L>, RegisterError> {
                self.draft.fixed_family($kind, self.shape, labels.as_ref())
            }
        }
    };
}

builder!(
    /// Builder of a [`Counter`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let sent = telemetry.counter("sent").bytes().help("Bytes sent.").label("by", "web").register()?;
    /// sent.add(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("sent_bytes_total", &[("by", "web")]), Some(1_500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    CounterBuilder, Counter, MetricKind::Counter
);
builder!(
    /// Builder of an [`UpDownCounter`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let held = telemetry.up_down_counter("held").bytes().help("Bytes held.").register()?;
    /// held.add(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("held_bytes", &[]), Some(1_500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    UpDownCounterBuilder, UpDownCounter, MetricKind::UpDownCounter
);
builder!(
    /// Builder of a [`Gauge`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let age = telemetry.gauge("age").seconds().help("Age of the oldest order.").register()?;
    /// age.set(2.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("age_seconds", &[]), Some(2.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    GaugeBuilder, Gauge, MetricKind::Gauge
);
builder!(
    /// Builder of a [`Histogram`].
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let reply = telemetry.histogram("reply").bytes().digits(3).highest(1 << 30).help("Size of replies.").register()?;
    /// reply.record(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("reply_bytes", &[]).and_then(|reply| reply.quantile(0.5)), Some(1_500.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    HistogramBuilder, Histogram, MetricKind::Histogram
);
builder!(
    /// Builder of a [`Timer`].
    ///
    /// ```
    /// use std::time::Duration;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let batch = telemetry.timer("batch").longest(Duration::from_secs(86_400)).help("Time of a batch.").register()?;
    /// batch.record(Duration::from_secs(7_200));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("batch_seconds", &[]).and_then(|batch| batch.max()), Some(7_200.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    TimerBuilder, Timer, MetricKind::Histogram
);

macro_rules! plain {
    ($($builder:ident)*) => {$(
        impl $builder<'_> {
            fn start(self) -> Self {
                self
            }

            /// Sets the unit to bytes: `_bytes` becomes part of the name.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// telemetry.counter("sent").bytes().register()?.add(1_500);
            /// telemetry.gauge("held").bytes().register()?.set(64.0);
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("sent_bytes_total", &[]), Some(1_500));
            /// assert_eq!(snapshot.gauge("held_bytes", &[]), Some(64.0));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn bytes(mut self) -> Self {
                self.draft.unit = Unit::Bytes;
                self
            }

            /// Sets the unit to seconds: `_seconds` becomes part of the name.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// telemetry.counter("worked").seconds().register()?.add(60);
            /// telemetry.gauge("age").seconds().register()?.set(2.5);
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// assert_eq!(snapshot.counter("worked_seconds_total", &[]), Some(60));
            /// assert_eq!(snapshot.gauge("age_seconds", &[]), Some(2.5));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn seconds(mut self) -> Self {
                self.draft.unit = Unit::Seconds;
                self
            }
        }
    )*};
}

plain!(CounterBuilder UpDownCounterBuilder GaugeBuilder);

/// Default precision in significant digits: relative errors below 0.8 %, 35 kB a histogram.
pub(crate) const DIGITS: u8 = 2;
/// Default highest value, in recorded integers: 18 minutes, 1 TiB, 10^12. The greatest value that fits one word.
const HIGHEST: u64 = (1 << 40) - 1;

pub(crate) fn bounds_of(unit: Unit) -> Box<[f64]> {
    match unit {
        Unit::Seconds => duration_bounds(),
        Unit::Bytes => (6..=30).step_by(2).map(|power| f64::from(1_u32 << power)).collect(),
        Unit::None => {
            (0..=9).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power))).collect()
        }
    }
}

macro_rules! shaped {
    ($($builder:ident in $unit:expr;)*) => {$(
        impl $builder<'_> {
            fn start(self) -> Self {
                self.unit($unit)
            }

            fn unit(mut self, unit: Unit) -> Self {
                self.draft.unit = unit;
                let shape = Shape { digits: DIGITS, highest: HIGHEST, scale: unit.scale(), bounds: bounds_of(unit) };
                self.shape = Some(match self.shape {
                    Some(old) => Shape { digits: old.digits, highest: old.highest, ..shape },
                    None => shape,
                });
                self
            }

            /// Sets the precision in significant decimal digits, 1 to 5. Defaults to 2, a relative error of 0.8 %. Each
            /// digit more takes about ten times the memory.
            ///
            /// ```
            /// use std::time::Duration;
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// let packing = telemetry.timer("packing").digits(3).register()?;
            /// [2_002, 2_004].map(|millis| packing.record(Duration::from_millis(millis)));
            /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
            /// let packing = snapshot.histogram("packing_seconds", &[]).expect("registered");
            /// assert_eq!(packing.buckets().len(), 2); // with two digits both would be in one bucket
            /// assert!(telemetry.timer("other").digits(6).register().is_err());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn digits(mut self, digits: u8) -> Self {
                if let Some(shape) = &mut self.shape {
                    shape.digits = digits;
                }
                self
            }

            /// Sets the upper bounds of the buckets in text expositions, in the exported unit, in increasing order.
            /// Bounds are inclusive, and every count is exact. At most [`BOUNDS_MAX`](crate::BOUNDS_MAX) bounds. Call
            /// this after the unit, which sets default bounds. If a metric is registered twice, the first bounds apply.
            ///
            /// ```
            /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
            /// telemetry.timer("packing").bounds(&[0.5, 2.0]).register()?.record(std::time::Duration::from_secs(1));
            /// let text = tellane::prometheus::render(&*telemetry.snapshot(std::time::Duration::from_secs(5))?);
            /// assert!(text.contains("packing_seconds_bucket{le=\"0.5\"} 0\npacking_seconds_bucket{le=\"2\"} 1\n"));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[doc(alias = "buckets")]
            #[doc(alias = "with_boundaries")]
            pub fn bounds(mut self, bounds: &[f64]) -> Self {
                if let Some(shape) = &mut self.shape {
                    shape.bounds = bounds.into();
                }
                self
            }
        }
    )*};
}

shaped! {
    HistogramBuilder in Unit::None;
    TimerBuilder in Unit::Seconds;
}

impl HistogramBuilder<'_> {
    /// Sets the unit to durations: recorded integers are nanoseconds, exported numbers are seconds, and `_seconds`
    /// becomes part of the name.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("wait").seconds().register()?.record(2_000_000); // nanoseconds
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("wait_seconds", &[]).and_then(|wait| wait.max()), Some(0.002));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seconds(self) -> Self {
        self.unit(Unit::Seconds)
    }

    /// Sets the unit to bytes: `_bytes` becomes part of the name.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("reply").bytes().register()?.record(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("reply_bytes", &[]).and_then(|reply| reply.max()), Some(1_500.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bytes(self) -> Self {
        self.unit(Unit::Bytes)
    }

    /// Sets the highest trackable value, as a recorded integer (nanoseconds, bytes, or number times scale). Defaults to
    /// 2^40 - 1. Greater values are clamped to it. Values above the default take two words of the ring instead of one;
    /// memory grows with the logarithm of the highest value.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let items = telemetry.histogram("basket_items").highest(100).register()?;
    /// [3, 1_000].map(|count| items.record(count));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("basket_items", &[]).and_then(|items| items.max()), Some(100.0));
    /// assert_eq!(snapshot.ledger().clamped(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn highest(mut self, highest: u64) -> Self {
        if let Some(shape) = &mut self.shape {
            shape.highest = highest;
        }
        self
    }

    /// Sets the scale, for values with fractions: an exported 1 is this many recorded integers. With a scale of 1,000,
    /// [`record_f64`](Histogram::record_f64) keeps three decimals. Call this after the unit.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let price = telemetry.histogram("price").scale(100.0).register()?; // two decimals
    /// price.record_f64(2.456);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("price", &[]).and_then(|price| price.max()), Some(2.46));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scale(mut self, scale: f64) -> Self {
        if let Some(shape) = &mut self.shape {
            shape.scale = scale;
        }
        self
    }
}

impl TimerBuilder<'_> {
    pub(super) fn seconds(self) -> Self {
        self // a timer's unit is seconds already
    }

    pub(super) fn bytes(self) -> Self {
        self // a timer's unit is always seconds
    }

    /// Sets the longest trackable duration; longer ones are clamped to it. Defaults to 18 minutes.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.timer("batch").longest(Duration::from_secs(1)).register()?.record(Duration::from_secs(9));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("batch_seconds", &[]).and_then(|batch| batch.max()), Some(1.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn longest(mut self, longest: Duration) -> Self {
        if let Some(shape) = &mut self.shape {
            shape.highest = nanos(longest);
        }
        self
    }
}
