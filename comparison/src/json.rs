//! All figures as JSON, for whoever makes pages of them. Cold.

use crate::machine::Conditions;
use crate::rounds::{Figures, Flows};
use serde_json::{Value, json};

/// The file's text.
pub(crate) fn text(conditions: &Conditions, figures: &[Figures], flows: &[Flows]) -> String {
    let row = |row: &Figures| {
        json!({
            "subject": row.case.subject,
            "peer": row.case.peer,
            "name": row.case.how,
            "threads": row.case.threads,
            "weaker": row.case.weaker,
            "median": row.median,
            "min": row.min,
            "rounds": row.rounds,
            "allocations": row.allocations,
            "made": row.made,
            "lost": row.lost,
        })
    };
    let rate = |rate: &Flows| {
        json!({
            "subject": rate.case.subject,
            "peer": rate.case.peer,
            "name": rate.case.how,
            "threads": rate.case.threads,
            "weaker": rate.case.weaker,
            "millions_per_second": rate.millions,
            "made": rate.made,
            "lost": rate.lost,
            "rss_growth_kib": rate.grew,
            "background_ns": rate.background,
            "runs": rate.runs,
        })
    };
    let all = json!({
        "commit": conditions.commit,
        "rustc": conditions.rustc,
        "cpu": conditions.processor,
        "processors": conditions.processors,
        "load": conditions.load,
        "date": conditions.date,
        "command": conditions.command,
        "rows": figures.iter().map(row).collect::<Vec<Value>>(),
        "rates": flows.iter().map(rate).collect::<Vec<Value>>(),
    });
    format!("{all:#}\n")
}
