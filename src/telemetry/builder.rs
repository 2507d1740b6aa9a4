//! The builder of an instance: turns settings into a running pipeline. Cold. The only file that wires the rooms
//! together.

use super::Telemetry;
use super::inner::TelemetryInner;
use super::install::{FlushOnDrop, INSTALLED, Installing};
use crate::aggregate::{Death, FailPoint, FailPoints, Pacing, Step, Thresholds, Worker, become_own_thread};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::StartError;
use crate::export::{Sink, Writer};
use crate::instance::{Instance, enlist, install_global};
use crate::lane::{LaneRegistry, Limits, watch_forks};
use crate::level::Level;
use crate::sampling::{HeadersRefused, RateLimit, Sampling};
use crate::series::Caps;
use crate::snapshot::{Snapshot, log_queue};
use crate::sync::{Mutex, fixed};
use crate::targets::LogSettings;
use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, bounded};
use std::sync::Arc;

/// Requests that may wait for the aggregator.
const REQUESTS: usize = 64;

/// Collects the settings, the clock and the sinks of an instance; made by [`Telemetry::builder`].
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
    fail_points: FailPoints,
}

impl Builder {
    /// Replaces all settings of the builder.
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

    /// Sets the sampling ratio: the share of new traces whose spans are kept, from 0 to 1 ([`Config::sampling`]).
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// drop(telemetry.tracer().span("order"));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.spans().count(), 0); // the span is not kept,
    /// assert_eq!(snapshot.span_durations("order").map(|taken| taken.count()), Some(1)); // its duration is
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sampler")]
    #[doc(alias = "sample_rate")]
    pub fn sampling(mut self, share: f64) -> Self {
        self.config.sampling = share;
        self
    }

    /// Sets the clock, such as a [`Clock::mock`] in tests. The default is the system's clock.
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

    /// Adds a sink for log records. Without a sink, log records are counted and discarded.
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
    #[doc(alias = "sink")]
    #[doc(alias = "appender")]
    #[doc(alias = "exporter")]
    pub fn log_to(mut self, sink: Sink) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Sets the default level of all log targets ([`Config::log_level`]).
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

    /// Runs `hook` inside the aggregator, where it may panic or stall. For fault-injection tests.
    #[doc(hidden)]
    pub fn inject(mut self, hook: impl Fn(FailPoint) + Send + Sync + 'static) -> Self {
        self.fail_points = FailPoints(Some(Arc::new(hook)));
        self
    }

    /// Starts a separate instance: lanes, metrics and an aggregator thread.
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
    /// cannot create a thread.
    pub fn start(self) -> Result<Telemetry, StartError> {
        let faults = self.config.faults();
        if !faults.is_empty() {
            return Err(StartError::Config(faults));
        }
        watch_forks();
        let (instance, mut step) = self.parts();
        let receiver = (!self.sinks.is_empty()).then(|| {
            let (sender, receiver) = log_queue(&instance);
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
            fail_points: self.fail_points,
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
        let inner =
            TelemetryInner { instance, config, step, latest, requests, answering, queue_stats, ended, death };
        Ok(Telemetry(Arc::new(inner), None))
    }

    /// Starts an instance and makes it the global one, which statics record into. A process can install one instance in
    /// its lifetime.
    ///
    /// Keep the returned handle until the end of `main`. Its drop flushes: within [`Config::drop_deadline`], everything
    /// recorded before is aggregated and log records are written. The drop does not end the instance, and statics go on
    /// recording; [`Telemetry::installed`] returns another handle. Only [`Telemetry::shutdown`] ends it; from then on,
    /// statics drop their records and count them. Records made after the last flush and before the end of the process
    /// are not written.
    ///
    /// ```
    /// use tellane::{LazyCounter, StartError, Telemetry};
    /// static ORDERS: LazyCounter = tellane::counter!("orders_total", "Orders placed.");
    ///
    /// let telemetry = Telemetry::builder("shop").install()?;
    /// assert!(matches!(Telemetry::builder("shop").install(), Err(StartError::AlreadyInstalled)));
    /// drop(telemetry); // flushes
    /// ORDERS.inc(); // is still counted
    /// let telemetry = Telemetry::installed().expect("installed above");
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`start`](Self::start), [`StartError::AlreadyInstalled`], and [`StartError::Forked`]; then nothing was
    /// started.
    #[doc(alias = "init")]
    #[doc(alias = "set_global")]
    #[doc(alias = "set_global_default")]
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
        // Relaxed: a unique number that publishes nothing.
        let instance = INSTANCES.fetch_add(1, fixed::Ordering::Relaxed);
        let lanes = Arc::new(LaneRegistry::new(instance, limits, clock, config.stall_after, config.retry));
        let caps = Caps { series: config.series_cap, names: config.names_cap, label: config.label_value_max };
        let sampling = Sampling {
            ratio: config.sampling,
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
        let instance = Arc::new(Instance::new(lanes, caps, sampling, logs));
        let service = Arc::clone(&self.service);
        let step = Step::new(Arc::clone(&instance), service, config.kept_spans, self.fail_points.clone());
        let step = match &config.tail_sampling {
            Some(tail_sampling) => step.holding(tail_sampling),
            None => step,
        };
        (instance, step)
    }
}

impl Telemetry {
    /// A builder of an instance for the named service, with default settings.
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
            fail_points: FailPoints::default(),
        }
    }
}

/// Starts the thread that writes to the sinks. The thread ends when the aggregator has closed its end of the queue, and
/// the instance ends only after the thread.
fn write_logs(writer: Writer, latest: Arc<ArcSwap<Snapshot>>, alive: Sender<()>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("tellane-log".into());
    let work = move || {
        become_own_thread();
        let lanes = Arc::clone(&writer.instance.lanes);
        writer.run();
        // Log records that were in flight when the last snapshot was taken are written now, so its ledger is replaced.
        let mut last = Snapshot::clone(&latest.load());
        last.ledger = lanes.ledger();
        latest.store(Arc::new(last));
        drop(alive);
    };
    thread.spawn(work).map(drop)
}
