//! The fuzz targets' way in: a ring without threads, and planted bugs by name. Compiled for fuzzing only, no part of
//! the public interface, and without a judgement of its own: what a ring should do is the target's business.

use crate::lane::{Consumer, Mode, Ring};
use crate::sync::OwnCopy;
use std::cell::Cell;

/// Both ends of one ring, in one hand.
#[derive(Debug)]
pub struct RingUnderTest {
    ring: Ring,
    consumer: Consumer,
    head: OwnCopy,
    counted: Cell<u64>,
}

impl RingUnderTest {
    /// A ring of `capacity` words, a power of two, whose cursors start at `cursor`.
    pub fn starting_at(cursor: u64, capacity: usize) -> Self {
        let ring = Ring::starting_at(cursor, capacity, Mode::On);
        let consumer = Consumer::new(&ring);
        Self { head: OwnCopy::of(ring.published()), counted: Cell::new(0), ring, consumer }
    }

    /// Words it has room for.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Words published and not taken.
    pub fn waiting(&self) -> u64 {
        self.consumer.waiting(&self.ring)
    }

    /// How many spans have called their counter.
    pub fn counted(&self) -> u64 {
        self.counted.get()
    }

    /// Pushes a sample; `false` if there was no room.
    pub fn push_sample<const N: usize>(&self, words: [u64; N]) -> bool {
        self.ring.push_sample(&self.head, words)
    }

    /// Pushes a span: its head, then its items; `false` if there was no room.
    pub fn push_span<const N: usize>(&self, head: [u64; N], items: &[u64]) -> bool {
        self.push::<true, _>(head, items)
    }

    /// The same, but `false`, too, if it would lie across the end of the ring.
    pub fn push_span_at_once<const N: usize>(&self, head: [u64; N], items: &[u64]) -> bool {
        self.push::<false, _>(head, items)
    }

    fn push<const AROUND: bool, const N: usize>(&self, head: [u64; N], items: &[u64]) -> bool {
        let count = || self.counted.set(self.counted.get() + 1);
        self.ring.push_span::<AROUND, _, _>(&self.head, || head, [items], count)
    }

    /// Words published in all, from where its cursors start.
    pub fn published(&self) -> u64 {
        self.ring.published()
    }

    /// Appends at most `most` words to `into` and says how many.
    pub fn take(&mut self, most: usize, into: &mut Vec<u64>) -> usize {
        self.consumer.drain(&self.ring, most, into)
    }

    /// Gives the producer's end to another owner, who knows only what was published.
    pub fn hand_over(&self) {
        self.head.set(self.ring.published());
    }
}

/// Plants a bug for the whole process; `false` if there is none of this name in this build.
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

/// Plants a bug for the whole process; `false` if there is none of this name in this build.
#[cfg(not(tellane_plant))]
pub fn plant(_: &str) -> bool {
    false
}
