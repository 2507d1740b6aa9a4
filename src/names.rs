//! Texts that records name by number: span names and attribute keys. A thread asks once for each text and then remembers
//! the answer by the text's address. A text that has a number is found without a lock, and so is the answer for one above
//! the cap.
//!
//! Names and keys are kept as long as the instance, so they are bounded in number and in bytes: a span name may be a
//! path that a client has sent.

mod attribute;
mod closed;
mod table;
mod text;
mod words;

pub use attribute::Attribute;
pub(crate) use closed::{Closed, Look};
pub(crate) use table::Table;
pub(crate) use text::{COUNTS, OVERFLOW, SHOWN_MAX, beginning};

use crate::lane::{SpanNameMeta, local};
use crate::record::SpanKind;
use crate::record::layout::ID_LIMIT;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use std::sync::OnceLock;

/// Bytes of an attribute key. Keys are literals, or leaked; a longer one meets the key that stands in above the cap.
const KEY_MAX: usize = 1_024;

/// A span name, of spans of one kind, and what is counted under it.
#[derive(Debug)]
pub(crate) struct SpanNameEntry {
    pub(crate) text: Arc<str>,
    pub(crate) known: SpanNameMeta,
}

/// The number of the keys that have none of their own: above the cap, or for their length.
pub(crate) const OVERFLOW_KEY: u32 = 0;

/// Both tables of names. Number 0 is what stands in above the cap.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) cap: usize,
    /// Bytes of a span name.
    longest: usize,
    /// By text and kind.
    span_ids: Table<SpanNameMeta, 2>,
    spans: boxcar::Vec<Option<Arc<SpanNameEntry>>>,
    spans_closed: Closed,
    /// The names that stand in above the cap, by kind; each made when it is first needed.
    overflow: [OnceLock<SpanNameMeta>; SpanKind::ALL.len()],
    key_ids: Table<u32, 1>,
    keys: boxcar::Vec<Arc<str>>,
    keys_closed: Closed,
    /// Numbers are given out one at a time.
    numbering: Mutex<()>,
    /// Bytes of all names and keys. Relaxed: a figure that stands for itself.
    bytes: AtomicUsize,
}

impl Names {
    /// So many names, of at most `longest` bytes each.
    pub(crate) fn new(cap: usize, longest: usize) -> Self {
        let names = Self {
            cap: cap.min(ID_LIMIT as usize - 2),
            longest,
            span_ids: Table::new(),
            spans: boxcar::Vec::new(),
            spans_closed: Closed::new(),
            overflow: [const { OnceLock::new() }; SpanKind::ALL.len()],
            key_ids: Table::new(),
            keys: boxcar::Vec::new(),
            keys_closed: Closed::new(),
            numbering: Mutex::new(()),
            bytes: AtomicUsize::new(0),
        };
        names.spans.push(None); // number 0 is no name's
        names.keys.push(OVERFLOW.into());
        // Whoever uses this very key gets its number: two keys of one text could not be told apart by readers.
        names.key_ids.insert(&[OVERFLOW], 0);
        names
    }

    /// Bytes that names and keys take. What is counted under the names is counted with the series.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.span_ids.bytes() + self.key_ids.bytes()
    }

    /// The name that a text is known by: itself, or the name that stands in for texts that are too long.
    pub(crate) fn bounded<'a>(&self, text: &'a str) -> &'a str {
        if text.len() > self.longest { OVERFLOW } else { text }
    }

    /// The number of a span name; `measure` registers its histogram and counter the first time. Takes a lock for a name
    /// that has no number yet.
    pub(crate) fn span(
        &self,
        text: &str,
        kind: SpanKind,
        measure: impl Fn(&str) -> Option<(u32, u32)>,
    ) -> SpanNameMeta {
        self.known_span(text, kind)
            .unwrap_or_else(|| local::without_recording(|| self.new_span(text, kind, measure)))
    }

    fn new_span(
        &self,
        text: &str,
        kind: SpanKind,
        measure: impl Fn(&str) -> Option<(u32, u32)>,
    ) -> SpanNameMeta {
        let _one_at_a_time = self.numbering.lock();
        if let Some(known) = self.known_span(text, kind) {
            return known; // another thread was faster
        }
        let is_full = self.spans.count() > self.cap;
        let text = if is_full { OVERFLOW } else { self.bounded(text) };
        let known = self.dynamic(text, kind).unwrap_or_else(|| {
            let (durations, errors) = measure(text).unwrap_or((ID_LIMIT - 1, u32::MAX));
            let known = SpanNameMeta::new(self.spans.count() as u32, kind, durations, errors);
            self.spans.push(Some(Arc::new(SpanNameEntry { text: text.into(), known })));
            let bytes = 2 * COUNTS
                + text.len()
                + size_of::<SpanNameEntry>()
                + size_of::<Option<Arc<SpanNameEntry>>>();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.span_ids.insert(&[text, kind.name()], known);
            known
        });
        if is_full {
            self.spans_closed.close(); // entries are made under this lock
            return *self.overflow[kind as usize].get_or_init(|| known);
        }
        known
    }

    /// A span name that has a number already, or the one that stands in for it. Takes no lock.
    pub(crate) fn known_span(&self, text: &str, kind: SpanKind) -> Option<SpanNameMeta> {
        let text = self.bounded(text);
        match self.spans_closed.look(|| self.dynamic(text, kind)) {
            Look::Found(known) => Some(known),
            Look::Absent => self.overflow[kind as usize].get().copied(),
            Look::Open => None,
        }
    }

    /// A name that was met before, as a literal or not. Takes no lock.
    #[inline]
    pub(crate) fn dynamic(&self, text: &str, kind: SpanKind) -> Option<SpanNameMeta> {
        self.span_ids.get(&[text, kind.name()]).copied()
    }

    /// The span name of a number.
    pub(crate) fn span_by_id(&self, id: u32) -> Option<&Arc<SpanNameEntry>> {
        self.spans.get(id as usize)?.as_ref()
    }

    /// The number of an attribute key. Takes a lock for a key that has none yet.
    pub(crate) fn key(&self, text: &str) -> u32 {
        if text.len() > KEY_MAX {
            return OVERFLOW_KEY;
        }
        match self.keys_closed.look(|| self.key_ids.get(&[text]).copied()) {
            Look::Found(number) => number,
            Look::Absent => OVERFLOW_KEY,
            Look::Open => local::without_recording(|| self.new_key(text)),
        }
    }

    fn new_key(&self, text: &str) -> u32 {
        let _one_at_a_time = self.numbering.lock();
        if let Some(there) = self.key_ids.get(&[text]) {
            return *there; // another thread was faster
        }
        if self.keys.count() > self.cap {
            self.keys_closed.close(); // entries are made under this lock
            return OVERFLOW_KEY;
        }
        let number = self.keys.push(text.into()) as u32;
        self.bytes.fetch_add(COUNTS + text.len() + size_of::<Arc<str>>(), Ordering::Relaxed);
        self.key_ids.insert(&[text], number);
        number
    }

    /// The key of a number.
    pub(crate) fn key_by_id(&self, id: u32) -> Option<&Arc<str>> {
        self.keys.get(id as usize)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number() {
        let names = Names::new(10, 100);
        let read = names.span("read", SpanKind::Internal, |_| Some((4, 5)));
        assert_eq!(read, SpanNameMeta::new(1, SpanKind::Internal, 4, 5));
        assert_eq!(names.span("read", SpanKind::Internal, |_| None).name(), 1);
        assert_eq!(names.span_by_id(1).map(|name| &*name.text), Some("read"));
        assert_eq!(names.span("read", SpanKind::Server, |_| None).name(), 2, "of another kind");
        assert_eq!(names.known_span("read", SpanKind::Server).map(SpanNameMeta::name), Some(2));
        assert!(names.span_by_id(0).is_none() && names.span_by_id(3).is_none());
        assert_eq!((names.key("path"), names.key("size"), names.key("path")), (1, 2, 1));
        assert_eq!(names.key_by_id(2).map(|key| &**key), Some("size"));
    }

    #[test]
    fn a_name_above_the_cap_is_not_kept_and_is_answered_without_a_lock() {
        let names = Names::new(1, 100);
        let made = ["a", "b"].map(|text| {
            assert_eq!(names.dynamic(text, SpanKind::Client), None);
            names.span(text, SpanKind::Client, |_| Some((0, 0))).name()
        });
        assert_eq!(made, [1, 2]);
        assert_eq!(names.dynamic("a", SpanKind::Client).map(SpanNameMeta::name), Some(1));
        assert_eq!(names.dynamic("a", SpanKind::Internal), None);
        assert_eq!(names.dynamic("b", SpanKind::Client), None);
        let _held = names.numbering.lock();
        let again = |text| names.span(text, SpanKind::Client, |_| None).name();
        assert_eq!(["a", "b", "c"].map(again), [1, 2, 2]);
    }

    #[test]
    fn above_the_cap_one_name_stands_in() {
        let names = Names::new(2, 100);
        let made: Vec<_> = ["a", "b", "c", "d", "a"]
            .into_iter()
            .map(|text| names.span(text, SpanKind::Internal, |_| Some((0, 0))).name())
            .map(|number| names.span_by_id(number).map(|name| name.text.to_string()))
            .collect();
        assert_eq!(made, ["a", "b", OVERFLOW, OVERFLOW, "a"].map(|text| Some(text.to_owned())));
        let keys: Vec<_> = ["a", "b", "c", "d", "a"].into_iter().map(|text| names.key(text)).collect();
        assert_eq!(keys, [1, 2, 0, 0, 1]);
        let _held = names.numbering.lock();
        assert_eq!(["a", "e"].map(|text| names.key(text)), [1, 0], "without a lock");
    }

    #[test]
    fn one_name_stands_in_for_all_that_are_too_long() {
        let names = Names::new(100, 5);
        let name = |text| names.span(text, SpanKind::Server, |_| Some((0, 0)));
        let text = |text| names.span_by_id(name(text).name()).map(|name| name.text.to_string());
        let made = ["12345", "123456", "123457"].map(text);
        assert_eq!(made, ["12345", OVERFLOW, OVERFLOW].map(|text| Some(text.to_owned())));
        assert_eq!(names.known_span("1234567", SpanKind::Server).map(SpanNameMeta::name), Some(2));
        let longest: String = "k".repeat(KEY_MAX);
        assert_eq!((names.key(&longest), names.key(&format!("{longest}k")), names.key(OVERFLOW)), (1, 0, 0));
    }

    #[test]
    fn bytes_are_those_of_the_texts_and_what_leads_to_them() {
        let names = Names::new(100, 1_000);
        let before = names.bytes();
        for letter in ["a", "b", "c"] {
            let text = letter.repeat(1_000);
            names.span(&text, SpanKind::Client, |_| Some((0, 0)));
            names.span(&text, SpanKind::Client, |_| None); // known already
            names.key(letter.repeat(500).as_str());
        }
        // A text stands by its number, and its tail in the table: all but two words.
        let texts = 3 * (2 * (1_000 + 500) - 2 * 16);
        assert!((texts..texts + 3 * 500).contains(&(names.bytes() - before)), "{} bytes", names.bytes());
    }
}
