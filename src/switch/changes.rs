//! Log of the switch's latest changes, read by subscriptions. Cold. The log is lock-free, because a producer that trips
//! the switch writes to it.
//!
//! A change takes its number from the switch's own word, so the log has the order in which the changes were made, even
//! if a writer is late. A writer whose entry is out of date by then leaves the slot to the newer entry.

use super::state::{Cause, State, Transition};
use crate::sync::plant::{Bug, planted};
use crate::sync::{AtomicU64, Ordering};

/// The greatest time that fits into a word, in milliseconds: 34 years.
pub(super) const MILLIS_MAX: u64 = (1 << 40) - 1;

/// The latest `LOG` changes.
///
/// An entry is one word: the state before in bits 0..2, the state after in 2..4, the cause in 4..8, the lap in 8..24,
/// the time in milliseconds in 24..64. The lap distinguishes an entry from earlier ones in the same slot.
#[derive(Debug)]
pub(crate) struct Changes<const LOG: usize> {
    /// Changes made so far: at least the number of each entry plus one.
    made: AtomicU64,
    entries: [AtomicU64; LOG],
}

impl<const LOG: usize> Default for Changes<LOG> {
    fn default() -> Self {
        Self { made: AtomicU64::new(0), entries: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const LOG: usize> Changes<LOG> {
    /// Changes made so far. Acquire pairs with the Release half of [`note`](Self::note).
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Returns the full number of the next change, given its low 16 bits from the switch's word. The count lags behind
    /// the word by one for each thread that has changed the word and not yet logged its change: far fewer than 65,536.
    ///
    /// ABA: a writer may sleep between this call and its exchange while others make a multiple of 65,536 changes that
    /// leave the very same word. Its exchange then succeeds. The change is correct, since it depends on the word alone.
    /// But its number is 65,536 too low, so `note` takes its entry for out of date. The log then lacks this one change,
    /// and a subscription waits at the gap for at most `LOG` further changes. Later numbers are right again: they are
    /// taken from the word and from the count, which every change but this one has raised. More bits for the number
    /// would only lengthen the sleep that it takes.
    pub(super) fn number_of(&self, low: u16) -> u64 {
        if cfg!(tellane_loom) {
            return low.into(); // models make few changes, and one more load would multiply their executions
        }
        let made = self.made();
        made + u64::from(low.wrapping_sub(made as u16))
    }

    /// Logs the change of this number, unless its slot already holds a newer one.
    pub(super) fn note(&self, number: u64, change: Transition) {
        let number =
            if planted(Bug::NumberApart) { self.made.fetch_add(1, Ordering::AcqRel) } else { number };
        let slot = self.slot(number);
        let entry = Self::pack(number, change);
        // The slot is read before the count. So if it holds a newer entry, the count shows that (the Acquire pairs with
        // the Release of that entry), and if a newer entry is written after the count was read, the exchange fails. A
        // newer entry cannot be the same word: 4 million changes would have to fall into one millisecond.
        let mut current = slot.load(Ordering::Acquire);
        // AcqRel: a reader that sees the entry of a change sees it counted, since the count is raised first.
        let mut made = self.made.fetch_max(number + 1, Ordering::AcqRel);
        if planted(Bug::LateEntry) {
            return slot.store(entry, Ordering::Release);
        }
        while made <= number + LOG as u64 {
            match slot.compare_exchange_weak(current, entry, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return,
                Err(newer) => current = newer,
            }
            made = self.made();
        }
    }

    /// Returns the first change from number `seen` on that is still in the log, and moves `seen` past it. `None` if
    /// there is no further change, or if the next one is still being written.
    pub(crate) fn next(&self, seen: &mut u64) -> Option<Transition> {
        let made = self.made();
        *seen = (*seen).max(made.saturating_sub(LOG as u64));
        while *seen < made {
            let change = self.get(*seen);
            // The count is read after the entry, so an entry that was overwritten is recognised as such here. One that
            // is not overwritten is still being written: return, so that changes are delivered in order.
            if change.is_none() && self.made() <= *seen + LOG as u64 {
                return None;
            }
            *seen += 1;
            if change.is_some() {
                return change;
            }
        }
        None
    }

    /// Returns the change of this number; `None` before it is written and after it is overwritten.
    pub(crate) fn get(&self, number: u64) -> Option<Transition> {
        // Acquire pairs with the Release of `note`.
        let entry = self.slot(number).load(Ordering::Acquire);
        (((entry >> 8) & 0xFFFF) as u16 == Self::lap(number)).then(|| Transition {
            from: State::ALL[(entry & 3) as usize],
            to: State::ALL[((entry >> 2) & 3) as usize],
            cause: Cause::from_bits(entry >> 4),
            at_millis: entry >> 24,
        })
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.entries[(number % LOG as u64) as usize]
    }

    /// Number of the lap through the log that this change is in, from one: zero is a slot that was never written.
    fn lap(number: u64) -> u16 {
        (number / LOG as u64 + 1) as u16
    }

    fn pack(number: u64, change: Transition) -> u64 {
        change.from as u64
            | ((change.to as u64) << 2)
            | ((change.cause as u64) << 4)
            | (u64::from(Self::lap(number)) << 8)
            | (change.at_millis.min(MILLIS_MAX) << 24)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn change(at_millis: u64) -> Transition {
        Transition { from: State::Healthy, to: State::Off, cause: Cause::Manual, at_millis }
    }

    #[test]
    fn a_late_entry_does_not_overwrite_a_newer_one() {
        let changes = Changes::<4>::default();
        (1..=8).for_each(|number| changes.note(number, change(number)));
        changes.note(0, change(0)); // 8 changes late
        let mut seen = 0;
        let left: Vec<_> = std::iter::from_fn(|| changes.next(&mut seen)).map(|it| it.at_millis).collect();
        assert_eq!((left, seen, changes.made()), (vec![5, 6, 7, 8], 9, 9));
    }

    #[test]
    fn a_reader_waits_for_an_entry_that_is_still_to_come() {
        let changes = Changes::<4>::default();
        changes.note(1, change(1));
        let mut seen = 0;
        assert_eq!((changes.next(&mut seen), changes.made()), (None, 2));
        changes.note(0, change(0));
        let left: Vec<_> = std::iter::from_fn(|| changes.next(&mut seen)).map(|it| it.at_millis).collect();
        assert_eq!(left, [0, 1]);
    }

    /// The ABA case that `number_of` describes.
    #[test]
    fn a_writer_that_sleeps_for_65536_changes_leaves_one_gap() {
        const ROUND: u64 = 1 << 16;
        let changes = Changes::<4>::default();
        let asleep = changes.number_of(0);
        (0..ROUND).for_each(|number| changes.note(number, change(number)));
        changes.note(asleep, change(7)); // this is the change with number ROUND
        assert_eq!((changes.made(), changes.get(ROUND)), (ROUND, None));
        let mut seen = ROUND;
        for number in ROUND + 1..=ROUND + 4 {
            assert_eq!(changes.number_of(number as u16), number, "the numbers go on");
            assert_eq!(changes.next(&mut seen), None, "at the gap");
            changes.note(number, change(number));
        }
        let left: Vec<_> = std::iter::from_fn(|| changes.next(&mut seen)).map(|it| it.at_millis).collect();
        assert_eq!((left, seen), ((ROUND + 1..=ROUND + 4).collect(), ROUND + 5));
    }

    #[test]
    fn numbers_go_on_beyond_the_sixteen_bits_of_the_word() {
        let changes = Changes::<64>::default();
        for number in 0..200_000_u64 {
            assert_eq!(changes.number_of(number as u16), number);
            changes.note(number, change(number));
        }
        assert_eq!(changes.number_of((200_000_u64 + 1_000) as u16), 201_000, "a thousand threads are late");
        assert_eq!(changes.get(199_936).map(|it| it.at_millis), Some(199_936));
        assert_eq!(changes.get(199_935), None);
        changes.note(200_000, change(u64::MAX));
        assert_eq!(changes.get(200_000).map(|it| it.at_millis), Some(MILLIS_MAX));
    }
}
