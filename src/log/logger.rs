//! The [`Logger`] handle, and the path of a log record into the thread's lane. Hot: `wants` and `write`; functions
//! marked `#[cold]` are the slow paths.

use super::builder::LogRecordBuilder;
use super::write::{LoggerInner, MessageSource};
use crate::instance::{Instance, global};
use crate::lane::local;
use crate::level::Level;
use crate::names::Attribute;
use crate::stats::Kind;
use crate::sync::Arc;
use crate::targets::Callsite;
use std::error::Error;

/// A handle that makes log records under one name, its target. Cheap to clone and to keep. Creating the first logger of
/// a name takes a lock.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").log_to(tellane::Sink::stderr(Default::default())).start()?;
/// let log = telemetry.logger("shop::cart");
/// tellane::info!(log, "checked out", items = 3, "payment.method" = "card");
/// log.warn("stock is low");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Logger(Option<LoggerInner>);

impl Logger {
    /// Creates a logger that discards all records.
    ///
    /// ```
    /// use tellane::{Level, Logger};
    /// assert!(!Logger::noop().enabled(Level::Error));
    /// ```
    pub const fn noop() -> Self {
        Self(None)
    }

    pub(crate) fn new(instance: &Arc<Instance>, target: &str) -> Self {
        if instance.lanes.is_forked() {
            return Self(None); // the lock of the targets may be held by a thread that the fork did not copy
        }
        let target = Arc::clone(instance.logs.target(target));
        Self(Some(LoggerInner { target, instance: Arc::clone(instance) }))
    }

    /// Returns `true` if the target's level lets records of this level through. The switch is not considered.
    ///
    /// ```
    /// use tellane::Level;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let log = telemetry.logger("shop::cart");
    /// assert!(log.enabled(Level::Info) && !log.enabled(Level::Debug));
    /// telemetry.set_level("shop", Level::Debug);
    /// assert!(log.enabled(Level::Debug));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "is_enabled")]
    #[doc(alias = "log_enabled")]
    #[inline(always)]
    pub fn enabled(&self, level: Level) -> bool {
        match &self.0 {
            Some(inner) => inner.target.is_enabled(level),
            None => false,
        }
    }

    /// The name that the logger was created with; empty for a no-op logger.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert_eq!(telemetry.logger("shop::cart").target(), "shop::cart");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn target(&self) -> &str {
        self.0.as_ref().map_or("", |inner| &inner.target.text)
    }

    /// Logs a message at TRACE level, for following the program step by step.
    ///
    /// ```
    /// tellane::Logger::noop().trace("one more item");
    /// ```
    #[inline]
    pub fn trace(&self, message: &str) {
        self.emit(Level::Trace, message);
    }

    /// Logs a message at DEBUG level, for debugging.
    ///
    /// ```
    /// tellane::Logger::noop().debug("the cart is empty");
    /// ```
    #[inline]
    pub fn debug(&self, message: &str) {
        self.emit(Level::Debug, message);
    }

    /// Logs a message at INFO level, for normal operation.
    ///
    /// ```
    /// let (sink, kept) = tellane::Sink::memory(10);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// telemetry.logger("shop").info("open");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].message, "open");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn info(&self, message: &str) {
        self.emit(Level::Info, message);
    }

    /// Logs a message at WARN level, for problems that the program can go on with.
    ///
    /// ```
    /// tellane::Logger::noop().warn("stock is low");
    /// ```
    #[inline]
    pub fn warn(&self, message: &str) {
        self.emit(Level::Warn, message);
    }

    /// Logs a message at ERROR level, for failures. To log an error value, see [`exception`](Self::exception).
    ///
    /// ```
    /// tellane::Logger::noop().error("the till is on fire");
    /// ```
    #[inline]
    pub fn error(&self, message: &str) {
        self.emit(Level::Error, message);
    }

    /// Logs a message at a level that is only known at run time. For the rate limit
    /// [`Config::logs_per_second`](crate::Config::logs_per_second), all messages that a target emits in this way at one
    /// level count as one statement.
    ///
    /// ```
    /// tellane::Logger::noop().emit(tellane::Level::Info, "open");
    /// ```
    #[doc(alias = "log")]
    #[inline]
    pub fn emit(&self, level: Level, message: &str) {
        if self.enabled(level) {
            write(self, level, Err(message), &[]);
        }
    }

    /// Begins a record whose fields are set one by one, for cases that the macros do not cover.
    ///
    /// ```
    /// use tellane::Level;
    /// let (sink, kept) = tellane::Sink::memory(10);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// telemetry.logger("shop").at(Level::Warn).with("left", 3).emit("stock is low");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].fields[0].0, "left");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "builder")]
    #[doc(alias = "record")]
    pub fn at(&self, level: Level) -> LogRecordBuilder<'_> {
        LogRecordBuilder::new(self.0.as_ref().filter(|inner| inner.target.is_enabled(level)), level)
    }

    /// Logs an error at ERROR level. The message is the error's text; its causes become the fields `error.cause`,
    /// `error.cause.2` and so on, four at most. Texts are cut at 1,024 bytes.
    ///
    /// ```
    /// let (sink, kept) = tellane::Sink::memory(10);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// telemetry.logger("shop").exception(&std::io::Error::other("the till is on fire"));
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].message, "the till is on fire");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "record_error")]
    #[doc(alias = "record_exception")]
    pub fn exception(&self, error: &dyn Error) {
        let mut record = self.at(Level::Error);
        if record.is_on() {
            record.set_causes(error);
            super::builder::with_text_of(&error, |text| record.emit(text));
        }
    }

    /// Logs a message together with an error, at ERROR level. The error's text becomes the field `error`; its causes
    /// become fields as in [`exception`](Self::exception).
    ///
    /// ```
    /// let (sink, kept) = tellane::Sink::memory(10);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// telemetry.logger("shop").error_with(&std::io::Error::other("no paper"), "the receipt was not printed");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let record = &kept.records()[0];
    /// assert_eq!((&*record.fields[0].0, record.fields[0].1.to_string()), ("error", "no paper".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn error_with(&self, error: &dyn Error, message: &str) {
        let mut record = self.at(Level::Error);
        if record.is_on() {
            record.set_error(error);
            record.emit(message);
        }
    }
}

/// Creates a logger of the installed instance. Before [`install`](crate::Builder::install) it returns a no-op logger.
/// Keep the logger rather than creating one for each record.
///
/// ```
/// tellane::logger("early").info("nobody hears this");
/// let (sink, kept) = tellane::Sink::memory(10);
/// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).install()?;
/// tellane::logger("shop").info("open");
/// telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(kept.records().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "get_logger")]
pub fn logger(target: &str) -> Logger {
    global().map_or(Logger::noop(), |instance| Logger::new(instance, target))
}

/// Returns `true` if the macros should make a record: its level is on, and the switch lets it through. A record that
/// the switch suppresses is counted. Inlined, so that a disabled statement makes no call and builds no fields.
#[doc(hidden)]
#[inline(always)]
pub fn wants(logger: &Logger, level: Level) -> bool {
    let Some(inner) = logger.0.as_ref().filter(|inner| inner.target.is_enabled(level)) else { return false };
    // `None`: the thread is not attached yet. `write` attaches it and looks at the switch then.
    local::lets_through(inner.target.base, Kind::Log).unwrap_or(true)
}

/// Makes a record of a level that is on, for the macros. The message is that of a statement, or a text.
#[doc(hidden)]
#[inline(never)]
pub fn write(
    logger: &Logger,
    level: Level,
    message: Result<&'static Callsite, &str>,
    fields: &[(&'static str, Attribute<'_>)],
) {
    let Some(inner) = &logger.0 else { return };
    let message = message.map_or_else(MessageSource::Text, MessageSource::Statement);
    let written = local::with_lane(inner.target.base, |local| inner.write(&local, level, message, fields));
    if written.is_none() {
        inner.attach_and(|local| inner.write(local, level, message, fields));
    }
}
