//! How much a log record matters. Hot where it is compared, and no more than a number there.

/// How much a log record matters, and how much must matter to be recorded.
///
/// ```
/// use tellane::Level;
/// assert!(Level::Error > Level::Info);
/// assert_eq!("WARN".parse(), Ok(Level::Warn));
/// assert_eq!(Level::Debug.name(), "debug");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Step by step.
    Trace = 1,
    /// For who is looking for a fault.
    Debug = 2,
    /// What happens in the normal run.
    #[default]
    Info = 3,
    /// Not what was meant, but it goes on.
    Warn = 4,
    /// Something failed.
    Error = 5,
}

impl Level {
    /// All levels, from the least.
    ///
    /// ```
    /// use tellane::Level;
    /// assert!(Level::ALL.is_sorted());
    /// ```
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Its name, in small letters.
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

/// The text is no level's name.
///
/// ```
/// let error = "loud".parse::<tellane::Level>().expect_err("there is none");
/// assert_eq!(error.to_string(), "not a level: trace, debug, info, warn or error");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseLevelError;

impl std::fmt::Display for ParseLevelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a level: trace, debug, info, warn or error")
    }
}

impl std::error::Error for ParseLevelError {}

impl std::str::FromStr for Level {
    type Err = ParseLevelError;

    /// By name, in small letters or great ones; `warning` is `warn`.
    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        let named = |level: &Self| text.eq_ignore_ascii_case(level.name());
        let warning = text.eq_ignore_ascii_case("warning").then_some(Self::Warn);
        Self::ALL.into_iter().find(named).or(warning).ok_or(ParseLevelError)
    }
}
