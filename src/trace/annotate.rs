//! What is said of an open span while it runs: attributes, events, links, status. Hot: [`Open::set`].
//!
//! What is over a limit or finds no room is counted, never an error.

use super::open::Open;
use super::span::SpanContext;
use crate::lane::local;
use crate::record::{At, Full, Items, layout};
use crate::series::Attribute;
pub(crate) use crate::series::{key_number, more_room, push};

impl Open {
    /// In the caller only the value's kind is told, which it knows.
    #[inline(always)]
    pub(super) fn set(&mut self, key: &'static str, value: Attribute<'_>) {
        match value {
            Attribute::Str(text) => self.set_text(key, text),
            Attribute::I64(number) => self.set_number(key, layout::TYPE_I64, number as u64),
            Attribute::U64(number) => self.set_number(key, layout::TYPE_U64, number),
            Attribute::F64(number) => self.set_number(key, layout::TYPE_F64, number.to_bits()),
            Attribute::Bool(truth) => self.set_value(key, |items, key, _| items.push_bool(key, truth)),
        }
    }

    #[inline(never)]
    fn set_text(&mut self, key: &'static str, text: &str) {
        match self.key_at_once(key) {
            Some(number) if self.items.push_str_at_once(number, text, self.room.left.value) => {
                self.room.left.attributes -= 1
            }
            _ => self.set_text_slowly(key, text),
        }
    }

    #[inline(never)]
    fn set_number(&mut self, key: &'static str, kind: u64, bits: u64) {
        match self.key_at_once(key) {
            Some(number) if self.items.push_number_at_once(number, kind, bits) => {
                self.room.left.attributes -= 1
            }
            _ => self.set_number_slowly(key, kind, bits),
        }
    }

    /// The number of a key, if it is at hand and the attribute may be kept. What is usual so needs no other call, and
    /// saves no register for one.
    #[inline(always)]
    fn key_at_once(&self, key: &'static str) -> Option<u32> {
        let may = self.is_recorded() && self.room.left.attributes > 0;
        if !may {
            return None;
        }
        local::here(self.base.get(), |here| here.desk.key_at_once(key)).flatten()
    }

    #[cold]
    #[inline(never)]
    fn set_text_slowly(&mut self, key: &'static str, text: &str) {
        self.set_value(key, |items, key, most| items.push_str(key, text, most));
    }

    #[cold]
    #[inline(never)]
    fn set_number_slowly(&mut self, key: &'static str, kind: u64, bits: u64) {
        self.set_value(key, |items, key, _| items.push_number(key, kind, bits));
    }

    #[inline(always)]
    fn set_value(&mut self, key: &'static str, push: impl Fn(&mut Items, u32, usize) -> Result<(), Full>) {
        if !self.is_recorded() {
            return;
        }
        let most = usize::from(self.room.left.value);
        let key = if self.room.left.attributes > 0 { key_number(self.base.get(), key) } else { None };
        if let Some(key) = key
            && (push(&mut self.items, key, most).is_ok()
                || (self.grow() && push(&mut self.items, key, most).is_ok()))
        {
            self.room.left.attributes -= 1;
        } else {
            self.drop_attributes(1);
        }
    }

    /// Adds to the items; if there is no room, once more with a block.
    #[inline(always)]
    fn keep<T>(&mut self, add: impl Fn(&mut Items, u16) -> Result<T, Full>) -> bool {
        add(&mut self.items, self.room.left.value).is_ok()
            || (self.grow() && add(&mut self.items, self.room.left.value).is_ok())
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) -> bool {
        let may = !self.items.has_block();
        if may {
            self.items.give_block(more_room(self.base.get()));
            self.unusual = true;
        }
        may
    }

    /// Begins an event; `None` if it is not kept.
    pub(super) fn event(&mut self, name: &'static str) -> Option<At> {
        if !self.is_recorded() {
            return None;
        }
        let begun = self.begin_event(name);
        match begun {
            Some(_) => self.room.left.events -= 1,
            None => {
                self.room.events_dropped = self.room.events_dropped.saturating_add(1);
                self.unusual = true;
            }
        }
        begun
    }

    fn begin_event(&mut self, name: &'static str) -> Option<At> {
        if self.room.left.events == 0 {
            return None;
        }
        let name = key_number(self.base.get(), name)?;
        let now = local::here(self.base.get(), |here| here.directory.clock.ticks())?;
        self.begin(|items| items.begin_event(name, now))
    }

    /// Begins a link; `None` if it is not kept.
    #[inline(never)]
    pub(super) fn link(&mut self, to: SpanContext) -> Option<At> {
        if !self.is_recorded() {
            return None;
        }
        let may = self.room.left.links > 0;
        let begin = |items: &mut Items| items.begin_link(to.trace_id, to.span_id, to.sampled);
        let begun = if may { self.begin(begin) } else { None };
        match begun {
            Some(_) => self.room.left.links -= 1,
            None => {
                self.room.links_dropped = self.room.links_dropped.saturating_add(1);
                self.unusual = true;
            }
        }
        begun
    }

    fn begin(&mut self, begin: impl Fn(&mut Items) -> Result<At, Full>) -> Option<At> {
        begin(&mut self.items).ok().or_else(|| self.grow().then(|| begin(&mut self.items).ok())?)
    }

    /// Sets an attribute of the event or link that began at `at`, of which it has `set` already; returns where that
    /// stands now, and whether it was kept.
    #[inline]
    pub(super) fn set_within(
        &mut self,
        at: At,
        allowed: bool,
        key: &'static str,
        value: Attribute<'_>,
    ) -> (At, bool) {
        let key = if allowed { key_number(self.base.get(), key) } else { None };
        let Some(key) = key else {
            self.items.amend(at, 0, 1);
            return (at, false);
        };
        let before = self.items.len();
        let most = self.room.left.value;
        let mut at = at;
        let mut pushed = push(&mut self.items, key, value, most);
        if pushed.is_err() && self.grow() {
            at = self.items.gather(at);
            pushed = push(&mut self.items, key, value, most);
        }
        let words = self.items.len() - before;
        self.items.amend(at, words, u16::from(pushed.is_err()));
        (at, pushed.is_ok())
    }

    /// What the status says.
    #[cold]
    pub(super) fn say(&mut self, message: &str) {
        if self.is_recorded()
            && !self.keep(|items, most| items.push_plain(layout::TEXT_MESSAGE, message, most.into()))
        {
            self.drop_attributes(1);
        }
    }

    /// The trace state that came with its parent.
    #[cold]
    pub(super) fn came_with(&mut self, state: &str) {
        if self.is_recorded() && !state.is_empty() {
            self.keep(|items, _| items.push_plain(layout::TEXT_TRACE_STATE, state, usize::from(u16::MAX)));
        }
    }
}
