//! Tail sampling: of a thousand requests, the few interesting traces are kept whole, and all requests are counted.
//!
//! `cargo run --example tail_sampling`

use std::error::Error;
use std::time::Duration;
use tellane::{Clock, Config, TailSampling, Telemetry};

fn main() -> Result<(), Box<dyn Error>> {
    let (clock, hand) = Clock::mock(); // so that each request takes exactly the time set below
    let rules = TailSampling {
        errors: true,
        slower_than: Some(Duration::from_secs(1)),
        slower_than_p99: false,
        attributes: vec![("customer".into(), Some("tester".into()))],
        longest_wait: Duration::from_secs(600),
        ..TailSampling::default()
    };
    // Head sampling keeps no trace, so all of them are held until their root has ended.
    let config =
        Config { sampling: 0.0, tail_sampling: Some(rules), ring_words: 1 << 17, ..Config::default() };
    // The mock clock jumps ahead, so allow a long time between heartbeats: the aggregator must not count as stalled.
    let config = Config { stall_after: Duration::from_secs(600), ..config };
    let telemetry = Telemetry::builder("shop").config(config).clock(clock).start()?;
    let tracer = telemetry.tracer();

    for number in 1..=1_000_u64 {
        let mut request = tracer.span("request");
        request.set("customer", if number % 250 == 1 { "tester" } else { "guest" });
        drop(tracer.span("cart"));
        let mut payment = tracer.span("payment");
        hand.advance(Duration::from_millis(if number % 100 == 99 { 1_500 } else { 20 }));
        if number % 200 == 0 {
            payment.set_status(tellane::Status::Error);
        }
    }

    let snapshot = telemetry.snapshot(Duration::from_secs(10))?;
    let stats = snapshot.tail_sampling();
    println!("decisions on 1,000 traces");
    for (decision, reason, count) in stats.traces().filter(|(.., count)| *count > 0) {
        println!("  {decision:<8}{reason:<14}{count:>6}");
    }
    println!("the slowest trace that was kept");
    let slowest = snapshot.slowest_traces();
    if let Some(trace) = slowest.first() {
        print!("{trace}");
    }

    assert_eq!((stats.error, stats.slow, stats.attribute), (5, 10, 4));
    assert_eq!((stats.traces_kept(), stats.uninteresting), (19, 981));
    // Traces are kept whole, each with its three spans; durations are recorded for all requests.
    assert_eq!((snapshot.spans().count(), stats.spans_dropped), (3 * 19, 3 * 981));
    assert_eq!(snapshot.span_durations("request").map(|durations| durations.count()), Some(1_000));
    Ok(())
}
