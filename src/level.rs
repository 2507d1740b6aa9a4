//! Log levels. Comparing them is hot, so they are plain numbers.

/// The severity of a log record, or the lowest severity that is recorded.
///
/// ```
/// use tellane::Level;
/// assert!(Level::Error > Level::Info);
/// assert_eq!("WARN".parse(), Ok(Level::Warn));
/// assert_eq!(Level::Debug.name(), "debug");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[doc(alias = "severity")]
pub enum Level {
    /// Single steps of the program.
    Trace = 1,
    /// Details for debugging.
    Debug = 2,
    /// Normal events.
    #[default]
    Info = 3,
    /// Something unexpected that the program copes with.
    Warn = 4,
    /// A failure that somebody should look at.
    Error = 5,
}

impl Level {
    /// All levels, from the least severe.
    ///
    /// ```
    /// use tellane::Level;
    /// assert!(Level::ALL.is_sorted());
    /// ```
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The level's name in lower case.
    ///
    /// ```
    /// assert_eq!(tellane::Level::Info.name(), "info");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An error: the text is not the name of a level.
///
/// ```
/// let error = "loud".parse::<tellane::Level>().expect_err("an unknown level");
/// assert_eq!(error.to_string(), "unknown level: use trace, debug, info, warn or error");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseLevelError;

impl std::fmt::Display for ParseLevelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unknown level: use trace, debug, info, warn or error")
    }
}

impl std::error::Error for ParseLevelError {}

impl std::str::FromStr for Level {
    type Err = ParseLevelError;

    /// Parses a level's name, ignoring case. `warning` is `warn`.
    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        let named = |level: &Self| text.eq_ignore_ascii_case(level.name());
        let warning = text.eq_ignore_ascii_case("warning").then_some(Self::Warn);
        Self::ALL.into_iter().find(named).or(warning).ok_or(ParseLevelError)
    }
}
