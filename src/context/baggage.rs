//! Baggage: what a program wants the rest of the request's way to know. Called once a request, and where the program
//! asks for it.
//!
//! Members live in one text with their places beside it, so that a header takes three allocations, however many
//! members it has. The type keeps the limits itself: whatever is in a [`Baggage`] fits into a header.

mod grammar;
mod reader;

use super::members::BYTES_MAX;
use crate::sync::Arc;
use grammar::{encoded_len, is_token, properties, push_encoded};
pub(super) use reader::BaggageReader;
use std::fmt;

/// The most members.
const MEMBERS_MAX: usize = 64;

/// Keys and values that travel with a request, at most 64 of them, at most 8,192 bytes as a header. Cheap to clone.
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
    /// The value, decoded.
    pub value: &'a str,
    /// The properties as they came, without whitespace, between semicolons; empty if there are none.
    pub metadata: &'a str,
}

impl BaggageMember<'_> {
    /// Bytes of the member in a header.
    fn encoded_len(&self) -> usize {
        let metadata = if self.metadata.is_empty() { 0 } else { 1 + self.metadata.len() };
        self.key.len() + 1 + encoded_len(self.value) + metadata
    }
}

/// The places of one member in the store's text.
#[derive(Clone, Copy, Debug)]
struct TextRange {
    start: usize,
    key_end: usize,
    value_end: usize,
    end: usize,
    /// Bytes of the member in a header.
    encoded: usize,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    /// Keys, values and metadata one after the other; also those of members that were replaced while reading.
    pub(super) text: String,
    /// At most [`MEMBERS_MAX`]; no key is there twice.
    places: Vec<TextRange>,
    /// Bytes of the header, at most [`BYTES_MAX`].
    pub(super) encoded: usize,
}

impl Store {
    fn member(&self, place: &TextRange) -> BaggageMember<'_> {
        BaggageMember {
            key: &self.text[place.start..place.key_end],
            value: &self.text[place.key_end..place.value_end],
            metadata: &self.text[place.value_end..place.end],
        }
    }

    /// Puts a member last, in the place of another of its key; as it was if the member does not fit.
    fn put(&mut self, member: BaggageMember<'_>) -> Result<(), BaggageError> {
        let encoded = member.encoded_len();
        let old = self.places.iter().position(|place| self.member(place).key == member.key);
        let others = self.places.len() - usize::from(old.is_some());
        if others == MEMBERS_MAX {
            return Err(BaggageError::TooMany);
        }
        let old_encoded = old.map_or(0, |old| self.places[old].encoded + usize::from(others > 0));
        let after = self.encoded - old_encoded + encoded + usize::from(others > 0);
        if after > BYTES_MAX {
            return Err(BaggageError::TooLong);
        }
        if let Some(old) = old {
            self.places.remove(old);
        }
        let start = self.text.len();
        let key_end = start + member.key.len();
        let value_end = key_end + member.value.len();
        let end = value_end + member.metadata.len();
        [member.key, member.value, member.metadata].iter().for_each(|part| self.text.push_str(part));
        self.places.push(TextRange { start, key_end, value_end, end, encoded });
        self.encoded = after;
        Ok(())
    }
}

impl Baggage {
    /// One without members.
    ///
    /// ```
    /// assert!(tellane::Baggage::empty().is_empty());
    /// ```
    pub const fn empty() -> Self {
        Self { store: None, dropped: 0 }
    }

    /// Reads one header value. It cannot fail: members that are malformed or over the limits are left out and counted
    /// ([`dropped`](Self::dropped)). Of several with one key the last is kept.
    ///
    /// Values are percent-decoded; what is no UTF-8 then becomes `U+FFFD`.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1, no member, b=%FF");
    /// assert_eq!((baggage.get("a"), baggage.get("b")), (Some("1"), Some("\u{fffd}")));
    /// assert_eq!(baggage.dropped(), 1);
    /// ```
    pub fn parse(header: &str) -> Self {
        Self::parse_all([header])
    }

    /// Reads several header values, as if they were one with commas between them.
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

    /// Members that were read and not kept: malformed, replaced by a later one of the same key, past the 64th, or
    /// past byte 8,192. Nobody looks past that byte, so the rest of a header value counts as one member.
    ///
    /// ```
    /// let long = format!("a=1,b={}", "x".repeat(9_000));
    /// let baggage = tellane::Baggage::parse(&long);
    /// assert_eq!((baggage.len(), baggage.dropped()), (1, 1));
    /// ```
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// How many members there are.
    ///
    /// ```
    /// assert_eq!(tellane::Baggage::parse("a=1,b=2").len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.places.len())
    }

    /// Whether there are no members.
    ///
    /// ```
    /// assert!(tellane::Baggage::parse(" , ").is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members, in the order they came.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1,b=2");
    /// let keys: Vec<_> = baggage.iter().map(|member| member.key).collect();
    /// assert_eq!(keys, ["a", "b"]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = BaggageMember<'_>> {
        self.store.iter().flat_map(|store| store.places.iter().map(|place| store.member(place)))
    }

    /// The value of a key.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1");
    /// assert_eq!((baggage.get("a"), baggage.get("A")), (Some("1"), None));
    /// ```
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|member| member.key == key).map(|member| member.value)
    }

    /// The same with this member at the end, without metadata, instead of another of that key.
    ///
    /// # Errors
    ///
    /// A [`BaggageError`]: the key is no token, or the limits leave no room. `self` is untouched.
    ///
    /// ```
    /// use tellane::{Baggage, BaggageError};
    /// let baggage = Baggage::empty().with("user", "50% älice")?;
    /// assert_eq!(baggage.header(), "user=50%25%20%C3%A4lice");
    /// assert_eq!(baggage.with("no token", "1").err(), Some(BaggageError::BadKey));
    /// # Ok::<(), BaggageError>(())
    /// ```
    pub fn with(&self, key: &str, value: &str) -> Result<Self, BaggageError> {
        self.with_metadata(key, value, "")
    }

    /// The same with this member and its properties: keys, or keys and values, between semicolons.
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
        store.put(BaggageMember { key, value, metadata: &clean })?;
        Ok(Self { store: Some(Arc::new(store)), dropped: self.dropped })
    }

    /// The same without this key.
    ///
    /// ```
    /// let baggage = tellane::Baggage::parse("a=1,b=2").without("a");
    /// assert_eq!(baggage.header(), "b=2");
    /// ```
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        if self.get(key).is_none() {
            return self.clone();
        }
        Self::of(self.copy_without(key), self.dropped)
    }

    /// A new text without what was replaced, so that many changes leave nothing behind.
    fn copy_without(&self, key: &str) -> Store {
        let mut store = Store::default();
        for member in self.iter().filter(|member| member.key != key) {
            let _fits = store.put(member); // it did in the store it comes from
        }
        store
    }

    fn of(store: Store, dropped: u32) -> Self {
        Self { store: (!store.places.is_empty()).then(|| Arc::new(store)), dropped }
    }

    /// The header's value, at most 8,192 bytes; empty if there are no members, and then the header should not be sent.
    /// Values are percent-encoded where they must be.
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

/// The same members in the same order; what was dropped makes no difference.
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

/// Why a member was not added to a [`Baggage`].
///
/// ```
/// use tellane::{Baggage, BaggageError};
/// let long = "x".repeat(9_000);
/// assert_eq!(Baggage::empty().with("a", &long).err(), Some(BaggageError::TooLong));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BaggageError {
    /// The key is no token as HTTP defines it: letters, digits and ``!#$%&'*+-.^_`|~``, one at least.
    BadKey,
    /// The properties are not keys, or keys and values, between semicolons.
    BadMetadata,
    /// There are 64 members already.
    TooMany,
    /// The header would be longer than 8,192 bytes.
    TooLong,
}

impl fmt::Display for BaggageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadKey => "the baggage key is no token",
            Self::BadMetadata => "the baggage properties are malformed",
            Self::TooMany => "there are 64 baggage members already",
            Self::TooLong => "the baggage header would be longer than 8192 bytes",
        })
    }
}

impl std::error::Error for BaggageError {}
