//! Overwriting attributes that are set again, once a limit is reached or there is no room. Cold: until then duplicates
//! are simply appended, and the reader takes the last value.

use super::{Items, first_chars, layout, text_words};
use std::ops::Range;

/// An item that may occur only once: an attribute, identified by its key, or the message of a status.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyedItem<'a> {
    Str {
        key: u32,
        text: &'a str,
        cut: bool,
    },
    Number {
        key: u32,
        /// One of `layout::TYPE_I64`, `TYPE_U64` and `TYPE_F64`.
        kind: u64,
        bits: u64,
    },
    Bool {
        key: u32,
        truth: bool,
    },
    Message(&'a str),
}

/// Error: an item was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutError {
    /// The limit of attributes is reached.
    Limit,
    /// There is no room for the item, or for even one character of its text.
    NoRoom,
}

impl<'a> KeyedItem<'a> {
    /// Creates a text attribute from at most the first `most` characters.
    pub(crate) fn text(key: u32, text: &'a str, most: usize) -> Self {
        let kept = first_chars(text, most);
        Self::Str { key, text: kept, cut: kept.len() < text.len() }
    }

    /// Creates the message of a status from at most the first `most` characters.
    pub(crate) fn message(text: &'a str, most: usize) -> Self {
        Self::Message(first_chars(text, most))
    }

    fn is_attribute(&self) -> bool {
        !matches!(self, Self::Message(_))
    }

    fn is_same(&self, item: &layout::ItemParts) -> bool {
        match *self {
            Self::Str { key, .. } | Self::Number { key, .. } | Self::Bool { key, .. } => {
                item.tag == layout::TAG_ATTRIBUTE && item.key == key
            }
            Self::Message(_) => item.tag == layout::TAG_TEXT && item.kind == layout::TEXT_MESSAGE,
        }
    }

    fn words(&self) -> usize {
        match self {
            Self::Str { text, .. } | Self::Message(text) => 1 + text.len().div_ceil(8),
            Self::Number { .. } => 2,
            Self::Bool { .. } => 1,
        }
    }

    /// Truncates the item to `room` words; `None` if not even one character of its text fits.
    fn fitted(self, room: usize) -> Option<Self> {
        if self.words() <= room {
            return Some(self);
        }
        let beginning = |text: &'a str| &text[..text.floor_char_boundary(room.saturating_sub(1) * 8)];
        match self {
            Self::Str { key, text, .. } => Some(Self::Str { key, text: beginning(text), cut: true })
                .filter(|_| !beginning(text).is_empty()),
            Self::Message(text) => {
                Some(Self::Message(beginning(text))).filter(|_| !beginning(text).is_empty())
            }
            Self::Number { .. } | Self::Bool { .. } => None,
        }
    }

    fn first_word(&self) -> u64 {
        // The casts are exact: a text that fits into a record has fewer than 2^16 bytes.
        match *self {
            Self::Str { key, text, cut } => {
                let kind = if cut { layout::TYPE_CUT } else { layout::TYPE_STR };
                layout::attribute(kind, key, text.len() as u16, false)
            }
            Self::Number { key, kind, .. } => layout::attribute(kind, key, 0, false),
            Self::Bool { key, truth } => layout::attribute(layout::TYPE_BOOL, key, 0, truth),
            Self::Message(text) => {
                layout::item(layout::TAG_TEXT, layout::TEXT_MESSAGE, 0, text.len() as u16, 0)
            }
        }
    }
}

impl Items {
    /// Sets an item, in place of an earlier one with the same key. Only items from word `from` onwards are considered. `left` is the number
    /// of attributes that may still be added; removed ones are added to it. A text that does not fit is refused if
    /// there is no block yet, and truncated if there is one.
    #[cold]
    #[inline(never)]
    pub(crate) fn put(&mut self, from: usize, entry: KeyedItem<'_>, left: &mut u16) -> Result<(), PutError> {
        match self.find_last(from, &entry) {
            // The same length: overwritten in place, without moving the words behind it.
            Some(range) if range.len() == entry.words() => {
                self.write(range.start, &entry);
                Ok(())
            }
            Some(_) => self.replace(from, entry, left),
            None => self.add(from, entry, left),
        }
    }

    /// Replaces an item by one of another length.
    fn replace(&mut self, from: usize, entry: KeyedItem<'_>, left: &mut u16) -> Result<(), PutError> {
        *left += self.remove_replaced(from);
        let Some(range) = self.find_last(from, &entry) else { return Err(PutError::NoRoom) };
        let room = self.room() + range.len();
        if self.block.is_none() && entry.words() > room {
            return Err(PutError::NoRoom); // the caller gives a block and calls again
        }
        if let Some(kept) = entry.fitted(room) {
            self.resize(range.clone(), kept.words());
            self.write(range.start, &kept);
            return Ok(());
        }
        // The old value is removed, too: otherwise the reader would take it for the last one.
        self.resize(range, 0);
        *left += u16::from(entry.is_attribute());
        Err(PutError::NoRoom)
    }

    fn add(&mut self, from: usize, entry: KeyedItem<'_>, left: &mut u16) -> Result<(), PutError> {
        let takes = u16::from(entry.is_attribute());
        if *left < takes || self.room() < entry.words() {
            *left += self.remove_replaced(from);
        }
        if *left < takes {
            return Err(PutError::Limit);
        }
        let room = self.room();
        let kept = if self.block.is_some() { entry.fitted(room) } else { Some(entry) };
        let kept = kept.filter(|kept| kept.words() <= room).ok_or(PutError::NoRoom)?;
        let end = self.len();
        self.resize(end..end, kept.words());
        self.write(end, &kept);
        *left -= takes;
        Ok(())
    }

    /// Removes duplicate attributes from word `from` on; the last value of a key moves to the position of the first.
    /// Returns the number of removed attributes. Events and links are left as they are.
    ///
    /// One pass. Key ids are dense, so a bit set of 2^14 of them nearly always knows if a key was seen before.
    #[cold]
    #[inline(never)]
    pub(crate) fn remove_replaced(&mut self, from: usize) -> u16 {
        let words = self.words_mut();
        let mut seen = [0_u64; 256];
        let mut is_again = |key: u32| {
            let (word, bit) = (&mut seen[(key >> 6) as usize & 255], 1 << (key & 63));
            let again = *word & bit != 0;
            *word |= bit;
            again
        };
        let (mut kept, mut next, mut removed) = (from, from, 0);
        while let Some(item) = words.get(next).copied().and_then(layout::item_parts) {
            let len = item.words();
            let again = item.tag == layout::TAG_ATTRIBUTE && is_again(item.key);
            let is_same =
                |other: &layout::ItemParts| other.tag == layout::TAG_ATTRIBUTE && other.key == item.key;
            let first =
                || walk(&words[..kept], from).find(|(_, other)| is_same(other)).map(|(range, _)| range);
            match again.then(first).flatten() {
                None => {
                    words.copy_within(next..next + len, kept);
                    kept += len;
                }
                Some(old) => {
                    if old.len() == len {
                        words.copy_within(next..next + len, old.start);
                    } else {
                        // After the rotation the order is: the new value, the old value, then the items that stood between the two. The
                        // copy closes the gap of the old value.
                        words[old.start..next + len].rotate_right(len);
                        words.copy_within(old.end + len..kept + len, old.start + len);
                        kept = kept + len - old.len();
                    }
                    removed += 1;
                }
            }
            next += len;
        }
        self.truncate(kept);
        removed
    }

    /// Removes all values of an attribute.
    #[cold]
    pub(crate) fn remove(&mut self, key: u32) {
        let entry = KeyedItem::Bool { key, truth: false }; // only the key is compared
        while let Some(range) = self.find_last(0, &entry) {
            self.resize(range, 0);
        }
    }

    fn find_last(&self, from: usize, entry: &KeyedItem<'_>) -> Option<Range<usize>> {
        let same = walk(self.words(), from).filter(|(_, item)| entry.is_same(item));
        same.last().map(|(range, _)| range)
    }

    /// Resizes an item to `needed` words and moves the words behind it. The caller has checked that there is room.
    fn resize(&mut self, item: Range<usize>, needed: usize) {
        let len = self.len();
        for _ in item.len()..needed {
            match &mut self.block {
                None => drop(self.inline.try_push(0)),
                Some(block) => block.words.push(0),
            }
        }
        self.words_mut().copy_within(item.end..len, item.start + needed);
        self.truncate(len + needed - item.len());
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.block {
            None => self.inline.truncate(len),
            Some(block) => block.words.truncate(len),
        }
    }

    fn write(&mut self, at: usize, entry: &KeyedItem<'_>) {
        let words = &mut self.words_mut()[at..];
        words[0] = entry.first_word();
        match entry {
            KeyedItem::Str { text, .. } | KeyedItem::Message(text) => {
                words[1..].iter_mut().zip(text_words(text)).for_each(|(to, word)| *to = word);
            }
            KeyedItem::Number { bits, .. } => words[1] = *bits,
            KeyedItem::Bool { .. } => {}
        }
    }
}

/// Iterates over the items from word `from` on, each with its range of words.
fn walk(words: &[u64], from: usize) -> impl Iterator<Item = (Range<usize>, layout::ItemParts)> + '_ {
    let mut at = from;
    std::iter::from_fn(move || {
        let item = layout::item_parts(*words.get(at)?)?;
        let range = at..at + item.words();
        at = range.end;
        Some((range, item))
    })
}
