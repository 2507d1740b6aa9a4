//! Whole traces: a local root and the spans of its trace, shown as a tree. Cold.

use super::span::EncodedTrace;
use super::{FinishedSpan, Snapshot, SpanBatch};
use crate::record::Status;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// The part of a trace that this process recorded under one of its local roots. `Display` shows an indented tree with
/// one span on each line: name, duration, status, attributes.
///
/// ```
/// # use std::time::Duration;
/// # let (clock, hand) = tellane::Clock::mock();
/// # let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
/// let tracer = telemetry.tracer();
/// let mut order = tracer.span("order");
/// order.set("items", 3_u64);
/// let mut payment = tracer.span("payment");
/// hand.advance(Duration::from_millis(20)); // a mock clock's hand
/// payment.fail();
/// drop((payment, order));
/// let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
/// let slowest = &snapshot.slowest_traces()[0];
/// assert_eq!(slowest.to_string(), "order 20ms items=3\n  payment 20ms error\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trace {
    /// The local root: a span without a parent in this process.
    pub root: FinishedSpan,
    /// The other spans of its trace, in the order of [`Snapshot::spans`](crate::Snapshot::spans).
    pub spans: Vec<FinishedSpan>,
    /// The number of spans of the trace that were left out, because a trace keeps 4 KiB of spans.
    pub more: usize,
}

impl Trace {
    fn read(batch: &SpanBatch, encoded: &EncodedTrace) -> Option<Self> {
        let root = batch.read(&encoded.root).next()?;
        Some(Self { root, spans: batch.read(&encoded.spans).collect(), more: encoded.more })
    }
}

impl Display for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let present: HashSet<u64> =
            self.spans.iter().map(|span| span.span_id).chain([self.root.span_id]).collect();
        let mut children = HashMap::<u64, Vec<&FinishedSpan>>::new();
        for span in &self.spans {
            // A span whose parent is missing goes below the root: the parent was dropped, or is in another process.
            let parent = span.parent_id.filter(|parent| present.contains(parent));
            children.entry(parent.unwrap_or(self.root.span_id)).or_default().push(span);
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|span| std::cmp::Reverse(span.start_unix_nanos));
        }
        // Not recursive, since the depth of a trace has no limit. Children are removed from the map when they are
        // shown, so that ids that form a cycle end, too.
        let mut open = vec![(0, &self.root)];
        while let Some((depth, span)) = open.pop() {
            write_span(f, depth, span)?;
            let children = children.remove(&span.span_id).unwrap_or_default();
            open.extend(children.into_iter().map(|child| (depth + 1, child)));
        }
        if self.more > 0 {
            writeln!(f, "  and {} more", self.more)?;
        }
        Ok(())
    }
}

fn write_span(f: &mut Formatter<'_>, depth: usize, span: &FinishedSpan) -> fmt::Result {
    write!(f, "{:width$}{} {}", "", Escaped(&span.name), rounded(span.duration), width = 2 * depth)?;
    match (span.status, &span.status_message) {
        (Status::Error, Some(message)) => write!(f, " error: {}", Escaped(message))?,
        (Status::Error, None) => f.write_str(" error")?,
        _ => {}
    }
    for (key, value) in &span.attributes {
        write!(f, " {}={}", Escaped(key), Escaped(&value.to_string()))?;
    }
    writeln!(f)
}

/// Shows a duration to four digits; more would be noise.
fn rounded(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let step = 10_u128.pow(nanos.checked_ilog10().unwrap_or(0).saturating_sub(3));
    let nanos = u64::try_from(nanos / step * step).unwrap_or(u64::MAX);
    format!("{:?}", Duration::from_nanos(nanos))
}

/// Shows text on one line: control characters are escaped, so that text from outside cannot forge a line.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| {
            if letter.is_control() { write!(f, "{}", letter.escape_default()) } else { write!(f, "{letter}") }
        })
    }
}

impl Snapshot {
    /// The traces of the slowest local roots since the start, slowest first. There are eight at most for each instance,
    /// each with up to 4 KiB of the spans of its trace that were still kept one pass after the root was read. They are
    /// not part of a saved snapshot.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// let order = tracer.span("order");
    /// drop(tracer.span("payment"));
    /// drop(order);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let slowest = &snapshot.slowest_traces()[0];
    /// assert_eq!((&*slowest.root.name, &*slowest.spans[0].name), ("order", "payment"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn slowest_traces(&self) -> Vec<Trace> {
        let all = self.spans.iter().flat_map(|batch| {
            let read = |encoded| Trace::read(batch, encoded);
            batch.traces.iter().filter_map(read)
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|trace| std::cmp::Reverse(trace.root.duration));
        all
    }
}
