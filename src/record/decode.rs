//! Words to records. Hot: [`frame`], which the aggregator calls for each record that is not a one-word sample.
//!
//! Total: every slice of words gives records or an error, and every error says how far it could see.

use super::layout;
use super::{Record, Space, Span, Status, Value};
use crate::sync::plant::{Bug, planted};

/// A record's words, the header checked against what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) words: &'a [u64],
}

/// The record that starts a slice of words, framed but not looked into.
#[inline]
pub(crate) fn frame(words: &[u64]) -> Result<Frame<'_>, DecodeError> {
    let &first = words.first().ok_or(DecodeError::Truncated { missing: 1 })?;
    let (least, most) = match layout::kind(first) {
        layout::KIND_SAMPLE => return Ok(Frame { words: &words[..1] }),
        layout::KIND_WIDE_SAMPLE => (2, 2),
        layout::KIND_SPAN => (layout::SPAN_WORDS, layout::WORDS_MAX),
        layout::KIND_DEFINITION | layout::KIND_FIGURES => (1, layout::WORDS_MAX),
        kind => return Err(DecodeError::UnknownKind { kind: kind as u8 }),
    };
    let length = layout::words(first);
    if length < least || length > most {
        return Err(DecodeError::BadLength { words: length as u16 });
    }
    if planted(Bug::TrustLength) {
        return Ok(Frame { words: &words[..length] });
    }
    match words.get(..length) {
        Some(words) => Ok(Frame { words }),
        None => Err(DecodeError::Truncated { missing: length - words.len() }),
    }
}

impl Frame<'_> {
    #[inline]
    pub(crate) fn header(&self) -> u64 {
        self.words[0] // a frame has at least one word
    }

    /// The record in full.
    pub(crate) fn record(&self) -> Result<Record, DecodeError> {
        let header = self.header();
        match layout::kind(header) {
            layout::KIND_SAMPLE => {
                Ok(Record::Sample { series: layout::id(header), value: header >> layout::SAMPLE_SHIFT })
            }
            layout::KIND_WIDE_SAMPLE if layout::flags(header) != 0 || layout::aux(header) != 0 => {
                Err(DecodeError::BadFlags)
            }
            layout::KIND_WIDE_SAMPLE if self.words[1] <= layout::SAMPLE_MAX => {
                Err(DecodeError::BadLength { words: 2 }) // one word would have done: every record has one encoding
            }
            layout::KIND_WIDE_SAMPLE => {
                Ok(Record::Sample { series: layout::id(header), value: self.words[1] })
            }
            layout::KIND_SPAN => self.span().map(Record::Span),
            layout::KIND_FIGURES if layout::aux(header) != 0 => Err(DecodeError::BadFlags),
            layout::KIND_FIGURES => Ok(Record::Figures {
                what: layout::flags(header) as u16,
                id: layout::id(header),
                words: self.words[1..].to_vec(),
            }),
            _ => self.definition(),
        }
    }

    pub(crate) fn span(&self) -> Result<Span, DecodeError> {
        let [header, start, duration, trace_high, trace_low, span_id, parent_id, ref items @ ..] =
            *self.words
        else {
            return Err(DecodeError::BadLength { words: self.words.len() as u16 });
        };
        let flags = layout::flags(header);
        if flags & !layout::FLAGS_SPAN != 0 {
            return Err(DecodeError::BadFlags);
        }
        let status = match flags & layout::FLAG_STATUS {
            0 => Status::Unset,
            1 => Status::Ok,
            2 => Status::Error,
            _ => return Err(DecodeError::BadFlags),
        };
        Ok(Span {
            name: layout::id(header),
            start,
            duration,
            trace_id: (u128::from(trace_high) << 64) | u128::from(trace_low),
            span_id,
            parent_id,
            status,
            sampled: flags & layout::FLAG_SAMPLED != 0,
            panicked: flags & layout::FLAG_PANICKED != 0,
            attributes_dropped: layout::aux(header),
            attributes: attributes(items, self.words.len())?,
        })
    }

    fn definition(&self) -> Result<Record, DecodeError> {
        let header = self.header();
        let space = match layout::flags(header) {
            1 => Space::SpanName,
            2 => Space::Key,
            3 => Space::Series,
            4 => Space::Service,
            _ => return Err(DecodeError::BadFlags),
        };
        let length = usize::from(layout::aux(header));
        if 1 + length.div_ceil(8) != self.words.len() {
            return Err(DecodeError::BadLength { words: self.words.len() as u16 });
        }
        Ok(Record::Definition { space, id: layout::id(header), text: text(&self.words[1..], length)? })
    }
}

/// The items of a record of so many words.
fn attributes(mut items: &[u64], words: usize) -> Result<Vec<(u32, Value)>, DecodeError> {
    let mut attributes = Vec::new();
    while let [first, rest @ ..] = items {
        let parts = layout::item_parts(*first).ok_or(DecodeError::BadItem)?;
        let length = match parts.kind {
            layout::TYPE_STR => usize::from(parts.text_len).div_ceil(8),
            layout::TYPE_BOOL => 0,
            layout::TYPE_I64 | layout::TYPE_U64 | layout::TYPE_F64 => 1,
            _ => return Err(DecodeError::BadItem),
        };
        let is_text = parts.kind == layout::TYPE_STR;
        let is_bool = parts.kind == layout::TYPE_BOOL;
        if (parts.text_len != 0 && !is_text) || (parts.truth && !is_bool) {
            return Err(DecodeError::BadItem);
        }
        // Not `Truncated`: more input would not help, the record ends before its item does.
        let (value, rest) =
            rest.split_at_checked(length).ok_or(DecodeError::BadLength { words: words as u16 })?;
        let value = match (parts.kind, value) {
            (layout::TYPE_BOOL, _) => Value::Bool(parts.truth),
            (layout::TYPE_I64, [bits]) => Value::I64(*bits as i64),
            (layout::TYPE_U64, [bits]) => Value::U64(*bits),
            (layout::TYPE_F64, [bits]) => Value::F64(f64::from_bits(*bits)),
            (_, words) => Value::Str(text(words, usize::from(parts.text_len))?),
        };
        attributes.push((parts.key, value));
        items = rest;
    }
    Ok(attributes)
}

/// Text of so many bytes. The caller has seen to it that the words hold them.
fn text(words: &[u64], length: usize) -> Result<String, DecodeError> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    if bytes.get(length..).is_none_or(|rest| rest.iter().any(|byte| *byte != 0)) {
        return Err(DecodeError::BadItem);
    }
    bytes.truncate(length);
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned()))
}

/// Reads records one after the other. After an error whose record could still be measured it goes on behind it;
/// after one that lost the thread it ends.
///
/// ```
/// use tellane::record::{DecodeError, Decoder, Record};
/// let mut decoder = Decoder::new(&[(1_250 << 24) | (7 << 4) | 1, 6]);
/// assert_eq!(decoder.next(), Some(Ok(Record::Sample { series: 7, value: 1_250 })));
/// assert_eq!(decoder.next(), Some(Err(DecodeError::UnknownKind { kind: 6 })));
/// assert_eq!(decoder.next(), None); // how long that record is, nobody knows
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u64],
}

impl<'a> Decoder<'a> {
    /// Reads words that carry no magic: a ring's contents, or what [`from_bytes`] gave.
    ///
    /// ```
    /// use tellane::record::{Decoder, Record};
    /// let records: Result<Vec<_>, _> = Decoder::new(&[(1_250 << 24) | (7 << 4) | 1]).collect();
    /// assert_eq!(records?, [Record::Sample { series: 7, value: 1_250 }]);
    /// # Ok::<(), tellane::record::DecodeError>(())
    /// ```
    pub fn new(words: &'a [u64]) -> Self {
        Self { rest: words }
    }

    /// The words not read yet.
    ///
    /// ```
    /// # use tellane::record::Decoder;
    /// let words = [(1_250 << 24) | (7 << 4) | 1, (980 << 24) | (7 << 4) | 1];
    /// let mut decoder = Decoder::new(&words);
    /// decoder.next().expect("there are two")?;
    /// assert_eq!(decoder.rest(), &words[1..]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rest(&self) -> &'a [u64] {
        self.rest
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Record, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match frame(self.rest) {
            Ok(frame) => {
                self.rest = &self.rest[frame.words.len()..];
                Some(frame.record())
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// The words of a saved stream, its magic checked and taken off.
///
/// ```
/// use tellane::record::{DecodeError, from_bytes, to_bytes};
/// assert_eq!(from_bytes(&to_bytes(&[1, 2])), Ok(vec![1, 2]));
/// assert_eq!(from_bytes(b"some other file"), Err(DecodeError::BadMagic));
/// ```
///
/// # Errors
/// [`DecodeError::Truncated`] if the bytes are no whole words, [`DecodeError::BadMagic`] if it is no stream of this
/// version.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<u64>, DecodeError> {
    let (words, rest) = bytes.as_chunks::<8>();
    let Some((magic, words)) = words.split_first() else {
        return Err(DecodeError::Truncated { missing: 1 });
    };
    if u64::from_le_bytes(*magic) != layout::MAGIC {
        return Err(DecodeError::BadMagic);
    }
    if !rest.is_empty() {
        return Err(DecodeError::Truncated { missing: 1 });
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// Why words are not a record.
///
/// ```
/// use tellane::record::{DecodeError, Decoder};
/// let error = DecodeError::UnknownKind { kind: 0 };
/// assert_eq!(Decoder::new(&[0]).next(), Some(Err(error)));
/// assert_eq!(error.to_string(), "no record has kind 0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeError {
    /// The stream does not begin with [`MAGIC`](super::MAGIC): another format, or another version.
    BadMagic,
    /// The input ends inside a record or a word.
    Truncated {
        /// Words that are missing, at least.
        missing: usize,
    },
    /// The first word has a kind that this version does not know.
    UnknownKind {
        /// Bits 0..4 of the word.
        kind: u8,
    },
    /// The header's word count does not fit its kind or its contents.
    BadLength {
        /// The count.
        words: u16,
    },
    /// A flag or an aux bit is set that has no meaning here.
    BadFlags,
    /// An item has a tag, type or padding that has no meaning.
    BadItem,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadMagic => f.write_str("not a tellane stream of version 1"),
            Self::Truncated { missing } => write!(f, "the input ends {missing} words too early"),
            Self::UnknownKind { kind } => write!(f, "no record has kind {kind}"),
            Self::BadLength { words } => write!(f, "a record of this kind cannot have {words} words"),
            Self::BadFlags => f.write_str("a flag is set that has no meaning"),
            Self::BadItem => f.write_str("an attribute has a tag, type or padding that has no meaning"),
        }
    }
}

impl std::error::Error for DecodeError {}
