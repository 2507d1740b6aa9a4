//! Attributes and fields that are set again: the last value stays, at the place of the first, and limits count keys.
//!
//! The oracle is a list of unique keys. It knows nothing of how a span keeps its attributes.

mod support;

use proptest::prelude::*;
use support::PATIENCE;
use tellane::testing::Kit;
use tellane::{
    Attribute, Config, Format, InSpan, Level, OwnedSpan, Snapshot, SpanEvent, SpanLimits, Value, info,
};

const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Unique keys in the order in which they were first set, with their last values.
#[derive(Debug, Default, PartialEq)]
struct Oracle {
    kept: Vec<(&'static str, Value)>,
    dropped: u16,
}

impl Oracle {
    fn set(&mut self, limit: usize, key: &'static str, value: Value) {
        match self.kept.iter().position(|(there, _)| *there == key) {
            Some(at) => self.kept[at].1 = value,
            None if self.kept.len() < limit => self.kept.push((key, value)),
            None => self.dropped += 1,
        }
    }
}

#[track_caller]
fn assert_is(found: &[(std::sync::Arc<str>, Value)], dropped: u16, expected: &Oracle) {
    let found: Vec<(&str, Value)> = found.iter().map(|(key, value)| (&**key, value.clone())).collect();
    assert_eq!((found, dropped), (expected.kept.clone(), expected.dropped));
}

fn limits(span_limits: SpanLimits) -> Config {
    Config { span_limits, ..Config::default() }
}

#[test]
fn a_key_that_is_set_a_thousand_times_takes_one_place() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let report = |span: &mut OwnedSpan| {
        (0..=1_000_u64).for_each(|number| span.set("progress", number));
        span.set("result", "done");
    };
    report(&mut tracer.span("guard"));
    report(&mut tracer.owned("owned"));
    report(&mut tracer.build("built").start_owned());
    let mut moved = tracer.owned("moved");
    std::thread::scope(|scope| {
        (0..=500_u64).for_each(|number| moved.set("progress", number));
        scope.spawn(move || report(&mut moved)).join().expect("no panic");
    });
    let mut future = std::future::ready(()).in_span(tracer.owned("future"));
    report(future.span_mut().expect("it has not ended"));
    drop(future);
    let expected = [("progress".into(), Value::U64(1_000)), ("result".into(), Value::Str("done".into()))];
    for name in ["guard", "owned", "built", "moved", "future"] {
        let span = kit.span(name);
        assert_eq!((span.attributes, span.attributes_dropped), (expected.to_vec(), 0), "{name}");
    }
}

#[test]
fn limits_count_unique_keys() {
    let kit = Kit::with(limits(SpanLimits {
        attributes: 2,
        event_attributes: 2,
        link_attributes: 2,
        ..SpanLimits::default()
    }));
    let tracer = kit.tracer();
    let other = tracer.owned("other").span_context().expect("on");
    let sets: [(&str, u64); 5] = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)];
    let mut oracle = Oracle::default();
    let mut span = tracer.span("limited");
    for (key, value) in sets {
        span.set(key, value);
        oracle.set(2, key, Value::U64(value));
    }
    let event = span.event("event");
    sets.iter().fold(event, |event, (key, value)| event.set(key, *value));
    let link = span.link(other);
    sets.iter().fold(link, |link, (key, value)| link.set(key, *value));
    span.set("a", 6_u64); // behind the event and the link
    span.end();
    let span = kit.span("limited");
    assert_is(&span.events[0].attributes, span.events[0].attributes_dropped, &oracle);
    assert_is(&span.links[0].attributes, span.links[0].attributes_dropped, &oracle);
    oracle.set(2, "a", Value::U64(6));
    assert_is(&span.attributes, span.attributes_dropped, &oracle);
    assert_eq!(span.attributes_dropped, 1);
}

#[test]
fn a_limit_of_nothing_keeps_nothing() {
    let none = SpanLimits { attributes: 0, event_attributes: 0, ..SpanLimits::default() };
    let kit = Kit::with(limits(none));
    let mut span = kit.tracer().span("none");
    span.set("a", 1_u64);
    span.set("a", "text");
    span.event("event").set("a", 1_u64).set("a", true);
    span.end();
    let span = kit.span("none");
    assert_eq!((span.attributes.len(), span.attributes_dropped), (0, 2));
    assert_eq!((span.events[0].attributes.len(), span.events[0].attributes_dropped), (0, 2));
}

#[test]
fn the_last_status_message_takes_the_place_of_the_one_before() {
    let kit = Kit::new();
    let mut span = kit.tracer().span("fails");
    for attempt in 0..2_000 {
        span.fail_with(&format!("attempt {attempt} failed: {}", "x".repeat(attempt % 700)));
    }
    span.fail_with("gave up");
    span.set("result", "none");
    span.event("end").set("attempts", 2_000_u64);
    span.end();
    let span = kit.span("fails");
    assert_eq!(span.status_message.as_deref(), Some("gave up"));
    assert_eq!(span.attributes, [("result".into(), Value::Str("none".into()))]);
    assert_eq!((span.attributes_dropped, span.events.len()), (0, 1));
}

#[test]
fn what_was_set_again_leaves_room_for_events_and_links() {
    let limits = limits(SpanLimits { attributes: u16::MAX, ..SpanLimits::default() });
    let kit = Kit::with(limits);
    let tracer = kit.tracer();
    let other = tracer.owned("other").span_context().expect("on");
    let mut span = tracer.span("full");
    (0..5_000_u64).for_each(|number| span.set("progress", number));
    span.event("event").set("number", 1_u64);
    (0..5_000_u64).for_each(|number| span.set("progress", number));
    span.link(other).set("number", 2_u64);
    span.end();
    let span = kit.span("full");
    assert_eq!(span.attributes, [("progress".into(), Value::U64(4_999))]);
    assert_eq!((span.events.len(), span.links.len()), (1, 1));
    assert_eq!((span.attributes_dropped, span.events_dropped, span.links_dropped), (0, 0, 0));
}

#[test]
fn an_event_that_is_told_the_same_thing_thousands_of_times() {
    let limits = limits(SpanLimits { event_attributes: u16::MAX, ..SpanLimits::default() });
    for config in [Config::default(), limits] {
        let kit = Kit::with(config);
        let mut span = kit.tracer().span("span");
        span.set("before", 1_u64);
        let event = (0..10_000_u64).fold(span.event("event"), |event, number| event.set("progress", number));
        let _event = event.set("result", "done");
        span.set("after", 2_u64);
        span.end();
        let span = kit.span("span");
        let event = &span.events[0];
        let expected = [("progress".into(), Value::U64(9_999)), ("result".into(), Value::Str("done".into()))];
        assert_eq!((&event.attributes[..], event.attributes_dropped), (&expected[..], 0));
        assert_eq!(span.attributes.len(), 2);
    }
}

#[test]
fn a_field_stands_once_in_a_line() {
    let kit = Kit::new();
    let log = kit.logger("shop");
    info!(log, "macro", a = 1, b = true, a = 2, a = "three");
    log.at(Level::Warn).with("a", 1).with("b", true).with("a", 2).with("a", "three").emit("draft");
    info!(log, format!("text {}", 1).as_str(), a = 1, b = true, a = 2, a = "three");
    for record in kit.logs() {
        let expected = [("a".into(), Value::Str("three".into())), ("b".into(), Value::Bool(true))];
        assert_eq!((&record.fields[..], record.fields_dropped), (&expected[..], 0));
        let json = Format::Json.line(&record);
        assert_eq!(json.matches("\"a\":").count(), 1, "{json}");
        for format in [Format::Human, Format::Logfmt] {
            let line = format.line(&record);
            assert!(line.contains(" a=three b=true") && line.matches(" a=").count() == 1, "{line}");
        }
    }
    assert_eq!(kit.logs().len(), 3);
}

#[test]
fn a_field_does_not_pass_for_a_key_of_the_line() {
    let kit = Kit::new();
    let log = kit.logger("shop");
    info!(log, "said", time = 1, level = "error", target = "x", msg = "x", trace_id = 2, fields_dropped = 3);
    let record = kit.log("said");
    let line = Format::Logfmt.line(&record);
    let keys: Vec<&str> = line.split(' ').filter_map(|pair| pair.split('=').next()).collect();
    let own = ["time", "level", "target", "msg"];
    let fields = ["fields.time", "fields.level", "fields.target", "fields.msg", "fields.trace_id"];
    assert_eq!(keys, [&own[..], &fields, &["fields.fields_dropped"]].concat());
    let human = Format::Human.line(&record);
    assert!(
        human.ends_with(" time=1 level=error target=x msg=x fields.trace_id=2 fields.fields_dropped=3"),
        "{human}"
    );
    let json = Format::Json.line(&record);
    assert!(json.contains("\"fields\":{\"time\":1,\"level\":\"error\""), "{json}");
}

/// Escaping makes `trace_id` of `trace id`, so the keys that count are those of the line.
#[test]
fn a_field_whose_escaped_key_is_one_of_the_line_does_not_pass_for_it() {
    let kit = Kit::new();
    let log = kit.logger("shop");
    let mut draft = log.at(Level::Warn);
    draft.set("trace id", "forged");
    draft.set("span=id", "forged");
    draft.set("span_identity", "kept");
    draft.emit("said");
    let record = kit.log("said");
    for line in [Format::Logfmt.line(&record), Format::Human.line(&record)] {
        let pairs = " fields.trace_id=forged fields.span_id=forged span_identity=kept";
        assert!(line.ends_with(pairs), "{line}");
    }
}

#[test]
fn the_causes_of_an_error_go_with_it() {
    #[derive(Debug)]
    struct RegistrationFault(&'static str, Option<Box<RegistrationFault>>);
    impl std::fmt::Display for RegistrationFault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }
    impl std::error::Error for RegistrationFault {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }
    let chain = |texts: &[&'static str]| {
        texts
            .iter()
            .rev()
            .fold(None, |cause, text| Some(Box::new(RegistrationFault(text, cause))))
            .expect("a text")
    };
    let kit = Kit::new();
    let log = kit.logger("shop");
    let mut draft = log.at(Level::Warn);
    draft.set("attempt", 1);
    draft.set_error(&*chain(&["first", "its cause", "the cause of that"]));
    draft.set("attempt", 2);
    draft.set_error(&*chain(&["second", "another cause"]));
    draft.set_error(&*chain(&["third"]));
    draft.set_error(&*chain(&["last", "the last cause"]));
    draft.emit("gave up");
    let record = kit.log("gave up");
    let text = |text: &str| Value::Str(text.into());
    let expected = [
        ("attempt".into(), Value::I64(2)),
        ("error".into(), text("last")),
        ("error.cause".into(), text("the last cause")),
    ];
    assert_eq!((&record.fields[..], record.fields_dropped), (&expected[..], 0));
}

#[test]
fn a_draft_that_is_told_the_same_thing_thousands_of_times() {
    let kit = Kit::new();
    let log = kit.logger("shop");
    let mut draft = log.at(Level::Info);
    (0..20_000_u64).for_each(|number| draft.set("progress", number));
    draft.set("result", "done");
    draft.emit("finished");
    let record = kit.log("finished");
    let expected = [("progress".into(), Value::U64(19_999)), ("result".into(), Value::Str("done".into()))];
    assert_eq!((&record.fields[..], record.fields_dropped), (&expected[..], 0));
}

#[test]
fn saved_and_merged_snapshots_show_the_last_values() {
    let kit = Kit::new();
    let mut span = kit.tracer().span("saved");
    span.set("a", 1_u64);
    span.event("event").set("b", 1_u64).set("b", "two");
    span.set("a", "two");
    span.end();
    let here = kit.snapshot();
    let there = Snapshot::from_bytes(&here.to_bytes().expect("it fits")).expect("just saved");
    for snapshot in [&there, &there.merge(&here).expect("of one kind")] {
        for span in snapshot.spans() {
            assert_eq!(span.attributes, [("a".into(), Value::Str("two".into()))]);
            assert_eq!(span.events[0].attributes, [("b".into(), Value::Str("two".into()))]);
        }
        assert!(snapshot.spans().count() > 0);
    }
}

#[derive(Clone, Debug)]
enum Set {
    Number(usize, u64),
    Truth(usize, bool),
    Text(usize, usize),
    Event(Vec<(usize, u64)>),
    Message(usize),
}

fn set() -> impl Strategy<Value = Set> {
    let key = || 0..KEYS.len();
    prop_oneof![
        6 => (key(), any::<u64>()).prop_map(|(key, number)| Set::Number(key, number)),
        3 => (key(), any::<bool>()).prop_map(|(key, truth)| Set::Truth(key, truth)),
        3 => (key(), 0..60_usize).prop_map(|(key, length)| Set::Text(key, length)),
        1 => (key(), 100..600_usize).prop_map(|(key, length)| Set::Text(key, length)),
        1 => prop::collection::vec((key(), any::<u64>()), 0..30).prop_map(Set::Event),
        1 => (0..60_usize).prop_map(Set::Message),
    ]
}

fn apply(span: &mut OwnedSpan, sets: &[Set], limits: SpanLimits) -> (Oracle, Vec<Oracle>, Option<usize>) {
    let (mut oracle, mut events, mut message) = (Oracle::default(), Vec::new(), None);
    let limit = usize::from(limits.attributes);
    for set in sets {
        match set {
            Set::Number(key, number) => {
                span.set(KEYS[*key], *number);
                oracle.set(limit, KEYS[*key], Value::U64(*number));
            }
            Set::Truth(key, truth) => {
                span.set(KEYS[*key], *truth);
                oracle.set(limit, KEYS[*key], Value::Bool(*truth));
            }
            Set::Text(key, length) => {
                let text = "x".repeat(*length);
                span.set(KEYS[*key], &text);
                oracle.set(limit, KEYS[*key], Value::Str(text));
            }
            Set::Event(attributes) => {
                let mut of_event = Oracle::default();
                let mut event = span.event("event");
                for (key, number) in attributes {
                    event = event.set(KEYS[*key], *number);
                    of_event.set(usize::from(limits.event_attributes), KEYS[*key], Value::U64(*number));
                }
                events.push(of_event);
            }
            Set::Message(length) => {
                span.fail_with(&"x".repeat(*length));
                message = Some(*length);
            }
        }
    }
    (oracle, events, message)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_sets_leave_the_last_value_of_each_key(
        sets in prop::collection::vec(set(), 0..120),
        attributes in 1..10_u16,
        event_attributes in 1..10_u16,
    ) {
        let span_limits = SpanLimits { attributes, event_attributes, ..SpanLimits::default() };
        let kit = Kit::with(limits(span_limits));
        let mut guard = kit.tracer().span("guard");
        let (oracle, events, message) = apply(&mut guard, &sets, span_limits);
        drop(guard);
        apply(&mut kit.tracer().owned("owned"), &sets, span_limits);
        for span in kit.spans() {
            assert_is(&span.attributes, span.attributes_dropped, &oracle);
            prop_assert_eq!(span.status_message.map(|text| text.len()), message);
            prop_assert_eq!(span.events.len(), events.len());
            for (found, expected) in span.events.iter().zip(&events) {
                let SpanEvent { attributes, attributes_dropped, .. } = found;
                assert_is(attributes, *attributes_dropped, expected);
            }
        }
    }

    #[test]
    fn any_fields_leave_the_last_value_of_each_key(
        sets in prop::collection::vec((0..KEYS.len(), 0..2_000_usize), 0..300),
    ) {
        let kit = Kit::with(Config { logs_per_second: None, ..Config::default() });
        let log = kit.logger("shop");
        let (mut draft, mut oracle) = (log.at(Level::Info), Oracle::default());
        for (key, length) in sets {
            // 8 keys of at most 2,000 bytes fit a record.
            let text = "x".repeat(length);
            draft.set(KEYS[key], Attribute::Str(&text));
            oracle.set(usize::MAX, KEYS[key], Value::Str(text));
        }
        draft.emit("said");
        kit.telemetry().snapshot(PATIENCE).expect("a snapshot");
        let record = kit.log("said");
        assert_is(&record.fields, record.fields_dropped, &oracle);
    }
}
