//! The bare ideas, written by hand: what a call cannot be cheaper than on this machine.

use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row, SPANS, pending, poll};
use crate::{subject, workload};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static CELL: AtomicU64 = const { AtomicU64::new(0) };
    static BUCKETS: [AtomicU64; 8192] = const { [const { AtomicU64::new(0) }; 8192] };
    static SUM: Cell<u64> = const { Cell::new(0) };
    static HEAD: Cell<usize> = const { Cell::new(0) };
    static RING: [AtomicU64; 32768] = const { [const { AtomicU64::new(0) }; 32768] };
}

/// A thread-local cell with one writer.
#[inline(always)]
fn add() {
    CELL.with(|cell| cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed));
}

/// The bucket of a value by its highest bits, read off a double, and a thread-local count with one writer.
#[inline(always)]
fn log_linear(value: u64) {
    let above = ((value as i64 as f64).to_bits() >> 45) as usize;
    let index = if value < 256 { value as usize } else { above - (1_029 << 7) };
    BUCKETS.with(|buckets| {
        let bucket = &buckets[index & 8191];
        bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    });
}

/// The same, and the exact sum.
#[inline(always)]
fn log_linear_and_sum(value: u64) {
    log_linear(value);
    SUM.with(|sum| sum.set(sum.get().wrapping_add(value)));
}

/// Two raw clock readings and a record of `N` words into a thread-local ring.
#[inline(always)]
fn span<const N: usize>(number: u32) {
    let start = ticks();
    let mut words = [u64::from(number); N];
    // What is left of a span that only counts is how long it took.
    words[0] ^= ticks() - start;
    if N > 1 {
        words[N - 1] = start;
    }
    RING.with(|ring| {
        HEAD.with(|head| {
            let at = head.get();
            for (offset, word) in words.into_iter().enumerate() {
                ring[(at + offset) & 32767].store(word, Ordering::Relaxed);
            }
            head.set(at + N);
        });
    });
}

/// One raw clock reading.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// One clock reading.
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn counted_in_buckets() -> u64 {
    BUCKETS.with(|buckets| buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum())
}

/// Each floor's own words are shared by its rows, so the results are checked as a whole: something was counted.
fn something(row: Row, counted: fn() -> u64) -> Row {
    row.checked(move |made| {
        assert!(made.calls == 0 || counted() > 0, "the floor was optimised away");
        0
    })
}

pub(super) fn rows() -> Vec<Row> {
    static SHARED: AtomicU64 = AtomicU64::new(0);
    let values = workload::values();
    let fetch_add = |_| {
        SHARED.fetch_add(1, Ordering::Relaxed);
    };
    let cell = || CELL.with(|cell| cell.load(Ordering::Relaxed));
    let head = || HEAD.with(Cell::get) as u64;
    vec![
        Row::one(subject::BASELINE, "empty loop", CALLS, |_| ()),
        Row::one(subject::BASELINE, "relaxed load", CALLS, |_| {
            black_box(SHARED.load(Ordering::Relaxed));
        }),
        Row::one(subject::BASELINE, "raw clock reading", CALLS, |_| {
            black_box(ticks());
        }),
        Row::one(subject::BASELINE, "std Instant", CALLS, |_| {
            black_box(std::time::Instant::now());
        }),
        something(Row::one(subject::COUNTER, "thread-local add, one writer", CALLS, |_| add()), cell),
        something(Row::one(subject::COUNTER, "shared fetch_add", CALLS, fetch_add), || {
            SHARED.load(Ordering::Relaxed)
        }),
        something(Row::two(subject::COUNTER_2T, "thread-local add, one writer", CALLS_2T, |_| add()), cell),
        something(Row::two(subject::COUNTER_2T, "shared fetch_add", CALLS_2T, fetch_add), || {
            SHARED.load(Ordering::Relaxed)
        }),
        something(
            Row::one(subject::HISTOGRAM, "log-linear index, thread-local add", CALLS, |number| {
                log_linear(workload::at(values, number));
            }),
            counted_in_buckets,
        ),
        something(
            Row::one(subject::HISTOGRAM, "the same, and the sum", CALLS, |number| {
                log_linear_and_sum(workload::at(values, number));
            }),
            counted_in_buckets,
        ),
        something(
            Row::two(subject::HISTOGRAM_2T, "log-linear index, thread-local add", CALLS_2T, |number| {
                log_linear(workload::at(values, number));
            }),
            counted_in_buckets,
        ),
        something(
            Row::one(subject::TIMER, "2 raw clock readings, index, add, sum", CALLS, |_| {
                let start = ticks();
                log_linear_and_sum(black_box(ticks() - start));
            }),
            counted_in_buckets,
        ),
        // As many words as tellane's record of such a span has: seven, two more an attribute, one if it only counts.
        something(
            Row::one(subject::SPAN_ROOT, "2 raw clock readings, 7 words into a ring", SPANS, span::<7>),
            head,
        ),
        something(
            Row::one(subject::SPAN_CHILD, "2 raw clock readings, 7 words into a ring", SPANS, span::<7>),
            head,
        ),
        something(
            Row::two(subject::SPAN_CHILD_2T, "2 raw clock readings, 7 words into a ring", SPANS, span::<7>),
            head,
        ),
        something(
            Row::one(subject::SPAN_TREE, "2 raw clock readings, 7 words into a ring", SPANS, span::<7>),
            head,
        ),
        something(
            Row::one(subject::SPAN_UNSAMPLED, "2 raw clock readings, 1 word into a ring", SPANS, span::<1>),
            head,
        ),
        Row::batch(subject::ASYNC_POLL, "a bare poll", CALLS, |calls| poll(calls, pending())),
        something(
            Row::one(
                subject::SPAN_ATTRIBUTES,
                "2 raw clock readings, 11 words into a ring",
                SPANS,
                span::<11>,
            ),
            head,
        ),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![
        Rate::new(subject::FLAT_OUT_HISTOGRAM, "log-linear index, thread-local add", |time| {
            let values = workload::values();
            let burst =
                |calls| (0..calls).for_each(|number| log_linear(workload::at(values, black_box(number))));
            flow(time, 1_000_000, burst, |_| counted_in_buckets())
        }),
        Rate::new(subject::FLAT_OUT_SPANS, "2 raw clock readings, 7 words, nobody drains", |time| {
            let burst = |calls| (0..calls).for_each(|number| span::<7>(black_box(number)));
            flow(time, 100_000, burst, |_| HEAD.with(Cell::get) as u64 / 7)
        }),
    ]
}
