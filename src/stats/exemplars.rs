//! The account of exemplars, kept apart from the ledger of records. Cold; read from the tallies with the ledger.

/// The account of all exemplars, apart from the account of records. An exemplar is not a record of its own: its sample
/// is the record and is counted by its bucket. So the counts of records, lost ones included, do not contain exemplars.
///
/// At every quiescent point `offered = kept + replaced + no_room` holds exactly. While threads record, the difference
/// is [`in_flight`](Self::in_flight).
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let sizes = telemetry.histogram("basket_items").register()?;
/// let order = telemetry.tracer().span("order");
/// [4, 5, 6].map(|items| sizes.record(items)); // one power of two: the first sample is offered
/// drop(order);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let exemplars = snapshot.ledger().exemplars();
/// assert_eq!((exemplars.offered, exemplars.kept, exemplars.in_flight()), (1, 1, 0));
/// assert_eq!(snapshot.ledger().kind(tellane::Kind::Sample).recorded, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExemplarLedger {
    /// Samples that were chosen as exemplars. Between two snapshots, each thread offers at most one sample per
    /// histogram and power of two: the first that it records in a sampled span.
    pub offered: u64,
    /// Exemplars that histograms hold now: the latest two of each power of two. For a saved or merged snapshot, those
    /// that the instances held when the snapshot was taken.
    pub kept: u64,
    /// Exemplars that newer ones have evicted from their histograms.
    pub replaced: u64,
    /// Exemplars that were dropped because their thread's ring was more than half full; the second half is reserved for
    /// spans and log records. The few that reach the aggregator unreadable, or after the shutdown, are counted here,
    /// too.
    pub no_room: u64,
}

impl ExemplarLedger {
    /// Exemplars on their way to the aggregator: offered, but not yet kept, replaced or dropped.
    ///
    /// ```
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// assert_eq!(telemetry.ledger().exemplars().in_flight(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_flight(&self) -> u64 {
        let settled = self.kept.saturating_add(self.replaced).saturating_add(self.no_room);
        self.offered.saturating_sub(settled)
    }

    /// The sum of two accounts. Saturating: accounts read from bytes may hold any numbers.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            offered: self.offered.saturating_add(other.offered),
            kept: self.kept.saturating_add(other.kept),
            replaced: self.replaced.saturating_add(other.replaced),
            no_room: self.no_room.saturating_add(other.no_room),
        }
    }

    /// The saved form: all counts in the order of their declaration.
    pub(crate) fn to_words(self) -> [u64; 4] {
        [self.offered, self.kept, self.replaced, self.no_room]
    }

    /// Reads the account from its saved form.
    pub(crate) fn from_words([offered, kept, replaced, no_room]: [u64; 4]) -> Self {
        Self { offered, kept, replaced, no_room }
    }
}

impl std::fmt::Display for ExemplarLedger {
    /// One line: `exemplars offered=N kept=N replaced=N no_room=N`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { offered, kept, replaced, no_room } = self;
        write!(f, "exemplars offered={offered} kept={kept} replaced={replaced} no_room={no_room}")
    }
}
