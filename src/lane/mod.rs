//! What one thread owns: its ring, counter cells, spill and tally, reached through one thread-local pointer.
//!
//! The contract of the room: after a thread's first touch, [`local`]'s hot calls take no lock, allocate nothing and
//! make no system call; a lane has one writer, its owner thread, and one reader, the aggregator; a lane handed back by
//! a finished thread keeps everything it holds until the aggregator has read it.

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
    place: AtomicUsize,
    /// Index among the aggregator's readers, [`UNMET`](Self::UNMET) before its first roll call. The aggregator's own.
    pub(crate) reader: AtomicUsize,
}

impl Lane {
    /// No reader yet.
    pub(crate) const UNMET: usize = usize::MAX;

    fn new(limits: &Limits, mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            ring: Ring::new(limits.ring_words, mode),
            tally: CachePadded::new(Tally::default()),
            cells: Cells::new(limits.first_cells),
            spill: Spill::new(limits.spill_words),
            place: AtomicUsize::new(0),
            reader: AtomicUsize::new(Self::UNMET),
        })
    }

    /// Sets what it lets through. What is near is found without a look at that, so what lets no samples through has
    /// nothing near.
    pub(crate) fn set_mode(&self, mode: Mode) {
        if self.ring.set_mode(mode) && !self.ring.lets_samples_through() {
            fence(Ordering::SeqCst); // as in `count_in_spill`; the model is `loom::off_is_not_overlooked`
            if self.spill.used() > 0 {
                self.spill.slot_cache.clear();
            }
        }
    }

    /// Counts a sample where it is, and has those of its series that follow find their slot at once; `false` if there is
    /// no slot to be had. Owner only.
    fn count_in_spill(&self, to: &Distribution, value: u64) -> bool {
        let Some(slot) = self.spill.add(to, value) else { return false };
        if self.spill.slot_cache.keep(to, slot) {
            // Two threads, each writes and then reads what the other wrote: of the two fences one comes first. If it is
            // ours, they see that the spill is used, and clear after we have kept; if theirs, we see the mode.
            if !planted(Bug::BlindKeep) {
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

    /// Bytes it takes: the ring whole, since it is gone round and round; of the spill what is used, twice, since the
    /// aggregator keeps what it has seen of it.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of::<ThreadState>()
            + 8 * (self.ring.capacity() + 2 * self.spill.used() + self.cells.len())
    }
}

/// A histogram and the instance it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct HistogramHandle {
    pub(crate) to: Arc<Distribution>,
    pub(crate) lanes: Arc<LaneRegistry>,
}

/// Which instance's which series: the instance's number above, the index below. Handles carry it.
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

/// What it takes to record a value of one histogram: nothing is looked up. What is needed stands in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Distribution {
    /// The instance's base, as in [`Key::base`].
    pub(crate) base: u64,
    /// Which of the instance's series.
    pub(crate) key: Key,
    /// What every one-word sample has in common: see `record::layout::sample_base`.
    pub(crate) word: u64,
    /// The greatest value that needs no second look: it fits one word and is not above the highest trackable.
    pub(crate) plain_max: u64,
    pub(crate) layout: Layout,
    /// The bounds that divide buckets. Read only for a sample in a divided bucket, so outside of the line.
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
