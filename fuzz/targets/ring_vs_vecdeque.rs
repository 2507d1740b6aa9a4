//! One thread's sequence of pushes and takes on a ring, against a `VecDeque` and the documented rule: a record goes in
//! whole or not at all; spans may fill the ring, samples half of it, rounded up; room comes back only with a take.
//!
//! An input is two bytes, the capacity and where the cursors start, and two bytes an operation; hand-written seeds
//! stay readable that way, and a mutated byte changes one thing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use tellane::fuzzing::RingUnderTest;
use tellane_fuzz::{hold, plant};

fuzz_target!(init: plant(), |bytes: &[u8]| {
    let [capacity, cursor, operations @ ..] = bytes else { return };
    let capacity = 1_usize << (capacity % 9);
    let mut pair = Pair {
        ring: RingUnderTest::starting_at(first_cursor(*cursor), capacity),
        queue: VecDeque::new(),
        next: 1,
        spans: 0,
        capacity,
    };
    hold!(pair.ring.capacity(), capacity, "the capacity");
    for [operation, amount] in operations.as_chunks().0 {
        pair.operate(*operation, usize::from(*amount));
        hold!(pair.ring.waiting(), pair.queue.len() as u64, "the words waiting");
        hold!(pair.ring.counted(), pair.spans, "the spans counted");
    }
    pair.take(usize::MAX);
    hold!(pair.queue.len(), 0, "the words left");
});

/// Near the cursors' three edges, where a comparison can go wrong: 0, the sign bit, and the end.
fn first_cursor(byte: u8) -> u64 {
    let before = u64::from(byte >> 2) * 3;
    let edge = [0, 1 << 63, 0, u64::MAX / 3][usize::from(byte & 3)];
    if byte & 3 == 0 { before } else { u64::wrapping_sub(edge, before) }
}

struct Pair {
    ring: RingUnderTest,
    queue: VecDeque<u64>,
    /// The next word to be written: every word differs, so a lost or doubled one shows.
    next: u64,
    /// Spans that went in.
    spans: u64,
    capacity: usize,
}

impl Pair {
    fn operate(&mut self, operation: u8, amount: usize) {
        match operation % 8 {
            0 | 1 => self.sample::<1>(),
            2 => self.sample::<2>(),
            3 => self.span::<7>(amount % 40, false),
            4 => self.span::<1>(amount, amount % 2 == 0),
            5 | 6 => self.take(amount),
            _ => self.ring.hand_over(),
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn sample<const N: usize>(&mut self) {
        let words: [u64; N] = std::array::from_fn(|_| self.fresh());
        let fits = self.queue.len() + N <= self.capacity.div_ceil(2);
        hold!(self.ring.push_sample(words), fits, "whether a sample fits into half the ring");
        if fits {
            self.queue.extend(words);
        }
    }

    /// At once only if it does not lie across the end of the ring.
    fn span<const N: usize>(&mut self, items: usize, at_once: bool) {
        let head: [u64; N] = std::array::from_fn(|_| self.fresh());
        let items: Vec<u64> = (0..items).map(|_| self.fresh()).collect();
        let words = N + items.len();
        let straight = self.ring.published() as usize % self.capacity + words <= self.capacity;
        let fits = self.queue.len() + words <= self.capacity && (straight || !at_once);
        let pushed = if at_once {
            self.ring.push_span_at_once(head, &items)
        } else {
            self.ring.push_span(head, &items)
        };
        hold!(pushed, fits, "whether a span fits into the ring");
        if fits {
            self.spans += 1;
            self.queue.extend(head.into_iter().chain(items));
        }
    }

    fn take(&mut self, most: usize) {
        let mut taken = vec![0xABCD]; // take appends: what was there stays
        let count = self.ring.take(most, &mut taken);
        hold!(count, self.queue.len().min(most), "how many words are taken");
        hold!(taken[0], 0xABCD, "what was there before");
        let expected: Vec<u64> = self.queue.drain(..count).collect();
        hold!(taken[1..], expected, "the words and their order");
    }
}
