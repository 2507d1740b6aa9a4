//! Records to words. Hot: [`Items`], which a span fills while it is open; [`encode`] is for saved streams and tests.
//!
//! Never allocates on the hot side; what does not fit is handed back as an error for the caller to count.

use super::layout;
use super::{Record, Span, Value};
use crate::sync::plant::{Bug, planted};
use arrayvec::ArrayVec;

/// Words of attributes that a span carries: eight numbers and eight texts of up to 16 bytes, say.
const ITEM_WORDS: usize = 32;
/// Longest text of an attribute; longer ones are cut at a character's boundary.
const TEXT_MAX: usize = 8 * (ITEM_WORDS - 1);

/// No room for one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The attributes of an open span, encoded as they are set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items(ArrayVec<u64, ITEM_WORDS>);

impl Items {
    #[inline]
    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    #[inline]
    pub(crate) fn push_number(&mut self, key: u32, kind: u64, bits: u64) -> Result<(), Full> {
        self.0.try_extend_from_slice(&[layout::item(kind, key, 0, false), bits]).map_err(|_| Full)
    }

    #[inline]
    pub(crate) fn push_bool(&mut self, key: u32, truth: bool) -> Result<(), Full> {
        self.0.try_push(layout::item(layout::TYPE_BOOL, key, 0, truth)).map_err(|_| Full)
    }

    /// Says whether the text was kept whole.
    #[inline]
    pub(crate) fn push_str(&mut self, key: u32, text: &str) -> Result<bool, Full> {
        let kept = &text[..text.floor_char_boundary(TEXT_MAX)];
        if self.0.remaining_capacity() < 1 + kept.len().div_ceil(8) {
            return Err(Full);
        }
        let mut push = |word| self.0.try_push(word).map_err(|_| Full);
        push(layout::item(layout::TYPE_STR, key, kept.len() as u16, false))?;
        text_words(kept).try_for_each(push)?;
        Ok(kept.len() == text.len())
    }
}

/// Text as little-endian words, the last one filled up with zeros.
#[inline]
fn text_words(text: &str) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| {
        let mut bytes = [0; 8];
        bytes[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(bytes)
    });
    whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain(last)
}

/// The words of a span before its items.
#[inline(always)]
pub(crate) fn span_head(span: &Head, items: usize) -> [u64; layout::SPAN_WORDS] {
    let words = layout::SPAN_WORDS + items;
    [
        layout::header(layout::KIND_SPAN, span.name, words, span.flags, span.attributes_dropped),
        span.start,
        span.duration,
        (span.trace_id >> 64) as u64,
        span.trace_id as u64,
        span.span_id,
        span.parent_id,
    ]
}

/// A span without its items, flags already packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) name: u32,
    pub(crate) flags: u64,
    pub(crate) attributes_dropped: u16,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) parent_id: u64,
}

/// Appends a record to a stream of words.
///
/// ```
/// use tellane::record::{Record, encode};
/// let mut words = Vec::new();
/// encode(&Record::Sample { series: 7, value: 1_250 }, &mut words)?;
/// encode(&Record::Sample { series: 7, value: 1 << 40 }, &mut words)?; // too large for one word
/// assert_eq!(words.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EncodeError`] if a part does not fit the encoding; the stream is then as it was.
pub fn encode(record: &Record, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let start = into.len();
    let outcome = match record {
        Record::Sample { series, value } => sample(*series, *value, into),
        Record::Span(span) => encode_span(span, into),
        Record::Definition { space, id, text } => definition(*space as u64, *id, text, into),
        Record::Figures { what, id, words } => figures(*what, *id, words, into),
    };
    if outcome.is_err() {
        into.truncate(start);
    }
    outcome
}

fn sample(series: u32, value: u64, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let series = checked_id(series)?;
    if value <= layout::SAMPLE_MAX || planted(Bug::CutWide) {
        into.push(layout::sample(series, value & layout::SAMPLE_MAX));
    } else {
        into.extend([layout::header(layout::KIND_WIDE_SAMPLE, series, 2, 0, 0), value]);
    }
    Ok(())
}

fn encode_span(span: &Span, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let start = into.len();
    let mut flags = span.status as u64;
    flags |= if span.sampled { layout::FLAG_SAMPLED } else { 0 };
    flags |= if span.panicked { layout::FLAG_PANICKED } else { 0 };
    let head = Head {
        name: checked_id(span.name)?,
        flags,
        attributes_dropped: span.attributes_dropped,
        start: span.start,
        duration: span.duration,
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_id: span.parent_id,
    };
    into.extend(span_head(&head, 0));
    for (key, value) in &span.attributes {
        let key = checked_id(*key)?;
        match value {
            Value::Str(text) => {
                let len = u16::try_from(text.len()).map_err(|_| EncodeError::TooLong)?;
                into.push(layout::item(layout::TYPE_STR, key, len, false));
                into.extend(text_words(text));
            }
            Value::I64(number) => {
                into.extend([layout::item(layout::TYPE_I64, key, 0, false), *number as u64])
            }
            Value::U64(number) => into.extend([layout::item(layout::TYPE_U64, key, 0, false), *number]),
            Value::F64(number) => {
                into.extend([layout::item(layout::TYPE_F64, key, 0, false), number.to_bits()]);
            }
            Value::Bool(truth) => into.push(layout::item(layout::TYPE_BOOL, key, 0, *truth)),
        }
    }
    let words = into.len() - start;
    if words > layout::WORDS_MAX {
        return Err(EncodeError::TooLong);
    }
    into[start] = span_head(&head, words - layout::SPAN_WORDS)[0];
    Ok(())
}

fn definition(space: u64, id: u32, text: &str, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let words = 1 + text.len().div_ceil(8);
    if words > layout::WORDS_MAX {
        return Err(EncodeError::TooLong);
    }
    let len = text.len() as u16; // at most 8 * 4,094
    into.push(layout::header(layout::KIND_DEFINITION, checked_id(id)?, words, space, len));
    into.extend(text_words(text));
    Ok(())
}

fn figures(what: u16, id: u32, figures: &[u64], into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let words = 1 + figures.len();
    if words > layout::WORDS_MAX {
        return Err(EncodeError::TooLong);
    }
    if what >= layout::FLAGS_LIMIT {
        return Err(EncodeError::IdTooLarge);
    }
    into.push(layout::header(layout::KIND_FIGURES, checked_id(id)?, words, u64::from(what), 0));
    into.extend(figures);
    Ok(())
}

fn checked_id(id: u32) -> Result<u32, EncodeError> {
    if id < layout::ID_LIMIT { Ok(id) } else { Err(EncodeError::IdTooLarge) }
}

/// A stream of words as bytes, [`MAGIC`](super::MAGIC) first.
///
/// ```
/// use tellane::record::{from_bytes, to_bytes};
/// let bytes = to_bytes(&[1, 2]);
/// assert_eq!(bytes.len(), 24);
/// assert_eq!(from_bytes(&bytes)?, [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn to_bytes(words: &[u64]) -> Vec<u8> {
    std::iter::once(&layout::MAGIC).chain(words).flat_map(|word| word.to_le_bytes()).collect()
}

/// Why a record cannot be encoded.
///
/// ```
/// use tellane::record::{EncodeError, Record, encode};
/// let mut words = Vec::new();
/// let outcome = encode(&Record::Sample { series: 1 << 20, value: 1 }, &mut words);
/// assert_eq!(outcome, Err(EncodeError::IdTooLarge));
/// assert!(words.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncodeError {
    /// A series, name or key id is 2^20 or more, or figures say what is 2^12 or more. Ids that the registry hands out
    /// never are.
    IdTooLarge,
    /// The record has more than 4,095 words, or a text more than 65,535 bytes: shorten or drop attributes.
    TooLong,
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IdTooLarge => "an id is 2^20 or more, or the figures' meaning 2^12 or more",
            Self::TooLong => "the record has more than 4,095 words or a text of more than 65,535 bytes",
        })
    }
}

impl std::error::Error for EncodeError {}
