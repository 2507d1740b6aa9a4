//! W3C Trace Context as a service sees it: a request's headers in, the headers of the calls that it makes out. Each case
//! goes four ways, which must agree: by guards on one thread, by a future in a span, by a future in a context, and by an
//! owned span entered on another thread.
//!
//! The cases are those of the W3C's validation service, in our own words. `examples/w3c` is a service that the original
//! can be pointed at.

use std::collections::HashSet;
use tellane::testing::Kit;
use tellane::{Context, InSpan, SpanKind, Tracer};

type Headers = Vec<(String, String)>;

const TRACE: &str = "12345678901234567890123456789012";
const GOOD: &str = "00-12345678901234567890123456789012-1234567890123456-01";
const UNSAMPLED: &str = "00-12345678901234567890123456789012-1234567890123456-00";

/// What becomes of the trace that the request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    GoesOn,
    BeginsAnew,
}
use Trace::{BeginsAnew, GoesOn};

fn sent() -> Headers {
    let mut headers = Headers::new();
    Context::current().inject(&mut headers);
    headers
}

fn by_guards(tracer: &Tracer, request: &Headers) -> Headers {
    let _attached = tracer.attach(&Context::extract(request));
    let _server = tracer.span_with_kind("server", SpanKind::Server);
    let _client = tracer.span_with_kind("client", SpanKind::Client);
    sent()
}

/// A task of a runtime with several threads, which goes on after an await.
fn on_runtime<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(task).await }).expect("no panic")
}

fn by_future_in_span(tracer: &Tracer, request: &Headers) -> Headers {
    let context = Context::extract(request);
    let server = tracer.build("server").kind(SpanKind::Server).parent(&context).start_owned();
    drop(context); // the span alone keeps what came along
    let tracer = tracer.clone();
    let handler = async move {
        tokio::task::yield_now().await;
        async { sent() }.in_span(tracer.owned_with_kind("client", SpanKind::Client)).await
    };
    on_runtime(handler.in_span(server))
}

fn by_future_in_context(tracer: &Tracer, request: &Headers) -> Headers {
    let context = tracer.extract(request);
    let tracer = tracer.clone();
    let handler = async move {
        tokio::task::yield_now().await;
        let _client = tracer.span_with_kind("client", SpanKind::Client);
        sent()
    };
    on_runtime(handler.in_context(context))
}

fn by_owned_span(tracer: &Tracer, request: &Headers) -> Headers {
    let server = {
        let _attached = tracer.attach(&Context::extract(request));
        tracer.owned_with_kind("server", SpanKind::Server)
    };
    std::thread::scope(|scope| {
        let call = || {
            let _inside = server.enter();
            let _client = tracer.span_with_kind("client", SpanKind::Client);
            sent()
        };
        scope.spawn(call).join().expect("no panic")
    })
}

const WAYS: [(&str, fn(&Tracer, &Headers) -> Headers); 4] = [
    ("guards", by_guards),
    ("future in a span", by_future_in_span),
    ("future in a context", by_future_in_context),
    ("owned span", by_owned_span),
];

/// The values of a header that is sent.
fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

/// Sends a request with these headers, and holds each way to what must come of it. `state` is the `tracestate` that goes
/// on, empty for none.
#[track_caller]
fn judge(request: &[(&str, &str)], trace: Trace, state: &str) {
    let kit = Kit::new();
    let request: Headers =
        request.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let mut ids = HashSet::from(["1234567890123456".to_owned()]);
    for (way, call) in WAYS {
        let sent = call(&kit.tracer(), &request);
        let [parent] = values(&sent, "traceparent")[..] else { panic!("{way}: one traceparent of {sent:?}") };
        let parts: Vec<&str> = parent.split('-').collect();
        let [version, trace_id, span_id, flags] = parts[..] else { panic!("{way}: {parent}") };
        assert_eq!(
            (version, trace_id.len(), span_id.len(), flags.len()),
            ("00", 32, 16, 2),
            "{way}: {parent}"
        );
        assert!(
            parent.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')),
            "{way}: {parent}"
        );
        assert_eq!(
            if trace_id == TRACE { GoesOn } else { BeginsAnew },
            trace,
            "{way}: {request:?}: {parent}"
        );
        assert_ne!(trace_id, "0".repeat(32));
        assert!(ids.insert(span_id.to_owned()), "{way}: the sender is a span of its own: {parent}");
        let expected: Vec<&str> = if state.is_empty() { vec![] } else { vec![state] };
        assert_eq!(values(&sent, "tracestate"), expected, "{way}: {request:?}");
    }
}

/// A `tracestate` in several header values, behind a good `traceparent`.
#[track_caller]
fn judge_state(values: &[&str], state: &str) {
    let states = values.iter().map(|value| ("tracestate", *value));
    judge(&[("traceparent", UNSAMPLED)].into_iter().chain(states).collect::<Vec<_>>(), GoesOn, state);
}

#[test]
fn a_request_without_a_context_begins_a_trace() {
    judge(&[], BeginsAnew, "");
    judge(&[("tracestate", "foo=1")], BeginsAnew, "");
    judge(&[("tracestate", "foo=1,bar=2")], BeginsAnew, "");
}

#[test]
fn a_good_traceparent_goes_on() {
    judge(&[("traceparent", GOOD)], GoesOn, "");
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        judge(&[(name, GOOD)], GoesOn, "");
    }
    for (before, after) in [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t")] {
        judge(&[("traceparent", &format!("{before}{GOOD}{after}"))], GoesOn, "");
    }
}

#[test]
fn what_is_no_traceparent_begins_a_trace() {
    for name in ["trace-parent", "trace.parent"] {
        judge(&[(name, GOOD)], BeginsAnew, "");
    }
    let other = GOOD.replace(TRACE, "12345678901234567890123456789011");
    judge(&[("traceparent", &other), ("traceparent", GOOD)], BeginsAnew, "");
    judge(&[("traceparent", GOOD), ("traceparent", GOOD)], BeginsAnew, "");
}

#[test]
fn versions() {
    judge(&[("traceparent", &format!("{GOOD}."))], BeginsAnew, "");
    judge(&[("traceparent", &format!("{GOOD}-what-comes-later"))], BeginsAnew, "");
    let later = GOOD.replacen("00", "cc", 1);
    judge(&[("traceparent", &later)], GoesOn, "");
    judge(&[("traceparent", &format!("{later}-what-comes-later"))], GoesOn, "");
    judge(&[("traceparent", &format!("{later}.what-comes-later"))], BeginsAnew, "");
    for version in ["ff", ".0", "0.", "000", "0000", "0"] {
        judge(&[("traceparent", &GOOD.replacen("00", version, 1))], BeginsAnew, "");
    }
}

#[test]
fn malformed_ids_and_flags() {
    for (trace_id, span_id, flags) in [
        ("00000000000000000000000000000000", "1234567890123456", "01"),
        (".2345678901234567890123456789012", "1234567890123456", "01"),
        ("1234567890123456789012345678901.", "1234567890123456", "01"),
        ("123456789012345678901234567890123", "1234567890123456", "01"),
        ("1234567890123456789012345678901", "1234567890123456", "01"),
        (TRACE, "0000000000000000", "01"),
        (TRACE, ".234567890123456", "01"),
        (TRACE, "123456789012345.", "01"),
        (TRACE, "12345678901234567", "01"),
        (TRACE, "123456789012345", "01"),
        (TRACE, "1234567890123456", ".0"),
        (TRACE, "1234567890123456", "0."),
        (TRACE, "1234567890123456", "001"),
        (TRACE, "1234567890123456", "1"),
    ] {
        judge(&[("traceparent", &format!("00-{trace_id}-{span_id}-{flags}"))], BeginsAnew, "");
    }
}

#[test]
fn a_tracestate_goes_along() {
    judge_state(&["foo=1,bar=2"], "foo=1,bar=2");
    judge_state(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3");
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        judge(&[("traceparent", UNSAMPLED), (name, "foo=1")], GoesOn, "foo=1");
    }
    for name in ["trace-state", "trace.state"] {
        judge(&[("traceparent", UNSAMPLED), (name, "foo=1")], GoesOn, "");
    }
}

#[test]
fn empty_values_and_whitespace_in_a_tracestate() {
    judge_state(&[""], "");
    judge_state(&["foo=1", ""], "foo=1");
    judge_state(&["", "foo=1"], "foo=1");
    judge_state(&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3");
    judge_state(&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3");
    for value in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        judge_state(&[value], "foo=1");
    }
}

#[test]
fn a_key_twice_keeps_the_list() {
    judge_state(&["foo=1,foo=1"], "foo=1");
    judge_state(&["foo=1,foo=2"], "foo=1");
    judge_state(&["foo=1", "foo=1"], "foo=1");
    judge_state(&["foo=1,bar=2", "foo=2,baz=3"], "foo=1,bar=2,baz=3");
}

#[test]
fn the_grammar_of_a_tracestate() {
    let value: String = (b' '..=b'~').filter(|byte| !b",=".contains(byte)).map(char::from).collect();
    for key in ["abcdefghijklmnopqrstuvwxyz0123456789_-*/", "a1_-*/@a-z0-9_-*/"] {
        let member = format!("{key}={value}");
        judge_state(&[&member], &member);
    }
    for state in ["foo@=1,bar=2", "foo@@bar=1,bar=2", "foo@bar@baz=1,bar=2"] {
        judge_state(&[state], state);
    }
    for bad in ["foo =1", "FOO=1", "foo.bar=1", "@foo=1,bar=2", "foo=bar=baz", "foo=,bar=3"] {
        judge_state(&[bad], "");
    }
}

#[test]
fn limits_of_a_tracestate() {
    let members =
        |count: usize| -> Vec<String> { (1..=count).map(|n| format!("bar{n:02}={n:02}")).collect() };
    let in_values = |count: usize| members(count).chunks(10).map(|some| some.join(",")).collect::<Vec<_>>();
    let judge_values = |values: Vec<String>, state: &str| {
        judge_state(&values.iter().map(String::as_str).collect::<Vec<_>>(), state);
    };
    judge_values(in_values(32), &members(32).join(","));
    judge_values(in_values(33), "");
    let long = |key: String, kept: bool| {
        let member = format!("{key}=1");
        let state = format!("foo=1,{member}");
        judge_state(&["foo=1", &member], if kept { &state } else { "" });
    };
    long("z".repeat(256), true);
    long("z".repeat(257), false);
    long(format!("{}@{}", "t".repeat(241), "v".repeat(14)), true);
    long(format!("{}@v", "t".repeat(242)), true);
    long(format!("t@{}", "v".repeat(15)), true);
}

#[test]
fn flags_go_on() {
    for (sent_flags, expected) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03")] {
        let kit = Kit::new();
        let request = vec![("traceparent".to_owned(), format!("00-{TRACE}-1234567890123456-{sent_flags}"))];
        for (way, call) in WAYS {
            let sent = call(&kit.tracer(), &request);
            let [parent] = values(&sent, "traceparent")[..] else { panic!("{way}") };
            assert_eq!(&parent[53..], expected, "{way}");
        }
    }
}

#[test]
fn several_calls_of_one_request_are_several_spans() {
    for headers in [vec![], vec![("traceparent", GOOD)], vec![("traceparent", "00-0-0-00")]] {
        let kit = Kit::new();
        let tracer = kit.tracer();
        let context = tracer.extract(&headers);
        let server = tracer.build("server").parent(&context).start_owned();
        let mut traces = HashSet::new();
        let mut spans = HashSet::new();
        for _ in 0..3 {
            let client = {
                let _inside = server.enter();
                tracer.owned("client")
            };
            let sent = on_runtime(async { sent() }.in_span(client));
            let [parent] = values(&sent, "traceparent")[..] else { panic!("one traceparent of {sent:?}") };
            traces.insert(parent[3..35].to_owned());
            spans.insert(parent[36..52].to_owned());
        }
        assert_eq!((traces.len(), spans.len()), (1, 3), "{headers:?}");
        assert_eq!(traces.contains(TRACE), headers == [("traceparent", GOOD)]);
    }
}
