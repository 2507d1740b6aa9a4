//! What a thread keeps for its spans: the open ones, an id generator, and the names it has used. Owner thread only.
//!
//! Hot. Plain cells of fixed sizes, made at the thread's first touch; what only a few spans need lies behind them.

#[cfg(feature = "tracing")]
mod step;

use crate::context::Carried;
use crate::record::{Block, SpanKind, layout, span_header};
use crate::sync::Arc;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};

/// Ids spans whose contexts are kept; deeper ones are recorded as children of the deepest kept.
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
    pub(crate) marks: Marks,
}

impl Ids {
    /// Whether they are a span's. A context without a span carries baggage only.
    #[inline(always)]
    pub(crate) fn is_span(&self) -> bool {
        self.span_id != 0
    }
}

/// What goes for a trace, as bits. The two lowest are those of W3C's `traceparent`; three of them stand in the flags of
/// a span's record as they stand here, moved up ([`span_flags`](Self::span_flags)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(pub(crate) u8);

impl Marks {
    pub(crate) const SAMPLED: u8 = 1;
    /// Whoever made the trace id says that it is random.
    pub(crate) const RANDOM: u8 = 2;
    /// Trace state or baggage came along: see [`Desk::carried`].
    pub(crate) const CARRIES: u8 = 8;
    /// Samples recorded in it may become exemplars.
    pub(crate) const EXAMPLES: u8 = 16;
    /// These are the ids of a span in another process: what is opened under it is its process's first.
    pub(crate) const REMOTE: u8 = 32;
    /// Not sampled; the trace's outcome decides whether it is kept.
    pub(crate) const HELD: u8 = 64;
    /// On a thread's stack only: whose place this was has been left, and what is around shows through.
    const LEFT: u8 = 128;

    /// The flags of a span opened under what has these marks; of a root, under its own as if they were remote.
    #[inline(always)]
    pub(crate) const fn span_flags(self) -> u64 {
        ((self.0 & (Self::SAMPLED | Self::HELD | Self::REMOTE)) as u64) << 2
    }

    #[inline(always)]
    pub(crate) fn has(self, any: u8) -> bool {
        self.0 & any != 0
    }

    /// What a child inherits.
    #[inline(always)]
    pub(crate) fn inherited(self) -> Self {
        Self(self.0 & !(Self::REMOTE | Self::LEFT))
    }

    /// What may leave the stack it stood on.
    #[inline(always)]
    pub(crate) fn off_stack(self) -> Self {
        Self(self.0 & !Self::LEFT)
    }
}

const _: () = {
    assert!(Marks(Marks::SAMPLED).span_flags() == layout::FLAG_SAMPLED);
    assert!(Marks(Marks::HELD).span_flags() == layout::FLAG_HELD);
    assert!(Marks(Marks::REMOTE).span_flags() == layout::FLAG_LOCAL_ROOT);
};

/// What a span's name and kind stand for. Two whole words, so that they are copied in registers: pieces of words would
/// have a span's start wait for its own stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownName {
    /// The [header](span_header) of its spans' records.
    pub(crate) header: u64,
    pub(crate) measures: Measures,
}

impl KnownName {
    /// A name's number, 0 being none's; the histogram of its durations; the counter cell of its errors.
    pub(crate) const fn new(name: u32, kind: SpanKind, durations: u32, errors: u32) -> Self {
        let measures = Measures(((errors as u64) << 32) | durations as u64);
        Self { header: span_header(name, kind as u64), measures }
    }

    /// The name's number.
    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) const fn name(self) -> u32 {
        layout::id(self.header)
    }
}

/// What is counted of the spans of a name, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measures(u64);

impl Measures {
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
struct Met<V: Copy> {
    places: [Text<V>; NAMES],
    filled: Cell<usize>,
}

/// A text as this thread met it, and what it was met as. Length + 1, so that a vacant place is no text's.
#[derive(Debug, Default)]
struct Text<V: Copy> {
    address: Cell<usize>,
    len_and_one: Cell<usize>,
    known: Cell<V>,
}

/// One text may be met as several things (the name of spans of several kinds): they stand above its length.
const AS_SHIFT: u32 = 56;

impl<V: Copy + Default> Met<V> {
    #[cfg(all(test, not(tellane_loom)))]
    fn new() -> Self {
        Self { places: std::array::from_fn(|_| Text::default()), filled: Cell::new(0) }
    }

    /// Where to begin to look: the multiplication spreads neighbouring literals.
    #[inline(always)]
    fn place(text: &'static str) -> usize {
        let address = text.as_ptr() as usize as u64;
        (address.wrapping_mul(GOLDEN) >> 56) as usize & (NAMES - 1)
    }

    #[inline(always)]
    fn find(&self, text: &'static str, of: u8) -> Option<V> {
        let there = self.find_at_once(text, of);
        let there = there.or_else(|| self.find_further(Self::place(text), text, Self::len_and_one(text, of)));
        there.map(|there| there.known.get())
    }

    /// In its first place or not at all.
    #[inline(always)]
    fn find_at_once(&self, text: &'static str, of: u8) -> Option<&Text<V>> {
        let there = &self.places[Self::place(text)];
        let found = there.address.get() == text.as_ptr() as usize
            && there.len_and_one.get() == Self::len_and_one(text, of);
        found.then_some(there)
    }

    /// A text whose first place is another's. Out of line, so that what is usual needs few registers.
    #[inline(never)]
    fn find_further(&self, mut at: usize, text: &'static str, len_and_one: usize) -> Option<&Text<V>> {
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
pub(crate) struct Desk {
    /// Spans open on this thread, kept or not.
    depth: Cell<usize>,
    open: [Cell<Ids>; DEPTH],
    names: Met<KnownName>,
    keys: Met<u32>,
    /// Trace state and baggage of contexts that were attached here: place and span id, to tell whether it still holds.
    carried: RefCell<Vec<(usize, u64, Arc<Carried>)>>,
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

impl Desk {
    /// A desk of a thread that has no span open and knows no text.
    ///
    /// It is built where it stays: as a value it would pass over the stack, twice its 20 KiB, four times that in a
    /// debug build, and a first touch would abort on a thread with a small stack.
    #[allow(unsafe_code)] // safe Rust builds a value before it moves it into its box
    pub(crate) fn new() -> Box<Self> {
        let mut desk = Box::<Self>::new_zeroed();
        let at = desk.as_mut_ptr();
        // SAFETY: `at` points to memory of the box, for all of a desk. The four fields written are those for which zeros
        // are no value or the wrong one. All others are cells of integers, arrays of them, and plain structs of
        // them, for which zeros are a value: no span, no text, no epoch.
        let desk = unsafe {
            (&raw mut (*at).carried).write(RefCell::new(Vec::new()));
            (&raw mut (*at).blocks).write(RefCell::new(Vec::with_capacity(BLOCKS)));
            // std seeds a `RandomState` from the operating system, once a thread, and varies it each time. The process
            // id tells a fork's child apart.
            (&raw mut (*at).seed).write(Cell::new(RandomState::new().hash_one(std::process::id())));
            (&raw mut (*at).last_span).write(Cell::new(RandomState::new().hash_one(std::process::id())));
            desk.assume_init()
        };
        // A new field fails to compile here, so that nobody adds one for which zeros are no value.
        let Self {
            depth: _,
            open: _,
            names: _,
            keys: _,
            carried: _,
            examples: _,
            blocks: _,
            seed: _,
            last_span: _,
        } = &*desk;
        desk
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
        let depth = self.depth.get();
        if depth == 0 { None } else { Some(self.open[(depth - 1).min(DEPTH - 1)].get()) }
    }

    /// Whether an open span has one of these marks.
    #[cold]
    pub(crate) fn any_has(&self, marks: u8) -> bool {
        self.open.iter().take(self.depth.get()).any(|open| open.get().marks.has(marks))
    }

    /// Where the next span would stand, and what it would stand in; `None` for one that is too deep to be kept.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<(usize, Option<Ids>)> {
        let place = self.depth.get();
        if place >= DEPTH {
            return None;
        }
        Some((place, place.checked_sub(1).map(|around| self.open[around].get())))
    }

    /// Makes a span the innermost, at the place that [`next`](Self::next) has just named.
    #[inline(always)]
    pub(crate) fn enter_at(&self, place: usize, span: Ids) {
        debug_assert_eq!(place, self.depth.get());
        self.open[place].set(span);
        self.depth.set(place + 1);
    }

    /// Makes a span the innermost; returns its place.
    #[inline(always)]
    pub(crate) fn enter(&self, span: Ids) -> usize {
        self.enter_from(&span)
    }

    /// Like [`enter`](Self::enter), but copies the ids from where they are.
    #[inline(always)]
    pub(crate) fn enter_from(&self, span: &Ids) -> usize {
        let place = self.depth.get();
        if let Some(slot) = self.open.get(place) {
            slot.set(*span);
        }
        self.depth.set(place + 1);
        place
    }

    /// Ends the span at a place, and whatever was opened inside it and is still open: a span dropped out of order, or
    /// leaked inside another, must not become everybody's parent. A span that was so ended already changes nothing.
    /// Says whether it was the last one here.
    #[inline(always)]
    pub(crate) fn leave(&self, place: usize, span_id: u64) -> bool {
        let mine = match self.open.get(place) {
            Some(slot) => slot.get().span_id == span_id,
            None => true, // too deep to be kept: trust the place
        };
        let ends = mine && place < self.depth.get();
        if ends {
            self.depth.set(place);
            #[cfg(feature = "tracing")]
            self.drop_left(); // what it uncovers may have been left long ago
        }
        ends && self.depth.get() == 0
    }

    /// Makes a context the innermost that has trace state or baggage with it.
    #[cold]
    pub(crate) fn enter_carrying(&self, ids: Ids, carried: Arc<Carried>) -> usize {
        let place = self.enter(ids);
        let mut all = self.carried.borrow_mut();
        all.retain(|(at, span_id, _)| self.holds(*at, *span_id) && *at < place);
        all.push((place, ids.span_id, carried));
        place
    }

    /// What goes along with the innermost span.
    #[cold]
    pub(crate) fn carried(&self) -> Option<Arc<Carried>> {
        let all = self.carried.borrow();
        let mut holding = all.iter().rev().filter(|(at, span_id, _)| self.holds(*at, *span_id));
        holding.next().map(|(_, _, carried)| Arc::clone(carried))
    }

    fn holds(&self, place: usize, span_id: u64) -> bool {
        let there = self.open.get(place).is_none_or(|slot| slot.get().span_id == span_id);
        there && place < self.depth.get()
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
    pub(crate) fn name(&self, text: &'static str, kind: u8) -> Option<KnownName> {
        self.names.find(text, kind)
    }

    /// The same, if that takes but one look.
    #[inline(always)]
    pub(crate) fn name_at_once(&self, text: &'static str, kind: u8) -> Option<&Cell<KnownName>> {
        self.names.find_at_once(text, kind).map(|there| &there.known)
    }

    /// The key's number, if this thread has met this very text.
    #[inline(always)]
    pub(crate) fn key(&self, text: &'static str) -> Option<u32> {
        self.keys.find(text, 0)
    }

    /// The same, if that takes but one look.
    #[inline(always)]
    pub(crate) fn key_at_once(&self, text: &'static str) -> Option<u32> {
        self.keys.find_at_once(text, 0).map(|there| there.known.get())
    }

    /// Remembers a name.
    #[cold]
    pub(crate) fn remember(&self, text: &'static str, kind: u8, known: KnownName) {
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
        Ids { trace_id: 1, span_id, marks: Marks(Marks::SAMPLED) }
    }

    #[test]
    fn spans_nest_and_leave_in_any_order() {
        let desk = Desk::new();
        let (a, b) = (desk.enter(ids(1)), desk.enter(ids(2)));
        desk.leave(a, 1);
        assert_eq!(desk.current(), None, "the outer one takes the inner one along");
        let (c, d) = (desk.enter(ids(3)), desk.enter(ids(4)));
        desk.leave(b, 2);
        assert_eq!(desk.current(), Some(ids(4)), "a span that was ended already ends nobody");
        desk.leave(d, 4);
        assert_eq!(desk.current(), Some(ids(3)));
        desk.leave(c, 3);
        assert_eq!(desk.current(), None);
    }

    #[test]
    fn a_million_open_spans_take_no_more_room() {
        let desk = Desk::new();
        let places: Vec<_> = (1..=1_000_000).map(|id| desk.enter(ids(id))).collect();
        assert_eq!(desk.current(), Some(ids(DEPTH as u64)));
        for place in places.into_iter().rev() {
            desk.leave(place, place as u64 + 1);
        }
        assert_eq!(desk.current(), None);
    }

    #[test]
    fn names_are_known_by_their_address() {
        let desk = Desk::new();
        let text: &'static str = "parse and index";
        assert!(desk.name(text, 0).is_none());
        let known = KnownName::new(7, SpanKind::Server, 8, 9);
        assert_eq!((known.name(), known.measures.durations(), known.measures.errors()), (7, 8, 9));
        desk.remember(text, 1, known);
        assert_eq!((desk.name(text, 1), desk.name(text, 0)), (Some(known), None));
        assert!(desk.name(&text[..5], 1).is_none(), "the same address, another text");
        assert_eq!(desk.key(text), None);
        desk.remember_key(text, 0);
        assert_eq!((desk.key(text), desk.key(&text[..5])), (Some(0), None));
    }

    #[test]
    fn as_many_texts_as_are_promised_stay_known() {
        static LETTERS: [u8; 1_000] = [b'x'; 1_000];
        let texts = std::str::from_utf8(&LETTERS).unwrap();
        let met = Met::new();
        let text = |number: usize| &texts[number..number + 1];
        (0..1_000).for_each(|number| met.remember(text(number), 0, number));
        for number in 0..NAMES / 4 * 3 {
            let found = met.find(text(number), 0);
            assert!(found.is_none_or(|found| found == number), "never another's");
        }
        let kept = (0..1_000).filter(|number| met.find(text(*number), 0) == Some(*number)).count();
        assert!(kept >= NAMES / 4 * 3, "{kept} of 1,000 are known");
        let few = Met::new();
        (0..NAMES / 4 * 3).for_each(|number| few.remember(text(number), 0, number));
        assert!((0..NAMES / 4 * 3).all(|number| few.find(text(number), 0) == Some(number)));
    }

    #[test]
    fn ids_differ() {
        let desk = Desk::new();
        let traces: Vec<u128> = (0..10_000).map(|_| desk.trace_id()).collect();
        let spans = (0..10_000).map(|_| desk.span_id());
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
