//! The way from a thread to its lane. Hot: [`add`], [`sample`] and [`here`]; everything named `cold` is.
//!
//! Hot calls read const-initialised thread-local cells without a destructor, so there is no lazy initialisation and
//! no "already destroyed" on the way, and they can be read as long as the thread lives. Its lanes (one for each
//! instance it records into) are owned by a second thread-local, whose destructor empties the cells first and then
//! hands the lanes back. All dereferencing of the cells' pointers happens in this file.

#![allow(unsafe_code)] // the pointers of the cells below, see `Hot`

mod aside;
#[cfg(all(test, tellane_loom))]
pub(crate) mod loom;
#[cfg(feature = "tracing")]
mod step;

use super::{Desk, Directory, Distribution, Exit, Gate, Ids, Key, Lane, Marks, Near, Place, Recorder};
use crate::level::Level;
use crate::record::{exemplar_words, layout};
use crate::stats::{Kind, Reason};
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU64, Ordering, OwnCopy};
pub(crate) use aside::{afterwards, aside, aside_once, locked};
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
/// While `base` is an instance's, `cells`, `lane` and `desk` point into a [`Seat`] of this thread; the seat's owner
/// resets the cells before it drops the seat or grows the row.
struct Hot {
    /// The present instance's [`Key::base`]; counter keys are compared with it by one subtraction.
    base: Cell<u64>,
    /// The same, for samples: but while a span is open whose samples may become exemplars, the base of no instance. So
    /// samples outside of spans pay nothing for those inside.
    sample_base: Cell<u64>,
    /// The counts that samples find at once; nothing wherever `sample_base` is no instance's.
    near: Cell<*const Near>,
    cells_len: Cell<u64>,
    cells: Cell<*const AtomicU64>,
    lane: Cell<*const Lane>,
    /// The ring's head.
    head: OwnCopy,
    desk: Cell<*const Desk>,
    directory: Cell<*const Directory>,
    /// Spills since the last look at the heartbeat.
    spills: Cell<u32>,
    /// A base that refused this thread a lane, why, and in how many calls to ask again.
    refused: Cell<u64>,
    refusal: Cell<Reason>,
    patience: Cell<u32>,
    /// This thread is tellane's own, or inside an attachment.
    inside: Cell<bool>,
    guards: aside::Guards,
}

/// A thread-local with a destructor would be looked at twice at each call: whether it is there, and whether it still is.
const _: () = assert!(!std::mem::needs_drop::<Hot>());

thread_local! {
    static HOT: Hot = const { Hot::nowhere() };
    static SEATS: Seats = const { Seats(RefCell::new(Vec::new())) };
}

/// One lane that this thread owns.
struct Seat {
    directory: Arc<Directory>,
    lane: Arc<Lane>,
    desk: Box<Desk>,
    /// The lane's row of cells. Kept here, so that a thread that goes back and forth between instances takes no lock.
    row: Cell<(*const AtomicU64, usize)>,
}

impl Seat {
    fn new(directory: &Arc<Directory>, lane: Arc<Lane>) -> Self {
        let row = Cell::new(lane.cells.raw());
        Self { directory: Arc::clone(directory), lane, desk: Desk::new(), row }
    }
}

struct Seats(RefCell<Vec<Seat>>);

impl Drop for Seats {
    fn drop(&mut self) {
        forget();
        for seat in self.0.get_mut().drain(..) {
            // In the child of a fork the lock may be held by a thread that is not there.
            if !seat.directory.is_forked() {
                seat.directory.hand_back(seat.lane);
            }
        }
    }
}

/// Empties the cells: the next call is a cold one.
pub(super) fn forget() {
    HOT.with(|hot| {
        hot.base.set(NOWHERE);
        hot.shut_samples();
        hot.cells_len.set(0);
        hot.cells.set(ptr::null());
        hot.lane.set(ptr::null());
        hot.desk.set(ptr::null());
        hot.directory.set(ptr::null());
    });
}

/// Makes this thread one of tellane's own: what it records goes to shared counts only, never into a lane that it
/// would have to drain itself.
pub(crate) fn mark_own_thread() {
    HOT.with(|hot| hot.inside.set(true));
}

impl Hot {
    /// A thread that is at no instance.
    const fn nowhere() -> Self {
        Self {
            base: Cell::new(NOWHERE),
            sample_base: Cell::new(NOWHERE),
            near: Cell::new(Near::nothing()),
            cells_len: Cell::new(0),
            cells: Cell::new(ptr::null()),
            lane: Cell::new(ptr::null()),
            head: OwnCopy::of(0),
            desk: Cell::new(ptr::null()),
            directory: Cell::new(ptr::null()),
            spills: Cell::new(0),
            refused: Cell::new(NOWHERE),
            refusal: Cell::new(Reason::TooManyThreads),
            patience: Cell::new(0),
            inside: Cell::new(false),
            guards: aside::Guards::new(),
        }
    }

    fn point_at(&self, seat: &Seat) {
        let (cells, len) = seat.row.get();
        self.cells.set(cells);
        self.cells_len.set(len as u64);
        self.lane.set(&raw const *seat.lane);
        self.head.set(if planted(Bug::StaleHead) { 0 } else { seat.lane.ring.published() });
        self.desk.set(&raw const *seat.desk);
        self.directory.set(&raw const *seat.directory);
        let base = Key::new(seat.directory.instance, 0).0;
        self.base.set(base);
        let exemplary = seat.desk.any_has(Marks::EXAMPLES);
        if exemplary { self.shut_samples() } else { self.open_samples(&seat.lane) }
    }

    /// Samples go the short way, into the present lane.
    #[inline(always)]
    fn open_samples(&self, lane: &Lane) {
        self.sample_base.set(self.base.get());
        self.near.set(&raw const lane.spill.near);
    }

    /// They go by [`sample_otherwise`].
    #[inline(always)]
    fn shut_samples(&self) {
        self.sample_base.set(NOWHERE);
        self.near.set(Near::nothing());
    }

    #[inline(always)]
    fn lane(&self, base: u64) -> Option<&Lane> {
        if self.base.get() == base {
            // SAFETY: `base` is an instance's, so `lane` points into a seat that this thread owns. The reference
            // does not outlive the closure of `HOT.with` it is made in, and no code in between drops seats.
            Some(unsafe { &*self.lane.get() })
        } else {
            None
        }
    }
}

/// Adds to a counter's cell; `false` if this thread has none yet, for [`add_cold`] to see to.
#[inline(always)]
pub(crate) fn add(key: Key, amount: u64) -> bool {
    HOT.with(|hot| {
        // One comparison for all of: attached, to the right instance, with a row long enough. Another instance's key
        // is 2^32 or more away, and a row is shorter than that.
        let index = key.0.wrapping_sub(hot.base.get());
        if index >= hot.cells_len.get() {
            return false;
        }
        // SAFETY: `cells` points to a row of `cells_len` cells of a seat that this thread owns.
        let cell = unsafe { &*hot.cells.get().add(index as usize) };
        // Relaxed, and no read-modify-write: this thread is the only writer, a count stands for itself.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        true
    })
}

/// Adds to a counter that has no cell on this thread yet, or no lane to have one in. Nothing is lost but in the
/// child of a fork.
#[cold]
#[inline(never)]
pub(crate) fn add_cold(directory: &Arc<Directory>, key: Key, amount: u64) {
    match enter(directory) {
        Ok(()) => {
            let cells = directory.shared_cells.count();
            if key.index() as usize >= cells {
                return; // no counter's: a span's errors when no number was left for them
            }
            HOT.with(|hot| {
                if let Some(lane) = hot.lane(key.base()) {
                    // The old row goes when it grows, and the row is locked: nobody may come here meanwhile.
                    aside(|| lane.cells.grow(cells));
                    let (cells, len) = lane.cells.raw();
                    hot.cells.set(cells);
                    hot.cells_len.set(len as u64);
                    keep_row(directory.instance, (cells, len));
                }
            });
            add(key, amount);
        }
        Err(Reason::Forked) => {}
        Err(_) => directory.share_count(key.index() as usize, amount),
    }
}

/// The row of this thread's lane at an instance has grown; the old one is gone.
fn keep_row(instance: u32, row: (*const AtomicU64, usize)) {
    // The thread is at the instance, so it has a seat there, and nobody holds the list while a record is made.
    let _kept = SEATS.try_with(|seats| {
        let seats = seats.0.borrow();
        seats.iter().filter(|seat| seat.directory.instance == instance).for_each(|seat| seat.row.set(row));
    });
}

/// Records a value.
#[inline(always)]
pub(crate) fn sample(recorder: &Recorder, value: u64) {
    let to = &*recorder.to;
    // SAFETY: what `near` points at is a static, or in the lane of a seat that this thread owns; the counts are done with
    // before anything can drop that.
    let near = unsafe { &*HOT.with(|hot| hot.near.get()) };
    if let Some(counts) = near.find(to.key) {
        // One look for all of: attached, to the right instance, not inside a span that wants exemplars, let through,
        // counted here.
        if !counts.add(to, value) {
            sample_otherwise(recorder, value);
        }
        return;
    }
    let (at, lane) = HOT.with(|hot| (hot.sample_base.get() == to.base, hot.lane.get()));
    if !at {
        return sample_otherwise(recorder, value);
    }
    // SAFETY: as in `here`; while `sample_base` is an instance's, `base` is that one's too.
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
pub(crate) fn sample_otherwise(recorder: &Recorder, value: u64) {
    if !sample_here(recorder, value) {
        sample_cold(recorder, value);
    }
}

/// Records a value with all that may belong to it; `false` if this thread is not at the histogram's instance.
#[inline(always)]
fn sample_here(recorder: &Recorder, value: u64) -> bool {
    let to = &*recorder.to;
    let recorded = here(to.base, |here| {
        let gate = here.lane.ring.gate();
        if gate.lets_samples_through() {
            exemplify(&here, to, value);
            take(here.lane, recorder, value);
        } else {
            skip(here.lane, Kind::Sample, gate);
        }
    });
    recorded.is_some()
}

/// Sends a value along with the span it is recorded in, if that span wants it and the epoch has none of its kind yet.
#[inline(always)]
fn exemplify(here: &Here<'_>, to: &Distribution, value: u64) {
    // The span first: what is recorded in an unsampled one must not use up the epoch's place.
    if let Some(ids) = here.desk.current().filter(|ids| ids.marks.has(Marks::EXAMPLES)) {
        let epoch = here.directory.epoch.load(Ordering::Relaxed); // a number; nothing hangs on its order
        if here.desk.is_example(to.series(), value, epoch) {
            send_exemplar(here, ids, to, value);
        }
    }
}

#[cold]
#[inline(never)]
fn send_exemplar(here: &Here<'_>, ids: Ids, to: &Distribution, value: u64) {
    let (high, low) = ((ids.trace_id >> 64) as u64, ids.trace_id as u64);
    let body = [value.min(to.layout.highest()), here.directory.clock.ticks(), high, low, ids.span_id];
    let tally = &here.lane.tally;
    let words = exemplar_words(to.series(), body);
    // Spans are worth more: exemplars leave them half of the ring.
    let reserve = here.lane.ring.capacity() as u64 / 2;
    let sent = || tally.exemplar_sent();
    if here.lane.ring.push_leaving(reserve, own_head(), words, [], sent) {
        tally.beside(words.len());
    } else {
        tally.exemplar_without_room();
    }
}

/// A sample that is let through: counted where its series is counted already, or sent by ring.
fn take(lane: &Lane, recorder: &Recorder, value: u64) {
    let counted = lane.spill.near.find(recorder.to.key).is_some_and(|counts| counts.add(&recorder.to, value));
    if !counted {
        take_by_ring(lane, recorder, value);
    }
}

#[inline(never)]
fn take_by_ring(lane: &Lane, recorder: &Recorder, value: u64) {
    let to = &*recorder.to;
    if value > to.plain_max {
        return take_wide(lane, recorder, value);
    }
    let word = (value << layout::SAMPLE_SHIFT) | to.word;
    if !lane.ring.push_sample(own_head(), [word]) {
        spill(lane, to, &recorder.directory, value);
    }
}

/// A value that does not fit one word, or is above the highest.
#[cold]
#[inline(never)]
fn take_wide(lane: &Lane, recorder: &Recorder, value: u64) {
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
        spill(lane, to, &recorder.directory, kept);
    }
}

/// Whether the switch lets a record of this kind through at an instance now; what it keeps out is counted. `None` if
/// this thread is not there yet.
#[inline(always)]
pub(crate) fn lets_through(base: u64, kind: Kind) -> Option<bool> {
    here(base, |here| {
        let gate = here.lane.ring.gate();
        let on = gate.lets_samples_through();
        if !on {
            skip(here.lane, kind, gate);
        }
        on
    })
}

/// [`lets_through`], and this thread's desk at the instance. Not handed to a closure: what a span's start makes in one
/// is copied. No caller keeps the desk beyond a record's beginning.
#[inline(always)]
pub(crate) fn desk_if_on<'a>(base: u64, kind: Kind) -> Option<Option<&'a Desk>> {
    let on = lets_through(base, kind)?;
    let desk = HOT.with(|hot| hot.desk.get());
    // SAFETY: this thread is at the instance, so `desk` points into a seat that it owns. Only `enter`, for another
    // instance, drops seats, and no record is begun within it.
    Some(on.then(|| unsafe { &*desk }))
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
fn spill(lane: &Lane, to: &Distribution, directory: &Directory, value: u64) {
    count_in_place(lane, to, value);
    let spills = HOT.with(|hot| hot.spills.replace(hot.spills.get().wrapping_add(1)));
    if spills.is_multiple_of(LOOK_EVERY) {
        directory.suspect_stall(lane, directory.clock.ticks());
    }
}

/// In the lane's spill, or, if that is used up, in the counts that all threads share.
fn count_in_place(lane: &Lane, to: &Distribution, value: u64) {
    if !lane.count_in_place(to, value) {
        lane.tally.sent(Kind::Sample);
        lane.tally.coarse();
        to.commons.add(value);
    }
}

/// Records a value from a thread that is not at the instance.
#[cold]
#[inline(never)]
fn sample_cold(recorder: &Recorder, value: u64) {
    let Recorder { to, directory } = recorder;
    match enter(directory) {
        Ok(()) => {
            let there = sample_here(recorder, value);
            debug_assert!(there, "it has just entered");
        }
        Err(reason @ (Reason::Forked | Reason::AfterShutdown)) => {
            directory.shared.shared_dropped(Kind::Sample, reason);
        }
        Err(_) if directory.mode() == super::Mode::Off => directory.shared.shared_switched_off(Kind::Sample),
        Err(_) => {
            let kept = value.min(to.layout.highest());
            if kept < value {
                directory.shared.shared_clamped();
            }
            directory.share_sample(&to.commons, kept);
        }
    }
}

/// A value that is no number of its histogram.
#[cold]
pub(crate) fn reject_sample(directory: &Arc<Directory>, reason: Reason) {
    match enter(directory) {
        Ok(()) => {
            HOT.with(|hot| match hot.lane(Key::new(directory.instance, 0).0) {
                Some(lane) => lane.tally.dropped(Kind::Sample, reason),
                None => directory.shared.shared_dropped(Kind::Sample, reason),
            });
        }
        Err(_) => directory.shared.shared_dropped(Kind::Sample, reason),
    }
}

/// Whether a measurement should be made now; if not, it is counted as left out.
#[inline(always)]
pub(crate) fn wants_sample(recorder: &Recorder) -> bool {
    let to = &recorder.to;
    lets_through(to.base, Kind::Sample).unwrap_or_else(|| wants_sample_cold(recorder))
}

/// A thread that has no lane yet, or never will: then samples go to the shared counts, unless the switch is off.
#[cold]
#[inline(never)]
fn wants_sample_cold(recorder: &Recorder) -> bool {
    let directory = &recorder.directory;
    match enter(directory) {
        Ok(()) => wants_sample(recorder),
        Err(reason @ (Reason::Forked | Reason::AfterShutdown)) => {
            directory.shared.shared_dropped(Kind::Sample, reason);
            false
        }
        Err(_) if directory.mode() == super::Mode::Off => {
            directory.shared.shared_switched_off(Kind::Sample);
            false
        }
        Err(_) => true,
    }
}

/// The ring's head as this thread knows it. Not handed to a closure within `HOT.with`: std inlines that only around
/// small ones.
#[inline(always)]
fn own_head<'a>() -> &'a OwnCopy {
    let head = HOT.with(|hot| &raw const hot.head);
    // SAFETY: `HOT` has no destructor and lives as long as its thread; no caller keeps the reference beyond its call,
    // and `OwnCopy` is not `Sync`, or holds nothing at all.
    unsafe { &*head }
}

/// What a span needs of its thread.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) desk: &'a Desk,
    pub(crate) directory: &'a Directory,
}

impl Here<'_> {
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
    pub(crate) fn enter_from(&self, ids: &Ids) -> Place {
        if ids.marks.has(Marks::EXAMPLES) {
            HOT.with(Hot::shut_samples);
        }
        self.desk.enter_from(ids)
    }

    /// Makes a span the innermost one of this thread; returns its place.
    #[inline(always)]
    pub(crate) fn enter(&self, ids: Ids) -> Place {
        enter_span(self.desk, ids)
    }

    /// Ends what [`enter`](Self::enter) began, and what `how` says of what was opened inside.
    #[inline(always)]
    pub(crate) fn leave(&self, place: Place, span_id: u64, how: Exit) {
        let popped = self.desk.pop(place, span_id);
        self.left(popped, |desk| desk.exit(place, span_id, how));
    }

    /// The same for a span's guard, or for a span that is on no stack, if that takes no call. Otherwise nothing is done.
    #[inline(always)]
    pub(crate) fn leave_at_once(&self, place: Place, span_id: u64) -> bool {
        if place > self.desk.top() {
            return true; // on no stack, or gone already
        }
        let popped = self.desk.pop(place, span_id);
        if popped == Some(true) {
            HOT.with(|hot| hot.open_samples(self.lane));
        }
        popped.is_some()
    }

    #[inline(always)]
    fn left(&self, popped: Option<bool>, otherwise: impl FnOnce(&Desk) -> bool) {
        match popped {
            Some(false) => {}
            Some(true) => HOT.with(|hot| hot.open_samples(self.lane)),
            None => leave_out_of_order(self.lane, self.desk, otherwise),
        }
    }

    /// A span of so many words that found no room. `now` is its end, in ticks: a look at the heartbeat costs no
    /// clock reading here.
    #[inline(never)]
    pub(crate) fn shed_span(&self, words: usize, now: u64) {
        let oversize = words > self.lane.ring.capacity();
        self.lane.tally.dropped(Kind::Span, if oversize { Reason::Oversize } else { Reason::RingFull });
        self.directory.suspect_stall(self.lane, now);
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
        if !HOT.with(|hot| lane.ring.push_sample(&hot.head, [word])) {
            count_duration(lane, self.directory, series, nanos);
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

/// A span's duration for which the ring has no room. Not given a [`Here`], which would have to lie in memory for it.
#[cold]
#[inline(never)]
fn count_duration(lane: &Lane, directory: &Directory, series: u32, nanos: u64) {
    let Some(to) = directory.distributions.get(series as usize) else {
        lane.tally.dropped(Kind::Sample, Reason::Corrupt); // as if the aggregator had met it
        return;
    };
    let near = lane.spill.near.find(to.key);
    if !near.is_some_and(|counts| counts.add(to, nanos)) {
        spill(lane, to, directory, nanos);
    }
}

/// Exits an entry that is not the innermost. Not given a [`Here`], which would have to lie in memory for it.
#[cold]
#[inline(never)]
fn leave_out_of_order(lane: &Lane, desk: &Desk, exit: impl FnOnce(&Desk) -> bool) {
    if aside(|| exit(desk)) {
        HOT.with(|hot| hot.open_samples(lane));
    }
}

/// Makes a span the innermost one of this thread, at the place that [`Desk::next`] has just named.
#[inline(always)]
pub(crate) fn enter_span_at(desk: &Desk, place: Place, ids: Ids) {
    if ids.marks.has(Marks::EXAMPLES) {
        HOT.with(Hot::shut_samples);
    }
    desk.enter_at(place, ids);
}

/// Makes a span the innermost one of this thread, whose desk this is; returns its place.
#[inline(always)]
pub(crate) fn enter_span(desk: &Desk, ids: Ids) -> Place {
    if ids.marks.has(Marks::EXAMPLES) {
        HOT.with(Hot::shut_samples);
    }
    desk.enter(ids)
}

/// Runs `act` with this thread's place at an instance, if the thread is there already.
///
/// Not inside `HOT.with`: std inlines that only around closures as small as this one, and a call would cost more
/// than many a record. What `act` does not use is not read.
#[inline(always)]
pub(crate) fn here<R>(base: u64, act: impl FnOnce(Here<'_>) -> R) -> Option<R> {
    let (at, lane, desk, directory) =
        HOT.with(|hot| (hot.base.get() == base, hot.lane.get(), hot.desk.get(), hot.directory.get()));
    debug_assert!(base != NOWHERE, "an instance's base has a low half of zeros");
    if !at {
        return None;
    }
    // SAFETY: while `base` is an instance's, all three point into one seat that this thread owns. `act` cannot keep the
    // references, and drops no seat: only `enter` does, for another instance, and it is not called from within.
    let (lane, desk, directory) = unsafe { (&*lane, &*desk, &*directory) };
    Some(act(Here { lane, desk, directory }))
}

/// The base of the instance that this thread is at, if it is at one.
pub(crate) fn present() -> Option<u64> {
    let base = HOT.with(|hot| hot.base.get());
    (base != NOWHERE).then_some(base)
}

/// Brings this thread to an instance: to the lane it has there, or to a new one.
#[cold]
#[inline(never)]
pub(crate) fn enter(directory: &Arc<Directory>) -> Result<(), Reason> {
    if directory.is_forked() {
        return Err(Reason::Forked);
    }
    HOT.with(|hot| {
        let base = Key::new(directory.instance, 0).0;
        if hot.base.get() == base {
            return Ok(());
        }
        if hot.inside.replace(true) {
            return Err(Reason::Reentrant);
        }
        let entered =
            SEATS.try_with(|seats| attach(hot, base, seats, directory)).unwrap_or(Err(Reason::TlsGone));
        hot.inside.set(false);
        entered
    })
}

fn attach(hot: &Hot, base: u64, seats: &Seats, directory: &Arc<Directory>) -> Result<(), Reason> {
    let mut seats = seats.0.try_borrow_mut().map_err(|_| Reason::Reentrant)?;
    if let Some(seat) = seats.iter().find(|seat| seat.directory.instance == directory.instance) {
        hot.point_at(seat);
        return Ok(());
    }
    if hot.refused.get() == base && hot.patience.get() > 0 {
        hot.patience.set(hot.patience.get() - 1);
        return Err(hot.refusal.get());
    }
    // Instances that have shut down need no seat; this thread may outlive many.
    forget();
    seats.retain(|seat| !seat.lane.ring.is_closed() && !seat.directory.is_forked());
    match directory.take_lane() {
        Ok(lane) => {
            let seat = Seat::new(directory, lane);
            seats.reserve(1); // before the thread is there: an allocator that records would want this list
            hot.point_at(&seat);
            seats.push(seat);
            Ok(())
        }
        Err(reason) => {
            hot.refused.set(base);
            hot.refusal.set(reason);
            hot.patience.set(PATIENCE);
            Err(reason)
        }
    }
}
