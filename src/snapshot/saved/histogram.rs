//! Decodes a histogram from figures. Cold, but the cost must stay in proportion to the figures, since a hostile
//! snapshot may put each bucket into a record of its own. So buckets are only collected at first, and merged at the
//! end.

use crate::series::Shape;
use crate::snapshot::HistogramView;
use crate::snapshot::distribution::merge_buckets;
use crate::stats::{Layout, Splits};
use std::sync::Arc;

/// A histogram, as far as it has been read.
#[derive(Debug)]
pub(super) struct PartialHistogram {
    layout: Layout,
    scale: f64,
    /// Index and count of filled buckets, in the order in which they were read.
    filled: Vec<(u32, u64)>,
    /// The sum of all these counts; kept below 2^64, so that merging the buckets cannot overflow.
    count: u64,
    sum: u128,
    splits: Arc<Splits>,
    /// For each bound of the splits, the samples of its bucket at or below it.
    within: Vec<u64>,
    /// Minimum and maximum; `None` before the first figures.
    range: Option<(u64, u64)>,
}

impl PartialHistogram {
    pub(super) fn new(shape: &Shape, splits: &Arc<Splits>) -> Self {
        let (layout, scale, splits) = (shape.layout(), shape.scale, Arc::clone(splits));
        Self { layout, scale, filled: Vec::new(), count: 0, sum: 0, splits, within: Vec::new(), range: None }
    }

    /// Adds figures: minimum, maximum, sum (low, high), then index and count of buckets, by index. `None` if they
    /// contradict the layout, or exceed what a histogram can count.
    pub(super) fn add(&mut self, words: &[u64]) -> Option<()> {
        let &[min, max, low, high, ref filled @ ..] = words else { return None };
        let (pairs, rest) = filled.as_chunks::<2>();
        let in_order = pairs.windows(2).all(|pair| pair[0][0] < pair[1][0]);
        let in_layout = pairs.last().is_none_or(|last| last[0] < self.layout.len() as u64);
        if !rest.is_empty() || !in_order || !in_layout {
            return None;
        }
        let before = self.count;
        for [index, count] in pairs {
            self.count = self.count.checked_add(*count)?;
            if *count > 0 {
                self.filled.push((*index as u32, *count)); // below the layout's length, which is a u32
            }
        }
        self.sum = self.sum.checked_add((u128::from(high) << 64) | u128::from(low))?;
        self.range = match self.range {
            None => Some((min, max)),
            Some(range) if self.count == before => Some(range),
            // The extremes of a histogram without samples are meaningless.
            Some(_) if before == 0 => Some((min, max)),
            Some((least, greatest)) => Some((least.min(min), greatest.max(max))),
        };
        Some(())
    }

    /// Adds the figures of the bounds that divide a bucket, beginning with the bound number `first`. `None` if that is
    /// not the next bound, or if there are more figures than bounds.
    pub(super) fn add_within(&mut self, first: u64, within: &[u64]) -> Option<()> {
        let read = self.within.len();
        let more = first == read as u64 && !within.is_empty() && within.len() <= self.splits.len() - read;
        more.then(|| self.within.extend(within))
    }

    /// Builds the view; `None` if no samples could have made these counts.
    pub(super) fn finish(self) -> Option<HistogramView> {
        let (min, max) = self.range.unwrap_or((u64::MAX, 0));
        let Self { layout, scale, filled, count, sum, splits, within, .. } = self;
        // Without figures, no bound that divides a bucket is exact.
        let splits = if within.is_empty() { Arc::default() } else { splits };
        let (filled, within, exemplars) = (merge_buckets(filled), within.into(), Vec::new());
        let view = HistogramView { layout, scale, filled, splits, within, count, sum, min, max, exemplars };
        view.is_consistent().then_some(view)
    }
}
