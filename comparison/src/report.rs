//! The tables, in markdown: one a subject, sorted, every row beside the best peer, and those of tellane that lose. The
//! same on the terminal and on the page. Cold.

use crate::run::{Case, Figures, Flows, OURS, Run};
use crate::subject;
use std::fmt::Write;

/// What a run was made on, in one sentence.
pub(crate) fn head(run: &Run) -> String {
    let rounds = run.rows.first().map_or(0, |row| row.rounds);
    let runs = run.rates.first().map_or(0, |rate| rate.runs);
    let on = &run.conditions;
    format!(
        "Commit {}, {}, {} x {}, load {} before and {} after, {}: `{}`, {rounds} rounds, {runs} runs of each rate.\n",
        on.commit, on.rustc, on.processors, on.processor, on.load, on.load_after, on.date, on.command,
    )
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

/// tellane's rows and rates that a peer is quicker than, the worst first.
pub(crate) fn losers(run: &Run) -> String {
    let (mut lost, mut beside) = (Vec::new(), 0);
    for subject in subject::ALL {
        let (rows, rates) = (run.rows_of(subject), run.rates_of(subject));
        let best_row = rows.iter().find(|row| row.case.is_rival());
        let best_rate = rates.iter().find(|rate| rate.case.is_rival());
        let of_rows = best_row.into_iter().flat_map(|best| {
            let ours = rows.iter().filter(|row| row.case.is_ours());
            ours.map(move |row| (row.median / best.median, &row.case, &best.case))
        });
        let of_rates = best_rate.into_iter().flat_map(|best| {
            let ours = rates.iter().filter(|rate| rate.case.is_ours());
            ours.map(move |rate| (best.millions / rate.millions, &rate.case, &best.case))
        });
        for found in of_rows.chain(of_rates) {
            beside += 1;
            if found.0 > 1.0 {
                lost.push(found);
            }
        }
    }
    lost.sort_by(|left, right| right.0.total_cmp(&left.0));
    let mut text =
        format!("Of {beside} rows of tellane that have a peer, {} lose to the best one.\n", lost.len());
    if !lost.is_empty() {
        text.push_str("\n| subject | row | ratio | to |\n|---|---|---:|---|\n");
    }
    for (ratio, ours, best) in lost {
        let (subject, how, rival, their) = (&ours.subject, &ours.how, &best.peer, &best.how);
        push(&mut text, format_args!("| {subject} | {how} | {ratio:.2} **loses** | {rival}, {their} |\n"));
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
    let mut text = String::from("| who | how | M/s | lost | memory grew by, MiB | background, ns a record |");
    push(&mut text, format_args!(" {} |\n", beside(best.map(|best| &best.case))));
    text.push_str("|---|---|---:|---:|---:|---:|---:|\n");
    for rate in rates {
        let beside = against(best.map(|best| best.millions / rate.millions), &rate.case);
        let share = 100.0 * rate.lost as f64 / rate.made.max(1) as f64;
        let lost = if rate.lost == 0 { "0".to_owned() } else { format!("{} ({share:.1} %)", rate.lost) };
        let (who, how, millions, background) =
            (peer(&rate.case), how(&rate.case), rate.millions, rate.background);
        let grew = rate.grew as f64 / 1024.0;
        push(
            &mut text,
            format_args!(
                "| {who} | {how} | {millions:.1} | {lost} | {grew:.1} | {background:.2} | {beside} |\n"
            ),
        );
    }
    text
}
