//! Span events, span links and exemplars, as snapshots show them. Cold.

use crate::record::Value;
use std::sync::Arc;

/// A timestamped event of a span.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.tracer().span("order").event("retry").set("attempt", 2_u64);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let event = &snapshot.spans().next().expect("just ended").events[0];
/// assert_eq!((&*event.name, event.attributes_dropped), ("retry", 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "add_event")]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanEvent {
    /// The event's name.
    pub name: Arc<str>,
    /// The time of the event, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The event's attributes, in the order in which they were set. A key that was set again has its last value.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// The number of attributes that were dropped because they did not fit.
    pub attributes_dropped: u16,
}

/// A link from a span to another span.
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
#[doc(alias = "add_link")]
#[doc(alias = "follows_from")]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanLink {
    /// The linked span's trace id.
    pub trace_id: u128,
    /// The linked span's id.
    pub span_id: u64,
    /// `true` if the linked span's trace is sampled.
    pub sampled: bool,
    /// The link's attributes, in the order in which they were set. A key that was set again has its last value.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// The number of attributes that were dropped because they did not fit.
    pub attributes_dropped: u16,
}

/// A histogram sample that was recorded in a sampled span, with the span's ids.
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
    /// The sample's value, in the metric's unit.
    pub value: f64,
    /// The time at which the sample was recorded, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The span's trace id.
    pub trace_id: u128,
    /// The span's id.
    pub span_id: u64,
}

impl Exemplar {
    pub(crate) fn new(value: f64, unix_nanos: u64, (trace_id, span_id): (u128, u64)) -> Self {
        Self { value, unix_nanos, trace_id, span_id }
    }
}
