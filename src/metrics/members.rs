//! Shared slow path of both kinds of family, for new label values: registers a series, or returns the overflow series.
//! Cold, except above the cap: then a call takes no lock.

use super::handle::{Handle, handle_of};
use crate::error::RegisterError;
use crate::instance::Instance;
use crate::lane::local;
use crate::names::{Closed, Lookup};
use crate::series::{Descriptor, Metric};
use crate::sync::{Arc, AtomicUsize, Ordering};

/// The registration of a family: its metric, its fixed labels and its overflow series.
#[derive(Debug)]
pub(super) struct FamilyInner<H> {
    instance: Arc<Instance>,
    metric: Arc<Metric>,
    /// Values of the fixed labels, which are the same for all series of the family.
    fixed: Box<[Box<str>]>,
    /// Closed once the metric is at its cap and the family has a handle for each of its series.
    closed: Closed,
    /// The handle of the overflow series; a no-op handle if there are no labels.
    overflow: H,
    /// Bytes that the family takes, as last added to the instance's sum. Relaxed: the number publishes no other memory.
    bytes: AtomicUsize,
}

impl<H> FamilyInner<H> {
    /// Updates the instance's sum of bytes with the family's current size.
    pub(super) fn update_bytes(&self, bytes: usize) {
        // The size only grows. Of two concurrent threads, each adds its difference from the greatest size so far.
        let before = self.bytes.fetch_max(bytes, Ordering::Relaxed);
        self.instance.metrics.add_bytes(bytes.saturating_sub(before));
    }
}

impl<H> Drop for FamilyInner<H> {
    fn drop(&mut self) {
        self.instance.metrics.sub_bytes(self.bytes.load(Ordering::Relaxed));
    }
}

/// The handles of a family, by label values. Nothing is ever removed.
pub(super) trait Handles<'a, H: 'a> {
    /// The handle for these values, if it is stored.
    fn lookup(&self, values: &[&str]) -> Option<&'a H>;

    /// Stores a handle, unless there is one for these values.
    fn store(&self, values: &[&str], handle: H);

    /// Stores the handles of all values that the family may be called with. Each item ends with the values of the fixed
    /// labels.
    fn store_all<'b>(&self, all: impl Iterator<Item = (Vec<&'b str>, H)>) {
        all.for_each(|(values, handle)| self.store(&values, handle));
    }
}

impl<H: Handle> FamilyInner<H> {
    pub(super) fn register(
        instance: &Arc<Instance>,
        descriptor: Descriptor,
        fixed: &[&str],
        cap: Option<usize>,
    ) -> Result<Self, RegisterError> {
        let metric = instance.metrics.metric(descriptor, cap)?;
        let has_labels = !metric.descriptor.labels.is_empty();
        let overflow = if has_labels {
            handle_of(&*instance.metrics.overflow(&metric)?, instance)
        } else {
            H::noop_ref().clone()
        };
        Ok(Self {
            metric,
            instance: Arc::clone(instance),
            fixed: fixed.iter().map(|value| Box::from(*value)).collect(),
            closed: Closed::new(),
            overflow,
            bytes: AtomicUsize::new(0),
        })
    }

    /// Returns the handle for label values that the family has no handle for yet. If a global allocator that records
    /// calls this from within tellane, it gets the handle of the overflow series: the lock that a new series needs may
    /// be held by a caller further up this stack.
    pub(super) fn get_or_register<'a>(&'a self, values: &[&str], handles: &impl Handles<'a, H>) -> &'a H {
        if self.instance.metrics.is_overflow(values) {
            return self.overflow();
        }
        match self.closed.lookup(|| handles.lookup(values)) {
            Lookup::Found(handle) => handle,
            Lookup::Absent => self.overflow(),
            Lookup::Open => {
                let registered = local::try_without_recording(|| self.register_series(values, handles));
                registered.unwrap_or_else(|| self.overflow())
            }
        }
    }

    /// Counts one more record of the overflow series, and returns its handle.
    fn overflow(&self) -> &H {
        self.metric.count_overflow();
        self.instance.metrics.show_overflow(&self.metric);
        &self.overflow
    }

    fn register_series<'a>(&'a self, values: &[&str], handles: &impl Handles<'a, H>) -> &'a H {
        let all: Vec<&str> = values.iter().copied().chain(self.fixed.iter().map(|value| &**value)).collect();
        let series = match self.instance.metrics.series(&self.metric, &all) {
            Ok(series) => series,
            Err(RegisterError::Reentrant) => return self.overflow(),
            Err(_) => return H::noop_ref(), // a forked child, or no series number left
        };
        if series.identity.labels.iter().zip(&all).any(|(given, wanted)| **given != **wanted) {
            self.close(handles);
            return &self.overflow; // `MetricRegistry::series` has counted the overflow
        }
        handles.store(values, handle_of(&series, &self.instance));
        handles.lookup(values).unwrap_or_else(|| H::noop_ref())
    }

    /// Closes the family. The metric is at its cap, so it has every series that it will ever have. The family stores
    /// the handles of the series that it lacks, which another family of the metric may have made. After that no call
    /// takes a lock.
    fn close<'a>(&'a self, handles: &impl Handles<'a, H>) {
        let all = self.instance.metrics.series_of(&self.metric);
        let is_own = |values: &[&str]| {
            let own = values.len().checked_sub(self.fixed.len()).and_then(|from| values.get(from..));
            own.is_some_and(|own| own.iter().copied().eq(self.fixed.iter().map(|value| &**value)))
        };
        let known = all.iter().filter_map(|series| {
            let values: Vec<&str> = series.identity.labels.iter().map(|value| &**value).collect();
            is_own(&values).then(|| (values, handle_of(series, &self.instance)))
        });
        handles.store_all(known);
        self.closed.close();
    }
}
