//! What the program is asked to do. Cold.

use lexopt::prelude::{Long, Short, ValueExt};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
Measures tellane beside its peers, in one run. Built with --release, or the times say nothing.

  (nothing)       the full run, some six minutes
  --short         31 rounds, less than a minute once built
  --smoke         2 rounds, for the checks of the results alone
  --only TEXT     the subjects whose names contain it
  --peer TEXT     the peers whose names contain it
  --json FILE     keeps all figures
  --page PERF.md --from FILE
                  measures nothing: the page's tables of figures that were kept
  --unexplained PERF.md --from FILE
                  measures nothing: the subjects of figures that were kept of which a row misses its target or loses to
                  the best peer, and which the page's prose does not name in backticks; fails if there are any";

/// How often, how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Length {
    pub(crate) rounds: usize,
    pub(crate) runs: usize,
    pub(crate) time: Duration,
}

const FULL: Length = Length { rounds: 301, runs: 3, time: Duration::from_secs(2) };
const SHORT: Length = Length { rounds: 31, runs: 1, time: Duration::from_millis(500) };
const SMOKE: Length = Length { rounds: 2, runs: 1, time: Duration::from_millis(50) };

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    Help,
    Measure(Measure),
    Page {
        page: PathBuf,
        from: PathBuf,
    },
    /// What of a kept run the page says nothing about.
    Unexplained {
        page: PathBuf,
        from: PathBuf,
    },
    /// A process of its own for the rows of the peer with this number.
    Serve(usize),
    /// The same for one of its rates.
    Rate {
        peer: usize,
        rate: usize,
        time: Duration,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measure {
    pub(crate) length: Length,
    pub(crate) only: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) json: Option<PathBuf>,
}

/// What those arguments ask for.
pub(crate) fn parse(mut arguments: lexopt::Parser) -> Result<Task, lexopt::Error> {
    let mut measure = Measure { length: FULL, only: None, peer: None, json: None };
    let (mut page, mut unexplained, mut from) = (None, None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Task::Help),
            Long("short") => measure.length = SHORT,
            Long("smoke") => measure.length = SMOKE,
            Long("only") => measure.only = Some(arguments.value()?.string()?),
            Long("peer") => measure.peer = Some(arguments.value()?.string()?),
            Long("json") => measure.json = Some(arguments.value()?.into()),
            Long("page") => page = Some(arguments.value()?.into()),
            Long("unexplained") => unexplained = Some(arguments.value()?.into()),
            Long("from") => from = Some(arguments.value()?.into()),
            Long("serve") => return Ok(Task::Serve(arguments.value()?.parse()?)),
            Long("rate") => {
                let mut number = || arguments.value()?.parse();
                let (peer, rate) = (number()?, number()?);
                let time = Duration::from_millis(number()? as u64);
                return Ok(Task::Rate { peer, rate, time });
            }
            other => return Err(other.unexpected()),
        }
    }
    match (page, unexplained, from) {
        (Some(page), None, Some(from)) => Ok(Task::Page { page, from }),
        (None, Some(page), Some(from)) => Ok(Task::Unexplained { page, from }),
        (None, None, None) => Ok(Task::Measure(measure)),
        _ => Err("--from goes with either --page or --unexplained".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(lexopt::Parser::from_args(line.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let full = Measure { length: FULL, only: None, peer: None, json: None };
        assert_eq!(parsed(""), Ok(Task::Measure(full.clone())));
        let some = Measure { length: SHORT, only: Some("span".into()), json: Some("a.json".into()), ..full };
        assert_eq!(parsed("--short --only span --json a.json"), Ok(Task::Measure(some)));
        assert_eq!(parsed("--serve 3"), Ok(Task::Serve(3)));
        let time = Duration::from_millis(50);
        assert_eq!(parsed("--rate 3 1 50"), Ok(Task::Rate { peer: 3, rate: 1, time }));
        let (page, from) = (PathBuf::from("PERF.md"), PathBuf::from("a.json"));
        let unexplained = Task::Unexplained { page: page.clone(), from: from.clone() };
        assert_eq!(parsed("--unexplained PERF.md --from a.json"), Ok(unexplained));
        assert_eq!(parsed("--page PERF.md --from a.json"), Ok(Task::Page { page, from }));
        assert_eq!(parsed("--short --help"), Ok(Task::Help));
    }

    #[test]
    fn what_nobody_knows_is_not_taken_for_the_full_run() {
        for line in [
            "--shrot",
            "span",
            "--only",
            "--page PERF.md",
            "--unexplained PERF.md",
            "--from a.json",
            "--page a --unexplained a --from b",
            "--serve x",
            "--rate 1 2",
        ] {
            assert!(parsed(line).is_err(), "{line}: {:?}", parsed(line));
        }
    }
}
