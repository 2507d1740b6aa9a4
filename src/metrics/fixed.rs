//! Fixed families: metrics whose labels are enums. Hot: [`FixedFamily::with`], one array access.

use super::handle::Handle;
use super::label::LabelSet;
use super::members::{FamilyInner, Handles};
use crate::error::RegisterError;
use crate::record::layout::ID_LIMIT;
use crate::sync::Arc;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// A metric whose labels have fixed sets of values: `requests.with((Method::Get, Class::Fine)).inc()`. Nothing is
/// hashed or compared.
///
/// A combination becomes a series when it is first used. Combinations above the metric's cap on series share one
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
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.counter("requests_total", &[("class", "2xx"), ("cached", "true")]), Some(1));
/// assert_eq!(snapshot.counter("requests_total", &[("class", "5xx"), ("cached", "false")]), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FixedFamily<H, L>(Option<Arc<ArrayFamily<H>>>, PhantomData<fn(L)>);

impl<H, L> Clone for FixedFamily<H, L> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

/// The shared state of a fixed family: the array of handles and the registration.
#[derive(Debug)]
struct ArrayFamily<H> {
    /// The handles by combination index, each created at its first use.
    handles: Box<[OnceLock<H>]>,
    members: FamilyInner<H>,
}

impl<H: Handle, L: LabelSet> FixedFamily<H, L> {
    /// Creates a family whose handles do nothing.
    ///
    /// ```
    /// let hits: tellane::FixedFamily<tellane::Counter, (bool,)> = tellane::FixedFamily::noop();
    /// hits.with((true,)).inc(); // counts nothing
    /// ```
    pub const fn noop() -> Self {
        Self(None, PhantomData)
    }

    /// Registers a family. `members` registers the metric; it is not called if there are more combinations than series
    /// numbers.
    pub(super) fn register(
        members: impl FnOnce() -> Result<FamilyInner<H>, RegisterError>,
    ) -> Result<Self, RegisterError> {
        if L::CARDINALITY > ID_LIMIT as usize {
            return Err(RegisterError::Exhausted);
        }
        let members = members()?;
        members.update_bytes(size_of::<ArrayFamily<H>>() + L::CARDINALITY * size_of::<OnceLock<H>>());
        let inner = ArrayFamily { handles: (0..L::CARDINALITY).map(|_| OnceLock::new()).collect(), members };
        Ok(Self(Some(Arc::new(inner)), PhantomData))
    }

    /// Returns the handle for these labels. It may be cloned and stored.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let lookups = telemetry.counter("lookups_total").fixed_family::<(bool,)>(["cached"])?;
    /// lookups.with((true,)).inc();
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("lookups_total", &[("cached", "true")]), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "with_label_values")]
    #[inline]
    pub fn with(&self, labels: L) -> &H {
        let Some(inner) = &self.0 else { return H::noop_ref() };
        let index = labels.index();
        match inner.handles.get(index).and_then(OnceLock::get) {
            Some(handle) => handle,
            None => inner.register(index, L::values),
        }
    }
}

impl<H: Handle> ArrayFamily<H> {
    /// Slow path of [`FixedFamily::with`]: a combination used for the first time, or an index that is no combination.
    #[cold]
    #[inline(never)]
    fn register<V: AsRef<[&'static str]>>(&self, index: usize, values: fn(usize) -> V) -> &H {
        self.members
            .get_or_register(values(index).as_ref(), &FixedSlot { handles: &self.handles, index, values })
    }
}

/// The array element of one combination.
struct FixedSlot<'a, H, V> {
    handles: &'a [OnceLock<H>],
    index: usize,
    /// Returns the label values of a combination's index.
    values: fn(usize) -> V,
}

impl<'a, H: Handle, V: AsRef<[&'static str]>> Handles<'a, H> for FixedSlot<'a, H, V> {
    fn lookup(&self, _values: &[&str]) -> Option<&'a H> {
        self.handles.get(self.index)?.get()
    }

    fn store(&self, _values: &[&str], handle: H) {
        if let Some(element) = self.handles.get(self.index) {
            element.get_or_init(|| handle);
        }
    }

    /// Iterates over the combinations once, however many series there are.
    fn store_all<'b>(&self, all: impl Iterator<Item = (Vec<&'b str>, H)>) {
        let width = (self.values)(0).as_ref().len();
        let all: HashMap<Vec<&str>, H> =
            all.map(|(values, handle)| (values.into_iter().take(width).collect(), handle)).collect();
        for (index, element) in self.handles.iter().enumerate() {
            if let Some(handle) = all.get((self.values)(index).as_ref()) {
                element.get_or_init(|| handle.clone());
            }
        }
    }
}
