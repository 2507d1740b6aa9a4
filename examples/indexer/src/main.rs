//! Builds a word index of a directory tree in memory, on several threads, observed by tellane in its innermost loops.
//! Then prints a report, and the cost of the telemetry.
//!
//! ```text
//! cargo run --release -p indexer -- [DIR]
//! ```
//!
//! One thread walks the tree (`walk`) and feeds a bounded queue; the others read files, split them into words (`work`)
//! and merge the words into a sharded map (`index`). `meters` declares all metrics. To measure the cost of telemetry,
//! the same work is done several times, with telemetry on and off alternately.

mod index;
mod meters;
mod options;
mod progress;
mod report;
mod walk;
mod work;

use index::{Frequency, Index};
use meters::Meters;
use options::{HELP, Options};
use progress::{Progress, REFRESH};
use report::{Findings, Suppressed, Totals};
use std::error::Error;
use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use tellane::{Config, Report, Snapshot, Telemetry, prometheus};
use walk::Walk;
use work::Worker;

/// Most files that may wait for an indexing thread.
const QUEUE: usize = 256;
/// Longest wait for telemetry, which answers within milliseconds unless the machine is overloaded.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One run over all files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) elapsed: Duration,
    /// Samples and spans of the pass, recorded or skipped.
    pub(crate) records: u64,
}

/// Results of all passes.
#[derive(Debug)]
pub(crate) struct Results {
    /// Totals of the first pass; those of the others are the same, unless `changed`.
    pub(crate) totals: Totals,
    pub(crate) words: usize,
    pub(crate) frequent: Vec<Frequency>,
    /// `true` if files were left out because of the limit.
    pub(crate) bounded: bool,
    /// `true` if the files changed between two passes.
    pub(crate) changed: bool,
    pub(crate) on: Vec<Pass>,
    pub(crate) off: Vec<Pass>,
}

impl Results {
    /// Number of passes, including the warm-up.
    pub(crate) fn all_passes(&self) -> u64 {
        (1 + self.on.len() + self.off.len()) as u64
    }

    /// Records of the passes with telemetry off, which are suppressed.
    fn suppressed(&self) -> u64 {
        self.off.iter().map(|pass| pass.records).sum()
    }
}

fn main() -> ExitCode {
    match Options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => run(&options).unwrap_or_else(|error| {
            eprintln!("indexer: {error}");
            ExitCode::FAILURE
        }),
        Ok(None) => print(HELP).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(mistake) => {
            eprintln!("indexer: {mistake} (try --help)");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let config = Config {
        // The progress bar shows the latest snapshot, which should not be older than the bar itself.
        flush_interval: REFRESH,
        // Samples that find the ring full are counted in the spill, spans are dropped. Half a ring of this size holds
        // the spans of a quarter of a second, in case the aggregator waits that long for a processor.
        ring_words: 1 << 18,
        ..Config::default()
    };
    let telemetry = Telemetry::builder("indexer").config(config).install()?;
    let meters = Meters::register(&telemetry)?;
    let results = Passes { options, telemetry: &telemetry, meters: &meters }.run()?;

    let shutdown = telemetry.shutdown(TIMEOUT);
    let snapshot = telemetry.latest();
    if let Some(file) = &options.prometheus {
        let written = fs::write(file, prometheus::render(&snapshot));
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    let findings = Findings { options, results: &results, snapshot: &snapshot };
    let mut text = format!("{findings}{}", Report(&snapshot));
    // The snapshot was taken before the shutdown was complete. If the final ledger differs, print it, too.
    if *snapshot.ledger() != shutdown.ledger {
        text += &format!("{}\n", shutdown.ledger);
    }
    let total = shutdown.ledger.total();
    let lost = total.dropped.total();
    text += &format!("{}\n", Suppressed { by_passes: results.suppressed(), total: total.suppressed() });
    print(&text)?;

    if lost > 0 {
        eprintln!("indexer: {lost} records were dropped, for the reasons above");
    }
    let balances = total.recorded == total.aggregated + lost + total.suppressed();
    Ok(if shutdown.finished && balances { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints to standard output. A closed pipe is not an error.
fn print(text: &str) -> io::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[derive(Clone, Copy)]
struct Passes<'a> {
    options: &'a Options,
    telemetry: &'a Telemetry,
    meters: &'a Meters,
}

impl Passes<'_> {
    /// Runs the warm-up, then pairs of passes with telemetry on and off. The order alternates from pair to pair, so
    /// that neither side has the warmer caches.
    fn run(self) -> Result<Results, Box<dyn Error>> {
        let switch = self.telemetry.switch();
        let start = self.telemetry.snapshot(TIMEOUT)?;
        let (_not_timed, index, bounded) = self.pass("warm-up".into(), &start, None);
        let mut before = self.telemetry.snapshot(TIMEOUT)?;
        let totals = Totals::of(&before).since(&Totals::of(&start));

        let (mut on, mut off, mut changed) = (Vec::new(), Vec::new(), false);
        let last = 2 * self.options.passes;
        for number in 0..last {
            let observed = matches!(number % 4, 1 | 2);
            let (name, passes) = if observed { ("on", &mut on) } else { ("off", &mut off) };
            if observed {
                switch.release()
            } else {
                switch.force_off()
            }
            let title = format!("pass {}/{last} {name}", number + 1);
            let (elapsed, _index, _bounded) = self.pass(title, &before, Some(totals.bytes));
            let after = self.telemetry.snapshot(TIMEOUT)?;
            let records = after.ledger().total().recorded - before.ledger().total().recorded;
            changed |= Totals::of(&after).since(&Totals::of(&before)) != totals;
            passes.push(Pass { elapsed, records });
            before = after;
        }
        switch.release();
        let (words, frequent) = (index.words(), index.most_frequent(10, 5));
        Ok(Results { totals, words, frequent, bounded, changed, on, off })
    }

    /// Builds the index once. Returns the time it took, the index, and `true` if files were left out.
    fn pass(self, title: String, before: &Snapshot, bytes: Option<u64>) -> (Duration, Index, bool) {
        let Self { options, telemetry, meters } = self;
        let progress = Progress { telemetry, title, before: Totals::of(before), bytes };
        let (running, over) = crossbeam_channel::bounded(0);
        let index = Index::new();
        let (elapsed, complete) = thread::scope(|scope| {
            scope.spawn(move || progress.run(&over));
            let began = Instant::now();
            let complete = thread::scope(|scope| {
                let (jobs, queue) = crossbeam_channel::bounded(QUEUE);
                for _ in 0..options.threads {
                    let worker = Worker { root: &options.root, index: &index, meters, content: Vec::new() };
                    let queue = queue.clone();
                    scope.spawn(move || worker.run(&queue));
                }
                drop(queue);
                Walk::new(jobs, options.max_bytes).directory(&options.root)
            });
            let elapsed = began.elapsed();
            drop(running);
            (elapsed, complete)
        });
        (elapsed, index, !complete)
    }
}
