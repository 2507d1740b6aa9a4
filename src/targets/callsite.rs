//! Callsites of log statements: message and source location, interned under a number. Process-wide, since a static
//! belongs to no instance. Hot: [`Callsite::number`]; the rest is cold.

use crate::level::Level;
use crate::record::layout::ID_LIMIT;
use crate::sync::fixed::{AtomicU32, Ordering};

static CALLSITES: boxcar::Vec<&'static Callsite> = boxcar::Vec::new();

/// A log statement in the program's source. Made by the macros.
#[doc(hidden)]
#[derive(Debug)]
pub struct Callsite {
    pub(crate) level: Level,
    pub(crate) message: &'static str,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    /// The callsite's index in [`CALLSITES`], plus one; 0 before its first use.
    number: AtomicU32,
}

impl Callsite {
    /// A callsite that was not used yet.
    pub const fn new(
        level: Level,
        message: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        Self { level, message, module, file, line, number: AtomicU32::new(0) }
    }

    /// The callsite's number; `None` before its first use.
    #[inline(always)]
    pub(crate) fn number(&self) -> Option<u32> {
        // Acquire pairs with the Release in `register`: a thread that hands the number on also hands on the entry.
        self.number.load(Ordering::Acquire).checked_sub(1)
    }

    /// Assigns a number; `None` if all numbers are in use.
    #[cold]
    pub(crate) fn register(&'static self) -> Option<u32> {
        if CALLSITES.count() >= ID_LIMIT as usize - 1 {
            return None;
        }
        let made = CALLSITES.push(self) as u32;
        // If two threads register at once, the entry of one stays unused.
        let first = self.number.compare_exchange(0, made + 1, Ordering::AcqRel, Ordering::Acquire);
        Some(first.map_or_else(|there| there - 1, |_| made)).filter(|number| *number < ID_LIMIT)
    }

    /// The callsite with this number.
    pub(crate) fn by_number(number: u32) -> Option<&'static Self> {
        CALLSITES.get(number as usize).copied()
    }
}
