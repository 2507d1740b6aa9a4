//! A run: what it was made on, and what every row and every rate came to. The JSON is this and nothing else, so that a
//! page can be made of it at any later time. Cold.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Who is no peer: the bare ideas.
pub(crate) const FLOOR: &str = "floor";
/// Who is to be compared.
pub(crate) const OURS: &str = "tellane";

/// A row or a rate as its process announced it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Case {
    pub(crate) subject: String,
    pub(crate) peer: String,
    #[serde(rename = "name")]
    pub(crate) how: String,
    pub(crate) threads: u32,
    /// What it does not promise that the others do; empty if it is all there.
    pub(crate) weaker: String,
}

impl Case {
    /// Whether tellane is held against it.
    pub(crate) fn is_rival(&self) -> bool {
        !self.is_ours() && self.peer != FLOOR && self.weaker.is_empty()
    }

    /// Whether it is another's, and promises less.
    pub(crate) fn is_weaker(&self) -> bool {
        !self.is_ours() && self.peer != FLOOR && !self.weaker.is_empty()
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.peer == OURS
    }
}

/// A row's figures.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Flows {
    #[serde(flatten)]
    pub(crate) case: Case,
    #[serde(rename = "millions_per_second")]
    pub(crate) millions: f64,
    pub(crate) made: u64,
    pub(crate) lost: u64,
    /// KiB.
    #[serde(rename = "rss_growth_kib")]
    pub(crate) grew: i64,
    /// Nanoseconds of processor time a record, beside the caller's.
    #[serde(rename = "background_ns")]
    pub(crate) background: f64,
    /// The caller's; runs of before it was measured have none.
    #[serde(rename = "caller_ns", default, skip_serializing_if = "Option::is_none")]
    pub(crate) caller: Option<f64>,
    pub(crate) runs: usize,
}

impl Flows {
    /// Nanoseconds of processor time a record, on all threads.
    pub(crate) fn total(&self) -> Option<f64> {
        self.caller.map(|caller| caller + self.background)
    }
}

/// All of it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    /// What it was made on and of (`conditions.rs`).
    #[serde(flatten)]
    pub(crate) conditions: Value,
    pub(crate) rows: Vec<Figures>,
    pub(crate) rates: Vec<Flows>,
}

impl Run {
    /// The rows of a subject, the quickest first.
    pub(crate) fn rows_of(&self, subject: &str) -> Vec<&Figures> {
        let mut here: Vec<_> = self.rows.iter().filter(|row| row.case.subject == subject).collect();
        here.sort_by(|left, right| left.median.total_cmp(&right.median));
        here
    }

    /// The rates of a subject, the highest first.
    pub(crate) fn rates_of(&self, subject: &str) -> Vec<&Flows> {
        let mut here: Vec<_> = self.rates.iter().filter(|rate| rate.case.subject == subject).collect();
        here.sort_by(|left, right| right.millions.total_cmp(&left.millions));
        here
    }

    /// Keeps the run in a file.
    pub(crate) fn write(&self, path: &Path) {
        let text = serde_json::to_string_pretty(self).expect("a run is numbers and texts");
        std::fs::write(path, text + "\n")
            .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    }

    /// Reads one that was kept.
    pub(crate) fn read(path: &Path) -> Self {
        let path_text = path.display();
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{path_text} cannot be read: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path_text} is no run: {error}"))
    }
}
