//! What one lane counted: records by kind, drops by reason. Hot: [`Tally::sent`] runs with every span.
//!
//! A lane's tally has one writer, its owner thread; the instance's shared tally, for threads without a lane, has many.
//! The two kinds of write are named apart and never meet on one tally.

use crate::sync::{AtomicU64, Ordering};

/// The kinds of record that travel through a lane. Counter and gauge cells are not among them: they are read in
/// place, so none can be lost on the way. Nor are exemplars: the sample is the record, and
/// [`Ledger::exemplars`](crate::Ledger::exemplars) counts what became of its exemplar.
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

/// Why a record was not aggregated.
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
    /// The switch was degraded: the span's duration was counted, the span itself shed; of logs, those below a warning.
    Degraded = 1,
    /// The record has more words than the ring.
    Oversize = 2,
    /// A sample that is no number of its histogram: NaN, infinite or negative.
    Invalid = 3,
    /// The thread has no lane: the lane cap is reached.
    TooManyThreads = 4,
    /// It came after shutdown.
    AfterShutdown = 5,
    /// It came in the child of a fork.
    Forked = 6,
    /// It came from within tellane: its own threads, or an allocator called while a lane was attached.
    Reentrant = 7,
    /// The thread's storage is already gone: a span ended in a late thread-local destructor.
    TlsGone = 8,
    /// The aggregator could not read it, or failed on it.
    Corrupt = 9,
    /// The sinks of the logs were too slow: too many records waited for them.
    SinkFull = 10,
    /// A sink of the logs failed: disk full, pipe closed.
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

/// Counts of one lane, or of all threads that have none. Every count only grows.
///
/// Relaxed throughout: a reader that must see a count has synchronised through the ring's head or a lock already, and
/// `sent` is written before the record it counts is published, so it never lags behind what was aggregated.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Records sent on their way, but for the samples in the lane's ring (its words less `beside`) and in its spill
    /// (the sum of its buckets).
    sent: [AtomicU64; KINDS],
    /// Words written to the ring that are no one-word samples: all of a span, one of a wide sample.
    beside: AtomicU64,
    /// Records that were never sent, by cause: each is counted once, here.
    switched_off: [AtomicU64; KINDS],
    dropped: [[AtomicU64; REASONS]; KINDS],
    /// Records that were sent and lost later.
    lost: [[AtomicU64; REASONS]; KINDS],
    /// Spans that head sampling left out; their durations are samples of their own.
    unsampled: AtomicU64,
    /// Log records that the rate limit of their statement held back.
    held_back: AtomicU64,
    /// Log records that found no room, by level less one.
    logs_shed: [AtomicU64; LEVELS],
    /// Samples above their histogram's highest trackable value, counted there.
    clamped: AtomicU64,
    /// Samples that kept only their power of two: past the spill cap, or from a thread without a lane.
    coarse: AtomicU64,
    /// Exemplars that went into the ring.
    exemplars_sent: AtomicU64,
    /// Exemplars that were never sent: the ring had no room for them.
    exemplars_no_room: AtomicU64,
    /// Exemplars that were sent and that no histogram took.
    exemplars_lost: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            sent: zeros(),
            beside: AtomicU64::new(0),
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

/// One more, by the only thread that writes this count: no read-modify-write instruction needed.
#[inline(always)]
fn bump(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Samples in a ring are not counted one by one, which would be one more store a call: they are the words published
/// less those beside them.
impl Tally {
    /// Words were published that are no samples. Called after they were published: a reading in between takes them
    /// for samples in flight, and never counts a sample too few.
    #[inline(always)]
    pub(crate) fn beside(&self, words: usize) {
        let sum = self.beside.load(Ordering::Relaxed).wrapping_add(words as u64);
        // Release pairs with the Acquire of `samples_in`: who sees these words subtracted sees them published.
        self.beside.store(sum, Ordering::Release);
    }

    /// Samples that went into the lane's ring. `published` reads the ring's head; it is called second.
    pub(crate) fn samples_in(&self, published: impl FnOnce() -> u64) -> u64 {
        let beside = self.beside.load(Ordering::Acquire);
        published().wrapping_sub(beside)
    }

    /// Takes over the samples of a retired lane's ring.
    pub(crate) fn absorb_samples(&self, samples: u64) {
        self.sent[Kind::Sample as usize].fetch_add(samples, Ordering::Relaxed);
    }
}

/// The writes of a lane's owner.
impl Tally {
    #[inline(always)]
    pub(crate) fn sent(&self, kind: Kind) {
        bump(&self.sent[kind as usize]);
    }

    #[inline]
    pub(crate) fn switched_off(&self, kind: Kind) {
        bump(&self.switched_off[kind as usize]);
    }

    #[inline]
    pub(crate) fn unsampled(&self) {
        bump(&self.unsampled);
    }

    #[inline]
    pub(crate) fn dropped(&self, kind: Kind, reason: Reason) {
        bump(&self.dropped[kind as usize][reason as usize]);
    }

    #[inline]
    pub(crate) fn held_back(&self) {
        bump(&self.held_back);
    }

    /// A log record of this level (less one) found no room.
    #[inline]
    pub(crate) fn log_shed(&self, level: usize) {
        bump(&self.logs_shed[level]);
    }

    #[inline]
    pub(crate) fn clamped(&self) {
        bump(&self.clamped);
    }

    #[inline]
    pub(crate) fn coarse(&self) {
        bump(&self.coarse);
    }

    /// Called before the exemplar is published, like [`sent`](Self::sent).
    #[inline]
    pub(crate) fn exemplar_sent(&self) {
        bump(&self.exemplars_sent);
    }

    #[inline]
    pub(crate) fn exemplar_without_room(&self) {
        bump(&self.exemplars_no_room);
    }
}

/// The writes of threads that share a tally.
impl Tally {
    #[cold]
    pub(crate) fn shared_sent(&self, kind: Kind) {
        self.sent[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn shared_dropped(&self, kind: Kind, reason: Reason) {
        self.dropped[kind as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Records that were sent and are lost.
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

    /// Exemplars were sent and no histogram took them.
    #[cold]
    pub(crate) fn shared_exemplars_lost(&self, exemplars: u64) {
        self.exemplars_lost.fetch_add(exemplars, Ordering::Relaxed);
    }

    /// Takes over the counts of a lane that is being retired.
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

/// The reads of the ledger.
impl Tally {
    pub(crate) fn read_sent(&self, kind: Kind) -> u64 {
        self.sent[kind as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn read_switched_off(&self, kind: Kind) -> u64 {
        self.switched_off[kind as usize].load(Ordering::Relaxed)
    }

    /// Never sent, for this reason.
    pub(crate) fn read_dropped(&self, kind: Kind, reason: Reason) -> u64 {
        self.dropped[kind as usize][reason as usize].load(Ordering::Relaxed)
    }

    /// Sent and lost, for this reason.
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

    /// Exemplars offered, and those of them that got no place.
    pub(crate) fn read_exemplars(&self) -> (u64, u64) {
        let [sent, no_room, lost] = [&self.exemplars_sent, &self.exemplars_no_room, &self.exemplars_lost]
            .map(|count| count.load(Ordering::Relaxed));
        (sent + no_room, no_room + lost)
    }
}
