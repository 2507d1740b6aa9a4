//! What is said of an open span while it runs: attributes, events, links, status. Hot: [`Open::set`].
//!
//! What is over a limit or finds no room is counted, never an error.

use super::Attribute;
use super::open::Open;
use super::span::SpanContext;
use crate::lane::{Key, local};
use crate::record::{At, Block, Full, Items, layout};
use crate::series::find;

/// Sets an attribute in what is being encoded; of a text, at most so many bytes.
#[inline(always)]
pub(crate) fn push(items: &mut Items, key: u32, value: Attribute<'_>, most: u16) -> Result<(), Full> {
    match value {
        Attribute::Str(text) => items.push_str(key, text, usize::from(most)),
        Attribute::I64(number) => items.push_number(key, layout::TYPE_I64, number as u64),
        Attribute::U64(number) => items.push_number(key, layout::TYPE_U64, number),
        Attribute::F64(number) => items.push_number(key, layout::TYPE_F64, number.to_bits()),
        Attribute::Bool(truth) => items.push_bool(key, truth),
    }
}

/// The number of an attribute key at the instance of this base.
#[inline(always)]
pub(crate) fn key_number(base: u64, key: &'static str) -> Option<u32> {
    let known = local::here(base, |here| here.desk.key(key)).flatten();
    known.or_else(|| meet_key(base, key))
}

#[cold]
#[inline(never)]
fn meet_key(base: u64, key: &'static str) -> Option<u32> {
    let registry = find(Key(base).instance())?;
    local::enter(&registry.directory).ok()?;
    let number = local::aside(|| registry.names.key(key));
    local::here(base, |here| here.desk.remember_key(key, number))?;
    Some(number)
}

/// Room for more items than a frame holds: what an earlier record gave back, or new.
#[cold]
#[inline(never)]
pub(crate) fn more_room(base: u64) -> Box<Block> {
    let kept = local::here(base, |here| here.desk.take_block()).flatten();
    kept.unwrap_or_else(|| local::aside(Block::new))
}

impl Open {
    #[inline(always)]
    pub(super) fn set(&mut self, key: &'static str, value: Attribute<'_>) {
        if !self.is_recorded() {
            return;
        }
        let kept = self.left.attributes > 0
            && key_number(self.base.get(), key)
                .is_some_and(|key| self.keep(|items, most| push(items, key, value, most)));
        if kept {
            self.left.attributes -= 1;
        } else {
            self.attributes_dropped = self.attributes_dropped.saturating_add(1);
        }
    }

    /// Adds to the items; if there is no room, once more with a block.
    #[inline(always)]
    fn keep<T>(&mut self, add: impl Fn(&mut Items, u16) -> Result<T, Full>) -> bool {
        add(&mut self.items, self.left.value).is_ok()
            || (self.grow() && add(&mut self.items, self.left.value).is_ok())
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) -> bool {
        let may = !self.items.has_block();
        if may {
            self.items.give_block(more_room(self.base.get()));
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
            Some(_) => self.left.events -= 1,
            None => self.events_dropped = self.events_dropped.saturating_add(1),
        }
        begun
    }

    fn begin_event(&mut self, name: &'static str) -> Option<At> {
        if self.left.events == 0 {
            return None;
        }
        let name = key_number(self.base.get(), name)?;
        let now = local::here(self.base.get(), |here| here.directory.clock.ticks())?;
        self.begin(|items| items.begin_event(name, now))
    }

    /// Begins a link; `None` if it is not kept.
    pub(super) fn link(&mut self, to: SpanContext) -> Option<At> {
        if !self.is_recorded() {
            return None;
        }
        let may = self.left.links > 0;
        let begin = |items: &mut Items| items.begin_link(to.trace_id, to.span_id, to.sampled);
        let begun = if may { self.begin(begin) } else { None };
        match begun {
            Some(_) => self.left.links -= 1,
            None => self.links_dropped = self.links_dropped.saturating_add(1),
        }
        begun
    }

    fn begin(&mut self, begin: impl Fn(&mut Items) -> Result<At, Full>) -> Option<At> {
        begin(&mut self.items).ok().or_else(|| self.grow().then(|| begin(&mut self.items).ok())?)
    }

    /// Sets an attribute of the event or link that began at `at`, of which it has `set` already; returns where that
    /// stands now, and whether it was kept.
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
        let most = self.left.value;
        let mut at = at;
        let mut pushed = push(&mut self.items, key, value, most);
        if pushed.is_err() && self.grow() {
            at = self.items.gather(at);
            pushed = push(&mut self.items, key, value, most);
        }
        self.items.amend(at, self.items.len() - before, u16::from(pushed.is_err()));
        (at, pushed.is_ok())
    }

    /// What the status says.
    #[cold]
    pub(super) fn say(&mut self, message: &str) {
        if self.is_recorded()
            && !self.keep(|items, most| items.push_plain(layout::TEXT_MESSAGE, message, most.into()))
        {
            self.attributes_dropped = self.attributes_dropped.saturating_add(1);
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
