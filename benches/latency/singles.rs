//! The distribution of single calls.

use crate::Extent;
use crate::calls::{Around, Call, Handles};
use crate::support::{DEADLINE, Gate, NEVER, caught_up};
use crate::ticks::ticks;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::sync::{Barrier, Mutex};
use std::time::Duration;
use tellane::{Config, Telemetry};

/// What the aggregator does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregator {
    /// It drains; the threads make bursts that fit their rings, and wait until these are drained.
    Running,
    /// It drains nothing and is not missed: samples go on in the lanes, spans and log records are shed.
    Stopped,
    /// It has not been seen for longer than the setting allows: the first thread to find its ring full turns recording
    /// off.
    Stalled,
}

/// Longer than the aggregator sleeps.
const STALL: Duration = Duration::from_millis(30);

/// Calls of a thread before those that are timed.
const FIRST: u32 = 16;

/// One call in so many is followed by two readings with nothing between them.
const NOTHING_EACH: u32 = 8;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

type Ticks = Histogram<u64>;

fn empty() -> Ticks {
    Histogram::new_with_max(1 << 40, 3).expect("three digits below 2^40")
}

/// All cases, as a table on stdout and for the page.
pub(crate) fn run(extent: Extent, scale: f64) -> Vec<Value> {
    let mut rows = Vec::new();
    for (aggregator, title) in [
        (Aggregator::Running, "running, in bursts that fit the rings"),
        (Aggregator::Stopped, "stopped: nothing drains"),
        (Aggregator::Stalled, "stalled, and found out"),
    ] {
        println!("\nsingle calls in ns, aggregator {title}\n");
        println!(
            "| call | threads | p50 | p99 | p99.9 | p99.99 | worst | readings alone: p50 | p99.99 | worst | calls | aggregated | dropped | off |"
        );
        println!("|---|{}", "---:|".repeat(13));
        for call in Call::ALL {
            for threads in [1, 2, 4] {
                rows.push(case(call, aggregator, threads, extent, scale));
            }
        }
    }
    rows
}

/// A thread's loop: each call timed.
struct Timed<'a> {
    start: &'a Barrier,
    calls: u32,
    /// Calls between two rests, and what rests.
    burst: u32,
    rest: Option<&'a Telemetry>,
    sum: &'a Mutex<(Ticks, Ticks)>,
}

impl Around for Timed<'_> {
    #[inline(never)]
    fn run(self, mut call: impl FnMut(u32)) {
        let (mut times, mut nothing) = (empty(), empty());
        (0..FIRST).for_each(&mut call);
        self.start.wait();
        for number in 0..self.calls {
            if let Some(telemetry) = self.rest.filter(|_| number % self.burst == 0) {
                caught_up(telemetry);
            }
            let before = ticks();
            call(number);
            let after = ticks();
            times.saturating_record(after.saturating_sub(before));
            if number % NOTHING_EACH == 0 {
                let before = ticks();
                let after = ticks();
                nothing.saturating_record(after.saturating_sub(before));
            }
        }
        let mut sum = self.sum.lock().expect("no thread panics");
        sum.0.add(times).expect("the same bounds");
        sum.1.add(nothing).expect("the same bounds");
    }
}

fn case(call: Call, aggregator: Aggregator, threads: u32, extent: Extent, scale: f64) -> Value {
    let gate = Gate::default();
    let stall_after = if aggregator == Aggregator::Stalled { STALL } else { NEVER };
    let ring_words = extent.ring_words;
    let config = Config { ring_words, stall_after, logs_per_second: None, ..Config::default() };
    let builder = Telemetry::builder("bench").config(config).inject(gate.hook());
    let telemetry = builder.start().expect("the settings are valid");
    let handles = Handles::new(&telemetry);
    let bar = (aggregator != Aggregator::Running).then(|| gate.shut());
    if aggregator == Aggregator::Stalled {
        std::thread::sleep(2 * STALL); // its last sign of life is old enough for whoever looks
    }
    let sum = Mutex::new((empty(), empty()));
    let start = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let around = Timed {
                    start: &start,
                    calls: extent.calls / threads,
                    burst: ring_words as u32 / 32,
                    rest: (aggregator == Aggregator::Running).then_some(&telemetry),
                    sum: &sum,
                };
                call.hand_to(around, &handles);
            });
        }
    });
    drop(bar);
    let end = telemetry.shutdown(DEADLINE);
    let made = u64::from((extent.calls / threads + FIRST) * threads);
    let account = call.check(made, u64::from(threads), &end, &telemetry.latest());
    let shed = call.uses_ring() && !matches!(call, Call::Histogram | Call::Timer);
    match aggregator {
        Aggregator::Running => assert_eq!((account.dropped, account.switched_off), (0, 0), "{}", call.name()),
        Aggregator::Stopped => {
            assert_eq!((account.dropped > 0, account.switched_off), (shed, 0), "{}", call.name());
        }
        Aggregator::Stalled => assert_eq!(account.switched_off > 0, call.uses_ring(), "{}", call.name()),
    }
    let (times, nothing) = sum.into_inner().expect("no thread panics");
    let nanos = |ticks: u64| (ticks as f64 * scale * 10.0).round() / 10.0;
    let at = |of: &Ticks, quantile| nanos(of.value_at_quantile(quantile));
    print!("| {} | {threads} |", call.name());
    QUANTILES.iter().for_each(|(_, quantile)| print!(" {:.0} |", at(&times, *quantile)));
    println!(
        " {:.0} | {:.0} | {:.0} | {:.0} | {made} | {} | {} | {} |",
        nanos(times.max()),
        at(&nothing, 0.5),
        at(&nothing, 0.9999),
        nanos(nothing.max()),
        account.aggregated,
        account.dropped,
        account.switched_off
    );
    let figures = |of: &Ticks| {
        let mut figures: serde_json::Map<String, Value> = QUANTILES
            .iter()
            .map(|(name, quantile)| (format!("{name}_nanoseconds"), json!(at(of, *quantile))))
            .collect();
        figures.insert("worst_nanoseconds".into(), json!(nanos(of.max())));
        figures.insert("count".into(), json!(of.len()));
        figures
    };
    json!({
        "call": call.name(),
        "aggregator": match aggregator {
            Aggregator::Running => "running",
            Aggregator::Stopped => "stopped",
            Aggregator::Stalled => "stalled",
        },
        "threads": threads,
        "call_between_two_readings": figures(&times),
        "two_readings_alone": figures(&nothing),
        "records_made": account.recorded,
        "records_aggregated": account.aggregated,
        "records_dropped_and_counted": account.dropped,
        "records_switched_off_and_counted": account.switched_off,
    })
}
