//! The program's global allocator records through statics, families, tracers, loggers and bridges that are used for the first
//! time while tellane itself allocates, under whatever lock: nothing waits for itself, and nothing is lost. A deadlock
//! would hold the whole process, so each way of recording runs in a child: this test binary once more.
#![allow(unsafe_code)] // an allocator

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use support::{PATIENCE, eventually};
use tellane::{
    Config, Counter, Family, Kind, LazyCounter, LazyGauge, LazyHistogram, LazyTimer, LazyUpDownCounter,
    PointValue, Reason, RegisterError, Snapshot, Telemetry,
};

/// The child's way of recording, in its environment.
const WAY: &str = "TELLANE_ALLOCATOR_WAY";
const PROOF: &str = "nothing was lost\n";

struct Recording;

#[global_allocator]
static ALLOCATOR: Recording = Recording;

/// The allocator's way of recording: 0 is none.
static CHOSEN: AtomicU32 = AtomicU32::new(0);
/// Calls that recorded.
static CALLS: AtomicU64 = AtomicU64::new(0);
static HANDLES: OnceLock<(Family<Counter, 1>, tellane::Tracer, tellane::Logger, Telemetry)> = OnceLock::new();

static LARGE: LazyCounter = tellane::counter!("large_total", "Allocations of 16 to 512 KiB.");
static ALL: LazyCounter = tellane::counter!("all_total", "Allocations and releases.");
static BALANCE: LazyUpDownCounter = tellane::up_down_counter!("balance", "The same.");
static LEVEL: LazyGauge = tellane::gauge!("level", "The same.");
static SIZES: LazyHistogram = tellane::histogram!("allocated", "The same.").bytes();
static TIMES: LazyTimer = tellane::timer!("taken", "The same.");
static TIMED: LazyTimer = tellane::timer!("timed", "The same, by a stopwatch.");
static FLOATS: LazyHistogram = tellane::histogram!("floats", "The same.");
static STARTED: LazyTimer = tellane::timer!("started", "The same, by a stopwatch.");

macro_rules! forty {
    ($($name:literal)*) => {
        static FORTY: [LazyCounter; 40] = [$(tellane::counter!(concat!("forty_", $name, "_total"), "One of forty.")),*];
        static LEVELS: [LazyGauge; 40] = [$(tellane::gauge!(concat!("level_", $name), "One of forty."),)*];
    };
}

forty! {
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
}

thread_local! {
    /// Depth of the allocator's own recursion: a span's first name allocates, and the recursion that follows is the
    /// allocator's to cut.
    static NESTED: Cell<u32> = const { Cell::new(0) };
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    static PROBING: Cell<bool> = const { Cell::new(false) };
    /// Not one of tellane's own threads: the bridges for logs and spans leave those out.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

const TEXTS: [&str; 32] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z", "aa", "bb", "cc", "dd", "ee", "ff",
];

/// One text after the other, so that there is always one that nobody has met.
fn text() -> &'static str {
    let number = NUMBER.with(|number| number.replace(number.get() + 1));
    TEXTS[number % TEXTS.len()]
}

/// Pieces of one text: a few thousand, so that most are new for long.
fn piece() -> &'static str {
    const WHOLE: &str =
        "abcdefghijklmnopqrstuvwxyz-0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZ+zyxwvutsrqponmlkjihgfedcba";
    let number = NUMBER.with(|number| number.replace(number.get() + 1));
    let (begin, len) = (number % 46, 1 + number / 46 % 46);
    &WHOLE[begin..begin + len]
}

type Way = (&'static str, fn(usize));

/// Each records one call. Those whose names end in `inside` do so under a lock of tellane's only, so that their first use is
/// there.
static WAYS: &[Way] = &[
    ("large", |_| LARGE.inc()),
    ("forty statics, inside", |_| FORTY.iter().for_each(|counter| counter.inc())),
    ("forty gauges, inside", |_| LEVELS.iter().for_each(|gauge| gauge.add(1.0))),
    ("timed, inside", |_| TIMED.time(|| ())),
    ("started, inside", |_| drop(STARTED.start())),
    ("floats, inside", |_| FLOATS.record_f64(0.5)),
    ("dereferenced, inside", |_| (*LEVEL).add(1.0)),
    ("counter", |_| ALL.inc()),
    ("up-down-counter", |_| BALANCE.inc()),
    ("gauge", |_| LEVEL.add(1.0)),
    ("histogram", |size| SIZES.record(size as u64)),
    ("timer", |size| TIMES.record(Duration::from_nanos(size as u64))),
    ("family", |_| HANDLES.get().into_iter().for_each(|(family, ..)| family.with([text()]).inc())),
    ("span", |_| HANDLES.get().into_iter().for_each(|(_, tracer, ..)| drop(tracer.span(text())))),
    ("dynamic span", |_| {
        HANDLES.get().into_iter().for_each(|(_, tracer, ..)| drop(tracer.build(text()).start()))
    }),
    ("log", |_| {
        HANDLES.get().into_iter().for_each(|(_, _, log, _)| tellane::info!(log, "allocated", size = 1_u64))
    }),
    // The names and keys are new when the tables of names grow under their lock.
    ("span of a new name", |_| {
        HANDLES.get().into_iter().for_each(|(_, tracer, ..)| drop(tracer.span(piece())))
    }),
    ("dynamic span of a new name", |_| {
        HANDLES.get().into_iter().for_each(|(_, tracer, ..)| drop(tracer.build(piece()).start()))
    }),
    ("span with a new key", |_| {
        HANDLES.get().into_iter().for_each(|(_, tracer, ..)| tracer.span("allocated").set(piece(), 1_u64))
    }),
    // Each call looks up its target, and most targets are new: setting a level allocates under the lock of the rules.
    ("log of a new target", |_| {
        HANDLES.get().into_iter().for_each(|_| tellane::logger(text()).info("allocated"))
    }),
    #[cfg(feature = "metrics")]
    ("metrics counter", |_| metrics::counter!("bridged", "text" => text()).increment(1)),
    #[cfg(feature = "metrics")]
    ("metrics counter, inside", |_| metrics::counter!("bridged", "text" => text()).increment(1)),
    #[cfg(feature = "metrics")]
    ("metrics gauge, inside", |_| metrics::gauge!("bridged").increment(1.0)),
    #[cfg(feature = "metrics")]
    ("metrics histogram", |_| metrics::histogram!("bridged", "text" => text()).record(1.0)),
    #[cfg(feature = "metrics")]
    ("metrics histogram, inside", |_| metrics::histogram!("bridged", "text" => text()).record(1.0)),
    #[cfg(feature = "log")]
    ("log crate", |_| log::info!(target: text(), "allocated")),
    #[cfg(feature = "log")]
    ("log crate, inside", |_| log::info!("allocated {}", 1)),
    #[cfg(feature = "tracing")]
    ("tracing event", |_| tracing::info!("allocated")),
    #[cfg(feature = "tracing")]
    ("tracing event, inside", |_| tracing::info!(size = 1, "allocated")),
    #[cfg(feature = "tracing")]
    ("tracing span", |_| drop(tracing::info_span!("allocated").entered())),
    #[cfg(feature = "tracing")]
    ("tracing span, inside", |_| drop(tracing::info_span!("allocated", size = 1).entered())),
];

/// Whether this thread is under a lock of tellane's: nothing can be registered there.
fn is_inside() -> bool {
    let Some((.., telemetry)) = HANDLES.get().filter(|_| !PROBING.get()) else { return false };
    PROBING.set(true);
    let refused = telemetry.counter("probe").register().is_err_and(|error| error == RegisterError::Reentrant);
    PROBING.set(false);
    refused
}

fn note(size: usize) {
    let chosen = CHOSEN.load(Ordering::Relaxed) as usize;
    let Some((name, record)) = chosen.checked_sub(1).and_then(|at| WAYS.get(at)) else { return };
    if *name == "large" && !(16 << 10..512 << 10).contains(&size) {
        return;
    }
    if name.ends_with("inside") && !is_inside() {
        return;
    }
    if (name.starts_with("log crate") || name.starts_with("tracing")) && !OURS.get() {
        return;
    }
    NESTED.with(|nested| {
        if nested.get() > 3 {
            return;
        }
        nested.set(nested.get() + 1);
        CALLS.fetch_add(1, Ordering::SeqCst);
        record(size);
        nested.set(nested.get() - 1);
    });
}

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Recording {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are the system allocator's terms.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The sum of the counts and levels of points.
fn sum(snapshot: &Snapshot, is_wanted: impl Fn(&str) -> bool) -> u64 {
    let value = |point: tellane::Point<'_>| match point.value() {
        PointValue::Counter(count) => *count,
        PointValue::Gauge(level) => *level as u64,
        PointValue::Histogram(view) => view.count(),
        other => unreachable!("not among them: {other:?}"),
    };
    snapshot.points().filter(|point| is_wanted(point.name())).map(value).sum()
}

/// What snapshots show of a way's records, and what the ledger and the faults do.
fn shown(telemetry: &Telemetry, name: &str) -> u64 {
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let dropped = telemetry.ledger().kind(Kind::Sample).dropped.by(Reason::Reentrant);
    let lost: u64 = telemetry
        .faults()
        .iter()
        .map(|fault| match fault.error {
            RegisterError::RecordsLost { records } => records,
            _ => panic!("{fault:?}"),
        })
        .sum();
    let counted = |name: &str| sum(&snapshot, |other| other == name);
    match name.trim_end_matches(", inside") {
        "large" => counted("large_total"),
        "forty statics" => {
            let each: Vec<u64> = (0..40).map(|number| counted(&format!("forty_{number}_total"))).collect();
            assert_eq!(each, vec![each[0]; 40]);
            each[0]
        }
        "forty gauges" => {
            let each: Vec<u64> = (0..40).map(|number| counted(&format!("level_{number}"))).collect();
            assert_eq!(each, vec![each[0]; 40]);
            each[0]
        }
        "counter" => counted("all_total"),
        "up-down-counter" => snapshot.up_down_counter("balance", &[]).unwrap_or_default() as u64,
        "gauge" => counted("level"),
        "dereferenced" => counted("level") + lost,
        "histogram" => counted("allocated_bytes") + dropped,
        "timer" => counted("taken_seconds") + dropped,
        "timed" => counted("timed_seconds") + dropped,
        "started" => counted("started_seconds") + dropped,
        "floats" => counted("floats") + dropped,
        "family" => counted("by_text_total"),
        "metrics counter" => counted("bridged_total") + lost,
        "metrics gauge" => counted("bridged") + lost,
        "metrics histogram" => counted("bridged") + dropped,
        name if name.contains("span") => telemetry.ledger().kind(Kind::Span).recorded,
        _ => telemetry.ledger().kind(Kind::Log).recorded,
    }
}

/// Touches everything that takes a lock, while the allocator records.
fn child(way: usize) {
    let (name, _) = WAYS[way];
    let config = Config { logs_per_second: Some(10), idle_lanes: 1, ..support::patient() };
    let telemetry = Telemetry::builder("allocator").config(config).install().expect("the only one");
    let family = telemetry.counter("by_text_total").family(["text"]).expect("a good name");
    assert!(
        HANDLES.set((family, telemetry.tracer(), telemetry.logger("allocator"), telemetry.clone())).is_ok()
    );
    #[cfg(feature = "metrics")]
    tellane::bridge::metrics::Recorder::install(&telemetry).expect("the first");
    #[cfg(feature = "log")]
    tellane::bridge::log::Bridge::install(&telemetry).expect("the first");
    #[cfg(feature = "tracing")]
    tellane::bridge::tracing::Subscriber::new(&telemetry).install().expect("the first");
    OURS.set(true);
    CHOSEN.store(way as u32 + 1, Ordering::SeqCst);
    // First, while most texts are new: a rule is allocated under the lock that a new target needs.
    for number in 0..50 {
        telemetry.set_level(&format!("level_{number}"), tellane::Level::Warn);
    }
    telemetry.set_levels("info,level_1=warn,level_2=debug").expect("good levels");
    let kinds = [1, 2, 3, 4];
    std::thread::scope(|scope| {
        for thread in kinds {
            let telemetry = &telemetry;
            scope.spawn(move || {
                OURS.set(true);
                let routes =
                    telemetry.counter("routes_total").series_cap(200).family(["route"]).expect("a good name");
                let fixed =
                    telemetry.histogram("fixed").fixed_family::<(bool,)>(["yes"]).expect("a good name");
                for number in 0..500 {
                    let name = format!("counter_{number}_of_{thread}_total");
                    telemetry.counter(&name).register().expect("a good name").inc();
                    routes.with([&name]).inc();
                    fixed.with((number % 2 == 0,)).record(1);
                    drop(telemetry.tracer().build(&name).start());
                    telemetry.logger(&name).info("here");
                    if number % 250 == 0 {
                        let sizes = format!("sizes_{number}_of_{thread}");
                        telemetry.histogram(&sizes).register().expect("a good name").record(1);
                        telemetry.set_level(&name, tellane::Level::Warn);
                        telemetry.snapshot(PATIENCE).expect("a snapshot");
                        drop((telemetry.ledger(), telemetry.faults()));
                    }
                }
            });
        }
    });
    if name == "large" {
        // So many that the tables of numbers grow by allocations of that size, under the lock of the numbers.
        for number in 0..10_000 {
            telemetry.counter(&format!("more_{number}_total")).register().expect("a good name").inc();
        }
    }
    let before = CALLS.load(Ordering::SeqCst);
    let shown = shown(&telemetry, name);
    CHOSEN.store(0, Ordering::SeqCst);
    let after = CALLS.load(Ordering::SeqCst);
    assert!(before > 0, "the allocator has recorded");
    // Spans and logs of this program's own are in the ledger, too.
    let own = if ["span", "log", "tracing"].iter().any(|word| name.contains(word)) { 2_000 } else { 0 };
    assert!(
        (before + own..=after + own).contains(&shown),
        "{name}: {shown} shown for {before} to {after} calls"
    );
    assert!(telemetry.shutdown(PATIENCE).finished);
    print!("{PROOF}");
}

#[test]
fn whatever_an_allocator_records_through_is_neither_stuck_nor_lost() {
    if let Ok(way) = std::env::var(WAY) {
        return child(way.parse().expect("a way's number"));
    }
    let program = std::env::current_exe().expect("this binary");
    for (way, (name, _)) in WAYS.iter().enumerate() {
        let mut child = Command::new(&program)
            .args([
                "whatever_an_allocator_records_through_is_neither_stuck_nor_lost",
                "--exact",
                "--nocapture",
            ])
            .env(WAY, way.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the child ends", || child.try_wait().expect("a child").is_some());
        }));
        if ended.is_err() {
            child.kill().expect("it can be ended");
        }
        let output = child.wait_with_output().expect("it has ended");
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(ended.is_ok(), "{name}: the child hangs: {said}{errors}");
        assert!(output.status.success() && said.contains(PROOF), "{name}: {}: {said}{errors}", output.status);
    }
}
