//! The subjects, in the order of the page. Their names are stable: they stand in the JSON, and pages are made of them.
//!
//! Subjects without a row yet are left out of the tables; they are here so that a peer that adds one says it alike.

/// The machine itself: what no library has part in.
pub(crate) const BASELINE: &str = "baseline";
/// One counter without labels, through whatever handle the peer has.
pub(crate) const COUNTER: &str = "counter";
/// The same counter from two threads at once.
pub(crate) const COUNTER_2T: &str = "counter, 2 threads";
/// Two label values that are known only as the call is made, 100 series.
pub(crate) const LABELS: &str = "counter, 2 string labels";
/// The same from two threads at once.
pub(crate) const LABELS_2T: &str = "counter, 2 string labels, 2 threads";
/// Two label values out of enums, 16 series.
pub(crate) const ENUMS: &str = "counter, enum labels";
/// The same from two threads at once.
pub(crate) const ENUMS_2T: &str = "counter, enum labels, 2 threads";
/// A gauge set to the number of the call.
pub(crate) const GAUGE: &str = "gauge, set";
/// One value into one histogram.
pub(crate) const HISTOGRAM: &str = "histogram";
/// The same histogram from two threads at once.
pub(crate) const HISTOGRAM_2T: &str = "histogram, 2 threads";
/// One value into one histogram while a span is open that will be kept: what takes an exemplar takes one.
pub(crate) const HISTOGRAM_IN_SPAN: &str = "histogram, in a sampled span";
/// Start, stop, record what lies between.
pub(crate) const TIMER: &str = "timer";
/// A span of its own trace, without attributes.
pub(crate) const SPAN_ROOT: &str = "span, root";
/// A span within another, without attributes.
pub(crate) const SPAN_CHILD: &str = "span, child";
/// The same on two threads, each within a root of its own.
pub(crate) const SPAN_CHILD_2T: &str = "span, child, 2 threads";
/// A root, nine children, ten grandchildren each; the time is per span.
pub(crate) const SPAN_TREE: &str = "span, tree of 100";
/// A span within another, with a number and a short text.
pub(crate) const SPAN_ATTRIBUTES: &str = "span, 2 attributes";
/// The same on two threads, each within a root of its own.
pub(crate) const SPAN_ATTRIBUTES_2T: &str = "span, 2 attributes, 2 threads";
/// A root span that sampling leaves out.
pub(crate) const SPAN_UNSAMPLED: &str = "span, not sampled";
/// A root span that is held until its trace has come to its outcome, and then kept or not.
pub(crate) const SPAN_HELD: &str = "span, held for its outcome";
/// One poll of a pending future through `in_span` and its likes.
pub(crate) const ASYNC_POLL: &str = "async, poll in a span";
/// A log record with a number and a short text that is kept, or written to a sink that discards it.
pub(crate) const LOG: &str = "log, 2 fields";
/// The same below the level that is kept.
pub(crate) const LOG_DISABLED: &str = "log, level disabled";
/// Any call while recording is switched off or nobody listens.
pub(crate) const OFF: &str = "off";
/// From the handles to the text: 10,000 counters. The time is per scrape.
pub(crate) const SCRAPE_COUNTERS: &str = "scrape, 10,000 counters";
/// From the handles to the text: 1,000 histograms of 11 buckets. The time is per scrape.
pub(crate) const SCRAPE_HISTOGRAMS: &str = "scrape, 1,000 histograms";

/// A rate: one thread records values for as long as it is let.
pub(crate) const FLAT_OUT_HISTOGRAM: &str = "flat out, histogram";
/// A rate: one thread makes trees of 100 spans for as long as it is let.
pub(crate) const FLAT_OUT_SPANS: &str = "flat out, spans";

/// A rate: what the background takes out of full queues, one thread, folded into histograms.
pub(crate) const DRAIN_SAMPLES: &str = "drain, samples";
/// The same for spans, into the durations, counts and errors of their names.
pub(crate) const DRAIN_SPANS: &str = "drain, spans";

/// All of them.
pub(crate) const ALL: [&str; 30] = [
    BASELINE,
    COUNTER,
    COUNTER_2T,
    LABELS,
    LABELS_2T,
    ENUMS,
    ENUMS_2T,
    GAUGE,
    HISTOGRAM,
    HISTOGRAM_2T,
    HISTOGRAM_IN_SPAN,
    TIMER,
    SPAN_ROOT,
    SPAN_CHILD,
    SPAN_CHILD_2T,
    SPAN_TREE,
    SPAN_ATTRIBUTES,
    SPAN_ATTRIBUTES_2T,
    SPAN_UNSAMPLED,
    SPAN_HELD,
    ASYNC_POLL,
    LOG,
    LOG_DISABLED,
    OFF,
    SCRAPE_COUNTERS,
    SCRAPE_HISTOGRAMS,
    FLAT_OUT_HISTOGRAM,
    FLAT_OUT_SPANS,
    DRAIN_SAMPLES,
    DRAIN_SPANS,
];
