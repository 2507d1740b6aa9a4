//! States of the switch, the causes of its changes, and the changes themselves. Plain values.

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
    /// Spans are shed; their durations and all samples are still recorded.
    Degraded = 1,
    /// Only counters and gauges are recorded. Skipped records are counted in the ledger.
    Off = 2,
    /// Everything is recorded on trial until the probe succeeds or its lease runs out.
    Probing = 3,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    pub(super) const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Off, Self::Probing];

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

/// The cause of a change of the switch.
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
    /// The switch is in its initial state and has not changed yet.
    Start = 0,
    /// The caller forced the change.
    Manual = 1,
    /// The aggregator's last heartbeat is too long ago.
    Stalled = 2,
    /// The aggregator failed more often in a row than it may be restarted.
    Dead = 3,
    /// The share of shed spans exceeded its threshold for too long.
    Shedding = 4,
    /// The instance holds more memory than its cap allows.
    Memory = 5,
    /// The wait before a probe is over.
    Probe = 6,
    /// A probe succeeded.
    Recovered = 7,
    /// A probe did not finish before its lease ran out.
    LeaseExpired = 8,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Cause {
    pub(super) const ALL: [Self; 9] = [
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

    /// The cause in the low four bits of a word.
    pub(super) fn from_bits(bits: u64) -> Self {
        Self::ALL.get((bits & 15) as usize).copied().unwrap_or(Self::Start)
    }

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
    /// The state before the change.
    pub from: State,
    /// The state after the change.
    pub to: State,
    /// The cause of the change.
    pub cause: Cause,
    /// Time of the change, in milliseconds since the instance started.
    pub at_millis: u64,
}
