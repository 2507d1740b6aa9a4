//! Map from label values to a handle, read without a lock, an allocation or a second hash. Hot: [`TextTable::get`].
//!
//! An insert-only trie by the bits of the hash. Each slot is written once and an entry never moves, so the table may be
//! read while it grows. If two entries hash to the same slot, the later one goes below the earlier one. A hit compares
//! every byte, so a label is never mistaken for another. The metric's cap on series bounds the entries.

use super::words::{HashKeys, Packed, tail};
use crate::lane::local;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use std::sync::OnceLock;

/// Slots at the root of a table, and below an entry: powers of two. The root is large and of fixed size, so that nearly
/// all of a hundred series are found in their first slot, and that lookup needs no pointer, no mask and no bounds
/// check.
const FIRST: usize = 512;
const BELOW: usize = 16;

#[derive(Debug)]
pub(crate) struct TextTable<H, const N: usize> {
    keys: HashKeys,
    filling: Mutex<()>,
    slots: [TableSlot<H, N>; FIRST],
    /// Bytes of the entries and of the slots below them. Relaxed: a figure that publishes nothing.
    bytes: AtomicUsize,
}

type TableSlot<H, const N: usize> = OnceLock<Box<TableEntry<H, N>>>;

#[derive(Debug)]
struct TableEntry<H, const N: usize> {
    packed: [Packed; N],
    handle: H,
    below: OnceLock<Box<[TableSlot<H, N>; BELOW]>>,
    /// The tails of all values, one after the other. Empty if no value is long.
    tails: Box<[u8]>,
}

impl<H, const N: usize> TableEntry<H, N> {
    #[inline(always)]
    fn has(&self, packed: &[Packed; N]) -> bool {
        let differences = self.packed.iter().zip(packed).map(|(mine, theirs)| mine.difference(theirs));
        differences.fold(0, |all, difference| all | difference) == 0
    }

    /// Compares the tails. The lengths of the values must be known to agree.
    #[inline(always)]
    fn has_tails(&self, values: &[&str; N]) -> bool {
        let mut mine = &*self.tails;
        values.iter().map(|value| tail(value)).filter(|tail| !tail.is_empty()).all(|theirs| {
            let (this, rest) = mine.split_at_checked(theirs.len()).unwrap_or_default();
            mine = rest;
            this == theirs
        })
    }
}

impl<H, const N: usize> TextTable<H, N> {
    pub(crate) fn new() -> Self {
        Self {
            keys: HashKeys::new(),
            filling: Mutex::new(()),
            slots: [const { OnceLock::new() }; FIRST],
            bytes: AtomicUsize::new(0),
        }
    }

    /// Bytes that the entries take in addition to the table itself, without the memory that their handles own.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn get(&self, values: &[&str; N]) -> Option<&H> {
        let Some((hash, packed)) = self.keys.pack(values) else { return self.get_long(values) };
        self.find(hash, |entry| entry.has(&packed)) // no tails to compare: an entry with a tail is longer, so its packed form differs
    }

    #[inline(never)]
    fn get_long(&self, values: &[&str; N]) -> Option<&H> {
        let (hash, packed) = self.keys.pack_any(values);
        self.find(hash, |entry| entry.has(&packed) && entry.has_tails(values))
    }

    #[inline(always)]
    fn find(&self, mut hash: u64, matches: impl Fn(&TableEntry<H, N>) -> bool) -> Option<&H> {
        let mut slot = &self.slots[hash as usize % FIRST];
        hash /= FIRST as u64;
        loop {
            let entry = slot.get()?;
            if matches(entry) {
                return Some(&entry.handle);
            }
            slot = &entry.below.get()?[hash as usize % BELOW];
            hash /= BELOW as u64; // when no bits are left: a chain, each entry below the one before
        }
    }

    /// Inserts a handle unless the values have one already. Returns `true` if it was inserted. Cold.
    #[cold]
    pub(crate) fn insert(&self, values: &[&str; N], handle: H) -> bool {
        local::without_recording(|| {
            let _one_at_a_time = self.filling.lock();
            if self.get(values).is_some() {
                return false;
            }
            let (hash, packed) = self.keys.pack_any(values);
            self.insert_new(hash, packed, values, handle)
        })
    }

    /// Inserts a handle for new values. The caller holds the lock.
    fn insert_new(&self, mut hash: u64, packed: [Packed; N], values: &[&str; N], handle: H) -> bool {
        let tails: Box<[u8]> = values.map(tail).concat().into();
        let mut bytes = size_of::<TableEntry<H, N>>() + tails.len();
        let mut entry = Box::new(TableEntry { packed, handle, below: OnceLock::new(), tails });
        let mut slot = &self.slots[hash as usize % FIRST];
        hash /= FIRST as u64;
        while let Err(displaced) = slot.set(entry) {
            let Some(above) = slot.get() else { return false }; // unreachable: `set` fails only on a full slot
            let below = above.below.get_or_init(|| {
                bytes += size_of::<[TableSlot<H, N>; BELOW]>();
                Box::new([const { OnceLock::new() }; BELOW])
            });
            slot = &below[hash as usize % BELOW];
            hash /= BELOW as u64;
            entry = displaced;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        true
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Lengths on either side of each limit at which the packing changes.
    const LENGTHS: [usize; 18] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 32, 33, 48];

    /// Texts that differ little: all the same letter or NULs, with at most one letter that differs, at any position.
    fn text() -> impl Strategy<Value = String> {
        (prop::sample::select(&LENGTHS[..]), any::<bool>(), prop::option::of(0_usize..48)).prop_map(
            |(len, zeros, other)| {
                let at = |place| if Some(place) == other { 'b' } else { ['a', '\0'][usize::from(zeros)] };
                (0..len).map(at).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn it_finds_what_a_hash_map_finds(pairs in prop::collection::vec((text(), text()), 0..1000)) {
            let (table, mut oracle) = (TextTable::new(), HashMap::new());
            for (number, (a, b)) in pairs.iter().enumerate() {
                let is_new = !oracle.contains_key(&(a, b));
                prop_assert_eq!(table.get(&[a, b]).is_none(), is_new);
                prop_assert_eq!(table.insert(&[a, b], number), is_new);
                oracle.entry((a, b)).or_insert(number);
            }
            for (a, b) in &pairs {
                prop_assert_eq!(table.get(&[a, b]), oracle.get(&(a, b)));
            }
            prop_assert_eq!(table.get(&["c", ""]), None);
        }
    }

    #[test]
    fn every_byte_and_every_length_counts() {
        let table = TextTable::new();
        let mut texts = vec![String::new()];
        for len in 1..=50 {
            let other = |place| (0..len).map(|at| if at == place { 'b' } else { 'a' }).collect::<String>();
            texts.extend((0..len).map(other));
            texts.extend(["a".repeat(len), "\0".repeat(len)]);
        }
        for (number, text) in texts.iter().enumerate() {
            assert!(
                table.insert(&[text, "x"], (number, 0)) && table.insert(&["x", text], (number, 1)),
                "{text:?}"
            );
        }
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(table.get(&[text, "x"]), Some(&(number, 0)));
            assert_eq!(table.get(&["x", text]), Some(&(number, 1)));
        }
    }

    #[test]
    fn entries_with_the_same_hash_form_a_chain() {
        let table = TextTable::new();
        for number in 0..40 {
            let values = &[&*number.to_string()];
            assert!(table.insert_new(u64::MAX, table.keys.pack_any(values).1, values, number));
        }
        let row = std::cell::RefCell::new(vec![]);
        let found = table.find(u64::MAX, |entry| {
            row.borrow_mut().push(entry.handle);
            entry.handle == 39
        });
        assert_eq!((found, row.into_inner()), (Some(&39), (0..40).collect()));
    }

    #[test]
    fn values_are_told_apart_by_their_lengths() {
        let table = TextTable::new();
        table.insert(&["ab", "c"], 1);
        assert_eq!(
            (table.get(&["ab", "c"]), table.get(&["a", "bc"]), table.get(&["abc", ""])),
            (Some(&1), None, None)
        );
    }

    #[test]
    fn readers_find_entries_while_the_table_grows() {
        let table = TextTable::new();
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
