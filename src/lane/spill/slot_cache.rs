//! How a sample finds the counts of its series with one look. Hot.
//!
//! The looks are a thread's at its own lane; anybody may clear what is near, and then the thread looks further.

#![allow(unsafe_code)] // a slot's checks would be ten more instructions a sample, of some forty

use super::{HEAD, KEY, LEN, count_at, count_slow};
use crate::lane::{Distribution, Key};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, own};
use std::marker::PhantomData;

/// Series that are near, at most; a power of two.
#[cfg(not(tellane_loom))]
const PLACES: usize = 256;
#[cfg(tellane_loom)]
const PLACES: usize = 1;

/// The slots of some series, by the low bits of their keys; nobody's where there is none. It stands beside the words
/// that the slots are in, and holds no others.
#[derive(Debug)]
pub(crate) struct SlotCache([AtomicPtr<AtomicU64>; PLACES]);

/// The head of a slot that is no series'.
#[cfg(not(tellane_loom))]
static NOBODYS: [AtomicU64; HEAD] = [const { AtomicU64::new(u64::MAX) }; HEAD];
/// What is near to a thread that is at no instance.
#[cfg(not(tellane_loom))]
static NOTHING: SlotCache = SlotCache([const { AtomicPtr::new(nobodys()) }; PLACES]);

#[cfg(not(tellane_loom))]
const fn nobodys() -> *mut AtomicU64 {
    (&raw const NOBODYS).cast::<AtomicU64>().cast_mut()
}

/// Loom's atomics stand in no static.
#[cfg(tellane_loom)]
const fn nobodys() -> *mut AtomicU64 {
    std::ptr::null_mut()
}

impl SlotCache {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicPtr::new(nobodys())))
    }

    /// Nothing, for ever.
    pub(crate) const fn nothing() -> *const Self {
        #[cfg(tellane_loom)]
        return std::ptr::null();
        #[cfg(not(tellane_loom))]
        &raw const NOTHING
    }

    /// The counts of a series, if it is near. Owner only.
    #[inline(always)]
    pub(crate) fn find(&self, key: Key) -> Option<SlotRef<'_>> {
        let first = self.0[key.0 as usize & (PLACES - 1)].load(Ordering::Relaxed);
        if cfg!(tellane_loom) && first == nobodys() {
            return None;
        }
        let counts = SlotRef { first, of: PhantomData };
        (own(&counts.head()[KEY]) == key.0).then_some(counts)
    }

    /// Has a series be near, if its place is free; says whether that is new. Owner only, with a slot of the spill that
    /// this stands in.
    pub(in crate::lane) fn keep(&self, to: &Distribution, slot: SlotRef<'_>) -> bool {
        let place = &self.0[to.key.0 as usize & (PLACES - 1)];
        let free = place.load(Ordering::Relaxed) == nobodys();
        if free {
            place.store(slot.first.cast_mut(), Ordering::Relaxed); // the owner reads what it wrote itself
        }
        free
    }

    /// Nothing is near any more. Any thread.
    pub(in crate::lane) fn clear(&self) {
        self.0.iter().for_each(|place| place.store(nobodys(), Ordering::Relaxed));
    }
}

/// A series' counts in a lane's spill: the slot's first word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotRef<'a> {
    first: *const AtomicU64,
    of: PhantomData<&'a [AtomicU64]>,
}

impl<'a> SlotRef<'a> {
    /// `slot` begins with a slot that `Spill::carve` made.
    pub(super) fn of(slot: &'a [AtomicU64]) -> Self {
        Self { first: slot.as_ptr(), of: PhantomData }
    }

    #[inline(always)]
    fn head(&self) -> &'a [AtomicU64; HEAD] {
        // SAFETY: every slot begins with HEAD words, nobody's too; `'a` is that of the words it is in.
        unsafe { &*self.first.cast::<[AtomicU64; HEAD]>() }
    }

    /// Counts a value if its bucket can be told quickly. Owner only; the slot is that of `to`.
    #[inline(always)]
    pub(crate) fn add(self, to: &Distribution, value: u64) -> bool {
        let Some(index) = to.layout.quick_index(value) else { return false };
        debug_assert_eq!(self.head()[KEY].load(Ordering::Relaxed), to.key.0);
        debug_assert!(HEAD + index < self.head()[LEN].load(Ordering::Relaxed) as usize);
        // SAFETY: `carve` made the slot of HEAD words and one for each bucket of the series' layout, and `quick_index`
        // gives buckets of the layout only.
        let bucket = unsafe { &*self.first.add(HEAD + index) };
        count_at(self.head(), bucket, value, || {
            self.add_slowly(to, value);
            true // known here: the caller need not save what it would need after a failure, four registers
        })
    }

    /// A value that [`count_at`] does not count.
    #[cold]
    #[inline(never)]
    fn add_slowly(self, to: &Distribution, value: u64) {
        let len = self.head()[LEN].load(Ordering::Relaxed) as usize; // written by this thread
        // SAFETY: `carve` wrote the slot's length into its head, and `'a` is the lifetime of the words it is in.
        let slot: &'a [AtomicU64] = unsafe { std::slice::from_raw_parts(self.first, len) };
        let counted = count_slow(slot, to, value);
        debug_assert!(counted, "the slot has a place for every value of its layout");
    }
}
