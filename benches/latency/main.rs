//! What criterion's means hide: how long single calls take, the slowest of them too, while the aggregator runs, stands
//! still unnoticed, and has stalled; and what many threads reach together.
//!
//! `cargo bench --bench latency` prints both; `-- --short` takes seconds, `-- --json FILE` writes the figures for the
//! page. As a test (`cargo test --benches`) it runs the short form. Every case asserts that nothing was lost uncounted;
//! no time is asserted.
//!
//! A call is timed from outside by two fenced readings of the counter. What the readings alone take is measured between
//! the calls and stands beside each row; it is part of the row's figures, not taken off. So is what the machine does to
//! any program: the worst reading of nothing shows how long a thread was made to wait for its processor.

#![allow(clippy::disallowed_methods)] // the OS clock measures from outside

mod calls;
mod scaling;
mod singles;
#[path = "../support/mod.rs"]
mod support;
mod ticks;

use serde_json::json;
use support::{conditions, conditions_of};

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Calls of a case, over all its threads.
    pub(crate) calls: u32,
    /// Words of each thread's ring.
    pub(crate) ring_words: usize,
    /// How long a row of the scaling curve takes.
    pub(crate) time: std::time::Duration,
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let json = std::env::args().skip_while(|argument| argument != "--json").nth(1);
    // `cargo test` passes no --bench.
    let short = has("--short") || !has("--bench");
    let extent = if short {
        Extent { calls: 20_000, ring_words: 1 << 10, time: std::time::Duration::from_millis(20) }
    } else {
        Extent { calls: 1_000_000, ring_words: 1 << 15, time: std::time::Duration::from_millis(500) }
    };
    let begun = conditions_of("latency");
    let scale = ticks::nanos_per_tick(std::time::Duration::from_millis(50));
    let singles = singles::run(extent, scale);
    let scaling = scaling::run(extent);
    if let Some(path) = json {
        let figures = json!({
            "conditions": conditions::ended(begun),
            "short": short,
            "nanoseconds_per_tick": scale,
            "ring_words": extent.ring_words,
            "single_calls": singles,
            "scaling": scaling,
        });
        std::fs::write(&path, format!("{figures:#}\n")).expect("the file for --json can be written");
    }
}
