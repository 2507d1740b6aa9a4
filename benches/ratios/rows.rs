//! The rows: floors, tellane's calls, and how they are told apart.

use crate::{Row, floors, timed};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tellane::{
    Config, InSpan, Kind, LazyCounter, LazyHistogram, LazyTimer, Outcome, Telemetry, counter, histogram,
    timer,
};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram in a static.");
static WORK: LazyTimer = timer!("worked", "A timer in a static.");
static SHARED: AtomicU64 = AtomicU64::new(0);

const CALLS: u32 = 10_000;
/// Spans of a batch: their words fit the ring, so that none is shed while they are timed.
pub(crate) const SPANS: u32 = 2_000;
/// Long enough for any machine; nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Values as latencies fall: log-normal around 20,000, spread over three decades. Made by a fixed generator.
pub(crate) fn values() -> Vec<u64> {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut uniform = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..8192).map(|_| (9.9 + (0..12).map(|_| uniform()).sum::<f64>() - 6.0).exp() as u64).collect()
}

pub(crate) fn row(
    name: &'static str,
    bound: Option<(&'static str, f64)>,
    calls: u32,
    run: impl FnMut(u32) -> Duration + 'static,
) -> Row {
    Row { name, bound, calls, run: Box::new(run), rest: Box::new(|| ()) }
}

pub(crate) fn rested(telemetry: &Telemetry, mut row: Row) -> Row {
    let telemetry = telemetry.clone();
    row.rest = Box::new(move || {
        let snapshot = telemetry.snapshot(DEADLINE);
        assert!(snapshot.is_ok(), "the aggregator keeps up between batches");
    });
    row
}

/// Both threads on the same object, each on a processor of its own: left to the scheduler, the two often share one for
/// the first milliseconds. Each has its own copy of the closure: read from the other's stack, it may share a cache line
/// with what the other writes there. The time is the calling thread's.
fn both(calls: u32, call: impl Fn(u32) + Copy + Send) -> Duration {
    let gate = &Barrier::new(2);
    let took = std::thread::scope(|scope| {
        scope.spawn(move || {
            floors::run_on(&[1]);
            (0..100).for_each(call);
            gate.wait();
            timed(calls, call);
        });
        floors::run_on(&[0]);
        (0..100).for_each(call);
        gate.wait();
        timed(calls, call)
    });
    floors::run_on(&[0, 1]);
    took
}

/// All rows, in the order of the page, and the instances that must outlive them.
pub(crate) fn all() -> (Vec<Row>, [Telemetry; 4]) {
    let installed = Telemetry::builder("bench").install().expect("the first one");
    let off = Telemetry::builder("off").start().expect("defaults are valid");
    off.switch().force_off();
    let sparse = Telemetry::builder("sparse").sampling(0.0).start().expect("defaults are valid");
    // Traces wait for their outcome; statements may say as much as they like.
    let outcome = Some(Outcome::default());
    let config = Config { sampling: 0.0, outcome, logs_per_second: None, ..Config::default() };
    let held = Telemetry::builder("held").config(config).start().expect("the settings are valid");
    let mut rows = floor_rows();
    rows.extend(counter_rows(&installed));
    rows.extend(sample_rows(&installed));
    rows.extend(span_rows(&installed, &sparse));
    rows.extend(held_rows(&held));
    rows.extend(off_rows(&off));
    (rows, [installed, off, sparse, held])
}

/// Statics in a program that has not installed anything, or never will.
pub(crate) fn before_install() -> Vec<Row> {
    let most = Some(("empty loop", 1.5));
    vec![
        row("not installed: counter", most, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
                HITS.inc();
            })
        }),
        row("not installed: histogram", most, CALLS, |calls| {
            timed(calls, |number| SIZES.record(u64::from(number)))
        }),
        row("not installed: timer", most, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
                let _running = WORK.start();
            })
        }),
    ]
}

fn floor_rows() -> Vec<Row> {
    let values: Arc<[u64]> = values().into();
    let beside = values.clone();
    vec![
        row("empty loop", None, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
            })
        }),
        row("floor: thread-local add", None, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
                floors::add();
            })
        }),
        row("floor: shared fetch_add", None, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
                SHARED.fetch_add(1, Ordering::Relaxed);
            })
        }),
        row("floor: shared fetch_add, 2 threads", None, 10 * CALLS, |calls| {
            both(calls, |number| {
                black_box(number);
                SHARED.fetch_add(1, Ordering::Relaxed);
            })
        }),
        row("floor: log-linear index + add", None, CALLS, {
            let values = values.clone();
            move |calls| timed(calls, |number| floors::log_linear(black_box(values[number as usize & 8191])))
        }),
        row("floor: the same, 2 threads", None, 20 * CALLS, {
            let values = values.clone();
            move |calls| both(calls, |number| floors::log_linear(black_box(values[number as usize & 8191])))
        }),
        row("floor: the same + sum, min, max", None, CALLS, move |calls| {
            timed(calls, |number| floors::log_linear_exact(black_box(values[number as usize & 8191])))
        }),
        row("beside: hdrhistogram's own record", None, CALLS, {
            let values = beside.clone();
            let mut theirs =
                hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 40, 2).expect("2 digits");
            move |calls| {
                timed(calls, |number| theirs.saturating_record(black_box(values[number as usize & 8191])))
            }
        }),
        row("floor: raw clock reading", None, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
                black_box(floors::ticks());
            })
        }),
        row("floor: 2 clock readings + ring record", None, CALLS, |calls| timed(calls, floors::span)),
    ]
}

fn counter_rows(installed: &Telemetry) -> Vec<Row> {
    let handle = installed.counter("requests_total").register().expect("a fresh name");
    let shared = handle.clone();
    let gauge = installed.gauge("depth").register().expect("a fresh name");
    let family = installed.counter("served_total").family(["method", "route"]).expect("a fresh name");
    let routes: Vec<String> = (0..100).map(|number| format!("/shop/{number}/items")).collect();
    let add = Some(("floor: thread-local add", 1.7));
    vec![
        row("counter, handle", add, CALLS, move |calls| {
            timed(calls, |number| {
                black_box(number);
                handle.inc();
            })
        }),
        row("counter, static", add, CALLS, |calls| {
            timed(calls, |number| {
                black_box(number);
                HITS.inc();
            })
        }),
        row("counter, 2 threads", add, 10 * CALLS, move |calls| {
            both(calls, |number| {
                black_box(number);
                shared.inc();
            })
        }),
        row("counter, 2 dynamic labels", Some(("empty loop", 15.0)), CALLS, move |calls| {
            let mut at = 0;
            timed(calls, |_| {
                at = if at == 99 { 0 } else { at + 1 };
                family.with(["GET", black_box(&routes[at])]).inc();
            })
        }),
        row("gauge, set", None, CALLS, move |calls| timed(calls, |number| gauge.set(f64::from(number)))),
    ]
}

fn sample_rows(installed: &Telemetry) -> Vec<Row> {
    let values: Arc<[u64]> = values().into();
    let histogram = installed.histogram("latency").seconds().register().expect("a fresh name");
    let timer = installed.timer("work").register().expect("a fresh name");
    let floor = Some(("floor: log-linear index + add", 1.1));
    let record = |calls, values: &[u64], histogram: &tellane::Histogram| {
        timed(calls, |number| histogram.record(black_box(values[number as usize & 8191])))
    };
    // Batches that fit the ring: this series never spills, and goes on travelling by ring.
    let paced = installed.histogram("paced").seconds().register().expect("a fresh name");
    let inside = (values.clone(), installed.histogram("inside").seconds().register().expect("a fresh name"));
    let around = installed.tracer();
    let (paced, flat_out) = ((values.clone(), paced), (values.clone(), histogram.clone()));
    vec![
        rested(
            installed,
            row("histogram, into the ring", floor, CALLS, move |calls| record(calls, &paced.0, &paced.1)),
        ),
        rested(
            installed,
            row(
                "histogram, in a sampled span",
                Some(("histogram, into the ring", 1.7)),
                CALLS,
                move |calls| {
                    let _span = around.span("around samples");
                    record(calls, &inside.0, &inside.1)
                },
            ),
        ),
        row("histogram, flat out", floor, 20 * CALLS, move |calls| record(calls, &flat_out.0, &flat_out.1)),
        row("histogram, flat out, 2 threads", floor, 200 * CALLS, {
            let (values, histogram) = (values.clone(), histogram.clone());
            move |calls| both(calls, |number| histogram.record(black_box(values[number as usize & 8191])))
        }),
        row("histogram, static", floor, 20 * CALLS, move |calls| {
            timed(calls, |number| SIZES.record(black_box(values[number as usize & 8191])))
        }),
        rested(
            installed,
            row("timer, start and stop", None, CALLS, move |calls| {
                timed(calls, |number| {
                    black_box(number);
                    let _running = timer.start();
                })
            }),
        ),
    ]
}

fn span_rows(installed: &Telemetry, sparse: &Telemetry) -> Vec<Row> {
    let floor = |most| Some(("floor: 2 clock readings + ring record", most));
    let on = [installed; 6].map(Telemetry::tracer);
    let [root, child, two, flat_out, tree, polled] = on;
    let unsampled = sparse.tracer();
    vec![
        rested(
            installed,
            row("span, root", floor(1.3), SPANS, move |calls| {
                timed(calls, |number| {
                    black_box(number);
                    let _span = root.span("root");
                })
            }),
        ),
        rested(
            installed,
            row("span, child", floor(1.3), SPANS, move |calls| {
                let _root = child.span("around");
                timed(calls, |number| {
                    black_box(number);
                    let _span = child.span("child");
                })
            }),
        ),
        rested(
            installed,
            row("span, 2 attributes", None, SPANS, move |calls| {
                let _root = two.span("around");
                timed(calls, |number| {
                    let mut span = two.span("attributes");
                    span.set("number", number);
                    span.set("method", "GET");
                })
            }),
        ),
        rested(
            installed,
            row("span, tree of 100, each", floor(1.3), 2_000, move |calls| {
                timed(calls / 100, |number| {
                    black_box(number);
                    let _root = tree.span("tree");
                    for _ in 0..9 {
                        let _branch = tree.span("branch");
                        (0..10).for_each(|_| drop(tree.span("leaf")));
                    }
                })
            }),
        ),
        row("poll, bare", None, CALLS, |calls| {
            let mut future = Box::pin(std::future::poll_fn(|_| Poll::<()>::Pending));
            let mut context = Context::from_waker(Waker::noop());
            timed(calls, |_| assert!(black_box(&mut future).as_mut().poll(&mut context).is_pending()))
        }),
        rested(
            installed,
            row("poll, in span", Some(("poll, bare", 10.0)), CALLS, move |calls| {
                let future = std::future::poll_fn(|_| Poll::<()>::Pending);
                let mut future = Box::pin(future.in_span(polled.owned("polled")));
                let mut context = Context::from_waker(Waker::noop());
                timed(calls, |_| assert!(black_box(&mut future).as_mut().poll(&mut context).is_pending()))
            }),
        ),
        row("span, child, flat out", None, 10 * CALLS, move |calls| {
            let _root = flat_out.span("around");
            timed(calls, |number| {
                black_box(number);
                let _span = flat_out.span("child");
            })
        }),
        rested(
            sparse,
            row("span, unsampled", floor(1.3), SPANS, move |calls| {
                timed(calls, |number| {
                    black_box(number);
                    let _span = unsampled.span("unsampled");
                })
            }),
        ),
    ]
}

/// Spans that are only perhaps kept, and log records.
fn held_rows(held: &Telemetry) -> Vec<Row> {
    let (tracer, log) = (held.tracer(), held.logger("bench"));
    let quiet = log.clone();
    vec![
        rested(
            held,
            row("span, held", Some(("floor: 2 clock readings + ring record", 1.3)), SPANS, move |calls| {
                timed(calls, |number| {
                    black_box(number);
                    let _span = tracer.span("held");
                })
            }),
        ),
        rested(
            held,
            row("log, 2 fields", Some(("empty loop", 40.0)), SPANS / 2, move |calls| {
                timed(calls, |number| tellane::info!(log, "order placed", number = number, by = "web"))
            }),
        ),
        row("log, level off", Some(("empty loop", 1.5)), CALLS, move |calls| {
            timed(calls, |number| tellane::debug!(quiet, "order placed", number = number, by = "web"))
        }),
    ]
}

fn off_rows(off: &Telemetry) -> Vec<Row> {
    let histogram = off.histogram("latency").seconds().register().expect("a fresh name");
    let timer = off.timer("work").register().expect("a fresh name");
    let (tracer, noop) = (off.tracer(), tellane::Tracer::noop());
    let counting = off.counter("calls_total").register().expect("a fresh name");
    let most = Some(("empty loop", 1.5));
    vec![
        row("off: histogram", most, CALLS, move |calls| {
            timed(calls, |number| histogram.record(u64::from(number)))
        }),
        row("off: counter, which goes on", most, CALLS, move |calls| {
            timed(calls, |number| {
                black_box(number);
                counting.inc();
            })
        }),
        row("off: timer", most, CALLS, move |calls| {
            timed(calls, |number| {
                black_box(number);
                let _running = timer.start();
            })
        }),
        row("off: span", most, CALLS, move |calls| {
            timed(calls, |number| {
                black_box(number);
                let _span = tracer.span("off");
            })
        }),
        row("noop: span", most, CALLS, move |calls| {
            timed(calls, |number| {
                black_box(number);
                let _span = black_box(&noop).span("noop");
            })
        }),
    ]
}

/// What cannot be said in nanoseconds a call: flat out for two seconds, and the drain.
pub(crate) fn print_rates(for_long: bool) {
    assert!(floors::total() > 0);
    println!("\n| rate | M/s | at least | lost | memory grew by |");
    println!("|---|---:|---:|---:|---:|");
    flat_out(if for_long { Duration::from_secs(2) } else { Duration::from_millis(50) });
    drain();
}

fn rate(name: &str, calls: u64, took: Duration, least: f64, lost: u64, grew: &str) {
    let millions = calls as f64 / took.as_secs_f64() / 1e6;
    let verdict = if millions >= least { "" } else { " **missed**" };
    println!("| {name} | {millions:.0} | {least:.0}{verdict} | {lost} | {grew} |");
}

fn flat_out(time: Duration) {
    let telemetry = Telemetry::builder("flat out").start().expect("defaults are valid");
    let histogram = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let values = values();
    let burst = |calls: u64| {
        for (_, value) in (0..calls).zip(values.iter().cycle()) {
            histogram.record(black_box(*value));
        }
    };
    burst(1_000_000);
    let before = resident();
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < time {
        burst(1_000_000);
        calls += 1_000_000;
    }
    let took = start.elapsed();
    let grew = (resident() - before).max(0);
    assert!(grew < 4 << 10, "{grew} KiB for {calls} samples: memory must not grow with them");
    let grew = format!("{grew} KiB");
    let report = telemetry.shutdown(Duration::from_secs(10));
    let samples = report.ledger.kind(Kind::Sample);
    assert_eq!((samples.recorded, samples.aggregated), (calls + 1_000_000, calls + 1_000_000));
    rate("histogram, flat out, 1 thread", calls, took, 200.0, samples.recorded - samples.aggregated, &grew);
}

/// Resident memory in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Rings filled while the aggregator is held up, then drained in one pass.
fn drain() {
    const THREADS: u64 = 16;
    const EACH: u64 = 1 << 16;
    let held = Arc::new(std::sync::Mutex::new(()));
    let hook = Arc::clone(&held);
    let config = Config { ring_words: 1 << 17, stall_after: Duration::from_secs(60), ..Config::default() };
    let telemetry = Telemetry::builder("drain")
        .config(config)
        .inject(move |_| drop(hook.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
        .start()
        .expect("the settings are valid");
    let histogram = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let values = values();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let holding = held.lock().expect("nobody panics with it");
        let full = Barrier::new(THREADS as usize + 1);
        let drained = Barrier::new(THREADS as usize + 1);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    (0..EACH).zip(values.iter().cycle()).for_each(|(_, value)| histogram.record(*value));
                    full.wait();
                    drained.wait();
                });
            }
            full.wait();
            drop(holding);
            let start = Instant::now();
            telemetry.snapshot(DEADLINE).expect("it is let go");
            best = best.min(start.elapsed());
            drained.wait();
        });
    }
    let report = telemetry.shutdown(DEADLINE);
    assert_eq!(report.ledger.kind(Kind::Sample).aggregated, 5 * THREADS * EACH);
    rate("drain, samples, 1 core", THREADS * EACH, best, 60.0, 0, "");
}
