//! metriken: plain atomics, and shards that the threads have to themselves. No lookup by label, no text of its own.

use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row};
use crate::{subject, workload};
use metriken::{AtomicCounterHistogram, Counter, ShardedCounterGroup, ShardedCounterHistogram};
use std::hint::black_box;

/// Buckets of a relative width of 2^-7, as fine as two decimal digits; no sum, minimum or maximum.
const GROUPING: u8 = 7;

fn count(loaded: Option<histogram::Histogram>) -> u64 {
    loaded.map_or(0, |loaded| loaded.as_slice().iter().sum())
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = counter_rows();
    rows.extend(histogram_rows());
    rows
}

fn counter_rows() -> Vec<Row> {
    static ONE: Counter = Counter::new();
    static TWO: Counter = Counter::new();
    static SHARDED: ShardedCounterGroup = ShardedCounterGroup::new(1);
    static SHARDED_TWO: ShardedCounterGroup = ShardedCounterGroup::new(1);
    static ENUMS: ShardedCounterGroup = ShardedCounterGroup::new(16);
    static ENUMS_TWO: ShardedCounterGroup = ShardedCounterGroup::new(16);
    fn kind(number: u32) -> usize {
        let (method, class) = workload::kinds(number);
        method as usize * 4 + class as usize
    }
    let sum = |group: &'static ShardedCounterGroup| move || group.load().map_or(0, |all| all.iter().sum());
    vec![
        Row::one(subject::COUNTER, "Counter::increment", CALLS, |_| {
            ONE.increment();
        })
        .exact(|| ONE.value()),
        Row::one(subject::COUNTER, "ShardedCounterGroup::increment", CALLS, |_| {
            SHARDED.increment(0);
        })
        .exact(sum(&SHARDED)),
        Row::two(subject::COUNTER_2T, "Counter::increment", CALLS_2T, |_| {
            TWO.increment();
        })
        .exact(|| TWO.value()),
        Row::two(subject::COUNTER_2T, "ShardedCounterGroup::increment", CALLS_2T, |_| {
            SHARDED_TWO.increment(0);
        })
        .exact(sum(&SHARDED_TWO)),
        Row::one(subject::ENUMS, "ShardedCounterGroup::increment, indexed by hand", CALLS, |number| {
            ENUMS.increment(kind(number));
        })
        .exact(sum(&ENUMS)),
        Row::two(subject::ENUMS_2T, "ShardedCounterGroup::increment, indexed by hand", CALLS_2T, |number| {
            ENUMS_TWO.increment(kind(number));
        })
        .exact(sum(&ENUMS_TWO)),
    ]
}

fn histogram_rows() -> Vec<Row> {
    static ONE: AtomicCounterHistogram = AtomicCounterHistogram::new(GROUPING, 64);
    static TWO: AtomicCounterHistogram = AtomicCounterHistogram::new(GROUPING, 64);
    static SHARDED: ShardedCounterHistogram = ShardedCounterHistogram::new(GROUPING, 64);
    static SHARDED_TWO: ShardedCounterHistogram = ShardedCounterHistogram::new(GROUPING, 64);
    let values = workload::values();
    vec![
        Row::one(subject::HISTOGRAM, "AtomicCounterHistogram::increment, no sum", CALLS, move |number| {
            ONE.increment(workload::at(values, number)).expect("in range");
        })
        .exact(|| count(ONE.load())),
        Row::one(subject::HISTOGRAM, "ShardedCounterHistogram::increment, no sum", CALLS, move |number| {
            SHARDED.increment(workload::at(values, number)).expect("in range");
        })
        .exact(|| count(SHARDED.load())),
        Row::two(
            subject::HISTOGRAM_2T,
            "AtomicCounterHistogram::increment, no sum",
            CALLS_2T,
            move |number| {
                TWO.increment(workload::at(values, number)).expect("in range");
            },
        )
        .exact(|| count(TWO.load())),
        Row::two(
            subject::HISTOGRAM_2T,
            "ShardedCounterHistogram::increment, no sum",
            CALLS_2T,
            move |number| {
                SHARDED_TWO.increment(workload::at(values, number)).expect("in range");
            },
        )
        .exact(|| count(SHARDED_TWO.load())),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    static ATOMIC: AtomicCounterHistogram = AtomicCounterHistogram::new(GROUPING, 64);
    static SHARDED: ShardedCounterHistogram = ShardedCounterHistogram::new(GROUPING, 64);
    vec![
        Rate::new(subject::FLAT_OUT_HISTOGRAM, "AtomicCounterHistogram::increment, no sum", |time| {
            let values = workload::values();
            let call = |number| ATOMIC.increment(workload::at(values, black_box(number))).expect("in range");
            flow(time, 1_000_000, |calls| (0..calls).for_each(call), |_| count(ATOMIC.load()))
        }),
        Rate::new(subject::FLAT_OUT_HISTOGRAM, "ShardedCounterHistogram::increment, no sum", |time| {
            let values = workload::values();
            let call = |number| SHARDED.increment(workload::at(values, black_box(number))).expect("in range");
            flow(time, 1_000_000, |calls| (0..calls).for_each(call), |_| count(SHARDED.load()))
        }),
    ]
}
