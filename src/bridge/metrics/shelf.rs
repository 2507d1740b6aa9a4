//! The handles of one type of metric, by the key that the macros ask with. [`Shelf::handle`] runs at every call of a
//! macro: a handle that is there costs one look-up, and waits for nobody.

use super::names::{Definition, labels, metric_name};
use crate::error::RegisterError;
use crate::lane::local;
use crate::series::{Descriptor, MetricKind, Registry, SHOWN_MAX, Series, beginning};
use crate::sync::{Arc, Mutex};
use ::metrics::{Key, Unit};
use dashmap::DashMap;
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;

/// Keys that are remembered. Those above are looked up under locks at each call.
const KEYS_MAX: usize = 1 << 20;
/// Names whose descriptions are remembered.
const DEFINITIONS_MAX: usize = 1 << 16;
/// Keys and names that were refused and are remembered. Those above are tried again at each call.
const REFUSED_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Shelf<H> {
    kind: MetricKind,
    /// Never of a key that met an overflow series: their number has no bound.
    handles: DashMap<Key, Option<H>, FixedState>,
    /// By the name as it was given.
    definitions: DashMap<String, Described>,
    refused: Mutex<Refused>,
}

#[derive(Debug)]
struct Described {
    definition: Definition,
    /// The name is registered: it says this for good.
    is_used: bool,
}

/// Bytes of a key that is kept, its name and labels together. Longer ones are looked up anew each time.
const KEY_BYTES_MAX: usize = 32 << 10;
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

impl<H: Clone> Shelf<H> {
    pub(super) fn new(kind: MetricKind) -> Self {
        let seed = RandomState::new().hash_one(0_u8); // whoever chooses labels must not choose their places
        Self {
            kind,
            handles: DashMap::with_hasher(FixedState::with_seed(seed)),
            definitions: DashMap::new(),
            refused: Mutex::default(),
        }
    }

    /// Keeps a description for the first registration of its name.
    #[cold]
    pub(super) fn describe(&self, registry: &Registry, name: &str, unit: Option<Unit>, text: &str) {
        if registry.directory.is_forked() || name.len() > DEFINED_MAX {
            return;
        }
        let definition = Definition::new(&metric_name(name), unit, text);
        let described = || {
            let is_known = self.definitions.contains_key(name);
            if !is_known && self.definitions.len() >= DEFINITIONS_MAX {
                return;
            }
            let mut there = self.definitions.entry(name.to_owned()).or_insert_with(|| {
                registry.keeps(name.len() + definition.help.len() + size_of::<(String, Described)>());
                Described { definition: definition.clone(), is_used: false }
            });
            if !there.is_used {
                there.definition = definition.clone();
            }
        };
        let _done = local::aside_once(described);
    }

    /// The handle of a key; `make` makes one of a series. `None` if it was refused.
    pub(super) fn handle(&self, registry: &Registry, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if let Some(there) = self.handles.try_get(key).try_unwrap() {
            return there.clone();
        }
        self.meet(registry, key, make)
    }

    /// A key that is not there, or just being written.
    #[cold]
    #[inline(never)]
    fn meet(&self, registry: &Registry, key: &Key, make: impl Fn(&Series) -> H) -> Option<H> {
        if registry.directory.is_forked() {
            return None; // a lock may be held by a thread that is not there
        }
        // An allocator that records may come here while this allocates: it is sent away, not into a lock that is held.
        local::aside_once(|| {
            if let Some(there) = self.handles.get(key) {
                return there.clone();
            }
            match self.register(registry, key) {
                Ok((series, true)) if self.handles.len() < KEYS_MAX && bytes_of(key) <= KEY_BYTES_MAX => {
                    let make = || {
                        registry.keeps(bytes_of(key) + size_of::<(Key, Option<H>)>());
                        Some(make(&series))
                    };
                    // Another thread may have been faster.
                    self.handles.entry(key.clone()).or_insert_with(make).clone()
                }
                Ok((series, _)) => Some(make(&series)),
                Err(error) => {
                    self.refuse(registry, key, error);
                    None
                }
            }
        })
        .flatten()
    }

    /// The series of a key, and whether it is the key's own.
    fn register(&self, registry: &Registry, key: &Key) -> Result<(Arc<Series>, bool), RegisterError> {
        let name = metric_name(key.name());
        let definition = self.definitions.get(key.name()).map(|there| there.definition.clone());
        let definition = definition.unwrap_or_else(|| Definition::new(&name, None, ""));
        let labels = labels(key);
        let names: Vec<&str> = labels.iter().map(|(name, _)| &**name).collect();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        let wanted = Descriptor::new(
            (&name, &definition.help),
            (self.kind, definition.unit),
            &names,
            definition.shape(self.kind),
            Location::caller(),
        )?;
        let series = registry.series_of_set(wanted, &values)?;
        let is_own = labels.len() == series.identity.labels.len()
            && labels
                .iter()
                .all(|(name, value)| series.identity.labels().any(|label| label == (&**name, *value)));
        let is_known = self.definitions.contains_key(key.name());
        if is_known || (self.definitions.len() < DEFINITIONS_MAX && key.name().len() <= DEFINED_MAX) {
            if !is_known {
                registry.keeps(key.name().len() + definition.help.len() + size_of::<(String, Described)>());
            }
            self.definitions.insert(key.name().to_owned(), Described { definition, is_used: true });
        }
        Ok((series, is_own))
    }

    fn refuse(&self, registry: &Registry, key: &Key, error: RegisterError) {
        if error == RegisterError::Forked {
            return;
        }
        let mut refused = self.refused.lock();
        if refused.keys < REFUSED_MAX
            && bytes_of(key) <= KEY_BYTES_MAX
            && self.handles.insert(key.clone(), None).is_none()
        {
            registry.keeps(bytes_of(key) + size_of::<(Key, Option<H>)>());
            refused.keys += 1;
        }
        let name = beginning(key.name(), SHOWN_MAX).into_owned();
        if refused.names.len() < REFUSED_MAX && refused.names.insert(name) {
            registry.fault(key.name(), error);
        }
    }
}
