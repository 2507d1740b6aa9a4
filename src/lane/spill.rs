//! Where samples go that find no room in the ring: bucket counts in the lane itself. Hot: [`Near::find`] and what
//! follows; the rest is for a series' first samples.
//!
//! A series too hot for the ring is so aggregated where it is produced, and stays so on this lane as long as
//! it is near ([`Near`]): counting here costs less than the way through the ring and the aggregator together.
//! The lane carves slots out of one block that was set aside when it was made, without allocating; when the
//! block is used up, samples fall back to their series' [`Commons`], which keeps count, sum, minimum and
//! maximum exact and of the bucket only the power of two.
//!
//! A slot has one writer, and its counts only grow: the aggregator takes the difference to what it saw last. Nothing
//! counts the samples but the buckets, so a count that differs from their sum cannot be.

mod near;

use near::Counts;
pub(crate) use near::Near;

use super::{Distribution, Key};
use crate::stats::Layout;
use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering, own, zeroed_words};

/// Entries of the table from series to slot, a power of two; more series than half of that spill to the commons.
#[cfg(not(tellane_loom))]
const TABLE: usize = 512;
#[cfg(tellane_loom)]
const TABLE: usize = 4;

/// Words of a slot before its buckets; a cache line.
const HEAD: usize = 8;
const KEY: usize = 0;
const LEN: usize = 1;
/// Of the even values, and of the odd ones behind it: each addition waits for the one before it to the same word, some
/// 8 cycles, which is as long as all the rest of a sample takes. 2.07 ns with one sum, 1.78 with two.
const SUMS: usize = 2;
/// Times that a sum ran over.
const CARRY: usize = 4;
const MIN: usize = 5;
const MAX: usize = 6;
/// `MAX - MIN`, so that one comparison asks for both. Read by the owner only.
const SPREAD: usize = 7;

/// One lane's spill.
#[derive(Debug)]
pub(crate) struct Spill {
    words: Box<[AtomicU64]>,
    /// What the owner finds at one look.
    pub(crate) near: Near,
    /// Series index, hashed by its low bits and probed linearly, to the slot's first word + 1; 0 is vacant.
    table: Box<[AtomicU32]>,
    /// Words in use, a whole number of slots.
    used: AtomicUsize,
}

#[inline(always)]
fn count_at(head: &[AtomicU64; HEAD], bucket: &AtomicU64, value: u64) -> bool {
    if value.wrapping_sub(own(&head[MIN])) > own(&head[SPREAD]) {
        return count_beyond(head, bucket, value); // in tail position: no register need be saved on the way here
    }
    count_within(head, bucket, value);
    true
}

#[inline(always)]
fn count_within(head: &[AtomicU64; HEAD], bucket: &AtomicU64, value: u64) {
    // Release pairs with the Acquire of `Slot::buckets`: who sees the sample sees the extremes that cover it.
    let count = || bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    if !planted(Bug::LateBucket) {
        count();
    }
    // After the bucket, and Release pairs with the Acquire of `Slot::sum`: a sum that has been seen has no sample
    // outstanding, or the aggregator would take the slot for unchanged when the sample comes.
    let at = SUMS + (value & 1) as usize;
    let sum = own(&head[at]).wrapping_add(value);
    head[at].store(sum, Ordering::Release);
    if sum < value {
        head[CARRY].store(head[CARRY].load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
    if planted(Bug::LateBucket) {
        count();
    }
}

/// A value below the least or above the greatest so far.
#[cold]
#[inline(never)]
fn count_beyond(head: &[AtomicU64; HEAD], bucket: &AtomicU64, value: u64) -> bool {
    let min = head[MIN].load(Ordering::Relaxed).min(value);
    let max = head[MAX].load(Ordering::Relaxed).max(value);
    head[MIN].store(min, Ordering::Relaxed);
    head[MAX].store(max, Ordering::Relaxed);
    head[SPREAD].store(max - min, Ordering::Relaxed);
    count_within(head, bucket, value);
    true
}

impl Spill {
    pub(crate) fn new(words: usize) -> Self {
        Self {
            words: zeroed_words(words),
            near: Near::new(),
            table: (0..TABLE).map(|_| AtomicU32::new(0)).collect(),
            used: AtomicUsize::new(0),
        }
    }

    /// Words carved out so far. Any thread.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed) // a size; nothing hangs on its order
    }

    /// Counts a value, at most the layout's highest; `None` if there is no slot to be had. Owner only.
    pub(crate) fn add(&self, to: &Distribution, value: u64) -> Option<Counts<'_>> {
        let start = self.find(to.key).or_else(|| self.carve(to.key, to.layout, value))?;
        let slot = self.words.get(start..)?;
        let (head, buckets) = slot.split_first_chunk::<HEAD>()?;
        count_at(head, buckets.get(to.layout.index(value))?, value);
        Some(Counts::of(slot))
    }

    fn find(&self, key: Key) -> Option<usize> {
        let mut at = key.index() as usize;
        loop {
            let entry = self.table[at & (TABLE - 1)].load(Ordering::Relaxed); // written by this thread only
            let start = entry.checked_sub(1)? as usize;
            if self.words.get(start)?.load(Ordering::Relaxed) == key.0 {
                return Some(start);
            }
            at += 1;
        }
    }

    /// A slot for a series that has none yet, whose first value this is. The table is never filled: probing must end.
    #[cold]
    fn carve(&self, key: Key, layout: Layout, first: u64) -> Option<usize> {
        let start = self.used.load(Ordering::Relaxed); // written by this thread only
        let len = (HEAD + layout.len()).next_multiple_of(HEAD);
        let slot = self.words.get(start..start + len)?;
        let taken = self.table.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0).count();
        if taken >= TABLE / 2 {
            return None;
        }
        slot[KEY].store(key.0, Ordering::Relaxed);
        slot[LEN].store(len as u64, Ordering::Relaxed);
        slot[MIN].store(first, Ordering::Relaxed);
        slot[MAX].store(first, Ordering::Relaxed);
        let mut at = key.index() as usize;
        while self.table[at & (TABLE - 1)].load(Ordering::Relaxed) != 0 {
            at += 1;
        }
        self.table[at & (TABLE - 1)].store(start as u32 + 1, Ordering::Relaxed);
        // Release pairs with the Acquire of `slots`: the slot's head is written before it can be walked to.
        self.used.store(start + len, Ordering::Release);
        Some(start)
    }

    /// Samples counted here so far. Any thread.
    pub(crate) fn samples(&self) -> u64 {
        self.slots().map(|slot| slot.buckets().sum::<u64>()).sum()
    }

    /// The slots, oldest first. Aggregator only.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let used = self.used.load(Ordering::Acquire);
        let mut rest = self.words.get(..used).unwrap_or_default();
        std::iter::from_fn(move || {
            let len = rest.get(LEN)?.load(Ordering::Relaxed) as usize;
            let (slot, more) = rest.split_at_checked(len.max(HEAD))?;
            rest = more;
            Some(Slot { words: slot })
        })
    }
}

/// One series' bucket counts in one lane, as the aggregator sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    words: &'a [AtomicU64],
}

impl Slot<'_> {
    pub(crate) fn series(&self) -> u32 {
        Key(self.words[KEY].load(Ordering::Relaxed)).index()
    }

    /// A sign that changes with every sample, after it is in its bucket: the sum, and for zeros their bucket. It may
    /// change as late as the sum's carry.
    pub(crate) fn sign(&self) -> (u128, u64) {
        (self.sum(), self.words[HEAD].load(Ordering::Relaxed))
    }

    /// Least and greatest value so far, the first one that is about to be counted included.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.words[MIN].load(Ordering::Relaxed), self.words[MAX].load(Ordering::Relaxed))
    }

    /// Sum so far, modulo 2^128. A carry is not read at one with the sums it belongs to: a reading may be wrong by 2^64 for
    /// each, and the next reading makes up for it.
    pub(crate) fn sum(&self) -> u128 {
        let carry = u128::from(self.words[CARRY].load(Ordering::Relaxed)) << 64;
        let sums = &self.words[SUMS..CARRY];
        sums.iter().fold(carry, |sum, part| {
            sum.wrapping_add(u128::from(part.load(Ordering::Acquire))) // pairs with `count_within`
        })
    }

    /// The bucket counts so far.
    pub(crate) fn buckets(&self) -> impl ExactSizeIterator<Item = u64> {
        self.words[HEAD..].iter().map(|bucket| bucket.load(Ordering::Acquire)) // pairs with `count_within`
    }
}

/// One series' counts from all threads that could not count it in a lane. Exact but for the bucket. Cold, shared.
#[derive(Debug)]
pub(crate) struct Commons {
    /// Samples by power of two: entry `n` counts the values with `n` significant bits.
    pub(crate) octaves: [AtomicU64; 65],
    sum: AtomicU64,
    carry: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Commons {
    fn default() -> Self {
        Self {
            octaves: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
            carry: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Commons {
    #[cold]
    pub(crate) fn add(&self, value: u64) {
        if self.sum.fetch_add(value, Ordering::Relaxed).checked_add(value).is_none() {
            self.carry.fetch_add(1, Ordering::Relaxed);
        }
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
        // Release pairs with the Acquire of `octave`: whoever counts the sample sees its minimum and maximum.
        self.octaves[64 - value.leading_zeros() as usize].fetch_add(1, Ordering::Release);
    }

    pub(crate) fn octave(&self, bits: usize) -> u64 {
        self.octaves[bits].load(Ordering::Acquire)
    }

    pub(crate) fn range(&self) -> (u64, u64) {
        (self.min.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed))
    }

    pub(crate) fn sum(&self) -> u128 {
        let carry = self.carry.load(Ordering::Relaxed);
        (u128::from(carry) << 64) | u128::from(self.sum.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn series(number: u32, digits: u8, highest: u64) -> Distribution {
        Distribution::new(1, number, Layout::new(digits, highest))
    }

    #[test]
    fn counts_sums_and_extremes_are_exact() {
        let spill = Spill::new(20_000);
        let values = [0, 1, 5, 5, 1 << 40, u64::MAX, u64::MAX - 1];
        let (nine, same_place) = (series(9, 2, u64::MAX), series(9 + TABLE as u32, 2, u64::MAX));
        let near =
            |to: &Distribution, value| spill.near.find(to.key).is_some_and(|counts| counts.add(to, value));
        assert!(!near(&nine, 5), "nobody has spilled yet");
        for value in values.into_iter().take(3) {
            let slot = spill.add(&nine, value).expect("there is room");
            spill.near.keep(&nine, slot);
        }
        let quick: Vec<bool> = values.into_iter().skip(3).map(|value| near(&nine, value)).collect();
        assert_eq!(quick, [true, true, false, false], "a double does not hold the last two");
        assert!(values.into_iter().skip(5).all(|value| spill.add(&nine, value).is_some()));
        let other = spill.add(&same_place, 3).expect("a series in the same place of both tables");
        assert!(
            !spill.near.keep(&same_place, other) && spill.near.find(nine.key).is_some(),
            "who is near stays near"
        );
        assert!(!near(&same_place, 3), "and the other is looked up");
        spill.near.clear();
        assert!(!near(&nine, 5) && spill.near.keep(&same_place, other) && near(&same_place, 3));
        let slots: Vec<_> = spill.slots().collect();
        assert_eq!(slots.iter().map(Slot::series).collect::<Vec<_>>(), [9, 9 + TABLE as u32]);
        let slot = slots[0];
        assert_eq!(slot.buckets().sum::<u64>(), 7);
        assert_eq!(spill.samples(), 9);
        assert_eq!(slot.sum(), values.iter().map(|value| u128::from(*value)).sum());
        assert_eq!(slot.range(), (0, u64::MAX));
        assert_eq!(slot.buckets().nth(5), Some(2));
        assert_eq!(slots[1].range(), (3, 3));
    }

    #[test]
    fn the_greatest_value_of_all_may_be_the_first() {
        let spill = Spill::new(20_000);
        assert!(spill.add(&series(1, 2, u64::MAX), u64::MAX).is_some());
        let slot = spill.slots().next().expect("one was carved");
        assert_eq!((slot.range(), slot.sum()), ((u64::MAX, u64::MAX), u64::MAX.into()));
    }

    #[test]
    fn past_the_cap_there_is_no_slot_and_the_others_stay() {
        let small = |number| series(number, 1, 1_000);
        let slot = (HEAD + small(1).layout.len()).next_multiple_of(HEAD);
        let spill = Spill::new(2 * slot + 5);
        assert!(spill.add(&small(1), 1).is_some() && spill.add(&small(2), 2).is_some());
        assert!(spill.add(&small(3), 3).is_none());
        assert!(spill.add(&small(2), 2).is_some());
        let counts: Vec<u64> = spill.slots().map(|slot| slot.buckets().sum()).collect();
        assert_eq!(counts, [1, 2]);
        let many = Spill::new(1 << 20);
        let kept =
            (0..2 * TABLE as u32).filter(|number| many.add(&series(*number, 1, 2), 1).is_some()).count();
        assert_eq!(kept, TABLE / 2);
    }

    #[test]
    fn the_commons_keep_everything_but_the_bucket() {
        let commons = Commons::default();
        for value in [0, 1, 6, 7, u64::MAX, u64::MAX] {
            commons.add(value);
        }
        assert_eq!(
            (commons.octave(0), commons.octave(1), commons.octave(3), commons.octave(64)),
            (1, 1, 2, 2)
        );
        assert_eq!(commons.sum(), 14 + 2 * u128::from(u64::MAX));
        assert_eq!(commons.range(), (0, u64::MAX));
    }
}
