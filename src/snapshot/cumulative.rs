//! How many samples do not exceed a bound: of HDR buckets the buckets that are shown. Cold, but run for each bound of
//! each histogram with every scrape: what depends on the bound alone is worked out once for all histograms of a metric.

use super::HistogramView;
use crate::stats::Layout;

/// A bound, and which buckets lie within it.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// In recorded integers.
    bound: f64,
    /// The first bucket that does not lie within it whole.
    end: u32,
}

impl Cut {
    fn new(layout: Layout, scale: f64, bound: f64) -> Self {
        // Rounded: 0.1 s is 100,000,000 ns, and not a nanosecond less.
        let bound = (bound * scale).round();
        // Every bucket before this one ends below the bound. The cast saturates: no bucket ends below zero.
        let mut end = layout.index((bound as u64).min(layout.highest()));
        while end < layout.len() && layout.highest_in(end) as f64 <= bound {
            end += 1;
        }
        Self { bound, end: end as u32 }
    }
}

/// Increasing bounds for histograms of one precision.
#[derive(Debug)]
pub(crate) struct Cuts {
    layout: Layout,
    scale: f64,
    cuts: Vec<Cut>,
}

impl Cuts {
    pub(crate) fn new(view: &HistogramView, bounds: &[f64]) -> Self {
        let cuts = bounds.iter().map(|bound| Cut::new(view.layout, view.scale, *bound)).collect();
        Self { layout: view.layout, scale: view.scale, cuts }
    }

    /// Whether they hold for this histogram.
    pub(crate) fn fit(&self, view: &HistogramView) -> bool {
        (self.layout, self.scale.to_bits()) == (view.layout, view.scale.to_bits())
    }
}

impl HistogramView {
    /// How many samples do not exceed each of the increasing `bounds`, given in the unit shown. A bucket that
    /// straddles a bound counts as above it, so the error is one bucket's width.
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
        self.below(bounds.iter().map(|bound| Cut::new(self.layout, self.scale, *bound)))
    }

    /// The same for bounds made ready, which fit.
    pub(crate) fn cumulative_at<'a>(&'a self, cuts: &'a Cuts) -> impl Iterator<Item = u64> + 'a {
        self.below(cuts.cuts.iter().copied())
    }

    fn below<'a>(&'a self, cuts: impl Iterator<Item = Cut> + 'a) -> impl Iterator<Item = u64> + 'a {
        let max = self.max as f64;
        let mut buckets = &self.filled[..];
        let mut below = 0_u64;
        cuts.map(move |cut| {
            // The last bucket ends with the greatest sample, wherever its own end lies.
            let end = if max <= cut.bound { u32::MAX } else { cut.end };
            while let Some(((index, count), rest)) = buckets.split_first()
                && *index < end
            {
                below = below.saturating_add(*count);
                buckets = rest;
            }
            below
        })
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn view(digits: u8, scale: f64, values: &[u64]) -> HistogramView {
        let layout = Layout::new(digits, u64::MAX / 2);
        let mut buckets = vec![0; layout.len()];
        let values: Vec<u64> = values.iter().map(|value| (*value).min(layout.highest())).collect();
        values.iter().for_each(|value| buckets[layout.index(*value)] += 1);
        let range =
            (values.iter().min().map_or(u64::MAX, |min| *min), values.iter().max().map_or(0, |max| *max));
        HistogramView::new(
            layout,
            scale,
            &buckets,
            values.iter().map(|value| u128::from(*value)).sum(),
            range,
        )
    }

    /// Bucket by bucket, each held against the bound.
    fn naive(view: &HistogramView, bound: f64) -> u64 {
        let bound = (bound * view.scale).round();
        let within = |index: u32| view.layout.highest_in(index as usize).min(view.max) as f64 <= bound;
        view.filled.iter().filter(|(index, _)| within(*index)).map(|(_, count)| count).sum()
    }

    proptest! {
        #[test]
        fn cuts_count_what_one_by_one_counts(
            digits in 1..=4_u8,
            values in prop::collection::vec((any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift), 0..100),
            bounds in prop::collection::vec((any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift), 0..20),
            billionths: bool,
        ) {
            let scale = if billionths { 1e9 } else { 1.0 };
            let view = view(digits, scale, &values);
            // Bounds on the values themselves too, and on either side of them.
            let near = values.iter().take(5).flat_map(|value| [value.saturating_sub(1), *value, value.saturating_add(1)]);
            let mut bounds: Vec<f64> = bounds.into_iter().chain(near).map(|bound| bound as f64 / scale).collect();
            bounds.extend([-1.0, 0.0]);
            bounds.sort_by(f64::total_cmp);
            let wanted: Vec<u64> = bounds.iter().map(|bound| naive(&view, *bound)).collect();
            prop_assert_eq!(view.cumulative(&bounds).collect::<Vec<_>>(), wanted.clone());
            let cuts = Cuts::new(&view, &bounds);
            prop_assert!(cuts.fit(&view));
            prop_assert_eq!(view.cumulative_at(&cuts).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn no_bound_is_below_no_sample_and_the_infinite_one_above_all() {
        let some = view(2, 1.0, &[0, 7, u64::MAX]);
        let bounds = [f64::NEG_INFINITY, 0.0, f64::INFINITY];
        assert_eq!(some.cumulative(&bounds).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(some.cumulative(&[f64::NAN]).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn cuts_fit_no_other_precision() {
        let cuts = Cuts::new(&view(2, 1.0, &[]), &[1.0]);
        assert!(!cuts.fit(&view(3, 1.0, &[])) && !cuts.fit(&view(2, 1e9, &[])));
    }
}
