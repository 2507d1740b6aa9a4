//! Counts of tail sampling: traces by decision and reason, and spans. Cold.

/// Counts of the traces and spans that [`TailSampling`](crate::TailSampling) kept, dropped or holds. All are zero if
/// tail sampling is off.
///
/// Each trace is counted once, when it is decided. A trace that head sampling took is decided when its first span is
/// read. Spans that come after their trace was kept are kept. Spans that come after their trace was dropped are held
/// again until a local root of theirs ends, since the service may have been called a second time in one trace. If they
/// are then kept, the trace also counts as kept and as [`reconsidered`](Self::reconsidered); if they are dropped, the
/// trace is not counted again.
///
/// The sampler remembers four times as many decisions as [`TailSampling::traces`](crate::TailSampling::traces). A trace
/// whose decision was forgotten counts as a new one. The counts are not part of a saved snapshot.
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
    /// Traces kept because their local root took longer than
    /// [`TailSampling::slower_than`](crate::TailSampling::slower_than).
    pub slow: u64,
    /// Traces kept because their local root took longer than the 99th percentile of its name and kind.
    pub slow_p99: u64,
    /// Traces kept because a span had one of the attributes asked for.
    pub attribute: u64,
    /// Traces kept because they belong to the share that is kept in any case
    /// ([`TailSampling::ratio`](crate::TailSampling::ratio)).
    pub share: u64,
    /// Traces dropped after their local root ended, because no rule kept them.
    pub uninteresting: u64,
    /// Traces dropped before their local root ended, because a cap was reached and no rule kept the spans held so far.
    pub evicted: u64,
    /// Traces dropped because their local root did not end within the longest wait, or before the shutdown.
    pub timed_out: u64,
    /// Traces that were dropped at first and kept afterwards because of a later part of them. They are among both the
    /// traces dropped and the traces kept, so the number of traces decided is kept plus dropped less reconsidered.
    pub reconsidered: u64,
    /// Spans kept. Snapshots show them until newer spans evict them.
    pub spans_kept: u64,
    /// Spans dropped. Their durations and errors are counted nevertheless.
    pub spans_dropped: u64,
    /// Spans dropped because their trace had reached its cap of spans; included in `spans_dropped`.
    pub spans_above_cap: u64,
    /// Spans that came after tail sampling had decided their trace, and were kept.
    pub late_kept: u64,
    /// Spans that came after their trace was dropped, and were dropped too.
    pub late_dropped: u64,
    /// Traces that await their decision at the time of the snapshot.
    pub traces_held: u64,
    /// Spans held for those traces.
    pub spans_held: u64,
}

impl TailSamplingStats {
    /// Decision, reason and number of traces, in a fixed order.
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

    /// The number of traces kept, for any reason.
    ///
    /// ```
    /// assert_eq!(tellane::TailSamplingStats::default().traces_kept(), 0);
    /// ```
    pub fn traces_kept(&self) -> u64 {
        self.count("kept")
    }

    /// The number of traces dropped, for any reason.
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

    /// Adds up the counts of two instances.
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
