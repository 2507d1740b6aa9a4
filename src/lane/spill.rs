//! Where samples go that find no room in the ring: bucket counts in the lane itself. Hot: [`SlotCache::find`] and what
//! follows; the rest is for a series' first samples.
//!
//! A series too hot for the ring is so aggregated where it is produced, and stays so on this lane as long as
//! it is near ([`SlotCache`]): counting here costs less than the way through the ring and the aggregator together.
//! The lane carves slots out of one block that was set aside when it was made, without allocating; when the
//! block is used up, samples fall back to their series' [`SharedHistogram`], which keeps count, sum, minimum and
//! maximum exact and of the bucket only the power of two, and the side of each declared bound.
//!
//! A slot has one writer, and its counts only grow: the aggregator takes the difference to what it saw last. Nothing
//! counts the samples but the buckets, so a count that differs from their sum cannot be. The word of a bucket that a
//! declared bound divides is a mark, which leads to its parts (`stats::splits`).

mod slot_cache;

pub(crate) use slot_cache::SlotCache;
use slot_cache::SlotRef;

use super::{Distribution, Key};
use crate::stats::is_mark;
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Ordering, own, zeroed_words};

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
/// Twice the times that a sum ran over; odd while it is changed together with a sum.
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
    pub(crate) slot_cache: SlotCache,
    /// Series index, hashed by its low bits and probed linearly, to the slot's first word + 1; 0 is vacant.
    table: Box<[AtomicU32]>,
    /// Words in use, a whole number of slots.
    used: AtomicUsize,
}

/// Counts a value in a bucket that is not divided, if it lies between the extremes so far. All else is `unusual`, in tail
/// position: no register need be saved on the way here.
#[inline(always)]
fn count_at(
    head: &[AtomicU64; HEAD],
    bucket: &AtomicU64,
    value: u64,
    unusual: impl FnOnce() -> bool,
) -> bool {
    if value.wrapping_sub(own(&head[MIN])) > own(&head[SPREAD]) {
        return unusual();
    }
    let count = own(bucket).wrapping_add(1);
    if is_mark(count) {
        return unusual();
    }
    count_within(head, bucket, count, value);
    true
}

/// Stores a bucket's new count, and adds the value to its sum.
#[inline(always)]
fn count_within(head: &[AtomicU64; HEAD], bucket: &AtomicU64, count: u64, value: u64) {
    // Release pairs with the Acquire of `Slot::counts`: who sees the sample sees the extremes that cover it.
    let store_count = || bucket.store(count, Ordering::Release);
    if !planted(Bug::LateBucket) {
        store_count();
    }
    // After the bucket, and Release pairs with the Acquire of `Slot::sum`: whoever has seen a sum finds all of its
    // samples in their buckets. So the aggregator counts every sample of a sum, and takes no slot for unchanged that
    // has a sample outstanding.
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

/// Stores a sum that ran over. A reader must not take the sum for one without the carry, so the carry is odd meanwhile.
#[cold]
#[inline(never)]
fn carry(head: &[AtomicU64; HEAD], at: usize, sum: u64) {
    let carries = own(&head[CARRY]);
    if planted(Bug::LateCarry) {
        head[at].store(sum, Ordering::Release);
    } else {
        // The sum's Release orders this store before it: whoever reads the new sum, then finds the carry odd or changed.
        // Release pairs with the first Acquire in `Slot::sum`, which counts the carries before this one.
        head[CARRY].store(carries.wrapping_add(1), Ordering::Release);
        head[at].store(sum, Ordering::Release);
    }
    // Release pairs with the first Acquire in `Slot::sum`: whoever reads it even again, then reads the new sum.
    head[CARRY].store(carries.wrapping_add(2), Ordering::Release);
}

/// A value below the least or above the greatest so far, or in a divided bucket; `false` if the slot is not that of `to`.
/// `slot` is one slot, or begins with it.
fn count_slow(slot: &[AtomicU64], to: &Distribution, value: u64) -> bool {
    let Some((head, counts)) = slot.split_first_chunk::<HEAD>() else { return false };
    let Some(bucket) = counts.get(to.layout.index(value)) else { return false };
    let word = own(bucket);
    let part = if is_mark(word) { counts.get(to.splits.part_of(word, value)) } else { Some(bucket) };
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
        self.used.load(Ordering::Relaxed) // a size; nothing hangs on its order
    }

    /// Counts a value, at most the layout's highest; `None` if there is no slot to be had. Owner only.
    pub(crate) fn add(&self, to: &Distribution, value: u64) -> Option<SlotRef<'_>> {
        let start = self.find(to.key).or_else(|| self.carve(to, value))?;
        let slot = self.words.get(start..)?;
        count_slow(slot, to, value).then(|| SlotRef::of(slot))
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
    fn carve(&self, to: &Distribution, first: u64) -> Option<usize> {
        let key = to.key;
        let start = self.used.load(Ordering::Relaxed); // written by this thread only
        let len = (HEAD + to.splits.words()).next_multiple_of(HEAD);
        let slot = self.words.get(start..start + len)?;
        let taken = self.table.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0).count();
        if taken >= TABLE / 2 {
            return None;
        }
        let mark_buckets = || {
            to.splits
                .trace_flags()
                .for_each(|(bucket, mark)| slot[HEAD + bucket].store(mark, Ordering::Relaxed));
        };
        slot[KEY].store(key.0, Ordering::Relaxed);
        slot[LEN].store(len as u64, Ordering::Relaxed);
        slot[MIN].store(first, Ordering::Relaxed);
        slot[MAX].store(first, Ordering::Relaxed);
        if !planted(Bug::LateMark) {
            mark_buckets();
        }
        let mut at = key.index() as usize;
        while self.table[at & (TABLE - 1)].load(Ordering::Relaxed) != 0 {
            at += 1;
        }
        self.table[at & (TABLE - 1)].store(start as u32 + 1, Ordering::Relaxed);
        // Release pairs with the Acquire of `slots`: the slot's head and marks are written before it can be walked to. So
        // no reader takes a mark for a count, or finds a bucket that becomes one.
        self.used.store(start + len, Ordering::Release);
        if planted(Bug::LateMark) {
            mark_buckets();
        }
        Some(start)
    }

    /// Samples counted here so far. Any thread.
    pub(crate) fn samples(&self) -> u64 {
        self.slots().map(|slot| slot.counts().filter(|word| !is_mark(*word)).sum::<u64>()).sum()
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

/// A slot's sum, as another thread than its owner reads it: modulo 2^128, of samples that are all in their buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Exact(u128),
    /// Sums ran over faster than they could be read. The sum was at least this much, and less than 2^65 more.
    AtLeast(u128),
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

    /// Samples of the value zero so far: they change no sum.
    pub(crate) fn zeros(&self) -> u64 {
        self.words[HEAD].load(Ordering::Relaxed) // a bucket of one value, which no bound divides
    }

    /// Least and greatest value so far, the first one that is about to be counted included.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.words[MIN].load(Ordering::Relaxed), self.words[MAX].load(Ordering::Relaxed))
    }

    /// The sum. Read before the buckets, it has no sample that they lack.
    pub(crate) fn sum(&self) -> Sum {
        /// A sum of usual values runs over once in thousands of samples, so the second try is likely the last. Of values
        /// near 2^64 nearly every sample makes it run over.
        const TRIES: u32 = if cfg!(tellane_loom) { 2 } else { 256 };
        let mut least = 0;
        for _ in 0..TRIES {
            // Acquire pairs with both stores of `carry`: the sum that ran over is seen with it, and so are the samples of
            // every carry that is done.
            let carries = self.words[CARRY].load(Ordering::Acquire);
            // Acquire pairs with `count_within`, and keeps the next look at the carry behind it.
            let sums = [SUMS, SUMS + 1].map(|at| u128::from(self.words[at].load(Ordering::Acquire)));
            let same = carries.is_multiple_of(2) && self.words[CARRY].load(Ordering::Relaxed) == carries;
            least = u128::from(carries / 2) << 64; // two for each time that a sum ran over; odd is one under way
            if same {
                return Sum::Exact(least.wrapping_add(sums[0]).wrapping_add(sums[1]));
            }
        }
        Sum::AtLeast(least)
    }

    /// The counts so far, marks included.
    pub(crate) fn counts(&self) -> impl ExactSizeIterator<Item = u64> {
        self.words[HEAD..].iter().map(|count| count.load(Ordering::Acquire)) // pairs with `count_within`
    }
}

/// Words that a shared sum is kept in. Each adds up sixteen bits of every value, so that it takes 2^48 samples to run
/// over, and no sum has a carry that could be read too late.
const LIMBS: usize = 4;
const LIMB_BITS: usize = 16;

/// One series' counts from all threads that could not count it in a lane. Exact but for the bucket. Cold, shared.
#[derive(Debug)]
pub(crate) struct SharedHistogram {
    /// The upper end of each cell, increasing: no power of two and no declared bound lies within one.
    cuts: Arc<[u64]>,
    cells: Box<[AtomicU64]>,
    sum: [AtomicU64; LIMBS],
    min: AtomicU64,
    max: AtomicU64,
}

impl SharedHistogram {
    /// The last cut is the greatest number of all.
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
        // Release pairs with the Acquire of `count`: whoever counts the sample sees its minimum and maximum.
        self.cells[self.cell_of(value)].fetch_add(1, Ordering::Release);
        if !planted(Bug::EarlySum) {
            self.add_to_sum(value);
        }
    }

    /// After the sample is counted, and Release pairs with the Acquire of [`sum`](Self::sum): whoever has seen a sum finds
    /// all of its samples counted.
    fn add_to_sum(&self, value: u64) {
        for (at, limb) in self.sum.iter().enumerate() {
            let bits = value >> (at * LIMB_BITS) & ((1 << LIMB_BITS) - 1);
            if bits > 0 {
                limb.fetch_add(bits, Ordering::Release);
            }
        }
    }

    /// How many cells there are.
    pub(crate) fn cells(&self) -> usize {
        self.cells.len()
    }

    /// The cell that a value is counted in.
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

    /// The sum of samples that are all counted, or of parts of them. Read before the counts, it has no sample that they
    /// lack.
    pub(crate) fn sum(&self) -> u128 {
        let limbs = self.sum.iter().enumerate();
        limbs.fold(0, |sum, (at, limb)| sum + (u128::from(limb.load(Ordering::Acquire)) << (at * LIMB_BITS)))
    }
}

#[cfg(all(test, not(tellane_loom)))]
impl Spill {
    /// Stops the owner in the middle of a carry, in the first slot; a second call lets it go on.
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
        let (nine, same_place) = (series(9, 2, u64::MAX), series(9 + TABLE as u32, 2, u64::MAX));
        let slot_cache = |to: &Distribution, value| {
            spill.slot_cache.find(to.key).is_some_and(|counts| counts.add(to, value))
        };
        assert!(!slot_cache(&nine, 5), "nobody has spilled yet");
        for value in values.into_iter().take(3) {
            let slot = spill.add(&nine, value).expect("there is room");
            spill.slot_cache.keep(&nine, slot);
        }
        let quick: Vec<bool> = values.into_iter().skip(3).map(|value| slot_cache(&nine, value)).collect();
        assert_eq!(quick, [true, true, false, false], "a double does not hold the last two");
        assert!(values.into_iter().skip(5).all(|value| spill.add(&nine, value).is_some()));
        let other = spill.add(&same_place, 3).expect("a series in the same place of both tables");
        assert!(
            !spill.slot_cache.keep(&same_place, other) && spill.slot_cache.find(nine.key).is_some(),
            "who is near stays near"
        );
        assert!(!slot_cache(&same_place, 3), "and the other is looked up");
        spill.slot_cache.clear();
        assert!(
            !slot_cache(&nine, 5) && spill.slot_cache.keep(&same_place, other) && slot_cache(&same_place, 3)
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
    fn a_sum_that_runs_over_all_the_time_is_bounded_from_below() {
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
            let slot_cache = spill.slot_cache.find(to.key).is_some_and(|counts| counts.add(&to, value));
            if !slot_cache {
                let slot = spill.add(&to, value).expect("there is room");
                spill.slot_cache.keep(&to, slot);
            }
        }
        let slot = spill.slots().next().expect("one was carved");
        let counts: Vec<u64> = slot.counts().collect();
        let mark = counts[to.layout.index(1_000)];
        assert!(is_mark(mark) && counts.iter().filter(|word| is_mark(**word)).count() == 1);
        assert_eq!([992, 1_001, 1_011].map(|value| counts[to.splits.part_of(mark, value)]), [2, 3, 2]);
        assert_eq!((spill.samples(), slot.range(), slot.sum()), (7, (992, 1_023), Sum::Exact(7_047)));
    }

    #[test]
    fn the_commons_keep_everything_but_the_bucket() {
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
