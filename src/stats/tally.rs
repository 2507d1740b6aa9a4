//! Counts of one lane: records by kind, drops by reason. Hot: [`Tally::sent`] runs with every span.
//!
//! A lane's tally has one writer, its owner thread; the instance's shared tally, for threads without a lane, has many.
//! The two kinds of write have different names (`shared_...`) and are never mixed on one tally.

use crate::sync::{AtomicU64, Ordering};

/// The kinds of record that pass through a lane. Counter and gauge cells are not records: they are read in place, so
/// nothing can be lost on the way. Exemplars are not records either: the sample is the record, and
/// [`Ledger::exemplars`](crate::Ledger::exemplars) accounts for its exemplar.
///
/// ```
/// use tellane::Kind;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let ledger = telemetry.ledger();
/// for kind in Kind::ALL {
///     println!("{}: {} recorded", kind.name(), ledger.kind(kind).recorded);
/// }
/// # assert_eq!(Kind::Span.name(), "span");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// A histogram or timer value.
    Sample = 0,
    /// A finished span.
    Span = 1,
    /// A log record.
    Log = 2,
}

/// Number of kinds.
pub(crate) const KINDS: usize = 3;

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    /// All kinds, in the order of their numbers.
    ///
    /// ```
    /// use tellane::Kind;
    /// assert_eq!(Kind::ALL.first(), Some(&Kind::Sample));
    /// ```
    pub const ALL: [Self; KINDS] = [Self::Sample, Self::Span, Self::Log];

    /// The kind's name in metrics and reports.
    ///
    /// ```
    /// assert_eq!(tellane::Kind::Sample.name(), "sample");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Span => "span",
            Self::Log => "log",
        }
    }
}

/// The reason for which a record was dropped.
///
/// ```
/// use tellane::{Kind, Reason};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("wait").seconds().register()?.record_f64(f64::INFINITY);
/// assert_eq!(telemetry.ledger().kind(Kind::Sample).dropped.by(Reason::Invalid), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Reason {
    /// The ring had no room. A sample then goes to the spill and is not lost.
    RingFull = 0,
    /// The switch was degraded: a span was shed, though its duration was counted, or a log record below a warning was.
    Degraded = 1,
    /// The record has more words than the ring.
    Oversize = 2,
    /// The sample is not a valid value: NaN, infinite or negative.
    Invalid = 3,
    /// The thread has no lane: the lane cap is reached.
    TooManyThreads = 4,
    /// The record was made after shutdown.
    AfterShutdown = 5,
    /// The record was made in a forked child process.
    Forked = 6,
    /// The record was made from within tellane: on its own threads, or by an allocator called while a lane was
    /// attached.
    Reentrant = 7,
    /// The thread-local storage is already gone: a span ended in a late thread-local destructor.
    TlsGone = 8,
    /// The aggregator could not decode the record, or failed on it.
    Corrupt = 9,
    /// The log sinks were too slow: too many records waited for them.
    SinkFull = 10,
    /// A log sink failed: disk full, pipe closed.
    SinkFailed = 11,
}

/// Number of log levels.
pub(crate) const LEVELS: usize = 5;

/// Number of reasons.
pub(crate) const REASONS: usize = 12;

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Reason {
    /// All reasons, in the order of their numbers.
    ///
    /// ```
    /// use tellane::Reason;
    /// assert_eq!(Reason::ALL.first(), Some(&Reason::RingFull));
    /// ```
    pub const ALL: [Self; REASONS] = [
        Self::RingFull,
        Self::Degraded,
        Self::Oversize,
        Self::Invalid,
        Self::TooManyThreads,
        Self::AfterShutdown,
        Self::Forked,
        Self::Reentrant,
        Self::TlsGone,
        Self::Corrupt,
        Self::SinkFull,
        Self::SinkFailed,
    ];

    /// The reason's name in metrics and reports.
    ///
    /// ```
    /// assert_eq!(tellane::Reason::TooManyThreads.name(), "too_many_threads");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Degraded => "degraded",
            Self::Oversize => "oversize",
            Self::Invalid => "invalid",
            Self::TooManyThreads => "too_many_threads",
            Self::AfterShutdown => "after_shutdown",
            Self::Forked => "forked",
            Self::Reentrant => "reentrant",
            Self::TlsGone => "tls_gone",
            Self::Corrupt => "corrupt",
            Self::SinkFull => "sink_full",
            Self::SinkFailed => "sink_failed",
        }
    }
}

/// Counts of one lane, or of all threads without a lane. Counts only grow.
///
/// Relaxed throughout, unless stated otherwise: a reader that must see a count has already synchronised through the
/// ring's head or a lock. `sent` is written before its record is published, so it never lags behind the aggregated
/// count.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Records sent to the aggregator, except the samples in the lane's ring (its words minus `other_words`) and in its
    /// spill (the sum of its buckets).
    sent: [AtomicU64; KINDS],
    /// Words written to the ring that are not one-word samples: all words of a span, one word of a wide sample.
    other_words: AtomicU64,
    /// Records that were not sent because the switch was off. Records that are not sent are counted once, by cause:
    /// here or in one of the counts below.
    switched_off: [AtomicU64; KINDS],
    /// Records that were not sent, by reason.
    dropped: [[AtomicU64; REASONS]; KINDS],
    /// Records that were sent and lost later.
    lost: [[AtomicU64; REASONS]; KINDS],
    /// Spans that head sampling left out; their durations are samples of their own.
    unsampled: AtomicU64,
    /// Log records that the rate limit of their statement suppressed.
    held_back: AtomicU64,
    /// Log records that did not fit into the ring, by level minus one.
    logs_shed: [AtomicU64; LEVELS],
    /// Samples above their histogram's highest trackable value, counted there.
    clamped: AtomicU64,
    /// Samples that kept only their power of two: past the spill cap, or from a thread without a lane.
    coarse: AtomicU64,
    /// Exemplars that went into the ring.
    exemplars_sent: AtomicU64,
    /// Exemplars that were not sent because the ring had no room for them.
    exemplars_no_room: AtomicU64,
    /// Exemplars that were sent but reached no histogram.
    exemplars_lost: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            sent: zeros(),
            other_words: AtomicU64::new(0),
            switched_off: zeros(),
            dropped: [(); KINDS].map(|()| std::array::from_fn(|_| AtomicU64::new(0))),
            lost: [(); KINDS].map(|()| std::array::from_fn(|_| AtomicU64::new(0))),
            unsampled: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
            logs_shed: std::array::from_fn(|_| AtomicU64::new(0)),
            clamped: AtomicU64::new(0),
            coarse: AtomicU64::new(0),
            exemplars_sent: AtomicU64::new(0),
            exemplars_no_room: AtomicU64::new(0),
            exemplars_lost: AtomicU64::new(0),
        }
    }
}

/// Adds one, on the only thread that writes this count, so no read-modify-write instruction is needed.
#[inline(always)]
fn increment(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Samples in a ring are not counted one by one, which would take one more store per call: their number is the number
/// of published words minus the number of other words.
impl Tally {
    /// Records that `words` published words are not samples. Call it after publishing them: a concurrent reader may
    /// then overcount the samples in flight but never undercount them.
    #[inline(always)]
    pub(crate) fn add_other_words(&self, words: usize) {
        let sum = self.other_words.load(Ordering::Relaxed).wrapping_add(words as u64);
        // Release pairs with the Acquire of `samples_in`: a thread that subtracts these words sees them published.
        self.other_words.store(sum, Ordering::Release);
    }

    /// Number of samples written to the lane's ring. `published` reads the ring's head; it is called after the load.
    pub(crate) fn samples_in(&self, published: impl FnOnce() -> u64) -> u64 {
        let other_words = self.other_words.load(Ordering::Acquire);
        published().wrapping_sub(other_words)
    }

    /// Adds the samples of a retired lane's ring.
    pub(crate) fn absorb_samples(&self, samples: u64) {
        self.sent[Kind::Sample as usize].fetch_add(samples, Ordering::Relaxed);
    }
}

/// Writes by a lane's owner thread.
impl Tally {
    #[inline(always)]
    pub(crate) fn sent(&self, kind: Kind) {
        increment(&self.sent[kind as usize]);
    }

    #[inline]
    pub(crate) fn switched_off(&self, kind: Kind) {
        increment(&self.switched_off[kind as usize]);
    }

    #[inline]
    pub(crate) fn unsampled(&self) {
        increment(&self.unsampled);
    }

    #[inline]
    pub(crate) fn dropped(&self, kind: Kind, reason: Reason) {
        increment(&self.dropped[kind as usize][reason as usize]);
    }

    #[inline]
    pub(crate) fn held_back(&self) {
        increment(&self.held_back);
    }

    /// Counts a log record of this level (minus one) that did not fit into the ring.
    #[inline]
    pub(crate) fn log_shed(&self, level: usize) {
        increment(&self.logs_shed[level]);
    }

    #[inline]
    pub(crate) fn clamped(&self) {
        increment(&self.clamped);
    }

    #[inline]
    pub(crate) fn coarse(&self) {
        increment(&self.coarse);
    }

    /// Counts an exemplar. Called before the exemplar is published, like [`sent`](Self::sent).
    #[inline]
    pub(crate) fn exemplar_sent(&self) {
        increment(&self.exemplars_sent);
    }

    #[inline]
    pub(crate) fn exemplar_without_room(&self) {
        increment(&self.exemplars_no_room);
    }
}

/// Writes by threads that share a tally.
impl Tally {
    #[cold]
    pub(crate) fn shared_sent(&self, kind: Kind) {
        self.sent[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn shared_dropped(&self, kind: Kind, reason: Reason) {
        self.dropped[kind as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts records that were sent and then lost.
    #[cold]
    pub(crate) fn shared_lost(&self, kind: Kind, reason: Reason, records: u64) {
        self.lost[kind as usize][reason as usize].fetch_add(records, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn shared_switched_off(&self, kind: Kind) {
        self.switched_off[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn shared_coarse(&self) {
        self.coarse.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn shared_clamped(&self) {
        self.clamped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts exemplars that were sent but reached no histogram.
    #[cold]
    pub(crate) fn shared_exemplars_lost(&self, exemplars: u64) {
        self.exemplars_lost.fetch_add(exemplars, Ordering::Relaxed);
    }

    /// Adds the counts of a lane that is being retired.
    pub(crate) fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.all().zip(other.all()) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        let arrays = self.sent.iter().chain(&self.switched_off);
        let arrays = arrays.chain(self.dropped.iter().flatten()).chain(self.lost.iter().flatten());
        let arrays = arrays.chain(&self.logs_shed);
        let arrays = arrays.chain([&self.exemplars_sent, &self.exemplars_no_room, &self.exemplars_lost]);
        arrays.chain([&self.unsampled, &self.held_back, &self.clamped, &self.coarse])
    }
}

/// Reads by the ledger.
impl Tally {
    pub(crate) fn read_sent(&self, kind: Kind) -> u64 {
        self.sent[kind as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn read_switched_off(&self, kind: Kind) -> u64 {
        self.switched_off[kind as usize].load(Ordering::Relaxed)
    }

    /// Records that were never sent, for this reason.
    pub(crate) fn read_dropped(&self, kind: Kind, reason: Reason) -> u64 {
        self.dropped[kind as usize][reason as usize].load(Ordering::Relaxed)
    }

    /// Records that were sent and then lost, for this reason.
    pub(crate) fn read_lost(&self, kind: Kind, reason: Reason) -> u64 {
        self.lost[kind as usize][reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn read_unsampled(&self) -> u64 {
        self.unsampled.load(Ordering::Relaxed)
    }

    pub(crate) fn read_held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    pub(crate) fn read_logs_shed(&self, level: usize) -> u64 {
        self.logs_shed[level].load(Ordering::Relaxed)
    }

    pub(crate) fn read_clamped(&self) -> u64 {
        self.clamped.load(Ordering::Relaxed)
    }

    pub(crate) fn read_coarse(&self) -> u64 {
        self.coarse.load(Ordering::Relaxed)
    }

    /// Exemplars offered, and those of them that no histogram got.
    pub(crate) fn read_exemplars(&self) -> (u64, u64) {
        let [sent, no_room, lost] = [&self.exemplars_sent, &self.exemplars_no_room, &self.exemplars_lost]
            .map(|count| count.load(Ordering::Relaxed));
        (sent + no_room, no_room + lost)
    }
}
