//! The items of a record that is being made: a span's attributes, events and links, a log record's fields. Hot:
//! encoded as they are set.
//!
//! The usual few sit in the record's own frame. When it is full, everything moves into a [`Block`] that the caller takes
//! from its thread's store. Items never allocate; what does not fit is handed back as an error for the caller to count.
//!
//! A key that is set again is simply added again: to look for it would cost each attribute a search. The reader takes the
//! last value. Only when a limit or the room is reached are the values before it removed ([`Items::put`]).

mod overwrite;
#[cfg(feature = "tracing")]
mod parts;

pub(crate) use overwrite::{Entry, Refused};

use super::layout;
use arrayvec::ArrayVec;

/// Words of items in the frame: eight numbers and eight texts of up to 16 bytes, say.
const INLINE_WORDS: usize = 32;
/// Words of a block: with it a span is as long as a record may be, an item for what was lost included.
const BLOCK_WORDS: usize = layout::WORDS_MAX - layout::SPAN_WORDS - 1;

/// No room for one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Room for what does not fit the frame. Made once and used again.
#[derive(Debug)]
pub(crate) struct Block {
    words: Vec<u64>,
    /// Words that it may hold, at most [`BLOCK_WORDS`].
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

/// The items, encoded. All of them are in the frame, or all of them are in a block.
#[derive(Debug, Default)]
pub(crate) struct Items {
    inline: ArrayVec<u64, INLINE_WORDS>,
    /// Holds everything once it is there. The frame is empty then.
    block: Option<Box<Block>>,
}

/// The place of an event or a link, for its attributes to be added. It stays the last item until they are. Two short
/// numbers, both below 2^12, so that they are handed on in a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// Index of its first word.
    index: u16,
    /// Index of its first attribute.
    attributes: u16,
}

impl At {
    /// Index of its first attribute.
    pub(crate) fn attributes(self) -> usize {
        usize::from(self.attributes)
    }

    #[inline(always)]
    fn new(index: usize, own_words: usize) -> Self {
        Self { index: index as u16, attributes: (index + own_words) as u16 }
    }

    /// The place after so many words before it were removed.
    pub(crate) fn moved_down(self, words: usize) -> Self {
        Self { index: self.index - words as u16, attributes: self.attributes - words as u16 }
    }
}

impl Items {
    /// Words that the frame has room for.
    pub(crate) const FRAME: usize = INLINE_WORDS;

    /// The words of all items.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[u64] {
        match &self.block {
            None => &self.inline,
            Some(block) => &block.words,
        }
    }

    /// The words in the frame, which are all if there is no block.
    #[inline(always)]
    pub(crate) fn inline(&self) -> &[u64] {
        &self.inline
    }

    /// Moves everything into a block, for records whose items have at most `longest` words.
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

    /// Words that may still be added.
    pub(crate) fn room(&self) -> usize {
        match &self.block {
            None => self.inline.remaining_capacity(),
            Some(block) => block.room(),
        }
    }

    /// Word by word: an array copied as a whole would be read back in larger pieces than it was written in, and wait
    /// for its own stores.
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

    /// The same in the frame; `false`, and nothing done, if it has no room, or there is a block.
    #[inline(always)]
    pub(crate) fn push_number_fast(&mut self, key: u32, kind: u64, bits: u64) -> bool {
        self.has_frame_for(2) && self.extend([layout::attribute(kind, key, 0, false), bits]).is_ok()
    }

    /// A text of at most `most` bytes, in the frame; `false`, and nothing done, if it is longer, the frame has no room, or
    /// there is a block.
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

    /// Of a longer text, the first `most` characters are kept, and marked as cut.
    #[inline]
    pub(crate) fn push_str(&mut self, key: u32, text: &str, most: usize) -> Result<(), Full> {
        if text.len() <= most.min(usize::from(u16::MAX)) {
            self.push_text(layout::attribute(layout::TYPE_STR, key, text.len() as u16, false), text)
        } else {
            self.push_cut(key, text, most)
        }
    }

    /// A text with more bytes than `most`. It may have fewer characters than that.
    #[cold]
    #[inline(never)]
    fn push_cut(&mut self, key: u32, text: &str, most: usize) -> Result<(), Full> {
        let kept = first_chars(text, most);
        let len = u16::try_from(kept.len()).map_err(|_| Full)?;
        let kind = if kept.len() == text.len() { layout::TYPE_STR } else { layout::TYPE_CUT };
        self.push_text(layout::attribute(kind, key, len, false), kept)
    }

    /// A text that is no attribute: see `layout::TEXT_MESSAGE`.
    pub(crate) fn push_plain(&mut self, what: u64, text: &str) -> Result<(), Full> {
        let len = u16::try_from(text.len()).map_err(|_| Full)?;
        self.push_text(layout::item(layout::TAG_TEXT, what, 0, len, 0), text)
    }

    /// The message of a log record. Of a longer one the first `most` characters are kept, the last of them an ellipsis:
    /// such a text has no mark of its own.
    pub(crate) fn push_said(&mut self, text: &str, most: usize) -> Result<(), Full> {
        if text.len() <= most {
            self.push_plain(layout::TEXT_MESSAGE, text)
        } else {
            self.push_said_cut(text, most, self.room())
        }
    }

    /// Like [`push_said`](Self::push_said), in at most `room` words. A block takes as much of the text as there is room
    /// for; the frame takes the text or nothing.
    #[cold]
    pub(crate) fn push_said_cut(&mut self, text: &str, most: usize, room: usize) -> Result<(), Full> {
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

    /// A log record's statement.
    #[inline]
    pub(crate) fn push_site(&mut self, callsite: u32) -> Result<(), Full> {
        self.extend([layout::item(layout::TAG_SITE, 0, callsite, 0, 0)])
    }

    pub(crate) fn begin_event(&mut self, name: u32, ticks: u64) -> Result<At, Full> {
        let at = At::new(self.len(), layout::EVENT_WORDS);
        self.extend([layout::item(layout::TAG_EVENT, 0, name, 0, 0), ticks]).map(|()| at)
    }

    pub(crate) fn begin_link(&mut self, trace_id: u128, span_id: u64, sampled: bool) -> Result<At, Full> {
        let at = At::new(self.len(), layout::LINK_WORDS);
        let first = layout::item(layout::TAG_LINK, u64::from(sampled), 0, 0, 0);
        self.extend([first, (trace_id >> 64) as u64, trace_id as u64, span_id]).map(|()| at)
    }

    /// Tells the event or link at `at` how many words of attributes follow it.
    #[inline(always)]
    pub(crate) fn amend(&mut self, at: At) {
        let words = self.len() - at.attributes();
        if let Some(first) = self.words_mut().get_mut(usize::from(at.index)) {
            *first = layout::with_item_len(*first, words);
        }
    }

    /// Counts an attribute that the event or link at `at` did not keep.
    #[cold]
    pub(crate) fn drop_within(&mut self, at: At) {
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

    /// Words so far.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.words().len()
    }
}

/// The first so many characters of a text.
fn first_chars(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// Text as little-endian words, the last one filled up with zeros.
#[inline(always)]
pub(super) fn text_words(text: &str) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| last_word(rest));
    whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain(last)
}

/// One to seven bytes as a word, put together in a register: copied into an array, they would be read back in a larger
/// piece than they were written in.
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
