//! hdrhistogram: the plain type, which one thread owns, and the recorders of its `SyncHistogram`.

use crate::rate::{Rate, flow};
use crate::row::{CALLS, CALLS_2T, Row, timed};
use crate::{subject, workload};
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

fn shared() -> Shared {
    Arc::new(Mutex::new(histogram().into_sync()))
}

fn recorder(shared: &Shared) -> Recorder<u64> {
    shared.lock().expect("nobody panics with it").recorder()
}

/// What has arrived. The recorders must be gone, or a refresh waits for their next record.
fn count(shared: &Shared) -> u64 {
    let mut all = shared.lock().expect("nobody panics with it");
    all.refresh();
    all.len()
}

pub(super) fn rows() -> Vec<Row> {
    let values = workload::values();
    let plain = Rc::new(RefCell::new(histogram()));
    let (one, two, timer) = (shared(), shared(), shared());
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
            let one = Arc::clone(&one);
            move |calls| {
                let mut recorder = recorder(&one);
                timed(calls, |number| recorder.record(workload::at(values, number)).expect("in range"))
            }
        })
        .exact(move || count(&one)),
        Row::batch_on_two(subject::HISTOGRAM_2T, "Recorder::record", CALLS_2T, {
            let two = Arc::clone(&two);
            move |calls| {
                let mut recorder = recorder(&two);
                timed(calls, |number| recorder.record(workload::at(values, number)).expect("in range"))
            }
        })
        .exact(move || count(&two)),
        Row::batch(subject::TIMER, "Recorder::record, quanta's raw clock, by hand", CALLS, {
            let timer = Arc::clone(&timer);
            move |calls| {
                let mut recorder = recorder(&timer);
                timed(calls, |_| {
                    let start = clock.raw();
                    recorder.saturating_record(clock.raw() - start);
                })
            }
        })
        .exact(move || count(&timer)),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_HISTOGRAM, "Recorder::record", |time| {
        let (shared, values) = (shared(), workload::values());
        let mut recorder = Some(recorder(&shared));
        let burst = |calls| {
            let recorder = recorder.as_mut().expect("it lives as long as the bursts");
            for number in 0..calls {
                recorder.record(workload::at(values, black_box(number))).expect("in range");
            }
        };
        // A refresh with a timeout does not wait for the recorder that is idle now.
        flow(time, 1_000_000, burst, |_| {
            let mut all = shared.lock().expect("nobody panics with it");
            all.refresh_timeout(std::time::Duration::from_millis(100));
            all.len()
        })
    })]
}
