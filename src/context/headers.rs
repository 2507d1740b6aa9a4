//! Traits for header maps: reading all values of a name, and setting one. Names are compared ignoring case.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// Headers to extract a context from: a map, pairs, or the metadata of a message.
///
/// Implemented for `HashMap`, `BTreeMap`, and slices, arrays and vectors of pairs (values may be text or bytes), and
/// with the feature `http` for `http::HeaderMap`.
///
/// ```
/// use tellane::Extract;
/// struct Message { headers: Vec<(&'static str, Vec<u8>)> }
/// impl Extract for Message {
///     fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
///         let found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
///         found.for_each(|(_, value)| each(value));
///     }
/// }
/// let message = Message { headers: vec![("Baggage", b"a=1".to_vec())] };
/// assert_eq!(tellane::Incoming::read(&message).baggage.get("a"), Some("1"));
/// ```
#[doc(alias = "Extractor")]
#[doc(alias = "carrier")]
pub trait Extract {
    /// Calls `each` with every value of this name, in order. The name is in lower case and is compared ignoring case.
    /// Values are bytes, so that a value that is not text is refused rather than treated as absent.
    ///
    /// ```
    /// use tellane::Extract;
    /// let mut count = 0;
    /// [("A", "1"), ("b", "2"), ("a", "3")].get_all("a", &mut |_| count += 1);
    /// assert_eq!(count, 2);
    /// ```
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

/// Headers to inject a context into.
///
/// Implemented for `HashMap`, `BTreeMap` and vectors of text, and with the feature `http` for `http::HeaderMap`.
///
/// ```
/// use tellane::{Baggage, Inject, TraceState};
/// struct Message { headers: Vec<String> }
/// impl Inject for Message {
///     fn set(&mut self, name: &'static str, value: String) {
///         self.headers.push(format!("{name}: {value}"));
///     }
/// }
/// let mut message = Message { headers: Vec::new() };
/// tellane::inject(None, &TraceState::empty(), &Baggage::parse("a=1"), &mut message);
/// assert_eq!(message.headers, ["baggage: a=1"]);
/// ```
#[doc(alias = "Injector")]
#[doc(alias = "carrier")]
pub trait Inject {
    /// Sets a header and replaces all others with this name. The name is in lower case, the value is printable ASCII.
    ///
    /// ```
    /// use tellane::Inject;
    /// let mut headers = vec![("Baggage".to_owned(), "a=1".to_owned())];
    /// headers.set("baggage", "b=2".to_owned());
    /// assert_eq!(headers, [("baggage".to_owned(), "b=2".to_owned())]);
    /// ```
    fn set(&mut self, name: &'static str, value: String);
}

fn from_pairs<'a, K: AsRef<str> + 'a, V: AsRef<[u8]> + 'a>(
    pairs: impl IntoIterator<Item = (&'a K, &'a V)>,
    name: &str,
    each: &mut dyn FnMut(&[u8]),
) {
    let found = pairs.into_iter().filter(|(key, _)| key.as_ref().eq_ignore_ascii_case(name));
    found.for_each(|(_, value)| each(value.as_ref()));
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for [(K, V)] {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        from_pairs(self.iter().map(|(key, value)| (key, value)), name, each);
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>, const N: usize> Extract for [(K, V); N] {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.as_slice().get_all(name, each);
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for Vec<(K, V)> {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.as_slice().get_all(name, each);
    }
}

/// Scans all keys rather than looking one up: a map may have keys that differ only in case, and a second `traceparent`
/// must be noticed.
impl<K: AsRef<str>, V: AsRef<[u8]>, S> Extract for HashMap<K, V, S> {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        from_pairs(self, name, each);
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for BTreeMap<K, V> {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        from_pairs(self, name, each);
    }
}

impl<S: BuildHasher> Inject for HashMap<String, String, S> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl Inject for BTreeMap<String, String> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl Inject for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value));
    }
}
