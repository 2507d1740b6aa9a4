//! Implementations of the `metrics` crate's handles. Hot: one virtual call leads here, the rest is tellane's own code.

use crate::instance::Instance;
use crate::lane::{Key, local};
use crate::metrics::{Counter, Gauge, Histogram};
use crate::stats::{Kind, Reason};
use crate::sync::{Arc, AtomicU64, Ordering};
use ::metrics::{CounterFn, GaugeFn, HistogramFn};

/// Counter handle.
#[derive(Debug)]
pub(super) struct CounterAdapter {
    counter: Counter,
    cell: Key,
    instance: Arc<Instance>,
    /// The greatest value that `absolute` has raised the count to. Relaxed: a stale value costs one check under the
    /// lock.
    floor: AtomicU64,
}

impl CounterAdapter {
    pub(super) fn new(counter: Counter, cell: Key, instance: &Arc<Instance>) -> Self {
        Self { counter, cell, instance: Arc::clone(instance), floor: AtomicU64::new(0) }
    }
}

impl CounterFn for CounterAdapter {
    fn increment(&self, amount: u64) {
        self.counter.add(amount);
    }

    fn absolute(&self, count: u64) {
        if count > self.floor.load(Ordering::Relaxed) {
            // `raise` takes locks: an allocator that records must not get there while this thread is inside tellane.
            let raised = local::try_without_recording(|| self.instance.metrics.raise(self.cell, count));
            match raised {
                Some(true) => drop(self.floor.fetch_max(count, Ordering::Relaxed)),
                _ if self.instance.lanes.is_forked() => {}
                _ => self.instance.faults.count_lost(),
            }
        }
    }
}

/// Gauge handle.
#[derive(Debug)]
pub(super) struct GaugeAdapter(pub(super) Gauge);

impl GaugeFn for GaugeAdapter {
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

/// Histogram handle.
#[derive(Debug)]
pub(super) struct HistogramAdapter(pub(super) Histogram);

impl HistogramFn for HistogramAdapter {
    fn record(&self, value: f64) {
        self.0.record_f64(value);
    }
}

/// Handle for a new key that an allocator uses while tellane allocates, when its series cannot be registered. Counts
/// lost records. Shared by all such keys, since a separate handle would have to be allocated.
#[derive(Debug)]
pub(super) struct LostRecords(pub(super) Arc<Instance>);

impl CounterFn for LostRecords {
    fn increment(&self, _amount: u64) {
        self.0.faults.count_lost();
    }

    fn absolute(&self, _count: u64) {
        self.0.faults.count_lost();
    }
}

impl GaugeFn for LostRecords {
    fn increment(&self, _difference: f64) {
        self.0.faults.count_lost();
    }

    fn decrement(&self, _difference: f64) {
        self.0.faults.count_lost();
    }

    fn set(&self, _value: f64) {
        self.0.faults.count_lost();
    }
}

impl HistogramFn for LostRecords {
    fn record(&self, _value: f64) {
        self.0.lanes.shared.shared_dropped(Kind::Sample, Reason::Reentrant);
    }
}
