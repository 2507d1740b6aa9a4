//! Intern cache of a thread: names and keys that it has used, by address. Hot, except for
//! [`insert`](InternCache::insert).

use super::id_generator::GOLDEN;
use std::cell::Cell;

/// Entries of a cache, a power of two.
const NAMES: usize = 256;

/// Per-thread intern cache keyed by the address and length of a `&'static str`. A hit compares two numbers and never
/// touches the text.
///
/// Open addressing without removal. The first texts, up to three quarters of the entries, stay for good. A later text
/// may replace another one; the two then evict each other and take the slow path, through the instance's tables.
#[derive(Debug)]
pub(crate) struct InternCache<V: Copy> {
    entries: [CacheEntry<V>; NAMES],
    filled: Cell<usize>,
}

/// One cache entry. Stores `len + 1`, so that 0 marks an empty entry.
#[derive(Debug, Default)]
struct CacheEntry<V: Copy> {
    address: Cell<usize>,
    len_and_one: Cell<usize>,
    value: Cell<V>,
}

/// Shift of the tag, which lies above the length. The tag distinguishes the uses of one text, such as the span kinds of
/// a name.
const TAG_SHIFT: u32 = 56;

impl<V: Copy + Default> InternCache<V> {
    #[cfg(all(test, not(tellane_loom)))]
    fn new() -> Self {
        Self { entries: std::array::from_fn(|_| CacheEntry::default()), filled: Cell::new(0) }
    }

    /// The home slot of a text. The multiplication spreads neighbouring literals.
    #[inline(always)]
    fn home(text: &'static str) -> usize {
        let address = text.as_ptr() as usize as u64;
        (address.wrapping_mul(GOLDEN) >> 56) as usize & (NAMES - 1)
    }

    /// The value of a text that this thread has interned.
    #[inline(always)]
    pub(crate) fn get(&self, text: &'static str, tag: u8) -> Option<V> {
        let there = self.home_entry(text, tag);
        let there = there.or_else(|| self.probe(Self::home(text), text, Self::len_and_one(text, tag)));
        there.map(|there| there.value.get())
    }

    /// Probes the home slot only; a collision counts as a miss.
    #[inline(always)]
    fn home_entry(&self, text: &'static str, tag: u8) -> Option<&CacheEntry<V>> {
        let there = &self.entries[Self::home(text)];
        let found = there.address.get() == text.as_ptr() as usize
            && there.len_and_one.get() == Self::len_and_one(text, tag);
        found.then_some(there)
    }

    /// The cell of a text's value, if it is in its home slot.
    #[inline(always)]
    pub(crate) fn get_home(&self, text: &'static str, tag: u8) -> Option<&Cell<V>> {
        self.home_entry(text, tag).map(|there| &there.value)
    }

    /// Probes on from the home slot. Out of line, so that the fast path needs few registers.
    #[inline(never)]
    fn probe(&self, mut at: usize, text: &'static str, len_and_one: usize) -> Option<&CacheEntry<V>> {
        loop {
            let there = &self.entries[at];
            if there.address.get() == text.as_ptr() as usize && there.len_and_one.get() == len_and_one {
                return Some(there);
            }
            if there.len_and_one.get() == 0 {
                return None;
            }
            at = (at + 1) & (NAMES - 1); // ends, since one entry is always vacant
        }
    }

    #[inline(always)]
    fn len_and_one(text: &'static str, tag: u8) -> usize {
        (text.len() + 1) | (usize::from(tag) << TAG_SHIFT)
    }

    /// Caches the value of a text.
    #[cold]
    pub(crate) fn insert(&self, text: &'static str, tag: u8, value: V) {
        let mut at = Self::home(text);
        let is_vacant = |at: usize| self.entries[at].len_and_one.get() == 0;
        let crowded = self.filled.get() >= NAMES / 4 * 3;
        while !crowded && !is_vacant(at) {
            at = (at + 1) & (NAMES - 1);
        }
        if is_vacant(at) {
            if self.filled.get() == NAMES - 1 {
                return; // the last vacant entry stays vacant, since it ends a probe
            }
            self.filled.set(self.filled.get() + 1);
        }
        let there = &self.entries[at];
        there.address.set(text.as_ptr() as usize);
        there.len_and_one.set(Self::len_and_one(text, tag));
        there.value.set(value);
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_promised_number_of_texts_stays_cached() {
        static LETTERS: [u8; 1_000] = [b'x'; 1_000];
        let texts = std::str::from_utf8(&LETTERS).unwrap();
        let cache = InternCache::new();
        let text = |number: usize| &texts[number..number + 1];
        (0..1_000).for_each(|number| cache.insert(text(number), 0, number));
        for number in 0..NAMES / 4 * 3 {
            let found = cache.get(text(number), 0);
            assert!(found.is_none_or(|found| found == number), "never another's");
        }
        let kept = (0..1_000).filter(|number| cache.get(text(*number), 0) == Some(*number)).count();
        assert!(kept >= NAMES / 4 * 3, "{kept} of 1,000 are known");
        let few = InternCache::new();
        (0..NAMES / 4 * 3).for_each(|number| few.insert(text(number), 0, number));
        assert!((0..NAMES / 4 * 3).all(|number| few.get(text(number), 0) == Some(number)));
    }
}
