//! Encodes records as words. Hot: [`span_head`] and the headers; [`encode`] is for saved streams and tests.

use super::items::text_words;
use super::layout;
use super::{Exemplar, Item, Log, Message, Record, Span, Value};
use crate::sync::plant::{Bug, planted};

/// Encodes the header of a span that has no items yet. The header is kept up to date while the span is open: counts and
/// flags are added to it ([`layout::header_more`]), the status is replaced ([`layout::with_status`]).
#[inline(always)]
pub(crate) const fn span_header(name: u32, kind: u64) -> u64 {
    layout::header(layout::KIND_SPAN, name, layout::SPAN_WORDS, kind << layout::FLAG_KIND_SHIFT, 0)
}

/// Encodes the words of a span before its items.
#[inline(always)]
pub(crate) fn span_head(
    header: u64,
    [start, duration]: [u64; 2],
    trace_id: u128,
    [span_id, parent_id]: [u64; 2],
) -> [u64; layout::SPAN_WORDS] {
    let (high, low) = halves(trace_id);
    [header, start, duration, high, low, span_id, parent_id]
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
/// [`EncodeError`] if a part of the record does not fit the encoding; the stream is left unchanged then.
pub fn encode(record: &Record, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let start = into.len();
    let result = match record {
        Record::Sample { series, value } => sample(*series, *value, into),
        Record::Span(span) => encode_span(span, into),
        Record::Exemplar(example) => exemplar(example, into),
        Record::Log(log) => encode_log(log, into),
        Record::Definition { space, id, text } => definition(*space as u64, *id, text, into),
        Record::Figures { what, id, words } => figures(*what, *id, words, into),
    };
    if result.is_err() {
        into.truncate(start);
    }
    result
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

fn exemplar(example: &Exemplar, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let series = checked_id(example.series)?;
    let (high, low) = halves(example.trace_id);
    into.extend(exemplar_words(series, [example.value, example.at, high, low, example.span_id]));
    Ok(())
}

/// Encodes an exemplar: value, time in ticks, trace id (high, low), span id.
#[inline]
pub(crate) const fn exemplar_words(series: u32, body: [u64; 5]) -> [u64; layout::EXEMPLAR_WORDS] {
    let [value, at, high, low, span_id] = body;
    let header = layout::header(layout::KIND_EXEMPLAR, series, layout::EXEMPLAR_WORDS, 0, 0);
    [header, value, at, high, low, span_id]
}

#[inline(always)]
fn halves(id: u128) -> (u64, u64) {
    ((id >> 64) as u64, id as u64)
}

fn encode_span(span: &Span, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let start = into.len();
    let flag = |is: bool, flag: u64| if is { flag } else { 0 };
    let flags = span.status as u64
        | flag(span.sampled, layout::FLAG_SAMPLED)
        | flag(span.panicked, layout::FLAG_PANICKED)
        | ((span.kind as u64) << layout::FLAG_KIND_SHIFT)
        | flag(span.local_root, layout::FLAG_LOCAL_ROOT)
        | flag(span.held, layout::FLAG_HELD)
        | flag(span.cancelled, layout::FLAG_CANCELLED);
    let header = span_header(checked_id(span.name)?, 0);
    into.extend(span_head(
        layout::header_more(header, 0, flags, span.attributes_dropped),
        [span.start, span.duration],
        span.trace_id,
        [span.span_id, span.parent_id],
    ));
    span.items.iter().try_for_each(|item| encode_item(item, into))?;
    let words = checked_words(into.len() - start)?;
    into[start] = layout::header_more(into[start], words - layout::SPAN_WORDS, 0, 0);
    Ok(())
}

fn encode_item(item: &Item, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    match item {
        Item::Attribute(key, value) => attribute(*key, value, into)?,
        Item::Event { name, at, attributes, attributes_dropped } => {
            let first = layout::item(layout::TAG_EVENT, 0, checked_id(*name)?, 0, *attributes_dropped);
            with_attributes(&[first, *at], attributes, into)?;
        }
        Item::Link { trace_id, span_id, sampled, attributes, attributes_dropped } => {
            let first = layout::item(layout::TAG_LINK, u64::from(*sampled), 0, 0, *attributes_dropped);
            let (high, low) = halves(*trace_id);
            with_attributes(&[first, high, low, *span_id], attributes, into)?;
        }
        Item::Message(text) => plain_text(layout::TEXT_MESSAGE, text, into)?,
        Item::TraceState(text) => plain_text(layout::TEXT_TRACE_STATE, text, into)?,
        Item::Lost { events: 0, links: 0 } => return Err(EncodeError::NothingLost),
        Item::Lost { events, links } => into.push(layout::item(layout::TAG_LOST, 0, 0, *events, *links)),
    }
    Ok(())
}

/// Encodes an event or a link: its own words, then its attributes. The length of the attributes goes into the first
/// word.
fn with_attributes(own: &[u64], attributes: &[(u32, Value)], into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let first = into.len();
    into.extend(own);
    attributes.iter().try_for_each(|(key, value)| attribute(*key, value, into))?;
    let words = u16::try_from(into.len() - first - own.len()).map_err(|_| EncodeError::TooLong)?;
    into[first] |= layout::item(0, 0, 0, words, 0);
    Ok(())
}

fn attribute(key: u32, value: &Value, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let key = checked_id(key)?;
    let number = |kind, bits| [layout::attribute(kind, key, 0, false), bits];
    match value {
        Value::Str(text) | Value::Cut(text) => {
            let kind = if matches!(value, Value::Cut(_)) { layout::TYPE_CUT } else { layout::TYPE_STR };
            let len = u16::try_from(text.len()).map_err(|_| EncodeError::TooLong)?;
            into.push(layout::attribute(kind, key, len, false));
            into.extend(text_words(text));
        }
        Value::I64(value) => into.extend(number(layout::TYPE_I64, *value as u64)),
        Value::U64(value) => into.extend(number(layout::TYPE_U64, *value)),
        Value::F64(value) => into.extend(number(layout::TYPE_F64, value.to_bits())),
        Value::Bool(truth) => into.push(layout::attribute(layout::TYPE_BOOL, key, 0, *truth)),
    }
    Ok(())
}

fn plain_text(what: u64, text: &str, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let len = u16::try_from(text.len()).map_err(|_| EncodeError::TooLong)?;
    into.push(layout::item(layout::TAG_TEXT, what, 0, len, 0));
    into.extend(text_words(text));
    Ok(())
}

fn encode_log(log: &Log, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let start = into.len();
    into.extend([0, log.at]);
    if let Some((trace_id, span_id)) = log.span {
        let (high, low) = halves(trace_id);
        into.extend([high, low, span_id]);
    }
    match &log.message {
        Message::Callsite(callsite) => {
            into.push(layout::item(layout::TAG_CALLSITE, 0, checked_id(*callsite)?, 0, 0))
        }
        Message::Text(text) => plain_text(layout::TEXT_MESSAGE, text, into)?,
    }
    log.fields.iter().try_for_each(|(key, value)| attribute(*key, value, into))?;
    let words = checked_words(into.len() - start)?;
    let target = checked_id(log.target)?;
    into[start] = log_header(target, words, log.level as u64, log.span.is_some(), log.fields_dropped);
    Ok(())
}

/// Encodes the first word of a log record.
#[inline]
pub(crate) const fn log_header(
    target: u32,
    words: usize,
    level: u64,
    in_span: bool,
    fields_dropped: u16,
) -> u64 {
    let flags = level | if in_span { layout::FLAG_IN_SPAN } else { 0 };
    layout::header(layout::KIND_LOG, target, words, flags, fields_dropped)
}

/// Encodes a definition with a text of any length. A text that does not fit into one record continues in the next.
fn definition(space: u64, id: u32, text: &str, into: &mut Vec<u64>) -> Result<(), EncodeError> {
    let id = checked_id(id)?;
    let mut words = text_words(text);
    let mut rest = text.len();
    loop {
        let bytes = rest.min(layout::PART_BYTES);
        rest -= bytes;
        let length = bytes.div_ceil(8);
        let flags = space | if rest > 0 { layout::FLAG_MORE } else { 0 };
        into.push(layout::header(layout::KIND_DEFINITION, id, 1 + length, flags, bytes as u16));
        // A part that continues ends at a word boundary, so the next part begins at one.
        into.extend(words.by_ref().take(length));
        if rest == 0 {
            return Ok(());
        }
    }
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

fn checked_words(words: usize) -> Result<usize, EncodeError> {
    if words <= layout::WORDS_MAX { Ok(words) } else { Err(EncodeError::TooLong) }
}

fn checked_id(id: u32) -> Result<u32, EncodeError> {
    if id < layout::ID_LIMIT { Ok(id) } else { Err(EncodeError::IdTooLarge) }
}

/// Converts a stream of words to bytes, with [`MAGIC`](super::MAGIC) in front.
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

/// Error: a record cannot be encoded.
///
/// ```
/// use tellane::record::{EncodeError, Record, encode};
/// let mut words = Vec::new();
/// let result = encode(&Record::Sample { series: 1 << 20, value: 1 }, &mut words);
/// assert_eq!(result, Err(EncodeError::IdTooLarge));
/// assert!(words.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncodeError {
    /// A series, name or key id is 2^20 or more, or the meaning of figures is 2^12 or more. Ids that an instance hands
    /// out are always below that.
    IdTooLarge,
    /// A span, a log record or figures have more than 4,095 words, or one of their texts has more than 65,535 bytes.
    /// Shorten or drop attributes. The text of a definition may have any length.
    TooLong,
    /// An [`Item::Lost`] has two counts of zero. Leave it out.
    NothingLost,
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IdTooLarge => "an id is 2^20 or more, or the meaning of figures is 2^12 or more: use smaller ones",
            Self::NothingLost => "both counts of an item for lost events and links are zero: leave the item out",
            Self::TooLong => {
                "the record has more than 4,095 words or a text of more than 65,535 bytes: shorten or drop attributes"
            }
        })
    }
}

impl std::error::Error for EncodeError {}
