//! Metrics: their names, labels and units, and the series that hold their values. Cold.
//!
//! A metric is a name with a type, a unit and a set of label names. A series is a metric with label values, and has a
//! counter cell, a gauge, or a histogram. Everything is append-only: the number of a metric or series keeps its meaning
//! for the lifetime of the instance.

#[cfg(feature = "metrics")]
mod claims;
mod descriptor;
mod kind;
mod metric;
mod metric_registry;
#[cfg(feature = "metrics")]
mod raise;
#[cfg(feature = "metrics")]
mod sets;
mod validate;

#[cfg(feature = "metrics")]
pub(crate) use claims::GivenLabel;
#[cfg(feature = "metrics")]
pub(crate) use descriptor::HELP_MAX;
pub(crate) use descriptor::{Descriptor, Shape, duration_bounds};
pub use kind::{MetricKind, Unit};
pub(crate) use metric::{Identity, Metric, Series, Storage};
pub(crate) use metric_registry::{Caps, MetricRegistry};
#[cfg(feature = "metrics")]
pub(crate) use sets::SetSeries;
