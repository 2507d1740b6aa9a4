//! The program's global allocator records into tellane: no deadlock, no recursion, and nothing goes uncounted.
#![allow(unsafe_code)] // an allocator

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{PATIENCE, assert_balanced};
use tellane::{Config, Counter, Histogram, Kind, Telemetry, Tracer};

struct Recording;

static HANDLES: OnceLock<(Counter, Histogram, Tracer)> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// A span needs memory at its first name; the recursion that follows is the allocator's own to cut.
    static NESTED: Cell<u32> = const { Cell::new(0) };
}

fn note(size: usize) {
    let Some((counter, sizes, tracer)) = HANDLES.get() else { return };
    NESTED.with(|nested| {
        if nested.get() > 3 {
            return;
        }
        nested.set(nested.get() + 1);
        CALLS.fetch_add(1, Ordering::Relaxed);
        counter.inc();
        sizes.record(size as u64);
        drop(tracer.span("allocate"));
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

#[global_allocator]
static ALLOCATOR: Recording = Recording;

#[test]
fn an_allocator_may_record() {
    let config = Config { idle_lanes: 1, ..Config::default() };
    let telemetry = Telemetry::builder("allocator").config(config).start().expect("it starts");
    let other = Telemetry::builder("other").start().expect("it starts");
    let handles = (
        telemetry.counter("allocator_calls_total").register().expect("a good name"),
        telemetry.histogram("allocated").bytes().register().expect("a good name"),
        telemetry.tracer(),
    );
    assert!(HANDLES.set(handles).is_ok());
    // From here on every lane that is attached, every row that grows and every name that is met allocates and so
    // records, on threads with a lane and without, and on the aggregator's own.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for metric in 0..100 {
                    let name = format!("metric_{metric}_total");
                    telemetry.counter(&name).register().expect("a good name").inc();
                    other.counter(&name).register().expect("a good name").inc();
                }
                let tracer = other.tracer();
                for name in ["one", "two", "three", "four"] {
                    let mut span = tracer.span(name);
                    span.set(name, 1_u64);
                    drop(telemetry.tracer().span(name));
                }
                telemetry.snapshot(PATIENCE).expect("a snapshot");
            });
        }
    });
    let others = other.shutdown(PATIENCE);
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished && others.finished);
    for metric in 0..100 {
        let name = format!("metric_{metric}_total");
        assert_eq!(telemetry.latest().counter(&name, &[]), Some(8), "{name}");
        assert_eq!(other.latest().counter(&name, &[]), Some(8), "{name}");
    }
    assert_balanced(&others.ledger);
    assert_eq!(others.ledger.kind(Kind::Span).recorded, 32);
    // The allocator goes on recording while the ledger is read: what it was told before must be in it.
    let before = CALLS.load(Ordering::Relaxed);
    let samples = telemetry.ledger().kind(Kind::Sample);
    assert!(samples.recorded >= before, "{samples:?} for {before} calls");
}
