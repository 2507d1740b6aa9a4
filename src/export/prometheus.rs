//! The Prometheus text format, version 0.0.4.
//!
//! ```
//! let telemetry = tellane::Telemetry::builder("shop").start()?;
//! telemetry.counter("orders_total").help("Orders placed.").label("kind", "web").register()?.add(2);
//! let text = tellane::prometheus::render(&*telemetry.snapshot(std::time::Duration::from_secs(5))?);
//! assert!(text.contains("# TYPE orders_total counter\norders_total{kind=\"web\"} 2\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pieces;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

use crate::series::Descriptor;
use crate::snapshot::{BucketBounds, PointValue, Snapshot, TextTemplate};
use crate::stats::Kind;
use std::fmt::Write;
use std::sync::Arc;

/// The format's content type.
///
/// ```
/// let header = format!("Content-Type: {}\r\n", tellane::prometheus::CONTENT_TYPE);
/// assert!(header.contains("version=0.0.4"));
/// ```
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A snapshot in the text format: every series, and the pipeline's own figures under `tellane_`.
///
/// ```
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.gauge("load").help("Share of time at work.").register()?.set(0.5);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let text = tellane::prometheus::render(&snapshot);
/// assert!(text.contains("# HELP load Share of time at work.\n# TYPE load gauge\nload 0.5\n"));
/// assert!(text.contains("tellane_dropped_total"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn render(snapshot: &Snapshot) -> String {
    let pieces = snapshot.catalogue.text_template(pieces::pieces);
    let mut text =
        TextBuffer(String::with_capacity(pieces.text_len() + DIGITS_MAX * pieces.count() + PIPELINE));
    text.series(snapshot, pieces);
    text.pipeline(snapshot);
    text.0
}

/// Of an integer. Longer decimals make the text grow.
const DIGITS_MAX: usize = 20;
/// Bytes that the pipeline's own figures take, roughly.
const PIPELINE: usize = 8192;

struct TextBuffer(String);

impl TextBuffer {
    fn series(&mut self, snapshot: &Snapshot, pieces: &TextTemplate) {
        let mut pieces = pieces.reader();
        let mut cuts: Option<(&Arc<Descriptor>, BucketBounds)> = None;
        for (identity, value) in snapshot.catalogue.iter().zip(&snapshot.values) {
            match value {
                PointValue::Counter(total) => self.integer(pieces.next_piece(), *total),
                PointValue::UpDownCounter(sum) => self.float(pieces.next_piece(), *sum as f64),
                PointValue::Gauge(value) => self.float(pieces.next_piece(), *value),
                PointValue::Histogram(view) => {
                    let metric = &identity.metric;
                    let (_, cuts) = match &mut cuts {
                        Some(last) if Arc::ptr_eq(last.0, metric) && last.1.fit(view) => last,
                        other => {
                            let bounds = metric.shape.as_ref().map_or(&[][..], |shape| &shape.bounds);
                            other.insert((metric, BucketBounds::new(view, bounds)))
                        }
                    };
                    for below in view.cumulative_at(cuts) {
                        self.integer(pieces.next_piece(), below);
                    }
                    self.integer(pieces.next_piece(), view.count());
                    self.float(pieces.next_piece(), view.sum());
                    self.integer(pieces.next_piece(), view.count());
                }
            }
        }
        if !snapshot.values.is_empty() {
            self.0.push('\n');
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        pieces::head(&mut self.0, name, help, kind);
    }

    fn integer(&mut self, before: &str, number: u64) {
        self.0.push_str(before);
        self.0.push_str(itoa::Buffer::new().format(number));
    }

    fn float(&mut self, before: &str, number: f64) {
        self.0.push_str(before);
        float(&mut self.0, number);
    }

    fn pipeline(&mut self, snapshot: &Snapshot) {
        let (ledger, pipeline) = (snapshot.ledger(), snapshot.pipeline());
        let by_kind = |text: &mut Self, name: &str, help: &str, count: &dyn Fn(Kind) -> u64| {
            text.head(name, help, "counter");
            for kind in Kind::ALL {
                text.own(name, &[("kind", kind.name())], count(kind) as f64);
            }
        };
        by_kind(self, "tellane_records_total", "Records made, by kind.", &|kind| ledger.kind(kind).recorded);
        by_kind(self, "tellane_aggregated_total", "Records aggregated, by kind.", &|kind| {
            ledger.kind(kind).aggregated
        });
        by_kind(self, "tellane_suppressed_total", "Records left out on purpose, by kind.", &|kind| {
            ledger.kind(kind).suppressed()
        });
        self.head("tellane_dropped_total", "Records lost, by kind and reason.", "counter");
        for kind in Kind::ALL {
            for reason in crate::stats::Reason::ALL {
                let lost = ledger.kind(kind).dropped.by(reason);
                self.own(
                    "tellane_dropped_total",
                    &[("kind", kind.name()), ("reason", reason.name())],
                    lost as f64,
                );
            }
        }
        self.head("tellane_in_flight", "Records on their way, by kind.", "gauge");
        for kind in Kind::ALL {
            self.own("tellane_in_flight", &[("kind", kind.name())], ledger.kind(kind).in_flight as f64);
        }
        self.exemplars(snapshot);
        self.tail_sampling(snapshot);
        self.head(
            "tellane_headers_refused_total",
            "Propagation headers refused; of baggage, members.",
            "counter",
        );
        for (header, refused) in [
            ("traceparent", pipeline.traceparents_refused),
            ("tracestate", pipeline.tracestates_refused),
            ("baggage", pipeline.baggage_members_refused),
        ] {
            self.own("tellane_headers_refused_total", &[("header", header)], refused as f64);
        }
        let state = f64::from(pipeline.state as u8);
        for (name, help, kind, value) in [
            (
                "tellane_clamped_total",
                "Samples above the highest trackable value.",
                "counter",
                ledger.clamped() as f64,
            ),
            ("tellane_coarse_total", "Samples that lost their bucket.", "counter", ledger.coarse() as f64),
            ("tellane_overflowed_total", "Label sets above the cap.", "counter", pipeline.overflowed as f64),
            (
                "tellane_traces_limited_total",
                "New traces that the rate limit kept from being sampled.",
                "counter",
                pipeline.traces_limited as f64,
            ),
            (
                "tellane_spans_evicted_total",
                "Finished spans let go.",
                "counter",
                pipeline.spans_evicted as f64,
            ),
            (
                "tellane_log_rotations_failed_total",
                "Writes to a log file that could not be rotated.",
                "counter",
                pipeline.log_rotations_failed as f64,
            ),
            ("tellane_restarts_total", "Restarts of the aggregator.", "counter", pipeline.restarts as f64),
            ("tellane_steps_total", "Passes of the aggregator.", "counter", pipeline.steps as f64),
            ("tellane_transitions_total", "Changes of the switch.", "counter", pipeline.transitions as f64),
            ("tellane_faults", "Statics that could not be registered.", "gauge", pipeline.faults as f64),
            ("tellane_lanes", "Lanes set up.", "gauge", pipeline.lanes as f64),
            ("tellane_memory_bytes", "Bytes set aside.", "gauge", pipeline.bytes as f64),
            ("tellane_state", "The switch: 0 healthy, 1 degraded, 2 off, 3 probing.", "gauge", state),
        ] {
            self.head(name, help, kind);
            self.own(name, &[], value);
        }
    }

    /// The account of exemplars. No figure by kind counts one.
    fn exemplars(&mut self, snapshot: &Snapshot) {
        let exemplars = snapshot.ledger().exemplars();
        for (name, help, kind, count) in [
            ("tellane_exemplars_offered_total", "Samples chosen as exemplars.", "counter", exemplars.offered),
            ("tellane_exemplars_kept", "Exemplars that histograms hold.", "gauge", exemplars.kept),
            (
                "tellane_exemplars_replaced_total",
                "Exemplars replaced by newer ones.",
                "counter",
                exemplars.replaced,
            ),
            (
                "tellane_exemplars_no_room_total",
                "Exemplars that got no place; their samples were counted.",
                "counter",
                exemplars.no_room,
            ),
        ] {
            self.head(name, help, kind);
            self.own(name, &[], count as f64);
        }
    }

    /// What sampling by outcome came to.
    fn tail_sampling(&mut self, snapshot: &Snapshot) {
        let tail_sampling = snapshot.tail_sampling();
        self.head("tellane_traces_total", "Traces sampled by outcome, by decision and reason.", "counter");
        for (decision, reason, count) in tail_sampling.traces() {
            self.own("tellane_traces_total", &[("decision", decision), ("reason", reason)], count as f64);
        }
        for (name, help, kept, dropped) in [
            (
                "tellane_trace_spans_total",
                "Spans of traces sampled by outcome, by decision.",
                tail_sampling.spans_kept,
                tail_sampling.spans_dropped,
            ),
            (
                "tellane_late_spans_total",
                "Spans that came after the decision on their trace.",
                tail_sampling.late_kept,
                tail_sampling.late_dropped,
            ),
        ] {
            self.head(name, help, "counter");
            self.own(name, &[("decision", "kept")], kept as f64);
            self.own(name, &[("decision", "dropped")], dropped as f64);
        }
        for (name, help, kind, value) in [
            (
                "tellane_traces_reconsidered_total",
                "Traces dropped at first and kept for a later part.",
                "counter",
                tail_sampling.reconsidered,
            ),
            (
                "tellane_spans_above_cap_total",
                "Spans dropped above the cap of their trace.",
                "counter",
                tail_sampling.spans_above_cap,
            ),
            ("tellane_held_traces", "Traces that wait for a decision.", "gauge", tail_sampling.traces_held),
            ("tellane_held_spans", "Spans that wait for one.", "gauge", tail_sampling.spans_held),
        ] {
            self.head(name, help, kind);
            self.own(name, &[], value as f64);
        }
    }

    fn own(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        let mut open = '{';
        for (label, text) in labels {
            self.0.push(std::mem::replace(&mut open, ','));
            self.0.extend([label, "=\"", text, "\""]);
        }
        self.0.push_str(if labels.is_empty() { " " } else { "} " });
        float(&mut self.0, value);
        self.0.push('\n');
    }
}

/// Whole numbers below have a float each, and no shorter decimal than themselves.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// Decimals that read back as they were.
fn float(text: &mut String, number: f64) {
    let whole = number as i64; // saturates; 0 of NaN
    if whole as f64 == number && number.abs() < WHOLE_MAX && !(whole == 0 && number.is_sign_negative()) {
        text.push_str(itoa::Buffer::new().format(whole));
    } else if number == f64::INFINITY {
        text.push_str("+Inf");
    } else if number == f64::NEG_INFINITY {
        text.push_str("-Inf");
    } else {
        // NaN and what has a fraction. Writing to a String cannot fail.
        let _infallible = write!(text, "{number}");
    }
}
