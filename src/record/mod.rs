//! The record and its encoding: 64-bit words, little-endian when they leave memory. Pure functions, no unsafe.
//!
//! Rings, saved streams ([`encode`], [`Decoder`]) and fuzz targets use the same encoding. Decoding is total: any words
//! give records or a [`DecodeError`]. It never panics, never reads past the end, and allocates at most a small multiple
//! of the input's length (a word can be an attribute, an invalid byte becomes a three-byte `U+FFFD`). Every record has
//! exactly one encoding: a decoded record encodes to the same words again, unless it had invalid UTF-8.
//!
//! # Version 1, word by word
//!
//! A saved stream starts with the word [`MAGIC`] (the bytes `tellane` and the version, 1). Rings carry no magic.
//! Bit 0 is the lowest bit of a word. Every record begins with a word whose low 24 bits read
//!
//! | bits | field |
//! |---|---|
//! | 0..4 | kind: 1 sample, 2 wide sample, 3 span, 4 definition, 5 figures, 6 exemplar, 7 log; 0 never occurs, 8..16 are reserved |
//! | 4..24 | id: the series of a sample or exemplar, the name of a span, the target of a log record, the id being defined, the subject of figures |
//!
//! A **sample** (kind 1) is that one word; bits 24..64 hold its value, so values below 2^40 (18 minutes in
//! nanoseconds, 1 TiB in bytes) take eight bytes. In every other kind the word is a **header**, which continues:
//!
//! | bits | field |
//! |---|---|
//! | 24..36 | words in the record, this one included |
//! | 36..48 | flags |
//! | 48..64 | aux |
//!
//! A **wide sample** (kind 2): header (2 words, flags 0, aux 0), then the value, which is 2^40 or more.
//!
//! An **exemplar** (kind 6): header (6 words, flags 0, aux 0), value, time in ticks, trace id (high word, low word),
//! span id. The exemplar's sample is a record of its own.
//!
//! A **span** (kind 3): header, start in ticks, duration in ticks, trace id (high word, low word), span id, parent
//! span id (0 for a root), then items of any kind except callsites. Aux: the number of attributes that did not fit
//! (65,535 means that many or more). Flags:
//!
//! | bits | flag |
//! |---|---|
//! | 0..2 | status: 0 unset, 1 ok, 2 error; 3 is an error |
//! | 2 | the trace is sampled |
//! | 3 | ended by a panic |
//! | 4..7 | span kind: 0 internal, 1 server, 2 client, 3 producer, 4 consumer; 5..8 are an error |
//! | 7 | local root: it has no parent in this process |
//! | 8 | held: its trace is not sampled, and tail sampling decides whether it is kept |
//! | 9 | its future was dropped before it was done (cancelled) |
//! | 10..12 | zero |
//!
//! A **log record** (kind 7): header, time in ticks, then, if flag 3 is set, the ids of the span in which the record
//! was made (trace id high and low, span id), then items: first a callsite or a message text, then attributes. Flags:
//! bits 0..3 the level (1 trace, 2 debug, 3 info, 4 warn, 5 error), bit 3 as above, others zero. Aux: the number of
//! fields that did not fit.
//!
//! An **item** begins with a word of its own:
//!
//! | bits | field |
//! |---|---|
//! | 0..4 | tag: 1 attribute, 2 event, 3 link, 4 text, 5 lost, 6 callsite |
//! | 4..8 | type |
//! | 8..28 | id |
//! | 28..32 | zero |
//! | 32..48 | length |
//! | 48..64 | more |
//!
//! The meaning of these fields, and the words that follow the first:
//!
//! | tag | type | id | length | more | then |
//! |---|---|---|---|---|---|
//! | attribute | 1 text, 6 truncated text | key | bytes | 0 | the text |
//! | attribute | 2 i64, 3 u64, 4 f64 | key | 0 | 0 | one word: two's complement, or the IEEE bits |
//! | attribute | 5 bool | key | 0 | 0 or 1 | nothing |
//! | event | 0 | name, a key | words of its attributes | attributes that did not fit | time in ticks, its attributes |
//! | link | 0, or 1 if sampled | 0 | words of its attributes | attributes that did not fit | trace id (high, low), span id, its attributes |
//! | text | 1 message (of a status, or a log record's own), 2 W3C trace state | 0 | bytes | 0 | the text |
//! | lost | 0 | 0 | events that did not fit | links that did not fit | nothing; at least one of the two is above 0 |
//! | callsite | 0 | the log statement | 0 | 0 | nothing |
//!
//! A text is stored as its bytes, eight per word, the last word padded with zeros. The last item ends with the record.
//!
//! A **definition** (kind 4): header (flags: bits 0..3 the space of the id: 1 span names, 2 attribute keys, 3 series, 4
//! the service, 5 log targets, 6 log statements; bit 3 as explained below, others zero; aux: length in bytes), then the
//! text, stored as above. Definitions give the text of an id, so that a saved stream is self-contained.
//!
//! A text of more than 32,752 bytes takes several consecutive definitions with the same space and id. All but the last
//! hold 32,752 bytes and have bit 3 set; the last holds the rest, at least one byte. Together they are one [`Record`].
//!
//! **Figures** (kind 5): header (flags: the meaning of the figures, up to 4,095; aux 0), then any number of words.
//! Saved snapshots consist of them; `snapshot/saved.rs` lists the meanings. Definitions and figures do not occur in
//! rings.
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
mod items;
pub(crate) mod layout;
mod log;
mod span;
mod times;
mod value;

#[cfg(all(test, not(tellane_loom)))]
mod tests;

pub use decode::{DecodeError, Decoder, from_bytes};
pub(crate) use decode::{Frame, frame, frame_of_span};
pub use encode::{EncodeError, encode, to_bytes};
pub(crate) use encode::{exemplar_words, log_header, span_head, span_header};
pub(crate) use items::{Block, Full, Items, KeyedItem, OpenItem, PutError};
pub use layout::MAGIC;
pub use log::{Log, Message};
pub use span::{Exemplar, Item, Record, Space, Span};
pub(crate) use times::move_times;
pub use value::{SpanKind, Status, Value};
