//! A circular buffer of the latest encoded spans. [`KeptSpans`] adds every span that is kept, and reads the buffer for
//! snapshots; off every hot path.
//!
//! A span is never split: if it does not fit before the end of the buffer, it goes to the beginning. So keeping a span
//! takes one copy, and a span is read as one slice.
//!
//! [`KeptSpans`]: super::spans::KeptSpans

use crate::record::{layout, move_times};

/// The initial size in words; the buffer doubles until it reaches its cap.
const FIRST: usize = 1 << 10;

/// The latest spans in one buffer of at most `cap` words.
#[derive(Debug)]
pub(super) struct SpanRing {
    /// The newer spans end at `back`, the older ones begin at `front`; the words in between are free.
    words: Vec<u64>,
    back: usize,
    front: usize,
    cap: usize,
    evicted: u64,
}

impl SpanRing {
    /// Creates an empty buffer for at most `cap` words.
    pub(super) fn new(cap: usize) -> Self {
        Self { words: Vec::new(), back: 0, front: 0, cap, evicted: 0 }
    }

    /// The number of spans evicted to make room, and of spans larger than the whole buffer.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.words.capacity()
    }

    /// Keeps a span, and evicts the oldest spans to make room.
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
                None => self.grow_or_wrap(span.len()),
            }
        }
        let free = &mut self.words[self.back..self.back + span.len()];
        self.back += span.len();
        match (free.as_mut_array(), span.as_array()) {
            // Most spans have no items. Copying one of those is inlined as four moves; any other span needs a call.
            (Some(free), Some(span)) => *free = *span as [u64; layout::SPAN_WORDS],
            _ => free.copy_from_slice(span),
        }
    }

    /// Makes room once no older span is left to evict: grows the buffer, or wraps to its beginning.
    #[cold]
    fn grow_or_wrap(&mut self, needed: usize) {
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

    /// The words of all spans, oldest first: those of the older spans, then those of the newer.
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

    /// A span of this many words that holds its number.
    fn span(number: u64, words: usize) -> Vec<u64> {
        let mut span = vec![number; words];
        span[0] = layout::header(layout::KIND_SPAN, 0, words, 0, 0);
        span
    }

    proptest! {
        #[test]
        fn the_newest_spans_are_kept_and_the_others_counted(
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
                // Two gaps can be free, one at the end of the buffer and one before `front`. Each is shorter than the
                // longest span.
                prop_assert!(gone == 0 || used + 2 * longest > cap, "{used} of {cap}");
            }
        }
    }
}
