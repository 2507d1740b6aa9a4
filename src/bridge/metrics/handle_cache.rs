//! The handles of one type of metric, by the key that the macros ask with. [`HandleCache::handle`] runs at every call of a
//! macro: a handle that is there costs one look-up, and waits for nobody.

use super::names::{Definition, labels, metric_name};
use super::sets::{Kept, Sets};
use crate::error::RegisterError;
use crate::instance::Instance;
use crate::lane::local;
use crate::names::{SHOWN_MAX, beginning};
use crate::series::{Descriptor, MetricKind, OfSet, Series};
use crate::sync::{AtomicUsize, Mutex, Ordering};
use ::metrics::{Key, Unit};
use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;

/// Keys that are remembered. Those above are looked up under locks at each call, as long as their metric is not at its
/// cap: then its series are found without.
const KEYS_MAX: usize = 1 << 20;
/// Keys above a metric's cap that are remembered, among them. Whoever sends the values chooses these keys, so they are
/// fewer; the others take a second look-up.
const OVERFLOWING_MAX: usize = 1 << 14;
/// Names whose descriptions are remembered.
const DEFINITIONS_MAX: usize = 1 << 16;
/// Names that were refused and whose fault is remembered, so that it is told once.
const REFUSED_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct HandleCache<H> {
    kind: MetricKind,
    handles: DashMap<Key, Kept<H>, FixedState>,
    /// Keys among them that met an overflow series. Relaxed: threads that race may keep a few more.
    overflowing: AtomicUsize,
    /// The answers for keys that are not among them.
    sets: Sets<H>,
    /// By the name as it was given.
    definitions: DashMap<String, Described>,
    refused: Mutex<HashSet<String>>,
    /// The handle of keys that cannot be registered now, which counts what is lost.
    lost: H,
}

#[derive(Debug)]
struct Described {
    definition: Definition,
    /// The name is registered: it says this for good.
    is_used: bool,
}

/// Bytes of a key that is kept, its name and labels together. Longer ones are looked up anew each time, as those above
/// `KEYS_MAX` are.
const KEY_BYTES_MAX: usize = 32 << 10;
/// The same of a key above a metric's cap: all of them together take 16 MiB at most.
const OVERFLOWING_BYTES_MAX: usize = 1 << 10;
/// Bytes of a name whose definition is kept.
const DEFINED_MAX: usize = 1_024;

/// The texts of a key.
fn bytes_of(key: &Key) -> usize {
    key.labels().map(|label| label.key().len() + label.value().len()).sum::<usize>() + key.name().len()
}

impl<H: Clone> HandleCache<H> {
    pub(super) fn new(kind: MetricKind, lost: H) -> Self {
        let seed = RandomState::new().hash_one(0_u8); // whoever chooses labels must not choose their places
        let hasher = FixedState::with_seed(seed);
        Self {
            kind,
            handles: DashMap::with_hasher(hasher.clone()),
            overflowing: AtomicUsize::new(0),
            sets: Sets::new(hasher),
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
                instance
                    .metrics
                    .add_bytes(name.len() + definition.help.len() + size_of::<(String, Described)>());
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
            return Some(there.handle());
        }
        match self.sets.find(instance, key) {
            Some(Some(kept)) => {
                let handle = kept.handle();
                self.remember(instance, key, kept);
                Some(handle)
            }
            Some(None) => None,
            None => self.meet(instance, key, make),
        }
    }

    /// A key that nothing is known of, or that is just being written.
    #[cold]
    #[inline(never)]
    fn meet(&self, instance: &Instance, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if instance.lanes.is_forked() {
            return None; // a lock may be held by a thread that is not there
        }
        // An allocator that records may come here while this allocates: it is sent away, not into a lock that is held.
        let met = local::try_without_recording(|| {
            if let Some(there) = self.handles.get(key) {
                return Some(there.handle());
            }
            match self.register(instance, key) {
                Ok((series, None)) if self.handles.len() < KEYS_MAX && bytes_of(key) <= KEY_BYTES_MAX => {
                    let make = || {
                        instance.metrics.add_bytes(bytes_of(key) + size_of::<(Key, Kept<H>)>());
                        Kept::Own(make(&series))
                    };
                    // Another thread may have been faster.
                    Some(self.handles.entry(key.clone()).or_insert_with(make).handle())
                }
                Ok((series, None)) => Some(make(&series)),
                Ok((series, Some((metric, names)))) => {
                    let handle = make(&series); // counted when it was looked up
                    self.sets.overflow(instance, key, &handle, (metric, &names), make);
                    Some(handle)
                }
                Err(error) => {
                    self.refuse(instance, key, error);
                    None
                }
            }
        });
        met.unwrap_or_else(|| {
            instance.faults.name_lost(key.name());
            Some(self.lost.clone())
        })
    }

    /// Keeps the handle of a key whose set is known, if there is room and the place is free: waits for nobody.
    #[inline]
    fn remember(&self, instance: &Instance, key: &Key, kept: Kept<H>) {
        // Own series that were not met by `meet` are those of a metric at its cap, which bounds them.
        if self.overflowing.load(Ordering::Relaxed) < OVERFLOWING_MAX
            && bytes_of(key) <= OVERFLOWING_BYTES_MAX
        {
            self.remember_cold(instance, key, kept);
        }
    }

    #[cold]
    #[inline(never)]
    fn remember_cold(&self, instance: &Instance, key: &Key, kept: Kept<H>) {
        let _from_within_tellane_it_is_left = local::try_without_recording(|| {
            let key_bytes = bytes_of(key) + size_of::<(Key, Kept<H>)>();
            if let Some(Entry::Vacant(place)) = self.handles.try_entry(key.clone()) {
                self.overflowing.fetch_add(1, Ordering::Relaxed);
                instance.metrics.add_bytes(key_bytes);
                place.insert(kept);
            }
        });
    }

    /// The series of a key; with its metric and the names of its labels there, if it is the overflow series and not the
    /// key's own.
    fn register(&self, instance: &Instance, key: &Key) -> Result<OfSet, RegisterError> {
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
        let (series, overflowing) = instance.metrics.series_of_set(wanted, key.name(), &labels(key))?;
        let is_known = self.definitions.contains_key(key.name());
        if is_known || (self.definitions.len() < DEFINITIONS_MAX && key.name().len() <= DEFINED_MAX) {
            if !is_known {
                instance
                    .metrics
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
        // The error depends on the names alone. Only where numbers run out may a set have series that are there.
        if error != RegisterError::Exhausted || instance.metrics.has_numbers(self.kind) {
            self.sets.refuse(instance, key);
        }
        let mut refused = self.refused.lock();
        let name = beginning(key.name(), SHOWN_MAX).into_owned();
        if refused.len() < REFUSED_MAX && refused.insert(name) {
            instance.fault(key.name(), error);
        }
    }
}
