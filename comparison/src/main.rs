//! tellane beside its peers, in one run: what each call costs, what recording flat out costs, and what a scrape costs.
//!
//! `cargo run --release` is the full run, `-- --short` takes less than a minute once it is built, `-- --smoke` runs two
//! rounds for the checks of the results alone. `--json FILE` keeps all figures, `--only TEXT` takes the subjects whose
//! names contain it, `--peer TEXT` the peers; `--help` tells. `--page PERF.md --from FILE` measures nothing, and makes the
//! page's tables of figures that were kept; `--unexplained PERF.md --from FILE` tells what of them the page's prose says
//! nothing about. README.md says how it is done.

#![allow(clippy::disallowed_methods)] // the OS clock measures from outside

mod alloc;
#[path = "../../benches/support/conditions.rs"] // as the other records say it
mod conditions;
mod machine;
mod options;
mod page;
mod peers;
mod process;
mod rate;
mod records;
mod report;
mod rounds;
mod row;
mod run;
mod second;
mod subject;
mod targets;
#[cfg(test)]
mod tests;
mod verdict;
mod worker;
mod workload;

use options::{Measure, Task, USAGE};
use std::process::ExitCode;

fn main() -> ExitCode {
    match options::parse(lexopt::Parser::from_env()) {
        Ok(Task::Help) => println!("{USAGE}"),
        Ok(Task::Serve(peer)) => worker::serve(peer),
        Ok(Task::Rate { peer, rate, time }) => worker::rate(peer, rate, time),
        Ok(Task::Page { page, from }) => page::write(&page, &from),
        Ok(Task::Unexplained { page, from }) => {
            let found = page::unexplained(&page, &from);
            found.iter().for_each(|subject| println!("{subject}"));
            return if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
        Ok(Task::Measure(measure)) => return run(&measure),
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run(Measure { length, only, peer, json }: &Measure) -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("built without --release: the checks hold, the times say nothing");
    }
    let is_wanted = |subject: &str| only.as_ref().is_none_or(|only| subject.contains(only));
    let is_peer = |name: &str| peer.as_ref().is_none_or(|peer| name.contains(peer));
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let sources = ["comparison/src", "comparison/Cargo.toml", "comparison/Cargo.lock"];
    let release = if cfg!(debug_assertions) { "" } else { "--release " };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run {release}-- {}", arguments.join(" "));
    let begun = conditions::now(root, &sources, &command);
    let (rows, rates) = rounds::rows(length.rounds, is_wanted, is_peer);
    let rates = rounds::rates(rates, length.runs, length.time);
    if rows.is_empty() && rates.is_empty() {
        eprintln!("no row of that name");
        return ExitCode::from(2);
    }
    let run = run::Run { conditions: conditions::ended(begun), rows, rates };
    println!("{}\n{}\n{}", report::head(&run), report::subjects(&run), report::losers(&run));
    println!("{}:\n\n{}", page::BEHIND_WEAKER, report::behind_weaker(&run));
    if let Some(path) = json {
        run.write(path);
    }
    ExitCode::SUCCESS
}
