//! Shutdown: what it reports, that it may be called again, from anywhere and by many, and that nothing it waits for can
//! hold it beyond its deadline.

mod support;

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use support::{PATIENCE, assert_balanced, assert_whole, eventually};
use tellane::{Config, FailPoint, Kind, Reason, SnapshotError, Telemetry};

const SOON: Duration = Duration::from_millis(50);

fn start() -> Telemetry {
    Telemetry::builder("shutdown").start().expect("it starts")
}

/// An instance whose aggregator, once told to, sits in its hook until the sender is dropped.
fn hung(config: Config) -> (Telemetry, Sender<()>) {
    let (release, held): (Sender<()>, Receiver<()>) = bounded(0);
    let (arrive, arrived) = bounded(1);
    let builder = Telemetry::builder("hung").config(config).inject(move |at| {
        if at == FailPoint::Step {
            let _first = arrive.try_send(());
            let _released = held.recv();
        }
    });
    let telemetry = builder.start().expect("it starts");
    arrived.recv_timeout(PATIENCE).expect("the aggregator reaches its hook");
    (telemetry, release)
}

#[test]
fn it_reports_what_was_flushed_and_may_be_called_again() {
    let telemetry = start();
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let tracer = telemetry.tracer();
    for value in 0..100 {
        sizes.record(value);
        counter.inc();
        drop(tracer.span("work"));
    }
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_eq!(report.flushed, 200);
    assert_balanced(&report.ledger);
    assert_eq!(telemetry.shutdown(Duration::ZERO), report, "a second call finds it done");

    sizes.record(1);
    counter.inc();
    drop(tracer.span("late"));
    telemetry.timer("late").register().expect("registering still works").time(|| ());
    let ledger = telemetry.ledger();
    assert_balanced(&ledger);
    assert_eq!(ledger.kind(Kind::Sample).dropped.by(Reason::AfterShutdown), 2);
    assert_eq!(ledger.kind(Kind::Span).dropped.by(Reason::AfterShutdown), 1);
    let last = telemetry.snapshot(PATIENCE).expect("the last one stays");
    assert!(Arc::ptr_eq(&last, &telemetry.latest()));
    assert_eq!(last.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(100));
    assert_eq!(last.counter("calls_total", &[]), Some(100));
    assert_eq!(last.spans().count(), 100);
}

#[test]
fn many_may_call_it_at_once() {
    let telemetry = start();
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    sizes.record(1);
    std::thread::scope(|scope| {
        // More callers than requests may wait for the aggregator.
        let callers: Vec<_> = (0..100).map(|_| scope.spawn(|| telemetry.shutdown(PATIENCE))).collect();
        let lookers: Vec<_> = (0..20).map(|_| scope.spawn(|| telemetry.snapshot(PATIENCE))).collect();
        for caller in callers {
            let report = caller.join().expect("no panic");
            assert!(report.finished);
            assert_eq!(report.flushed, 1);
        }
        for looker in lookers {
            let snapshot = looker.join().expect("no panic").expect("a snapshot, or the last one");
            assert_eq!(snapshot.histogram("sizes", &[]).map(|sizes| sizes.count()), Some(1));
        }
    });
}

#[test]
fn dropping_the_last_handle_flushes() {
    struct Owner {
        telemetry: Telemetry,
        seen: Arc<Mutex<Option<Telemetry>>>,
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.telemetry.histogram("sizes").register().expect("a good name").record(5);
            assert!(self.telemetry.shutdown(PATIENCE).finished);
            *self.seen.lock().expect("not poisoned") = Some(self.telemetry.clone());
        }
    }
    let seen = Arc::new(Mutex::new(None));
    drop(Owner { telemetry: start(), seen: Arc::clone(&seen) });
    let telemetry = seen.lock().expect("not poisoned").take().expect("shut down");
    assert_eq!(telemetry.latest().histogram("sizes", &[]).map(|sizes| sizes.count()), Some(1));

    // The guard's own drop, seen through the aggregator: it makes its last pass before the drop returns.
    let passes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passes);
    let telemetry = Telemetry::builder("dropped")
        .config(Config { drop_deadline: PATIENCE, ..Config::default() })
        .inject(move |at| {
            counted.fetch_add(u64::from(at == FailPoint::Span), Ordering::Relaxed);
        })
        .start()
        .expect("it starts");
    let tracer = telemetry.tracer();
    (0..10).for_each(|_| drop(tracer.span("work")));
    drop(telemetry);
    assert_eq!(passes.load(Ordering::Relaxed), 10);
}

#[test]
fn it_works_inside_a_current_thread_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let report = runtime.block_on(async {
        let task = tokio::spawn(async {
            let telemetry = start();
            telemetry.tracer().span("task").end();
            tokio::task::yield_now().await;
            telemetry.shutdown(PATIENCE)
        });
        task.await.expect("no panic")
    });
    assert!(report.finished);
    assert_balanced(&report.ledger);
}

#[test]
fn the_aggregators_own_thread_does_not_wait_for_itself() {
    static SELF: OnceLock<Mutex<Option<Telemetry>>> = OnceLock::new();
    let (tell, told) = bounded(1);
    let telemetry = Telemetry::builder("itself")
        .inject(move |at| {
            let mine = SELF.get().and_then(|slot| slot.lock().expect("not poisoned").take());
            if let (FailPoint::Step, Some(mine)) = (at, mine) {
                let snapshot = mine.snapshot(PATIENCE).map(drop);
                mine.counter("own_total").register().expect("a good name").inc();
                mine.histogram("own").register().expect("a good name").record(1);
                drop(mine.tracer().span("own"));
                let report = mine.shutdown(PATIENCE);
                tell.send((snapshot, report.finished)).expect("somebody listens");
            }
        })
        .start()
        .expect("it starts");
    assert!(SELF.set(Mutex::new(Some(telemetry.clone()))).is_ok());
    let (snapshot, finished) = told.recv_timeout(PATIENCE).expect("it came back from its own shutdown");
    assert_eq!(snapshot, Err(SnapshotError::OwnThread));
    assert!(!finished, "it cannot have ended while it asked");
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.counter("own_total", &[]), Some(1));
    assert_eq!(last.histogram("own", &[]).map(|own| own.count()), Some(1));
    assert_eq!(report.ledger.kind(Kind::Span).dropped.by(Reason::Reentrant), 1);
}

#[test]
fn a_hung_aggregator_holds_nobody() {
    let (telemetry, release) = hung(Config { drop_deadline: SOON, ..Config::default() });
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    sizes.record(1);
    assert_eq!(telemetry.snapshot(SOON).map(drop), Err(SnapshotError::Deadline { after: SOON }));
    let report = telemetry.shutdown(SOON);
    assert!(!report.finished);
    assert_eq!((report.flushed, report.ledger.kind(Kind::Sample).in_flight), (0, 1));
    // More requests than fit: shutdown is not lost among them.
    for _ in 0..100 {
        assert!(telemetry.snapshot(Duration::ZERO).is_err());
    }
    assert!(!telemetry.shutdown(Duration::ZERO).finished);
    drop(release);
    let report = telemetry.shutdown(PATIENCE);
    assert!(report.finished);
    assert_balanced(&report.ledger);
    assert_eq!(telemetry.latest().histogram("sizes", &[]).map(|sizes| sizes.count()), Some(1));
}

#[test]
fn a_shutdown_that_finds_the_requests_full_still_ends_it() {
    let (telemetry, release) = hung(Config::default());
    for _ in 0..100 {
        assert!(telemetry.snapshot(Duration::ZERO).is_err());
    }
    assert!(!telemetry.shutdown(Duration::ZERO).finished);
    drop(release);
    // Nobody asks again, and still it ends: from then on there is only the last snapshot.
    eventually("it ends by itself", || {
        let look = || telemetry.snapshot(PATIENCE).expect("a snapshot, or the last one");
        Arc::ptr_eq(&look(), &look())
    });
    assert!(telemetry.shutdown(PATIENCE).finished);
}

#[test]
fn dropping_the_last_handle_of_a_hung_instance_returns() {
    let (telemetry, release) = hung(Config { drop_deadline: SOON, ..Config::default() });
    let counter = telemetry.counter("calls_total").register().expect("a good name");
    let sizes = telemetry.histogram("sizes").register().expect("a good name");
    let (tell, told) = bounded(1);
    let dropping = std::thread::spawn(move || {
        drop(telemetry);
        tell.send(()).expect("somebody listens");
    });
    told.recv_timeout(PATIENCE).expect("the drop returns while the aggregator hangs");
    counter.inc();
    sizes.record(1);
    drop(release);
    dropping.join().expect("no panic");
}

#[test]
fn records_that_race_shutdown_are_in_exactly_one_place() {
    for round in 0..20 {
        let config = Config {
            ring_words: 64,
            spill_bytes: if round % 2 == 0 { 0 } else { 512 << 10 },
            ..Config::default()
        };
        let telemetry = Telemetry::builder("race").config(config).sampling(0.5).start().expect("it starts");
        let sizes = telemetry.histogram("sizes").highest(1 << 50).register().expect("a good name");
        let timer = telemetry.timer("work").register().expect("a good name");
        let tracer = telemetry.tracer();
        let (done, started) = (AtomicBool::new(false), AtomicU64::new(0));
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut made = 0;
                        while !done.load(Ordering::Relaxed) {
                            sizes.record(made << 30);
                            timer.time(|| ());
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
            eventually("all threads record", || started.load(Ordering::Relaxed) == 8);
            assert!(telemetry.shutdown(PATIENCE).finished);
            assert_whole(&telemetry.snapshot(PATIENCE).expect("the last one"));
            eventually("somebody is too late", || {
                telemetry.ledger().kind(Kind::Sample).dropped.by(Reason::AfterShutdown) > 0
            });
            done.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<u64>()
        });
        let ledger = telemetry.ledger();
        assert_balanced(&ledger);
        assert_eq!(ledger.kind(Kind::Span).recorded, made);
        assert!(ledger.kind(Kind::Sample).recorded >= 2 * made);
    }
}
