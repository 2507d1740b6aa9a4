//! Log targets and rate limits, shared by all loggers of an instance. Hot: [`LogTarget::is_enabled`] and
//! [`Rate::admits`]; everything else is cold.

mod callsite;
mod levels;
#[cfg(feature = "tracing")]
mod watch;

pub use callsite::Callsite;
pub use levels::ParseLevelsError;

use crate::clock::Clock;
use crate::lane::{Key, local};
use crate::level::Level;
use crate::names::{COUNTS, Closed, Lookup, OVERFLOW, TextTable};
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use levels::LevelRules;
use std::sync::OnceLock;
use std::time::Duration;

/// Maximum number of targets; loggers of further names share one target.
const TARGETS_MAX: usize = 10_000;

/// The log settings of an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSettings {
    pub(crate) level: Option<Level>,
    /// Maximum records of one statement per second; `None` for no limit.
    pub(crate) per_second: Option<u32>,
    /// Maximum bytes of a text.
    pub(crate) value: u16,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: Some(Level::Info), per_second: None, value: 4_096 }
    }
}

/// The target of loggers: a name with a level threshold.
#[derive(Debug)]
pub(crate) struct LogTarget {
    /// The instance's base.
    pub(crate) base: u64,
    pub(crate) id: u32,
    pub(crate) text: Arc<str>,
    /// The lowest level that is recorded, as a number.
    threshold: AtomicU32,
    /// The rates of records without a callsite, by level minus one.
    pub(crate) rates: [Rate; Level::ALL.len()],
}

impl LogTarget {
    fn new(base: u64, id: u32, text: &str, rules: &LevelRules) -> Self {
        Self {
            base,
            id,
            text: text.into(),
            threshold: AtomicU32::new(rules.threshold_of(text)),
            rates: std::array::from_fn(|_| Rate::default()),
        }
    }

    #[inline(always)]
    pub(crate) fn is_enabled(&self, level: Level) -> bool {
        // Relaxed: the number publishes nothing, and a change of levels does not wait for its readers.
        level as u32 >= self.threshold.load(Ordering::Relaxed)
    }
}

/// The rate limit of one statement. Relaxed throughout: the numbers guard no memory. Threads that race may let a few
/// records more through; every record is counted.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// The start of the present second, in ticks.
    since: AtomicU64,
    let_through: AtomicU32,
    /// Records held back and not reported yet.
    held: AtomicU64,
    /// The target of the last record that was held back.
    target: AtomicU32,
}

/// Returns `true` if the second that began at `since` is over: `now` lies after that second, or more than a second
/// before it. In the latter case the clock was set back; a reading that is less than a second early comes from a thread
/// that was slow to use it. One comparison covers both cases, since the difference wraps.
#[inline(always)]
fn is_over(since: u64, now: u64, second: u64) -> bool {
    now.wrapping_sub(since).wrapping_add(second) >= second.wrapping_mul(2)
}

/// Records of one statement that were held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldBack {
    pub(crate) target: u32,
    pub(crate) level: Level,
    /// The statement; `None` for records without a callsite.
    pub(crate) callsite: Option<u32>,
    pub(crate) records: u64,
}

impl Rate {
    #[inline]
    fn admits(&self, now: u64, second: u64, limit: u32) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 || is_over(since, now, second) {
            self.since.store(now, Ordering::Relaxed);
            self.let_through.store(1, Ordering::Relaxed);
            return true;
        }
        let so_far = self.let_through.load(Ordering::Relaxed);
        if so_far < limit {
            // A plain store: a read-modify-write would cost more than the rest of the call.
            self.let_through.store(so_far + 1, Ordering::Relaxed);
        }
        so_far < limit
    }

    #[cold]
    fn hold_back(&self, target: u32) {
        self.target.store(target, Ordering::Relaxed);
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the target and the number of records held back in a second that is over, or that the caller ends now.
    fn take_held_back(&self, now: u64, second: u64, end: bool) -> Option<(u32, u64)> {
        if self.held.load(Ordering::Relaxed) == 0 {
            return None;
        }
        if !is_over(self.since.load(Ordering::Relaxed), now, second) && !end {
            return None;
        }
        Some((self.target.load(Ordering::Relaxed), self.held.swap(0, Ordering::Relaxed)))
    }
}

/// The log targets, level rules and rate limits of one instance.
#[derive(Debug)]
pub(crate) struct LogTargets {
    base: u64,
    pub(crate) settings: LogSettings,
    /// A second, in ticks.
    second: u64,
    pub(crate) targets: boxcar::Vec<Arc<LogTarget>>,
    /// The target that stands in above the cap: number 0.
    overflow: Arc<LogTarget>,
    /// Target numbers by name.
    known: TextTable<u32, 1>,
    closed: Closed,
    rules: Mutex<LevelRules>,
    /// Rate limits by the callsite's number.
    rates: boxcar::Vec<Rate>,
    growing: Mutex<()>,
    /// Not 0 while records are held back and not reported.
    has_held_back: AtomicU32,
    /// Maximum bytes of a target's name.
    longest: usize,
    /// Bytes of targets and rates; those of the rules stand below. Relaxed: figures that publish nothing.
    bytes: AtomicUsize,
    rules_bytes: AtomicUsize,
    /// Writes to log files that could not be rotated. Relaxed: a figure that publishes nothing.
    pub(crate) rotations_failed: AtomicU64,
    /// Called after each change of levels.
    watcher: OnceLock<fn()>,
}

impl LogTargets {
    /// An empty table of targets, whose names have at most `longest` bytes.
    pub(crate) fn new(instance: u32, clock: &Clock, settings: LogSettings, longest: usize) -> Self {
        let rules = LevelRules::starting_with(settings.level);
        let base = Key::new(instance, 0).0;
        let logs = Self {
            base,
            second: clock.ticks_in(Duration::from_secs(1)).max(1),
            targets: boxcar::Vec::new(),
            overflow: Arc::new(LogTarget::new(base, 0, OVERFLOW, &rules)),
            known: TextTable::new(),
            closed: Closed::new(),
            rules: Mutex::new(rules),
            rates: boxcar::Vec::new(),
            growing: Mutex::new(()),
            has_held_back: AtomicU32::new(0),
            rotations_failed: AtomicU64::new(0),
            longest,
            bytes: AtomicUsize::new(0),
            rules_bytes: AtomicUsize::new(0),
            watcher: OnceLock::new(),
            settings,
        };
        logs.targets.push(Arc::clone(&logs.overflow));
        logs.known.insert(&[OVERFLOW], 0);
        logs
    }

    /// Bytes that targets, rates and rules take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.known.bytes() + self.rules_bytes.load(Ordering::Relaxed)
    }

    /// The name to record for a target: its own, or the overflow name if it is too long.
    fn bounded<'a>(&self, target: &'a str) -> &'a str {
        if target.len() > self.longest { OVERFLOW } else { target }
    }

    /// Interns a target. Takes a lock for a name that has no target yet, except above the cap. If this thread holds
    /// such a lock already, a new name gets the overflow target.
    pub(crate) fn target(&self, text: &str) -> &Arc<LogTarget> {
        let text = self.bounded(text);
        let number = match self.closed.lookup(|| self.known.get(&[text]).copied()) {
            Lookup::Found(number) => Some(number),
            Lookup::Absent => None,
            Lookup::Open => local::locked(|| self.new_target(text)),
        };
        number.and_then(|number| self.targets.get(number as usize)).unwrap_or(&self.overflow)
    }

    fn new_target(&self, text: &str) -> u32 {
        let rules = self.rules.lock();
        if let Some(there) = self.known.get(&[text]) {
            return *there; // another thread was faster
        }
        let number = self.targets.count();
        if number > TARGETS_MAX {
            self.closed.close(); // entries are made under this lock
            return 0;
        }
        self.targets.push(Arc::new(LogTarget::new(self.base, number as u32, text, &rules)));
        let entries = size_of::<Arc<LogTarget>>();
        let bytes = 2 * COUNTS + text.len() + size_of::<LogTarget>() + entries;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.known.insert(&[text], number as u32);
        number as u32
    }

    /// Sets the level of a target and of those below it. Does nothing if this thread holds the lock of the rules
    /// already, which happens only in an allocator that sets levels.
    pub(crate) fn set_level(&self, target: &str, level: Option<Level>) {
        let _is_done = local::locked(|| {
            let mut rules = self.rules.lock();
            rules.set(target, level);
            self.apply(&mut rules);
        });
    }

    pub(crate) fn set_levels(&self, text: &str) -> Result<(), ParseLevelsError> {
        let parsed = LevelRules::parse(text)?;
        let _is_done = local::locked(|| {
            let mut rules = self.rules.lock();
            *rules = parsed;
            self.apply(&mut rules);
        });
        Ok(())
    }

    fn apply(&self, rules: &mut LevelRules) {
        // A prefix that is longer than any target can never match.
        rules.retain_up_to(self.longest);
        self.rules_bytes.store(rules.bytes(), Ordering::Relaxed);
        for (_, target) in &self.targets {
            target.threshold.store(rules.threshold_of(&target.text), Ordering::Relaxed);
        }
    }

    /// Calls the watcher after a change of levels. Must hold no lock: the watcher looks up targets.
    pub(crate) fn notify_watcher(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher();
        }
    }

    /// Returns `true` if the rate limit admits one more record of a statement now; counts the record otherwise.
    #[inline]
    pub(crate) fn admits(&self, target: &LogTarget, level: Level, callsite: Option<u32>, now: u64) -> bool {
        let Some(limit) = self.settings.per_second else { return true };
        let rate = match callsite {
            None => &target.rates[level as usize - 1],
            Some(callsite) => match self.rates.get(callsite as usize) {
                Some(rate) => rate,
                None => return true, // unreachable: the caller adds the rate first
            },
        };
        let admitted = rate.admits(now, self.second, limit);
        if !admitted {
            rate.hold_back(target.id);
            self.has_held_back.store(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Returns `true` if the rate of this statement can be tracked: there is no limit, or its entry exists.
    #[inline(always)]
    pub(crate) fn has_rate(&self, callsite: u32) -> bool {
        self.settings.per_second.is_none() || self.rates.get(callsite as usize).is_some()
    }

    /// Adds the rates of all statements up to this number.
    #[cold]
    pub(crate) fn add_rates_up_to(&self, callsite: u32) {
        local::without_recording(|| {
            let _one_at_a_time = self.growing.lock();
            while self.rates.count() <= callsite as usize {
                self.rates.push(Rate::default());
                self.bytes.fetch_add(size_of::<Rate>(), Ordering::Relaxed);
            }
        });
    }

    /// Takes the counts of records held back in seconds that are over; at the `end`, all of them.
    pub(crate) fn take_held_back(&self, now: u64, end: bool) -> Vec<HeldBack> {
        if self.has_held_back.swap(0, Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut all = Vec::new();
        let mut waits = false;
        let mut collect = |rate: &Rate, level: Level, callsite: Option<u32>| match rate.take_held_back(
            now,
            self.second,
            end,
        ) {
            Some((target, records)) => all.push(HeldBack { target, level, callsite, records }),
            None => waits |= rate.held.load(Ordering::Relaxed) > 0,
        };
        for (number, rate) in &self.rates {
            if let Some(callsite) = Callsite::by_number(number as u32) {
                collect(rate, callsite.level, Some(number as u32));
            }
        }
        for (_, target) in &self.targets {
            for (rate, level) in target.rates.iter().zip(Level::ALL) {
                collect(rate, level, None);
            }
        }
        if waits {
            self.has_held_back.store(1, Ordering::Relaxed);
        }
        all
    }

    /// The target with this number.
    pub(crate) fn target_by_id(&self, id: u32) -> Option<&Arc<LogTarget>> {
        self.targets.get(id as usize)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn logs(per_second: Option<u32>) -> (LogTargets, crate::clock::MockClock, Clock) {
        let (clock, hand) = Clock::mock();
        let logs = LogTargets::new(1, &clock, LogSettings { per_second, ..LogSettings::default() }, 20);
        (logs, hand, clock)
    }

    #[test]
    fn a_target_is_one_and_keeps_up_with_the_rules() {
        let (logs, _hand, _clock) = logs(None);
        let db = logs.target("app::db");
        assert!(Arc::ptr_eq(db, logs.target("app::db")));
        assert!(db.is_enabled(Level::Info) && !db.is_enabled(Level::Debug));
        logs.set_level("app", Some(Level::Trace));
        assert!(db.is_enabled(Level::Trace) && !logs.target("hyper").is_enabled(Level::Debug));
        logs.set_levels("off,app::db=error").unwrap();
        assert!(
            db.is_enabled(Level::Error)
                && !db.is_enabled(Level::Warn)
                && !logs.target("x").is_enabled(Level::Error)
        );
    }

    #[test]
    fn a_clock_that_goes_back_begins_a_new_second() {
        let (logs, hand, clock) = logs(Some(3));
        let target = logs.target("app");
        let admitted =
            |tries: u32| (0..tries).filter(|_| logs.admits(target, Level::Warn, None, clock.ticks())).count();
        hand.advance(Duration::from_secs(3_600));
        assert_eq!(admitted(10), 3);
        hand.set(5_000_000_000);
        let held = HeldBack { target: target.id, level: Level::Warn, callsite: None, records: 7 };
        assert_eq!(
            logs.take_held_back(clock.ticks(), false),
            [held],
            "the second that they were held back in is over"
        );
        assert_eq!(admitted(10), 3);
        hand.set(4_900_000_000);
        assert_eq!(admitted(10), 0, "a thread that is slow to use its reading begins no new second");
        hand.advance(Duration::from_millis(1_100));
        assert_eq!(admitted(10), 3);
    }

    #[test]
    fn one_target_stands_in_for_all_that_are_too_long() {
        let (logs, _hand, _clock) = logs(None);
        let (longest, longer) = ("t".repeat(20), "t".repeat(21));
        assert_eq!((&*logs.target(&longest).text, &*logs.target(&longer).text), (&*longest, OVERFLOW));
        assert!(Arc::ptr_eq(logs.target(&longer), logs.target(OVERFLOW)));
        let before = logs.bytes();
        logs.set_level(&longest, Some(Level::Error));
        let with_one = logs.bytes();
        assert!(with_one > before + 20, "{before}, then {with_one} bytes");
        logs.set_level(&longer, Some(Level::Error)); // no target has this name
        logs.set_level(&longest, Some(Level::Warn));
        assert_eq!(logs.bytes(), with_one);
        assert!(
            !logs.target(&longest).is_enabled(Level::Info) && logs.target(&longer).is_enabled(Level::Info)
        );
        logs.target("new");
        assert!(logs.bytes() > with_one + size_of::<LogTarget>());
    }

    #[test]
    fn a_target_above_the_cap_is_the_one_that_stands_in_and_takes_no_lock() {
        let (logs, _hand, _clock) = logs(None);
        let names: Vec<String> = (0..TARGETS_MAX).map(|number| number.to_string()).collect();
        names.iter().for_each(|name| assert_eq!(&*logs.target(name).text, name.as_str()));
        assert_eq!(logs.target("one more").id, 0);
        let _held = logs.rules.lock();
        assert_eq!((logs.target("another").id, logs.target("0").id), (0, 1));
    }

    #[test]
    fn records_above_the_rate_are_held_back_and_reported_once() {
        let (logs, hand, clock) = logs(Some(3));
        let target = logs.target("app");
        let admitted =
            |tries: u32| (0..tries).filter(|_| logs.admits(target, Level::Warn, None, clock.ticks())).count();
        assert_eq!(admitted(10), 3);
        assert_eq!(logs.take_held_back(clock.ticks(), false), []);
        hand.advance(Duration::from_secs(1));
        let held = HeldBack { target: target.id, level: Level::Warn, callsite: None, records: 7 };
        assert_eq!(logs.take_held_back(clock.ticks(), false), [held]);
        assert_eq!(logs.take_held_back(clock.ticks(), true), []);
        assert_eq!(admitted(4), 3);
        assert_eq!(
            logs.take_held_back(clock.ticks(), true),
            [HeldBack { records: 1, ..held }],
            "at the end at once"
        );
    }
}
