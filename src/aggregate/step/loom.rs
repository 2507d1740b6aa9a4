//! Loom models of lanes and the aggregator together: a real [`Step`] drains while threads start, record and end. Values
//! are powers of two, so that their sum tells which of them were folded, and whether any was folded twice.

use super::*;
use crate::clock::Clock;
use crate::lane::local::loom::Producer;
use crate::lane::{Distribution, Limits, Spill, Sum};
use crate::model::{check, check_bounded, spawn};
use crate::sampling::Sampling;
use crate::series::Caps;
use crate::stats::{Bounds, Layout};
use crate::sync::AtomicU64;
use crate::targets::LogSettings;
use ::loom::thread::JoinHandle;

/// The words of a spill with one slot of sixteen buckets.
const ONE_SLOT: usize = 24;
/// The words of a spill with one slot of 33 buckets, the last of which is divided into two parts.
const DIVIDED_SLOT: usize = 48;

const LIMITS: Limits = Limits { ring_words: 4, spill_words: 0, first_cells: 0, lanes: 2, idle: 2 };

const CAPS: Caps = Caps { series: 1, names: 1, label: 1 };

/// An instance with one histogram, and its aggregator.
struct StepRig {
    lanes: Arc<LaneRegistry>,
    distribution: Arc<Distribution>,
    step: Step,
}

impl StepRig {
    fn new(limits: Limits) -> Self {
        Self::with_bounds(limits, 15, &[])
    }

    fn with_bounds(limits: Limits, highest: u64, bounds: &[f64]) -> Self {
        let (clock, _hand) = Clock::mock();
        let lanes = Arc::new(LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO));
        let layout = Layout::new(1, highest);
        let bounds = Bounds::new(layout, bounds, 1.0);
        let distribution = Arc::new(Distribution::new(1, 0, layout, &bounds));
        lanes.distributions.push(Arc::clone(&distribution));
        let instance =
            Arc::new(Instance::new(Arc::clone(&lanes), CAPS, Sampling::default(), LogSettings::default()));
        Self { lanes, distribution, step: Step::new(instance, "model".into(), 0, FailPoints::default()) }
    }

    /// Spawns a thread that takes a lane, records and ends. It returns the sum of its values, or the reason why it got
    /// no lane.
    fn records(&self, values: &'static [u64]) -> JoinHandle<Result<u64, Reason>> {
        let (lanes, distribution) = (Arc::clone(&self.lanes), Arc::clone(&self.distribution));
        spawn(move || {
            let producer = Producer::enter(&lanes)?;
            values.iter().for_each(|value| producer.sample(&distribution, *value));
            Ok(values.iter().sum())
        })
    }

    /// Asserts, after all threads have ended, that each of their samples was folded once.
    fn assert_all_folded(&mut self, sum: u64) {
        self.step.run();
        self.step.collect();
        let account = self.lanes.ledger().kind(Kind::Sample);
        assert_eq!(account.recorded, u64::from(sum.count_ones()), "recorded");
        assert_eq!(account.aggregated, account.recorded, "aggregated");
        let view = self.step.fold.histograms.view(0, 1.0, |ticks| ticks).expect("registered");
        assert_eq!((view.count(), view.sum_recorded()), (account.recorded, u128::from(sum)), "folded");
    }

    /// Does what the worker does on a shutdown.
    fn shut_down(&mut self) {
        self.lanes.close();
        self.step.run();
        self.step.collect();
        self.step.sweep();
    }
}

/// Joins a thread.
fn ended(thread: JoinHandle<Result<u64, Reason>>) -> Result<u64, Reason> {
    thread.join().expect("recording does not panic")
}

/// A thread ends while the aggregator drains: its lane is retired, and its last records are not lost.
#[test]
fn exit() {
    check("exit", 5_000, &[Bug::NoRedrain, Bug::MissedLane], || {
        let mut rig = StepRig::new(Limits { idle: 0, ..LIMITS });
        let thread = rig.records(&[1, 2]);
        rig.step.run();
        rig.step.run();
        assert_eq!(ended(thread), Ok(3));
        rig.assert_all_folded(3);
        assert_eq!(rig.lanes.counts(), (0, 0), "the lane is gone");
    });
}

/// Like [`exit`], with a ring of one sample: the sample that does not fit goes to the spill.
#[test]
fn exit_with_spill() {
    check("exit with spill", 50, &[Bug::NoRedrain, Bug::MissedLane], || {
        let mut rig = StepRig::new(Limits { ring_words: 2, spill_words: ONE_SLOT, idle: 0, ..LIMITS });
        let thread = rig.records(&[1, 2]);
        rig.step.run();
        assert_eq!(ended(thread), Ok(3));
        rig.assert_all_folded(3);
        assert_eq!(rig.lanes.counts(), (0, 0), "the lane is gone");
    });
}

/// A second thread takes over the lane of the first, with the samples in it, while the aggregator drains it.
#[test]
fn recycling() {
    check("recycling", 5_000, &[Bug::StaleHead], || {
        let mut rig = StepRig::new(Limits { lanes: 1, idle: 1, ..LIMITS });
        let threads = [rig.records(&[1]), rig.records(&[2])];
        rig.step.run();
        let mut sum = 0;
        for thread in threads {
            match ended(thread) {
                Ok(recorded) => sum += recorded,
                Err(reason) => assert_eq!(reason, Reason::TooManyThreads),
            }
        }
        rig.assert_all_folded(sum);
        assert_eq!(rig.lanes.counts(), (1, 1));
        assert_eq!(rig.step.readers.len(), 1);
    });
}

/// An idle lane is either taken over by a new thread or retired by the aggregator, never both.
///
/// Bounded: without a bound this takes some 600,000 executions, five minutes.
#[test]
fn recycling_or_retiring() {
    check_bounded(5, "recycling or retiring", 10_000, &[Bug::NoRedrain, Bug::MissedLane], || {
        let mut rig = StepRig::new(Limits { idle: 0, ..LIMITS });
        let threads = [rig.records(&[1]), rig.records(&[2])];
        rig.step.run();
        assert_eq!(threads.map(ended), [Ok(1), Ok(2)]);
        rig.assert_all_folded(3);
        assert_eq!(rig.lanes.counts(), (0, 0));
    });
}

/// Two threads take lanes while the aggregator makes its roll call.
///
/// Bounded: without a bound this takes some 190,000 executions.
#[test]
fn registration() {
    check_bounded(5, "registration", 10_000, &[Bug::LostRegistration], || {
        let mut rig = StepRig::new(LIMITS);
        let threads = [rig.records(&[1]), rig.records(&[2])];
        rig.step.run();
        assert_eq!(threads.map(ended), [Ok(1), Ok(2)]);
        rig.assert_all_folded(3);
        let (lanes, idle) = rig.lanes.counts();
        assert_eq!((lanes, rig.step.readers.len()), (idle, lanes), "each lane has one reader");
        let distinct = |at: usize| {
            !rig.step.readers[..at].iter().any(|reader| Arc::ptr_eq(&reader.lane, &rig.step.readers[at].lane))
        };
        assert!((0..lanes).all(distinct));
    });
}

/// A thread records while the instance shuts down: each record is aggregated, or counted as too late.
#[test]
fn shutdown() {
    check("shutdown", 10_000, &[Bug::NoSweep], || shut_down_with(LIMITS));
}

/// Like [`shutdown`], with a ring of one sample and no spill: the sample that does not fit goes to the shared counts.
///
/// Bounded: without a bound this takes 1,238,974 executions, some eight minutes.
#[test]
fn shutdown_with_shared_samples() {
    check_bounded(5, "shutdown with shared samples", 5_000, &[Bug::NoSweep, Bug::RingsOnly], || {
        shut_down_with(Limits { ring_words: 2, ..LIMITS })
    });
}

/// Like [`shutdown`], with a spill. Bounded: without a bound this had not ended after eight minutes.
#[test]
fn shutdown_with_spill() {
    check_bounded(5, "shutdown with spill", 10_000, &[Bug::NoSweep, Bug::RingsOnly], || {
        shut_down_with(Limits { ring_words: 2, spill_words: ONE_SLOT, ..LIMITS });
    });
}

fn shut_down_with(limits: Limits) {
    let mut rig = StepRig::new(limits);
    let thread = rig.records(&[1, 2]);
    rig.shut_down();
    let entered = ended(thread);
    rig.step.sweep(); // as a ledger does after the end
    let account = rig.lanes.ledger().kind(Kind::Sample);
    let accounted = account.aggregated + account.dropped.by(Reason::AfterShutdown);
    assert_eq!(account.recorded, accounted, "recorded and accounted for");
    match entered {
        Ok(_) => assert_eq!(account.recorded, 2),
        Err(reason) => assert_eq!((reason, account.recorded), (Reason::AfterShutdown, 0)),
    }
}

/// A thread counts in its spill while the aggregator drains the spill.
#[test]
fn spilling() {
    check("spilling", 5_000, &[Bug::LateBucket], || {
        let mut rig = StepRig::new(Limits { ring_words: 2, spill_words: ONE_SLOT, ..LIMITS });
        // The first value goes through the ring. Of the others, one is odd and one is even, since each kind has its own
        // sum.
        let thread = rig.records(&[2, 1, 4]);
        rig.step.run();
        rig.step.collect();
        assert_eq!(ended(thread), Ok(7));
        rig.assert_all_folded(7);
    });
}

/// A thread creates a slot with a divided bucket and counts in its parts while the aggregator drains it: a split word
/// is never mistaken for a count, every sample is in its part, and the sum has no sample that is not counted.
#[test]
fn dividing() {
    check("dividing", 100, &[Bug::LateSplit, Bug::LateBucket, Bug::LateSum], || {
        let mut rig = StepRig::with_bounds(LIMITS, 33, &[32.0]);
        let (spill, mut seen) = (Arc::new(Spill::new(DIVIDED_SLOT)), SpillSeen::default());
        let histograms = &mut rig.step.fold.histograms;
        // Both threads first change a number of their own: a spill's owner loads before it stores, which hides from
        // loom that others read its stores (tokio-rs/loom#392).
        let turns = Arc::new(AtomicU64::new(0));
        let (theirs, their_distribution, their_turn) =
            (Arc::clone(&spill), Arc::clone(&rig.distribution), Arc::clone(&turns));
        // With a precision of one digit, 32 and 33 share a bucket.
        let thread = spawn(move || {
            for value in [32, 33] {
                their_turn.fetch_add(1, Ordering::Relaxed);
                assert!(theirs.add(&their_distribution, value).is_some());
            }
        });
        turns.fetch_add(1, Ordering::Relaxed);
        histograms.drain_spill(&spill, &mut seen);
        let view = histograms.view(0, 1.0, |ticks| ticks).expect("registered");
        let (count, sum) = (u128::from(view.count()), view.sum_recorded());
        assert!(32 * count <= sum && sum <= 33 * count, "{sum} of {count} samples of 32 and 33");
        // The part of 33 is read after the part of 32, so the second sample may be found without the first.
        assert!(count <= 2 && view.within[0] <= 1, "{} of {count} samples within 32", view.within[0]);
        thread.join().expect("recording does not panic");
        histograms.drain_spill(&spill, &mut seen);
        let view = histograms.view(0, 1.0, |ticks| ticks).expect("registered");
        assert_eq!((view.count(), view.sum_recorded(), &view.within[..]), (2, 65, &[1][..]));
        assert_eq!((view.min, view.max), (32, 33));
    });
}

/// A sum overflows while the aggregator reads it: the result is exact, or a lower bound.
#[test]
fn carrying() {
    check("carrying", 500, &[Bug::LateCarry], || {
        let spill = Arc::new(Spill::new(1 << 14));
        let layout = Layout::new(1, u64::MAX);
        let distribution = Arc::new(Distribution::new(1, 0, layout, &Bounds::new(layout, &[], 1.0)));
        const HALF: u64 = 1 << 63;
        assert!(spill.add(&distribution, HALF).is_some());
        // Both threads first change a number of their own: a spill's owner loads before it stores, which hides from
        // loom that others read its stores (tokio-rs/loom#392).
        let turns = Arc::new(AtomicU64::new(0));
        let (theirs, their_distribution, their_turn) =
            (Arc::clone(&spill), Arc::clone(&distribution), Arc::clone(&turns));
        let thread = spawn(move || {
            their_turn.fetch_add(1, Ordering::Relaxed);
            assert!(theirs.add(&their_distribution, HALF).is_some());
        });
        turns.fetch_add(1, Ordering::Relaxed);
        let slot = spill.slots().next().expect("created above");
        let sum = slot.sum();
        let half = u128::from(HALF);
        match sum {
            Sum::Exact(sum) => assert!(sum == half || sum == 2 * half, "{sum}"),
            Sum::AtLeast(least) => {
                assert!(least == 0 || least == 2 * half, "{least}");
                // Counts that are read afterwards include the samples of every carry that was seen.
                let counted: u64 = slot.counts().sum();
                assert!(u128::from(counted) * half >= least, "{least} of {counted} samples");
            }
        }
        thread.join().expect("recording does not panic");
        assert_eq!(slot.sum(), Sum::Exact(2 * half));
    });
}

/// A thread without a lane counts while the aggregator drains: the sum has no sample that is not counted.
#[test]
fn sharing() {
    check("sharing", 100, &[Bug::EarlySum], || {
        let mut rig = StepRig::with_bounds(LIMITS, 33, &[32.0]);
        let distribution = Arc::clone(&rig.distribution);
        let thread = spawn(move || [32, 33].map(|value| distribution.shared_histogram.add(value)));
        rig.step.fold.histograms.drain_shared();
        let view = rig.step.fold.histograms.view(0, 1.0, |ticks| ticks).expect("registered");
        let (count, sum) = (u128::from(view.count()), view.sum_recorded());
        assert!(32 * count <= sum && sum <= 33 * count, "{sum} of {count} samples of 32 and 33");
        thread.join().expect("recording does not panic");
        rig.step.fold.histograms.drain_shared();
        let view = rig.step.fold.histograms.view(0, 1.0, |ticks| ticks).expect("registered");
        assert_eq!((view.count(), view.sum_recorded(), &view.within[..]), (2, 65, &[1][..]));
    });
}

/// A reader reads the ledger while a thread records and the aggregator drains: every aggregated record was recorded.
/// The thread uses its spill, since draining rings could not show a fault: there the roster's lock lies in between.
#[test]
fn ledger() {
    check("ledger", 20_000, &[Bug::LateRead], || {
        let mut rig = StepRig::new(Limits { ring_words: 2, spill_words: ONE_SLOT, ..LIMITS });
        let (lanes, distribution) = (Arc::clone(&rig.lanes), Arc::clone(&rig.distribution));
        let producer = Producer::enter(&lanes).expect("there is room");
        // The second sample finds the ring full and goes to the spill. So does the third, though the ring is empty by
        // then.
        producer.sample(&distribution, 1);
        producer.sample(&distribution, 2);
        rig.step.run();
        rig.step.collect();
        // All three threads first change a number of their own: a spill's owner loads a bucket before it stores it,
        // which hides from loom that others read it (tokio-rs/loom#392).
        let turns = Arc::new(AtomicU64::new(0));
        let (their_turn, reader_turn) = (Arc::clone(&turns), Arc::clone(&turns));
        let thread = ::loom::thread::spawn(move || {
            their_turn.fetch_add(1, Ordering::Relaxed);
            producer.sample(&distribution, 4);
        });
        let reader = spawn(move || {
            reader_turn.fetch_add(1, Ordering::Relaxed);
            lanes.ledger().kind(Kind::Sample)
        });
        turns.fetch_add(1, Ordering::Relaxed);
        rig.step.collect();
        let account = reader.join().expect("reading does not panic");
        assert!(account.recorded >= account.aggregated, "more aggregated than recorded");
        thread.join().expect("recording does not panic");
        rig.assert_all_folded(7);
    });
}
