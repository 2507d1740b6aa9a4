//! Sampling by outcome: of a thousand requests, the few worth looking at are kept whole, and every one is counted.
//!
//! `cargo run --example tail_sampling`

use std::error::Error;
use std::time::Duration;
use tellane::{Clock, Config, TailSampling, Telemetry};

fn main() -> Result<(), Box<dyn Error>> {
    let (clock, hand) = Clock::mock(); // so that a request takes what the example says
    let outcome = TailSampling {
        errors: true,
        slower_than: Some(Duration::from_secs(1)),
        slower_than_p99: false,
        attributes: vec![("customer".into(), Some("tester".into()))],
        longest_wait: Duration::from_secs(600),
        ..TailSampling::default()
    };
    // No trace is sampled at its beginning: all of them are held until their root has ended.
    let config =
        Config { sampling: 0.0, tail_sampling: Some(outcome), ring_words: 1 << 17, ..Config::default() };
    // The clock jumps, and the aggregator has done nothing wrong.
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
    let decisions = snapshot.tail_sampling();
    println!("what became of 1,000 traces");
    for (decision, reason, count) in decisions.traces().filter(|(.., count)| *count > 0) {
        println!("  {decision:<8}{reason:<14}{count:>6}");
    }
    println!("the slowest that was kept");
    let slowest = snapshot.slowest_traces();
    if let Some(trace) = slowest.first() {
        print!("{trace}");
    }

    assert_eq!((decisions.error, decisions.slow, decisions.attribute), (5, 10, 4));
    assert_eq!((decisions.traces_kept(), decisions.uninteresting), (19, 981));
    // Kept whole, each with its three spans; and the durations are those of all.
    assert_eq!((snapshot.spans().count(), decisions.spans_dropped), (3 * 19, 3 * 981));
    assert_eq!(snapshot.span_durations("request").map(|taken| taken.count()), Some(1_000));
    Ok(())
}
