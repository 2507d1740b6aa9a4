//! What can be set, and whether it makes sense. Cold.

mod env;
mod tail_sampling;

use crate::error::ConfigFault;
use crate::level::Level;
use std::time::Duration;

pub use tail_sampling::TailSampling;

/// An instance's settings. Every buffer, map and queue has its cap here.
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
    /// Words (of 8 bytes) of each thread's ring: a power of two from 64 to 2^24. A sample takes one, a span seven
    /// and its attributes. Default 32,768.
    pub ring_words: usize,
    /// Bytes of each thread's spill, where samples are counted that find the ring full; about 35 kB for each hot
    /// histogram of two digits. Untouched pages cost nothing. Default 512 KiB.
    pub spill_bytes: usize,
    /// Threads that can have a lane at a time. Metrics of further threads go to shared counts, exact but slower;
    /// their spans are dropped as [`TooManyThreads`](crate::Reason::TooManyThreads). Default 2,048: with rings of the
    /// default size they stay below the default memory cap.
    pub lane_cap: usize,
    /// Lanes of finished threads that are kept for new ones. Default 64.
    pub idle_lanes: usize,
    /// How full the aggregator wants to find the fullest ring, between 0 and 1: fuller, and it sleeps less.
    /// Default 0.25.
    pub batch: f64,
    /// The aggregator's shortest sleep. If even 10 µs are too long, and this is no more than twice that, it does not sleep
    /// at all. Default 20 µs.
    pub shortest_sleep: Duration,
    /// The aggregator's longest sleep. Default 10 ms.
    pub longest_sleep: Duration,
    /// How often a snapshot is published without being asked for. Default 10 s.
    pub flush_interval: Duration,
    /// Series of a metric, unless it names its own cap. Default 2,000.
    pub series_cap: usize,
    /// Span names, attribute keys, and metric names up to which a bridge may add more. Spans of further names count as
    /// `__overflow__`; attributes and log fields of further keys are left out, and counted in the span or record. Default
    /// 10,000.
    pub names_cap: usize,
    /// Bytes of a label value, of a span name and of a log target. Longer label values meet the overflow series; longer
    /// names and targets count as `__overflow__`. Default 1,024.
    pub label_value_max: usize,
    /// Words of the latest finished spans that are kept for snapshots. Default 65,536: 9,000 spans without
    /// attributes.
    pub kept_spans: usize,
    /// Share of new traces whose spans are kept, from 0 to 1, by their ids. Durations are counted for all. Default 1.
    pub sampling: f64,
    /// Whether a trace that began in another process is sampled as it was there, rather than by [`sampling`](Self::sampling)
    /// anew. Default true.
    pub parent_based: bool,
    /// New traces that are sampled in a second, at most; further ones are not. Default no limit.
    pub traces_per_second: Option<u32>,
    /// Holds the traces that are not sampled until their outcome is known, and keeps some of them. Default none: what
    /// is not sampled is not recorded.
    pub tail_sampling: Option<TailSampling>,
    /// How much a span may carry.
    pub span_limits: SpanLimits,
    /// The level that targets start with; `None` records no logs. See
    /// [`Telemetry::set_levels`](crate::Telemetry::set_levels) for other targets and later times. Default info.
    pub log_level: Option<Level>,
    /// Records of one log statement in a second, at most; further ones are held back, and a record that says how many
    /// follows when the second is over. Default 1,000; `None` is no limit.
    pub logs_per_second: Option<u32>,
    /// Characters of a text in a log record, at least 16; of a longer one the beginning is kept, and also of one that a
    /// record has no room for: it holds 32 KiB at most, and less if the rings are smaller. Default 4,096.
    pub log_value: u16,
    /// Whether histograms keep exemplars: of each bucket shown, samples recorded in a sampled span, with its ids.
    /// Default true.
    pub exemplars: bool,
    /// After this long without a beat the aggregator counts as stalled, and the switch goes off. Default 1 s.
    pub stall_after: Duration,
    /// Share of the spans that may be shed between two looks of the aggregator, a millisecond apart or, if it sleeps or is
    /// busy for longer, so long; from 0 to 1. Default 0.1.
    pub shed_share: f64,
    /// How long in a row it may be exceeded before the switch degrades; a probe lasts as long, at least. Default 100 ms.
    pub shed_after: Duration,
    /// Bytes set aside for lanes, histograms and kept spans, above which the switch goes off. Default 1 GiB.
    pub memory_cap: usize,
    /// First wait before a probe; doubled after each that fails. Default 1 s.
    pub retry: Duration,
    /// Longest wait before a probe. Default 60 s.
    pub retry_max: Duration,
    /// How long a probe may take before it counts as failed; longer than `shed_after`, since a probe lasts as long. Default 5 s.
    pub probe_lease: Duration,
    /// Restarts of the aggregator in a row before it counts as dead. Panics in passes are in a row if no pass goes through
    /// in between; panics between passes, which end the aggregator when it is dead, if less than `retry_max` lies between
    /// them. Default 5.
    pub restarts_max: u32,
    /// How long dropping the last handle may wait for the last records; of the installed instance, for its flush.
    /// Default 1 s.
    pub drop_deadline: Duration,
}

/// How much a span may carry. What is over is left out, and counted in the finished span; of a longer text the
/// beginning is kept. An attribute that is set again counts once. All of it together is at most 4,095 words of 8 bytes,
/// and less if the rings are smaller: then a text is cut to what is left. The defaults are OpenTelemetry's, but for texts,
/// which have no limit there.
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
    /// Attributes. Default 128.
    pub attributes: u16,
    /// Events. Default 128.
    pub events: u16,
    /// Links. Default 128.
    pub links: u16,
    /// Attributes of an event. Default 128.
    pub event_attributes: u16,
    /// Attributes of a link. Default 128.
    pub link_attributes: u16,
    /// Characters of a text. Default 4,096.
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
    /// Every setting that cannot be used; empty if it is all right.
    ///
    /// ```
    /// let config = tellane::Config { ring_words: 100, sampling: 2.0, ..Default::default() };
    /// let settings: Vec<_> = config.faults().into_iter().map(|fault| fault.setting).collect();
    /// assert_eq!(settings, ["ring_words", "sampling"]);
    /// ```
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
