//! Where the subscriber's open spans are: places that any thread finds by number, and gives back to itself. Hot: no
//! lock, and no atomic read-modify-write for a span that has one handle. Process-wide: a span's place says of which
//! instance it is.
//!
//! Places are used again and never freed: there are as many as spans were open at once, up to a cap.

use crate::lane::{forks, local};
use crate::sync::Mutex;
use crate::sync::fixed::{AtomicU32, Ordering};
use crate::trace::foreign::AtomicSpan;
use std::cell::RefCell;
use std::sync::LazyLock;
use tracing_core::span::Id;

/// Spans that may be open at once. A place takes half a KiB.
const OPEN_MAX: usize = 1 << 18;
/// Free places that a thread keeps to itself; of more it gives half to the others.
const KEPT: usize = 128;

static SLOTS: boxcar::Vec<Slot> = boxcar::Vec::new();
/// Places for all threads, and under which fork the list was made.
static FREE: LazyLock<(u64, Mutex<Vec<u32>>)> = LazyLock::new(|| (forks(), Mutex::new(Vec::new())));

thread_local! {
    static MINE: Mine = const { Mine { free: RefCell::new(Vec::new()) } };
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) span: AtomicSpan,
    /// How often the place was given back: an id says which of its spans it means.
    turn: AtomicU32,
    /// Handles of the span.
    handles: AtomicU32,
    /// Of its callsite, at the subscriber it came by.
    callsite: AtomicU32,
}

struct Mine {
    free: RefCell<Vec<u32>>,
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(free) = free() {
            local::without_recording(|| free.lock().append(self.free.get_mut()));
        }
    }
}

/// None in the child of a fork: its lock may be held by a thread that is not there.
fn free() -> Option<&'static Mutex<Vec<u32>>> {
    let (made_under, free) = &*FREE;
    (*made_under == forks()).then_some(free)
}

/// The id of a span that is not kept.
pub(super) fn nothing() -> Id {
    Id::from_u64(u64::from(u32::MAX))
}

/// One handle of a span, its last if nobody made more.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Id);

impl Handle {
    /// To be let go by number.
    #[inline(always)]
    pub(super) fn into_id(self) -> Id {
        std::mem::ManuallyDrop::new(self).0.clone()
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = find(&self.0) {
            slot.let_go(&self.0);
        }
    }
}

/// A place for a span, with one handle. `None` if too many are open.
#[inline(always)]
pub(super) fn vacant(callsite: u32) -> Option<(Id, &'static Slot)> {
    let mine = MINE.try_with(|mine| mine.free.try_borrow_mut().ok()?.pop()).ok().flatten();
    let number = mine.or_else(more)?;
    let slot = SLOTS.get(number as usize)?;
    // Relaxed, like the span's words: see there.
    slot.handles.store(1, Ordering::Relaxed);
    slot.callsite.store(callsite, Ordering::Relaxed);
    let turn = slot.turn.load(Ordering::Relaxed);
    Some((Id::from_u64((u64::from(turn) << 32) | u64::from(number + 1)), slot))
}

/// A place that others have given back, or a new one. None from within tellane: the list may be locked further out.
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
            None => SLOTS.push(Slot::vacant()) as u32,
        };
        let _thread_ends = MINE.try_with(|mine| {
            let mut mine = mine.free.borrow_mut();
            mine.reserve(KEPT);
            mine.append(&mut some);
        });
        Some(number)
    })?
}

/// The place of a span that is open.
#[inline(always)]
pub(super) fn find(id: &Id) -> Option<&'static Slot> {
    let id = id.into_u64();
    let slot = SLOTS.get((id as u32).wrapping_sub(1) as usize)?;
    (slot.turn.load(Ordering::Relaxed) == (id >> 32) as u32).then_some(slot)
}

/// A span was left while its thread unwinds.
#[cold]
#[inline(never)]
pub(super) fn exited_by_panic(id: &Id) {
    if let Some(slot) = find(id) {
        slot.span.exited_by_panic();
    }
}

impl Slot {
    fn vacant() -> Self {
        let [turn, handles, callsite] = [const { AtomicU32::new(0) }; 3];
        Self { span: AtomicSpan::vacant(), turn, handles, callsite }
    }

    pub(super) fn callsite(&self) -> u32 {
        self.callsite.load(Ordering::Relaxed)
    }

    /// One more handle.
    pub(super) fn share(&self) {
        // Relaxed: who does it has a handle, so the count is not 0, and stays so.
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// One handle less; whether it was the last, with which the span ends.
    #[inline(always)]
    pub(super) fn let_go(&self, id: &Id) -> bool {
        // Acquire pairs with the Release of the others' subtractions: what they did to the span is seen by the last.
        // Who finds 1 is alone: nobody makes two of one but who has it.
        let alone = self.handles.load(Ordering::Acquire) == 1;
        if !alone && self.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        self.span.end();
        let turn = (id.into_u64() >> 32) as u32;
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        give_back((id.into_u64() as u32).wrapping_sub(1));
        true
    }
}

#[inline(always)]
fn give_back(number: u32) {
    let kept = MINE.try_with(|mine| {
        let Ok(mut free) = mine.free.try_borrow_mut() else { return false };
        let room = free.len() < free.capacity().min(KEPT);
        if room {
            free.push(number);
        }
        room
    });
    if !kept.unwrap_or(false) {
        give_away(number);
    }
}

/// A thread that closes what others open keeps half of its places for itself.
#[cold]
#[inline(never)]
fn give_away(number: u32) {
    let half = || {
        MINE.try_with(|mine| {
            let mut free = mine.free.borrow_mut();
            free.reserve(KEPT);
            let from = free.len().min(KEPT / 2);
            free.split_off(from)
        })
    };
    // From within tellane the list may be locked further out: then the place is lost, one of many.
    let _given = local::try_without_recording(|| {
        let half = half().unwrap_or_default();
        if let Some(free) = free() {
            let mut free = free.lock();
            free.extend(half);
            free.push(number);
        }
    });
}
