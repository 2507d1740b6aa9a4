//! How many samples do not exceed a bound. Cold, but run for each bound of each histogram with every scrape: what depends
//! on the bound alone is worked out once for all histograms of a metric.

use super::HistogramView;
use crate::stats::{Layout, Splits, recorded};
use crate::sync::Arc;

/// The samples that lie within a bound: those of some whole buckets, and of a part of the next one.
#[derive(Clone, Copy, Debug)]
struct BucketBound {
    /// The first bucket that does not lie within it whole.
    end: u32,
    /// The bound's number among those that divide a bucket, if it does.
    part: Option<u32>,
}

impl BucketBound {
    fn new(layout: Layout, scale: f64, splits: &Splits, bound: f64) -> Self {
        let Some(bound) = recorded(bound, scale) else { return Self { end: 0, part: None } };
        if bound >= layout.highest() {
            return Self { end: u32::MAX, part: None };
        }
        let bucket = layout.index(bound) as u32;
        if layout.highest_in(bucket as usize) <= bound {
            return Self { end: bucket + 1, part: None };
        }
        Self { end: bucket, part: splits.position(bound).map(|part| part as u32) }
    }
}

/// Increasing bounds for histograms of one precision.
#[derive(Debug)]
pub(crate) struct BucketBounds {
    layout: Layout,
    scale: f64,
    splits: Arc<Splits>,
    cuts: Vec<BucketBound>,
}

impl BucketBounds {
    pub(crate) fn new(view: &HistogramView, bounds: &[f64]) -> Self {
        let cut = |bound: &f64| BucketBound::new(view.layout, view.scale, &view.splits, *bound);
        let cuts = bounds.iter().map(cut).collect();
        Self { layout: view.layout, scale: view.scale, splits: Arc::clone(&view.splits), cuts }
    }

    /// Whether they hold for this histogram.
    pub(crate) fn fit(&self, view: &HistogramView) -> bool {
        (self.layout, self.scale.to_bits()) == (view.layout, view.scale.to_bits())
            && (Arc::ptr_eq(&self.splits, &view.splits) || self.splits == view.splits)
    }
}

impl HistogramView {
    /// The samples that do not exceed each of the increasing `bounds`, which are given in the unit shown. A sample on a
    /// bound is within it. Exact for the bounds that the histogram was registered with. Of another bound that divides a
    /// bucket, the samples of that bucket count as above it, so the error is at most one bucket.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.cumulative(&[2.0, 5.0, 20.0]).collect::<Vec<_>>(), [2, 3, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cumulative<'a>(&'a self, bounds: &'a [f64]) -> impl Iterator<Item = u64> + 'a {
        self.below(bounds.iter().map(|bound| BucketBound::new(self.layout, self.scale, &self.splits, *bound)))
    }

    /// The same for bounds made ready, which fit.
    pub(crate) fn cumulative_at<'a>(&'a self, cuts: &'a BucketBounds) -> impl Iterator<Item = u64> + 'a {
        self.below(cuts.cuts.iter().copied())
    }

    fn below<'a>(&'a self, cuts: impl Iterator<Item = BucketBound> + 'a) -> impl Iterator<Item = u64> + 'a {
        let mut buckets = &self.filled[..];
        let mut below = 0_u64;
        cuts.map(move |cut| {
            while let Some(((index, count), rest)) = buckets.split_first()
                && *index < cut.end
            {
                below = below.saturating_add(*count);
                buckets = rest;
            }
            let part = cut.part.and_then(|part| self.within.get(part as usize));
            below.saturating_add(part.copied().unwrap_or_default())
        })
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::stats::{Bounds, is_mark};
    use proptest::prelude::*;

    fn view(digits: u8, scale: f64, bounds: &[f64], values: &[u64]) -> HistogramView {
        let layout = Layout::new(digits, u64::MAX / 2);
        let splits = Bounds::new(layout, bounds, scale).splits;
        let mut counts = splits.empty_counts(0);
        for value in values {
            let index = layout.index(*value);
            let word = counts[index];
            counts[if is_mark(word) { splits.part_of(word, *value) } else { index }] += 1;
        }
        let range =
            (values.iter().min().map_or(u64::MAX, |min| *min), values.iter().max().map_or(0, |max| *max));
        let sum = values.iter().map(|value| u128::from(*value)).sum();
        HistogramView::new(layout, scale, &splits, &counts, sum, range)
    }

    fn numbers(most: usize) -> impl Strategy<Value = Vec<u64>> {
        // Below 2^53, so that the oracle's doubles are exact.
        let number = (0..1_u64 << 53, 0..53_u32).prop_map(|(value, shift)| value >> shift);
        prop::collection::vec(number, 0..most)
    }

    proptest! {
        #[test]
        fn declared_bounds_are_exact_and_others_are_not_above(
            digits in 1..=4_u8,
            values in numbers(100),
            bounds in numbers(20),
            others in numbers(20),
            billionths: bool,
        ) {
            let scale = if billionths { 1e9 } else { 1.0 };
            // Bounds on the values themselves too, and on either side of them.
            let near = values.iter().take(5).flat_map(|value| [value.saturating_sub(1), *value, value + 1]);
            let shown = |numbers: Vec<u64>| {
                let mut shown: Vec<f64> = numbers.into_iter().map(|number| number as f64 / scale).collect();
                shown.sort_by(f64::total_cmp);
                shown.dedup();
                shown
            };
            let declared = shown(bounds.into_iter().chain(near).collect());
            let others = shown(others);
            let one_by_one = |bound: f64| values.iter().filter(|value| **value as f64 / scale <= bound).count() as u64;
            let view = view(digits, scale, &declared, &values);
            let wanted: Vec<u64> = declared.iter().map(|bound| one_by_one(*bound)).collect();
            prop_assert_eq!(view.cumulative(&declared).collect::<Vec<_>>(), wanted.clone());
            let cuts = BucketBounds::new(&view, &declared);
            prop_assert!(cuts.fit(&view));
            prop_assert_eq!(view.cumulative_at(&cuts).collect::<Vec<_>>(), wanted);
            // What is surely below: a bucket of one digit is a sixteenth wide.
            for (bound, counted) in others.iter().zip(view.cumulative(&others)) {
                prop_assert!(one_by_one(bound * 15.0 / 16.0) <= counted && counted <= one_by_one(*bound));
            }
        }
    }

    #[test]
    fn no_bound_is_below_no_sample_and_the_infinite_one_above_all() {
        let some = view(2, 1.0, &[], &[0, 7, u64::MAX / 2]);
        let bounds = [f64::NEG_INFINITY, 0.0, f64::INFINITY];
        assert_eq!(some.cumulative(&bounds).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(some.cumulative(&[f64::NAN]).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn cuts_fit_no_other_precision_and_no_other_bounds() {
        let cuts = BucketBounds::new(&view(2, 1.0, &[1_000.0], &[]), &[1_000.0]);
        assert!(cuts.fit(&view(2, 1.0, &[1_000.0], &[5])));
        assert!(!cuts.fit(&view(3, 1.0, &[1_000.0], &[])) && !cuts.fit(&view(2, 1e9, &[1e-6], &[])));
        assert!(!cuts.fit(&view(2, 1.0, &[1_001.0], &[])));
    }
}
