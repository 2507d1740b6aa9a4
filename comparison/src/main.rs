//! tellane beside its peers, in one run: what each call costs, what recording flat out costs, and what a scrape costs.
//!
//! `cargo run --release` is the full run, `-- --short` takes less than two minutes, `-- --smoke` runs two rounds for
//! the checks of the results alone. `--json FILE` keeps all figures, `--only TEXT` takes the subjects whose names
//! contain it, `--peer TEXT` the peers. `--page PERF.md --from FILE` measures nothing, and makes the page's tables of
//! figures that were kept. README.md says how it is done.

#![allow(clippy::disallowed_methods)] // the OS clock measures from outside

mod alloc;
#[path = "../../benches/support/conditions.rs"] // as the other records say it
mod conditions;
mod machine;
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

use std::path::Path;
use std::time::Duration;

/// How often, how long.
struct Length {
    rounds: usize,
    runs: usize,
    time: Duration,
}

const FULL: Length = Length { rounds: 301, runs: 3, time: Duration::from_secs(2) };
const SHORT: Length = Length { rounds: 31, runs: 1, time: Duration::from_millis(500) };
const SMOKE: Length = Length { rounds: 2, runs: 1, time: Duration::from_millis(50) };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let after = |flag: &str, place: usize| {
        arguments.iter().skip_while(|argument| *argument != flag).nth(place).map(String::as_str)
    };
    let number = |flag, place| after(flag, place).and_then(|text| text.parse().ok()).unwrap_or(0);
    if has("--serve") {
        return worker::serve(number("--serve", 1));
    }
    if has("--rate") {
        let time = Duration::from_millis(number("--rate", 3) as u64);
        return worker::rate(number("--rate", 1), number("--rate", 2), time);
    }
    if let Some(page) = after("--page", 1) {
        let from = after("--from", 1).expect("--page wants the figures: --from FILE");
        return page::write(Path::new(page), Path::new(from));
    }
    let length = match (has("--smoke"), has("--short")) {
        (true, _) => SMOKE,
        (_, true) => SHORT,
        _ => FULL,
    };
    if cfg!(debug_assertions) {
        eprintln!("built without --release: the checks hold, the times say nothing");
    }
    let (only, peer) = (after("--only", 1), after("--peer", 1));
    let is_wanted = |subject: &str| only.is_none_or(|only| subject.contains(only));
    let is_peer = |name: &str| peer.is_none_or(|peer| name.contains(peer));
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let sources = ["comparison/src", "comparison/Cargo.toml", "comparison/Cargo.lock"];
    let release = if cfg!(debug_assertions) { "" } else { "--release " };
    let command = format!("cargo run {release}-- {}", arguments.join(" "));
    let begun = conditions::now(root, &sources, &command);
    let (rows, rates) = rounds::rows(length.rounds, is_wanted, is_peer);
    let rates = rounds::rates(rates, length.runs, length.time);
    let run = run::Run { conditions: conditions::ended(begun), rows, rates };
    println!("{}\n{}\n{}", report::head(&run), report::subjects(&run), report::losers(&run));
    if let Some(path) = after("--json", 1) {
        run.write(path);
    }
}
