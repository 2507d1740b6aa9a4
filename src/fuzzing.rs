//! Entry points for the fuzz targets: a ring without threads, and planted bugs by name. Compiled for fuzzing only and
//! not part of the public interface. It checks nothing itself: the fuzz targets know how a ring should behave.

use crate::lane::{Consumer, Mode, Ring};
use crate::sync::OwnCopy;
use std::cell::Cell;

/// One ring with both of its ends, producer and consumer.
#[derive(Debug)]
pub struct RingUnderTest {
    ring: Ring,
    consumer: Consumer,
    head: OwnCopy,
    counted: Cell<u64>,
}

impl RingUnderTest {
    /// Creates a ring of `capacity` words, a power of two, whose cursors start at `cursor`.
    pub fn starting_at(cursor: u64, capacity: usize) -> Self {
        let ring = Ring::starting_at(cursor, capacity, Mode::On);
        let consumer = Consumer::new(&ring);
        Self { head: OwnCopy::new(ring.published()), counted: Cell::new(0), ring, consumer }
    }

    /// Capacity of the ring in words.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Number of words that are published and not yet drained.
    pub fn waiting(&self) -> u64 {
        self.consumer.waiting(&self.ring)
    }

    /// Number of calls of the `count` closure: one for each span pushed.
    pub fn counted(&self) -> u64 {
        self.counted.get()
    }

    /// Pushes a sample; `false` if the ring had no room.
    pub fn push_sample<const N: usize>(&self, words: [u64; N]) -> bool {
        self.ring.push_sample(&self.head, words)
    }

    /// Pushes a span: its head, then its items; `false` if the ring had no room.
    pub fn push_span<const N: usize>(&self, head: [u64; N], items: &[u64]) -> bool {
        self.push::<true, _>(head, items)
    }

    /// Pushes a span like [`push_span`](Self::push_span), but also returns `false` if the span would wrap around the
    /// end of the ring.
    pub fn push_span_at_once<const N: usize>(&self, head: [u64; N], items: &[u64]) -> bool {
        self.push::<false, _>(head, items)
    }

    fn push<const AROUND: bool, const N: usize>(&self, head: [u64; N], items: &[u64]) -> bool {
        let count = || self.counted.set(self.counted.get() + 1);
        self.ring.push_span::<AROUND, _, _>(&self.head, || head, [items], count)
    }

    /// Number of words published so far, counted from the cursor that the ring started at.
    pub fn published(&self) -> u64 {
        self.ring.published()
    }

    /// Appends at most `most` published words to `into` and returns their number.
    pub fn take(&mut self, most: usize, into: &mut Vec<u64>) -> usize {
        self.consumer.drain(&self.ring, most, into)
    }

    /// Hands the producer's end to another owner, which knows only the published head.
    pub fn hand_over(&self) {
        self.head.set(self.ring.published());
    }
}

/// Plants a bug for the whole process; `false` if this build has no bug of this name.
#[cfg(tellane_plant)]
pub fn plant(name: &str) -> bool {
    use crate::sync::plant::{Bug, plant};
    let found =
        [Bug::TrustLength, Bug::CutWide, Bug::RoomOffByOne, Bug::NoWrap, Bug::LaxHex, Bug::WideColumn]
            .into_iter()
            .find(|bug| format!("{bug:?}") == name);
    plant(found);
    found.is_some()
}

/// Plants a bug for the whole process; `false` if this build has no bug of this name.
#[cfg(not(tellane_plant))]
pub fn plant(_: &str) -> bool {
    false
}
