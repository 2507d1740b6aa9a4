//! The handles of one type of metric, by the key that the macros ask with. [`HandleCache::handle`] runs at every call of a
//! macro: a handle that is there costs one look-up, and waits for nobody.

use super::names::{Definition, labels, metric_name};
use crate::error::RegisterError;
use crate::lane::local;
use crate::series::{Descriptor, Instance, Metric, MetricKind, SHOWN_MAX, Series, beginning};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use ::metrics::{Key, Unit};
use dashmap::DashMap;
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;

/// Keys that are remembered. Those above are looked up under locks at each call.
const KEYS_MAX: usize = 1 << 20;
/// Keys above a metric's cap that are remembered, among them. Whoever sends the values chooses these keys, so they are
/// fewer.
const OVERFLOWING_MAX: usize = 1 << 14;
/// Names whose descriptions are remembered.
const DEFINITIONS_MAX: usize = 1 << 16;
/// Keys and names that were refused and are remembered. Those above are tried again at each call.
const REFUSED_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct HandleCache<H> {
    kind: MetricKind,
    handles: DashMap<Key, Kept<H>, FixedState>,
    /// Keys among them that met an overflow series. Relaxed: threads that race may keep a few more.
    overflowing: AtomicUsize,
    /// By the name as it was given.
    definitions: DashMap<String, Described>,
    refused: Mutex<Refused>,
    /// The handle of keys that cannot be registered now, which counts what is lost.
    lost: H,
}

/// The handle of a key.
#[derive(Clone, Debug)]
enum Kept<H> {
    /// Of the key's own series.
    Own(H),
    /// Of the overflow series of a metric at its cap, which counts each such record. The metric has all its series, so a
    /// key that met the overflow meets it for good.
    Overflow(H, Arc<Metric>),
    /// The key was refused.
    Refused,
}

impl<H: Clone> Kept<H> {
    /// The handle for one more record.
    fn handle(&self) -> Option<H> {
        match self {
            Self::Own(handle) => Some(handle.clone()),
            Self::Overflow(handle, metric) => {
                metric.count_overflow();
                Some(handle.clone())
            }
            Self::Refused => None,
        }
    }
}

#[derive(Debug)]
struct Described {
    definition: Definition,
    /// The name is registered: it says this for good.
    is_used: bool,
}

/// Bytes of a key that is kept, its name and labels together. Longer ones are looked up anew each time.
const KEY_BYTES_MAX: usize = 32 << 10;
/// The same of a key above a metric's cap: all of them together take 16 MiB at most.
const OVERFLOWING_BYTES_MAX: usize = 1 << 10;
/// Bytes of a name whose definition is kept.
const DEFINED_MAX: usize = 1_024;

/// The texts of a key.
fn bytes_of(key: &Key) -> usize {
    key.labels().map(|label| label.key().len() + label.value().len()).sum::<usize>() + key.name().len()
}

#[derive(Debug, Default)]
struct Refused {
    names: HashSet<String>,
    keys: usize,
}

impl<H: Clone> HandleCache<H> {
    pub(super) fn new(kind: MetricKind, lost: H) -> Self {
        let seed = RandomState::new().hash_one(0_u8); // whoever chooses labels must not choose their places
        Self {
            kind,
            handles: DashMap::with_hasher(FixedState::with_seed(seed)),
            overflowing: AtomicUsize::new(0),
            definitions: DashMap::new(),
            refused: Mutex::default(),
            lost,
        }
    }

    /// Keeps a description for the first registration of its name.
    #[cold]
    pub(super) fn describe(&self, instance: &Instance, name: &str, unit: Option<Unit>, text: &str) {
        if instance.lanes.is_forked() || name.len() > DEFINED_MAX {
            return;
        }
        let definition = Definition::new(&metric_name(name), unit, text);
        let described = || {
            let is_known = self.definitions.contains_key(name);
            if !is_known && self.definitions.len() >= DEFINITIONS_MAX {
                return;
            }
            let mut there = self.definitions.entry(name.to_owned()).or_insert_with(|| {
                instance.add_bytes(name.len() + definition.help.len() + size_of::<(String, Described)>());
                Described { definition: definition.clone(), is_used: false }
            });
            if !there.is_used {
                there.definition = definition.clone();
            }
        };
        let _done = local::try_without_recording(described);
    }

    /// The handle of a key; `make` makes one of a series. `None` if it was refused.
    pub(super) fn handle(&self, instance: &Instance, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if let Some(there) = self.handles.try_get(key).try_unwrap() {
            return there.handle();
        }
        self.meet(instance, key, make)
    }

    /// A key that is not there, or just being written.
    #[cold]
    #[inline(never)]
    fn meet(&self, instance: &Instance, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if instance.lanes.is_forked() {
            return None; // a lock may be held by a thread that is not there
        }
        // An allocator that records may come here while this allocates: it is sent away, not into a lock that is held.
        let met = local::try_without_recording(|| {
            if let Some(there) = self.handles.get(key) {
                return there.handle();
            }
            match self.register(instance, key) {
                Ok((series, None)) if self.handles.len() < KEYS_MAX && bytes_of(key) <= KEY_BYTES_MAX => {
                    let make = || {
                        instance.add_bytes(bytes_of(key) + size_of::<(Key, Kept<H>)>());
                        Kept::Own(make(&series))
                    };
                    // Another thread may have been faster.
                    self.handles.entry(key.clone()).or_insert_with(make).handle()
                }
                Ok((series, None)) => Some(make(&series)),
                Ok((series, Some(metric))) => {
                    let handle = make(&series); // counted when it was looked up
                    let has_room = self.overflowing.load(Ordering::Relaxed) < OVERFLOWING_MAX;
                    if has_room && bytes_of(key) <= OVERFLOWING_BYTES_MAX {
                        self.overflowing.fetch_add(1, Ordering::Relaxed);
                        let kept = Kept::Overflow(handle.clone(), metric);
                        if self.handles.insert(key.clone(), kept).is_none() {
                            instance.add_bytes(bytes_of(key) + size_of::<(Key, Kept<H>)>());
                        }
                    }
                    Some(handle)
                }
                Err(error) => {
                    self.refuse(instance, key, error);
                    None
                }
            }
        });
        met.unwrap_or_else(|| {
            instance.name_lost(key.name());
            Some(self.lost.clone())
        })
    }

    /// The series of a key; with its metric, if it is the overflow series and not the key's own.
    fn register(
        &self,
        instance: &Instance,
        key: &Key,
    ) -> Result<(Arc<Series>, Option<Arc<Metric>>), RegisterError> {
        let name = metric_name(key.name());
        let definition = self.definitions.get(key.name()).map(|there| there.definition.clone());
        let definition = definition.unwrap_or_else(|| Definition::new(&name, None, ""));
        let wanted = Descriptor::new(
            (&name, &definition.help),
            (self.kind, definition.unit),
            &[], // they depend on those in use
            definition.shape(self.kind),
            Location::caller(),
        )?;
        let (series, overflowing) = instance.series_of_set(wanted, key.name(), &labels(key))?;
        let is_known = self.definitions.contains_key(key.name());
        if is_known || (self.definitions.len() < DEFINITIONS_MAX && key.name().len() <= DEFINED_MAX) {
            if !is_known {
                instance
                    .add_bytes(key.name().len() + definition.help.len() + size_of::<(String, Described)>());
            }
            self.definitions.insert(key.name().to_owned(), Described { definition, is_used: true });
        }
        Ok((series, overflowing))
    }

    fn refuse(&self, instance: &Instance, key: &Key, error: RegisterError) {
        if matches!(error, RegisterError::Forked | RegisterError::Reentrant) {
            return; // of this process, or of this moment, not of the key
        }
        let mut refused = self.refused.lock();
        if refused.keys < REFUSED_MAX
            && bytes_of(key) <= KEY_BYTES_MAX
            && self.handles.insert(key.clone(), Kept::Refused).is_none()
        {
            instance.add_bytes(bytes_of(key) + size_of::<(Key, Kept<H>)>());
            refused.keys += 1;
        }
        let name = beginning(key.name(), SHOWN_MAX).into_owned();
        if refused.names.len() < REFUSED_MAX && refused.names.insert(name) {
            instance.fault(key.name(), error);
        }
    }
}
