//! What each call costs beside its floor: one run, all rows in turn, medians and minima of many batches.
//!
//! Criterion's benches time one subject at a time; on a shared machine the clock rate drifts between two of them by
//! more than the differences that matter. Here every round runs every row once, so that drift hits all alike.
//! `cargo bench --bench ratios` prints the tables of PERF.md; `-- --short` takes fewer rounds, `-- --csv FILE` keeps
//! every round's figures; as a test (`cargo test --benches`) it runs one round and checks the results, not the times.

#![allow(clippy::disallowed_methods)] // the OS clock measures from outside

mod floors;
mod rows;
#[cfg(feature = "tracing")]
mod tracing;

use std::time::{Duration, Instant};

/// A case: so many calls, and how long they took.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The row it is compared with, and how many times as long it may take.
    pub(crate) bound: Option<(&'static str, f64)>,
    pub(crate) calls: u32,
    pub(crate) run: Box<dyn FnMut(u32) -> Duration>,
    /// What to do between two batches, not timed: let the aggregator catch up.
    pub(crate) rest: Box<dyn FnMut()>,
}

/// Times a loop of `calls`; the closure is told the number of the call.
#[inline(always)]
pub(crate) fn timed(calls: u32, mut call: impl FnMut(u32)) -> Duration {
    let start = Instant::now();
    for number in 0..calls {
        call(number);
    }
    start.elapsed()
}

struct Figures {
    name: &'static str,
    bound: Option<(&'static str, f64)>,
    median: f64,
    min: f64,
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    // `cargo test` passes no --bench.
    let rounds = if !has("--bench") {
        1
    } else if has("--short") {
        51
    } else {
        301
    };
    let csv = std::env::args().skip_while(|argument| argument != "--csv").nth(1);
    let is_filter = |argument: &String| !argument.starts_with('-') && Some(argument) != csv.as_ref();
    let only = std::env::args().skip(1).find(is_filter);
    let wanted = |row: &Row| {
        only.as_ref().is_none_or(|only| row.name.contains(only.as_str()) || row.name == "empty loop")
    };
    // A processor that has just been given work is not yet at its pace.
    let start = Instant::now();
    while rounds > 1 && start.elapsed() < Duration::from_millis(300) {
        std::hint::spin_loop();
    }
    // What a static costs that nobody has installed can be seen only before the others install.
    let mut measured = measure(rows::before_install(), wanted, rounds);
    #[allow(unused_mut)] // it grows by what features bring
    let (mut all, _alive) = rows::all();
    #[cfg(feature = "tracing")]
    let _alive_too = {
        let (more, alive) = tracing::rows();
        all.extend(more);
        alive
    };
    let mut table = measure(all, wanted, rounds);
    table.append(&mut measured);
    if let Some(path) = csv {
        let lines = table.iter().flat_map(|(row, times)| {
            let name = row.name.replace(',', ";");
            times.iter().enumerate().map(move |(round, nanos)| format!("{name},{round},{nanos:.4}\n"))
        });
        std::fs::write(&path, std::iter::once("row,round,ns\n".to_owned()).chain(lines).collect::<String>())
            .expect("the file for --csv can be written");
    }
    let figures: Vec<_> = table
        .iter_mut()
        .map(|(row, times)| {
            times.sort_by(f64::total_cmp);
            Figures { name: row.name, bound: row.bound, median: times[times.len() / 2], min: times[0] }
        })
        .collect();
    print(&figures, rounds);
    drop(table);
    if only.is_none() {
        rows::print_rates(rounds > 1);
    }
}

/// Every wanted row once a round, in turn.
fn measure(rows: Vec<Row>, wanted: impl Fn(&Row) -> bool, rounds: usize) -> Vec<(Row, Vec<f64>)> {
    let mut table: Vec<_> = rows.into_iter().filter(wanted).map(|row| (row, Vec::new())).collect();
    for _ in 0..rounds {
        for (row, times) in &mut table {
            (row.rest)();
            times.push((row.run)(row.calls).as_nanos() as f64 / f64::from(row.calls));
        }
    }
    table
}

fn print(figures: &[Figures], rounds: usize) {
    println!("ns per call, {rounds} rounds\n");
    println!("| case | median | min | against | ratio | of minima | at most |");
    println!("|---|---:|---:|---|---:|---:|---:|");
    for row in figures {
        print!("| {} | {:.2} | {:.2} |", row.name, row.median, row.min);
        let beside = row.bound.and_then(|(name, most)| {
            figures.iter().find(|other| other.name == name).map(|other| (other, most))
        });
        match beside {
            // Against the empty loop or a bare poll the bound is a difference: nanoseconds above it.
            Some((other, most)) if ["empty loop", "poll, bare"].contains(&other.name) => {
                let above = row.median - other.median;
                let verdict = if above <= most { "" } else { " **missed**" };
                println!(
                    " {} | +{above:.2} | +{:.2} | +{most:.1}{verdict} |",
                    other.name,
                    row.min - other.min
                );
            }
            Some((other, most)) => {
                let ratio = row.median / other.median;
                let verdict = if ratio <= most { "" } else { " **missed**" };
                println!(" {} | {ratio:.2} | {:.2} | {most:.1}{verdict} |", other.name, row.min / other.min);
            }
            None => println!(" | | | |"),
        }
    }
}
