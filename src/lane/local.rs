//! The way from a thread to its lane. Hot: [`add`], [`sample`] and [`local`]; everything named `cold` is.
//!
//! Hot calls read const-initialised thread-local cells without a destructor, so there is no lazy initialisation and
//! no "already destroyed" on the way, and they can be read as long as the thread lives. Its lanes (one for each
//! instance it records into) are owned by a second thread-local, whose destructor empties the cells first and then
//! hands the lanes back. All dereferencing of the cells' pointers happens in this file.

#![allow(unsafe_code)] // the pointers of the cells below, see `ThreadLocal`

#[cfg(all(test, tellane_loom))]
pub(crate) mod loom;
mod reentry;
#[cfg(feature = "tracing")]
mod step;

use super::{
    Distribution, Exit, Gate, HistogramHandle, Ids, Key, Lane, LaneRegistry, SlotCache, StackIndex,
    ThreadState, TraceFlags,
};
use crate::level::Level;
use crate::record::{exemplar_words, layout};
use crate::stats::{Kind, Reason};
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU64, Ordering, OwnCopy};
pub(crate) use reentry::{afterwards, locked, try_without_recording, without_recording};
use std::cell::{Cell, RefCell};
use std::ptr;

/// The base of no instance.
const NOWHERE: u64 = u64::MAX;
/// Cold calls that a thread without a lane makes before it asks for one again.
const PATIENCE: u32 = 1_000;
/// Spilled samples between two looks at the aggregator's heartbeat: a look costs a clock reading.
const LOOK_EVERY: u32 = 1 << 12;

/// This thread's present lane, taken apart.
///
/// While `base` is an instance's, `cells`, `lane` and `thread_state` point into a [`Attachment`] of this thread; the seat's owner
/// resets the cells before it drops the seat or grows the row.
struct ThreadLocal {
    /// The present instance's [`Key::base`]; counter keys are compared with it by one subtraction.
    base: Cell<u64>,
    /// The same, for samples: but while a span is open whose samples may become exemplars, the base of no instance. So
    /// samples outside of spans pay nothing for those inside.
    sample_base: Cell<u64>,
    /// The counts that samples find at once; nothing wherever `sample_base` is no instance's.
    slot_cache: Cell<*const SlotCache>,
    cells_len: Cell<u64>,
    cells: Cell<*const AtomicU64>,
    lane: Cell<*const Lane>,
    /// The ring's head.
    head: OwnCopy,
    thread_state: Cell<*const ThreadState>,
    lanes: Cell<*const LaneRegistry>,
    /// Spills since the last look at the heartbeat.
    spills: Cell<u32>,
    /// A base that refused this thread a lane, why, and in how many calls to ask again.
    refused: Cell<u64>,
    refusal: Cell<Reason>,
    patience: Cell<u32>,
    /// This thread is tellane's own, or inside an attachment.
    inside: Cell<bool>,
    guards: reentry::Guards,
}

/// A thread-local with a destructor would be looked at twice at each call: whether it is there, and whether it still is.
const _: () = assert!(!std::mem::needs_drop::<ThreadLocal>());

thread_local! {
    static LOCAL: ThreadLocal = const { ThreadLocal::nowhere() };
    static ATTACHMENTS: Attachments = const { Attachments(RefCell::new(Vec::new())) };
}

/// One lane that this thread owns.
struct Attachment {
    lanes: Arc<LaneRegistry>,
    lane: Arc<Lane>,
    thread_state: Box<ThreadState>,
    /// The lane's row of cells. Kept here, so that a thread that goes back and forth between instances takes no lock.
    row: Cell<(*const AtomicU64, usize)>,
}

impl Attachment {
    fn new(lanes: &Arc<LaneRegistry>, lane: Arc<Lane>) -> Self {
        let row = Cell::new(lane.cells.raw());
        Self { lanes: Arc::clone(lanes), lane, thread_state: ThreadState::new(), row }
    }
}

struct Attachments(RefCell<Vec<Attachment>>);

impl Drop for Attachments {
    fn drop(&mut self) {
        forget();
        for attachment in self.0.get_mut().drain(..) {
            // In the child of a fork the lock may be held by a thread that is not there.
            if !attachment.lanes.is_forked() {
                attachment.lanes.hand_back(attachment.lane);
            }
        }
    }
}

/// Empties the cells: the next call is a cold one.
pub(super) fn forget() {
    LOCAL.with(|local| {
        local.base.set(NOWHERE);
        local.disable_fast_samples();
        local.cells_len.set(0);
        local.cells.set(ptr::null());
        local.lane.set(ptr::null());
        local.thread_state.set(ptr::null());
        local.lanes.set(ptr::null());
    });
}

/// Makes this thread one of tellane's own: what it records goes to shared counts only, never into a lane that it
/// would have to drain itself.
pub(crate) fn mark_own_thread() {
    LOCAL.with(|local| local.inside.set(true));
}

impl ThreadLocal {
    /// A thread that is at no instance.
    const fn nowhere() -> Self {
        Self {
            base: Cell::new(NOWHERE),
            sample_base: Cell::new(NOWHERE),
            slot_cache: Cell::new(SlotCache::nothing()),
            cells_len: Cell::new(0),
            cells: Cell::new(ptr::null()),
            lane: Cell::new(ptr::null()),
            head: OwnCopy::of(0),
            thread_state: Cell::new(ptr::null()),
            lanes: Cell::new(ptr::null()),
            spills: Cell::new(0),
            refused: Cell::new(NOWHERE),
            refusal: Cell::new(Reason::TooManyThreads),
            patience: Cell::new(0),
            inside: Cell::new(false),
            guards: reentry::Guards::new(),
        }
    }

    fn point_at(&self, attachment: &Attachment) {
        let (cells, len) = attachment.row.get();
        self.cells.set(cells);
        self.cells_len.set(len as u64);
        self.lane.set(&raw const *attachment.lane);
        self.head.set(if planted(Bug::StaleHead) { 0 } else { attachment.lane.ring.published() });
        self.thread_state.set(&raw const *attachment.thread_state);
        self.lanes.set(&raw const *attachment.lanes);
        let base = Key::new(attachment.lanes.instance, 0).0;
        self.base.set(base);
        let exemplary = attachment.thread_state.any_has(TraceFlags::EXAMPLES);
        if exemplary { self.disable_fast_samples() } else { self.enable_fast_samples(&attachment.lane) }
    }

    /// Samples go the short way, into the present lane.
    #[inline(always)]
    fn enable_fast_samples(&self, lane: &Lane) {
        self.sample_base.set(self.base.get());
        self.slot_cache.set(&raw const lane.spill.slot_cache);
    }

    /// They go by [`sample_slow`].
    #[inline(always)]
    fn disable_fast_samples(&self) {
        self.sample_base.set(NOWHERE);
        self.slot_cache.set(SlotCache::nothing());
    }

    #[inline(always)]
    fn lane(&self, base: u64) -> Option<&Lane> {
        if self.base.get() == base {
            // SAFETY: `base` is an instance's, so `lane` points into a seat that this thread owns. The reference
            // does not outlive the closure of `LOCAL.with` it is made in, and no code in between drops seats.
            Some(unsafe { &*self.lane.get() })
        } else {
            None
        }
    }
}

/// Adds to a counter's cell; `false` if this thread has none yet, for [`add_cold`] to see to.
#[inline(always)]
pub(crate) fn add(key: Key, amount: u64) -> bool {
    LOCAL.with(|local| {
        // One comparison for all of: attached, to the right instance, with a row long enough. Another instance's key
        // is 2^32 or more away, and a row is shorter than that.
        let index = key.0.wrapping_sub(local.base.get());
        if index >= local.cells_len.get() {
            return false;
        }
        // SAFETY: `cells` points to a row of `cells_len` cells of a seat that this thread owns.
        let cell = unsafe { &*local.cells.get().add(index as usize) };
        // Relaxed, and no read-modify-write: this thread is the only writer, a count stands for itself.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        true
    })
}

/// Adds to a counter that has no cell on this thread yet, or no lane to have one in. Nothing is lost but in the
/// child of a fork.
#[cold]
#[inline(never)]
pub(crate) fn add_cold(lanes: &Arc<LaneRegistry>, key: Key, amount: u64) {
    match attach(lanes) {
        Ok(()) => {
            let cells = lanes.shared_cells.count();
            if key.index() as usize >= cells {
                return; // no counter's: a span's errors when no number was left for them
            }
            LOCAL.with(|local| {
                if let Some(lane) = local.lane(key.base()) {
                    // The old row goes when it grows, and the row is locked: nobody may come here meanwhile.
                    without_recording(|| lane.cells.grow(cells));
                    let (cells, len) = lane.cells.raw();
                    local.cells.set(cells);
                    local.cells_len.set(len as u64);
                    keep_row(lanes.instance, (cells, len));
                }
            });
            add(key, amount);
        }
        Err(Reason::Forked) => {}
        Err(_) => lanes.share_count(key.index() as usize, amount),
    }
}

/// The row of this thread's lane at an instance has grown; the old one is gone.
fn keep_row(instance: u32, row: (*const AtomicU64, usize)) {
    // The thread is at the instance, so it has a seat there, and nobody holds the list while a record is made.
    let _kept = ATTACHMENTS.try_with(|attachments| {
        let attachments = attachments.0.borrow();
        attachments
            .iter()
            .filter(|attachment| attachment.lanes.instance == instance)
            .for_each(|attachment| attachment.row.set(row));
    });
}

/// Records a value.
#[inline(always)]
pub(crate) fn sample(recorder: &HistogramHandle, value: u64) {
    let to = &*recorder.to;
    // SAFETY: what `slot_cache` points at is a static, or in the lane of a seat that this thread owns; the counts are done with
    // before anything can drop that.
    let slot_cache = unsafe { &*LOCAL.with(|local| local.slot_cache.get()) };
    if let Some(counts) = slot_cache.find(to.key) {
        // One look for all of: attached, to the right instance, not inside a span that wants exemplars, let through,
        // counted here.
        if !counts.add(to, value) {
            sample_slow(recorder, value);
        }
        return;
    }
    let (at, lane) = LOCAL.with(|local| (local.sample_base.get() == to.base, local.lane.get()));
    if !at {
        return sample_slow(recorder, value);
    }
    // SAFETY: as in `local`; while `sample_base` is an instance's, `base` is that one's too.
    let lane = unsafe { &*lane };
    let gate = lane.ring.gate();
    if gate.lets_samples_through() {
        take_by_ring(lane, recorder, value);
    } else {
        skip(lane, Kind::Sample, gate);
    }
}

/// Records a value from anywhere: inside a span that wants exemplars, or as [`sample_cold`].
#[inline(never)]
pub(crate) fn sample_slow(recorder: &HistogramHandle, value: u64) {
    if !sample_here(recorder, value) {
        sample_cold(recorder, value);
    }
}

/// Records a value with all that may belong to it; `false` if this thread is not at the histogram's instance.
#[inline(always)]
fn sample_here(recorder: &HistogramHandle, value: u64) -> bool {
    let to = &*recorder.to;
    let recorded = with_lane(to.base, |local| {
        let gate = local.lane.ring.gate();
        if gate.lets_samples_through() {
            exemplify(&local, to, value);
            take(local.lane, recorder, value);
        } else {
            skip(local.lane, Kind::Sample, gate);
        }
    });
    recorded.is_some()
}

/// Sends a value along with the span it is recorded in, if that span wants it and the epoch has none of its kind yet.
#[inline(always)]
fn exemplify(local: &LocalLane<'_>, to: &Distribution, value: u64) {
    // The span first: what is recorded in an unsampled one must not use up the epoch's place.
    if let Some(ids) = local.thread_state.current().filter(|ids| ids.trace_flags.has(TraceFlags::EXAMPLES)) {
        let epoch = local.lanes.epoch.load(Ordering::Relaxed); // a number; nothing hangs on its order
        if local.thread_state.is_example(to.series(), value, epoch) {
            send_exemplar(local, ids, to, value);
        }
    }
}

#[cold]
#[inline(never)]
fn send_exemplar(local: &LocalLane<'_>, ids: Ids, to: &Distribution, value: u64) {
    let (high, low) = ((ids.trace_id >> 64) as u64, ids.trace_id as u64);
    let body = [value.min(to.layout.highest()), local.lanes.clock.ticks(), high, low, ids.span_id];
    let tally = &local.lane.tally;
    let words = exemplar_words(to.series(), body);
    // Spans are worth more: exemplars leave them half of the ring.
    let reserve = local.lane.ring.capacity() as u64 / 2;
    let sent = || tally.exemplar_sent();
    if local.lane.ring.push_leaving(reserve, own_head(), words, [], sent) {
        tally.beside(words.len());
    } else {
        tally.exemplar_without_room();
    }
}

/// A sample that is let through: counted where its series is counted already, or sent by ring.
fn take(lane: &Lane, recorder: &HistogramHandle, value: u64) {
    let counted =
        lane.spill.slot_cache.find(recorder.to.key).is_some_and(|counts| counts.add(&recorder.to, value));
    if !counted {
        take_by_ring(lane, recorder, value);
    }
}

#[inline(never)]
fn take_by_ring(lane: &Lane, recorder: &HistogramHandle, value: u64) {
    let to = &*recorder.to;
    if value > to.plain_max {
        return take_wide(lane, recorder, value);
    }
    let word = (value << layout::SAMPLE_SHIFT) | to.word;
    if !lane.ring.push_sample(own_head(), [word]) {
        spill(lane, to, &recorder.lanes, value);
    }
}

/// A value that does not fit one word, or is above the highest.
#[cold]
#[inline(never)]
fn take_wide(lane: &Lane, recorder: &HistogramHandle, value: u64) {
    let to = &*recorder.to;
    let kept = value.min(to.layout.highest());
    if kept < value {
        lane.tally.clamped();
    }
    if kept <= to.plain_max {
        return take(lane, recorder, kept);
    }
    let words = [layout::header(layout::KIND_WIDE_SAMPLE, to.series(), 2, 0, 0), kept];
    if lane.ring.push_sample(own_head(), words) {
        lane.tally.beside(1);
    } else {
        spill(lane, to, &recorder.lanes, kept);
    }
}

/// Whether the switch lets a record of this kind through at an instance now; what it keeps out is counted. `None` if
/// this thread is not there yet.
#[inline(always)]
pub(crate) fn lets_through(base: u64, kind: Kind) -> Option<bool> {
    with_lane(base, |local| {
        let gate = local.lane.ring.gate();
        let on = gate.lets_samples_through();
        if !on {
            skip(local.lane, kind, gate);
        }
        on
    })
}

/// [`lets_through`], and this thread's desk at the instance. Not handed to a closure: what a span's start makes in one
/// is copied. No caller keeps the desk beyond a record's beginning.
#[inline(always)]
pub(crate) fn thread_state_if_on<'a>(base: u64, kind: Kind) -> Option<Option<&'a ThreadState>> {
    let on = lets_through(base, kind)?;
    let thread_state = LOCAL.with(|local| local.thread_state.get());
    // SAFETY: this thread is at the instance, so `thread_state` points into a seat that it owns. Only `enter`, for another
    // instance, drops seats, and no record is begun within it.
    Some(on.then(|| unsafe { &*thread_state }))
}

/// A record that the switch keeps out. Inline, since a call would cost more than the rest of what is off.
#[inline(always)]
fn skip(lane: &Lane, kind: Kind, gate: Gate) {
    if gate.is_closed() {
        late(lane, kind);
    } else {
        lane.tally.switched_off(kind);
    }
}

/// A record after shutdown.
#[cold]
#[inline(never)]
fn late(lane: &Lane, kind: Kind) {
    lane.tally.dropped(kind, Reason::AfterShutdown);
}

/// A sample that found the ring full: counted where it is, as will be those of its series that follow, if it is near.
#[cold]
#[inline(never)]
fn spill(lane: &Lane, to: &Distribution, lanes: &LaneRegistry, value: u64) {
    count_in_spill(lane, to, value);
    let spills = LOCAL.with(|local| local.spills.replace(local.spills.get().wrapping_add(1)));
    if spills.is_multiple_of(LOOK_EVERY) {
        lanes.suspect_stall(lane, lanes.clock.ticks());
    }
}

/// In the lane's spill, or, if that is used up, in the counts that all threads share.
fn count_in_spill(lane: &Lane, to: &Distribution, value: u64) {
    if !lane.count_in_spill(to, value) {
        lane.tally.sent(Kind::Sample);
        lane.tally.coarse();
        to.shared_histogram.add(value);
    }
}

/// Records a value from a thread that is not at the instance.
#[cold]
#[inline(never)]
fn sample_cold(recorder: &HistogramHandle, value: u64) {
    let HistogramHandle { to, lanes } = recorder;
    match attach(lanes) {
        Ok(()) => {
            let there = sample_here(recorder, value);
            debug_assert!(there, "it has just entered");
        }
        Err(reason @ (Reason::Forked | Reason::AfterShutdown)) => {
            lanes.shared.shared_dropped(Kind::Sample, reason);
        }
        Err(_) if lanes.mode() == super::Mode::Off => lanes.shared.shared_switched_off(Kind::Sample),
        Err(_) => {
            let kept = value.min(to.layout.highest());
            if kept < value {
                lanes.shared.shared_clamped();
            }
            lanes.share_sample(&to.shared_histogram, kept);
        }
    }
}

/// A value that is no number of its histogram.
#[cold]
pub(crate) fn reject_sample(lanes: &Arc<LaneRegistry>, reason: Reason) {
    match attach(lanes) {
        Ok(()) => {
            LOCAL.with(|local| match local.lane(Key::new(lanes.instance, 0).0) {
                Some(lane) => lane.tally.dropped(Kind::Sample, reason),
                None => lanes.shared.shared_dropped(Kind::Sample, reason),
            });
        }
        Err(_) => lanes.shared.shared_dropped(Kind::Sample, reason),
    }
}

/// Whether a measurement should be made now; if not, it is counted as left out.
#[inline(always)]
pub(crate) fn wants_sample(recorder: &HistogramHandle) -> bool {
    let to = &recorder.to;
    lets_through(to.base, Kind::Sample).unwrap_or_else(|| wants_sample_cold(recorder))
}

/// A thread that has no lane yet, or never will: then samples go to the shared counts, unless the switch is off.
#[cold]
#[inline(never)]
fn wants_sample_cold(recorder: &HistogramHandle) -> bool {
    let lanes = &recorder.lanes;
    match attach(lanes) {
        Ok(()) => wants_sample(recorder),
        Err(reason @ (Reason::Forked | Reason::AfterShutdown)) => {
            lanes.shared.shared_dropped(Kind::Sample, reason);
            false
        }
        Err(_) if lanes.mode() == super::Mode::Off => {
            lanes.shared.shared_switched_off(Kind::Sample);
            false
        }
        Err(_) => true,
    }
}

/// The ring's head as this thread knows it. Not handed to a closure within `LOCAL.with`: std inlines that only around
/// small ones.
#[inline(always)]
fn own_head<'a>() -> &'a OwnCopy {
    let head = LOCAL.with(|local| &raw const local.head);
    // SAFETY: `LOCAL` has no destructor and lives as long as its thread; no caller keeps the reference beyond its call,
    // and `OwnCopy` is not `Sync`, or holds nothing at all.
    unsafe { &*head }
}

/// What a span needs of its thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalLane<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) thread_state: &'a ThreadState,
    pub(crate) lanes: &'a LaneRegistry,
}

impl LocalLane<'_> {
    /// Writes a span's record; `false` if there is no room, or none without going `AROUND` the ring's end: see
    /// [`Ring::push_span`](super::Ring::push_span).
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
            tally.beside(items.iter().fold(N, |words, part| words + part.len()));
        }
        pushed
    }

    /// Writes a log record; `false` if there is no room. The less it matters, the more room it leaves to others.
    #[inline(always)]
    pub(crate) fn push_log<const N: usize, const M: usize>(
        &self,
        level: Level,
        words: [u64; N],
        items: [&[u64]; M],
    ) -> bool {
        let (tally, ring) = (&self.lane.tally, &self.lane.ring);
        let reserve = Self::reserve(ring.capacity(), level);
        let pushed = ring.push_leaving(reserve, own_head(), words, items, || tally.sent(Kind::Log));
        let length = items.iter().fold(N, |words, part| words + part.len());
        if pushed {
            tally.beside(length);
        } else {
            let oversize = length > ring.capacity();
            tally.dropped(Kind::Log, if oversize { Reason::Oversize } else { Reason::RingFull });
            tally.log_shed(level as usize - 1);
        }
        pushed
    }

    /// Words of the ring that a log record of this level leaves free: a half for traces, a quarter for debug, and so on;
    /// none for errors.
    #[inline(always)]
    fn reserve(capacity: usize, level: Level) -> u64 {
        if level == Level::Error { 0 } else { capacity as u64 >> level as u32 }
    }

    /// The most words that a log record of this level may have. A longer one would never find room.
    #[cold]
    pub(crate) fn longest_log(&self, level: Level) -> usize {
        let capacity = self.lane.ring.capacity();
        (capacity - Self::reserve(capacity, level) as usize).min(layout::WORDS_MAX)
    }

    /// Like [`enter`](Self::enter), but copies the ids from where they are. Handed over by value they would be copied in
    /// pieces, since one of their fields is looked at: six instructions more a poll of a future in a span.
    #[inline(always)]
    pub(crate) fn enter_from(&self, ids: &Ids) -> StackIndex {
        if ids.trace_flags.has(TraceFlags::EXAMPLES) {
            LOCAL.with(ThreadLocal::disable_fast_samples);
        }
        self.thread_state.enter_from(ids)
    }

    /// Makes a span the innermost one of this thread; returns its place.
    #[inline(always)]
    pub(crate) fn enter(&self, ids: Ids) -> StackIndex {
        enter_span(self.thread_state, ids)
    }

    /// Ends what [`enter`](Self::enter) began, and what `how` says of what was opened inside.
    #[inline(always)]
    pub(crate) fn leave(&self, place: StackIndex, span_id: u64, how: Exit) {
        let popped = self.thread_state.pop(place, span_id);
        self.left(popped, |thread_state| thread_state.exit(place, span_id, how));
    }

    /// The same for a span's guard, or for a span that is on no stack, if that takes no call. Otherwise nothing is done.
    #[inline(always)]
    pub(crate) fn exit_fast(&self, place: StackIndex, span_id: u64) -> bool {
        if place > self.thread_state.top() {
            return true; // on no stack, or gone already
        }
        let popped = self.thread_state.pop(place, span_id);
        if popped == Some(true) {
            LOCAL.with(|local| local.enable_fast_samples(self.lane));
        }
        popped.is_some()
    }

    #[inline(always)]
    fn left(&self, popped: Option<bool>, otherwise: impl FnOnce(&ThreadState) -> bool) {
        match popped {
            Some(false) => {}
            Some(true) => LOCAL.with(|local| local.enable_fast_samples(self.lane)),
            None => exit_out_of_order(self.lane, self.thread_state, otherwise),
        }
    }

    /// A span of so many words that found no room. `now` is its end, in ticks: a look at the heartbeat costs no
    /// clock reading here.
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
        let nanos = nanos.min(layout::SAMPLE_MAX); // the highest value of all duration histograms of spans
        let word = layout::sample(series, nanos);
        if !LOCAL.with(|local| lane.ring.push_sample(&local.head, [word])) {
            count_duration(lane, self.lanes, series, nanos);
        }
    }

    /// A span that the switch keeps out.
    #[inline(always)]
    pub(crate) fn skip_span(&self) {
        skip(self.lane, Kind::Span, self.lane.ring.gate());
    }

    /// A log record that the switch keeps out.
    #[inline(always)]
    pub(crate) fn skip_log(&self) {
        skip(self.lane, Kind::Log, self.lane.ring.gate());
    }
}

/// A span's duration for which the ring has no room. Not given a [`LocalLane`], which would have to lie in memory for it.
#[cold]
#[inline(never)]
fn count_duration(lane: &Lane, lanes: &LaneRegistry, series: u32, nanos: u64) {
    let Some(to) = lanes.distributions.get(series as usize) else {
        lane.tally.dropped(Kind::Sample, Reason::Corrupt); // as if the aggregator had met it
        return;
    };
    let slot_cache = lane.spill.slot_cache.find(to.key);
    if !slot_cache.is_some_and(|counts| counts.add(to, nanos)) {
        spill(lane, to, lanes, nanos);
    }
}

/// Exits an entry that is not the innermost. Not given a [`LocalLane`], which would have to lie in memory for it.
#[cold]
#[inline(never)]
fn exit_out_of_order(lane: &Lane, thread_state: &ThreadState, exit: impl FnOnce(&ThreadState) -> bool) {
    if without_recording(|| exit(thread_state)) {
        LOCAL.with(|local| local.enable_fast_samples(lane));
    }
}

/// Makes a span the innermost one of this thread, at the place that [`ThreadState::next`] has just named.
#[inline(always)]
pub(crate) fn enter_span_at(thread_state: &ThreadState, place: StackIndex, ids: Ids) {
    if ids.trace_flags.has(TraceFlags::EXAMPLES) {
        LOCAL.with(ThreadLocal::disable_fast_samples);
    }
    thread_state.enter_at(place, ids);
}

/// Makes a span the innermost one of this thread, whose desk this is; returns its place.
#[inline(always)]
pub(crate) fn enter_span(thread_state: &ThreadState, ids: Ids) -> StackIndex {
    if ids.trace_flags.has(TraceFlags::EXAMPLES) {
        LOCAL.with(ThreadLocal::disable_fast_samples);
    }
    thread_state.enter(ids)
}

/// Runs `act` with this thread's place at an instance, if the thread is there already.
///
/// Not inside `LOCAL.with`: std inlines that only around closures as small as this one, and a call would cost more
/// than many a record. What `act` does not use is not read.
#[inline(always)]
pub(crate) fn with_lane<R>(base: u64, act: impl FnOnce(LocalLane<'_>) -> R) -> Option<R> {
    let (at, lane, thread_state, lanes) = LOCAL.with(|local| {
        (local.base.get() == base, local.lane.get(), local.thread_state.get(), local.lanes.get())
    });
    debug_assert!(base != NOWHERE, "an instance's base has a low half of zeros");
    if !at {
        return None;
    }
    // SAFETY: while `base` is an instance's, all three point into one seat that this thread owns. `act` cannot keep the
    // references, and drops no seat: only `enter` does, for another instance, and it is not called from within.
    let (lane, thread_state, lanes) = unsafe { (&*lane, &*thread_state, &*lanes) };
    Some(act(LocalLane { lane, thread_state, lanes }))
}

/// The base of the instance that this thread is at, if it is at one.
pub(crate) fn current() -> Option<u64> {
    let base = LOCAL.with(|local| local.base.get());
    (base != NOWHERE).then_some(base)
}

/// Brings this thread to an instance: to the lane it has there, or to a new one.
#[cold]
#[inline(never)]
pub(crate) fn attach(lanes: &Arc<LaneRegistry>) -> Result<(), Reason> {
    if lanes.is_forked() {
        return Err(Reason::Forked);
    }
    LOCAL.with(|local| {
        let base = Key::new(lanes.instance, 0).0;
        if local.base.get() == base {
            return Ok(());
        }
        if local.inside.replace(true) {
            return Err(Reason::Reentrant);
        }
        let entered = ATTACHMENTS
            .try_with(|attachments| attach_slow(local, base, attachments, lanes))
            .unwrap_or(Err(Reason::TlsGone));
        local.inside.set(false);
        entered
    })
}

fn attach_slow(
    local: &ThreadLocal,
    base: u64,
    attachments: &Attachments,
    lanes: &Arc<LaneRegistry>,
) -> Result<(), Reason> {
    let mut attachments = attachments.0.try_borrow_mut().map_err(|_| Reason::Reentrant)?;
    if let Some(attachment) =
        attachments.iter().find(|attachment| attachment.lanes.instance == lanes.instance)
    {
        local.point_at(attachment);
        return Ok(());
    }
    if local.refused.get() == base && local.patience.get() > 0 {
        local.patience.set(local.patience.get() - 1);
        return Err(local.refusal.get());
    }
    // Instances that have shut down need no seat; this thread may outlive many.
    forget();
    attachments.retain(|attachment| !attachment.lane.ring.is_closed() && !attachment.lanes.is_forked());
    match lanes.take_lane() {
        Ok(lane) => {
            let attachment = Attachment::new(lanes, lane);
            attachments.reserve(1); // before the thread is there: an allocator that records would want this list
            local.point_at(&attachment);
            attachments.push(attachment);
            Ok(())
        }
        Err(reason) => {
            local.refused.set(base);
            local.refusal.set(reason);
            local.patience.set(PATIENCE);
            Err(reason)
        }
    }
}
