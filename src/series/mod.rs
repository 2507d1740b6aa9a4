//! Names, labels and units, and the numbers they stand for. Cold, but for [`Family`](crate::metrics::Family)'s
//! lookup in [`Table`].
//!
//! A metric is a name with a type, a unit and a set of label names; a series is a metric with label values, and has a
//! counter cell, a gauge, or a histogram. Everything is append-only: a number, once given, means the same for the
//! life of the instance.

mod attribute;
mod callsite;
#[cfg(feature = "metrics")]
mod claims;
mod closed;
mod instances;
mod keys;
mod levels;
mod logs;
mod metric_registry;
mod names;
#[cfg(feature = "metrics")]
mod raise;
#[cfg(feature = "metrics")]
mod sets;
mod table;
mod tracing;
mod validate;
mod words;

pub use attribute::Attribute;
pub use callsite::Callsite;
#[cfg(feature = "metrics")]
pub(crate) use claims::GivenLabel;
pub(crate) use closed::{Closed, Look};
pub(crate) use instances::{enlist, find, global, install_global};
pub(crate) use keys::{entry, key_number, more_room, push};
pub use levels::ParseLevelsError;
pub(crate) use logs::{LogSettings, LogTarget};
#[cfg(feature = "metrics")]
pub(crate) use metric_registry::HELP_MAX;
pub(crate) use metric_registry::{
    Caps, Descriptor, Identity, Instance, Metric, OVERFLOW, Series, Shape, Storage, duration_bounds,
};
pub use metric_registry::{MetricKind, RegistrationFault, Unit};
pub(crate) use names::{Names, OVERFLOW_KEY};
#[cfg(feature = "metrics")]
pub(crate) use sets::OfSet;
pub(crate) use table::Table;
pub(crate) use tracing::{HeadersRefused, RateLimit, Tracing};
#[cfg(feature = "metrics")]
pub(crate) use validate::{SHOWN_MAX, beginning};
