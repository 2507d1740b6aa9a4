//! Queries and assertions on finished spans and logs. Cold.

use super::outline;
use crate::level::Level;
use crate::snapshot::{FinishedSpan, LogRecord};
use std::collections::HashMap;

/// The spans and logs recorded by a whole [`Kit`](super::Kit), or by a part of a test. A query for a single span or log
/// panics if there is none or more than one, and the message shows all that there are.
///
/// ```
/// let kit = tellane::testing::Kit::new();
/// drop(kit.tracer().span("order"));
/// let recorded = kit.recorded(); // one snapshot for several queries
/// assert_eq!((recorded.spans().len(), recorded.logs().len()), (1, 0));
/// assert_eq!(recorded.tree(), "order\n");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    spans: Vec<FinishedSpan>,
    logs: Vec<LogRecord>,
}

impl Recorded {
    pub(super) fn new(spans: Vec<FinishedSpan>, logs: Vec<LogRecord>) -> Self {
        Self { spans, logs }
    }

    /// Keeps only this trace, without this span of it.
    pub(super) fn within(mut self, trace_id: u128, outermost: u64) -> Self {
        self.spans.retain(|span| span.trace_id == trace_id && span.span_id != outermost);
        self.logs.retain(|log| log.span.is_some_and(|(trace, _)| trace == trace_id));
        self
    }

    /// The finished spans, in the order in which they reached the aggregator; those of one thread in the order in which
    /// they ended.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// drop(kit.tracer().span("order"));
    /// assert_eq!(&*kit.recorded().spans()[0].name, "order");
    /// ```
    pub fn spans(&self) -> &[FinishedSpan] {
        &self.spans
    }

    /// The log records, in the order of their times.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.logger("shop").info("open");
    /// assert_eq!(&*kit.recorded().logs()[0].message, "open");
    /// ```
    pub fn logs(&self) -> &[LogRecord] {
        &self.logs
    }

    /// The only finished span with this name.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.tracer().span("order").set("items", 3_u64);
    /// assert_eq!(kit.recorded().span("order").attributes.len(), 1);
    /// ```
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn span(&self, name: &str) -> &FinishedSpan {
        let named = self.spans.iter().filter(|span| *span.name == *name);
        only(named).unwrap_or_else(|count| panic!("{count} span is named {name:?} in\n{}", self.outline()))
    }

    /// The only log record with this message.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// tellane::info!(kit.logger("shop"), "checked out", items = 3);
    /// assert_eq!(&*kit.recorded().log("checked out").target, "shop");
    /// ```
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn log(&self, message: &str) -> &LogRecord {
        let saying = self.logs.iter().filter(|log| *log.message == *message);
        only(saying).unwrap_or_else(|count| panic!("{count} log says {message:?} in\n{}", self.outline()))
    }

    /// Asserts that there is exactly one log record with this message and level, made in a span with this name or in a
    /// descendant of one. Returns the record.
    ///
    /// ```
    /// use tellane::{Level, testing::Kit};
    /// let kit = Kit::new();
    /// let order = kit.tracer().span("order");
    /// kit.tracer().span("payment");
    /// kit.logger("shop").warn("card declined");
    /// drop(order);
    /// kit.recorded().assert_logged(Level::Warn, "card declined", "order");
    /// ```
    ///
    /// # Panics
    /// If there is no such record, or more than one. Spans that have not ended are not known yet, so end them first.
    #[track_caller]
    pub fn assert_logged(&self, level: Level, message: &str, span: &str) -> &LogRecord {
        let fits = |log: &&LogRecord| {
            log.level == level && *log.message == *message && self.path_of(log).contains(&span)
        };
        only(self.logs.iter().filter(fits)).unwrap_or_else(|count| {
            panic!("{count} log says {message:?} at level {level} within {span:?} in\n{}", self.outline())
        })
    }

    /// Names of the spans around a record, from the innermost outwards.
    fn path_of(&self, log: &LogRecord) -> Vec<&str> {
        let by_id: HashMap<_, _> =
            self.spans.iter().map(|span| ((span.trace_id, span.span_id), span)).collect();
        let innermost = log.span.and_then(|ids| by_id.get(&ids));
        let outwards = std::iter::successors(innermost, |span| by_id.get(&(span.trace_id, span.parent_id?)));
        outwards.map(|span| &*span.name).collect()
    }

    /// The finished spans as an indented tree of names: parents before their children, siblings by their start and then
    /// by their name. A span whose parent has not ended is shown as a root.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// let tracer = kit.tracer();
    /// let order = tracer.span("order");
    /// drop(tracer.span("payment"));
    /// drop(tracer.span("packing"));
    /// drop(order);
    /// assert_eq!(kit.recorded().tree(), "order\n  packing\n  payment\n");
    /// ```
    pub fn tree(&self) -> String {
        outline::names(&self.spans)
    }

    /// The tree with everything except times and ids: kinds, failures, attributes, events (`*`) and logs (`!`). Logs
    /// outside of finished spans follow at the end.
    ///
    /// ```
    /// use tellane::{SpanKind, testing::Kit};
    /// let kit = Kit::new();
    /// let mut order = kit.tracer().span_with_kind("order", SpanKind::Server);
    /// order.set("items", 3_u64);
    /// order.event("retry").set("attempt", 2_u64);
    /// kit.logger("shop").warn("card declined");
    /// order.fail_with("no money");
    /// drop(order);
    /// let expected = r#"
    /// order (Server) failed: "no money" items=3
    ///   * retry attempt=2
    ///   ! warn shop: card declined
    /// "#;
    /// assert_eq!(kit.recorded().outline(), expected.trim_start());
    /// ```
    pub fn outline(&self) -> String {
        outline::full(&self.spans, &self.logs)
    }
}

/// Returns the only item, or a word for the number of items.
fn only<T>(mut found: impl Iterator<Item = T>) -> Result<T, &'static str> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err("no"),
        _ => Err("more than one"),
    }
}
