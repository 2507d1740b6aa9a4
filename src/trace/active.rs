//! A span that is on, from its start to its record. Hot. It holds no reference count and no pointer, only numbers: a
//! reference count would cost more than the rest of the span.

#[cfg(feature = "tracing")]
pub(super) mod atomic;

use super::owned::StackEntry;
use crate::config::SpanLimits;
use crate::context::{Hold, PropagatedHandle};
use crate::instance::find;
use crate::lane::{Exit, Ids, Key, LaneRegistry, RedMetrics, SpanNameMeta, StackIndex, TraceFlags, local};
use crate::record::{Items, Status, layout, span_head};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::sync::fixed::{AtomicBool, Ordering};
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;

/// The place of a span that is on no thread's stack, above any other. To leave it changes nothing. It fits the operand
/// of one store.
pub(super) const DETACHED: StackIndex = i32::MAX as StackIndex;

#[derive(Debug)]
pub(super) struct ActiveSpan {
    /// The instance's base. Not 0, so that a span that is off is one word written and one word looked at.
    pub(super) base: NonZeroU64,
    /// Of the record, as it will stand in the ring but for the words of its items.
    header: u64,
    /// In ticks.
    start: u64,
    pub(super) ids: Ids,
    parent_id: u64,
    /// Place on the thread's stack of open spans.
    pub(super) place: StackIndex,
    red_metrics: RedMetrics,
    pub(super) limits: RemainingLimits,
    /// Whether its end has more to look at than usual: an error, long items, no lane. One look in place of four.
    ///
    /// This and the next are atomic because guards that entered the span set them through a shared reference. Relaxed:
    /// the end has the span for itself, and whatever handed it over ordered the guards' stores before that.
    needs_slow_end: AtomicBool,
    /// Whether a guard that had entered it was dropped by a panic.
    exited_by_panic: AtomicBool,
    /// Whether the thread was unwinding already when it started.
    was_panicking: bool,
    /// Why there will be no record of it, if there will be none.
    absent: Option<Absent>,
    /// Not dropped: a block goes back to its thread at the end, and whoever ends a span needs no code to drop one.
    pub(super) items: ManuallyDrop<Items>,
}

/// A span without a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// No lane carries it, for this reason: only its duration is counted.
    Laneless(Reason),
    /// It does nothing but pass on the context that it began in, and has been counted.
    Forwarding,
}

/// What a span is from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanStart<'a> {
    pub(super) base: NonZeroU64,
    pub(super) known: SpanNameMeta,
    pub(super) span_ids: SpanIds,
    pub(super) limits: &'a RemainingLimits,
}

/// What may still be set on a span, and what was not kept. Two words together, copied by one load and one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemainingLimits {
    pub(super) left: SpanLimits,
    pub(super) events_dropped: u16,
    pub(super) links_dropped: u16,
}

impl RemainingLimits {
    /// Of a span that nothing was set on.
    pub(super) const fn of(limits: SpanLimits) -> Self {
        Self { left: limits, events_dropped: 0, links_dropped: 0 }
    }
}

/// Where a span stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpanIds {
    pub(super) ids: Ids,
    /// 0 for a root.
    pub(super) parent_id: u64,
    /// Of its record, beside its kind.
    pub(super) flags: u64,
}

impl SpanIds {
    #[inline(always)]
    pub(super) fn of_child(span_id: u64, parent: Ids) -> Self {
        let ids = Ids { span_id, trace_flags: parent.trace_flags.inherited(), ..parent };
        Self { ids, parent_id: parent.span_id, flags: parent.trace_flags.span_flags() }
    }

    #[inline(always)]
    pub(super) fn of_root(ids: Ids) -> Self {
        Self { ids, parent_id: 0, flags: TraceFlags(ids.trace_flags.0 | TraceFlags::REMOTE).span_flags() }
    }
}

impl ActiveSpan {
    /// `start` is in ticks.
    #[inline(always)]
    pub(super) fn new(span_start: SpanStart<'_>, place: StackIndex, was_panicking: bool, start: u64) -> Self {
        let SpanStart { base, known, span_ids: SpanIds { ids, parent_id, flags }, limits } = span_start;
        Self {
            base,
            header: layout::header_more(known.header, 0, flags, 0),
            start,
            ids,
            parent_id,
            place,
            red_metrics: known.red_metrics,
            limits: *limits,
            needs_slow_end: AtomicBool::new(false),
            exited_by_panic: AtomicBool::new(false),
            was_panicking,
            absent: None,
            items: ManuallyDrop::new(Items::default()),
        }
    }

    /// A span without a record, on no stack. Its ids are those of the context that it passes on, or none; nothing that is
    /// set on it is kept.
    pub(super) fn absent(span_start: SpanStart<'_>, why: Absent, start: u64) -> Self {
        const NOTHING: SpanLimits = SpanLimits {
            attributes: 0,
            events: 0,
            links: 0,
            event_attributes: 0,
            link_attributes: 0,
            value: 0,
        };
        let mut open = Self::new(span_start, DETACHED, std::thread::panicking(), start);
        let trace_flags = open.ids.trace_flags;
        open.ids.trace_flags = trace_flags.off_stack().with_handle(trace_flags.handle());
        open.limits = RemainingLimits::of(NOTHING);
        open.absent = Some(why);
        open.set_needs_slow_end();
        if trace_flags.has(TraceFlags::PROPAGATES) {
            open.hold_propagated();
        }
        open
    }

    /// Of a forwarding span: one whose duration is counted as well.
    pub(super) fn measured(mut self, known: SpanNameMeta, reason: Reason, start: u64) -> Self {
        (self.header, self.red_metrics, self.start) = (known.header, known.red_metrics, start);
        self.absent = Some(Absent::Laneless(reason));
        self
    }

    /// Makes it keep the trace state and the baggage of its ids for as long as it is open. A span's guard on its thread
    /// need not: what is around it keeps them.
    #[cold]
    #[inline(never)]
    pub(super) fn hold_propagated(&mut self) {
        match Hold::upgrade(self.ids.trace_flags.handle()) {
            Some(hold) => {
                self.ids.trace_flags =
                    TraceFlags(self.ids.trace_flags.with_handle(hold.into_handle()).0 | TraceFlags::HOLDS);
                self.set_needs_slow_end(); // its end lets go
            }
            None => self.ids.trace_flags = self.ids.trace_flags.with_handle(PropagatedHandle::NONE),
        }
    }

    /// Ends what [`hold_propagated`](Self::hold_propagated) began.
    #[cold]
    pub(super) fn release_propagated(&mut self) {
        if self.ids.trace_flags.has(TraceFlags::HOLDS) {
            self.ids.trace_flags.0 &= !TraceFlags::HOLDS;
            drop(Hold::from_handle(self.ids.trace_flags.handle()));
        }
    }

    #[inline(always)]
    pub(super) fn needs_slow_end(&self) -> bool {
        self.needs_slow_end.load(Ordering::Relaxed)
    }

    /// Sends the end to its slow path.
    #[inline(always)]
    pub(super) fn set_needs_slow_end(&mut self) {
        *self.needs_slow_end.get_mut() = true;
    }

    /// A guard that had entered it is dropped while its thread unwinds. The panic may be caught before the span ends.
    #[cold]
    pub(super) fn exited_by_panic(&self) {
        self.exited_by_panic.store(true, Ordering::Relaxed);
        self.needs_slow_end.store(true, Ordering::Relaxed);
    }

    /// Its ids, if it is a span: one without a record has those of another.
    pub(super) fn own_ids(&self) -> Option<Ids> {
        self.absent.is_none().then_some(self.ids)
    }

    /// Whether what is set on it may be kept.
    #[inline(always)]
    pub(super) fn is_recorded(&self) -> bool {
        self.ids.trace_flags.has(TraceFlags::SAMPLED | TraceFlags::HELD)
    }

    #[inline(always)]
    pub(super) fn set_status(&mut self, status: Status) {
        self.header = layout::with_status(self.header, status as u64);
        *self.needs_slow_end.get_mut() |= status == Status::Error;
    }

    /// Its future was dropped before it was done. A future that panicked was ended by that.
    pub(super) fn cancel(&mut self) {
        if layout::flags(self.header) & layout::FLAG_PANICKED == 0 {
            self.mark(layout::FLAG_CANCELLED);
        }
    }

    /// A panic went through it.
    #[cold]
    pub(super) fn panicked(&mut self) {
        self.mark(layout::FLAG_PANICKED);
        self.set_status(Status::Error);
    }

    /// Sets a flag of the record that may be set already.
    fn mark(&mut self, flag: u64) {
        if layout::flags(self.header) & flag == 0 {
            self.header = layout::header_more(self.header, 0, flag, 0);
        }
    }

    /// Counts attributes that were not kept.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_attributes(&mut self, number: u16) {
        let more = number.min(u16::MAX - layout::aux(self.header));
        self.header = layout::header_more(self.header, 0, 0, more);
    }

    /// Called once, by the guard's drop, which has asked whether the thread unwinds: then it is
    /// [`end_special`](Self::end_special).
    #[inline(never)]
    pub(super) fn end(&mut self) {
        if self.needs_slow_end() {
            self.end_special();
        } else if local::with_lane(self.base.get(), |local| self.end_fast(&local)).is_none() {
            self.end_unattached();
        }
    }

    /// What is usual makes no call from here, and what is not is called last: so no register need be saved.
    #[inline(always)]
    fn end_fast(&self, local: &local::LocalLane<'_>) {
        let Some(clock) = local.lanes.clock.as_tsc() else { return self.end_slow() };
        let (now, items) = (clock.ticks(), self.items.inline());
        if !local.exit_fast(self.place, self.ids.span_id) {
            return self.end_slow();
        }
        self.end_at(now, local, |duration| {
            if !local.push_span::<false, _, _>(|| self.head(items.len(), duration), [items]) {
                self.push_slow(duration);
            }
        });
    }

    /// Ends a span that has left its thread's stack. `record` makes its record, if it is to have one.
    #[inline(always)]
    fn end_at(&self, now: u64, local: &local::LocalLane<'_>, record: impl FnOnce(u64)) {
        let duration = now.saturating_sub(self.start);
        if self.is_recorded() && local.lane.ring.lets_spans_through() {
            record(duration);
        } else {
            self.end_unrecorded(local, duration);
        }
    }

    /// Slow path of [`end_fast`](Self::end_fast): any clock, and out of order.
    #[inline(never)]
    fn end_slow(&self) {
        local::with_lane(self.base.get(), |local| self.end_here(&local));
    }

    /// Across the end of the ring, or shed.
    #[cold]
    #[inline(never)]
    fn push_slow(&self, duration: u64) {
        local::with_lane(self.base.get(), |local| self.push(&local, [self.items.inline()], duration));
    }

    /// The first words of its record, if so many of items follow.
    #[inline(always)]
    fn head(&self, items: usize, duration: u64) -> [u64; layout::SPAN_WORDS] {
        let header = layout::header_more(self.header, items, 0, 0);
        span_head(header, [self.start, duration], self.ids.trace_id, [self.ids.span_id, self.parent_id])
    }

    /// With its items in as many parts as they lie in.
    fn push<const M: usize>(&self, local: &local::LocalLane<'_>, items: [&[u64]; M], duration: u64) {
        let length = items.iter().fold(0, |length, part| length + part.len());
        if !local.push_span::<true, _, _>(|| self.head(length, duration), items) {
            // Its duration counts all the same.
            local.shed_span(layout::SPAN_WORDS + length, self.start + duration);
            local.push_duration(self.red_metrics.durations(), local.lanes.clock.scale().nanos(duration));
        }
    }

    /// A span of which only the duration is to be counted, by the trace's sampling or by the switch.
    #[inline(always)]
    fn end_unrecorded(&self, local: &local::LocalLane<'_>, duration: u64) {
        if !local.lane.ring.lets_samples_through() {
            local.skip_span();
            return;
        }
        if self.is_recorded() {
            local.lane.tally.dropped(Kind::Span, Reason::Degraded);
        } else {
            local.lane.tally.unsampled();
        }
        local.push_duration(self.red_metrics.durations(), local.lanes.clock.scale().nanos(duration));
    }

    /// A span with something about it that few have.
    #[cold]
    #[inline(never)]
    pub(super) fn end_special(&mut self) {
        let was_left = self.exited_by_panic.load(Ordering::Relaxed);
        if was_left || (std::thread::panicking() && !self.was_panicking) {
            self.panicked();
        }
        let is_forwarding = matches!(self.absent, Some(Absent::Forwarding));
        if layout::flags(self.header) & layout::FLAG_STATUS == Status::Error as u64 && !is_forwarding {
            self.fail();
        }
        let is_carried = self.absent.is_none();
        if !is_carried || local::with_lane(self.base.get(), |local| self.end_here(&local)).is_none() {
            self.end_unattached();
        }
        if self.items.has_block() {
            self.give_block_back();
        }
        self.release_propagated();
    }

    /// With whatever items there may be.
    fn end_here(&self, local: &local::LocalLane<'_>) {
        let items = self.items.words();
        let RemainingLimits { events_dropped, links_dropped, .. } = self.limits;
        let lost = layout::item(layout::TAG_LOST, 0, 0, events_dropped, links_dropped);
        let lost: &[u64] = if events_dropped == 0 && links_dropped == 0 { &[] } else { &[lost] };
        let now = local.lanes.clock.ticks();
        local.exit(self.place, self.ids.span_id, Exit::Span);
        self.end_at(now, local, |duration| self.push(local, [items, lost], duration));
    }

    /// The thread keeps the block for the next long span, whatever became of this one.
    #[cold]
    #[inline(never)]
    fn give_block_back(&mut self) {
        let Some(block) = self.items.take_block() else { return };
        let mut block = Some(block);
        local::with_lane(self.base.get(), |local| {
            block = block.take().and_then(|block| local.thread_state.blocks.give(block))
        });
        local::without_recording(|| drop(block));
    }

    /// Counts the error, in a counter's cell: it is not lost whatever becomes of the span. Out here, since it may let
    /// go of the last reference to an instance.
    fn fail(&self) {
        let key = Key(self.base.get() | u64::from(self.red_metrics.errors()));
        if !local::add(key, 1)
            && let Some(instance) = find(key.instance())
        {
            local::add_cold(&instance.lanes, key, 1);
        }
    }

    /// The thread is not at the span's instance: it is at another one, has no lane, or is as good as gone.
    #[cold]
    #[inline(never)]
    fn end_unattached(&self) {
        if self.absent.is_some() && self.place != DETACHED {
            StackEntry::of_guard(self).exit(Exit::Span);
        }
        let Some(instance) = find(Key(self.base.get()).instance()) else { return };
        let lanes = &instance.lanes;
        let entered = match self.absent {
            None => local::attach(lanes),
            Some(Absent::Laneless(reason)) => Err(reason),
            Some(Absent::Forwarding) => return,
        };
        let reason = match entered {
            Ok(()) => match local::with_lane(self.base.get(), |local| self.end_here(&local)) {
                Some(()) => return,
                None => Reason::TlsGone,
            },
            Err(reason) => reason,
        };
        self.end_without_lane(lanes, reason);
    }

    fn end_without_lane(&self, lanes: &Arc<LaneRegistry>, reason: Reason) {
        lanes.shared.shared_dropped(Kind::Span, reason);
        if matches!(reason, Reason::Forked | Reason::AfterShutdown) {
            return;
        }
        let nanos = lanes.clock.nanos_between(self.start, lanes.clock.ticks());
        if let Some(to) = lanes.distributions.get(self.red_metrics.durations() as usize) {
            if nanos > to.layout.highest() {
                lanes.shared.shared_clamped();
            }
            lanes.share_sample(&to.shared_histogram, nanos.min(to.layout.highest()));
        }
    }
}
