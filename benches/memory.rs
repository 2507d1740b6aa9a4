//! What a thread and a series take: bytes asked of the allocator, and bytes that became resident.
//!
//! `cargo bench --bench memory` prints the tables; `-- --json FILE` writes the figures for the page. As a test
//! (`cargo test --benches`) it takes fewer of each. It asserts that what `Pipeline::bytes` says of lanes and histograms
//! agrees with the allocator, within the bounds at the assertions.
//!
//! Threads go through their steps together while the aggregator is held up, so that a difference is theirs alone; it is
//! divided by their number. Blocks that the allocator hands out zeroed are resident only where they have been written.

#![allow(unsafe_code)] // a counting allocator

mod support;

use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};
use support::{DEADLINE, balanced, caught_up, conditions, conditions_of, gated, start, values};
use tellane::{Config, Kind, Snapshot, Telemetry};

struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's terms.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes at one moment.
#[derive(Clone, Copy)]
struct Bytes {
    allocated: i64,
    resident: i64,
}

impl Bytes {
    fn now() -> Self {
        // Not `statm`: its count lags by up to 64 pages a thread.
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Rss:"));
        let kib: i64 = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
        Self { allocated: LIVE.load(Ordering::Relaxed), resident: kib << 10 }
    }

    /// What each of `number` has added.
    fn each_since(before: Self, number: usize) -> Self {
        let (now, number) = (Self::now(), number as i64);
        Self {
            allocated: (now.allocated - before.allocated) / number,
            resident: (now.resident - before.resident) / number,
        }
    }
}

/// One thing that every thread does, and the settings that change what it takes.
type Step<'a> = (&'static str, &'static str, &'a (dyn Fn() + Sync));

fn main() {
    let after = |flag: &str| std::env::args().skip_while(|argument| argument != flag).nth(1);
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    if let Some(case) = after("--case") {
        let (group, number) = case.split_once(':').expect("a group and a number");
        let number: usize = number.parse().expect("a number");
        let count = after("--count").and_then(|count| count.parse().ok()).expect("a number");
        let figures = match group {
            "steps" => thread_by_step(count),
            "settings" => thread_by_setting(count, number),
            "series" => each_series(count, number),
            "hot" => hot_histogram(count),
            _ => lanes(count),
        };
        println!("{figures}");
        return;
    }
    let begun = conditions_of("memory");
    // `cargo test` passes no --bench.
    let (threads, series) = if has("--short") || !has("--bench") { (8, 200) } else { (32, 1_000) };
    let steps = alone("steps:0", threads);
    print(&format!("a thread, step by step ({threads} threads, default settings)"), steps.as_array());
    let settings: Vec<Value> =
        (0..settings().len()).map(|number| alone(&format!("settings:{number}"), threads)).collect();
    print("a thread by settings, with a counter, a sample and a span touched", Some(&settings));
    let each: Vec<Value> =
        (0..SERIES.len()).map(|number| alone(&format!("series:{number}"), series)).collect();
    print(&format!("a series ({series} of each; handles and texts included)"), Some(&each));
    let lanes = alone("lanes:0", threads);
    print("a lane without spill", Some(&vec![lanes.clone()]));
    let hot = alone("hot:0", threads);
    let parts = parts(&steps, &settings, &each, &hot);
    print("the parts, allocated bytes, default settings", Some(&parts));
    if let Some(path) = after("--json") {
        let figures = json!({
            "conditions": conditions::ended(begun),
            "threads_measured": threads,
            "series_measured": series,
            "parts": parts,
            "thread_by_step": steps,
            "thread_by_setting": settings,
            "series": each,
            "lane_without_spill": lanes,
        });
        std::fs::write(&path, format!("{figures:#}\n")).expect("the file for --json can be written");
    }
}

/// A case in a process of its own: what one has freed, resident as it may be, would be given to the next.
fn alone(case: &str, count: usize) -> Value {
    let program = std::env::current_exe().expect("this program");
    let mut command = std::process::Command::new(program);
    command.args(["--case", case, "--count", &count.to_string()]).stderr(std::process::Stdio::inherit());
    let output = command.output().expect("this program starts once more");
    assert!(output.status.success(), "case {case}");
    serde_json::from_slice(&output.stdout).expect("a case prints its figures")
}

/// A table of rows that have the same keys.
fn print(title: &str, rows: Option<&Vec<Value>>) {
    let rows: Vec<_> = rows.into_iter().flatten().filter_map(Value::as_object).collect();
    let Some(first) = rows.first() else { return };
    let mut keys: Vec<_> = first.keys().collect();
    keys.sort_by_key(|key| (*key == "settings_that_change_it", !first[*key].is_string())); // what it is comes first
    let names: Vec<String> = keys.iter().map(|key| key.replace('_', " ")).collect();
    println!("\n{title}\n\n| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
    for row in rows {
        let cell = |key: &&String| row[*key].as_str().map_or_else(|| row[*key].to_string(), str::to_owned);
        let cells: Vec<String> = keys.iter().map(cell).collect();
        println!("| {} |", cells.join(" | "));
    }
}

/// Runs the steps on so many threads at once, and says what each step took.
fn in_step(threads: usize, steps: &[Step<'_>]) -> Vec<Bytes> {
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                for (_, _, act) in steps {
                    barrier.wait();
                    act();
                    barrier.wait();
                }
                barrier.wait(); // their lanes are theirs until all has been looked at
            });
        }
        barrier.wait();
        let took = steps.iter().map(|_| {
            let before = Bytes::now();
            barrier.wait();
            barrier.wait();
            Bytes::each_since(before, threads)
        });
        let took = took.collect();
        barrier.wait();
        took
    })
}

const LONG_SPAN: &str = "first long span: its block";

fn thread_by_step(threads: usize) -> Value {
    let config = Config { logs_per_second: None, ..Config::default() };
    let (telemetry, gate) = gated(config.clone());
    let bar = gate.shut();
    let values = values();
    let counter = telemetry.counter("calls_total").register().expect("a fresh name");
    let cold = telemetry.histogram("cold").seconds().register().expect("a fresh name");
    let hot = telemetry.histogram("hot").seconds().digits(2).register().expect("a fresh name");
    let fine = telemetry.histogram("fine").seconds().digits(3).register().expect("a fresh name");
    let (tracer, log) = (telemetry.tracer(), telemetry.logger("bench"));
    let spans = config.ring_words / 7 + 1;
    let long = || {
        let mut span = tracer.span("long");
        const KEYS: [&str; 16] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
        KEYS.iter().for_each(|key| span.set(key, "a text that is longer than a word of eight bytes"));
    };
    let steps: [Step<'_>; 9] = [
        ("nothing: the way the steps are taken", "", &|| ()),
        ("first touch: counter inc", "ring_words, spill_bytes, lane_cap, idle_lanes", &|| counter.inc()),
        ("first sample", "", &|| cold.record(1)),
        ("first span", "names_cap", &|| drop(tracer.span("work"))),
        ("first log record, 2 fields", "", &|| {
            tellane::info!(log, "order placed", number = 1_u64, by = "web")
        }),
        (LONG_SPAN, "span_limits", &long),
        ("the ring has gone round once", "ring_words", &|| {
            (0..spans).for_each(|_| drop(tracer.span("work")))
        }),
        ("a hot histogram of 2 digits", "spill_bytes, digits, highest", &|| {
            values.iter().for_each(|value| hot.record(*value));
        }),
        ("a hot histogram of 3 digits", "spill_bytes, digits, highest", &|| {
            values.iter().for_each(|value| fine.record(*value));
        }),
    ];
    let took = in_step(threads, &steps);
    drop(bar);
    let end = telemetry.shutdown(DEADLINE);
    balanced(&end.ledger, Kind::Sample);
    for name in ["hot_seconds", "fine_seconds"] {
        let count = telemetry.latest().histogram(name, &[]).map(|view| view.count());
        assert_eq!(count, Some((threads * values.len()) as u64), "{name}");
    }
    let rows = steps.iter().zip(&took).map(|((step, settings, _), took)| {
        json!({
            "step": step,
            "allocated_bytes_per_thread": took.allocated,
            "resident_bytes_per_thread": took.resident,
            "settings_that_change_it": settings,
        })
    });
    rows.collect()
}

/// The settings whose difference is a part.
const DEFAULT: &str = "default: ring_words 32768, spill_bytes 524288";
const EIGHT_RINGS: &str = "ring_words 262144";
const NO_SPILL: &str = "spill_bytes 0";
const MANY_COUNTERS: &str = "default, 10,000 counters";

/// Settings, and how many counters there are.
fn settings() -> [(&'static str, usize, Config); 7] {
    let default = Config::default;
    [
        (DEFAULT, 1, default()),
        ("ring_words 1024", 1, Config { ring_words: 1 << 10, ..default() }),
        ("ring_words 4096", 1, Config { ring_words: 1 << 12, ..default() }),
        (EIGHT_RINGS, 1, Config { ring_words: 1 << 18, ..default() }),
        (NO_SPILL, 1, Config { spill_bytes: 0, ..default() }),
        (
            "ring_words 1024, spill_bytes 65536",
            1,
            Config { ring_words: 1 << 10, spill_bytes: 1 << 16, ..default() },
        ),
        (MANY_COUNTERS, 10_000, default()),
    ]
}

fn thread_by_setting(threads: usize, number: usize) -> Value {
    let (name, counters, config) = settings()[number].clone();
    let spans = config.ring_words / 7 + 1;
    let (telemetry, gate) = gated(config);
    let bar = gate.shut();
    let counters: Vec<_> = names(counters, "_total")
        .map(|name| telemetry.counter(&name).register().expect("a fresh name"))
        .collect();
    let histogram = telemetry.histogram("latency").seconds().register().expect("a fresh name");
    let tracer = telemetry.tracer();
    let touch = || {
        counters.iter().for_each(tellane::Counter::inc);
        histogram.record(1);
        drop(tracer.span("work"));
    };
    let round = || (0..spans).for_each(|_| drop(tracer.span("work")));
    let took = in_step(threads, &[("", "", &|| ()), ("", "", &touch), ("", "", &round)]);
    drop(bar);
    let end = telemetry.shutdown(DEADLINE);
    assert_eq!(balanced(&end.ledger, Kind::Span).recorded, (threads * (spans + 1)) as u64);
    let (first, round) = (took[1], took[2]);
    json!({
        "settings": name,
        "allocated_bytes_per_thread": first.allocated + round.allocated,
        "resident_bytes_per_thread_after_first_use": first.resident,
        "resident_bytes_per_thread_when_the_ring_has_gone_round": first.resident + round.resident,
    })
}

const HISTOGRAM: &str = "histogram of 2 digits";

/// A kind of series: its name, the settings that change what it takes, what makes `count` of them, what uses each once.
struct Series {
    name: &'static str,
    settings: &'static str,
    make: fn(&Telemetry, usize) -> Box<dyn Fn()>,
}

const SERIES: [Series; 7] = [
    Series {
        name: "counter",
        settings: "names_cap for those of bridges",
        make: |telemetry, count| {
            let all: Vec<_> = names(count, "_total")
                .map(|name| telemetry.counter(&name).register().expect("a fresh name"))
                .collect();
            Box::new(move || all.iter().for_each(tellane::Counter::inc))
        },
    },
    Series {
        name: "gauge",
        settings: "",
        make: |telemetry, count| {
            let all: Vec<_> = names(count, "")
                .map(|name| telemetry.gauge(&name).register().expect("a fresh name"))
                .collect();
            Box::new(move || all.iter().for_each(|gauge| gauge.set(1.5)))
        },
    },
    Series {
        name: HISTOGRAM,
        settings: "digits, highest",
        make: |telemetry, count| histograms(telemetry, count, 2),
    },
    Series {
        name: "histogram of 3 digits",
        settings: "digits, highest",
        make: |telemetry, count| histograms(telemetry, count, 3),
    },
    Series {
        name: "entry of a counter family, 2 labels",
        settings: "series_cap, label_value_max",
        make: |telemetry, count| {
            let family = telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name");
            let routes: Vec<String> = names(count, "").collect();
            routes.iter().for_each(|route| drop(family.with(["GET", route]).clone()));
            Box::new(move || routes.iter().for_each(|route| family.with(["GET", route]).inc()))
        },
    },
    Series {
        name: "entry of a histogram family, 2 labels",
        settings: "series_cap, digits, highest",
        make: |telemetry, count| {
            let family =
                telemetry.histogram("latency").seconds().family(["method", "route"]).expect("a fresh name");
            let routes: Vec<String> = names(count, "").collect();
            routes.iter().for_each(|route| drop(family.with(["GET", route]).clone()));
            Box::new(move || routes.iter().for_each(|route| spread(family.with(["GET", route]))))
        },
    },
    Series {
        name: "span name",
        settings: "names_cap",
        make: |telemetry, count| {
            let tracer = telemetry.tracer();
            let texts: Vec<&'static str> = names(count, "").map(|name| &*name.leak()).collect();
            Box::new(move || texts.iter().for_each(|name| drop(tracer.span(name))))
        },
    },
];

fn names(count: usize, end: &'static str) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("series_{number:04}{end}"))
}

/// Samples over the three decades that latencies spread over.
fn spread(histogram: &tellane::Histogram) {
    (0..10_u32).for_each(|step| histogram.record(1_000 << step));
}

fn histograms(telemetry: &Telemetry, count: usize, digits: u8) -> Box<dyn Fn()> {
    let register = |name: String| telemetry.histogram(&name).seconds().digits(digits).register();
    let all: Vec<_> = names(count, "").map(|name| register(name).expect("a fresh name")).collect();
    Box::new(move || all.iter().for_each(spread))
}

fn each_series(count: usize, number: usize) -> Value {
    let Series { name, settings, make } = &SERIES[number];
    let telemetry = start(Config::default());
    let first = telemetry.counter("first_total").register().expect("a fresh name");
    first.inc(); // the lane is there
    drop(telemetry.tracer().span("first"));
    let before = (settled(&telemetry).pipeline().bytes as i64, Bytes::now());
    let record = make(&telemetry, count);
    let registered = Bytes::each_since(before.1, count).allocated;
    record();
    let taken = settled(&telemetry);
    let recorded = Bytes::each_since(before.1, count).allocated;
    let said = (taken.pipeline().bytes as i64 - before.0) / count as i64;
    // What it leaves out are handles, statics and the spare room of tables: up to 3,000 bytes each. What it counts,
    // buckets above all, it never counts twice.
    assert!((0..3_000).contains(&(recorded - said)), "{name}: {said} of {recorded} bytes");
    drop(record);
    assert!(telemetry.shutdown(DEADLINE).finished);
    json!({
        "series": name,
        "allocated_bytes_when_registered": registered,
        "allocated_bytes_when_recorded_drained_and_in_a_snapshot": recorded,
        "of_it_by_pipeline_bytes": said,
        "settings_that_change_it": settings,
    })
}

/// A histogram of 2 digits that is too hot for the ring of each thread: what it takes of the thread's spill, and what the
/// aggregator keeps of that beside. The series itself is there before, and so is a snapshot of it.
fn hot_histogram(threads: usize) -> Value {
    let (telemetry, gate) = gated(Config { logs_per_second: None, ..Config::default() });
    let hot = telemetry.histogram("hot").seconds().digits(2).register().expect("a fresh name");
    let (values, settings) = (values(), Config::default());
    let all = || values.iter().for_each(|value| hot.record(*value));
    all();
    let bytes = |telemetry: &Telemetry| settled(telemetry).pipeline().bytes as i64;
    let (barrier, samples) = (Barrier::new(threads + 1), settings.ring_words + values.len());
    let (said, kept) = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                hot.record(values[0]); // its lane is there
                barrier.wait();
                barrier.wait();
                values.iter().cycle().take(samples).for_each(|value| hot.record(*value));
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait();
        let before = (bytes(&telemetry), Bytes::now());
        let bar = gate.shut();
        barrier.wait();
        barrier.wait();
        drop(bar);
        let said = (bytes(&telemetry) - before.0) / threads as i64;
        let kept = Bytes::each_since(before.1, threads).allocated;
        barrier.wait();
        (said, kept)
    });
    assert!(0 < kept && kept < said, "{kept} bytes are the aggregator's, of {said} in all");
    let end = telemetry.shutdown(DEADLINE);
    let count = telemetry.latest().histogram("hot_seconds", &[]).map(|view| view.count());
    assert_eq!(count, Some(balanced(&end.ledger, Kind::Sample).recorded));
    json!({ "of_the_spill": said - kept, "kept_by_the_aggregator": kept })
}

/// What lane, ring, cells, spill and histogram take, each by itself: differences of what was measured above, and how.
fn parts(steps: &Value, settings: &[Value], series: &[Value], hot: &Value) -> Vec<Value> {
    const THREAD: &str = "allocated_bytes_per_thread";
    let of = |rows: &[Value], key: &str, name: &str, figure: &str| {
        let row = rows.iter().find(|row| row[key] == name).expect("it was measured");
        row[figure].as_i64().expect("a number of bytes")
    };
    let with = |name: &str| of(settings, "settings", name, THREAD);
    // Eight rings instead of one.
    let ring = (with(EIGHT_RINGS) - with(DEFAULT)) / 7;
    let spill = with(DEFAULT) - with(NO_SPILL);
    let steps = steps.as_array().expect("a row a step");
    let whole = "allocated_bytes_when_recorded_drained_and_in_a_snapshot";
    let parts: [(&str, i64, &str, &str); 8] = [
        ("ring", ring, "a seventh of what 262,144 words take more", "ring_words"),
        ("spill", spill, "what a thread without takes less", "spill_bytes"),
        (
            "lane, names and cells of a few counters included",
            with(DEFAULT) - ring - spill,
            "what is left of a thread's without ring and spill",
            "lane_cap, idle_lanes: how many there are",
        ),
        (
            "cells of 10,000 counters",
            with(MANY_COUNTERS) - with(DEFAULT),
            "what a thread with them takes more",
            "series_cap, names_cap for those of bridges",
        ),
        (
            "block of a long span or record",
            of(steps, "step", LONG_SPAN, THREAD),
            "the step of the first one; a thread keeps up to four",
            "span_limits",
        ),
        (
            "histogram of 2 digits that is too hot for a thread's ring",
            hot["of_the_spill"].as_i64().expect("a number of bytes"),
            "what `Pipeline::bytes` grows by, less the next line; of the spill, not beside it",
            "digits, highest",
        ),
        (
            "the same, what the aggregator keeps of it for each thread",
            hot["kept_by_the_aggregator"].as_i64().expect("a number of bytes"),
            "what is allocated as it is drained",
            "digits, highest",
        ),
        (
            "histogram of 2 digits, once for all threads",
            of(series, "series", HISTOGRAM, whole),
            "recorded, drained and in a snapshot",
            "digits, highest",
        ),
    ];
    let parts = parts.iter().map(|(part, bytes, how, settings)| {
        assert!(*bytes > 0, "{part}: {bytes} bytes");
        json!({ "part": part, "bytes": bytes, "measured_as": how, "settings_that_change_it": settings })
    });
    parts.collect()
}

/// All is drained, and older snapshots are gone.
fn settled(telemetry: &Telemetry) -> std::sync::Arc<Snapshot> {
    drop(caught_up(telemetry));
    caught_up(telemetry)
}

/// What `Pipeline::bytes` says of a lane is what the allocator gave for it, within 5 %. Spills are left out of the
/// account here (`spill_bytes` 0): it counts of them what is used, the allocator what is set aside.
fn lanes(threads: usize) -> Value {
    let telemetry = start(Config { spill_bytes: 0, ..Config::default() });
    let counter = telemetry.counter("calls_total").register().expect("a fresh name");
    let before = settled(&telemetry).pipeline().bytes;
    let said = std::sync::Mutex::new(0);
    let took = in_step(
        threads,
        &[
            ("", "", &|| ()),
            ("", "", &|| counter.inc()),
            ("", "", &|| {
                let mut said = said.lock().expect("no thread panics");
                *said = caught_up(&telemetry).pipeline().bytes - before;
            }),
        ],
    );
    let said = said.into_inner().expect("no thread panics") as i64 / threads as i64;
    let allocated = took[1].allocated;
    assert!((said - allocated).abs() * 20 <= allocated, "{said} and {allocated} differ by more than 5 %");
    assert!(telemetry.shutdown(DEADLINE).finished);
    json!({ "allocated_bytes_per_lane": allocated, "of_it_by_pipeline_bytes": said })
}
