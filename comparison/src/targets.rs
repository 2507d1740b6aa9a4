//! The targets: figures as data, all in this one place. Cold; `verdict.rs` judges a run by them.
//!
//! Source: the table "The targets" of the issue "Speed: ahead of every peer and close to the floor, measured side by
//! side" (number 4). Its figures are medians of 2026-11-23, empty loop of 0.6 ns included; "hold the ratios", it says:
//! what floor and peer took then is what a limit is divided by. One line there may be several here. Where it names more
//! peers than one, it is the first that promises as much. Polls and log calls are from the issue "Tracing in full"
//! (number 3), section "Speed".

use crate::subject;

/// What tellane may take at most, or must reach at least.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Nanoseconds a call at most.
    Nanos(f64),
    /// Millions of records a second at least.
    Millions(f64),
    /// So many times the named peer's rate in the same run, at least, and none lost.
    TimesPeer(f64),
    /// Nanoseconds of processor time a record at most, on all threads but the caller's.
    Background(f64),
}

/// A figure of the day on which the target was set, in the bound's unit; the issue gives some as a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Then {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Then {
    /// What ratios are taken to: of a range, the middle.
    pub(crate) fn middle(self) -> f64 {
        f64::midpoint(self.from, self.to)
    }
}

const fn was(figure: f64) -> Then {
    Then { from: figure, to: figure }
}

const fn between(from: f64, to: f64) -> Then {
    Then { from, to }
}

/// A floor's row or rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    pub(crate) subject: &'static str,
    pub(crate) how: &'static str,
    /// `None`: the issue names no floor, and no ratio is asked; the floor's figure stands beside ours all the same.
    pub(crate) then: Option<Then>,
}

const fn floor(subject: &'static str, how: &'static str, then: Then) -> Option<Floor> {
    Some(Floor { subject, how, then: Some(then) })
}

const fn beside(subject: &'static str, how: &'static str) -> Option<Floor> {
    Some(Floor { subject, how, then: None })
}

/// The peer that the issue names; of its rows, the best that promises as much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    pub(crate) then: Then,
}

const fn peer(name: &'static str, then: Then) -> Option<Rival> {
    Some(Rival { name, then })
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) case: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) most: Bound,
    pub(crate) floor: Option<Floor>,
    pub(crate) peer: Option<Rival>,
}

const ADD: &str = "thread-local add, one writer";
const INDEX: &str = "log-linear index, thread-local add";
const RING_7: &str = "2 raw clock readings, 7 words into a ring";
const MILLISECOND: f64 = 1e6;

#[rustfmt::skip] // a table
pub(crate) const TARGETS: [Target; 27] = [
    Target { case: "counter add, 1 thread", subject: subject::COUNTER, most: Bound::Nanos(1.3),
        floor: floor(subject::COUNTER, ADD, was(0.9)), peer: peer("prometheus", was(2.6)) },
    Target { case: "counter add, 2 threads, same counter", subject: subject::COUNTER_2T, most: Bound::Nanos(1.4),
        floor: floor(subject::COUNTER_2T, ADD, was(0.9)), peer: peer("contatori", was(2.6)) },
    Target { case: "counter, 2 dynamic string labels, 100 series, 1 thread", subject: subject::LABELS, most: Bound::Nanos(12.0),
        floor: None, peer: peer("fastmetrics", was(31.0)) },
    Target { case: "counter, 2 dynamic string labels, 100 series, 2 threads", subject: subject::LABELS_2T, most: Bound::Nanos(13.0),
        floor: None, peer: peer("fastmetrics", was(46.0)) },
    Target { case: "counter, labels as enums, 1 thread", subject: subject::ENUMS, most: Bound::Nanos(3.0),
        floor: None, peer: peer("measured", was(7.2)) },
    Target { case: "counter, labels as enums, 2 threads", subject: subject::ENUMS_2T, most: Bound::Nanos(3.0),
        floor: None, peer: peer("measured", was(15.0)) },
    Target { case: "histogram record, 1 thread", subject: subject::HISTOGRAM, most: Bound::Nanos(3.2),
        floor: floor(subject::HISTOGRAM, INDEX, between(2.9, 3.4)), peer: peer("metriken", was(4.9)) },
    Target { case: "histogram record, 2 threads", subject: subject::HISTOGRAM_2T, most: Bound::Nanos(3.5),
        floor: floor(subject::HISTOGRAM_2T, INDEX, between(3.1, 3.5)), peer: peer("metriken", was(5.5)) },
    Target { case: "timer start..stop..record", subject: subject::TIMER, most: Bound::Nanos(33.0),
        floor: floor(subject::TIMER, "2 raw clock readings, index, add, sum", was(32.9)), peer: peer("hdrhistogram", was(37.0)) },
    Target { case: "span, no attributes, root", subject: subject::SPAN_ROOT, most: Bound::Nanos(27.0),
        floor: floor(subject::SPAN_ROOT, RING_7, was(23.4)), peer: peer("tracy", was(34.0)) },
    Target { case: "span, no attributes, child", subject: subject::SPAN_CHILD, most: Bound::Nanos(27.0),
        floor: floor(subject::SPAN_CHILD, RING_7, was(23.4)), peer: peer("tracy", was(34.0)) },
    Target { case: "span, no attributes, tree of 100, per span", subject: subject::SPAN_TREE, most: Bound::Nanos(27.0),
        floor: floor(subject::SPAN_TREE, RING_7, was(23.4)), peer: peer("tracy", was(34.0)) },
    Target { case: "span with 2 attributes", subject: subject::SPAN_ATTRIBUTES, most: Bound::Nanos(33.0),
        floor: beside(subject::SPAN_ATTRIBUTES, "2 raw clock readings, 11 words into a ring"), peer: peer("tracy", was(55.0)) },
    // The issue says "the same" below the line with attributes, with less time than that one has: read as no attributes.
    Target { case: "span, no attributes, 2 threads", subject: subject::SPAN_CHILD_2T, most: Bound::Nanos(29.0),
        floor: beside(subject::SPAN_CHILD_2T, RING_7), peer: peer("tracy", was(58.0)) },
    Target { case: "span not sampled (duration still counted)", subject: subject::SPAN_UNSAMPLED, most: Bound::Nanos(26.0),
        floor: floor(subject::SPAN_UNSAMPLED, "2 raw clock readings, 1 word into a ring", was(23.4)), peer: None },
    Target { case: "switched off or not installed: any call", subject: subject::OFF, most: Bound::Nanos(1.5),
        floor: floor(subject::BASELINE, "relaxed load", was(0.6)), peer: peer("tracing, no subscriber", was(5.2)) },
    Target { case: "async poll in a span, the bare poll included", subject: subject::ASYNC_POLL, most: Bound::Nanos(10.6),
        floor: beside(subject::ASYNC_POLL, "a bare poll"), peer: None },
    Target { case: "log call, 2 fields, on the caller", subject: subject::LOG, most: Bound::Nanos(40.0),
        floor: None, peer: None },
    Target { case: "log call, level disabled, the empty loop included", subject: subject::LOG_DISABLED, most: Bound::Nanos(2.1),
        floor: None, peer: None },
    Target { case: "flat-out histogram, 1 thread, lossless, memory flat", subject: subject::FLAT_OUT_HISTOGRAM, most: Bound::TimesPeer(1.1),
        floor: floor(subject::FLAT_OUT_HISTOGRAM, INDEX, between(290.0, 388.0)), peer: peer("metriken", between(209.0, 269.0)) },
    // micromegas stands first there, "whose sink drops its blocks": that promises less.
    Target { case: "flat-out spans, 1 thread, durations exact, memory flat", subject: subject::FLAT_OUT_SPANS, most: Bound::Millions(33.0),
        floor: floor(subject::FLAT_OUT_SPANS, "2 raw clock readings, 7 words, nobody drains", was(41.0)), peer: peer("tracy", between(26.0, 32.0)) },
    Target { case: "drain of samples, one core", subject: subject::DRAIN_SAMPLES, most: Bound::Millions(150.0),
        floor: None, peer: None },
    Target { case: "drain of spans into RED metrics, one core", subject: subject::DRAIN_SPANS, most: Bound::Millions(25.0),
        floor: None, peer: None },
    Target { case: "background CPU per histogram record", subject: subject::FLAT_OUT_HISTOGRAM, most: Bound::Background(4.0),
        floor: None, peer: peer("metriken", was(0.1)) },
    Target { case: "background CPU per span", subject: subject::FLAT_OUT_SPANS, most: Bound::Background(25.0),
        floor: None, peer: peer("tracy", between(31.0, 36.0)) },
    Target { case: "snapshot + text of 10,000 counters", subject: subject::SCRAPE_COUNTERS, most: Bound::Nanos(0.7 * MILLISECOND),
        floor: None, peer: peer("measured", between(0.74 * MILLISECOND, 1.3 * MILLISECOND)) },
    Target { case: "snapshot + text of 1,000 histograms (11 buckets)", subject: subject::SCRAPE_HISTOGRAMS, most: Bound::Nanos(1.1 * MILLISECOND),
        floor: None, peer: peer("fastmetrics", between(1.2 * MILLISECOND, 1.9 * MILLISECOND)) },
];
