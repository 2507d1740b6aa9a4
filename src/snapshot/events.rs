//! What a finished span carries beside its attributes.

use crate::record::Value;
use std::sync::Arc;

/// Something that happened in a span.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.tracer().span("order").event("retry").set("attempt", 2_u64);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let event = &snapshot.spans().next().expect("just ended").events[0];
/// assert_eq!((&*event.name, event.attributes_dropped), ("retry", 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanEvent {
    /// Its name.
    pub name: Arc<str>,
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// What was set on it, in that order; of a key that was set again, the last value.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// Attributes that did not fit.
    pub attributes_dropped: u16,
}

/// Another span that a span has to do with.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// let request = tracer.owned("request").span_context().expect("on");
/// tracer.span("batch").link(request);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let link = &snapshot.spans().last().expect("just ended").links[0];
/// assert_eq!((link.trace_id, link.sampled), (request.trace_id, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanLink {
    /// Its trace id.
    pub trace_id: u128,
    /// Its span id.
    pub span_id: u64,
    /// Whether its trace is sampled.
    pub sampled: bool,
    /// What was set on the link, in that order; of a key that was set again, the last value.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// Attributes that did not fit.
    pub attributes_dropped: u16,
}

/// A sample of a histogram that was recorded in a sampled span.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let wait = telemetry.histogram("wait").seconds().register()?;
/// let order = telemetry.tracer().span("order");
/// wait.record(250_000_000);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let example = snapshot.histogram("wait_seconds", &[]).expect("registered").exemplars()[0];
/// assert_eq!((example.value, Some(example.span_id)), (0.25, order.span_context().map(|ids| ids.span_id)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// The value, in the unit shown.
    pub value: f64,
    /// When it was recorded, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The span's trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
}

impl Exemplar {
    pub(crate) fn new(value: f64, unix_nanos: u64, (trace_id, span_id): (u128, u64)) -> Self {
        Self { value, unix_nanos, trace_id, span_id }
    }
}
