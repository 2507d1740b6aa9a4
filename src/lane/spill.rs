//! Spill: bucket counts in the lane itself, for samples that find the ring full. Hot: [`SlotCache::get`] and the
//! functions that count through its result. The other functions run for a series' first spilled samples only.
//!
//! So a series too hot for the ring is aggregated on the thread that records it, and it stays in the spill while its
//! slot is cached ([`SlotCache`]): counting here costs less than the ring and the aggregator together. The lane carves
//! slots out of one block that was allocated with it, without further allocation. When the block is used up, samples
//! fall back to their series' [`SharedHistogram`]. It keeps count, sum, minimum and maximum exact, but of the bucket
//! only the power of two and the side of each declared bound.
//!
//! A slot has one writer, and its counts only grow: the aggregator adds the difference from the counts that it saw
//! last. Only the buckets count samples, so a slot has no separate count that could differ from their sum. A bucket
//! that a declared bound divides holds a mark instead of a count; the mark leads to the counts of the bucket's parts
//! (`stats::splits`).

mod slot_cache;

pub(crate) use slot_cache::SlotCache;
use slot_cache::SlotRef;

use super::{Distribution, Key};
use crate::stats::is_split;
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Ordering, own, zeroed_words};

/// Entries of the table from series to slot, a power of two. It is filled to one half at most; further series spill to
/// their shared histogram.
#[cfg(not(tellane_loom))]
const TABLE: usize = 512;
#[cfg(tellane_loom)]
const TABLE: usize = 4;

/// Words of a slot's head, which lies before its buckets: one cache line.
const HEAD: usize = 8;
const KEY: usize = 0;
const LEN: usize = 1;
/// Offset of the sum of even values; the sum of odd values follows it. An addition waits for the previous addition to
/// the same word, some 8 cycles, which is as long as the rest of a sample takes. 2.07 ns with one sum, 1.78 with two.
const SUMS: usize = 2;
/// Offset of the carry: twice the number of times that a sum overflowed; odd while the carry and a sum are updated.
const CARRY: usize = 4;
const MIN: usize = 5;
const MAX: usize = 6;
/// Offset of `MAX - MIN`, so that one comparison checks both. Read by the owner only.
const SPREAD: usize = 7;

/// One lane's spill.
#[derive(Debug)]
pub(crate) struct Spill {
    words: Box<[AtomicU64]>,
    /// Cache of slots for the owner's fast path.
    pub(crate) slot_cache: SlotCache,
    /// Hash table from series index to the slot's first word + 1; 0 marks an empty entry. Hashed by the low bits,
    /// probed linearly.
    table: Box<[AtomicU32]>,
    /// Words in use. Always a whole number of slots.
    used: AtomicUsize,
}

/// Counts a value in an undivided bucket, if it lies between the extremes so far. Otherwise calls `slow` in tail
/// position, so that no register need be saved on the fast path.
#[inline(always)]
fn count_at(head: &[AtomicU64; HEAD], bucket: &AtomicU64, value: u64, slow: impl FnOnce() -> bool) -> bool {
    if value.wrapping_sub(own(&head[MIN])) > own(&head[SPREAD]) {
        return slow();
    }
    let count = own(bucket).wrapping_add(1);
    if is_split(count) {
        return slow();
    }
    count_within(head, bucket, count, value);
    true
}

/// Stores a bucket's new count, and adds the value to its sum.
#[inline(always)]
fn count_within(head: &[AtomicU64; HEAD], bucket: &AtomicU64, count: u64, value: u64) {
    // Release pairs with the Acquire of `Slot::counts`: a reader that sees the sample sees the extremes that cover it.
    let store_count = || bucket.store(count, Ordering::Release);
    if !planted(Bug::LateBucket) {
        store_count();
    }
    // After the bucket. Release pairs with the Acquire of `Slot::sum`: a reader that has seen a sum finds all its
    // samples in their buckets. So the aggregator counts every sample of a sum, and never mistakes a slot with a
    // pending sample for an unchanged one.
    let at = SUMS + (value & 1) as usize;
    let sum = own(&head[at]).wrapping_add(value);
    if sum < value {
        carry(head, at, sum);
    } else {
        head[at].store(sum, Ordering::Release);
    }
    if planted(Bug::LateBucket) {
        store_count();
    }
}

/// Stores a sum that overflowed, and its carry. A reader must not use the new sum with the old carry, so the carry is
/// odd until both are stored.
#[cold]
#[inline(never)]
fn carry(head: &[AtomicU64; HEAD], at: usize, sum: u64) {
    let carries = own(&head[CARRY]);
    if planted(Bug::LateCarry) {
        head[at].store(sum, Ordering::Release);
    } else {
        // The sum's Release orders this store before it: a reader of the new sum then finds the carry odd or changed.
        // Release pairs with the first Acquire in `Slot::sum`: the samples of all earlier carries are seen with this
        // one.
        head[CARRY].store(carries.wrapping_add(1), Ordering::Release);
        head[at].store(sum, Ordering::Release);
    }
    // Release pairs with the first Acquire in `Slot::sum`: a reader that finds the carry even again reads the new sum.
    head[CARRY].store(carries.wrapping_add(2), Ordering::Release);
}

/// Slow path of [`count_at`]: counts any value, also one outside the extremes so far or in a divided bucket. `false` if
/// the slot does not have the layout of `to`. `slot` is one slot, or begins with it.
fn count_slow(slot: &[AtomicU64], to: &Distribution, value: u64) -> bool {
    let Some((head, counts)) = slot.split_first_chunk::<HEAD>() else { return false };
    let Some(bucket) = counts.get(to.layout.index(value)) else { return false };
    let word = own(bucket);
    let part = if is_split(word) { counts.get(to.splits.part_of(word, value)) } else { Some(bucket) };
    let Some(part) = part else { return false };
    let min = own(&head[MIN]).min(value);
    let max = own(&head[MAX]).max(value);
    head[MIN].store(min, Ordering::Relaxed);
    head[MAX].store(max, Ordering::Relaxed);
    head[SPREAD].store(max - min, Ordering::Relaxed);
    count_within(head, part, own(part).wrapping_add(1), value);
    true
}

impl Spill {
    pub(crate) fn new(words: usize) -> Self {
        Self {
            words: zeroed_words(words),
            slot_cache: SlotCache::new(),
            table: (0..TABLE).map(|_| AtomicU32::new(0)).collect(),
            used: AtomicUsize::new(0),
        }
    }

    /// Words carved out so far. Any thread.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed) // only a size: no other memory is read because of it
    }

    /// Counts a value, at most the layout's highest; `None` if the series has no slot and none is left. Owner only.
    pub(crate) fn add(&self, to: &Distribution, value: u64) -> Option<SlotRef<'_>> {
        let start = self.slot_start(to.key).or_else(|| self.carve(to, value))?;
        let slot = self.words.get(start..)?;
        count_slow(slot, to, value).then(|| SlotRef::new(slot))
    }

    /// The position of a series' slot in `words`.
    /// The position of a series' slot in `words`.
    fn slot_start(&self, key: Key) -> Option<usize> {
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

    /// Carves a slot for a series that has none yet; `first` is its first value. The table is never filled, since an
    /// empty entry ends a probe.
    #[cold]
    fn carve(&self, to: &Distribution, first: u64) -> Option<usize> {
        let key = to.key;
        let start = self.used.load(Ordering::Relaxed); // written by this thread only
        let len = (HEAD + to.splits.words()).next_multiple_of(HEAD);
        let slot = self.words.get(start..start + len)?;
        let taken = self.table.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0).count();
        if taken >= TABLE / 2 {
            return None;
        }
        let split_buckets = || {
            to.splits
                .split_words()
                .for_each(|(bucket, word)| slot[HEAD + bucket].store(word, Ordering::Relaxed));
        };
        slot[KEY].store(key.0, Ordering::Relaxed);
        slot[LEN].store(len as u64, Ordering::Relaxed);
        slot[MIN].store(first, Ordering::Relaxed);
        slot[MAX].store(first, Ordering::Relaxed);
        if !planted(Bug::LateSplit) {
            split_buckets();
        }
        let mut at = key.index() as usize;
        while self.table[at & (TABLE - 1)].load(Ordering::Relaxed) != 0 {
            at += 1;
        }
        self.table[at & (TABLE - 1)].store(start as u32 + 1, Ordering::Relaxed);
        // Release pairs with the Acquire of `slots`: the slot's head and marks are written before a reader can reach
        // it. So no reader sees a bucket's word change from a count into a mark.
        self.used.store(start + len, Ordering::Release);
        if planted(Bug::LateSplit) {
            split_buckets();
        }
        Some(start)
    }

    /// Samples counted in the spill so far. Any thread.
    pub(crate) fn samples(&self) -> u64 {
        self.slots().map(|slot| slot.counts().filter(|word| !is_split(*word)).sum::<u64>()).sum()
    }

    /// Iterates over the slots, oldest first. Aggregator only.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let used = self.used.load(Ordering::Acquire); // pairs with the Release of `carve`
        let mut rest = self.words.get(..used).unwrap_or_default();
        std::iter::from_fn(move || {
            let len = rest.get(LEN)?.load(Ordering::Relaxed) as usize;
            let (slot, more) = rest.split_at_checked(len.max(HEAD))?;
            rest = more;
            Some(Slot { words: slot })
        })
    }
}

/// The sum of a slot, as read by a thread that is not its owner: modulo 2^128, of samples that are all in their
/// buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Exact(u128),
    /// The sums overflowed faster than they could be read. The sum was at least this value, and less than 2^65 more.
    AtLeast(u128),
}

/// The bucket counts of one series in one lane, as the aggregator reads them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    words: &'a [AtomicU64],
}

impl Slot<'_> {
    pub(crate) fn series(&self) -> u32 {
        Key(self.words[KEY].load(Ordering::Relaxed)).index()
    }

    /// Number of samples with the value zero so far. They change no sum.
    pub(crate) fn zeros(&self) -> u64 {
        self.words[HEAD].load(Ordering::Relaxed) // the bucket of one value, which no bound divides
    }

    /// Least and greatest value so far. Includes the slot's first value even before it is counted.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.words[MIN].load(Ordering::Relaxed), self.words[MAX].load(Ordering::Relaxed))
    }

    /// The sum. Read before the buckets, it contains no sample that they lack.
    pub(crate) fn sum(&self) -> Sum {
        /// Attempts to read a consistent sum. A sum of usual values overflows once in thousands of samples, so a second
        /// try nearly always succeeds. With values near 2^64, nearly every sample overflows it.
        const TRIES: u32 = if cfg!(tellane_loom) { 2 } else { 256 };
        let mut least = 0;
        for _ in 0..TRIES {
            // Acquire pairs with both stores of `carry`: the overflowed sum is seen with the carry, and so are the
            // samples of every completed carry.
            let carries = self.words[CARRY].load(Ordering::Acquire);
            // Acquire pairs with `count_within`, and keeps the second load of the carry after these loads.
            let sums = [SUMS, SUMS + 1].map(|at| u128::from(self.words[at].load(Ordering::Acquire)));
            let same = carries.is_multiple_of(2) && self.words[CARRY].load(Ordering::Relaxed) == carries;
            least = u128::from(carries / 2) << 64; // each overflow adds two; an odd carry has one in progress
            if same {
                return Sum::Exact(least.wrapping_add(sums[0]).wrapping_add(sums[1]));
            }
        }
        Sum::AtLeast(least)
    }

    /// The bucket counts so far, marks included.
    pub(crate) fn counts(&self) -> impl ExactSizeIterator<Item = u64> {
        self.words[HEAD..].iter().map(|count| count.load(Ordering::Acquire)) // pairs with `count_within`
    }
}

/// Words of a shared sum. Each word adds up sixteen bits of every value, so that it overflows only after 2^48 samples,
/// and no carry between words could be read too late.
const LIMBS: usize = 4;
const LIMB_BITS: usize = 16;

/// The counts of one series from all threads that could not count in a lane. Everything but the bucket is exact. Cold,
/// shared.
#[derive(Debug)]
pub(crate) struct SharedHistogram {
    /// The upper end of each cell, in increasing order. No power of two and no declared bound lies inside a cell.
    cuts: Arc<[u64]>,
    cells: Box<[AtomicU64]>,
    sum: [AtomicU64; LIMBS],
    min: AtomicU64,
    max: AtomicU64,
}

impl SharedHistogram {
    /// Creates an empty histogram with these cuts, of which the last is `u64::MAX`.
    pub(crate) fn new(cuts: &Arc<[u64]>) -> Self {
        Self {
            cuts: Arc::clone(cuts),
            cells: cuts.iter().map(|_| AtomicU64::new(0)).collect(),
            sum: std::array::from_fn(|_| AtomicU64::new(0)),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }

    #[cold]
    pub(crate) fn add(&self, value: u64) {
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
        if planted(Bug::EarlySum) {
            self.add_to_sum(value);
        }
        // Release pairs with the Acquire of `count`: a reader that sees the sample sees its minimum and maximum.
        self.cells[self.cell_of(value)].fetch_add(1, Ordering::Release);
        if !planted(Bug::EarlySum) {
            self.add_to_sum(value);
        }
    }

    /// Adds a value to the sum, after it was counted. Release pairs with the Acquire of [`sum`](Self::sum): a reader
    /// that has seen a sum finds all its samples counted.
    fn add_to_sum(&self, value: u64) {
        for (at, limb) in self.sum.iter().enumerate() {
            let bits = value >> (at * LIMB_BITS) & ((1 << LIMB_BITS) - 1);
            if bits > 0 {
                limb.fetch_add(bits, Ordering::Release);
            }
        }
    }

    /// The number of cells.
    pub(crate) fn cells(&self) -> usize {
        self.cells.len()
    }

    /// The index of the cell that counts a value.
    pub(crate) fn cell_of(&self, value: u64) -> usize {
        self.cuts.partition_point(|cut| *cut < value)
    }

    /// The least and the greatest value of a cell.
    pub(crate) fn range_of(&self, cell: usize) -> (u64, u64) {
        let below = cell.checked_sub(1).and_then(|below| self.cuts.get(below));
        let greatest = self.cuts.get(cell).copied().unwrap_or(u64::MAX);
        (below.map_or(0, |cut| cut + 1), greatest)
    }

    pub(crate) fn count(&self, cell: usize) -> u64 {
        self.cells[cell].load(Ordering::Acquire)
    }

    pub(crate) fn range(&self) -> (u64, u64) {
        (self.min.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed))
    }

    /// The sum of samples that are all counted, or of some words of them. Read before the counts, it contains no sample
    /// that they lack.
    pub(crate) fn sum(&self) -> u128 {
        let limbs = self.sum.iter().enumerate();
        limbs.fold(0, |sum, (at, limb)| sum + (u128::from(limb.load(Ordering::Acquire)) << (at * LIMB_BITS)))
    }
}

#[cfg(all(test, not(tellane_loom)))]
impl Spill {
    /// Makes the first slot look as if its owner had stopped in the middle of a carry; a second call undoes that.
    pub(crate) fn hold_carry(&self) {
        self.words[CARRY].fetch_xor(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::stats::{Bounds, Layout};

    fn series(number: u32, digits: u8, highest: u64) -> Distribution {
        bounded(number, digits, highest, &[])
    }

    fn bounded(number: u32, digits: u8, highest: u64, bounds: &[f64]) -> Distribution {
        let layout = Layout::new(digits, highest);
        Distribution::new(1, number, layout, &Bounds::new(layout, bounds, 1.0))
    }

    #[test]
    fn counts_sums_and_extremes_are_exact() {
        let spill = Spill::new(20_000);
        let values = [0, 1, 5, 5, 1 << 40, u64::MAX, u64::MAX - 1];
        let (nine, colliding) = (series(9, 2, u64::MAX), series(9 + TABLE as u32, 2, u64::MAX));
        let add_cached = |to: &Distribution, value| {
            spill.slot_cache.get(to.key).is_some_and(|counts| counts.add(to, value))
        };
        assert!(!add_cached(&nine, 5), "no series has spilled yet");
        for value in values.into_iter().take(3) {
            let slot = spill.add(&nine, value).expect("there is room");
            spill.slot_cache.insert(&nine, slot);
        }
        let quick: Vec<bool> = values.into_iter().skip(3).map(|value| add_cached(&nine, value)).collect();
        assert_eq!(quick, [true, true, false, false], "a double does not hold the last two");
        assert!(values.into_iter().skip(5).all(|value| spill.add(&nine, value).is_some()));
        let other = spill.add(&colliding, 3).expect("a series with the same entry in both tables");
        assert!(
            !spill.slot_cache.insert(&colliding, other) && spill.slot_cache.get(nine.key).is_some(),
            "a cached slot stays cached"
        );
        assert!(!add_cached(&colliding, 3), "the other series misses the cache");
        spill.slot_cache.clear();
        assert!(
            !add_cached(&nine, 5) && spill.slot_cache.insert(&colliding, other) && add_cached(&colliding, 3)
        );
        let slots: Vec<_> = spill.slots().collect();
        assert_eq!(slots.iter().map(Slot::series).collect::<Vec<_>>(), [9, 9 + TABLE as u32]);
        let slot = slots[0];
        assert_eq!(slot.counts().sum::<u64>(), 7);
        assert_eq!(spill.samples(), 9);
        assert_eq!(slot.sum(), Sum::Exact(values.iter().map(|value| u128::from(*value)).sum()));
        assert_eq!(slot.range(), (0, u64::MAX));
        assert_eq!(slot.counts().nth(5), Some(2));
        assert_eq!(slots[1].range(), (3, 3));
    }

    #[test]
    fn the_greatest_value_of_all_may_be_the_first() {
        let spill = Spill::new(20_000);
        assert!(spill.add(&series(1, 2, u64::MAX), u64::MAX).is_some());
        let slot = spill.slots().next().expect("one was carved");
        assert_eq!((slot.range(), slot.sum()), ((u64::MAX, u64::MAX), Sum::Exact(u64::MAX.into())));
    }

    #[test]
    fn a_sum_that_overflows_all_the_time_is_bounded_from_below() {
        let spill = Spill::new(20_000);
        let to = series(1, 2, u64::MAX);
        let whole = 100 * u128::from(u64::MAX);
        (0..100).for_each(|_| assert!(spill.add(&to, u64::MAX).is_some()));
        let slot = spill.slots().next().expect("one was carved");
        assert_eq!(slot.sum(), Sum::Exact(whole));
        spill.hold_carry();
        let Sum::AtLeast(least) = slot.sum() else { panic!("{:?} in the middle of a carry", slot.sum()) };
        assert!(least <= whole && whole - least < 1 << 65, "{least} of {whole}");
        spill.hold_carry();
        assert_eq!(slot.sum(), Sum::Exact(whole));
    }

    #[test]
    fn past_the_cap_there_is_no_slot_and_the_others_stay() {
        let small = |number| series(number, 1, 1_000);
        let slot = (HEAD + small(1).layout.len()).next_multiple_of(HEAD);
        let spill = Spill::new(2 * slot + 5);
        assert!(spill.add(&small(1), 1).is_some() && spill.add(&small(2), 2).is_some());
        assert!(spill.add(&small(3), 3).is_none());
        assert!(spill.add(&small(2), 2).is_some());
        let counts: Vec<u64> = spill.slots().map(|slot| slot.counts().sum()).collect();
        assert_eq!(counts, [1, 2]);
        let many = Spill::new(1 << 20);
        let kept =
            (0..2 * TABLE as u32).filter(|number| many.add(&series(*number, 1, 2), 1).is_some()).count();
        assert_eq!(kept, TABLE / 2);
    }

    #[test]
    fn a_value_in_a_divided_bucket_is_counted_in_its_part() {
        // Of one digit, 1,000 lies in the bucket from 992 to 1,023, which is divided in three.
        let spill = Spill::new(20_000);
        let to = bounded(1, 1, 5_000, &[1_000.0, 1_010.0]);
        for value in [992, 1_000, 1_001, 1_010, 1_010, 1_011, 1_023] {
            let cached = spill.slot_cache.get(to.key).is_some_and(|counts| counts.add(&to, value));
            if !cached {
                let slot = spill.add(&to, value).expect("there is room");
                spill.slot_cache.insert(&to, slot);
            }
        }
        let slot = spill.slots().next().expect("one was carved");
        let counts: Vec<u64> = slot.counts().collect();
        let mark = counts[to.layout.index(1_000)];
        assert!(is_split(mark) && counts.iter().filter(|word| is_split(**word)).count() == 1);
        assert_eq!([992, 1_001, 1_011].map(|value| counts[to.splits.part_of(mark, value)]), [2, 3, 2]);
        assert_eq!((spill.samples(), slot.range(), slot.sum()), (7, (992, 1_023), Sum::Exact(7_047)));
    }

    #[test]
    fn a_shared_histogram_keeps_everything_but_the_bucket() {
        let shared_histogram = bounded(1, 2, u64::MAX, &[6.0]).shared_histogram;
        for value in [0, 1, 6, 7, u64::MAX, u64::MAX] {
            shared_histogram.add(value);
        }
        let counted = |value| shared_histogram.count(shared_histogram.cell_of(value));
        assert_eq!(
            [0, 1, 5, 7, u64::MAX].map(counted),
            [1, 1, 1, 1, 2],
            "a bound cuts off 7 from 4, 5 and 6"
        );
        let ranges =
            [0, 1, 5, 7, u64::MAX].map(|value| shared_histogram.range_of(shared_histogram.cell_of(value)));
        assert_eq!(ranges, [(0, 0), (1, 1), (4, 6), (7, 7), (1 << 63, u64::MAX)]);
        assert_eq!(shared_histogram.sum(), 14 + 2 * u128::from(u64::MAX));
        assert_eq!(shared_histogram.range(), (0, u64::MAX));
    }
}
