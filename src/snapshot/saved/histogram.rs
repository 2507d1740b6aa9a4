//! A histogram being read from figures. Cold, but its cost must stay in proportion to the figures: whoever made them
//! may have put each bucket into a record of its own. So buckets are only collected here, and added up at the end.

use crate::series::Shape;
use crate::snapshot::HistogramView;
use crate::snapshot::distribution::add_up;
use crate::stats::Layout;

/// What the figures said so far.
#[derive(Debug)]
pub(super) struct PartialHistogram {
    layout: Layout,
    scale: f64,
    /// Index and count of filled buckets, as they came.
    filled: Vec<(u32, u64)>,
    /// Of all of them; kept below 2^64, so that adding up cannot overflow.
    count: u64,
    sum: u128,
    /// Minimum and maximum; `None` before the first figures.
    range: Option<(u64, u64)>,
}

impl PartialHistogram {
    pub(super) fn new(shape: &Shape) -> Self {
        let layout = Layout::new(shape.digits, shape.highest);
        Self { layout, scale: shape.scale, filled: Vec::new(), count: 0, sum: 0, range: None }
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
            // The extremes of a histogram without samples mean nothing.
            Some(_) if before == 0 => Some((min, max)),
            Some((least, greatest)) => Some((least.min(min), greatest.max(max))),
        };
        Some(())
    }

    pub(super) fn finish(self) -> HistogramView {
        let (min, max) = self.range.unwrap_or((u64::MAX, 0));
        let Self { layout, scale, filled, count, sum, .. } = self;
        HistogramView { layout, scale, filled: add_up(filled), count, sum, min, max, exemplars: Vec::new() }
    }
}
