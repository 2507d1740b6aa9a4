//! Trace state and baggage, and the table that spans find them in. Cold: few traces have either.
//!
//! A span's ids are copied from parent to child by plain stores, so they cannot own a reference count. They hold a
//! [`Handle`] instead: an index into a process-wide table. Whoever may outlive its surroundings (an attached context, an
//! owned span) owns a [`Hold`] on the entry; an entry without holds is used again, and its turn number tells old handles
//! apart.

use super::{Baggage, TraceState};
use crate::sync::fixed::AtomicU32;
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

#[cfg(all(test, tellane_loom))]
mod loom;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

/// Trace state and baggage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Propagated {
    pub(crate) state: TraceState,
    pub(crate) baggage: Baggage,
}

impl Propagated {
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_empty() && self.baggage.is_empty()
    }
}

static TABLE: boxcar::Vec<Slot> = boxcar::Vec::new();
/// Where the next search for a free entry begins.
static CURSOR: AtomicU32 = AtomicU32::new(0);
/// Entries that one search looks at. Of a table that is half free, one search in 256 finds none and adds an entry.
const PROBES: u32 = 8;
/// A handle has 24 bits for the index. Each entry may own 16 KiB of text, so memory ends long before.
const ENTRIES_MAX: u32 = 1 << 24;
const TURN_MAX: u64 = (1 << 24) - 1;

/// A reference to an entry that may be out of date. 0 stands for none; the low 16 bits are always 0 and belong to the
/// flags that the handle travels with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) u64);

impl Handle {
    pub(crate) const NONE: Self = Self(0);

    fn new(index: u32, turn: u64) -> Self {
        Self((turn << 40) | (u64::from(index) << 16))
    }

    fn turn(self) -> u64 {
        self.0 >> 40
    }

    fn slot(self) -> Option<&'static Slot> {
        let index = (self.0 >> 16) & u64::from(ENTRIES_MAX - 1);
        TABLE.get(index as usize).filter(|_| self.0 != 0)
    }

    /// Trace state and baggage; `None` once nobody holds the entry.
    #[cold]
    pub(crate) fn get(self) -> Option<Arc<Propagated>> {
        self.slot()?.get(self.turn())
    }
}

/// Keeps an entry of the table in use.
#[derive(Debug)]
pub(crate) struct Hold(Handle);

impl Hold {
    /// Takes a free entry of the table, or a new one. `None` if all entries that a handle can name are in use.
    /// Allocates.
    #[cold]
    pub(crate) fn new(propagated: &Arc<Propagated>) -> Option<Self> {
        let count = u32::try_from(TABLE.count()).unwrap_or(u32::MAX);
        // Relaxed: a hint. Two searches that begin at one place find different entries, or one of them moves on.
        let start = CURSOR.fetch_add(PROBES, Ordering::Relaxed);
        for step in 0..PROBES.min(count) {
            let index = start.wrapping_add(step) % count;
            if let Some(turn) = TABLE.get(index as usize).and_then(|slot| slot.claim(propagated)) {
                return Some(Self(Handle::new(index, turn)));
            }
        }
        if count >= ENTRIES_MAX - 1024 {
            return None; // so many threads may be past this check at once
        }
        let slot = Slot::vacant();
        let turn = slot.claim(propagated)?;
        let index = u32::try_from(TABLE.push(slot)).ok()?;
        Some(Self(Handle::new(index, turn)))
    }

    /// Holds an entry that somebody else holds. `None` if nobody does any more.
    #[cold]
    pub(crate) fn again(handle: Handle) -> Option<Self> {
        handle.slot()?.hold(handle.turn()).then_some(Self(handle))
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0
    }

    /// The handle alone. The hold lasts until [`from_handle`](Self::from_handle) takes it back.
    pub(crate) fn into_handle(self) -> Handle {
        std::mem::ManuallyDrop::new(self).0
    }

    /// The hold that [`into_handle`](Self::into_handle) left behind.
    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(slot) = self.0.slot() {
            slot.release();
        }
    }
}

/// One entry of the table.
///
/// Every access to `state` is Relaxed: the value is read and replaced under its lock only, and `state` says nothing
/// about other memory. A claim stores the new turn before it unlocks, so who finds a turn under the lock finds that
/// turn's value.
#[derive(Debug)]
struct Slot {
    /// The turn in the upper half, the number of holds in the lower half.
    state: AtomicU64,
    /// The value of the last turn. It stays when the last hold goes, so that a span's end frees no memory, and is
    /// replaced by the next claim.
    propagated: Mutex<Option<Arc<Propagated>>>,
}

impl Slot {
    fn vacant() -> Self {
        Self { state: AtomicU64::new(0), propagated: Mutex::new(None) }
    }

    /// Takes the entry with one hold, and says its turn. `None` if it is in use.
    fn claim(&self, propagated: &Arc<Propagated>) -> Option<u64> {
        let is_free = |state: u64| state as u32 == 0;
        if !is_free(self.state.load(Ordering::Relaxed)) {
            return None; // without the lock: most entries of a busy table are in use
        }
        let mut value = self.propagated.lock();
        let state = self.state.load(Ordering::Relaxed);
        if !is_free(state) {
            return None;
        }
        let turn = if state >> 32 >= TURN_MAX { 1 } else { (state >> 32) + 1 };
        let old = value.replace(Arc::clone(propagated));
        // A store is enough: the lock keeps other claims out, and of an entry without holds nobody takes or gives
        // back one.
        self.state.store((turn << 32) | 1, Ordering::Relaxed);
        drop(value);
        drop(old); // its memory is freed outside the lock
        Some(turn)
    }

    /// One hold more, of an entry of this turn that has one.
    fn hold(&self, turn: u64) -> bool {
        let more = |state: u64| (state >> 32 == turn && state as u32 != 0).then_some(state + 1);
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self) {
        self.state.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self, turn: u64) -> Option<Arc<Propagated>> {
        let value = self.propagated.lock();
        let state = self.state.load(Ordering::Relaxed);
        let is_it = (state >> 32 == turn && state as u32 != 0) || planted(Bug::StaleHandle);
        if is_it { value.clone() } else { None }
    }
}
