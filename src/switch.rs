//! The resilience switch: its states and transitions. The policy that decides when to make a transition is elsewhere.
//! Cold: producers never read the switch, since each lane carries its own mode word.
//!
//! The whole state is one word, changed by compare-and-swap, so if several threads see the same fault, exactly one of
//! them makes the transition. Transitions are made by the aggregator's policy, by the caller, and by a producer whose
//! ring is full while the aggregator's heartbeat has stopped.

mod changes;
#[cfg(all(test, tellane_loom))]
mod loom;
mod state;

pub use self::state::{Cause, State, Transition};

use self::changes::{Changes, MILLIS_MAX};
use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU64, Ordering};

/// The state that the caller forces, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Override {
    None = 0,
    On = 1,
    Off = 2,
}

/// The switch's word, unpacked. The packed form has the state in bits 0..2, the override in 2..4, the cause in 4..8,
/// the low 16 bits of the number of changes in 8..24, and a time in milliseconds in 24..64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) state: State,
    pub(crate) forced: Override,
    pub(crate) cause: Cause,
    /// Changes made up to this position, modulo 65,536. A change derives its number from the word that it replaces, so
    /// the log has the order in which the word changed.
    pub(crate) number: u16,
    /// While degraded or off, the earliest time for a probe; during a probe, the end of its lease.
    pub(crate) until: u64,
}

impl Position {
    const fn pack(self) -> u64 {
        // A wait that does not fit into the word (over 34 years) becomes the longest that fits.
        let until = if self.until > MILLIS_MAX { MILLIS_MAX } else { self.until };
        self.state as u64
            | ((self.forced as u64) << 2)
            | ((self.cause as u64) << 4)
            | ((self.number as u64) << 8)
            | (until << 24)
    }

    fn unpack(word: u64) -> Self {
        let forced = match (word >> 2) & 3 {
            1 => Override::On,
            2 => Override::Off,
            _ => Override::None,
        };
        Self {
            state: State::ALL[(word & 3) as usize],
            forced,
            cause: Cause::from_bits(word >> 4),
            number: (word >> 8) as u16,
            until: word >> 24,
        }
    }

    /// The state that applies to records: the caller's override takes precedence over the switch's own state.
    pub(crate) fn effective(self) -> State {
        match self.forced {
            Override::None => self.state,
            Override::On => State::Healthy,
            Override::Off => State::Off,
        }
    }
}

/// Number of changes that the log holds.
#[cfg(not(tellane_loom))]
pub(crate) const LOG: usize = 64;
#[cfg(tellane_loom)]
pub(crate) const LOG: usize = 8;

/// The switch of one instance. Times are milliseconds since the instance started.
#[derive(Debug)]
pub(crate) struct SharedSwitch {
    word: AtomicU64,
    pub(crate) changes: Changes<LOG>,
}

impl Default for SharedSwitch {
    fn default() -> Self {
        let (state, forced, cause) = (State::Healthy, Override::None, Cause::Start);
        let start = Position { state, forced, cause, number: 0, until: 0 };
        Self { word: AtomicU64::new(start.pack()), changes: Changes::default() }
    }
}

impl SharedSwitch {
    pub(crate) fn position(&self) -> Position {
        // Acquire pairs with the Release half of `change`: a thread that sees a state sees the writes that led to it.
        Position::unpack(self.word.load(Ordering::Acquire))
    }

    /// Changes to `to` (degraded or off) after a fault, with the next probe no earlier than `retry_at`. Returns `true`
    /// if this call made the change. A switch that is in this state or a worse one stays as it is.
    pub(crate) fn trip(&self, to: State, cause: Cause, now: u64, retry_at: u64) -> bool {
        self.change(now, |at| {
            let worse = match at.state {
                State::Healthy | State::Probing => true,
                State::Degraded => to == State::Off,
                State::Off => false,
            };
            worse.then_some(Position { state: to, cause, until: retry_at, ..at })
        })
        .is_some()
    }

    /// Begins a probe if it is due, with a lease until `lease_end`. Of several callers one wins, and gets the position
    /// that it must pass to [`settle`](Self::settle).
    pub(crate) fn begin_probe(&self, now: u64, lease_end: u64) -> Option<Position> {
        let probing = |at: Position| {
            let due = matches!(at.state, State::Off | State::Degraded) && at.until <= now;
            let until = lease_end.min(MILLIS_MAX); // clamped as in `pack`, since `settle` compares it with the word
            due.then_some(Position { state: State::Probing, cause: Cause::Probe, until, ..at })
        };
        // Returns the position that `change` made. Reading the word again could return the lease of another probe.
        let begun = self.change(now, probing);
        if planted(Bug::OthersLease) { begun.map(|_| self.position()) } else { begun }
    }

    /// Ends a probe successfully. Changes nothing and returns `false` if its lease has expired meanwhile.
    pub(crate) fn settle(&self, probe: Position, now: u64) -> bool {
        self.change(now, |at| {
            let mine = at.state == State::Probing && at.until == probe.until;
            mine.then_some(Position { state: State::Healthy, cause: Cause::Recovered, until: 0, ..at })
        })
        .is_some()
    }

    /// Ends a probe whose lease has run out, and switches off. Returns `true` if this call did so.
    pub(crate) fn expire(&self, now: u64, retry_at: u64) -> bool {
        self.change(now, |at| {
            let expired = at.state == State::Probing && at.until <= now && !planted(Bug::NoLease);
            expired.then_some(Position {
                state: State::Off,
                cause: Cause::LeaseExpired,
                until: retry_at,
                ..at
            })
        })
        .is_some()
    }

    /// Sets the caller's override, which stays until it is changed. Returns `true` if this changed the override.
    pub(crate) fn force(&self, forced: Override, now: u64) -> bool {
        self.change(now, |at| {
            (at.forced != forced).then_some(Position { forced, cause: Cause::Manual, ..at })
        })
        .is_some()
    }

    /// Makes one change if `next` returns one. Returns the new position, which may already have been replaced by
    /// another thread.
    fn change(&self, now: u64, next: impl Fn(Position) -> Option<Position>) -> Option<Position> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let from = Position::unpack(word);
            let to = Position { number: from.number.wrapping_add(1), ..next(from)? };
            // Computed before the exchange: if the exchange succeeds, the word has not changed since it was read, so
            // this is still the next number.
            let number = self.changes.number_of(from.number);
            let change =
                Transition { from: from.effective(), to: to.effective(), cause: to.cause, at_millis: now };
            if planted(Bug::PlainSwitch) {
                self.word.store(to.pack(), Ordering::Release);
                self.changes.note(number, change);
                return Some(to);
            }
            // AcqRel: the thread that makes the next change sees the writes that led to this one.
            match self.word.compare_exchange_weak(word, to.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.changes.note(number, change);
                    return Some(to);
                }
                Err(current) => word = current,
            }
        }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_probe_after_a_fault_recovers() {
        let switch = SharedSwitch::default();
        assert!(switch.trip(State::Degraded, Cause::Shedding, 1, 10));
        assert!(!switch.trip(State::Degraded, Cause::Shedding, 2, 10), "it is there already");
        assert!(switch.trip(State::Off, Cause::Stalled, 3, 20));
        assert!(!switch.trip(State::Degraded, Cause::Memory, 4, 5), "a lesser fault does not lift it");
        assert_eq!(switch.begin_probe(19, 100), None, "not yet");
        let probe = switch.begin_probe(20, 100).expect("due");
        assert_eq!(switch.begin_probe(21, 100), None, "one probe at a time");
        assert!(switch.settle(probe, 30));
        assert_eq!(switch.position().effective(), State::Healthy);
        let seen: Vec<_> = (0..4).filter_map(|number| switch.changes.get(number)).collect();
        assert_eq!(
            seen.iter()
                .map(|change| (change.from, change.to, change.cause, change.at_millis))
                .collect::<Vec<_>>(),
            [
                (State::Healthy, State::Degraded, Cause::Shedding, 1),
                (State::Degraded, State::Off, Cause::Stalled, 3),
                (State::Off, State::Probing, Cause::Probe, 20),
                (State::Probing, State::Healthy, Cause::Recovered, 30),
            ]
        );
    }

    #[test]
    fn a_probe_that_never_returns_loses_its_lease() {
        let switch = SharedSwitch::default();
        switch.trip(State::Off, Cause::Dead, 0, 5);
        let lost = switch.begin_probe(5, 50).expect("due");
        assert!(!switch.expire(49, 60));
        assert!(switch.expire(50, 60));
        assert!(!switch.settle(lost, 51), "it came back too late");
        let again = switch.begin_probe(60, 70).expect("due");
        assert!(!switch.settle(lost, 61), "the old lease is not the new one");
        assert!(switch.settle(again, 61));
    }

    #[test]
    fn the_callers_override_takes_precedence_and_stays() {
        let switch = SharedSwitch::default();
        assert!(switch.force(Override::Off, 1));
        assert!(!switch.force(Override::Off, 1));
        assert_eq!(switch.position().effective(), State::Off);
        assert!(switch.trip(State::Off, Cause::Stalled, 2, 3));
        assert!(switch.force(Override::On, 3));
        assert_eq!(switch.position().effective(), State::Healthy, "in spite of the fault");
        assert!(switch.force(Override::None, 4));
        assert_eq!(switch.position().effective(), State::Off, "the fault was not forgotten");
    }

    #[test]
    fn an_overwritten_transition_is_not_returned() {
        let switch = SharedSwitch::default();
        for time in 0..LOG as u64 + 3 {
            switch.force(if time % 2 == 0 { Override::Off } else { Override::None }, time);
        }
        assert_eq!((switch.changes.get(2), switch.changes.get(LOG as u64 + 3)), (None, None));
        assert_eq!(switch.changes.get(3).map(|change| change.at_millis), Some(3));
    }

    #[test]
    fn every_position_survives_its_word() {
        for state in State::ALL {
            for forced in [Override::None, Override::On, Override::Off] {
                for cause in Cause::ALL {
                    for (number, until) in [(0, 0), (u16::MAX, 123_456_789), (1, MILLIS_MAX)] {
                        let position = Position { state, forced, cause, number, until };
                        assert_eq!(Position::unpack(position.pack()), position);
                    }
                    assert!(!state.name().is_empty() && !cause.name().is_empty());
                }
            }
        }
    }

    /// After six threads have flipped the switch, the subscription gets the latest changes in the order in which they
    /// were made.
    #[test]
    fn a_subscription_is_not_stuck_behind_a_late_writer() {
        for _ in 0..20 {
            let switch = SharedSwitch::default();
            let made: u64 = std::thread::scope(|scope| {
                let flip = || {
                    let words = [Override::Off, Override::None].into_iter().cycle().take(20_000);
                    words.map(|forced| u64::from(switch.force(forced, 1))).sum::<u64>()
                };
                let threads: Vec<_> = (0..6).map(|_| scope.spawn(flip)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            });
            let mut seen = 0;
            let changes: Vec<_> = std::iter::from_fn(|| switch.changes.next(&mut seen)).collect();
            assert_eq!((switch.changes.made(), seen), (made, made));
            assert_eq!(changes.len() as u64, made.min(LOG as u64));
            for pair in changes.windows(2) {
                assert_eq!(pair[0].to, pair[1].from, "{changes:?}");
            }
            assert_eq!(changes.last().map(|change| change.to), Some(switch.position().effective()));
        }
    }
}
