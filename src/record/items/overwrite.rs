//! Attributes that are set again, when a limit or the room is reached. Cold: until then duplicates stand side by side,
//! and the reader takes the last.

use super::{Items, first_chars, layout, text_words};
use std::ops::Range;

/// An item that stands once among others of its kind: an attribute by its key, or the message of a status.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    Str {
        key: u32,
        text: &'a str,
        cut: bool,
    },
    Number {
        key: u32,
        /// `layout::TYPE_I64` and its like.
        kind: u64,
        bits: u64,
    },
    Bool {
        key: u32,
        truth: bool,
    },
    Message(&'a str),
}

/// Why an entry was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are as many attributes as there may be.
    Limit,
    /// There is no room, not even for the beginning of a text.
    NoRoom,
}

impl<'a> Entry<'a> {
    /// A text, of which the first `most` characters are kept.
    pub(crate) fn text(key: u32, text: &'a str, most: usize) -> Self {
        let kept = first_chars(text, most);
        Self::Str { key, text: kept, cut: kept.len() < text.len() }
    }

    /// The message of a status, of which the first `most` characters are kept.
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

    /// As much of it as fits `room` words; `None` if that is not even a character.
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
        // A text that fits a record has fewer than 2^16 bytes.
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
    /// Sets an entry among the items from `from` on, in place of an earlier one of its key. `left` is how many attributes
    /// may still be added; what is removed is added to it. Without a block, a text that the frame has no room for is
    /// refused; with one, its beginning is kept.
    #[cold]
    #[inline(never)]
    pub(crate) fn put(&mut self, from: usize, entry: Entry<'_>, left: &mut u16) -> Result<(), Refused> {
        match self.find_last(from, &entry) {
            Some(there) if there.len() == entry.words() => {
                self.write(there.start, &entry);
                Ok(())
            }
            Some(_) => self.replace(from, entry, left),
            None => self.add(from, entry, left),
        }
    }

    /// Replaces an entry by one of another length.
    fn replace(&mut self, from: usize, entry: Entry<'_>, left: &mut u16) -> Result<(), Refused> {
        *left += self.remove_replaced(from);
        let Some(there) = self.find_last(from, &entry) else { return Err(Refused::NoRoom) };
        let room = self.room() + there.len();
        if self.block.is_none() && entry.words() > room {
            return Err(Refused::NoRoom); // the caller comes again with a block
        }
        if let Some(kept) = entry.fitted(room) {
            self.resize(there.clone(), kept.words());
            self.write(there.start, &kept);
            return Ok(());
        }
        // An old value must not pass for the last one.
        self.resize(there, 0);
        *left += u16::from(entry.is_attribute());
        Err(Refused::NoRoom)
    }

    fn add(&mut self, from: usize, entry: Entry<'_>, left: &mut u16) -> Result<(), Refused> {
        let takes = u16::from(entry.is_attribute());
        if *left < takes || self.room() < entry.words() {
            *left += self.remove_replaced(from);
        }
        if *left < takes {
            return Err(Refused::Limit);
        }
        let room = self.room();
        let kept = if self.block.is_some() { entry.fitted(room) } else { Some(entry) };
        let kept = kept.filter(|kept| kept.words() <= room).ok_or(Refused::NoRoom)?;
        let end = self.len();
        self.resize(end..end, kept.words());
        self.write(end, &kept);
        *left -= takes;
        Ok(())
    }

    /// Removes the values of attributes, from `from` on, that were set again later; the last value takes the place of the
    /// first. Returns how many were removed. Events and links are left as they are.
    ///
    /// One pass. Key numbers are dense, so a bit for each of 2^14 of them tells nearly always whether a key was seen.
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
                || walk(&words[..kept], from).find(|(_, other)| is_same(other)).map(|(there, _)| there);
            match again.then(first).flatten() {
                None => {
                    words.copy_within(next..next + len, kept);
                    kept += len;
                }
                Some(there) => {
                    if there.len() == len {
                        words.copy_within(next..next + len, there.start);
                    } else {
                        // Behind the rotation stand the new value, the old one, and what was between them.
                        words[there.start..next + len].rotate_right(len);
                        words.copy_within(there.end + len..kept + len, there.start + len);
                        kept = kept + len - there.len();
                    }
                    removed += 1;
                }
            }
            next += len;
        }
        self.truncate(kept);
        removed
    }

    /// Removes an attribute.
    #[cold]
    pub(crate) fn remove(&mut self, key: u32) {
        let entry = Entry::Bool { key, truth: false }; // an attribute is known by its key alone
        while let Some(there) = self.find_last(0, &entry) {
            self.resize(there, 0);
        }
    }

    fn find_last(&self, from: usize, entry: &Entry<'_>) -> Option<Range<usize>> {
        let same = walk(self.words(), from).filter(|(_, item)| entry.is_same(item));
        same.last().map(|(there, _)| there)
    }

    /// Makes what stands at `there` so many words long. The caller has seen to the room.
    fn resize(&mut self, there: Range<usize>, needed: usize) {
        let len = self.len();
        for _ in there.len()..needed {
            match &mut self.block {
                None => drop(self.inline.try_push(0)),
                Some(block) => block.words.push(0),
            }
        }
        self.words_mut().copy_within(there.end..len, there.start + needed);
        self.truncate(len + needed - there.len());
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.block {
            None => self.inline.truncate(len),
            Some(block) => block.words.truncate(len),
        }
    }

    fn write(&mut self, at: usize, entry: &Entry<'_>) {
        let words = &mut self.words_mut()[at..];
        words[0] = entry.first_word();
        match entry {
            Entry::Str { text, .. } | Entry::Message(text) => {
                words[1..].iter_mut().zip(text_words(text)).for_each(|(to, word)| *to = word);
            }
            Entry::Number { bits, .. } => words[1] = *bits,
            Entry::Bool { .. } => {}
        }
    }
}

/// The items from `from` on, and where they are.
fn walk(words: &[u64], from: usize) -> impl Iterator<Item = (Range<usize>, layout::ItemParts)> + '_ {
    let mut at = from;
    std::iter::from_fn(move || {
        let item = layout::item_parts(*words.get(at)?)?;
        let there = at..at + item.words();
        at = there.end;
        Some((there, item))
    })
}
