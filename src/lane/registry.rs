//! All lanes of one instance: in use, idle and about to be retired. Cold: called at a thread's first touch, at its end,
//! and once per pass of the aggregator.
//!
//! Two locks guard the lanes. First touches and thread ends take the roster's lock, and hold it for a few steps only,
//! however many lanes exist. Readers of all lanes and the removal of a lane take the list's lock; readers hold it for a
//! time proportional to the number of lanes and their contents. So a first touch never waits for a ledger or a
//! snapshot. Lock order: the list's lock first, then the roster's.
//!
//! The lane of a finished thread goes to the idle list with everything in it, and the next new thread takes it over
//! unchanged. The aggregator retires idle lanes above the number to keep, since it alone knows what has been read.

use super::{Distribution, Lane, Mode, SharedHistogram, forks, local};
use crate::clock::{Clock, Uptime};
use crate::stats::{KINDS, Kind, Ledger, Reason, Tally};
use crate::switch::{Cause, SharedSwitch, State};
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering};
use std::cell::Cell;
use std::time::Duration;

/// The sizes of lanes and their number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Words of a ring, a power of two.
    pub(crate) ring_words: usize,
    /// Words of a lane's spill.
    pub(crate) spill_words: usize,
    /// Counter cells a lane starts with.
    pub(crate) first_cells: usize,
    /// The most lanes at one time.
    pub(crate) lanes: usize,
    /// Idle lanes to keep for new threads.
    pub(crate) idle: usize,
}

/// The part of an instance that lanes and handles share.
#[derive(Debug)]
pub(crate) struct LaneRegistry {
    /// This instance's number in the process, from 1.
    pub(crate) instance: u32,
    /// Forks before this instance was made.
    forks: u64,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) switch: SharedSwitch,
    /// Tally of threads without a lane, and of retired lanes.
    pub(crate) shared: Tally,
    /// Counter cells of threads without a lane and of retired lanes: one for each allocated cell index.
    pub(crate) shared_cells: boxcar::Vec<AtomicU64>,
    /// The histograms, by series number.
    pub(crate) distributions: boxcar::Vec<Arc<Distribution>>,
    /// Records aggregated, by kind. Written by the aggregator.
    pub(crate) aggregated: [AtomicU64; KINDS],
    /// Exemplars that histograms keep, and exemplars that newer ones have replaced. Written by the aggregator; both
    /// numbers only grow.
    pub(crate) exemplars: [AtomicU64; 2],
    /// Number of the current exemplar epoch, from 1: each snapshot starts a new one. Written by the aggregator.
    pub(crate) epoch: AtomicU32,
    /// Time of the aggregator's last pass, in ticks; 0 while no aggregator is expected to run.
    heartbeat: AtomicU64,
    /// Time since the instance started. Keeps advancing when the clock is set back.
    pub(crate) uptime: Uptime,
    stall_ticks: u64,
    retry: Duration,
    /// All lanes except those that joined since the last [`gather`](Self::gather).
    list: Mutex<Vec<Arc<Lane>>>,
    roster: Mutex<Roster>,
}

/// The lanes' state that first touches and thread ends need, under its own lock.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// Number of lanes, on the list or not.
    lanes: usize,
    /// Lanes that have joined and are not on the list yet.
    unlisted: Vec<Arc<Lane>>,
    idle: Vec<Arc<Lane>>,
    /// Lanes that the aggregator has no reader for yet.
    joined: Vec<Arc<Lane>>,
    /// Number of lanes under construction outside the lock. They count against the cap.
    under_construction: usize,
    closed: bool,
}

/// A lane about to be retired. If it is dropped before that, by a panic, the lane becomes idle again.
struct Surplus<'a> {
    lane: Arc<Lane>,
    lane_registry: &'a LaneRegistry,
    retired: Cell<bool>,
}

impl Drop for Surplus<'_> {
    fn drop(&mut self) {
        if !self.retired.get() {
            self.lane_registry.hand_back(Arc::clone(&self.lane));
        }
    }
}

/// Removes a lane from the list in constant time: the last lane moves to its index.
fn remove(list: &mut Vec<Arc<Lane>>, lane: &Lane) {
    let index = lane.list_index.load(Ordering::Relaxed); // written under the list's lock only
    list.swap_remove(index);
    if let Some(moved) = list.get(index) {
        moved.list_index.store(index, Ordering::Relaxed);
    }
}

impl LaneRegistry {
    pub(crate) fn new(
        instance: u32,
        limits: Limits,
        clock: Clock,
        stall_after: Duration,
        retry: Duration,
    ) -> Self {
        Self {
            instance,
            forks: forks(),
            limits,
            switch: SharedSwitch::default(),
            shared: Tally::default(),
            shared_cells: boxcar::Vec::new(),
            distributions: boxcar::Vec::new(),
            aggregated: std::array::from_fn(|_| AtomicU64::new(0)),
            exemplars: [AtomicU64::new(0), AtomicU64::new(0)],
            epoch: AtomicU32::new(1),
            heartbeat: AtomicU64::new(0),
            uptime: Uptime::new(&clock),
            stall_ticks: clock.ticks_in(stall_after),
            retry,
            list: Mutex::new(Vec::new()),
            roster: Mutex::new(Roster::default()),
            clock,
        }
    }

    /// Runs `act` with the roster, under its lock. First touches wait for this lock, so `act` must take only a few
    /// steps, however many lanes exist. Recording is off meanwhile: an allocator that records must not ask for a lane
    /// here.
    fn roster<R>(&self, act: impl FnOnce(&mut Roster) -> R) -> R {
        local::without_recording(|| act(&mut self.roster.lock()))
    }

    /// Runs `act` with the list of lanes, under its lock. Lanes are removed under this lock only. Meanwhile, an
    /// allocator that records uses the shared counts, which need no lock. Must not be called with the roster's lock
    /// held.
    fn list<R>(&self, act: impl FnOnce(&mut Vec<Arc<Lane>>) -> R) -> R {
        local::without_recording(|| act(&mut self.list.lock()))
    }

    /// Brings the list up to date, and returns the value that `read` takes from the roster at that moment, under the
    /// roster's lock.
    ///
    /// The list then contains every lane that joined before that moment, and no other. If the caller has seen any
    /// effect of a record before this call, that record is in a listed lane or in the shared counts: its lane joined,
    /// under the roster's lock, before the record was made.
    fn gather<R>(&self, list: &mut Vec<Arc<Lane>>, read: impl FnOnce(&mut Roster) -> R) -> R {
        let (unlisted, seen) = self.roster(|roster| (std::mem::take(&mut roster.unlisted), read(roster)));
        for lane in unlisted {
            lane.list_index.store(list.len(), Ordering::Relaxed);
            list.push(lane);
        }
        seen
    }

    /// Returns `true` if this process is a forked child of the one that made the instance. Then no lock of the instance
    /// may be taken.
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != forks()
    }

    /// Stores the heartbeat of the aggregator. Relaxed: only a time, which publishes no other memory.
    pub(crate) fn beat(&self, ticks: u64) {
        self.heartbeat.store(ticks.max(1), Ordering::Relaxed);
    }

    /// Checks the heartbeat after a producer found its ring full. If the aggregator has stalled, turns the switch off,
    /// and this lane with it; each other lane turns itself off when its producer calls this. Takes no lock.
    #[cold]
    pub(crate) fn suspect_stall(&self, lane: &Lane, now: u64) {
        let beat = self.heartbeat.load(Ordering::Relaxed);
        // The subtraction wraps: a reading before the heartbeat gives a large difference, and `has_stalled` decides.
        if beat == 0 || now.wrapping_sub(beat) < self.stall_ticks || !self.has_stalled() {
            return;
        }
        self.reclaim_lease();
        let millis = self.uptime.millis();
        let retry_at = millis.saturating_add(self.retry.as_millis() as u64);
        self.switch.trip(State::Off, Cause::Stalled, millis, retry_at);
        if self.switch.position().effective() == State::Off {
            lane.set_mode(Mode::Off);
        }
    }

    /// Compares the heartbeat with a new clock reading, which is later unless the clock was set back. If it was, the
    /// wait for the next heartbeat starts over, so that a stalled aggregator is detected `stall_ticks` later, not when
    /// the clock has caught up.
    fn has_stalled(&self) -> bool {
        let beat = self.heartbeat.load(Ordering::Relaxed);
        let now = self.clock.ticks();
        if now < beat {
            // Relaxed, as in `beat`. If the exchange fails, the aggregator has just stored a new heartbeat.
            let _beaten =
                self.heartbeat.compare_exchange(beat, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        now.saturating_sub(beat) >= self.stall_ticks
    }

    /// Ends a probe whose lease has run out. Any thread may call this, since a worker that is stuck in its own probe
    /// cannot.
    pub(crate) fn reclaim_lease(&self) {
        let position = self.switch.position();
        if position.state == State::Probing {
            let millis = self.uptime.millis();
            self.switch.expire(millis, millis.saturating_add(self.retry.as_millis() as u64));
        }
    }

    /// Returns `true` if a record of a thread that got no lane, for this reason, goes to the shared counts. `false` if
    /// the instance has ended or the switch is off; the record has then been counted as dropped or suppressed.
    pub(crate) fn admits_unattached(&self, kind: Kind, reason: Reason) -> bool {
        let gone = matches!(reason, Reason::Forked | Reason::AfterShutdown);
        if gone {
            self.shared.shared_dropped(kind, reason);
        } else if self.mode() == Mode::Off {
            self.shared.shared_switched_off(kind);
        } else {
            return true;
        }
        false
    }

    /// The lane mode that corresponds to the switch's state.
    pub(crate) fn mode(&self) -> Mode {
        match self.switch.position().effective() {
            State::Healthy | State::Probing => Mode::On,
            State::Degraded => Mode::Degraded,
            State::Off => Mode::Off,
        }
    }

    /// Writes the switch's current state into every lane. Must be called after each change of the switch.
    ///
    /// Every lane ends up with the latest state. The state is read under the roster's lock, at the moment of
    /// [`gather`](Self::gather). A lane that joins later reads the switch later under the same lock, so it gets a state
    /// that is no older. A lane on the list gets the state read here; the list's lock orders the calls, so the last
    /// call to write has read the latest state.
    pub(crate) fn apply_mode(&self) {
        let early = planted(Bug::EarlyState).then(|| self.mode());
        self.list(|list| {
            let mode = |roster: &mut Roster| if roster.closed { Mode::Closed } else { self.mode() };
            let mode = early.unwrap_or(self.gather(list, mode));
            for lane in list.iter() {
                lane.set_mode(mode);
            }
        });
    }

    /// Closes all lanes for good: they accept no more records, and no new lane is made.
    pub(crate) fn close(&self) {
        self.roster(|roster| roster.closed = true);
        self.apply_mode();
    }

    /// Returns `true` after [`close`](Self::close).
    pub(crate) fn is_closed(&self) -> bool {
        self.roster(|roster| roster.closed)
    }

    /// Returns a lane for a new thread: an idle one, or a new one if the cap allows. A new lane is built without the
    /// lock: the kernel has to provide its memory, and other first touches must not wait for that.
    pub(crate) fn acquire_lane(&self) -> Result<Arc<Lane>, Reason> {
        let idle = self.roster(|roster| {
            if roster.closed {
                return Err(Reason::AfterShutdown);
            }
            if let Some(lane) = roster.idle.pop() {
                return Ok(Some(lane));
            }
            if roster.lanes + roster.under_construction >= self.limits.lanes {
                return Err(Reason::TooManyThreads);
            }
            roster.under_construction += 1;
            Ok(None)
        })?;
        if let Some(lane) = idle {
            return Ok(lane);
        }
        let lane = Lane::new(&self.limits, if planted(Bug::EarlyMode) { self.mode() } else { Mode::Off });
        self.roster(|roster| {
            roster.under_construction -= 1;
            if roster.closed {
                return Err(Reason::AfterShutdown); // closed since the first check: no lane may join any more
            }
            if !planted(Bug::EarlyMode) {
                lane.set_mode(self.mode()); // under the lock: see `apply_mode`
            }
            roster.lanes += 1;
            roster.unlisted.push(Arc::clone(&lane));
            if !planted(Bug::LostRegistration) {
                roster.joined.push(Arc::clone(&lane));
            }
            Ok(())
        })?;
        Ok(lane)
    }

    /// Returns the lane of a finished thread. The lane stays on the roster with all its records and counts.
    pub(crate) fn hand_back(&self, lane: Arc<Lane>) {
        self.roster(|roster| roster.idle.push(lane));
    }

    /// Calls `visit` once for each lane that joined since the last call. The work is proportional to the number of new
    /// lanes, and the lock is not held meanwhile: otherwise ten thousand threads that start at once would wait for it.
    pub(crate) fn drain_joined(&self, visit: impl FnMut(Arc<Lane>)) {
        let joined = self.roster(|roster| std::mem::take(&mut roster.joined));
        joined.into_iter().for_each(visit);
    }

    /// All lanes.
    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.list(|list| {
            self.gather(list, |_| ());
            list.clone()
        })
    }

    /// Removes one surplus idle lane for good; `false` if there is none.
    ///
    /// The lane's thread is gone and no other thread can get the lane, but it may still contain records: `final_drain`
    /// must drain it once more. It runs without a lock and while the lane is still listed; if it panics, the lane
    /// becomes idle again with all its contents. Cells and tally are added to the shared counts under the same lock
    /// that covers the removal from the list, so that a reader of all lanes counts them once.
    pub(crate) fn retire(&self, final_drain: impl FnOnce(&Arc<Lane>)) -> bool {
        let Some(surplus) = self.surplus() else { return false };
        let lane = &surplus.lane;
        final_drain(lane);
        let mut counts = vec![0; self.shared_cells.count()];
        lane.cells.add_to(0, &mut counts);
        let absorb = || {
            for (index, count) in counts.into_iter().enumerate().filter(|(_, count)| *count != 0) {
                self.share_count(index, count);
            }
            self.shared.absorb(&lane.tally);
            self.shared.absorb_samples(lane.samples());
        };
        if planted(Bug::LateAbsorb) {
            self.list(|list| {
                self.gather(list, |roster| roster.lanes -= 1);
                remove(list, lane);
            });
            absorb();
        } else {
            self.list(|list| {
                self.gather(list, |roster| roster.lanes -= 1); // the lane may not be listed yet
                remove(list, lane);
                absorb();
            });
        }
        surplus.retired.set(true);
        true
    }

    /// Takes an idle lane above the number to keep. No thread can take it over any more.
    fn surplus(&self) -> Option<Surplus<'_>> {
        let lane = self.roster(|roster| {
            let has_surplus = roster.idle.len() > self.limits.idle;
            has_surplus.then(|| roster.idle.swap_remove(0))
        })?;
        Some(Surplus { lane, lane_registry: self, retired: Cell::new(false) })
    }

    /// The number of lanes, and the number of idle ones among them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.roster(|roster| (roster.lanes, roster.idle.len()))
    }

    /// Bytes of memory of all lanes.
    pub(crate) fn bytes(&self) -> usize {
        self.list(|list| {
            self.gather(list, |_| ());
            list.iter().map(|lane| lane.bytes()).sum()
        })
    }

    /// The ledger over all lanes.
    ///
    /// The aggregator's counts are read first: the records that they count were recorded before, in lanes that
    /// [`gather`](Self::gather) then finds. The same holds for records that were lost later, which the shared tally
    /// counts. The shared tally is read under the list's lock, since retiring a lane moves the lane's counts there.
    pub(crate) fn ledger(&self) -> Ledger {
        let aggregated = || std::array::from_fn(|kind| self.aggregated[kind].load(Ordering::Acquire));
        let exemplars = || std::array::from_fn(|count| self.exemplars[count].load(Ordering::Acquire));
        self.list(|list| {
            if planted(Bug::EarlyGather) {
                self.gather(list, |_| ());
            }
            // Before `gather`: see above. Read after it, a lane that joined in between would be missing, and the ledger
            // would show more records aggregated than recorded.
            let shown = (aggregated(), exemplars());
            let mut ledger = Ledger::default();
            ledger.add(&self.shared, 0);
            if !planted(Bug::EarlyGather) {
                self.gather(list, |_| ());
            }
            for lane in list.iter() {
                ledger.add(&lane.tally, lane.samples());
            }
            let shown = if planted(Bug::LateRead) { (aggregated(), exemplars()) } else { shown };
            ledger.balance(shown.0, shown.1);
            ledger
        })
    }

    /// The number of spans sent to a ring, and the number of those that found it full. The policy reads this after each
    /// pass, because the whole ledger would read every bucket of every spill.
    pub(crate) fn span_pressure(&self) -> (u64, u64) {
        self.list(|list| {
            self.gather(list, |_| ());
            let lanes = list.iter().map(|lane| &*lane.tally);
            std::iter::once(&self.shared).chain(lanes).fold((0, 0), |(wanted, shed), tally| {
                let more = tally.read_dropped(Kind::Span, Reason::RingFull);
                (wanted + more + tally.read_sent(Kind::Span), shed + more)
            })
        })
    }

    /// Adds all lanes' counter cells from `first` on to `sums`.
    pub(crate) fn sum_cells(&self, first: usize, sums: &mut [u64]) {
        self.list(|list| {
            self.gather(list, |_| ());
            for (sum, (_, cell)) in sums.iter_mut().zip(self.shared_cells.iter().skip(first)) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
            for lane in list.iter() {
                lane.cells.add_to(first, sums);
            }
        });
    }

    /// Adds to the shared counter cell: for a thread without a lane, or for a retired lane.
    pub(crate) fn share_count(&self, cell: usize, amount: u64) {
        if let Some(cell) = self.shared_cells.get(cell) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Counts a sample of a thread without a lane in the shared histogram.
    pub(crate) fn share_sample(&self, shared_histogram: &SharedHistogram, value: u64) {
        self.shared.shared_sent(Kind::Sample);
        self.shared.shared_coarse();
        shared_histogram.add(value);
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn lane_registry(lanes: usize) -> LaneRegistry {
        let limits = Limits { ring_words: 2, spill_words: 0, first_cells: 0, lanes, idle: 0 };
        let (clock, _hand) = Clock::mock();
        LaneRegistry::new(1, limits, clock, Duration::ZERO, Duration::ZERO)
    }

    /// The total work of all calls is proportional to the lanes that joined, however many lanes exist.
    #[test]
    fn only_new_lanes_are_visited() {
        const LANES: usize = 2_000;
        let lane_registry = lane_registry(LANES);
        let mut visited = Vec::new();
        for _ in 0..LANES {
            let lane = lane_registry.acquire_lane().expect("below the cap");
            let before = visited.len();
            lane_registry.drain_joined(|lane| visited.push(lane));
            assert_eq!(visited.len(), before + 1, "one lane is new, one lane is visited");
            assert!(Arc::ptr_eq(&visited[before], &lane));
        }
        lane_registry.drain_joined(|_| unreachable!("no lane is new"));
        assert_eq!(lane_registry.acquire_lane().err(), Some(Reason::TooManyThreads));
    }

    /// A thread's first touch and its end do not wait for a reader of all lanes, however long it reads.
    #[test]
    fn a_thread_attaches_and_ends_while_all_lanes_are_read() {
        let lane_registry = lane_registry(3);
        let old = lane_registry.acquire_lane().expect("below the cap");
        lane_registry.list(|list| {
            lane_registry.gather(list, |_| ());
            std::thread::scope(|scope| {
                let (came, has_come) = std::sync::mpsc::channel();
                let lane_registry = &lane_registry;
                scope.spawn(move || {
                    let lane = lane_registry.acquire_lane().expect("below the cap");
                    lane_registry.hand_back(Arc::clone(&lane));
                    let again = lane_registry.acquire_lane().expect("the idle one");
                    assert!(Arc::ptr_eq(&lane, &again));
                    came.send(lane).expect("it is waited for");
                });
                has_come.recv_timeout(Duration::from_secs(60)).expect("it waits for no reader");
            });
            assert_eq!((list.len(), lane_registry.counts()), (1, (2, 0)));
        });
        assert!(Arc::ptr_eq(&lane_registry.lanes()[0], &old) && lane_registry.lanes().len() == 2);
    }

    /// A lane may be retired before a reader of all lanes has listed it.
    #[test]
    fn a_lane_that_is_not_listed_yet_is_retired() {
        let lane_registry = lane_registry(3);
        let lanes: Vec<_> = (0..3).map(|_| lane_registry.acquire_lane().expect("below the cap")).collect();
        lanes[1].tally.sent(Kind::Span);
        lane_registry.hand_back(Arc::clone(&lanes[1]));
        assert!(lane_registry.retire(|_| ()));
        assert_eq!(lane_registry.ledger().kind(Kind::Span).recorded, 1);
        assert_eq!((lane_registry.lanes().len(), lane_registry.counts()), (2, (2, 0)));
        assert!(lane_registry.lanes().iter().all(|lane| !Arc::ptr_eq(lane, &lanes[1])));
    }

    #[test]
    fn a_lane_in_the_middle_is_retired_and_no_other() {
        let lane_registry = lane_registry(5);
        let lanes: Vec<_> = (0..5).map(|_| lane_registry.acquire_lane().expect("below the cap")).collect();
        let mut left: Vec<usize> = (0..5).collect();
        for gone in [1, 4, 0, 2, 3] {
            lane_registry.hand_back(Arc::clone(&lanes[gone]));
            assert!(lane_registry.retire(|lane| assert!(Arc::ptr_eq(lane, &lanes[gone]))));
            left.retain(|lane| *lane != gone);
            let there = lane_registry.lanes();
            let is_there = |lane: &usize| there.iter().any(|other| Arc::ptr_eq(other, &lanes[*lane]));
            assert!(
                there.len() == left.len() && left.iter().all(is_there),
                "{gone} is gone, {left:?} are left"
            );
        }
    }
}
