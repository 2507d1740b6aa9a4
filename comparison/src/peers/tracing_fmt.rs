//! tracing with tracing-subscriber's fmt: a line of text for each event, time and level included, written to a sink
//! that discards it.

use super::Lines;
use crate::row::{CALLS, Row, SPANS};
use crate::subject;
use tracing::Level;

pub(super) fn rows() -> Vec<Row> {
    tracing_subscriber::fmt().with_max_level(Level::INFO).with_ansi(false).with_writer(|| Lines).init();
    vec![
        Row::one(subject::LOG, "info!; a line of text", SPANS / 2, |number| {
            tracing::info!(number, by = "web", "order placed");
        })
        .exact(Lines::seen),
        Row::one(subject::LOG_DISABLED, "debug!", CALLS, |number| {
            tracing::debug!(number, by = "web", "order placed");
        }),
    ]
}
