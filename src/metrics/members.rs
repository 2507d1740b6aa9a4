//! The part of both kinds of family for label values that they have not met: a series is registered, or the overflow
//! series stands in. Cold, but for what is above the cap: that takes no lock.

use super::family::{Handle, handle_of};
use crate::error::RegisterError;
use crate::instance::Instance;
use crate::lane::local;
use crate::names::{Closed, Look};
use crate::series::{Descriptor, Metric};
use crate::sync::{Arc, AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct FamilyInner<H> {
    instance: Arc<Instance>,
    metric: Arc<Metric>,
    /// Values of the labels that are the same for all.
    fixed: Box<[Box<str>]>,
    /// Closed once the metric is at its cap and the family knows every series of it.
    closed: Closed,
    /// The handle of the overflow series; one that does nothing if there are no labels.
    overflow: H,
    /// Bytes that the family takes, as the registry was told. Relaxed: a figure that stands for itself.
    bytes: AtomicUsize,
}

impl<H> FamilyInner<H> {
    /// Tells the registry how many bytes the family takes by now.
    pub(super) fn takes(&self, bytes: usize) {
        // It only grows. Of two threads at once, each tells what it adds to the greatest so far.
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
    fn find(&self, values: &[&str]) -> Option<&'a H>;

    /// Keeps a handle; the first one for these values stays.
    fn keep(&self, values: &[&str], handle: H);

    /// Keeps the handles of whatever the family can be asked for. The last values of each are the fixed ones.
    fn keep_all<'b>(&self, all: impl Iterator<Item = (Vec<&'b str>, H)>) {
        all.for_each(|(values, handle)| self.keep(&values, handle));
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

    /// The handle for label values that the family has not met. From within tellane (a global allocator that records) it
    /// is that of the overflow series: the lock that a new series needs may be held further up this stack.
    pub(super) fn meet<'a>(&'a self, values: &[&str], handles: &impl Handles<'a, H>) -> &'a H {
        if self.instance.metrics.is_overflow(values) {
            return self.overflow();
        }
        match self.closed.look(|| handles.find(values)) {
            Look::Found(handle) => handle,
            Look::Absent => self.overflow(),
            Look::Open => {
                let registered = local::try_without_recording(|| self.register_series(values, handles));
                registered.unwrap_or_else(|| self.overflow())
            }
        }
    }

    /// One more record that meets the overflow series.
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
            Err(_) => return H::noop_ref(), // the child of a fork, or no number left
        };
        if series.identity.labels.iter().zip(&all).any(|(given, wanted)| **given != **wanted) {
            self.close(handles);
            return &self.overflow; // counted when it was looked up
        }
        handles.keep(values, handle_of(&series, &self.instance));
        handles.find(values).unwrap_or_else(|| H::noop_ref())
    }

    /// The metric is at its cap, so it has every series that it will ever have. The family takes those over that it has
    /// not met: another family of the metric may have made them. From then on nothing is asked under a lock.
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
        handles.keep_all(known);
        self.closed.close();
    }
}
