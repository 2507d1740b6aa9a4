//! What many threads reach together, flat out. With fewer processors than threads the point is that it does not
//! collapse; two floors stand beside it, a shared `fetch_add`, which does, and a thread-local add. What else ran on the
//! machine stands there, too: threads that wait for a processor take longer, whatever they do.

use crate::Extent;
use crate::calls::{Account, Around, Call, Handles};
use crate::support::DEADLINE;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};
use tellane::Telemetry;

/// Calls between two looks at whether it is time to stop.
const STRIDE: u32 = 1_024;

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

/// What the threads did, added up.
#[derive(Clone, Copy, Default)]
struct Done {
    calls: u64,
    processor_nanos: u64,
}

/// How long it took, and what all processors were busy with meanwhile, ours and others'.
#[derive(Clone, Copy)]
struct Course {
    took: Duration,
    busy: Duration,
}

/// A thread's loop: calls until it is told to stop.
struct FlatOut<'a> {
    start: &'a Barrier,
    stop: &'a AtomicBool,
    sum: &'a Mutex<Done>,
}

impl Around for FlatOut<'_> {
    #[inline(never)]
    fn run(self, mut call: impl FnMut(u32)) {
        let mut done = Done::default();
        self.start.wait();
        self.start.wait();
        let before = processor_nanos("/proc/thread-self");
        while !self.stop.load(Ordering::Relaxed) {
            (0..STRIDE).for_each(|number| call(black_box(number)));
            done.calls += u64::from(STRIDE);
        }
        done.processor_nanos = processor_nanos("/proc/thread-self") - before;
        let mut sum = self.sum.lock().expect("no thread panics");
        sum.calls += done.calls;
        sum.processor_nanos += done.processor_nanos;
    }
}

/// Time that a thread has had a processor; 0 where the system does not say.
fn processor_nanos(thread: &str) -> u64 {
    let text = std::fs::read_to_string(format!("{thread}/schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Time that all processors have worked, for whomever; none where the system does not say. In steps of 10 ms.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = line.map(|ticks| ticks.parse().unwrap_or(0)).collect();
    // user, nice, system, idle, waiting for devices, interrupts, soft interrupts; what follows is another's time.
    let worked = [0, 1, 2, 5, 6].map(|at| ticks.get(at).copied().unwrap_or(0));
    Duration::from_millis(10 * worked.iter().sum::<u64>())
}

/// The aggregators' threads, by their numbers, and the same of them.
fn aggregators() -> BTreeMap<PathBuf, u64> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let named = threads.flatten().map(|thread| thread.path()).filter(|thread| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "tellane")
    });
    named.map(|thread| (thread.clone(), processor_nanos(&thread.to_string_lossy()))).collect()
}

struct Row {
    name: &'static str,
    threads: u32,
    course: Course,
    done: Done,
    background_nanos: u64,
    account: Account,
}

/// The whole curve, as a table on stdout and for the page.
pub(crate) fn run(extent: Extent) -> Vec<Value> {
    println!(
        "\nscaling, flat out on {} processors\n",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!(
        "| call | threads | M/s | ns a call on its thread | processor ns a call | and the aggregator's | processors busy with others | aggregated | dropped | off |"
    );
    println!("|---|{}", "---:|".repeat(9));
    let mut rows = Vec::new();
    let mut emit = |row: Row| rows.push(row.emit());
    for threads in [1, 2, 4, 8, 16] {
        emit(floor("floor: shared fetch_add", threads, extent, |shared| {
            shared.fetch_add(1, Ordering::Relaxed);
        }));
    }
    for threads in [1, 2, 4, 8, 16] {
        emit(floor("floor: thread-local add", threads, extent, |_| OWN.with(|own| own.set(own.get() + 1))));
    }
    for call in [Call::Counter, Call::Histogram, Call::Root] {
        for threads in [1, 2, 4, 8, 16] {
            emit(measured(call, threads, extent));
        }
    }
    rows
}

/// Runs `each` on so many threads for a while.
fn together(threads: u32, time: Duration, each: impl Fn(FlatOut<'_>) + Sync) -> (Course, Done) {
    let (start, stop) = (Barrier::new(threads as usize + 1), AtomicBool::new(false));
    let sum = Mutex::new(Done::default());
    let (begun, worked) = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| each(FlatOut { start: &start, stop: &stop, sum: &sum }));
        }
        start.wait(); // they are all there
        let worked = busy();
        let begun = Instant::now();
        start.wait(); // and go: from here on this thread may be made to wait for a processor
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed); // they look again after a stride
        (begun, worked)
    });
    let course = Course { took: begun.elapsed(), busy: busy().saturating_sub(worked) };
    (course, sum.into_inner().expect("no thread panics"))
}

fn floor(name: &'static str, threads: u32, extent: Extent, act: impl Fn(&AtomicU64) + Sync) -> Row {
    let shared = AtomicU64::new(0);
    let (course, done) = together(threads, extent.time, |around| around.run(|_| act(&shared)));
    let account = Account { recorded: done.calls, aggregated: done.calls, ..Account::default() };
    Row { name, threads, course, done, background_nanos: 0, account }
}

fn measured(call: Call, threads: u32, extent: Extent) -> Row {
    let others = aggregators(); // that of the instance before goes a little after its shutdown
    let telemetry = Telemetry::builder("bench").start().expect("the defaults are valid");
    let handles = Handles::new(&telemetry);
    let (course, done) = together(threads, extent.time, |around| call.hand_to(around, &handles));
    let own = aggregators().into_iter().filter(|(thread, _)| !others.contains_key(thread));
    let background_nanos = own.map(|(_, nanos)| nanos).sum();
    let end = telemetry.shutdown(DEADLINE);
    let account = call.check(done.calls, u64::from(threads), &end, &telemetry.latest());
    Row { name: call.name(), threads, course, done, background_nanos, account }
}

impl Row {
    fn emit(&self) -> Value {
        let Self { name, threads, course: Course { took, busy }, done, background_nanos, account } = self;
        let calls = done.calls.max(1) as f64;
        let per_call = |nanos: f64| (nanos / calls * 100.0).round() / 100.0;
        let rate = (calls / took.as_secs_f64() / 1e4).round() / 100.0;
        let on_its_thread = per_call(took.as_nanos() as f64 * f64::from(*threads));
        let (own, background) = (per_call(done.processor_nanos as f64), per_call(*background_nanos as f64));
        let ours = Duration::from_nanos(done.processor_nanos + background_nanos);
        let others = busy.saturating_sub(ours).as_secs_f64() / took.as_secs_f64();
        let others = (others * 100.0).round() / 100.0;
        println!(
            "| {name} | {threads} | {rate:.1} | {on_its_thread:.2} | {own:.2} | {background:.2} | {others:.2} | {} | {} | {} |",
            account.aggregated, account.dropped, account.switched_off
        );
        json!({
            "call": name,
            "threads": threads,
            "million_calls_per_second_all_threads": rate,
            "nanoseconds_per_call_on_its_thread": on_its_thread,
            "processor_nanoseconds_per_call": own,
            "aggregator_processor_nanoseconds_per_call": background,
            "processors_busy_with_others": others,
            "records_made": account.recorded,
            "records_aggregated": account.aggregated,
            "records_dropped_and_counted": account.dropped,
            "records_switched_off_and_counted": account.switched_off,
        })
    }
}
