//! The tables, in markdown: one a subject, sorted, tellane's rows beside the best peer. Cold.

use crate::machine::Conditions;
use crate::rounds::{Case, Figures, Flows};
use crate::subject;
use std::fmt::Write;

/// Who is no peer: the bare ideas.
const FLOOR: &str = "floor";
const OURS: &str = "tellane";

/// Prints all tables.
pub(crate) fn print(conditions: &Conditions, figures: &[Figures], flows: &[Flows]) {
    println!("{}", head(conditions, figures, flows));
    for subject in subject::ALL {
        let mut here: Vec<_> = figures.iter().filter(|row| row.case.subject == subject).collect();
        here.sort_by(|left, right| left.median.total_cmp(&right.median));
        if !here.is_empty() {
            println!("### {subject}\n\n{}", table(&here));
        }
        let mut here: Vec<_> = flows.iter().filter(|rate| rate.case.subject == subject).collect();
        here.sort_by(|left, right| right.millions.total_cmp(&left.millions));
        if !here.is_empty() {
            println!("### {subject}\n\n{}", rates(&here));
        }
    }
}

fn head(conditions: &Conditions, figures: &[Figures], flows: &[Flows]) -> String {
    let rounds = figures.first().map_or(0, |row| row.rounds);
    let runs = flows.first().map_or(0, |rate| rate.runs);
    format!(
        "Commit {}, {}, {} x {}, load {}, {}: `{}`, {rounds} rounds, {runs} runs of each rate.\n",
        conditions.commit,
        conditions.rustc,
        conditions.processors,
        conditions.processor,
        conditions.load,
        conditions.date,
        conditions.command,
    )
}

fn is_rival(case: &Case) -> bool {
    ![OURS, FLOOR].contains(&case.peer) && case.weaker.is_empty()
}

/// A name with what it does not promise.
fn how(case: &Case) -> String {
    if case.weaker.is_empty() { case.how.clone() } else { format!("{} (*{}*)", case.how, case.weaker) }
}

fn peer(case: &Case) -> String {
    if case.peer == OURS { format!("**{OURS}**") } else { case.peer.to_owned() }
}

/// `ratio` is above 1 where we lose.
fn against(ratio: f64, rival: &str) -> String {
    format!("{ratio:.2} of {rival}{}", if ratio > 1.0 { " **loses**" } else { "" })
}

fn table(rows: &[&Figures]) -> String {
    let best = rows.iter().find(|row| is_rival(&row.case));
    let is_long = rows.iter().all(|row| row.median > 100_000.0);
    let (unit, scale) = if is_long { ("µs", 1e-3) } else { ("ns", 1.0) };
    let is_lossy = rows.iter().any(|row| row.lost > 0);
    let mut text = format!("| who | how | median {unit} | min | allocations |");
    text.push_str(if is_lossy { " lost |" } else { "" });
    text.push_str(" against the best peer |\n|---|---|---:|---:|---:|");
    text.push_str(if is_lossy { "---:|---|\n" } else { "---|\n" });
    for row in rows {
        let beside = match best {
            Some(best) if row.case.peer == OURS => against(row.median / best.median, best.case.peer),
            _ => String::new(),
        };
        let lost = if is_lossy { format!(" {} of {} |", row.lost, row.made) } else { String::new() };
        let (median, min) = (row.median * scale, row.min * scale);
        let (who, how, allocations) = (peer(&row.case), how(&row.case), row.allocations);
        let allocations = if allocations < 0.005 { "0".to_owned() } else { format!("{allocations:.2}") };
        writeln!(text, "| {who} | {how} | {median:.2} | {min:.2} | {allocations} |{lost} {beside} |")
            .expect("a string takes all");
    }
    text
}

fn rates(rates: &[&Flows]) -> String {
    let best = rates.iter().find(|rate| is_rival(&rate.case));
    let mut text = String::from(
        "| who | how | M/s | lost | memory grew by, MiB | background, ns a record | against the best peer |\n\
         |---|---|---:|---:|---:|---:|---|\n",
    );
    for rate in rates {
        let beside = match best {
            Some(best) if rate.case.peer == OURS => against(best.millions / rate.millions, best.case.peer),
            _ => String::new(),
        };
        let share = 100.0 * rate.lost as f64 / rate.made.max(1) as f64;
        let lost = if rate.lost == 0 { "0".to_owned() } else { format!("{} ({share:.1} %)", rate.lost) };
        writeln!(
            text,
            "| {} | {} | {:.1} | {lost} | {:.1} | {:.2} | {beside} |",
            peer(&rate.case),
            how(&rate.case),
            rate.millions,
            rate.grew as f64 / 1024.0,
            rate.background,
        )
        .expect("a string takes all");
    }
    text
}
