//! Spans. Hot: [`Tracer::span`], [`OwnedSpan::set`] and the guard's drop: two clock readings and one ring record.
//!
//! Every span, sampled or not, feeds the histogram `traces_span_metrics_duration_seconds` and, if it ends in error,
//! the counter `traces_span_metrics_errors_total`, both by span name and kind. A guard ([`Span`]) belongs to its
//! thread and is current there; an [`OwnedSpan`] can move between threads. Futures run in an owned span, or in a
//! [`Context`], with [`InSpan`].

mod active;
mod annotate;
mod builder;
mod context;
#[cfg(feature = "tracing")]
pub(crate) mod foreign;
mod future;
mod owned;
mod span;
mod tracer;

pub use crate::names::Attribute;
#[cfg(feature = "tracing")]
pub(crate) use active::atomic::AtomicSpan;
pub use builder::SpanBuilder;
pub use context::{Context, ContextGuard};
pub use future::{InContext, InSpan, Spanned, SpannedResult};
pub use owned::{Entered, EventBuilder, OwnedSpan};
pub use span::{Span, SpanContext};
pub use tracer::{Tracer, tracer};
