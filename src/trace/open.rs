//! A span that is on, from its start to its record. Hot. It holds no reference count and no pointer, only numbers: a
//! reference count would cost more than the rest of the span.

#[cfg(feature = "tracing")]
pub(super) mod parked;

use crate::config::SpanLimits;
use crate::lane::{Directory, Ids, Key, KnownName, Marks, local};
use crate::record::{Head, Items, SpanKind, Status, layout, span_head};
use crate::series::find;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::num::NonZeroU64;

/// The place of a span that is on no thread's stack.
pub(super) const DETACHED: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Open {
    /// The instance's base. Not 0, so that a span that is off is one word written and one word looked at.
    pub(super) base: NonZeroU64,
    /// In ticks.
    start: u64,
    known: KnownName,
    pub(super) ids: Ids,
    parent_id: u64,
    /// Place on the thread's stack of open spans.
    pub(super) place: usize,
    pub(super) status: Status,
    kind: SpanKind,
    local_root: bool,
    pub(super) cancelled: bool,
    /// Whether the thread was unwinding already when it started.
    was_panicking: bool,
    /// Why no lane carries it, if none does.
    laneless: Option<Reason>,
    /// What may still be set.
    pub(super) left: SpanLimits,
    pub(super) attributes_dropped: u16,
    pub(super) events_dropped: u16,
    pub(super) links_dropped: u16,
    pub(super) items: Items,
}

/// What a span is from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(super) base: NonZeroU64,
    pub(super) known: KnownName,
    pub(super) kind: SpanKind,
    pub(super) ids: Ids,
    /// 0 for a root.
    pub(super) parent_id: u64,
    pub(super) local_root: bool,
    pub(super) limits: SpanLimits,
}

impl Open {
    /// `start` is in ticks.
    #[inline(always)]
    pub(super) fn new(birth: Birth, place: usize, start: u64) -> Self {
        let Birth { base, known, kind, ids, parent_id, local_root, limits } = birth;
        Self {
            base,
            start,
            known,
            ids,
            parent_id,
            place,
            status: Status::Unset,
            kind,
            local_root,
            cancelled: false,
            was_panicking: std::thread::panicking(),
            laneless: None,
            left: limits,
            attributes_dropped: 0,
            events_dropped: 0,
            links_dropped: 0,
            items: Items::default(),
        }
    }

    /// A span that no lane will carry, for this reason: only its duration is counted.
    pub(super) fn laneless(birth: Birth, reason: Reason, start: u64) -> Self {
        Self { laneless: Some(reason), ..Self::new(birth, DETACHED, start) }
    }

    /// Whether what is set on it may be kept.
    #[inline(always)]
    pub(super) fn is_recorded(&self) -> bool {
        self.ids.marks.has(Marks::SAMPLED | Marks::HELD)
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
        if self.items.has_block() {
            self.give_block_back();
        }
    }

    #[inline(always)]
    fn end_here(&mut self, here: &local::Here<'_>, panicked: bool) {
        let now = here.directory.clock.ticks();
        if self.place != DETACHED {
            here.leave(self.place, self.ids.span_id);
        }
        let ring = &here.lane.ring;
        if !ring.lets_samples_through() {
            here.skip_span();
            return;
        }
        let duration = now.saturating_sub(self.start);
        if self.is_recorded() && ring.lets_spans_through() {
            let head = Head {
                name: self.known.name,
                flags: self.flags(panicked),
                attributes_dropped: self.attributes_dropped,
                start: self.start,
                duration,
                trace_id: self.ids.trace_id,
                span_id: self.ids.span_id,
                parent_id: self.parent_id,
            };
            if self.push(here, &head) {
                return;
            }
            here.shed_span(self.items.len() + layout::SPAN_WORDS, now);
        } else if self.is_recorded() {
            here.lane.tally.dropped(Kind::Span, Reason::Degraded);
        } else {
            here.lane.tally.unsampled();
        }
        here.push_duration(self.known.durations, here.directory.clock.scale().nanos(duration));
    }

    #[inline(always)]
    fn flags(&self, panicked: bool) -> u64 {
        let marks = self.ids.marks;
        self.status as u64
            | if marks.has(Marks::SAMPLED) { layout::FLAG_SAMPLED } else { layout::FLAG_HELD }
            | ((self.kind as u64) << layout::FLAG_KIND_SHIFT)
            | if self.local_root { layout::FLAG_LOCAL_ROOT } else { 0 }
            | if panicked { layout::FLAG_PANICKED } else { 0 }
            | if self.cancelled { layout::FLAG_CANCELLED } else { 0 }
    }

    #[inline(always)]
    fn push(&self, here: &local::Here<'_>, head: &Head) -> bool {
        let (inline, block) = self.items.words();
        if block.is_empty() && self.events_dropped == 0 && self.links_dropped == 0 {
            return here.push_span(span_head(head, inline.len()), [inline]);
        }
        self.push_long(here, head)
    }

    /// A span with more items than the usual few.
    #[cold]
    #[inline(never)]
    fn push_long(&self, here: &local::Here<'_>, head: &Head) -> bool {
        let lost = layout::item(layout::TAG_LOST, 0, 0, self.events_dropped, self.links_dropped);
        let lost: &[u64] = if self.events_dropped == 0 && self.links_dropped == 0 { &[] } else { &[lost] };
        let (inline, block) = self.items.words();
        here.push_span(span_head(head, self.items.len() + lost.len()), [inline, block, lost])
    }

    /// The thread keeps the block for the next long span, whatever became of this one.
    #[cold]
    #[inline(never)]
    fn give_block_back(&mut self) {
        let Some(block) = self.items.take_block() else { return };
        let mut block = Some(block);
        local::here(self.base.get(), |here| {
            block = block.take().and_then(|block| here.desk.give_block(block))
        });
        local::aside(|| drop(block));
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
