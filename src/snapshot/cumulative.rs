//! Cumulative counts: the samples at or below a bound. Cold, but runs for each bound of each histogram in every scrape,
//! so each bound's bucket is looked up once for all histograms of a metric.

use super::HistogramView;
use crate::stats::{Layout, Splits, recorded};
use crate::sync::Arc;

/// A bound as bucket positions: the samples at or below it are those of some whole buckets, and a part of the next one.
#[derive(Clone, Copy, Debug)]
struct BucketBound {
    /// The first bucket that is not entirely at or below the bound.
    end: u32,
    /// The bound's index in the histogram's splits, if it divides a bucket.
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

/// Precomputed increasing bounds, for all histograms of one precision and one set of splits.
#[derive(Debug)]
pub(crate) struct BucketBounds {
    layout: Layout,
    scale: f64,
    splits: Arc<Splits>,
    bounds: Vec<BucketBound>,
}

impl BucketBounds {
    pub(crate) fn new(view: &HistogramView, bounds: &[f64]) -> Self {
        let locate = |bound: &f64| BucketBound::new(view.layout, view.scale, &view.splits, *bound);
        let bounds = bounds.iter().map(locate).collect();
        Self { layout: view.layout, scale: view.scale, splits: Arc::clone(&view.splits), bounds }
    }

    /// Returns `true` if the bounds were computed for this histogram's precision and splits.
    pub(crate) fn fit(&self, view: &HistogramView) -> bool {
        (self.layout, self.scale.to_bits()) == (view.layout, view.scale.to_bits())
            && (Arc::ptr_eq(&self.splits, &view.splits) || self.splits == view.splits)
    }
}

impl HistogramView {
    /// Counts the samples at or below each of the increasing `bounds`, in the metric's unit. A sample that equals a
    /// bound is at or below it. The counts are exact for the bounds that the histogram was registered with. At any
    /// other bound inside a bucket, the samples of that bucket count as above the bound, so the error is at most one
    /// bucket.
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
    #[doc(alias = "bucket_counts")]
    #[doc(alias = "le")]
    pub fn cumulative<'a>(&'a self, bounds: &'a [f64]) -> impl Iterator<Item = u64> + 'a {
        self.counts_at(
            bounds.iter().map(|bound| BucketBound::new(self.layout, self.scale, &self.splits, *bound)),
        )
    }

    /// Like [`cumulative`](Self::cumulative), for precomputed bounds, which must [`fit`](BucketBounds::fit).
    pub(crate) fn cumulative_at<'a>(&'a self, bounds: &'a BucketBounds) -> impl Iterator<Item = u64> + 'a {
        self.counts_at(bounds.bounds.iter().copied())
    }

    fn counts_at<'a>(
        &'a self,
        bounds: impl Iterator<Item = BucketBound> + 'a,
    ) -> impl Iterator<Item = u64> + 'a {
        let mut buckets = &self.filled[..];
        let mut below = 0_u64;
        bounds.map(move |bound| {
            while let Some(((index, count), rest)) = buckets.split_first()
                && *index < bound.end
            {
                below = below.saturating_add(*count);
                buckets = rest;
            }
            let part = bound.part.and_then(|part| self.within.get(part as usize));
            below.saturating_add(part.copied().unwrap_or_default())
        })
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::stats::{Bounds, is_split};
    use proptest::prelude::*;

    fn view(digits: u8, scale: f64, bounds: &[f64], values: &[u64]) -> HistogramView {
        let layout = Layout::new(digits, u64::MAX / 2);
        let splits = Bounds::new(layout, bounds, scale).splits;
        let mut counts = splits.empty_counts(0);
        for value in values {
            let index = layout.index(*value);
            let word = counts[index];
            counts[if is_split(word) { splits.part_of(word, *value) } else { index }] += 1;
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
            let bounds = BucketBounds::new(&view, &declared);
            prop_assert!(bounds.fit(&view));
            prop_assert_eq!(view.cumulative_at(&bounds).collect::<Vec<_>>(), wanted);
            // With one significant digit, a bucket is at most a sixteenth of its values wide, so every sample more than
            // a sixteenth below the bound must be counted.
            for (bound, counted) in others.iter().zip(view.cumulative(&others)) {
                prop_assert!(one_by_one(bound * 15.0 / 16.0) <= counted && counted <= one_by_one(*bound));
            }
        }
    }

    #[test]
    fn infinite_bounds_count_no_sample_and_every_sample() {
        let some = view(2, 1.0, &[], &[0, 7, u64::MAX / 2]);
        let bounds = [f64::NEG_INFINITY, 0.0, f64::INFINITY];
        assert_eq!(some.cumulative(&bounds).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(some.cumulative(&[f64::NAN]).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn bounds_fit_no_other_precision_and_no_other_splits() {
        let bounds = BucketBounds::new(&view(2, 1.0, &[1_000.0], &[]), &[1_000.0]);
        assert!(bounds.fit(&view(2, 1.0, &[1_000.0], &[5])));
        assert!(!bounds.fit(&view(3, 1.0, &[1_000.0], &[])) && !bounds.fit(&view(2, 1e9, &[1e-6], &[])));
        assert!(!bounds.fit(&view(2, 1.0, &[1_001.0], &[])));
    }
}
