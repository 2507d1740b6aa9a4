//! The sorted list of a snapshot's series, and the cached text that every scrape of them repeats. Cold: rebuilt when
//! series are added, shared by all snapshots in between.

use crate::series::Identity;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// All series of a snapshot, sorted by name and label values.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    series: Box<[Arc<Identity>]>,
    /// The text between the numbers in the text format, made by the first scrape. It depends on the series alone.
    text_template: OnceLock<TextTemplate>,
}

impl Catalogue {
    /// The text between the numbers; `make` is called once, however many snapshots share the series.
    pub(crate) fn text_template(&self, make: impl FnOnce(&[Arc<Identity>]) -> TextTemplate) -> &TextTemplate {
        self.text_template.get_or_init(|| make(&self.series))
    }

    /// Bytes of the list, and of the text if a scrape has made it.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.series) + self.text_template.get().map_or(0, TextTemplate::bytes)
    }
}

impl Deref for Catalogue {
    type Target = [Arc<Identity>];

    fn deref(&self) -> &Self::Target {
        &self.series
    }
}

/// Collects series that the caller has sorted.
impl FromIterator<Arc<Identity>> for Catalogue {
    fn from_iter<I: IntoIterator<Item = Arc<Identity>>>(sorted: I) -> Self {
        Self { series: sorted.into_iter().collect(), text_template: OnceLock::new() }
    }
}

/// Pieces of text in one allocation, read in order: one piece before each number.
#[derive(Debug, Default)]
pub(crate) struct TextTemplate {
    text: String,
    /// The length of each finished piece.
    lens: Vec<usize>,
    /// Bytes of all finished pieces; the open piece begins here.
    ended: usize,
}

impl TextTemplate {
    /// The text to append the open piece to, which [`end`](Self::end) finishes.
    pub(crate) fn open(&mut self) -> &mut String {
        &mut self.text
    }

    /// Finishes the open piece and opens the next.
    pub(crate) fn end(&mut self) {
        self.lens.push(self.text.len() - self.ended);
        self.ended = self.text.len();
    }

    /// The number of finished pieces.
    pub(crate) fn count(&self) -> usize {
        self.lens.len()
    }

    /// Bytes of all pieces together.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Reads the pieces from the first to the last; pieces after the last one are empty.
    pub(crate) fn reader(&self) -> TemplateReader<'_> {
        TemplateReader { text: &self.text, lens: self.lens.iter() }
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + size_of::<usize>() * self.lens.capacity()
    }

    /// Frees the spare capacity, since no piece will be added.
    pub(crate) fn shrunk(mut self) -> Self {
        self.text.shrink_to_fit();
        self.lens.shrink_to_fit();
        self
    }
}

/// A cursor over the pieces of a [`TextTemplate`].
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
