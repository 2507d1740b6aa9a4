//! The declared bounds of a histogram that divide a bucket of its layout. Cold, but for samples in such a bucket:
//! [`Splits::part_of`].
//!
//! A bucket holds a range of values, so a bound within that range needs a count of its own to be exact. The word of a
//! divided bucket is a mark, not a count: its top bit is set, and the rest leads to the *parts*, one count for each
//! piece of the range. The parts stand behind the buckets in the same array. Each sample still changes exactly one
//! count, so the count of all samples stays the sum of the counts.

use super::Layout;
use crate::sync::Arc;

/// The lowest mark; counts are below.
const MARK: u64 = 1 << 63;
/// Where a mark keeps the number of its first bound. The lower half is the position of its first part.
const FIRST_BOUND: u32 = 32;

/// Whether a word of bucket counts is a mark. It stays one when a count is added to it.
#[inline(always)]
pub(crate) const fn is_mark(word: u64) -> bool {
    (word as i64) < 0 // the sign flag, which an addition sets anyway
}

/// The greatest recorded integer that does not exceed a bound, which is given in the unit shown; `None` if the bound
/// is below zero or no number.
///
/// A sample is within a bound if the number shown for it is: 100,000,000 ns are shown as 0.1 s, although the product
/// of 0.1 and 1e9 may miss that integer by its rounding.
pub(crate) fn recorded(bound: f64, scale: f64) -> Option<u64> {
    /// Below this, a double holds every integer.
    const EXACT: f64 = (1_u64 << 53) as f64;
    let scaled = bound * scale;
    if scaled >= EXACT {
        return Some(scaled as u64); // a whole number; saturates
    }
    // The product is off by less than one, and up to two integers near 2^53 are shown as the same number.
    let near = scaled.round();
    let within = [near + 2.0, near + 1.0, near].into_iter().find(|whole| whole / scale <= bound);
    let within = within.unwrap_or(near - 1.0);
    (within >= 0.0).then_some(within as u64)
}

/// The bounds that divide a bucket, and which bucket each divides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Splits {
    /// Recorded integers, increasing: the greatest value of each part but a bucket's last.
    bounds: Box<[u64]>,
    /// The bucket of each bound. Several bounds may divide one bucket.
    buckets: Box<[u32]>,
    /// Buckets of the layout: the position of the first part.
    start: usize,
}

impl Splits {
    /// Of increasing recorded integers. A bound that ends a bucket divides none, nor does one that no value exceeds.
    fn new(layout: Layout, bounds: impl Iterator<Item = u64>) -> Self {
        let ends_within = |bound: u64| bound < layout.highest_in(layout.index(bound));
        let dividing = bounds.filter(|bound| *bound < layout.highest() && ends_within(*bound));
        let bounds: Box<[u64]> = dividing.collect();
        let buckets = bounds.iter().map(|bound| layout.index(*bound) as u32).collect();
        Self { bounds, buckets, start: layout.len() }
    }

    /// Bounds that divide a bucket.
    pub(crate) const fn len(&self) -> usize {
        self.bounds.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// The number of a bound among those that divide a bucket.
    pub(crate) fn position(&self, bound: u64) -> Option<usize> {
        self.bounds.binary_search(&bound).ok()
    }

    /// The divided buckets: each with the number of its first bound and how many bounds it has.
    pub(crate) fn divided(&self) -> impl Iterator<Item = (u32, usize, usize)> + '_ {
        let mut first = 0;
        self.buckets.chunk_by(|one, next| one == next).map(move |bounds| {
            let group = (bounds[0], first, bounds.len());
            first += bounds.len();
            group
        })
    }

    /// The words of an array of counts: the layout's buckets and the parts.
    pub(crate) fn words(&self) -> usize {
        self.start + self.bounds.len() + self.divided().count()
    }

    /// The marks of an array of counts, each with its bucket.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.divided().enumerate().map(|(before, (bucket, first, _))| {
            // Every bucket has one part more than bounds. Both numbers fit: 2^31 bounds would take 16 GiB.
            let start = self.start + first + before;
            (bucket as usize, MARK | (first as u64) << FIRST_BOUND | start as u64)
        })
    }

    /// Counts that are all zero, with the marks in place, in an array of so many words or more.
    pub(crate) fn empty_counts(&self, words: usize) -> Vec<u64> {
        let mut counts = vec![0; words.max(self.words())];
        self.marks().for_each(|(bucket, mark)| counts[bucket] = mark);
        counts
    }

    /// The position of the part that a value of a marked bucket is counted in.
    pub(crate) fn part_of(&self, mark: u64, value: u64) -> usize {
        let (first, start) = Self::read(mark);
        // The bounds of later buckets exceed the value, so the search ends within this bucket's.
        let below = self.bounds.get(first..).into_iter().flatten().take_while(|bound| **bound < value);
        start + below.count()
    }

    const fn read(mark: u64) -> (usize, usize) {
        (((mark & !MARK) >> FIRST_BOUND) as usize, mark as u32 as usize)
    }

    /// The samples of a bucket, given the word that stands for it in an array of counts.
    pub(crate) fn count(&self, counts: &[u64], word: u64) -> u64 {
        if !is_mark(word) {
            return word;
        }
        let (first, start) = Self::read(word);
        let of_bucket =
            self.buckets.get(first..).and_then(|rest| rest.chunk_by(|one, next| one == next).next());
        let parts = of_bucket.map_or(0, <[u32]>::len) + 1;
        counts.get(start..start + parts).into_iter().flatten().sum()
    }

    /// For each bound, the samples of its bucket that do not exceed it.
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

    /// The bounds that divide a bucket here and there. Both are of one layout.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let both =
            self.bounds.iter().zip(&self.buckets).filter(|(bound, _)| other.position(**bound).is_some());
        let (bounds, buckets): (Vec<_>, Vec<_>) = both.unzip();
        Self { bounds: bounds.into(), buckets: buckets.into(), start: self.start }
    }

    /// Every bound with its number.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = u64> + '_ {
        self.bounds.iter().copied()
    }
}

/// What a histogram's declared bounds mean for its counts. Shared by all series of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) splits: Arc<Splits>,
    /// The upper ends of the cells of shared counts: powers of two less one, and every bound. A cell so lies within one
    /// power of two and on one side of each bound.
    pub(crate) cuts: Arc<[u64]>,
}

impl Bounds {
    /// Of increasing bounds in the unit shown.
    pub(crate) fn new(layout: Layout, bounds: &[f64], scale: f64) -> Self {
        let mut whole: Vec<u64> = bounds.iter().filter_map(|bound| recorded(*bound, scale)).collect();
        whole.dedup(); // two bounds may fall between the same two integers
        let splits = Arc::new(Splits::new(layout, whole.iter().copied()));
        let mut cuts: Vec<u64> = (0..=64).map(|bits| ((1_u128 << bits) - 1) as u64).chain(whole).collect();
        cuts.sort_unstable();
        cuts.dedup();
        Self { splits, cuts: cuts.into() }
    }

    /// Bytes of what is shared.
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
        /// Against the values themselves: each is kept, and counted anew for each question.
        #[test]
        fn parts_count_what_the_values_say(
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
                let at = if is_mark(word) { splits.part_of(word, *value) } else { index };
                counts[at] += 1;
            }
            let total: u64 = counts.iter().filter(|word| !is_mark(**word)).sum();
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
        // Shown in billionths, this integer and the one below are the same number.
        let large = 8_926_224_461_159_770_u64;
        assert_eq!(recorded((large - 1) as f64 / 1e9, 1e9), Some(large));
    }

    #[test]
    fn what_two_have_in_common() {
        let layout = Layout::new(1, HIGHEST);
        let [one, other] = [&[100.0, 300.0, 1_000.0][..], &[300.0, 500.0, 1_000.0]]
            .map(|bounds| Bounds::new(layout, bounds, 1.0).splits);
        let common = one.common(&other);
        assert_eq!(common.bounds().collect::<Vec<_>>(), [300, 1_000]);
        assert_eq!(common, other.common(&one));
        assert!(one.common(&Splits::default()).is_empty());
    }
}
