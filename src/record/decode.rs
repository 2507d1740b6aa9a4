//! Decodes records from words. Hot: [`frame`], which the aggregator calls for each record that is not a one-word
//! sample.
//!
//! Decoding is total: every slice of words gives records or an error, and the error says how the words are invalid.

use super::layout;
use super::{Exemplar, Item, Log, Message, Record, Space, Span, SpanKind, Status, Value};
use crate::level::Level;
use crate::sync::plant::{Bug, planted};

/// The words of one record; the length in its header is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) words: &'a [u64],
}

/// Returns the words of the first record in a slice, without decoding its contents.
#[inline]
pub(crate) fn frame(words: &[u64]) -> Result<Frame<'_>, DecodeError> {
    let &first = words.first().ok_or(DecodeError::Truncated { missing: 1 })?;
    let (least, most) = match layout::kind(first) {
        layout::KIND_SAMPLE => return Ok(Frame { words: &words[..1] }),
        layout::KIND_WIDE_SAMPLE => (2, 2),
        layout::KIND_SPAN => return frame_of_span(first, words),
        layout::KIND_DEFINITION | layout::KIND_FIGURES => (1, layout::WORDS_MAX),
        layout::KIND_EXEMPLAR => (layout::EXEMPLAR_WORDS, layout::EXEMPLAR_WORDS),
        layout::KIND_LOG => (layout::LOG_WORDS + 1, layout::WORDS_MAX),
        kind => return Err(DecodeError::UnknownKind { kind: kind as u8 }),
    };
    frame_of(first, words, least, most)
}

/// Like [`frame`], for a header that is known to be of a span, so the aggregator need not test for all kinds.
#[inline(always)]
pub(crate) fn frame_of_span(header: u64, words: &[u64]) -> Result<Frame<'_>, DecodeError> {
    frame_of(header, words, layout::SPAN_WORDS, layout::WORDS_MAX)
}

#[inline(always)]
fn frame_of(header: u64, words: &[u64], least: usize, most: usize) -> Result<Frame<'_>, DecodeError> {
    let length = layout::words(header);
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

    /// Returns `true` for a span that has no parent in this process.
    #[inline]
    pub(crate) fn is_local_root(&self) -> bool {
        layout::flags(self.header()) & layout::FLAG_LOCAL_ROOT != 0
    }

    /// Returns `true` for a definition that continues in the next record.
    fn continues(&self) -> bool {
        let header = self.header();
        layout::kind(header) == layout::KIND_DEFINITION && layout::flags(header) & layout::FLAG_MORE != 0
    }

    /// Decodes the record.
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
                Err(DecodeError::BadLength { words: 2 }) // one word is enough, and every record has one encoding
            }
            layout::KIND_WIDE_SAMPLE => {
                Ok(Record::Sample { series: layout::id(header), value: self.words[1] })
            }
            layout::KIND_SPAN => self.span().map(Record::Span),
            layout::KIND_EXEMPLAR => self.exemplar().map(Record::Exemplar),
            layout::KIND_LOG => self.log().map(Record::Log),
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
        let kind = (flags & layout::FLAG_KIND) >> layout::FLAG_KIND_SHIFT;
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
            kind: *SpanKind::ALL.get(kind as usize).ok_or(DecodeError::BadFlags)?,
            local_root: flags & layout::FLAG_LOCAL_ROOT != 0,
            held: flags & layout::FLAG_HELD != 0,
            cancelled: flags & layout::FLAG_CANCELLED != 0,
            attributes_dropped: layout::aux(header),
            items: Cursor { items, record: self.words.len() }.all(span_item)?,
        })
    }

    pub(crate) fn exemplar(&self) -> Result<Exemplar, DecodeError> {
        let [header, value, at, high, low, span_id] = *self.words else {
            return Err(DecodeError::BadLength { words: self.words.len() as u16 });
        };
        if layout::flags(header) != 0 || layout::aux(header) != 0 {
            return Err(DecodeError::BadFlags);
        }
        let trace_id = (u128::from(high) << 64) | u128::from(low);
        Ok(Exemplar { series: layout::id(header), value, at, trace_id, span_id })
    }

    pub(crate) fn log(&self) -> Result<Log, DecodeError> {
        let too_short = || DecodeError::BadLength { words: self.words.len() as u16 };
        let [header, at, ref rest @ ..] = *self.words else { return Err(too_short()) };
        let flags = layout::flags(header);
        let level = (flags & layout::FLAG_LEVEL).checked_sub(1);
        let level = level.and_then(|level| Level::ALL.get(level as usize));
        if flags & !layout::FLAGS_LOG != 0 {
            return Err(DecodeError::BadFlags);
        }
        let (span, items) = if flags & layout::FLAG_IN_SPAN != 0 {
            let [high, low, span_id, ref items @ ..] = *rest else { return Err(too_short()) };
            (Some(((u128::from(high) << 64) | u128::from(low), span_id)), items)
        } else {
            (None, rest)
        };
        let mut reading = Cursor { items, record: self.words.len() };
        let message = message(&mut reading)?;
        Ok(Log {
            target: layout::id(header),
            level: *level.ok_or(DecodeError::BadFlags)?,
            at,
            span,
            message,
            fields_dropped: layout::aux(header),
            fields: reading.all(attribute)?,
        })
    }

    /// Decodes a definition whose text does not continue in the next record.
    fn definition(&self) -> Result<Record, DecodeError> {
        match self.part()? {
            DefinitionPart { continues: true, .. } => Err(DecodeError::Unfinished),
            DefinitionPart { space, id, bytes, .. } => {
                Ok(Record::Definition { space, id, text: utf8(bytes) })
            }
        }
    }

    /// Decodes one record of a definition.
    fn part(&self) -> Result<DefinitionPart, DecodeError> {
        let header = self.header();
        let flags = layout::flags(header);
        let space = match flags & layout::FLAG_SPACE {
            1 => Space::SpanName,
            2 => Space::Key,
            3 => Space::Series,
            4 => Space::Service,
            5 => Space::Target,
            6 => Space::Callsite,
            _ => return Err(DecodeError::BadFlags),
        };
        if flags & !(layout::FLAG_SPACE | layout::FLAG_MORE) != 0 {
            return Err(DecodeError::BadFlags);
        }
        let continues = flags & layout::FLAG_MORE != 0;
        let length = usize::from(layout::aux(header));
        if 1 + length.div_ceil(8) != self.words.len() || (continues && length != layout::PART_BYTES) {
            return Err(DecodeError::BadLength { words: self.words.len() as u16 });
        }
        let bytes = text_bytes(&self.words[1..], length)?;
        Ok(DefinitionPart { space, id: layout::id(header), continues, bytes })
    }
}

/// One record of a definition, with all of its text or a part of it.
struct DefinitionPart {
    space: Space,
    id: u32,
    continues: bool,
    bytes: Vec<u8>,
}

/// Reads the items of a record one after the other.
struct Cursor<'a> {
    items: &'a [u64],
    /// Number of words of the whole record, for errors.
    record: usize,
}

impl<'a> Cursor<'a> {
    /// Reads the first word of the next item; `None` at the end.
    fn first(&mut self) -> Result<Option<layout::ItemParts>, DecodeError> {
        let [first, rest @ ..] = self.items else { return Ok(None) };
        self.items = rest;
        layout::item_parts(*first).map(Some).ok_or(DecodeError::BadItem)
    }

    /// Reads the next `length` words.
    fn words(&mut self, length: usize) -> Result<&'a [u64], DecodeError> {
        // Not `Truncated`: more input would not help, since the item is longer than its record.
        let too_long = DecodeError::BadLength { words: self.record as u16 };
        let (words, rest) = self.items.split_at_checked(length).ok_or(too_long)?;
        self.items = rest;
        Ok(words)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        self.words(1).map(|words| words[0])
    }

    fn id(&mut self) -> Result<u128, DecodeError> {
        Ok((u128::from(self.number()?) << 64) | u128::from(self.number()?))
    }

    fn all<T>(
        mut self,
        read: impl Fn(layout::ItemParts, &mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut all = Vec::new();
        while let Some(first) = self.first()? {
            all.push(read(first, &mut self)?);
        }
        Ok(all)
    }

    /// Reads the attributes of an event or a link, which take `length` words.
    fn attributes(&mut self, length: u16) -> Result<Vec<(u32, Value)>, DecodeError> {
        let items = self.words(usize::from(length))?;
        Cursor { items, record: self.record }.all(attribute)
    }
}

fn span_item(first: layout::ItemParts, rest: &mut Cursor<'_>) -> Result<Item, DecodeError> {
    use layout::{TAG_ATTRIBUTE, TAG_EVENT, TAG_LINK, TAG_LOST, TAG_TEXT};
    let layout::ItemParts { tag, kind, key, len, more } = first;
    Ok(match (tag, kind, key) {
        (TAG_ATTRIBUTE, ..) => {
            let (key, value) = attribute(first, rest)?;
            Item::Attribute(key, value)
        }
        (TAG_EVENT, 0, name) => Item::Event {
            name,
            at: rest.number()?,
            attributes: rest.attributes(len)?,
            attributes_dropped: more,
        },
        (TAG_LINK, 0 | 1, 0) => Item::Link {
            trace_id: rest.id()?,
            span_id: rest.number()?,
            sampled: kind == 1,
            attributes: rest.attributes(len)?,
            attributes_dropped: more,
        },
        (TAG_TEXT, layout::TEXT_MESSAGE, 0) if more == 0 => Item::Message(plain_text(len, rest)?),
        (TAG_TEXT, layout::TEXT_TRACE_STATE, 0) if more == 0 => Item::TraceState(plain_text(len, rest)?),
        (TAG_LOST, 0, 0) if len != 0 || more != 0 => Item::Lost { events: len, links: more },
        _ => return Err(DecodeError::BadItem),
    })
}

fn message(rest: &mut Cursor<'_>) -> Result<Message, DecodeError> {
    let first = rest.first()?.ok_or(DecodeError::BadItem)?;
    match (first.tag, first.kind, first.key, first.len, first.more) {
        (layout::TAG_CALLSITE, 0, callsite, 0, 0) => Ok(Message::Callsite(callsite)),
        (layout::TAG_TEXT, layout::TEXT_MESSAGE, 0, len, 0) => plain_text(len, rest).map(Message::Text),
        _ => Err(DecodeError::BadItem),
    }
}

fn attribute(first: layout::ItemParts, rest: &mut Cursor<'_>) -> Result<(u32, Value), DecodeError> {
    let layout::ItemParts { tag, kind, key, len, more } = first;
    if tag != layout::TAG_ATTRIBUTE {
        return Err(DecodeError::BadItem);
    }
    let value = match (kind, len, more) {
        (layout::TYPE_STR, len, 0) => Value::Str(plain_text(len, rest)?),
        (layout::TYPE_CUT, len, 0) => Value::Cut(plain_text(len, rest)?),
        (layout::TYPE_BOOL, 0, truth @ (0 | 1)) => Value::Bool(truth == 1),
        (layout::TYPE_I64, 0, 0) => Value::I64(rest.number()? as i64),
        (layout::TYPE_U64, 0, 0) => Value::U64(rest.number()?),
        (layout::TYPE_F64, 0, 0) => Value::F64(f64::from_bits(rest.number()?)),
        _ => return Err(DecodeError::BadItem),
    };
    Ok((key, value))
}

fn plain_text(len: u16, rest: &mut Cursor<'_>) -> Result<String, DecodeError> {
    let length = usize::from(len);
    text(rest.words(length.div_ceil(8))?, length)
}

/// Decodes a text of `length` bytes. The caller has checked that the words hold that many.
fn text(words: &[u64], length: usize) -> Result<String, DecodeError> {
    text_bytes(words, length).map(utf8)
}

fn text_bytes(words: &[u64], length: usize) -> Result<Vec<u8>, DecodeError> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    if bytes.get(length..).is_none_or(|rest| rest.iter().any(|byte| *byte != 0)) {
        return Err(DecodeError::BadItem);
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned())
}

/// Iterator that decodes records one after the other. After an error in a record whose length is known it continues
/// with the next record; after an error that leaves the length unknown it ends.
///
/// ```
/// use tellane::record::{DecodeError, Decoder, Record};
/// let mut decoder = Decoder::new(&[(1_250 << 24) | (7 << 4) | 1, 8]);
/// assert_eq!(decoder.next(), Some(Ok(Record::Sample { series: 7, value: 1_250 })));
/// assert_eq!(decoder.next(), Some(Err(DecodeError::UnknownKind { kind: 8 })));
/// assert_eq!(decoder.next(), None); // the length of a record of unknown kind is unknown
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u64],
}

impl<'a> Decoder<'a> {
    /// Creates a decoder of words without [`MAGIC`](super::MAGIC): the contents of a ring, or the result of
    /// [`from_bytes`].
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

    /// The words that are not decoded yet.
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

    /// Decodes a definition of several records. Stops before a record that is not part of it.
    #[cold]
    fn joined(&mut self, first: Frame<'_>) -> Result<Record, DecodeError> {
        let DefinitionPart { space, id, mut continues, mut bytes } = first.part()?;
        while continues {
            let next = match frame(self.rest) {
                Ok(next) if layout::kind(next.header()) == layout::KIND_DEFINITION => next,
                Err(DecodeError::Truncated { missing }) => {
                    self.rest = &[];
                    return Err(DecodeError::Truncated { missing });
                }
                _ => return Err(DecodeError::Unfinished),
            };
            let part = next.part()?;
            if (part.space, part.id) != (space, id) {
                return Err(DecodeError::Unfinished);
            }
            if part.bytes.is_empty() {
                return Err(DecodeError::BadLength { words: next.words.len() as u16 });
            }
            self.rest = &self.rest[next.words.len()..];
            bytes.extend(part.bytes);
            continues = part.continues;
        }
        Ok(Record::Definition { space, id, text: utf8(bytes) })
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
                Some(if frame.continues() { self.joined(frame) } else { frame.record() })
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Converts the bytes of a saved stream to words; checks and removes [`MAGIC`](super::MAGIC).
///
/// ```
/// use tellane::record::{DecodeError, from_bytes, to_bytes};
/// assert_eq!(from_bytes(&to_bytes(&[1, 2])), Ok(vec![1, 2]));
/// assert_eq!(from_bytes(b"some other file"), Err(DecodeError::BadMagic));
/// ```
///
/// # Errors
/// [`DecodeError::Truncated`] if the number of bytes is not a multiple of eight or there are none,
/// [`DecodeError::BadMagic`] if the bytes are not a stream of this version.
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

/// Error: words cannot be decoded as a record.
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
        /// Least number of missing words.
        missing: usize,
    },
    /// The first word has a kind that this version does not know.
    UnknownKind {
        /// Bits 0..4 of the word.
        kind: u8,
    },
    /// The header's word count does not fit the record's kind or contents.
    BadLength {
        /// The word count.
        words: u16,
    },
    /// A flag or a bit of the aux field is set that is reserved.
    BadFlags,
    /// An item has an unknown tag or type, or padding that is not zero.
    BadItem,
    /// The text of a definition continues, but the next record is not a part of it.
    Unfinished,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadMagic => f.write_str("not a tellane stream of version 1"),
            Self::Truncated { missing } => write!(f, "the input ends {missing} words too early"),
            Self::UnknownKind { kind } => write!(f, "no record has kind {kind}"),
            Self::BadLength { words } => write!(f, "a record of this kind cannot have {words} words"),
            Self::BadFlags => f.write_str("a reserved flag is set"),
            Self::BadItem => f.write_str("an item has an unknown tag or type, or padding that is not zero"),
            Self::Unfinished => {
                f.write_str("the text of a definition continues, but its next part is missing")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
