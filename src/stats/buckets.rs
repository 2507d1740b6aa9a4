//! The log-linear bucket layout of HdrHistogram (Gil Tene; the index arithmetic of `countsArrayIndex`). Hot:
//! [`Layout::index`].
//!
//! One layout serves the spill, the aggregator and the `hdrhistogram` crate, so that counts move between them
//! bucket by bucket and nothing is rounded twice.

use std::hint::cold_path;

/// Greatest integer up to which a double holds every integer.
const DOUBLES: u64 = (1 << 53) - 1;

/// `true` if finding the highest set bit of a number is cheap. Without `lzcnt`, x86-64 has only `bsr`, which takes
/// eight steps on AMD's Zen 3; there it is faster, by 0.7 ns, to compute the index from the bits of a double.
const BY_INTEGERS: bool = cfg!(any(not(target_arch = "x86_64"), target_feature = "lzcnt"));

/// Mapping from values to buckets. Values below 2^(magnitude+1) have a bucket each; above, every power of two is
/// divided into 2^magnitude buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// 2^(magnitude+1) - 1: every value up to this has a bucket of its own.
    floor: u64,
    /// The highest trackable value; greater ones are clamped to it.
    highest: u64,
    /// 2^magnitude: the number of buckets below the first divided power of two.
    below: u32,
    /// The number of further buckets that the fast path covers: all their values are at most the highest, and at most
    /// 2^53.
    fast: u32,
    /// For [`fast_index`](Self::fast_index): the number of low bits of a double that are shifted out.
    shift: u8,
    /// For [`fast_index`](Self::fast_index): the remaining bits of the double 2^magnitude.
    first: u32,
    /// 4, 7, 10, 14 or 17 for one to five significant digits.
    magnitude: u8,
}

impl Layout {
    /// Creates a layout. The caller has checked that there are 1 to 5 significant digits and that the highest value is
    /// at least 2.
    pub(crate) const fn new(digits: u8, highest: u64) -> Self {
        // Half the least power of two that distinguishes 2 * 10^digits values.
        let magnitude = (2 * 10_u64.pow(digits as u32)).next_power_of_two().trailing_zeros() as u8 - 1;
        // The exponent of a double has a bias of 1,023.
        let first = (1_023 + magnitude as u32) << magnitude;
        let (below, shift) = (1 << magnitude, 52 - magnitude);
        let layout = Self { floor: (2 << magnitude) - 1, highest, below, fast: 0, shift, first, magnitude };
        let most = if highest < DOUBLES { highest } else { DOUBLES };
        let last = layout.index(most);
        let whole = last + (layout.highest_in(last) <= most) as usize;
        Self { fast: whole.saturating_sub(below as usize) as u32, ..layout }
    }

    pub(crate) const fn highest(self) -> u64 {
        self.highest
    }

    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) const fn magnitude(self) -> u8 {
        self.magnitude
    }

    /// The number of significant digits that the layout was created with.
    pub(crate) const fn digits(self) -> u8 {
        match self.magnitude {
            4 => 1,
            7 => 2,
            10 => 3,
            14 => 4,
            _ => 5,
        }
    }

    /// Returns the bucket of a value.
    #[inline(always)]
    pub(crate) const fn index(self, value: u64) -> usize {
        // 63 - n written as 63 ^ n, which x86 computes with one instruction.
        let octave = (63 ^ (value | self.floor).leading_zeros()) - self.magnitude as u32;
        ((octave as usize) << self.magnitude) + (value >> octave) as usize
    }

    /// Returns the bucket of a value on the fast path, which covers nearly all values. `None` for a value above the
    /// highest, and for one whose bucket also holds values above the highest. One comparison checks both ends of the
    /// range.
    #[inline(always)]
    pub(crate) const fn fast_index(&self, value: u64) -> Option<usize> {
        if BY_INTEGERS { self.fast_by_integers(value) } else { self.fast_by_doubles(value) }
    }

    #[inline(always)]
    const fn fast_by_integers(&self, value: u64) -> Option<usize> {
        let index = self.index(value);
        // Both checks are needed: with a highest value below 2^magnitude, `fast` is 0 and `below` exceeds the number of
        // buckets.
        if value <= self.highest && index < (self.fast + self.below) as usize { Some(index) } else { None }
    }

    #[inline(always)]
    const fn fast_by_doubles(&self, value: u64) -> Option<usize> {
        let above = self.above(value);
        if above < self.fast {
            return Some((above + self.below) as usize);
        }
        cold_path(); // for code layout only: small values are as common as others
        if value <= self.floor && value <= self.highest { Some(value as usize) } else { None }
    }

    /// Returns the bucket of a value below 2^53.
    #[inline(always)]
    pub(crate) const fn index_below_2_53(&self, value: u64) -> usize {
        if BY_INTEGERS {
            return self.index(value);
        }
        let above = self.above(value).wrapping_add(self.below) as usize;
        if value <= self.floor { value as usize } else { above }
    }

    /// Returns the number of buckets from that of 2^magnitude to that of a value from 2^magnitude to 2^53.
    ///
    /// In a double the exponent and the first bits of the mantissa are adjacent, and together they are the index.
    #[inline(always)]
    const fn above(&self, value: u64) -> u32 {
        let bits = (value as i64 as f64).to_bits(); // from a signed integer it takes one instruction
        ((bits >> self.shift) as u32).wrapping_sub(self.first)
    }

    /// The number of buckets, up to the one of the highest value.
    pub(crate) const fn len(self) -> usize {
        self.index(self.highest) + 1
    }

    /// The least value of a bucket.
    pub(crate) const fn lowest_in(self, index: usize) -> u64 {
        let magnitude = self.magnitude as u32;
        let octave = (index >> magnitude).saturating_sub(1) as u32;
        ((index - ((octave as usize) << magnitude)) as u64) << octave
    }

    /// The greatest value of a bucket.
    pub(crate) const fn highest_in(self, index: usize) -> u64 {
        let octave = (index >> self.magnitude as u32).saturating_sub(1) as u32;
        self.lowest_in(index) + ((1 << octave) - 1)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(digits in 1..=5_u8, value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let layout = Layout::new(digits, u64::MAX);
            let index = layout.index(value);
            prop_assert!(layout.lowest_in(index) <= value && value <= layout.highest_in(index));
            if value < 1 << 53 {
                prop_assert_eq!(layout.index_below_2_53(value), index);
            }
            if index > 0 {
                prop_assert_eq!(layout.highest_in(index - 1) + 1, layout.lowest_in(index));
            }
        }

        #[test]
        fn the_fast_path_leads_to_the_same_bucket(
            digits in 1..=5_u8,
            highest in 2..=u64::MAX,
            value: u64,
            shifts in (0..63_u32, 0..64_u32),
        ) {
            let layout = Layout::new(digits, (highest >> shifts.0).max(2));
            let (value, border) = (value >> shifts.1, 1_u64 << shifts.1);
            for value in [value, border - 1, border, border + 1, layout.highest, layout.highest.saturating_add(1)] {
                let may_be = value <= layout.highest;
                let must_be = may_be && layout.highest_in(layout.index(value)) <= layout.highest.min(DOUBLES);
                for quick in [layout.fast_by_doubles(value), layout.fast_by_integers(value)] {
                    let right = quick.is_none_or(|quick| may_be && quick == layout.index(value) && quick < layout.len());
                    prop_assert!(right, "{value}: {quick:?} of {layout:?}");
                    prop_assert!(quick.is_some() || !must_be, "{value} of {layout:?}");
                }
            }
        }

        #[test]
        fn buckets_are_those_of_the_hdrhistogram_crate(digits in 1..=5_u8, value: u64, shift in 1..64_u32) {
            let value = (value >> shift).max(1);
            let layout = Layout::new(digits, u64::MAX / 2);
            let theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, digits).unwrap();
            let index = layout.index(value);
            prop_assert_eq!(layout.lowest_in(index), theirs.lowest_equivalent(value));
            prop_assert_eq!(layout.highest_in(index), theirs.highest_equivalent(value));
        }
    }

    #[test]
    fn sizes_and_digits() {
        for (digits, magnitude) in [(1, 4), (2, 7), (3, 10), (4, 14), (5, 17)] {
            let layout = Layout::new(digits, (1 << 40) - 1);
            assert_eq!((layout.magnitude(), layout.digits()), (magnitude, digits));
            assert_eq!(layout.index(layout.highest()), layout.len() - 1);
        }
        assert_eq!(Layout::new(2, (1 << 40) - 1).len(), 34 * 128);
    }
}
