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
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
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
