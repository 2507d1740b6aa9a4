//! Text form of recorded spans and logs: an indented tree. Cold.

use crate::record::{SpanKind, Status, Value};
use crate::snapshot::{FinishedSpan, LogRecord};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// Sorts spans: parents before their children, siblings by their start and then by their name. Each comes with its
/// depth, which is 0 if its parent is missing.
pub(super) fn in_order(spans: &[FinishedSpan]) -> Vec<(usize, &FinishedSpan)> {
    let there: HashSet<u64> = spans.iter().map(|span| span.span_id).collect();
    let mut sorted: Vec<&FinishedSpan> = spans.iter().collect();
    sorted.sort_by(|a, b| (b.start_unix_nanos, &b.name).cmp(&(a.start_unix_nanos, &a.name))); // reversed: a stack below
    let mut below = HashMap::<Option<u64>, Vec<&FinishedSpan>>::new();
    for span in sorted {
        below.entry(span.parent_id.filter(|id| there.contains(id))).or_default().push(span);
    }
    let roots = below.remove(&None).unwrap_or_default();
    let mut waiting: Vec<(usize, &FinishedSpan)> = roots.into_iter().map(|span| (0, span)).collect();
    let mut ordered = Vec::with_capacity(spans.len());
    while let Some((depth, span)) = waiting.pop() {
        ordered.push((depth, span));
        let children = below.remove(&Some(span.span_id)).unwrap_or_default();
        waiting.extend(children.into_iter().map(|child| (depth + 1, child)));
    }
    ordered
}

/// Writes the tree with names only.
pub(super) fn names(spans: &[FinishedSpan]) -> String {
    let mut text = String::new();
    for (depth, span) in in_order(spans) {
        let _infallible = writeln!(text, "{:indent$}{}", "", span.name, indent = 2 * depth);
    }
    text
}

/// Writes the tree with everything except times and ids.
pub(super) fn full(spans: &[FinishedSpan], logs: &[LogRecord]) -> String {
    let mut text = String::new();
    for (depth, span) in in_order(spans) {
        line(&mut text, 2 * depth, span);
        let ids = Some((span.trace_id, span.span_id));
        logs.iter().filter(|log| log.span == ids).for_each(|log| log_line(&mut text, 2 * depth + 2, log));
    }
    let there: HashSet<_> = spans.iter().map(|span| (span.trace_id, span.span_id)).collect();
    let outside = logs.iter().filter(|log| log.span.is_none_or(|ids| !there.contains(&ids)));
    outside.for_each(|log| log_line(&mut text, 0, log));
    text
}

fn line(text: &mut String, indent: usize, span: &FinishedSpan) {
    let _infallible = write!(text, "{:indent$}{}", "", span.name);
    if span.kind != SpanKind::Internal {
        let _infallible = write!(text, " ({:?})", span.kind);
    }
    match (span.status, &span.status_message) {
        (Status::Error, Some(message)) => {
            let _infallible = write!(text, " failed: {message:?}");
        }
        (Status::Error, None) => text.push_str(" failed"),
        _ => {}
    }
    for (is, says) in [(span.panicked, " panicked"), (span.cancelled, " cancelled")] {
        text.push_str(if is { says } else { "" });
    }
    pairs(text, &span.attributes);
    for event in &span.events {
        let _infallible = write!(text, "{:indent$}  * {}", "", event.name);
        pairs(text, &event.attributes);
    }
}

pub(super) fn log_line(text: &mut String, indent: usize, log: &LogRecord) {
    let _infallible = write!(text, "{:indent$}! {} {}: {}", "", log.level, log.target, log.message);
    pairs(text, &log.fields);
}

fn pairs(text: &mut String, pairs: &[(Arc<str>, Value)]) {
    for (key, value) in pairs {
        let _infallible = write!(text, " {key}={value}");
    }
    text.push('\n');
}
