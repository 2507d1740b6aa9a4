//! Cache of spill slots: a sample finds the counts of its series by one load and one comparison. Hot.
//!
//! Only the lane's owner reads it and adds entries. Any thread may clear it; the owner then takes the slow path.

#![allow(unsafe_code)] // a slot's checks would be ten more instructions a sample, of some forty

use super::{HEAD, KEY, LEN, count_at, count_slow};
use crate::lane::{Distribution, Key};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, own};
use std::marker::PhantomData;

/// Entries of a cache, a power of two.
#[cfg(not(tellane_loom))]
const ENTRIES: usize = 256;
#[cfg(tellane_loom)]
const ENTRIES: usize = 1;

/// Direct-mapped cache from the low bits of a key to the slot of its series. Empty entries point at a sentinel slot.
/// All other pointers lead into the words of the same lane's spill, which live as long as the cache.
#[derive(Debug)]
pub(crate) struct SlotCache([AtomicPtr<AtomicU64>; ENTRIES]);

/// Head of the sentinel slot, which belongs to no series.
#[cfg(not(tellane_loom))]
static SENTINEL: [AtomicU64; HEAD] = [const { AtomicU64::new(u64::MAX) }; HEAD];
/// The cache of a thread that is attached to no instance: every lookup misses.
#[cfg(not(tellane_loom))]
static EMPTY: SlotCache = SlotCache([const { AtomicPtr::new(sentinel()) }; ENTRIES]);

#[cfg(not(tellane_loom))]
const fn sentinel() -> *mut AtomicU64 {
    (&raw const SENTINEL).cast::<AtomicU64>().cast_mut()
}

/// Loom's atomics cannot be statics.
#[cfg(tellane_loom)]
const fn sentinel() -> *mut AtomicU64 {
    std::ptr::null_mut()
}

impl SlotCache {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicPtr::new(sentinel())))
    }

    /// A cache that stays empty.
    pub(crate) const fn empty() -> *const Self {
        #[cfg(tellane_loom)]
        return std::ptr::null();
        #[cfg(not(tellane_loom))]
        &raw const EMPTY
    }

    /// The slot of a series, if it is cached. Owner only.
    #[inline(always)]
    pub(crate) fn get(&self, key: Key) -> Option<SlotRef<'_>> {
        let first = self.0[key.0 as usize & (ENTRIES - 1)].load(Ordering::Relaxed);
        if cfg!(tellane_loom) && first == sentinel() {
            return None;
        }
        let counts = SlotRef { first, of: PhantomData };
        (own(&counts.head()[KEY]) == key.0).then_some(counts)
    }

    /// Caches a slot if its entry is empty; returns `true` if it did. Owner only. The slot must belong to the spill
    /// that owns this cache.
    pub(in crate::lane) fn insert(&self, to: &Distribution, slot: SlotRef<'_>) -> bool {
        let entry = &self.0[to.key.0 as usize & (ENTRIES - 1)];
        let free = entry.load(Ordering::Relaxed) == sentinel();
        if free {
            entry.store(slot.first.cast_mut(), Ordering::Relaxed); // only the owner, the same thread, follows it
        }
        free
    }

    /// Empties the cache. Any thread.
    pub(in crate::lane) fn clear(&self) {
        self.0.iter().for_each(|entry| entry.store(sentinel(), Ordering::Relaxed));
    }
}

/// Reference to the slot of a series in a lane's spill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotRef<'a> {
    /// The slot's first word.
    /// The slot's first word.
    first: *const AtomicU64,
    of: PhantomData<&'a [AtomicU64]>,
}

impl<'a> SlotRef<'a> {
    /// A reference to the slot that `slot` begins with. `Spill::carve` must have made it.
    pub(super) fn new(slot: &'a [AtomicU64]) -> Self {
        Self { first: slot.as_ptr(), of: PhantomData }
    }

    #[inline(always)]
    fn head(&self) -> &'a [AtomicU64; HEAD] {
        // SAFETY: every slot begins with HEAD words, the sentinel too; `'a` is the lifetime of the words it lies in.
        unsafe { &*self.first.cast::<[AtomicU64; HEAD]>() }
    }

    /// Counts a value; `false` if its bucket cannot be computed by the fast path. Owner only; the slot must be that of
    /// `to`.
    #[inline(always)]
    pub(crate) fn add(self, to: &Distribution, value: u64) -> bool {
        let Some(index) = to.layout.fast_index(value) else { return false };
        debug_assert_eq!(self.head()[KEY].load(Ordering::Relaxed), to.key.0);
        debug_assert!(HEAD + index < self.head()[LEN].load(Ordering::Relaxed) as usize);
        // SAFETY: `carve` made the slot of HEAD words and one word for each bucket of the series' layout, and
        // `fast_index` returns only buckets of the layout.
        let bucket = unsafe { &*self.first.add(HEAD + index) };
        count_at(self.head(), bucket, value, || {
            self.add_slow(to, value);
            true // a constant: the caller need not save the four registers that it would need after a failure
        })
    }

    /// Slow path of [`add`](Self::add): counts a value that [`count_at`] does not.
    #[cold]
    #[inline(never)]
    fn add_slow(self, to: &Distribution, value: u64) {
        let len = self.head()[LEN].load(Ordering::Relaxed) as usize; // written by this thread
        // SAFETY: `carve` wrote the slot's length into its head, and `'a` is the lifetime of the words it lies in.
        let slot: &'a [AtomicU64] = unsafe { std::slice::from_raw_parts(self.first, len) };
        let counted = count_slow(slot, to, value);
        debug_assert!(counted, "the slot has a word for every bucket of its layout");
    }
}
