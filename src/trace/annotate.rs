//! Annotations of an open span: attributes, events, links, the status message. Hot: [`ActiveSpan::set`].
//!
//! An annotation that is over a limit, or for which there is no space left, is dropped and counted. It is never an
//! error.

use super::active::ActiveSpan;
use super::span::SpanContext;
use crate::instance::entry;
pub(crate) use crate::instance::{key_number, more_room, push};
use crate::lane::local;
use crate::names::{Attribute, OVERFLOW_KEY};
use crate::record::{Full, Items, KeyedItem, OpenItem, PutError, layout};

impl ActiveSpan {
    /// Sets an attribute. Only the match on the value's kind is inlined: the caller knows the kind, so the compiler
    /// removes the other arms.
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
            _ => self.set_text_slow(key, text),
        }
    }

    #[inline(never)]
    fn set_number(&mut self, key: &'static str, kind: u64, bits: u64) {
        match self.key_fast(key) {
            Some(number) if self.items.push_number_fast(number, kind, bits) => {
                self.core.limits.left.attributes -= 1
            }
            _ => self.set_number_slow(key, kind, bits),
        }
    }

    /// Fast path: the number of a key, if the thread's cache holds it in the home slot and the attribute may be kept.
    /// Makes no calls, so no registers are saved.
    #[inline(always)]
    fn key_fast(&self, key: &'static str) -> Option<u32> {
        let allowed = self.is_recorded() && self.core.limits.left.attributes > 0;
        if !allowed {
            return None;
        }
        local::with_lane(self.core.base.get(), |local| {
            local.thread_state.keys.get_home(key, 0).map(|number| number.get())
        })
        .flatten()
    }

    #[cold]
    #[inline(never)]
    fn set_text_slow(&mut self, key: &'static str, text: &str) {
        let most = self.core.limits.left.value;
        self.set_value(
            key,
            |items, key| items.push_str(key, text, most.into()),
            |key| entry(key, Attribute::Str(text), most),
        );
    }

    #[cold]
    #[inline(never)]
    fn set_number_slow(&mut self, key: &'static str, kind: u64, bits: u64) {
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
            self.set_slow(entry(key));
        }
    }

    /// Slow path: a limit is reached, or the items are full. Replaces an earlier value of the key, or reclaims the
    /// words of replaced values.
    #[cold]
    #[inline(never)]
    fn set_slow(&mut self, entry: KeyedItem<'_>) {
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

    /// Adds an item; if the items are full, makes space first.
    #[inline(always)]
    fn push_item<T>(&mut self, add: impl Fn(&mut Items) -> Result<T, Full>) -> Option<T> {
        add(&mut self.items).ok().or_else(|| self.push_item_slow(add))
    }

    #[cold]
    #[inline(never)]
    fn push_item_slow<T>(&mut self, add: impl Fn(&mut Items) -> Result<T, Full>) -> Option<T> {
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
        let allowed = !self.items.has_block();
        if allowed {
            // A record that is longer than the ring could never be pushed.
            let ring = local::with_lane(self.core.base.get(), |local| local.lane.ring.capacity());
            let longest = ring.unwrap_or(usize::MAX).saturating_sub(layout::SPAN_WORDS + 1);
            self.items.give_block(more_room(self.core.base.get()), longest);
            self.set_needs_slow_end();
        }
        allowed
    }

    /// Begins an event; `None` if it is dropped.
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
        self.push_item(|items| items.begin_event(name, now))
    }

    /// Begins a link; `None` if it is dropped.
    #[inline(never)]
    pub(super) fn link(&mut self, to: SpanContext) -> Option<OpenItem> {
        if !self.is_recorded() {
            return None;
        }
        let allowed = self.core.limits.left.links > 0;
        let begin = |items: &mut Items| items.begin_link(to.trace_id, to.span_id, to.sampled);
        let begun = if allowed { self.push_item(begin) } else { None };
        match begun {
            Some(_) => self.core.limits.left.links -= 1,
            None => {
                self.core.limits.links_dropped = self.core.limits.links_dropped.saturating_add(1);
                self.set_needs_slow_end();
            }
        }
        begun
    }

    /// Sets an attribute of the event or link that begins at `at`, which may have `left` more attributes. Returns the
    /// new values of both.
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
        self.set_within_slow(at, left, entry(key, value, self.core.limits.left.value))
    }

    #[cold]
    #[inline(never)]
    fn set_within_slow(&mut self, at: OpenItem, mut left: u16, entry: KeyedItem<'_>) -> (OpenItem, u16) {
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
    pub(super) fn set_status_message(&mut self, message: &str) {
        if self.is_recorded() {
            self.set_slow(KeyedItem::message(message, self.core.limits.left.value.into()));
        }
    }

    /// Sets the trace state that came with the span's parent.
    #[cold]
    pub(super) fn set_trace_state(&mut self, state: &str) {
        if self.is_recorded() && !state.is_empty() {
            self.push_item(|items| items.push_plain(layout::TEXT_TRACE_STATE, state));
        }
    }
}
