//! Level rules by target prefix. Cold.

use crate::level::Level;
use std::collections::BTreeMap;

/// The threshold above all levels: nothing is recorded.
pub(super) const OFF: u32 = Level::Error as u32 + 1;

pub(super) fn threshold(level: Option<Level>) -> u32 {
    level.map_or(OFF, |level| level as u32)
}

/// The level rules of an instance: a default level, and others by target prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LevelRules {
    /// The empty prefix matches every target; without it, the default is [`Level::Info`].
    by_prefix: BTreeMap<Box<str>, Option<Level>>,
}

impl LevelRules {
    pub(super) fn starting_with(level: Option<Level>) -> Self {
        Self { by_prefix: BTreeMap::from([("".into(), level)]) }
    }

    pub(super) fn set(&mut self, prefix: &str, level: Option<Level>) {
        self.by_prefix.insert(prefix.into(), level);
    }

    /// Removes the rules of longer prefixes.
    pub(super) fn retain_up_to(&mut self, longest: usize) {
        self.by_prefix.retain(|prefix, _| prefix.len() <= longest);
    }

    /// Bytes that the rules take.
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<(Box<str>, Option<Level>)>();
        self.by_prefix.keys().map(|prefix| prefix.len() + entry).sum()
    }

    /// The threshold of a target: that of the longest prefix that ends at a `::` of the target's name, or at its end.
    pub(super) fn threshold_of(&self, target: &str) -> u32 {
        let mut prefix = target;
        loop {
            if let Some(level) = self.by_prefix.get(prefix) {
                return threshold(*level);
            }
            match prefix.rfind("::") {
                Some(end) => prefix = &prefix[..end],
                None if prefix.is_empty() => return threshold(Some(Level::default())),
                None => prefix = "",
            }
        }
    }

    /// Parses directives separated by commas: a level, or `target=level`; `off` is accepted as a level.
    pub(super) fn parse(text: &str) -> Result<Self, ParseLevelsError> {
        let level_of = |directive: &str, level: &str| match level.trim() {
            off if off.eq_ignore_ascii_case("off") => Ok(None),
            level => level
                .parse()
                .map(Some)
                .map_err(|_| ParseLevelsError::UnknownLevel { directive: directive.to_owned() }),
        };
        let mut rules = Self::default();
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            match directive.split_once('=') {
                None => rules.set("", level_of(directive, directive)?),
                Some((target, level)) => {
                    let target = target.trim();
                    if target.is_empty() || target.contains(char::is_whitespace) {
                        return Err(ParseLevelsError::BadTarget { directive: directive.to_owned() });
                    }
                    rules.set(target, level_of(directive, level)?);
                }
            }
        }
        Ok(rules)
    }
}

/// An error in the text of level rules. Nothing was changed.
///
/// ```
/// use tellane::ParseLevelsError;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let error = telemetry.set_levels("info,app::db=loud").expect_err("there is no such level");
/// assert_eq!(error, ParseLevelsError::UnknownLevel { directive: "app::db=loud".into() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseLevelsError {
    /// The level is none of `trace`, `debug`, `info`, `warn`, `error` and `off`. Correct its spelling.
    UnknownLevel {
        /// The directive: the part between two commas.
        directive: String,
    },
    /// The target before the `=` is empty or contains a space. Write `target=level`.
    BadTarget {
        /// The directive: the part between two commas.
        directive: String,
    },
}

impl std::fmt::Display for ParseLevelsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownLevel { directive } => {
                write!(f, "{directive:?} has no valid level: use trace, debug, info, warn, error or off")
            }
            Self::BadTarget { directive } => {
                write!(
                    f,
                    "{directive:?} has no valid target before its `=`: write target=level, without spaces"
                )
            }
        }
    }
}

impl std::error::Error for ParseLevelsError {}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_ends_with_a_part() {
        let rules =
            LevelRules::parse("warn, app=info,app::db=debug,app::db::pool=off, app::db = trace").unwrap();
        let of = |target| rules.threshold_of(target);
        assert_eq!(of("hyper"), Level::Warn as u32);
        assert_eq!(of(""), Level::Warn as u32);
        assert_eq!(of("app"), Level::Info as u32);
        assert_eq!(of("apple"), Level::Warn as u32, "no part ends there");
        assert_eq!(of("app::db::query"), Level::Trace as u32, "the later of two");
        assert_eq!(of("app::db::pool::x"), OFF);
        assert_eq!(LevelRules::default().threshold_of("x"), Level::Info as u32);
        assert_eq!(LevelRules::parse("OFF").unwrap().threshold_of("x"), OFF);
    }

    #[test]
    fn invalid_directives_are_refused() {
        let unknown = |text: &str, directive: &str| {
            let error = ParseLevelsError::UnknownLevel { directive: directive.into() };
            assert_eq!(LevelRules::parse(text), Err(error));
        };
        unknown("loud", "loud");
        unknown("info, app=", "app=");
        unknown("a=b=info", "a=b=info");
        let bad = LevelRules::parse("info,=debug").unwrap_err();
        assert_eq!(bad, ParseLevelsError::BadTarget { directive: "=debug".into() });
        assert_eq!(
            bad.to_string(),
            "\"=debug\" has no valid target before its `=`: write target=level, without spaces"
        );
        assert!(LevelRules::parse("a b=info").is_err());
        assert_eq!(LevelRules::parse(" , "), Ok(LevelRules::default()));
    }
}
