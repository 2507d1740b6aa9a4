//! Single-producer single-consumer ring of words, with credit granted by the consumer. Hot: [`Ring::push`].
//!
//! The consumer stores `limit`, the cursor up to which the producer may write. So the producer checks for space by one
//! comparison, and the cache line of `limit` changes only once a batch. Cursors count words and wrap. Words are relaxed
//! atomics: they compile to plain moves, and a racing access is no undefined behaviour.

use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU32, AtomicU64, Ordering, OwnCopy, zeroed_words};
use crossbeam_utils::CachePadded;

/// The kinds of records that a lane accepts. The switch writes it into each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mode {
    /// Nothing.
    Off = 0,
    /// Samples and span durations; whole spans are shed.
    Degraded = 1,
    /// Everything.
    On = 3,
    /// Nothing, and the mode never changes again: the instance has shut down.
    Closed = 4,
}

impl Mode {
    const SAMPLES: u32 = 1;
    const SPANS: u32 = 2;
}

/// The [`Mode`] as one load returned it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate(u32);

impl Gate {
    #[inline(always)]
    pub(crate) fn lets_samples_through(self) -> bool {
        self.0 & Mode::SAMPLES != 0
    }

    #[inline(always)]
    pub(crate) fn is_closed(self) -> bool {
        self.0 == Mode::Closed as u32
    }
}

/// One lane's ring.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Written by the consumer and the switch, read by the producer.
    consumer_line: CachePadded<ConsumerLine>,
    /// The published head, written by the producer.
    head: CachePadded<AtomicU64>,
    /// The buffer. Its length is a power of two.
    words: Box<[AtomicU64]>,
}

#[derive(Debug)]
struct ConsumerLine {
    /// The producer may write spans up to this cursor.
    limit: AtomicU64,
    /// The producer may write samples up to this cursor, half a ring before `limit`. A sample that does not fit goes to
    /// the spill, but a span is lost, so the second half is reserved for spans. In a burst of four threads with one
    /// span in 50 samples, 92 % of the spans were shed when both shared one limit, 82 % with two.
    sample_limit: AtomicU64,
    /// A [`Mode`]. Relaxed everywhere: it guards no memory, and the records of a producer that sees a change late are
    /// drained or swept like all others.
    mode: AtomicU32,
}

impl Ring {
    /// Creates an empty ring of `capacity` words, a power of two.
    pub(crate) fn new(capacity: usize, mode: Mode) -> Self {
        Self::starting_at(0, capacity, mode)
    }

    /// Creates an empty ring whose cursors start at `cursor`, so that tests of the wrap need not write 2^64 words.
    pub(crate) fn starting_at(cursor: u64, capacity: usize, mode: Mode) -> Self {
        assert!(capacity.is_power_of_two(), "a ring's capacity is a power of two: {capacity}");
        let (limit, sample_limit) = limits(cursor, capacity);
        Self {
            consumer_line: CachePadded::new(ConsumerLine {
                limit: AtomicU64::new(limit),
                sample_limit: AtomicU64::new(sample_limit),
                mode: AtomicU32::new(mode as u32),
            }),
            head: CachePadded::new(AtomicU64::new(cursor)),
            words: zeroed_words(capacity),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// Loads the mode once. Use the returned value for all decisions about one record.
    #[inline(always)]
    pub(crate) fn gate(&self) -> Gate {
        Gate(self.consumer_line.mode.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(crate) fn lets_samples_through(&self) -> bool {
        self.gate().lets_samples_through()
    }

    #[inline(always)]
    pub(crate) fn lets_spans_through(&self) -> bool {
        self.consumer_line.mode.load(Ordering::Relaxed) & Mode::SPANS != 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.gate().is_closed()
    }

    /// Sets the mode; returns `true` if it changed. An unchanged mode is not written, so that the producer's cached
    /// line stays valid. A closed ring stays closed: a producer that finds the heartbeat stale may still set `Off`
    /// while the lanes are being closed.
    pub(crate) fn set_mode(&self, mode: Mode) -> bool {
        let may_change = |present| present != Mode::Closed as u32 || planted(Bug::Reopened);
        let next = |present| (present != mode as u32 && may_change(present)).then_some(mode as u32);
        self.consumer_line.mode.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    #[inline(always)]
    #[allow(unsafe_code)] // the check would be two more instructions a record
    fn slot(&self, cursor: u64) -> &AtomicU64 {
        let index = cursor as usize & (self.words.len() - 1);
        debug_assert!(index < self.words.len());
        // SAFETY: the length is a power of two (`starting_at`), so at least 1, and the masked index is below it.
        unsafe { self.words.get_unchecked(index) }
    }

    /// The head that the producer published last. A thread that takes over the lane continues from it.
    pub(crate) fn published(&self) -> u64 {
        // Acquire pairs with the Release of `push`: a ledger must not count fewer records than were aggregated.
        self.head.load(Ordering::Acquire)
    }

    /// Writes a sample's record; `false` if it does not fit. Producer only, with its own `head`.
    #[inline(always)]
    pub(crate) fn push_sample<const N: usize>(&self, head: &OwnCopy, words: [u64; N]) -> bool {
        self.push::<true, _, _>(&self.consumer_line.sample_limit, 0, head, || words, [], || ())
    }

    /// Writes a span's record, made of `words` and the parts of `items`; `false` if it does not fit. Producer only,
    /// with its own `head`.
    ///
    /// `count` runs before the record is published, so that every aggregated record has been counted. `words` is called
    /// once for each word, at the store, so that the words are not built in memory first; it must return the same words
    /// each time. With `AROUND = false` it also returns `false` for a record that would wrap; the caller then retries
    /// with `true`. Keeping the wrap path out leaves this a leaf function without register spills.
    #[inline(always)]
    pub(crate) fn push_span<const AROUND: bool, const N: usize, const M: usize>(
        &self,
        head: &OwnCopy,
        words: impl Fn() -> [u64; N],
        items: [&[u64]; M],
        count: impl FnOnce(),
    ) -> bool {
        self.push::<AROUND, _, _>(&self.consumer_line.limit, 0, head, words, items, count)
    }

    /// Writes a record if `reserve` words stay free behind it, for records that matter more.
    #[inline(always)]
    pub(crate) fn push_leaving<const N: usize, const M: usize>(
        &self,
        reserve: u64,
        head: &OwnCopy,
        words: [u64; N],
        items: [&[u64]; M],
        count: impl FnOnce(),
    ) -> bool {
        self.push::<true, _, _>(&self.consumer_line.limit, reserve, head, || words, items, count)
    }

    /// The slots of a record that does not wrap: its first `N`, and those of its items; `None` if it wraps. Most
    /// records do not, and then no word needs a mask.
    #[inline(always)]
    #[allow(unsafe_code)] // the checks would be six more instructions a record
    fn contiguous<const N: usize>(&self, from: u64, needed: u64) -> Option<(&[AtomicU64; N], &[AtomicU64])> {
        let first = from as usize & (self.words.len() - 1);
        let needed = needed as usize;
        debug_assert!(first < self.words.len() && needed >= N);
        if needed > 1 && self.words.len() - first < needed {
            return None;
        }
        // SAFETY: `first` is masked, so below the length, and `first + needed` is at most the length, as just checked.
        let slots = unsafe { self.words.get_unchecked(first..first.wrapping_add(needed)) };
        slots.split_first_chunk::<N>()
    }

    /// Writes a record that wraps around the end of the buffer.
    #[cold]
    #[inline(never)]
    fn write_wrapped<const M: usize>(&self, from: u64, words: &[u64], more: [&[u64]; M]) {
        for (offset, word) in words.iter().chain(more.into_iter().flatten()).enumerate() {
            self.slot(from.wrapping_add(offset as u64)).store(*word, Ordering::Relaxed);
        }
    }

    /// Writes one whole record and publishes it. A record that wraps is refused unless `AROUND` is set.
    #[inline(always)]
    fn push<const AROUND: bool, const N: usize, const M: usize>(
        &self,
        limit: &AtomicU64,
        reserve: u64,
        head: &OwnCopy,
        words: impl Fn() -> [u64; N],
        more: [&[u64]; M],
        count: impl FnOnce(),
    ) -> bool {
        let from = head.get(&self.head);
        let needed = more.iter().fold(N, |needed, part| needed + part.len()) as u64;
        // Acquire pairs with the Release of `Consumer::drain`: the consumer has read a word before it is overwritten.
        let limit = limit.load(Ordering::Acquire);
        // Signed: spans may have gone past the sample limit.
        let room =
            if planted(Bug::NoWrap) { limit.saturating_sub(from) } else { limit.wrapping_sub(from) } as i64;
        if room + i64::from(planted(Bug::RoomOffByOne)) < (needed + reserve) as i64 {
            return false;
        }
        let contiguous = self.contiguous::<N>(from, needed);
        if !AROUND && contiguous.is_none() {
            return false;
        }
        let to = from.wrapping_add(needed);
        // Counted before it is published: the ledger must never show more aggregated than recorded.
        // Counted before it is published: the ledger must never show more aggregated than recorded.
        let mut count = Some(count);
        if !planted(Bug::CountAfterPublish)
            && let Some(count) = count.take()
        {
            count();
        }
        // Release pairs with the Acquire of `Consumer::drain`: the words are stored before the head that covers them.
        let publish = if planted(Bug::RelaxedPublish) { Ordering::Relaxed } else { Ordering::Release };
        if planted(Bug::EarlyPublish) {
            self.head.store(to, publish);
        }
        match contiguous {
            // Relaxed: ordered by the head's Release.
            Some((own, mut rest)) => {
                own.iter().enumerate().for_each(|(at, slot)| slot.store(words()[at], Ordering::Relaxed));
                for part in more {
                    rest.iter().zip(part).for_each(|(slot, word)| slot.store(*word, Ordering::Relaxed));
                    rest = rest.get(part.len()..).unwrap_or_default();
                }
            }
            None => self.write_wrapped(from, &words(), more),
        }
        self.head.store(to, publish);
        head.set(to);
        if let Some(late) = count {
            late();
        }
        true
    }
}

/// The cursors up to which a producer may write spans and samples, in a ring that was read up to `tail`.
fn limits(tail: u64, capacity: usize) -> (u64, u64) {
    (tail.wrapping_add(capacity as u64), tail.wrapping_add((capacity as u64).div_ceil(2)))
}

/// Words of a cache line. After copying, the consumer stores to one word per cache line, so that the line is exclusive
/// in its cache and not shared. A store to a line that both cores hold stalls the producer far longer than a store to a
/// line that the other core has written, and later stores queue behind it. With the stores, a producer records up to
/// four times as many spans flat out (PERF.md, "What was tried").
const LINE: usize = 8;

/// The reading end of a ring. The aggregator has one for each lane.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// Cursor of the first word that is not read yet.
    tail: u64,
}

impl Consumer {
    /// Creates the consumer of a ring that has not been read yet.
    pub(crate) fn new(ring: &Ring) -> Self {
        // Relaxed: only the consumer writes the limit, and no consumer existed before this one.
        Self { tail: ring.consumer_line.limit.load(Ordering::Relaxed).wrapping_sub(ring.words.len() as u64) }
    }

    /// Number of words that are published and not read yet.
    pub(crate) fn waiting(&self, ring: &Ring) -> u64 {
        // Acquire as in `drain`: a caller may go on to read these words.
        ring.head.load(Ordering::Acquire).wrapping_sub(self.tail)
    }

    /// Appends the published words to `into`, at most `most`, and grants credit for them. The copy costs less than
    /// reading in place: the producer gets the space back before the records are folded, not after.
    pub(crate) fn drain(&mut self, ring: &Ring, most: usize, into: &mut Vec<u64>) -> usize {
        // Acquire pairs with the Release of `Ring::push`.
        let seen = if planted(Bug::RelaxedTake) { Ordering::Relaxed } else { Ordering::Acquire };
        let waiting = ring.head.load(seen).wrapping_sub(self.tail);
        let count = usize::try_from(waiting).unwrap_or(usize::MAX).min(most).min(ring.words.len());
        if count == 0 {
            return 0;
        }
        let start = self.tail as usize & (ring.words.len() - 1);
        let (wrapped, contiguous) = ring.words.split_at(start);
        let contiguous = &contiguous[..count.min(contiguous.len())];
        let wrapped = &wrapped[..count - contiguous.len()];
        into.extend(contiguous.iter().chain(wrapped).map(|word| word.load(Ordering::Relaxed)));
        // Takes the cache lines over from the producer: see `LINE`. It must happen before the grant, or the zeros would
        // overwrite new records.
        let claim = || {
            let first_words = contiguous.iter().step_by(LINE).chain(wrapped.iter().step_by(LINE));
            // Relaxed: ordered by the limit's Release, like the loads above.
            first_words.for_each(|word| word.store(0, Ordering::Relaxed));
        };
        if !planted(Bug::LateClaim) {
            claim();
        }
        self.tail = self.tail.wrapping_add(count as u64);
        // Release pairs with the Acquire of `push`: the loads above are done before the words are overwritten.
        let grant = if planted(Bug::RelaxedGrant) { Ordering::Relaxed } else { Ordering::Release };
        let (limit, sample_limit) = limits(self.tail, ring.words.len());
        ring.consumer_line.limit.store(limit, grant);
        ring.consumer_line.sample_limit.store(sample_limit, grant);
        if planted(Bug::LateClaim) {
            claim();
        }
        count
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::VecDeque;

    /// One step of a test. `fuzz/targets/ring_vs_vecdeque.rs` runs the same steps for longer.
    #[derive(Clone, Debug)]
    enum RingStep {
        Sample,
        WideSample,
        /// A span with so many words of items; `true` for the call that refuses to wrap.
        Span(usize, bool),
        Drain(usize),
        /// Another thread takes over the producing end.
        HandOver,
    }

    fn step() -> impl Strategy<Value = RingStep> {
        prop_oneof![
            4 => Just(RingStep::Sample),
            2 => Just(RingStep::WideSample),
            2 => (0..40_usize, any::<bool>()).prop_map(|(beside, at_once)| RingStep::Span(beside, at_once)),
            2 => (0..80_usize).prop_map(RingStep::Drain),
            1 => Just(RingStep::HandOver),
        ]
    }

    /// A start cursor a little before the values at which comparisons of cursors go wrong (the wrap and the sign bit),
    /// or before an ordinary value.
    fn cursor() -> impl Strategy<Value = u64> {
        let edge = prop_oneof![Just(0), Just(1 << 63), Just(u64::MAX / 3)];
        (edge, 0..200_u64).prop_map(|(edge, before)| u64::wrapping_sub(edge, before))
    }

    proptest! {
        #[test]
        fn a_ring_returns_the_same_words_as_a_queue(
            capacity in (0..=7_u32).prop_map(|bits| 1_usize << bits),
            cursor in cursor(),
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let ring = Ring::starting_at(cursor, capacity, Mode::On);
            let (mut consumer, head) = (Consumer::new(&ring), OwnCopy::new(ring.published()));
            // All words differ, so that a lost, doubled or late word shows.
            let (mut queue, mut next) = (VecDeque::new(), 0_u64);
            let (mut spans, counted) = (0, Cell::new(0));
            for step in steps.into_iter().chain([RingStep::Drain(usize::MAX)]) {
                let fresh = |count: usize| (next + 1..).take(count);
                let fits = |count: usize, room: usize| queue.len() + count <= room;
                match step {
                    RingStep::Sample | RingStep::WideSample => {
                        let words: Vec<u64> = fresh(if matches!(step, RingStep::Sample) { 1 } else { 2 }).collect();
                        let pushed = match words[..] {
                            [word] => ring.push_sample(&head, [word]),
                            [first, second] => ring.push_sample(&head, [first, second]),
                            _ => unreachable!("one or two"),
                        };
                        prop_assert_eq!(pushed, fits(words.len(), capacity.div_ceil(2)), "half is for samples");
                        if pushed {
                            next += words.len() as u64;
                            queue.extend(words);
                        }
                    }
                    RingStep::Span(beside, at_once) => {
                        let words: Vec<u64> = fresh(3 + beside).collect();
                        let (first, items) = words.split_first_chunk::<3>().expect("there are three");
                        let count = || counted.set(counted.get() + 1);
                        let contiguous = (ring.published() as usize % capacity) + words.len() <= capacity;
                        let pushed = if at_once {
                            ring.push_span::<false, _, _>(&head, || *first, [items], count)
                        } else {
                            ring.push_span::<true, _, _>(&head, || *first, [items], count)
                        };
                        let may = fits(words.len(), capacity) && (contiguous || !at_once);
                        prop_assert_eq!(pushed, may, "whole, or not at all");
                        if pushed {
                            spans += 1;
                            next += words.len() as u64;
                            queue.extend(words);
                        }
                    }
                    RingStep::Drain(most) => {
                        let mut taken = vec![u64::MAX]; // words already in the vector stay
                        let count = consumer.drain(&ring, most, &mut taken);
                        prop_assert_eq!(count, queue.len().min(most));
                        let expected: Vec<u64> = [u64::MAX].into_iter().chain(queue.drain(..count)).collect();
                        prop_assert_eq!(taken, expected);
                    }
                    RingStep::HandOver => head.set(ring.published()),
                }
                prop_assert_eq!(consumer.waiting(&ring), queue.len() as u64);
                prop_assert_eq!(counted.get(), spans, "spans are counted as they go in");
            }
            prop_assert!(queue.is_empty());
        }
    }
}
