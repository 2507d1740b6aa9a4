//! The ring of words between one producer and one consumer, with credit granted by the consumer. Hot: [`Ring::push`].
//!
//! The consumer stores `limit`, the cursor up to which the producer may write; one comparison says whether there is
//! room, and the line that holds it changes only once a batch. Cursors count words and wrap. Words are relaxed
//! atomics: plain moves in the machine code, and no undefined behaviour to argue away.

use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU32, AtomicU64, Ordering, OwnCopy, zeroed_words};
use crossbeam_utils::CachePadded;

/// What a lane lets through. The switch's word for it stands in each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mode {
    /// Nothing.
    Off = 0,
    /// Samples and span durations; whole spans are shed.
    Degraded = 1,
    /// Everything.
    On = 3,
    /// Nothing, for good: the instance has shut down.
    Closed = 4,
}

impl Mode {
    const SAMPLES: u32 = 1;
    const SPANS: u32 = 2;
}

/// A [`Mode`] as it was read.
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
    /// A power of two of them.
    words: Box<[AtomicU64]>,
}

#[derive(Debug)]
struct ConsumerLine {
    /// The producer may write spans up to this cursor.
    limit: AtomicU64,
    /// And samples up to this one, half a ring less: samples that find no room go to the spill, spans are lost, so
    /// the last half is kept for spans. In a burst of four threads with one span in 50 samples, 92 % of the spans were
    /// shed when both shared one limit, 82 % with this.
    sample_limit: AtomicU64,
    /// A [`Mode`]. Relaxed everywhere: it guards no memory, and a producer that sees a change late is drained or
    /// swept like any other.
    mode: AtomicU32,
}

impl Ring {
    /// Room for `capacity` words, a power of two.
    pub(crate) fn new(capacity: usize, mode: Mode) -> Self {
        Self::starting_at(0, capacity, mode)
    }

    /// A ring whose cursors start at `cursor`: tests of the wrap need not write 2^64 words.
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

    /// What it lets through now. Whoever asks more than one thing of it asks the same answer.
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

    /// Sets the mode unless it is that already: then the producer's cached line stays valid. Closed stays closed: a
    /// producer that finds the aggregator's heart stopped may come with its `Off` while the lanes are being closed. Says
    /// whether it was another.
    pub(crate) fn set_mode(&self, mode: Mode) -> bool {
        let may_leave = |present| present != Mode::Closed as u32 || planted(Bug::Reopened);
        let next = |present| (present != mode as u32 && may_leave(present)).then_some(mode as u32);
        self.consumer_line.mode.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    #[inline(always)]
    #[allow(unsafe_code)] // the check would be two more instructions a record
    fn slot(&self, cursor: u64) -> &AtomicU64 {
        let index = cursor as usize & (self.words.len() - 1);
        debug_assert!(index < self.words.len());
        // SAFETY: there is at least one word (`starting_at`), so the masked index is below their number.
        unsafe { self.words.get_unchecked(index) }
    }

    /// The head as its owner last published it. A thread that takes a lane over starts from here.
    pub(crate) fn published(&self) -> u64 {
        // Acquire pairs with the Release of `push`: a ledger must not see less than what was aggregated.
        self.head.load(Ordering::Acquire)
    }

    /// Writes a sample's record; `false` if there is no room for it. Producer only, with its own `head`.
    #[inline(always)]
    pub(crate) fn push_sample<const N: usize>(&self, head: &OwnCopy, words: [u64; N]) -> bool {
        self.push::<true, _, _>(&self.consumer_line.sample_limit, 0, head, || words, [], || ())
    }

    /// Writes a span's record, in as many parts as it lies in; `false` if there is no room for it. Producer only, with
    /// its own `head`. `count` runs before the record can be seen, so that what was aggregated was counted. `words` are
    /// made where they are written, so that they need not lie in memory before; they are asked for again for each, and
    /// must be the same. Not `AROUND`, it is `false`, too, for a record that would lie across the end of the ring: then
    /// no call is made from here, and no register need be saved for one.
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

    /// Writes a record that leaves so many words of room to those that matter more.
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

    /// The slots of a record that does not wrap: its first `N`, and those of its items. Most do not, and then need no
    /// mask for each word.
    #[inline(always)]
    #[allow(unsafe_code)] // the checks would be six more instructions a record
    fn straight<const N: usize>(&self, from: u64, needed: u64) -> Option<(&[AtomicU64; N], &[AtomicU64])> {
        let first = from as usize & (self.words.len() - 1);
        let needed = needed as usize;
        debug_assert!(first < self.words.len() && needed >= N);
        if needed > 1 && self.words.len() - first < needed {
            return None;
        }
        // SAFETY: `first` is masked, so below the length, and `needed` words are there from it on.
        let slots = unsafe { self.words.get_unchecked(first..first.wrapping_add(needed)) };
        slots.split_first_chunk::<N>()
    }

    /// Writes words across the end of the ring.
    #[cold]
    #[inline(never)]
    fn put_around<const M: usize>(&self, from: u64, words: &[u64], more: [&[u64]; M]) {
        for (offset, word) in words.iter().chain(more.into_iter().flatten()).enumerate() {
            self.slot(from.wrapping_add(offset as u64)).store(*word, Ordering::Relaxed);
        }
    }

    /// Writes one record and publishes it, whole; across the end of the ring only if it may.
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
        // Acquire pairs with the Release of `Consumer::take`: the consumer has read a word before we overwrite it.
        let limit = limit.load(Ordering::Acquire);
        // Signed: spans may have gone past the samples' limit.
        let room =
            if planted(Bug::NoWrap) { limit.saturating_sub(from) } else { limit.wrapping_sub(from) } as i64;
        if room + i64::from(planted(Bug::RoomOffByOne)) < (needed + reserve) as i64 {
            return false;
        }
        let straight = self.straight::<N>(from, needed);
        if !AROUND && straight.is_none() {
            return false;
        }
        let to = from.wrapping_add(needed);
        let mut count = Some(count);
        if !planted(Bug::CountAfterPublish)
            && let Some(count) = count.take()
        {
            count();
        }
        // Release pairs with the Acquire of `Consumer::take`: the words are there before the head that covers them.
        let publish = if planted(Bug::RelaxedPublish) { Ordering::Relaxed } else { Ordering::Release };
        if planted(Bug::EarlyPublish) {
            self.head.store(to, publish);
        }
        match straight {
            // Relaxed: ordered by the head's Release.
            Some((own, mut rest)) => {
                own.iter().enumerate().for_each(|(at, slot)| slot.store(words()[at], Ordering::Relaxed));
                for part in more {
                    rest.iter().zip(part).for_each(|(slot, word)| slot.store(*word, Ordering::Relaxed));
                    rest = rest.get(part.len()..).unwrap_or_default();
                }
            }
            None => self.put_around(from, &words(), more),
        }
        self.head.store(to, publish);
        head.set(to);
        if let Some(late) = count {
            late();
        }
        true
    }
}

/// Up to where a producer may write spans, and samples, in a ring that was read up to `tail`.
fn limits(tail: u64, capacity: usize) -> (u64, u64) {
    (tail.wrapping_add(capacity as u64), tail.wrapping_add((capacity as u64).div_ceil(2)))
}

/// The reader writes one word in so many, so that each line that it has read is its own. A producer waits far longer for
/// a line that both cores have read than for one that the other has written, and its stores wait in a queue behind that:
/// up to four times as many spans flat out (PERF.md, "What was tried").
const LINE: usize = 8;

/// The reading end. The aggregator has one for each lane.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// First word not read yet.
    tail: u64,
}

impl Consumer {
    /// The consumer of a ring nobody has read from yet.
    pub(crate) fn new(ring: &Ring) -> Self {
        // Relaxed: the limit is the consumer's own to write, and nobody has written it since the ring was made.
        Self { tail: ring.consumer_line.limit.load(Ordering::Relaxed).wrapping_sub(ring.words.len() as u64) }
    }

    /// Words published and not read.
    pub(crate) fn waiting(&self, ring: &Ring) -> u64 {
        // Acquire as in `take`; a caller may go on to read what it was told of.
        ring.head.load(Ordering::Acquire).wrapping_sub(self.tail)
    }

    /// Appends what the producer has published, at most `most` words, and grants credit for it. The copy costs less
    /// than reading in place would: the producer gets its room back before the records are folded, not after.
    pub(crate) fn take(&mut self, ring: &Ring, most: usize, into: &mut Vec<u64>) -> usize {
        // Acquire pairs with the Release of `Ring::push`.
        let seen = if planted(Bug::RelaxedTake) { Ordering::Relaxed } else { Ordering::Acquire };
        let waiting = ring.head.load(seen).wrapping_sub(self.tail);
        let count = usize::try_from(waiting).unwrap_or(usize::MAX).min(most).min(ring.words.len());
        if count == 0 {
            return 0;
        }
        let start = self.tail as usize & (ring.words.len() - 1);
        let (wrapped, straight) = ring.words.split_at(start);
        let straight = &straight[..count.min(straight.len())];
        let wrapped = &wrapped[..count - straight.len()];
        into.extend(straight.iter().chain(wrapped).map(|word| word.load(Ordering::Relaxed)));
        let claim = || {
            let first_words = straight.iter().step_by(LINE).chain(wrapped.iter().step_by(LINE));
            first_words.for_each(|word| word.store(0, Ordering::Relaxed)); // ordered by the limit's Release, like our reads
        };
        if !planted(Bug::LateClaim) {
            claim();
        }
        self.tail = self.tail.wrapping_add(count as u64);
        // Release pairs with the Acquire of `push`: our reads are done before the words are overwritten.
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

    /// What may happen to a ring. `fuzz/targets/ring_vs_vecdeque.rs` goes by the same rules, for longer.
    #[derive(Clone, Debug)]
    enum Act {
        Sample,
        WideSample,
        /// With so many words beside its head; at once, if it does not lie across the end.
        Span(usize, bool),
        Take(usize),
        /// The producer's end goes to another thread.
        HandOver,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Sample),
            2 => Just(Act::WideSample),
            2 => (0..40_usize, any::<bool>()).prop_map(|(beside, at_once)| Act::Span(beside, at_once)),
            2 => (0..80_usize).prop_map(Act::Take),
            1 => Just(Act::HandOver),
        ]
    }

    /// A little before what a comparison of cursors can go wrong at, the wrap and the sign bit; and somewhere else.
    fn cursor() -> impl Strategy<Value = u64> {
        let edge = prop_oneof![Just(0), Just(1 << 63), Just(u64::MAX / 3)];
        (edge, 0..200_u64).prop_map(|(edge, before)| u64::wrapping_sub(edge, before))
    }

    proptest! {
        #[test]
        fn it_gives_back_what_a_queue_gives_back(
            capacity in (0..=7_u32).prop_map(|bits| 1_usize << bits),
            cursor in cursor(),
            acts in prop::collection::vec(act(), 0..300),
        ) {
            let ring = Ring::starting_at(cursor, capacity, Mode::On);
            let (mut consumer, head) = (Consumer::new(&ring), OwnCopy::of(ring.published()));
            // Every word is another: one that is lost, doubled or late shows.
            let (mut queue, mut next) = (VecDeque::new(), 0_u64);
            let (mut spans, counted) = (0, Cell::new(0));
            for act in acts.into_iter().chain([Act::Take(usize::MAX)]) {
                let fresh = |count: usize| (next + 1..).take(count);
                let fits = |count: usize, room: usize| queue.len() + count <= room;
                match act {
                    Act::Sample | Act::WideSample => {
                        let words: Vec<u64> = fresh(if matches!(act, Act::Sample) { 1 } else { 2 }).collect();
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
                    Act::Span(beside, at_once) => {
                        let words: Vec<u64> = fresh(3 + beside).collect();
                        let (first, items) = words.split_first_chunk::<3>().expect("there are three");
                        let count = || counted.set(counted.get() + 1);
                        let straight = (ring.published() as usize % capacity) + words.len() <= capacity;
                        let pushed = if at_once {
                            ring.push_span::<false, _, _>(&head, || *first, [items], count)
                        } else {
                            ring.push_span::<true, _, _>(&head, || *first, [items], count)
                        };
                        let may = fits(words.len(), capacity) && (straight || !at_once);
                        prop_assert_eq!(pushed, may, "whole, or not at all");
                        if pushed {
                            spans += 1;
                            next += words.len() as u64;
                            queue.extend(words);
                        }
                    }
                    Act::Take(most) => {
                        let mut taken = vec![u64::MAX]; // what was there stays
                        let count = consumer.take(&ring, most, &mut taken);
                        prop_assert_eq!(count, queue.len().min(most));
                        let expected: Vec<u64> = [u64::MAX].into_iter().chain(queue.drain(..count)).collect();
                        prop_assert_eq!(taken, expected);
                    }
                    Act::HandOver => head.set(ring.published()),
                }
                prop_assert_eq!(consumer.waiting(&ring), queue.len() as u64);
                prop_assert_eq!(counted.get(), spans, "spans are counted as they go in");
            }
            prop_assert!(queue.is_empty());
        }
    }
}
