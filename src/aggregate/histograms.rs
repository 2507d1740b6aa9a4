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

/// All histograms of an instance, by series number.
#[derive(Debug)]
pub(super) struct Histograms {
    lanes: Arc<LaneRegistry>,
    all: Vec<Histogram>,
}

#[derive(Debug)]
struct Histogram {
    sum: u128,
    count: u64,
    min: u64,
    max: u64,
    /// The buckets' counts, or marks, and behind them the parts of divided buckets.
    counts: Vec<u64>,
    /// That of `to`: one load less to wait for.
    layout: Layout,
    to: Arc<Distribution>,
    /// The count at which the 99th percentile was looked up, and what it was.
    p99: (u64, u64),
    /// The view of the last snapshot. It holds as long as count, sum and extremes do: counts only grow.
    view: Option<Arc<HistogramView>>,
    /// Whether exemplars have come since.
    exemplified: bool,
    /// What of the series' shared counts has been taken over. Elsewhere: what is changed by each sample lies closer
    /// together.
    shared: Box<[u64]>,
    shared_sum: u128,
    /// Samples with the spans they were recorded in: the two latest of each power of two.
    exemplars: BTreeMap<u32, [Option<Example>; 2]>,
}

/// Samples without which a 99th percentile says nothing.
const P99_SAMPLES: u64 = 100;

/// Words that are looked at together: whether they are samples of one series.
const BLOCK: usize = 64;

/// The place that a new exemplar got: one that was free, or that of the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExemplarSlot {
    Free,
    Taken,
}

/// An exemplar, as it came: value and ticks, trace and span.
type Example = record::Exemplar;

impl Histogram {
    fn new(to: &Arc<Distribution>) -> Self {
        Self {
            sum: 0,
            count: 0,
            min: u64::MAX,
            max: 0,
            counts: to.splits.empty_counts(0),
            layout: to.layout,
            to: Arc::clone(to),
            p99: (0, u64::MAX),
            view: None,
            exemplified: false,
            shared: vec![0; to.shared_histogram.cells()].into(),
            shared_sum: 0,
            exemplars: BTreeMap::new(),
        }
    }

    #[inline(always)]
    fn add(&mut self, value: u64) {
        let (value, index) = self.place(value);
        self.add_at(value, index);
    }

    /// What a value is counted as, and in which bucket.
    #[inline(always)]
    fn place(&self, value: u64) -> (u64, usize) {
        let value = value.min(self.layout.highest());
        (value, self.layout.index(value))
    }

    #[inline(always)]
    fn add_at(&mut self, value: u64, index: usize) {
        if let Some(bucket) = self.counts.get_mut(index) {
            let count = *bucket + 1;
            if is_split(count) {
                count_in_part(&self.to.splits, &mut self.counts, index, value);
            } else {
                *bucket = count;
            }
        }
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from(value));
        // After n values the next is one of these with a chance of 2 in n + 1: a branch, and no store.
        if value < self.min {
            self.lower(value);
        }
        if value > self.max {
            self.raise(value);
        }
    }

    /// Counts one-word samples that are all of this series: half of what it takes one by one, since count, sum and
    /// extremes are changed once. Histograms without a `DIVIDED` bucket do not look for marks.
    #[inline(never)] // within the fold, where registers are short, it is 13 instructions more a sample, of 44
    fn add_all<const DIVIDED: bool>(&mut self, block: &[u64]) {
        let (layout, splits, counts) = (self.layout, &self.to.splits, &mut self.counts[..]);
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
            sum += value; // a block's values, of 40 bits each
            min = min.min(value);
            max = max.max(value);
        }
        self.count += block.len() as u64;
        self.sum = self.sum.wrapping_add(u128::from(sum)); // as in `add`
        (self.min, self.max) = (min, max);
    }

    /// The 99th percentile, of 100 samples or more; looked up anew when there are 1/16 more than last time.
    fn p99(&mut self) -> Option<u64> {
        if self.count < P99_SAMPLES {
            return None;
        }
        let (at, _) = self.p99;
        if at == 0 || self.count - at > at / 16 {
            let (rank, mut below) = (self.count - self.count / 100, 0);
            let buckets = &self.counts[..self.layout.len()];
            let bucket = buckets.iter().position(|word| {
                below += self.to.splits.count(&self.counts, *word);
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

    fn widen(&mut self, (min, max): (u64, u64)) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// Takes over what threads without a lane counted; returns how many samples.
    fn take_shared(&mut self) -> u64 {
        let shared_histogram = &self.to.shared_histogram;
        // The sum first: whatever sample it has is counted below.
        let sum = shared_histogram.sum();
        let mut taken = 0;
        // Of a sample that came before this call the extremes are there; mostly there is none, and nothing to look at.
        let (min, max) = shared_histogram.range();
        let cells =
            if min > max { 0..0 } else { shared_histogram.cell_of(min)..shared_histogram.cell_of(max) + 1 };
        for cell in cells {
            let more = shared_histogram.count(cell) - self.shared[cell];
            if more > 0 {
                let (min, max) = shared_histogram.range();
                // Any value between is on the right side of every bound.
                let (least, greatest) = shared_histogram.range_of(cell);
                let (least, greatest) = (least.max(min), greatest.min(max));
                let middle = least + greatest.saturating_sub(least) / 2;
                let index = self.layout.index(middle);
                let word = self.counts.get(index).copied().unwrap_or_default();
                let at = if is_split(word) { self.to.splits.part_of(word, middle) } else { index };
                if let Some(count) = self.counts.get_mut(at) {
                    *count += more;
                }
                self.shared[cell] += more;
                taken += more;
            }
        }
        self.count += taken;
        self.sum = self.sum.wrapping_add(sum.wrapping_sub(self.shared_sum));
        self.shared_sum = sum;
        if taken > 0 {
            self.widen(self.to.shared_histogram.range());
        }
        taken
    }

    /// The sum to show. Samples that are being recorded at this moment may be counted and not added up yet: then the sum
    /// is short, but not below what so many samples amount to at least, and not below what it was.
    fn shown_sum(&self) -> u128 {
        let least = if self.count > 0 { u128::from(self.min) * u128::from(self.count) } else { 0 };
        let last = self.view.as_ref().map_or(0, |view| view.sum);
        self.sum.max(least).max(last)
    }

    fn view(&mut self, scale: f64, time: impl Fn(u64) -> u64) -> Arc<HistogramView> {
        let sum = self.shown_sum();
        let last = self.view.as_deref();
        let of = |view: &HistogramView| (view.count, view.sum, view.min, view.max);
        let holds = last.is_some_and(|last| of(last) == (self.count, sum, self.min, self.max));
        if let Some(view) = &self.view
            && holds
            && !self.exemplified
        {
            return Arc::clone(view);
        }
        let range = (self.min, self.max);
        let view = match last {
            Some(last) => last.refreshed(&self.counts, self.count, sum, range),
            None => HistogramView::new(self.layout, scale, &self.to.splits, &self.counts, sum, range),
        };
        debug_assert_eq!(view.count, self.count, "a bucket outside of the extremes");
        let examples = self.exemplars.values().flatten().flatten().map(|example| {
            let value = example.value as f64 / scale;
            Exemplar::new(value, time(example.at), (example.trace_id, example.span_id))
        });
        let view = Arc::new(view.with_exemplars(examples.collect()));
        self.exemplified = false;
        Arc::clone(self.view.insert(view))
    }
}

/// Counts a value in the part of its bucket, which is marked.
#[cold]
#[inline(never)]
fn count_in_part(splits: &Splits, counts: &mut [u64], bucket: usize, value: u64) {
    let part = counts.get(bucket).map(|mark| splits.part_of(*mark, value));
    if let Some(count) = part.and_then(|part| counts.get_mut(part)) {
        *count += 1;
    }
}

impl Histograms {
    pub(super) fn new(lanes: &Arc<LaneRegistry>) -> Self {
        Self { lanes: Arc::clone(lanes), all: Vec::new() }
    }

    /// Makes sure that all histograms registered so far are there.
    pub(super) fn meet(&mut self) {
        for (_, to) in self.lanes.distributions.iter().skip(self.all.len()) {
            self.all.push(Histogram::new(to));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.iter().map(|histogram| size_of::<Histogram>() + 8 * histogram.counts.len()).sum()
    }

    /// Counts a value; `false` if there is no such histogram.
    #[inline(always)]
    pub(super) fn add(&mut self, series: u32, value: u64) -> bool {
        match self.all.get_mut(series as usize) {
            Some(histogram) => {
                histogram.add(value);
                true
            }
            None => self.add_new(series, value),
        }
    }

    /// Counts the one-word samples that these words begin with: how many they are, and how many of them of no histogram.
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
                unknown += usize::from(!self.add_new(layout::id(*word), *word >> layout::SAMPLE_SHIFT));
                samples += 1;
            }
        }
        (samples, unknown)
    }

    /// The same, up to the first sample of a histogram that is not there.
    #[inline]
    fn add_block(&mut self, block: &[u64]) -> usize {
        let all = &mut self.all[..];
        if let [first, .., last] = block
            && let Some(histogram) = all.get_mut(layout::sample_series(*first))
            && layout::sample_bits(first ^ last) == 0 // mostly says already that there are several series
            && layout::sample_bits(block.iter().fold(0, |others, word| others | (word ^ first))) == 0
        {
            if histogram.to.splits.is_empty() {
                histogram.add_all::<false>(block);
            } else {
                histogram.add_all::<true>(block);
            }
            return block.len();
        }
        // A sample between two spans is not worth a call.
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

    /// Counts samples of several series, up to some four of which one is of no histogram that is there; says how many.
    #[inline(never)] // within the fold its registers would be a span's
    fn add_fours(all: &mut [Histogram], block: &[u64]) -> usize {
        block.as_chunks().0.iter().take_while(|four| Self::add_four(all, four)).count() * 4
    }

    /// All four buckets are found before the first count changes: a seventh less time than one by one. Two, three, six or
    /// eight at once take longer.
    #[inline(always)]
    fn add_four(all: &mut [Histogram], four: &[u64; 4]) -> bool {
        let series = four.map(layout::sample_series);
        if series.iter().any(|series| *series >= all.len()) {
            return false;
        }
        let places: [_; 4] = array::from_fn(|at| all[series[at]].place(four[at] >> layout::SAMPLE_SHIFT));
        for (series, (value, index)) in series.into_iter().zip(places) {
            all[series].add_at(value, index);
        }
        true
    }

    /// A histogram registered since the last look, or none at all.
    #[cold]
    fn add_new(&mut self, series: u32, value: u64) -> bool {
        self.meet();
        let histogram = self.all.get_mut(series as usize);
        histogram.map(|histogram| histogram.add(value)).is_some()
    }

    /// A histogram as it stands. `scale` is that of its unit, `time` makes Unix nanoseconds of ticks.
    pub(super) fn view(
        &mut self,
        series: u32,
        scale: f64,
        time: impl Fn(u64) -> u64,
    ) -> Option<Arc<HistogramView>> {
        if series as usize >= self.all.len() {
            self.meet();
        }
        Some(self.all.get_mut(series as usize)?.view(scale, time))
    }

    /// Whether a value is above the 99th percentile of what was counted before; `false` as long as that is less than 100
    /// samples.
    pub(super) fn is_above_p99(&mut self, series: u32, value: u64) -> bool {
        let histogram = self.all.get_mut(series as usize);
        histogram.and_then(Histogram::p99).is_some_and(|p99| value > p99)
    }

    /// Keeps an exemplar in place of the older one of two; `None` if there is no such histogram.
    pub(super) fn exemplify(&mut self, example: Example) -> Option<ExemplarSlot> {
        self.meet();
        let histogram = self.all.get_mut(example.series as usize)?;
        let [latest, older] = histogram.exemplars.entry(example.value.leading_zeros()).or_default();
        let place = if older.is_some() { ExemplarSlot::Taken } else { ExemplarSlot::Free };
        *older = latest.replace(example);
        histogram.exemplified = true;
        Some(place)
    }

    /// Moves the times of all exemplars by so many ticks, wrapping: the clock was set back.
    #[cold]
    pub(super) fn move_times(&mut self, by: u64) {
        let histograms = self.all.iter_mut().flat_map(|histogram| histogram.exemplars.values_mut());
        histograms.flatten().flatten().for_each(|example| example.at = example.at.wrapping_add(by));
    }

    /// Takes over all series' shared counts; returns how many samples.
    pub(super) fn take_shared(&mut self) -> u64 {
        self.meet();
        self.all.iter_mut().map(Histogram::take_shared).sum()
    }

    /// Takes over what a lane's spill has counted since the last time; returns how many samples.
    pub(super) fn take_spill(&mut self, spill: &Spill, seen: &mut SpillSeen) -> u64 {
        self.meet();
        let mut taken = 0;
        for (number, slot) in spill.slots().enumerate() {
            if number >= seen.0.len() {
                seen.0.push(SlotSeen::default());
            }
            if let Some(histogram) = self.all.get_mut(slot.series() as usize) {
                taken += seen.0[number].take(slot, histogram);
            }
        }
        taken
    }
}

/// What has been taken over of a lane's spill, by slot.
#[derive(Debug, Default)]
pub(super) struct SpillSeen(Vec<SlotSeen>);

#[derive(Debug)]
struct SlotSeen {
    /// The sum and the zeros that the slot had. They change with every sample, so that a slot that has the same again has
    /// no samples more. An inexact sum says nothing of that.
    last: (Sum, u64),
    /// What of the slot's sum has been taken over. It only grows.
    sum: u128,
    counts: Vec<u64>,
}

impl Default for SlotSeen {
    fn default() -> Self {
        Self { last: (Sum::AtLeast(0), 0), sum: 0, counts: Vec::new() }
    }
}

impl SlotSeen {
    fn take(&mut self, slot: Slot<'_>, histogram: &mut Histogram) -> u64 {
        // The sum before the counts: whatever sample it has is counted below.
        let mut now = (slot.sum(), slot.zeros());
        if now == self.last && matches!(now.0, Sum::Exact(_)) {
            return 0;
        }
        self.last = now;
        let counts = slot.counts();
        if self.counts.is_empty() {
            // With the marks that the slot has, which so never differ.
            self.counts = histogram.to.splits.empty_counts(counts.len());
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
        // After the counts: the extremes cover what they showed.
        histogram.widen(slot.range());
        let sum = match now.0 {
            Sum::Exact(sum) => sum,
            // The sum shown is then short of what the slot had by less than 2^65, and never greater than what is counted.
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

    /// Values near 2^64 make a slot's sum run over nearly every time, so it may never be read whole. What is shown then
    /// goes on growing, up to a little less than the sum.
    #[test]
    fn a_sum_that_is_never_read_whole_is_shown_from_below() {
        let limits = Limits { ring_words: 2, spill_words: 0, first_cells: 0, lanes: 1, idle: 0 };
        let (clock, _hand) = Clock::mock();
        let lanes = Arc::new(LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO));
        let layout = Layout::new(2, u64::MAX);
        let to = Arc::new(Distribution::new(1, 0, layout, &Bounds::new(layout, &[], 1.0)));
        lanes.distributions.push(Arc::clone(&to));
        let mut histograms = Histograms::new(&lanes);
        let (spill, mut seen) = (Spill::new(20_000), SpillSeen::default());
        let mut whole = 1; // the least value, so that the count says next to nothing of the sum
        assert!(spill.add(&to, 1).is_some());
        let shown = |histograms: &mut Histograms| {
            let view = histograms.view(0, 1.0, |ticks| ticks).expect("registered");
            (view.count(), view.sum_recorded())
        };
        for round in 1..=5 {
            for _ in 0..100 {
                assert!(spill.add(&to, u64::MAX).is_some());
                whole += u128::from(u64::MAX);
            }
            spill.hold_carry();
            assert_eq!(histograms.take_spill(&spill, &mut seen), if round == 1 { 101 } else { 100 });
            let (count, sum) = shown(&mut histograms);
            assert_eq!(count, 100 * round + 1);
            assert!(sum <= whole && whole - sum < 1 << 65, "{sum} of {whole}");
            assert_eq!(histograms.take_spill(&spill, &mut seen), 0, "no sample is taken twice");
            assert_eq!(shown(&mut histograms), (count, sum));
            spill.hold_carry();
        }
        histograms.take_spill(&spill, &mut seen);
        assert_eq!(shown(&mut histograms), (501, whole));
    }
}
