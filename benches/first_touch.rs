//! First touches: what a thread's first record costs it while many lanes exist and others read all of them.
//!
//! A first touch takes a lane, under a lock that all first touches share. Readers of all lanes (ledgers, snapshots, the
//! aggregator's own looks) take time in proportion to the lanes and what is in them. This bench shows whether first
//! touches wait for that.
//!
//! `cargo bench --bench first_touch` prints times. As a test it runs the same with few lanes and asserts that no record
//! and no lane is lost.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};
use support::DEADLINE;
use tellane::{Config, Counter, Histogram, Kind, Telemetry};

/// Counters, of which each lane counts the last: so every lane has a cell for each.
const COUNTERS: u64 = 100;

/// Enough for a thread that records one value.
const STACK: usize = 64 << 10;

struct Rig {
    telemetry: Telemetry,
    sizes: Histogram,
    last: Counter,
}

impl Rig {
    fn new(lanes: usize) -> Self {
        let telemetry = support::start(Config {
            ring_words: 64,
            spill_bytes: 4 << 10,
            lane_cap: lanes,
            idle_lanes: 0,
            memory_cap: usize::MAX,
            ..Config::default()
        });
        let counter =
            |number| telemetry.counter(&format!("counter_{number}_total")).register().expect("a good name");
        let counters: Vec<Counter> = (0..COUNTERS).map(counter).collect();
        let last = counters.last().expect("there are some").clone();
        let sizes = telemetry.histogram("sizes").register().expect("a good name");
        Self { telemetry, sizes, last }
    }

    /// A thread's first record: how long it took.
    #[allow(clippy::disallowed_methods)] // a bench looks at the clock from outside
    fn touch(&self) -> Duration {
        let begun = Instant::now();
        self.sizes.record(1);
        let took = begun.elapsed();
        self.last.inc();
        took
    }

    /// Every thread had a lane, and every record arrived.
    fn assert_complete(&self, touches: usize) {
        let snapshot = self.telemetry.snapshot(DEADLINE).expect("a snapshot");
        let samples = snapshot.ledger().kind(Kind::Sample);
        assert_eq!((samples.recorded, samples.aggregated), (touches as u64, touches as u64));
        assert_eq!(snapshot.ledger().coarse(), 0, "no thread was without a lane");
        let last = format!("counter_{}_total", COUNTERS - 1);
        assert_eq!(snapshot.counter(&last, &[]), Some(touches as u64));
    }
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    act: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    Builder::new().stack_size(STACK).spawn_scoped(scope, act).expect("the system has a thread")
}

/// So many lanes exist and readers read all of them in a loop, when `touches` more threads touch one after the other.
fn beside_readers(lanes: usize, touches: usize) -> Vec<Duration> {
    let rig = &Rig::new(lanes + touches);
    let (here, done) = (&Barrier::new(lanes + 1), &AtomicBool::new(false));
    let keep_lane = &|| {
        while !done.load(Ordering::Relaxed) {
            std::thread::park();
        }
    };
    let times = scope(|scope| {
        let mut owners: Vec<_> = (0..lanes)
            .map(|_| {
                spawn(scope, || {
                    rig.touch();
                    here.wait();
                    keep_lane();
                })
            })
            .collect();
        here.wait();
        spawn(scope, || {
            while !done.load(Ordering::Relaxed) {
                std::hint::black_box(rig.telemetry.ledger());
            }
        });
        spawn(scope, || {
            while !done.load(Ordering::Relaxed) {
                rig.telemetry.snapshot(DEADLINE).expect("a snapshot");
            }
        });
        let (touched, took) = mpsc::channel();
        let mut times = Vec::new();
        for _ in 0..touches {
            let touched = touched.clone();
            owners.push(spawn(scope, move || {
                touched.send(rig.touch()).expect("it is waited for");
                keep_lane();
            }));
            times.push(took.recv().expect("a touch"));
        }
        done.store(true, Ordering::Relaxed);
        owners.iter().for_each(|owner| owner.thread().unpark());
        times
    });
    rig.assert_complete(lanes + touches);
    times
}

/// So many threads touch at once.
fn at_once(threads: usize) -> Vec<Duration> {
    let rig = &Rig::new(threads);
    let (ready, times) = (&Barrier::new(threads), &Mutex::new(Vec::with_capacity(threads)));
    scope(|scope| {
        for _ in 0..threads {
            spawn(scope, || {
                ready.wait();
                let took = rig.touch();
                times.lock().expect("no touch panics").push(took);
                ready.wait(); // nobody takes over a lane
            });
        }
    });
    rig.assert_complete(threads);
    std::mem::take(&mut *times.lock().expect("no touch panics"))
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let micros = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1e6;
    let (median, high) = (micros(times.len() / 2), micros(times.len() * 99 / 100));
    println!("{name:<52}{median:>12.1}{high:>12.1}{:>12.1}", micros(usize::MAX));
}

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        println!("{:<52}{:>12}{:>12}{:>12}", "first touch, in microseconds", "median", "99 %", "worst");
        for lanes in [500, 5_000] {
            print(&format!("200 one after the other, beside {lanes} lanes"), beside_readers(lanes, 200));
        }
        for threads in [1_000, 10_000] {
            print(&format!("{threads} at once"), at_once(threads));
        }
    } else {
        assert_eq!(beside_readers(50, 20).len(), 20);
        assert_eq!(at_once(50).len(), 50);
    }
}
