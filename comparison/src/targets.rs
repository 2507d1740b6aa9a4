//! The targets, all in this one place, and whether a run met them. Cold.
//!
//! Source: the table "The targets" of the issue "Speed: ahead of every peer and close to the floor, measured side by
//! side" (number 4). Its figures are medians of 2026-11-23, empty loop of 0.6 ns included; what it says of floors and
//! peers is repeated here word for word. One line there may be several here. Polls and log calls are from the issue
//! "Tracing in full" (number 3), section "Speed".

use crate::report::push;
use crate::run::{Case, FLOOR, Run};
use crate::subject;

/// What tellane may take at most, or must reach at least.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// Nanoseconds a call at most.
    Nanos(f64),
    /// Millions of records a second at least.
    Millions(f64),
    /// So many times that peer's rate in the same run, at least, and none lost.
    TimesPeer(f64, &'static str),
    /// Nanoseconds of processor time a record at most, on all threads but the caller's.
    Background(f64),
}

struct Target {
    case: &'static str,
    subject: &'static str,
    /// What the floor took as the target was set.
    floor_then: &'static str,
    /// What the best peers took then.
    peers_then: &'static str,
    /// The floor's row in the same run: subject and name.
    floor: Option<(&'static str, &'static str)>,
    most: Bound,
}

const RING_4: Option<(&str, &str)> = Some((subject::SPAN_CHILD, "2 raw clock readings, 4 words into a ring"));
const SPAN_PEERS: &str = "34 (Tracy); 60 (micromegas); 79 (fastrace)";
/// Growth that still counts as none, in KiB: tables and rings that are touched for the first time.
const FLAT: i64 = 4 << 10;

#[rustfmt::skip] // a table
const TARGETS: [Target; 25] = [
    Target { case: "counter add, 1 thread", subject: subject::COUNTER, floor_then: "0.9", peers_then: "2.6 (prometheus)",
        floor: Some((subject::COUNTER, "thread-local add, one writer")), most: Bound::Nanos(1.3) },
    Target { case: "counter add, 2 threads, same counter", subject: subject::COUNTER_2T, floor_then: "0.9", peers_then: "2.6 (contatori, sharded); 33 (shared atomics)",
        floor: Some((subject::COUNTER_2T, "thread-local add, one writer")), most: Bound::Nanos(1.4) },
    Target { case: "counter, 2 dynamic string labels, 100 series, 1 thread", subject: subject::LABELS, floor_then: "", peers_then: "31 (fastmetrics)",
        floor: None, most: Bound::Nanos(12.0) },
    Target { case: "the same, 2 threads", subject: subject::LABELS_2T, floor_then: "", peers_then: "46 (fastmetrics)",
        floor: None, most: Bound::Nanos(13.0) },
    Target { case: "counter, labels as enums, 1 thread", subject: subject::ENUMS, floor_then: "", peers_then: "7.2 (measured)",
        floor: None, most: Bound::Nanos(3.0) },
    Target { case: "the same, 2 threads", subject: subject::ENUMS_2T, floor_then: "", peers_then: "15 (measured)",
        floor: None, most: Bound::Nanos(3.0) },
    Target { case: "histogram record, 1 thread", subject: subject::HISTOGRAM, floor_then: "2.9-3.4", peers_then: "4.9 (metriken)",
        floor: Some((subject::HISTOGRAM, "log-linear index, thread-local add")), most: Bound::Nanos(3.2) },
    Target { case: "the same, 2 threads", subject: subject::HISTOGRAM_2T, floor_then: "3.1-3.5", peers_then: "5.5 (metriken)",
        floor: Some((subject::HISTOGRAM_2T, "log-linear index, thread-local add")), most: Bound::Nanos(3.5) },
    Target { case: "timer start..stop..record", subject: subject::TIMER, floor_then: "32.9", peers_then: "37 (hdrhistogram + quanta raw)",
        floor: Some((subject::TIMER, "2 raw clock readings, index, add, sum")), most: Bound::Nanos(33.0) },
    Target { case: "span, no attributes, root", subject: subject::SPAN_ROOT, floor_then: "23.4", peers_then: SPAN_PEERS,
        floor: Some((subject::SPAN_ROOT, "2 raw clock readings, 7 words into a ring")), most: Bound::Nanos(27.0) },
    Target { case: "span, no attributes, child", subject: subject::SPAN_CHILD, floor_then: "23.4", peers_then: SPAN_PEERS,
        floor: RING_4, most: Bound::Nanos(27.0) },
    Target { case: "span, no attributes, tree of 100, per span", subject: subject::SPAN_TREE, floor_then: "23.4", peers_then: SPAN_PEERS,
        floor: RING_4, most: Bound::Nanos(27.0) },
    Target { case: "span with 2 attributes", subject: subject::SPAN_ATTRIBUTES, floor_then: "", peers_then: "55 (Tracy); 103 (puffin); 150 (fastrace)",
        floor: Some((subject::SPAN_ATTRIBUTES, "2 raw clock readings, 8 words into a ring")), most: Bound::Nanos(33.0) },
    // The issue says "the same" below the line with attributes, with less time than that one has: read as no attributes.
    Target { case: "span, no attributes, 2 threads", subject: subject::SPAN_CHILD_2T, floor_then: "", peers_then: "58 (Tracy)",
        floor: Some((subject::SPAN_CHILD_2T, "2 raw clock readings, 4 words into a ring")), most: Bound::Nanos(29.0) },
    Target { case: "span not sampled (duration still counted)", subject: subject::SPAN_UNSAMPLED, floor_then: "23.4", peers_then: "",
        floor: RING_4, most: Bound::Nanos(26.0) },
    Target { case: "switched off or not installed: any call", subject: subject::OFF, floor_then: "0.6", peers_then: "5.2 (tracing, no subscriber); 12 (fastrace, no root)",
        floor: Some((subject::BASELINE, "relaxed load")), most: Bound::Nanos(1.5) },
    Target { case: "async poll in a span, the bare poll included", subject: subject::ASYNC_POLL, floor_then: "", peers_then: "",
        floor: None, most: Bound::Nanos(10.6) },
    Target { case: "log call, 2 fields, on the caller", subject: subject::LOG, floor_then: "", peers_then: "",
        floor: None, most: Bound::Nanos(40.0) },
    Target { case: "log call, level disabled, the empty loop included", subject: subject::LOG_DISABLED, floor_then: "", peers_then: "",
        floor: None, most: Bound::Nanos(2.1) },
    Target { case: "flat-out histogram, 1 thread, lossless, memory flat", subject: subject::FLAT_OUT_HISTOGRAM, floor_then: "290-388 M/s", peers_then: "209-269 M/s, lossless (metriken)",
        floor: Some((subject::FLAT_OUT_HISTOGRAM, "log-linear index, thread-local add")), most: Bound::TimesPeer(1.1, "metriken") },
    Target { case: "flat-out spans, 1 thread, durations exact, memory flat", subject: subject::FLAT_OUT_SPANS, floor_then: "41 M/s", peers_then: "28-36 M/s (micromegas, whose sink drops its blocks); 26-32 M/s (Tracy, memory grows); 4.5 M/s and 20-50 % lost uncounted (fastrace)",
        floor: Some((subject::FLAT_OUT_SPANS, "2 raw clock readings, 7 words, nobody drains")), most: Bound::Millions(33.0) },
    Target { case: "drain of samples, one core", subject: subject::DRAIN_SAMPLES, floor_then: "", peers_then: "", floor: None, most: Bound::Millions(150.0) },
    Target { case: "drain of spans into RED metrics, one core", subject: subject::DRAIN_SPANS, floor_then: "", peers_then: "", floor: None, most: Bound::Millions(25.0) },
    Target { case: "snapshot + text of 10,000 counters", subject: subject::SCRAPE_COUNTERS, floor_then: "", peers_then: "0.74-1.3 ms (measured)",
        floor: None, most: Bound::Nanos(700_000.0) },
    Target { case: "snapshot + text of 1,000 histograms (11 buckets)", subject: subject::SCRAPE_HISTOGRAMS, floor_then: "", peers_then: "1.2-1.9 ms (fastmetrics)",
        floor: None, most: Bound::Nanos(1_100_000.0) },
];

#[rustfmt::skip] // a table
const BACKGROUND: [Target; 2] = [
    Target { case: "background CPU per histogram record", subject: subject::FLAT_OUT_HISTOGRAM, floor_then: "", peers_then: "0.1 (metriken), 8-98 (metrics-rs)",
        floor: None, most: Bound::Background(4.0) },
    Target { case: "background CPU per span", subject: subject::FLAT_OUT_SPANS, floor_then: "", peers_then: "31-36 (Tracy), 160-360 (fastrace)",
        floor: None, most: Bound::Background(25.0) },
];

/// A figure of the run, smaller is better or larger is better as the bound has it.
struct Measured<'run> {
    case: &'run Case,
    value: f64,
    /// What else the target asks: nothing lost, memory flat.
    is_whole: bool,
}

impl Bound {
    fn is_rate(self) -> bool {
        matches!(self, Self::Millions(_) | Self::TimesPeer(..))
    }

    /// All that the run measured of a subject in the bound's unit, the best first.
    fn of<'run>(self, run: &'run Run, subject: &str) -> Vec<Measured<'run>> {
        if let Self::Nanos(_) = self {
            let rows = run.rows_of(subject);
            return rows
                .iter()
                .map(|row| Measured { case: &row.case, value: row.median, is_whole: true })
                .collect();
        }
        let is_lossless = |lost: u64| lost == 0 || !matches!(self, Self::TimesPeer(..));
        let mut all: Vec<_> = run
            .rates_of(subject)
            .iter()
            .map(|rate| Measured {
                case: &rate.case,
                value: if self.is_rate() { rate.millions } else { rate.background },
                is_whole: !self.is_rate() || (is_lossless(rate.lost) && rate.grew <= FLAT),
            })
            .collect();
        if !self.is_rate() {
            all.sort_by(|left, right| left.value.total_cmp(&right.value));
        }
        all
    }

    /// The limit, in the unit of what is measured; `None` if it hangs on a peer that this run did not measure.
    fn limit(self, all: &[Measured<'_>]) -> Option<f64> {
        match self {
            Self::Nanos(limit) | Self::Millions(limit) | Self::Background(limit) => Some(limit),
            Self::TimesPeer(times, name) => all
                .iter()
                .find(|one| one.case.peer == name && one.case.is_rival())
                .map(|one| times * one.value),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Nanos(_) if value > 100_000.0 => format!("{:.2} ms", value / 1e6),
            Self::Nanos(_) | Self::Background(_) if value < 100.0 => format!("{value:.2}"),
            Self::Nanos(_) | Self::Background(_) => format!("{value:.0}"),
            Self::Millions(_) | Self::TimesPeer(..) => format!("{value:.0} M/s"),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Nanos(limit) if limit > 100_000.0 => format!("{} ms", limit / 1e6),
            Self::Nanos(limit) | Self::Background(limit) => format!("{limit}"),
            Self::Millions(limit) => format!("at least {limit} M/s"),
            Self::TimesPeer(times, name) => format!("at least {times} times {name}"),
        }
    }
}

/// The table, and how many lines of it are met. One line for each way that tellane has to do the thing.
pub(crate) fn table(run: &Run) -> String {
    let (mut lines, mut met, mut missed, mut open) = (String::new(), 0, 0, 0);
    for target in TARGETS.iter().chain(&BACKGROUND) {
        let all = target.most.of(run, target.subject);
        let (then, peers_then, most) =
            (or_dash(target.floor_then), or_dash(target.peers_then), target.most.words());
        let set = format!("| {} | {then} | {peers_then} | {most}", target.case);
        let limit = target.most.limit(&all);
        let mut is_measured = false;
        for ours in all.iter().filter(|one| one.case.is_ours()) {
            let Some(limit) = limit else { break };
            is_measured = true;
            // A rate must be above its limit, a time below.
            let is_near = if target.most.is_rate() { ours.value >= limit } else { ours.value <= limit };
            let is_met = is_near && ours.is_whole;
            *(if is_met { &mut met } else { &mut missed }) += 1;
            let floor = floor(target, run).map(|value| beside(target.most, ours.value, value));
            let best = all.iter().find(|one| one.case.is_rival());
            let best =
                best.map(|one| format!("{}, {}", beside(target.most, ours.value, one.value), one.case.peer));
            let (how, value) = (&ours.case.how, target.most.show(ours.value));
            let (floor, best) = (floor.unwrap_or_else(|| "-".into()), best.unwrap_or_else(|| "-".into()));
            let verdict = match (is_met, is_near) {
                (true, _) => "met",
                (false, true) => "**missed**: lost records, or memory that grew",
                (false, false) => "**missed**",
            };
            push(&mut lines, format_args!("{set} | {how} | {value} | {floor} | {best} | {verdict} |\n"));
        }
        if !is_measured {
            open += 1;
            push(&mut lines, format_args!("{set} | | | | | not measured in this run |\n"));
        }
    }
    let open = if open == 0 { String::new() } else { format!(", {open} not measured") };
    format!(
        "{met} met, {missed} missed{open}. Times in ns a call. In brackets: how many times as long as the floor and the \
         best peer of this run (rates: how many times less) tellane takes.\n\n\
         | target | floor then | best peers then | tellane at most | by | now | floor now | best peer now | |\n\
         |---|---|---|---|---|---:|---:|---:|---|\n{lines}"
    )
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// What the floor came to in this run.
fn floor(target: &Target, run: &Run) -> Option<f64> {
    let (subject, how) = target.floor?;
    let mut floors = target.most.of(run, subject);
    floors.retain(|one| one.case.peer == FLOOR);
    let found = floors.iter().find(|one| one.case.how == how).map(|one| one.value);
    assert!(found.is_some() || floors.is_empty(), "no floor of {subject} is called {how} any more");
    found
}

/// Another's figure, and our ratio to it.
fn beside(bound: Bound, ours: f64, other: f64) -> String {
    let ratio = if bound.is_rate() { other / ours } else { ours / other };
    format!("{} ({ratio:.2})", bound.show(other))
}
