//! A snapshot for people: totals and rates, percentiles, slowest spans, the ledger.

use crate::series::Unit;
use crate::snapshot::{FinishedSpan, HistogramView, Point, PointValue, Snapshot};
use crate::stats::Kind;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A plain text report of a snapshot, by `Display`. Its last line is the ledger's.
///
/// ```
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.histogram("basket_items").register()?.record(3);
/// let report = tellane::Report(&*telemetry.snapshot(std::time::Duration::from_secs(1))?).to_string();
/// assert!(report.contains("basket_items"));
/// assert!(report.ends_with("ledger recorded=1 aggregated=1 dropped=0 suppressed=0 in_flight=0\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(pub &'a Snapshot);

/// Slowest spans shown.
const SLOWEST: usize = 5;

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let snapshot = self.0;
        writeln!(f, "{} after {:.1?}", Shown(snapshot.service()), snapshot.uptime())?;
        self.totals(f)?;
        self.distributions(f)?;
        let slowest = snapshot.slowest_spans();
        if !slowest.is_empty() {
            writeln!(f, "\nslowest spans")?;
            slowest.iter().take(SLOWEST).try_for_each(|span| span_line(f, span))?;
        }
        self.ledger(f)
    }
}

impl Report<'_> {
    fn totals(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.uptime().as_secs_f64();
        let mut heading = "\ncounters and gauges\n";
        for point in self.0.points() {
            let (value, rate) = match point.value() {
                PointValue::Counter(0) => continue,
                PointValue::Counter(total) => (grouped(*total), Some(*total as f64 / seconds)),
                PointValue::UpDownCounter(sum) => (sum.to_string(), None),
                PointValue::Gauge(value) => (value.to_string(), None),
                PointValue::Histogram(_) => continue,
            };
            write!(f, "{heading}  {:<52} {value:>16}", Name(point).to_string())?;
            heading = "";
            match rate.filter(|rate| rate.is_finite()) {
                Some(rate) => writeln!(f, "  {:>14}/s", grouped(rate as u64))?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }

    fn distributions(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut heading = true;
        for point in self.0.points() {
            let PointValue::Histogram(view) = point.value() else { continue };
            if view.count() == 0 {
                continue;
            }
            if std::mem::take(&mut heading) {
                let columns = ["count", "p50", "p90", "p99", "p99.9", "max"];
                writeln!(
                    f,
                    "\n{:<54}{}",
                    "distributions",
                    columns.map(|column| format!("{column:>12}")).concat()
                )?;
            }
            write!(f, "  {:<52}{:>12}", Name(point).to_string(), grouped(view.count()))?;
            for value in [0.5, 0.9, 0.99, 0.999].map(|q| view.quantile(q)).into_iter().chain([view.max()]) {
                write!(f, "{:>12}", value.map_or(String::new(), |value| shown(value, point.unit())))?;
            }
            writeln!(f)?;
            self.errors(f, point, view)?;
        }
        Ok(())
    }

    /// Below a span's durations: how many of them failed.
    fn errors(&self, f: &mut Formatter<'_>, point: Point<'_>, view: &HistogramView) -> fmt::Result {
        let Some((_, name)) = point.labels().find(|(label, _)| *label == "span_name") else { return Ok(()) };
        match self.0.counter("traces_span_metrics_errors_total", &[("span_name", name)]) {
            Some(errors) if errors > 0 => {
                writeln!(f, "    errors {errors} ({:.2} %)", 100.0 * errors as f64 / view.count() as f64)
            }
            _ => Ok(()),
        }
    }

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
        let remarks =
            [("clamped", ledger.clamped()), ("coarse", ledger.coarse()), ("restarts", pipeline.restarts)];
        for (name, count) in remarks.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "  {name} {}", grouped(count))?;
        }
        writeln!(
            f,
            "  switch {} after {} changes, {} lanes, {} set aside",
            pipeline.state.name(),
            pipeline.transitions,
            pipeline.lanes,
            shown(pipeline.bytes as f64, Unit::Bytes)
        )?;
        writeln!(f, "{ledger}")
    }
}

fn span_line(f: &mut Formatter<'_>, span: &FinishedSpan) -> fmt::Result {
    write!(f, "  {:>10}  {}", format!("{:.2?}", span.duration), Shown(&span.name))?;
    for (key, value) in &span.attributes {
        write!(f, " {}={}", Shown(key), Shown(&value.to_string()))?;
    }
    writeln!(f)
}

/// A series as `name{label="value"}`.
struct Name<'a>(Point<'a>);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())?;
        let mut open = "{";
        for (name, value) in self.0.labels() {
            write!(f, "{open}{name}=\"{}\"", Shown(value))?;
            open = ",";
        }
        f.write_str(if open == "," { "}" } else { "" })
    }
}

/// Text from elsewhere on one line: control characters cannot forge another, nor colour the terminal.
struct Shown<'a>(&'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| {
            if letter.is_control() { write!(f, "{}", letter.escape_default()) } else { write!(f, "{letter}") }
        })
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => format!("{:.2?}", Duration::from_secs_f64(value.max(0.0))),
        Unit::Bytes => {
            let power = (value.max(1.0).log2() / 10.0).floor().clamp(0.0, 4.0);
            format!(
                "{:.1} {}",
                value / 1024_f64.powf(power),
                ["B", "KiB", "MiB", "GiB", "TiB"][power as usize]
            )
        }
        Unit::None => format!("{value}"),
    }
}
