//! The front door: makes handles, takes snapshots, shuts down. Cold.

mod builder;
mod inner;
mod install;
mod switch;

pub use builder::Builder;
pub use switch::Switch;

use crate::error::SnapshotError;
use crate::instance::{Instance, RegistrationFault};
use crate::lane::local::without_recording;
use crate::level::Level;
use crate::log::Logger;
use crate::metrics::{CounterBuilder, GaugeBuilder, HistogramBuilder, TimerBuilder, UpDownCounterBuilder};
use crate::snapshot::Snapshot;
use crate::stats::Ledger;
use crate::targets::ParseLevelsError;
use crate::trace::Tracer;
use crate::unwind::caught;
use inner::TelemetryInner;
use install::{FlushOnDrop, INSTALLED};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// One telemetry pipeline: lanes, metrics, aggregator. Cheap to clone; one process may have several.
///
/// Dropping the last clone of an instance that was started with [`start`](Builder::start) shuts it down, waiting at
/// most [`Config::drop_deadline`](crate::Config::drop_deadline). Counters, tracers and loggers that outlive the instance
/// drop their records and count them as dropped.
///
/// The installed instance belongs to the process: dropping the last clone of what [`install`](Builder::install)
/// returned flushes it, within the same deadline, and does not end it.
///
/// ```
/// use std::time::Duration;
/// let (shop, stock) = (tellane::Telemetry::builder("shop").start()?, tellane::Telemetry::builder("stock").start()?);
/// shop.counter("orders_total").register()?.inc();
/// assert_eq!(shop.snapshot(Duration::from_secs(5))?.counter("orders_total", &[]), Some(1));
/// assert_eq!(stock.snapshot(Duration::from_secs(5))?.counter("orders_total", &[]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "keep it until the end of `main`: dropping the last clone flushes, and ends an instance made by `start`"]
pub struct Telemetry(
    Arc<TelemetryInner>,
    #[expect(dead_code, reason = "held for its drop")] Option<Arc<FlushOnDrop>>,
);

impl Telemetry {
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.0.instance
    }

    /// Another handle to the installed instance, even if the handle that [`install`](Builder::install) returned was
    /// dropped; `None` if nothing was installed. Dropping this handle neither flushes nor ends the instance.
    ///
    /// ```
    /// use tellane::Telemetry;
    /// assert!(Telemetry::installed().is_none());
    /// let _ = Telemetry::builder("shop").install()?;
    /// let telemetry = Telemetry::installed().expect("installed above");
    /// assert!(telemetry.shutdown(std::time::Duration::from_secs(5)).finished);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn installed() -> Option<Self> {
        INSTALLED.get().map(|inner| Self(Arc::clone(inner), None))
    }

    /// Begins the registration of a counter: a count that only grows.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let orders = telemetry.counter("orders_total").help("Orders placed.").register()?;
    /// orders.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "register_counter")]
    #[track_caller]
    pub fn counter<'a>(&'a self, name: &'a str) -> CounterBuilder<'a> {
        CounterBuilder::new(&self.0.instance, name)
    }

    /// Begins the registration of an up-down-counter: a count that can also be decreased.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let waiting = telemetry.up_down_counter("waiting").help("Customers waiting.").register()?;
    /// waiting.add(-2);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.up_down_counter("waiting", &[]), Some(-2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn up_down_counter<'a>(&'a self, name: &'a str) -> UpDownCounterBuilder<'a> {
        UpDownCounterBuilder::new(&self.0.instance, name)
    }

    /// Begins the registration of a gauge: a metric whose value can be set to anything.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let heat = telemetry.gauge("heat_celsius").help("Heat inside.").register()?;
    /// heat.set(21.5);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.gauge("heat_celsius", &[]), Some(21.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn gauge<'a>(&'a self, name: &'a str) -> GaugeBuilder<'a> {
        GaugeBuilder::new(&self.0.instance, name)
    }

    /// Begins the registration of a histogram: a distribution of values.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let reply = telemetry.histogram("reply").bytes().help("Size of replies.").register()?;
    /// reply.record(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("reply_bytes", &[]).and_then(|reply| reply.max()), Some(1_500.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "summary")]
    #[doc(alias = "distribution")]
    #[track_caller]
    pub fn histogram<'a>(&'a self, name: &'a str) -> HistogramBuilder<'a> {
        HistogramBuilder::new(&self.0.instance, name)
    }

    /// Begins the registration of a timer: a histogram of durations with a stopwatch.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").help("Time to pack an order.").register()?;
    /// assert_eq!(packing.time(|| 40 + 2), 42);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|packing| packing.count()), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn timer<'a>(&'a self, name: &'a str) -> TimerBuilder<'a> {
        TimerBuilder::new(self.instance(), name)
    }

    /// The tracer of this instance, which starts spans.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let tracer = telemetry.tracer();
    /// drop(tracer.span("order"));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tracer(&self) -> Tracer {
        Tracer::new(&self.0.instance)
    }

    /// The logger of a target name. Use a path like the module's, since level rules match its parts; loggers of one
    /// name share their level. An instance keeps up to 10,000 names; loggers of further names share one target.
    ///
    /// ```
    /// let (sink, kept) = tellane::Sink::memory(100);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// tellane::info!(telemetry.logger("shop::cart"), "checked out", items = 3);
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].target, "shop::cart");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn logger(&self, target: &str) -> Logger {
        Logger::new(&self.0.instance, target)
    }

    /// Sets the lowest level that is recorded for a target and for the targets below it (`target::…`), unless a longer
    /// rule matches them; `None` records nothing. The empty target is the default for all. Takes effect at once, for
    /// existing loggers too.
    ///
    /// ```
    /// use tellane::Level;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let pool = telemetry.logger("app::db::pool");
    /// telemetry.set_level("app::db", Level::Debug);
    /// assert!(pool.enabled(Level::Debug));
    /// telemetry.set_level("app::db::pool", None);
    /// assert!(!pool.enabled(Level::Error));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_level(&self, target: &str, level: impl Into<Option<Level>>) {
        if !self.0.instance.lanes.is_forked() {
            self.0.instance.logs.set_level(target, level.into());
            self.0.instance.logs.notify_watcher();
        }
    }

    /// Replaces all level rules by those of a text: a default level and `target=level` rules, separated by commas;
    /// `off` records nothing. Without a default level, the default is info.
    ///
    /// ```
    /// use tellane::Level;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.set_levels("warn,app::db=debug,hyper=off")?;
    /// assert!(telemetry.logger("app::db::pool").enabled(Level::Debug));
    /// assert!(!telemetry.logger("hyper").enabled(Level::Error));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ParseLevelsError`] names the part that is not a rule; then nothing was changed.
    pub fn set_levels(&self, text: &str) -> Result<(), ParseLevelsError> {
        if self.0.instance.lanes.is_forked() {
            return Ok(());
        }
        self.0.instance.logs.set_levels(text)?;
        self.0.instance.logs.notify_watcher();
        Ok(())
    }

    /// Takes a snapshot of everything that was recorded before this call. After shutdown, returns the last snapshot.
    /// The call then waits, at most until the deadline, for the sinks to write the log records made before it, and does
    /// not fail if they are late: the snapshot's ledger has the records that were in flight when it was taken,
    /// [`ledger`](Self::ledger) those in flight now.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let orders = telemetry.counter("orders_total").register()?;
    /// orders.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// orders.inc(); // too late for this snapshot
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SnapshotError::Deadline`] if the aggregator does not answer in time: it is stalled, or there is more to drain
    /// than the deadline allows.
    #[doc(alias = "flush")]
    #[doc(alias = "force_flush")]
    #[doc(alias = "gather")]
    #[doc(alias = "scrape")]
    #[doc(alias = "collect")]
    #[doc(alias = "render")]
    pub fn snapshot(&self, deadline: Duration) -> Result<Arc<Snapshot>, SnapshotError> {
        self.0.snapshot(deadline)
    }

    /// The last snapshot taken, on request or at the flush interval. Never waits.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(telemetry.latest().taken_at(), snapshot.taken_at());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latest(&self) -> Arc<Snapshot> {
        self.0.latest.load_full()
    }

    /// The present account of all records: aggregated, dropped by reason, in flight. Never waits for the aggregator.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// let samples = telemetry.ledger().kind(tellane::Kind::Sample);
    /// assert_eq!(samples.recorded, 1);
    /// assert_eq!(samples.aggregated + samples.in_flight, 1); // nothing is lost
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ledger(&self) -> Ledger {
        let lanes = &self.0.instance.lanes;
        if lanes.is_forked() {
            return self.latest().ledger().clone();
        }
        if self.0.has_ended() {
            // The worker has ended, so only another call of this function can hold the lock, and not for long.
            let mut step = self.0.step.lock();
            // Drains what producers published while the lanes were being closed. A record that cannot be folded must
            // not panic in the caller; the next call goes on behind it.
            let _swept = caught(|| without_recording(|| step.sweep()));
        }
        lanes.ledger()
    }

    /// The resilience switch of this instance.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert_eq!(telemetry.switch().state(), tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn switch(&self) -> Switch {
        Switch { instance: Arc::clone(&self.0.instance), seen: self.0.instance.lanes.switch.changes.made() }
    }

    /// Failed registrations of callers that cannot get an error back: statics and bridges. The first hundred are kept,
    /// each with its reason.
    ///
    /// ```
    /// static ORDERS: tellane::LazyCounter = tellane::counter!("orders-total", "Orders placed.");
    /// let telemetry = tellane::Telemetry::builder("shop").install()?;
    /// ORDERS.inc(); // a metric name has no hyphen: nothing is counted
    /// assert_eq!(telemetry.faults()[0].name, "orders-total");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn faults(&self) -> Vec<RegistrationFault> {
        self.0.instance.faults()
    }

    /// The extension of this type; `None` unless it was set with [`set_extension`](Self::set_extension). Takes no lock.
    /// Meant for cold code, since it searches by type.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert!(telemetry.extension::<String>().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.instance.extensions.get()
    }

    /// Attaches a value to this instance, one of each type: the state that another crate keeps for it, such as an
    /// endpoint or a set of health checks. All clones of the handle share it, and it is dropped with the instance.
    ///
    /// The value must not own a clone of this [`Telemetry`]: neither would ever be dropped.
    ///
    /// ```
    /// struct Checks { names: Vec<&'static str> }
    ///
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert!(telemetry.set_extension(Checks { names: vec!["disk"] }).is_ok());
    /// let again = telemetry.set_extension(Checks { names: vec![] });
    /// assert!(again.is_err_and(|refused| refused.names.is_empty()));
    /// assert_eq!(telemetry.extension::<Checks>().expect("set above").names, ["disk"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the value if there is an extension of this type already. The first one stays.
    pub fn set_extension<T: Any + Send + Sync>(&self, value: T) -> Result<Arc<T>, T> {
        self.0.instance.extensions.set(value)
    }

    /// The name of the instance's clock: `tsc`, `os` or `mock`.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").clock(tellane::Clock::os()).start()?;
    /// assert_eq!(telemetry.clock_source(), "os");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock_source(&self) -> &'static str {
        self.0.instance.lanes.clock.source()
    }

    /// Aggregates everything recorded so far, takes a last snapshot and ends the pipeline. Later records are dropped
    /// and counted as [`AfterShutdown`](crate::Reason::AfterShutdown). Waits at most until the deadline, and not at all
    /// on one of tellane's own threads or in a forked child. May be called again, on any thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let sizes = telemetry.histogram("basket_items").register()?;
    /// sizes.record(3);
    /// assert!(telemetry.shutdown(Duration::from_secs(5)).finished);
    /// sizes.record(4); // too late
    /// assert_eq!(telemetry.ledger().total().dropped.by(tellane::Reason::AfterShutdown), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "close")]
    #[doc(alias = "stop")]
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.0.shutdown(deadline);
        // In a forked child the channel's lock may be held by a thread that does not exist there.
        let finished = !self.0.instance.lanes.is_forked() && self.0.has_ended();
        let ledger = self.ledger();
        ShutdownReport { finished, flushed: ledger.total().aggregated, ledger }
    }
}

/// The result of a shutdown.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("basket_items").register()?.record(3);
/// let end = telemetry.shutdown(std::time::Duration::from_secs(5));
/// assert_eq!((end.finished, end.flushed, end.ledger.total().in_flight), (true, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it says whether anything was lost"]
pub struct ShutdownReport {
    /// `true` if the aggregator has ended; `false` if it was still working at the deadline, and goes on.
    pub finished: bool,
    /// Records aggregated in the lifetime of the instance.
    pub flushed: u64,
    /// The account of all records: dropped by reason, and still in flight if the shutdown did not finish.
    pub ledger: Ledger,
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::aggregate::{FailPoint, Request};
    use crossbeam_channel::bounded;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The worker takes no more requests then, and the channel does not tell a caller whose request is still queued.
    #[test]
    fn a_snapshot_that_is_asked_for_during_the_last_pass_is_the_last_one() {
        let (arrive, arrived) = bounded(0);
        let (release, released) = bounded::<()>(0);
        let builder = Telemetry::builder("shop").inject(move |at| {
            if at == FailPoint::Step && arrive.send(()).is_ok() {
                let _free = released.recv();
            }
        });
        let telemetry = builder.start().expect("it starts");
        telemetry.counter("orders_total").register().expect("a good name").inc();
        arrived.recv_timeout(PATIENCE).expect("a pass");
        telemetry.0.requests.send(Request::Shutdown).expect("the worker holds the other end");
        release.send(()).expect("the pass waits");
        arrived.recv_timeout(PATIENCE).expect("the last pass");
        let taken = std::thread::scope(|scope| {
            let asker = scope.spawn(|| telemetry.snapshot(PATIENCE));
            while telemetry.0.requests.is_empty() && !asker.is_finished() {
                std::thread::yield_now();
            }
            drop((arrived, release));
            asker.join().expect("no panic")
        });
        let taken = taken.expect("the last one, before the deadline");
        assert_eq!(taken.counter("orders_total", &[]), Some(1));
        assert_eq!(taken.taken_at(), telemetry.latest().taken_at());
    }
}
