//! The thread-locals, and how a thread attaches to an instance. [`with_lane`] is hot; attaching is cold.
//!
//! [`LOCAL`] is const-initialised and has no destructor, so an access needs no lazy initialisation and no check for
//! "already destroyed". A second thread-local, [`ATTACHMENTS`], owns what the pointers in [`LOCAL`] lead to; its
//! destructor clears those pointers first and then hands the lanes back. Only this file dereferences them.

#![allow(unsafe_code)] // the pointers in `ThreadLocal`

use super::guards::Guards;
use crate::lane::{Key, Lane, LaneRegistry, SlotCache, ThreadState, TraceFlags};
use crate::stats::{Kind, Reason};
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU64, OwnCopy};
use std::cell::{Cell, RefCell};
use std::ptr;

/// The base of no instance.
pub(super) const NOWHERE: u64 = u64::MAX;
/// Slow-path calls that a thread without a lane makes before it asks for one again.
const PATIENCE: u32 = 1_000;

/// This thread's current lane, taken apart so that each hot call loads only the words it needs.
///
/// While `base` is an instance's, `cells`, `lane` and `thread_state` point into an [`Attachment`] of this thread. The
/// owner of the attachment resets the cells before it drops the attachment or grows the row.
pub(super) struct ThreadLocal {
    /// The current instance's [`Key::base`]. Counter keys are compared with it by one subtraction.
    pub(super) base: Cell<u64>,
    /// The same, for samples, but [`NOWHERE`] while a span is open whose samples may become exemplars. So samples
    /// outside of spans pay nothing for exemplars.
    pub(super) sample_base: Cell<u64>,
    /// The current lane's slot cache; an empty one while `sample_base` is [`NOWHERE`].
    pub(super) slot_cache: Cell<*const SlotCache>,
    pub(super) cells_len: Cell<u64>,
    pub(super) cells: Cell<*const AtomicU64>,
    pub(super) lane: Cell<*const Lane>,
    /// The producer's copy of the ring's head.
    pub(super) head: OwnCopy,
    pub(super) thread_state: Cell<*const ThreadState>,
    pub(super) lanes: Cell<*const LaneRegistry>,
    /// Spills since the last check of the heartbeat.
    pub(super) spills: Cell<u32>,
    /// A base that refused this thread a lane.
    refused: Cell<u64>,
    /// The reason of that refusal.
    refusal: Cell<Reason>,
    /// Calls to make before asking `refused` for a lane again.
    patience: Cell<u32>,
    /// Set on tellane's own threads, and while this thread attaches.
    pub(super) inside: Cell<bool>,
    pub(super) guards: Guards,
}

/// A thread-local with a destructor would cost two checks per access: is it initialised, is it destroyed already.
const _: () = assert!(!std::mem::needs_drop::<ThreadLocal>());

thread_local! {
    pub(super) static LOCAL: ThreadLocal = const { ThreadLocal::nowhere() };
    static ATTACHMENTS: Attachments = const { Attachments(RefCell::new(Vec::new())) };
}

/// One lane that this thread owns.
pub(super) struct Attachment {
    lanes: Arc<LaneRegistry>,
    lane: Arc<Lane>,
    thread_state: Box<ThreadState>,
    /// The lane's row of cells. Kept here so that a thread that alternates between instances takes no lock.
    row: Cell<(*const AtomicU64, usize)>,
}

impl Attachment {
    fn new(lanes: &Arc<LaneRegistry>, lane: Arc<Lane>) -> Self {
        let row = Cell::new(lane.cells.raw());
        Self { lanes: Arc::clone(lanes), lane, thread_state: ThreadState::new(), row }
    }
}

/// All attachments of one thread. Dropped at the thread's end, which hands the lanes back.
pub(super) struct Attachments(pub(super) RefCell<Vec<Attachment>>);

impl Drop for Attachments {
    fn drop(&mut self) {
        detach();
        for attachment in self.0.get_mut().drain(..) {
            // In a forked child the registry's lock may be held by a thread that does not exist there.
            if !attachment.lanes.is_forked() {
                attachment.lanes.hand_back(attachment.lane);
            }
        }
    }
}

/// Clears the cells, so that the next call takes the slow path.
pub(crate) fn detach() {
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

/// Marks this thread as tellane's own. Its records go to the shared counts, never into a lane that it would have to
/// drain itself.
pub(crate) fn mark_own_thread() {
    LOCAL.with(|local| local.inside.set(true));
}

impl ThreadLocal {
    /// A thread that is attached to no instance.
    pub(super) const fn nowhere() -> Self {
        Self {
            base: Cell::new(NOWHERE),
            sample_base: Cell::new(NOWHERE),
            slot_cache: Cell::new(SlotCache::empty()),
            cells_len: Cell::new(0),
            cells: Cell::new(ptr::null()),
            lane: Cell::new(ptr::null()),
            head: OwnCopy::new(0),
            thread_state: Cell::new(ptr::null()),
            lanes: Cell::new(ptr::null()),
            spills: Cell::new(0),
            refused: Cell::new(NOWHERE),
            refusal: Cell::new(Reason::TooManyThreads),
            patience: Cell::new(0),
            inside: Cell::new(false),
            guards: Guards::new(),
        }
    }

    fn point_at(&self, attachment: &Attachment) {
        self.set_row(attachment.row.get());
        self.lane.set(&raw const *attachment.lane);
        self.head.set(if planted(Bug::StaleHead) { 0 } else { attachment.lane.ring.published() });
        self.thread_state.set(&raw const *attachment.thread_state);
        self.lanes.set(&raw const *attachment.lanes);
        self.base.set(Key::new(attachment.lanes.instance, 0).0);
        let exemplary = attachment.thread_state.spans.any_has(TraceFlags::EXAMPLES);
        if exemplary { self.disable_fast_samples() } else { self.enable_fast_samples(&attachment.lane) }
    }

    fn set_row(&self, (cells, len): (*const AtomicU64, usize)) {
        self.cells.set(cells);
        self.cells_len.set(len as u64);
    }

    /// Sends samples by the fast path, into the current lane.
    #[inline(always)]
    pub(super) fn enable_fast_samples(&self, lane: &Lane) {
        self.sample_base.set(self.base.get());
        self.slot_cache.set(&raw const lane.spill.slot_cache);
    }

    /// Sends every sample by the slow path, [`sample_slow`](super::sample_slow), which attaches exemplars.
    #[inline(always)]
    pub(super) fn disable_fast_samples(&self) {
        self.sample_base.set(NOWHERE);
        self.slot_cache.set(SlotCache::empty());
    }

    /// The lane, if this thread is attached to the instance of this base.
    #[inline(always)]
    pub(super) fn lane(&self, base: u64) -> Option<&Lane> {
        if self.base.get() == base {
            // SAFETY: `base` is an instance's, so `lane` points into an attachment that this thread owns. The reference
            // does not outlive the closure of `LOCAL.with` it is made in, and no code in between drops attachments.
            Some(unsafe { &*self.lane.get() })
        } else {
            None
        }
    }

    /// The counter's cell in the current lane; `None` if the lane has none yet, or is another instance's.
    #[inline(always)]
    pub(super) fn cell(&self, key: Key) -> Option<&AtomicU64> {
        // One comparison checks three conditions: the thread is attached, to the right instance, and its row is long
        // enough. Another instance's key is 2^32 or more away, and a row is shorter than that.
        let index = key.0.wrapping_sub(self.base.get());
        if index >= self.cells_len.get() {
            return None;
        }
        // SAFETY: `cells` points to a row of `cells_len` cells of an attachment that this thread owns.
        Some(unsafe { &*self.cells.get().add(index as usize) })
    }
}

/// Replaces the row of this thread's lane, which the thread is attached to and which has grown. The old row is gone.
pub(super) fn replace_row(local: &ThreadLocal, instance: u32, row: (*const AtomicU64, usize)) {
    local.set_row(row);
    // The thread is attached, so it has an entry, and the list is not borrowed while a record is made.
    let _kept = ATTACHMENTS.try_with(|attachments| {
        let attachments = attachments.0.borrow();
        let its = attachments.iter().filter(|attachment| attachment.lanes.instance == instance);
        its.for_each(|attachment| attachment.row.set(row));
    });
}

/// The slot cache for samples. No caller keeps it beyond one sample.
#[inline(always)]
pub(super) fn slot_cache<'a>() -> &'a SlotCache {
    let slot_cache = LOCAL.with(|local| local.slot_cache.get());
    // SAFETY: the pointer leads to a static, or into an attachment that this thread owns, and the caller is done with
    // the reference before anything can drop that.
    unsafe { &*slot_cache }
}

/// The current lane, if samples of this base take the fast path. No caller keeps it beyond one sample.
#[inline(always)]
pub(super) fn sample_lane<'a>(base: u64) -> Option<&'a Lane> {
    let (at, lane) = LOCAL.with(|local| (local.sample_base.get() == base, local.lane.get()));
    // SAFETY: as in `with_lane`: while `sample_base` is an instance's base, `base` is the same.
    at.then(|| unsafe { &*lane })
}

/// The producer's copy of the ring's head. Not passed into a closure of `LOCAL.with`: std inlines only small ones.
#[inline(always)]
pub(super) fn own_head<'a>() -> &'a OwnCopy {
    let head = LOCAL.with(|local| &raw const local.head);
    // SAFETY: `LOCAL` has no destructor and lives as long as its thread; no caller keeps the reference beyond its call,
    // and `OwnCopy` is not `Sync`, or holds nothing at all.
    unsafe { &*head }
}

/// A thread's current lane, its state and its instance's lanes: what a span or a log record needs.
#[derive(Clone, Copy)]
pub(crate) struct LocalLane<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) thread_state: &'a ThreadState,
    pub(crate) lanes: &'a LaneRegistry,
}

/// Runs `act` with this thread's lane at an instance; `None` if the thread is not attached to the instance.
///
/// `act` does not run inside `LOCAL.with`: std inlines that only around closures as small as this one, and a call would
/// cost more than many a record. Words that `act` does not use are not loaded.
#[inline(always)]
pub(crate) fn with_lane<R>(base: u64, act: impl FnOnce(LocalLane<'_>) -> R) -> Option<R> {
    let (at, lane, thread_state, lanes) = LOCAL.with(|local| {
        (local.base.get() == base, local.lane.get(), local.thread_state.get(), local.lanes.get())
    });
    debug_assert!(base != NOWHERE, "an instance's base has a low half of zeros");
    if !at {
        return None;
    }
    // SAFETY: while `base` is an instance's, all three point into one attachment that this thread owns. `act` cannot
    // keep the references and drops no attachment: only `attach` does, for another instance, and `act` does not call
    // it.
    let (lane, thread_state, lanes) = unsafe { (&*lane, &*thread_state, &*lanes) };
    Some(act(LocalLane { lane, thread_state, lanes }))
}

/// This thread's state at the instance, if the switch lets a record of this kind through; what the switch keeps out is
/// counted. The outer option is `None` if this thread is not attached.
///
/// Returned, not passed to a closure: a span that is made inside a closure is copied. No caller keeps the reference
/// beyond a record's beginning.
#[inline(always)]
pub(crate) fn thread_state_if_on<'a>(base: u64, kind: Kind) -> Option<Option<&'a ThreadState>> {
    let on = super::lets_through(base, kind)?;
    let thread_state = LOCAL.with(|local| local.thread_state.get());
    // SAFETY: this thread is attached to the instance, so `thread_state` points into an attachment that it owns. Only
    // `attach`, for another instance, drops attachments, and no record is begun within it.
    Some(on.then(|| unsafe { &*thread_state }))
}

/// The base of the instance that this thread is attached to.
pub(crate) fn current() -> Option<u64> {
    let base = LOCAL.with(|local| local.base.get());
    (base != NOWHERE).then_some(base)
}

/// Attaches this thread to an instance: to the lane it has there, or to a new one.
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
        let attached = ATTACHMENTS
            .try_with(|attachments| attach_slow(local, base, attachments, lanes))
            .unwrap_or(Err(Reason::TlsGone));
        local.inside.set(false);
        attached
    })
}

pub(super) fn attach_slow(
    local: &ThreadLocal,
    base: u64,
    attachments: &Attachments,
    lanes: &Arc<LaneRegistry>,
) -> Result<(), Reason> {
    let mut attachments = attachments.0.try_borrow_mut().map_err(|_| Reason::Reentrant)?;
    let mine = attachments.iter().find(|attachment| attachment.lanes.instance == lanes.instance);
    if let Some(attachment) = mine {
        local.point_at(attachment);
        return Ok(());
    }
    if local.refused.get() == base && local.patience.get() > 0 {
        local.patience.set(local.patience.get() - 1);
        return Err(local.refusal.get());
    }
    // Drop the attachments of instances that have shut down: this thread may outlive many.
    detach();
    attachments.retain(|attachment| !attachment.lane.ring.is_closed() && !attachment.lanes.is_forked());
    match lanes.acquire_lane() {
        Ok(lane) => {
            let attachment = Attachment::new(lanes, lane);
            // Before `point_at`: once that is done, an allocator that records would use this list, which is borrowed.
            attachments.reserve(1);
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
