//! What both kinds of family do with label values that they have not met: register a series, or send them to the
//! overflow. Cold.

use super::family::{Handle, handle_of};
use crate::error::RegisterError;
use crate::lane::local;
use crate::series::{Descriptor, Metric, Registry};
use crate::sync::{Arc, AtomicUsize, Ordering};
use std::sync::OnceLock;

#[derive(Debug)]
pub(super) struct Members<H> {
    registry: Arc<Registry>,
    metric: Arc<Metric>,
    /// Values of the labels that are the same for all.
    fixed: Box<[Box<str>]>,
    /// How many series the family knows. Relaxed: a late reading costs one look under the metric's lock.
    kept: AtomicUsize,
    /// The handle of the overflow series, once it was met.
    overflow: OnceLock<H>,
    /// Bytes that the family takes, as the registry was told. Relaxed: a figure that stands for itself.
    bytes: AtomicUsize,
}

impl<H> Members<H> {
    /// Tells the registry how many bytes the family takes by now.
    pub(super) fn takes(&self, bytes: usize) {
        // It only grows. Of two threads at once, each tells what it adds to the greatest so far.
        let before = self.bytes.fetch_max(bytes, Ordering::Relaxed);
        self.registry.keeps(bytes.saturating_sub(before));
    }
}

impl<H> Drop for Members<H> {
    fn drop(&mut self) {
        self.registry.lets_go(self.bytes.load(Ordering::Relaxed));
    }
}

impl<H: Handle> Members<H> {
    pub(super) fn register(
        registry: &Arc<Registry>,
        descriptor: Descriptor,
        fixed: &[&str],
        cap: Option<usize>,
    ) -> Result<Self, RegisterError> {
        Ok(Self {
            metric: registry.metric(descriptor, cap)?,
            registry: Arc::clone(registry),
            fixed: fixed.iter().map(|value| Box::from(*value)).collect(),
            kept: AtomicUsize::new(0),
            overflow: OnceLock::new(),
            bytes: AtomicUsize::new(0),
        })
    }

    /// A handle of a series that the family has not met. `keep` gives it its place in the family; it is not asked if the
    /// values can only meet the overflow.
    pub(super) fn meet<'a>(&'a self, values: &[&str], keep: impl FnOnce(H) -> &'a H) -> &'a H {
        // Full, and every series of the metric is known here: then these values can only meet the overflow. Values
        // that another family of the metric registered are found below, under the lock.
        let is_new = || self.metric.is_full(self.kept.load(Ordering::Relaxed));
        if let Some(overflow) = self.overflow.get()
            && (self.registry.is_overflow(values) || is_new())
        {
            self.metric.count_overflow();
            return overflow;
        }
        // An allocator that records may come here while this allocates: it is sent away, not into a lock that is held.
        local::aside_once(|| self.register_series(values, keep)).unwrap_or_else(|| H::noop_ref())
    }

    fn register_series<'a>(&'a self, values: &[&str], keep: impl FnOnce(H) -> &'a H) -> &'a H {
        let all: Vec<&str> = values.iter().copied().chain(self.fixed.iter().map(|value| &**value)).collect();
        let Ok(series) = self.registry.series(&self.metric, &all) else {
            return H::noop_ref(); // the child of a fork, or no number left
        };
        let made: H = handle_of(&series, &self.registry);
        let mut labels = series.identity.labels.iter().zip(values);
        if self.registry.is_overflow(values) || labels.any(|(given, wanted)| **given != **wanted) {
            return self.overflow.get_or_init(|| made);
        }
        keep(made)
    }

    /// One more series is known to the family.
    pub(super) fn count(&self) {
        self.kept.fetch_add(1, Ordering::Relaxed);
    }
}
