//! For tests of programs that use tellane: an instance on a clock that stands still, and short ways to ask what was
//! recorded. Cold. Its assertions panic: that is what they are for.
//!
//! An instance belongs to whoever started it, so tests that have a [`Kit`] each do not see each other's records, on
//! however many threads they run; spans follow their tasks ([`InSpan`](crate::InSpan)) wherever these go.
//!
//! ```
//! use std::time::Duration;
//! use tellane::testing::Kit;
//!
//! fn serve(tracer: &tellane::Tracer) {
//!     let _request = tracer.span("request");
//!     drop(tracer.span("query"));
//! }
//!
//! let kit = Kit::new();
//! serve(&kit.tracer());
//! assert_eq!(kit.tree(), "request\n  query\n");
//! assert_eq!(kit.span("query").duration, Duration::ZERO); // the clock stands still
//! kit.assert_nothing_lost();
//! ```

use crate::clock::{Clock, MockClock};
use crate::config::Config;
use crate::snapshot::{FinishedSpan, HistogramView, Snapshot};
use crate::telemetry::Telemetry;
use crate::trace::Tracer;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits for the aggregator: long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An instance of a test's own.
///
/// ```
/// let kit = tellane::testing::Kit::new();
/// kit.telemetry().counter("orders_total").register()?.inc();
/// assert_eq!(kit.counter("orders_total", &[]), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Kit {
    telemetry: Telemetry,
    clock: MockClock,
}

impl Default for Kit {
    fn default() -> Self {
        Self::new()
    }
}

impl Kit {
    /// An instance with the default settings.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// assert!(kit.spans().is_empty());
    /// ```
    #[track_caller]
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// An instance with these settings.
    ///
    /// ```
    /// use tellane::{Config, testing::Kit};
    /// let kit = Kit::with(Config { sampling: 0.0, ..Config::default() });
    /// drop(kit.tracer().span("order"));
    /// assert!(kit.spans().is_empty());
    /// ```
    ///
    /// # Panics
    /// If the settings cannot be used, or there is no thread to be had.
    #[track_caller]
    pub fn with(config: Config) -> Self {
        let (clock, hand) = Clock::mock();
        match Telemetry::builder("test").clock(clock).config(config).start() {
            Ok(telemetry) => Self { telemetry, clock: hand },
            Err(error) => panic!("the test's instance does not start: {error}"),
        }
    }

    /// The instance, to be handed to what is tested.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// assert_eq!(kit.telemetry().clock_source(), "mock");
    /// ```
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Its tracer.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// drop(kit.tracer().span("order"));
    /// assert_eq!(kit.spans().len(), 1);
    /// ```
    pub fn tracer(&self) -> Tracer {
        self.telemetry.tracer()
    }

    /// The hand of its clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// let kit = tellane::testing::Kit::new();
    /// let order = kit.tracer().span("order");
    /// kit.clock().advance(Duration::from_millis(3));
    /// drop(order);
    /// assert_eq!(kit.span("order").duration, Duration::from_millis(3));
    /// ```
    pub fn clock(&self) -> &MockClock {
        &self.clock
    }

    /// Everything that was recorded before this call.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// assert_eq!(kit.snapshot().ledger().total().recorded, 0);
    /// ```
    ///
    /// # Panics
    /// If the aggregator does not answer within a minute.
    #[track_caller]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        match self.telemetry.snapshot(PATIENCE) {
            Ok(taken) => taken,
            Err(error) => panic!("no snapshot: {error}"),
        }
    }

    /// The finished spans, in the order they reached the aggregator: on one thread, in which they ended.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// drop(kit.tracer().span("order"));
    /// assert_eq!(&*kit.spans()[0].name, "order");
    /// ```
    #[track_caller]
    pub fn spans(&self) -> Vec<FinishedSpan> {
        self.snapshot().spans().collect()
    }

    /// The one finished span of this name.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.tracer().span("order").set("items", 3_u64);
    /// assert_eq!(kit.span("order").attributes.len(), 1);
    /// ```
    ///
    /// # Panics
    /// If there is none, or more than one; the message names those that there are.
    #[track_caller]
    pub fn span(&self, name: &str) -> FinishedSpan {
        let all = self.spans();
        let mut named = all.iter().filter(|span| *span.name == *name);
        match (named.next(), named.next()) {
            (Some(span), None) => span.clone(),
            (found, _) => {
                let count = if found.is_none() { "no span" } else { "more than one span" };
                panic!("{count} is named {name:?} in\n{}", self.tree())
            }
        }
    }

    /// The finished spans as an indented tree of names: parents before their children, siblings by their start and then
    /// by their name. A span whose parent has not ended stands at the margin.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// let tracer = kit.tracer();
    /// let order = tracer.span("order");
    /// drop(tracer.span("payment"));
    /// drop(tracer.span("packing"));
    /// drop(order);
    /// assert_eq!(kit.tree(), "order\n  packing\n  payment\n");
    /// ```
    #[track_caller]
    pub fn tree(&self) -> String {
        let mut spans = self.spans();
        spans.sort_by(|a, b| (a.start_unix_nanos, &a.name).cmp(&(b.start_unix_nanos, &b.name)));
        let is_there = |id: u64| spans.iter().any(|span| span.span_id == id);
        let at_margin = |span: &&FinishedSpan| span.parent_id.is_none_or(|id| !is_there(id));
        let mut text = String::new();
        let mut waiting: Vec<(usize, &FinishedSpan)> =
            spans.iter().filter(at_margin).rev().map(|span| (0, span)).collect();
        while let Some((depth, span)) = waiting.pop() {
            let _infallible = writeln!(text, "{:indent$}{}", "", span.name, indent = 2 * depth);
            let children = spans.iter().filter(|child| child.parent_id == Some(span.span_id));
            waiting.extend(children.rev().map(|child| (depth + 1, child)));
        }
        text
    }

    /// A counter's total.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.telemetry().counter("orders_total").label("by", "web").register()?.add(2);
    /// assert_eq!(kit.counter("orders_total", &[("by", "web")]), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such counter; the message names the series that there are.
    #[track_caller]
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let taken = self.snapshot();
        taken
            .counter(name, labels)
            .unwrap_or_else(|| panic!("no counter {name}{labels:?} in {}", series(&taken)))
    }

    /// A histogram's state.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.telemetry().histogram("basket_items").register()?.record(3);
    /// assert_eq!(kit.histogram("basket_items", &[]).max(), Some(3.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such histogram; the message names the series that there are.
    #[track_caller]
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> HistogramView {
        let taken = self.snapshot();
        let view = taken.histogram(name, labels).cloned();
        view.unwrap_or_else(|| panic!("no histogram {name}{labels:?} in {}", series(&taken)))
    }

    /// Ends the instance, and asserts that of all that was recorded nothing was lost.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// drop(kit.tracer().span("order"));
    /// kit.assert_nothing_lost();
    /// ```
    ///
    /// # Panics
    /// If a record was dropped, whatever the reason, or is still on its way.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        let end = self.telemetry.shutdown(PATIENCE);
        let total = end.ledger.total();
        assert!(end.finished, "the aggregator has not ended");
        assert_eq!(total.dropped.total(), 0, "{:?}", total.dropped.iter().collect::<Vec<_>>());
        assert_eq!(total.recorded, total.aggregated + total.suppressed(), "{}", end.ledger);
    }
}

/// The series of a snapshot, for a message.
fn series(taken: &Snapshot) -> String {
    let names =
        taken.points().map(|point| format!("{}{:?}", point.name(), point.labels().collect::<Vec<_>>()));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn complaint(act: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it should complain");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn it_complains_with_what_there_is() {
        let kit = Kit::new();
        let tracer = kit.tracer();
        (0..2).for_each(|_| drop(tracer.span("order")));
        kit.telemetry().counter("orders_total").label("by", "web").register().expect("a good name").inc();
        assert_eq!(complaint(|| drop(kit.span("cart"))), "no span is named \"cart\" in\norder\norder\n");
        assert!(complaint(|| drop(kit.span("order"))).starts_with("more than one span is named \"order\""));
        let missing = complaint(|| assert_eq!(kit.counter("orders_total", &[]), 0));
        assert!(missing.contains("orders_total[(\"by\", \"web\")]"), "{missing}");
        kit.assert_nothing_lost();
    }

    #[test]
    fn it_notices_what_is_lost() {
        let kit = Kit::new();
        kit.telemetry().histogram("wait").seconds().register().expect("a good name").record_f64(f64::NAN);
        assert!(complaint(|| kit.assert_nothing_lost()).contains("Invalid"));
    }
}
