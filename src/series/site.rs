//! Log statements: what each says and where it stands, as a number. Process-wide, since a static knows no instance.
//! Hot: [`Site::number`]; the rest is cold.

use crate::level::Level;
use crate::record::layout::ID_LIMIT;
use crate::sync::fixed::{AtomicU32, Ordering};

static SITES: boxcar::Vec<&'static Site> = boxcar::Vec::new();

/// A log statement in the program's text. Made by the macros.
#[doc(hidden)]
#[derive(Debug)]
pub struct Site {
    pub(crate) level: Level,
    pub(crate) message: &'static str,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    /// Its place among [`SITES`] and one; 0 before its first use.
    number: AtomicU32,
}

impl Site {
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
        if SITES.count() >= ID_LIMIT as usize - 1 {
            return None;
        }
        let made = SITES.push(self) as u32;
        // Of two threads that come at once, one's entry stays unused.
        let first = self.number.compare_exchange(0, made + 1, Ordering::AcqRel, Ordering::Acquire);
        Some(first.map_or_else(|there| there - 1, |_| made)).filter(|number| *number < ID_LIMIT)
    }

    /// The statement of a number.
    pub(crate) fn of(number: u32) -> Option<&'static Self> {
        SITES.get(number as usize).copied()
    }
}
