//! Finished spans at rest: kept encoded, decoded when read.

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
    /// Its name.
    pub name: Arc<str>,
    /// The 128-bit trace id.
    pub trace_id: u128,
    /// The span's own id.
    pub span_id: u64,
    /// The parent's id; `None` for a root.
    pub parent_id: Option<u64>,
    /// Start in wall time, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub status: Status,
    /// What its status says, if anything.
    pub status_message: Option<String>,
    /// Whether a panic ended it.
    pub panicked: bool,
    /// Whether its future was dropped before it was done.
    pub cancelled: bool,
    /// Its part in the exchange of messages.
    pub kind: SpanKind,
    /// Whether it has no parent in this process.
    pub local_root: bool,
    /// Whether its trace was sampled; if not, its outcome kept it.
    pub sampled: bool,
    /// W3C trace state that came with its parent, as it is written in the header.
    pub trace_state: Option<String>,
    /// What was set on it, in that order; of a key that was set again, the last value.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// Attributes that did not fit.
    pub attributes_dropped: u16,
    /// What happened in it, in that order.
    pub events: Vec<SpanEvent>,
    /// Events that did not fit.
    pub events_dropped: u16,
    /// Other spans that it has to do with.
    pub links: Vec<SpanLink>,
    /// Links that did not fit.
    pub links_dropped: u16,
}

/// What the numbers in encoded spans stand for.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// The names of an instance of this process.
    Live(Arc<Instance>),
    /// Names read from a saved snapshot.
    Read(Arc<ReadNames>),
}

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
    /// Spans that there was no room for.
    pub(crate) more: usize,
}

/// Encoded spans of one instance, and what it takes to read them.
#[derive(Clone, Debug)]
pub(crate) struct SpanBatch {
    pub(crate) names: Names,
    pub(crate) anchor: Anchor,
    pub(crate) scale: Scale,
    /// The latest, oldest first. A vector, since they are moved here: a slice would be a copy of up to `kept_spans` words.
    pub(crate) latest: Arc<Vec<u64>>,
    /// The slowest, slowest first.
    pub(crate) slowest: Arc<[u64]>,
    /// The slowest traces, slowest first.
    pub(crate) traces: Arc<[EncodedTrace]>,
}

impl SpanBatch {
    pub(crate) fn read<'a>(&'a self, words: &'a [u64]) -> impl Iterator<Item = FinishedSpan> + 'a {
        let mut rest = words;
        std::iter::from_fn(move || {
            let next = frame(rest).ok()?;
            rest = &rest[next.words.len()..];
            Some(next)
        })
        .filter_map(|frame| self.finish(&frame))
    }

    fn finish(&self, frame: &Frame<'_>) -> Option<FinishedSpan> {
        let span = frame.span().ok()?;
        let mut finished = self.bare(&span)?;
        let mut attributes = Vec::new();
        for item in span.items {
            match item {
                Item::Attribute(key, value) => attributes.push((key, value)),
                other => self.add(other, &mut finished),
            }
        }
        finished.attributes = self.named(attributes);
        Some(finished)
    }

    /// A span without its items.
    fn bare(&self, span: &Span) -> Option<FinishedSpan> {
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

    fn add(&self, item: Item, to: &mut FinishedSpan) {
        match item {
            Item::Attribute(..) => {} // all of them together, by the caller
            Item::Event { name, at, attributes, attributes_dropped } => {
                let Some(name) = self.names.key(name) else { return };
                to.events.push(SpanEvent {
                    name: Arc::clone(name),
                    unix_nanos: self.anchor.unix_nanos(at, self.scale),
                    attributes: self.named(attributes),
                    attributes_dropped,
                });
            }
            Item::Link { trace_id, span_id, sampled, attributes, attributes_dropped } => {
                let attributes = self.named(attributes);
                to.links.push(SpanLink { trace_id, span_id, sampled, attributes, attributes_dropped });
            }
            Item::Message(text) => to.status_message = Some(text),
            Item::TraceState(text) => to.trace_state = Some(text),
            Item::Lost { events, links } => (to.events_dropped, to.links_dropped) = (events, links),
        }
    }

    fn named(&self, attributes: Vec<(u32, Value)>) -> Vec<(Arc<str>, Value)> {
        last_values(attributes, |key| self.names.key(key))
    }
}
