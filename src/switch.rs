//! The resilience switch: its states and transitions, nothing of when to make them. Cold; producers never read it,
//! each lane carries its own mode word.
//!
//! All of it is one word, changed by compare-and-swap, so that of several threads that see the same fault one makes
//! the transition. Who decides: the aggregator's policy, the caller by hand, and a producer whose ring is full while
//! the aggregator's heart has stopped.

#[cfg(all(test, tellane_loom))]
mod loom;

use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU64, Ordering};

/// The states of the switch.
///
/// `Healthy -> Degraded -> Off -> Probing -> Healthy`; any fault may go straight to [`Off`](Self::Off).
///
/// ```
/// use tellane::State;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let switch = telemetry.switch();
/// assert_eq!(switch.state(), State::Healthy);
/// switch.force_off();
/// assert_eq!(switch.state(), State::Off);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Everything is recorded.
    Healthy = 0,
    /// Whole spans are shed, durations and samples are recorded.
    Degraded = 1,
    /// Nothing is recorded but counters and gauges; what is skipped is counted.
    Off = 2,
    /// Everything is recorded on trial, until the lease ends.
    Probing = 3,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Off, Self::Probing];

    /// The state's name in metrics and reports.
    ///
    /// ```
    /// assert_eq!(tellane::State::Degraded.name(), "degraded");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Off => "off",
            Self::Probing => "probing",
        }
    }
}

/// What made the switch change.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let mut switch = telemetry.switch();
/// switch.force_off();
/// assert_eq!(switch.next_change().map(|change| change.cause), Some(tellane::Cause::Manual));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Cause {
    /// Nothing yet: the state it started in.
    Start = 0,
    /// The caller.
    Manual = 1,
    /// The aggregator's heart has not beaten for too long.
    Stalled = 2,
    /// The aggregator failed more often than it may be restarted.
    Dead = 3,
    /// Spans were shed above the threshold, for longer than is allowed.
    Shedding = 4,
    /// The instance holds more memory than its cap.
    Memory = 5,
    /// The time to try again has come.
    Probe = 6,
    /// A probe went well.
    Recovered = 7,
    /// A probe's lease ran out before it came back.
    LeaseExpired = 8,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::Start,
        Self::Manual,
        Self::Stalled,
        Self::Dead,
        Self::Shedding,
        Self::Memory,
        Self::Probe,
        Self::Recovered,
        Self::LeaseExpired,
    ];

    /// The cause's name in metrics and reports.
    ///
    /// ```
    /// assert_eq!(tellane::Cause::LeaseExpired.name(), "lease_expired");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Manual => "manual",
            Self::Stalled => "stalled",
            Self::Dead => "dead",
            Self::Shedding => "shedding",
            Self::Memory => "memory",
            Self::Probe => "probe",
            Self::Recovered => "recovered",
            Self::LeaseExpired => "lease_expired",
        }
    }
}

/// One change of the switch.
///
/// ```
/// use tellane::{Cause, State};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let mut switch = telemetry.switch();
/// switch.force_off();
/// let change = switch.next_change().expect("just made");
/// assert_eq!((change.from, change.to, change.cause), (State::Healthy, State::Off, Cause::Manual));
/// println!("{} after {} ms", change.to.name(), change.at_millis);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The state it left.
    pub from: State,
    /// The state it came to.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// When, in milliseconds since the instance started.
    pub at_millis: u64,
}

/// What the caller insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Override {
    None = 0,
    On = 1,
    Off = 2,
}

/// The word taken apart: state in bits 0..2, override in 2..4, cause in 4..8, and in 8..64 a time in milliseconds:
/// when a probe may begin (degraded, off) or its lease ends (probing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) state: State,
    pub(crate) forced: Override,
    pub(crate) cause: Cause,
    pub(crate) until: u64,
}

impl Position {
    const fn pack(self) -> u64 {
        // Longer than the word has room for is for ever.
        let until = if self.until > UNTIL_MAX { UNTIL_MAX } else { self.until };
        self.state as u64 | ((self.forced as u64) << 2) | ((self.cause as u64) << 4) | (until << 8)
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
            cause: Cause::ALL.get(((word >> 4) & 15) as usize).copied().unwrap_or(Cause::Start),
            until: word >> 8,
        }
    }

    /// The state that records see: the caller's word goes before the switch's own.
    pub(crate) fn effective(self) -> State {
        match self.forced {
            Override::None => self.state,
            Override::On => State::Healthy,
            Override::Off => State::Off,
        }
    }
}

/// The greatest time that a position has room for: two million years.
const UNTIL_MAX: u64 = u64::MAX >> 8;

/// Transitions that the log remembers.
#[cfg(not(tellane_loom))]
pub(crate) const LOG: usize = 64;
#[cfg(tellane_loom)]
pub(crate) const LOG: usize = 8;

/// The switch of one instance. Times are milliseconds since the instance started.
#[derive(Debug)]
pub(crate) struct Switch {
    word: AtomicU64,
    /// Transitions so far.
    made: AtomicU64,
    /// The latest transitions, each marked with its number, so that a reader can tell one that is not written yet
    /// or already overwritten.
    log: [AtomicU64; LOG],
}

impl Default for Switch {
    fn default() -> Self {
        let start =
            Position { state: State::Healthy, forced: Override::None, cause: Cause::Start, until: 0 }.pack();
        Self {
            word: AtomicU64::new(start),
            made: AtomicU64::new(0),
            log: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Switch {
    pub(crate) fn position(&self) -> Position {
        // Acquire pairs with the Release half of `change`: who sees a state sees the reasons for it.
        Position::unpack(self.word.load(Ordering::Acquire))
    }

    /// Transitions made so far.
    pub(crate) fn transitions(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// A fault: to `to` (degraded or off), with a probe not before `retry_at`. Says whether this call made the
    /// change; a switch that is there already, or further down, stays as it is.
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

    /// Begins a probe if its time has come, with a lease until `lease_end`. One caller wins and gets the position it
    /// must hand to [`settle`](Self::settle).
    pub(crate) fn begin_probe(&self, now: u64, lease_end: u64) -> Option<Position> {
        let probing = |at: Position| {
            let due = matches!(at.state, State::Off | State::Degraded) && at.until <= now;
            let until = lease_end.min(UNTIL_MAX); // as the word will have it: `settle` compares
            due.then_some(Position { state: State::Probing, cause: Cause::Probe, until, ..at })
        };
        let begun = self.change(now, probing);
        if planted(Bug::OthersLease) { begun.map(|_| self.position()) } else { begun }
    }

    /// Ends this probe well. Nothing happens if its lease has been taken away meanwhile.
    pub(crate) fn settle(&self, probe: Position, now: u64) -> bool {
        self.change(now, |at| {
            let mine = at.state == State::Probing && at.until == probe.until;
            mine.then_some(Position { state: State::Healthy, cause: Cause::Recovered, until: 0, ..at })
        })
        .is_some()
    }

    /// Takes the lease from a probe that did not come back in time.
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

    /// The caller's word. It stays until it is taken back.
    pub(crate) fn force(&self, forced: Override, now: u64) -> bool {
        self.change(now, |at| {
            (at.forced != forced).then_some(Position { forced, cause: Cause::Manual, ..at })
        })
        .is_some()
    }

    /// One transition, if `next` wants one; the position it made, which may be gone already. AcqRel: whoever makes the next change sees what led to this one.
    fn change(&self, now: u64, next: impl Fn(Position) -> Option<Position>) -> Option<Position> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let from = Position::unpack(word);
            let to = next(from)?;
            if planted(Bug::PlainSwitch) {
                self.word.store(to.pack(), Ordering::Release);
                self.note(from, to, now);
                return Some(to);
            }
            match self.word.compare_exchange_weak(word, to.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.note(from, to, now);
                    return Some(to);
                }
                Err(current) => word = current,
            }
        }
    }

    fn note(&self, from: Position, to: Position, now: u64) {
        let number = self.made.fetch_add(1, Ordering::AcqRel);
        let entry = from.effective() as u64
            | ((to.effective() as u64) << 2)
            | ((to.cause as u64) << 4)
            | (((number + 1) & 0xFFFF) << 8)
            | (now << 24);
        // Release pairs with the Acquire of `logged`.
        self.log[number as usize % LOG].store(entry, Ordering::Release);
    }

    /// The transition of this number; `None` if it is not there yet or no more.
    pub(crate) fn logged(&self, number: u64) -> Option<Transition> {
        let entry = self.log[number as usize % LOG].load(Ordering::Acquire);
        ((entry >> 8) & 0xFFFF == (number + 1) & 0xFFFF).then(|| Transition {
            from: State::ALL[(entry & 3) as usize],
            to: State::ALL[((entry >> 2) & 3) as usize],
            cause: Cause::ALL.get(((entry >> 4) & 15) as usize).copied().unwrap_or(Cause::Start),
            at_millis: entry >> 24,
        })
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_fault_a_probe_and_back() {
        let switch = Switch::default();
        assert!(switch.trip(State::Degraded, Cause::Shedding, 1, 10));
        assert!(!switch.trip(State::Degraded, Cause::Shedding, 2, 10), "it is there already");
        assert!(switch.trip(State::Off, Cause::Stalled, 3, 20));
        assert!(!switch.trip(State::Degraded, Cause::Memory, 4, 5), "a lesser fault does not lift it");
        assert_eq!(switch.begin_probe(19, 100), None, "not yet");
        let probe = switch.begin_probe(20, 100).expect("due");
        assert_eq!(switch.begin_probe(21, 100), None, "one probe at a time");
        assert!(switch.settle(probe, 30));
        assert_eq!(switch.position().effective(), State::Healthy);
        let seen: Vec<_> = (0..switch.transitions()).filter_map(|number| switch.logged(number)).collect();
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
        let switch = Switch::default();
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
    fn the_callers_word_goes_first_and_stays() {
        let switch = Switch::default();
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
    fn an_overwritten_transition_is_not_made_up() {
        let switch = Switch::default();
        for time in 0..LOG as u64 + 3 {
            switch.force(if time % 2 == 0 { Override::Off } else { Override::None }, time);
        }
        assert_eq!((switch.logged(2), switch.logged(LOG as u64 + 3)), (None, None));
        assert_eq!(switch.logged(3).map(|change| change.at_millis), Some(3));
    }

    #[test]
    fn every_position_survives_its_word() {
        for state in State::ALL {
            for forced in [Override::None, Override::On, Override::Off] {
                for cause in Cause::ALL {
                    let position = Position { state, forced, cause, until: 123_456_789 };
                    assert_eq!(Position::unpack(position.pack()), position);
                    assert!(!state.name().is_empty() && !cause.name().is_empty());
                }
            }
        }
    }
}
