//! tellane's log records, in an instance without a limit of how many a second.

use super::{DEADLINE, rest, settings};
use crate::row::{CALLS, Row, SPANS};
use crate::subject;
use tellane::{Config, Kind, Telemetry};

pub(in crate::peers) fn rows() -> Vec<Row> {
    let unlimited = || {
        let config = Config { logs_per_second: None, ..settings() };
        Telemetry::builder("logs").config(config).start().expect("the settings are valid")
    };
    let (kept, quiet) = (unlimited(), unlimited());
    let (log, quiet_log) = (kept.logger("comparison"), quiet.logger("comparison"));
    vec![
        Row::one(subject::LOG, "info!, structured, rendered by nobody yet", SPANS / 2, move |number| {
            tellane::info!(log, "order placed", number = number, by = "web");
        })
        .rest(rest(&kept))
        .checked(move |made| {
            kept.snapshot(DEADLINE).expect("the aggregator is idle");
            let records = kept.ledger().kind(Kind::Log);
            assert_eq!(records.recorded, made.calls, "records counted, and made");
            records.dropped.total()
        }),
        Row::one(subject::LOG_DISABLED, "debug!", CALLS, move |number| {
            tellane::debug!(quiet_log, "order placed", number = number, by = "web");
        })
        .checked(move |_| {
            quiet.snapshot(DEADLINE).expect("the aggregator is idle");
            assert_eq!(quiet.ledger().kind(Kind::Log).recorded, 0, "records below the level");
            0
        }),
    ]
}
