//! A service that does not trace passes the headers of a request on as they came: with the switch off, on a thread
//! without a lane, after shutdown. By guards, owned spans, built spans and futures.

mod support;

use std::collections::BTreeMap;
use support::PATIENCE;
use tellane::{Config, Context, InSpan, Kind, SpanKind, Telemetry, Tracer};

type Headers = BTreeMap<String, String>;
/// From a request's headers to those of a call made inside a span.
type Call = fn(&Tracer, &Headers) -> Headers;

fn request(flags: &str) -> Headers {
    let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "congo=t61"), ("baggage", "user=alice")];
    headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn sent() -> Headers {
    let mut headers = Headers::new();
    Context::current().inject(&mut headers);
    headers
}

fn sent_of(context: &Context) -> Headers {
    let mut headers = Headers::new();
    context.inject(&mut headers);
    headers
}

fn elsewhere<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join()).expect("no panic")
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(task)
}

const CALLS: [(&str, Call); 12] = [
    ("a context", |tracer, request| {
        let _attached = tracer.attach(&Context::extract(request));
        sent()
    }),
    ("guards", |tracer, request| {
        let _attached = tracer.attach(&tracer.extract(request));
        let _server = tracer.span_with_kind("server", SpanKind::Server);
        let mut client = tracer.span_with_kind("client", SpanKind::Client);
        client.set("attempt", 1_u64);
        client.event("sent").set("bytes", 7_u64);
        client.fail_with("refused");
        sent()
    }),
    ("a tracer's context", |tracer, request| {
        let _attached = tracer.attach(&tracer.extract(request));
        let _server = tracer.span("server");
        sent_of(&tracer.current_context())
    }),
    ("an owned span", |tracer, request| {
        let _attached = tracer.attach(&tracer.extract(request));
        let server = tracer.owned("server");
        let _inside = server.enter();
        assert_eq!(sent_of(&tracer.context_of(&server)), sent());
        sent()
    }),
    ("a built guard", |tracer, request| {
        let server = tracer.build("server").parent(&Context::extract(request)).start();
        let _client = tracer.span("client");
        assert!(!server.is_recorded() && !server.is_sampled() && server.span_context().is_none());
        sent()
    }),
    ("a built span elsewhere", |tracer, request| {
        let mut server = tracer.build("server").parent(&Context::extract(request)).start_owned();
        server.set("text", "a text of some length that nobody keeps");
        elsewhere(|| {
            let _inside = server.enter();
            let _client = tracer.span("client");
            sent()
        })
    }),
    ("a built span of the current context elsewhere", |tracer, request| {
        let attached = tracer.attach(&tracer.extract(request));
        let server = tracer.build("server").start_owned();
        drop(attached);
        elsewhere(|| {
            let _inside = server.enter();
            sent()
        })
    }),
    ("a built span's context", |tracer, request| {
        let server = tracer.build("server").parent(&tracer.extract(request)).start_owned();
        let context = tracer.context_of(&server);
        drop(server);
        elsewhere(|| {
            let _attached = context.attach();
            sent()
        })
    }),
    ("a future in a span", |tracer, request| {
        let attached = tracer.attach(&tracer.extract(request));
        let server = tracer.owned("server");
        let tracer = tracer.clone();
        let work = async move {
            tokio::task::yield_now().await;
            async { sent() }.in_span(tracer.owned("client")).await
        };
        let work = work.in_span(server);
        drop(attached);
        elsewhere(|| block_on(work))
    }),
    ("a future in a built span", |tracer, request| {
        let server = tracer.build("server").parent(&Context::extract(request)).start_owned();
        let work = async {
            tokio::task::yield_now().await;
            let _client = tracer.span("client");
            sent()
        };
        elsewhere(|| block_on(work.in_span(server)))
    }),
    ("a future in a context", |tracer, request| {
        let context = tracer.extract(request);
        let work = async {
            tokio::task::yield_now().await;
            let _client = tracer.span("client");
            sent()
        };
        elsewhere(|| block_on(work.in_context(context)))
    }),
    ("guards that go in another order", |tracer, request| {
        let first = tracer.attach(&Context::default());
        let second = tracer.attach(&tracer.extract(request));
        drop(first);
        let sent = sent();
        drop(second);
        sent
    }),
];

/// Settings by which this service, if it traced, would decide anew about each trace.
fn undecided(sampling: f64) -> Config {
    Config { sampling, parent_based: false, ..Config::default() }
}

/// Each call sends what came, and leaves nothing behind.
#[track_caller]
fn judge(way: &str, tracer: &Tracer) {
    for flags in ["00", "01", "02", "03"] {
        let request = request(flags);
        for (name, call) in CALLS {
            assert_eq!(call(tracer, &request), request, "{way}: {name}");
            assert_eq!(sent(), Headers::new(), "{way}: {name} leaves nothing behind");
        }
    }
}

#[test]
fn with_the_switch_off() {
    for sampling in [0.0, 1.0] {
        let telemetry = Telemetry::builder("off").config(undecided(sampling)).start().expect("it starts");
        let tracer = telemetry.tracer();
        drop(tracer.span("first")); // this thread has a lane
        telemetry.switch().force_off();
        judge("off", &tracer);
        elsewhere(|| judge("off, on a new thread", &tracer));
        let spans = telemetry.shutdown(PATIENCE).ledger.kind(Kind::Span);
        assert_eq!(spans.recorded, 1 + spans.switched_off, "each was counted once: {spans:?}");
        assert_eq!(spans.dropped.total(), 0, "{spans:?}");
    }
}

#[test]
fn with_more_threads_than_lanes() {
    for sampling in [0.0, 1.0] {
        let config = Config { lane_cap: 1, ..undecided(sampling) };
        let telemetry = Telemetry::builder("lanes").config(config).start().expect("it starts");
        let tracer = telemetry.tracer();
        drop(tracer.span("first")); // this thread has the only lane
        elsewhere(|| judge("without a lane", &tracer));
        let report = telemetry.shutdown(PATIENCE);
        support::assert_balanced(&report.ledger);
        let snapshot = telemetry.latest();
        let clients = snapshot.span_durations("client").expect("counted all the same");
        assert!(clients.count() > 0, "durations count without a lane");
    }
}

#[test]
fn after_shutdown() {
    for sampling in [0.0, 1.0] {
        let telemetry = Telemetry::builder("ended").config(undecided(sampling)).start().expect("it starts");
        let tracer = telemetry.tracer();
        drop(tracer.span("first"));
        assert!(telemetry.shutdown(PATIENCE).finished);
        judge("after shutdown", &tracer);
        elsewhere(|| judge("after shutdown, on a new thread", &tracer));
    }
}

#[test]
fn a_span_under_a_forwarding_one_is_its_child_once_the_switch_is_on() {
    let telemetry = Telemetry::builder("back").start().expect("it starts");
    let (tracer, request) = (telemetry.tracer(), request("01"));
    telemetry.switch().force_off();
    let server = tracer.build("server").parent(&tracer.extract(&request)).start_owned();
    telemetry.switch().release();
    let _inside = server.enter();
    drop(tracer.span("client"));
    let snapshot = telemetry.snapshot(PATIENCE).expect("it answers");
    let spans: Vec<_> = snapshot.spans().collect();
    let [client] = &spans[..] else { panic!("one span of {spans:?}") };
    assert_eq!(
        (client.trace_id, client.parent_id),
        (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0xf0_67aa_0ba9_02b7))
    );
    assert!(client.local_root && client.sampled);
}
