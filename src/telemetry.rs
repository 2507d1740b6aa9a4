//! The front door: build, install, hand out handles, look, shut down. Cold. The only place that wires the rooms.

use crate::aggregate::{
    Death, FailPoint, FailPoints, Pacing, Request, Step, Thresholds, Worker, become_own_thread, is_own_thread,
};
use crate::clock::{Clock, deadline_in, has_passed, left_until};
use crate::config::Config;
use crate::error::{SnapshotError, StartError};
use crate::export::{Sink, Writer};
use crate::lane::local::without_recording;
use crate::lane::{LaneRegistry, Limits, watch_forks};
use crate::level::Level;
use crate::log::Logger;
use crate::metrics::{CounterBuilder, GaugeBuilder, HistogramBuilder, TimerBuilder, UpDownCounterBuilder};
use crate::series::{
    Caps, HeadersRefused, Instance, LogSettings, ParseLevelsError, RateLimit, RegistrationFault, Tracing,
    enlist, install_global,
};
use crate::snapshot::{QueueStats, Snapshot, sender};
use crate::stats::Ledger;
use crate::switch::{Override, State, Transition};
use crate::sync::{Mutex, fixed};
use crate::trace::Tracer;
use crate::unwind::caught;
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded, select};
use std::sync::Arc;
use std::time::Duration;

/// Requests that may wait for the aggregator.
const REQUESTS: usize = 64;

/// One telemetry pipeline: lanes, registry, aggregator. Clone it freely; several live side by side in one process.
///
/// Dropping the last clone of an instance that was started with [`start`](Builder::start) shuts it down, waiting at
/// most [`Config::drop_deadline`]; counters, tracers and loggers that outlive it only count what they drop.
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
pub struct Telemetry(Arc<Inner>, #[expect(dead_code, reason = "held for its drop")] Option<Arc<FlushOnDrop>>);

/// The installed instance, for the life of the process. No handle's drop is the last one, so none shuts it down.
static INSTALLED: std::sync::OnceLock<Arc<Inner>> = std::sync::OnceLock::new();

/// The right to install. Not a mutex: the child of a fork must not wait for a thread of its parent.
struct Installing;

/// The process whose thread has the right to install; 0 if no thread has it.
static INSTALLER: fixed::AtomicU32 = fixed::AtomicU32::new(0);

impl Installing {
    /// Waits for other threads of this process that install.
    fn begin() -> Result<Self, StartError> {
        let own = std::process::id();
        loop {
            // Acquire pairs with the Release of the drop: what the thread before has installed is seen.
            match INSTALLER.compare_exchange(0, own, fixed::Ordering::Acquire, fixed::Ordering::Relaxed) {
                Ok(_) => return Ok(Self),
                Err(process) if process == own => std::thread::yield_now(),
                // A thread of the parent, in the middle of it at the fork. It is not here to go on.
                Err(_) => return Err(StartError::Forked),
            }
        }
    }
}

impl Drop for Installing {
    fn drop(&mut self) {
        INSTALLER.store(0, fixed::Ordering::Release);
    }
}

/// Shared by the clones of what `install` returned; the last one to go flushes the instance.
#[derive(Debug)]
struct FlushOnDrop(Arc<Inner>);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        // A drop has nobody to tell. In the child of a fork, on the aggregator's own thread and after a shutdown there
        // is nothing to flush, and this returns at once.
        let _flushed = self.0.snapshot(self.0.config.drop_deadline);
    }
}

#[derive(Debug)]
struct Inner {
    instance: Arc<Instance>,
    config: Config,
    step: Arc<Mutex<Step>>,
    latest: Arc<ArcSwap<Snapshot>>,
    requests: Sender<Request>,
    /// Disconnected when the worker takes no more requests. One that is still in the channel then stays there, and its
    /// asker would wait for an answer in vain.
    answering: Receiver<()>,
    /// How far the sinks of the logs are, if there are any.
    queue_stats: Option<Arc<QueueStats>>,
    /// Disconnected when the worker has ended, and the writer of the logs.
    ended: Receiver<()>,
    death: Death,
}

/// Collects what an instance is made of; see [`Telemetry::builder`].
///
/// ```
/// use tellane::{Clock, Telemetry};
/// let telemetry = Telemetry::builder("shop").sampling(0.1).clock(Clock::os()).start()?;
/// assert_eq!(telemetry.clock_source(), "os");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing runs before `start` or `install`"]
pub struct Builder {
    service: Arc<str>,
    config: Config,
    clock: Option<Clock>,
    sinks: Vec<Sink>,
    injector: FailPoints,
}

impl Builder {
    /// Replaces all settings.
    ///
    /// ```
    /// use tellane::{Config, Telemetry};
    /// let config = Config { sampling: 0.0, ..Config::default() };
    /// let telemetry = Telemetry::builder("shop").config(config).start()?;
    /// assert!(!telemetry.tracer().span("order").is_sampled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the share of new traces whose spans are kept, from 0 to 1: [`Config::sampling`].
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// drop(telemetry.tracer().span("order"));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().count(), 0); // the span is not kept,
    /// assert_eq!(snapshot.span_durations("order").map(|taken| taken.count()), Some(1)); // its duration is
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sampling(mut self, share: f64) -> Self {
        self.config.sampling = share;
        self
    }

    /// Takes time from another clock than the system's; a [`Clock::mock`] for tests.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (clock, hand) = tellane::Clock::mock();
    /// let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// let watch = packing.start();
    /// hand.advance(Duration::from_millis(3));
    /// assert_eq!(watch.stop(), Some(Duration::from_millis(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sends log records to a sink, and to those named before. Without any, log records are counted and forgotten.
    ///
    /// ```
    /// use tellane::{Format, Sink, Telemetry};
    /// let (memory, kept) = Sink::memory(100);
    /// let telemetry = Telemetry::builder("shop").log_to(Sink::stderr(Format::Human)).log_to(memory).start()?;
    /// telemetry.logger("shop").info("open");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(kept.records().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_to(mut self, sink: Sink) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Sets the level that targets start with: [`Config::log_level`].
    ///
    /// ```
    /// use tellane::{Level, Telemetry};
    /// let telemetry = Telemetry::builder("shop").log_level(Level::Warn).start()?;
    /// assert!(!telemetry.logger("shop").enabled(Level::Info));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_level(mut self, level: impl Into<Option<Level>>) -> Self {
        self.config.log_level = level.into();
        self
    }

    /// Runs `hook` inside the aggregator, where it may panic or stall: for tests of what happens then.
    #[doc(hidden)]
    pub fn inject(mut self, hook: impl Fn(FailPoint) + Send + Sync + 'static) -> Self {
        self.injector = FailPoints(Some(Arc::new(hook)));
        self
    }

    /// Starts an instance of its own: lanes, registry and an aggregator thread.
    ///
    /// ```
    /// use tellane::{StartError, Telemetry};
    /// let telemetry = Telemetry::builder("shop").start()?;
    /// assert!(matches!(Telemetry::builder("shop").sampling(1.5).start(), Err(StartError::Config(_))));
    /// # drop(telemetry);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StartError::Config`] lists every setting that cannot be used; [`StartError::Thread`] if the operating system
    /// has no thread to give.
    pub fn start(self) -> Result<Telemetry, StartError> {
        let faults = self.config.faults();
        if !faults.is_empty() {
            return Err(StartError::Config(faults));
        }
        watch_forks();
        let (instance, mut step) = self.parts();
        let receiver = (!self.sinks.is_empty()).then(|| {
            let (sender, receiver) = sender(&instance);
            let queue_stats = Arc::clone(&sender.queue_stats);
            step.log_to(sender);
            (receiver, queue_stats)
        });
        let (requests, asked) = bounded(REQUESTS);
        let (answers, answering) = bounded(0);
        let (alive, ended) = bounded(0);
        let latest = Arc::new(ArcSwap::from_pointee(Snapshot::empty(self.service)));
        let step = Arc::new(Mutex::new(step));
        let config = self.config;
        let worker = Worker {
            lanes: Arc::clone(&instance.lanes),
            step: Arc::clone(&step),
            latest: Arc::clone(&latest),
            requests: asked,
            answers,
            ended: alive,
            death: Death::default(),
            injector: self.injector,
            pacing: Pacing {
                shortest: config.shortest_sleep,
                longest: config.longest_sleep,
                target_permille: (config.batch * 1_000.0).ceil() as u32,
                present: config.longest_sleep,
            },
            flush_interval: config.flush_interval,
            thresholds: Thresholds {
                shed_permille: (config.shed_share * 1_000.0) as u64,
                shed_after: config.shed_after,
                memory_cap: config.memory_cap,
                retry: config.retry,
                retry_max: config.retry_max,
                lease: config.probe_lease,
                restarts_max: config.restarts_max,
            },
        };
        let queue_stats = receiver.as_ref().map(|(_, queue_stats)| Arc::clone(queue_stats));
        if let Some((receiver, _)) = receiver {
            let writer = Writer { receiver, sinks: self.sinks, instance: Arc::clone(&instance) };
            write_logs(writer, Arc::clone(&latest), worker.ended.clone()).map_err(StartError::Thread)?;
        }
        let death = Arc::clone(&worker.death);
        worker.spawn().map_err(StartError::Thread)?;
        enlist(&instance);
        let inner = Inner { instance, config, step, latest, requests, answering, queue_stats, ended, death };
        Ok(Telemetry(Arc::new(inner), None))
    }

    /// Starts an instance and makes it the global one, which statics record into. There is one for the life of the
    /// process.
    ///
    /// Keep the returned handle until the end of `main`. Its drop flushes: within [`Config::drop_deadline`], everything
    /// recorded before is aggregated and log records are written. The drop does not end the instance, and statics go
    /// on recording; [`Telemetry::installed`] returns another handle. Only [`Telemetry::shutdown`] ends it, and from
    /// then on statics count what they drop. What is recorded after the last flush and before the end of the process
    /// is not written.
    ///
    /// ```
    /// use tellane::{LazyCounter, StartError, Telemetry};
    /// static ORDERS: LazyCounter = tellane::counter!("orders_total", "Orders placed.");
    ///
    /// let telemetry = Telemetry::builder("shop").install()?;
    /// assert!(matches!(Telemetry::builder("shop").install(), Err(StartError::AlreadyInstalled)));
    /// drop(telemetry); // flushes
    /// ORDERS.inc(); // is counted all the same
    /// let telemetry = Telemetry::installed().expect("installed above");
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`start`](Self::start), [`StartError::AlreadyInstalled`], and [`StartError::Forked`]; then nothing was
    /// started.
    pub fn install(self) -> Result<Telemetry, StartError> {
        let _one_at_a_time = Installing::begin()?;
        if INSTALLED.get().is_some() {
            return Err(StartError::AlreadyInstalled);
        }
        let Telemetry(inner, _) = self.start()?;
        // Kept before statics can find it: from the first record on, no drop ends the instance.
        INSTALLED.get_or_init(|| Arc::clone(&inner));
        if !install_global(&inner.instance) {
            return Err(StartError::AlreadyInstalled);
        }
        let flush = Arc::new(FlushOnDrop(Arc::clone(&inner)));
        Ok(Telemetry(inner, Some(flush)))
    }

    fn parts(&self) -> (Arc<Instance>, Step) {
        static INSTANCES: fixed::AtomicU32 = fixed::AtomicU32::new(1);
        let config = &self.config;
        let limits = Limits {
            ring_words: config.ring_words,
            spill_words: config.spill_bytes / 8,
            first_cells: 64,
            lanes: config.lane_cap,
            idle: config.idle_lanes,
        };
        let clock = self.clock.clone().unwrap_or_else(Clock::system);
        let instance = INSTANCES.fetch_add(1, fixed::Ordering::Relaxed); // a number; nothing hangs on its order
        let lanes = Arc::new(LaneRegistry::new(instance, limits, clock, config.stall_after, config.retry));
        let caps = Caps { series: config.series_cap, names: config.names_cap, label: config.label_value_max };
        let tracing = Tracing {
            sampling: config.sampling,
            parent_based: config.parent_based,
            rate_limit: config.traces_per_second.map(|limit| RateLimit::new(limit, &lanes.clock)),
            holds: config.tail_sampling.is_some(),
            exemplars: config.exemplars,
            span_limits: config.span_limits,
            headers: HeadersRefused::default(),
        };
        let logs = LogSettings {
            level: config.log_level,
            per_second: config.logs_per_second,
            value: config.log_value,
        };
        let instance = Arc::new(Instance::new(lanes, caps, tracing).with_logs(logs));
        let service = Arc::clone(&self.service);
        let step = Step::new(Arc::clone(&instance), service, config.kept_spans, self.injector.clone());
        let step = match &config.tail_sampling {
            Some(tail_sampling) => step.holding(tail_sampling),
            None => step,
        };
        (instance, step)
    }
}

/// Starts the thread of the sinks. It ends when the aggregator will send no more, and the instance has not ended
/// before it.
fn write_logs(writer: Writer, latest: Arc<ArcSwap<Snapshot>>, alive: Sender<()>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("tellane-log".into());
    let work = move || {
        become_own_thread();
        let lanes = Arc::clone(&writer.instance.lanes);
        writer.run();
        // What was in flight when the last snapshot was taken has arrived.
        let mut last = Snapshot::clone(&latest.load());
        last.ledger = lanes.ledger();
        latest.store(Arc::new(last));
        drop(alive);
    };
    thread.spawn(work).map(drop)
}

impl Telemetry {
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.0.instance
    }

    /// Begins an instance for a service.
    ///
    /// ```
    /// use std::time::Duration;
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.1).start()?;
    /// telemetry.counter("orders_total").help("Orders placed.").register()?.inc();
    /// let report = telemetry.shutdown(Duration::from_secs(5));
    /// assert!(report.finished);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(service: &str) -> Builder {
        Builder {
            service: service.into(),
            config: Config::default(),
            clock: None,
            sinks: Vec::new(),
            injector: FailPoints::default(),
        }
    }

    /// Another handle to the installed instance, also when the one that [`install`](Builder::install) returned is gone;
    /// `None` if nothing was installed. Dropping this handle neither flushes nor ends the instance.
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

    /// A counter: a count that only grows.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let orders = telemetry.counter("orders_total").help("Orders placed.").register()?;
    /// orders.inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn counter<'a>(&'a self, name: &'a str) -> CounterBuilder<'a> {
        CounterBuilder::new(&self.0.instance, name)
    }

    /// An up-down-counter: a count that goes up and down by differences.
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

    /// A gauge: a value that is set.
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

    /// A histogram: a distribution of values.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let reply = telemetry.histogram("reply").bytes().help("Size of replies.").register()?;
    /// reply.record(1_500);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.histogram("reply_bytes", &[]).and_then(|reply| reply.max()), Some(1_500.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn histogram<'a>(&'a self, name: &'a str) -> HistogramBuilder<'a> {
        HistogramBuilder::new(&self.0.instance, name)
    }

    /// A timer: a histogram of durations with a stopwatch.
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

    /// Starts spans.
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

    /// Makes log records under a name. By custom it is a path like the module's, since levels go by its parts; loggers
    /// of one name share their level. There may be 10,000 names.
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

    /// Sets the least level that is recorded of a target and of those whose names go on with `::`, unless they have a
    /// longer rule of their own; `None` records nothing. The empty target stands for all. At once, for loggers that
    /// are there, too.
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

    /// Replaces all rules of levels by a text: a level for all, and `target=level` for some, with commas between; `off`
    /// records nothing. Where no level is given for all, it is info.
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
    /// [`ParseLevelsError`] names the part that is no rule; then nothing was changed.
    pub fn set_levels(&self, text: &str) -> Result<(), ParseLevelsError> {
        if self.0.instance.lanes.is_forked() {
            return Ok(());
        }
        self.0.instance.logs.set_levels(text)?;
        self.0.instance.logs.notify_watcher();
        Ok(())
    }

    /// A snapshot of everything that was recorded before this call, taken now. After shutdown it is the last one. Then
    /// it waits for the sinks to write the log records of the same time, until the deadline at most, and does not fail
    /// if they have not: the snapshot's ledger says what was on its way when it was taken, [`ledger`](Self::ledger)
    /// what is now.
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
    pub fn snapshot(&self, deadline: Duration) -> Result<Arc<Snapshot>, SnapshotError> {
        self.0.snapshot(deadline)
    }

    /// The last snapshot taken, by request or on the flush interval. Never waits.
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

    /// Where the records went, now. Never waits for the aggregator.
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
            // Nobody but another call of this holds the lock now, and not for long.
            let mut step = self.0.step.lock();
            // What producers published while the lanes were being closed. A record that cannot be folded must not
            // come back as the caller's panic; the next call goes on behind it.
            let _swept = caught(|| without_recording(|| step.sweep()));
        }
        lanes.ledger()
    }

    /// The resilience switch.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert_eq!(telemetry.switch().state(), tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn switch(&self) -> Switch {
        Switch { instance: Arc::clone(&self.0.instance), seen: self.0.instance.lanes.switch.changes.made() }
    }

    /// What could not be registered and had nowhere to say so: statics, and what came over a bridge. The first
    /// hundred, and why.
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

    /// Which clock it runs by: `tsc`, `os` or `mock`.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").clock(tellane::Clock::os()).start()?;
    /// assert_eq!(telemetry.clock_source(), "os");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock_source(&self) -> &'static str {
        self.0.instance.lanes.clock.source()
    }

    /// Aggregates what has been recorded, takes a last snapshot and ends the pipeline; what is recorded from now on
    /// is counted as [`AfterShutdown`](crate::Reason::AfterShutdown). Waits at most until the deadline, and not at all
    /// on a thread of tellane's own or in the child of a fork. May be called again, from anywhere.
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
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.0.shutdown(deadline);
        // In the child of a fork the channel's own lock may be held by a thread that is not there.
        let finished = !self.0.instance.lanes.is_forked() && self.0.has_ended();
        let ledger = self.ledger();
        ShutdownReport { finished, flushed: ledger.total().aggregated, ledger }
    }
}

impl Inner {
    /// [`Telemetry::snapshot`].
    fn snapshot(&self, deadline: Duration) -> Result<Arc<Snapshot>, SnapshotError> {
        if self.instance.lanes.is_forked() {
            return Err(SnapshotError::Forked);
        }
        if is_own_thread() {
            return Err(SnapshotError::OwnThread);
        }
        let until = deadline_in(deadline); // one for both waits
        let (asker, answer) = bounded(1);
        match self.requests.send_deadline(Request::Snapshot(asker), until) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(SnapshotError::Deadline { after: deadline }),
            Err(SendTimeoutError::Disconnected(_)) => return self.last(until),
        }
        let taken = select! {
            recv(answer) -> taken => taken.ok(),
            recv(self.answering) -> _never_sent => answer.try_recv().ok(),
            default(left_until(until)) => {
                return Err(SnapshotError::Deadline { after: deadline });
            }
        };
        match taken {
            Some(taken) => {
                self.wait_for_sinks(until);
                Ok(taken)
            }
            // It shut down before it came to this request: the last snapshot is there.
            None if self.instance.lanes.is_closed() => self.last(until),
            None => Err(SnapshotError::Ended),
        }
    }

    /// The last snapshot, after the end; no answer if the end was a fault, and not the shutdown.
    fn last(&self, until: std::time::Instant) -> Result<Arc<Snapshot>, SnapshotError> {
        self.wait_for_sinks(until);
        if self.death.get().is_some() { Err(SnapshotError::Ended) } else { Ok(self.latest.load_full()) }
    }

    fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }

    /// Waits until what was handed over by now is written. A look now and then: a message to a writer that is stuck
    /// would stay in its queue for ever, and more with each call.
    fn wait_for_sinks(&self, until: std::time::Instant) {
        let Some(queue_stats) = &self.queue_stats else { return };
        let handed = queue_stats.handed();
        while !queue_stats.has_settled(handed) && !has_passed(until) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn shutdown(&self, deadline: Duration) {
        if self.instance.lanes.is_forked() || self.has_ended() {
            return;
        }
        match self.requests.try_send(Request::Shutdown) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            // So many wait that the worker must be stuck: records are refused at least, and it ends as soon as it is
            // back, because it finds the directory closed.
            Err(TrySendError::Full(_)) => self.instance.lanes.close(),
        }
        if !is_own_thread() {
            // Nothing is ever sent: this waits for the end, or the deadline.
            let _ended = self.ended.recv_timeout(deadline);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown(self.config.drop_deadline);
        if self.instance.lanes.is_forked() {
            // The last end of a channel takes the channel's lock when it is dropped, and in the child of a fork a
            // thread that is not there may hold it. So these are not the last.
            let channels = (self.requests.clone(), self.answering.clone(), self.ended.clone());
            std::mem::forget((channels, Arc::clone(&self.step)));
        }
    }
}

/// What a shutdown came to.
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
    /// Whether the aggregator has ended; if not, it was still at work at the deadline and goes on.
    pub finished: bool,
    /// Records aggregated in the life of the instance.
    pub flushed: u64,
    /// The account of all records: lost by reason, and still in flight if it did not finish.
    pub ledger: Ledger,
}

/// The resilience switch of an instance: its state, the caller's override, and the changes since this value was made
/// (it is a subscription of its own).
///
/// ```
/// use tellane::State;
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let mut switch = telemetry.switch();
/// switch.force_off();
/// assert_eq!(switch.state(), State::Off);
/// switch.release();
/// let changes: Vec<_> = std::iter::from_fn(|| switch.next_change()).map(|change| change.to).collect();
/// assert_eq!(changes, [State::Off, State::Healthy]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Switch {
    instance: Arc<Instance>,
    /// Changes this subscription has delivered or missed.
    seen: u64,
}

impl Switch {
    /// The state, as records see it.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_off();
    /// assert_eq!(switch.state(), tellane::State::Off);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self) -> State {
        self.instance.lanes.reclaim_lease();
        self.instance.lanes.switch.position().effective()
    }

    /// Changes made so far.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_off();
    /// switch.release();
    /// assert_eq!(switch.changes(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes(&self) -> u64 {
        self.instance.lanes.switch.changes.made()
    }

    /// Turns recording off, until [`release`](Self::release). Counters and gauges go on.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let (orders, sizes) = (telemetry.counter("orders_total").register()?, telemetry.histogram("items").register()?);
    /// telemetry.switch().force_off();
    /// orders.inc();
    /// sizes.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// assert_eq!(snapshot.ledger().kind(tellane::Kind::Sample).switched_off, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn force_off(&self) {
        self.force(Override::Off);
    }

    /// Keeps recording on whatever the pipeline's health, until [`release`](Self::release).
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_on();
    /// assert_eq!(switch.state(), tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn force_on(&self) {
        self.force(Override::On);
    }

    /// Gives the switch back to the pipeline.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_off();
    /// switch.release();
    /// assert_eq!(switch.state(), tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(&self) {
        self.force(Override::None);
    }

    fn force(&self, forced: Override) {
        let lanes = &self.instance.lanes;
        if lanes.is_forked() {
            return;
        }
        lanes.switch.force(forced, lanes.uptime.millis());
        lanes.apply_mode();
    }

    /// The next change this subscription has not delivered yet, if there is one. If more than 64 happened since it
    /// was last asked, the oldest are skipped; [`changes`](Self::changes) counts them all.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut switch = telemetry.switch();
    /// assert_eq!(switch.next_change(), None);
    /// switch.force_off();
    /// assert_eq!(switch.next_change().map(|change| change.to), Some(tellane::State::Off));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_change(&mut self) -> Option<Transition> {
        self.instance.lanes.switch.changes.next(&mut self.seen)
    }

    /// Waits for the next change. It may be noticed up to 20 ms late: a producer that trips the switch makes no
    /// system call, not even to wake a subscriber.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut switch = telemetry.switch();
    /// assert_eq!(switch.wait_for_change(Duration::from_millis(1)), None);
    /// switch.force_off();
    /// assert!(switch.wait_for_change(Duration::from_secs(1)).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_change(&mut self, timeout: Duration) -> Option<Transition> {
        const LOOK: Duration = Duration::from_millis(20);
        let mut left = timeout;
        loop {
            if let Some(change) = self.next_change() {
                return Some(change);
            }
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(LOOK.min(left));
            left = left.saturating_sub(LOOK);
        }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The worker takes nothing more from the channel then, and the channel does not say so to whoever is in it.
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
