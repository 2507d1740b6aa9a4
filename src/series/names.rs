//! Texts that records name by number: span names and attribute keys. Cold: a thread asks once for each text and then
//! remembers the answer by the text's address; a name that is no literal is found without a lock.
//!
//! Names and keys are kept as long as the instance, so they are bounded in number and in bytes: a span name may be a
//! path that a client has sent.

use super::registry::OVERFLOW;
use super::table::Table;
use crate::lane::KnownName;
use crate::record::SpanKind;
use crate::record::layout::ID_LIMIT;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use dashmap::DashMap;

/// Bytes of an attribute key. Keys are literals, or leaked; a longer one meets the key that stands in above the cap.
const KEY_MAX: usize = 1_024;
/// The two counts in front of what an `Arc` holds.
pub(super) const COUNTS: usize = 2 * size_of::<usize>();

/// A span name, of spans of one kind, and what is counted under it.
#[derive(Debug)]
pub(crate) struct SpanName {
    pub(crate) text: Arc<str>,
    pub(crate) known: KnownName,
}

/// Both tables of names. Number 0 is what stands in above the cap.
#[derive(Debug)]
pub(crate) struct Names {
    pub(super) cap: usize,
    /// Bytes of a span name.
    longest: usize,
    span_ids: [DashMap<Arc<str>, Arc<SpanName>>; SpanKind::ALL.len()],
    /// Names that are no literals, by text and kind.
    dynamic: Table<KnownName, 2>,
    spans: boxcar::Vec<Option<Arc<SpanName>>>,
    key_ids: DashMap<Arc<str>, u32>,
    keys: boxcar::Vec<Arc<str>>,
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
            span_ids: SpanKind::ALL.map(|_| DashMap::new()),
            dynamic: Table::new(),
            spans: boxcar::Vec::new(),
            key_ids: DashMap::new(),
            keys: boxcar::Vec::new(),
            numbering: Mutex::new(()),
            bytes: AtomicUsize::new(0),
        };
        names.spans.push(None); // number 0 is no name's
        names.keys.push(OVERFLOW.into());
        // Whoever uses this very key gets its number: two keys of one text could not be told apart by readers.
        names.key_ids.insert(OVERFLOW.into(), 0);
        names
    }

    /// Bytes that names and keys take. What is counted under the names is counted with the series.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.dynamic.bytes()
    }

    /// The name that a text is known by: itself, or the name that stands in for texts that are too long.
    pub(super) fn bounded<'a>(&self, text: &'a str) -> &'a str {
        if text.len() > self.longest { OVERFLOW } else { text }
    }

    /// The number of a span name; `measure` registers its histogram and counter the first time.
    pub(super) fn span(
        &self,
        text: &str,
        kind: SpanKind,
        measure: impl Fn(&str) -> Option<(u32, u32)>,
    ) -> Arc<SpanName> {
        let text = self.bounded(text);
        let ids = &self.span_ids[kind as usize];
        if let Some(there) = ids.get(text) {
            return Arc::clone(&there);
        }
        let _one_at_a_time = self.numbering.lock();
        if let Some(there) = ids.get(text) {
            return Arc::clone(&there);
        }
        let text = if self.spans.count() > self.cap { OVERFLOW } else { text };
        if let Some(there) = ids.get(text) {
            return Arc::clone(&there);
        }
        let (durations, errors) = measure(text).unwrap_or((ID_LIMIT - 1, u32::MAX));
        let known = KnownName::new(self.spans.count() as u32, kind, durations, errors);
        let made = Arc::new(SpanName { text: text.into(), known });
        self.spans.push(Some(Arc::clone(&made)));
        let entries = size_of::<(Arc<str>, Arc<SpanName>)>() + size_of::<Option<Arc<SpanName>>>();
        let bytes = 2 * COUNTS + text.len() + size_of::<SpanName>() + entries;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        ids.insert(Arc::clone(&made.text), Arc::clone(&made));
        made
    }

    /// A span name that has a number already. Waits for nobody: `None` too if the table is being written to.
    pub(crate) fn known_span(&self, text: &str, kind: SpanKind) -> Option<Arc<SpanName>> {
        self.span_ids[kind as usize].try_get(self.bounded(text)).try_unwrap().map(|there| Arc::clone(&there))
    }

    /// A name that is no literal, if it was met before. Takes no lock.
    #[inline]
    pub(crate) fn dynamic(&self, text: &str, kind: SpanKind) -> Option<KnownName> {
        self.dynamic.get(&[text, kind.name()]).copied()
    }

    /// Remembers a name that is no literal. Not the one that stands in above the cap: that would remember texts
    /// without end.
    pub(super) fn remember_dynamic(&self, text: &str, kind: SpanKind, name: &SpanName) {
        if *name.text == *text {
            self.dynamic.insert(&[text, kind.name()], name.known);
        }
    }

    /// The span name of a number.
    pub(crate) fn span_of(&self, id: u32) -> Option<&Arc<SpanName>> {
        self.spans.get(id as usize)?.as_ref()
    }

    /// The number of an attribute key.
    pub(crate) fn key(&self, text: &str) -> u32 {
        if text.len() > KEY_MAX {
            return 0;
        }
        if let Some(there) = self.key_ids.get(text) {
            return *there;
        }
        let _one_at_a_time = self.numbering.lock();
        if let Some(there) = self.key_ids.get(text) {
            return *there;
        }
        if self.keys.count() > self.cap {
            return 0;
        }
        let text: Arc<str> = text.into();
        let id = self.keys.push(Arc::clone(&text)) as u32;
        let bytes = COUNTS + text.len() + size_of::<(Arc<str>, u32)>() + size_of::<Arc<str>>();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.key_ids.insert(text, id);
        id
    }

    /// The key of a number.
    pub(crate) fn key_of(&self, id: u32) -> Option<&Arc<str>> {
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
        assert_eq!(read.known, KnownName::new(1, SpanKind::Internal, 4, 5));
        assert_eq!(names.span("read", SpanKind::Internal, |_| None).known.name(), 1);
        assert_eq!(names.span_of(1).map(|name| &*name.text), Some("read"));
        assert_eq!(names.span("read", SpanKind::Server, |_| None).known.name(), 2, "of another kind");
        assert_eq!(names.known_span("read", SpanKind::Server).map(|name| name.known.name()), Some(2));
        assert!(names.span_of(0).is_none() && names.span_of(3).is_none());
        assert_eq!((names.key("path"), names.key("size"), names.key("path")), (1, 2, 1));
        assert_eq!(names.key_of(2).map(|key| &**key), Some("size"));
    }

    #[test]
    fn a_name_above_the_cap_is_not_remembered() {
        let names = Names::new(1, 100);
        for text in ["a", "b"] {
            assert_eq!(names.dynamic(text, SpanKind::Client), None);
            let made = names.span(text, SpanKind::Client, |_| Some((0, 0)));
            names.remember_dynamic(text, SpanKind::Client, &made);
        }
        assert_eq!(names.dynamic("a", SpanKind::Client).map(|known| known.name()), Some(1));
        assert_eq!(names.dynamic("a", SpanKind::Internal), None);
        assert_eq!(names.dynamic("b", SpanKind::Client), None);
    }

    #[test]
    fn above_the_cap_one_name_stands_in() {
        let names = Names::new(2, 100);
        let made: Vec<_> = ["a", "b", "c", "d", "a"]
            .into_iter()
            .map(|text| names.span(text, SpanKind::Internal, |_| Some((0, 0))).text.to_string())
            .collect();
        assert_eq!(made, ["a", "b", OVERFLOW, OVERFLOW, "a"]);
        let keys: Vec<_> = ["a", "b", "c", "d", "a"].into_iter().map(|text| names.key(text)).collect();
        assert_eq!(keys, [1, 2, 0, 0, 1]);
    }

    #[test]
    fn one_name_stands_in_for_all_that_are_too_long() {
        let names = Names::new(100, 5);
        let name = |text| names.span(text, SpanKind::Server, |_| Some((0, 0)));
        let made: Vec<_> = ["12345", "123456", "123457"].map(|text| name(text).text.to_string()).into();
        assert_eq!(made, ["12345", OVERFLOW, OVERFLOW]);
        assert_eq!(names.known_span("1234567", SpanKind::Server).map(|name| name.known.name()), Some(2));
        let longest: String = "k".repeat(KEY_MAX);
        assert_eq!((names.key(&longest), names.key(&format!("{longest}k")), names.key(OVERFLOW)), (1, 0, 0));
    }

    #[test]
    fn bytes_are_those_of_the_texts_and_what_leads_to_them() {
        let names = Names::new(100, 1_000);
        let before = names.bytes();
        for letter in ["a", "b", "c"] {
            let text = letter.repeat(1_000);
            let made = names.span(&text, SpanKind::Client, |_| Some((0, 0)));
            names.span(&text, SpanKind::Client, |_| None); // known already
            names.remember_dynamic(&text, SpanKind::Client, &made);
            names.key(letter.repeat(500).as_str());
        }
        let texts = 3 * (2 * 1_000 + 500); // names that are no literals are in two tables
        assert!((texts..texts + 3 * 500).contains(&(names.bytes() - before)), "{} bytes", names.bytes());
    }
}
