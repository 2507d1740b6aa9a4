//! Ids of traces and spans. Hot: two words of state, no lock, no system call after the thread's first touch.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// 2^64 divided by the golden ratio, made odd (Knuth).
pub(super) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The generator of one thread.
#[derive(Debug)]
pub(crate) struct IdGenerator {
    /// State of the trace ids: wyrand (Wang Yi), a counter with a mixed output.
    seed: Cell<u64>,
    /// The last span id.
    last_span: Cell<u64>,
}

impl IdGenerator {
    pub(super) fn seeded() -> Self {
        // std seeds a `RandomState` from the operating system, once a thread, and varies it each time. The process id
        // tells a forked child apart.
        let random = || Cell::new(RandomState::new().hash_one(std::process::id()));
        Self { seed: random(), last_span: random() }
    }

    /// Generates a trace id, never 0. Its low half is random, as sampling and W3C's random flag require. Its high half
    /// is the state that the low half was mixed from, so no two trace ids of a thread are the same.
    #[inline(always)]
    pub(crate) fn trace_id(&self) -> u128 {
        let seed = self.seed.get().wrapping_add(0xA076_1D64_78BD_642F);
        self.seed.set(seed);
        let mixed = u128::from(seed) * u128::from(seed ^ 0xE703_7ED1_A0B4_28DB);
        let low = (mixed >> 64) as u64 ^ mixed as u64;
        (u128::from(seed) << 64) | u128::from(if low == 0 { 1 } else { low })
    }

    /// Generates a span id, never 0. No two span ids of a thread are the same: they step through 2^64 by [`GOLDEN`]
    /// from a random start. Sampling reads only the trace id, so span ids need no better mixing; this saves six
    /// instructions.
    #[inline(always)]
    pub(crate) fn span_id(&self) -> u64 {
        let id = self.last_span.get().wrapping_add(GOLDEN);
        self.last_span.set(id);
        if id == 0 { 1 } else { id }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let generator = IdGenerator::seeded();
        let traces: Vec<u128> = (0..10_000).map(|_| generator.trace_id()).collect();
        let spans = (0..10_000).map(|_| generator.span_id());
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
