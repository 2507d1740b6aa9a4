//! Properties of any header: parsing stays within the limits, and a parsed or built value survives a round trip.
//!
//! The fuzz target `propagation` compares the same parsers with an oracle of its own.

use crate::context::{Baggage, Incoming, RemoteParent, TraceState, inject};
use proptest::collection::vec;
use proptest::prelude::*;

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}"
}

/// Random bytes, many of which look like a header.
fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("a=1".to_owned()),
        prop::sample::select(vec![",", ";", "=", " ", "\t", "%", "%4", "@", "-"]).prop_map(str::to_owned),
        "[a-z0-9]{1,3}=[!-~]{0,3}",
        "%[0-9a-fA-F]{2}",
    ];
    prop_oneof![vec(any::<u8>(), 0..80), vec(part, 0..400).prop_map(|parts| parts.concat().into_bytes())]
}

proptest! {
    #[test]
    fn traceparent_round_trip(trace_id in 1_u128.., span_id in 1_u64.., flags in any::<u8>()) {
        let parent = RemoteParent::new(trace_id, span_id, flags).unwrap();
        prop_assert_eq!(RemoteParent::parse(&parent.header()), Ok(parent));
    }

    #[test]
    fn traceparent_is_total(bytes in vec(any::<u8>(), 0..120)) {
        if let Ok(parent) = RemoteParent::from_bytes(&bytes) {
            prop_assert_eq!(RemoteParent::parse(&parent.header()), Ok(parent));
        }
    }

    #[test]
    fn tracestate_round_trip(members in vec(("[a-z0-9][a-z0-9_*/@-]{0,9}", "[ -+\\--<>-~]{0,9}[!-+\\--<>-~]"), 0..50)) {
        let mut state = TraceState::empty();
        let mut model: Vec<(String, String)> = Vec::new();
        for (key, value) in members {
            state = state.with(&key, &value).unwrap();
            model.retain(|(known, _)| *known != key);
            model.insert(0, (key, value));
            model.truncate(32);
        }
        let found: Vec<_> = state.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(found, model);
        prop_assert_eq!(TraceState::parse(&state.header()), Ok(state));
    }

    #[test]
    fn baggage_round_trip(members in vec((token(), any::<String>(), prop_oneof![Just(String::new()), token()]), 0..80)) {
        let mut baggage = Baggage::empty();
        for (key, value, metadata) in &members {
            if let Ok(more) = baggage.with_metadata(key, value, metadata) {
                prop_assert_eq!(more.get(key), Some(value.as_str()));
                baggage = more;
            }
        }
        let header = baggage.header();
        prop_assert!(header.len() <= 8_192 && baggage.len() <= 64);
        prop_assert_eq!(baggage.store.as_ref().map_or(0, |store| store.encoded), header.len());
        let read = Baggage::parse(&header);
        prop_assert_eq!(read.dropped(), 0);
        prop_assert_eq!(read, baggage);
    }

    #[test]
    fn reading_is_total_and_its_results_can_be_injected(
        parent in any_header(), states in vec(any_header(), 0..3), bags in vec(any_header(), 0..3),
    ) {
        let mut headers = vec![("traceparent", b"00-00000000000000000000000000000001-0000000000000001-00".to_vec())];
        headers.extend(states.into_iter().map(|value| ("tracestate", value)));
        headers.extend(bags.into_iter().map(|value| ("baggage", value)));
        let read = Incoming::read(&headers);
        prop_assert!(read.parent.is_some());
        let mut sent: Vec<(String, String)> = Vec::new();
        inject(read.parent.as_ref(), &read.state, &read.baggage, &mut sent);
        for (_, value) in &sent {
            prop_assert!(value.len() <= 8_192 && value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        }
        let again = Incoming::read(&sent);
        prop_assert!(again.faults.is_none());
        prop_assert_eq!((again.parent, again.state, again.baggage), (read.parent, read.state, read.baggage));
        headers[0].1 = parent;
        prop_assert!(Incoming::read(&headers).baggage.len() <= 64);
    }
}
