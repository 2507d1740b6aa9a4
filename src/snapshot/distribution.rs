//! The immutable distribution of one histogram in a snapshot. Cold.

#[cfg(all(test, not(tellane_loom)))]
mod tests;

use super::{Exemplar, hdr_v2};
use crate::stats::{Layout, Splits};
use std::sync::Arc;

/// A histogram's distribution at the time of the snapshot. Numbers are in the metric's unit: seconds, bytes, or plain.
///
/// Count, sum, minimum and maximum are exact, and so are the [`cumulative`](Self::cumulative) counts at the bounds that
/// the histogram was registered with. Quantiles and buckets are as precise as the histogram's significant digits.
///
/// A sample that another thread records while the snapshot is made may or may not be counted. If it is counted, the sum
/// may lack it until the next snapshot. The sum never includes a sample that the count lacks, and the mean lies between
/// minimum and maximum.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let sizes = telemetry.histogram("basket_items").register()?;
/// (1..=100).for_each(|items| sizes.record(items));
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let view = snapshot.histogram("basket_items", &[]).expect("registered");
/// assert_eq!((view.count(), view.sum(), view.mean()), (100, 5_050.0, Some(50.5)));
/// assert_eq!((view.min(), view.quantile(0.99), view.max()), (Some(1.0), Some(99.0), Some(100.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "distribution")]
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramView {
    pub(crate) layout: Layout,
    pub(crate) scale: f64,
    /// Index and count of each bucket that is not empty, in the order of the index.
    pub(crate) filled: Box<[(u32, u64)]>,
    /// The bounds that divide a bucket, and whose cumulative counts are exact nevertheless.
    pub(crate) splits: Arc<Splits>,
    /// For each bound in `splits`, the samples of its bucket at or below the bound.
    pub(crate) within: Box<[u64]>,
    pub(crate) count: u64,
    pub(crate) sum: u128,
    /// The least sample, exact; meaningless while the count is 0, like `max`.
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// Not saved with a snapshot: the spans they refer to are those of this process.
    pub(crate) exemplars: Vec<Exemplar>,
}

/// Buckets that are tested for samples together.
const CHUNK: usize = 8;

impl HistogramView {
    /// Creates the view of these counts, which include split words. All samples must lie between the extremes. The
    /// view's count is the sum of the counts, so the two agree even while other threads record.
    pub(crate) fn new(
        layout: Layout,
        scale: f64,
        splits: &Arc<Splits>,
        counts: &[u64],
        sum: u128,
        (min, max): (u64, u64),
    ) -> Self {
        let end = counts.len().min(layout.index(max) + 1);
        let start = layout.index(min).min(end);
        let mut filled = Vec::with_capacity(64);
        for (number, some) in counts[start..end].chunks(CHUNK).enumerate() {
            // Most buckets are empty, and one comparison skips eight of them.
            if some.iter().fold(0, |any, count| any | count) > 0 {
                let first = (start + number * CHUNK) as u32;
                let some = some.iter().map(|word| splits.count(counts, *word));
                filled.extend((first..).zip(some).filter(|(_, count)| *count > 0));
            }
        }
        let filled = filled.into_boxed_slice();
        let count = filled.iter().map(|(_, count)| count).sum();
        let within = splits.within(counts);
        let splits = Arc::clone(splits);
        Self { layout, scale, filled, splits, within, count, sum, min, max, exemplars: Vec::new() }
    }

    /// Creates the view that [`new`](Self::new) creates, from an earlier view of the same series. `count` is the number
    /// of samples. Faster than `new` unless an empty bucket got a sample since: it reads only the earlier view's
    /// buckets. If they add up to `count`, no other bucket has samples.
    pub(crate) fn refreshed(&self, counts: &[u64], count: u64, sum: u128, (min, max): (u64, u64)) -> Self {
        let mut found = 0;
        let reread = self.filled.iter().map(|(index, _)| {
            let word = counts.get(*index as usize).copied().unwrap_or_default();
            let now = self.splits.count(counts, word);
            found += now;
            (*index, now)
        });
        let filled: Box<[_]> = reread.collect();
        let (layout, scale) = (self.layout, self.scale);
        if found != count {
            return Self::new(layout, scale, &self.splits, counts, sum, (min, max));
        }
        let (splits, within) = (Arc::clone(&self.splits), self.splits.within(counts));
        Self { layout, scale, filled, splits, within, count, sum, min, max, exemplars: Vec::new() }
    }

    pub(crate) fn with_exemplars(self, exemplars: Vec<Exemplar>) -> Self {
        Self { exemplars, ..self }
    }

    /// Samples that were recorded in sampled spans, with the spans' ids: the latest two in each power-of-two range (1,
    /// 2 to 3, 4 to 7 and so on), greatest values first. Between two snapshots, each thread offers only its first such
    /// sample in each range.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let sizes = telemetry.histogram("basket_items").register()?;
    /// sizes.record(1); // outside of any span
    /// let order = telemetry.tracer().span("order");
    /// sizes.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let exemplars = snapshot.histogram("basket_items", &[]).expect("registered").exemplars();
    /// assert_eq!((exemplars.len(), exemplars[0].value), (1, 3.0));
    /// assert_eq!(Some(exemplars[0].trace_id), order.span_context().map(|ids| ids.trace_id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exemplars(&self) -> &[Exemplar] {
        &self.exemplars
    }

    /// Converts a recorded integer to the metric's unit.
    fn in_unit(&self, value: u64) -> f64 {
        value as f64 / self.scale
    }

    /// The number of samples: the sum of all buckets.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.count(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all samples, in the metric's unit.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.sum(), 16.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sum(&self) -> f64 {
        self.sum as f64 / self.scale
    }

    /// The exact sum of all samples as recorded integers.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// packing.record(std::time::Duration::from_millis(2));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("packing_seconds", &[]).expect("registered");
    /// assert_eq!((view.sum(), view.sum_recorded()), (0.002, 2_000_000)); // seconds, nanoseconds
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sum_recorded(&self) -> u128 {
        self.sum
    }

    /// The least sample; `None` if there is none.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.min(), Some(1.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then(|| self.in_unit(self.min))
    }

    /// The greatest sample; `None` if there is none.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.max(), Some(10.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then(|| self.in_unit(self.max))
    }

    /// The mean of all samples; `None` if there is none.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.mean(), Some(4.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "average")]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / self.count as f64)
    }

    /// The `q`-quantile: a share `q` of the samples is at or below this value, so 0.5 gives the median and 0.99 the
    /// 99th percentile. `None` if there is no sample, or if `q` is not between 0 and 1. Never below the minimum or
    /// above the maximum.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!(view.quantile(0.5), Some(2.0));
    /// assert_eq!(view.quantile(1.5), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "percentile")]
    #[doc(alias = "histogram_quantile")]
    #[doc(alias = "value_at_quantile")]
    #[doc(alias = "median")]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.quantile_recorded(q).map(|value| self.in_unit(value))
    }

    /// The [`quantile`](Self::quantile) as a recorded integer: the greatest value of its bucket, as in HdrHistogram.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// packing.record(std::time::Duration::from_millis(2));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("packing_seconds", &[]).expect("registered");
    /// assert_eq!(view.quantile_recorded(0.5), Some(2_000_000)); // nanoseconds
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quantile_recorded(&self, q: f64) -> Option<u64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut below = 0;
        let bucket = self.filled.iter().find(|(_, count)| {
            below = count.saturating_add(below);
            below >= rank
        });
        bucket.map(|(index, _)| self.layout.highest_in(*index as usize).min(self.max).max(self.min))
    }

    /// The buckets that are not empty: least and greatest value, in the metric's unit, and count.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// let last = view.buckets().last();
    /// assert_eq!(last, Some((10.0, 10.0, 1))); // small numbers have buckets of their own
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (f64, f64, u64)> + '_ {
        self.filled.iter().map(|(index, count)| {
            let index = *index as usize;
            (self.in_unit(self.layout.lowest_in(index)), self.in_unit(self.layout.highest_in(index)), *count)
        })
    }

    /// Converts the distribution to a histogram of the `hdrhistogram` crate, in recorded integers.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// assert_eq!((view.to_hdr().len(), view.to_hdr().value_at_quantile(0.5)), (4, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let (digits, highest) = (self.layout.digits(), self.layout.highest().max(2));
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, highest, digits).unwrap_or_else(|_| {
            hdrhistogram::Histogram::new(2).unwrap_or_else(|_| unreachable!("2 digits are allowed"))
        });
        for (index, count) in &self.filled {
            hdr.saturating_record_n(self.layout.lowest_in(*index as usize), *count);
        }
        hdr
    }

    /// Encodes the distribution in HdrHistogram's V2 format, uncompressed, which its libraries in a dozen languages
    /// read.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let sizes = telemetry.histogram("basket_items").register()?;
    /// [1, 2, 3, 10].map(|items| sizes.record(items));
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let view = snapshot.histogram("basket_items", &[]).expect("registered");
    /// let mut reader = hdrhistogram::serialization::Deserializer::new();
    /// let read: hdrhistogram::Histogram<u64> = reader.deserialize(&mut &view.to_hdr_v2()[..])?;
    /// assert_eq!(read, view.to_hdr());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_hdr_v2(&self) -> Vec<u8> {
        hdr_v2::encode(self)
    }

    /// Merges all views that have the precision of the first one; `None` if there is no view. Takes time proportional
    /// to the total number of buckets. Merging one view at a time would copy all earlier buckets again for each view.
    pub(crate) fn merge_all(views: &[&Arc<Self>]) -> Option<Arc<Self>> {
        let (first, others) = views.split_first()?;
        if others.is_empty() {
            return Some(Arc::clone(first));
        }
        let mut all = Self { filled: [].into(), ..(***first).clone() };
        let mut filled = first.filled.to_vec();
        for other in others {
            if !all.is_as_precise_as(other) {
                continue;
            }
            filled.extend(&other.filled);
            all.add_totals(other);
        }
        all.filled = merge_buckets(filled);
        Some(Arc::new(all))
    }

    fn is_as_precise_as(&self, other: &Self) -> bool {
        (self.layout, self.scale.to_bits()) == (other.layout, other.scale.to_bits())
    }

    /// Adds the samples of another histogram. Returns `false` and adds nothing if its precision differs. A bound that
    /// is exact in only one of the two is not exact afterwards, but a histogram without samples takes over the other's
    /// bounds.
    pub(crate) fn absorb(&mut self, other: &Self) -> bool {
        if !self.is_as_precise_as(other) {
            return false;
        }
        if other.count > 0 {
            self.add_totals(other);
            self.filled = merge_buckets([&*self.filled, &*other.filled].concat());
        }
        true
    }

    /// Adds everything except the buckets.
    fn add_totals(&mut self, other: &Self) {
        if other.count == 0 {
            return; // the extremes of an empty histogram are meaningless
        }
        if self.count == 0 {
            (self.min, self.max) = (u64::MAX, 0);
            self.take_over_splits(&other.splits);
        }
        self.add_split_counts(other);
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
    }

    /// Takes over the bounds of another histogram. The histogram must be empty, so its count at any bound is exactly 0.
    fn take_over_splits(&mut self, splits: &Arc<Splits>) {
        self.within = vec![0; splits.len()].into();
        self.splits = Arc::clone(splits);
    }

    /// Adds the counts at the bounds that both histograms have, and drops the other bounds.
    fn add_split_counts(&mut self, other: &Self) {
        if Arc::ptr_eq(&self.splits, &other.splits) || self.splits == other.splits {
            let both = self.within.iter().zip(&other.within);
            self.within = both.map(|(mine, theirs)| mine.saturating_add(*theirs)).collect();
            return;
        }
        let common = self.splits.common(&other.splits);
        let at = |view: &Self, bound| view.splits.position(bound).and_then(|at| view.within.get(at).copied());
        let both =
            common.bounds().filter_map(|bound| Some(at(self, bound)?.saturating_add(at(other, bound)?)));
        self.within = both.collect();
        self.splits = Arc::new(common);
    }

    /// Restricts the exact bounds to these, which must be exact already unless the histogram is empty.
    pub(crate) fn restrict_splits(&mut self, splits: &Arc<Splits>) {
        let at = |bound| self.splits.position(bound).and_then(|at| self.within.get(at).copied());
        self.within = splits.bounds().map(|bound| at(bound).unwrap_or_default()).collect();
        self.splits = Arc::clone(splits);
    }

    /// Returns `true` if the cumulative count at a bound, given as a recorded integer, is exact.
    pub(crate) fn is_exact_at(&self, bound: u64) -> bool {
        let ends_bucket = || self.layout.highest_in(self.layout.index(bound)) == bound;
        self.count == 0
            || bound >= self.layout.highest()
            || ends_bucket()
            || self.splits.position(bound).is_some()
    }

    /// Returns `true` if some samples could have made these counts: inside each bucket the counts at the bounds do not
    /// decrease, and do not exceed the bucket's count.
    pub(crate) fn is_consistent(&self) -> bool {
        let of_bucket = |bucket: u32| {
            let at = self.filled.binary_search_by_key(&bucket, |(index, _)| *index);
            at.map_or(0, |at| self.filled[at].1)
        };
        self.within.len() == self.splits.len()
            && self.splits.divided().all(|(bucket, first, bounds)| {
                let within = self.within.get(first..first + bounds).unwrap_or_default();
                within.is_sorted() && within.last().is_none_or(|last| *last <= of_bucket(bucket))
            })
    }
}

/// Sorts buckets by index and adds up those of the same index. The sort detects runs that are in order, so merging the
/// buckets of two histograms compares each bucket once.
pub(crate) fn merge_buckets(mut filled: Vec<(u32, u64)>) -> Box<[(u32, u64)]> {
    filled.sort_by_key(|(index, _)| *index);
    filled.dedup_by(|(index, count), (kept, sum)| {
        let same = index == kept;
        if same {
            *sum = sum.saturating_add(*count);
        }
        same
    });
    filled.into_boxed_slice()
}
