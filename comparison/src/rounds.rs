//! The method: every round asks every row for one batch, in turn, so that drift hits all alike.

use crate::peers::PEERS;
use crate::process::Process;
use crate::run::{Case, Figures, Flows};
use std::time::Duration;

/// A row or a rate, and where it is to be had.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    case: Case,
    /// Which of the processes serves the row.
    process: usize,
    /// The peer's number, and the row's or the rate's among its own.
    at: (usize, usize),
}

impl Place {
    /// What it is called where something goes wrong.
    fn name(&self) -> String {
        format!("{}, {}", self.case.subject, self.case.how)
    }
}

fn number<T: std::str::FromStr>(field: &str) -> T {
    field.parse().unwrap_or_else(|_| panic!("{field} is not a number"))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The processes of the wanted peers with how many rows each has, and the wanted rows and rates.
type Started = (Vec<(Process, usize)>, Vec<Place>, Vec<Place>);

fn start(is_wanted: impl Fn(&str) -> bool, is_peer: impl Fn(&str) -> bool) -> Started {
    let (mut peers, mut rows, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (process, at) in (0..PEERS.len()).filter(|at| is_peer(PEERS[*at].name)).enumerate() {
        let mut peer = Process::start(at, &["--serve".to_owned(), at.to_string()]);
        let (mut rows_here, mut rates_here) = (0, 0);
        loop {
            let line = peer.hear("making its rows");
            let (list, count) = match line[0].as_str() {
                "row" => (&mut rows, &mut rows_here),
                "rate" => (&mut rates, &mut rates_here),
                "ready" => break,
                other => panic!("{} says {other} where it should say what rows it has", peer.name),
            };
            if is_wanted(&line[1]) {
                let case = Case {
                    subject: line[1].clone(),
                    peer: peer.name.to_owned(),
                    how: line[2].clone(),
                    threads: number(&line[3]),
                    weaker: line[4].clone(),
                };
                list.push(Place { case, process, at: (at, *count) });
            }
            *count += 1;
        }
        peers.push((peer, rows_here));
    }
    (peers, rows, rates)
}

/// Runs all rows of the wanted subjects and peers; also tells which rates there are.
pub(crate) fn rows(
    rounds: usize,
    is_wanted: impl Fn(&str) -> bool,
    is_peer: impl Fn(&str) -> bool,
) -> (Vec<Figures>, Vec<Place>) {
    let (mut peers, places, rates) = start(is_wanted, is_peer);
    let mut measured = vec![(Vec::new(), 0.0); places.len()];
    for round in 0..rounds {
        eprint!("\rround {} of {rounds}", round + 1);
        for (place, (times, allocations)) in places.iter().zip(&mut measured) {
            let peer = &mut peers[place.process].0;
            peer.emit(&place.at.1.to_string());
            let line = peer.hear(&place.name());
            times.push(number(&line[1]));
            // The fewest: a batch may be the one in which a table grows.
            let made = number(&line[2]);
            *allocations = if round == 0 { made } else { f64::min(*allocations, made) };
        }
    }
    eprintln!();
    let settled: Vec<_> = peers.into_iter().map(|(peer, rows)| settle(peer, rows)).collect();
    let figures = places.into_iter().zip(measured).map(|(place, (mut times, allocations))| {
        let account = &settled[place.process][place.at.1];
        let median = median(&mut times);
        Figures {
            median,
            min: times[0],
            rounds,
            allocations,
            made: number(&account[1]),
            lost: number(&account[2]),
            case: place.case,
        }
    });
    (figures.collect(), rates)
}

/// Lets a peer check the results of its rows.
fn settle(mut peer: Process, rows: usize) -> Vec<Vec<String>> {
    peer.emit("end");
    let account = (0..rows).map(|row| peer.hear(&format!("checking the result of its row {row}"))).collect();
    peer.hear("its end");
    peer.wait();
    account
}

/// Runs every rate `runs` times for `time`, in turn, each time in a new process.
pub(crate) fn rates(places: Vec<Place>, runs: usize, time: Duration) -> Vec<Flows> {
    let mut flows = vec![Vec::new(); places.len()];
    for run in 0..runs {
        for (place, flows) in places.iter().zip(&mut flows) {
            eprintln!("  {}, {}, run {} of {runs}", place.case.peer, place.name(), run + 1);
            let (peer, rate) = place.at;
            let arguments = ["--rate".to_owned(), peer.to_string(), rate.to_string()];
            let arguments = [&arguments[..], &[time.as_millis().to_string()]].concat();
            let mut peer = Process::start(peer, &arguments);
            flows.push(peer.hear(&place.name()));
            peer.wait();
        }
    }
    let sum =
        |flows: &[Vec<String>], field: usize| flows.iter().map(|flow| number::<u64>(&flow[field])).sum();
    places
        .into_iter()
        .zip(flows)
        .map(|(place, flows)| {
            let each =
                |of: fn(&[String]) -> f64| median(&mut flows.iter().map(|flow| of(flow)).collect::<Vec<_>>());
            Flows {
                case: place.case,
                millions: each(|flow| number::<f64>(&flow[1]) / number::<f64>(&flow[2]) * 1e3),
                made: sum(&flows, 3),
                lost: sum(&flows, 4),
                grew: flows.iter().map(|flow| number(&flow[5])).max().unwrap_or(0),
                background: each(|flow| number::<f64>(&flow[6]) / number::<f64>(&flow[1])),
                caller: Some(each(|flow| number::<f64>(&flow[7]) / number::<f64>(&flow[1]))),
                runs,
            }
        })
        .collect()
}
