//! hdrhistogram: the plain type, which one thread owns, and the recorders of its `SyncHistogram`.

use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row, timed};
use crate::{second, subject, workload};
use hdrhistogram::Histogram;
use hdrhistogram::sync::{Recorder, SyncHistogram};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 40, 2).expect("valid bounds")
}

type Shared = Arc<Mutex<SyncHistogram<u64>>>;

thread_local! {
    /// The recorder of this thread for the row on two threads.
    static RECORDER: RefCell<Option<Recorder<u64>>> = const { RefCell::new(None) };
}

fn shared() -> Shared {
    Arc::new(Mutex::new(histogram().into_sync()))
}

fn recorder(shared: &Shared) -> Recorder<u64> {
    shared.lock().expect("nobody panics with it").recorder()
}

/// What has arrived. The recorders must be gone: a refresh waits for the next record of each.
fn count(shared: &Shared) -> u64 {
    let mut all = shared.lock().expect("nobody panics with it");
    all.refresh();
    all.len()
}

/// A recorder that stays over all batches, until its row is checked.
fn kept(shared: &Shared) -> Rc<RefCell<Option<Recorder<u64>>>> {
    Rc::new(RefCell::new(Some(recorder(shared))))
}

/// Ends a kept recorder, and counts what has arrived.
fn ended(kept: &RefCell<Option<Recorder<u64>>>, shared: &Shared) -> u64 {
    drop(kept.take());
    count(shared)
}

pub(super) fn rows() -> Vec<Row> {
    let values = workload::values();
    let plain = Rc::new(RefCell::new(histogram()));
    let (one, two, timer) = (shared(), shared(), shared());
    let (kept_one, kept_timer) = (kept(&one), kept(&timer));
    let clock = quanta::Clock::new();
    vec![
        Row::batch(subject::HISTOGRAM, "Histogram::record", CALLS, {
            let plain = Rc::clone(&plain);
            move |calls| {
                let plain = &mut *plain.borrow_mut();
                timed(calls, |number| plain.record(workload::at(values, number)).expect("in range"))
            }
        })
        .weaker("one thread, which alone can read it")
        .exact(move || plain.borrow().len()),
        Row::batch(subject::HISTOGRAM, "Recorder::record", CALLS, {
            let kept = Rc::clone(&kept_one);
            move |calls| {
                let mut kept = kept.borrow_mut();
                let recorder = kept.as_mut().expect("it stays until the check");
                timed(calls, |number| recorder.record(workload::at(values, number)).expect("in range"))
            }
        })
        .exact(move || ended(&kept_one, &one)),
        Row::batch_on_two(subject::HISTOGRAM_2T, "Recorder::record", CALLS_2T, {
            let two = Arc::clone(&two);
            move |calls| {
                RECORDER.with_borrow_mut(|kept| {
                    let recorder = kept.get_or_insert_with(|| recorder(&two));
                    timed(calls, |number| recorder.record(workload::at(values, number)).expect("in range"))
                })
            }
        })
        .exact(move || {
            second::over_there(|| drop(RECORDER.take()));
            drop(RECORDER.take());
            count(&two)
        }),
        Row::batch(subject::TIMER, "Recorder::record, quanta's raw clock, by hand", CALLS, {
            let kept = Rc::clone(&kept_timer);
            move |calls| {
                let mut kept = kept.borrow_mut();
                let recorder = kept.as_mut().expect("it stays until the check");
                timed(calls, |_| {
                    let start = clock.raw();
                    recorder.saturating_record(clock.raw() - start);
                })
            }
        })
        .exact(move || ended(&kept_timer, &timer)),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Recorder::record", |time| {
        let (shared, values) = (shared(), workload::values());
        let kept = kept(&shared);
        let burst = |calls| {
            let mut kept = kept.borrow_mut();
            let recorder = kept.as_mut().expect("it stays until the end");
            for number in 0..calls {
                recorder.record(workload::at(values, black_box(number))).expect("in range");
            }
        };
        flow(time, 1_000_000, burst, |_| ended(&kept, &shared))
    })]
}
