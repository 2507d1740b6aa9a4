//! One metric, labels that are enums. Hot: [`FixedFamily::with`], a look into an array.

use super::family::{Handle, handle_of};
use super::label::LabelSet;
use crate::error::RegisterError;
use crate::lane::local;
use crate::record::layout::ID_LIMIT;
use crate::series::{Descriptor, Metric, OVERFLOW, Registry};
use crate::sync::{Arc, AtomicUsize, Ordering};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// A metric whose labels have fixed sets of values: `requests.with((Method::Get, Class::Fine)).inc()`. Nothing is hashed,
/// nothing compared.
///
/// A combination becomes a series when it is first used. Combinations above the metric's cap on series meet in one
/// overflow series labelled `__overflow__`, so that totals stay exact.
///
/// ```
/// use tellane::Label;
///
/// #[derive(Clone, Copy)]
/// enum Class {
///     Fine,
///     Failed,
/// }
///
/// impl Label for Class {
///     const VALUES: &'static [&'static str] = &["2xx", "5xx"];
///     fn index(self) -> usize {
///         self as usize
///     }
/// }
///
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let requests = telemetry.counter("requests_total").fixed_family::<(Class, bool)>(["class", "cached"])?;
/// requests.with((Class::Fine, true)).inc();
/// requests.with((Class::Failed, false)).add(2);
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// assert_eq!(snapshot.counter("requests_total", &[("class", "2xx"), ("cached", "true")]), Some(1));
/// assert_eq!(snapshot.counter("requests_total", &[("class", "5xx"), ("cached", "false")]), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FixedFamily<H, L>(Option<Arc<Inner<H>>>, PhantomData<fn(L)>);

impl<H, L> Clone for FixedFamily<H, L> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

#[derive(Debug)]
struct Inner<H> {
    /// By the combination's index; filled as they are met.
    handles: Box<[OnceLock<H>]>,
    /// How many are filled. Relaxed: a late reading costs one look under the metric's lock.
    kept: AtomicUsize,
    /// The handle of the overflow series, once it was met.
    overflow: OnceLock<H>,
    registry: Arc<Registry>,
    metric: Arc<Metric>,
    /// Values of the labels that are the same for all.
    fixed: Box<[Box<str>]>,
}

impl<H: Handle, L: LabelSet> FixedFamily<H, L> {
    /// A family whose handles do nothing.
    ///
    /// ```
    /// let hits: tellane::FixedFamily<tellane::Counter, (bool,)> = tellane::FixedFamily::noop();
    /// hits.with((true,)).inc(); // counts nothing
    /// ```
    pub const fn noop() -> Self {
        Self(None, PhantomData)
    }

    pub(super) fn register(
        registry: &Arc<Registry>,
        descriptor: Descriptor,
        fixed: &[&str],
        cap: Option<usize>,
    ) -> Result<Self, RegisterError> {
        if L::CARDINALITY > ID_LIMIT as usize {
            return Err(RegisterError::Exhausted);
        }
        let inner = Inner {
            handles: (0..L::CARDINALITY).map(|_| OnceLock::new()).collect(),
            kept: AtomicUsize::new(0),
            overflow: OnceLock::new(),
            metric: registry.metric(descriptor, cap)?,
            registry: Arc::clone(registry),
            fixed: fixed.iter().map(|value| Box::from(*value)).collect(),
        };
        Ok(Self(Some(Arc::new(inner)), PhantomData))
    }

    /// The handle for these labels. It may be cloned and kept.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let lookups = telemetry.counter("lookups_total").fixed_family::<(bool,)>(["cached"])?;
    /// lookups.with((true,)).inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
    /// assert_eq!(snapshot.counter("lookups_total", &[("cached", "true")]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn with(&self, labels: L) -> &H {
        let Some(inner) = &self.0 else { return H::noop_ref() };
        let index = labels.index();
        match inner.handles.get(index).and_then(OnceLock::get) {
            Some(handle) => handle,
            None => inner.meet(index, L::values),
        }
    }
}

impl<H: Handle> Inner<H> {
    /// A combination that was not met before, or is none.
    #[cold]
    #[inline(never)]
    fn meet(&self, index: usize, values: fn(usize) -> Option<Vec<&'static str>>) -> &H {
        let is_none = index >= self.handles.len();
        if let Some(overflow) = self.overflow.get()
            && (is_none || self.metric.is_full(self.kept.load(Ordering::Relaxed)))
        {
            self.metric.count_overflow();
            return overflow;
        }
        // An allocator that records may come here while this allocates: it is sent away, not into a lock that is held.
        local::aside_once(|| self.register(index, values(index))).unwrap_or_else(|| H::noop_ref())
    }

    fn register(&self, index: usize, values: Option<Vec<&'static str>>) -> &H {
        let own = values.unwrap_or_else(|| {
            self.metric.count_overflow();
            vec![OVERFLOW; self.metric.descriptor.labels.len() - self.fixed.len()]
        });
        let all: Vec<&str> = own.iter().copied().chain(self.fixed.iter().map(|value| &**value)).collect();
        let Ok(series) = self.registry.series(&self.metric, &all) else {
            return H::noop_ref(); // the child of a fork, or no number left
        };
        let made = handle_of(&series, &self.registry);
        let is_own = series.identity.labels.iter().zip(&own).all(|(given, wanted)| **given == **wanted);
        match self.handles.get(index).filter(|_| is_own) {
            Some(slot) => slot.get_or_init(|| {
                self.kept.fetch_add(1, Ordering::Relaxed);
                made
            }),
            None => self.overflow.get_or_init(|| made),
        }
    }
}
