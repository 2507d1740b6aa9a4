//! The record and its encoding: 64-bit words, little-endian when they leave memory. Pure functions, no unsafe.
//!
//! The rings carry this encoding, so do saved streams ([`encode`], [`Decoder`]) and the fuzzers. Decoding is total:
//! any words give records or a [`DecodeError`]; it never panics, never reads past the end, and allocates a small
//! multiple of the input's length at most (a word can be an attribute, a broken byte becomes a three-byte `U+FFFD`).
//! Every record has exactly one encoding: what decodes, encodes to the same words again, broken text excepted.
//!
//! # Version 1, word by word
//!
//! A saved stream starts with the word [`MAGIC`] (the bytes `tellane` and the version, 1). Rings carry no magic.
//! Bit 0 is the lowest bit of a word. Every record begins with a word whose low 24 bits read
//!
//! | bits | field |
//! |---|---|
//! | 0..4 | kind: 1 sample, 2 wide sample, 3 span, 4 definition, 5 figures; 0 never occurs, 6..16 are reserved |
//! | 4..24 | id: the series of a sample, the name of a span, the id being defined, what the figures are of |
//!
//! A **sample** (kind 1) is that one word; bits 24..64 hold its value, so values below 2^40 (18 minutes in
//! nanoseconds, 1 TiB in bytes) take eight bytes. Every other kind continues the word as a **header**:
//!
//! | bits | field |
//! |---|---|
//! | 24..36 | words in the record, this one included |
//! | 36..48 | flags |
//! | 48..64 | aux |
//!
//! A **wide sample** (kind 2): header (2 words, flags 0, aux 0), value, which is 2^40 or more.
//!
//! A **span** (kind 3): header, start in ticks, duration in ticks, trace id (high word, low word), span id, parent
//! span id (0 for a root), then items. Flags: bits 0..2 status (0 unset, 1 ok, 2 error; 3 is an error), bit 2
//! sampled, bit 3 ended by a panic, bits 4..12 zero. Aux: attributes that did not fit (65,535 means that many or
//! more).
//!
//! An **item** begins with a word of its own:
//!
//! | bits | field |
//! |---|---|
//! | 0..4 | tag: 1 attribute; 2..16 are reserved for events and links |
//! | 4..8 | value type: 1 text, 2 i64, 3 u64, 4 f64, 5 bool |
//! | 8..28 | key id |
//! | 28..32 | zero |
//! | 32..48 | text: length in bytes; else zero |
//! | 48..64 | bool: 0 or 1; else zero |
//!
//! and continues with the value: one word for the numbers (two's complement, or the IEEE bits), nothing for a bool,
//! and for text its bytes, eight a word, the last word filled up with zeros. The last item ends where the record does.
//!
//! A **definition** (kind 4): header (flags: 1 a span name, 2 an attribute key, 3 a series, 4 the service; aux: length in bytes),
//! then the text laid out as above. It says what an id means, so that a saved stream explains itself.
//!
//! **Figures** (kind 5): header (flags: what they say, up to 4,095; aux 0), then any number of words. Saved snapshots
//! are made of them; `snapshot/saved.rs` has the meanings. Neither definitions nor figures travel by ring.
//!
//! ```
//! use tellane::record::{Decoder, Record, encode};
//!
//! let mut words = Vec::new();
//! encode(&Record::Sample { series: 7, value: 1_250 }, &mut words)?;
//! assert_eq!(words, [(1_250 << 24) | (7 << 4) | 1]);
//! assert_eq!(Decoder::new(&words).next(), Some(Ok(Record::Sample { series: 7, value: 1_250 })));
//! # Ok::<(), tellane::record::EncodeError>(())
//! ```

mod decode;
mod encode;
pub(crate) mod layout;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

pub use decode::{DecodeError, Decoder, from_bytes};
pub(crate) use decode::{Frame, frame};
pub use encode::{EncodeError, encode, to_bytes};
pub(crate) use encode::{Full, Head, Items, span_head};
pub use layout::MAGIC;

/// One decoded record.
///
/// ```
/// use tellane::record::{Decoder, Record, Space, encode};
/// let mut words = Vec::new();
/// encode(&Record::Definition { space: Space::Key, id: 1, text: "items".into() }, &mut words)?;
/// let read = Decoder::new(&words).next();
/// assert!(matches!(read, Some(Ok(Record::Definition { id: 1, text, .. })) if text == "items"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// One value of a histogram.
    Sample {
        /// The histogram's series id, below 2^20.
        series: u32,
        /// The value, in the histogram's own unit.
        value: u64,
    },
    /// One finished span.
    Span(Span),
    /// What an id means.
    Definition {
        /// Which ids it speaks of.
        space: Space,
        /// The id, below 2^20.
        id: u32,
        /// Its text, at most 32,752 bytes when encoded; bytes that are no UTF-8 are replaced when decoded.
        text: String,
    },
    /// Numbers of a saved snapshot.
    Figures {
        /// What they say, below 2^12.
        what: u16,
        /// What they are of, below 2^20.
        id: u32,
        /// The numbers, at most 4,094.
        words: Vec<u64>,
    },
}

/// A finished span, as encoded: names and keys are ids, times are ticks.
///
/// ```
/// use tellane::record::{Decoder, Record, Span, Value, encode};
/// let attributes = vec![(1, Value::U64(3))];
/// let span = Record::Span(Span { name: 7, start: 1_000, duration: 250, attributes, ..Span::default() });
/// let mut words = Vec::new();
/// encode(&span, &mut words)?;
/// assert_eq!(words.len(), 9); // seven, and two for the attribute
/// assert_eq!(Decoder::new(&words).next(), Some(Ok(span)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Id of the span's name, below 2^20.
    pub name: u32,
    /// Start, in ticks of the recording instance's clock.
    pub start: u64,
    /// Duration, in ticks.
    pub duration: u64,
    /// The 128-bit trace id.
    pub trace_id: u128,
    /// The span's own id.
    pub span_id: u64,
    /// The parent's id; 0 for a root.
    pub parent_id: u64,
    /// How it ended.
    pub status: Status,
    /// Whether the trace is sampled.
    pub sampled: bool,
    /// Whether a panic ended it.
    pub panicked: bool,
    /// Attributes that did not fit.
    pub attributes_dropped: u16,
    /// Key ids and values, in the order they were set.
    pub attributes: Vec<(u32, Value)>,
}

/// How a span ended.
///
/// ```
/// use tellane::Status;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.tracer().span("order").set_status(Status::Ok);
/// drop(telemetry.tracer().span("payment"));
/// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// let statuses: Vec<_> = snapshot.spans().map(|span| span.status).collect();
/// assert_eq!(statuses, [Status::Ok, Status::Unset]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Nothing was said.
    #[default]
    Unset = 0,
    /// Said to have gone well.
    Ok = 1,
    /// Failed.
    Error = 2,
}

/// An attribute's value.
///
/// ```
/// use tellane::Value;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.tracer().span("order").set("items", 3_u64);
/// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(1))?;
/// let order = snapshot.spans().next().expect("just ended");
/// let (key, value) = &order.attributes[0];
/// assert_eq!((&**key, value), ("items", &Value::U64(3)));
/// assert_eq!(value.to_string(), "3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Text; bytes that are no UTF-8 are replaced when decoded.
    Str(String),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating point number; NaN is allowed.
    F64(f64),
    /// True or false.
    Bool(bool),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Str(text) => f.write_str(text),
            Self::I64(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
            Self::F64(number) => write!(f, "{number}"),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// What the ids of a definition name.
///
/// ```
/// use tellane::record::{Decoder, Record, Space, encode};
/// let mut words = Vec::new();
/// encode(&Record::Definition { space: Space::SpanName, id: 7, text: "order".into() }, &mut words)?;
/// let read = Decoder::new(&words).next();
/// assert!(matches!(read, Some(Ok(Record::Definition { space: Space::SpanName, id: 7, .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Space {
    /// Span names.
    SpanName = 1,
    /// Attribute keys.
    Key = 2,
    /// Series: metric name and labels.
    Series = 3,
    /// The service a stream comes from.
    Service = 4,
}
