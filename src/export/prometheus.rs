//! The Prometheus text format, version 0.0.4: [`render`] makes the body of a scrape's response.
//!
//! ```
//! let telemetry = tellane::Telemetry::builder("shop").start()?;
//! telemetry.counter("orders_total").help("Orders placed.").label("kind", "web").register()?.add(2);
//! let text = tellane::prometheus::render(&*telemetry.snapshot(std::time::Duration::from_secs(5))?);
//! assert!(text.contains("# TYPE orders_total counter\norders_total{kind=\"web\"} 2\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod template;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

use crate::series::Descriptor;
use crate::snapshot::{BucketBounds, PointValue, Snapshot, TextTemplate};
use crate::stats::Kind;
use std::fmt::Write;
use std::sync::Arc;

/// The `Content-Type` of the format.
///
/// ```
/// let header = format!("Content-Type: {}\r\n", tellane::prometheus::CONTENT_TYPE);
/// assert!(header.contains("version=0.0.4"));
/// ```
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders a snapshot in the text format: all series, and the pipeline's own figures under `tellane_`.
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
#[doc(alias = "encode")]
#[doc(alias = "gather")]
#[doc(alias = "scrape")]
#[doc(alias = "exposition")]
pub fn render(snapshot: &Snapshot) -> String {
    let template = snapshot.catalogue.text_template(template::template);
    let mut text =
        TextBuffer(String::with_capacity(template.text_len() + DIGITS_MAX * template.count() + PIPELINE));
    text.series(snapshot, template);
    text.pipeline(snapshot);
    text.0
}

/// The most digits of an integer. A longer decimal makes the string reallocate.
const DIGITS_MAX: usize = 20;
/// The approximate number of bytes of the pipeline's own figures.
const PIPELINE: usize = 8192;

/// The text while it is rendered.
struct TextBuffer(String);

impl TextBuffer {
    /// Writes all series: the template's pieces with the values in between.
    fn series(&mut self, snapshot: &Snapshot, template: &TextTemplate) {
        let mut pieces = template.reader();
        // The bounds of the last histogram; most series have those of the series before.
        let mut cached: Option<(&Arc<Descriptor>, BucketBounds)> = None;
        for (identity, value) in snapshot.catalogue.iter().zip(&snapshot.values) {
            match value {
                PointValue::Counter(total) => self.integer(pieces.next_piece(), *total),
                PointValue::UpDownCounter(sum) => self.float(pieces.next_piece(), *sum as f64),
                PointValue::Gauge(value) => self.float(pieces.next_piece(), *value),
                PointValue::Histogram(view) => {
                    let metric = &identity.metric;
                    let (_, bounds) = match &mut cached {
                        Some(last) if Arc::ptr_eq(last.0, metric) && last.1.fit(view) => last,
                        other => {
                            let bounds = metric.shape.as_ref().map_or(&[][..], |shape| &shape.bounds);
                            other.insert((metric, BucketBounds::new(view, bounds)))
                        }
                    };
                    for count in view.cumulative_at(bounds) {
                        self.integer(pieces.next_piece(), count);
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

    /// Writes the `# HELP` and `# TYPE` lines of a metric.
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        template::head(&mut self.0, name, help, kind);
    }

    /// Writes a piece of the template and an integer.
    fn integer(&mut self, before: &str, number: u64) {
        self.0.push_str(before);
        self.0.push_str(itoa::Buffer::new().format(number));
    }

    /// Writes a piece of the template and a float.
    fn float(&mut self, before: &str, number: f64) {
        self.0.push_str(before);
        float(&mut self.0, number);
    }

    /// Writes the pipeline's own figures.
    fn pipeline(&mut self, snapshot: &Snapshot) {
        let (ledger, pipeline) = (snapshot.ledger(), snapshot.pipeline());
        let by_kind = |text: &mut Self, name: &str, help: &str, count: &dyn Fn(Kind) -> u64| {
            text.head(name, help, "counter");
            for kind in Kind::ALL {
                text.figure(name, &[("kind", kind.name())], count(kind) as f64);
            }
        };
        by_kind(self, "tellane_records_total", "Records made by the program, by kind.", &|kind| {
            ledger.kind(kind).recorded
        });
        by_kind(self, "tellane_aggregated_total", "Records aggregated, by kind.", &|kind| {
            ledger.kind(kind).aggregated
        });
        by_kind(
            self,
            "tellane_suppressed_total",
            "Records not made on purpose (switched off, not sampled, rate limited), by kind.",
            &|kind| ledger.kind(kind).suppressed(),
        );
        self.head("tellane_dropped_total", "Records lost, by kind and reason.", "counter");
        for kind in Kind::ALL {
            for reason in crate::stats::Reason::ALL {
                let lost = ledger.kind(kind).dropped.by(reason);
                self.figure(
                    "tellane_dropped_total",
                    &[("kind", kind.name()), ("reason", reason.name())],
                    lost as f64,
                );
            }
        }
        self.head("tellane_in_flight", "Records made but not yet aggregated or dropped, by kind.", "gauge");
        for kind in Kind::ALL {
            self.figure("tellane_in_flight", &[("kind", kind.name())], ledger.kind(kind).in_flight as f64);
        }
        self.exemplars(snapshot);
        self.tail_sampling(snapshot);
        self.head(
            "tellane_headers_refused_total",
            "Propagation headers refused, by header; for baggage, members refused.",
            "counter",
        );
        for (header, refused) in [
            ("traceparent", pipeline.traceparents_refused),
            ("tracestate", pipeline.tracestates_refused),
            ("baggage", pipeline.baggage_members_refused),
        ] {
            self.figure("tellane_headers_refused_total", &[("header", header)], refused as f64);
        }
        let state = f64::from(pipeline.state as u8);
        for (name, help, kind, value) in [
            (
                "tellane_clamped_total",
                "Samples above their histogram's highest value, counted as that value.",
                "counter",
                ledger.clamped() as f64,
            ),
            (
                "tellane_coarse_total",
                "Samples counted by power of two: the spill was full, or the thread had no lane.",
                "counter",
                ledger.coarse() as f64,
            ),
            (
                "tellane_overflowed_total",
                "Label sets above the cap, counted in an overflow series.",
                "counter",
                pipeline.overflowed as f64,
            ),
            (
                "tellane_traces_limited_total",
                "New traces not sampled because of the rate limit.",
                "counter",
                pipeline.traces_limited as f64,
            ),
            (
                "tellane_spans_evicted_total",
                "Finished spans evicted by later ones, after they were aggregated.",
                "counter",
                pipeline.spans_evicted as f64,
            ),
            (
                "tellane_log_rotations_failed_total",
                "Writes to a log file that could not be rotated.",
                "counter",
                pipeline.log_rotations_failed as f64,
            ),
            (
                "tellane_restarts_total",
                "Restarts of the aggregator after a panic.",
                "counter",
                pipeline.restarts as f64,
            ),
            ("tellane_steps_total", "Drain passes of the aggregator.", "counter", pipeline.steps as f64),
            ("tellane_transitions_total", "Changes of the switch.", "counter", pipeline.transitions as f64),
            (
                "tellane_faults",
                "Static metrics that could not be registered.",
                "gauge",
                pipeline.faults as f64,
            ),
            ("tellane_lanes", "Lanes in existence, idle ones included.", "gauge", pipeline.lanes as f64),
            ("tellane_memory_bytes", "Bytes allocated by the instance.", "gauge", pipeline.bytes as f64),
            (
                "tellane_state",
                "State of the switch: 0 healthy, 1 degraded, 2 off, 3 probing.",
                "gauge",
                state,
            ),
        ] {
            self.head(name, help, kind);
            self.figure(name, &[], value);
        }
    }

    /// Writes the counts of exemplars. Exemplars are no records, so the figures by kind leave them out.
    fn exemplars(&mut self, snapshot: &Snapshot) {
        let exemplars = snapshot.ledger().exemplars();
        for (name, help, kind, count) in [
            (
                "tellane_exemplars_offered_total",
                "Samples offered as exemplars.",
                "counter",
                exemplars.offered,
            ),
            ("tellane_exemplars_kept", "Exemplars that histograms hold.", "gauge", exemplars.kept),
            (
                "tellane_exemplars_replaced_total",
                "Exemplars replaced by newer ones.",
                "counter",
                exemplars.replaced,
            ),
            (
                "tellane_exemplars_no_room_total",
                "Exemplars that did not fit the ring; their samples were counted.",
                "counter",
                exemplars.no_room,
            ),
        ] {
            self.head(name, help, kind);
            self.figure(name, &[], count as f64);
        }
    }

    /// Writes the counts of tail sampling.
    fn tail_sampling(&mut self, snapshot: &Snapshot) {
        let tail_sampling = snapshot.tail_sampling();
        self.head(
            "tellane_traces_total",
            "Traces decided by tail sampling, by decision and reason.",
            "counter",
        );
        for (decision, reason, count) in tail_sampling.traces() {
            self.figure("tellane_traces_total", &[("decision", decision), ("reason", reason)], count as f64);
        }
        for (name, help, kept, dropped) in [
            (
                "tellane_trace_spans_total",
                "Spans of traces decided by tail sampling, by decision.",
                tail_sampling.spans_kept,
                tail_sampling.spans_dropped,
            ),
            (
                "tellane_late_spans_total",
                "Spans that came after their trace was decided, by decision.",
                tail_sampling.late_kept,
                tail_sampling.late_dropped,
            ),
        ] {
            self.head(name, help, "counter");
            self.figure(name, &[("decision", "kept")], kept as f64);
            self.figure(name, &[("decision", "dropped")], dropped as f64);
        }
        for (name, help, kind, value) in [
            (
                "tellane_traces_reconsidered_total",
                "Traces dropped at first and kept because of a later part.",
                "counter",
                tail_sampling.reconsidered,
            ),
            (
                "tellane_spans_above_cap_total",
                "Spans dropped because their trace had reached its cap of spans.",
                "counter",
                tail_sampling.spans_above_cap,
            ),
            ("tellane_held_traces", "Traces that await their decision.", "gauge", tail_sampling.traces_held),
            ("tellane_held_spans", "Spans held for those traces.", "gauge", tail_sampling.spans_held),
        ] {
            self.head(name, help, kind);
            self.figure(name, &[], value as f64);
        }
    }

    /// Writes one figure of the pipeline, with its labels.
    fn figure(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
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

/// Below this, each whole number is exact as a float, and its digits are its shortest decimal.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// Appends a number as a decimal that reads back as the same number.
fn float(text: &mut String, number: f64) {
    let whole = number as i64; // saturates; 0 of NaN
    if whole as f64 == number && number.abs() < WHOLE_MAX && !(whole == 0 && number.is_sign_negative()) {
        text.push_str(itoa::Buffer::new().format(whole));
    } else if number == f64::INFINITY {
        text.push_str("+Inf");
    } else if number == f64::NEG_INFINITY {
        text.push_str("-Inf");
    } else {
        // NaN, large numbers, and numbers with a fraction. Writing to a String cannot fail.
        let _infallible = write!(text, "{number}");
    }
}
