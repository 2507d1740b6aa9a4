//! Bridge from the `log` crate: records its log records into an instance. Warm: a call looks up the target and formats
//! the message on the calling thread, since the arguments cannot be read elsewhere.
//!
//! The target of a record is the target of its [`Logger`], so that levels are set by target at run time
//! ([`Telemetry::set_level`]), and records carry the ids of the current span. A record that its level turns off is not
//! formatted; one that a rate limit suppresses is counted. Key-value pairs of the `log` crate's unstable feature are
//! not read.
//!
//! Records from tellane's own threads are ignored, so that no loop can arise.

use crate::instance::Instance;
use crate::level::Level;
use crate::log::Logger;
use crate::sync::Arc;
use crate::telemetry::Telemetry;
use arrayvec::ArrayString;
use std::fmt::Write;

/// The longest message, in bytes, that is formatted without an allocation.
const SHORT: usize = 512;

/// Logger for the `log` crate that records into an instance.
///
/// ```
/// use tellane::{Level, Sink, Telemetry, bridge::log::Bridge};
/// let (sink, kept) = Sink::memory(10);
/// let telemetry = Telemetry::builder("shop").log_to(sink).start()?;
/// Bridge::install(&telemetry)?;
/// log::info!(target: "shop::cart", "{} items", 3);
/// log::debug!(target: "shop::cart", "not at this level");
/// telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let records = kept.records();
/// assert_eq!((records.len(), records[0].level, &*records[0].target), (1, Level::Info, "shop::cart"));
/// assert_eq!(records[0].message.to_string(), "3 items");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Logger")]
#[derive(Debug)]
pub struct Bridge {
    instance: Arc<Instance>,
}

impl Bridge {
    /// Creates a bridge into an instance. Pass it to the `log` crate, or call it from another logger.
    ///
    /// ```
    /// use log::Log;
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let bridge = tellane::bridge::log::Bridge::new(&telemetry);
    /// let asked = log::Metadata::builder().level(log::Level::Trace).target("shop").build();
    /// assert!(!bridge.enabled(&asked));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(telemetry: &Telemetry) -> Self {
        Self { instance: Arc::clone(telemetry.instance()) }
    }

    /// Installs a bridge as the `log` crate's logger for the life of the process, and sets the crate's maximum level to
    /// `Trace`: levels are then set by target at run time, with [`Telemetry::set_level`].
    ///
    /// ```
    /// use tellane::bridge::log::Bridge;
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// Bridge::install(&telemetry)?;
    /// assert!(Bridge::install(&telemetry).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The `log` crate's error, if a logger is installed already; then nothing is changed.
    #[doc(alias = "init")]
    pub fn install(telemetry: &Telemetry) -> Result<(), ::log::SetLoggerError> {
        ::log::set_boxed_logger(Box::new(Self::new(telemetry)))?;
        ::log::set_max_level(::log::LevelFilter::Trace);
        Ok(())
    }
}

fn level_of(level: ::log::Level) -> Level {
    match level {
        ::log::Level::Trace => Level::Trace,
        ::log::Level::Debug => Level::Debug,
        ::log::Level::Info => Level::Info,
        ::log::Level::Warn => Level::Warn,
        ::log::Level::Error => Level::Error,
    }
}

/// Emits a record; allocates if its text is long.
fn emit(logger: &Logger, record: &::log::Record<'_>) {
    let level = level_of(record.level());
    if let Some(literal) = record.args().as_str() {
        logger.emit(level, literal);
        return;
    }
    let mut short = ArrayString::<SHORT>::new();
    match short.write_fmt(*record.args()) {
        Ok(()) => logger.emit(level, &short),
        Err(_) => logger.emit(level, &record.args().to_string()),
    }
}

impl ::log::Log for Bridge {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        // In a forked child the targets' lock may be held by a thread that does not exist there.
        !self.instance.lanes.is_forked()
            && !crate::aggregate::is_own_thread()
            && self.instance.logs.target(metadata.target()).is_enabled(level_of(metadata.level()))
    }

    fn log(&self, record: &::log::Record<'_>) {
        if self.enabled(record.metadata()) {
            emit(&Logger::new(&self.instance, record.target()), record);
        }
    }

    /// Does nothing: [`Telemetry::snapshot`] waits for the sinks.
    fn flush(&self) {}
}
