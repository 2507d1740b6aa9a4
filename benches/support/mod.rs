//! What several benches need. Each is a program of its own and uses its part. Cold, but for the loop that is timed.
#![allow(dead_code, clippy::disallowed_methods)] // the OS clock measures from outside

pub(crate) mod conditions;

use criterion::Bencher;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tellane::{Config, FailPoint, Kind, KindLedger, Ledger, Snapshot, Telemetry};

/// Long enough for any machine; nothing waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The aggregator stands still for longer than this only if it is meant to.
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

/// An instance with these settings, which leaves nothing out if the machine stands still.
pub(crate) fn start(config: Config) -> Telemetry {
    let config = Config { stall_after: NEVER, ..config };
    Telemetry::builder("bench").config(config).start().expect("the settings are valid")
}

/// Where the aggregator can be held up, at the beginning of a pass.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    bar: Arc<Mutex<()>>,
    waits: Arc<AtomicBool>,
}

impl Gate {
    /// For [`Builder::inject`](tellane::Builder::inject).
    pub(crate) fn hook(&self) -> impl Fn(FailPoint) + Send + Sync + 'static {
        let gate = self.clone();
        move |at| {
            if at == FailPoint::Step {
                gate.waits.store(true, Ordering::Relaxed); // the lock orders it with what `shut` reads
                let _open = gate.bar.lock().unwrap_or_else(PoisonError::into_inner);
                gate.waits.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Shuts it, and returns when the aggregator stands before it. Dropping what is returned lets it go.
    pub(crate) fn shut(&self) -> MutexGuard<'_, ()> {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has passed has taken its word back under the lock that is held now.
        while !self.waits.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(100));
        }
        bar
    }
}

/// An instance whose aggregator can be held up, and is not missed while it is.
pub(crate) fn gated(config: Config) -> (Telemetry, Gate) {
    let gate = Gate::default();
    let config = Config { stall_after: NEVER, ..config };
    let builder = Telemetry::builder("bench").config(config).inject(gate.hook());
    (builder.start().expect("the settings are valid"), gate)
}

/// What a bench that keeps a record of its figures says of their conditions.
pub(crate) fn conditions_of(bench: &str) -> serde_json::Value {
    // `--bench` comes from cargo.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let command = format!("cargo bench --bench {bench} -- {}", arguments.join(" "));
    conditions::now(env!("CARGO_MANIFEST_DIR"), &["benches"], &command)
}

/// Waits until the aggregator has read everything there is.
pub(crate) fn caught_up(telemetry: &Telemetry) -> Arc<Snapshot> {
    telemetry.snapshot(DEADLINE).expect("the aggregator answers")
}

/// Asserts that of these records each is accounted for, and none is still on its way; hands the account on.
#[track_caller]
pub(crate) fn balanced(ledger: &Ledger, kind: Kind) -> KindLedger {
    let account = ledger.kind(kind);
    let found = account.aggregated + account.dropped.total() + account.suppressed();
    assert_eq!((account.recorded, account.in_flight), (found, 0), "{kind:?}: {account:?}");
    account
}

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

/// Times `call` as often as criterion wants it, and adds that to `made`.
pub(crate) fn counted<R>(bench: &mut Bencher<'_>, made: &mut u64, call: impl FnMut() -> R) {
    in_bursts(bench, made, u64::MAX, || (), call);
}

/// The same, with a rest before every `burst` calls, which is not timed.
pub(crate) fn in_bursts<R>(
    bench: &mut Bencher<'_>,
    made: &mut u64,
    burst: u64,
    mut rest: impl FnMut(),
    mut call: impl FnMut() -> R,
) {
    bench.iter_custom(|calls| {
        *made += calls;
        let (mut took, mut left) = (Duration::ZERO, calls);
        while left > 0 {
            let now = left.min(burst);
            rest();
            let start = Instant::now();
            for _ in 0..now {
                black_box(call());
            }
            took += start.elapsed();
            left -= now;
        }
        took
    });
}

/// Calls that fit a ring of the default size, whatever their record.
pub(crate) const BURST: u64 = 1_000;
