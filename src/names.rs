//! Interned span names and attribute keys: records hold their numbers. A thread asks once for each text and then caches
//! the number by the text's address. Looking up a text that has a number takes no lock, and neither does a text above
//! the cap.
//!
//! Names and keys live as long as the instance, so they are bounded in number and in bytes: a span name may be a path
//! that a client has sent.

mod attribute;
mod closed;
mod table;
mod text;
mod words;

pub use attribute::Attribute;
pub(crate) use closed::{Closed, Lookup};
pub(crate) use table::TextTable;
pub(crate) use text::{COUNTS, OVERFLOW, SHOWN_MAX, beginning};

use crate::lane::{SpanNameMeta, local};
use crate::record::SpanKind;
use crate::record::layout::ID_LIMIT;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use std::sync::OnceLock;

/// Maximum bytes of an attribute key. Keys are literals, or leaked; a longer key is recorded as the overflow key.
const KEY_MAX: usize = 1_024;

/// An interned span name of one span kind, with its metrics.
#[derive(Debug)]
pub(crate) struct SpanNameEntry {
    pub(crate) text: Arc<str>,
    pub(crate) known: SpanNameMeta,
}

/// The number of the overflow key, which stands in for keys above the cap and for keys that are too long.
pub(crate) const OVERFLOW_KEY: u32 = 0;

/// The tables of span names and attribute keys. Key number 0 is the overflow key.
#[derive(Debug)]
pub(crate) struct NameTables {
    /// Maximum number of names, and of keys.
    pub(crate) cap: usize,
    /// Maximum bytes of a span name.
    longest: usize,
    /// Span names by text and kind.
    span_ids: TextTable<SpanNameMeta, 2>,
    spans: boxcar::Vec<Option<Arc<SpanNameEntry>>>,
    spans_closed: Closed,
    /// The overflow names, by kind; each is made when it is first needed.
    overflow: [OnceLock<SpanNameMeta>; SpanKind::ALL.len()],
    key_ids: TextTable<u32, 1>,
    keys: boxcar::Vec<Arc<str>>,
    keys_closed: Closed,
    /// Held while a number is assigned.
    numbering: Mutex<()>,
    /// Bytes of all names and keys. Relaxed: a figure that publishes nothing.
    bytes: AtomicUsize,
}

impl NameTables {
    /// Empty tables for at most `cap` names and keys; a name has at most `longest` bytes.
    pub(crate) fn new(cap: usize, longest: usize) -> Self {
        let names = Self {
            cap: cap.min(ID_LIMIT as usize - 2),
            longest,
            span_ids: TextTable::new(),
            spans: boxcar::Vec::new(),
            spans_closed: Closed::new(),
            overflow: [const { OnceLock::new() }; SpanKind::ALL.len()],
            key_ids: TextTable::new(),
            keys: boxcar::Vec::new(),
            keys_closed: Closed::new(),
            numbering: Mutex::new(()),
            bytes: AtomicUsize::new(0),
        };
        names.spans.push(None); // no name has number 0
        names.keys.push(OVERFLOW.into());
        // A caller who uses this very text as a key gets number 0: readers could not tell two keys of one text apart.
        names.key_ids.insert(&[OVERFLOW], 0);
        names
    }

    /// Bytes that names and keys take. The metrics of the names are counted with the series.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.span_ids.bytes() + self.key_ids.bytes()
    }

    /// The name to record for a text: the text itself, or the overflow name if it is too long.
    pub(crate) fn bounded<'a>(&self, text: &'a str) -> &'a str {
        if text.len() > self.longest { OVERFLOW } else { text }
    }

    /// Interns a span name; `measure` registers its histogram and counter the first time. Takes a lock for a name that
    /// has no number yet.
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
        let known = self.interned_span(text, kind).unwrap_or_else(|| {
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

    /// A span name that has a number already, or the overflow name if the table is closed. Takes no lock.
    pub(crate) fn known_span(&self, text: &str, kind: SpanKind) -> Option<SpanNameMeta> {
        let text = self.bounded(text);
        match self.spans_closed.lookup(|| self.interned_span(text, kind)) {
            Lookup::Found(known) => Some(known),
            Lookup::Absent => self.overflow[kind as usize].get().copied(),
            Lookup::Open => None,
        }
    }

    /// A name that was interned before, as a literal or not. Takes no lock.
    #[inline]
    pub(crate) fn interned_span(&self, text: &str, kind: SpanKind) -> Option<SpanNameMeta> {
        self.span_ids.get(&[text, kind.name()]).copied()
    }

    /// The span name with this number.
    pub(crate) fn span_by_id(&self, id: u32) -> Option<&Arc<SpanNameEntry>> {
        self.spans.get(id as usize)?.as_ref()
    }

    /// Interns an attribute key. Takes a lock for a key that has no number yet.
    pub(crate) fn key(&self, text: &str) -> u32 {
        if text.len() > KEY_MAX {
            return OVERFLOW_KEY;
        }
        match self.keys_closed.lookup(|| self.key_ids.get(&[text]).copied()) {
            Lookup::Found(number) => number,
            Lookup::Absent => OVERFLOW_KEY,
            Lookup::Open => local::without_recording(|| self.new_key(text)),
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

    /// The key with this number.
    pub(crate) fn key_by_id(&self, id: u32) -> Option<&Arc<str>> {
        self.keys.get(id as usize)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number() {
        let names = NameTables::new(10, 100);
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
        let names = NameTables::new(1, 100);
        let made = ["a", "b"].map(|text| {
            assert_eq!(names.interned_span(text, SpanKind::Client), None);
            names.span(text, SpanKind::Client, |_| Some((0, 0))).name()
        });
        assert_eq!(made, [1, 2]);
        assert_eq!(names.interned_span("a", SpanKind::Client).map(SpanNameMeta::name), Some(1));
        assert_eq!(names.interned_span("a", SpanKind::Internal), None);
        assert_eq!(names.interned_span("b", SpanKind::Client), None);
        let _held = names.numbering.lock();
        let again = |text| names.span(text, SpanKind::Client, |_| None).name();
        assert_eq!(["a", "b", "c"].map(again), [1, 2, 2]);
    }

    #[test]
    fn one_name_stands_in_for_all_above_the_cap() {
        let names = NameTables::new(2, 100);
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
        let names = NameTables::new(100, 5);
        let name = |text| names.span(text, SpanKind::Server, |_| Some((0, 0)));
        let text = |text| names.span_by_id(name(text).name()).map(|name| name.text.to_string());
        let made = ["12345", "123456", "123457"].map(text);
        assert_eq!(made, ["12345", OVERFLOW, OVERFLOW].map(|text| Some(text.to_owned())));
        assert_eq!(names.known_span("1234567", SpanKind::Server).map(SpanNameMeta::name), Some(2));
        let longest: String = "k".repeat(KEY_MAX);
        assert_eq!((names.key(&longest), names.key(&format!("{longest}k")), names.key(OVERFLOW)), (1, 0, 0));
    }

    #[test]
    fn bytes_cover_the_texts_and_their_table_entries() {
        let names = NameTables::new(100, 1_000);
        let before = names.bytes();
        for letter in ["a", "b", "c"] {
            let text = letter.repeat(1_000);
            names.span(&text, SpanKind::Client, |_| Some((0, 0)));
            names.span(&text, SpanKind::Client, |_| None); // known already
            names.key(letter.repeat(500).as_str());
        }
        // A text is stored twice: whole under its number, and its tail (all but two words) in the table.
        let texts = 3 * (2 * (1_000 + 500) - 2 * 16);
        assert!((texts..texts + 3 * 500).contains(&(names.bytes() - before)), "{} bytes", names.bytes());
    }
}
