//! The method: every round asks every row for one batch, in turn, so that drift hits all alike.

use crate::peers::PEERS;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A row or a rate as its process announced it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) subject: String,
    pub(crate) peer: &'static str,
    pub(crate) how: String,
    pub(crate) threads: u32,
    pub(crate) weaker: String,
    /// Which of the processes serves the row.
    process: usize,
    /// The peer's number, and the row's or the rate's among its own.
    at: (usize, usize),
}

/// A row's figures.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) case: Case,
    /// Nanoseconds a call.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) rounds: usize,
    /// Allocations a call.
    pub(crate) allocations: f64,
    /// Calls in all.
    pub(crate) made: u64,
    pub(crate) lost: u64,
}

/// A rate's figures: the median run, but the worst for memory and the sum of what was lost.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    pub(crate) case: Case,
    pub(crate) millions: f64,
    pub(crate) made: u64,
    pub(crate) lost: u64,
    /// KiB.
    pub(crate) grew: i64,
    /// Nanoseconds of processor time a record, beside the caller's.
    pub(crate) background: f64,
    pub(crate) runs: usize,
}

/// A peer's process, and how to talk with it.
struct Peer {
    name: &'static str,
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(number: usize, arguments: &[String]) -> Self {
        let name = PEERS[number].name;
        let this = std::env::current_exe().expect("the program knows where it is");
        let mut child = Command::new(this)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let asks = child.stdin.take().expect("it was asked for");
        let answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { name, child, asks, answers }
    }

    fn hear(&mut self) -> Vec<String> {
        let mut line = String::new();
        let heard = self.answers.read_line(&mut line).unwrap_or(0);
        assert!(heard > 0, "{} ended early: see its message above", self.name);
        line.trim_end_matches('\n').split('\t').map(str::to_owned).collect()
    }

    fn say(&mut self, line: &str) {
        let said = writeln!(self.asks, "{line}").and_then(|()| self.asks.flush());
        said.unwrap_or_else(|error| panic!("{} ended early: {error}", self.name));
    }

    fn wait(mut self) {
        let ended = self.child.wait().expect("it was started");
        assert!(ended.success(), "{} failed: {ended}", self.name);
    }
}

fn number<T: std::str::FromStr>(field: &str) -> T {
    field.parse().unwrap_or_else(|_| panic!("{field} is not a number"))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs all rows of the wanted subjects and peers; also tells which rates there are.
pub(crate) fn rows(
    rounds: usize,
    is_wanted: impl Fn(&str) -> bool,
    is_peer: impl Fn(&str) -> bool,
) -> (Vec<Figures>, Vec<Case>) {
    let (mut peers, mut cases, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (started, at) in (0..PEERS.len()).filter(|at| is_peer(PEERS[*at].name)).enumerate() {
        let mut peer = Peer::start(at, &["--serve".to_owned(), at.to_string()]);
        let (mut rows_here, mut rates_here) = (0, 0);
        loop {
            let line = peer.hear();
            let (list, count) = match line[0].as_str() {
                "row" => (&mut cases, &mut rows_here),
                "rate" => (&mut rates, &mut rates_here),
                _ => break,
            };
            if is_wanted(&line[1]) {
                list.push(Case {
                    subject: line[1].clone(),
                    peer: peer.name,
                    how: line[2].clone(),
                    threads: number(&line[3]),
                    weaker: line[4].clone(),
                    process: started,
                    at: (at, *count),
                });
            }
            *count += 1;
        }
        peers.push((peer, rows_here));
    }
    let mut measured = vec![(Vec::new(), 0.0); cases.len()];
    for round in 0..rounds {
        eprint!("\rround {} of {rounds}", round + 1);
        for (case, (times, allocations)) in cases.iter().zip(&mut measured) {
            let peer = &mut peers[case.process].0;
            peer.say(&case.at.1.to_string());
            let line = peer.hear();
            times.push(number(&line[1]));
            // The fewest: a batch may be the one in which a table grows.
            let made = number(&line[2]);
            *allocations = if round == 0 { made } else { f64::min(*allocations, made) };
        }
    }
    eprintln!();
    let mut settled = Vec::new();
    for (mut peer, rows) in peers {
        peer.say("end");
        let account: Vec<_> = (0..rows).map(|_| peer.hear()).collect();
        peer.hear();
        peer.wait();
        settled.push(account);
    }
    let figures = cases.into_iter().zip(measured).map(|(case, (mut times, allocations))| {
        let account = &settled[case.process][case.at.1];
        let median = median(&mut times);
        Figures {
            median,
            min: times[0],
            rounds,
            allocations,
            made: number(&account[1]),
            lost: number(&account[2]),
            case,
        }
    });
    (figures.collect(), rates)
}

/// Runs every rate `runs` times for `time`, in turn, each time in a new process.
pub(crate) fn rates(cases: Vec<Case>, runs: usize, time: Duration) -> Vec<Flows> {
    let mut flows = vec![Vec::new(); cases.len()];
    for run in 0..runs {
        for (case, flows) in cases.iter().zip(&mut flows) {
            eprintln!("  {}, {}, {}, run {} of {runs}", case.peer, case.subject, case.how, run + 1);
            let (peer, rate) = case.at;
            let arguments = ["--rate".to_owned(), peer.to_string(), rate.to_string()];
            let arguments = [&arguments[..], &[time.as_millis().to_string()]].concat();
            let mut peer = Peer::start(peer, &arguments);
            flows.push(peer.hear());
            peer.wait();
        }
    }
    let sum =
        |flows: &[Vec<String>], field: usize| flows.iter().map(|flow| number::<u64>(&flow[field])).sum();
    cases
        .into_iter()
        .zip(flows)
        .map(|(case, flows)| {
            let each =
                |of: fn(&[String]) -> f64| median(&mut flows.iter().map(|flow| of(flow)).collect::<Vec<_>>());
            Flows {
                case,
                millions: each(|flow| number::<f64>(&flow[1]) / number::<f64>(&flow[2]) * 1e3),
                made: sum(&flows, 1),
                lost: sum(&flows, 3),
                grew: flows.iter().map(|flow| number(&flow[4])).max().unwrap_or(0),
                background: each(|flow| number::<f64>(&flow[5]) / number::<f64>(&flow[1])),
                runs,
            }
        })
        .collect()
}
