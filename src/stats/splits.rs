//! The declared bounds of a histogram that divide a bucket of its layout. Cold, but for samples in such a bucket:
//! [`Splits::part_of`].
//!
//! A bucket holds a range of values, so a bound within that range needs a count of its own to be exact. The word of a
//! divided bucket is a *split word*, not a count: its top bit is set, and the rest points to the *parts*, one count for
//! each piece of the range. The parts follow the buckets in the same array. Each sample still changes exactly one
//! count, so the number of samples stays the sum of the counts.

use super::Layout;
use crate::sync::Arc;

/// The top bit, which is set in a split word; counts stay below it.
const SPLIT: u64 = 1 << 63;
/// Shift of the number of the first bound in a split word. The lower half is the position of the first part.
const FIRST_BOUND: u32 = 32;

/// Returns `true` for a split word. A split word stays one when a count is added to it.
#[inline(always)]
pub(crate) const fn is_split(word: u64) -> bool {
    (word as i64) < 0 // the sign flag, which an addition sets anyway
}

/// Converts a bound from the unit shown to the greatest recorded integer that does not exceed it; `None` if the bound
/// is negative or NaN.
///
/// A sample is within a bound if the number shown for the sample is. 100,000,000 ns are shown as 0.1 s and so are
/// within the bound 0.1, even if the product of 0.1 and 1e9 is rounded to another number.
pub(crate) fn recorded(bound: f64, scale: f64) -> Option<u64> {
    /// Integer below which a double holds every integer.
    const EXACT: f64 = (1_u64 << 53) as f64;
    let scaled = bound * scale;
    if scaled >= EXACT {
        return Some(scaled as u64); // already a whole number; saturates
    }
    // The product is off by less than one, and up to two integers near 2^53 are shown as the same number.
    let near = scaled.round();
    let within = [near + 2.0, near + 1.0, near].into_iter().find(|whole| whole / scale <= bound);
    let within = within.unwrap_or(near - 1.0);
    (within >= 0.0).then_some(within as u64)
}

/// The bounds that divide a bucket, each with its bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Splits {
    /// Recorded integers, increasing: the greatest value of each part, except for the last part of each bucket.
    bounds: Box<[u64]>,
    /// The bucket of each bound. Several bounds may divide one bucket.
    buckets: Box<[u32]>,
    /// Number of buckets in the layout, which is the position of the first part.
    start: usize,
}

impl Splits {
    /// Creates the splits from increasing recorded integers. A bound at the end of a bucket does not divide it, nor
    /// does a bound that no value exceeds.
    fn new(layout: Layout, bounds: impl Iterator<Item = u64>) -> Self {
        let ends_within = |bound: u64| bound < layout.highest_in(layout.index(bound));
        let dividing = bounds.filter(|bound| *bound < layout.highest() && ends_within(*bound));
        let bounds: Box<[u64]> = dividing.collect();
        let buckets = bounds.iter().map(|bound| layout.index(*bound) as u32).collect();
        Self { bounds, buckets, start: layout.len() }
    }

    /// The number of bounds that divide a bucket.
    pub(crate) const fn len(&self) -> usize {
        self.bounds.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Returns the index of a bound among those that divide a bucket.
    pub(crate) fn position(&self, bound: u64) -> Option<usize> {
        self.bounds.binary_search(&bound).ok()
    }

    /// The divided buckets, each with the index of its first bound and the number of its bounds.
    pub(crate) fn divided(&self) -> impl Iterator<Item = (u32, usize, usize)> + '_ {
        let mut first = 0;
        self.buckets.chunk_by(|one, next| one == next).map(move |bounds| {
            let group = (bounds[0], first, bounds.len());
            first += bounds.len();
            group
        })
    }

    /// The length of an array of counts in words: the layout's buckets and the parts.
    pub(crate) fn words(&self) -> usize {
        self.start + self.bounds.len() + self.divided().count()
    }

    /// The split words of an array of counts, each with its bucket.
    pub(crate) fn split_words(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.divided().enumerate().map(|(before, (bucket, first, _))| {
            // Each divided bucket has one part more than it has bounds. Both numbers fit: 2^31 bounds would take 16
            // GiB.
            let start = self.start + first + before;
            (bucket as usize, SPLIT | (first as u64) << FIRST_BOUND | start as u64)
        })
    }

    /// Creates an array of zero counts with the split words in place. The array has at least `words` words.
    pub(crate) fn empty_counts(&self, words: usize) -> Vec<u64> {
        let mut counts = vec![0; words.max(self.words())];
        self.split_words().for_each(|(bucket, word)| counts[bucket] = word);
        counts
    }

    /// Returns the position of the part that counts a value of a divided bucket.
    pub(crate) fn part_of(&self, word: u64, value: u64) -> usize {
        let (first, start) = Self::unpack(word);
        // The bounds of later buckets exceed the value, so the search ends at this bucket's last bound at the latest.
        let below = self.bounds.get(first..).into_iter().flatten().take_while(|bound| **bound < value);
        start + below.count()
    }

    /// Unpacks a split word: the index of the first bound and the position of the first part.
    const fn unpack(word: u64) -> (usize, usize) {
        (((word & !SPLIT) >> FIRST_BOUND) as usize, word as u32 as usize)
    }

    /// Returns the number of samples of a bucket, given the bucket's word in an array of counts.
    pub(crate) fn count(&self, counts: &[u64], word: u64) -> u64 {
        if !is_split(word) {
            return word;
        }
        let (first, start) = Self::unpack(word);
        let of_bucket =
            self.buckets.get(first..).and_then(|rest| rest.chunk_by(|one, next| one == next).next());
        let parts = of_bucket.map_or(0, <[u32]>::len) + 1;
        counts.get(start..start + parts).into_iter().flatten().sum()
    }

    /// Returns, for each bound, the number of samples of its bucket that do not exceed the bound.
    pub(crate) fn within(&self, counts: &[u64]) -> Box<[u64]> {
        let parts = counts.get(self.start..).unwrap_or_default();
        let groups = self.divided().enumerate().flat_map(|(before, (_, first, bounds))| {
            let parts = parts.get(first + before..first + before + bounds).unwrap_or_default();
            parts.iter().scan(0, |sum, part| {
                *sum += part;
                Some(*sum)
            })
        });
        groups.collect()
    }

    /// Returns the bounds that both splits have. Both must be of the same layout.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let both =
            self.bounds.iter().zip(&self.buckets).filter(|(bound, _)| other.position(**bound).is_some());
        let (bounds, buckets): (Vec<_>, Vec<_>) = both.unzip();
        Self { bounds: bounds.into(), buckets: buckets.into(), start: self.start }
    }

    /// The bounds that divide a bucket, in increasing order.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = u64> + '_ {
        self.bounds.iter().copied()
    }
}

/// The declared bounds of a histogram, prepared for counting. Shared by all series of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) splits: Arc<Splits>,
    /// The upper ends of the cells of shared counts: powers of two minus one, and every bound. So each cell lies within
    /// one power of two and on one side of each bound.
    pub(crate) cuts: Arc<[u64]>,
}

impl Bounds {
    /// Creates the bounds from increasing numbers in the unit shown.
    pub(crate) fn new(layout: Layout, bounds: &[f64], scale: f64) -> Self {
        let mut whole: Vec<u64> = bounds.iter().filter_map(|bound| recorded(*bound, scale)).collect();
        whole.dedup(); // two bounds may fall between the same two integers
        let splits = Arc::new(Splits::new(layout, whole.iter().copied()));
        let mut cuts: Vec<u64> = (0..=64).map(|bits| ((1_u128 << bits) - 1) as u64).chain(whole).collect();
        cuts.sort_unstable();
        cuts.dedup();
        Self { splits, cuts: cuts.into() }
    }

    /// Size of the shared parts in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Splits>() + self.splits.len() * size_of::<(u64, u32)>() + size_of_val(&*self.cuts)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HIGHEST: u64 = 5_000;

    proptest! {
        /// Compares with a plain list of the values, which is counted again for each query.
        #[test]
        fn parts_agree_with_a_plain_count_of_the_values(
            digits in 1..=3_u8,
            bounds in prop::collection::btree_set(0..HIGHEST + 10, 0..40),
            values in prop::collection::vec(0..=HIGHEST, 0..300),
        ) {
            let layout = Layout::new(digits, HIGHEST);
            let shown: Vec<f64> = bounds.iter().map(|bound| *bound as f64).collect();
            let splits = Bounds::new(layout, &shown, 1.0).splits;
            let mut counts = splits.empty_counts(0);
            for value in &values {
                let index = layout.index(*value);
                let word = counts[index];
                let at = if is_split(word) { splits.part_of(word, *value) } else { index };
                counts[at] += 1;
            }
            let total: u64 = counts.iter().filter(|word| !is_split(**word)).sum();
            prop_assert_eq!(total, values.len() as u64);
            for index in 0..layout.len() {
                let range = layout.lowest_in(index)..=layout.highest_in(index);
                let wanted = values.iter().filter(|value| range.contains(value)).count() as u64;
                prop_assert_eq!(splits.count(&counts, counts[index]), wanted);
            }
            for (bound, within) in splits.bounds().zip(splits.within(&counts)) {
                let range = layout.lowest_in(layout.index(bound))..=bound;
                prop_assert_eq!(within, values.iter().filter(|value| range.contains(value)).count() as u64);
            }
            for bound in bounds.into_iter().filter(|bound| *bound < HIGHEST) {
                let ends_a_bucket = layout.highest_in(layout.index(bound)) == bound;
                prop_assert_eq!(splits.position(bound).is_none(), ends_a_bucket, "{}", bound);
            }
        }

        #[test]
        fn a_bound_is_the_greatest_integer_shown_within_it(bound in 0.0..1e6_f64, scale in prop::sample::select(vec![1.0, 0.25, 100.0, 1e9])) {
            let whole = recorded(bound, scale).expect("not below zero");
            prop_assert!(whole as f64 / scale <= bound && (whole + 1) as f64 / scale > bound);
            let on = whole as f64 / scale;
            prop_assert_eq!(recorded(on, scale), Some(whole));
        }

        #[test]
        fn a_cell_lies_on_one_side_of_each_bound(bounds in prop::collection::btree_set(any::<u32>(), 0..20), value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let shown: Vec<f64> = bounds.iter().map(|bound| f64::from(*bound)).collect();
            let cuts = Bounds::new(Layout::new(2, u64::MAX), &shown, 1.0).cuts;
            let cell = cuts.partition_point(|cut| *cut < value);
            let (low, high) = (cell.checked_sub(1).map_or(0, |below| cuts[below] + 1), cuts[cell]);
            prop_assert!(low <= value && value <= high && low.leading_zeros() == high.leading_zeros());
            prop_assert!(bounds.iter().all(|bound| u64::from(*bound) < low || high <= u64::from(*bound)));
        }
    }

    #[test]
    fn bounds_without_integers_below() {
        assert_eq!(recorded(-0.5, 1.0), None);
        assert_eq!(recorded(-1.0, 1e9), None);
        assert_eq!(recorded(f64::NAN, 1.0), None);
        assert_eq!(recorded(f64::NEG_INFINITY, 1.0), None);
        assert_eq!((recorded(0.0, 1.0), recorded(0.4, 1.0), recorded(2.5, 1.0)), (Some(0), Some(0), Some(2)));
        assert_eq!((recorded(f64::INFINITY, 1.0), recorded(1e300, 1e9)), (Some(u64::MAX), Some(u64::MAX)));
        assert_eq!(recorded((1_u64 << 60) as f64, 1.0), Some(1 << 60));
        // Divided by 1e9, this integer and the one below it are the same double.
        let large = 8_926_224_461_159_770_u64;
        assert_eq!(recorded((large - 1) as f64 / 1e9, 1e9), Some(large));
    }

    #[test]
    fn common_keeps_the_bounds_that_both_have() {
        let layout = Layout::new(1, HIGHEST);
        let [one, other] = [&[100.0, 300.0, 1_000.0][..], &[300.0, 500.0, 1_000.0]]
            .map(|bounds| Bounds::new(layout, bounds, 1.0).splits);
        let common = one.common(&other);
        assert_eq!(common.bounds().collect::<Vec<_>>(), [300, 1_000]);
        assert_eq!(common, other.common(&one));
        assert!(one.common(&Splits::default()).is_empty());
    }
}
