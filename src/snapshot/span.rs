//! Finished spans of a snapshot: kept encoded, decoded when they are read. Cold.

use super::events::{SpanEvent, SpanLink};
use super::last_values::last_values;
use crate::clock::{Anchor, Scale};
use crate::instance::Instance;
use crate::record::{Frame, Item, Span, SpanKind, Status, Value, frame};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A finished span.
///
/// ```
/// use tellane::{Status, Value};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let mut span = telemetry.tracer().span("order");
/// span.set("items", 3_u64);
/// span.fail();
/// drop(span);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let span = snapshot.spans().next().expect("just ended");
/// assert_eq!((&*span.name, span.parent_id, span.status), ("order", None, Status::Error));
/// assert_eq!(span.attributes, [("items".into(), Value::U64(3))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FinishedSpan {
    /// The span's name.
    pub name: Arc<str>,
    /// The 128-bit trace id.
    pub trace_id: u128,
    /// The span's own id.
    pub span_id: u64,
    /// The parent span's id; `None` for the root of a trace.
    pub parent_id: Option<u64>,
    /// The start of the span, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// The time from the span's start to its end.
    pub duration: Duration,
    /// The status that was set on the span.
    pub status: Status,
    /// The message given with the status, if any.
    pub status_message: Option<String>,
    /// `true` if a panic ended the span.
    pub panicked: bool,
    /// `true` if the span's future was dropped before it completed.
    pub cancelled: bool,
    /// The span's kind: internal, server, client, producer or consumer.
    pub kind: SpanKind,
    /// `true` if the span has no parent in this process.
    pub local_root: bool,
    /// `true` if head sampling took the trace; if `false`, tail sampling kept it.
    pub sampled: bool,
    /// The W3C trace state that came with the parent, as a `tracestate` header's value.
    pub trace_state: Option<String>,
    /// The span's attributes, in the order in which they were set. A key that was set again has its last value.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// The number of attributes that were dropped because they did not fit.
    pub attributes_dropped: u16,
    /// The span's events, in the order in which they were added.
    pub events: Vec<SpanEvent>,
    /// The number of events that were dropped because they did not fit.
    pub events_dropped: u16,
    /// The span's links to other spans.
    pub links: Vec<SpanLink>,
    /// The number of links that were dropped because they did not fit.
    pub links_dropped: u16,
}

/// The names that the numbers in encoded spans stand for.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// The names of an instance of this process.
    Live(Arc<Instance>),
    /// Names read from a saved snapshot.
    Read(Arc<ReadNames>),
}

/// Names read from a saved snapshot, by number.
#[derive(Debug, Default)]
pub(crate) struct ReadNames {
    pub(super) spans: HashMap<u32, Arc<str>>,
    pub(super) keys: HashMap<u32, Arc<str>>,
}

impl Names {
    pub(super) fn span(&self, id: u32) -> Option<&Arc<str>> {
        match self {
            Self::Live(instance) => instance.names.span_by_id(id).map(|name| &name.text),
            Self::Read(names) => names.spans.get(&id),
        }
    }

    pub(super) fn key(&self, id: u32) -> Option<&Arc<str>> {
        match self {
            Self::Live(instance) => instance.names.key_by_id(id),
            Self::Read(names) => names.keys.get(&id),
        }
    }
}

/// A local root and other spans of its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EncodedTrace {
    pub(crate) root: Box<[u64]>,
    pub(crate) spans: Box<[u64]>,
    /// Spans of the trace that were left out because the words of a trace are limited.
    pub(crate) more: usize,
}

/// Encoded spans of one instance, with the names, anchor and scale needed to decode them.
#[derive(Clone, Debug)]
pub(crate) struct SpanBatch {
    pub(crate) names: Names,
    pub(crate) anchor: Anchor,
    pub(crate) scale: Scale,
    /// The latest spans, oldest first. A vector, since the aggregator's own is moved here: turning it into a slice
    /// would copy up to `kept_spans` words.
    pub(crate) latest: Arc<Vec<u64>>,
    /// The slowest spans, slowest first.
    pub(crate) slowest: Arc<[u64]>,
    /// The slowest traces, slowest first.
    pub(crate) traces: Arc<[EncodedTrace]>,
}

impl SpanBatch {
    /// Decodes the spans of some words of this batch; those that cannot be decoded are left out.
    pub(crate) fn read<'a>(&'a self, words: &'a [u64]) -> impl Iterator<Item = FinishedSpan> + 'a {
        let mut rest = words;
        std::iter::from_fn(move || {
            let next = frame(rest).ok()?;
            rest = &rest[next.words.len()..];
            Some(next)
        })
        .filter_map(|frame| self.decode(&frame))
    }

    fn decode(&self, frame: &Frame<'_>) -> Option<FinishedSpan> {
        let span = frame.span().ok()?;
        let mut finished = self.without_items(&span)?;
        let mut attributes = Vec::new();
        for item in span.items {
            match item {
                Item::Attribute(key, value) => attributes.push((key, value)),
                other => self.add_item(other, &mut finished),
            }
        }
        finished.attributes = self.resolve(attributes);
        Some(finished)
    }

    /// Converts a span's fixed fields; its items are added by the caller.
    fn without_items(&self, span: &Span) -> Option<FinishedSpan> {
        Some(FinishedSpan {
            name: Arc::clone(self.names.span(span.name)?),
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: Some(span.parent_id).filter(|id| *id != 0),
            start_unix_nanos: self.anchor.unix_nanos(span.start, self.scale),
            duration: Duration::from_nanos(self.scale.nanos(span.duration)),
            status: span.status,
            status_message: None,
            panicked: span.panicked,
            cancelled: span.cancelled,
            kind: span.kind,
            local_root: span.local_root,
            sampled: span.sampled,
            trace_state: None,
            attributes: Vec::new(),
            attributes_dropped: span.attributes_dropped,
            events: Vec::new(),
            events_dropped: 0,
            links: Vec::new(),
            links_dropped: 0,
        })
    }

    fn add_item(&self, item: Item, to: &mut FinishedSpan) {
        match item {
            Item::Attribute(..) => {} // the caller adds all attributes together
            Item::Event { name, at, attributes, attributes_dropped } => {
                let Some(name) = self.names.key(name) else { return };
                to.events.push(SpanEvent {
                    name: Arc::clone(name),
                    unix_nanos: self.anchor.unix_nanos(at, self.scale),
                    attributes: self.resolve(attributes),
                    attributes_dropped,
                });
            }
            Item::Link { trace_id, span_id, sampled, attributes, attributes_dropped } => {
                let attributes = self.resolve(attributes);
                to.links.push(SpanLink { trace_id, span_id, sampled, attributes, attributes_dropped });
            }
            Item::Message(text) => to.status_message = Some(text),
            Item::TraceState(text) => to.trace_state = Some(text),
            Item::Lost { events, links } => (to.events_dropped, to.links_dropped) = (events, links),
        }
    }

    /// Looks up the attributes' keys and removes replaced values.
    fn resolve(&self, attributes: Vec<(u32, Value)>) -> Vec<(Arc<str>, Value)> {
        last_values(attributes, |key| self.names.key(key))
    }
}
