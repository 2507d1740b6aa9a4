//! Fork: the child has one thread, no aggregator, and locks that nobody will ever open. Whatever it calls comes back,
//! its records are refused, and a new instance works; the parent does not notice.
//!
//! std has such locks of its own: starting and ending a thread takes one, and so does `std::process::exit`. A child
//! that was forked while another thread held it hangs there, with or without tellane. So children end by the C
//! library's exit, and no thread starts or ends while a child is forked that is to start threads: one test after the
//! other, in one function. The C library has one, too: its exit looks through the loaded libraries under the lock that a
//! thread takes for the first use of a thread-local with a destructor. So a child leaves just before that.
#![cfg(unix)]
#![allow(unsafe_code)] // fork, and what goes with it

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, eventually, patient};
use tellane::{Config, Context, Kind, RegisterError, SnapshotError, StartError, State, Telemetry};

#[derive(Clone, Copy)]
enum Exit {
    /// At once, without destructors.
    Now,
    /// As a program does that returns from main: exit handlers, and this thread's destructors.
    Normal,
}

/// What a child ends with; below zero in the parent.
static CODE: AtomicI32 = AtomicI32::new(-1);

/// The exit handler that is asked last, after this thread's destructors.
extern "C" fn leave() {
    let code = CODE.load(Ordering::Relaxed);
    if code >= 0 {
        // SAFETY: ends this process and nothing else.
        unsafe { libc::_exit(code) }
    }
}

/// Forks, has the child check something, and waits for its verdict: its exit status, 0 if the check held.
fn in_child(exit: Exit, check: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child calls what a forked thread of a multi-threaded process may call with glibc (its allocator
    // is usable after fork), and what this file is about.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let held = catch_unwind(AssertUnwindSafe(check));
        let code = match held {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(_) => 2,
        };
        match exit {
            // SAFETY: ends this process and nothing else.
            Exit::Now => unsafe { libc::_exit(code) },
            Exit::Normal => {
                CODE.store(code, Ordering::Relaxed);
                // SAFETY: as above, after the exit handlers and this thread's destructors.
                unsafe { libc::exit(code) }
            }
        }
    }
    let mut status = 0;
    for _ in 0..PATIENCE.as_millis() {
        // SAFETY: `child` is a child of this process that nobody else waits for, `status` lives long enough.
        match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
            0 => std::thread::sleep(Duration::from_millis(1)),
            _ if libc::WIFEXITED(status) => return libc::WEXITSTATUS(status),
            _ => panic!("the child died: status {status}"),
        }
    }
    // SAFETY: as above; it is still there, since nobody has waited for it.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &raw mut status, 0);
    }
    panic!("the child hung");
}

fn start() -> Telemetry {
    let config = Config { flush_interval: Duration::from_millis(10), ..patient() };
    Telemetry::builder("parent").config(config).start().expect("it starts")
}

/// Runs `forks` while other threads record, register, look and change the switch, and come and go if there is to be
/// `churn`, so that every lock is held at times.
fn amid_traffic(telemetry: &Telemetry, churn: bool, forks: impl FnOnce()) -> u64 {
    let (done, started) = (AtomicBool::new(false), AtomicU64::new(0));
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let family = telemetry.counter("labelled_total").family(["v"]).expect("a good name");
    let tracer = telemetry.tracer();
    std::thread::scope(|scope| {
        let recording: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = 0_u64;
                    while !done.load(Ordering::Relaxed) {
                        sizes.record(made);
                        counter.inc();
                        family.with([&(made % 5_000).to_string()]).inc();
                        drop(tracer.span("work"));
                        made += 1;
                        if made == 1 {
                            started.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    made
                })
            })
            .collect();
        scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                let _timed_out = telemetry.snapshot(Duration::from_millis(1));
                telemetry.ledger();
                telemetry.faults();
                telemetry.switch().force_on();
                telemetry.switch().release();
                looks += 1;
                if looks == 1 {
                    started.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let come_and_go = || {
            while !done.load(Ordering::Relaxed) {
                std::thread::scope(|scope| {
                    scope.spawn(|| counter.add(0));
                });
            }
        };
        if churn {
            scope.spawn(come_and_go);
        }
        telemetry.snapshot(PATIENCE).expect("the aggregator's thread has started");
        eventually("all threads have started", || started.load(Ordering::Relaxed) == 5);
        let forked = catch_unwind(AssertUnwindSafe(forks));
        done.store(true, Ordering::Relaxed);
        let made = recording.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        forked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        made
    })
}

fn a_child_records_in_vain_and_never_hangs() {
    let telemetry = start();
    let own_sizes = telemetry.histogram("own").register().expect("a good name");
    own_sizes.record(1); // the forking thread has a lane
    let tracer = telemetry.tracer();
    let request: BTreeMap<String, String> = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "congo=t61"),
        ("baggage", "user=alice"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let made = amid_traffic(&telemetry, true, || {
        for round in 0..60 {
            let exit = if round % 2 == 0 { Exit::Now } else { Exit::Normal };
            let open = tracer.span("open across the fork");
            let mut mine = Some(telemetry.clone());
            let status = in_child(exit, || {
                let Some(telemetry) = mine.take() else { return false };
                own_sizes.record(2);
                own_sizes.record_f64(f64::NAN);
                drop(tracer.span("child"));
                let sent = {
                    let _attached = tracer.attach(&tracer.extract(&request));
                    let _span = tracer.span("child");
                    let mut sent = BTreeMap::new();
                    Context::current().inject(&mut sent);
                    sent
                };
                request == sent
                    && Context::current().span().is_none()
                    && telemetry.timer("new").register().map(drop) == Err(RegisterError::Forked)
                    && telemetry.snapshot(PATIENCE).map(drop) == Err(SnapshotError::Forked)
                    && !telemetry.shutdown(PATIENCE).finished
                    && telemetry.ledger() == *telemetry.latest().ledger()
                    && telemetry.faults().is_empty()
                    && {
                        let switch = telemetry.switch();
                        switch.force_off();
                        switch.state() != State::Off
                    }
            });
            assert_eq!(status, 0, "round {round}");
            drop(open);
        }
    });
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.counter("calls_total", &[]), Some(made));
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(made));
    assert_eq!(last.histogram("own", &[]).map(|own| own.count()), Some(1));
    assert_eq!(last.span_durations("work").map(|work| work.count()), Some(made));
    assert_eq!(last.span_durations("open across the fork").map(|open| open.count()), Some(60));
    assert_eq!(last.span_durations("child").map(|child| child.count()), None);
    assert_eq!(report.ledger.kind(Kind::Span).recorded, made + 60);
}

fn the_last_handle_may_be_dropped_in_the_child() {
    for round in 0..20 {
        let telemetry = start();
        let counter = telemetry.counter("calls_total").register().expect("a good name");
        counter.inc();
        let mut mine = Some(telemetry);
        let status = in_child(if round % 2 == 0 { Exit::Now } else { Exit::Normal }, || {
            drop(mine.take()); // this process's only handle
            counter.inc();
            true
        });
        assert_eq!(status, 0);
        let telemetry = mine.take().expect("the parent's is still there");
        assert!(telemetry.shutdown(PATIENCE).finished);
        assert_eq!(telemetry.latest().counter("calls_total", &[]), Some(1));
    }
}

fn a_new_instance_works_in_the_child() {
    let telemetry = start();
    telemetry.counter("calls_total").register().expect("a good name").inc();
    amid_traffic(&telemetry, false, || {
        for _ in 0..10 {
            let status = in_child(Exit::Normal, || {
                let fresh = Telemetry::builder("child").start().expect("it starts");
                let counter = fresh.counter("calls_total").register().expect("a good name");
                let sizes = fresh.histogram("sizes").register().expect("a good name");
                std::thread::scope(|scope| {
                    scope.spawn(|| (0..100).for_each(|value| sizes.record(value)));
                });
                (0..100).for_each(|_| counter.inc());
                drop(fresh.tracer().span("child"));
                let report = fresh.shutdown(PATIENCE);
                let last = fresh.latest();
                report.finished
                    && report.ledger.total().in_flight == 0
                    && report.flushed == 101
                    && last.counter("calls_total", &[]) == Some(100)
                    && last.histogram("sizes", &[]).is_some_and(|sizes| sizes.count() == 100)
                    && last.spans().count() == 1
            });
            assert_eq!(status, 0);
        }
    });
    assert!(telemetry.shutdown(PATIENCE).finished);
}

/// The child of a fork while another thread is inside `install`.
fn an_install_in_the_child_never_hangs() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Refused, so that there is always one under way and nothing is installed.
                let refused = Telemetry::builder("parent").sampling(2.0).install();
                assert!(matches!(refused, Err(StartError::Config(_))));
            }
        });
        let forked = catch_unwind(AssertUnwindSafe(|| {
            let mut refused = 0;
            for _ in 0..300 {
                let status =
                    in_child(Exit::Now, || match Telemetry::builder("child").sampling(2.0).install() {
                        Err(StartError::Config(_)) => true, // no other thread was inside
                        Err(StartError::Forked) => false,
                        other => panic!("{other:?}"),
                    });
                assert!(status < 2, "neither error: {status}");
                refused += status;
            }
            refused
        }));
        done.store(true, Ordering::Relaxed);
        assert!(forked.expect("no child hangs") > 0, "no fork fell into the middle of an `install`");
    });
    let status = in_child(Exit::Now, || {
        let telemetry = Telemetry::builder("child").install().expect("nobody installs");
        matches!(Telemetry::builder("child").install(), Err(StartError::AlreadyInstalled))
            && telemetry.shutdown(PATIENCE).finished
    });
    assert_eq!(status, 0, "an install works in the child, once");
}

#[test]
fn forks() {
    // SAFETY: the handler touches nothing but a static. It is the first of this program, and handlers run last first.
    assert_eq!(unsafe { libc::atexit(leave) }, 0);
    an_install_in_the_child_never_hangs();
    a_new_instance_works_in_the_child();
    the_last_handle_may_be_dropped_in_the_child();
    a_child_records_in_vain_and_never_hangs();
}
