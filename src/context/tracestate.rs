//! The `tracestate` header: one member for each tracing system on the request's path, the latest first. Called once per
//! request.
//!
//! Tellane does not interpret the members: it parses, validates and passes them on.

use super::members::{BYTES_MAX, Budget, is_ows, members};
use crate::sync::Arc;
use std::fmt;

/// Greatest number of members.
const MEMBERS_MAX: usize = 32;
/// Greatest length of a key or a value, in bytes.
const TEXT_MAX: usize = 256;

/// The members of a `tracestate`, the latest first. Cheap to clone.
///
/// ```
/// use tellane::TraceState;
/// let state = TraceState::parse("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE")?;
/// assert_eq!(state.get("congo"), Some("t61rcWkgMzE"));
/// let state = state.with("shop", "s:1")?; // the new member comes first
/// assert_eq!(state.header(), "shop=s:1,rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
/// # Ok::<(), tellane::TracestateError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TraceState {
    /// The header's value without whitespace and empty members. Every member is well-formed, every key is unique.
    /// `None` if there are no members.
    text: Option<Arc<str>>,
}

impl TraceState {
    /// Creates a trace state without members.
    ///
    /// ```
    /// assert!(tellane::TraceState::empty().is_empty());
    /// ```
    pub const fn empty() -> Self {
        Self { text: None }
    }

    /// Parses one header value. It may be empty and may have empty members. Of several members with the same key the
    /// first is kept, which is the latest.
    ///
    /// # Errors
    ///
    /// A [`TracestateError`] with the reason for which the whole header must be ignored.
    ///
    /// ```
    /// use tellane::{TraceState, TracestateError};
    /// assert_eq!(TraceState::parse(" a=1 ,, b=2")?.header(), "a=1,b=2");
    /// assert_eq!(TraceState::parse("a=1,b=2,a=3")?.header(), "a=1,b=2");
    /// assert_eq!(TraceState::parse("a=1,B=2"), Err(TracestateError::BadKey));
    /// # Ok::<(), TracestateError>(())
    /// ```
    pub fn parse(header: &str) -> Result<Self, TracestateError> {
        Self::parse_all([header])
    }

    /// Parses several header values as if they were joined by commas.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse).
    ///
    /// ```
    /// let state = tellane::TraceState::parse_all(["a=1", "b=2"])?;
    /// assert_eq!(state.header(), "a=1,b=2");
    /// # Ok::<(), tellane::TracestateError>(())
    /// ```
    pub fn parse_all<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Self, TracestateError> {
        let mut reader = StateReader::default();
        headers.into_iter().for_each(|header| reader.value(header.as_bytes()));
        reader.finish()
    }

    /// Returns `true` if there are no members.
    ///
    /// ```
    /// assert!(tellane::TraceState::parse(" , ")?.is_empty());
    /// # Ok::<(), tellane::TracestateError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.text.is_none()
    }

    /// Iterates over keys and values, the latest member first.
    ///
    /// ```
    /// let state = tellane::TraceState::parse("a=1,b=2")?;
    /// assert_eq!(state.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    /// # Ok::<(), tellane::TracestateError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.text.as_deref().unwrap_or_default())
    }

    /// Returns the value of a key.
    ///
    /// ```
    /// let state = tellane::TraceState::parse("a=1,t@b=2")?;
    /// assert_eq!((state.get("t@b"), state.get("b")), (Some("2"), None));
    /// # Ok::<(), tellane::TracestateError>(())
    /// ```
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Returns a copy with this member in front. It replaces another member with the same key. Members at the end are
    /// removed if there would be more than 32 members or more than 8,192 bytes.
    ///
    /// # Errors
    ///
    /// [`BadKey`](TracestateError::BadKey) or [`BadValue`](TracestateError::BadValue) if the key or the value is
    /// malformed.
    ///
    /// ```
    /// use tellane::{TraceState, TracestateError};
    /// let state = TraceState::parse("a=1,b=2")?.with("b", "3")?;
    /// assert_eq!(state.header(), "b=3,a=1");
    /// assert_eq!(state.with("B", "4"), Err(TracestateError::BadKey));
    /// assert_eq!(state.with("b", "4,5"), Err(TracestateError::BadValue));
    /// # Ok::<(), TracestateError>(())
    /// ```
    pub fn with(&self, key: &str, value: &str) -> Result<Self, TracestateError> {
        if !is_key(key.as_bytes()) {
            return Err(TracestateError::BadKey);
        }
        if !is_value(value.as_bytes()) {
            return Err(TracestateError::BadValue);
        }
        let mut text = format!("{key}={value}");
        for (other, value) in self.iter().filter(|(other, _)| *other != key).take(MEMBERS_MAX - 1) {
            if text.len() + 2 + other.len() + value.len() > BYTES_MAX {
                break;
            }
            push(&mut text, other, value);
        }
        Ok(Self { text: Some(text.into()) })
    }

    /// Writes the header's value. Empty if there are no members; the header should not be sent then.
    ///
    /// ```
    /// assert_eq!(tellane::TraceState::parse("a=1 , b=2")?.header(), "a=1,b=2");
    /// # Ok::<(), tellane::TracestateError>(())
    /// ```
    pub fn header(&self) -> String {
        self.to_string()
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|member| member.split_once('='))
}

fn push(text: &mut String, key: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(key);
    text.push('=');
    text.push_str(value);
}

/// Returns `true` for a key of level 2, which includes both forms of level 1, `vendor` and `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let starts = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.first().is_some_and(starts)
        && key.len() <= TEXT_MAX
        && key.iter().all(|byte| starts(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@'))
}

/// Returns `true` for printable ASCII without comma and equals sign that does not end in a space.
fn is_value(value: &[u8]) -> bool {
    value.last().is_some_and(|&last| !is_ows(last))
        && value.len() <= TEXT_MAX
        && value.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
}

/// Parser of a `tracestate`, value by value.
#[derive(Debug, Default)]
pub(super) struct StateReader {
    budget: Budget,
    text: String,
    members: usize,
    /// The first fault. Nothing is parsed after it.
    fault: Option<TracestateError>,
}

impl StateReader {
    pub(super) fn value(&mut self, value: &[u8]) {
        if self.fault.is_none() {
            self.fault = self.read(value).err();
        }
    }

    fn read(&mut self, value: &[u8]) -> Result<(), TracestateError> {
        if self.budget.admit(value.len()) != Some(value.len()) {
            return Err(TracestateError::TooLong);
        }
        members(value).try_for_each(|member| self.member(member))
    }

    fn member(&mut self, member: &[u8]) -> Result<(), TracestateError> {
        let equals = member.iter().position(|&byte| byte == b'=').ok_or(TracestateError::BadKey)?;
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        if !is_key(key) {
            return Err(TracestateError::BadKey);
        }
        if !is_value(value) {
            return Err(TracestateError::BadValue);
        }
        if pairs(&self.text).any(|(known, _)| known.as_bytes() == key) {
            return Ok(()); // skipped: one sender's mistake must not discard the members of the others
        }
        if self.members == MEMBERS_MAX {
            return Err(TracestateError::TooMany);
        }
        self.members += 1;
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.extend(member.iter().map(|&byte| char::from(byte))); // all ASCII: checked above
        Ok(())
    }

    pub(super) fn finish(self) -> Result<TraceState, TracestateError> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.text.is_empty() => Ok(TraceState::empty()),
            None => Ok(TraceState { text: Some(self.text.into()) }),
        }
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or_default())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Error: a `tracestate` is ignored as a whole, or a member cannot be added to it.
///
/// ```
/// use tellane::{TraceState, TracestateError};
/// assert_eq!(TraceState::parse("Vendor=1"), Err(TracestateError::BadKey));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TracestateError {
    /// The header is longer than 8,192 bytes, including the commas between several values.
    TooLong,
    /// The header has more than 32 members.
    TooMany,
    /// A key is not 1 to 256 of `a-z 0-9 _ - * / @`, beginning with a letter or digit; or a member has no equals sign.
    BadKey,
    /// A value is not 1 to 256 printable ASCII characters without comma and equals sign, or ends in a space.
    BadValue,
    /// There is no valid `traceparent` for the trace state. Only [`Incoming::read`](crate::Incoming::read) returns
    /// this.
    NoParent,
}

impl fmt::Display for TracestateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the tracestate is longer than 8192 bytes",
            Self::TooMany => "the tracestate has more than 32 members",
            Self::BadKey => {
                "a tracestate key is malformed: use 1 to 256 of a-z 0-9 _ - * / @, beginning with a letter or digit"
            }
            Self::BadValue => {
                "a tracestate value is malformed: use 1 to 256 printable ASCII characters, no comma, no equals sign, \
                 no space at the end"
            }
            Self::NoParent => "there is no valid traceparent for the tracestate",
        })
    }
}

impl std::error::Error for TracestateError {}
