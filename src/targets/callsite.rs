//! Log statements: what each says and where it stands, as a number. Process-wide, since a static knows no instance.
//! Hot: [`Callsite::number`]; the rest is cold.

use crate::level::Level;
use crate::record::layout::ID_LIMIT;
use crate::sync::fixed::{AtomicU32, Ordering};

static CALLSITES: boxcar::Vec<&'static Callsite> = boxcar::Vec::new();

/// A log statement in the program's text. Made by the macros.
#[doc(hidden)]
#[derive(Debug)]
pub struct Callsite {
    pub(crate) level: Level,
    pub(crate) message: &'static str,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    /// Its place among [`CALLSITES`] and one; 0 before its first use.
    number: AtomicU32,
}

impl Callsite {
    /// A statement that was not used yet.
    pub const fn new(
        level: Level,
        message: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        Self { level, message, module, file, line, number: AtomicU32::new(0) }
    }

    /// Its number, if it has met anybody.
    #[inline(always)]
    pub(crate) fn number(&self) -> Option<u32> {
        // Acquire pairs with the Release below: who sends the number sends the entry behind it.
        self.number.load(Ordering::Acquire).checked_sub(1)
    }

    /// Gives it a number; `None` if all are given out.
    #[cold]
    pub(crate) fn meet(&'static self) -> Option<u32> {
        if CALLSITES.count() >= ID_LIMIT as usize - 1 {
            return None;
        }
        let made = CALLSITES.push(self) as u32;
        // Of two threads that come at once, one's entry stays unused.
        let first = self.number.compare_exchange(0, made + 1, Ordering::AcqRel, Ordering::Acquire);
        Some(first.map_or_else(|there| there - 1, |_| made)).filter(|number| *number < ID_LIMIT)
    }

    /// The statement of a number.
    pub(crate) fn of(number: u32) -> Option<&'static Self> {
        CALLSITES.get(number as usize).copied()
    }
}
