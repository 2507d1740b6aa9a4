//! Lanes: the ring, counter cells, spill and tally of one thread, reached through one thread-local pointer.
//!
//! The contract of this module: after a thread's first touch, [`local`]'s hot calls take no lock, allocate nothing and
//! make no system call. A lane has one writer, its owner thread, and one reader, the aggregator. A lane handed back by
//! a finished thread keeps all its records and counts until the aggregator has read them.

mod cells;
mod fork;
pub(crate) mod laneless;
pub(crate) mod local;
mod registry;
mod ring;
mod spill;
mod thread_state;

#[cfg(all(test, tellane_loom))]
mod loom;

pub(crate) use fork::{forks, watch as watch_forks};
pub(crate) use registry::{LaneRegistry, Limits};
pub(crate) use ring::{Consumer, Gate, Mode, Ring};
pub(crate) use spill::{SharedHistogram, Slot, SlotCache, Spill, Sum};
pub(crate) use thread_state::{Exit, Ids, RedMetrics, SpanNameMeta, StackIndex, ThreadState, TraceFlags};

use crate::record;
use crate::stats::{Bounds, Layout, Splits, Tally};
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicUsize, Ordering, fence};
use cells::Cells;
use crossbeam_utils::CachePadded;

/// Everything one thread writes and the aggregator reads.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) ring: Ring,
    pub(crate) tally: CachePadded<Tally>,
    pub(crate) cells: Cells,
    pub(crate) spill: Spill,
    /// Index in the list of all lanes. Written under the list's lock.
    list_index: AtomicUsize,
    /// Index among the aggregator's readers; [`NO_READER`](Self::NO_READER) until the aggregator has seen this lane.
    /// Accessed by the aggregator only.
    pub(crate) reader: AtomicUsize,
}

impl Lane {
    /// Value of `reader` before the aggregator has made a reader for the lane.
    pub(crate) const NO_READER: usize = usize::MAX;

    fn new(limits: &Limits, mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            ring: Ring::new(limits.ring_words, mode),
            tally: CachePadded::new(Tally::default()),
            cells: Cells::new(limits.first_cells),
            spill: Spill::new(limits.spill_words),
            list_index: AtomicUsize::new(0),
            reader: AtomicUsize::new(Self::NO_READER),
        })
    }

    /// Sets the lane's mode. The slot cache is consulted before the mode, so turning samples off must also empty the
    /// cache.
    pub(crate) fn set_mode(&self, mode: Mode) {
        if self.ring.set_mode(mode) && !self.ring.lets_samples_through() {
            fence(Ordering::SeqCst); // as in `count_in_spill`; the model is `loom::off_is_not_overlooked`
            if self.spill.used() > 0 {
                self.spill.slot_cache.clear();
            }
        }
    }

    /// Counts a sample in this lane's spill and caches the slot, so that later samples of the series take the fast
    /// path. `false` if the spill is full. Owner only.
    fn count_in_spill(&self, to: &Distribution, value: u64) -> bool {
        let Some(slot) = self.spill.add(to, value) else { return false };
        if self.spill.slot_cache.insert(to, slot) {
            // Store buffering: the owner stores the slot and then loads the mode; `set_mode` stores the mode and then
            // loads `used`. One of the two SeqCst fences comes first. If ours does, `set_mode` sees that the spill is
            // used and clears the cache after this insert; if theirs does, the load below sees the mode.
            if !planted(Bug::UncheckedCache) {
                fence(Ordering::SeqCst);
                if !self.ring.lets_samples_through() {
                    self.spill.slot_cache.clear();
                }
            }
        }
        true
    }

    /// Samples that went into the ring or the spill, over all the lane's owners. The tally counts the others.
    pub(crate) fn samples(&self) -> u64 {
        self.tally.samples_in(|| self.ring.published()) + self.spill.samples()
    }

    /// Bytes of memory the lane takes. The whole ring counts, since every word of it gets written in time. Of the spill
    /// only the used words count, but twice, since the aggregator keeps a copy of the counts it has seen.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of::<ThreadState>()
            + 8 * (self.ring.capacity() + 2 * self.spill.used() + self.cells.len())
    }
}

/// A histogram and the lanes of its instance.
#[derive(Clone, Debug)]
pub(crate) struct HistogramHandle {
    pub(crate) to: Arc<Distribution>,
    pub(crate) lanes: Arc<LaneRegistry>,
}

/// A series of one instance: the instance's number in the high 32 bits, the series' index in the low 32. Stored in
/// every handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) u64);

impl Key {
    pub(crate) const fn new(instance: u32, index: u32) -> Self {
        Self(((instance as u64) << 32) | index as u64)
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) const fn instance(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(crate) const fn base(self) -> u64 {
        self.0 & !0xFFFF_FFFF
    }
}

/// Everything needed to record a value of one histogram without a lookup. The fields of the fast path fit one cache
/// line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Distribution {
    /// The instance's base, as in [`Key::base`].
    pub(crate) base: u64,
    /// Key of the histogram's series.
    pub(crate) key: Key,
    /// The bits that all one-word samples of the series share: see `record::layout::sample_base`.
    pub(crate) word: u64,
    /// The greatest value on the fast path: it fits one word and is not above the highest trackable value.
    pub(crate) plain_max: u64,
    pub(crate) layout: Layout,
    /// The bounds that divide buckets. Read only for a sample in a divided bucket, so kept outside of the cache line.
    pub(crate) splits: Arc<Splits>,
    pub(crate) shared_histogram: SharedHistogram,
}

impl Distribution {
    pub(crate) fn new(instance: u32, series: u32, layout: Layout, bounds: &Bounds) -> Self {
        Self {
            base: Key::new(instance, 0).0,
            key: Key::new(instance, series),
            word: record::layout::sample_base(series),
            plain_max: layout.highest().min(record::layout::SAMPLE_MAX),
            layout,
            splits: Arc::clone(&bounds.splits),
            shared_histogram: SharedHistogram::new(&bounds.cuts),
        }
    }

    #[inline(always)]
    pub(crate) const fn series(&self) -> u32 {
        self.key.index()
    }
}
