//! What is said of an open span while it runs: attributes, events, links, status. Hot: [`ActiveSpan::set`].
//!
//! What is over a limit or finds no room is counted, never an error.

use super::active::ActiveSpan;
use super::span::SpanContext;
use crate::instance::entry;
pub(crate) use crate::instance::{key_number, more_room, push};
use crate::lane::local;
use crate::names::{Attribute, OVERFLOW_KEY};
use crate::record::{Full, Items, KeyedItem, OpenItem, PutError, layout};

impl ActiveSpan {
    /// Only the choice by the value's kind is inlined: the caller knows the kind.
    #[inline(always)]
    pub(super) fn set(&mut self, key: &'static str, value: Attribute<'_>) {
        match value {
            Attribute::Str(text) => self.set_text(key, text),
            Attribute::I64(number) => self.set_number(key, layout::TYPE_I64, number as u64),
            Attribute::U64(number) => self.set_number(key, layout::TYPE_U64, number),
            Attribute::F64(number) => self.set_number(key, layout::TYPE_F64, number.to_bits()),
            Attribute::Bool(truth) => self.set_bool(key, truth),
        }
    }

    #[inline(never)]
    fn set_text(&mut self, key: &'static str, text: &str) {
        match self.key_fast(key) {
            Some(number) if self.items.push_str_fast(number, text, self.core.limits.left.value) => {
                self.core.limits.left.attributes -= 1
            }
            _ => self.set_text_slowly(key, text),
        }
    }

    #[inline(never)]
    fn set_number(&mut self, key: &'static str, kind: u64, bits: u64) {
        match self.key_fast(key) {
            Some(number) if self.items.push_number_fast(number, kind, bits) => {
                self.core.limits.left.attributes -= 1
            }
            _ => self.set_number_slowly(key, kind, bits),
        }
    }

    /// Fast path: the number of a key, if the thread's cache has it in its first place and the attribute may be kept. It
    /// makes no call, so no register is saved for one.
    #[inline(always)]
    fn key_fast(&self, key: &'static str) -> Option<u32> {
        let may = self.is_recorded() && self.core.limits.left.attributes > 0;
        if !may {
            return None;
        }
        local::with_lane(self.core.base.get(), |local| {
            local.thread_state.keys.get_home(key, 0).map(|number| number.get())
        })
        .flatten()
    }

    #[cold]
    #[inline(never)]
    fn set_text_slowly(&mut self, key: &'static str, text: &str) {
        let most = self.core.limits.left.value;
        self.set_value(
            key,
            |items, key| items.push_str(key, text, most.into()),
            |key| entry(key, Attribute::Str(text), most),
        );
    }

    #[cold]
    #[inline(never)]
    fn set_number_slowly(&mut self, key: &'static str, kind: u64, bits: u64) {
        self.set_value(
            key,
            |items, key| items.push_number(key, kind, bits),
            |key| KeyedItem::Number { key, kind, bits },
        );
    }

    #[inline(always)]
    fn set_bool(&mut self, key: &'static str, truth: bool) {
        self.set_value(key, |items, key| items.push_bool(key, truth), |key| KeyedItem::Bool { key, truth });
    }

    #[inline(always)]
    fn set_value<'v>(
        &mut self,
        key: &'static str,
        push: impl Fn(&mut Items, u32) -> Result<(), Full>,
        entry: impl FnOnce(u32) -> KeyedItem<'v>,
    ) {
        if !self.is_recorded() {
            return;
        }
        let Some(key) = key_number(self.core.base.get(), key) else { return self.drop_attributes(1) };
        if self.core.limits.left.attributes > 0 && push(&mut self.items, key).is_ok() {
            self.core.limits.left.attributes -= 1;
        } else {
            self.put(entry(key));
        }
    }

    /// A limit or the room is reached: takes the place of an earlier value, or of what earlier values leave.
    #[cold]
    #[inline(never)]
    fn put(&mut self, entry: KeyedItem<'_>) {
        let mut left = self.core.limits.left.attributes;
        let mut put = self.items.put(0, entry, &mut left);
        if put == Err(PutError::NoRoom) && self.grow() {
            put = self.items.put(0, entry, &mut left);
        }
        self.core.limits.left.attributes = left;
        if put.is_err() {
            self.drop_attributes(1);
        }
    }

    /// Adds to the items, and makes room if there is none.
    #[inline(always)]
    fn keep<T>(&mut self, add: impl Fn(&mut Items) -> Result<T, Full>) -> Option<T> {
        add(&mut self.items).ok().or_else(|| self.keep_in_full(add))
    }

    #[cold]
    #[inline(never)]
    fn keep_in_full<T>(&mut self, add: impl Fn(&mut Items) -> Result<T, Full>) -> Option<T> {
        self.remove_replaced();
        add(&mut self.items).ok().or_else(|| self.grow().then(|| add(&mut self.items).ok())?)
    }

    #[cold]
    #[inline(never)]
    fn remove_replaced(&mut self) {
        self.core.limits.left.attributes += self.items.remove_replaced(0);
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) -> bool {
        let may = !self.items.has_block();
        if may {
            // A record that is longer than the ring would never find room.
            let ring = local::with_lane(self.core.base.get(), |local| local.lane.ring.capacity());
            let longest = ring.unwrap_or(usize::MAX).saturating_sub(layout::SPAN_WORDS + 1);
            self.items.give_block(more_room(self.core.base.get()), longest);
            self.set_needs_slow_end();
        }
        may
    }

    /// Begins an event; `None` if it is not kept.
    pub(super) fn event(&mut self, name: &'static str) -> Option<OpenItem> {
        if !self.is_recorded() {
            return None;
        }
        let begun = self.begin_event(name);
        match begun {
            Some(_) => self.core.limits.left.events -= 1,
            None => {
                self.core.limits.events_dropped = self.core.limits.events_dropped.saturating_add(1);
                self.set_needs_slow_end();
            }
        }
        begun
    }

    fn begin_event(&mut self, name: &'static str) -> Option<OpenItem> {
        if self.core.limits.left.events == 0 {
            return None;
        }
        let name = key_number(self.core.base.get(), name).unwrap_or(OVERFLOW_KEY);
        let now = local::with_lane(self.core.base.get(), |local| local.lanes.clock.ticks())?;
        self.keep(|items| items.begin_event(name, now))
    }

    /// Begins a link; `None` if it is not kept.
    #[inline(never)]
    pub(super) fn link(&mut self, to: SpanContext) -> Option<OpenItem> {
        if !self.is_recorded() {
            return None;
        }
        let may = self.core.limits.left.links > 0;
        let begin = |items: &mut Items| items.begin_link(to.trace_id, to.span_id, to.sampled);
        let begun = if may { self.keep(begin) } else { None };
        match begun {
            Some(_) => self.core.limits.left.links -= 1,
            None => {
                self.core.limits.links_dropped = self.core.limits.links_dropped.saturating_add(1);
                self.set_needs_slow_end();
            }
        }
        begun
    }

    /// Sets an attribute of the event or link that began at `at`, of which so many may still be `left`; returns both as
    /// they are then.
    #[inline]
    pub(super) fn set_within(
        &mut self,
        at: OpenItem,
        left: u16,
        key: &'static str,
        value: Attribute<'_>,
    ) -> (OpenItem, u16) {
        let Some(key) = key_number(self.core.base.get(), key) else {
            self.items.count_dropped_in(at);
            return (at, left);
        };
        if left > 0 && push(&mut self.items, key, value, self.core.limits.left.value).is_ok() {
            self.items.set_attributes_len(at);
            return (at, left - 1);
        }
        self.put_within(at, left, entry(key, value, self.core.limits.left.value))
    }

    #[cold]
    #[inline(never)]
    fn put_within(&mut self, at: OpenItem, mut left: u16, entry: KeyedItem<'_>) -> (OpenItem, u16) {
        let before = self.items.len();
        self.remove_replaced(); // the event or link is the last item, and moves with its end
        let at = at.moved_down(before - self.items.len());
        let mut put = self.items.put(at.attributes(), entry, &mut left);
        if put == Err(PutError::NoRoom) && self.grow() {
            put = self.items.put(at.attributes(), entry, &mut left);
        }
        self.items.set_attributes_len(at);
        if put.is_err() {
            self.items.count_dropped_in(at);
        }
        (at, left)
    }

    /// Sets the status's message.
    #[cold]
    pub(super) fn emit(&mut self, message: &str) {
        if self.is_recorded() {
            self.put(KeyedItem::message(message, self.core.limits.left.value.into()));
        }
    }

    /// The trace state that came with its parent.
    #[cold]
    pub(super) fn came_with(&mut self, state: &str) {
        if self.is_recorded() && !state.is_empty() {
            self.keep(|items| items.push_plain(layout::TEXT_TRACE_STATE, state));
        }
    }
}
