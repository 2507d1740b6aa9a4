//! Trace state and baggage of open spans, in a process-wide table. Cold: few traces have either.
//!
//! A span's ids are copied from parent to child by plain stores, so they cannot own a reference count. They contain a
//! [`PropagatedHandle`] instead: an index into the table. An object that may outlive the spans around it (an attached context, an
//! owned span) owns a [`Hold`] on the entry. An entry without holds is reused, and its generation invalidates old
//! handles.

use super::{Baggage, TraceState};
use crate::sync::fixed::AtomicU32;
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

#[cfg(all(test, tellane_loom))]
mod loom;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

/// The trace state and baggage that a context propagates.
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

static TABLE: boxcar::Vec<PropagatedSlot> = boxcar::Vec::new();
/// Start of the next search for a free entry.
static CURSOR: AtomicU32 = AtomicU32::new(0);
/// Number of entries that one search checks. If half of the table is free, one search in 256 finds no free entry and
/// adds one.
const PROBES: u32 = 8;
/// A handle has 24 bits for the index. Each entry may own 16 KiB of text, so memory runs out long before the indices
/// do.
const ENTRIES_MAX: u32 = 1 << 24;
const GENERATION_MAX: u64 = (1 << 24) - 1;

/// A weak reference to an entry of the table. 0 is none; the low 16 bits are always 0, since the handle shares a word
/// with the trace flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PropagatedHandle(pub(crate) u64);

impl PropagatedHandle {
    pub(crate) const NONE: Self = Self(0);

    fn new(index: u32, generation: u64) -> Self {
        Self((generation << 40) | (u64::from(index) << 16))
    }

    fn generation(self) -> u64 {
        self.0 >> 40
    }

    fn slot(self) -> Option<&'static PropagatedSlot> {
        let index = (self.0 >> 16) & u64::from(ENTRIES_MAX - 1);
        TABLE.get(index as usize).filter(|_| self.0 != 0)
    }

    /// Returns trace state and baggage; `None` if the entry has no holds any more.
    #[cold]
    pub(crate) fn get(self) -> Option<Arc<Propagated>> {
        self.slot()?.get(self.generation())
    }
}

/// A counted reference to an entry of the table, which keeps the entry in use.
#[derive(Debug)]
pub(crate) struct Hold(PropagatedHandle);

impl Hold {
    /// Claims a free entry of the table or adds one. `None` if the table has reached its greatest size. Allocates.
    #[cold]
    pub(crate) fn new(propagated: &Arc<Propagated>) -> Option<Self> {
        let count = u32::try_from(TABLE.count()).unwrap_or(u32::MAX);
        // Relaxed: a hint. If two searches start at the same entry, `claim` gives it to one, and the other goes on.
        let start = CURSOR.fetch_add(PROBES, Ordering::Relaxed);
        for step in 0..PROBES.min(count) {
            let index = start.wrapping_add(step) % count;
            if let Some(generation) = TABLE.get(index as usize).and_then(|slot| slot.claim(propagated)) {
                return Some(Self(PropagatedHandle::new(index, generation)));
            }
        }
        if count >= ENTRIES_MAX - 1024 {
            return None; // leaves room for 1,024 threads that pass this check at the same time
        }
        let slot = PropagatedSlot::vacant();
        let generation = slot.claim(propagated)?;
        let index = u32::try_from(TABLE.push(slot)).ok()?;
        Some(Self(PropagatedHandle::new(index, generation)))
    }

    /// Adds a hold to an entry that still has one. `None` if it has none any more.
    #[cold]
    pub(crate) fn upgrade(handle: PropagatedHandle) -> Option<Self> {
        handle.slot()?.hold(handle.generation()).then_some(Self(handle))
    }

    pub(crate) fn handle(&self) -> PropagatedHandle {
        self.0
    }

    /// Converts the hold to a handle without releasing it. [`from_handle`](Self::from_handle) converts it back.
    pub(crate) fn into_handle(self) -> PropagatedHandle {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Restores a hold from the result of [`into_handle`](Self::into_handle).
    pub(crate) fn from_handle(handle: PropagatedHandle) -> Self {
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
/// Every access to `state` is Relaxed: the value is read and replaced only under its lock, and `state` does not guard
/// other memory. A claim stores the new generation before it unlocks, so a thread that reads a generation under the
/// lock also reads the value of that generation.
#[derive(Debug)]
struct PropagatedSlot {
    /// The generation in the upper half, the number of holds in the lower half.
    state: AtomicU64,
    /// The value of the latest generation. It stays when the last hold is released, so that ending a span frees no
    /// memory, and is replaced by the next claim.
    propagated: Mutex<Option<Arc<Propagated>>>,
}

impl PropagatedSlot {
    fn vacant() -> Self {
        Self { state: AtomicU64::new(0), propagated: Mutex::new(None) }
    }

    /// Claims the entry with one hold and returns its new generation. `None` if it is in use.
    fn claim(&self, propagated: &Arc<Propagated>) -> Option<u64> {
        let is_free = |state: u64| state as u32 == 0;
        if !is_free(self.state.load(Ordering::Relaxed)) {
            return None; // checked without the lock first: most entries of a busy table are in use
        }
        let mut value = self.propagated.lock();
        let state = self.state.load(Ordering::Relaxed);
        if !is_free(state) {
            return None;
        }
        let generation = if state >> 32 >= GENERATION_MAX { 1 } else { (state >> 32) + 1 };
        let old = value.replace(Arc::clone(propagated));
        // A store is enough: the lock keeps other claims out, and an entry without holds gains or loses none.
        self.state.store((generation << 32) | 1, Ordering::Relaxed);
        drop(value);
        drop(old); // frees memory outside the lock
        Some(generation)
    }

    /// Adds a hold if the entry is of this generation and still has one.
    fn hold(&self, generation: u64) -> bool {
        let more = |state: u64| (state >> 32 == generation && state as u32 != 0).then_some(state + 1);
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self) {
        self.state.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self, generation: u64) -> Option<Arc<Propagated>> {
        let value = self.propagated.lock();
        let state = self.state.load(Ordering::Relaxed);
        let is_current = (state >> 32 == generation && state as u32 != 0) || planted(Bug::StaleHandle);
        if is_current { value.clone() } else { None }
    }
}
