//! The aggregator's side of histograms: plain bucket counts, filled from rings, spills and shared counts.
//!
//! Counting into plain buckets is quicker than `hdrhistogram`'s own record call (both are rows of `comparison/`), and
//! the layout is the same, so that a snapshot becomes one of its histograms bucket by bucket.

use crate::lane::{Distribution, LaneRegistry, Slot, Spill, Sum};
use crate::record::{self, layout};
use crate::snapshot::{Exemplar, HistogramView};
use crate::stats::{Layout, Splits, is_split};
use crate::sync::plant::{Bug, planted};
use std::array;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The aggregator's histograms of an instance, by series number.
#[derive(Debug)]
pub(super) struct Histograms {
    lanes: Arc<LaneRegistry>,
    all: Vec<HistogramState>,
}

/// The samples of one histogram that the aggregator has counted so far.
#[derive(Debug)]
struct HistogramState {
    sum: u128,
    count: u64,
    min: u64,
    max: u64,
    /// The counts of the buckets, or the split words of divided buckets, followed by the counts of the divided buckets'
    /// parts.
    counts: Vec<u64>,
    /// A copy of the layout in `distribution`, which saves a dependent load for each sample.
    layout: Layout,
    distribution: Arc<Distribution>,
    /// The count at which the 99th percentile was last computed, and its value.
    p99: (u64, u64),
    /// The view of the last snapshot. It stays valid while count, sum and extremes are the same, since counts only
    /// grow.
    view: Option<Arc<HistogramView>>,
    /// `true` if exemplars were added since that view was made.
    has_new_exemplars: bool,
    /// The part of the series' shared counts that has been drained. On the heap, so that the fields that each sample
    /// changes lie close together.
    shared: Box<[u64]>,
    shared_sum: u128,
    /// The latest two exemplars of each power of two, by the values' leading zeros.
    exemplars: BTreeMap<u32, [Option<record::Exemplar>; 2]>,
}

/// The number of samples below which a 99th percentile is meaningless.
const P99_SAMPLES: u64 = 100;

/// The number of words that are tested together for being samples of one series.
const BLOCK: usize = 64;

/// The slot that a new exemplar was stored in: a free one, or that of an older exemplar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExemplarSlot {
    Free,
    Replaced,
}

impl HistogramState {
    fn new(distribution: &Arc<Distribution>) -> Self {
        Self {
            sum: 0,
            count: 0,
            min: u64::MAX,
            max: 0,
            counts: distribution.splits.empty_counts(0),
            layout: distribution.layout,
            distribution: Arc::clone(distribution),
            p99: (0, u64::MAX),
            view: None,
            has_new_exemplars: false,
            shared: vec![0; distribution.shared_histogram.cells()].into(),
            shared_sum: 0,
            exemplars: BTreeMap::new(),
        }
    }

    #[inline(always)]
    fn add(&mut self, value: u64) {
        let (value, index) = self.clamp_and_index(value);
        self.add_at(value, index);
    }

    /// Clamps a value to the highest trackable one, and returns it with the index of its bucket.
    #[inline(always)]
    fn clamp_and_index(&self, value: u64) -> (u64, usize) {
        let value = value.min(self.layout.highest());
        (value, self.layout.index(value))
    }

    #[inline(always)]
    fn add_at(&mut self, value: u64, index: usize) {
        if let Some(bucket) = self.counts.get_mut(index) {
            let count = *bucket + 1;
            if is_split(count) {
                count_in_part(&self.distribution.splits, &mut self.counts, index, value);
            } else {
                *bucket = count;
            }
        }
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from(value));
        // After n values the next one is a new extreme with a probability of 2 in n + 1, so a branch that is rarely
        // taken is better than two stores.
        if value < self.min {
            self.lower(value);
        }
        if value > self.max {
            self.raise(value);
        }
    }

    /// Counts one-word samples that all belong to this series. This takes half the time of counting them one by one,
    /// since count, sum and extremes are updated once. Without `DIVIDED` buckets there are no split words to test for.
    #[inline(never)] // inlined into the fold, where registers are scarce, it takes 13 instructions more a sample, of 44
    fn add_all<const DIVIDED: bool>(&mut self, block: &[u64]) {
        let (layout, splits, counts) = (self.layout, &self.distribution.splits, &mut self.counts[..]);
        let (mut sum, mut min, mut max) = (0, self.min, self.max);
        for word in block {
            let value = (*word >> layout::SAMPLE_SHIFT).min(layout.highest());
            let index = layout.index_below_2_53(value);
            if let Some(bucket) = counts.get_mut(index) {
                let count = *bucket + 1;
                if DIVIDED && is_split(count) {
                    count_in_part(splits, counts, index, value);
                } else {
                    *bucket = count;
                }
            }
            sum += value; // cannot overflow: a block has 64 values of 40 bits each
            min = min.min(value);
            max = max.max(value);
        }
        self.count += block.len() as u64;
        self.sum = self.sum.wrapping_add(u128::from(sum)); // as in `add`
        (self.min, self.max) = (min, max);
    }

    /// The 99th percentile; `None` below 100 samples. Computed again when the count has grown by 1/16.
    fn p99(&mut self) -> Option<u64> {
        if self.count < P99_SAMPLES {
            return None;
        }
        let (at, _) = self.p99;
        if at == 0 || self.count - at > at / 16 {
            let (rank, mut below) = (self.count - self.count / 100, 0);
            let buckets = &self.counts[..self.layout.len()];
            let bucket = buckets.iter().position(|word| {
                below += self.distribution.splits.count(&self.counts, *word);
                below >= rank
            });
            self.p99 = (self.count, self.layout.highest_in(bucket.unwrap_or(buckets.len())));
        }
        Some(self.p99.1)
    }

    #[cold]
    #[inline(never)]
    fn lower(&mut self, min: u64) {
        self.min = min;
    }

    #[cold]
    #[inline(never)]
    fn raise(&mut self, max: u64) {
        self.max = max;
    }

    /// Extends the extremes to include a range.
    fn widen(&mut self, (min, max): (u64, u64)) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// Drains the samples of threads without a lane; returns their number.
    fn drain_shared(&mut self) -> u64 {
        let shared_histogram = &self.distribution.shared_histogram;
        // The sum is read before the counts, so that the counts below include every sample in the sum.
        let sum = shared_histogram.sum();
        let mut drained = 0;
        // The extremes include every sample from before this call. Usually there are none, and no cells to read.
        let (min, max) = shared_histogram.range();
        let cells =
            if min > max { 0..0 } else { shared_histogram.cell_of(min)..shared_histogram.cell_of(max) + 1 };
        for cell in cells {
            let more = shared_histogram.count(cell) - self.shared[cell];
            if more > 0 {
                let (min, max) = shared_histogram.range();
                // Cells are cut at every bound, so any value of the cell is on the right side of each bound.
                let (least, greatest) = shared_histogram.range_of(cell);
                let (least, greatest) = (least.max(min), greatest.min(max));
                let middle = least + greatest.saturating_sub(least) / 2;
                let index = self.layout.index(middle);
                let word = self.counts.get(index).copied().unwrap_or_default();
                let at = if is_split(word) { self.distribution.splits.part_of(word, middle) } else { index };
                if let Some(count) = self.counts.get_mut(at) {
                    *count += more;
                }
                self.shared[cell] += more;
                drained += more;
            }
        }
        self.count += drained;
        self.sum = self.sum.wrapping_add(sum.wrapping_sub(self.shared_sum));
        self.shared_sum = sum;
        if drained > 0 {
            self.widen(self.distribution.shared_histogram.range());
        }
        drained
    }

    /// The sum to show. It may lack samples that are being recorded at this moment and are counted already. But it is
    /// at least the minimum times the count, and at least the sum shown last.
    fn shown_sum(&self) -> u128 {
        let least = if self.count > 0 { u128::from(self.min) * u128::from(self.count) } else { 0 };
        let last = self.view.as_ref().map_or(0, |view| view.sum);
        self.sum.max(least).max(last)
    }

    /// The view for a snapshot: the last one if nothing has changed.
    fn view(&mut self, scale: f64, time: impl Fn(u64) -> u64) -> Arc<HistogramView> {
        let sum = self.shown_sum();
        let last = self.view.as_deref();
        let of = |view: &HistogramView| (view.count, view.sum, view.min, view.max);
        let is_valid = last.is_some_and(|last| of(last) == (self.count, sum, self.min, self.max));
        if let Some(view) = &self.view
            && is_valid
            && !self.has_new_exemplars
        {
            return Arc::clone(view);
        }
        let range = (self.min, self.max);
        let view = match last {
            Some(last) => last.refreshed(&self.counts, self.count, sum, range),
            None => {
                HistogramView::new(self.layout, scale, &self.distribution.splits, &self.counts, sum, range)
            }
        };
        debug_assert_eq!(view.count, self.count, "a sample outside of the extremes");
        let examples = self.exemplars.values().flatten().flatten().map(|example| {
            let value = example.value as f64 / scale;
            Exemplar::new(value, time(example.at), (example.trace_id, example.span_id))
        });
        let view = Arc::new(view.with_exemplars(examples.collect()));
        self.has_new_exemplars = false;
        Arc::clone(self.view.insert(view))
    }
}

/// Counts a value in its part of a divided bucket.
#[cold]
#[inline(never)]
fn count_in_part(splits: &Splits, counts: &mut [u64], bucket: usize, value: u64) {
    let part = counts.get(bucket).map(|word| splits.part_of(*word, value));
    if let Some(count) = part.and_then(|part| counts.get_mut(part)) {
        *count += 1;
    }
}

impl Histograms {
    pub(super) fn new(lanes: &Arc<LaneRegistry>) -> Self {
        Self { lanes: Arc::clone(lanes), all: Vec::new() }
    }

    /// Adds the histograms that were registered since the last call.
    pub(super) fn add_registered(&mut self) {
        for (_, distribution) in self.lanes.distributions.iter().skip(self.all.len()) {
            self.all.push(HistogramState::new(distribution));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.iter().map(|histogram| size_of::<HistogramState>() + 8 * histogram.counts.len()).sum()
    }

    /// Counts a value; `false` if there is no such histogram.
    #[inline(always)]
    pub(super) fn add(&mut self, series: u32, value: u64) -> bool {
        match self.all.get_mut(series as usize) {
            Some(histogram) => {
                histogram.add(value);
                true
            }
            None => self.add_slow(series, value),
        }
    }

    /// Counts the one-word samples at the start of these words. Returns their number, and how many of them belong to no
    /// histogram.
    #[inline]
    pub(super) fn add_samples(&mut self, words: &[u64]) -> (usize, usize) {
        let (mut samples, mut unknown) = (0, 0);
        while samples < words.len() {
            let block = &words[samples..words.len().min(samples + BLOCK)];
            let known = self.add_block(block);
            samples += known;
            if let Some(word) = block.get(known) {
                if layout::kind(*word) != layout::KIND_SAMPLE {
                    break;
                }
                unknown += usize::from(!self.add_slow(layout::id(*word), *word >> layout::SAMPLE_SHIFT));
                samples += 1;
            }
        }
        (samples, unknown)
    }

    /// Counts the samples at the start of a block, up to the first one of a histogram that has not been added yet.
    /// Returns their number.
    #[inline]
    fn add_block(&mut self, block: &[u64]) -> usize {
        let all = &mut self.all[..];
        if let [first, .., last] = block
            && let Some(histogram) = all.get_mut(layout::sample_series(*first))
            && layout::sample_bits(first ^ last) == 0 // usually enough to see that there are several series
            && layout::sample_bits(block.iter().fold(0, |others, word| others | (word ^ first))) == 0
        {
            if histogram.distribution.splits.is_empty() {
                histogram.add_all::<false>(block);
            } else {
                histogram.add_all::<true>(block);
            }
            return block.len();
        }
        // A single sample between two spans is not worth the call.
        let is_sample = |word: &u64| layout::kind(*word) == layout::KIND_SAMPLE;
        let mut known = match block.get(1..4) {
            Some(next) if next.iter().all(is_sample) => Self::add_fours(all, block),
            _ => 0,
        };
        while let Some(word) = block.get(known)
            && let Some(histogram) = all.get_mut(layout::sample_series(*word))
        {
            histogram.add(*word >> layout::SAMPLE_SHIFT);
            known += 1;
        }
        known
    }

    /// Counts samples of several series, four at a time, up to the first four with a sample of an unknown histogram.
    /// Returns their number.
    #[inline(never)] // inlined into the fold, it would take registers from the spans
    fn add_fours(all: &mut [HistogramState], block: &[u64]) -> usize {
        block.as_chunks().0.iter().take_while(|four| Self::add_four(all, four)).count() * 4
    }

    /// Counts four samples; `false` if one of them belongs to an unknown histogram. All four buckets are found before
    /// the first count changes, which takes a seventh less time than one by one. Two, three, six or eight at once take
    /// longer.
    #[inline(always)]
    fn add_four(all: &mut [HistogramState], four: &[u64; 4]) -> bool {
        let series = four.map(layout::sample_series);
        if series.iter().any(|series| *series >= all.len()) {
            return false;
        }
        let buckets: [_; 4] =
            array::from_fn(|at| all[series[at]].clamp_and_index(four[at] >> layout::SAMPLE_SHIFT));
        for (series, (value, index)) in series.into_iter().zip(buckets) {
            all[series].add_at(value, index);
        }
        true
    }

    /// Slow path of [`add`](Self::add): the histogram was registered just now, or does not exist.
    #[cold]
    fn add_slow(&mut self, series: u32, value: u64) -> bool {
        self.add_registered();
        let histogram = self.all.get_mut(series as usize);
        histogram.map(|histogram| histogram.add(value)).is_some()
    }

    /// The view of a histogram for a snapshot. `scale` is the scale of its unit; `time` converts ticks to Unix
    /// nanoseconds.
    pub(super) fn view(
        &mut self,
        series: u32,
        scale: f64,
        time: impl Fn(u64) -> u64,
    ) -> Option<Arc<HistogramView>> {
        if series as usize >= self.all.len() {
            self.add_registered();
        }
        Some(self.all.get_mut(series as usize)?.view(scale, time))
    }

    /// Returns `true` if a value is above the 99th percentile of the samples counted before, and `false` while there
    /// are fewer than 100.
    pub(super) fn is_above_p99(&mut self, series: u32, value: u64) -> bool {
        let histogram = self.all.get_mut(series as usize);
        histogram.and_then(HistogramState::p99).is_some_and(|p99| value > p99)
    }

    /// Keeps an exemplar, and drops the older one of the two that it finds; `None` if there is no such histogram.
    pub(super) fn keep_exemplar(&mut self, example: record::Exemplar) -> Option<ExemplarSlot> {
        self.add_registered();
        let histogram = self.all.get_mut(example.series as usize)?;
        let [latest, older] = histogram.exemplars.entry(example.value.leading_zeros()).or_default();
        let slot = if older.is_some() { ExemplarSlot::Replaced } else { ExemplarSlot::Free };
        *older = latest.replace(example);
        histogram.has_new_exemplars = true;
        Some(slot)
    }

    /// Moves the times of all exemplars by so many ticks, wrapping: the clock was set back.
    #[cold]
    pub(super) fn move_times(&mut self, by: u64) {
        let histograms = self.all.iter_mut().flat_map(|histogram| histogram.exemplars.values_mut());
        histograms.flatten().flatten().for_each(|example| example.at = example.at.wrapping_add(by));
    }

    /// Drains the shared counts of all series; returns the number of samples.
    pub(super) fn drain_shared(&mut self) -> u64 {
        self.add_registered();
        self.all.iter_mut().map(HistogramState::drain_shared).sum()
    }

    /// Drains the samples that a lane's spill has counted since the last call; returns their number.
    pub(super) fn drain_spill(&mut self, spill: &Spill, seen: &mut SpillSeen) -> u64 {
        self.add_registered();
        let mut drained = 0;
        for (number, slot) in spill.slots().enumerate() {
            if number >= seen.0.len() {
                seen.0.push(SlotSeen::default());
            }
            if let Some(histogram) = self.all.get_mut(slot.series() as usize) {
                drained += seen.0[number].drain(slot, histogram);
            }
        }
        drained
    }
}

/// The part of a lane's spill that has been drained, by slot.
#[derive(Debug, Default)]
pub(super) struct SpillSeen(Vec<SlotSeen>);

/// The part of one slot that has been drained.
#[derive(Debug)]
struct SlotSeen {
    /// The slot's sum and its count of zeros at the last drain. One of the two changes with every sample, so if both
    /// are the same there are no new samples. An inexact sum proves nothing.
    last: (Sum, u64),
    /// The part of the slot's sum that has been added to the histogram. It only grows.
    sum: u128,
    counts: Vec<u64>,
}

impl Default for SlotSeen {
    fn default() -> Self {
        Self { last: (Sum::AtLeast(0), 0), sum: 0, counts: Vec::new() }
    }
}

impl SlotSeen {
    /// Adds the slot's new samples to the histogram; returns their number.
    fn drain(&mut self, slot: Slot<'_>, histogram: &mut HistogramState) -> u64 {
        // The sum is read before the counts, so that the counts below include every sample in the sum.
        let mut now = (slot.sum(), slot.zeros());
        if now == self.last && matches!(now.0, Sum::Exact(_)) {
            return 0;
        }
        self.last = now;
        let counts = slot.counts();
        if self.counts.is_empty() {
            // Initialized with the same split words as the slot, so that the difference of two of them below is 0.
            self.counts = histogram.distribution.splits.empty_counts(counts.len());
        }
        let mut more = 0;
        for ((now, seen), total) in counts.zip(&mut self.counts).zip(&mut histogram.counts) {
            let difference = now - *seen;
            *total += difference;
            *seen = now;
            more += difference;
        }
        if planted(Bug::LateSum) {
            now.0 = slot.sum();
        }
        histogram.count += more;
        // The extremes are read after the counts, so that they cover every sample counted above.
        histogram.widen(slot.range());
        let sum = match now.0 {
            Sum::Exact(sum) => sum,
            // The sum is then less than 2^65 below the slot's sum, and never above the sum of the counted samples.
            Sum::AtLeast(least) => self.sum.max(least),
        };
        histogram.sum = histogram.sum.wrapping_add(sum.wrapping_sub(self.sum));
        self.sum = sum;
        more
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::lane::Limits;
    use crate::stats::Bounds;
    use std::time::Duration;

    /// Values near 2^64 make a slot's sum overflow at nearly every sample, so that it may never be read exactly. The
    /// sum shown then still grows, and stays a little below the exact sum.
    #[test]
    fn a_sum_that_is_never_read_exactly_is_shown_from_below() {
        let limits = Limits { ring_words: 2, spill_words: 0, first_cells: 0, lanes: 1, idle: 0 };
        let (clock, _hand) = Clock::mock();
        let lanes = Arc::new(LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO));
        let layout = Layout::new(2, u64::MAX);
        let distribution = Arc::new(Distribution::new(1, 0, layout, &Bounds::new(layout, &[], 1.0)));
        lanes.distributions.push(Arc::clone(&distribution));
        let mut histograms = Histograms::new(&lanes);
        let (spill, mut seen) = (Spill::new(20_000), SpillSeen::default());
        let mut exact = 1; // the minimum is 1, so that minimum times count is far below the sum
        assert!(spill.add(&distribution, 1).is_some());
        let shown = |histograms: &mut Histograms| {
            let view = histograms.view(0, 1.0, |ticks| ticks).expect("registered");
            (view.count(), view.sum_recorded())
        };
        for round in 1..=5 {
            for _ in 0..100 {
                assert!(spill.add(&distribution, u64::MAX).is_some());
                exact += u128::from(u64::MAX);
            }
            spill.hold_carry();
            assert_eq!(histograms.drain_spill(&spill, &mut seen), if round == 1 { 101 } else { 100 });
            let (count, sum) = shown(&mut histograms);
            assert_eq!(count, 100 * round + 1);
            assert!(sum <= exact && exact - sum < 1 << 65, "{sum} of {exact}");
            assert_eq!(histograms.drain_spill(&spill, &mut seen), 0, "no sample is counted twice");
            assert_eq!(shown(&mut histograms), (count, sum));
            spill.hold_carry();
        }
        histograms.drain_spill(&spill, &mut seen);
        assert_eq!(shown(&mut histograms), (501, exact));
    }
}
