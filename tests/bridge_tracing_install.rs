//! The bridge as the subscriber of the whole process: it allocates nothing for a span, hears nothing of what tellane's own
//! threads say, and goes on, deaf, in the child of a fork.
#![cfg(unix)]
#![allow(unsafe_code)] // an allocator that counts, and fork

#[path = "support/counting.rs"]
mod counting;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tellane::bridge::tracing::Subscriber;
use tellane::{Config, Format, Kind, Level, Sink, Telemetry};
use tracing::info_span;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sink that says something itself for each line it is given.
struct Chatty(Arc<AtomicU64>);

impl Write for Chatty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.iter().filter(|byte| **byte == b'\n').count() as u64, Ordering::Relaxed);
        let _inside = info_span!("writing").entered();
        tracing::info!("written");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn installed_it_hears_the_process_but_not_itself() {
    let lines = Arc::new(AtomicU64::new(0));
    let sink = Sink::writer(Format::Logfmt, Box::new(Chatty(Arc::clone(&lines))));
    // A machine that stands still for a second is no reason to leave lines out.
    let config = Config { logs_per_second: None, stall_after: PATIENCE, ..Config::default() };
    let telemetry = Telemetry::builder("process").config(config).log_to(sink).start().expect("it starts");
    Subscriber::new(&telemetry).install().expect("the first one");

    let act = |number: u64| {
        let span = info_span!("outer", number, method = "GET", text = %number);
        let _inside = span.enter();
        let handle = span.clone();
        drop(info_span!("inner").entered());
        drop(handle);
        tracing::info!(number, who = ?"alice", "said");
        tracing::debug!("not at this level");
    };
    (0..10).for_each(act);
    let before = counting::calls();
    (10..1_000).for_each(act);
    assert_eq!(counting::calls() - before, 0, "allocations on this thread");

    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let ledger = snapshot.ledger();
    assert_eq!(ledger.kind(Kind::Span).recorded, 2_000);
    assert_eq!(snapshot.spans().filter(|span| *span.name == *"writing").count(), 0);
    let again = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let logs = again.ledger().kind(Kind::Log);
    assert_eq!(logs.recorded, 1_000, "what the sink said made no more of it");
    assert_eq!(lines.load(Ordering::Relaxed) + logs.dropped.total(), 1_000);

    // SAFETY: the child calls only what is tested, and leaves without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        act(0);
        telemetry.set_level("bridge_tracing_install", Level::Debug);
        act(1);
        // SAFETY: it ends the child at once.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: `child` is the process made above, and `status` a place for one number.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status}");
    act(2);
    assert_eq!(telemetry.snapshot(PATIENCE).expect("a snapshot").ledger().kind(Kind::Span).recorded, 2_002);
}
