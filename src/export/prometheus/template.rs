//! The text template of a scrape: help, names, labels and bounds, which stand between the numbers. The template depends
//! on the series alone, so it is made once for all scrapes until series are added; a scrape copies it and fills in the
//! numbers. Cold.

use super::float;
use crate::series::{Descriptor, Identity, MetricKind};
use crate::snapshot::TextTemplate;
use std::sync::Arc;

/// Makes the template: one piece before each number. Each piece but the first begins with the end of the line before
/// it.
pub(super) fn template(series: &[Arc<Identity>]) -> TextTemplate {
    let mut pieces = TextTemplate::default();
    let mut last: Option<&Arc<Descriptor>> = None;
    // The bounds of the last metric as labels; most series have the bounds of the series before.
    let mut bounds: Vec<String> = Vec::new();
    let mut labels = String::new();
    for (number, identity) in series.iter().enumerate() {
        if number > 0 {
            pieces.open().push('\n');
        }
        let metric = &identity.metric;
        if last.is_none_or(|last| !Arc::ptr_eq(last, metric)) {
            if last.is_none_or(|last| last.name != metric.name) {
                let kind = match metric.kind {
                    MetricKind::Counter => "counter",
                    MetricKind::Gauge | MetricKind::UpDownCounter => "gauge",
                    MetricKind::Histogram => "histogram",
                };
                head(pieces.open(), &metric.name, &metric.help, kind);
            }
            let shown = metric.shape.iter().flat_map(|shape| &shape.bounds);
            bounds = shown.chain([&f64::INFINITY]).map(|bound| le(*bound)).collect();
            last = Some(metric);
        }
        labels.clear();
        for (name, label) in identity.labels() {
            labels.extend([if labels.is_empty() { "" } else { "," }, name, "=\""]);
            escape(label, true, &mut labels);
            labels.push('"');
        }
        if metric.kind == MetricKind::Histogram {
            histogram(&mut pieces, &metric.name, &labels, &bounds);
        } else {
            plain(&mut pieces, &metric.name, "", &labels);
        }
    }
    pieces.shrunk()
}

/// The label `le` of a bound.
fn le(bound: f64) -> String {
    let mut label = "le=\"".to_owned();
    float(&mut label, bound);
    label.push('"');
    label
}

/// Appends the `# HELP` and `# TYPE` lines of a metric.
pub(super) fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    text.extend(["# HELP ", name, " "]);
    escape(help, false, text);
    text.extend(["\n# TYPE ", name, " ", kind, "\n"]);
}

/// Appends the piece of a series with one number, or of a histogram's sum or count.
fn plain(pieces: &mut TextTemplate, name: &str, suffix: &str, labels: &str) {
    let (open, close) = if labels.is_empty() { ("", " ") } else { ("{", "} ") };
    pieces.open().extend([name, suffix, open, labels, close]);
    pieces.end();
}

/// Appends the pieces of a histogram: one for each bound, including the infinite one, then those of sum and count.
fn histogram(pieces: &mut TextTemplate, name: &str, labels: &str, bounds: &[String]) {
    let comma = if labels.is_empty() { "" } else { "," };
    for bound in bounds {
        pieces.open().extend([name, "_bucket{", labels, comma, bound, "} "]);
        pieces.end();
        pieces.open().push('\n');
    }
    plain(pieces, name, "_sum", labels);
    pieces.open().push('\n');
    plain(pieces, name, "_count", labels);
}

/// Appends a text with the escapes of the format; quotes are escaped in label values only.
fn escape(text: &str, quotes: bool, into: &mut String) {
    let mut plain = 0;
    for (at, letter) in text.bytes().enumerate() {
        let escaped = match letter {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'"' if quotes => "\\\"",
            _ => continue,
        };
        into.extend([&text[plain..at], escaped]);
        plain = at + 1;
    }
    into.push_str(&text[plain..]);
}
