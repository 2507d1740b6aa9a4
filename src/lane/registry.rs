//! All lanes of one instance: who has one, which are idle, which can go. Cold: a thread's first touch, its end, and
//! the aggregator's roll call.
//!
//! Two locks guard the lanes. The roster's is for first touches and thread ends, and is held for a few steps only, however
//! many lanes exist. The list's is for readers of all lanes, which take time in proportion to the lanes and what is in
//! them, and for the removal of a lane. So a first touch never waits for a ledger or a snapshot. Whoever takes both takes
//! the list's first.
//!
//! A finished thread's lane goes to the idle list with everything it holds, and the next new thread takes it over as
//! it is. Lanes beyond the number to keep are retired by the aggregator, which alone knows what has been read.

use super::{Distribution, Lane, Mode, SharedHistogram, forks, local};
use crate::clock::{Clock, Uptime};
use crate::stats::{KINDS, Kind, Ledger, Reason, Tally};
use crate::switch::{Cause, State, Switch};
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
    /// Lanes there may be.
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
    pub(crate) switch: Switch,
    /// Counts of threads that have no lane, and of retired lanes.
    pub(crate) shared: Tally,
    /// Counter cells of the same: one for each cell handed out.
    pub(crate) shared_cells: boxcar::Vec<AtomicU64>,
    /// The histograms, by series number.
    pub(crate) distributions: boxcar::Vec<Arc<Distribution>>,
    /// Records aggregated, by kind. Written by the aggregator.
    pub(crate) aggregated: [AtomicU64; KINDS],
    /// Exemplars that histograms hold, and those that newer ones have replaced. Written by the aggregator; both only
    /// grow.
    pub(crate) exemplars: [AtomicU64; 2],
    /// Counts the times at which exemplars begin anew, from 1. Written by the aggregator.
    pub(crate) epoch: AtomicU32,
    /// When the aggregator last came by, in ticks; 0 while there is none to wait for.
    heartbeat: AtomicU64,
    /// Time since the instance started; goes on when the clock goes back.
    pub(crate) uptime: Uptime,
    stall_ticks: u64,
    retry: Duration,
    /// All lanes but those that have joined since the last [`gather`](Self::gather).
    list: Mutex<Vec<Arc<Lane>>>,
    roster: Mutex<Roster>,
}

/// The lanes as first touches and thread ends see them, under their lock.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// Lanes there are, listed or not.
    lanes: usize,
    /// Lanes that have joined and are not on the list yet.
    unlisted: Vec<Arc<Lane>>,
    idle: Vec<Arc<Lane>>,
    /// Lanes that the aggregator has not met yet.
    joined: Vec<Arc<Lane>>,
    /// Lanes that are being built outside the lock; they count against the cap.
    coming: usize,
    closed: bool,
}

/// A lane on its way out. Dropped before it is retired (a panic), it becomes idle again.
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

/// Takes a lane off the list in constant time: the last lane moves to its place.
fn remove(list: &mut Vec<Arc<Lane>>, lane: &Lane) {
    let place = lane.place.load(Ordering::Relaxed); // written under the list's lock only
    list.swap_remove(place);
    if let Some(moved) = list.get(place) {
        moved.place.store(place, Ordering::Relaxed);
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
            switch: Switch::default(),
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

    /// Runs `act` with the roster, under its lock. First touches wait for this lock, so `act` takes a few steps, whatever
    /// the number of lanes. An allocator that records meanwhile must not come back for a lane.
    fn roster<R>(&self, act: impl FnOnce(&mut Roster) -> R) -> R {
        local::without_recording(|| act(&mut self.roster.lock()))
    }

    /// Runs `act` with the list of lanes, under its lock. Lanes are removed under this lock only. An allocator that records
    /// meanwhile uses the shared counts, which need no lock. Never called with the roster's lock held.
    fn list<R>(&self, act: impl FnOnce(&mut Vec<Arc<Lane>>) -> R) -> R {
        local::without_recording(|| act(&mut self.list.lock()))
    }

    /// Brings the list up to date, and returns what `look` reads of the roster at that moment, under the roster's lock.
    ///
    /// The list then holds every lane that joined before that moment, and no other. A record that the caller has seen
    /// traces of before this call is in a listed lane or in the shared counts: its lane joined, under the roster's lock,
    /// before the record was made.
    fn gather<R>(&self, list: &mut Vec<Arc<Lane>>, look: impl FnOnce(&mut Roster) -> R) -> R {
        let (unlisted, seen) = self.roster(|roster| (std::mem::take(&mut roster.unlisted), look(roster)));
        for lane in unlisted {
            lane.place.store(list.len(), Ordering::Relaxed);
            list.push(lane);
        }
        seen
    }

    /// Whether this process is a child of the one that made the instance. Then no lock of it may be taken.
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != forks()
    }

    /// Records that the aggregator is alive. Relaxed: a time, nothing hangs on its order.
    pub(crate) fn beat(&self, ticks: u64) {
        self.heartbeat.store(ticks.max(1), Ordering::Relaxed);
    }

    /// A producer found its ring full: if the aggregator's heart has stopped, the switch goes off, here and now for
    /// this lane, and for every other as soon as it comes by here itself. Takes no lock.
    #[cold]
    pub(crate) fn suspect_stall(&self, lane: &Lane, now: u64) {
        let beat = self.heartbeat.load(Ordering::Relaxed);
        // Wraps: a reading before the beat is looked at more closely.
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

    /// Compares the heartbeat with a reading of its own, which is later than the beat unless the clock was set back. Then
    /// the wait for the next beat begins anew: a heart that has stopped is found out `stall_ticks` later, not when the
    /// clock has caught up.
    fn has_stalled(&self) -> bool {
        let beat = self.heartbeat.load(Ordering::Relaxed);
        let now = self.clock.ticks();
        if now < beat {
            // Relaxed, as in `beat`. If the exchange fails, the heart has just beaten.
            let _beaten =
                self.heartbeat.compare_exchange(beat, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        now.saturating_sub(beat) >= self.stall_ticks
    }

    /// Ends a probe whose lease has run out, whoever began it: a worker that is stuck in its own probe cannot.
    pub(crate) fn reclaim_lease(&self) {
        let position = self.switch.position();
        if position.state == State::Probing {
            let millis = self.uptime.millis();
            self.switch.expire(millis, millis.saturating_add(self.retry.as_millis() as u64));
        }
    }

    /// Decides about a record of a thread that got no lane, for this reason. `true`: it goes to the shared counts. `false`:
    /// the instance has ended or the switch is off, and the record is counted as dropped or left out.
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

    /// What the switch means for lanes.
    pub(crate) fn mode(&self) -> Mode {
        match self.switch.position().effective() {
            State::Healthy | State::Probing => Mode::On,
            State::Degraded => Mode::Degraded,
            State::Off => Mode::Off,
        }
    }

    /// Writes the switch's present state into every lane. Whoever changes the switch calls this afterwards.
    ///
    /// Every lane ends up with the latest state. The state is read under the roster's lock, at the moment of the gathering.
    /// A lane that joins later reads the switch under the same lock later, so its reading is no older. A lane on the list
    /// gets this call's reading; calls take turns by the list's lock, so the last one to write has the latest reading.
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

    /// No lane lets anything through from now on, and no new lane is made.
    pub(crate) fn close(&self) {
        self.roster(|roster| roster.closed = true);
        self.apply_mode();
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.roster(|roster| roster.closed)
    }

    /// A lane for a new thread: an idle one, or a new one if the cap allows. A new lane is built without the lock:
    /// its memory comes from the kernel, and other first touches must not wait for that.
    pub(crate) fn take_lane(&self) -> Result<Arc<Lane>, Reason> {
        let idle = self.roster(|roster| {
            if roster.closed {
                return Err(Reason::AfterShutdown);
            }
            if let Some(lane) = roster.idle.pop() {
                return Ok(Some(lane));
            }
            if roster.lanes + roster.coming >= self.limits.lanes {
                return Err(Reason::TooManyThreads);
            }
            roster.coming += 1;
            Ok(None)
        })?;
        if let Some(lane) = idle {
            return Ok(lane);
        }
        let lane = Lane::new(&self.limits, if planted(Bug::EarlyMode) { self.mode() } else { Mode::Off });
        self.roster(|roster| {
            roster.coming -= 1;
            if roster.closed {
                return Err(Reason::AfterShutdown); // closed meanwhile: no lane joins any more
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

    /// A thread has ended. Nothing is lost: the lane stays on the roster with all it holds.
    pub(crate) fn hand_back(&self, lane: Arc<Lane>) {
        self.roster(|roster| roster.idle.push(lane));
    }

    /// Calls `meet` once for each lane that joined since the last call. The work is that of the new lanes, and the
    /// lock is not held for it: ten thousand threads that start at once would otherwise wait for each other's roll calls.
    pub(crate) fn roll_call(&self, meet: impl FnMut(Arc<Lane>)) {
        let joined = self.roster(|roster| std::mem::take(&mut roster.joined));
        joined.into_iter().for_each(meet);
    }

    /// Every lane.
    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.list(|list| {
            self.gather(list, |_| ());
            list.clone()
        })
    }

    /// Removes one surplus idle lane for good. Its thread is gone and no other will have it, but it may hold records:
    /// `last_look` must drain it once more. That happens without a lock and while the lane is still listed: should it
    /// panic, the lane is idle again with all it holds. Cells and tally are taken over under the lock of the list that
    /// the lane is taken off, so that whoever adds up lanes counts it once.
    pub(crate) fn retire(&self, last_look: impl FnOnce(&Arc<Lane>)) -> bool {
        let Some(surplus) = self.surplus() else { return false };
        let lane = &surplus.lane;
        last_look(lane);
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

    /// An idle lane above the number to keep, which no thread can take over any more.
    fn surplus(&self) -> Option<Surplus<'_>> {
        let lane = self.roster(|roster| {
            let there_is = roster.idle.len() > self.limits.idle;
            there_is.then(|| roster.idle.swap_remove(0))
        })?;
        Some(Surplus { lane, lane_registry: self, retired: Cell::new(false) })
    }

    /// Lanes there are, and how many of them are idle.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.roster(|roster| (roster.lanes, roster.idle.len()))
    }

    /// Bytes set aside for lanes.
    pub(crate) fn bytes(&self) -> usize {
        self.list(|list| {
            self.gather(list, |_| ());
            list.iter().map(|lane| lane.bytes()).sum()
        })
    }

    /// The account over all lanes. The aggregator's counts are read first: what they count was recorded before, in a lane
    /// that the gathering then finds. So is what was lost later, which stands in the shared tally. That tally is read
    /// under the list's lock, since a lane that is retired moves its counts there.
    pub(crate) fn ledger(&self) -> Ledger {
        let aggregated = || std::array::from_fn(|kind| self.aggregated[kind].load(Ordering::Acquire));
        let exemplars = || std::array::from_fn(|count| self.exemplars[count].load(Ordering::Acquire));
        self.list(|list| {
            if planted(Bug::EarlyGather) {
                self.gather(list, |_| ());
            }
            let shown = (aggregated(), exemplars());
            let mut ledger = Ledger::default();
            ledger.add(&self.shared, 0);
            if !planted(Bug::EarlyGather) {
                self.gather(list, |_| ());
            }
            for lane in list.iter() {
                ledger.add(&lane.tally, lane.samples());
            }
            let shown = if planted(Bug::LateLook) { (aggregated(), exemplars()) } else { shown };
            ledger.balance(shown.0, shown.1);
            ledger
        })
    }

    /// Spans that wanted a place in a ring, and those of them that found none. What the policy asks after each pass:
    /// the whole ledger reads every bucket of every spill.
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

    /// An addition by a thread without a lane, or by a lane that is gone.
    pub(crate) fn share_count(&self, cell: usize, amount: u64) {
        if let Some(cell) = self.shared_cells.get(cell) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// A sample from a thread without a lane: exact, but shared.
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

    /// The work of all roll calls together is that of the lanes that joined, however many there are already.
    #[test]
    fn a_roll_call_visits_the_lanes_that_are_new() {
        const LANES: usize = 2_000;
        let lane_registry = lane_registry(LANES);
        let mut met = Vec::new();
        for _ in 0..LANES {
            let lane = lane_registry.take_lane().expect("below the cap");
            let before = met.len();
            lane_registry.roll_call(|lane| met.push(lane));
            assert_eq!(met.len(), before + 1, "one lane is new, one lane is visited");
            assert!(Arc::ptr_eq(&met[before], &lane));
        }
        lane_registry.roll_call(|_| unreachable!("no lane is new"));
        assert_eq!(lane_registry.take_lane().err(), Some(Reason::TooManyThreads));
    }

    /// A thread's first touch and its end wait for no reader of all lanes, however long that reads.
    #[test]
    fn a_thread_comes_and_goes_while_all_lanes_are_read() {
        let lane_registry = lane_registry(3);
        let old = lane_registry.take_lane().expect("below the cap");
        lane_registry.list(|list| {
            lane_registry.gather(list, |_| ());
            std::thread::scope(|scope| {
                let (came, has_come) = std::sync::mpsc::channel();
                let lane_registry = &lane_registry;
                scope.spawn(move || {
                    let lane = lane_registry.take_lane().expect("below the cap");
                    lane_registry.hand_back(Arc::clone(&lane));
                    let again = lane_registry.take_lane().expect("the idle one");
                    assert!(Arc::ptr_eq(&lane, &again));
                    came.send(lane).expect("it is waited for");
                });
                has_come.recv_timeout(Duration::from_secs(60)).expect("it waits for no reader");
            });
            assert_eq!((list.len(), lane_registry.counts()), (1, (2, 0)));
        });
        assert!(Arc::ptr_eq(&lane_registry.lanes()[0], &old) && lane_registry.lanes().len() == 2);
    }

    /// A lane may be retired before a reader of all lanes has met it.
    #[test]
    fn a_lane_that_is_not_listed_yet_is_retired() {
        let lane_registry = lane_registry(3);
        let lanes: Vec<_> = (0..3).map(|_| lane_registry.take_lane().expect("below the cap")).collect();
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
        let lanes: Vec<_> = (0..5).map(|_| lane_registry.take_lane().expect("below the cap")).collect();
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
