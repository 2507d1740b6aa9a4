//! Baggage: key-value pairs that a program passes on to the services further down a request's path. Called once per
//! request, and where the program reads or changes baggage.
//!
//! All members are stored in one text, with their ranges in a list, so that parsing a header takes three allocations
//! for any number of members. The type enforces the limits itself: every [`Baggage`] fits into a header.

mod grammar;
mod reader;

use super::members::BYTES_MAX;
use crate::sync::Arc;
use grammar::{encoded_len, is_token, properties, push_encoded};
pub(super) use reader::BaggageReader;
use std::fmt;

/// Greatest number of members.
const MEMBERS_MAX: usize = 64;

/// Key-value pairs that travel with a request: at most 64, and at most 8,192 bytes as a header. Cheap to clone.
///
/// ```
/// use tellane::Baggage;
/// let baggage = Baggage::parse("tenant=blue, region=DF%2028;ttl=3");
/// assert_eq!(baggage.get("region"), Some("DF 28"));
/// let baggage = baggage.with("user", "älice")?.without("tenant");
/// assert_eq!(baggage.header(), "region=DF%2028;ttl=3,user=%C3%A4lice");
/// # Ok::<(), tellane::BaggageError>(())
/// ```
#[derive(Clone, Default)]
pub struct Baggage {
    /// `None` without members.
    pub(super) store: Option<Arc<Store>>,
    dropped: u32,
}

/// One member of a [`Baggage`].
///
/// ```
/// let baggage = tellane::Baggage::parse("region=DF%2028 ; ttl = 3");
/// let region = baggage.iter().next().expect("one member");
/// assert_eq!((region.key, region.value, region.metadata), ("region", "DF 28", "ttl=3"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaggageMember<'a> {
    /// The key, a token as HTTP defines it.
    pub key: &'a str,
    /// The value, percent-decoded.
    pub value: &'a str,
    /// The properties as received, without whitespace, separated by semicolons; empty if there are none.
    pub metadata: &'a str,
}

impl BaggageMember<'_> {
    /// Length of the member in a header, in bytes.
    fn encoded_len(&self) -> usize {
        let metadata = if self.metadata.is_empty() { 0 } else { 1 + self.metadata.len() };
        self.key.len() + 1 + encoded_len(self.value) + metadata
    }
}

/// The ranges of one member's parts in the store's text.
#[derive(Clone, Copy, Debug)]
struct TextRange {
    start: usize,
    key_end: usize,
    value_end: usize,
    end: usize,
    /// Length of the member in a header, in bytes.
    encoded: usize,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    /// Keys, values and metadata one after the other, including those of members that were replaced while reading.
    pub(super) text: String,
    /// At most [`MEMBERS_MAX`], with distinct keys.
    ranges: Vec<TextRange>,
    /// Length of the header in bytes, at most [`BYTES_MAX`].
    pub(super) encoded: usize,
}

impl Store {
    fn member(&self, range: &TextRange) -> BaggageMember<'_> {
        BaggageMember {
            key: &self.text[range.start..range.key_end],
            value: &self.text[range.key_end..range.value_end],
            metadata: &self.text[range.value_end..range.end],
        }
    }

    /// Appends a member and removes another with the same key. Changes nothing if the member does not fit.
    fn insert(&mut self, member: BaggageMember<'_>) -> Result<(), BaggageError> {
        let encoded = member.encoded_len();
        let old = self.ranges.iter().position(|range| self.member(range).key == member.key);
        let others = self.ranges.len() - usize::from(old.is_some());
        if others == MEMBERS_MAX {
            return Err(BaggageError::TooMany);
        }
        // The `usize::from` terms are the commas: one between each two members.
        let old_encoded = old.map_or(0, |old| self.ranges[old].encoded + usize::from(others > 0));
        let after = self.encoded - old_encoded + encoded + usize::from(others > 0);
        if after > BYTES_MAX {
            return Err(BaggageError::TooLong);
        }
        if let Some(old) = old {
            self.ranges.remove(old);
        }
        let start = self.text.len();
        let key_end = start + member.key.len();
        let value_end = key_end + member.value.len();
        let end = value_end + member.metadata.len();
        [member.key, member.value, member.metadata].iter().for_each(|part| self.text.push_str(part));
        self.ranges.push(TextRange { start, key_end, value_end, end, encoded });
        self.encoded = after;
        Ok(())
    }
}

impl Baggage {
    /// Creates baggage without members.
    ///
    /// ```
    /// assert!(tellane::Baggage::empty().is_empty());
    /// ```
    pub const fn empty() -> Self {
        Self { store: None, dropped: 0 }
    }

    /// Parses one header value. This cannot fail: members that are malformed or over the limits are left out and
    /// counted ([`dropped`](Self::dropped)). Of several members with the same key the last is kept.
    ///
    /// Values are percent-decoded. Invalid UTF-8 in them becomes `U+FFFD`.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1, no member, b=%FF");
    /// assert_eq!((baggage.get("a"), baggage.get("b")), (Some("1"), Some("\u{fffd}")));
    /// assert_eq!(baggage.dropped(), 1);
    /// ```
    pub fn parse(header: &str) -> Self {
        Self::parse_all([header])
    }

    /// Parses several header values as if they were joined by commas.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse_all(["a=1", "b=2"]);
    /// assert_eq!(baggage.header(), "a=1,b=2");
    /// ```
    pub fn parse_all<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut reader = BaggageReader::default();
        headers.into_iter().for_each(|header| reader.value(header.as_bytes()));
        reader.finish()
    }

    /// Number of members that were parsed but not kept: malformed, replaced by a later one with the same key, past the
    /// 64th, or past byte 8,192. The parser does not read past that byte, so the rest of a header value counts as one.
    ///
    /// ```
    /// let long = format!("a=1,b={}", "x".repeat(9_000));
    /// let baggage = tellane::Baggage::parse(&long);
    /// assert_eq!((baggage.len(), baggage.dropped()), (1, 1));
    /// ```
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// The number of members.
    ///
    /// ```
    /// assert_eq!(tellane::Baggage::parse("a=1,b=2").len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.ranges.len())
    }

    /// Returns `true` if there are no members.
    ///
    /// ```
    /// assert!(tellane::Baggage::parse(" , ").is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the members in the order of the header.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1,b=2");
    /// let keys: Vec<_> = baggage.iter().map(|member| member.key).collect();
    /// assert_eq!(keys, ["a", "b"]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = BaggageMember<'_>> {
        self.store.iter().flat_map(|store| store.ranges.iter().map(|range| store.member(range)))
    }

    /// Returns the value of a key.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1");
    /// assert_eq!((baggage.get("a"), baggage.get("A")), (Some("1"), None));
    /// ```
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|member| member.key == key).map(|member| member.value)
    }

    /// Returns a copy with this member at the end, without metadata. It replaces another member with the same key.
    ///
    /// # Errors
    ///
    /// [`BadKey`](BaggageError::BadKey) if the key is not a token, [`TooMany`](BaggageError::TooMany) or
    /// [`TooLong`](BaggageError::TooLong) if the member exceeds a limit.
    ///
    /// ```
    /// use tellane::{Baggage, BaggageError};
    /// let baggage = Baggage::empty().with("user", "50% älice")?;
    /// assert_eq!(baggage.header(), "user=50%25%20%C3%A4lice");
    /// assert_eq!(baggage.with("not a token", "1").err(), Some(BaggageError::BadKey));
    /// # Ok::<(), BaggageError>(())
    /// ```
    #[doc(alias = "set_baggage")]
    #[doc(alias = "insert")]
    pub fn with(&self, key: &str, value: &str) -> Result<Self, BaggageError> {
        self.with_metadata(key, value, "")
    }

    /// Returns a copy with this member and its properties: keys or `key=value` pairs, separated by semicolons.
    ///
    /// # Errors
    ///
    /// As for [`with`](Self::with), and [`BadMetadata`](BaggageError::BadMetadata).
    ///
    /// ```
    /// use tellane::{Baggage, BaggageError};
    /// let baggage = Baggage::empty().with_metadata("region", "north", "ttl=3; internal")?;
    /// assert_eq!(baggage.header(), "region=north;ttl=3;internal");
    /// assert_eq!(baggage.with_metadata("a", "1", "b,c").err(), Some(BaggageError::BadMetadata));
    /// # Ok::<(), BaggageError>(())
    /// ```
    pub fn with_metadata(&self, key: &str, value: &str, metadata: &str) -> Result<Self, BaggageError> {
        if !is_token(key.as_bytes()) {
            return Err(BaggageError::BadKey);
        }
        let mut clean = String::new();
        if !metadata.is_empty() && !properties(metadata.as_bytes(), &mut clean) {
            return Err(BaggageError::BadMetadata);
        }
        let mut store = self.copy_without(key);
        store.insert(BaggageMember { key, value, metadata: &clean })?;
        Ok(Self { store: Some(Arc::new(store)), dropped: self.dropped })
    }

    /// Returns a copy without the member of this key.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1,b=2").without("a");
    /// assert_eq!(baggage.header(), "b=2");
    /// ```
    #[must_use]
    #[doc(alias = "remove")]
    pub fn without(&self, key: &str) -> Self {
        if self.get(key).is_none() {
            return self.clone();
        }
        Self::from_store(self.copy_without(key), self.dropped)
    }

    /// Copies all members but one into a new text, so that replaced members take no memory after many changes.
    fn copy_without(&self, key: &str) -> Store {
        let mut store = Store::default();
        for member in self.iter().filter(|member| member.key != key) {
            let _fits = store.insert(member); // cannot fail: it fitted into the present store
        }
        store
    }

    fn from_store(store: Store, dropped: u32) -> Self {
        Self { store: (!store.ranges.is_empty()).then(|| Arc::new(store)), dropped }
    }

    /// Writes the header's value, at most 8,192 bytes, percent-encoded where necessary. Empty if there are no members;
    /// the header should not be sent then.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a = 1;p , b=%41%20%e2%82%ac");
    /// assert_eq!(baggage.header(), "a=1;p,b=A%20%E2%82%AC");
    /// ```
    pub fn header(&self) -> String {
        let mut text = String::with_capacity(self.store.as_ref().map_or(0, |store| store.encoded));
        for member in self.iter() {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(member.key);
            text.push('=');
            push_encoded(&mut text, member.value);
            if !member.metadata.is_empty() {
                text.push(';');
                text.push_str(member.metadata);
            }
        }
        text
    }
}

/// Equal if both have the same members in the same order. The number of dropped members is not compared.
impl PartialEq for Baggage {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Baggage {}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baggage")
            .field("members", &self.iter().collect::<Vec<_>>())
            .field("dropped", &self.dropped)
            .finish()
    }
}

/// Error: a member cannot be added to a [`Baggage`].
///
/// ```
/// use tellane::{Baggage, BaggageError};
/// let long = "x".repeat(9_000);
/// assert_eq!(Baggage::empty().with("a", &long).err(), Some(BaggageError::TooLong));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BaggageError {
    /// The key is not a token as HTTP defines it: one or more letters, digits and ``!#$%&'*+-.^_`|~``.
    BadKey,
    /// The properties are not keys or `key=value` pairs, separated by semicolons.
    BadMetadata,
    /// There are already 64 members. Remove one with [`Baggage::without`].
    TooMany,
    /// The header would be longer than 8,192 bytes. Shorten the value or remove members.
    TooLong,
}

impl fmt::Display for BaggageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadKey => "the baggage key is not a token: use letters, digits and !#$%&'*+-.^_`|~",
            Self::BadMetadata => {
                "the baggage properties are malformed: use keys or key=value pairs, separated by semicolons"
            }
            Self::TooMany => "there are already 64 baggage members: remove one first",
            Self::TooLong => {
                "the baggage header would be longer than 8192 bytes: shorten the value or remove members"
            }
        })
    }
}

impl std::error::Error for BaggageError {}
