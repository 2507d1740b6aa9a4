//! The original names of metrics and labels that came over a bridge, and the valid names they were turned into.
//! Distinct names may turn into the same: `b.c` and `b-c` both become `b_c`. The first original name keeps it; each
//! other one gets a hash of the original as a suffix, so that no two share a series. Cold: runs at the first use of a
//! key.

use super::descriptor::{Descriptor, HELP_MAX};
use super::validate::{self, NAME_MAX};
use crate::error::RegisterError;
use crate::names::{SHOWN_MAX as ERROR_MAX, beginning};
use std::collections::HashMap;

/// Maximum bytes of an original name. A longer one is refused: kept memory must be bounded.
pub(super) const GIVEN_MAX: usize = 1_024;
/// Characters of an original name that a help text shows.
const SHOWN_MAX: usize = 200;

/// A label as it came over a bridge.
#[derive(Debug)]
pub(crate) struct GivenLabel<'a> {
    pub(crate) name: &'a str,
    /// The name turned into a valid label name.
    pub(crate) word: String,
    pub(crate) value: &'a str,
}

/// The original names of one metric. A metric registered by handles only has none: the first original name of a bridge
/// that turns into its name shares its series.
#[derive(Debug, Default)]
pub(super) struct Claims {
    name: Option<Box<str>>,
    /// Label names: original to used.
    labels: HashMap<Box<str>, Box<str>>,
}

impl Claims {
    /// Claims the metric for an original name. The first claim wins. Returns the bytes that it takes, or `None` if the
    /// metric belongs to another name.
    pub(super) fn claim(&mut self, given: &str) -> Option<usize> {
        match &self.name {
            Some(name) => (**name == *given).then_some(0),
            None => {
                self.name = Some(given.into());
                Some(given.len())
            }
        }
    }

    /// Chooses label names for the original ones, all distinct.
    ///
    /// # Errors
    /// [`RegisterError::BadLabel`] if a name is too long.
    pub(super) fn resolve(&self, given: &[GivenLabel<'_>]) -> Result<Vec<Box<str>>, RegisterError> {
        let mut used: Vec<Option<Box<str>>> =
            given.iter().map(|label| self.labels.get(label.name).cloned()).collect();
        for (index, label) in given.iter().enumerate() {
            let is_taken = |wanted: &str, used: &[Option<Box<str>>]| {
                self.labels.values().any(|other| **other == *wanted)
                    || used.iter().flatten().any(|other| **other == *wanted)
            };
            let mut wanted = label.word.clone();
            for round in 0.. {
                if used[index].is_some() {
                    break;
                }
                if is_taken(&wanted, &used) {
                    wanted = with_hash(&label.word, label.name, round);
                } else {
                    used[index] = Some(wanted.as_str().into());
                }
            }
        }
        let used: Vec<Box<str>> = used.into_iter().flatten().collect();
        validate::label_names(&used.iter().map(|name| &**name).collect::<Vec<_>>())?;
        match given.iter().find(|label| label.name.len() > GIVEN_MAX) {
            Some(long) => {
                Err(RegisterError::BadLabel { label: beginning(&long.word, ERROR_MAX).into_owned() })
            }
            None => Ok(used),
        }
    }

    /// Stores the names that [`resolve`](Self::resolve) chose, once a set with these labels exists. Returns the bytes
    /// that this takes.
    pub(super) fn store(&mut self, given: &[GivenLabel<'_>], used: &[Box<str>]) -> usize {
        let mut bytes = 0;
        for (label, used) in given.iter().zip(used) {
            if !self.labels.contains_key(label.name) {
                bytes += label.name.len() + used.len() + 2 * size_of::<Box<str>>();
                self.labels.insert(label.name.into(), used.clone());
            }
        }
        bytes
    }
}

impl Descriptor {
    /// This metric under a name that only `given` turns into. Its help text shows the original name.
    ///
    /// # Errors
    /// Those of [`validate::full_name`]; none is known to occur, since the name is cut to its limit.
    pub(super) fn disambiguated(self, given: &str, round: u32) -> Result<Self, RegisterError> {
        let stem = validate::stem(&self.name, self.kind, self.unit);
        let name = validate::full_name(&with_hash(stem, given, round), self.kind, self.unit)?;
        let shown: String = given.chars().take(SHOWN_MAX).collect();
        let said = format!("Recorded as {shown:?}.");
        let help = match &*self.help {
            help if *help == *self.name => said,
            help => format!("{} {said}", beginning(help, HELP_MAX.saturating_sub(said.len() + 1))),
        };
        Ok(Self { name: name.into(), help: help.into(), ..self })
    }
}

/// A word with a hash of its original name as a suffix. The hash is FNV-1a, the same in every process and every
/// version, so that a series keeps its name.
fn with_hash(word: &str, given: &str, round: u32) -> String {
    let mut hash = 0x811c_9dc5_u32.wrapping_add(round);
    for byte in given.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let word = &word[..word.len().min(NAME_MAX - 9)];
    // Names that begin with two underscores are reserved.
    format!("{}_{hash:08x}", word.strip_suffix('_').unwrap_or(word))
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn given<'a>(names: &[(&'a str, &str)]) -> Vec<GivenLabel<'a>> {
        names.iter().map(|(name, word)| GivenLabel { name, word: (*word).to_owned(), value: "" }).collect()
    }

    #[test]
    fn a_label_keeps_its_name_in_every_set() {
        let mut claims = Claims::default();
        let first = given(&[("b:c", "b_c")]);
        let used = claims.resolve(&first).unwrap();
        assert_eq!(*used, ["b_c".into()]);
        claims.store(&first, &used);
        let both = claims.resolve(&given(&[("b.c", "b_c"), ("b:c", "b_c")])).unwrap();
        assert_eq!(*both, [with_hash("b_c", "b.c", 0).into(), "b_c".into()]);
        // An original name that looks like a hashed name still gets a name of its own.
        claims.store(&given(&[("b.c", "b_c")]), &both[..1]);
        let likeness = both[0].to_string();
        let alike = claims.resolve(&given(&[(&likeness, &likeness)])).unwrap();
        assert_ne!(alike[0], both[0]);
    }

    #[test]
    fn empty_names_do_not_become_reserved_names() {
        assert_eq!(with_hash("_", "", 0), "_811c9dc5");
        let used = Claims::default().resolve(&given(&[("", "_"), ("{", "_")])).unwrap();
        assert_eq!(&*used[0], "_");
        assert!(used[1].starts_with('_') && !used[1].starts_with("__"));
    }

    #[test]
    fn a_taken_hash_is_followed_by_another() {
        let taken = with_hash("b_c", "b-c", 0);
        let mut claims = Claims::default();
        claims.store(&given(&[("b.c", "b_c"), (&taken, &taken)]), &["b_c".into(), taken.as_str().into()]);
        let used = claims.resolve(&given(&[("b-c", "b_c")])).unwrap();
        assert_eq!(*used, [with_hash("b_c", "b-c", 1).into()]);
    }

    #[test]
    fn original_names_are_bounded() {
        let long = "x".repeat(GIVEN_MAX + 1);
        assert!(Claims::default().resolve(&given(&[(&long, "x")])).is_err());
    }
}
