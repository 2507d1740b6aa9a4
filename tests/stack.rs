//! A thread's first touch of everything fits a small stack. What does not fit aborts the process, so the thread runs in a
//! child: this test binary once more.
#![cfg(target_os = "linux")]

mod support;

use std::process::Command;
use std::time::Duration;
use support::PATIENCE;
use tellane::{Config, LazyCounter, LazyHistogram, LazyTimer, Sink, Telemetry};

/// Set in the child's environment: the stack's size in bytes.
const STACK: &str = "TELLANE_STACK";
const PROOF: &str = "everything was touched\n";

static HITS: LazyCounter = tellane::counter!("hits_total", "Hits.");
static SIZES: LazyHistogram = tellane::histogram!("static_sizes", "Sizes.");
static WORK: LazyTimer = tellane::timer!("static_work", "Work.");

/// Touches every kind of record for the first time, on a thread with a stack of so many bytes.
fn child(stack: usize) {
    let config = Config { logs_per_second: Some(1_000), ..Config::default() };
    let builder = Telemetry::builder("small").config(config).log_to(Sink::memory(10).0);
    let telemetry = builder.install().expect("the only one in this process");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let family = telemetry.counter("by_route_total").family(["method", "route"]).expect("a good name");
    let timers = telemetry.timer("by_route").family(["route"]).expect("a good name");
    let (tracer, log) = (telemetry.tracer(), telemetry.logger("small"));
    let touch = move || {
        counter.inc();
        sizes.record(77);
        family.with(["GET", "/cart"]).inc();
        timers.with(["/cart"]).record(Duration::from_millis(1));
        HITS.inc();
        SIZES.record(77);
        WORK.time(|| ());
        let mut span = tracer.span("request");
        span.set("path", "/etc/hosts");
        drop(tracer.build(&String::from("dynamic")).start());
        span.fail();
        drop(span);
        tellane::info!(log, "request", path = "/etc/hosts", bytes = 240_u64);
        log.warn("a text");
    };
    let thread = std::thread::Builder::new().stack_size(stack).spawn(touch).expect("it starts");
    thread.join().expect("no panic");
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_eq!(snapshot.counter("calls_total", &[]), Some(1));
    assert_eq!(snapshot.counter("hits_total", &[]), Some(1));
    assert_eq!(snapshot.counter("by_route_total", &[("method", "GET"), ("route", "/cart")]), Some(1));
    assert_eq!(snapshot.histogram("static_work_seconds", &[]).map(|view| view.count()), Some(1));
    assert_eq!(snapshot.spans().count(), 2);
    print!("{PROOF}");
}

#[test]
fn a_first_touch_fits_a_small_stack() {
    if let Ok(stack) = std::env::var(STACK) {
        return child(stack.parse().expect("a number of bytes"));
    }
    let program = std::env::current_exe().expect("this binary");
    let mut command = Command::new(program);
    command.args(["a_first_touch_fits_a_small_stack", "--exact", "--nocapture"]).env(STACK, "24576");
    let child = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains(PROOF),
        "{}\n{said}{}",
        child.status,
        String::from_utf8_lossy(&child.stderr)
    );
}
