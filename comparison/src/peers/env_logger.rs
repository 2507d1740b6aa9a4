//! log with env_logger: a line of text for each record, time and level included, written to a sink that discards it.

use super::Lines;
use crate::row::{CALLS, Row, SPANS};
use crate::subject;
use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

pub(super) fn rows() -> Vec<Row> {
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Info).write_style(WriteStyle::Never);
    builder.target(Target::Pipe(Box::new(Lines))).init();
    vec![
        Row::one(subject::LOG, "info!, kv; a line of text", SPANS / 2, |number| {
            log::info!(number = number, by = "web"; "order placed");
        })
        .exact(Lines::seen),
        Row::one(subject::LOG_DISABLED, "debug!, kv", CALLS, |number| {
            log::debug!(number = number, by = "web"; "order placed");
        }),
    ]
}
