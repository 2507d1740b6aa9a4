//! Where samples go that find no room in the ring: bucket counts in the lane itself. Hot: [`Spill::add`].
//!
//! A series too hot for the ring is so aggregated where it is produced. The lane carves slots out of one block that
//! was set aside when it was made, without allocating; when the block is used up, samples fall back to their series'
//! [`Commons`], which keeps count, sum, minimum and maximum exact and of the bucket only the power of two.
//!
//! A slot has one writer. Its counts only grow; the aggregator takes the difference to what it saw last. The count
//! is written before the bucket, so that it never lags behind the sum of the buckets.

use crate::stats::Layout;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering, zeroed_words};

/// Entries of the table from series to slot, a power of two; more series than that spill to the commons.
#[cfg(not(tellane_loom))]
const TABLE: usize = 512;
#[cfg(tellane_loom)]
const TABLE: usize = 4;

/// Words of a slot before its buckets; a cache line.
const HEAD: usize = 8;
const SERIES: usize = 0;
const LEN: usize = 1;
const COUNT: usize = 2;
const SUM: usize = 3;
/// Times that the sum ran over.
const CARRY: usize = 4;
const MIN: usize = 5;
const MAX: usize = 6;

/// One lane's spill.
#[derive(Debug)]
pub(crate) struct Spill {
    words: Box<[AtomicU64]>,
    /// Series index, hashed by its low bits and probed linearly, to the slot's first word + 1; 0 is vacant.
    table: Box<[AtomicU32]>,
    /// Words in use, a whole number of slots.
    used: AtomicUsize,
}

#[inline(always)]
fn bump(word: &AtomicU64, by: u64) -> u64 {
    let sum = word.load(Ordering::Relaxed).wrapping_add(by);
    word.store(sum, Ordering::Relaxed);
    sum
}

impl Spill {
    pub(crate) fn new(words: usize) -> Self {
        Self {
            words: zeroed_words(words),
            table: (0..TABLE).map(|_| AtomicU32::new(0)).collect(),
            used: AtomicUsize::new(0),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// Counts a value, at most the layout's highest; `false` if there is no slot to be had. Owner only.
    #[inline(always)]
    pub(crate) fn add(&self, series: u32, layout: Layout, value: u64) -> bool {
        let Some(slot) = self.find(series).or_else(|| self.carve(series, layout)) else {
            return false;
        };
        let (head, buckets) = slot.split_at(HEAD);
        let Some(bucket) = buckets.get(layout.index(value)) else {
            return false;
        };
        bump(&head[COUNT], 1);
        if bump(&head[SUM], value) < value {
            bump(&head[CARRY], 1);
        }
        if value < head[MIN].load(Ordering::Relaxed) {
            head[MIN].store(value, Ordering::Relaxed);
        }
        if value > head[MAX].load(Ordering::Relaxed) {
            head[MAX].store(value, Ordering::Relaxed);
        }
        // Release pairs with the Acquire of `Slot::fold`: whoever sees the bucket sees the count that covers it.
        bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        true
    }

    #[inline(always)]
    fn find(&self, series: u32) -> Option<&[AtomicU64]> {
        let mut at = series as usize;
        loop {
            let entry = self.table[at & (TABLE - 1)].load(Ordering::Relaxed); // written by this thread only
            let start = entry.checked_sub(1)? as usize;
            let slot = self.words.get(start..)?;
            if slot.first()?.load(Ordering::Relaxed) == u64::from(series) {
                return slot.get(..slot.get(LEN)?.load(Ordering::Relaxed) as usize);
            }
            at += 1;
        }
    }

    /// A slot for a series that has none yet. The table is never filled: probing must end.
    #[cold]
    fn carve(&self, series: u32, layout: Layout) -> Option<&[AtomicU64]> {
        let start = self.used.load(Ordering::Relaxed); // written by this thread only
        let len = (HEAD + layout.len()).next_multiple_of(HEAD);
        let slot = self.words.get(start..start + len)?;
        let taken = self.table.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0).count();
        if taken >= TABLE / 2 {
            return None;
        }
        slot[SERIES].store(u64::from(series), Ordering::Relaxed);
        slot[LEN].store(len as u64, Ordering::Relaxed);
        slot[MIN].store(u64::MAX, Ordering::Relaxed);
        let mut at = series as usize;
        while self.table[at & (TABLE - 1)].load(Ordering::Relaxed) != 0 {
            at += 1;
        }
        self.table[at & (TABLE - 1)].store(start as u32 + 1, Ordering::Relaxed);
        // Release pairs with the Acquire of `slots`: the slot's head is written before it can be walked to.
        self.used.store(start + len, Ordering::Release);
        Some(slot)
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
        self.words[SERIES].load(Ordering::Relaxed) as u32
    }

    /// Samples counted so far.
    pub(crate) fn count(&self) -> u64 {
        self.words[COUNT].load(Ordering::Relaxed)
    }

    /// Least and greatest value so far; `None` before the first.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        let (min, max) = (self.words[MIN].load(Ordering::Relaxed), self.words[MAX].load(Ordering::Relaxed));
        (min <= max).then_some((min, max))
    }

    /// Sum so far, modulo 2^128. The carry is written after the sum it belongs to: a reading between the two is
    /// short by 2^64, and the next reading makes up for it.
    pub(crate) fn sum(&self) -> u128 {
        let carry = self.words[CARRY].load(Ordering::Relaxed);
        (u128::from(carry) << 64) | u128::from(self.words[SUM].load(Ordering::Relaxed))
    }

    /// The bucket counts so far.
    pub(crate) fn buckets(&self) -> impl ExactSizeIterator<Item = u64> {
        self.words[HEAD..].iter().map(|bucket| bucket.load(Ordering::Acquire)) // pairs with `Spill::add`
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

    #[test]
    fn counts_sums_and_extremes_are_exact() {
        let layout = Layout::new(2, u64::MAX);
        let spill = Spill::new(20_000);
        let values = [0, 1, 5, 5, 1 << 40, u64::MAX, u64::MAX - 1];
        assert!(values.iter().all(|value| spill.add(9, layout, *value)));
        assert!(spill.add(9 + TABLE as u32, layout, 3), "a series in the same place of the table");
        let slots: Vec<_> = spill.slots().collect();
        assert_eq!(slots.iter().map(Slot::series).collect::<Vec<_>>(), [9, 9 + TABLE as u32]);
        let slot = slots[0];
        assert_eq!(slot.count(), 7);
        assert_eq!(slot.buckets().sum::<u64>(), 7);
        assert_eq!(slot.sum(), values.iter().map(|value| u128::from(*value)).sum());
        assert_eq!(slot.range(), Some((0, u64::MAX)));
        assert_eq!(slot.buckets().nth(5), Some(2));
        assert_eq!(slots[1].range(), Some((3, 3)));
    }

    #[test]
    fn past_the_cap_there_is_no_slot_and_the_others_stay() {
        let layout = Layout::new(1, 1_000);
        let slot = (HEAD + layout.len()).next_multiple_of(HEAD);
        let spill = Spill::new(2 * slot + 5);
        assert!(spill.add(1, layout, 1) && spill.add(2, layout, 2));
        assert!(!spill.add(3, layout, 3));
        assert!(spill.add(2, layout, 2));
        assert_eq!(spill.slots().map(|slot| slot.count()).collect::<Vec<_>>(), [1, 2]);
        let many = Spill::new(1 << 20);
        let kept = (0..2 * TABLE as u32).filter(|series| many.add(*series, Layout::new(1, 2), 1)).count();
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
