//! Bit layout of the encoding. Hot: [`sample`] and the header readers, called by the encoder, the decoder and the
//! rings.
//!
//! The tables are in the docs of the module `record`. No other file has shifts or masks of its own.

/// First word of a saved stream: the bytes `tellane` and the version, 1, little-endian.
///
/// ```
/// use tellane::record::{MAGIC, to_bytes};
/// assert_eq!(MAGIC.to_le_bytes(), *b"tellane\x01");
/// assert_eq!(to_bytes(&[]), b"tellane\x01");
/// ```
pub const MAGIC: u64 = u64::from_le_bytes(*b"tellane\x01");

pub(crate) const KIND_SAMPLE: u64 = 1;
pub(crate) const KIND_WIDE_SAMPLE: u64 = 2;
pub(crate) const KIND_SPAN: u64 = 3;
pub(crate) const KIND_DEFINITION: u64 = 4;
pub(crate) const KIND_FIGURES: u64 = 5;
pub(crate) const KIND_EXEMPLAR: u64 = 6;
pub(crate) const KIND_LOG: u64 = 7;

const KIND_MASK: u64 = 0xF;
const ID_SHIFT: u32 = 4;
const WORDS_SHIFT: u32 = 24;
const FLAGS_SHIFT: u32 = 36;
const AUX_SHIFT: u32 = 48;

/// Upper limit of ids, exclusive.
pub(crate) const ID_LIMIT: u32 = 1 << 20;
/// Shift of a sample's value.
pub(crate) const SAMPLE_SHIFT: u32 = 24;
/// The greatest value of a one-word sample.
pub(crate) const SAMPLE_MAX: u64 = (1 << 40) - 1;
/// The most words a record may have.
pub(crate) const WORDS_MAX: usize = (1 << 12) - 1;
/// Upper limit of flags, exclusive.
pub(crate) const FLAGS_LIMIT: u16 = 1 << 12;
/// Number of words of a span before its items.
pub(crate) const SPAN_WORDS: usize = 7;

/// Number of words of an exemplar.
pub(crate) const EXEMPLAR_WORDS: usize = 6;
/// Number of words of a log record before the ids of its span or, if there are none, its items.
pub(crate) const LOG_WORDS: usize = 2;

pub(crate) const FLAG_STATUS: u64 = 0b11;
pub(crate) const FLAG_SAMPLED: u64 = 1 << 2;
pub(crate) const FLAG_PANICKED: u64 = 1 << 3;
pub(crate) const FLAG_KIND_SHIFT: u32 = 4;
pub(crate) const FLAG_KIND: u64 = 0b111 << FLAG_KIND_SHIFT;
pub(crate) const FLAG_LOCAL_ROOT: u64 = 1 << 7;
pub(crate) const FLAG_HELD: u64 = 1 << 8;
pub(crate) const FLAG_CANCELLED: u64 = 1 << 9;
pub(crate) const FLAGS_SPAN: u64 = (1 << 10) - 1;

/// The space of a definition.
pub(crate) const FLAG_SPACE: u64 = 0b111;
/// Set if the text of a definition continues in the next record.
pub(crate) const FLAG_MORE: u64 = 1 << 3;
/// Bytes of text in a definition that continues: as many as fit, so that a text has one encoding.
pub(crate) const PART_BYTES: usize = (WORDS_MAX - 1) * 8;

pub(crate) const FLAG_LEVEL: u64 = 0b111;
pub(crate) const FLAG_IN_SPAN: u64 = 1 << 3;
pub(crate) const FLAGS_LOG: u64 = 0b1111;

pub(crate) const TAG_ATTRIBUTE: u64 = 1;
pub(crate) const TAG_EVENT: u64 = 2;
pub(crate) const TAG_LINK: u64 = 3;
pub(crate) const TAG_TEXT: u64 = 4;
pub(crate) const TAG_LOST: u64 = 5;
pub(crate) const TAG_CALLSITE: u64 = 6;
/// Types of text items.
pub(crate) const TEXT_MESSAGE: u64 = 1;
pub(crate) const TEXT_TRACE_STATE: u64 = 2;
pub(crate) const TYPE_STR: u64 = 1;
pub(crate) const TYPE_I64: u64 = 2;
pub(crate) const TYPE_U64: u64 = 3;
pub(crate) const TYPE_F64: u64 = 4;
pub(crate) const TYPE_BOOL: u64 = 5;
/// Type of a truncated text.
pub(crate) const TYPE_CUT: u64 = 6;

const ITEM_TYPE_SHIFT: u32 = 4;
const ITEM_KEY_SHIFT: u32 = 8;
const ITEM_LEN_SHIFT: u32 = 32;
const ITEM_MORE_SHIFT: u32 = 48;

/// Returns the low bits that all samples of this series share: kind and id.
#[inline(always)]
pub(crate) const fn sample_base(series: u32) -> u64 {
    ((series as u64) << ID_SHIFT) | KIND_SAMPLE
}

/// Returns the series of a one-word sample, and for every other word a number that no series has. So the bounds check
/// of the series also checks that the word is a sample.
#[inline(always)]
pub(crate) const fn sample_series(word: u64) -> usize {
    let base = sample_bits(word) as u32;
    base.wrapping_sub(KIND_SAMPLE as u32).rotate_right(ID_SHIFT) as usize
}

/// Returns the bits of [`sample_base`] from any word.
#[inline(always)]
pub(crate) const fn sample_bits(word: u64) -> u64 {
    word & ((1 << SAMPLE_SHIFT) - 1)
}

/// Encodes a one-word sample. The value is at most [`SAMPLE_MAX`].
#[inline(always)]
pub(crate) const fn sample(series: u32, value: u64) -> u64 {
    (value << SAMPLE_SHIFT) | sample_base(series)
}

#[inline(always)]
pub(crate) const fn header(kind: u64, id: u32, words: usize, flags: u64, aux: u16) -> u64 {
    kind | ((id as u64) << ID_SHIFT)
        | ((words as u64) << WORDS_SHIFT)
        | (flags << FLAGS_SHIFT)
        | ((aux as u64) << AUX_SHIFT)
}

/// Adds to a header's word count, its flags and its aux field. The flags must not be set yet, and the sums must fit.
#[inline(always)]
pub(crate) const fn header_more(header: u64, words: usize, flags: u64, aux: u16) -> u64 {
    header + self::header(0, 0, words, flags, aux)
}

/// Replaces the status in a span's header.
#[inline(always)]
pub(crate) const fn with_status(header: u64, status: u64) -> u64 {
    (header & !(FLAG_STATUS << FLAGS_SHIFT)) | (status << FLAGS_SHIFT)
}

#[inline(always)]
pub(crate) const fn kind(word: u64) -> u64 {
    word & KIND_MASK
}

#[inline(always)]
pub(crate) const fn id(word: u64) -> u32 {
    ((word >> ID_SHIFT) & (ID_LIMIT as u64 - 1)) as u32
}

#[inline(always)]
pub(crate) const fn words(header: u64) -> usize {
    ((header >> WORDS_SHIFT) & WORDS_MAX as u64) as usize
}

#[inline(always)]
pub(crate) const fn flags(header: u64) -> u64 {
    (header >> FLAGS_SHIFT) & 0xFFF
}

#[inline(always)]
pub(crate) const fn aux(header: u64) -> u16 {
    (header >> AUX_SHIFT) as u16
}

/// Encodes the first word of an item, with the fields of the table in the docs of the module `record`.
#[inline(always)]
pub(crate) const fn item(tag: u64, kind: u64, key: u32, len: u16, more: u16) -> u64 {
    tag | (kind << ITEM_TYPE_SHIFT)
        | ((key as u64) << ITEM_KEY_SHIFT)
        | ((len as u64) << ITEM_LEN_SHIFT)
        | ((more as u64) << ITEM_MORE_SHIFT)
}

/// Encodes the first word of an attribute.
#[inline(always)]
pub(crate) const fn attribute(kind: u64, key: u32, text_len: u16, truth: bool) -> u64 {
    item(TAG_ATTRIBUTE, kind, key, text_len, truth as u16)
}

/// Decodes an item's first word; `None` if a bit is set that no item has.
pub(crate) const fn item_parts(word: u64) -> Option<ItemParts> {
    let parts = ItemParts {
        tag: word & KIND_MASK,
        kind: (word >> ITEM_TYPE_SHIFT) & 0xF,
        key: ((word >> ITEM_KEY_SHIFT) & (ID_LIMIT as u64 - 1)) as u32,
        len: ((word >> ITEM_LEN_SHIFT) & 0xFFFF) as u16,
        more: (word >> ITEM_MORE_SHIFT) as u16,
    };
    if item(parts.tag, parts.kind, parts.key, parts.len, parts.more) == word { Some(parts) } else { None }
}

/// Replaces the number of words of attributes in the first word of an event or a link.
#[inline(always)]
pub(crate) const fn with_item_len(first: u64, words: usize) -> u64 {
    (first & !(0xFFFF << ITEM_LEN_SHIFT)) | ((words as u64 & 0xFFFF) << ITEM_LEN_SHIFT)
}

/// Number of words of an event before its attributes.
pub(crate) const EVENT_WORDS: usize = 2;
/// Number of words of a link before its attributes.
pub(crate) const LINK_WORDS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemParts {
    pub(crate) tag: u64,
    pub(crate) kind: u64,
    pub(crate) key: u32,
    pub(crate) len: u16,
    pub(crate) more: u16,
}

impl ItemParts {
    /// Number of words of the whole item, including its first word and its attributes.
    pub(crate) const fn words(&self) -> usize {
        let len = self.len as usize;
        match (self.tag, self.kind) {
            (TAG_ATTRIBUTE, TYPE_STR | TYPE_CUT) | (TAG_TEXT, _) => 1 + len.div_ceil(8),
            (TAG_ATTRIBUTE, TYPE_I64 | TYPE_U64 | TYPE_F64) => 2,
            (TAG_EVENT, _) => EVENT_WORDS + len,
            (TAG_LINK, _) => LINK_WORDS + len,
            _ => 1,
        }
    }
}
