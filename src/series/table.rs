//! From label values to a handle, without a lock, an allocation or a second hash. Hot: [`Table::get`].
//!
//! Insert-only open addressing; each slot is written once. When half full, a table twice the size is filled beside
//! the old one, which stays as it is for those still reading it: all of them together take twice the last one's room,
//! and that is bounded by the metric's cap. Hash and text are both compared: a label is never mistaken for another.

use crate::sync::fixed::{AtomicU32, Ordering};
use crate::sync::{Arc, Mutex};
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// Slots of the first table, a power of two.
const FIRST: usize = 64;

#[derive(Debug)]
pub(crate) struct Table<H> {
    /// Seeded from the system: whoever chooses label values cannot choose their places.
    hash: FixedState,
    tables: [OnceLock<Box<[OnceLock<Entry<H>>]>>; 24],
    /// Which of them is in use.
    present: AtomicU32,
    filled: Mutex<usize>,
}

#[derive(Clone, Debug)]
struct Entry<H> {
    hash: u64,
    /// The values, each with its length before it.
    key: Arc<[u8]>,
    handle: H,
}

fn key_of(values: &[&str]) -> Arc<[u8]> {
    let parts =
        values.iter().flat_map(|value| (value.len() as u32).to_le_bytes().into_iter().chain(value.bytes()));
    parts.collect()
}

#[inline(always)]
fn is_key_of(mut key: &[u8], values: &[&str]) -> bool {
    for value in values {
        let Some((len, rest)) = key.split_first_chunk::<4>() else { return false };
        if u32::from_le_bytes(*len) as usize != value.len() {
            return false;
        }
        let Some((text, rest)) = rest.split_at_checked(value.len()) else { return false };
        if text != value.as_bytes() {
            return false;
        }
        key = rest;
    }
    true
}

impl<H: Clone> Table<H> {
    pub(crate) fn new() -> Self {
        Self {
            hash: FixedState::with_seed(RandomState::new().hash_one(0_u8)),
            tables: [const { OnceLock::new() }; 24],
            present: AtomicU32::new(0),
            filled: Mutex::new(0),
        }
    }

    #[inline(always)]
    fn hash(&self, values: &[&str]) -> u64 {
        let mut hasher = self.hash.build_hasher();
        for value in values {
            hasher.write(value.as_bytes()); // lengths are compared with the text
        }
        hasher.finish()
    }

    fn present(&self) -> &[OnceLock<Entry<H>>] {
        // Acquire pairs with the Release of `insert`: the table is filled before it is the present one.
        let present = self.present.load(Ordering::Acquire) as usize;
        self.tables[present].get_or_init(|| new_table(FIRST))
    }

    #[inline(always)]
    pub(crate) fn get(&self, values: &[&str]) -> Option<&H> {
        let hash = self.hash(values);
        let present = self.present.load(Ordering::Acquire) as usize; // as in `present`
        let table = self.tables.get(present)?.get()?;
        let mut at = hash as usize;
        loop {
            let entry = table[at & (table.len() - 1)].get()?;
            if entry.hash == hash && is_key_of(&entry.key, values) {
                return Some(&entry.handle);
            }
            at += 1;
        }
    }

    /// Keeps a handle; the first one for these values stays. Says whether it is this one. Cold.
    #[cold]
    pub(crate) fn insert(&self, values: &[&str], handle: H) -> bool {
        let mut filled = self.filled.lock();
        if self.get(values).is_some() {
            return false;
        }
        let mut table = self.present();
        if *filled >= table.len() / 2 {
            let next = self.present.load(Ordering::Relaxed) as usize + 1; // written under the lock only
            let Some(larger) = self.tables.get(next) else { return false };
            let larger = larger.get_or_init(|| new_table(table.len() * 2));
            for entry in table.iter().filter_map(OnceLock::get) {
                put(larger, entry.clone());
            }
            self.present.store(next as u32, Ordering::Release);
            table = larger;
        }
        put(table, Entry { hash: self.hash(values), key: key_of(values), handle });
        *filled += 1;
        true
    }
}

fn new_table<H>(len: usize) -> Box<[OnceLock<Entry<H>>]> {
    (0..len).map(|_| OnceLock::new()).collect()
}

/// Under the table's lock; there is a free slot, since tables are never more than half full.
fn put<H>(table: &[OnceLock<Entry<H>>], entry: Entry<H>) {
    let mut at = entry.hash as usize;
    let mut entry = Err(entry);
    while let Err(homeless) = entry {
        entry = table[at & (table.len() - 1)].set(homeless);
        at += 1;
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_finds_what_a_hash_map_finds(pairs in prop::collection::vec(("[ab]{0,3}", "[ab]{0,3}"), 0..400)) {
            let (table, mut oracle) = (Table::new(), HashMap::new());
            for (number, (a, b)) in pairs.iter().enumerate() {
                table.insert(&[a, b], number);
                oracle.entry((a, b)).or_insert(number);
            }
            for (a, b) in &pairs {
                prop_assert_eq!(table.get(&[a, b]), oracle.get(&(a, b)));
            }
            prop_assert_eq!(table.get(&["c", ""]), None);
        }
    }

    #[test]
    fn values_are_told_apart_by_their_lengths() {
        let table = Table::new();
        table.insert(&["ab", "c"], 1);
        assert_eq!(
            (table.get(&["ab", "c"]), table.get(&["a", "bc"]), table.get(&["abc", ""])),
            (Some(&1), None, None)
        );
    }

    #[test]
    fn readers_go_on_while_it_grows() {
        let table = Table::new();
        let texts: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let kept = texts.iter().enumerate().filter(|(number, text)| table.insert(&[text], *number));
                assert_eq!(kept.count(), texts.len());
            });
            scope.spawn(|| {
                for (number, text) in texts.iter().enumerate().cycle().take(100_000) {
                    let found = table.get(&[text]);
                    assert!(found.is_none_or(|found| *found == number));
                }
            });
        });
        assert!(texts.iter().enumerate().all(|(number, text)| table.get(&[text]) == Some(&number)));
    }
}
