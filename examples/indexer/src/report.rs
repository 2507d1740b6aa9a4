//! The printed report: contents of the index, speed, cost of the telemetry. Tellane's own report follows it.

use crate::index::Frequency;
use crate::{Options, Pass, Results};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use tellane::{PointValue, Snapshot};

/// Totals of the program's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
    pub(crate) postings: u64,
}

impl Totals {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let sum = |name| {
            let points = snapshot.points().filter(|point| point.name() == name);
            let counts = points.filter_map(|point| match point.value() {
                PointValue::Counter(count) => Some(*count),
                _ => None,
            });
            counts.sum()
        };
        Self {
            files: sum("index_files_total"),
            bytes: sum("index_read_bytes_total"),
            tokens: sum("index_tokens_total"),
            postings: sum("index_postings_total"),
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            files: self.files.saturating_sub(before.files),
            bytes: self.bytes.saturating_sub(before.bytes),
            tokens: self.tokens.saturating_sub(before.tokens),
            postings: self.postings.saturating_sub(before.postings),
        }
    }
}

/// The last line, after the ledger. It explains the suppressed records, which are about half of all, since half of the
/// passes ran with telemetry off: nothing was lost.
#[derive(Debug)]
pub(crate) struct Suppressed {
    /// Records of the passes with telemetry off.
    pub(crate) by_passes: u64,
    /// All suppressed records.
    pub(crate) total: u64,
}

impl Display for Suppressed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let passes = grouped(self.by_passes);
        write!(f, "suppressed: {passes} records of the passes with telemetry off, as intended")?;
        match self.total.saturating_sub(self.by_passes) {
            0 => Ok(()),
            others => write!(f, "; {} more because tellane switched itself off", grouped(others)),
        }
    }
}

/// Number of traces shown.
const SLOWEST: usize = 3;

/// The report, without tellane's part.
pub(crate) struct Findings<'a> {
    pub(crate) options: &'a Options,
    pub(crate) results: &'a Results,
    pub(crate) snapshot: &'a Snapshot,
}

impl Display for Findings<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.found(f)?;
        self.frequent(f, &self.results.frequent)?;
        self.rates(f)?;
        self.cost(f)?;
        self.slowest(f)?;
        writeln!(f, "\ntellane's report on all {} passes, including the warm-up:", self.results.all_passes())
    }
}

impl Findings<'_> {
    fn found(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let totals = &self.results.totals;
        writeln!(f, "index of {}", self.options.root.display())?;
        writeln!(
            f,
            "  {} files, {:.1} MiB, {} words, {} of them distinct",
            grouped(totals.files),
            mib(totals.bytes),
            grouped(totals.tokens),
            grouped(self.results.words as u64)
        )?;
        let passes = self.results.all_passes();
        let outcomes = ["binary", "not_utf8", "unreadable"].map(|outcome| {
            let files =
                self.snapshot.counter("index_files_total", &[("outcome", outcome)]).unwrap_or(0) / passes;
            (outcome.replace("not_utf8", "not UTF-8"), files)
        });
        let left_out: Vec<_> = outcomes
            .iter()
            .filter(|(_, files)| *files > 0)
            .map(|(outcome, files)| format!("{} {outcome}", grouped(*files)))
            .collect();
        if !left_out.is_empty() {
            writeln!(f, "  not indexed: {}", left_out.join(", "))?;
        }
        if self.results.bounded {
            let mib = self.options.max_bytes >> 20;
            writeln!(f, "  stopped at the limit of {mib} MiB; set another with --max-mib")?;
        }
        if self.results.changed {
            writeln!(f, "  files changed during the run, so the passes are not fully comparable")?;
        }
        Ok(())
    }

    fn frequent(&self, f: &mut Formatter<'_>, frequent: &[Frequency]) -> fmt::Result {
        writeln!(f, "\n{:<24}{:>14}{:>10}", "most frequent words", "occurrences", "files")?;
        for Frequency { word, occurrences, files } in frequent {
            writeln!(f, "  {word:<22}{:>14}{:>10}", grouped(*occurrences), grouped(*files as u64))?;
        }
        Ok(())
    }

    fn rates(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Results { totals, on, .. } = self.results;
        let seconds = median(on).as_secs_f64();
        let threads = self.options.threads;
        writeln!(f, "\nspeed with telemetry on, {threads} indexing threads")?;
        for (what, rate) in [
            ("files", grouped((totals.files as f64 / seconds) as u64)),
            ("MiB", format!("{:.1}", mib(totals.bytes) / seconds)),
            ("words", grouped((totals.tokens as f64 / seconds) as u64)),
            ("insertions", grouped((totals.postings as f64 / seconds) as u64)),
            ("records", grouped((self.records() as f64 / seconds) as u64)),
        ] {
            writeln!(f, "  {what:<22}{rate:>14}/s")?;
        }
        Ok(())
    }

    /// Samples and spans of one pass.
    fn records(&self) -> u64 {
        self.results.on.last().map_or(0, |pass| pass.records)
    }

    fn cost(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Results { on, off, .. } = self.results;
        writeln!(f, "\n{:<24}{:>14}{:>14}{:>14}", "cost of telemetry", "telemetry off", "on", "difference")?;
        let middle = format!("median of {}", on.len());
        for (name, pick) in
            [("fastest", fastest as fn(&[Pass]) -> _), (&middle, median), ("slowest", slowest)]
        {
            let (off, on) = (pick(off).as_secs_f64(), pick(on).as_secs_f64());
            writeln!(f, "  {name:<22}{off:>12.3} s{on:>12.3} s{:>+12.1} %", 100.0 * (on - off) / off)?;
        }
        let more = median(on).as_secs_f64() - median(off).as_secs_f64();
        let nanos = 1e9 * more * self.options.threads as f64 / self.records().max(1) as f64;
        let records = grouped(self.records());
        writeln!(f, "  {records} samples and spans per pass, {nanos:+.1} ns of CPU time for each")?;
        // If equal passes differ by more than that, the difference is noise of the machine, not the cost of telemetry.
        if more.abs() < (median(off) - fastest(off)).as_secs_f64() {
            writeln!(
                f,
                "  within the noise: passes with telemetry off differ by more than that from each other"
            )?;
        }
        writeln!(
            f,
            "  off: samples and spans are skipped and counted as suppressed; counters and gauges still count"
        )
    }
}

impl Findings<'_> {
    /// Prints the slowest traces: files, with the spans of their processing.
    fn slowest(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let traces = self.snapshot.slowest_traces();
        if traces.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nslowest traces")?;
        for trace in traces.iter().take(SLOWEST) {
            trace.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

fn sorted(passes: &[Pass]) -> Vec<Duration> {
    let mut times: Vec<_> = passes.iter().map(|pass| pass.elapsed).collect();
    times.sort();
    times
}

fn median(passes: &[Pass]) -> Duration {
    let times = sorted(passes);
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2
}

fn fastest(passes: &[Pass]) -> Duration {
    sorted(passes)[0]
}

fn slowest(passes: &[Pass]) -> Duration {
    sorted(passes)[passes.len() - 1]
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
