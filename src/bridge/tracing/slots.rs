//! Slab of the subscriber's open spans, addressed by id from any thread. Freed slots return to the freeing thread's
//! list. Hot: no lock, and no atomic read-modify-write for a span that has one handle. Process-wide: a slot stores the
//! instance of its span.
//!
//! Slots are reused and never freed: there are as many as spans were open at one time, up to a cap.

use crate::lane::{forks, local};
use crate::sync::Mutex;
use crate::sync::fixed::{AtomicU32, Ordering};
use crate::trace::AtomicSpan;
use std::cell::RefCell;
use std::sync::LazyLock;
use tracing_core::span::Id;

/// The most spans that may be open at one time. A slot takes half a KiB.
const OPEN_MAX: usize = 1 << 18;
/// The most free slots in a thread's own list; above that, the thread gives half of them to the shared list.
const KEPT: usize = 128;

static SLOTS: boxcar::Vec<SpanSlot> = boxcar::Vec::new();
/// Free slots for all threads, and the number of forks when the list was made.
static FREE: LazyLock<(u64, Mutex<Vec<u32>>)> = LazyLock::new(|| (forks(), Mutex::new(Vec::new())));

thread_local! {
    static LOCAL_FREE: LocalFree = const { LocalFree { free: RefCell::new(Vec::new()) } };
}

/// One slot of the slab: an open span, or a free slot.
#[derive(Debug)]
pub(super) struct SpanSlot {
    pub(super) span: AtomicSpan,
    /// Generation: counts how often the slot was freed. An id contains the generation of its span.
    turn: AtomicU32,
    /// Number of handles of the span.
    handles: AtomicU32,
    /// Number of the span's callsite, in the table of its subscriber.
    callsite: AtomicU32,
}

struct LocalFree {
    free: RefCell<Vec<u32>>,
}

impl Drop for LocalFree {
    fn drop(&mut self) {
        if let Some(free) = free() {
            local::without_recording(|| free.lock().append(self.free.get_mut()));
        }
    }
}

/// The shared list of free slots. `None` in a forked child, where a thread that does not exist there may hold its lock.
fn free() -> Option<&'static Mutex<Vec<u32>>> {
    let (made_under, free) = &*FREE;
    (*made_under == forks()).then_some(free)
}

/// The id of a span that is not recorded.
pub(super) fn nothing() -> Id {
    Id::from_u64(u64::from(u32::MAX))
}

/// An owned handle of a span. Dropping the last handle ends the span.
#[derive(Debug)]
pub(super) struct SlotHandle(pub(super) Id);

impl SlotHandle {
    /// Converts the handle to its id, without dropping it. [`SpanSlot::release`] must be called with the id later.
    #[inline(always)]
    pub(super) fn into_id(self) -> Id {
        std::mem::ManuallyDrop::new(self).0.clone()
    }
}

impl Drop for SlotHandle {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = find(&self.0) {
            slot.release(&self.0);
        }
    }
}

/// FieldSink a free slot for a span with one handle. `None` if too many spans are open.
#[inline(always)]
pub(super) fn vacant(callsite: u32) -> Option<(Id, &'static SpanSlot)> {
    let mine = LOCAL_FREE.try_with(|mine| mine.free.try_borrow_mut().ok()?.pop()).ok().flatten();
    let number = mine.or_else(more)?;
    let slot = SLOTS.get(number as usize)?;
    // Relaxed, for the reason given at `AtomicSpan`.
    slot.handles.store(1, Ordering::Relaxed);
    slot.callsite.store(callsite, Ordering::Relaxed);
    let turn = slot.turn.load(Ordering::Relaxed);
    Some((Id::from_u64((u64::from(turn) << 32) | u64::from(number + 1)), slot))
}

/// FieldSink a slot from the shared list, or makes a new one. `None` from within tellane, where a caller further up
/// this stack may have locked the list.
#[cold]
#[inline(never)]
fn more() -> Option<u32> {
    local::try_without_recording(|| {
        let mut some = free().map_or_else(Vec::new, |free| {
            let mut free = free.lock();
            let from = free.len().saturating_sub(KEPT / 2);
            free.split_off(from)
        });
        let number = match some.pop() {
            Some(number) => number,
            None if SLOTS.count() >= OPEN_MAX => return None,
            None => SLOTS.push(SpanSlot::vacant()) as u32,
        };
        let _thread_ends = LOCAL_FREE.try_with(|mine| {
            let mut mine = mine.free.borrow_mut();
            mine.reserve(KEPT);
            mine.append(&mut some);
        });
        Some(number)
    })?
}

/// The slot of an open span; `None` if the span has ended.
#[inline(always)]
pub(super) fn find(id: &Id) -> Option<&'static SpanSlot> {
    let id = id.into_u64();
    let slot = SLOTS.get((id as u32).wrapping_sub(1) as usize)?;
    (slot.turn.load(Ordering::Relaxed) == (id >> 32) as u32).then_some(slot)
}

/// Records that a span was exited while its thread unwinds.
#[cold]
#[inline(never)]
pub(super) fn exited_by_panic(id: &Id) {
    if let Some(slot) = find(id) {
        slot.span.exited_by_panic();
    }
}

impl SpanSlot {
    fn vacant() -> Self {
        let [turn, handles, callsite] = [const { AtomicU32::new(0) }; 3];
        Self { span: AtomicSpan::vacant(), turn, handles, callsite }
    }

    pub(super) fn callsite(&self) -> u32 {
        self.callsite.load(Ordering::Relaxed)
    }

    /// Adds a handle.
    pub(super) fn share(&self) {
        // Relaxed: the caller has a handle, so the count is above 0 and stays above 0.
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a handle; returns `true` if it was the last, which ends the span.
    #[inline(always)]
    pub(super) fn release(&self, id: &Id) -> bool {
        // Acquire pairs with the Release of the other handles' subtractions: the last one sees their changes of the
        // span. A count of 1 cannot change: only the owner of a handle can add one, and the caller owns the only
        // handle.
        let alone = self.handles.load(Ordering::Acquire) == 1;
        if !alone && self.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        self.span.end();
        let turn = (id.into_u64() >> 32) as u32;
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        free_slot((id.into_u64() as u32).wrapping_sub(1));
        true
    }
}

/// Returns a slot to this thread's list.
#[inline(always)]
fn free_slot(number: u32) {
    let kept = LOCAL_FREE.try_with(|mine| {
        let Ok(mut free) = mine.free.try_borrow_mut() else { return false };
        let room = free.len() < free.capacity().min(KEPT);
        if room {
            free.push(number);
        }
        room
    });
    if !kept.unwrap_or(false) {
        free_slot_shared(number);
    }
}

/// Slow path of [`free_slot`]: returns a slot, and half of this thread's list, to the shared list. Needed by a thread
/// that closes spans which other threads open.
#[cold]
#[inline(never)]
fn free_slot_shared(number: u32) {
    let half = || {
        LOCAL_FREE.try_with(|mine| {
            let mut free = mine.free.borrow_mut();
            free.reserve(KEPT);
            let from = free.len().min(KEPT / 2);
            free.split_off(from)
        })
    };
    // From within tellane, a caller further up this stack may have locked the list. Then the slot is lost, one of many.
    let _given = local::try_without_recording(|| {
        let half = half().unwrap_or_default();
        if let Some(free) = free() {
            let mut free = free.lock();
            free.extend(half);
            free.push(number);
        }
    });
}
