//! What a thread keeps for its spans: the open ones, an id generator, and the names it has used. Owner thread only.
//!
//! Hot. Plain cells of fixed sizes, made at the thread's first touch; what only a few spans need lies behind them.

mod exit;
#[cfg(feature = "tracing")]
mod step;

pub(crate) use exit::Exit;

use crate::context::{Handle, Hold};
use crate::record::{Block, SpanKind, layout, span_header};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};

/// Entries of a thread's stack that are kept, a power of two; deeper spans are recorded as children of the deepest kept.
pub(crate) const DEPTH: usize = 128;
/// Places for names used by this thread, a power of two.
const NAMES: usize = 256;

/// Places for what was sent as an exemplar, a power of two. Two series that share one send fewer.
const EXAMPLES: usize = 512;
/// 2^64 divided by the golden ratio, made odd (Knuth).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Blocks for long spans that a thread keeps for the next one.
const BLOCKS: usize = 4;

/// What a child must know of an open span: its ids, and what goes for the whole trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) trace_flags: TraceFlags,
}

impl Ids {
    /// An entry of a thread's stack that is no span: spans begun in it are roots.
    pub(crate) const NOBODY: Self =
        Self { trace_id: 0, span_id: 0, trace_flags: TraceFlags(TraceFlags::UNCOMMON) };

    /// Whether they are a span's. A context without a span carries baggage only.
    #[inline(always)]
    pub(crate) fn is_span(&self) -> bool {
        self.span_id != 0
    }
}

/// A stack index; -1 is below the bottom. Signed, so that one comparison tells the top from what is above it and below.
pub(crate) type StackIndex = isize;

/// Trace flags, in the low 16 bits, and the [`Handle`] of the trace's trace state and baggage in the others. The two
/// lowest bits are those of W3C's `traceparent`; three of them stand in the flags of a span's record as they stand here,
/// moved up ([`span_flags`](Self::span_flags)).
///
/// One word, so that a child copies it with one load, one mask and one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceFlags(pub(crate) u64);

impl TraceFlags {
    pub(crate) const SAMPLED: u64 = 1;
    /// Whoever made the trace id says that it is random.
    pub(crate) const RANDOM: u64 = 2;
    /// On a thread's stack only: an attached context or an entered span. It stays until its own guard goes.
    pub(crate) const ENTERED: u64 = 4;
    /// No span, or one with trace state or baggage: spans that may leave the thread take the slow path below it.
    pub(crate) const UNCOMMON: u64 = 8;
    /// Samples recorded in it may become exemplars.
    pub(crate) const EXAMPLES: u64 = 16;
    /// These are the ids of a span in another process: what is opened under it is its process's first.
    pub(crate) const REMOTE: u64 = 32;
    /// Not sampled; the trace's outcome decides whether it is kept.
    pub(crate) const HELD: u64 = 64;
    /// On a thread's stack only, a tombstone: the span in this place was exited out of order, and the place mirrors the
    /// one below until it is popped.
    const EXITED: u64 = 128;
    /// This span owns a hold on the entry that its handle names.
    pub(crate) const HOLDS: u64 = 256;
    /// Of a remote parent: whether it came as sampled, whatever is decided here. Goes into the headers while no span of
    /// this process stands between.
    pub(crate) const CAME_SAMPLED: u64 = 512;
    /// The bits of the handle: not 0 if trace state or baggage came along.
    pub(crate) const PROPAGATES: u64 = !0xFFFF;

    /// The flags of a span opened under what has these marks; of a root, under its own as if they were remote.
    #[inline(always)]
    pub(crate) const fn span_flags(self) -> u64 {
        (self.0 & (Self::SAMPLED | Self::HELD | Self::REMOTE)) << 2
    }

    #[inline(always)]
    pub(crate) fn has(self, any: u64) -> bool {
        self.0 & any != 0
    }

    /// What a child inherits.
    #[inline(always)]
    pub(crate) fn inherited(self) -> Self {
        Self(self.0 & !(Self::REMOTE | Self::EXITED | Self::ENTERED | Self::HOLDS | Self::CAME_SAMPLED))
    }

    /// The flags that hold anywhere, without those of a place and of an owner.
    pub(crate) fn off_stack(self) -> Self {
        const ANYWHERE: u64 = TraceFlags::SAMPLED
            | TraceFlags::RANDOM
            | TraceFlags::EXAMPLES
            | TraceFlags::REMOTE
            | TraceFlags::HELD
            | TraceFlags::CAME_SAMPLED;
        Self(self.0 & ANYWHERE)
    }

    /// W3C's flags, as they go into headers.
    pub(crate) fn header_flags(self) -> u8 {
        let sampled =
            if self.has(Self::REMOTE) { self.has(Self::CAME_SAMPLED) } else { self.has(Self::SAMPLED) };
        (self.0 & Self::RANDOM) as u8 | u8::from(sampled)
    }

    /// Those of a remote parent that came with these of W3C's flags.
    pub(crate) fn of_header(flags: u8) -> Self {
        let came_sampled = if u64::from(flags) & Self::SAMPLED == 0 { 0 } else { Self::CAME_SAMPLED };
        Self((u64::from(flags) & (Self::SAMPLED | Self::RANDOM)) | Self::REMOTE | came_sampled)
    }

    /// Names trace state and baggage, if there are any.
    pub(crate) fn handle(self) -> Handle {
        Handle(self.0 & Self::PROPAGATES)
    }

    /// The same with this handle, or without one.
    pub(crate) fn with_handle(self, handle: Handle) -> Self {
        let carries = if handle.0 == 0 { 0 } else { handle.0 | Self::UNCOMMON };
        Self((self.0 & !(Self::PROPAGATES | Self::UNCOMMON)) | carries)
    }
}

const _: () = {
    assert!(TraceFlags(TraceFlags::SAMPLED).span_flags() == layout::FLAG_SAMPLED);
    assert!(TraceFlags(TraceFlags::HELD).span_flags() == layout::FLAG_HELD);
    assert!(TraceFlags(TraceFlags::REMOTE).span_flags() == layout::FLAG_LOCAL_ROOT);
};

/// What a span's name and kind stand for. Two whole words, so that they are copied in registers: pieces of words would
/// have a span's start wait for its own stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanNameMeta {
    /// The [header](span_header) of its spans' records.
    pub(crate) header: u64,
    pub(crate) red_metrics: RedMetrics,
}

impl SpanNameMeta {
    /// A name's number, 0 being none's; the histogram of its durations; the counter cell of its errors.
    pub(crate) const fn new(name: u32, kind: SpanKind, durations: u32, errors: u32) -> Self {
        let red_metrics = RedMetrics(((errors as u64) << 32) | durations as u64);
        Self { header: span_header(name, kind as u64), red_metrics }
    }

    /// The name's number.
    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) const fn name(self) -> u32 {
        layout::id(self.header)
    }
}

/// What is counted of the spans of a name, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RedMetrics(u64);

impl RedMetrics {
    /// As a word, to be laid down.
    #[cfg(feature = "tracing")]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// What such a word was of.
    #[cfg(feature = "tracing")]
    pub(crate) const fn of(word: u64) -> Self {
        Self(word)
    }

    /// The histogram of their durations.
    #[inline(always)]
    pub(crate) const fn durations(self) -> u32 {
        self.0 as u32
    }

    /// The counter cell of their errors.
    #[inline(always)]
    pub(crate) const fn errors(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What this thread knows of texts, by their address: a hit compares two numbers and hashes no text.
///
/// Open addressing, nothing is taken out. Three quarters of the places are kept for good; a text beyond them takes
/// the place of another, and the two ask the instance's tables in turn.
#[derive(Debug)]
struct InternCache<V: Copy> {
    places: [CacheEntry<V>; NAMES],
    filled: Cell<usize>,
}

/// A text as this thread met it, and what it was met as. Length + 1, so that a vacant place is no text's.
#[derive(Debug, Default)]
struct CacheEntry<V: Copy> {
    address: Cell<usize>,
    len_and_one: Cell<usize>,
    known: Cell<V>,
}

/// One text may be met as several things (the name of spans of several kinds): they stand above its length.
const AS_SHIFT: u32 = 56;

impl<V: Copy + Default> InternCache<V> {
    #[cfg(all(test, not(tellane_loom)))]
    fn new() -> Self {
        Self { places: std::array::from_fn(|_| CacheEntry::default()), filled: Cell::new(0) }
    }

    /// Where to begin to look: the multiplication spreads neighbouring literals.
    #[inline(always)]
    fn place(text: &'static str) -> usize {
        let address = text.as_ptr() as usize as u64;
        (address.wrapping_mul(GOLDEN) >> 56) as usize & (NAMES - 1)
    }

    #[inline(always)]
    fn find(&self, text: &'static str, of: u8) -> Option<V> {
        let there = self.find_home(text, of);
        let there = there.or_else(|| self.find_probing(Self::place(text), text, Self::len_and_one(text, of)));
        there.map(|there| there.known.get())
    }

    /// In its first place or not at all.
    #[inline(always)]
    fn find_home(&self, text: &'static str, of: u8) -> Option<&CacheEntry<V>> {
        let there = &self.places[Self::place(text)];
        let found = there.address.get() == text.as_ptr() as usize
            && there.len_and_one.get() == Self::len_and_one(text, of);
        found.then_some(there)
    }

    /// A text whose first place is another's. Out of line, so that what is usual needs few registers.
    #[inline(never)]
    fn find_probing(&self, mut at: usize, text: &'static str, len_and_one: usize) -> Option<&CacheEntry<V>> {
        loop {
            let there = &self.places[at];
            if there.address.get() == text.as_ptr() as usize && there.len_and_one.get() == len_and_one {
                return Some(there);
            }
            if there.len_and_one.get() == 0 {
                return None;
            }
            at = (at + 1) & (NAMES - 1); // there are vacant places: it ends
        }
    }

    #[inline(always)]
    fn len_and_one(text: &'static str, of: u8) -> usize {
        (text.len() + 1) | (usize::from(of) << AS_SHIFT)
    }

    fn remember(&self, text: &'static str, of: u8, known: V) {
        let mut at = Self::place(text);
        let is_vacant = |at: usize| self.places[at].len_and_one.get() == 0;
        let crowded = self.filled.get() >= NAMES / 4 * 3;
        while !crowded && !is_vacant(at) {
            at = (at + 1) & (NAMES - 1);
        }
        if is_vacant(at) {
            if self.filled.get() == NAMES - 1 {
                return; // the last vacant place is what ends a search
            }
            self.filled.set(self.filled.get() + 1);
        }
        let there = &self.places[at];
        there.address.set(text.as_ptr() as usize);
        there.len_and_one.set(Self::len_and_one(text, of));
        there.known.set(known);
    }
}

#[derive(Debug)]
pub(crate) struct ThreadState {
    /// The place of the innermost entry; -1 if there is none. Above [`DISORDER`](exit::DISORDER) while a tombstone is on
    /// the stack: then every fast path fails its comparison, and [`exit`] sees to it.
    top: Cell<StackIndex>,
    /// The entries, and behind them a copy of the innermost for when `top` is no index into them.
    open: [Cell<Ids>; DEPTH + 1],
    names: InternCache<SpanNameMeta>,
    keys: InternCache<u32>,
    /// Whether entries have moved away from the places that their guards know, which are in `places` then.
    moved: Cell<bool>,
    places: [Cell<StackIndex>; DEPTH],
    /// Trace state and baggage that outlast their guard: spans that were begun inside are still open.
    kept: RefCell<Vec<Hold>>,
    /// In which of the aggregator's epochs an exemplar was last sent, by series and power of two.
    examples: [Cell<u32>; EXAMPLES],
    /// Room for spans with more items than their frame holds.
    #[allow(clippy::vec_box)] // it is the box that goes to a span and comes back
    blocks: RefCell<Vec<Box<Block>>>,
    /// State of the id generator: wyrand (Wang Yi), a counter with a mixed output.
    seed: Cell<u64>,
    /// The id of the last span.
    last_span: Cell<u64>,
}

impl ThreadState {
    /// A desk of a thread that has no span open and knows no text.
    ///
    /// It is built where it stays: as a value it would pass over the stack, twice its 20 KiB, four times that in a
    /// debug build, and a first touch would abort on a thread with a small stack.
    #[allow(unsafe_code)] // safe Rust builds a value before it moves it into its box
    pub(crate) fn new() -> Box<Self> {
        let mut thread_state = Box::<Self>::new_zeroed();
        let at = thread_state.as_mut_ptr();
        // SAFETY: `at` points to memory of the box, for all of a desk. The five fields written are those for which zeros
        // are no value or the wrong one. All others are cells of integers and of one flag, arrays of them, and plain
        // structs of them, for which zeros are a value: no span, no text, no epoch.
        let thread_state = unsafe {
            (&raw mut (*at).top).write(Cell::new(-1));
            (&raw mut (*at).kept).write(RefCell::new(Vec::new()));
            (&raw mut (*at).blocks).write(RefCell::new(Vec::with_capacity(BLOCKS)));
            // std seeds a `RandomState` from the operating system, once a thread, and varies it each time. The process
            // id tells a fork's child apart.
            (&raw mut (*at).seed).write(Cell::new(RandomState::new().hash_one(std::process::id())));
            (&raw mut (*at).last_span).write(Cell::new(RandomState::new().hash_one(std::process::id())));
            thread_state.assume_init()
        };
        // A new field fails to compile here, so that nobody adds one for which zeros are no value.
        let Self {
            top: _,
            open: _,
            names: _,
            keys: _,
            moved: _,
            places: _,
            kept: _,
            examples: _,
            blocks: _,
            seed: _,
            last_span: _,
        } = &*thread_state;
        thread_state
    }

    /// The id of a trace, never 0. Its low half is random, as sampling and W3C's flag want it; the high half is the state
    /// that it was made of, so that no two of a thread's are the same.
    #[inline(always)]
    pub(crate) fn trace_id(&self) -> u128 {
        let seed = self.seed.get().wrapping_add(0xA076_1D64_78BD_642F);
        self.seed.set(seed);
        let mixed = u128::from(seed) * u128::from(seed ^ 0xE703_7ED1_A0B4_28DB);
        let low = (mixed >> 64) as u64 ^ mixed as u64;
        (u128::from(seed) << 64) | u128::from(if low == 0 { 1 } else { low })
    }

    /// The id of a span, never 0. All of a thread's are different: they go round 2^64 in steps of [`GOLDEN`], from where
    /// chance has it. Only the trace's id decides anything, so no more is asked of them; this saves six instructions.
    #[inline(always)]
    pub(crate) fn span_id(&self) -> u64 {
        let id = self.last_span.get().wrapping_add(GOLDEN);
        self.last_span.set(id);
        if id == 0 { 1 } else { id }
    }

    /// The innermost open span.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<Ids> {
        let top = self.top.get();
        if top < 0 { None } else { Some(self.open[(top as usize).min(DEPTH)].get()) }
    }

    /// Whether an open span has one of these marks.
    #[cold]
    pub(crate) fn any_has(&self, trace_flags: u64) -> bool {
        self.kept_entries().iter().any(|open| open.get().trace_flags.has(trace_flags))
    }

    /// Where the next span would stand, and what it would stand in; `None` if only [`enter`](Self::enter) can tell.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<(StackIndex, Option<Ids>)> {
        let place = self.top.get() + 1;
        if place as usize >= DEPTH {
            return None;
        }
        Some((place, if place == 0 { None } else { Some(self.open[place as usize - 1].get()) }))
    }

    /// The entry that a span stands in, of a place that [`next`](Self::next) has named.
    #[inline(always)]
    pub(crate) fn around(&self, place: StackIndex) -> Option<Ids> {
        // The mask spares a check of bounds.
        if place == 0 { None } else { Some(self.open[(place - 1) as usize & (DEPTH - 1)].get()) }
    }

    /// Makes a span the innermost, at the place that [`next`](Self::next) has just named.
    #[inline(always)]
    pub(crate) fn enter_at(&self, place: StackIndex, span: Ids) {
        debug_assert_eq!(place, self.top.get() + 1);
        self.open[place as usize].set(span);
        self.top.set(place);
    }

    /// Makes a span the innermost; returns its place.
    #[inline(always)]
    pub(crate) fn enter(&self, span: Ids) -> StackIndex {
        self.enter_from(&span)
    }

    /// Like [`enter`](Self::enter), but copies the ids from where they are.
    #[inline(always)]
    pub(crate) fn enter_from(&self, span: &Ids) -> StackIndex {
        let place = self.top.get() + 1;
        if place as usize >= DEPTH {
            return self.enter_slow(*span);
        }
        self.open[place as usize].set(*span);
        self.top.set(place);
        place
    }

    /// The innermost place, or more while the stack is in disorder.
    #[inline(always)]
    pub(crate) fn top(&self) -> StackIndex {
        self.top.get()
    }

    /// Fast path of an exit: pops the entry if it is the innermost, and says whether it was the last. `None` for any
    /// other, which is [`exit`](Self::exit)'s.
    #[inline(always)]
    pub(crate) fn pop(&self, place: StackIndex, span_id: u64) -> Option<bool> {
        // The mask spares a check of bounds: a place that is too deep finds an entry of another id.
        if place != self.top.get() || self.open[place as usize & (DEPTH - 1)].get().span_id != span_id {
            return None;
        }
        let below = place - 1;
        self.top.set(below);
        Some(below < 0)
    }

    /// Whether a sample is to go along as an exemplar: the first of its series and power of two in an epoch.
    #[inline(always)]
    pub(crate) fn is_example(&self, series: u32, value: u64, epoch: u32) -> bool {
        let octave = 64 - value.leading_zeros();
        let at = series.wrapping_mul(61).wrapping_add(octave) as usize & (EXAMPLES - 1);
        self.examples[at].replace(epoch) != epoch
    }

    /// Room for a long span, if one was given back.
    #[cold]
    pub(crate) fn take_block(&self) -> Option<Box<Block>> {
        self.blocks.borrow_mut().pop()
    }

    /// Gives room back, unless there is enough of it.
    #[cold]
    pub(crate) fn give_block(&self, mut block: Box<Block>) -> Option<Box<Block>> {
        let mut blocks = self.blocks.borrow_mut();
        if blocks.len() >= BLOCKS {
            return Some(block);
        }
        block.clear();
        blocks.push(block);
        None
    }

    /// The name, if this thread has met this very text as the name of spans of this kind.
    #[inline(always)]
    pub(crate) fn name(&self, text: &'static str, kind: u8) -> Option<SpanNameMeta> {
        self.names.find(text, kind)
    }

    /// The same, if that takes but one look.
    #[inline(always)]
    pub(crate) fn name_fast(&self, text: &'static str, kind: u8) -> Option<&Cell<SpanNameMeta>> {
        self.names.find_home(text, kind).map(|there| &there.known)
    }

    /// The key's number, if this thread has met this very text.
    #[inline(always)]
    pub(crate) fn key(&self, text: &'static str) -> Option<u32> {
        self.keys.find(text, 0)
    }

    /// The same, if that takes but one look.
    #[inline(always)]
    pub(crate) fn key_fast(&self, text: &'static str) -> Option<u32> {
        self.keys.find_home(text, 0).map(|there| there.known.get())
    }

    /// Remembers a name.
    #[cold]
    pub(crate) fn remember(&self, text: &'static str, kind: u8, known: SpanNameMeta) {
        self.names.remember(text, kind, known);
    }

    /// Remembers a key.
    #[cold]
    pub(crate) fn remember_key(&self, text: &'static str, number: u32) {
        self.keys.remember(text, 0, number);
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn ids(span_id: u64) -> Ids {
        Ids { trace_id: 1, span_id, trace_flags: TraceFlags(TraceFlags::SAMPLED) }
    }

    #[test]
    fn spans_nest_and_leave_in_any_order() {
        let thread_state = ThreadState::new();
        let end = |place, span_id| {
            thread_state.pop(place, span_id).unwrap_or_else(|| thread_state.exit(place, span_id, Exit::Span))
        };
        let (a, b) = (thread_state.enter(ids(1)), thread_state.enter(ids(2)));
        end(a, 1);
        assert_eq!(thread_state.current(), None, "the outer one takes the inner one along");
        let (c, d) = (thread_state.enter(ids(3)), thread_state.enter(ids(4)));
        end(b, 2);
        assert_eq!(thread_state.current(), Some(ids(4)), "a span that was ended already ends nobody");
        end(d, 4);
        assert_eq!(thread_state.current(), Some(ids(3)));
        end(c, 3);
        assert_eq!(thread_state.current(), None);
    }

    #[test]
    fn a_million_open_spans_take_no_more_room() {
        let thread_state = ThreadState::new();
        let places: Vec<_> = (1..=1_000_000).map(|id| thread_state.enter(ids(id))).collect();
        assert_eq!(thread_state.current(), Some(ids(DEPTH as u64)));
        for place in places.into_iter().rev() {
            let span_id = place as u64 + 1;
            thread_state.pop(place, span_id).unwrap_or_else(|| thread_state.exit(place, span_id, Exit::Span));
        }
        assert_eq!(thread_state.current(), None);
    }

    #[test]
    fn names_are_known_by_their_address() {
        let thread_state = ThreadState::new();
        let text: &'static str = "parse and index";
        assert!(thread_state.name(text, 0).is_none());
        let known = SpanNameMeta::new(7, SpanKind::Server, 8, 9);
        assert_eq!((known.name(), known.red_metrics.durations(), known.red_metrics.errors()), (7, 8, 9));
        thread_state.remember(text, 1, known);
        assert_eq!((thread_state.name(text, 1), thread_state.name(text, 0)), (Some(known), None));
        assert!(thread_state.name(&text[..5], 1).is_none(), "the same address, another text");
        assert_eq!(thread_state.key(text), None);
        thread_state.remember_key(text, 0);
        assert_eq!((thread_state.key(text), thread_state.key(&text[..5])), (Some(0), None));
    }

    #[test]
    fn as_many_texts_as_are_promised_stay_known() {
        static LETTERS: [u8; 1_000] = [b'x'; 1_000];
        let texts = std::str::from_utf8(&LETTERS).unwrap();
        let met = InternCache::new();
        let text = |number: usize| &texts[number..number + 1];
        (0..1_000).for_each(|number| met.remember(text(number), 0, number));
        for number in 0..NAMES / 4 * 3 {
            let found = met.find(text(number), 0);
            assert!(found.is_none_or(|found| found == number), "never another's");
        }
        let kept = (0..1_000).filter(|number| met.find(text(*number), 0) == Some(*number)).count();
        assert!(kept >= NAMES / 4 * 3, "{kept} of 1,000 are known");
        let few = InternCache::new();
        (0..NAMES / 4 * 3).for_each(|number| few.remember(text(number), 0, number));
        assert!((0..NAMES / 4 * 3).all(|number| few.find(text(number), 0) == Some(number)));
    }

    #[test]
    fn ids_differ() {
        let thread_state = ThreadState::new();
        let traces: Vec<u128> = (0..10_000).map(|_| thread_state.trace_id()).collect();
        let spans = (0..10_000).map(|_| thread_state.span_id());
        for ids in [
            traces.iter().map(|id| *id as u64).collect::<Vec<_>>(),
            traces.iter().map(|id| (*id >> 64) as u64).collect(),
            spans.collect(),
        ] {
            let different: std::collections::HashSet<_> = ids.iter().collect();
            assert_eq!(different.len(), ids.len());
        }
        assert!(!traces.iter().any(|id| *id as u64 == 0));
    }
}
