//! An open span while the switch is on, from its start to its record. Hot. It holds numbers only, and no counted
//! reference to its instance: counting references would cost more than the rest of the span.
//!
//! A span ends in one of two ways. [`end_fast`](ActiveSpan::end_fast) is for a span like most: on its thread's lane,
//! exited in order, without an error. [`end_slow`](ActiveSpan::end_slow) is for all others.

#[cfg(feature = "tracing")]
pub(super) mod atomic;

use super::owned::EntryRef;
use crate::config::SpanLimits;
use crate::context::{Hold, PropagatedHandle};
use crate::instance::find;
use crate::lane::{Exit, Ids, Key, RedMetrics, SpanNameMeta, StackIndex, TraceFlags, local};
use crate::record::{Items, Status, layout, span_head};
use crate::stats::{Kind, Reason};
use crate::sync::fixed::{AtomicBool, Ordering};
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;

/// The index of a span that is on no thread's stack, above any other. An exit from there changes nothing. The number
/// fits the operand of one store.
pub(super) const DETACHED: StackIndex = i32::MAX as StackIndex;

/// An open span while the switch is on.
#[derive(Debug)]
pub(super) struct ActiveSpan {
    pub(super) core: SpanCore,
    /// Index on the thread's stack of open spans.
    pub(super) index: StackIndex,
    /// Set if the end needs the slow path: an error, long items, no lane. One check in place of four.
    ///
    /// This and the next are atomic because guards that entered the span set them through a shared reference. Relaxed:
    /// the end has the span for itself, and the hand-over of the span ordered the guards' stores before that.
    needs_slow_end: AtomicBool,
    /// Set if a guard that had entered the span was dropped by a panic.
    exited_by_panic: AtomicBool,
    /// Set if the thread was unwinding already when the span started.
    was_panicking: bool,
    /// The reason for which there will be no record of the span.
    absent: Option<Absent>,
    /// Not dropped: a block goes back to its thread at the end, so no caller needs code to drop one.
    pub(super) items: ManuallyDrop<Items>,
}

/// The part of an open span that [`ActiveSpan`] and [`AtomicSpan`](atomic::AtomicSpan) both hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanCore {
    /// The instance's base. Not 0, so that a span that is switched off is one word to write and one word to check.
    pub(super) base: NonZeroU64,
    /// The record's header word; the item count is added when the span ends.
    header: u64,
    /// The start, in ticks.
    start: u64,
    pub(super) ids: Ids,
    /// 0 for a root.
    parent_id: u64,
    red_metrics: RedMetrics,
    pub(super) limits: RemainingLimits,
}

/// A reason for which a span gets no record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// No lane carries the span, for this reason: only its duration is counted.
    Laneless(Reason),
    /// The span does nothing but pass on the context that it began in, and has been counted.
    Forwarding,
}

/// Everything fixed when a span starts, except the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanStart<'a> {
    pub(super) base: NonZeroU64,
    pub(super) known: SpanNameMeta,
    pub(super) span_ids: SpanIds,
    pub(super) limits: &'a RemainingLimits,
}

/// The numbers of items that may still be set on a span, and of those that were dropped. Two words together, copied by
/// one load and one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemainingLimits {
    pub(super) left: SpanLimits,
    pub(super) events_dropped: u16,
    pub(super) links_dropped: u16,
}

impl RemainingLimits {
    /// The limits of a span without items.
    pub(super) const fn new(limits: SpanLimits) -> Self {
        Self { left: limits, events_dropped: 0, links_dropped: 0 }
    }
}

/// The span's ids, its parent and the flags they imply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpanIds {
    pub(super) ids: Ids,
    /// 0 for a root.
    pub(super) parent_id: u64,
    /// Flags of the record, beside its kind.
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

impl SpanCore {
    /// `start` is in ticks.
    #[inline(always)]
    fn new(span_start: SpanStart<'_>, start: u64) -> Self {
        let SpanStart { base, known, span_ids: SpanIds { ids, parent_id, flags }, limits } = span_start;
        Self {
            base,
            header: layout::header_more(known.header, 0, flags, 0),
            start,
            ids,
            parent_id,
            red_metrics: known.red_metrics,
            limits: *limits,
        }
    }

    /// Returns `true` if items that are set on the span may be kept.
    #[inline(always)]
    pub(super) fn is_recorded(&self) -> bool {
        self.ids.trace_flags.has(TraceFlags::SAMPLED | TraceFlags::HELD)
    }

    /// The first words of the span's record, given the number of words of its items.
    #[inline(always)]
    fn head(&self, items: usize, duration: u64) -> [u64; layout::SPAN_WORDS] {
        let header = layout::header_more(self.header, items, 0, 0);
        span_head(header, [self.start, duration], self.ids.trace_id, [self.ids.span_id, self.parent_id])
    }
}

impl ActiveSpan {
    /// `start` is in ticks.
    #[inline(always)]
    pub(super) fn new(span_start: SpanStart<'_>, index: StackIndex, was_panicking: bool, start: u64) -> Self {
        Self {
            core: SpanCore::new(span_start, start),
            index,
            needs_slow_end: AtomicBool::new(false),
            exited_by_panic: AtomicBool::new(false),
            was_panicking,
            absent: None,
            items: ManuallyDrop::new(Items::default()),
        }
    }

    /// A span without a record, on no stack. Its ids are those of the context that it passes on, or none; items that
    /// are set on it are dropped.
    pub(super) fn absent(span_start: SpanStart<'_>, why: Absent, start: u64) -> Self {
        const NOTHING: SpanLimits = SpanLimits {
            attributes: 0,
            events: 0,
            links: 0,
            event_attributes: 0,
            link_attributes: 0,
            value: 0,
        };
        let mut active = Self::new(span_start, DETACHED, std::thread::panicking(), start);
        let trace_flags = active.core.ids.trace_flags;
        active.core.ids.trace_flags = trace_flags.off_stack().with_handle(trace_flags.handle());
        active.core.limits = RemainingLimits::new(NOTHING);
        active.absent = Some(why);
        active.set_needs_slow_end();
        if trace_flags.has(TraceFlags::PROPAGATES) {
            active.hold_propagated();
        }
        active
    }

    /// Turns a forwarding span into one whose duration is counted as well.
    pub(super) fn measured(mut self, known: SpanNameMeta, reason: Reason, start: u64) -> Self {
        (self.core.header, self.core.red_metrics, self.core.start) = (known.header, known.red_metrics, start);
        self.absent = Some(Absent::Laneless(reason));
        self
    }

    /// Keeps the trace state and the baggage of this span's ids for as long as it is open. A span on its thread's stack
    /// need not: the entry around it keeps them.
    #[cold]
    #[inline(never)]
    pub(super) fn hold_propagated(&mut self) {
        match Hold::upgrade(self.core.ids.trace_flags.handle()) {
            Some(hold) => {
                self.core.ids.trace_flags = TraceFlags(
                    self.core.ids.trace_flags.with_handle(hold.into_handle()).0 | TraceFlags::HOLDS,
                );
                self.set_needs_slow_end(); // which releases the hold
            }
            None => {
                self.core.ids.trace_flags = self.core.ids.trace_flags.with_handle(PropagatedHandle::NONE);
            }
        }
    }

    /// Releases what [`hold_propagated`](Self::hold_propagated) keeps.
    #[cold]
    pub(super) fn release_propagated(&mut self) {
        if self.core.ids.trace_flags.has(TraceFlags::HOLDS) {
            self.core.ids.trace_flags.0 &= !TraceFlags::HOLDS;
            drop(Hold::from_handle(self.core.ids.trace_flags.handle()));
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

    /// Notes that a guard of this span was dropped while its thread unwinds. The panic may be caught before the span
    /// ends.
    #[cold]
    pub(super) fn exited_by_panic(&self) {
        self.exited_by_panic.store(true, Ordering::Relaxed);
        self.needs_slow_end.store(true, Ordering::Relaxed);
    }

    /// The span's own ids; a span without a record has those of another span, or none.
    pub(super) fn own_ids(&self) -> Option<Ids> {
        self.absent.is_none().then_some(self.core.ids)
    }

    /// Returns `true` if items that are set on the span may be kept.
    #[inline(always)]
    pub(super) fn is_recorded(&self) -> bool {
        self.core.is_recorded()
    }

    #[inline(always)]
    pub(super) fn set_status(&mut self, status: Status) {
        self.core.header = layout::with_status(self.core.header, status as u64);
        *self.needs_slow_end.get_mut() |= status == Status::Error;
    }

    /// Marks the span of a future that is dropped before it is done. A panic that ended the future was marked already.
    pub(super) fn cancel(&mut self) {
        if layout::flags(self.core.header) & layout::FLAG_PANICKED == 0 {
            self.mark(layout::FLAG_CANCELLED);
        }
    }

    /// Marks the span as failed by a panic.
    #[cold]
    pub(super) fn panicked(&mut self) {
        self.mark(layout::FLAG_PANICKED);
        self.set_status(Status::Error);
    }

    /// Sets a flag of the record, once: flags add up.
    fn mark(&mut self, flag: u64) {
        if layout::flags(self.core.header) & flag == 0 {
            self.core.header = layout::header_more(self.core.header, 0, flag, 0);
        }
    }

    /// Counts attributes that were dropped.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_attributes(&mut self, number: u16) {
        let more = number.min(u16::MAX - layout::aux(self.core.header));
        self.core.header = layout::header_more(self.core.header, 0, 0, more);
    }

    /// Ends the span. Called once, by its guard.
    #[inline(never)]
    pub(super) fn end(&mut self) {
        let base = self.core.base.get();
        let is_done =
            !self.needs_slow_end() && local::with_lane(base, |local| self.end_fast(&local)) == Some(true);
        if !is_done {
            self.end_slow();
        }
    }

    /// Ends the span while its thread unwinds.
    #[cold]
    #[inline(never)]
    pub(super) fn end_unwinding(&mut self) {
        self.set_needs_slow_end();
        self.end_slow();
    }

    /// Fast path: makes no calls. Rare cases are tail calls, so no callee-saved registers are pushed. `false` if
    /// nothing is done yet and the slow path must end the span.
    #[inline(always)]
    fn end_fast(&self, local: &local::LocalLane<'_>) -> bool {
        let Some(clock) = local.lanes.clock.as_tsc() else { return false };
        let (now, items) = (clock.ticks(), self.items.inline());
        if !local.exit_fast(self.index, self.core.ids.span_id) {
            return false;
        }
        self.record(now, local, |duration| {
            if !local.push_span::<false, _, _>(|| self.core.head(items.len(), duration), [items]) {
                self.push_slow(duration);
            }
        });
        true
    }

    /// Slow path: any clock, out of order, on a thread that is not attached, and spans with something that few have.
    #[cold]
    #[inline(never)]
    fn end_slow(&mut self) {
        let is_special = self.needs_slow_end();
        if is_special {
            self.count_failure();
        }
        let base = self.core.base.get();
        let may_have_lane = self.absent.is_none();
        if !may_have_lane || local::with_lane(base, |local| self.end_attached(&local)).is_none() {
            self.end_unattached();
        }
        if is_special {
            if self.items.has_block() {
                self.give_block_back();
            }
            self.release_propagated();
        }
    }

    /// Ends a span of a thread that is attached to its instance.
    fn end_attached(&self, local: &local::LocalLane<'_>) {
        let items = self.items.words();
        let RemainingLimits { events_dropped, links_dropped, .. } = self.core.limits;
        let lost = layout::item(layout::TAG_LOST, 0, 0, events_dropped, links_dropped);
        let lost: &[u64] = if events_dropped == 0 && links_dropped == 0 { &[] } else { &[lost] };
        let now = local.lanes.clock.ticks();
        local.exit(self.index, self.core.ids.span_id, Exit::Span);
        self.record(now, local, |duration| self.push(local, [items, lost], duration));
    }

    /// Ends a span of a thread that is at another instance, has no lane, or is about to end.
    #[cold]
    #[inline(never)]
    fn end_unattached(&self) {
        if self.absent.is_some() && self.index != DETACHED {
            EntryRef::of_guard(self).exit(Exit::Span);
        }
        let base = self.core.base.get();
        let Some(instance) = find(Key(base).instance()) else { return };
        let lanes = &instance.lanes;
        let attached = match self.absent {
            None => local::attach(lanes),
            Some(Absent::Laneless(reason)) => Err(reason),
            Some(Absent::Forwarding) => return,
        };
        let ended = attached.map(|()| local::with_lane(base, |local| self.end_attached(&local)));
        let reason = match ended {
            Ok(Some(())) => return,
            Ok(None) => Reason::TlsGone,
            Err(reason) => reason,
        };
        lanes.shared.shared_dropped(Kind::Span, reason);
        if matches!(reason, Reason::Forked | Reason::AfterShutdown) {
            return;
        }
        let nanos = lanes.clock.nanos_between(self.core.start, lanes.clock.ticks());
        if let Some(to) = lanes.distributions.get(self.core.red_metrics.durations() as usize) {
            if nanos > to.layout.highest() {
                lanes.shared.shared_clamped();
            }
            lanes.share_sample(&to.shared_histogram, nanos.min(to.layout.highest()));
        }
    }

    /// Calls `push` with the duration if the span is to have a record, and otherwise counts the duration alone. The
    /// span has left its thread's stack.
    #[inline(always)]
    fn record(&self, now: u64, local: &local::LocalLane<'_>, push: impl FnOnce(u64)) {
        let duration = now.saturating_sub(self.core.start);
        if self.is_recorded() && local.lane.ring.lets_spans_through() {
            push(duration);
        } else {
            self.count_unrecorded(local, duration);
        }
    }

    /// Counts the duration of a span that sampling or the switch keeps out.
    #[inline(always)]
    fn count_unrecorded(&self, local: &local::LocalLane<'_>, duration: u64) {
        if !local.lane.ring.lets_samples_through() {
            local.skip_span();
            return;
        }
        if self.is_recorded() {
            local.lane.tally.dropped(Kind::Span, Reason::Degraded);
        } else {
            local.lane.tally.unsampled();
        }
        local.push_duration(self.core.red_metrics.durations(), local.lanes.clock.scale().nanos(duration));
    }

    /// Writes the record with its items in as many parts as they lie in; counts the span as shed if the ring is full.
    fn push<const M: usize>(&self, local: &local::LocalLane<'_>, items: [&[u64]; M], duration: u64) {
        let length = items.iter().fold(0, |length, part| length + part.len());
        if !local.push_span::<true, _, _>(|| self.core.head(length, duration), items) {
            // The duration of a shed span is still counted.
            local.shed_span(layout::SPAN_WORDS + length, self.core.start + duration);
            local.push_duration(self.core.red_metrics.durations(), local.lanes.clock.scale().nanos(duration));
        }
    }

    /// Slow path of the push: the record wraps around the end of the ring, or the ring is full.
    #[cold]
    #[inline(never)]
    fn push_slow(&self, duration: u64) {
        let base = self.core.base.get();
        local::with_lane(base, |local| self.push(&local, [self.items.inline()], duration));
    }

    /// Marks a span that a panic ends, and counts a span that fails in its error counter, so that the error is not lost
    /// whatever becomes of the span. Not within [`with_lane`](local::with_lane): this may drop the last reference to an
    /// instance.
    #[cold]
    fn count_failure(&mut self) {
        let was_left = self.exited_by_panic.load(Ordering::Relaxed);
        if was_left || (std::thread::panicking() && !self.was_panicking) {
            self.panicked();
        }
        let has_failed = layout::flags(self.core.header) & layout::FLAG_STATUS == Status::Error as u64;
        if !has_failed || matches!(self.absent, Some(Absent::Forwarding)) {
            return;
        }
        let key = Key(self.core.base.get() | u64::from(self.core.red_metrics.errors()));
        if !local::add(key, 1)
            && let Some(instance) = find(key.instance())
        {
            local::add_cold(&instance.lanes, key, 1);
        }
    }

    /// Gives the block of a long span back to its thread, whatever became of the span.
    #[cold]
    #[inline(never)]
    fn give_block_back(&mut self) {
        let mut block = self.items.take_block();
        local::with_lane(self.core.base.get(), |local| {
            block = block.take().and_then(|block| local.thread_state.blocks.give(block))
        });
        local::without_recording(|| drop(block));
    }
}
