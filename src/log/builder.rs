//! Builds a log record field by field, and records errors with their causes. Each field is encoded when it is set. The
//! only allocation is a block for records that do not fit 32 words.

use super::write::{LoggerInner, MessageSource};
use crate::instance::{key_number, push};
use crate::lane::local;
use crate::level::Level;
use crate::names::Attribute;
use crate::record::Items;
use arrayvec::ArrayString;
use std::error::Error;
use std::fmt::{self, Display, Write};

/// The most bytes of an error's text.
const ERROR_MAX: usize = 1_024;
/// The keys of an error's causes, the direct cause first.
pub(crate) const CAUSES: [&str; 4] = ["error.cause", "error.cause.2", "error.cause.3", "error.cause.4"];

/// A log record under construction, created by [`Logger::at`](crate::Logger::at). [`emit`](Self::emit) records it; if
/// the builder is dropped without that, nothing is recorded.
///
/// ```
/// use tellane::Level;
/// let (sink, kept) = tellane::Sink::memory(10);
/// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
/// let log = telemetry.logger("shop");
/// let mut record = log.at(Level::Info);
/// for (key, count) in [("apples", 3), ("pears", 4)] {
///     record.set(key, count);
/// }
/// record.emit("sold");
/// telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(kept.records()[0].fields.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is recorded until `emit` is called"]
pub struct LogRecordBuilder<'a> {
    /// The logger; `None` if the level is off.
    logger: Option<&'a LoggerInner>,
    level: Level,
    fields: Items,
    dropped: u16,
    /// The number of causes among the fields; setting another error removes those that it does not replace.
    causes: usize,
}

impl<'a> LogRecordBuilder<'a> {
    pub(super) fn new(logger: Option<&'a LoggerInner>, level: Level) -> Self {
        Self { logger, level, fields: Items::default(), dropped: 0, causes: 0 }
    }

    /// Returns `true` if the level is on, so that [`emit`](Self::emit) makes a record.
    ///
    /// ```
    /// use tellane::{Level, Logger};
    /// assert!(!Logger::noop().at(Level::Error).is_on());
    /// ```
    pub fn is_on(&self) -> bool {
        self.logger.is_some()
    }

    /// Adds a field. A key that is set again keeps its position and gets the new value.
    ///
    /// ```
    /// let log = tellane::Logger::noop();
    /// let mut record = log.at(tellane::Level::Info);
    /// record.set("left", 3);
    /// ```
    #[doc(alias = "field")]
    #[doc(alias = "set_attribute")]
    #[doc(alias = "kv")]
    pub fn set<'v>(&mut self, key: &'static str, value: impl Into<Attribute<'v>>) {
        let Some(logger) = self.logger else { return };
        let value = value.into();
        let most = logger.instance.logs.settings.value;
        let kept = key_number(logger.target.base, key).is_some_and(|key| {
            push(&mut self.fields, key, value, most).is_ok() || self.set_slow(logger, key, value)
        });
        if !kept {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Slow path of [`set`](Self::set): the fields no longer fit the inline words ([`Items::FRAME`]).
    #[cold]
    fn set_slow(&mut self, logger: &LoggerInner, key: u32, value: Attribute<'_>) -> bool {
        let Self { level, fields, .. } = self;
        let put = |local: local::LocalLane<'_>| logger.put_slow(&local, *level, fields, key, value, true);
        local::with_lane(logger.target.base, put).unwrap_or(false)
    }

    /// Adds a field and returns the builder, for chaining.
    ///
    /// ```
    /// tellane::Logger::noop().at(tellane::Level::Info).with("left", 3).emit("stock is low");
    /// ```
    pub fn with<'v>(mut self, key: &'static str, value: impl Into<Attribute<'v>>) -> Self {
        self.set(key, value);
        self
    }

    /// Adds an error and its causes, as the fields `error`, `error.cause`, `error.cause.2` and so on. Setting another
    /// error replaces them.
    ///
    /// ```
    /// use tellane::Level;
    /// let (sink, kept) = tellane::Sink::memory(10);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// let log = telemetry.logger("shop");
    /// let mut record = log.at(Level::Warn);
    /// record.set_error(&std::io::Error::other("no paper"));
    /// record.emit("the receipt was not printed");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].fields[0].0, "error");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "record_error")]
    #[doc(alias = "record_exception")]
    pub fn set_error(&mut self, error: &dyn Error) {
        if self.is_on() {
            with_text_of(error, |text| self.set("error", text));
            self.set_causes(error);
        }
    }

    /// Adds the causes of an error, and removes those of an error that was set before.
    pub(super) fn set_causes(&mut self, error: &dyn Error) {
        let mut cause = error.source();
        let mut causes = 0;
        while let (Some(present), Some(key)) = (cause, CAUSES.get(causes)) {
            with_text_of(present, |text| self.set(key, text));
            cause = present.source();
            causes += 1;
        }
        if cause.is_some() {
            self.dropped = self.dropped.saturating_add(1);
        }
        let of_earlier = CAUSES.get(causes..self.causes).unwrap_or_default();
        of_earlier.iter().for_each(|key| self.remove(key));
        self.causes = causes;
    }

    #[cold]
    fn remove(&mut self, key: &'static str) {
        let number = self.logger.and_then(|logger| key_number(logger.target.base, key));
        if let Some(number) = number {
            self.fields.remove(number);
        }
    }

    /// Records the message with the fields set so far.
    ///
    /// ```
    /// tellane::Logger::noop().at(tellane::Level::Info).emit("open");
    /// ```
    #[doc(alias = "log")]
    #[doc(alias = "send")]
    #[doc(alias = "msg")]
    pub fn emit(self, message: &str) {
        let Some(logger) = self.logger else { return };
        let Self { level, fields, dropped, .. } = self;
        logger.attach_and(|local| {
            let mut text = Items::default();
            let for_fields = || fields.len();
            if let Some(now) = logger.begin(local, level, MessageSource::Text(message), &mut text, for_fields)
            {
                logger.send_long(local, (level, now), text, fields, dropped);
            }
        });
    }
}

/// Formats a value into a buffer on the stack and passes the text to `act`: formatting an error must not allocate,
/// though its `Display` may be the program's own code. A text that does not fit the buffer ends in `…`.
pub(crate) fn with_text_of<R>(value: &(impl Display + ?Sized), act: impl FnOnce(&str) -> R) -> R {
    let mut buffer = Buffer(ArrayString::new());
    // If the buffer is full or the `Display` fails, the text written so far is used.
    let _cut = write!(buffer, "{value}");
    act(&buffer.0)
}

/// A text buffer on the stack. A write that does not fit is cut, marked with `…`, and fails.
struct Buffer(ArrayString<ERROR_MAX>);

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const ELLIPSIS: &str = "…";
        let room = self.0.remaining_capacity().saturating_sub(ELLIPSIS.len());
        if text.len() <= room {
            return self.0.try_push_str(text).map_err(|_| fmt::Error);
        }
        let kept = &text[..text.floor_char_boundary(room)];
        let _fits = self.0.try_push_str(kept).and_then(|()| self.0.try_push_str(ELLIPSIS));
        Err(fmt::Error)
    }
}
