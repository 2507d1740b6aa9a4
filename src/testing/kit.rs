//! The kit: an instance, and queries for its records. Cold.

use super::Recorded;
use crate::clock::{Clock, MockClock};
use crate::config::Config;
use crate::error::StartError;
use crate::export::{LogMemory, Sink};
use crate::level::Level;
use crate::log::Logger;
use crate::snapshot::{FinishedSpan, HistogramView, LogRecord, Snapshot};
use crate::stats::{Kind, Ledger};
use crate::telemetry::{Builder, Telemetry};
use crate::trace::Tracer;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Longest wait for the aggregator, sufficient even for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Number of latest log records that are kept.
const LOGS: usize = 1 << 17;

/// An instance for one test, with a mock clock and queries for everything it recorded.
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
    /// `Some` if the clock is a mock.
    clock: Option<MockClock>,
    logs: LogMemory,
}

impl Default for Kit {
    fn default() -> Self {
        Self::new()
    }
}

impl Kit {
    /// Starts an instance with the default settings.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// assert!(kit.spans().is_empty());
    /// ```
    #[track_caller]
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// Starts an instance with these settings.
    ///
    /// ```
    /// use tellane::{Config, testing::Kit};
    /// let kit = Kit::with(Config { sampling: 0.0, ..Config::default() });
    /// drop(kit.tracer().span("order"));
    /// assert!(kit.spans().is_empty());
    /// ```
    ///
    /// # Panics
    /// If a setting is invalid, or the operating system cannot start a thread.
    #[track_caller]
    pub fn with(config: Config) -> Self {
        let (clock, hand) = Clock::mock();
        Self::started(clock, Some(hand), config, Builder::start)
    }

    /// Starts an instance with these settings and the system clock, for tests of real durations. It runs the same
    /// instructions as in a program.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tellane::{Config, testing::Kit};
    /// let kit = Kit::on_system_clock(Config::default());
    /// let order = kit.tracer().span("order");
    /// std::thread::sleep(Duration::from_millis(2));
    /// drop(order);
    /// assert!(kit.span("order").duration >= Duration::from_millis(2));
    /// ```
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn on_system_clock(config: Config) -> Self {
        Self::started(Clock::system(), None, config, Builder::start)
    }

    #[track_caller]
    fn started(
        by: Clock,
        clock: Option<MockClock>,
        config: Config,
        start: impl FnOnce(Builder) -> Result<Telemetry, StartError>,
    ) -> Self {
        let (sink, logs) = Sink::memory(LOGS);
        match start(Telemetry::builder("test").clock(by).config(config).log_to(sink)) {
            Ok(telemetry) => Self { telemetry, clock, logs },
            Err(error) => panic!("the test's instance does not start: {error}"),
        }
    }

    /// The installed instance of the process, for code that uses [`tracer()`](crate::tracer()),
    /// [`logger()`](crate::logger()) or statics. All tests of a binary share it. The first call starts it with the
    /// default settings, and it never ends. [`during`](Self::during) returns the records of one test.
    ///
    /// ```
    /// use tellane::{LazyCounter, counter, testing::Kit};
    /// static ORDERS: LazyCounter = counter!("orders_total", "Orders placed.");
    /// fn order() {
    ///     let _order = tellane::tracer().span("order");
    ///     ORDERS.inc();
    /// }
    /// let kit = Kit::installed();
    /// let ((), recorded) = kit.during(order);
    /// assert_eq!(recorded.tree(), "order\n");
    /// assert_eq!(kit.counter("orders_total", &[]), 1); // the total of all tests of this binary
    /// ```
    ///
    /// # Panics
    /// If the program has installed an instance itself.
    #[track_caller]
    pub fn installed() -> &'static Self {
        static INSTALLED: OnceLock<Kit> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let (clock, hand) = Clock::mock();
            Self::started(clock, Some(hand), Config::default(), Builder::install)
        })
    }

    /// The instance, to be passed to the code under test.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// assert_eq!(kit.telemetry().clock_source(), "mock");
    /// ```
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The tracer of the instance.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// drop(kit.tracer().span("order"));
    /// assert_eq!(kit.spans().len(), 1);
    /// ```
    pub fn tracer(&self) -> Tracer {
        self.telemetry.tracer()
    }

    /// A logger of the instance for a target.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.logger("shop").info("open");
    /// assert_eq!(kit.logs().len(), 1);
    /// ```
    pub fn logger(&self, target: &str) -> Logger {
        self.telemetry.logger(target)
    }

    /// The handle that sets the mock clock. While the clock stands still, all records fall into one second and count
    /// towards the same limits per second ([`Config::logs_per_second`], [`Config::traces_per_second`]).
    ///
    /// ```
    /// use std::time::Duration;
    /// let kit = tellane::testing::Kit::new();
    /// let order = kit.tracer().span("order");
    /// kit.clock().advance(Duration::from_millis(3));
    /// drop(order);
    /// assert_eq!(kit.span("order").duration, Duration::from_millis(3));
    /// ```
    ///
    /// # Panics
    /// If the kit is [on the system clock](Self::on_system_clock), which cannot be set.
    #[track_caller]
    pub fn clock(&self) -> &MockClock {
        match &self.clock {
            Some(clock) => clock,
            None => {
                panic!("this kit runs on the system clock, which cannot be set: use Kit::new or Kit::with")
            }
        }
    }

    /// Takes a snapshot of everything that was recorded before this call.
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
        match self.telemetry.snapshot(TIMEOUT) {
            Ok(snapshot) => snapshot,
            Err(error) => panic!("no snapshot: {error}"),
        }
    }

    /// All finished spans and all logs that were recorded before this call.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.logger("shop").info("open");
    /// let recorded = kit.recorded();
    /// assert_eq!((recorded.spans().len(), recorded.logs().len()), (0, 1));
    /// ```
    ///
    /// # Panics
    /// If the aggregator does not answer within a minute.
    #[track_caller]
    pub fn recorded(&self) -> Recorded {
        let snapshot = self.snapshot();
        Recorded::new(snapshot.spans().collect(), self.logs.records())
    }

    /// Runs `act` in a trace of its own on this thread. Returns its result and the spans and logs of that trace,
    /// without those of other tests that share the instance. Tasks and threads that run within the trace's spans belong
    /// to it ([`InSpan`](crate::InSpan), [`Context`](crate::Context)). Spans that begin another trace or continue a
    /// remote one do not; [`recorded`](Self::recorded) contains them.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// let tracer = kit.tracer();
    /// drop(tracer.span("before"));
    /// let (sum, recorded) = kit.during(|| {
    ///     let _adding = tracer.span("adding");
    ///     1 + 1
    /// });
    /// assert_eq!((sum, &*recorded.tree()), (2, "adding\n"));
    /// ```
    ///
    /// # Panics
    /// If the aggregator does not answer within a minute, or no span can be started on this thread.
    #[track_caller]
    pub fn during<R>(&self, act: impl FnOnce() -> R) -> (R, Recorded) {
        let tracer = self.tracer();
        let outermost = tracer.build("test").root().start();
        let Some(ids) = outermost.span_context() else { panic!("no span can be started on this thread") };
        let result = act();
        drop(outermost);
        (result, self.recorded().within(ids.trace_id, ids.span_id))
    }

    /// The finished spans: [`Recorded::spans`].
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

    /// The only finished span with this name: [`Recorded::span`].
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.tracer().span("order").set("items", 3_u64);
    /// assert_eq!(kit.span("order").attributes.len(), 1);
    /// ```
    ///
    /// # Panics
    /// If there is none, or more than one; the message shows those that there are.
    #[track_caller]
    pub fn span(&self, name: &str) -> FinishedSpan {
        self.recorded().span(name).clone()
    }

    /// The finished spans as an indented tree of names: [`Recorded::tree`].
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// let order = kit.tracer().span("order");
    /// drop(kit.tracer().span("payment"));
    /// drop(order);
    /// assert_eq!(kit.tree(), "order\n  payment\n");
    /// ```
    #[track_caller]
    pub fn tree(&self) -> String {
        self.recorded().tree()
    }

    /// The tree with attributes, events, failures and logs: [`Recorded::outline`].
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.tracer().span("order").set("items", 3_u64);
    /// assert_eq!(kit.outline(), "order items=3\n");
    /// ```
    #[track_caller]
    pub fn outline(&self) -> String {
        self.recorded().outline()
    }

    /// The log records, in the order of their times; at most the latest 131,072.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// tellane::info!(kit.logger("shop"), "open", tills = 4);
    /// assert_eq!(kit.logs()[0].fields[0].1, tellane::Value::I64(4));
    /// ```
    #[track_caller]
    pub fn logs(&self) -> Vec<LogRecord> {
        let _waited_for = self.snapshot();
        self.logs.records()
    }

    /// The only log record with this message: [`Recorded::log`].
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.logger("shop").warn("stock is low");
    /// assert_eq!(kit.log("stock is low").level, tellane::Level::Warn);
    /// ```
    ///
    /// # Panics
    /// If there is none, or more than one; the message shows those that there are.
    #[track_caller]
    pub fn log(&self, message: &str) -> LogRecord {
        self.recorded().log(message).clone()
    }

    /// Asserts that there is exactly one log record with this message and level within a span with this name:
    /// [`Recorded::assert_logged`].
    ///
    /// ```
    /// use tellane::{Level, testing::Kit};
    /// let kit = Kit::new();
    /// let order = kit.tracer().span("order");
    /// kit.logger("shop").warn("card declined");
    /// drop(order);
    /// kit.assert_logged(Level::Warn, "card declined", "order");
    /// ```
    ///
    /// # Panics
    /// If there is no such record, or more than one; the message shows all spans and logs.
    #[track_caller]
    pub fn assert_logged(&self, level: Level, message: &str, span: &str) -> LogRecord {
        self.recorded().assert_logged(level, message, span).clone()
    }

    /// The total of a counter.
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
        let snapshot = self.snapshot();
        snapshot
            .counter(name, labels)
            .unwrap_or_else(|| panic!("no counter {name}{labels:?} in {}", series(&snapshot)))
    }

    /// The total of an up-down counter.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.telemetry().up_down_counter("waiting").register()?.add(-2);
    /// assert_eq!(kit.up_down_counter("waiting", &[]), -2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such up-down counter; the message names the series that there are.
    #[track_caller]
    pub fn up_down_counter(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let snapshot = self.snapshot();
        snapshot
            .up_down_counter(name, labels)
            .unwrap_or_else(|| panic!("no up-down counter {name}{labels:?} in {}", series(&snapshot)))
    }

    /// The value of a gauge.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// kit.telemetry().gauge("heat_celsius").register()?.set(21.5);
    /// assert_eq!(kit.gauge("heat_celsius", &[]), 21.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such gauge; the message names the series that there are.
    #[track_caller]
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let snapshot = self.snapshot();
        snapshot
            .gauge(name, labels)
            .unwrap_or_else(|| panic!("no gauge {name}{labels:?} in {}", series(&snapshot)))
    }

    /// The contents of a histogram.
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
        let snapshot = self.snapshot();
        let view = snapshot.histogram(name, labels).cloned();
        view.unwrap_or_else(|| panic!("no histogram {name}{labels:?} in {}", series(&snapshot)))
    }

    /// Shuts the instance down and asserts that every record is accounted for: aggregated, dropped for a reason, or
    /// suppressed. Asserts the same for exemplars: kept, replaced, or dropped for lack of room.
    ///
    /// ```
    /// use tellane::{Config, Kind, testing::Kit};
    /// let kit = Kit::with(Config { sampling: 0.0, ..Config::default() });
    /// drop(kit.tracer().span("order"));
    /// assert_eq!(kit.end().kind(Kind::Span).unsampled, 1);
    /// ```
    ///
    /// # Panics
    /// If an account does not add up, or the instance does not end within a minute.
    #[doc(alias = "shutdown")]
    #[track_caller]
    pub fn end(&self) -> Ledger {
        let end = self.telemetry.shutdown(TIMEOUT);
        assert!(end.finished, "the aggregator has not ended within a minute");
        let exemplars = end.ledger.exemplars();
        let settled = exemplars.kept + exemplars.replaced + exemplars.no_room;
        assert_eq!(exemplars.offered, settled, "{exemplars:?}");
        for kind in Kind::ALL {
            let account = end.ledger.kind(kind);
            let found = account.aggregated + account.dropped.total() + account.suppressed();
            assert_eq!((account.recorded, account.in_flight), (found, 0), "{kind:?}: {account:?}");
        }
        end.ledger
    }

    /// Shuts the instance down and asserts that no record was dropped.
    ///
    /// ```
    /// let kit = tellane::testing::Kit::new();
    /// drop(kit.tracer().span("order"));
    /// kit.assert_nothing_lost();
    /// ```
    ///
    /// # Panics
    /// If a record was dropped for any reason, and as [`end`](Self::end).
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        let dropped = self.end().total().dropped;
        assert_eq!(dropped.total(), 0, "{:?}", dropped.iter().collect::<Vec<_>>());
    }
}

/// Lists the series of a snapshot, for a panic message.
fn series(snapshot: &Snapshot) -> String {
    let names =
        snapshot.points().map(|point| format!("{}{:?}", point.name(), point.labels().collect::<Vec<_>>()));
    names.collect::<Vec<_>>().join(", ")
}
