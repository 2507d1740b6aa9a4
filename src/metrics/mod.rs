//! Handles for metrics: [`Counter`], [`UpDownCounter`], [`Gauge`], [`Histogram`], [`Timer`], and [`Family`]s of them by
//! label. Hot.
//!
//! A handle is a few words, `Clone + Send + Sync`, and works from any thread; it keeps its instance's memory alive but
//! not its aggregator. A handle made by `noop()`, or a static's before `install`, does nothing.

mod builder;
mod counter;
mod deferred;
mod definition;
mod family;
mod fixed;
mod gauge;
mod handle;
mod histogram;
mod label;
mod lazy;
mod members;
mod timer;

#[cfg(feature = "metrics")]
pub(crate) use builder::{DIGITS, bounds_of};
#[cfg(feature = "metrics")]
pub(crate) use handle::handle_of;

pub use builder::{CounterBuilder, GaugeBuilder, HistogramBuilder, TimerBuilder, UpDownCounterBuilder};
pub use counter::{Counter, UpDownCounter};
pub use family::Family;
pub use fixed::FixedFamily;
pub use gauge::Gauge;
pub use handle::Handle;
pub use histogram::Histogram;
pub use label::{Label, LabelSet};
pub use lazy::{Lazy, LazyCounter, LazyGauge, LazyHistogram, LazyTimer, LazyUpDownCounter};
pub use timer::{Stopwatch, Timer};
