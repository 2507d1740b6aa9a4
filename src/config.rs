//! The settings of an instance and their checks. Cold.

mod env;
mod tail_sampling;

use crate::error::ConfigFault;
use crate::level::Level;
use std::time::Duration;

pub use tail_sampling::TailSampling;

/// The settings of one instance. Every buffer, map and queue has its cap here.
///
/// ```
/// use tellane::{Config, Telemetry};
/// let config = Config { ring_words: 1 << 12, sampling: 0.1, ..Config::default() };
/// let telemetry = Telemetry::builder("shop").config(config).start()?;
/// # drop(telemetry);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Size of each thread's ring in words of 8 bytes: a power of two from 64 to 2^24. A sample takes one word, a span
    /// seven words plus its attributes. Default 32,768.
    pub ring_words: usize,
    /// Size of each thread's spill in bytes. Samples that find the ring full are counted in the spill; each hot
    /// histogram of two digits takes about 35 kB there. Untouched pages cost nothing. Default 512 KiB.
    pub spill_bytes: usize,
    /// Most threads that can have a lane at the same time. Metrics of further threads go to shared counts, which are
    /// exact but slower; their spans are dropped as [`TooManyThreads`](crate::Reason::TooManyThreads). Default 2,048:
    /// that many lanes with rings of the default size stay below the default memory cap.
    pub lane_cap: usize,
    /// Most lanes of finished threads that are kept for reuse by new threads. Default 64.
    pub idle_lanes: usize,
    /// Target fill of the fullest ring when the aggregator wakes up, above 0 and at most 1. If the ring is fuller, the
    /// aggregator sleeps less. Default 0.25.
    pub batch: f64,
    /// Shortest sleep of the aggregator. If this is at most 20 µs and even a sleep of 10 µs would be too long, the
    /// aggregator does not sleep at all. Default 20 µs.
    pub shortest_sleep: Duration,
    /// Longest sleep of the aggregator. Default 10 ms.
    pub longest_sleep: Duration,
    /// Time between two snapshots that are published without a request. Default 10 s.
    #[doc(alias = "export_interval")]
    pub flush_interval: Duration,
    /// Most series of a metric that does not set its own cap. Default 2,000.
    #[doc(alias = "cardinality_limit")]
    pub series_cap: usize,
    /// Most span names, most attribute keys, and the number of metric names up to which a bridge may add more. Spans of
    /// further names count as `__overflow__`; attributes and log fields of further keys are left out, and counted in the
    /// span or record. Default 10,000.
    pub names_cap: usize,
    /// Longest label value, span name and log target, in bytes. Samples with a longer label value go to the overflow
    /// series; longer names and targets become `__overflow__`. Default 1,024.
    pub label_value_max: usize,
    /// Size of the buffer of finished spans for snapshots, in words of 8 bytes; new spans evict the oldest. Default
    /// 65,536: 9,000 spans without attributes.
    pub kept_spans: usize,
    /// Share of new traces whose spans are kept, from 0 to 1, chosen by trace id. Durations are counted for all spans,
    /// sampled or not. Default 1.
    #[doc(alias = "sampler")]
    pub sampling: f64,
    /// Follow the sampling decision of the caller for a trace that began in another process, rather than applying
    /// [`sampling`](Self::sampling) to it again. Default true.
    #[doc(alias = "ParentBased")]
    pub parent_based: bool,
    /// Most new traces that are sampled per second; further traces are not sampled. Default no limit.
    pub traces_per_second: Option<u32>,
    /// Tail sampling: holds the traces that head sampling left out until their local root has ended, and keeps those
    /// that match its rules. Default none: spans of unsampled traces are not recorded.
    pub tail_sampling: Option<TailSampling>,
    /// Limits on the attributes, events, links and texts of one span.
    pub span_limits: SpanLimits,
    /// Lowest level that is recorded, for every log target; `None` records no logs. To set levels for single targets or
    /// at run time, see [`Telemetry::set_levels`](crate::Telemetry::set_levels). Default info.
    #[doc(alias = "LevelFilter")]
    pub log_level: Option<Level>,
    /// Most records per second of one log statement. Further records are suppressed; after that second a record with
    /// their number follows. Default 1,000; `None` is no limit.
    #[doc(alias = "rate_limit")]
    pub logs_per_second: Option<u32>,
    /// Longest text in a log record, in characters, at least 16. Longer texts are truncated, and so are texts that do
    /// not fit into the record, which holds at most 32 KiB, and less if the rings are smaller. Default 4,096.
    pub log_value: u16,
    /// Keep exemplars in histograms: for each bucket shown, samples that were recorded in a sampled span, with the ids
    /// of that span. Default true.
    pub exemplars: bool,
    /// Time without a heartbeat after which the aggregator counts as stalled and the switch goes off. Default 1 s.
    pub stall_after: Duration,
    /// Largest share of spans that may be shed between two checks by the aggregator, from 0 to 1. Checks are a
    /// millisecond apart, or further if the aggregator sleeps or is busy for longer. Default 0.1.
    pub shed_share: f64,
    /// Time for which [`shed_share`](Self::shed_share) may be exceeded without a break before the switch degrades. A
    /// probe lasts at least as long. Default 100 ms.
    pub shed_after: Duration,
    /// Cap on the memory for lanes, histograms and kept spans, in bytes; above it the switch goes off. Default 1 GiB.
    pub memory_cap: usize,
    /// First wait before a probe; it doubles after each probe that fails. Default 1 s.
    pub retry: Duration,
    /// Longest wait before a probe. Default 60 s.
    pub retry_max: Duration,
    /// Time after which an unfinished probe counts as failed. Must be longer than [`shed_after`](Self::shed_after),
    /// since a probe lasts at least that long. Default 5 s.
    pub probe_lease: Duration,
    /// Most span names, most attribute keys, and the number of metric names up to which a bridge may add more. Spans of
    /// further names count as `__overflow__`; attributes and log fields of further keys are left out, and counted in the
    /// span or record. Default 10,000.
    pub restarts_max: u32,
    /// Longest time that dropping the last handle waits until the last records are processed; for the installed
    /// instance, the longest time that its flush takes. Default 1 s.
    pub drop_deadline: Duration,
}

/// Limits on the contents of one span. Attributes, events and links above a limit are left out, and the finished span
/// carries their number; longer texts are truncated. An attribute that is set again counts once.
///
/// All items of a span together take at most 4,095 words of 8 bytes, and less if the rings are smaller; a text that
/// does not fit is cut to the space that is left. The defaults are those of OpenTelemetry, except that OpenTelemetry
/// does not limit texts.
///
/// ```
/// use tellane::{Config, SpanLimits, Telemetry};
/// let span_limits = SpanLimits { attributes: 2, ..SpanLimits::default() };
/// let telemetry = Telemetry::builder("shop").config(Config { span_limits, ..Config::default() }).start()?;
/// let mut order = telemetry.tracer().span("order");
/// for key in ["first", "second", "third"] {
///     (0..5_u64).for_each(|number| order.set(key, number));
/// }
/// order.end();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.spans().next().map(|order| order.attributes_dropped), Some(5)); // calls with `third`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// Most attributes of the span. Default 128.
    pub attributes: u16,
    /// Most events of the span. Default 128.
    pub events: u16,
    /// Most links of the span. Default 128.
    pub links: u16,
    /// Most attributes of one event. Default 128.
    pub event_attributes: u16,
    /// Most attributes of one link. Default 128.
    pub link_attributes: u16,
    /// Longest text, in characters. Default 4,096.
    pub value: u16,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            attributes: 128,
            events: 128,
            links: 128,
            event_attributes: 128,
            link_attributes: 128,
            value: 4_096,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_words: 1 << 15,
            spill_bytes: 512 << 10,
            lane_cap: 2_048,
            idle_lanes: 64,
            batch: 0.25,
            shortest_sleep: Duration::from_micros(20),
            longest_sleep: Duration::from_millis(10),
            flush_interval: Duration::from_secs(10),
            series_cap: 2_000,
            names_cap: 10_000,
            label_value_max: 1_024,
            kept_spans: 1 << 16,
            sampling: 1.0,
            parent_based: true,
            traces_per_second: None,
            tail_sampling: None,
            span_limits: SpanLimits::default(),
            log_level: Some(Level::Info),
            logs_per_second: Some(1_000),
            log_value: 4_096,
            exemplars: true,
            stall_after: Duration::from_secs(1),
            shed_share: 0.1,
            shed_after: Duration::from_millis(100),
            memory_cap: 1 << 30,
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            probe_lease: Duration::from_secs(5),
            restarts_max: 5,
            drop_deadline: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// Checks all settings and returns each one that is not allowed, with the rule that it breaks. Empty if all are
    /// valid.
    ///
    /// ```
    /// let config = tellane::Config { ring_words: 100, sampling: 2.0, ..Default::default() };
    /// let settings: Vec<_> = config.faults().into_iter().map(|fault| fault.setting).collect();
    /// assert_eq!(settings, ["ring_words", "sampling"]);
    /// ```
    #[doc(alias = "validate")]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let share = |share: f64| (0.0..=1.0).contains(&share);
        let tail_sampling = |rule: fn(&TailSampling) -> bool| self.tail_sampling.as_ref().is_none_or(rule);
        let rules = [
            (
                self.ring_words.is_power_of_two() && (64..=1 << 24).contains(&self.ring_words),
                "ring_words",
                "a power of two from 64 to 2^24",
            ),
            (self.spill_bytes <= 1 << 30, "spill_bytes", "at most 2^30"),
            (self.lane_cap <= 1 << 20, "lane_cap", "at most 2^20"),
            (self.batch > 0.0 && self.batch <= 1.0, "batch", "above 0 and at most 1"),
            (!self.shortest_sleep.is_zero(), "shortest_sleep", "above zero"),
            (self.longest_sleep >= self.shortest_sleep, "longest_sleep", "at least shortest_sleep"),
            (self.flush_interval >= self.longest_sleep, "flush_interval", "at least longest_sleep"),
            (self.series_cap > 0, "series_cap", "above zero"),
            (self.names_cap > 0, "names_cap", "above zero"),
            (share(self.sampling), "sampling", "from 0 to 1"),
            (self.traces_per_second != Some(0), "traces_per_second", "above zero"),
            (self.logs_per_second != Some(0), "logs_per_second", "above zero"),
            (self.log_value >= 16, "log_value", "at least 16"),
            (
                tail_sampling(|tail_sampling| (0.0..=1.0).contains(&tail_sampling.ratio)),
                "tail_sampling.ratio",
                "from 0 to 1",
            ),
            (tail_sampling(|tail_sampling| tail_sampling.traces > 0), "tail_sampling.traces", "above zero"),
            (
                tail_sampling(|tail_sampling| tail_sampling.spans_per_trace > 0),
                "tail_sampling.spans_per_trace",
                "above zero",
            ),
            (tail_sampling(|tail_sampling| tail_sampling.bytes > 0), "tail_sampling.bytes", "above zero"),
            (
                tail_sampling(|tail_sampling| !tail_sampling.longest_wait.is_zero()),
                "tail_sampling.longest_wait",
                "above zero",
            ),
            (self.stall_after > self.longest_sleep, "stall_after", "longer than longest_sleep"),
            (share(self.shed_share), "shed_share", "from 0 to 1"),
            (!self.shed_after.is_zero(), "shed_after", "above zero"),
            (!self.retry.is_zero(), "retry", "above zero"),
            (self.retry_max >= self.retry, "retry_max", "at least retry"),
            (
                self.probe_lease > self.shed_after.saturating_add(self.longest_sleep)
                    && self.probe_lease > self.longest_sleep.saturating_mul(9),
                "probe_lease",
                "longer than shed_after and longest_sleep together, and than nine times longest_sleep",
            ),
        ];
        let broken = rules.into_iter().filter(|(holds, _, _)| !holds);
        broken.map(|(_, setting, rule)| ConfigFault { setting, rule }).collect()
    }
}
