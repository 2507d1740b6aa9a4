//! Clocks: raw ticks and their conversion to durations and wall time. Hot: [`Clock::ticks`]; all else is cold.
//!
//! Ticks are the processor's time stamp counter if the kernel itself trusts it, else nanoseconds of the OS clock, or a
//! number that a test sets. No other file of the crate reads a clock.

#![allow(clippy::disallowed_methods)] // the one file that may call them

mod uptime;

pub(crate) use self::uptime::Uptime;
use crate::sync::{Arc, fixed};
use arc_swap::ArcSwapOption;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Smallest backward step of a clock that counts as a reset (a suspended or restored machine). Smaller steps come from
/// cores whose counters differ slightly.
pub(crate) const SET_BACK: Duration = Duration::from_millis(1);

/// A source of time for one telemetry instance.
///
/// ```
/// use tellane::{Clock, Telemetry};
/// let telemetry = Telemetry::builder("shop").clock(Clock::os()).start()?;
/// assert_eq!(telemetry.clock_source(), "os");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    Tsc(Scale),
    Os(Instant),
    Mock(Arc<Mock>),
}

/// State shared by a mock clock and its [`MockClock`] handles.
#[derive(Debug)]
struct Mock {
    now: fixed::AtomicU64,
    /// Wall time minus ticks, in nanoseconds; wraps. 0 unless a test sets the ticks back while wall time goes on.
    wall_ahead: fixed::AtomicU64,
    reads: fixed::AtomicU64,
}

/// Returns the end of a wait that begins now. Uses the OS clock, not the instance's; waits are capped at a century.
pub(crate) fn deadline_in(wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + wait.min(CENTURY)
}

/// Returns the time left until a deadline of [`deadline_in`]; zero if it has passed.
pub(crate) fn time_left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// Returns `true` if a deadline of [`deadline_in`] has passed.
pub(crate) fn has_passed(end: Instant) -> bool {
    Instant::now() >= end
}

/// Converts a duration to nanoseconds; saturates at `u64::MAX`, which is over five centuries.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Factor from ticks to nanoseconds, as a 32.32 fixed-point number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    nanos_per_tick: u64,
}

impl Scale {
    const ONE: Self = Self { nanos_per_tick: 1 << 32 };

    /// The factor in its saved form.
    pub(crate) fn factor(self) -> u64 {
        self.nanos_per_tick
    }

    pub(crate) fn from_factor(nanos_per_tick: u64) -> Self {
        Self { nanos_per_tick }
    }

    #[inline]
    pub(crate) fn nanos(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.nanos_per_tick)) >> 32) as u64
    }

    fn ticks(self, nanos: u64) -> u64 {
        let ticks = (u128::from(nanos) << 32) / u128::from(self.nanos_per_tick.max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl Clock {
    /// The best clock of this machine: the time stamp counter if the kernel uses it for its own time, else the
    /// monotonic clock of the OS. The first call measures the rate of the counter, which takes about 10 ms.
    ///
    /// ```
    /// let clock = tellane::Clock::system();
    /// assert!(["tsc", "os"].contains(&clock.source()));
    /// ```
    pub fn system() -> Self {
        // Not a `OnceLock`: after a fork during the measurement, the child would wait for it forever. If two threads
        // measure at once, both use the clock of the first one to finish.
        static SYSTEM: ArcSwapOption<Clock> = ArcSwapOption::const_empty();
        if let Some(known) = SYSTEM.load_full() {
            return Self::clone(&known);
        }
        let measured = Arc::new(tsc::calibrated().unwrap_or_else(Self::os));
        let none: Option<Arc<Self>> = None;
        let first = SYSTEM.compare_and_swap(&none, Some(Arc::clone(&measured)));
        Self::clone(first.as_ref().unwrap_or(&measured))
    }

    /// The operating system's monotonic clock.
    ///
    /// ```
    /// assert_eq!(tellane::Clock::os().source(), "os");
    /// ```
    pub fn os() -> Self {
        Self(ClockSource::Os(Instant::now()))
    }

    /// A clock that stands still until its [`MockClock`] moves it.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (clock, hand) = tellane::Clock::mock();
    /// hand.advance(Duration::from_secs(1));
    /// assert_eq!(clock.source(), "mock");
    /// ```
    pub fn mock() -> (Self, MockClock) {
        // Not zero: a reader can then tell "never" from "at the start".
        let now = fixed::AtomicU64::new(1_000_000_000);
        let (wall_ahead, reads) = (fixed::AtomicU64::new(0), fixed::AtomicU64::new(0));
        let mock = Arc::new(Mock { now, wall_ahead, reads });
        (Self(ClockSource::Mock(Arc::clone(&mock))), MockClock(mock))
    }

    /// Reads the clock, in ticks.
    #[inline(always)]
    pub(crate) fn ticks(&self) -> u64 {
        match self.as_tsc() {
            Some(tsc) => tsc.ticks(),
            None => self.0.slow_ticks(),
        }
    }

    /// This clock if it is the time stamp counter, which is read with one instruction. A fast path that leaves all
    /// other clocks to its slow path makes no call to read the time.
    #[inline(always)]
    pub(crate) fn as_tsc(&self) -> Option<TscClock> {
        matches!(self.0, ClockSource::Tsc(_)).then_some(TscClock(()))
    }

    pub(crate) fn scale(&self) -> Scale {
        match self.0 {
            ClockSource::Tsc(scale) => scale,
            ClockSource::Os(_) | ClockSource::Mock(_) => Scale::ONE,
        }
    }

    /// Nanoseconds between two readings; zero if the later one is smaller.
    #[inline]
    pub(crate) fn nanos_between(&self, earlier: u64, later: u64) -> u64 {
        self.scale().nanos(later.saturating_sub(earlier))
    }

    /// A duration in this clock's ticks.
    pub(crate) fn ticks_in(&self, duration: Duration) -> u64 {
        self.scale().ticks(nanos(duration))
    }

    /// Reads the clock and the wall time together.
    pub(crate) fn anchor(&self) -> Anchor {
        let ticks = self.ticks();
        let unix_nanos = match &self.0 {
            ClockSource::Mock(mock) => ticks.wrapping_add(mock.wall_ahead.load(fixed::Ordering::Relaxed)),
            _ => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                nanos(since)
            }
        };
        Anchor { ticks, unix_nanos }
    }

    /// The name of the clock's source, for reports: `tsc`, `os` or `mock`.
    ///
    /// ```
    /// let (clock, _hand) = tellane::Clock::mock();
    /// assert_eq!(clock.source(), "mock");
    /// ```
    pub fn source(&self) -> &'static str {
        match self.0 {
            ClockSource::Tsc(_) => "tsc",
            ClockSource::Os(_) => "os",
            ClockSource::Mock(_) => "mock",
        }
    }
}

/// The time stamp counter as an instance's clock. Only [`Clock::as_tsc`] makes one, so its holder need not check again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TscClock(());

impl TscClock {
    /// Reads the counter.
    #[inline(always)]
    pub(crate) fn ticks(self) -> u64 {
        tsc::read()
    }
}

impl ClockSource {
    #[cold]
    fn slow_ticks(&self) -> u64 {
        match self {
            Self::Tsc(_) => tsc::read(),
            Self::Os(start) => nanos(start.elapsed()),
            // Relaxed: two independent numbers, and no other data depends on them.
            Self::Mock(mock) => {
                mock.reads.fetch_add(1, fixed::Ordering::Relaxed);
                mock.now.load(fixed::Ordering::Relaxed)
            }
        }
    }
}

/// Handle that sets the time of a [`Clock::mock`].
///
/// ```
/// use std::time::Duration;
/// let (clock, hand) = tellane::Clock::mock();
/// let telemetry = tellane::Telemetry::builder("test").clock(clock).start()?;
/// let packing = telemetry.timer("packing").register()?;
/// packing.time(|| hand.advance(Duration::from_millis(250)));
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.histogram("packing_seconds", &[]).map(|packing| packing.sum()), Some(0.25));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MockClock(Arc<Mock>);

impl MockClock {
    /// Moves the clock forward.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (clock, hand) = tellane::Clock::mock();
    /// # let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// let watch = packing.start();
    /// hand.advance(Duration::from_micros(40));
    /// assert_eq!(watch.stop(), Some(Duration::from_micros(40)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance(&self, by: Duration) {
        let nanos = nanos(by);
        self.0.now.fetch_add(nanos, fixed::Ordering::Relaxed);
    }

    /// Sets the clock to a time in nanoseconds, which may be earlier than its present time.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (clock, hand) = tellane::Clock::mock();
    /// # let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// let packing = telemetry.timer("packing").register()?;
    /// hand.set(2_000_000_000);
    /// let watch = packing.start();
    /// hand.set(2_000_000_500);
    /// assert_eq!(watch.stop(), Some(Duration::from_nanos(500)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, nanos: u64) {
        self.0.now.store(nanos, fixed::Ordering::Relaxed);
    }

    /// Sets the ticks while wall time goes on, like the counter of a restored machine.
    #[cfg(all(test, not(tellane_loom)))]
    pub(crate) fn set_counter(&self, ticks: u64) {
        let before = self.0.now.swap(ticks, fixed::Ordering::Relaxed);
        self.0.wall_ahead.fetch_add(before.wrapping_sub(ticks), fixed::Ordering::Relaxed);
    }

    /// Number of times the clock has been read so far, by all threads, the aggregator's included.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (clock, hand) = tellane::Clock::mock();
    /// let telemetry = tellane::Telemetry::builder("shop").clock(clock).start()?;
    /// let timer = telemetry.timer("packing").register()?;
    /// let before = hand.reads();
    /// timer.time(|| ());
    /// assert!(hand.reads() - before >= 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reads(&self) -> u64 {
        self.0.reads.load(fixed::Ordering::Relaxed)
    }
}

/// One moment in ticks and in wall time, from which other readings are dated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    pub(crate) ticks: u64,
    pub(crate) unix_nanos: u64,
}

impl Anchor {
    /// Wall time of a reading, in nanoseconds since 1970. The distance from the anchor wraps: a time moved by
    /// [`offset_to`](Self::offset_to) may lie before tick 0.
    pub(crate) fn unix_nanos(&self, ticks: u64, scale: Scale) -> u64 {
        let distance = ticks.wrapping_sub(self.ticks).cast_signed();
        let nanos = scale.nanos(distance.unsigned_abs());
        if distance >= 0 {
            self.unix_nanos.saturating_add(nanos)
        } else {
            self.unix_nanos.saturating_sub(nanos)
        }
    }

    /// Returns `true` if the clock was set back between this anchor and a later reading.
    pub(crate) fn is_ahead_of(&self, ticks: u64, clock: &Clock) -> bool {
        self.ticks > ticks.saturating_add(clock.ticks_in(SET_BACK))
    }

    /// The ticks to add to a reading dated by this anchor so that `to` gives it the same wall time; wraps.
    pub(crate) fn offset_to(&self, to: &Self, scale: Scale) -> u64 {
        let between = to.unix_nanos.wrapping_sub(self.unix_nanos).cast_signed();
        let ticks = scale.ticks(between.unsigned_abs());
        let passed = if between >= 0 { ticks } else { ticks.wrapping_neg() };
        to.ticks.wrapping_sub(self.ticks).wrapping_sub(passed)
    }
}

#[cfg(target_arch = "x86_64")]
mod tsc {
    use super::{Clock, ClockSource, Instant, Scale};
    use std::time::Duration;

    #[inline(always)]
    #[allow(unsafe_code)] // the counter has no safe reader in std
    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has the instruction, and Linux lets user space execute it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// Measures the rate of the counter; `None` if the kernel does not trust it. A kernel that trusts the counter has
    /// checked that all cores agree and that it never stops.
    pub(super) fn calibrated() -> Option<Clock> {
        let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let trusted = std::fs::read_to_string(path).is_ok_and(|name| name.trim() == "tsc");
        if !trusted {
            return None;
        }
        let (from, start) = pair();
        std::thread::sleep(Duration::from_millis(10));
        let (to, end) = pair();
        let ticks = to.checked_sub(from).filter(|ticks| *ticks > 0)?;
        let nanos = u64::try_from((end - start).as_nanos()).ok()?;
        let nanos_per_tick = u64::try_from((u128::from(nanos) << 32) / u128::from(ticks)).ok()?;
        Some(Clock(ClockSource::Tsc(Scale { nanos_per_tick })))
    }

    /// Reads the counter and the OS clock together. Of several tries it keeps the one with the shortest time between
    /// the two readings, since a preemption between them would give a wrong rate.
    fn pair() -> (u64, Instant) {
        let mut best = (u64::MAX, 0, Instant::now());
        for _ in 0..16 {
            let before = read();
            let at = Instant::now();
            let after = read();
            let width = after.saturating_sub(before);
            if width < best.0 {
                best = (width, before + width / 2, at);
            }
        }
        (best.1, best.2)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod tsc {
    pub(super) fn read() -> u64 {
        0 // never called: `calibrated` makes no such clock here
    }

    pub(super) fn calibrated() -> Option<super::Clock> {
        None
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_keeps_pace_with_the_os() {
        let clock = Clock::system();
        // The thread may be preempted between any two of these readings.
        let (before, start, after) = (Instant::now(), clock.ticks(), Instant::now());
        while after.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let shortest = after.elapsed().as_nanos() as f64;
        let measured = clock.nanos_between(start, clock.ticks()) as f64;
        let longest = before.elapsed().as_nanos() as f64;
        let possible = 0.99 * shortest..=1.01 * longest;
        assert!(possible.contains(&measured), "{measured} ns, not within {possible:?}");
    }

    #[test]
    fn time_that_runs_backwards_counts_as_zero() {
        let (clock, hand) = Clock::mock();
        let start = clock.ticks();
        hand.set(5);
        assert_eq!(clock.nanos_between(start, clock.ticks()), 0);
    }

    #[test]
    fn an_anchor_dates_readings_on_both_sides() {
        let anchor = Anchor { ticks: 1_000, unix_nanos: 5_000 };
        assert_eq!(anchor.unix_nanos(1_500, Scale::ONE), 5_500);
        assert_eq!(anchor.unix_nanos(400, Scale::ONE), 4_400);
        assert_eq!(anchor.unix_nanos(u64::MAX, Scale::ONE), 3_999, "one tick before tick 0");
        assert_eq!(anchor.unix_nanos(0_u64.wrapping_sub(8_000), Scale::ONE), 0, "before 1970");
    }

    #[test]
    fn a_moved_reading_keeps_its_wall_time() {
        let half = Scale { nanos_per_tick: 1 << 31 };
        let before = Anchor { ticks: 1_000_000, unix_nanos: 5_000_000 };
        for (ticks, unix_nanos) in
            [(10, 5_000_000), (10, 6_000_000), (900_000, 4_000_000), (2_000_000, 5_000_000)]
        {
            let after = Anchor { ticks, unix_nanos };
            let by = before.offset_to(&after, half);
            for reading in [0_u64, 999_998, 1_000_000, 1_000_002] {
                let moved = reading.wrapping_add(by);
                assert_eq!(
                    after.unix_nanos(moved, half),
                    before.unix_nanos(reading, half),
                    "{reading}, {after:?}"
                );
            }
        }
    }

    #[test]
    fn durations_convert_both_ways() {
        let scale = Scale { nanos_per_tick: (0.4 * 4_294_967_296.0) as u64 };
        let ticks = scale.ticks(1_000_000);
        assert!((2_499_990..=2_500_010).contains(&ticks), "{ticks}");
        assert!((999_990..=1_000_010).contains(&scale.nanos(ticks)));
        assert_eq!(Scale::ONE.ticks(u64::MAX), u64::MAX);
    }
}
