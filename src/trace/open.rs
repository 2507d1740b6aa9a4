//! A span that is on, from its start to its record. Hot. It holds no reference count and no pointer, only numbers: a
//! reference count would cost more than the rest of the span.

use super::Attribute;
use crate::lane::{Directory, Ids, Key, KnownName, local};
use crate::record::{Full, Head, Items, Status, layout, span_head};
use crate::series::find;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::marker::PhantomData;
use std::num::NonZeroU64;

#[derive(Debug)]
pub(super) struct Open {
    /// The instance's base. Not 0, so that a span that is off is one word written and one word looked at.
    base: NonZeroU64,
    /// In ticks.
    start: u64,
    known: KnownName,
    pub(super) ids: Ids,
    parent_id: u64,
    /// Place on the thread's stack of open spans.
    place: usize,
    pub(super) status: Status,
    /// Whether the thread was unwinding already when it started.
    was_panicking: bool,
    /// Why no lane carries it, if none does.
    laneless: Option<Reason>,
    attributes_dropped: u16,
    items: Items,
    not_send: PhantomData<*const ()>,
}

impl Open {
    /// `parent_id` is 0 for a root; `start` is in ticks.
    #[inline(always)]
    pub(super) fn new(
        base: NonZeroU64,
        known: KnownName,
        ids: Ids,
        parent_id: u64,
        place: usize,
        start: u64,
    ) -> Self {
        Self {
            base,
            start,
            known,
            ids,
            parent_id,
            place,
            status: Status::Unset,
            was_panicking: std::thread::panicking(),
            laneless: None,
            attributes_dropped: 0,
            items: Items::default(),
            not_send: PhantomData,
        }
    }

    /// A span that no lane will carry, for this reason: only its duration is counted.
    pub(super) fn laneless(base: NonZeroU64, known: KnownName, reason: Reason, start: u64) -> Self {
        Self { laneless: Some(reason), ..Self::new(base, known, Ids::default(), 0, usize::MAX, start) }
    }

    #[inline(always)]
    pub(super) fn set(&mut self, key: &'static str, value: Attribute<'_>) {
        if !self.ids.sampled {
            return;
        }
        let Some(key) = self.key(key) else { return };
        let kept = match value {
            Attribute::Str(text) => self.items.push_str(key, text).map(|_whole| ()),
            Attribute::I64(number) => self.items.push_number(key, layout::TYPE_I64, number as u64),
            Attribute::U64(number) => self.items.push_number(key, layout::TYPE_U64, number),
            Attribute::F64(number) => self.items.push_number(key, layout::TYPE_F64, number.to_bits()),
            Attribute::Bool(truth) => self.items.push_bool(key, truth),
        };
        if kept == Err(Full) {
            self.attributes_dropped = self.attributes_dropped.saturating_add(1);
        }
    }

    #[inline(always)]
    fn key(&self, key: &'static str) -> Option<u32> {
        let known = local::here(self.base.get(), |here| here.desk.key(key)).flatten();
        known.or_else(|| self.meet_key(key))
    }

    #[cold]
    #[inline(never)]
    fn meet_key(&self, key: &'static str) -> Option<u32> {
        let registry = find(Key(self.base.get()).instance())?;
        local::enter(&registry.directory).ok()?;
        let number = local::aside(|| registry.names.key(key));
        local::here(self.base.get(), |here| here.desk.remember_key(key, number))?;
        Some(number)
    }

    /// Called once, by the guard's drop.
    #[inline(never)]
    pub(super) fn end(&mut self) {
        let panicked = std::thread::panicking() && !self.was_panicking;
        if panicked || self.status == Status::Error {
            self.fail(); // out here: it may let go of the last reference to an instance
        }
        let carried = self.laneless.is_none();
        if !carried || local::here(self.base.get(), |here| self.end_here(&here, panicked)).is_none() {
            self.end_cold(panicked);
        }
    }

    #[inline(always)]
    fn end_here(&mut self, here: &local::Here<'_>, panicked: bool) {
        let now = here.directory.clock.ticks();
        here.desk.leave(self.place, self.ids.span_id);
        let ring = &here.lane.ring;
        if !ring.lets_samples_through() {
            here.skip_span();
            return;
        }
        let duration = now.saturating_sub(self.start);
        if self.ids.sampled && ring.lets_spans_through() {
            let head = Head {
                name: self.known.name,
                flags: self.status as u64
                    | layout::FLAG_SAMPLED
                    | if panicked { layout::FLAG_PANICKED } else { 0 },
                attributes_dropped: self.attributes_dropped,
                start: self.start,
                duration,
                trace_id: self.ids.trace_id,
                span_id: self.ids.span_id,
                parent_id: self.parent_id,
            };
            let items = self.items.words();
            if here.push_span(span_head(&head, items.len()), items) {
                return;
            }
            here.shed_span(items.len() + layout::SPAN_WORDS, now);
        } else if self.ids.sampled {
            here.lane.tally.dropped(Kind::Span, Reason::Degraded);
        } else {
            here.lane.tally.unsampled();
        }
        here.push_duration(self.known.durations, here.directory.clock.scale().nanos(duration));
    }

    /// Counts the error, in a counter's cell: it is not lost whatever becomes of the span.
    #[cold]
    #[inline(never)]
    fn fail(&mut self) {
        self.status = Status::Error;
        let key = Key(self.base.get() | u64::from(self.known.errors));
        if !local::add(key, 1)
            && let Some(registry) = find(key.instance())
        {
            local::add_cold(&registry.directory, key, 1);
        }
    }

    /// The thread is not at the span's instance: it is at another one, has no lane, or is as good as gone.
    #[cold]
    #[inline(never)]
    fn end_cold(&mut self, panicked: bool) {
        let Some(registry) = find(Key(self.base.get()).instance()) else { return };
        let directory = &registry.directory;
        let entered = match self.laneless {
            None => local::enter(directory),
            Some(reason) => Err(reason),
        };
        let reason = match entered {
            Ok(()) => match local::here(self.base.get(), |here| self.end_here(&here, panicked)) {
                Some(()) => return,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        self.end_without_lane(directory, reason);
    }

    fn end_without_lane(&self, directory: &Arc<Directory>, reason: Reason) {
        directory.shared.shared_dropped(Kind::Span, reason);
        if matches!(reason, Reason::Forked | Reason::AfterShutdown) {
            return;
        }
        let nanos = directory.clock.nanos_between(self.start, directory.clock.ticks());
        if let Some(to) = directory.distributions.get(self.known.durations as usize) {
            if nanos > to.layout.highest() {
                directory.shared.shared_clamped();
            }
            directory.share_sample(&to.commons, nanos.min(to.layout.highest()));
        }
    }
}
