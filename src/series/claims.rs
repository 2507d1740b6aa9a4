//! Names as a bridge was given them, beside what they became in a metric. Distinct names may become the same: `b.c` and
//! `b-c` are both `b_c`. The first one that is used has that name; every other gets a hash of itself behind it, so
//! that no two share a series. Cold: runs at the first use of a key.

use super::descriptor::{Descriptor, HELP_MAX};
use super::validate::{self, NAME_MAX};
use crate::error::RegisterError;
use crate::names::{SHOWN_MAX as ERROR_MAX, beginning};
use std::collections::HashMap;

/// Bytes of a given name. A longer one is refused: what is kept must be bounded.
pub(super) const GIVEN_MAX: usize = 1_024;
/// Letters of a given name that a help text shows.
const SHOWN_MAX: usize = 200;

/// A label as a bridge was given it.
#[derive(Debug)]
pub(crate) struct GivenLabel<'a> {
    pub(crate) name: &'a str,
    /// The name as a label's name is spelled here.
    pub(crate) word: String,
    pub(crate) value: &'a str,
}

/// The names that a bridge uses one metric by. A metric that only handles registered has none: the first name of a
/// bridge that becomes the same shares its series.
#[derive(Debug, Default)]
pub(super) struct Claims {
    name: Option<Box<str>>,
    /// Label names, from the given ones to those used.
    labels: HashMap<Box<str>, Box<str>>,
}

impl Claims {
    /// Gives the metric to the first name that asks: the bytes that are kept for it from now on, or `None` if the
    /// metric is another's.
    pub(super) fn claim(&mut self, given: &str) -> Option<usize> {
        match &self.name {
            Some(name) => (**name == *given).then_some(0),
            None => {
                self.name = Some(given.into());
                Some(given.len())
            }
        }
    }

    /// The label names to use for the given ones, each its own.
    ///
    /// # Errors
    /// [`RegisterError::BadLabel`] if a name is too long.
    pub(super) fn resolve(&self, given: &[GivenLabel<'_>]) -> Result<Vec<Box<str>>, RegisterError> {
        let mut used: Vec<Option<Box<str>>> =
            given.iter().map(|label| self.labels.get(label.name).cloned()).collect();
        for (at, label) in given.iter().enumerate() {
            let is_taken = |wanted: &str, used: &[Option<Box<str>>]| {
                self.labels.values().any(|other| **other == *wanted)
                    || used.iter().flatten().any(|other| **other == *wanted)
            };
            let mut wanted = label.word.clone();
            for round in 0.. {
                if used[at].is_some() {
                    break;
                }
                if is_taken(&wanted, &used) {
                    wanted = apart(&label.word, label.name, round);
                } else {
                    used[at] = Some(wanted.as_str().into());
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

    /// Keeps what [`resolve`](Self::resolve) found, once a set with these labels is there: the bytes that this takes.
    pub(super) fn keep(&mut self, given: &[GivenLabel<'_>], used: &[Box<str>]) -> usize {
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
    /// The same metric under a name that only `given` becomes. Its help text says what the name was.
    ///
    /// # Errors
    /// Those of [`validate::full_name`]; none is known, since the name is cut to its limit.
    pub(super) fn told_apart(self, given: &str, round: u32) -> Result<Self, RegisterError> {
        let stem = validate::stem(&self.name, self.kind, self.unit);
        let name = validate::full_name(&apart(stem, given, round), self.kind, self.unit)?;
        let shown: String = given.chars().take(SHOWN_MAX).collect();
        let said = format!("Recorded as {shown:?}.");
        let help = match &*self.help {
            help if *help == *self.name => said,
            help => format!("{} {said}", beginning(help, HELP_MAX.saturating_sub(said.len() + 1))),
        };
        Ok(Self { name: name.into(), help: help.into(), ..self })
    }
}

/// A word that is told apart from others by a hash of what it was. The hash is FNV-1a, the same in every process and
/// every version: a series keeps its name.
fn apart(word: &str, given: &str, round: u32) -> String {
    let mut hash = 0x811c_9dc5_u32.wrapping_add(round);
    for byte in given.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let word = &word[..word.len().min(NAME_MAX - 9)];
    // Two underscores in front are reserved.
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
        claims.keep(&first, &used);
        let both = claims.resolve(&given(&[("b.c", "b_c"), ("b:c", "b_c")])).unwrap();
        assert_eq!(*both, [apart("b_c", "b.c", 0).into(), "b_c".into()]);
        // A name that looks like one that was told apart is told apart from it.
        claims.keep(&given(&[("b.c", "b_c")]), &both[..1]);
        let likeness = both[0].to_string();
        let alike = claims.resolve(&given(&[(&likeness, &likeness)])).unwrap();
        assert_ne!(alike[0], both[0]);
    }

    #[test]
    fn names_of_nothing_are_no_reserved_names() {
        assert_eq!(apart("_", "", 0), "_811c9dc5");
        let used = Claims::default().resolve(&given(&[("", "_"), ("{", "_")])).unwrap();
        assert_eq!(&*used[0], "_");
        assert!(used[1].starts_with('_') && !used[1].starts_with("__"));
    }

    #[test]
    fn a_hash_that_is_taken_is_not_the_last() {
        let taken = apart("b_c", "b-c", 0);
        let mut claims = Claims::default();
        claims.keep(&given(&[("b.c", "b_c"), (&taken, &taken)]), &["b_c".into(), taken.as_str().into()]);
        let used = claims.resolve(&given(&[("b-c", "b_c")])).unwrap();
        assert_eq!(*used, [apart("b_c", "b-c", 1).into()]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(GIVEN_MAX + 1);
        assert!(Claims::default().resolve(&given(&[(&long, "x")])).is_err());
    }
}
