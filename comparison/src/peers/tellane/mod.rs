//! tellane, of this tree.

mod drain;
pub(super) mod logs;
pub(super) mod metrics;
pub(super) mod off;
pub(super) mod scrape;
pub(super) mod spans;

use std::time::Duration;
use tellane::{Config, PointValue, Snapshot, Telemetry};

/// Long enough for any machine; nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The defaults, but that a machine that stands still for a second leaves no record out: their number is checked.
fn settings() -> Config {
    Config { stall_after: DEADLINE, ..Config::default() }
}

fn started(service: &str) -> Telemetry {
    Telemetry::builder(service).config(settings()).start().expect("the settings are valid")
}

/// Lets the aggregator catch up.
fn rest(telemetry: &Telemetry) -> impl FnMut() + use<> {
    let telemetry = telemetry.clone();
    move || drop(telemetry.snapshot(DEADLINE).expect("the aggregator keeps up between batches"))
}

/// The sum over all series of a counter.
fn sum(snapshot: &Snapshot, name: &str) -> u64 {
    let series = snapshot.points().filter(|point| point.name() == name);
    series.map(|point| if let PointValue::Counter(count) = point.value() { *count } else { 0 }).sum()
}
