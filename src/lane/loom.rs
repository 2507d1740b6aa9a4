//! Loom models of the ring, and of the lane's mode. Records are distinct numbers and slots are reused, so that a word
//! read before it was written, or overwritten too early, shows as a wrong number.

use super::{Consumer, Distribution, Lane, LaneRegistry, Limits, Mode, Ring};
use crate::clock::Clock;
use crate::model::check;
use crate::stats::{Bounds, Kind, Layout, Tally};
use crate::switch::Override;
use crate::sync::plant::Bug;
use crate::sync::{Arc, AtomicU64, Ordering, OwnCopy};
use ::loom::thread;
use std::time::Duration;

/// The bugs that misorder a ring's words and cursors.
const ORDER: [Bug; 4] = [Bug::RelaxedPublish, Bug::EarlyPublish, Bug::RelaxedTake, Bug::RoomOffByOne];

/// The bugs of [`ORDER`], and the one that shows only when a slot is reused.
const REUSE: [Bug; 5] =
    [Bug::RelaxedPublish, Bug::EarlyPublish, Bug::RelaxedTake, Bug::RoomOffByOne, Bug::LateClaim];

#[test]
fn fifo() {
    check("ring fifo", 300, &ORDER, || {
        singles(0, 2);
    });
}

#[test]
fn wrap() {
    check("ring wrap", 400, &[Bug::NoWrap, Bug::RelaxedPublish, Bug::EarlyPublish, Bug::RelaxedTake], || {
        assert_eq!(singles(u64::MAX - 1, 4), [1, 2, 3], "there was room for all of them");
    });
}

#[test]
fn wrap_and_reuse() {
    check("ring wrap and reuse", 300, &REUSE, || {
        singles(u64::MAX - 1, 2);
    });
}

/// A producer pushes the records 1, 2, 3 while the consumer drains: the drained records are the pushed ones, in order.
/// Returns the pushed records.
fn singles(start: u64, capacity: usize) -> Vec<u64> {
    let ring = Arc::new(Ring::starting_at(start, capacity, Mode::On));
    let mut consumer = Consumer::new(&ring);
    let theirs = Arc::clone(&ring);
    let producer = thread::spawn(move || {
        let head = OwnCopy::new(start);
        (1..=3)
            .filter(|record| theirs.push_span::<true, _, _>(&head, || [*record], [], || ()))
            .collect::<Vec<u64>>()
    });
    let mut taken = Vec::new();
    for _ in 0..2 {
        consumer.drain(&ring, usize::MAX, &mut taken);
        assert!(taken.iter().all(|record| (1..=3).contains(record)), "made up: {taken:?}");
        assert!(taken.is_sorted_by(|earlier, later| earlier < later), "out of order: {taken:?}");
    }
    let pushed = producer.join().expect("the producer does not fail");
    consumer.drain(&ring, usize::MAX, &mut taken);
    assert_eq!(taken, pushed, "taken and pushed");
    assert_eq!(consumer.waiting(&ring), 0);
    pushed
}

/// Records of two, three and two words that wrap around the end of the buffer: none is ever seen in part.
#[test]
fn pieces() {
    check("ring pieces", 150, &ORDER, || {
        let ring = Arc::new(Ring::starting_at(3, 4, Mode::On));
        let mut consumer = Consumer::new(&ring);
        let theirs = Arc::clone(&ring);
        let producer = thread::spawn(move || {
            let head = OwnCopy::new(3);
            let mut pushed = Vec::new();
            for (first, more) in PIECES {
                if theirs.push_span::<true, _, _>(&head, || [first], [more], || ()) {
                    pushed.push(first);
                }
            }
            pushed
        });
        let mut taken = Vec::new();
        for _ in 0..2 {
            consumer.drain(&ring, usize::MAX, &mut taken);
            whole(&taken);
        }
        let pushed = producer.join().expect("the producer does not fail");
        consumer.drain(&ring, usize::MAX, &mut taken);
        assert_eq!(whole(&taken), pushed, "taken and pushed");
    });
}

const PIECES: [(u64, &[u64]); 3] = [(10, &[11]), (20, &[21, 22]), (30, &[31])];

/// The first words of the records in `words`. Panics if a record is not whole.
fn whole(mut words: &[u64]) -> Vec<u64> {
    let mut firsts = Vec::new();
    while let Some((first, rest)) = words.split_first() {
        let (_, more) = PIECES.iter().find(|(known, _)| known == first).expect("a record's first word");
        words = rest.strip_prefix(*more).expect("the rest of the record");
        firsts.push(*first);
    }
    firsts
}

/// Granted words have been read. In loom no store overtakes an earlier load, so a word that is overwritten while it is
/// read never shows. Instead a mark, set with the reading, shows that the reading happened before the grant.
#[test]
fn grant() {
    check("ring grant", 5_000, &[Bug::RelaxedGrant], || {
        granted(2, |ring, head, record| ring.push_span::<true, _, _>(head, || [record], [], || ()))
    });
}

#[test]
fn sample_grant() {
    check("ring sample grant", 5_000, &[Bug::RelaxedGrant], || {
        granted(4, |ring, head, record| ring.push_sample(head, [record]))
    });
}

/// Checks the grant for a ring in which `push` has space for two records before the first grant.
fn granted(capacity: usize, push: fn(&Ring, &OwnCopy, u64) -> bool) {
    let ring = Arc::new(Ring::new(capacity, Mode::On));
    let read = Arc::new(AtomicU64::new(0));
    let mut consumer = Consumer::new(&ring);
    let (theirs, mark) = (Arc::clone(&ring), Arc::clone(&read));
    let producer = thread::spawn(move || {
        let head = OwnCopy::new(0);
        for record in 1..=4 {
            let pushed = push(&theirs, &head, record);
            if pushed && record > 2 {
                assert!(mark.load(Ordering::Relaxed) > 0, "overwritten while it was being read");
            }
        }
    });
    let mut taken = Vec::new();
    for number in 1..=2 {
        let waiting = consumer.waiting(&ring);
        if waiting > 0 {
            read.store(number, Ordering::Relaxed);
            consumer.drain(&ring, usize::MAX, &mut taken);
        }
    }
    producer.join().expect("no word was overwritten too early");
}

/// A drained record has been counted.
#[test]
fn counted() {
    check("count before publish", 5_000, &[Bug::CountAfterPublish, Bug::RelaxedPublish], || {
        let (ring, tally) = (Arc::new(Ring::new(4, Mode::On)), Arc::new(Tally::default()));
        let mut consumer = Consumer::new(&ring);
        let (their_ring, their_tally) = (Arc::clone(&ring), Arc::clone(&tally));
        let producer = thread::spawn(move || {
            let head = OwnCopy::new(0);
            for record in 1..=3 {
                their_ring.push_span::<true, _, _>(&head, || [record], [], || their_tally.sent(Kind::Span));
            }
        });
        let mut taken = Vec::new();
        for _ in 0..2 {
            consumer.drain(&ring, usize::MAX, &mut taken);
            let recorded = tally.read_sent(Kind::Span);
            assert!(recorded >= taken.len() as u64, "{} taken, {recorded} recorded", taken.len());
        }
        producer.join().expect("the producer does not fail");
    });
}

/// A drained exemplar has been counted as offered, so the exemplar ledger never shows more kept than offered.
#[test]
fn exemplar_counted() {
    check("count exemplar before publish", 5_000, &[Bug::CountAfterPublish, Bug::RelaxedPublish], || {
        let (ring, tally) = (Arc::new(Ring::new(8, Mode::On)), Arc::new(Tally::default()));
        let mut consumer = Consumer::new(&ring);
        let (their_ring, their_tally) = (Arc::clone(&ring), Arc::clone(&tally));
        let producer = thread::spawn(move || {
            let head = OwnCopy::new(0);
            for _ in 0..3 {
                // Two words each, and half of the ring is reserved: the third exemplar needs a grant.
                if !their_ring.push_leaving(4, &head, [1, 2], [], || their_tally.exemplar_sent()) {
                    their_tally.exemplar_without_room();
                }
            }
        });
        let mut taken = Vec::new();
        for _ in 0..2 {
            consumer.drain(&ring, usize::MAX, &mut taken);
            let (offered, no_room) = tally.read_exemplars();
            assert!(offered - no_room >= taken.len() as u64 / 2, "{} words taken", taken.len());
        }
        producer.join().expect("the producer does not fail");
        consumer.drain(&ring, usize::MAX, &mut taken);
        assert_eq!(tally.read_exemplars(), (3, 3 - taken.len() as u64 / 2), "offered, and without room");
    });
}

/// An instance with at most `lanes` lanes, which keeps `idle` idle ones.
fn instance(clock: Clock, lanes: usize, idle: usize) -> Arc<LaneRegistry> {
    let limits = Limits { ring_words: 2, spill_words: 0, first_cells: 0, lanes, idle };
    Arc::new(LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO))
}

/// A lane is retired while another thread sums all lanes: it is counted once, and no other lane is skipped.
#[test]
fn retired_while_read() {
    check("lane retired while read", 50, &[Bug::LateAbsorb], || {
        let lane_registry = instance(Clock::mock().0, 2, 0);
        let lanes = [(); 2].map(|()| lane_registry.acquire_lane().expect("there is room for two"));
        lanes.iter().for_each(|lane| lane.tally.shared_sent(Kind::Span));
        let [first, _second] = lanes;
        lane_registry.hand_back(first);
        let theirs = Arc::clone(&lane_registry);
        let reader = thread::spawn(move || theirs.ledger().kind(Kind::Span).recorded);
        assert!(lane_registry.retire(|_| ()), "one is idle, none is kept");
        assert_eq!(reader.join().expect("no failure"), 2);
        assert_eq!(lane_registry.ledger().kind(Kind::Span).recorded, 2);
    });
}

/// A lane joins while another thread reads the ledger: the ledger never shows more aggregated than recorded.
#[test]
fn joined_while_read() {
    check("lane joined while read", 40, &[Bug::EarlyGather, Bug::LateRead], || {
        let lane_registry = instance(Clock::mock().0, 1, 1);
        let theirs = Arc::clone(&lane_registry);
        let producer = thread::spawn(move || {
            let lane = theirs.acquire_lane().expect("there is room for one");
            lane.tally.shared_sent(Kind::Span);
            theirs.aggregated[Kind::Span as usize].store(1, Ordering::Release); // as the aggregator does
        });
        let spans = lane_registry.ledger().kind(Kind::Span);
        assert!(spans.recorded >= spans.aggregated, "more aggregated than recorded");
        producer.join().expect("no failure");
        assert_eq!(lane_registry.ledger().kind(Kind::Span).recorded, 1);
    });
}

/// A lane joins while the switch changes: the new lane and the old one end up with the latest state.
#[test]
fn joined_while_switched() {
    check("lane joined while switched", 20, &[Bug::EarlyMode], || {
        let lane_registry = instance(Clock::mock().0, 2, 2);
        let old = lane_registry.acquire_lane().expect("there is room for two");
        let writer = switches(&lane_registry, Override::Off);
        let new = lane_registry.acquire_lane().expect("there is room for two");
        writer.join().expect("no failure");
        assert_eq!([old, new].map(|lane| lane.ring.lets_spans_through()), [false; 2]);
    });
}

/// Two threads change the switch: every lane ends up with the latest state.
#[test]
fn switched_twice() {
    check("lanes switched twice", 300, &[Bug::EarlyState], || {
        let lane_registry = instance(Clock::mock().0, 1, 1);
        let lane = lane_registry.acquire_lane().expect("there is room for one");
        let writer = switches(&lane_registry, Override::Off);
        lane_registry.switch.force(Override::On, 1);
        lane_registry.apply_mode();
        writer.join().expect("no failure");
        assert_eq!(lane.ring.lets_spans_through(), lane_registry.mode() == Mode::On);
    });
}

/// Starts a thread that changes the switch as callers do.
fn switches(lane_registry: &Arc<LaneRegistry>, forced: Override) -> thread::JoinHandle<()> {
    let lane_registry = Arc::clone(lane_registry);
    thread::spawn(move || {
        lane_registry.switch.force(forced, 1);
        lane_registry.apply_mode();
    })
}

/// A closed lane stays closed, even if a producer finds the aggregator stalled at the same time.
#[test]
fn closed_for_good() {
    check("closed for good", 5, &[Bug::Reopened], || {
        let (clock, _hand) = Clock::mock();
        let now = clock.ticks();
        let lane_registry = instance(clock, 1, 1);
        lane_registry.beat(1);
        let lane: Arc<Lane> = lane_registry.acquire_lane().expect("there is room for one");
        let (theirs, their_lane) = (Arc::clone(&lane_registry), Arc::clone(&lane));
        let producer = thread::spawn(move || theirs.suspect_stall(&their_lane, now));
        lane_registry.close();
        producer.join().expect("no failure");
        assert!(lane.ring.is_closed());
    });
}

/// A lane that refuses samples has an empty slot cache, even if its owner counts a sample while the mode changes.
#[test]
fn off_is_not_overlooked() {
    check("slot cache empty when off", 10, &[Bug::UncheckedCache], || {
        let limits = Limits { ring_words: 2, spill_words: 16, first_cells: 0, lanes: 1, idle: 1 };
        let lane = Lane::new(&limits, Mode::On);
        let bounds = Bounds::new(Layout::new(1, 2), &[], 1.0);
        let sizes = Arc::new(Distribution::new(1, 0, Layout::new(1, 2), &bounds));
        let (their_lane, theirs) = (Arc::clone(&lane), Arc::clone(&sizes));
        let producer =
            thread::spawn(move || assert!(their_lane.count_in_spill(&theirs, 1), "there is a slot"));
        lane.set_mode(Mode::Off);
        producer.join().expect("no failure");
        assert!(lane.spill.slot_cache.get(sizes.key).is_none());
        assert_eq!(lane.spill.samples(), 1);
    });
}
