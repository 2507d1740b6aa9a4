//! [`Extract`] and [`Inject`] for `http::HeaderMap`, behind the feature `http`.

use super::{Extract, Inject};
use ::http::{HeaderMap, HeaderName, HeaderValue};

impl Extract for HeaderMap {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        HeaderMap::get_all(self, name).iter().for_each(|value| each(value.as_bytes()));
    }
}

impl Inject for HeaderMap {
    fn set(&mut self, name: &'static str, value: String) {
        // The headers that tellane sets are always valid. `set` is public, so other callers' invalid headers are
        // skipped.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.insert(name, value);
        }
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use crate::context::{Baggage, Incoming, RemoteParent, TraceState, TraceparentError, inject};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn injected_headers_are_read_back() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("stale"));
        let parent = RemoteParent::parse(PARENT).unwrap();
        let state = TraceState::parse("a=1").unwrap();
        let baggage = Baggage::empty().with("user", "älice").unwrap();
        inject(Some(&parent), &state, &baggage, &mut headers);
        assert_eq!(headers.len(), 3);
        let read = Incoming::read(&headers);
        assert_eq!((read.parent, read.state, read.baggage), (Some(parent), state, baggage));
        assert!(read.faults.is_none());
    }

    #[test]
    fn several_values_and_bytes_that_are_not_text() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static(PARENT));
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        assert_eq!(Incoming::read(&headers).state.header(), "a=1,b=2");
        headers.append("traceparent", HeaderValue::from_bytes(b"\xff").unwrap());
        let read = Incoming::read(&headers);
        assert_eq!((read.parent, read.faults.traceparent), (None, Some(TraceparentError::Repeated)));
    }
}
