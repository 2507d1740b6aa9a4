//! The items of a record that is being made: a span's attributes, events and links, a log record's fields. Hot:
//! encoded as they are set.
//!
//! The usual few sit in the record's own frame; what does not fit goes into a [`Block`] that the caller takes from its
//! thread's store. Never allocates itself; what does not fit is handed back as an error for the caller to count.

#[cfg(feature = "tracing")]
mod parts;

use super::layout;
use arrayvec::ArrayVec;

/// Words of items in the frame: eight numbers and eight texts of up to 16 bytes, say.
const INLINE_WORDS: usize = 32;
/// Words of a block: with it a span is as long as a record may be.
const BLOCK_WORDS: usize = layout::WORDS_MAX - layout::SPAN_WORDS - INLINE_WORDS - 1;

/// No room for one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Room for what does not fit the frame. Made once and used again.
#[derive(Debug)]
pub(crate) struct Block(Vec<u64>);

impl Block {
    #[cold]
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self(Vec::with_capacity(BLOCK_WORDS)))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    #[cold]
    fn extend(&mut self, words: &[u64]) -> Result<(), Full> {
        if BLOCK_WORDS - self.0.len() < words.len() {
            return Err(Full);
        }
        self.0.extend_from_slice(words);
        Ok(())
    }

    #[cold]
    fn push_text(&mut self, first: u64, text: &str) -> Result<(), Full> {
        if BLOCK_WORDS - self.0.len() < 1 + text.len().div_ceil(8) {
            return Err(Full);
        }
        self.0.push(first);
        self.0.extend(text_words(text));
        Ok(())
    }
}

/// The items, encoded.
#[derive(Debug, Default)]
pub(crate) struct Items {
    inline: ArrayVec<u64, INLINE_WORDS>,
    /// Once it is there, what follows goes into it.
    block: Option<Box<Block>>,
}

/// Where an event or a link stands, for its attributes to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    in_block: bool,
    index: usize,
}

impl Items {
    /// The words in the frame, and those in the block.
    #[inline(always)]
    pub(crate) fn words(&self) -> (&[u64], &[u64]) {
        (&self.inline, self.block.as_ref().map_or(&[], |block| &block.0))
    }

    /// The words in the frame, which are all if there is no block.
    #[inline(always)]
    pub(crate) fn inline(&self) -> &[u64] {
        &self.inline
    }

    /// Gives room for more.
    pub(crate) fn give_block(&mut self, block: Box<Block>) {
        self.block = Some(block);
    }

    pub(crate) fn has_block(&self) -> bool {
        self.block.is_some()
    }

    pub(crate) fn take_block(&mut self) -> Option<Box<Block>> {
        self.block.take()
    }

    fn room(&self) -> usize {
        match &self.block {
            None => self.inline.remaining_capacity(),
            Some(block) => BLOCK_WORDS - block.0.len(),
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
    pub(crate) fn push_number_at_once(&mut self, key: u32, kind: u64, bits: u64) -> bool {
        self.has_frame_for(2) && self.extend([layout::attribute(kind, key, 0, false), bits]).is_ok()
    }

    /// A text of at most `most` bytes, in the frame; `false`, and nothing done, if it is longer, the frame has no room, or
    /// there is a block.
    #[inline(always)]
    pub(crate) fn push_str_at_once(&mut self, key: u32, text: &str, most: u16) -> bool {
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

    /// Of a longer text, the first `most` bytes are kept, cut at a character's boundary and marked.
    #[inline]
    pub(crate) fn push_str(&mut self, key: u32, text: &str, most: usize) -> Result<(), Full> {
        if text.len() <= most.min(usize::from(u16::MAX)) {
            self.push_text(layout::attribute(layout::TYPE_STR, key, text.len() as u16, false), text)
        } else {
            self.push_cut(key, text, most)
        }
    }

    #[cold]
    #[inline(never)]
    fn push_cut(&mut self, key: u32, text: &str, most: usize) -> Result<(), Full> {
        let kept = &text[..text.floor_char_boundary(most.min(usize::from(u16::MAX)))];
        self.push_text(layout::attribute(layout::TYPE_CUT, key, kept.len() as u16, false), kept)
    }

    /// A text that is no attribute: see `layout::TEXT_MESSAGE`.
    pub(crate) fn push_plain(&mut self, what: u64, text: &str, most: usize) -> Result<(), Full> {
        let kept = &text[..text.floor_char_boundary(most.min(usize::from(u16::MAX)))];
        self.push_text(layout::item(layout::TAG_TEXT, what, 0, kept.len() as u16, 0), kept)
    }

    /// What a log record says. Of a longer text the beginning is kept, with an ellipsis behind it: such a text has no
    /// mark of its own.
    pub(crate) fn push_said(&mut self, text: &str, most: usize) -> Result<(), Full> {
        if text.len() <= most {
            return self.push_plain(layout::TEXT_MESSAGE, text, most);
        }
        const ELLIPSIS: &str = "…";
        let kept = &text[..text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()))];
        let len = kept.len() + ELLIPSIS.len();
        if self.room() < 1 + len.div_ceil(8) {
            return Err(Full);
        }
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
    pub(crate) fn push_site(&mut self, site: u32) -> Result<(), Full> {
        self.extend([layout::item(layout::TAG_SITE, 0, site, 0, 0)])
    }

    fn at(&self) -> At {
        match &self.block {
            None => At { in_block: false, index: self.inline.len() },
            Some(block) => At { in_block: true, index: block.0.len() },
        }
    }

    pub(crate) fn begin_event(&mut self, name: u32, ticks: u64) -> Result<At, Full> {
        let at = self.at();
        self.extend([layout::item(layout::TAG_EVENT, 0, name, 0, 0), ticks]).map(|()| at)
    }

    pub(crate) fn begin_link(&mut self, trace_id: u128, span_id: u64, sampled: bool) -> Result<At, Full> {
        let at = self.at();
        let first = layout::item(layout::TAG_LINK, u64::from(sampled), 0, 0, 0);
        self.extend([first, (trace_id >> 64) as u64, trace_id as u64, span_id]).map(|()| at)
    }

    /// Makes sure that what began at `at` ends where more can be added: if a block has come since, it moves there.
    pub(crate) fn gather(&mut self, at: At) -> At {
        match &mut self.block {
            Some(block) if !at.in_block => {
                let index = block.0.len();
                block.0.extend(self.inline.drain(at.index..)); // a block that has just come is empty
                At { in_block: true, index }
            }
            _ => at,
        }
    }

    /// What began at `at` has `words` more words of attributes, or one more that did not fit.
    pub(crate) fn amend(&mut self, at: At, words: usize, dropped: u16) {
        let first = match &mut self.block {
            Some(block) if at.in_block => block.0.get_mut(at.index),
            _ => self.inline.get_mut(at.index),
        };
        if let Some(first) = first
            && let Some(parts) = layout::item_parts(*first)
        {
            let (len, more) = (parts.len + words as u16, parts.more.saturating_add(dropped));
            *first = layout::item(parts.tag, parts.kind, parts.key, len, more);
        }
    }

    /// Words so far.
    pub(crate) fn len(&self) -> usize {
        let (inline, block) = self.words();
        inline.len() + block.len()
    }
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
