//! Spans on a thread: its stack of open spans, their records and their durations. Hot, but for the functions marked
//! cold.

use super::attach::{LOCAL, LocalLane, ThreadLocal, own_head};
use super::{skip, without_recording};
use crate::lane::{Exit, Ids, Lane, LaneRegistry, StackIndex, ThreadState, TraceFlags};
use crate::record::layout;
use crate::stats::{Kind, Reason};

impl LocalLane<'_> {
    /// Writes a span's record; `false` if it does not fit. With `AROUND = false` it also returns `false` for a record
    /// that would wrap around the ring's end; see [`Ring::push_span`](crate::lane::Ring::push_span).
    #[inline(always)]
    pub(crate) fn push_span<const AROUND: bool, const N: usize, const M: usize>(
        &self,
        words: impl Fn() -> [u64; N],
        items: [&[u64]; M],
    ) -> bool {
        let tally = &self.lane.tally;
        let sent = || tally.sent(Kind::Span);
        let pushed = self.lane.ring.push_span::<AROUND, _, _>(own_head(), words, items, sent);
        if pushed {
            tally.add_other_words(items.iter().fold(N, |words, part| words + part.len()));
        }
        pushed
    }

    /// Makes a span the innermost one of this thread; returns its stack index.
    #[inline(always)]
    pub(crate) fn enter(&self, ids: Ids) -> StackIndex {
        enter_span(self.thread_state, ids)
    }

    /// Like [`enter`](Self::enter), but copies the ids from a reference. Passed by value they would be copied field by
    /// field, since one of their fields is tested: six instructions more for a poll of a future in a span.
    #[inline(always)]
    pub(crate) fn enter_from(&self, ids: &Ids) -> StackIndex {
        if ids.trace_flags.has(TraceFlags::EXAMPLES) {
            LOCAL.with(ThreadLocal::disable_fast_samples);
        }
        self.thread_state.spans.enter_from(ids)
    }

    /// Exits the entry that [`enter`](Self::enter) made, and those inside it as `how` says.
    #[inline(always)]
    pub(crate) fn exit(&self, index: StackIndex, span_id: u64, how: Exit) {
        let popped = self.thread_state.spans.pop(index, span_id);
        self.after_pop(popped, |thread_state| thread_state.spans.exit(index, span_id, how));
    }

    /// Fast path of [`exit`](Self::exit) for a span's guard, and for a span that is on no stack. `false` if the exit
    /// needs the slow path; nothing is done then.
    #[inline(always)]
    pub(crate) fn exit_fast(&self, index: StackIndex, span_id: u64) -> bool {
        if index > self.thread_state.spans.top() {
            return true; // on no stack, or exited already
        }
        let popped = self.thread_state.spans.pop(index, span_id);
        if popped == Some(true) {
            LOCAL.with(|local| local.enable_fast_samples(self.lane));
        }
        popped.is_some()
    }

    /// Exits the innermost span of this id, and nothing else: `tracing` exits spans in any order, by their ids.
    #[cfg(feature = "tracing")]
    #[inline(always)]
    pub(crate) fn exit_unordered(&self, span_id: u64) {
        let popped = self.thread_state.spans.exit_unordered(span_id);
        self.after_pop(popped, |thread_state| thread_state.spans.exit_by_id(span_id));
    }

    #[inline(always)]
    fn after_pop(&self, popped: Option<bool>, exit_slow: impl FnOnce(&ThreadState) -> bool) {
        match popped {
            Some(false) => {}
            Some(true) => LOCAL.with(|local| local.enable_fast_samples(self.lane)),
            None => exit_out_of_order(self.lane, self.thread_state, exit_slow),
        }
    }

    /// Counts a span of `words` words that did not fit as dropped. `now` is its end, in ticks, so the check of the
    /// heartbeat needs no clock reading here.
    #[inline(never)]
    pub(crate) fn shed_span(&self, words: usize, now: u64) {
        let oversize = words > self.lane.ring.capacity();
        self.lane.tally.dropped(Kind::Span, if oversize { Reason::Oversize } else { Reason::RingFull });
        self.lanes.suspect_stall(self.lane, now);
    }

    /// Counts a span's duration, in nanoseconds, as a sample of its own.
    #[inline]
    pub(crate) fn push_duration(&self, series: u32, nanos: u64) {
        let lane = self.lane;
        if nanos > layout::SAMPLE_MAX {
            lane.tally.clamped();
        }
        let nanos = nanos.min(layout::SAMPLE_MAX); // the highest value of every span-duration histogram
        let word = layout::sample(series, nanos);
        if !LOCAL.with(|local| lane.ring.push_sample(&local.head, [word])) {
            count_duration(lane, self.lanes, series, nanos);
        }
    }

    /// Counts a span that the switch keeps out.
    #[inline(always)]
    pub(crate) fn skip_span(&self) {
        skip(self.lane, Kind::Span, self.lane.ring.gate());
    }
}

/// Makes a span the innermost one of this thread, whose state this is; returns its stack index.
#[inline(always)]
pub(crate) fn enter_span(thread_state: &ThreadState, ids: Ids) -> StackIndex {
    if ids.trace_flags.has(TraceFlags::EXAMPLES) {
        LOCAL.with(ThreadLocal::disable_fast_samples);
    }
    thread_state.spans.enter(ids)
}

/// Makes a span the innermost one of this thread, at the index that [`ThreadState::next`] has just returned.
#[inline(always)]
pub(crate) fn enter_span_at(thread_state: &ThreadState, index: StackIndex, ids: Ids) {
    if ids.trace_flags.has(TraceFlags::EXAMPLES) {
        LOCAL.with(ThreadLocal::disable_fast_samples);
    }
    thread_state.spans.enter_at(index, ids);
}

/// Counts a span's duration that does not fit the ring. Takes no [`LocalLane`], which would have to be stored to
/// memory for this call.
#[cold]
#[inline(never)]
fn count_duration(lane: &Lane, lanes: &LaneRegistry, series: u32, nanos: u64) {
    let Some(to) = lanes.distributions.get(series as usize) else {
        lane.tally.dropped(Kind::Sample, Reason::Corrupt); // as the aggregator counts it
        return;
    };
    let slot = lane.spill.slot_cache.get(to.key);
    if !slot.is_some_and(|slot| slot.add(to, nanos)) {
        super::sample::spill(lane, to, lanes, nanos);
    }
}

/// Exits an entry that is not the innermost. Takes no [`LocalLane`], which would have to be stored to memory for this
/// call.
#[cold]
#[inline(never)]
fn exit_out_of_order(lane: &Lane, thread_state: &ThreadState, exit: impl FnOnce(&ThreadState) -> bool) {
    if without_recording(|| exit(thread_state)) {
        LOCAL.with(|local| local.enable_fast_samples(lane));
    }
}
