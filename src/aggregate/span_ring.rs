//! The latest spans, encoded, in a room of so many words that is gone round and round. Called by [`KeptSpans`] with
//! every span that is kept, and for snapshots; off every hot path.
//!
//! A span is never cut in two: where it does not fit before the end of the room, it goes to the beginning. So keeping one
//! is one copy, and it is read as one slice.
//!
//! [`KeptSpans`]: super::spans::KeptSpans

use crate::record::{layout, move_times};

/// Words of the first room; it doubles until it is as large as it may be.
const FIRST: usize = 1 << 10;

#[derive(Debug)]
pub(super) struct SpanRing {
    /// Up to `back` the newer spans, from `front` on the older ones, nothing between the two.
    words: Vec<u64>,
    back: usize,
    front: usize,
    cap: usize,
    evicted: u64,
}

impl SpanRing {
    /// Room for `cap` words.
    pub(super) fn new(cap: usize) -> Self {
        Self { words: Vec::new(), back: 0, front: 0, cap, evicted: 0 }
    }

    /// Spans that went to make room, and those that were larger than all the room there is.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.words.capacity()
    }

    /// Keeps a span, and lets the oldest go to make room.
    #[inline(always)]
    pub(super) fn keep(&mut self, span: &[u64]) {
        if span.len() > self.cap {
            self.evicted += 1;
            return;
        }
        while self.front - self.back < span.len() {
            match self.words.get(self.front) {
                Some(oldest) => {
                    self.front = (self.front + length(*oldest)).min(self.words.len());
                    self.evicted += 1;
                }
                None => self.turn(span.len()),
            }
        }
        let free = &mut self.words[self.back..self.back + span.len()];
        self.back += span.len();
        match (free.as_mut_array(), span.as_array()) {
            // Most spans carry nothing: that is four moves here, and a call for others.
            (Some(free), Some(span)) => *free = *span as [u64; layout::SPAN_WORDS],
            _ => free.copy_from_slice(span),
        }
    }

    /// After the last of the older spans: makes the room larger, or goes back to its beginning.
    #[cold]
    fn turn(&mut self, needed: usize) {
        let enough = self.back + needed;
        if enough <= self.cap {
            let larger = (2 * self.words.len()).max(FIRST).min(self.cap).max(enough);
            self.words.reserve_exact(larger - self.words.len());
            self.words.resize(larger, 0);
            self.front = larger;
        } else {
            self.words.truncate(self.back);
            (self.back, self.front) = (0, 0);
        }
    }

    /// All words, oldest first: those of the older spans, then those of the newer.
    pub(super) fn parts(&self) -> [&[u64]; 2] {
        [&self.words[self.front..], &self.words[..self.back]]
    }

    /// Moves the times of all spans.
    #[cold]
    pub(super) fn move_times(&mut self, moved: impl Fn(u64) -> u64) {
        move_times(&mut self.words[self.front..], &moved);
        move_times(&mut self.words[..self.back], &moved);
    }

    /// The spans, oldest first.
    pub(super) fn spans(&self) -> impl Iterator<Item = &[u64]> {
        self.parts().into_iter().flat_map(|mut rest| {
            std::iter::from_fn(move || {
                let (span, after) = rest.split_at_checked(length(*rest.first()?))?;
                rest = after;
                Some(span)
            })
        })
    }
}

/// Words of the span that begins with this one.
#[inline]
fn length(header: u64) -> usize {
    layout::words(header).max(1)
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A span of so many words that says which it is.
    fn span(number: u64, words: usize) -> Vec<u64> {
        let mut span = vec![number; words];
        span[0] = layout::header(layout::KIND_SPAN, 0, words, 0, 0);
        span
    }

    proptest! {
        #[test]
        fn the_newest_are_there_and_the_others_were_counted(
            cap in 0..5_000_usize,
            lengths in prop::collection::vec(prop_oneof![4 => Just(7), 2 => 7..40_usize, 1 => 7..4_000_usize], 0..400),
        ) {
            let mut latest = SpanRing::new(cap);
            let longest = lengths.iter().copied().filter(|words| *words <= cap).max().unwrap_or(0);
            let mut all: Vec<Vec<u64>> = Vec::new();
            for (number, words) in lengths.into_iter().enumerate() {
                latest.keep(&span(number as u64, words));
                if words <= cap {
                    all.push(span(number as u64, words));
                }
                let kept: Vec<_> = latest.spans().collect();
                let gone = all.len() - kept.len();
                prop_assert!(kept.iter().zip(&all[gone..]).all(|(kept, span)| *kept == &span[..]));
                prop_assert_eq!(latest.evicted(), (number + 1 - kept.len()) as u64);
                let used: usize = kept.iter().map(|span| span.len()).sum();
                prop_assert_eq!(latest.parts().concat(), kept.concat());
                prop_assert!(latest.words.len() <= cap && latest.words.capacity() <= cap.max(4));
                // What is free is less than a span at either place where one did not fit.
                prop_assert!(gone == 0 || used + 2 * longest > cap, "{used} of {cap}");
            }
        }
    }
}
