//! Finished spans at rest: kept encoded, decoded when read.

use crate::clock::{Anchor, Scale};
use crate::record::{Frame, Status, Value, frame};
use crate::series::Registry;
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
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
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
    /// Whether a panic ended it.
    pub panicked: bool,
    /// What was set on it, in that order.
    pub attributes: Vec<(Arc<str>, Value)>,
    /// Attributes that did not fit.
    pub attributes_dropped: u16,
}

/// What the numbers in encoded spans stand for.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// The names of an instance of this process.
    Live(Arc<Registry>),
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
            Self::Live(registry) => registry.names.span_of(id).map(|name| &name.text),
            Self::Read(names) => names.spans.get(&id),
        }
    }

    pub(super) fn key(&self, id: u32) -> Option<&Arc<str>> {
        match self {
            Self::Live(registry) => registry.names.key_of(id),
            Self::Read(names) => names.keys.get(&id),
        }
    }
}

/// Encoded spans of one instance, and what it takes to read them.
#[derive(Clone, Debug)]
pub(crate) struct SpanBatch {
    pub(crate) names: Names,
    pub(crate) anchor: Anchor,
    pub(crate) scale: Scale,
    /// The latest, oldest first.
    pub(crate) latest: Arc<[u64]>,
    /// The slowest, slowest first.
    pub(crate) slowest: Arc<[u64]>,
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
        let names = &self.names;
        let attributes =
            span.attributes.into_iter().filter_map(|(key, value)| Some((Arc::clone(names.key(key)?), value)));
        Some(FinishedSpan {
            name: Arc::clone(names.span(span.name)?),
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: Some(span.parent_id).filter(|id| *id != 0),
            start_unix_nanos: self.anchor.unix_nanos(span.start, self.scale),
            duration: Duration::from_nanos(self.scale.nanos(span.duration)),
            status: span.status,
            panicked: span.panicked,
            attributes: attributes.collect(),
            attributes_dropped: span.attributes_dropped,
        })
    }
}
