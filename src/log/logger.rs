//! The handle, and a record's way into the lane.

use super::draft::LogDraft;
use crate::lane::{Directory, Ids, Mode, local};
use crate::level::Level;
use crate::record::{Items, Refused, layout, log_header};
use crate::series::{Attribute, LogTarget, Registry, Site, entry, global, more_room, push};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
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
pub struct Logger(Option<Source>);

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) target: Arc<LogTarget>,
    pub(super) registry: Arc<Registry>,
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<'a> {
    Statement(&'static Site),
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

    pub(crate) fn new(registry: &Arc<Registry>, target: &str) -> Self {
        if registry.directory.is_forked() {
            return Self(None); // the lock that gives out targets may be held by a thread that is not there
        }
        let target = Arc::clone(registry.logs.target(target));
        Self(Some(Source { target, registry: Arc::clone(registry) }))
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
        self.say(Level::Trace, message);
    }

    /// Says something to who is looking for a fault.
    ///
    /// ```
    /// tellane::Logger::noop().debug("the cart is empty");
    /// ```
    #[inline]
    pub fn debug(&self, message: &str) {
        self.say(Level::Debug, message);
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
        self.say(Level::Info, message);
    }

    /// Says that something is not as it was meant.
    ///
    /// ```
    /// tellane::Logger::noop().warn("stock is low");
    /// ```
    #[inline]
    pub fn warn(&self, message: &str) {
        self.say(Level::Warn, message);
    }

    /// Says that something failed. See [`exception`](Self::exception) for an error at hand.
    ///
    /// ```
    /// tellane::Logger::noop().error("the till is on fire");
    /// ```
    #[inline]
    pub fn error(&self, message: &str) {
        self.say(Level::Error, message);
    }

    /// Says something at a level that is known only when the program runs. All that a target says in this way at one
    /// level counts as one statement for [`Config::logs_per_second`](crate::Config::logs_per_second).
    ///
    /// ```
    /// tellane::Logger::noop().say(tellane::Level::Info, "open");
    /// ```
    #[inline]
    pub fn say(&self, level: Level, message: &str) {
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
    /// telemetry.logger("shop").at(Level::Warn).with("left", 3).say("stock is low");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(&*kept.records()[0].fields[0].0, "left");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at(&self, level: Level) -> LogDraft<'_> {
        LogDraft::new(self.0.as_ref().filter(|source| source.target.lets(level)), level)
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
            super::draft::with_text_of(&error, |text| draft.say(text));
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
            draft.say(message);
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
    global().map_or(Logger::noop(), |registry| Logger::new(registry, target))
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
    said: Result<&'static Site, &str>,
    fields: &[(&'static str, Attribute<'_>)],
) {
    let Some(source) = &logger.0 else { return };
    let said = said.map_or_else(Said::Text, Said::Statement);
    let written = local::here(source.target.base, |here| source.write(&here, level, said, fields));
    if written.is_none() {
        source.enter_and(|here| source.write(here, level, said, fields));
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

impl Source {
    #[inline(always)]
    fn write(
        &self,
        here: &local::Here<'_>,
        level: Level,
        said: Said<'_>,
        fields: &[(&'static str, Attribute<'_>)],
    ) {
        let mut items = Items::default();
        let for_fields = || fields.iter().map(|(_, value)| words_of(value)).sum();
        let Some(now) = self.begin(here, level, said, &mut items, for_fields) else { return };
        let mut dropped = 0;
        for (key, value) in fields {
            let key = self.key(here, key);
            let most = self.registry.logs.settings.value;
            if push(&mut items, key, *value, most).is_err()
                && !self.put(here, level, &mut items, key, *value, false)
            {
                dropped += 1;
            }
        }
        if items.has_block() {
            self.send_long(here, (level, now), items, Items::default(), dropped);
        } else {
            self.send(here, (level, now), [items.inline()], dropped);
        }
    }

    /// The time of a record, if it is to be made, and its message: into the caller's items, which are too large to be
    /// handed back. A message that does not fit leaves room for as many words of fields as `for_fields` says.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        here: &local::Here<'_>,
        level: Level,
        said: Said<'_>,
        items: &mut Items,
        for_fields: impl FnOnce() -> usize,
    ) -> Option<u64> {
        let (lane, logs) = (here.lane, &self.registry.logs);
        if !lane.ring.lets_samples_through() {
            here.skip_log();
            return None;
        }
        if level < Level::Warn && !lane.ring.lets_spans_through() {
            lane.tally.dropped(Kind::Log, Reason::Degraded);
            return None;
        }
        let site = match said {
            Said::Statement(site) => {
                site.number().filter(|site| logs.knows(*site)).or_else(|| self.meet(site))
            }
            Said::Text(_) => None,
        };
        let now = here.directory.clock.ticks();
        if !logs.admits(&self.target, level, site, now) {
            lane.tally.held_back();
            return None;
        }
        if let Some(site) = site {
            let there = items.push_site(site);
            debug_assert_eq!(there, Ok(()), "the frame is empty");
        } else {
            let text = match said {
                Said::Statement(site) => site.message,
                Said::Text(text) => text,
            };
            if items.push_said(text, usize::from(logs.settings.value)).is_err() {
                self.begin_long(here, level, text, items, for_fields());
            }
        }
        Some(now)
    }

    /// A statement that nobody has met, or nobody at this instance.
    #[cold]
    #[inline(never)]
    fn meet(&self, site: &'static Site) -> Option<u32> {
        local::aside(|| {
            let number = site.number().or_else(|| site.meet())?;
            self.registry.logs.meet(number);
            Some(number)
        })
    }

    /// The number of a key.
    #[inline(always)]
    fn key(&self, here: &local::Here<'_>, key: &'static str) -> u32 {
        here.desk.key(key).unwrap_or_else(|| self.meet_key(here, key))
    }

    #[cold]
    #[inline(never)]
    fn meet_key(&self, here: &local::Here<'_>, key: &'static str) -> u32 {
        let number = self.registry.names.key(key);
        here.desk.remember_key(key, number);
        number
    }

    /// A message that the frame has no room for. Its beginning is kept, as much of it as the fields leave room for, and
    /// an eighth of the room at least.
    #[cold]
    #[inline(never)]
    fn begin_long(
        &self,
        here: &local::Here<'_>,
        level: Level,
        text: &str,
        items: &mut Items,
        for_fields: usize,
    ) {
        self.grow(here, level, items, false);
        let room = items.room();
        let room = room.saturating_sub(for_fields).max(room / 8);
        let said = items.push_said_cut(text, usize::from(self.registry.logs.settings.value), room);
        debug_assert_eq!(said, Ok(()), "the smallest ring has room for some words");
    }

    /// A field that finds no room: takes the place of an earlier value of its key, or of what earlier values leave, or
    /// goes into a block. The block leaves room to a message if that lies elsewhere.
    #[cold]
    #[inline(never)]
    pub(super) fn put(
        &self,
        here: &local::Here<'_>,
        level: Level,
        items: &mut Items,
        key: u32,
        value: Attribute<'_>,
        message_elsewhere: bool,
    ) -> bool {
        let entry = entry(key, value, self.registry.logs.settings.value);
        let mut left = u16::MAX / 2; // fields are bounded by their words alone
        let mut put = items.put(0, entry, &mut left);
        if put == Err(Refused::Room) && !items.has_block() {
            self.grow(here, level, items, message_elsewhere);
            put = items.put(0, entry, &mut left);
        }
        put.is_ok()
    }

    #[cold]
    fn grow(&self, here: &local::Here<'_>, level: Level, items: &mut Items, message_elsewhere: bool) {
        let room = here.longest_log(level).saturating_sub(HEAD_WORDS);
        // A message of up to a frame's words is not measured against what the fields left.
        let for_message = if message_elsewhere { (room / 8).max(Items::FRAME) } else { 0 };
        let longest = room.saturating_sub(for_message);
        items.give_block(more_room(self.target.base), longest);
    }

    #[inline(always)]
    fn send<const M: usize>(
        &self,
        here: &local::Here<'_>,
        (level, now): (Level, u64),
        items: [&[u64]; M],
        dropped: u16,
    ) {
        let length = items.iter().map(|part| part.len()).sum::<usize>();
        let span = here.desk.current().filter(Ids::is_span);
        let header =
            |words| log_header(self.target.id, words + length, level as u64, span.is_some(), dropped);
        let sent = match span {
            Some(ids) => {
                let (high, low) = ((ids.trace_id >> 64) as u64, ids.trace_id as u64);
                here.push_log(level, [header(layout::LOG_WORDS + 3), now, high, low, ids.span_id], items)
            }
            None => here.push_log(level, [header(layout::LOG_WORDS), now], items),
        };
        if !sent {
            here.directory.suspect_stall(here.lane, now);
        }
    }

    /// A record with more than the usual few words, in up to two parts.
    #[cold]
    #[inline(never)]
    pub(super) fn send_long(
        &self,
        here: &local::Here<'_>,
        made: (Level, u64),
        mut said: Items,
        mut fields: Items,
        dropped: u16,
    ) {
        let spanned = here.desk.current().map_or(0, |_| 3);
        if layout::LOG_WORDS + spanned + said.len() + fields.len() > layout::WORDS_MAX {
            here.lane.tally.dropped(Kind::Log, Reason::Oversize);
        } else {
            self.send(here, made, [said.words(), fields.words()], dropped);
        }
        for block in [said.take_block(), fields.take_block()].into_iter().flatten() {
            let surplus = here.desk.give_block(block);
            local::aside(|| drop(surplus));
        }
    }

    /// Brings this thread to the instance first; if that cannot be, the record is counted as lost.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_and(&self, act: impl FnOnce(&local::Here<'_>)) {
        let directory = &self.registry.directory;
        let reason = match local::enter(directory) {
            Ok(()) => match local::here(self.target.base, |here| act(&here)) {
                Some(()) => return,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        self.refuse(directory, reason);
    }

    fn refuse(&self, directory: &Directory, reason: Reason) {
        match reason {
            Reason::Forked | Reason::AfterShutdown => directory.shared.shared_dropped(Kind::Log, reason),
            _ if directory.mode() == Mode::Off => directory.shared.shared_switched_off(Kind::Log),
            _ => directory.shared.shared_dropped(Kind::Log, reason),
        }
    }
}
