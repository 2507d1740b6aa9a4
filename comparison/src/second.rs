//! The second thread of the rows that have two: it stays, so that peers meet it once, and runs what it is sent.

use crate::machine;
use crate::row::Batch;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

type Job = Box<dyn FnOnce() + Send>;

fn jobs() -> &'static Sender<Job> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    JOBS.get_or_init(|| {
        let (jobs, sent) = channel::<Job>();
        std::thread::spawn(move || {
            machine::run_on(&[1]);
            sent.into_iter().for_each(|job| job());
        });
        jobs
    })
}

/// Waits until both have come, `times` times so far. Spins, so that both leave at once; yields, in case they have only
/// one processor between them.
fn meet(gate: &AtomicU32, times: u32) {
    gate.fetch_add(1, Ordering::AcqRel);
    let mut spins = 0_u32;
    while gate.load(Ordering::Acquire) < 2 * times {
        spins += 1;
        if spins.is_multiple_of(1 << 12) {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// A batch on both threads at once, each on a processor of its own; the caller's figures.
pub(crate) fn both(
    calls: u32,
    theirs: impl Fn(u32) -> Batch + Send + 'static,
    ours: &impl Fn(u32) -> Batch,
) -> Batch {
    let gate = Arc::new(AtomicU32::new(0));
    let beside = Arc::clone(&gate);
    let job = move || {
        meet(&beside, 1);
        theirs(calls);
        meet(&beside, 2);
    };
    jobs().send(Box::new(job)).expect("the second thread stays");
    machine::run_on(&[0]);
    meet(&gate, 1);
    let batch = ours(calls);
    meet(&gate, 2);
    batch
}

/// Runs something on the second thread and waits for it: what a peer wants done once on each thread.
pub(crate) fn over_there(job: impl FnOnce() + Send + 'static) {
    let (done, is_done) = channel();
    let job = move || {
        job();
        done.send(()).expect("somebody waits");
    };
    jobs().send(Box::new(job)).expect("the second thread stays");
    is_done.recv().expect("the second thread stays");
}
