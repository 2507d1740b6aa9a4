//! Finished spans, kept encoded: the latest, the slowest, and the slowest local roots with their traces. The fold calls
//! this for every span that is kept; off every hot path.

use super::span_ring::SpanRing;
use crate::record::{Frame, move_times};
use crate::snapshot::EncodedTrace;
use std::sync::Arc;

/// The number of slowest spans that are kept.
const SLOWEST: usize = 16;
/// The number of slowest traces that are kept.
const TRACES: usize = 8;
/// The most words of a trace's spans, without its root.
const TRACE_WORDS: usize = 512;

/// The latest spans, the slowest, and the slowest traces.
type SharedSpans = (Arc<Vec<u64>>, Arc<[u64]>, Arc<[EncodedTrace]>);

/// The spans that snapshots show.
#[derive(Debug)]
pub(super) struct KeptSpans {
    latest: SpanRing,
    /// Duration in ticks and words, slowest first.
    slowest: Vec<(u64, Box<[u64]>)>,
    /// The slowest local roots with their traces, slowest first.
    traces: Vec<SlowTrace>,
    /// The shortest durations that enter the lists of the slowest: of spans that are no local roots, and of local
    /// roots. Anything faster is rejected with one comparison.
    thresholds: [u64; 2],
    /// The spans of the last snapshot; `None` if spans were added since.
    cached: Option<SharedSpans>,
}

/// One of the slowest local roots.
#[derive(Debug)]
struct SlowTrace {
    /// The root's duration in ticks.
    duration: u64,
    /// The pass in which the root was read; `None` once its trace has been gathered. That is a pass later, when all
    /// spans that ended before the root have been read.
    read_in: Option<u64>,
    encoded: EncodedTrace,
}

impl KeptSpans {
    /// Creates an empty collection with room for `cap` words of the latest spans.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            latest: SpanRing::new(cap),
            slowest: Vec::with_capacity(SLOWEST),
            traces: Vec::with_capacity(TRACES),
            thresholds: [0; 2],
            cached: None,
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

    /// Keeps a span that was read in this pass, and evicts the oldest to make room.
    #[inline(always)]
    pub(super) fn keep(&mut self, span: Frame<'_>, pass: u64) {
        if self.cached.is_some() {
            self.cached = None;
        }
        if span.words[2] >= self.thresholds[usize::from(span.is_local_root())] {
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
        self.cached = None;
    }

    /// Adds a span to the slowest spans if it is one of them, and a local root to the slowest traces.
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
            self.traces.insert(at, SlowTrace { duration, read_in: Some(pass), encoded });
        }
        let slow = self.slowest.get(SLOWEST - 1).map_or(0, |(least, _)| least.saturating_add(1));
        let slow_root = self.traces.get(TRACES - 1).map_or(0, |least| least.duration.saturating_add(1));
        self.thresholds = [slow, slow.min(slow_root)];
    }

    /// Ends a pass that did not panic: gathers the traces whose root was read in an earlier pass.
    pub(super) fn end_of_pass(&mut self, pass: u64) {
        let is_complete = |trace: &SlowTrace| trace.read_in.is_some_and(|read_in| read_in < pass);
        if self.traces.iter().any(is_complete) {
            self.gather(is_complete);
            self.cached = None;
            self.traces.iter_mut().filter(|trace| is_complete(trace)).for_each(|trace| trace.read_in = None);
        }
    }

    /// Collects the spans of some of the slowest traces from the latest spans.
    fn gather(&mut self, which: impl Fn(&SlowTrace) -> bool) {
        let mut wanted: Vec<_> = self.traces.iter_mut().filter(|trace| which(trace)).collect();
        if wanted.is_empty() {
            return; // the scan below may go through a million words
        }
        let mut found = vec![(Vec::new(), 0); wanted.len()];
        for span in self.latest.spans() {
            for (trace, (spans, more)) in wanted.iter().zip(&mut found) {
                // Words 3 and 4 are the trace id and word 5 the span id, see `record::layout`.
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

    /// The spans for a snapshot: the latest, oldest first; the slowest, slowest first; and the slowest traces.
    pub(super) fn share(&mut self) -> SharedSpans {
        if self.cached.is_none() {
            self.gather(|trace| trace.read_in.is_some()); // incomplete traces, as far as they have been read
        }
        let make = || {
            let latest = Arc::new(self.latest.parts().concat());
            let slowest = self.slowest.iter().flat_map(|(_, words)| words.iter().copied()).collect();
            let traces = self.traces.iter().map(|trace| trace.encoded.clone()).collect();
            (latest, slowest, traces)
        };
        self.cached.get_or_insert_with(make).clone()
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
    fn the_oldest_span_is_evicted() {
        let mut kept = KeptSpans::new(3 * 7 + 2);
        (1..=5).for_each(|id| keep(&mut kept, id, 10));
        assert_eq!((ids(&kept.share().0), kept.evicted()), (vec![3, 4, 5], 2));
        let mut none = KeptSpans::new(3);
        keep(&mut none, 1, 10);
        assert_eq!((none.share().0.len(), none.evicted()), (0, 1));
    }

    #[test]
    fn the_slowest_stay_in_order() {
        let mut kept = KeptSpans::new(0);
        (0..100).for_each(|id| keep(&mut kept, id + 1, (id * 37) % 100));
        let expected: Vec<u64> = (84..100).rev().map(|duration| (duration * 73) % 100 + 1).collect();
        assert_eq!(ids(&kept.share().1), expected);
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
        put(&mut kept, 10, 3, false, 2); // read from another ring, a pass later
        (0..100).for_each(|id| put(&mut kept, 9, 4 + id, false, 2));
        kept.end_of_pass(2);
        put(&mut kept, 10, 4, false, 3); // too late
        kept.end_of_pass(3);
        let traces = kept.share().2;
        let roots: Vec<_> = traces.iter().map(|trace| trace.root[4]).collect();
        assert_eq!(roots, [10, 9, 8, 7, 6, 5, 4, 3]);
        assert_eq!((ids(&traces[0].spans), traces[0].more), (vec![2, 3], 0));
        assert_eq!((traces[1].spans.len() / 7, traces[1].more), (TRACE_WORDS / 7, 101 - TRACE_WORDS / 7));
        assert_eq!(ids(&traces[2].spans), [2]);
    }
}
