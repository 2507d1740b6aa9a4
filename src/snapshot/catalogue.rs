//! The series of a snapshot, sorted, and what one of its readers says of them again and again. Cold: made when series
//! have come, shared by all snapshots until more come.

use crate::series::Identity;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Every series, sorted by name and label values.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    series: Box<[Arc<Identity>]>,
    /// What the text format says between the numbers, from the first scrape on. It depends on nothing but the series.
    pieces: OnceLock<TextTemplate>,
}

impl Catalogue {
    /// The text between the numbers; `make` is asked once, however many snapshots share the series.
    pub(crate) fn pieces(&self, make: impl FnOnce(&[Arc<Identity>]) -> TextTemplate) -> &TextTemplate {
        self.pieces.get_or_init(|| make(&self.series))
    }

    /// Bytes of the list, and of the text once it is there.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.series) + self.pieces.get().map_or(0, TextTemplate::bytes)
    }
}

impl Deref for Catalogue {
    type Target = [Arc<Identity>];

    fn deref(&self) -> &Self::Target {
        &self.series
    }
}

/// The caller gives them sorted.
impl FromIterator<Arc<Identity>> for Catalogue {
    fn from_iter<I: IntoIterator<Item = Arc<Identity>>>(sorted: I) -> Self {
        Self { series: sorted.into_iter().collect(), pieces: OnceLock::new() }
    }
}

/// Texts one behind the other in one piece of memory: a reader goes through them in order.
#[derive(Debug, Default)]
pub(crate) struct TextTemplate {
    text: String,
    /// Of each one.
    lens: Vec<usize>,
    /// Of all but the one that is open.
    ended: usize,
}

impl TextTemplate {
    /// The text of the piece that [`TextTemplate::end`] will end.
    pub(crate) fn open(&mut self) -> &mut String {
        &mut self.text
    }

    pub(crate) fn end(&mut self) {
        self.lens.push(self.text.len() - self.ended);
        self.ended = self.text.len();
    }

    pub(crate) fn count(&self) -> usize {
        self.lens.len()
    }

    /// Bytes of all of them together.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// From the first to the last; what is asked for behind it is empty.
    pub(crate) fn reader(&self) -> TemplateReader<'_> {
        TemplateReader { text: &self.text, lens: self.lens.iter() }
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + size_of::<usize>() * self.lens.capacity()
    }

    /// The same, without room for more.
    pub(crate) fn done(mut self) -> Self {
        self.text.shrink_to_fit();
        self.lens.shrink_to_fit();
        self
    }
}

/// Where a reader of [`TextTemplate`] stands.
#[derive(Debug)]
pub(crate) struct TemplateReader<'a> {
    text: &'a str,
    lens: std::slice::Iter<'a, usize>,
}

impl<'a> TemplateReader<'a> {
    pub(crate) fn next_piece(&mut self) -> &'a str {
        let len = self.lens.next().copied().unwrap_or_default();
        let (piece, rest) = self.text.split_at_checked(len).unwrap_or_default();
        self.text = rest;
        piece
    }
}
