//! The public ledger of records. Cold; the sum of all tallies.

use super::exemplars::ExemplarLedger;
use super::tally::{KINDS, Kind, LEVELS, REASONS, Reason, Tally};
use crate::level::Level;

/// Accounts for every record, by kind. At every quiescent point, for every kind,
///
/// `recorded = aggregated + dropped + suppressed + in_flight`
///
/// holds exactly, and after shutdown nothing is in flight. While threads record, `in_flight` also contains the records
/// that were made while the ledger was being read.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let sizes = telemetry.histogram("basket_items").register()?;
/// sizes.record(3);
/// telemetry.shutdown(std::time::Duration::from_secs(5));
/// let samples = telemetry.ledger().kind(tellane::Kind::Sample);
/// assert_eq!((samples.recorded, samples.aggregated, samples.in_flight), (1, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    kinds: [KindLedger; KINDS],
    clamped: u64,
    coarse: u64,
    logs_shed: [u64; LEVELS],
    exemplars: ExemplarLedger,
}

/// One kind's account, in records.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let sizes = telemetry.histogram("basket_items").register()?;
/// sizes.record(3);
/// telemetry.switch().force_off();
/// sizes.record(4);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let samples = snapshot.ledger().kind(tellane::Kind::Sample);
/// assert_eq!((samples.recorded, samples.aggregated, samples.switched_off), (2, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindLedger {
    /// Records that the program asked for, including those dropped or suppressed.
    pub recorded: u64,
    /// Records that were folded into a histogram, kept as a span or written to the log sinks.
    pub aggregated: u64,
    /// Records that were lost, by reason.
    pub dropped: Drops,
    /// Records that were skipped because the switch was off.
    pub switched_off: u64,
    /// Spans that head sampling left out. Their durations were recorded as samples.
    pub unsampled: u64,
    /// Records that are still in a ring or a spill, or wait for a sink.
    pub in_flight: u64,
    /// Log records that the rate limit of their statement suppressed.
    #[doc(alias = "rate_limited")]
    pub held_back: u64,
}

impl KindLedger {
    /// The sum of two accounts. Saturating: accounts read from bytes may hold any numbers.
    fn plus(self, other: &Self) -> Self {
        let dropped =
            std::array::from_fn(|reason| self.dropped.0[reason].saturating_add(other.dropped.0[reason]));
        Self {
            recorded: self.recorded.saturating_add(other.recorded),
            aggregated: self.aggregated.saturating_add(other.aggregated),
            dropped: Drops(dropped),
            switched_off: self.switched_off.saturating_add(other.switched_off),
            unsampled: self.unsampled.saturating_add(other.unsampled),
            in_flight: self.in_flight.saturating_add(other.in_flight),
            held_back: self.held_back.saturating_add(other.held_back),
        }
    }

    /// The saved form: all counts in the order of their declaration, drops last and by reason.
    pub(crate) fn to_words(self) -> Vec<u64> {
        let counts = [
            self.recorded,
            self.aggregated,
            self.switched_off,
            self.unsampled,
            self.in_flight,
            self.held_back,
        ];
        counts.into_iter().chain(self.dropped.0).collect()
    }

    /// Records left out on purpose: switched off, not sampled, or rate-limited.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").sampling(0.0).start()?;
    /// drop(telemetry.tracer().span("order"));
    /// telemetry.switch().force_off();
    /// drop(telemetry.tracer().span("order"));
    /// assert_eq!(telemetry.ledger().kind(tellane::Kind::Span).suppressed(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn suppressed(&self) -> u64 {
        self.switched_off.saturating_add(self.unsampled).saturating_add(self.held_back)
    }
}

/// Drops by reason.
///
/// ```
/// use tellane::{Kind, Reason};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("wait").seconds().register()?.record_f64(f64::NAN);
/// let dropped = telemetry.ledger().kind(Kind::Sample).dropped;
/// assert_eq!((dropped.total(), dropped.by(Reason::Invalid)), (1, 1));
/// assert_eq!(dropped.iter().collect::<Vec<_>>(), [(Reason::Invalid, 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; REASONS]);

impl Drops {
    /// Drops for one reason.
    ///
    /// ```
    /// # use tellane::Reason;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("wait").seconds().register()?.record_f64(-1.0);
    /// let dropped = telemetry.ledger().total().dropped;
    /// assert_eq!((dropped.by(Reason::Invalid), dropped.by(Reason::RingFull)), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn by(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Drops for any reason.
    ///
    /// ```
    /// # use tellane::Reason;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("wait").seconds().register()?.record_f64(-1.0);
    /// let dropped = telemetry.ledger().total().dropped;
    /// assert_eq!(dropped.total(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The reasons that occurred, with their counts.
    ///
    /// ```
    /// # use tellane::Reason;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("wait").seconds().register()?.record_f64(-1.0);
    /// let dropped = telemetry.ledger().total().dropped;
    /// assert_eq!(dropped.iter().collect::<Vec<_>>(), [(Reason::Invalid, 1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().map(|reason| (reason, self.by(reason))).filter(|(_, count)| *count > 0)
    }
}

impl Ledger {
    /// One kind's account.
    ///
    /// ```
    /// use tellane::Kind;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// let ledger = telemetry.ledger();
    /// assert_eq!((ledger.kind(Kind::Sample).recorded, ledger.kind(Kind::Span).recorded), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kind(&self, kind: Kind) -> KindLedger {
        self.kinds[kind as usize]
    }

    /// The sum over all kinds.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// drop(telemetry.tracer().span("order"));
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let total = snapshot.ledger().total();
    /// assert_eq!((total.recorded, total.aggregated), (2, 2)); // a sample and a span
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn total(&self) -> KindLedger {
        self.kinds.iter().fold(KindLedger::default(), |total, kind| total.plus(kind))
    }

    /// Samples above their histogram's highest trackable value, which were counted at that value.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").highest(100).register()?.record(1_000);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.ledger().clamped(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Samples that were counted in an approximate bucket: near the middle of their power-of-two range, on the correct
    /// side of every declared bound. Count, sum, minimum and maximum are still exact.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.histogram("basket_items").register()?.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.ledger().coarse(), 0); // the ring had room
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn coarse(&self) -> u64 {
        self.coarse
    }

    /// Log records of a level that were shed because their ring had no room. Lower levels are shed first: a
    /// TRACE record must leave half of the ring free, DEBUG a quarter, INFO an eighth, WARN a sixteenth, ERROR nothing.
    ///
    /// ```
    /// use tellane::Level;
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert_eq!(telemetry.ledger().logs_shed(Level::Trace), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn logs_shed(&self, level: Level) -> u64 {
        self.logs_shed[level as usize - 1]
    }

    /// The account of exemplars. Exemplars are not records, so the other figures do not contain them.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let sizes = telemetry.histogram("basket_items").register()?;
    /// let order = telemetry.tracer().span("order");
    /// sizes.record(3);
    /// drop(order);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let ledger = snapshot.ledger();
    /// assert_eq!((ledger.exemplars().offered, ledger.exemplars().kept), (1, 1));
    /// assert_eq!(ledger.total().recorded, 2); // the sample and the span
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exemplars(&self) -> ExemplarLedger {
        self.exemplars
    }

    /// The numbers of log records shed, by level, for a saved snapshot; `None` if there are none.
    pub(crate) fn logs_shed_words(&self) -> Option<Vec<u64>> {
        self.logs_shed.iter().any(|shed| *shed > 0).then(|| self.logs_shed.into())
    }

    /// Sets the numbers of log records shed from their saved form.
    pub(crate) fn set_logs_shed(&mut self, words: &[u64]) -> Option<()> {
        self.logs_shed = words.try_into().ok()?;
        Some(())
    }

    /// Sets the account of exemplars, read from a saved snapshot.
    pub(crate) fn set_exemplars(&mut self, exemplars: ExemplarLedger) {
        self.exemplars = exemplars;
    }

    /// Sets one kind's account from its saved form; `None` if the words are not of that form.
    pub(crate) fn set_kind(&mut self, kind: u32, words: &[u64]) -> Option<()> {
        let &[recorded, aggregated, switched_off, unsampled, in_flight, held_back, ref dropped @ ..] = words
        else {
            return None;
        };
        // An earlier version saved fewer reasons. A later version may save more, which this one cannot represent:
        // `None`.
        let mut drops = Drops::default();
        drops.0.get_mut(..dropped.len())?.copy_from_slice(dropped);
        *self.kinds.get_mut(kind as usize)? = KindLedger {
            recorded,
            aggregated,
            dropped: drops,
            switched_off,
            unsampled,
            in_flight,
            held_back,
        };
        Some(())
    }

    /// Sets the counts of clamped and coarse samples, read from a saved snapshot.
    pub(crate) fn set_inexact(&mut self, clamped: u64, coarse: u64) {
        (self.clamped, self.coarse) = (clamped, coarse);
    }

    /// Adds a tally, and the number of samples in the ring and the spill of the same lane.
    pub(crate) fn add(&mut self, tally: &Tally, samples: u64) {
        for kind in Kind::ALL {
            let account = &mut self.kinds[kind as usize];
            for reason in Reason::ALL {
                let (dropped, lost) = (tally.read_dropped(kind, reason), tally.read_lost(kind, reason));
                account.dropped.0[reason as usize] += dropped + lost;
                account.recorded += dropped;
            }
            let switched_off = tally.read_switched_off(kind);
            account.switched_off += switched_off;
            account.recorded += switched_off;
        }
        let unsampled = tally.read_unsampled();
        self.kinds[Kind::Span as usize].unsampled += unsampled;
        self.kinds[Kind::Span as usize].recorded += unsampled;
        self.kinds[Kind::Sample as usize].recorded += samples;
        let held_back = tally.read_held_back();
        self.kinds[Kind::Log as usize].held_back += held_back;
        self.kinds[Kind::Log as usize].recorded += held_back;
        for (level, shed) in self.logs_shed.iter_mut().enumerate() {
            *shed += tally.read_logs_shed(level);
        }
        self.clamped += tally.read_clamped();
        self.coarse += tally.read_coarse();
        let (offered, no_room) = tally.read_exemplars();
        self.exemplars.offered += offered;
        self.exemplars.no_room += no_room;
        for kind in Kind::ALL {
            self.kinds[kind as usize].recorded += tally.read_sent(kind);
        }
    }

    /// Sets the counts that the aggregator published, and computes the records in flight. The caller must read
    /// `aggregated` and the exemplars' `[kept, replaced]` first and add the tallies afterwards, so that the tallies
    /// contain everything that these counts contain.
    pub(crate) fn balance(&mut self, aggregated: [u64; KINDS], [kept, replaced]: [u64; 2]) {
        (self.exemplars.kept, self.exemplars.replaced) = (kept, replaced);
        for kind in Kind::ALL {
            let account = &mut self.kinds[kind as usize];
            account.aggregated = aggregated[kind as usize];
            let accounted = account.aggregated + account.dropped.total() + account.suppressed();
            account.in_flight = account.recorded.saturating_sub(accounted);
        }
    }
}

impl std::ops::Add for &Ledger {
    type Output = Ledger;

    /// The sum of the ledgers of two instances or machines.
    fn add(self, other: Self) -> Ledger {
        Ledger {
            kinds: std::array::from_fn(|kind| self.kinds[kind].plus(&other.kinds[kind])),
            clamped: self.clamped.saturating_add(other.clamped),
            coarse: self.coarse.saturating_add(other.coarse),
            logs_shed: std::array::from_fn(|level| {
                self.logs_shed[level].saturating_add(other.logs_shed[level])
            }),
            exemplars: self.exemplars.plus(other.exemplars),
        }
    }
}

impl std::fmt::Display for Ledger {
    /// One line, all kinds together: `ledger recorded=N aggregated=N dropped=N suppressed=N in_flight=N`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = self.total();
        write!(
            f,
            "ledger recorded={} aggregated={} dropped={} suppressed={} in_flight={}",
            total.recorded,
            total.aggregated,
            total.dropped.total(),
            total.suppressed(),
            total.in_flight
        )
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_adds_up_tallies_and_balances() {
        let (own, shared) = (Tally::default(), Tally::default());
        for _ in 0..5 {
            own.sent(Kind::Sample);
        }
        own.dropped(Kind::Span, Reason::RingFull);
        own.unsampled();
        own.switched_off(Kind::Sample);
        shared.shared_dropped(Kind::Span, Reason::TlsGone);
        shared.shared_sent(Kind::Sample);
        (0..6).for_each(|_| own.exemplar_sent());
        own.exemplar_without_room();
        shared.shared_exemplars_lost(2);
        let mut ledger = Ledger::default();
        [&own, &shared].into_iter().for_each(|tally| ledger.add(tally, 0));
        ledger.balance([4, 0, 0], [1, 2]);
        let samples = ledger.kind(Kind::Sample);
        assert_eq!((samples.recorded, samples.switched_off, samples.in_flight), (7, 1, 2));
        let spans = ledger.kind(Kind::Span);
        assert_eq!(
            (spans.recorded, spans.dropped.total(), spans.suppressed(), spans.in_flight),
            (3, 2, 1, 0)
        );
        assert_eq!(spans.dropped.iter().collect::<Vec<_>>(), [(Reason::RingFull, 1), (Reason::TlsGone, 1)]);
        assert_eq!(ledger.to_string(), "ledger recorded=10 aggregated=4 dropped=2 suppressed=2 in_flight=2");
        let twice = &ledger + &ledger;
        assert_eq!(twice.total().recorded, 20);
        assert_eq!(twice.kind(Kind::Span).dropped.by(Reason::TlsGone), 2);
        let exemplars = ledger.exemplars();
        assert_eq!(exemplars.to_string(), "exemplars offered=7 kept=1 replaced=2 no_room=3");
        assert_eq!((exemplars.in_flight(), twice.exemplars().in_flight()), (1, 2));
        assert_eq!(twice.exemplars().to_words(), [14, 2, 4, 6]);
    }

    #[test]
    fn a_retired_lane_leaves_its_counts() {
        let (all, lane) = (Tally::default(), Tally::default());
        lane.sent(Kind::Span);
        lane.clamped();
        lane.coarse();
        lane.dropped(Kind::Sample, Reason::Invalid);
        lane.exemplar_sent();
        lane.exemplar_without_room();
        lane.shared_exemplars_lost(1);
        all.absorb(&lane);
        all.absorb(&lane);
        let mut ledger = Ledger::default();
        ledger.add(&all, 0);
        ledger.balance([0; KINDS], [0; 2]);
        assert_eq!((ledger.clamped(), ledger.coarse()), (2, 2));
        assert_eq!(ledger.total().recorded, 4);
        assert_eq!(ledger.kind(Kind::Sample).dropped.by(Reason::Invalid), 2);
        assert_eq!(ledger.exemplars().to_words(), [4, 0, 0, 4]);
    }

    #[test]
    fn names_are_distinct_and_numbers_are_positions() {
        for (position, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
        for (position, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position);
        }
    }
}
