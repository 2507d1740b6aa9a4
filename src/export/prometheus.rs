//! The Prometheus text format, version 0.0.4.
//!
//! ```
//! let telemetry = tellane::Telemetry::builder("shop").start()?;
//! telemetry.counter("orders_total").help("Orders placed.").label("kind", "web").register()?.add(2);
//! let text = tellane::prometheus::render(&*telemetry.snapshot(std::time::Duration::from_secs(1))?);
//! assert!(text.contains("# TYPE orders_total counter\norders_total{kind=\"web\"} 2\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::series::MetricKind;
use crate::snapshot::{HistogramView, Point, PointValue, Snapshot};
use crate::stats::Kind;
use std::fmt::Write;

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
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// let text = tellane::prometheus::render(&snapshot);
/// assert!(text.contains("# HELP load Share of time at work.\n# TYPE load gauge\nload 0.5\n"));
/// assert!(text.contains("tellane_dropped_total"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = Text(String::with_capacity(64 * snapshot.catalogue.len() + 4096));
    let mut last = "";
    for point in snapshot.points() {
        if point.name() != last {
            last = point.name();
            let kind = match point.kind() {
                MetricKind::Counter => "counter",
                MetricKind::Gauge | MetricKind::UpDownCounter => "gauge",
                MetricKind::Histogram => "histogram",
            };
            text.head(last, point.help(), kind);
        }
        match point.value() {
            PointValue::Counter(total) => text.point(&point, "", None, |out| out.integer(*total)),
            PointValue::UpDownCounter(sum) => text.point(&point, "", None, |out| out.float(*sum as f64)),
            PointValue::Gauge(value) => text.point(&point, "", None, |out| out.float(*value)),
            PointValue::Histogram(view) => text.histogram(&point, view),
        }
    }
    text.pipeline(snapshot);
    text.0
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.0.extend(["# HELP ", name, " "]);
        escape(help, false, &mut self.0);
        self.0.extend(["\n# TYPE ", name, " ", kind, "\n"]);
    }

    fn point(&mut self, point: &Point<'_>, suffix: &str, le: Option<f64>, value: impl FnOnce(&mut Self)) {
        self.0.extend([point.name(), suffix]);
        let mut open = '{';
        for (name, label) in point.labels() {
            self.0.push(std::mem::replace(&mut open, ','));
            self.0.extend([name, "=\""]);
            escape(label, true, &mut self.0);
            self.0.push('"');
        }
        if let Some(bound) = le {
            self.0.push(std::mem::replace(&mut open, ','));
            self.0.push_str("le=\"");
            self.float(bound);
            self.0.push('"');
        }
        if open == ',' {
            self.0.push('}');
        }
        self.0.push(' ');
        value(self);
        self.0.push('\n');
    }

    fn histogram(&mut self, point: &Point<'_>, view: &HistogramView) {
        for (bound, below) in point.bounds().iter().zip(view.cumulative(point.bounds())) {
            self.point(point, "_bucket", Some(*bound), |out| out.integer(below));
        }
        self.point(point, "_bucket", Some(f64::INFINITY), |out| out.integer(view.count()));
        self.point(point, "_sum", None, |out| out.float(view.sum()));
        self.point(point, "_count", None, |out| out.integer(view.count()));
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
        self.decisions(snapshot);
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

    /// What sampling by outcome came to.
    fn decisions(&mut self, snapshot: &Snapshot) {
        let decisions = snapshot.decisions();
        self.head("tellane_traces_total", "Traces sampled by outcome, by decision and reason.", "counter");
        for (decision, reason, count) in decisions.traces() {
            self.own("tellane_traces_total", &[("decision", decision), ("reason", reason)], count as f64);
        }
        for (name, help, kept, dropped) in [
            (
                "tellane_trace_spans_total",
                "Spans of traces sampled by outcome, by decision.",
                decisions.spans_kept,
                decisions.spans_dropped,
            ),
            (
                "tellane_late_spans_total",
                "Spans that came after the decision on their trace.",
                decisions.late_kept,
                decisions.late_dropped,
            ),
        ] {
            self.head(name, help, "counter");
            self.own(name, &[("decision", "kept")], kept as f64);
            self.own(name, &[("decision", "dropped")], dropped as f64);
        }
        for (name, help, kind, value) in [
            (
                "tellane_spans_above_cap_total",
                "Spans dropped above the cap of their trace.",
                "counter",
                decisions.spans_above_cap,
            ),
            ("tellane_held_traces", "Traces that wait for a decision.", "gauge", decisions.traces_held),
            ("tellane_held_spans", "Spans that wait for one.", "gauge", decisions.spans_held),
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
        self.float(value);
        self.0.push('\n');
    }

    fn integer(&mut self, number: u64) {
        write_to(&mut self.0, format_args!("{number}"));
    }

    fn float(&mut self, number: f64) {
        if number == f64::INFINITY {
            self.0.push_str("+Inf");
        } else if number == f64::NEG_INFINITY {
            self.0.push_str("-Inf");
        } else {
            write_to(&mut self.0, format_args!("{number}")); // NaN, and decimals that read back as they were
        }
    }
}

/// Writing to a String cannot fail.
fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(arguments);
}

fn escape(text: &str, quotes: bool, into: &mut String) {
    for letter in text.chars() {
        match letter {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if quotes => into.push_str("\\\""),
            other => into.push(other),
        }
    }
}
