//! A record that is given its fields one by one, and errors with what caused them. Encoded as it is made; allocates
//! nothing but a block for what does not fit 32 words.

use super::logger::{LoggerInner, Message};
use crate::instance::{key_number, push};
use crate::lane::local;
use crate::level::Level;
use crate::names::Attribute;
use crate::record::Items;
use arrayvec::ArrayString;
use std::error::Error;
use std::fmt::{self, Display, Write};

/// Bytes of an error's text.
const ERROR_MAX: usize = 1_024;
/// Errors of a chain, behind the first.
pub(crate) const CAUSES: [&str; 4] = ["error.cause", "error.cause.2", "error.cause.3", "error.cause.4"];

/// A log record that is being made; see [`Logger::at`](crate::Logger::at). It is made by [`emit`](Self::emit), and
/// forgotten without.
///
/// ```
/// use tellane::Level;
/// let (sink, kept) = tellane::Sink::memory(10);
/// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
/// let log = telemetry.logger("shop");
/// let mut draft = log.at(Level::Info);
/// for (key, count) in [("apples", 3), ("pears", 4)] {
///     draft.set(key, count);
/// }
/// draft.emit("sold");
/// telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(kept.records()[0].fields.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is recorded before `say`"]
pub struct LogRecordBuilder<'a> {
    /// `None` if the level is off.
    source: Option<&'a LoggerInner>,
    level: Level,
    fields: Items,
    dropped: u16,
    /// Causes among the fields: those of an error that is set again go with it.
    causes: usize,
}

impl<'a> LogRecordBuilder<'a> {
    pub(super) fn new(source: Option<&'a LoggerInner>, level: Level) -> Self {
        Self { source, level, fields: Items::default(), dropped: 0, causes: 0 }
    }

    /// Whether it will be recorded if said: the level is on.
    ///
    /// ```
    /// use tellane::{Level, Logger};
    /// assert!(!Logger::noop().at(Level::Error).is_on());
    /// ```
    pub fn is_on(&self) -> bool {
        self.source.is_some()
    }

    /// Adds a field. A key that is set again keeps its place and has the last value.
    ///
    /// ```
    /// let log = tellane::Logger::noop();
    /// let mut draft = log.at(tellane::Level::Info);
    /// draft.set("left", 3);
    /// ```
    pub fn set<'v>(&mut self, key: &'static str, value: impl Into<Attribute<'v>>) {
        let Some(source) = self.source else { return };
        let value = value.into();
        let most = source.instance.logs.settings.value;
        let kept = key_number(source.target.base, key).is_some_and(|key| {
            push(&mut self.fields, key, value, most).is_ok() || self.put(source, key, value)
        });
        if !kept {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    #[cold]
    fn put(&mut self, source: &LoggerInner, key: u32, value: Attribute<'_>) -> bool {
        let Self { level, fields, .. } = self;
        let put = |local: local::LocalLane<'_>| source.put(&local, *level, fields, key, value, true);
        local::with_lane(source.target.base, put).unwrap_or(false)
    }

    /// Adds a field, and hands the draft on.
    ///
    /// ```
    /// tellane::Logger::noop().at(tellane::Level::Info).with("left", 3).emit("stock is low");
    /// ```
    pub fn with<'v>(mut self, key: &'static str, value: impl Into<Attribute<'v>>) -> Self {
        self.set(key, value);
        self
    }

    /// Adds an error and what caused it, as the fields `error`, `error.cause`, `error.cause.2` and so on. Another error
    /// takes its place.
    ///
    /// ```
    /// use tellane::Level;
    /// let (sink, kept) = tellane::Sink::memory(10);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// let log = telemetry.logger("shop");
    /// let mut draft = log.at(Level::Warn);
    /// draft.set_error(&std::io::Error::other("no paper"));
    /// draft.emit("the receipt was not printed");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].fields[0].0, "error");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_error(&mut self, error: &dyn Error) {
        if self.is_on() {
            with_text_of(error, |text| self.set("error", text));
            self.causes(error);
        }
    }

    pub(super) fn causes(&mut self, error: &dyn Error) {
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
        let of_another = CAUSES.get(causes..self.causes).unwrap_or_default();
        of_another.iter().for_each(|key| self.remove(key));
        self.causes = causes;
    }

    #[cold]
    fn remove(&mut self, key: &'static str) {
        let number = self.source.and_then(|source| key_number(source.target.base, key));
        if let Some(number) = number {
            self.fields.remove(number);
        }
    }

    /// Makes the record.
    ///
    /// ```
    /// tellane::Logger::noop().at(tellane::Level::Info).emit("open");
    /// ```
    pub fn emit(self, message: &str) {
        let Some(source) = self.source else { return };
        let Self { level, fields, dropped, .. } = self;
        source.enter_and(|local| {
            let mut said = Items::default();
            let for_fields = || fields.len();
            if let Some(now) = source.begin(local, level, Message::Text(message), &mut said, for_fields) {
                source.send_long(local, (level, now), said, fields, dropped);
            }
        });
    }
}

/// What something says, written into a buffer of this frame: an error's text must not allocate, and its `Display` may
/// be somebody else's. What is longer gets cut when it is set.
pub(crate) fn with_text_of<R>(what: &(impl Display + ?Sized), act: impl FnOnce(&str) -> R) -> R {
    let mut buffer = Buffer(ArrayString::new());
    // Neither a full buffer nor a `Display` that fails is worth more than what came before.
    let _cut = write!(buffer, "{what}");
    act(&buffer.0)
}

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
