//! An open span stored in words that any thread can read, for a caller that knows the span by a number and owns no
//! value. Hot: [`AtomicSpan::begin`], [`AtomicSpan::span_ref`] and [`AtomicSpan::end`] are plain loads and stores.
//!
//! All accesses are Relaxed. A caller can only hold the number because the storing thread handed it over, and that
//! hand-over orders these words. A stale number reads garbage ids, never invalid memory.

use super::{Absent, ActiveSpan, DETACHED, RemainingLimits, SpanCore, SpanStart};
use crate::config::SpanLimits;
use crate::instance::{key_number, push};
use crate::lane::{Ids, RedMetrics, TraceFlags, local};
use crate::names::Attribute;
use crate::record::{Block, Items, layout, span_head};
use crate::stats::Reason;
use crate::sync::Mutex;
use crate::sync::fixed::{AtomicBool, AtomicU64, Ordering};
use crate::trace::foreign::SpanRef;
use crate::trace::owned::OwnedSpan;
use arrayvec::ArrayVec;
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;

/// Storage for one open span.
#[derive(Debug)]
pub(crate) struct AtomicSpan {
    base: AtomicU64,
    trace_high: AtomicU64,
    trace_low: AtomicU64,
    span_id: AtomicU64,
    trace_flags: AtomicU64,
    /// Single bits and small numbers: see the shifts below.
    bits: AtomicU64,
    /// The record's header word, as in [`ActiveSpan`].
    header: AtomicU64,
    start: AtomicU64,
    parent_id: AtomicU64,
    red_metrics: AtomicU64,
    /// The remaining limits and the numbers of dropped items: four numbers of 16 bits each.
    left: [AtomicU64; 2],
    frame: [AtomicU64; Items::FRAME],
    /// Items that do not fit into the frame. [`amend`](Self::amend) holds this lock for its whole change.
    block: Mutex<Option<Box<Block>>>,
}

const SLOW_END: u32 = 8;
const WAS_PANICKING: u32 = 9;
const HAS_BLOCK: u32 = 10;
/// The reason for which no lane carries the span, plus one.
const ABSENT: u32 = 24;
/// The value of the bits at [`ABSENT`] for a span that only passes a context on.
const FORWARDING: u64 = 0xFF;
/// Shift of the number of words in the frame.
const WORDS: u32 = 32;

/// Bits of a span that must end by the slow path.
const NEEDS_SLOW_END: u64 = (1 << SLOW_END) | (1 << HAS_BLOCK) | (0xFF << ABSENT);

#[inline(always)]
fn four(numbers: [u16; 4]) -> u64 {
    numbers.iter().rev().fold(0, |word, number| (word << 16) | u64::from(*number))
}

#[inline(always)]
fn one(word: u64, position: u32) -> u16 {
    (word >> (16 * position)) as u16
}

/// Writes the words of an item into the frame. Returns their number, or 0 if they do not fit.
#[inline(always)]
fn store_item(limits: &[AtomicU64], words: &[u64]) -> u64 {
    if words.len() > limits.len() {
        return 0;
    }
    for (slot, word) in limits.iter().zip(words) {
        slot.store(*word, Ordering::Relaxed);
    }
    words.len() as u64
}

impl AtomicSpan {
    pub(crate) fn vacant() -> Self {
        let word = || AtomicU64::new(0);
        Self {
            base: word(),
            trace_high: word(),
            trace_low: word(),
            span_id: word(),
            trace_flags: word(),
            bits: word(),
            start: word(),
            header: word(),
            parent_id: word(),
            red_metrics: word(),
            left: [const { AtomicU64::new(0) }; 2],
            frame: [const { AtomicU64::new(0) }; Items::FRAME],
            block: Mutex::new(None),
        }
    }

    /// Stores a span. `false` for a span that does nothing: there is nothing to store.
    #[cold]
    pub(crate) fn store(&self, mut span: OwnedSpan) -> bool {
        let Some(active) = &mut span.0 else { return false };
        if active.items.has_block() {
            *self.block.lock() = active.items.take_block();
            self.store_words(active, 1 << HAS_BLOCK);
        } else {
            self.store_words(active, 0);
        }
        std::mem::forget(span); // its block was moved out, and the rest is numbers
        true
    }

    /// Stores a span, but for its block.
    fn store_words(&self, active: &ActiveSpan, block: u64) {
        let words = active.items.inline();
        let absent = match active.absent {
            None => 0,
            Some(Absent::Laneless(reason)) => reason as u64 + 1,
            Some(Absent::Forwarding) => FORWARDING,
        };
        let bits = (u64::from(active.needs_slow_end()) << SLOW_END)
            | (u64::from(active.was_panicking) << WAS_PANICKING)
            | block
            | (absent << ABSENT)
            | ((words.len() as u64) << WORDS);
        self.store_core(&active.core, bits);
        for (slot, word) in self.frame.iter().zip(words) {
            slot.store(*word, Ordering::Relaxed);
        }
    }

    /// Stores a span that has just begun.
    #[inline(always)]
    pub(crate) fn begin(&self, span_start: SpanStart<'_>, start: u64) {
        let bits = u64::from(std::thread::panicking()) << WAS_PANICKING;
        self.store_core(&SpanCore::new(span_start, start), bits);
    }

    #[inline(always)]
    fn store_core(&self, core: &SpanCore, bits: u64) {
        let put = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
        put(&self.base, core.base.get());
        put(&self.trace_high, (core.ids.trace_id >> 64) as u64);
        put(&self.trace_low, core.ids.trace_id as u64);
        put(&self.span_id, core.ids.span_id);
        put(&self.trace_flags, core.ids.trace_flags.0);
        put(&self.bits, bits);
        put(&self.start, core.start);
        put(&self.parent_id, core.parent_id);
        put(&self.header, core.header);
        put(&self.red_metrics, core.red_metrics.word());
        let RemainingLimits { left, events_dropped, links_dropped } = core.limits;
        put(&self.left[0], four([left.attributes, left.events, left.links, left.event_attributes]));
        put(&self.left[1], four([left.link_attributes, left.value, events_dropped, links_dropped]));
    }

    /// The core that [`store_core`](Self::store_core) stored; `None` if no span was ever stored here.
    fn load_core(&self) -> Option<SpanCore> {
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let [first, second] = [0, 1].map(|at: usize| get(&self.left[at]));
        let left = SpanLimits {
            attributes: one(first, 0),
            events: one(first, 1),
            links: one(first, 2),
            event_attributes: one(first, 3),
            link_attributes: one(second, 0),
            value: one(second, 1),
        };
        Some(SpanCore {
            base: NonZeroU64::new(get(&self.base))?,
            header: get(&self.header),
            start: get(&self.start),
            ids: self.ids(),
            parent_id: get(&self.parent_id),
            red_metrics: RedMetrics::of(get(&self.red_metrics)),
            limits: RemainingLimits { left, events_dropped: one(second, 2), links_dropped: one(second, 3) },
        })
    }

    /// Sets an attribute of a span that only the caller knows yet. `false` if the items are in a block, no attributes
    /// are left, the key has no number or the frame is full; then [`amend`](Self::amend) must set it.
    #[inline]
    pub(crate) fn set_first(&self, key: &'static str, value: Attribute<'_>) -> bool {
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (bits, left) = (get(&self.bits), get(&self.left[0]));
        if bits & (1 << HAS_BLOCK) != 0 || one(left, 0) == 0 {
            return false;
        }
        let Some(key) = key_number(self.base(), key) else { return false };
        let filled = (bits >> WORDS) as usize;
        let limits = self.frame.get(filled..).unwrap_or_default();
        let number = |kind, bits: u64| Some([layout::attribute(kind, key, 0, false), bits]);
        // A value that does not fit two words is encoded on the stack first.
        let words = match value {
            Attribute::I64(plain) => number(layout::TYPE_I64, plain as u64),
            Attribute::U64(plain) => number(layout::TYPE_U64, plain),
            Attribute::F64(plain) => number(layout::TYPE_F64, plain.to_bits()),
            Attribute::Str(_) | Attribute::Bool(_) => None,
        };
        let kept = match words {
            Some(words) => store_item(limits, &words),
            None => {
                let mut items = Items::default();
                let pushed = push(&mut items, key, value, one(get(&self.left[1]), 1));
                pushed.map_or(0, |()| store_item(limits, items.inline()))
            }
        };
        if kept == 0 {
            return false;
        }
        self.bits.store(bits + (kept << WORDS), Ordering::Relaxed);
        self.left[0].store(left - 1, Ordering::Relaxed); // the lowest 16 bits, which are not 0
        true
    }

    /// Returns `true` if items that are set on the span may be kept.
    #[inline(always)]
    pub(crate) fn is_recorded(&self) -> bool {
        self.ids().trace_flags.has(TraceFlags::SAMPLED | TraceFlags::HELD)
    }

    /// Ends the span. No other caller knows it any more.
    #[inline(always)]
    pub(crate) fn end(&self) {
        let bits = self.bits.load(Ordering::Relaxed);
        let is_plain = bits & NEEDS_SLOW_END == 0 && !std::thread::panicking();
        let ended = is_plain && local::with_lane(self.base(), |local| self.end_here(&local, bits)).is_some();
        if !ended {
            self.end_slow();
        }
    }

    /// Fast path: like [`ActiveSpan::end`], but straight from the words, for a span that is recorded and whose record
    /// fits the ring.
    #[inline(always)]
    fn end_here(&self, local: &local::LocalLane<'_>, bits: u64) {
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let now = local.lanes.clock.ticks();
        let (ids, start) = (self.ids(), get(&self.start));
        let recorded = ids.trace_flags.has(TraceFlags::SAMPLED | TraceFlags::HELD);
        if recorded && local.lane.ring.lets_spans_through() {
            let length = (bits >> WORDS) as usize;
            let header = layout::header_more(get(&self.header), length, 0, 0);
            let duration = now.saturating_sub(start);
            let head =
                span_head(header, [start, duration], ids.trace_id, [ids.span_id, get(&self.parent_id)]);
            let pushed = if length == 0 {
                local.push_span::<true, _, _>(|| head, [])
            } else {
                let words: ArrayVec<u64, { Items::FRAME }> =
                    self.frame.iter().take(length).map(get).collect();
                local.push_span::<true, _, _>(|| head, [&words])
            };
            if pushed {
                return;
            }
        }
        self.end_slow();
    }

    #[cold]
    #[inline(never)]
    fn end_slow(&self) {
        drop(self.take());
    }

    /// The id of the stored span.
    #[inline(always)]
    pub(crate) fn span_id(&self) -> u64 {
        self.span_id.load(Ordering::Relaxed)
    }

    /// The base of the span's instance.
    #[inline(always)]
    pub(crate) fn base(&self) -> u64 {
        self.base.load(Ordering::Relaxed)
    }

    /// A reference to the span, for its children.
    #[inline(always)]
    pub(crate) fn span_ref(&self) -> SpanRef {
        SpanRef { base: self.base(), ids: self.ids() }
    }

    #[inline(always)]
    fn ids(&self) -> Ids {
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Ids {
            trace_id: (u128::from(get(&self.trace_high)) << 64) | u128::from(get(&self.trace_low)),
            span_id: get(&self.span_id),
            trace_flags: TraceFlags(get(&self.trace_flags)),
        }
    }

    /// Loads the span with its block. No other caller knows it any more.
    fn take(&self) -> OwnedSpan {
        let has_block = self.bits.load(Ordering::Relaxed) & (1 << HAS_BLOCK) != 0;
        self.load(if has_block { self.block.lock().take() } else { None })
    }

    fn load(&self, block: Option<Box<Block>>) -> OwnedSpan {
        let Some(core) = self.load_core() else { return OwnedSpan::noop() };
        let bits = self.bits.load(Ordering::Relaxed);
        let bit = |at: u32| bits & (1 << at) != 0;
        let frame = self.frame.iter().take((bits >> WORDS) as usize);
        OwnedSpan(Some(ActiveSpan {
            core,
            index: DETACHED,
            needs_slow_end: AtomicBool::new(bit(SLOW_END) || block.is_some()),
            exited_by_panic: AtomicBool::new(false), // a stored span is entered without a guard
            was_panicking: bit(WAS_PANICKING),
            absent: match (bits >> ABSENT) & 0xFF {
                FORWARDING => Some(Absent::Forwarding),
                laneless => Reason::ALL.get(laneless.wrapping_sub(1) as usize).copied().map(Absent::Laneless),
            },
            items: ManuallyDrop::new(Items::from_parts(
                frame.map(|word| word.load(Ordering::Relaxed)),
                block,
            )),
        }))
    }

    /// Marks a span as failed that was exited while its thread unwinds, unless the span began under that panic. A panic
    /// that is caught leaves no other trace at the span's end.
    #[cold]
    #[inline(never)]
    pub(crate) fn exited_by_panic(&self) {
        if self.bits.load(Ordering::Relaxed) & (1 << WAS_PANICKING) == 0 {
            self.amend(OwnedSpan::panicked);
        }
    }

    /// Changes the span in place: late attributes, events, links, status. Takes this span's lock, so `act` must not run
    /// foreign code.
    #[cold]
    pub(crate) fn amend(&self, act: impl FnOnce(&mut OwnedSpan)) {
        let mut block = self.block.lock();
        let mut span = self.load(block.take());
        act(&mut span);
        if let Some(active) = &mut span.0 {
            *block = active.items.take_block();
            self.store_words(active, u64::from(block.is_some()) << HAS_BLOCK);
        }
        std::mem::forget(span);
    }
}
