//! Cache of the handles of one type of metric, by the macros' keys. [`HandleCache::handle`] runs at every call of a
//! macro: a cached handle costs one lookup, and does not block.

use super::names::{Description, labels, metric_name};
use super::sets::{CachedHandle, Sets};
use crate::error::RegisterError;
use crate::instance::Instance;
use crate::lane::local;
use crate::names::{SHOWN_MAX, beginning};
use crate::series::{Descriptor, MetricKind, Series, SetSeries};
use crate::sync::{AtomicUsize, Mutex, Ordering};
use ::metrics::{Key, Unit};
use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;

/// The most cached keys. Further keys are looked up under locks at each call, until their metric is at its cap; then
/// its series are found without a lock.
const KEYS_MAX: usize = 1 << 20;
/// The most cached keys above their metric's cap. Clients that send the values choose these keys, so fewer are cached;
/// the others take a second lookup.
const OVERFLOWING_MAX: usize = 1 << 14;
/// The most names whose descriptions are stored.
const DEFINITIONS_MAX: usize = 1 << 16;
/// The most refused names that are stored, so that each fault is reported once.
const REFUSED_MAX: usize = 1_000;

/// Cache of the handles of one type of metric, with the descriptions and refusals of names.
#[derive(Debug)]
pub(super) struct HandleCache<H> {
    kind: MetricKind,
    handles: DashMap<Key, CachedHandle<H>, FixedState>,
    /// Number of keys in `handles` that use an overflow series. Relaxed: racing threads may cache a few more.
    overflowing: AtomicUsize,
    /// The answers for keys that are not in `handles`.
    sets: Sets<H>,
    /// Descriptions by the original name.
    descriptions: DashMap<String, Described>,
    refused: Mutex<HashSet<String>>,
    /// The handle for keys that cannot be registered now. It counts lost records.
    lost: H,
}

/// The description of a name.
#[derive(Debug)]
struct Described {
    description: Description,
    /// Set when the name is registered: the description never changes then.
    is_used: bool,
}

/// The most bytes of a cached key, name and labels together. Longer keys are looked up at each call, like those above
/// `KEYS_MAX`.
const KEY_BYTES_MAX: usize = 32 << 10;
/// The most bytes of a cached key above its metric's cap: together they take 16 MiB at most.
const OVERFLOWING_BYTES_MAX: usize = 1 << 10;
/// The most bytes of a name whose description is stored.
const DEFINED_MAX: usize = 1_024;

/// Bytes of a key's texts.
fn bytes_of(key: &Key) -> usize {
    key.labels().map(|label| label.key().len() + label.value().len()).sum::<usize>() + key.name().len()
}

impl<H: Clone> HandleCache<H> {
    pub(super) fn new(kind: MetricKind, lost: H) -> Self {
        // Seeded at random: clients that choose label values must not be able to choose colliding ones.
        let seed = RandomState::new().hash_one(0_u8);
        let hasher = FixedState::with_seed(seed);
        Self {
            kind,
            handles: DashMap::with_hasher(hasher.clone()),
            overflowing: AtomicUsize::new(0),
            sets: Sets::new(hasher),
            descriptions: DashMap::new(),
            refused: Mutex::default(),
            lost,
        }
    }

    /// Stores a description for the first registration of its name.
    #[cold]
    pub(super) fn describe(&self, instance: &Instance, name: &str, unit: Option<Unit>, text: &str) {
        if instance.lanes.is_forked() || name.len() > DEFINED_MAX {
            return;
        }
        let description = Description::new(&metric_name(name), unit, text);
        let described = || {
            let is_known = self.descriptions.contains_key(name);
            if !is_known && self.descriptions.len() >= DEFINITIONS_MAX {
                return;
            }
            let mut there = self.descriptions.entry(name.to_owned()).or_insert_with(|| {
                instance
                    .metrics
                    .add_bytes(name.len() + description.help.len() + size_of::<(String, Described)>());
                Described { description: description.clone(), is_used: false }
            });
            if !there.is_used {
                there.description = description.clone();
            }
        };
        let _done = local::try_without_recording(described);
    }

    /// Returns the handle of a key; `make` makes a handle of a series. `None` if the key was refused.
    pub(super) fn handle(&self, instance: &Instance, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if let Some(there) = self.handles.try_get(key).try_unwrap() {
            return Some(there.handle());
        }
        match self.sets.lookup(instance, key) {
            Some(Some(kept)) => {
                let handle = kept.handle();
                self.cache(instance, key, kept);
                Some(handle)
            }
            Some(None) => None,
            None => self.handle_slow(instance, key, make),
        }
    }

    /// Slow path of [`handle`](Self::handle): a new key, or one whose shard another thread is writing to.
    #[cold]
    #[inline(never)]
    fn handle_slow(&self, instance: &Instance, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if instance.lanes.is_forked() {
            return None; // a lock may be held by a thread that does not exist in the child
        }
        // An allocator that records may call this while it allocates: it is refused, or it would wait for a lock that
        // its own thread holds.
        let registered = local::try_without_recording(|| {
            if let Some(there) = self.handles.get(key) {
                return Some(there.handle());
            }
            match self.register(instance, key) {
                Ok((series, None)) if self.handles.len() < KEYS_MAX && bytes_of(key) <= KEY_BYTES_MAX => {
                    let make = || {
                        instance.metrics.add_bytes(bytes_of(key) + size_of::<(Key, CachedHandle<H>)>());
                        CachedHandle::Own(make(&series))
                    };
                    // Another thread may have been faster.
                    Some(self.handles.entry(key.clone()).or_insert_with(make).handle())
                }
                Ok((series, None)) => Some(make(&series)),
                Ok((series, Some((metric, names)))) => {
                    let handle = make(&series); // `register` has counted the overflow
                    self.sets.overflow(instance, key, &handle, (metric, &names), make);
                    Some(handle)
                }
                Err(error) => {
                    self.refuse(instance, key, error);
                    None
                }
            }
        });
        registered.unwrap_or_else(|| {
            instance.faults.set_lost_name(key.name());
            Some(self.lost.clone())
        })
    }

    /// Caches the handle of a key whose set is known, if the cache has space and its shard is free. Does not block.
    #[inline]
    fn cache(&self, instance: &Instance, key: &Key, kept: CachedHandle<H>) {
        // A key with its own series that did not come through `handle_slow` belongs to a metric at its cap, which
        // bounds the number of such keys.
        if self.overflowing.load(Ordering::Relaxed) < OVERFLOWING_MAX
            && bytes_of(key) <= OVERFLOWING_BYTES_MAX
        {
            self.cache_cold(instance, key, kept);
        }
    }

    #[cold]
    #[inline(never)]
    fn cache_cold(&self, instance: &Instance, key: &Key, kept: CachedHandle<H>) {
        let _from_within_tellane_it_is_left = local::try_without_recording(|| {
            let key_bytes = bytes_of(key) + size_of::<(Key, CachedHandle<H>)>();
            if let Some(Entry::Vacant(entry)) = self.handles.try_entry(key.clone()) {
                self.overflowing.fetch_add(1, Ordering::Relaxed);
                instance.metrics.add_bytes(key_bytes);
                entry.insert(kept);
            }
        });
    }

    /// Registers a key; returns its series. If that is the overflow series, also returns the metric and the label names
    /// that the key has there.
    fn register(&self, instance: &Instance, key: &Key) -> Result<SetSeries, RegisterError> {
        let name = metric_name(key.name());
        let description = self.descriptions.get(key.name()).map(|there| there.description.clone());
        let description = description.unwrap_or_else(|| Description::new(&name, None, ""));
        let wanted = Descriptor::new(
            (&name, &description.help),
            (self.kind, description.unit),
            &[], // `series_of_set` sets the label names, which depend on those in use
            description.shape(self.kind),
            Location::caller(),
        )?;
        let (series, overflowing) = instance.metrics.series_of_set(wanted, key.name(), &labels(key))?;
        let is_known = self.descriptions.contains_key(key.name());
        if is_known || (self.descriptions.len() < DEFINITIONS_MAX && key.name().len() <= DEFINED_MAX) {
            if !is_known {
                instance
                    .metrics
                    .add_bytes(key.name().len() + description.help.len() + size_of::<(String, Described)>());
            }
            self.descriptions.insert(key.name().to_owned(), Described { description, is_used: true });
        }
        Ok((series, overflowing))
    }

    fn refuse(&self, instance: &Instance, key: &Key, error: RegisterError) {
        if matches!(error, RegisterError::Forked | RegisterError::Reentrant) {
            return; // a fault of this process or of this moment, not of the key
        }
        // The error depends on the names alone, except when series numbers run out: then some series of the set may
        // exist.
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
