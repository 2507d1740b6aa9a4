//! The aggregator: what one core drains of a ring that was filled while it was held up. Timed is the snapshot that is
//! asked for when it is let go; its own making is among it, and small beside so many records.

#![allow(clippy::disallowed_methods, missing_docs)] // the OS clock measures from outside; criterion's macros

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use support::{DEADLINE, balanced, caught_up, gated, values};
use tellane::{Config, Kind, Telemetry};

const WORDS: usize = 1 << 18;

/// What is drained, how many records that fit the ring, the settings, and what makes so many.
type Case = (&'static str, Kind, u64, Config, fn(&Telemetry, u64));

fn drain(criterion: &mut Criterion) {
    let sparse = Config { sampling: 0.0, ..Config::default() };
    let cases: [Case; 5] = [
        ("samples", Kind::Sample, WORDS as u64 / 2, Config::default(), |telemetry, count| {
            let histogram = telemetry.histogram("latency").seconds().register().expect("the same again");
            let values = values();
            values.iter().cycle().take(count as usize).for_each(|value| histogram.record(*value));
        }),
        (
            "samples of 4 series in turn",
            Kind::Sample,
            WORDS as u64 / 2,
            Config::default(),
            |telemetry, count| {
                let histograms = ["a", "b", "c", "d"]
                    .map(|name| telemetry.histogram(name).seconds().register().expect("the same again"));
                let values = values();
                let both = values.iter().cycle().zip(histograms.iter().cycle());
                both.take(count as usize).for_each(|(value, histogram)| histogram.record(*value));
            },
        ),
        ("spans", Kind::Span, WORDS as u64 / 7, Config::default(), |telemetry, count| {
            let tracer = telemetry.tracer();
            (0..count).for_each(|_| drop(tracer.span("work")));
        }),
        ("unsampled spans", Kind::Span, WORDS as u64 / 7, sparse, |telemetry, count| {
            let tracer = telemetry.tracer();
            (0..count).for_each(|_| drop(tracer.span("work")));
        }),
        ("log records", Kind::Log, WORDS as u64 / 32, Config::default(), |telemetry, count| {
            let log = telemetry.logger("bench");
            (0..count).for_each(|number| tellane::info!(log, "order placed", number = number, by = "web"));
        }),
    ];
    let mut group = criterion.benchmark_group("drain");
    group.sample_size(10);
    for (name, kind, count, config, fill) in cases {
        let (telemetry, gate) = gated(Config { ring_words: WORDS, logs_per_second: None, ..config });
        let mut made = 0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |bench| {
            bench.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    let bar = gate.shut();
                    fill(&telemetry, count);
                    let start = Instant::now();
                    drop(bar);
                    caught_up(&telemetry);
                    took += start.elapsed();
                    made += count;
                }
                took
            });
        });
        let account = balanced(&telemetry.shutdown(DEADLINE).ledger, kind);
        assert_eq!((account.recorded, account.dropped.total()), (made, 0), "{name}");
        assert_eq!(account.aggregated + account.unsampled, made, "{name}");
    }
    group.finish();
}

criterion_group!(benches, drain);
criterion_main!(benches);
