//! The handle, and a record's way into the lane.

use super::builder::LogRecordBuilder;
use crate::instance::{Instance, entry, global, more_room, push};
use crate::lane::{Ids, local};
use crate::level::Level;
use crate::names::{Attribute, OVERFLOW_KEY};
use crate::record::{Items, Refused, layout, log_header};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::targets::{Callsite, LogTarget};
use std::error::Error;

/// Makes log records under one name, its target. Cheap to clone, and to keep. Getting one takes a lock the first time
/// that a name is used.
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

#[derive(Clone, Debug)]
pub(super) struct LoggerInner {
    pub(super) target: Arc<LogTarget>,
    pub(super) instance: Arc<Instance>,
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message<'a> {
    Statement(&'static Callsite),
    Text(&'a str),
}

impl Logger {
    /// A logger whose records go nowhere.
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
            return Self(None); // the lock that gives out targets may be held by a thread that is not there
        }
        let target = Arc::clone(instance.logs.target(target));
        Self(Some(LoggerInner { target, instance: Arc::clone(instance) }))
    }

    /// Whether records of this level are made now: by the target's level, not by the switch.
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
    #[inline(always)]
    pub fn enabled(&self, level: Level) -> bool {
        match &self.0 {
            Some(source) => source.target.lets(level),
            None => false,
        }
    }

    /// The name it was made with.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert_eq!(telemetry.logger("shop::cart").target(), "shop::cart");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn target(&self) -> &str {
        self.0.as_ref().map_or("", |source| &source.target.text)
    }

    /// Says something step by step.
    ///
    /// ```
    /// tellane::Logger::noop().trace("one more item");
    /// ```
    #[inline]
    pub fn trace(&self, message: &str) {
        self.emit(Level::Trace, message);
    }

    /// Says something to who is looking for a fault.
    ///
    /// ```
    /// tellane::Logger::noop().debug("the cart is empty");
    /// ```
    #[inline]
    pub fn debug(&self, message: &str) {
        self.emit(Level::Debug, message);
    }

    /// Says what happens in the normal run.
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

    /// Says that something is not as it was meant.
    ///
    /// ```
    /// tellane::Logger::noop().warn("stock is low");
    /// ```
    #[inline]
    pub fn warn(&self, message: &str) {
        self.emit(Level::Warn, message);
    }

    /// Says that something failed. See [`exception`](Self::exception) for an error at hand.
    ///
    /// ```
    /// tellane::Logger::noop().error("the till is on fire");
    /// ```
    #[inline]
    pub fn error(&self, message: &str) {
        self.emit(Level::Error, message);
    }

    /// Says something at a level that is known only when the program runs. All that a target says in this way at one
    /// level counts as one statement for [`Config::logs_per_second`](crate::Config::logs_per_second).
    ///
    /// ```
    /// tellane::Logger::noop().emit(tellane::Level::Info, "open");
    /// ```
    #[inline]
    pub fn emit(&self, level: Level, message: &str) {
        if self.enabled(level) {
            write(self, level, Err(message), &[]);
        }
    }

    /// Begins a record that is given its fields one by one. For what the macros cannot say.
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
    pub fn at(&self, level: Level) -> LogRecordBuilder<'_> {
        LogRecordBuilder::new(self.0.as_ref().filter(|source| source.target.lets(level)), level)
    }

    /// Records an error: what it says is the message, what caused it stands in the fields `error.cause`,
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
    pub fn exception(&self, error: &dyn Error) {
        let mut draft = self.at(Level::Error);
        if draft.is_on() {
            draft.causes(error);
            super::builder::with_text_of(&error, |text| draft.emit(text));
        }
    }

    /// Records an error together with what it means here: the error stands in the field `error`, what caused it as in
    /// [`exception`](Self::exception).
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
        let mut draft = self.at(Level::Error);
        if draft.is_on() {
            draft.set_error(error);
            draft.emit(message);
        }
    }
}

/// A logger of the installed instance; before [`install`](crate::Builder::install) one whose records go nowhere. Keep
/// it where you can.
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
pub fn logger(target: &str) -> Logger {
    global().map_or(Logger::noop(), |instance| Logger::new(instance, target))
}

/// Whether a record should be made now: its level is on, and the switch lets it through. One that the switch keeps out
/// is counted. The macros' way; what is off so makes no call and no fields.
#[doc(hidden)]
#[inline(always)]
pub fn wants(logger: &Logger, level: Level) -> bool {
    let Some(source) = logger.0.as_ref().filter(|source| source.target.lets(level)) else { return false };
    // A thread that is not at the instance yet: `write` sees to it.
    local::lets_through(source.target.base, Kind::Log).unwrap_or(true)
}

/// Makes a record of a level that is on: of a statement, or of a text. The macros' way.
#[doc(hidden)]
#[inline(never)]
pub fn write(
    logger: &Logger,
    level: Level,
    said: Result<&'static Callsite, &str>,
    fields: &[(&'static str, Attribute<'_>)],
) {
    let Some(source) = &logger.0 else { return };
    let said = said.map_or_else(Message::Text, Message::Statement);
    let written = local::with_lane(source.target.base, |local| source.write(&local, level, said, fields));
    if written.is_none() {
        source.enter_and(|local| source.write(local, level, said, fields));
    }
}

/// Words of a record before its items, at most.
const HEAD_WORDS: usize = layout::LOG_WORDS + 3;

/// Words of a field, if its text is kept whole.
fn words_of(value: &Attribute<'_>) -> usize {
    match value {
        Attribute::Str(text) => 1 + text.len().div_ceil(8),
        Attribute::I64(_) | Attribute::U64(_) | Attribute::F64(_) => 2,
        Attribute::Bool(_) => 1,
    }
}

impl LoggerInner {
    #[inline(always)]
    fn write(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        said: Message<'_>,
        fields: &[(&'static str, Attribute<'_>)],
    ) {
        let mut items = Items::default();
        let for_fields = || fields.iter().map(|(_, value)| words_of(value)).sum();
        let Some(now) = self.begin(local, level, said, &mut items, for_fields) else { return };
        let mut dropped = 0;
        for (key, value) in fields {
            let Some(key) = self.key(local, key) else {
                dropped += 1;
                continue;
            };
            let most = self.instance.logs.settings.value;
            if push(&mut items, key, *value, most).is_err()
                && !self.put(local, level, &mut items, key, *value, false)
            {
                dropped += 1;
            }
        }
        if items.has_block() {
            self.send_long(local, (level, now), items, Items::default(), dropped);
        } else {
            self.send(local, (level, now), [items.inline()], dropped);
        }
    }

    /// The time of a record, if it is to be made, and its message: into the caller's items, which are too large to be
    /// handed back. A message that does not fit leaves room for as many words of fields as `for_fields` says.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        said: Message<'_>,
        items: &mut Items,
        for_fields: impl FnOnce() -> usize,
    ) -> Option<u64> {
        let (lane, logs) = (local.lane, &self.instance.logs);
        if !lane.ring.lets_samples_through() {
            local.skip_log();
            return None;
        }
        if level < Level::Warn && !lane.ring.lets_spans_through() {
            lane.tally.dropped(Kind::Log, Reason::Degraded);
            return None;
        }
        let callsite = match said {
            Message::Statement(callsite) => {
                callsite.number().filter(|callsite| logs.knows(*callsite)).or_else(|| self.meet(callsite))
            }
            Message::Text(_) => None,
        };
        let now = local.lanes.clock.ticks();
        if !logs.admits(&self.target, level, callsite, now) {
            lane.tally.held_back();
            return None;
        }
        if let Some(callsite) = callsite {
            let there = items.push_site(callsite);
            debug_assert_eq!(there, Ok(()), "the frame is empty");
        } else {
            let text = match said {
                Message::Statement(callsite) => callsite.message,
                Message::Text(text) => text,
            };
            if items.push_said(text, usize::from(logs.settings.value)).is_err() {
                self.begin_long(local, level, text, items, for_fields());
            }
        }
        Some(now)
    }

    /// A statement that nobody has met, or nobody at this instance.
    #[cold]
    #[inline(never)]
    fn meet(&self, callsite: &'static Callsite) -> Option<u32> {
        local::without_recording(|| {
            let number = callsite.number().or_else(|| callsite.meet())?;
            self.instance.logs.meet(number);
            Some(number)
        })
    }

    /// The number of a key, if it has one.
    #[inline(always)]
    fn key(&self, local: &local::LocalLane<'_>, key: &'static str) -> Option<u32> {
        local.thread_state.keys.get(key, 0).or_else(|| self.meet_key(local, key))
    }

    #[cold]
    #[inline(never)]
    fn meet_key(&self, local: &local::LocalLane<'_>, key: &'static str) -> Option<u32> {
        let number = Some(self.instance.names.key(key)).filter(|number| *number != OVERFLOW_KEY)?;
        local.thread_state.keys.insert(key, 0, number);
        Some(number)
    }

    /// A message that the frame has no room for. Its beginning is kept, as much of it as the fields leave room for, and
    /// an eighth of the room at least.
    #[cold]
    #[inline(never)]
    fn begin_long(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        text: &str,
        items: &mut Items,
        for_fields: usize,
    ) {
        self.grow(local, level, items, false);
        let room = items.room();
        let room = room.saturating_sub(for_fields).max(room / 8);
        let said = items.push_said_cut(text, usize::from(self.instance.logs.settings.value), room);
        debug_assert_eq!(said, Ok(()), "the smallest ring has room for some words");
    }

    /// A field that finds no room: takes the place of an earlier value of its key, or of what earlier values leave, or
    /// goes into a block. The block leaves room to a message if that lies elsewhere.
    #[cold]
    #[inline(never)]
    pub(super) fn put(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        items: &mut Items,
        key: u32,
        value: Attribute<'_>,
        message_elsewhere: bool,
    ) -> bool {
        let entry = entry(key, value, self.instance.logs.settings.value);
        let mut left = u16::MAX / 2; // fields are bounded by their words alone
        let mut put = items.put(0, entry, &mut left);
        if put == Err(Refused::NoRoom) && !items.has_block() {
            self.grow(local, level, items, message_elsewhere);
            put = items.put(0, entry, &mut left);
        }
        put.is_ok()
    }

    #[cold]
    fn grow(&self, local: &local::LocalLane<'_>, level: Level, items: &mut Items, message_elsewhere: bool) {
        let room = local.longest_log(level).saturating_sub(HEAD_WORDS);
        // A message of up to a frame's words is not measured against what the fields left.
        let for_message = if message_elsewhere { (room / 8).max(Items::FRAME) } else { 0 };
        let longest = room.saturating_sub(for_message);
        items.give_block(more_room(self.target.base), longest);
    }

    #[inline(always)]
    fn send<const M: usize>(
        &self,
        local: &local::LocalLane<'_>,
        (level, now): (Level, u64),
        items: [&[u64]; M],
        dropped: u16,
    ) {
        let length = items.iter().map(|part| part.len()).sum::<usize>();
        let span = local.thread_state.spans.current().filter(Ids::is_span);
        let header =
            |words| log_header(self.target.id, words + length, level as u64, span.is_some(), dropped);
        let sent = match span {
            Some(ids) => {
                let (high, low) = ((ids.trace_id >> 64) as u64, ids.trace_id as u64);
                local.push_log(level, [header(layout::LOG_WORDS + 3), now, high, low, ids.span_id], items)
            }
            None => local.push_log(level, [header(layout::LOG_WORDS), now], items),
        };
        if !sent {
            local.lanes.suspect_stall(local.lane, now);
        }
    }

    /// A record with more than the usual few words, in up to two parts.
    #[cold]
    #[inline(never)]
    pub(super) fn send_long(
        &self,
        local: &local::LocalLane<'_>,
        made: (Level, u64),
        mut said: Items,
        mut fields: Items,
        dropped: u16,
    ) {
        let spanned = local.thread_state.spans.current().map_or(0, |_| 3);
        if layout::LOG_WORDS + spanned + said.len() + fields.len() > layout::WORDS_MAX {
            local.lane.tally.dropped(Kind::Log, Reason::Oversize);
        } else {
            self.send(local, made, [said.words(), fields.words()], dropped);
        }
        for block in [said.take_block(), fields.take_block()].into_iter().flatten() {
            let surplus = local.thread_state.blocks.give(block);
            local::without_recording(|| drop(surplus));
        }
    }

    /// Brings this thread to the instance first; if that cannot be, the record is counted as lost.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_and(&self, act: impl FnOnce(&local::LocalLane<'_>)) {
        let lanes = &self.instance.lanes;
        let reason = match local::attach(lanes) {
            Ok(()) => match local::with_lane(self.target.base, |local| act(&local)) {
                Some(()) => return,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        if lanes.admits_unattached(Kind::Log, reason) {
            lanes.shared.shared_dropped(Kind::Log, reason); // there are no shared counts for texts
        }
    }
}
