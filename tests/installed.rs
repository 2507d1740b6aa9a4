//! The handle of the installed instance: its drop flushes and never ends the instance. Each test runs in a process of
//! its own, since a process installs once.
#![allow(unsafe_code)] // fork

mod support;

use crossbeam_channel::bounded;
use std::process::{Command, Output};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, patient};
use tellane::{
    Config, FailPoint, Format, Kind, LazyCounter, LazyHistogram, Reason, Sink, SnapshotError, StartError,
    Telemetry,
};

static ORDERS: LazyCounter = tellane::counter!("orders_total", "Orders placed.");
static ITEMS: LazyHistogram = tellane::histogram!("items", "Items of an order.");

/// Runs `act` in another process: this test binary again, for the test `name` alone. Returns what it printed; `None`
/// is the other process's own result.
#[track_caller]
fn alone(name: &str, act: impl FnOnce()) -> Option<Output> {
    const ALONE: &str = "TELLANE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        act();
        return None;
    }
    let program = std::env::current_exe().expect("a test binary has a path");
    let mut command = Command::new(program);
    let output = command.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().expect("it runs");
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

/// Settings under which snapshots are made by request only.
fn quiet() -> Config {
    Config { flush_interval: Duration::from_secs(3_600), drop_deadline: PATIENCE, ..patient() }
}

fn record() {
    ORDERS.inc();
    ITEMS.record(3);
    drop(tellane::tracer().span("order"));
    tellane::info!(tellane::logger("shop"), "placed");
}

/// The statics' counts in the latest snapshot.
fn latest(telemetry: &Telemetry) -> (Option<u64>, Option<u64>) {
    let latest = telemetry.latest();
    (latest.counter("orders_total", &[]), latest.histogram("items", &[]).map(|items| items.count()))
}

#[test]
fn an_ignored_handle_leaves_the_instance_recording() {
    alone("an_ignored_handle_leaves_the_instance_recording", || {
        assert!(Telemetry::installed().is_none());
        let (sink, logs) = Sink::memory(10);
        // As the compiler suggests where the value is not used.
        let _ = Telemetry::builder("shop").config(quiet()).log_to(sink).install().expect("the first one");
        record();
        assert!(tellane::tracer().span("order").is_sampled());
        let telemetry = Telemetry::installed().expect("installed");
        let snapshot = telemetry.snapshot(PATIENCE).expect("it has not ended");
        assert_eq!(latest(&telemetry), (Some(1), Some(1)));
        assert_eq!((snapshot.spans().count(), logs.records().len()), (2, 1));
        assert_eq!(snapshot.ledger().total().dropped.total(), 0);
        // Handles that were asked for go without a trace.
        drop(telemetry);
        record();
        let telemetry = Telemetry::installed().expect("installed");
        assert_eq!(latest(&telemetry), (Some(1), Some(1)), "that drop did not flush");
        let again = Telemetry::builder("again").install();
        assert!(matches!(again, Err(StartError::AlreadyInstalled)));
        drop(again);
        let end = telemetry.shutdown(PATIENCE);
        assert!(end.finished);
        assert_eq!((end.flushed, end.ledger.total().dropped.total()), (7, 0), "2 samples, 3 spans, 2 logs");
        assert_balanced(&end.ledger);
    });
}

#[test]
fn the_last_clone_of_the_handle_flushes() {
    alone("the_last_clone_of_the_handle_flushes", || {
        let (sink, logs) = Sink::memory(10);
        let handle =
            Telemetry::builder("shop").config(quiet()).log_to(sink).install().expect("the first one");
        let telemetry = Telemetry::installed().expect("installed");
        let clone = handle.clone();
        record();
        drop(handle);
        assert_eq!(latest(&telemetry), (None, None), "a clone is left");
        // A thread's end drops the last one, in a destructor of a thread-local.
        std::thread::spawn(move || {
            thread_local! {
                static KEPT: std::cell::RefCell<Option<Telemetry>> = const { std::cell::RefCell::new(None) };
            }
            KEPT.set(Some(clone));
        })
        .join()
        .expect("no panic");
        assert_eq!(latest(&telemetry), (Some(1), Some(1)));
        assert_eq!((telemetry.latest().spans().count(), logs.records().len()), (1, 1));
        record();
        assert_eq!(telemetry.snapshot(PATIENCE).map(|all| all.spans().count()), Ok(2), "and it goes on");
    });
}

#[test]
fn what_is_logged_before_main_ends_is_written() {
    let printed = alone("what_is_logged_before_main_ends_is_written", || {
        let builder = Telemetry::builder("shop").config(quiet()).log_to(Sink::stderr(Format::Logfmt));
        let _telemetry = builder.install().expect("the first one");
        (0..1_000).for_each(|number| tellane::warn!(tellane::logger("shop"), "closing", number = number));
    });
    if let Some(printed) = printed {
        let written = String::from_utf8(printed.stderr).expect("text");
        let lines = written.lines().filter(|line| line.contains("closing")).count();
        assert_eq!(lines, 1_000, "{written}");
    }
}

#[test]
fn a_panic_that_unwinds_through_the_handle_flushes() {
    let printed = alone("a_panic_that_unwinds_through_the_handle_flushes", || {
        let unwound = std::panic::catch_unwind(|| {
            let builder = Telemetry::builder("shop").config(quiet()).log_to(Sink::stderr(Format::Logfmt));
            let _telemetry = builder.install().expect("the first one");
            record();
            std::panic::resume_unwind(Box::new("the program failed"));
        });
        assert!(unwound.is_err());
        assert_eq!(latest(&Telemetry::installed().expect("installed")), (Some(1), Some(1)));
    });
    if let Some(printed) = printed {
        assert!(String::from_utf8_lossy(&printed.stderr).contains("placed"), "{printed:?}");
    }
}

#[test]
fn only_a_shutdown_ends_it() {
    alone("only_a_shutdown_ends_it", || {
        let handle = Telemetry::builder("shop").config(quiet()).install().expect("the first one");
        record();
        let end = handle.shutdown(PATIENCE);
        assert!(end.finished);
        assert_eq!(end.flushed, 3, "a sample, a span, a log record");
        record();
        drop(handle); // has nothing to flush, and returns
        record();
        let telemetry = Telemetry::installed().expect("it stays the installed one");
        let ledger = telemetry.ledger();
        assert_balanced(&ledger);
        for kind in Kind::ALL {
            assert_eq!(ledger.kind(kind).dropped.by(Reason::AfterShutdown), 2, "{kind}");
        }
        assert_eq!(latest(&telemetry), (Some(1), Some(1)), "the last snapshot stays");
        assert!(matches!(Telemetry::builder("again").install(), Err(StartError::AlreadyInstalled)));
    });
}

#[test]
fn a_hung_aggregator_does_not_hold_the_drop() {
    alone("a_hung_aggregator_does_not_hold_the_drop", || {
        let (release, held) = bounded::<()>(0);
        let (arrive, arrived) = bounded(1);
        let config = Config { drop_deadline: Duration::from_millis(50), ..quiet() };
        let builder = Telemetry::builder("shop").config(config).inject(move |at| {
            if at == FailPoint::Step {
                let _first = arrive.try_send(());
                let _released = held.recv();
            }
        });
        let handle = builder.install().expect("the first one");
        arrived.recv_timeout(PATIENCE).expect("the aggregator reaches its hook");
        record();
        let (tell, told) = bounded(1);
        let dropping = std::thread::spawn(move || {
            drop(handle);
            tell.send(()).expect("somebody listens");
        });
        told.recv_timeout(PATIENCE).expect("the drop returns while the aggregator hangs");
        dropping.join().expect("no panic");
        drop(release);
        record();
        let telemetry = Telemetry::installed().expect("installed");
        telemetry.snapshot(PATIENCE).expect("it has not ended");
        record();
        telemetry.snapshot(PATIENCE).expect("it has not ended");
        assert_eq!(latest(&telemetry), (Some(3), Some(3)));
    });
}

/// The child has no aggregator, and the handle's drop must not wait for one, nor end the parent's.
#[cfg(unix)]
#[test]
fn the_handle_may_be_dropped_in_the_child_of_a_fork() {
    alone("the_handle_may_be_dropped_in_the_child_of_a_fork", || {
        let mut handle = Some(Telemetry::builder("shop").config(quiet()).install().expect("the first one"));
        record();
        // SAFETY: the child calls what this test is about, and ends without destructors.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            drop(handle.take());
            record();
            let telemetry = Telemetry::installed();
            let snapshot = telemetry.as_ref().map(|telemetry| telemetry.snapshot(PATIENCE).map(drop));
            let right = snapshot == Some(Err(SnapshotError::Forked));
            drop(telemetry);
            // SAFETY: ends this process and nothing else.
            unsafe { libc::_exit(i32::from(!right)) }
        }
        let mut status = 0;
        support::eventually("the child ends", || {
            // SAFETY: `child` is a child of this process that nobody else waits for; `status` outlives the call.
            unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) != 0 }
        });
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status}");
        record();
        drop(handle);
        let telemetry = Telemetry::installed().expect("installed");
        assert_eq!(latest(&telemetry), (Some(2), Some(2)), "what the parent recorded");
        record();
        telemetry.snapshot(PATIENCE).expect("it has not ended");
        assert_eq!(latest(&telemetry), (Some(3), Some(3)));
    });
}

/// Of many installs at once one succeeds, statics record into that instance, and every other thread finds it.
#[test]
fn of_many_installs_at_once_one_wins() {
    const THREADS: usize = 64;
    alone("of_many_installs_at_once_one_wins", || {
        let together = std::sync::Barrier::new(THREADS);
        let won: Vec<bool> = std::thread::scope(|scope| {
            let install = |number: usize| {
                let together = &together;
                scope.spawn(move || {
                    let builder = Telemetry::builder(&format!("shop {number}")).config(quiet());
                    together.wait();
                    match builder.install() {
                        Ok(telemetry) => {
                            ORDERS.inc();
                            let snapshot = telemetry.snapshot(PATIENCE).expect("it has not ended");
                            assert_eq!(snapshot.service(), format!("shop {number}"));
                            true
                        }
                        Err(StartError::AlreadyInstalled) => {
                            assert!(Telemetry::installed().is_some(), "refused before there was another");
                            ORDERS.inc();
                            false
                        }
                        Err(other) => panic!("{other}"),
                    }
                })
            };
            let threads: Vec<_> = (0..THREADS).map(install).collect();
            threads.into_iter().map(|thread| thread.join().expect("the thread does not fail")).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        let telemetry = Telemetry::installed().expect("one was installed");
        let snapshot = telemetry.snapshot(PATIENCE).expect("it has not ended");
        assert_eq!(snapshot.counter("orders_total", &[]), Some(THREADS as u64));
        let winner = won.iter().position(|won| *won).expect("one won");
        assert_eq!(snapshot.service(), format!("shop {winner}"));
    });
}
