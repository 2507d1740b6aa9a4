//! The console report of a snapshot: totals and rates, percentiles, slowest spans, the ledger. Cold.

use super::escape;
use crate::record::SpanKind;
use crate::series::Unit;
use crate::snapshot::{FinishedSpan, Point, PointValue, Snapshot, TailSamplingStats};
use crate::stats::Kind;
use crate::sync::plant::{Bug, planted};
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

/// Displays a snapshot as a plain text report. The last line is the ledger's.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("basket_items").register()?.record(3);
/// let report = tellane::Report(&*telemetry.snapshot(std::time::Duration::from_secs(5))?).to_string();
/// assert!(report.contains("basket_items"));
/// assert!(report.ends_with("ledger recorded=1 aggregated=1 dropped=0 suppressed=0 in_flight=0\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "console")]
#[doc(alias = "print")]
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(pub &'a Snapshot);

/// The number of slowest spans shown.
const SLOWEST: usize = 5;
/// The histogram of span durations.
const SPAN_DURATIONS: &str = "traces_span_metrics_duration_seconds";
/// The counter of failed spans. It has the labels of [`SPAN_DURATIONS`].
const SPAN_ERRORS: &str = "traces_span_metrics_errors_total";
/// The greatest width of the column of names. A longer name is shown whole and moves the figures of its own row to the
/// right. The width needs a cap because names may come from another machine, and `format!` panics on a width above
/// 65,535.
const NAME_COLUMNS: usize = 100;

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let snapshot = self.0;
        let uptime = with_unit(snapshot.uptime().as_secs_f64(), Unit::Seconds);
        writeln!(f, "{} after {uptime}", escape::Plain(snapshot.service()))?;
        self.totals(f)?;
        let (spans, others): (Vec<_>, Vec<_>) = snapshot
            .points()
            .filter(|point| matches!(point.value(), PointValue::Histogram(view) if view.count() > 0))
            .partition(|point| point.name() == SPAN_DURATIONS);
        let width = width("distributions", others.iter().chain(&spans).map(|point| row_name(*point)));
        self.distributions(f, "distributions", &others, width, &Errors::default())?;
        self.distributions(f, "spans", &spans, width, &errors_of(snapshot))?;
        let slowest = snapshot.slowest_spans();
        if !slowest.is_empty() {
            writeln!(f, "\nslowest spans")?;
            slowest.iter().take(SLOWEST).try_for_each(|span| span_line(f, span))?;
        }
        self.tail_sampling(f)?;
        self.ledger(f)
    }
}

impl Report<'_> {
    /// Writes counters with their rates, and gauges. Counters at zero are left out.
    fn totals(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.uptime().as_secs_f64();
        let mut rows = Vec::new();
        for point in self.0.points() {
            let (value, rate) = match point.value() {
                PointValue::Counter(0) | PointValue::Histogram(_) => continue,
                PointValue::Counter(total) => (grouped(*total), Some(*total as f64 / seconds)),
                PointValue::UpDownCounter(sum) => {
                    (format!("{}{}", if *sum < 0 { "-" } else { "" }, grouped(sum.unsigned_abs())), None)
                }
                PointValue::Gauge(value) => (with_unit(*value, point.unit()), None),
            };
            let rate = rate.filter(|rate| rate.is_finite()).map(|rate| match point.unit() {
                Unit::Bytes => format!("{}/s", with_unit(rate, Unit::Bytes)),
                Unit::Seconds | Unit::None => format!("{}/s", plain_number(rate)),
            });
            rows.push((MetricTitle(point).to_string(), value, rate.unwrap_or_default()));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let width = width("counters and gauges", rows.iter().map(|(name, ..)| name));
        writeln!(f, "\n{:<width$}  {:>15}{:>15}", "counters and gauges", "value", "rate")?;
        for (name, value, rate) in rows {
            writeln!(f, "{}", format!("  {name:<width$}{value:>15}{rate:>15}").trim_end())?;
        }
        Ok(())
    }

    /// Writes a table of histograms, with the errors of each row below it.
    fn distributions(
        &self,
        f: &mut Formatter<'_>,
        heading: &str,
        points: &[Point<'_>],
        width: usize,
        errors: &Errors<'_>,
    ) -> fmt::Result {
        if points.is_empty() {
            return Ok(());
        }
        let columns = ["p50", "p90", "p99", "p99.9", "max"].map(|column| format!("{column:>11}")).concat();
        writeln!(f, "\n{heading:<width$}  {:>15}{columns}", "count")?;
        for point in points {
            let PointValue::Histogram(view) = point.value() else { continue };
            write!(f, "  {:<width$}{:>15}", row_name(*point), grouped(view.count()))?;
            for value in [0.5, 0.9, 0.99, 0.999].map(|q| view.quantile(q)).into_iter().chain([view.max()]) {
                write!(f, "{:>11}", value.map_or(String::new(), |value| with_unit(value, point.unit())))?;
            }
            writeln!(f)?;
            if let Some(failed) = errors.get(&sorted_labels(*point)) {
                let share = 100.0 * *failed as f64 / view.count() as f64;
                writeln!(f, "    errors {failed} ({share:.2} %)")?;
            }
        }
        Ok(())
    }

    /// Writes the counts of tail sampling, if there are any.
    fn tail_sampling(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tail_sampling = self.0.tail_sampling();
        if *tail_sampling == TailSamplingStats::default() {
            return Ok(());
        }
        writeln!(f, "\ntail sampling{:>23}", "count")?;
        for (decision, reason, count) in tail_sampling.traces().filter(|(.., count)| *count > 0) {
            writeln!(f, "  {:<21}{:>13}", format!("{decision} {reason}"), grouped(count))?;
        }
        for (name, count) in [
            ("kept after drop", tail_sampling.reconsidered),
            ("traces held", tail_sampling.traces_held),
            ("spans kept", tail_sampling.spans_kept),
            ("spans dropped", tail_sampling.spans_dropped),
            ("spans held", tail_sampling.spans_held),
            ("spans above cap", tail_sampling.spans_above_cap),
            ("late spans kept", tail_sampling.late_kept),
            ("late spans dropped", tail_sampling.late_dropped),
        ] {
            if count > 0 {
                writeln!(f, "  {name:<21}{:>13}", grouped(count))?;
            }
        }
        Ok(())
    }

    /// Writes the ledger by kind and reason, and the figures of the pipeline.
    fn ledger(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (ledger, pipeline) = (self.0.ledger(), self.0.pipeline());
        writeln!(
            f,
            "\nledger{:>16}{:>16}{:>12}{:>12}{:>12}",
            "recorded", "aggregated", "dropped", "suppressed", "in flight"
        )?;
        for kind in Kind::ALL {
            let account = ledger.kind(kind);
            let columns = [account.dropped.total(), account.suppressed(), account.in_flight].map(grouped);
            write!(
                f,
                "  {:<6}{:>14}{:>16}",
                kind.name(),
                grouped(account.recorded),
                grouped(account.aggregated)
            )?;
            writeln!(f, "{}", columns.map(|column| format!("{column:>12}")).concat())?;
            for (reason, lost) in account.dropped.iter() {
                writeln!(f, "    dropped {} {}", reason.name(), grouped(lost))?;
            }
        }
        let exemplars = ledger.exemplars();
        if exemplars.offered > 0 {
            let [offered, kept, replaced, no_room] = exemplars.to_words().map(grouped);
            writeln!(
                f,
                "  exemplars {offered} offered, {kept} kept, {replaced} replaced, {no_room} did not fit"
            )?;
        }
        let remarks = [
            ("samples clamped to the highest value", ledger.clamped()),
            ("samples counted by power of two", ledger.coarse()),
            ("aggregator restarts", pipeline.restarts),
            ("log rotations failed", pipeline.log_rotations_failed),
            ("traceparents refused", pipeline.traceparents_refused),
            ("tracestates refused", pipeline.tracestates_refused),
            ("baggage members refused", pipeline.baggage_members_refused),
        ];
        for (name, count) in remarks.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "  {name} {}", grouped(count))?;
        }
        writeln!(
            f,
            "  switch {} after {} changes, {} lanes, {} allocated",
            pipeline.state.name(),
            pipeline.transitions,
            pipeline.lanes,
            with_unit(pipeline.bytes as f64, Unit::Bytes)
        )?;
        writeln!(f, "{ledger}")
    }
}

/// The number of failed spans by the labels that they share with their durations. The labels are sorted, since a saved
/// snapshot may have them in another order. This is a map because a look-up in the snapshot would go through all span
/// names.
type Errors<'a> = HashMap<Vec<(&'a str, &'a str)>, u64>;

fn errors_of(snapshot: &Snapshot) -> Errors<'_> {
    let failed = snapshot.points().filter(|point| point.name() == SPAN_ERRORS);
    failed
        .filter_map(|point| match point.value() {
            PointValue::Counter(failed) if *failed > 0 => Some((sorted_labels(point), *failed)),
            _ => None,
        })
        .collect()
}

fn sorted_labels(point: Point<'_>) -> Vec<(&str, &str)> {
    let mut labels: Vec<_> = point.labels().collect();
    labels.sort_unstable();
    labels
}

/// Writes a span in one line: duration, name, attributes.
fn span_line(f: &mut Formatter<'_>, span: &FinishedSpan) -> fmt::Result {
    let mut attributes = String::new();
    for (key, value) in &span.attributes {
        attributes.push(' ');
        escape::pair(key, value, &mut attributes);
    }
    let duration = with_unit(span.duration.as_secs_f64(), Unit::Seconds);
    writeln!(f, "  {duration:>10}  {}{attributes}", escape::Plain(&span.name))
}

/// Displays a series as `name{label="value"}`.
struct MetricTitle<'a>(Point<'a>);

impl Display for MetricTitle<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())?;
        let mut open = "{";
        for (name, value) in self.0.labels() {
            let mut quoted = String::new();
            escape::quoted(value, false, &mut quoted);
            write!(f, "{open}{name}={quoted}")?;
            open = ",";
        }
        f.write_str(if open == "," { "}" } else { "" })
    }
}

/// The name of a distribution's row: a span's name and kind for span durations, otherwise the series.
fn row_name(point: Point<'_>) -> String {
    match span_row(point) {
        Some(row) if point.name() == SPAN_DURATIONS => row,
        _ => MetricTitle(point).to_string(),
    }
}

/// The row name of span durations: `name` for internal spans, `name (kind)` for all others. No two rows are equal,
/// because an internal span whose own name ends in a parenthesis shows its kind, too.
fn span_row(point: Point<'_>) -> Option<String> {
    let [("span_kind", label), ("span_name", name)] = sorted_labels(point)[..] else { return None };
    let kind = SpanKind::ALL.into_iter().find(|kind| kind.label() == label)?;
    let name = escape::Plain(name).to_string();
    Some(if kind == SpanKind::Internal && !name.ends_with(')') {
        name
    } else {
        format!("{name} ({})", kind.name())
    })
}

/// Formats a number with a comma between each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The width of a section's column of names. Names above the cap are not considered, so they do not widen the other
/// rows.
fn width(heading: &str, names: impl Iterator<Item = impl AsRef<str>>) -> usize {
    let cap = if planted(Bug::WideColumn) { usize::MAX } else { NAME_COLUMNS };
    let columns = names.map(|name| name.as_ref().chars().count()).filter(|columns| *columns <= cap);
    columns.chain([heading.len()]).max().unwrap_or(0)
}

/// Formats a value with its unit, scaled to seconds down to nanoseconds or bytes up to TiB.
fn with_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => {
            let units = [(1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns")];
            let fits = units.into_iter().find(|(scale, _)| value.abs() * scale >= 1.0);
            let (scale, name) = fits.unwrap_or(if value == 0.0 { units[0] } else { units[3] });
            format!("{} {name}", plain_number(value * scale))
        }
        Unit::Bytes => {
            let power = (value.abs().max(1.0).log2() / 10.0).floor().clamp(0.0, 4.0);
            let name = ["B", "KiB", "MiB", "GiB", "TiB"][power as usize];
            format!("{} {name}", plain_number(value / 1024_f64.powf(power)))
        }
        Unit::None => plain_number(value),
    }
}

/// Formats whole numbers as they are, and others to three digits.
fn plain_number(value: f64) -> String {
    let magnitude = value.abs();
    let whole = magnitude.round();
    if magnitude < 1e15 && (magnitude >= 100.0 || (magnitude - whole).abs() < 1e-9) {
        return format!("{}{}", if value < 0.0 { "-" } else { "" }, grouped(whole as u64));
    }
    if (1.0..100.0).contains(&magnitude) {
        return format!("{value:.*}", if magnitude >= 10.0 { 1 } else { 2 });
    }
    format!("{value:.3}")
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        for (value, unit, text) in [
            (0.0, Unit::Seconds, "0 s"),
            (0.4e-9, Unit::Seconds, "0.400 ns"),
            (17e-9, Unit::Seconds, "17 ns"),
            (1.234e-6, Unit::Seconds, "1.23 µs"),
            (0.0456, Unit::Seconds, "45.6 ms"),
            (7_200.0, Unit::Seconds, "7,200 s"),
            (0.0, Unit::Bytes, "0 B"),
            (1_023.0, Unit::Bytes, "1,023 B"),
            (1_536.0, Unit::Bytes, "1.50 KiB"),
            (3.0 * 1024_f64.powi(5), Unit::Bytes, "3,072 TiB"),
            (1_234_567.0, Unit::None, "1,234,567"),
            (-2_500.4, Unit::None, "-2,500"),
            (-0.25, Unit::None, "-0.250"),
            (21.5, Unit::None, "21.5"),
            (f64::NAN, Unit::None, "NaN"),
            (f64::INFINITY, Unit::Bytes, "inf TiB"),
        ] {
            assert_eq!(with_unit(value, unit), text);
        }
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let (clock, time) = crate::Clock::mock();
        let telemetry = crate::Telemetry::builder("shop").clock(clock).start().unwrap();
        time.advance(std::time::Duration::from_secs(1)); // a rate needs a span of time
        let labelled = telemetry.counter("requests_total").label("route", "/a/quite/long/route/of/ours");
        labelled.register().unwrap().add(1_000);
        telemetry.gauge("heat_celsius").register().unwrap().set(-21.5);
        telemetry.timer("wait").register().unwrap().record(std::time::Duration::from_millis(3));
        telemetry.tracer().span("order").end();
        let report = Report(&telemetry.snapshot(std::time::Duration::from_secs(5)).unwrap()).to_string();
        let columns = |row: &str| {
            let line = report.lines().find(|line| line.trim_start().starts_with(row)).unwrap();
            line.chars().count()
        };
        let rate = "           rate".len();
        assert_eq!(columns("heat_celsius"), columns("counters and gauges") - rate);
        assert_eq!(columns("requests_total"), columns("counters and gauges"));
        for row in ["wait_seconds", "spans", "order"] {
            assert_eq!(columns(row), columns("distributions"), "{row} in {report}");
        }
    }
}
