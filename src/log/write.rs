//! The writing of log records: message and fields into words, and into the thread's lane. Hot, but for the functions
//! marked cold.

use crate::instance::{Instance, entry, more_room, push};
use crate::lane::{Ids, local};
use crate::level::Level;
use crate::names::{Attribute, OVERFLOW_KEY};
use crate::record::{Items, PutError, layout, log_header};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::targets::{Callsite, LogTarget};

#[derive(Clone, Debug)]
pub(super) struct LoggerInner {
    pub(super) target: Arc<LogTarget>,
    pub(super) instance: Arc<Instance>,
}

/// The source of a record's message: a log statement, whose text is not copied, or a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum MessageSource<'a> {
    Statement(&'static Callsite),
    Text(&'a str),
}

/// The most words of a record before its items: header, time and the ids of the open span.
const HEAD_WORDS: usize = layout::LOG_WORDS + 3;

/// The number of words of a field whose text is kept whole.
fn words_of(value: &Attribute<'_>) -> usize {
    match value {
        Attribute::Str(text) => 1 + text.len().div_ceil(8),
        Attribute::I64(_) | Attribute::U64(_) | Attribute::F64(_) => 2,
        Attribute::Bool(_) => 1,
    }
}

impl LoggerInner {
    #[inline(always)]
    pub(super) fn write(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        message: MessageSource<'_>,
        fields: &[(&'static str, Attribute<'_>)],
    ) {
        let mut items = Items::default();
        let for_fields = || fields.iter().map(|(_, value)| words_of(value)).sum();
        let Some(now) = self.begin(local, level, message, &mut items, for_fields) else { return };
        let mut dropped = 0;
        for (key, value) in fields {
            let Some(key) = self.intern_key(local, key) else {
                dropped += 1;
                continue;
            };
            let most = self.instance.logs.settings.value;
            if push(&mut items, key, *value, most).is_err()
                && !self.put_slow(local, level, &mut items, key, *value, false)
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

    /// Begins a record: returns its time, or `None` if the switch or a rate limit suppresses it. The message goes into
    /// the caller's `items`, which are too large to be returned. A message that does not fit leaves room for as many
    /// words of fields as `for_fields` returns.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        message: MessageSource<'_>,
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
        let callsite = match message {
            MessageSource::Statement(callsite) => {
                let known = callsite.number().filter(|callsite| logs.has_rate(*callsite));
                known.or_else(|| self.register_callsite(callsite))
            }
            MessageSource::Text(_) => None,
        };
        let now = local.lanes.clock.ticks();
        if !logs.admits(&self.target, level, callsite, now) {
            lane.tally.held_back();
            return None;
        }
        if let Some(callsite) = callsite {
            let pushed = items.push_callsite(callsite);
            debug_assert_eq!(pushed, Ok(()), "the frame is empty");
        } else {
            // A statement without a number (no callsite could be registered) sends its text.
            let text = match message {
                MessageSource::Statement(callsite) => callsite.message,
                MessageSource::Text(text) => text,
            };
            if items.push_message(text, usize::from(logs.settings.value)).is_err() {
                self.begin_long(local, level, text, items, for_fields());
            }
        }
        Some(now)
    }

    /// Registers a statement with the process, if it is new, and with this instance. `None` if that is not possible.
    #[cold]
    #[inline(never)]
    fn register_callsite(&self, callsite: &'static Callsite) -> Option<u32> {
        local::without_recording(|| {
            let number = callsite.number().or_else(|| callsite.register())?;
            self.instance.logs.add_rates_up_to(number);
            Some(number)
        })
    }

    /// The number of a key, from the thread's intern cache; `None` above the cap of keys.
    #[inline(always)]
    fn intern_key(&self, local: &local::LocalLane<'_>, key: &'static str) -> Option<u32> {
        local.thread_state.keys.get(key, 0).or_else(|| self.intern_key_slow(local, key))
    }

    /// Slow path of [`intern_key`](Self::intern_key): looks the key up in the instance and caches it.
    #[cold]
    #[inline(never)]
    fn intern_key_slow(&self, local: &local::LocalLane<'_>, key: &'static str) -> Option<u32> {
        let number = Some(self.instance.names.key(key)).filter(|number| *number != OVERFLOW_KEY)?;
        local.thread_state.keys.insert(key, 0, number);
        Some(number)
    }

    /// Adds a message that does not fit the frame. Its beginning is kept: as much as the fields leave room for, but at
    /// least an eighth of the room.
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
        self.give_block(local, level, items, false);
        let room = items.room();
        let room = room.saturating_sub(for_fields).max(room / 8);
        let pushed = items.push_message_truncated(text, usize::from(self.instance.logs.settings.value), room);
        debug_assert_eq!(pushed, Ok(()), "the smallest ring has room for some words");
    }

    /// Adds a field that does not fit the frame. It replaces an earlier value of its key, or uses room that replaced
    /// values free, or goes into a block. If the message is not in `items` yet, the block leaves room for it. Returns
    /// `false` if the field does not fit.
    #[cold]
    #[inline(never)]
    pub(super) fn put_slow(
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
        if put == Err(PutError::NoRoom) && !items.has_block() {
            self.give_block(local, level, items, message_elsewhere);
            put = items.put(0, entry, &mut left);
        }
        put.is_ok()
    }

    /// Moves the items into a block, no longer than the longest record that the ring accepts at this level.
    #[cold]
    fn give_block(
        &self,
        local: &local::LocalLane<'_>,
        level: Level,
        items: &mut Items,
        message_elsewhere: bool,
    ) {
        let room = local.longest_log(level).saturating_sub(HEAD_WORDS);
        // A message that fits the frame is pushed without looking at the room that the fields left, so leave it that
        // much.
        let for_message = if message_elsewhere { (room / 8).max(Items::FRAME) } else { 0 };
        let longest = room.saturating_sub(for_message);
        items.give_block(more_room(self.target.base), longest);
    }

    /// Publishes the record, with the ids of the open span if there is one.
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
            // The ring is full: check that the aggregator is alive.
            local.lanes.suspect_stall(local.lane, now);
        }
    }

    /// Slow path of [`send`](Self::send): publishes a record whose items may be in blocks, and gives the blocks back.
    #[cold]
    #[inline(never)]
    pub(super) fn send_long(
        &self,
        local: &local::LocalLane<'_>,
        begun: (Level, u64),
        mut message: Items,
        mut fields: Items,
        dropped: u16,
    ) {
        let spanned = local.thread_state.spans.current().map_or(0, |_| 3);
        if layout::LOG_WORDS + spanned + message.len() + fields.len() > layout::WORDS_MAX {
            local.lane.tally.dropped(Kind::Log, Reason::Oversize);
        } else {
            self.send(local, begun, [message.words(), fields.words()], dropped);
        }
        for block in [message.take_block(), fields.take_block()].into_iter().flatten() {
            let surplus = local.thread_state.blocks.give(block);
            local::without_recording(|| drop(surplus));
        }
    }

    /// Attaches the thread to the instance, then makes the record. If the thread cannot be attached, the record is
    /// counted as dropped.
    #[cold]
    #[inline(never)]
    pub(super) fn attach_and(&self, act: impl FnOnce(&local::LocalLane<'_>)) {
        let lanes = &self.instance.lanes;
        let reason = match local::attach(lanes) {
            Ok(()) => match local::with_lane(self.target.base, |local| act(&local)) {
                Some(()) => return,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        if lanes.admits_unattached(Kind::Log, reason) {
            lanes.shared.shared_dropped(Kind::Log, reason); // only metrics have shared storage to fall back on
        }
    }
}
