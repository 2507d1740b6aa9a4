//! Tests of reading and writing all three headers, with every type of header map.

use super::traceparent::GOOD;
use crate::context::{
    Baggage, Extract, Incoming, RemoteParent, TraceState, TraceparentError, TracestateError, inject,
};
use std::collections::{BTreeMap, HashMap};

#[test]
fn names_in_any_case_and_several_values() {
    let incoming = Incoming::read(&[
        ("TraceParent", GOOD),
        ("TRACESTATE", "a=1"),
        ("Baggage", "x=1"),
        ("tracestate", "b=2"),
        ("baggage", "y=2"),
        ("x-traceparent", "?"),
    ]);
    assert_eq!(incoming.parent, RemoteParent::parse(GOOD).ok());
    assert_eq!(incoming.state.header(), "a=1,b=2");
    assert_eq!(incoming.baggage.header(), "x=1,y=2");
    assert!(incoming.faults.is_none());
}

#[test]
fn more_than_one_traceparent_is_none() {
    for repeated in [
        vec![("traceparent", GOOD), ("traceparent", GOOD)],
        vec![("traceparent", GOOD), ("Traceparent", GOOD), ("TRACEPARENT", GOOD)],
        vec![("traceparent", GOOD), ("traceparent", "")],
        vec![("traceparent", "?"), ("traceparent", GOOD)],
    ] {
        let mut headers = repeated.clone();
        headers.push(("tracestate", "a=1"));
        let incoming = Incoming::read(&headers);
        assert_eq!((incoming.parent, &incoming.state), (None, &TraceState::empty()), "{repeated:?}");
        assert_eq!(incoming.faults.traceparent, Some(TraceparentError::Repeated));
        assert_eq!(incoming.faults.tracestate, Some(TracestateError::NoParent));
    }
    // Two values joined by a comma are invalid, too.
    assert_eq!(Incoming::read(&[("traceparent", format!("{GOOD},{GOOD}"))]).parent, None);
}

#[test]
fn each_header_fails_alone() {
    let bad_state = Incoming::read(&[("traceparent", GOOD), ("tracestate", "A=1"), ("baggage", "x=1")]);
    assert!(bad_state.parent.is_some() && bad_state.state.is_empty() && !bad_state.baggage.is_empty());
    assert_eq!(bad_state.faults.tracestate, Some(TracestateError::BadKey));
    let no_parent = Incoming::read(&[("tracestate", "a=1"), ("baggage", "x=1")]);
    assert!(no_parent.parent.is_none() && no_parent.state.is_empty() && !no_parent.baggage.is_empty());
    assert_eq!(
        (no_parent.faults.traceparent, no_parent.faults.tracestate),
        (None, Some(TracestateError::NoParent))
    );
    let bad_baggage = Incoming::read(&[("traceparent", GOOD), ("tracestate", "a=1"), ("baggage", "x,y")]);
    assert!(bad_baggage.parent.is_some() && !bad_baggage.state.is_empty());
    assert_eq!(bad_baggage.faults.baggage_dropped, 2);
    assert!(!bad_baggage.faults.is_none());
    assert_eq!(Incoming::read(&BTreeMap::<String, String>::new()), Incoming::default());
}

#[test]
fn bytes_that_are_not_text_are_refused_not_absent() {
    let headers: [(&str, &[u8]); 3] =
        [("traceparent", GOOD.as_bytes()), ("traceparent", b"\xff"), ("baggage", b"a=\xff")];
    let incoming = Incoming::read(&headers);
    assert_eq!(incoming.faults.traceparent, Some(TraceparentError::Repeated));
    assert_eq!(incoming.faults.baggage_dropped, 1);
    let headers: [(&str, &[u8]); 2] = [("traceparent", GOOD.as_bytes()), ("tracestate", b"a=\xff")];
    assert_eq!(Incoming::read(&headers).faults.tracestate, Some(TracestateError::BadValue));
}

#[test]
fn all_map_types_agree_and_replace_old_values() {
    let parent = RemoteParent::parse(GOOD).unwrap();
    let (state, baggage) = (TraceState::parse("a=1").unwrap(), Baggage::parse("x=%2C;p"));
    let expected = Incoming { parent: Some(parent), state, baggage, ..Incoming::default() };
    let stale = || {
        ["Traceparent", "TRACESTATE", "Baggage", "accept"].map(|name| (name.to_owned(), "stale".to_owned()))
    };

    let mut hash = HashMap::from(stale());
    let mut tree = BTreeMap::from(stale());
    let mut pairs = Vec::from(stale());
    inject(Some(&parent), &expected.state, &expected.baggage, &mut hash);
    inject(Some(&parent), &expected.state, &expected.baggage, &mut tree);
    inject(Some(&parent), &expected.state, &expected.baggage, &mut pairs);
    let maps: [(&dyn Extract, usize); 3] = [(&hash, hash.len()), (&tree, tree.len()), (&pairs, pairs.len())];
    for (map, len) in maps {
        assert_eq!((Incoming::read(map), len), (expected.clone(), 4));
    }
}

#[test]
fn empty_headers_are_not_sent() {
    let (state, baggage) = (TraceState::parse("a=1").unwrap(), Baggage::parse("x=1"));
    let sent = |parent: Option<RemoteParent>, state: &TraceState, baggage: &Baggage| {
        let mut headers = Vec::new();
        inject(parent.as_ref(), state, baggage, &mut headers);
        headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let parent = RemoteParent::parse(GOOD).unwrap();
    let zero = RemoteParent { span_id: 0, ..parent };
    assert_eq!(sent(None, &state, &Baggage::empty()), [""; 0]);
    assert_eq!(sent(Some(zero), &state, &baggage), ["baggage"]);
    assert_eq!(sent(Some(parent), &TraceState::empty(), &Baggage::empty()), ["traceparent"]);
    assert_eq!(sent(Some(parent), &state, &baggage), ["traceparent", "tracestate", "baggage"]);
}
