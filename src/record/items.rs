//! Items of a record under construction: a span's attributes, events and links, a log record's fields. Hot: items are
//! encoded as they are set.
//!
//! A few items fit into the record's own frame. When the frame is full, all items move into a [`Block`] that the caller
//! takes from its thread's store. Adding items never allocates; an item that does not fit is an error, and the caller
//! counts it.
//!
//! A key that is set again is simply appended again, since finding the earlier value would cost every attribute a
//! search. The reader takes the last value. The earlier values are removed only when a limit is reached or there is no
//! room ([`Items::put`]).

mod overwrite;
#[cfg(feature = "tracing")]
mod parts;

pub(crate) use overwrite::{KeyedItem, PutError};

use super::layout;
use arrayvec::ArrayVec;

/// Size of the frame in words: enough for eight numbers and five texts of up to 16 bytes, for example.
const INLINE_WORDS: usize = 32;
/// Size of a block in words: a span with a full block and an item for lost events and links is as long as a record can
/// be.
const BLOCK_WORDS: usize = layout::WORDS_MAX - layout::SPAN_WORDS - 1;

/// Error: there is no room for one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Buffer for items that do not fit into the frame. Allocated once and reused.
#[derive(Debug)]
pub(crate) struct Block {
    words: Vec<u64>,
    /// Most words that it may hold now, at most [`BLOCK_WORDS`].
    longest: usize,
}

impl Block {
    #[cold]
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { words: Vec::with_capacity(BLOCK_WORDS), longest: BLOCK_WORDS })
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    fn room(&self) -> usize {
        self.longest.saturating_sub(self.words.len())
    }

    #[cold]
    fn extend(&mut self, words: &[u64]) -> Result<(), Full> {
        if self.room() < words.len() {
            return Err(Full);
        }
        self.words.extend_from_slice(words);
        Ok(())
    }

    #[cold]
    fn push_text(&mut self, first: u64, text: &str) -> Result<(), Full> {
        if self.room() < 1 + text.len().div_ceil(8) {
            return Err(Full);
        }
        self.words.push(first);
        self.words.extend(text_words(text));
        Ok(())
    }
}

/// The encoded items of one record. Either all of them are in the frame, or all of them are in a block.
#[derive(Debug, Default)]
pub(crate) struct Items {
    inline: ArrayVec<u64, INLINE_WORDS>,
    /// Holds all items if there is one; the frame is empty then.
    block: Option<Box<Block>>,
}

/// The position of an event or a link whose attributes are being added. It is the last item until they are complete.
/// Two short numbers, both below 2^12, so that the position is passed in a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenItem {
    /// Index of the item's first word.
    index: u16,
    /// Index of the item's first attribute.
    attributes: u16,
}

impl OpenItem {
    /// Index of the item's first attribute.
    pub(crate) fn attributes(self) -> usize {
        usize::from(self.attributes)
    }

    #[inline(always)]
    fn new(index: usize, own_words: usize) -> Self {
        Self { index: index as u16, attributes: (index + own_words) as u16 }
    }

    /// The new position after this number of words before it were removed.
    pub(crate) fn moved_down(self, words: usize) -> Self {
        Self { index: self.index - words as u16, attributes: self.attributes - words as u16 }
    }
}

impl Items {
    /// Capacity of the frame in words.
    pub(crate) const FRAME: usize = INLINE_WORDS;

    /// The words of all items.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[u64] {
        match &self.block {
            None => &self.inline,
            Some(block) => &block.words,
        }
    }

    /// The words in the frame: those of all items if there is no block.
    #[inline(always)]
    pub(crate) fn inline(&self) -> &[u64] {
        &self.inline
    }

    /// Moves all items into a block, for a record whose items may have at most `longest` words.
    pub(crate) fn give_block(&mut self, mut block: Box<Block>, longest: usize) {
        block.longest = longest.min(BLOCK_WORDS);
        block.words.extend(self.inline.drain(..));
        self.block = Some(block);
    }

    pub(crate) fn has_block(&self) -> bool {
        self.block.is_some()
    }

    pub(crate) fn take_block(&mut self) -> Option<Box<Block>> {
        self.block.take()
    }

    /// Number of words that can still be added.
    pub(crate) fn room(&self) -> usize {
        match &self.block {
            None => self.inline.remaining_capacity(),
            Some(block) => block.room(),
        }
    }

    /// Appends words one by one. If the array were copied as a whole, the copy would load larger pieces than were
    /// stored, so store forwarding would fail and the loads would wait for the stores.
    #[inline(always)]
    fn extend<const N: usize>(&mut self, words: [u64; N]) -> Result<(), Full> {
        if let Some(block) = &mut self.block {
            return block.extend(&words);
        }
        if self.inline.remaining_capacity() < N {
            return Err(Full);
        }
        words.into_iter().try_for_each(|word| self.inline.try_push(word)).map_err(|_| Full)
    }

    #[inline]
    pub(crate) fn push_number(&mut self, key: u32, kind: u64, bits: u64) -> Result<(), Full> {
        self.extend([layout::attribute(kind, key, 0, false), bits])
    }

    /// Fast path of [`push_number`](Self::push_number): appends to the frame. Returns `false` and does nothing if the
    /// frame has no room or there is a block.
    #[inline(always)]
    pub(crate) fn push_number_fast(&mut self, key: u32, kind: u64, bits: u64) -> bool {
        self.has_frame_for(2) && self.extend([layout::attribute(kind, key, 0, false), bits]).is_ok()
    }

    /// Fast path of [`push_str`](Self::push_str): appends a text of at most `most` bytes to the frame. Returns `false`
    /// and does nothing if the text is longer, the frame has no room, or there is a block.
    #[inline(always)]
    pub(crate) fn push_str_fast(&mut self, key: u32, text: &str, most: u16) -> bool {
        text.len() <= usize::from(most)
            && self.has_frame_for(1 + text.len().div_ceil(8))
            && self
                .push_text(layout::attribute(layout::TYPE_STR, key, text.len() as u16, false), text)
                .is_ok()
    }

    #[inline(always)]
    fn has_frame_for(&self, words: usize) -> bool {
        self.block.is_none() && self.inline.remaining_capacity() >= words
    }

    #[inline]
    pub(crate) fn push_bool(&mut self, key: u32, truth: bool) -> Result<(), Full> {
        self.extend([layout::attribute(layout::TYPE_BOOL, key, 0, truth)])
    }

    /// Appends a text. A text of more than `most` characters is truncated to them and flagged as truncated.
    #[inline]
    pub(crate) fn push_str(&mut self, key: u32, text: &str, most: usize) -> Result<(), Full> {
        if text.len() <= most.min(usize::from(u16::MAX)) {
            self.push_text(layout::attribute(layout::TYPE_STR, key, text.len() as u16, false), text)
        } else {
            self.push_cut(key, text, most)
        }
    }

    /// Appends a text of more than `most` bytes, which may still have fewer characters than that.
    #[cold]
    #[inline(never)]
    fn push_cut(&mut self, key: u32, text: &str, most: usize) -> Result<(), Full> {
        let kept = first_chars(text, most);
        let len = u16::try_from(kept.len()).map_err(|_| Full)?;
        let kind = if kept.len() == text.len() { layout::TYPE_STR } else { layout::TYPE_CUT };
        self.push_text(layout::attribute(kind, key, len, false), kept)
    }

    /// Appends a text item of type `what`, like `layout::TEXT_MESSAGE`.
    pub(crate) fn push_plain(&mut self, what: u64, text: &str) -> Result<(), Full> {
        let len = u16::try_from(text.len()).map_err(|_| Full)?;
        self.push_text(layout::item(layout::TAG_TEXT, what, 0, len, 0), text)
    }

    /// Appends the message of a log record. A longer message is truncated to `most` characters, the last of which
    /// becomes an ellipsis, since a message has no flag for truncation.
    pub(crate) fn push_message(&mut self, text: &str, most: usize) -> Result<(), Full> {
        if text.len() <= most {
            self.push_plain(layout::TEXT_MESSAGE, text)
        } else {
            self.push_message_truncated(text, most, self.room())
        }
    }

    /// Like [`push_message`](Self::push_message), but in at most `room` words. In a block a text is truncated to the room;
    /// the frame takes the whole text or nothing.
    #[cold]
    pub(crate) fn push_message_truncated(
        &mut self,
        text: &str,
        most: usize,
        room: usize,
    ) -> Result<(), Full> {
        const ELLIPSIS: &str = "…";
        let bytes = room.min(self.room()).saturating_sub(1) * 8;
        let bytes = bytes.min(usize::from(u16::MAX));
        let is_whole = first_chars(text, most).len() == text.len();
        if is_whole && text.len() <= bytes {
            return self.push_plain(layout::TEXT_MESSAGE, text);
        }
        let wanted = if is_whole { text } else { first_chars(text, most.saturating_sub(1)) };
        let fits = wanted.len() + ELLIPSIS.len() <= bytes;
        if bytes < ELLIPSIS.len() || (!fits && self.block.is_none()) {
            return Err(Full);
        }
        let kept = &wanted[..wanted.floor_char_boundary(bytes - ELLIPSIS.len())];
        let len = kept.len() + ELLIPSIS.len();
        self.extend([layout::item(layout::TAG_TEXT, layout::TEXT_MESSAGE, 0, len as u16, 0)])?;
        let mut bytes = kept.bytes().chain(ELLIPSIS.bytes());
        (0..len.div_ceil(8)).try_for_each(|_| {
            let word = std::array::from_fn(|_| bytes.next().unwrap_or_default());
            self.extend([u64::from_le_bytes(word)])
        })
    }

    #[inline]
    fn push_text(&mut self, first: u64, text: &str) -> Result<(), Full> {
        if let Some(block) = &mut self.block {
            return block.push_text(first, text);
        }
        if self.inline.remaining_capacity() < 1 + text.len().div_ceil(8) {
            return Err(Full);
        }
        let mut push = |word| self.inline.try_push(word).map_err(|_| Full);
        push(first)?;
        text_words(text).try_for_each(push)
    }

    /// Appends the id of a log record's statement.
    #[inline]
    pub(crate) fn push_callsite(&mut self, callsite: u32) -> Result<(), Full> {
        self.extend([layout::item(layout::TAG_CALLSITE, 0, callsite, 0, 0)])
    }

    pub(crate) fn begin_event(&mut self, name: u32, ticks: u64) -> Result<OpenItem, Full> {
        let at = OpenItem::new(self.len(), layout::EVENT_WORDS);
        self.extend([layout::item(layout::TAG_EVENT, 0, name, 0, 0), ticks]).map(|()| at)
    }

    pub(crate) fn begin_link(
        &mut self,
        trace_id: u128,
        span_id: u64,
        sampled: bool,
    ) -> Result<OpenItem, Full> {
        let at = OpenItem::new(self.len(), layout::LINK_WORDS);
        let first = layout::item(layout::TAG_LINK, u64::from(sampled), 0, 0, 0);
        self.extend([first, (trace_id >> 64) as u64, trace_id as u64, span_id]).map(|()| at)
    }

    /// Stores the number of words of attributes in the first word of the event or link at `at`.
    #[inline(always)]
    pub(crate) fn set_attributes_len(&mut self, at: OpenItem) {
        let words = self.len() - at.attributes();
        if let Some(first) = self.words_mut().get_mut(usize::from(at.index)) {
            *first = layout::with_item_len(*first, words);
        }
    }

    /// Counts a dropped attribute in the first word of the event or link at `at`.
    #[cold]
    pub(crate) fn count_dropped_in(&mut self, at: OpenItem) {
        if let Some(first) = self.words_mut().get_mut(usize::from(at.index))
            && let Some(parts) = layout::item_parts(*first)
        {
            let more = parts.more.saturating_add(1);
            *first = layout::item(parts.tag, parts.kind, parts.key, parts.len, more);
        }
    }

    #[inline(always)]
    fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.block {
            None => &mut self.inline,
            Some(block) => &mut block.words,
        }
    }

    /// Number of words so far.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.words().len()
    }
}

/// Returns the first `most` characters of a text.
fn first_chars(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// Iterates over a text as little-endian words, the last one padded with zeros.
#[inline(always)]
pub(super) fn text_words(text: &str) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| last_word(rest));
    whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain(last)
}

/// Assembles one to seven bytes to a word in a register. If they were copied into an array, the word would be loaded in
/// a larger piece than was stored, and store forwarding would fail.
#[inline(always)]
fn last_word(rest: &[u8]) -> u64 {
    let len = rest.len();
    match (rest.first_chunk::<4>(), rest.last_chunk::<4>(), rest) {
        (Some(first), Some(last), _) => {
            let last = u64::from(u32::from_le_bytes(*last)) << ((len - 4) * 8);
            u64::from(u32::from_le_bytes(*first)) | last
        }
        (_, _, [first, .., last]) => {
            let (middle, half) = (rest[len / 2], len / 2 * 8);
            u64::from(*first) | (u64::from(middle) << half) | (u64::from(*last) << ((len - 1) * 8))
        }
        (_, _, [only]) => u64::from(*only),
        (_, _, []) => 0,
    }
}
