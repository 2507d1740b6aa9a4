//! Finished spans: the latest and the slowest, kept encoded.

use crate::record::Frame;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many of the slowest are kept.
const SLOWEST: usize = 16;

#[derive(Debug)]
pub(super) struct KeptSpans {
    words: VecDeque<u64>,
    cap: usize,
    evicted: u64,
    /// Duration in ticks and words, slowest first.
    slowest: Vec<(u64, Box<[u64]>)>,
    /// What the last snapshot got; `None` if something came since.
    shown: Option<(Arc<[u64]>, Arc<[u64]>)>,
}

impl KeptSpans {
    /// Room for `cap` words of the latest spans.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            words: VecDeque::new(),
            cap,
            evicted: 0,
            slowest: Vec::with_capacity(SLOWEST + 1),
            shown: None,
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.words.capacity()
    }

    /// Keeps a span, and lets the oldest go to make room.
    #[inline]
    pub(super) fn keep(&mut self, span: &Frame<'_>, duration: u64) {
        self.shown = None;
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|(least, _)| duration > *least) {
            let at = self.slowest.partition_point(|(slower, _)| *slower >= duration);
            self.slowest.insert(at, (duration, span.words.into()));
            self.slowest.truncate(SLOWEST);
        }
        while self.words.len() + span.words.len() > self.cap {
            let Some(header) = self.words.front() else {
                self.evicted += 1; // larger than all the room there is
                return;
            };
            let oldest = crate::record::layout::words(*header);
            self.words.drain(..oldest.clamp(1, self.words.len()));
            self.evicted += 1;
        }
        self.words.extend(span.words);
    }

    /// The latest, oldest first, and the slowest, slowest first.
    pub(super) fn show(&mut self) -> (Arc<[u64]>, Arc<[u64]>) {
        let make = || {
            let latest = self.words.iter().copied().collect();
            let slowest = self.slowest.iter().flat_map(|(_, words)| words.iter().copied()).collect();
            (latest, slowest)
        };
        self.shown.get_or_insert_with(make).clone()
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::record::{Record, Span, encode, frame};

    fn keep(kept: &mut KeptSpans, id: u64, duration: u64) {
        let mut words = Vec::new();
        encode(&Record::Span(Span { span_id: id, duration, ..Span::default() }), &mut words).unwrap();
        kept.keep(&frame(&words).unwrap(), duration);
    }

    fn ids(words: &[u64]) -> Vec<u64> {
        words.chunks(7).map(|span| span[5]).collect()
    }

    #[test]
    fn the_oldest_goes_when_room_is_needed() {
        let mut kept = KeptSpans::new(3 * 7 + 2);
        (1..=5).for_each(|id| keep(&mut kept, id, 10));
        assert_eq!((ids(&kept.show().0), kept.evicted()), (vec![3, 4, 5], 2));
        let mut none = KeptSpans::new(3);
        keep(&mut none, 1, 10);
        assert_eq!((none.show().0.len(), none.evicted()), (0, 1));
    }

    #[test]
    fn the_slowest_stay_in_order() {
        let mut kept = KeptSpans::new(0);
        (0..100).for_each(|id| keep(&mut kept, id + 1, (id * 37) % 100));
        let expected: Vec<u64> = (84..100).rev().map(|duration| (duration * 73) % 100 + 1).collect();
        assert_eq!(ids(&kept.show().1), expected);
    }
}
