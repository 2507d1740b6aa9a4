//! The tables, in markdown: one a subject, sorted, every row beside the best peer, and those of tellane that lose. The
//! same on the terminal and on the page. Cold.

use crate::conditions;
use crate::run::{Case, Figures, Flows, OURS, Run};
use crate::subject;
use std::fmt::Write;

/// What a run was made on, in one sentence.
pub(crate) fn head(run: &Run) -> String {
    let rounds = run.rows.first().map_or(0, |row| row.rounds);
    let runs = run.rates.first().map_or(0, |rate| rate.runs);
    let on = conditions::sentence(&run.conditions).expect("a run says what it was made on");
    format!("{on}, {rounds} rounds, {runs} runs of each rate.\n")
}

/// All subjects that have rows or rates.
pub(crate) fn subjects(run: &Run) -> String {
    let mut text = String::new();
    for subject in subject::ALL {
        let (rows, rates) = (run.rows_of(subject), run.rates_of(subject));
        if !rows.is_empty() {
            push(&mut text, format_args!("### {subject}\n\n{}\n", table(&rows)));
        }
        if !rates.is_empty() {
            push(&mut text, format_args!("### {subject}\n\n{}\n", rates_table(&rates)));
        }
    }
    text
}

/// A figure of a row or a rate, less is better, and what it is of beyond the row's name.
type Price<'run> = (&'run Case, f64, &'static str);

/// A figure of ours beside the best of others: how many times as much, which, and whose.
type Beside<'run> = (f64, Price<'run>, &'run Case);

/// Ours, each beside the best of those that `is_other` takes, if there is one. `all` is of one subject and one kind of
/// figure.
fn beside_the_best<'run>(all: &[Price<'run>], is_other: impl Fn(&Case) -> bool) -> Vec<Beside<'run>> {
    let others = all.iter().filter(|(case, ..)| is_other(case));
    let Some((best, least, _)) = others.min_by(|left, right| left.1.total_cmp(&right.1)) else {
        return Vec::new();
    };
    let ours = all.iter().filter(|(case, ..)| case.is_ours());
    ours.map(|ours| (ours.1 / least, *ours, *best)).collect()
}

/// The same over all subjects. A rate counts twice: by what it reaches, and by what all threads together pay.
fn beside_all(run: &Run, is_other: impl Fn(&Case) -> bool) -> Vec<Beside<'_>> {
    let mut all = Vec::new();
    for subject in subject::ALL {
        let (rows, rates) = (run.rows_of(subject), run.rates_of(subject));
        let of_rows: Vec<_> = rows.iter().map(|row| (&row.case, row.median, "")).collect();
        let of_rates: Vec<_> = rates.iter().map(|rate| (&rate.case, 1e3 / rate.millions, "")).collect();
        let of_totals: Vec<_> =
            rates.iter().filter_map(|rate| Some((&rate.case, rate.total()?, ": total CPU"))).collect();
        all.extend([of_rows, of_rates, of_totals].iter().flat_map(|one| beside_the_best(one, &is_other)));
    }
    all
}

/// Those that are behind, the worst first.
fn behind(mut all: Vec<Beside<'_>>) -> Vec<Beside<'_>> {
    all.retain(|(ratio, ..)| *ratio > 1.0);
    all.sort_by(|left, right| right.0.total_cmp(&left.0));
    all
}

/// The subjects of which a row or a rate of tellane's loses to the best peer.
pub(crate) fn lost(run: &Run) -> Vec<&str> {
    behind(beside_all(run, Case::is_rival)).iter().map(|(_, (ours, ..), _)| &*ours.subject).collect()
}

/// tellane's rows and rates that a peer is quicker than, the worst first.
pub(crate) fn losers(run: &Run) -> String {
    let all = beside_all(run, Case::is_rival);
    let beside = all.len();
    let lost = behind(all);
    let mut text = format!(
        "Of {beside} figures of tellane that have a peer's beside them, {} lose to the best one.\n",
        lost.len()
    );
    if !lost.is_empty() {
        text.push_str("\n| subject | row | ratio | to |\n|---|---|---:|---|\n");
    }
    for (ratio, (ours, _, what), best) in lost {
        let (subject, how, rival, their) = (&ours.subject, &ours.how, &best.peer, &best.how);
        push(
            &mut text,
            format_args!("| {subject}{what} | {how} | {ratio:.2} **loses** | {rival}, {their} |\n"),
        );
    }
    text
}

/// tellane's rows and rates that are behind one that is nobody's best peer, since it promises less: what that is stands
/// beside it.
pub(crate) fn behind_weaker(run: &Run) -> String {
    let lost = behind(beside_all(run, Case::is_weaker));
    if lost.is_empty() {
        return "No figure of tellane is behind a row that promises less.\n".to_owned();
    }
    let mut text = String::from(
        "These rows are nobody's best peer, and are not among those above.\n\n\
         | subject | row | ratio | to | in what that promises less |\n|---|---|---:|---|---|\n",
    );
    for (ratio, (ours, _, what), best) in lost {
        let (subject, how, peer, their, less) =
            (&ours.subject, &ours.how, &best.peer, &best.how, &best.weaker);
        push(
            &mut text,
            format_args!("| {subject}{what} | {how} | {ratio:.2} | {peer}, {their} | {less} |\n"),
        );
    }
    text
}

pub(crate) fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all");
}

/// A name with what it does not promise.
fn how(case: &Case) -> String {
    if case.weaker.is_empty() { case.how.clone() } else { format!("{} (*{}*)", case.how, case.weaker) }
}

fn peer(case: &Case) -> String {
    if case.is_ours() { format!("**{OURS}**") } else { case.peer.clone() }
}

/// `ratio` is above 1 where the row is behind the best peer's.
fn against(ratio: Option<f64>, case: &Case) -> String {
    let Some(ratio) = ratio else { return String::new() };
    format!("{ratio:.2}{}", if case.is_ours() && ratio > 1.0 { " **loses**" } else { "" })
}

/// The heading of the last column.
fn beside(best: Option<&Case>) -> String {
    best.map_or_else(|| "no peer".to_owned(), |best| format!("times {}", best.peer))
}

fn table(rows: &[&Figures]) -> String {
    let best = rows.iter().find(|row| row.case.is_rival());
    let is_long = rows.iter().all(|row| row.median > 100_000.0);
    let (unit, scale) = if is_long { ("µs", 1e-3) } else { ("ns", 1.0) };
    let is_lossy = rows.iter().any(|row| row.lost > 0);
    let mut text = format!("| who | how | median {unit} | min | allocations |");
    text.push_str(if is_lossy { " lost |" } else { "" });
    push(&mut text, format_args!(" {} |\n|---|---|---:|---:|---:|", beside(best.map(|best| &best.case))));
    text.push_str(if is_lossy { "---:|---:|\n" } else { "---:|\n" });
    for row in rows {
        let beside = against(best.map(|best| row.median / best.median), &row.case);
        let lost = if is_lossy { format!(" {} of {} |", row.lost, row.made) } else { String::new() };
        let (median, min) = (row.median * scale, row.min * scale);
        let (who, how, allocations) = (peer(&row.case), how(&row.case), row.allocations);
        let allocations = if allocations < 0.005 { "0".to_owned() } else { format!("{allocations:.2}") };
        push(
            &mut text,
            format_args!("| {who} | {how} | {median:.2} | {min:.2} | {allocations} |{lost} {beside} |\n"),
        );
    }
    text
}

fn rates_table(rates: &[&Flows]) -> String {
    let best = rates.iter().find(|rate| rate.case.is_rival());
    let mut text = String::from(
        "| who | how | M/s | lost | memory grew by, MiB | background CPU, ns a record | total CPU, ns a record |",
    );
    push(&mut text, format_args!(" {} |\n", beside(best.map(|best| &best.case))));
    text.push_str("|---|---|---:|---:|---:|---:|---:|---:|\n");
    for rate in rates {
        let beside = against(best.map(|best| best.millions / rate.millions), &rate.case);
        let share = 100.0 * rate.lost as f64 / rate.made.max(1) as f64;
        let lost = if rate.lost == 0 { "0".to_owned() } else { format!("{} ({share:.1} %)", rate.lost) };
        let (who, how, millions, background) =
            (peer(&rate.case), how(&rate.case), rate.millions, rate.background);
        let grew = rate.grew as f64 / 1024.0;
        let total = rate.total().map_or_else(|| "-".to_owned(), |total| format!("{total:.2}"));
        push(
            &mut text,
            format_args!(
                "| {who} | {how} | {millions:.1} | {lost} | {grew:.1} | {background:.2} | {total} | {beside} |\n"
            ),
        );
    }
    text
}
