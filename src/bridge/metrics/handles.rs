//! What the `metrics` crate's handles call. Hot: one virtual call brings them here, the rest is tellane's own.

use crate::instance::Instance;
use crate::lane::{Key, local};
use crate::metrics::{Counter, Gauge, Histogram};
use crate::stats::{Kind, Reason};
use crate::sync::{Arc, AtomicU64, Ordering};
use ::metrics::{CounterFn, GaugeFn, HistogramFn};

#[derive(Debug)]
pub(super) struct Count {
    counter: Counter,
    cell: Key,
    instance: Arc<Instance>,
    /// What the count was raised to at least. Relaxed: a late reading costs one look under the lock.
    floor: AtomicU64,
}

impl Count {
    pub(super) fn new(counter: Counter, cell: Key, instance: &Arc<Instance>) -> Self {
        Self { counter, cell, instance: Arc::clone(instance), floor: AtomicU64::new(0) }
    }
}

impl CounterFn for Count {
    fn increment(&self, amount: u64) {
        self.counter.add(amount);
    }

    fn absolute(&self, count: u64) {
        if count > self.floor.load(Ordering::Relaxed) {
            // Locks are taken: an allocator that records must not come here while this thread is inside tellane.
            let raised = local::try_without_recording(|| self.instance.metrics.raise(self.cell, count));
            match raised {
                Some(true) => drop(self.floor.fetch_max(count, Ordering::Relaxed)),
                _ if self.instance.lanes.is_forked() => {}
                _ => self.instance.faults.lose_one(),
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Level(pub(super) Gauge);

impl GaugeFn for Level {
    fn increment(&self, difference: f64) {
        self.0.add(difference);
    }

    fn decrement(&self, difference: f64) {
        self.0.sub(difference);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

#[derive(Debug)]
pub(super) struct Values(pub(super) Histogram);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.record_f64(value);
    }
}

/// What a key is given that an allocator asks for while tellane allocates: its series cannot be registered now. Counts what
/// is lost. One for all such keys, since a handle of its own would have to be allocated.
#[derive(Debug)]
pub(super) struct Lost(pub(super) Arc<Instance>);

impl CounterFn for Lost {
    fn increment(&self, _amount: u64) {
        self.0.faults.lose_one();
    }

    fn absolute(&self, _count: u64) {
        self.0.faults.lose_one();
    }
}

impl GaugeFn for Lost {
    fn increment(&self, _difference: f64) {
        self.0.faults.lose_one();
    }

    fn decrement(&self, _difference: f64) {
        self.0.faults.lose_one();
    }

    fn set(&self, _value: f64) {
        self.0.faults.lose_one();
    }
}

impl HistogramFn for Lost {
    fn record(&self, _value: f64) {
        self.0.lanes.shared.shared_dropped(Kind::Sample, Reason::Reentrant);
    }
}
