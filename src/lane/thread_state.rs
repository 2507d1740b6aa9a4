//! Everything that a thread keeps for its spans and logs, in four parts. Owner thread only.
//!
//! Hot. Plain cells of fixed sizes, allocated at the thread's first touch. Memory that only few spans need is allocated
//! separately.

mod block_pool;
mod id_generator;
mod ids;
mod intern_cache;
mod span_stack;

pub(crate) use ids::{Ids, RedMetrics, SpanNameMeta, TraceFlags};
pub(crate) use span_stack::{Exit, StackIndex};

use block_pool::BlockPool;
use id_generator::IdGenerator;
use intern_cache::InternCache;
use span_stack::SpanStack;
use std::cell::Cell;

/// Entries of the table of exemplar epochs, a power of two. Two series that share an entry send fewer exemplars.
const EXAMPLES: usize = 512;
/// The state of one thread at one instance.
#[derive(Debug)]
pub(crate) struct ThreadState {
    pub(crate) spans: SpanStack,
    /// Span names that this thread has used, tagged with the span kind.
    pub(crate) names: InternCache<SpanNameMeta>,
    /// Keys of attributes and log fields that this thread has used, tagged 0.
    pub(crate) keys: InternCache<u32>,
    /// The aggregator's epoch in which an exemplar was last sent, by series and power of two.
    examples: [Cell<u32>; EXAMPLES],
    pub(crate) blocks: BlockPool,
    pub(crate) ids: IdGenerator,
}

impl ThreadState {
    /// The state of a thread that has no span open and has interned no text.
    ///
    /// It is built in place: as a value it would pass over the stack, twice its 20 KiB, four times that in a debug
    /// build, and a first touch would abort on a thread with a small stack.
    #[allow(unsafe_code)] // safe Rust builds a value before it moves it into its box
    pub(crate) fn new() -> Box<Self> {
        let mut state = Box::<Self>::new_zeroed();
        let at = state.as_mut_ptr();
        // SAFETY: `at` points to zeroed memory of the box, for a whole state. `init` writes the stack's fields for
        // which zeros are no value, and the pool and the generator are written whole. All others are cells of integers
        // and of one flag, arrays of them, and plain structs of them, for which zeros are a value: no span, no text, no
        // epoch.
        let state = unsafe {
            SpanStack::init(&raw mut (*at).spans);
            (&raw mut (*at).blocks).write(BlockPool::new());
            (&raw mut (*at).ids).write(IdGenerator::seeded());
            state.assume_init()
        };
        // A new field fails to compile here, so that nobody adds one for which zeros are no value.
        let Self { spans: _, names: _, keys: _, examples: _, blocks: _, ids: _ } = &*state;
        state
    }

    /// Returns `true` if a sample becomes an exemplar: it is the first of its series and power of two in an epoch.
    #[inline(always)]
    pub(crate) fn is_example(&self, series: u32, value: u64, epoch: u32) -> bool {
        let octave = 64 - value.leading_zeros();
        let at = series.wrapping_mul(61).wrapping_add(octave) as usize & (EXAMPLES - 1);
        self.examples[at].replace(epoch) != epoch
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::record::SpanKind;

    #[test]
    fn names_are_cached_by_their_address() {
        let state = ThreadState::new();
        let text: &'static str = "parse and index";
        assert!(state.names.get(text, 0).is_none());
        let known = SpanNameMeta::new(7, SpanKind::Server, 8, 9);
        assert_eq!((known.name(), known.red_metrics.durations(), known.red_metrics.errors()), (7, 8, 9));
        state.names.insert(text, 1, known);
        assert_eq!((state.names.get(text, 1), state.names.get(text, 0)), (Some(known), None));
        assert!(state.names.get(&text[..5], 1).is_none(), "the same address, another text");
        assert_eq!(state.keys.get(text, 0), None);
        state.keys.insert(text, 0, 0);
        assert_eq!((state.keys.get(text, 0), state.keys.get(&text[..5], 0)), (Some(0), None));
    }
}
