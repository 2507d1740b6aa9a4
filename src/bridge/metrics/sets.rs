//! Cached answers for all keys of one name and set of label names, for keys that are not cached one by one. Clients
//! that send the label values choose these keys, so their number is unbounded. [`Sets::lookup`] does not block and
//! allocates nothing; the rest is cold.
//!
//! A metric at its cap has all the series that it will ever have. Its set stores their handles, and all other keys use
//! the overflow series.

use crate::instance::Instance;
use crate::series::{Metric, Series};
use crate::sync::{Arc, AtomicUsize, Ordering};
use ::metrics::Key;
use arrayvec::ArrayVec;
use dashmap::DashMap;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// The most sets for each type of metric. Names and label names are chosen by the program, not by its clients.
const SETS_MAX: usize = 1 << 14;
/// The most bytes of the names of a stored set.
const NAMES_MAX: usize = 4 << 10;
/// The most labels of a key that can be found here.
const LABELS_MAX: usize = 32;

/// The labels of a key, sorted by name; if a name is given twice, only the greater value.
type Labels<'a> = ArrayVec<(&'a str, &'a str), LABELS_MAX>;

/// All stored sets, by a hash of name and label names.
#[derive(Debug)]
pub(super) struct Sets<H> {
    by_names: DashMap<u64, Vec<KeySet<H>>, FixedState>,
    hasher: FixedState,
    /// Number of sets. Relaxed: racing threads may store a few more.
    len: AtomicUsize,
}

/// A name, a set of label names, and the answer for their keys.
#[derive(Debug)]
struct KeySet<H> {
    name: Box<str>,
    labels: Box<[Box<str>]>,
    answer: SetAnswer<H>,
}

/// The answer for the keys of a set.
#[derive(Debug)]
enum SetAnswer<H> {
    /// All keys are refused.
    Refused,
    /// Keys with a value that is too long use the overflow series. If the metric is at its cap, `own` has the handles
    /// of all its series, and all other keys use the overflow series.
    Overflow { handle: H, metric: Arc<Metric>, own: Option<Own<H>> },
}

/// All series of a set of a metric at its cap, by a hash of their values in the order of [`Labels`].
type Own<H> = HashMap<u64, Vec<(Box<[Box<str>]>, H)>, FixedState>;

/// Sorts the labels of a key into `labels`, which is empty; `None` if they are too many.
#[inline(always)]
fn sort<'a>(key: &'a Key, labels: &mut Labels<'a>) -> Option<()> {
    for label in key.labels() {
        labels.try_push((label.key(), label.value())).ok()?;
    }
    labels.sort_unstable();
    for at in (1..labels.len()).rev() {
        if labels[at - 1].0 == labels[at].0 {
            labels.remove(at - 1);
        }
    }
    Some(())
}

/// The cached handle of a key.
#[derive(Clone, Debug)]
pub(super) enum CachedHandle<H> {
    /// The handle of the key's own series.
    Own(H),
    /// The handle of the overflow series of a metric, which counts each such record.
    Overflow(H, Arc<Metric>),
}

impl<H: Clone> CachedHandle<H> {
    /// Returns the handle for one more record; counts the overflow.
    pub(super) fn handle(&self) -> H {
        match self {
            Self::Own(handle) => handle.clone(),
            Self::Overflow(handle, metric) => {
                metric.count_overflow();
                handle.clone()
            }
        }
    }
}

impl<H> KeySet<H> {
    fn is_of(&self, name: &str, labels: &Labels<'_>) -> bool {
        *self.name == *name
            && self.labels.len() == labels.len()
            && self.labels.iter().zip(labels).all(|(mine, (theirs, _))| **mine == **theirs)
    }
}

impl<H: Clone> Sets<H> {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { by_names: DashMap::with_hasher(hasher.clone()), hasher, len: AtomicUsize::new(0) }
    }

    fn hash<'a>(&self, texts: impl Iterator<Item = &'a str>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        texts.for_each(|text| text.hash(&mut hasher));
        hasher.finish()
    }

    fn hash_of_names(&self, name: &str, labels: &Labels<'_>) -> u64 {
        self.hash([name].into_iter().chain(labels.iter().map(|(name, _)| *name)))
    }

    fn hash_of_values(&self, labels: &Labels<'_>) -> u64 {
        self.hash(labels.iter().map(|(_, value)| *value))
    }

    /// The handle of a key whose set is stored; `Some(None)` if the key is refused, `None` if it has to be registered.
    #[inline(never)]
    pub(super) fn lookup(&self, instance: &Instance, key: &Key) -> Option<Option<CachedHandle<H>>> {
        let mut labels = Labels::new();
        sort(key, &mut labels)?;
        let sets = self.by_names.try_get(&self.hash_of_names(key.name(), &labels)).try_unwrap()?;
        let set = sets.iter().find(|set| set.is_of(key.name(), &labels))?;
        let SetAnswer::Overflow { handle, metric, own } = &set.answer else { return Some(None) };
        if !labels.iter().any(|(_, value)| instance.metrics.is_overflow(&[value])) {
            let is_its = |(values, _): &&(Box<[Box<str>]>, H)| {
                values.iter().zip(&labels).all(|(mine, (_, theirs))| **mine == **theirs)
            };
            let alike = own.as_ref()?.get(&self.hash_of_values(&labels));
            if let Some((_, handle)) = alike.and_then(|alike| alike.iter().find(is_its)) {
                return Some(Some(CachedHandle::Own(handle.clone())));
            }
        }
        Some(Some(CachedHandle::Overflow(handle.clone(), Arc::clone(metric))))
    }

    /// Stores that all keys of this key's set are refused.
    pub(super) fn refuse(&self, instance: &Instance, key: &Key) {
        self.store(instance, key, |_| (SetAnswer::Refused, 0));
    }

    /// Stores the overflow series that a key uses, and all series of its set if the metric is at its cap. `names` are
    /// the names of the key's labels in the metric, sorted by their original names.
    pub(super) fn overflow(
        &self,
        instance: &Instance,
        key: &Key,
        handle: &H,
        (metric, names): (Arc<Metric>, &[Box<str>]),
        make: impl Fn(&Series) -> H,
    ) {
        self.store(instance, key, |labels| {
            let there = &metric.descriptor.labels;
            let is_its = there.len() == names.len() && there.iter().all(|label| names.contains(label));
            // If the metric has no space for the set, it has no series of it, and never will.
            let all = if is_its { instance.metrics.all_series_of(&metric) } else { Some(Vec::new()) };
            let mut bytes = 0;
            let own = all.map(|all| {
                let mut own = Own::with_hasher(self.hasher.clone());
                for series in all {
                    let place = |name| there.iter().position(|label| label == name);
                    let value = |name| Some(series.identity.labels[place(name)?].clone());
                    let values: Box<[Box<str>]> = names.iter().filter_map(value).collect();
                    bytes += values.iter().map(|value| value.len() + size_of::<Box<str>>()).sum::<usize>();
                    bytes += size_of::<(u64, Vec<()>, Box<[Box<str>]>, H)>();
                    let hash = self.hash(values.iter().map(|value| &**value));
                    own.entry(hash).or_default().push((values, make(&series)));
                }
                own
            });
            debug_assert_eq!(labels.len(), names.len());
            (SetAnswer::Overflow { handle: handle.clone(), metric: Arc::clone(&metric), own }, bytes)
        });
    }

    /// Stores the answer for a set, unless a final one is stored.
    fn store(
        &self,
        instance: &Instance,
        key: &Key,
        answer: impl FnOnce(&Labels<'_>) -> (SetAnswer<H>, usize),
    ) {
        let mut labels = Labels::new();
        if sort(key, &mut labels).is_none() {
            return;
        }
        let text = labels.iter().map(|(name, _)| name.len()).sum::<usize>() + key.name().len();
        if text > NAMES_MAX || self.len.load(Ordering::Relaxed) >= SETS_MAX {
            return;
        }
        let hash = self.hash_of_names(key.name(), &labels);
        // Called before the shard is locked, since `answer` takes locks of the metric registry.
        let (answer, bytes) = answer(&labels);
        let mut sets = self.by_names.entry(hash).or_default();
        match sets.iter_mut().find(|set| set.is_of(key.name(), &labels)) {
            // Another thread was faster, and its answer is final.
            Some(there) if there.is_final() => return,
            Some(there) => there.answer = answer,
            None => {
                self.len.fetch_add(1, Ordering::Relaxed);
                instance.metrics.add_bytes(text + size_of::<(u64, Vec<()>, KeySet<H>)>());
                let names = labels.iter().map(|(name, _)| Box::from(*name)).collect();
                sets.push(KeySet { name: key.name().into(), labels: names, answer });
            }
        }
        instance.metrics.add_bytes(bytes);
    }
}

impl<H> KeySet<H> {
    /// Returns `true` if the answer can never change.
    fn is_final(&self) -> bool {
        matches!(self.answer, SetAnswer::Refused | SetAnswer::Overflow { own: Some(_), .. })
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::super::names;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn labels_are_those_that_a_registration_takes(
            labels in prop::collection::vec(("[ab]{0,2}", "[xy]{0,2}"), 0..12),
        ) {
            let key = Key::from_parts("name", &labels);
            let mut local = Labels::new();
            sort(&key, &mut local).expect("few");
            let there = names::labels(&key);
            let there: Vec<_> = there.iter().map(|label| (label.name, label.value)).collect();
            prop_assert_eq!(local.as_slice(), there);
        }
    }
}
