//! Whether a run met the targets, line by line: the limit, the ratio to the floor, the ratio to the peer that the target
//! names. Cold.
//!
//! The limit is a figure of one day's machine. The ratios it stood for then are asked of any machine: limit to floor,
//! limit to peer, with floor and peer measured in the same run as tellane.

use crate::run::{Case, FLOOR, Run};
use crate::targets::{Bound, TARGETS, Target, Then};

/// Growth that still counts as none, in KiB: tables and rings that are touched for the first time.
const FLAT: i64 = 4 << 10;
/// Processor time in the background, in ns a record, below which it is none: in ratios it counts as this much. The issue
/// has no finer figures, and what is below comes from whatever thread woke up meanwhile.
const NONE: f64 = 0.1;
/// What a cell says where a row or a rate is wanted that the run has not. `ci/comparison.sh` looks for it.
const MISSING: &str = "not measured in this run";

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

    /// The limit where the named peer has this figure; `None` if it hangs on a peer that has none.
    fn limit(self, peer: Option<f64>) -> Option<f64> {
        match self {
            Self::Nanos(limit) | Self::Millions(limit) | Self::Background(limit) => Some(limit),
            Self::TimesPeer(times) => peer.map(|peer| times * peer),
        }
    }

    /// How many times as long as the other, or how many times less a second: more is worse.
    fn ratio(self, ours: f64, other: f64) -> f64 {
        match self {
            Self::Nanos(_) => ours / other,
            Self::Millions(_) | Self::TimesPeer(_) => other / ours,
            Self::Background(_) => ours.max(NONE) / other.max(NONE),
        }
    }

    /// A ratio, and what it is to: multiplied, or for a rate divided, they give tellane's figure.
    fn show_ratio(self, ratio: f64, to: &str) -> String {
        // A third digit below 1: there it may be what decides.
        let ratio = if ratio < 1.0 { format!("{ratio:.3}") } else { format!("{ratio:.2}") };
        if self.is_rate() { format!("{to} / {ratio}") } else { format!("{ratio} x {to}") }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Nanos(_) if value > 100_000.0 => format!("{:.2} ms", value / 1e6),
            Self::Background(_) if value < NONE => format!("under {NONE}"),
            Self::Nanos(_) | Self::Background(_) if value < 100.0 => format!("{value:.2}"),
            Self::Nanos(_) | Self::Background(_) => format!("{value:.0}"),
            Self::Millions(_) | Self::TimesPeer(..) => format!("{value:.0} M/s"),
        }
    }

    fn show_then(self, then: Then) -> String {
        let (scale, unit) = match self {
            Self::Nanos(_) if then.from > 100_000.0 => (1e-6, " ms"),
            Self::Nanos(_) | Self::Background(_) => (1.0, ""),
            Self::Millions(_) | Self::TimesPeer(..) => (1.0, " M/s"),
        };
        // To three digits: 0.74 times a million and back is not 0.74.
        let figure = |value: f64| ((value * scale * 1e3).round() / 1e3).to_string();
        let (from, to) = (figure(then.from), figure(then.to));
        if from == to { format!("{from}{unit}") } else { format!("{from}-{to}{unit}") }
    }

    fn words(self, target: &Target) -> String {
        match self {
            Self::Nanos(limit) | Self::Background(limit) => self.show_then(Then { from: limit, to: limit }),
            Self::Millions(limit) => format!("at least {limit} M/s"),
            Self::TimesPeer(times) => {
                format!("at least {times} times {}", target.peer.map_or("", |peer| peer.name))
            }
        }
    }
}

impl Target {
    /// The ratio that its limit stood for when it was set.
    fn asked(&self, then: Then) -> f64 {
        let limit = self.most.limit(self.peer.map(|peer| peer.then.middle()));
        self.most.ratio(limit.expect("such a bound names its peer"), then.middle())
    }
}

/// How many lines of the table are fulfilled, how many not, and how many cannot be told.
#[derive(Default)]
struct Count {
    good: usize,
    bad: usize,
    open: usize,
}

impl Count {
    fn take(&mut self, is_good: Option<bool>) {
        *match is_good {
            Some(true) => &mut self.good,
            Some(false) => &mut self.bad,
            None => &mut self.open,
        } += 1;
    }

    fn words(&self, good: &str, bad: &str) -> String {
        let Self { good: goods, bad: bads, open } = self;
        let open = if *open == 0 { String::new() } else { format!(", {open} not measured") };
        format!("{goods} {good}, {bads} {bad}{open}")
    }
}

/// A floor or a peer that a target names.
struct Other {
    then: Option<Then>,
    /// Its figure in this run.
    now: Option<f64>,
    /// Its name in brackets, if it wants one.
    name: String,
}

impl Other {
    /// The two cells of our ratio to it: what was asked, and what it is; and whether it is held.
    fn cells(&self, target: &Target, ours: Option<f64>) -> (String, Asked) {
        let bound = target.most;
        let most = self.then.map(|then| target.asked(then));
        let ratio = ours.zip(self.now).map(|(ours, now)| bound.ratio(ours, now));
        let is_held = most.map(|most| ratio.map(|ratio| ratio <= most));
        let asked = most.zip(self.then).map_or_else(
            || "-".to_owned(),
            |(most, then)| bound.show_ratio(most, &(bound.show_then(then) + &self.name)),
        );
        let verdict = match is_held.flatten() {
            Some(true) => ", held",
            Some(false) => ", **not held**",
            None => "",
        };
        let now = ratio.zip(self.now).map_or_else(
            || MISSING.to_owned(),
            |(ratio, now)| bound.show_ratio(ratio, &bound.show(now)) + verdict,
        );
        (format!("{asked} | {now}"), is_held)
    }
}

/// Whether what is asked is held, if anything is asked, and if it can be told.
type Asked = Option<Option<bool>>;

/// One way that tellane has to do what a target is about, or none.
struct Line {
    text: String,
    limit: Option<bool>,
    floor: Asked,
    peer: Asked,
}

/// The lines of a target: one for each way that tellane has to do the thing; where it has none, one that says so.
fn lines(target: &Target, run: &Run) -> Vec<Line> {
    let all = target.most.of(run, target.subject);
    let floor = target.floor.map(|floor| {
        let there = target.most.of(run, floor.subject);
        let found = there.iter().find(|one| one.case.peer == FLOOR && one.case.how == floor.how);
        Other { then: floor.then, now: found.map(|one| one.value), name: String::new() }
    });
    let peer = target.peer.map(|peer| {
        let found = all.iter().find(|one| one.case.peer == peer.name && one.case.is_rival());
        let name = format!(" ({})", peer.name);
        Other { then: Some(peer.then), now: found.map(|one| one.value), name }
    });
    let best = all.iter().find(|one| one.case.is_rival());
    let limit = target.most.limit(peer.as_ref().and_then(|peer| peer.now));
    let ours: Vec<_> = all.iter().filter(|one| one.case.is_ours()).collect();
    let ours = ours.iter().copied().map(Some).chain(ours.is_empty().then_some(None));
    let line = |ours: Option<&Measured<'_>>| {
        let value = ours.map(|ours| ours.value);
        // A rate must be above its limit, a time below.
        let is_near = value
            .zip(limit)
            .map(|(value, limit)| if target.most.is_rate() { value >= limit } else { value <= limit });
        let is_whole = ours.is_none_or(|ours| ours.is_whole);
        let verdict = match (is_near, is_whole) {
            (Some(true), true) => "met",
            (Some(true), false) => "**missed**: lost records, or memory that grew",
            (Some(false), _) => "**missed**",
            (None, _) => MISSING,
        };
        let now = value
            .map_or_else(|| verdict.to_owned(), |value| format!("{}, {verdict}", target.most.show(value)));
        let nobody = || ("- | -".to_owned(), None);
        let (of_floor, floor) = floor.as_ref().map_or_else(nobody, |floor| floor.cells(target, value));
        let (of_peer, peer) = peer.as_ref().map_or_else(nobody, |peer| peer.cells(target, value));
        let best = value.zip(best).map(|(value, best)| {
            let figure = format!("{} ({})", target.most.show(best.value), best.case.peer);
            target.most.show_ratio(target.most.ratio(value, best.value), &figure)
        });
        let (case, how) = (target.case, ours.map_or("-", |ours| &ours.case.how));
        let (most, best) = (target.most.words(target), best.unwrap_or_else(|| "-".into()));
        let text = format!("| {case} | {how} | {most} | {now} | {of_floor} | {of_peer} | {best} |\n");
        Line { text, limit: is_near.map(|is_near| is_near && is_whole), floor, peer }
    };
    ours.map(line).collect()
}

/// The subjects of the targets that are not fulfilled, each with what it is; one may come several times.
pub(crate) fn unfulfilled(run: &Run) -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    for target in &TARGETS {
        for line in lines(target, run) {
            let missed = line.limit == Some(false);
            let (floor, peer) = (line.floor == Some(Some(false)), line.peer == Some(Some(false)));
            all.extend(missed.then_some((target.subject, "misses its limit")));
            all.extend(floor.then_some((target.subject, "does not hold its ratio to the floor")));
            all.extend(
                peer.then_some((target.subject, "does not hold its ratio to the peer that its target names")),
            );
        }
    }
    all
}

/// The table, and how many lines of it are met.
pub(crate) fn table(run: &Run) -> String {
    let (mut text, mut limits, mut floors, mut peers) =
        (String::new(), Count::default(), Count::default(), Count::default());
    for line in TARGETS.iter().flat_map(|target| lines(target, run)) {
        limits.take(line.limit);
        line.floor.into_iter().for_each(|is_held| floors.take(is_held));
        line.peer.into_iter().for_each(|is_held| peers.take(is_held));
        text.push_str(&line.text);
    }
    format!(
        "Limits: {}. Ratios to the floor: {}. Ratios to the peer that the target names: {}.\n\n\
         Limits are ns a call of the machine they were set on. A ratio is how many times as long as the floor or the \
         peer tellane takes (`ratio x figure`; rates: how many times less, `figure / ratio`). Asked is the limit to \
         what floor and peer took when it was set, of a range the middle; it is held if tellane's ratio to the same \
         floor and the same peer in this run is no greater. Background of less than {NONE} ns counts as that much in \
         ratios.\n\n\
         | target | by | tellane at most | now | to the floor, asked | to the floor, now | to the peer, asked | \
         to the peer, now | to the best peer now |\n|---|---|---|---|---|---|---|---|---|\n{text}",
        limits.words("met", "missed"),
        floors.words("held", "not"),
        peers.words("held", "not"),
    )
}
