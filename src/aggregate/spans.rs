//! Finished spans: the latest, the slowest, and the slowest local roots with their traces, kept encoded. Called by the
//! step with every span that is kept; off every hot path.

use super::span_ring::SpanRing;
use crate::record::{Frame, move_times};
use crate::snapshot::EncodedTrace;
use std::sync::Arc;

/// How many of the slowest are kept.
const SLOWEST: usize = 16;
/// How many of the slowest traces are.
const TRACES: usize = 8;
/// Words of a trace's spans, the root beside.
const TRACE_WORDS: usize = 512;

/// The latest spans, the slowest, and the slowest traces.
type SharedSpans = (Arc<Vec<u64>>, Arc<[u64]>, Arc<[EncodedTrace]>);

#[derive(Debug)]
pub(super) struct KeptSpans {
    latest: SpanRing,
    /// Duration in ticks and words, slowest first.
    slowest: Vec<(u64, Box<[u64]>)>,
    /// Slowest first.
    traces: Vec<SlowTrace>,
    /// What took less is none of the slowest: of spans that are no local roots, and of local roots. So most spans pay
    /// one comparison.
    least: [u64; 2],
    /// What the last snapshot got; `None` if something came since.
    shown: Option<SharedSpans>,
}

/// One of the slowest local roots.
#[derive(Debug)]
struct SlowTrace {
    /// In ticks.
    duration: u64,
    /// The pass that met it, until its trace has been gathered: a pass later, when whatever ended before it is there.
    met: Option<u64>,
    encoded: EncodedTrace,
}

impl KeptSpans {
    /// Room for `cap` words of the latest spans.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            latest: SpanRing::new(cap),
            slowest: Vec::with_capacity(SLOWEST),
            traces: Vec::with_capacity(TRACES),
            least: [0; 2],
            shown: None,
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.latest.evicted()
    }

    pub(super) fn bytes(&self) -> usize {
        let slowest: usize = self.slowest.iter().map(|(_, words)| words.len()).sum();
        let traces = self.traces.iter().map(|trace| trace.encoded.root.len() + trace.encoded.spans.len());
        8 * (slowest + traces.sum::<usize>()) + self.latest.bytes()
    }

    /// Keeps a span, and lets the oldest go to make room.
    #[inline(always)]
    pub(super) fn keep(&mut self, span: Frame<'_>, pass: u64) {
        if self.shown.is_some() {
            self.shown = None;
        }
        if span.words[2] >= self.least[usize::from(span.is_local_root())] {
            self.rank(span, pass);
        }
        self.latest.keep(span.words);
    }

    /// Moves the times of all spans by so many ticks, wrapping: the clock was set back.
    #[cold]
    pub(super) fn move_times(&mut self, by: u64) {
        let moved = |at: u64| at.wrapping_add(by);
        self.latest.move_times(moved);
        self.slowest.iter_mut().for_each(|(_, words)| move_times(words, moved));
        for SlowTrace { encoded, .. } in &mut self.traces {
            move_times(&mut encoded.root, moved);
            move_times(&mut encoded.spans, moved);
        }
        self.shown = None;
    }

    /// Puts a span among the slowest, and a local root among the slowest of those, if it is one of them.
    #[inline(never)]
    fn rank(&mut self, span: Frame<'_>, pass: u64) {
        let duration = span.words[2];
        let at = self.slowest.partition_point(|(slower, _)| *slower >= duration);
        if at < SLOWEST {
            self.slowest.truncate(SLOWEST - 1);
            self.slowest.insert(at, (duration, span.words.into()));
        }
        let at = self.traces.partition_point(|slower| slower.duration >= duration);
        if span.is_local_root() && at < TRACES {
            let encoded = EncodedTrace { root: span.words.into(), ..EncodedTrace::default() };
            self.traces.truncate(TRACES - 1);
            self.traces.insert(at, SlowTrace { duration, met: Some(pass), encoded });
        }
        let slow = self.slowest.get(SLOWEST - 1).map_or(0, |(least, _)| least.saturating_add(1));
        let slow_root = self.traces.get(TRACES - 1).map_or(0, |least| least.duration.saturating_add(1));
        self.least = [slow, slow.min(slow_root)];
    }

    /// After a pass that went through: the traces of roots that an earlier one met are there.
    pub(super) fn end_of_pass(&mut self, pass: u64) {
        let is_ripe = |trace: &SlowTrace| trace.met.is_some_and(|met| met < pass);
        if self.traces.iter().any(is_ripe) {
            self.gather(is_ripe);
            self.shown = None;
            self.traces.iter_mut().filter(|trace| is_ripe(trace)).for_each(|trace| trace.met = None);
        }
    }

    /// Collects the spans of some traces from the latest.
    fn gather(&mut self, which: impl Fn(&SlowTrace) -> bool) {
        let mut wanted: Vec<_> = self.traces.iter_mut().filter(|trace| which(trace)).collect();
        if wanted.is_empty() {
            return; // the latest may be a million words
        }
        let mut found = vec![(Vec::new(), 0); wanted.len()];
        for span in self.latest.spans() {
            for (trace, (spans, more)) in wanted.iter().zip(&mut found) {
                // Trace id and span id: three to five, as the record room has it.
                let same = |word: usize| trace.encoded.root.get(word) == span.get(word);
                if !same(4) || !same(3) || same(5) {
                    continue; // of another trace, or the root itself
                }
                if spans.len() + span.len() <= TRACE_WORDS {
                    spans.extend_from_slice(span);
                } else {
                    *more += 1;
                }
            }
        }
        for (trace, (spans, more)) in wanted.iter_mut().zip(found) {
            (trace.encoded.spans, trace.encoded.more) = (spans.into(), more);
        }
    }

    /// The latest, oldest first; the slowest, slowest first; and the slowest traces.
    pub(super) fn show(&mut self) -> SharedSpans {
        if self.shown.is_none() {
            self.gather(|trace| trace.met.is_some()); // as far as they are there
        }
        let make = || {
            let latest = Arc::new(self.latest.parts().concat());
            let slowest = self.slowest.iter().flat_map(|(_, words)| words.iter().copied()).collect();
            let traces = self.traces.iter().map(|trace| trace.encoded.clone()).collect();
            (latest, slowest, traces)
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
        kept.keep(frame(&words).unwrap(), 1);
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

    #[test]
    fn the_slowest_roots_have_their_traces_as_far_as_there_is_room() {
        let put = |kept: &mut KeptSpans, trace_id: u128, span_id: u64, local_root: bool, pass: u64| {
            let duration = if local_root { trace_id as u64 } else { 0 };
            let span = Span { trace_id, span_id, duration, local_root, ..Span::default() };
            let mut words = Vec::new();
            encode(&Record::Span(span), &mut words).unwrap();
            kept.keep(frame(&words).unwrap(), pass);
        };
        let mut kept = KeptSpans::new(1 << 12);
        for trace in 1..=10 {
            put(&mut kept, trace, 1, true, 1);
            put(&mut kept, trace, 2, false, 1);
        }
        kept.end_of_pass(1);
        put(&mut kept, 10, 3, false, 2); // met in another ring, a pass later
        (0..100).for_each(|id| put(&mut kept, 9, 4 + id, false, 2));
        kept.end_of_pass(2);
        put(&mut kept, 10, 4, false, 3); // too late
        kept.end_of_pass(3);
        let traces = kept.show().2;
        let roots: Vec<_> = traces.iter().map(|trace| trace.root[4]).collect();
        assert_eq!(roots, [10, 9, 8, 7, 6, 5, 4, 3]);
        assert_eq!((ids(&traces[0].spans), traces[0].more), (vec![2, 3], 0));
        assert_eq!((traces[1].spans.len() / 7, traces[1].more), (TRACE_WORDS / 7, 101 - TRACE_WORDS / 7));
        assert_eq!(ids(&traces[2].spans), [2]);
    }
}
