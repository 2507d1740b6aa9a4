//! What sampling by outcome came to, by reason. Cold.

/// What became of the traces and spans of an instance that samples by [`TailSampling`](crate::TailSampling). Of one that does not,
/// all is zero.
///
/// Every trace is counted once, when it is decided: sampled ones when the first of their spans comes in. Spans that come
/// after their trace was kept are kept. Spans that come after it was dropped are held again, until a local root of
/// theirs ends: the service was called a second time in one trace. If they are kept, the trace counts as kept, too, and as
/// [`reconsidered`](Self::reconsidered); if they are dropped, it is not counted again.
///
/// The decisions remembered are four times [`TailSampling::traces`](crate::TailSampling::traces); a trace that was forgotten
/// counts as another one. The counts are not part of a saved snapshot.
///
/// ```
/// use tellane::{Config, TailSampling, Telemetry};
/// let config = Config { sampling: 0.0, tail_sampling: Some(TailSampling::default()), ..Config::default() };
/// let telemetry = Telemetry::builder("shop").config(config).start()?;
/// drop(telemetry.tracer().span("order"));
/// telemetry.tracer().span("order").fail();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let tail_sampling = snapshot.tail_sampling();
/// assert_eq!((tail_sampling.traces_kept(), tail_sampling.traces_dropped()), (1, 1));
/// assert_eq!((tail_sampling.spans_kept, tail_sampling.spans_dropped, tail_sampling.spans_held), (1, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TailSamplingStats {
    /// Traces kept because head sampling took them, by ratio, rate limit or parent.
    pub ratio: u64,
    /// Traces kept because a span failed.
    pub error: u64,
    /// Traces kept because their local root took longer than the fixed bound.
    pub slow: u64,
    /// Traces kept because their local root took longer than the 99th percentile of its name and kind.
    pub slow_p99: u64,
    /// Traces kept for an attribute.
    pub attribute: u64,
    /// Traces kept as the share that is kept whatever happens.
    pub share: u64,
    /// Traces dropped because their local root ended and no rule kept them.
    pub uninteresting: u64,
    /// Traces dropped early, because a cap was reached and no rule kept them as far as they were known.
    pub evicted: u64,
    /// Traces dropped because their local root did not end in time, or before the shutdown.
    pub timed_out: u64,
    /// Traces that were dropped and kept afterwards, for a later part of them. They are among the traces dropped and among
    /// the traces kept, so the traces decided are the sum of both less these.
    pub reconsidered: u64,
    /// Spans kept: shown by snapshots as long as there is room.
    pub spans_kept: u64,
    /// Spans dropped. Their durations and errors are counted all the same.
    pub spans_dropped: u64,
    /// Of the spans dropped, those above the cap of a trace.
    pub spans_above_cap: u64,
    /// Spans that came after their held trace was decided, and were kept.
    pub late_kept: u64,
    /// Spans that came after their trace was dropped, and were dropped.
    pub late_dropped: u64,
    /// Traces held at this moment.
    pub traces_held: u64,
    /// Spans held at this moment.
    pub spans_held: u64,
}

impl TailSamplingStats {
    /// Traces decided, by decision and reason, in a fixed order.
    ///
    /// ```
    /// let tail_sampling = tellane::TailSamplingStats::default();
    /// assert_eq!(tail_sampling.traces().next(), Some(("kept", "ratio", 0)));
    /// ```
    pub fn traces(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + use<> {
        [
            ("kept", "ratio", self.ratio),
            ("kept", "error", self.error),
            ("kept", "slow", self.slow),
            ("kept", "slow_p99", self.slow_p99),
            ("kept", "attribute", self.attribute),
            ("kept", "share", self.share),
            ("dropped", "uninteresting", self.uninteresting),
            ("dropped", "evicted", self.evicted),
            ("dropped", "timed_out", self.timed_out),
        ]
        .into_iter()
    }

    /// Traces kept, for whatever reason.
    ///
    /// ```
    /// assert_eq!(tellane::TailSamplingStats::default().traces_kept(), 0);
    /// ```
    pub fn traces_kept(&self) -> u64 {
        self.count("kept")
    }

    /// Traces dropped, for whatever reason.
    ///
    /// ```
    /// assert_eq!(tellane::TailSamplingStats::default().traces_dropped(), 0);
    /// ```
    pub fn traces_dropped(&self) -> u64 {
        self.count("dropped")
    }

    fn count(&self, decision: &str) -> u64 {
        self.traces().filter(|(made, ..)| *made == decision).map(|(.., count)| count).sum()
    }

    /// Those of two instances together.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            ratio: self.ratio.saturating_add(other.ratio),
            error: self.error.saturating_add(other.error),
            slow: self.slow.saturating_add(other.slow),
            slow_p99: self.slow_p99.saturating_add(other.slow_p99),
            attribute: self.attribute.saturating_add(other.attribute),
            share: self.share.saturating_add(other.share),
            uninteresting: self.uninteresting.saturating_add(other.uninteresting),
            evicted: self.evicted.saturating_add(other.evicted),
            timed_out: self.timed_out.saturating_add(other.timed_out),
            reconsidered: self.reconsidered.saturating_add(other.reconsidered),
            spans_kept: self.spans_kept.saturating_add(other.spans_kept),
            spans_dropped: self.spans_dropped.saturating_add(other.spans_dropped),
            spans_above_cap: self.spans_above_cap.saturating_add(other.spans_above_cap),
            late_kept: self.late_kept.saturating_add(other.late_kept),
            late_dropped: self.late_dropped.saturating_add(other.late_dropped),
            traces_held: self.traces_held.saturating_add(other.traces_held),
            spans_held: self.spans_held.saturating_add(other.spans_held),
        }
    }
}
