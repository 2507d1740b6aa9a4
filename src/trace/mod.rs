//! Spans. Hot: [`Tracer::span`], [`Span::set`] and the guard's drop: two clock readings and one ring record.
//!
//! Every span, sampled or not, feeds the histogram `traces_span_metrics_duration_seconds` and, if it ends in error,
//! the counter `traces_span_metrics_errors_total`, both by span name.

mod attribute;
mod open;
mod span;
mod tracer;

pub use attribute::Attribute;
pub use span::{Span, SpanContext};
pub use tracer::{Tracer, tracer};
