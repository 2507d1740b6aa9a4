//! What comes in through `tracing`, by both ways in: the tree it becomes, on whatever threads and in whatever order, and
//! what becomes of fields, events and levels. At the end a crate that knows nothing of tellane.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tellane::bridge::tracing::{Events, Layer, Subscriber};
use tellane::testing::Kit;
use tellane::{Config, FinishedSpan, Level, LogMemory, Sink, SpanKind, Status, Telemetry, Value};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Instrument, Span, debug_span, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// Long enough for any machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Both ways in, each with an instance of its own.
fn ways() -> [(&'static str, Kit, Dispatch); 2] {
    ways_with(Config::default(), Events::default(), false)
}

fn ways_with(config: Config, events: Events, errors_fail: bool) -> [(&'static str, Kit, Dispatch); 2] {
    let (one, other) = (Kit::with(config.clone()), Kit::with(config));
    let layer = Layer::new(one.telemetry()).events(events).errors_fail_spans(errors_fail);
    let alone = Subscriber::new(other.telemetry()).events(events).errors_fail_spans(errors_fail);
    let layered = Dispatch::new(tracing_subscriber::registry().with(layer));
    [("layer", one, layered), ("subscriber", other, Dispatch::new(alone))]
}

/// Runs `act` once for each way in.
fn each(act: impl Fn(&'static str, &Kit)) {
    for (way, kit, dispatch) in ways() {
        tracing::dispatcher::with_default(&dispatch, || act(way, &kit));
        drop(dispatch);
        kit.assert_nothing_lost();
    }
}

fn value(span: &FinishedSpan, key: &str) -> Option<Value> {
    span.attributes.iter().rev().find(|(there, _)| **there == *key).map(|(_, value)| value.clone())
}

#[test]
fn spans_become_a_tree_with_those_of_tellane() {
    each(|way, kit| {
        let tracer = kit.tracer();
        let request = tracer.span("request");
        {
            let _handler = info_span!("handler").entered();
            {
                let _native = tracer.span("native");
                drop(info_span!("query").entered());
            }
            drop(info_span!("render").entered());
        }
        drop(request);
        drop(info_span!("afterwards").entered());
        let tree = "afterwards\nrequest\n  handler\n    native\n      query\n    render\n";
        assert_eq!(kit.tree(), tree, "{way}");
    });
}

#[test]
fn a_span_is_entered_many_times_and_ends_once() {
    each(|way, kit| {
        let span = info_span!("span");
        for _ in 0..3 {
            kit.clock().advance(Duration::from_millis(1));
            span.in_scope(|| drop(info_span!("child").entered()));
        }
        let again = span.clone();
        let (outer, inner) = (span.enter(), again.enter());
        drop(outer);
        drop(info_span!("child").entered());
        drop(inner);
        drop(info_span!("outside").entered());
        assert!(kit.spans().iter().all(|there| *there.name != *"span"), "{way}: a handle is left");
        drop(span);
        drop(again);
        assert_eq!(kit.tree(), "span\n  child\n  child\n  child\n  child\noutside\n", "{way}");
        assert_eq!(kit.span("span").duration, Duration::from_millis(3));
    });
}

#[test]
fn spans_are_left_in_any_order() {
    each(|way, kit| {
        let (a, b, c) = (info_span!("a"), info_span!("b"), info_span!("c"));
        let (in_a, in_b, in_c) = (a.enter(), b.enter(), c.enter());
        drop(in_b);
        drop(info_span!("of c").entered());
        drop(in_a);
        drop(info_span!("still of c").entered());
        drop(in_c);
        drop(info_span!("of nobody").entered());
        let in_a = a.enter();
        let native = kit.tracer().span("native");
        drop(in_a);
        drop(info_span!("of native").entered());
        drop(native);
        drop(info_span!("of nobody too").entered());
        drop((a, b, c));
        let tree = "a\n  b\n    c\n      of c\n      still of c\n  native\n    of native\nof nobody\nof nobody too\n";
        // `b` and `c` were begun outside of each other.
        let flat = "a\n  native\n    of native\nb\nc\n  of c\n  still of c\nof nobody\nof nobody too\n";
        assert_ne!(kit.tree(), tree);
        assert_eq!(kit.tree(), flat, "{way}");
    });
}

#[test]
fn parents_can_be_said() {
    each(|way, kit| {
        let (one, other) = (info_span!("one"), info_span!("other"));
        let _inside = one.enter();
        drop(info_span!(parent: None, "root"));
        drop(info_span!(parent: &other, "of other"));
        drop(info_span!(parent: other.id(), "of other by id"));
        let detail = debug_span!("not at this level");
        assert_eq!(detail.is_disabled(), way == "subscriber", "a layer hides nothing from the others");
        detail.in_scope(|| drop(info_span!("of one")));
        if way == "layer" {
            drop(info_span!(parent: &detail, "of one, said"));
        } else {
            drop(info_span!("of one, said"));
        }
        drop(_inside);
        drop((detail, one, other));
        let tree = "one\n  of one\n  of one, said\nother\n  of other\n  of other by id\nroot\n";
        assert_eq!(kit.tree(), tree, "{way}");
    });
}

#[test]
fn what_a_span_follows_from_is_a_link() {
    each(|way, kit| {
        let (cause, effect) = (info_span!("cause"), info_span!("effect"));
        effect.follows_from(&cause);
        drop(cause);
        drop(effect);
        let links = kit.span("effect").links;
        assert_eq!((links.len(), links[0].span_id), (1, kit.span("cause").span_id), "{way}");
    });
}

#[derive(Debug)]
struct Torn(Option<Box<Torn>>, &'static str);

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl Error for Torn {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[test]
fn fields_are_attributes_whenever_they_come() {
    each(|way, kit| {
        let torn = Torn(Some(Box::new(Torn(None, "no paper"))), "no receipt");
        let error: &(dyn Error + 'static) = &torn;
        let span = info_span!(
            "order",
            items = 3_u64,
            change = -2_i64,
            weight = 0.5,
            gift = true,
            method = "card",
            list = ?["gloves", "hat"],
            who = %"alice",
            error,
            late = tracing::field::Empty,
            text = tracing::field::Empty,
        );
        span.record("late", 7_u64);
        span.record("text", "to be continued");
        span.record("items", 4_u64);
        drop(span);
        let order = kit.span("order");
        let expected = [
            ("items", Value::U64(4)),
            ("change", Value::I64(-2)),
            ("weight", Value::F64(0.5)),
            ("gift", Value::Bool(true)),
            ("method", Value::Str("card".into())),
            ("list", Value::Str("[\"gloves\", \"hat\"]".into())),
            ("who", Value::Str("alice".into())),
            ("error", Value::Str("no receipt".into())),
            ("error.cause", Value::Str("no paper".into())),
            ("late", Value::U64(7)),
            ("text", Value::Str("to be continued".into())),
        ];
        for (key, expected) in expected {
            assert_eq!(value(&order, key), Some(expected), "{way}: {key}");
        }
    });
}

#[test]
fn many_and_long_fields_are_kept_too() {
    each(|way, kit| {
        let long = "x".repeat(1_000);
        let span = info_span!(
            "long",
            one = long,
            two = long,
            late = tracing::field::Empty,
            more = tracing::field::Empty
        );
        span.record("more", "y".repeat(3_000));
        for number in 0..40_u64 {
            span.record("late", number);
        }
        let elsewhere = span.clone();
        std::thread::spawn(move || drop(elsewhere)).join().expect("no panic");
        std::thread::spawn(move || drop(span)).join().expect("no panic");
        let long_span = kit.span("long");
        assert_eq!(value(&long_span, "two"), Some(Value::Str(long)), "{way}");
        assert_eq!(value(&long_span, "late"), Some(Value::U64(39)));
        assert_eq!(value(&long_span, "more"), Some(Value::Str("y".repeat(3_000))), "{way}");
    });
}

#[test]
fn fields_of_opentelemetry_say_what_a_span_is() {
    each(|way, kit| {
        let route = "/cart";
        let span = info_span!(
            "request",
            otel.name = format!("GET {route}"),
            otel.kind = "Server",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
            otel.scope = "kept",
        );
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", "out of stock");
        drop(span);
        let request = kit.span("GET /cart");
        assert_eq!((request.kind, request.status), (SpanKind::Server, Status::Error), "{way}");
        assert_eq!(request.status_message.as_deref(), Some("out of stock"));
        assert_eq!(request.attributes.len(), 1);
    });
}

#[test]
fn the_current_span_is_known_to_tracing() {
    each(|way, kit| {
        let span = info_span!("span");
        let id = span.id();
        let inside = span.enter();
        let native = kit.tracer().span("native");
        let current = Span::current();
        assert_eq!((current.id(), current.metadata().map(|known| known.name())), (id, Some("span")), "{way}");
        drop(native);
        drop(inside);
        assert!(Span::current().is_none());
        drop(span);
        let names: Vec<_> = kit.spans().iter().map(|span| span.name.to_string()).collect();
        assert_eq!(names, ["native"], "{way}: `current` is a handle of its own");
        current.in_scope(|| drop(info_span!("child")));
        drop(current);
        assert_eq!(kit.tree(), "span\n  child\n  native\n");
    });
}

#[test]
fn tasks_take_their_spans_along() {
    async fn leaf(number: usize) {
        for _ in 0..number % 4 {
            tokio::task::yield_now().await;
            drop(info_span!("step").entered());
        }
    }

    for (way, kit, dispatch) in ways() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("threads");
        let tracer = kit.tracer();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..100)
                .map(|number| {
                    let tracer = tracer.clone();
                    let branch = async move {
                        leaf(number).instrument(info_span!("leaf")).await;
                        tokio::task::yield_now().await;
                        drop(tracer.span("native"));
                    };
                    let span = tracing::dispatcher::with_default(&dispatch, || info_span!("branch", number));
                    tokio::spawn(branch.instrument(span).with_subscriber(dispatch.clone()))
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        drop(runtime);
        drop(dispatch);
        let spans = kit.spans();
        let parent_of = |span: &FinishedSpan| {
            let parent = spans.iter().find(|other| Some(other.span_id) == span.parent_id);
            parent.map(|parent| parent.name.to_string())
        };
        let mut counts = [0; 4];
        for span in &spans {
            let (place, parent) = match &*span.name {
                "branch" => (0, None),
                "leaf" => (1, Some("branch")),
                "native" => (2, Some("branch")),
                _ => (3, Some("leaf")),
            };
            counts[place] += 1;
            assert_eq!(parent_of(span).as_deref(), parent, "{way}: {}", span.name);
        }
        assert_eq!(counts, [100, 100, 100, 150], "{way}");
        kit.assert_nothing_lost();
    }
}

#[test]
fn spans_close_wherever_their_last_handle_goes() {
    for (way, kit, dispatch) in ways() {
        let (sender, receiver) = std::sync::mpsc::channel::<Span>();
        let elsewhere = dispatch.clone();
        let closing = std::thread::spawn(move || {
            tracing::dispatcher::with_default(&elsewhere, || {
                for span in receiver {
                    let again = span.clone();
                    span.in_scope(|| drop(info_span!("child").entered()));
                    drop(span);
                    drop(again);
                }
            });
        });
        tracing::dispatcher::with_default(&dispatch, || {
            for number in 0..1_000_u64 {
                let span = info_span!("passed on", number);
                let _inside = span.clone().entered();
                sender.send(span).expect("it listens");
            }
        });
        drop(sender);
        closing.join().expect("no panic");
        drop(dispatch);
        let spans = kit.spans();
        let mut numbers: Vec<_> = spans
            .iter()
            .filter(|span| *span.name == *"passed on")
            .map(|span| value(span, "number").expect("a number").to_string().parse::<u64>().expect("digits"))
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1_000), "{way}");
        let childless = spans.iter().filter(|span| *span.name == *"child").all(|child| {
            spans.iter().any(|parent| Some(parent.span_id) == child.parent_id && *parent.name == *"passed on")
        });
        assert!(childless, "{way}");
        kit.assert_nothing_lost();
    }
}

/// Ways in whose log records are kept.
fn logging(events: Events) -> [(&'static str, Telemetry, LogMemory, Dispatch); 2] {
    let start = || {
        let (sink, kept) = Sink::memory(1_000);
        (Telemetry::builder("test").log_to(sink).start().expect("valid"), kept)
    };
    let ((one, first), (other, second)) = (start(), start());
    let layered = Dispatch::new(tracing_subscriber::registry().with(Layer::new(&one).events(events)));
    let alone = Dispatch::new(Subscriber::new(&other).events(events));
    [("layer", one, first, layered), ("subscriber", other, second, alone)]
}

#[test]
fn events_are_log_records_with_the_ids_around_them() {
    for (way, telemetry, kept, dispatch) in logging(Events::Logs) {
        let tracer = telemetry.tracer();
        let ids = tracing::dispatcher::with_default(&dispatch, || {
            let other = info_span!("other");
            let _inside = info_span!("order").entered();
            tracing::info!(target: "shop::cart", items = 3_u64, who = %"alice", "{} items", 3);
            let native = tracer.span("native");
            let ids = native.span_context().expect("on");
            tracing::warn!(left = 1, "low");
            drop(native);
            tracing::error!(parent: &other, "elsewhere");
            tracing::error!(parent: None, "nowhere");
            tracing::info!(name: "named", count = 1);
            tracing::debug!("not at this level");
            tracing::info!("{}", "long ".repeat(200));
            ids
        });
        let snapshot = telemetry.snapshot(DEADLINE).expect("in time");
        let span = |name: &str| snapshot.spans().find(|span| *span.name == *name).expect("it has ended");
        let records = kept.records();
        let said: Vec<_> = records.iter().map(|record| record.message.to_string()).collect();
        assert_eq!(said[..5], ["3 items", "low", "elsewhere", "nowhere", "named"], "{way}");
        assert_eq!((said.len(), said[5].len()), (6, 1_000), "{way}");
        let first = &records[0];
        assert_eq!((&*first.target, first.level), ("shop::cart", Level::Info));
        let fields: Vec<_> = first.fields.iter().map(|(key, value)| (&**key, value.clone())).collect();
        assert_eq!(fields, [("items", Value::U64(3)), ("who", Value::Str("alice".into()))]);
        let of = |number: usize| records[number].span.map(|(_, id)| id);
        assert_eq!(of(0), Some(span("order").span_id), "{way}");
        assert_eq!(of(1), Some(ids.span_id), "{way}: tellane's own span is the innermost");
        assert_eq!(of(2), Some(span("other").span_id), "{way}");
        assert_eq!(of(3), None, "{way}");
        assert_eq!(of(4), Some(span("order").span_id), "{way}: what was said elsewhere has changed nothing");
    }
}

#[test]
fn events_can_be_events_of_spans() {
    for (way, telemetry, kept, dispatch) in logging(Events::Both) {
        tracing::dispatcher::with_default(&dispatch, || {
            let _order = info_span!("order").entered();
            tracing::info!(name: "sold", target: "shop", items = 3_u64, "{} items", 3);
            let _hidden = debug_span!("hidden").entered();
            tracing::error!(name: "failed", "no paper");
        });
        let snapshot = telemetry.snapshot(DEADLINE).expect("in time");
        let order = snapshot.spans().next().expect("it has ended");
        assert_eq!(order.status, Status::Unset, "{way}: errors fail nobody unless asked");
        let names: Vec<_> = order.events.iter().map(|event| event.name.to_string()).collect();
        assert_eq!(names, ["sold", "failed"], "{way}");
        let attributes: Vec<_> =
            order.events[0].attributes.iter().map(|(key, value)| (&**key, value.to_string())).collect();
        let mut expected = [("items", "3"), ("message", "3 items"), ("level", "info"), ("target", "shop")];
        let mut found: Vec<_> = attributes.iter().map(|(key, value)| (*key, value.as_str())).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{way}");
        assert_eq!(kept.records().len(), 2, "{way}");
    }
}

#[test]
fn errors_fail_their_span_where_that_is_asked_for() {
    for (way, kit, dispatch) in ways_with(Config::default(), Events::Logs, true) {
        tracing::dispatcher::with_default(&dispatch, || {
            let other = info_span!("other");
            let _order = info_span!("order").entered();
            tracing::error!(parent: &other, "no paper");
            tracing::warn!("low");
        });
        assert_eq!(
            (kit.span("other").status, kit.span("order").status),
            (Status::Error, Status::Unset),
            "{way}"
        );
    }
}

/// Whoever asks what each call site's interest is, asks for the whole process: two at once may leave an old answer.
static INTERESTS: Mutex<()> = Mutex::new(());

#[test]
fn levels_change_while_it_runs() {
    let _alone = INTERESTS.lock().unwrap_or_else(PoisonError::into_inner);
    for (way, kit, dispatch) in ways() {
        let telemetry = kit.telemetry();
        let act = || drop(tracing::debug_span!(target: "shop::cart", "detail").entered());
        tracing::dispatcher::with_default(&dispatch, || {
            act();
            telemetry.set_level("shop", Level::Debug);
            act();
            telemetry.set_level("shop::cart", Level::Warn);
            act();
            telemetry.set_levels("off,shop::cart=trace").expect("levels");
            act();
            drop(tracing::error_span!(target: "elsewhere", "nobody"));
        });
        assert_eq!(kit.tree(), "detail\ndetail\n", "{way}");
    }
}

#[test]
fn a_value_that_traces_while_it_is_rendered_harms_nobody() {
    struct Chatty;

    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::info!(name: "aside", "while rendering");
            Span::current().record("late", 1_u64);
            f.write_str("chatty")
        }
    }

    for (way, kit, dispatch) in ways_with(Config::default(), Events::Both, true) {
        tracing::dispatcher::with_default(&dispatch, || {
            let span = info_span!("span", early = ?Chatty, late = tracing::field::Empty);
            let _inside = span.enter();
            span.record("late", tracing::field::debug(Chatty));
            tracing::info!(name: "said", value = ?Chatty, "{:?}", Chatty);
        });
        let span = kit.span("span");
        assert_eq!(value(&span, "early"), Some(Value::Str("chatty".into())), "{way}");
        assert!(span.events.iter().any(|event| *event.name == *"said"), "{way}");
    }
}

#[test]
fn two_instances_may_stand_on_one_registry() {
    let (one, other) = (Kit::new(), Kit::new());
    let both =
        tracing_subscriber::registry().with(Layer::new(one.telemetry())).with(Layer::new(other.telemetry()));
    tracing::subscriber::with_default(both, || {
        let _outer = info_span!("outer").entered();
        drop(info_span!("inner", number = 1).entered());
    });
    for kit in [one, other] {
        assert_eq!(kit.tree(), "outer\n  inner\n");
        assert_eq!(kit.span("inner").attributes.len(), 1);
    }
}

#[test]
fn what_is_switched_off_is_counted_and_no_more() {
    for (way, kit, dispatch) in ways() {
        kit.telemetry().switch().force_off();
        tracing::dispatcher::with_default(&dispatch, || {
            let span = info_span!("off", number = 1);
            span.in_scope(|| span.record("number", 2));
            drop(span);
        });
        let spans = kit.snapshot().ledger().kind(tellane::Kind::Span);
        assert_eq!((spans.recorded, spans.suppressed()), (1, 1), "{way}");
        assert!(kit.spans().is_empty());
    }
}

#[test]
fn a_span_that_is_off_passes_the_context_on() {
    let headers = || {
        let mut headers = BTreeMap::new();
        tellane::Context::current().inject(&mut headers);
        headers
    };
    let request = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "congo=t61"),
        ("baggage", "user=alice"),
    ];
    let request: BTreeMap<_, _> = request.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (way, kit, dispatch) in
        ways_with(Config { lane_cap: 2, ..Config::default() }, Events::default(), false)
    {
        let tracer = kit.tracer();
        drop(tracer.span("first"));
        let judge = |state: &str| {
            let span = {
                let _attached = tracer.attach(&tracer.extract(&request));
                let span = info_span!("handler", number = 1);
                let _inside = span.enter();
                drop(info_span!("child").entered());
                assert_eq!(headers(), request, "{way}, {state}");
                span.clone()
            };
            assert_eq!(headers().len(), 0, "{way}, {state}");
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        tracing::dispatcher::with_default(&dispatch, || {
                            let inside = span.enter();
                            drop(info_span!("child").entered());
                            assert_eq!(headers(), request, "{way}, {state}, elsewhere");
                            drop(inside);
                            assert_eq!(headers().len(), 0, "{way}, {state}, elsewhere");
                        });
                    })
                    // Not left to the scope: it does not wait until the lane is handed back.
                    .join()
                    .expect("no panic");
            });
        };
        kit.telemetry().switch().force_off();
        tracing::dispatcher::with_default(&dispatch, || judge("off"));
        kit.telemetry().switch().release();
        let (takes, has_taken) = std::sync::mpsc::channel();
        let (is_done, done) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let is_done = is_done; // dropped also by a panic: nobody waits for ever
            let tracer = &tracer;
            scope.spawn(move || {
                drop(tracer.span("last lane"));
                takes.send(()).expect("it is waited for");
                let _ended = done.recv();
            });
            has_taken.recv().expect("it takes the lane");
            let without_a_lane = || tracing::dispatcher::with_default(&dispatch, || judge("without a lane"));
            scope.spawn(without_a_lane).join().expect("no panic");
            drop(is_done);
        });
        let spans = kit.end().kind(tellane::Kind::Span);
        assert_eq!((spans.recorded, spans.switched_off), (8, 3), "{way}: {spans:?}");
        assert_eq!(spans.dropped.by(tellane::Reason::TooManyThreads), 3, "{way}: {spans:?}");
    }
}

/// `tower-http` knows `tracing`, and nothing of tellane.
#[test]
fn another_crate_speaks_through_it() {
    let _alone = INTERESTS.lock().unwrap_or_else(PoisonError::into_inner);
    use tower::{Layer as _, ServiceExt};
    use tower_http::trace::TraceLayer;

    for (way, telemetry, kept, dispatch) in logging(Events::Both) {
        telemetry.set_level("tower_http", Level::Debug);
        let tracer = telemetry.tracer();
        let inner = tower::service_fn(move |request: http::Request<String>| {
            let tracer = tracer.clone();
            async move {
                tokio::task::yield_now().await;
                drop(tracer.span("look up"));
                let found = request.uri().path() == "/cart";
                let status = if found { 200 } else { 500 };
                Ok::<_, std::convert::Infallible>(
                    http::Response::builder().status(status).body(String::new()).expect("a response"),
                )
            }
        });
        let service = TraceLayer::new_for_http().layer(inner);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for path in ["/cart", "/attic"] {
            let request = http::Request::get(path).body(String::new()).expect("a request");
            let answer = service.clone().oneshot(request).with_subscriber(dispatch.clone());
            let response = runtime.block_on(answer).expect("infallible");
            tracing::dispatcher::with_default(&dispatch, || drop(response));
        }
        drop(dispatch);
        let snapshot = telemetry.snapshot(DEADLINE).expect("in time");
        let spans: Vec<_> = snapshot.spans().collect();
        let requests: Vec<_> = spans.iter().filter(|span| *span.name == *"request").collect();
        assert_eq!(requests.len(), 2, "{way}");
        assert_eq!(value(requests[0], "method"), Some(Value::Str("GET".into())), "{way}");
        assert_eq!(value(requests[1], "uri"), Some(Value::Str("/attic".into())), "{way}");
        let children = spans.iter().filter(|span| *span.name == *"look up");
        assert!(
            children.map(|span| span.parent_id).eq(requests.iter().map(|span| Some(span.span_id))),
            "{way}"
        );
        let records = kept.records();
        let said = |message: &str, request: &FinishedSpan| {
            records.iter().any(|record| {
                *record.message == *message
                    && record.span.map(|(_, id)| id) == Some(request.span_id)
                    && record.target.starts_with("tower_http")
            })
        };
        for request in &requests {
            assert!(said("started processing request", request), "{way}");
            assert!(said("finished processing request", request), "{way}");
            assert!(request.events.len() >= 2, "{way}");
        }
        assert!(said("response failed", requests[1]) && !said("response failed", requests[0]), "{way}");
    }
}

#[test]
fn handles_on_many_threads_at_once() {
    for (way, kit, dispatch) in ways() {
        tracing::dispatcher::with_default(&dispatch, || {
            let shared = Arc::new(info_span!("shared", late = tracing::field::Empty));
            std::thread::scope(|scope| {
                for number in 0..4_u64 {
                    let (shared, dispatch) = (Arc::clone(&shared), dispatch.clone());
                    scope.spawn(move || {
                        tracing::dispatcher::with_default(&dispatch, || {
                            for _ in 0..50 {
                                let handle = Span::clone(&shared);
                                let _inside = handle.enter();
                                handle.record("late", number);
                                drop(info_span!("child").entered());
                            }
                        });
                    });
                }
            });
        });
        let shared = kit.span("shared");
        let children = kit.spans().into_iter().filter(|span| span.parent_id == Some(shared.span_id)).count();
        assert_eq!(children, 200, "{way}");
        assert_eq!((shared.attributes.len(), shared.attributes_dropped), (1, 0), "{way}: it is one key");
    }
}

#[test]
fn a_field_that_is_recorded_again_has_its_last_value() {
    each(|way, kit| {
        let span = info_span!("span", progress = 0_u64, result = tracing::field::Empty);
        (1..=1_000_u64).for_each(|number| {
            span.record("progress", number);
        });
        span.record("result", "done");
        drop(span);
        let span = kit.span("span");
        let expected = [("progress".into(), Value::U64(1_000)), ("result".into(), Value::Str("done".into()))];
        assert_eq!((&span.attributes[..], span.attributes_dropped), (&expected[..], 0), "{way}");
    });
}

#[test]
fn a_raw_identifier_is_a_key_without_its_mark() {
    each(|way, kit| {
        let _span = info_span!("span", r#type = "web", r#match = 1).entered();
        tracing::info!(r#type = "web", "said");
        drop(_span);
        let span = kit.span("span");
        let keys: Vec<&str> = span.attributes.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["type", "match"], "{way}");
        assert_eq!(&*kit.log("said").fields[0].0, "type", "{way}");
    });
}

#[test]
fn a_caught_panic_fails_the_span_though_the_future_is_dropped_later() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    each(|way, kit| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let broken = std::future::poll_fn(|_| -> std::task::Poll<()> { panic!("as it happens") });
        let mut future = Box::pin(broken.instrument(info_span!("future")));
        let poll = AssertUnwindSafe(|| future.as_mut().poll(&mut context).is_ready());
        assert!(catch_unwind(poll).is_err());
        drop(future);
        let kept = info_span!("kept");
        assert!(catch_unwind(AssertUnwindSafe(|| kept.in_scope(|| panic!("as it happens")))).is_err());
        drop(kept);
        // A span that begins and ends well in a destructor while the thread unwinds.
        struct Works;
        impl Drop for Works {
            fn drop(&mut self) {
                info_span!("works").in_scope(|| ());
            }
        }
        let works = catch_unwind(|| {
            let _works = Works;
            panic!("as it happens")
        });
        assert!(works.is_err());
        for (name, status) in [("future", Status::Error), ("kept", Status::Error), ("works", Status::Unset)] {
            let span = kit.span(name);
            let failed = status == Status::Error;
            assert_eq!((span.status, span.panicked, span.cancelled), (status, failed, false), "{way} {name}");
            let labels = [("span_name", name), ("span_kind", "SPAN_KIND_INTERNAL")];
            let errors = kit.counter("traces_span_metrics_errors_total", &labels);
            assert_eq!(errors, u64::from(failed), "{way} {name}");
        }
    });
}

#[test]
fn trace_state_and_baggage_go_where_a_span_goes() {
    let request = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "congo=t61"),
        ("baggage", "user=alice"),
    ];
    let along = || {
        let context = tellane::Context::current();
        let user = context.baggage().get("user").map(str::to_owned);
        (context.trace_state().get("congo").map(str::to_owned), user)
    };
    let expected = (Some("t61".to_owned()), Some("alice".to_owned()));
    each(|way, kit| {
        for _ in 0..100 {
            let attached = kit.tracer().attach(&tellane::Context::extract(&request));
            let handler = info_span!("handler", late = tracing::field::Empty, text = "in the frame");
            drop(attached);
            assert_eq!(along(), (None, None), "{way}");
            handler.record("late", "x".repeat(500).as_str()); // in a block
            let child = handler.in_scope(|| info_span!("child"));
            let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    tracing::dispatcher::with_default(&dispatch, || {
                        handler.in_scope(|| assert_eq!(along(), expected, "{way}"));
                        drop(handler);
                        child.in_scope(|| assert_eq!(along(), expected, "{way}: the parent is closed"));
                        assert_eq!(along(), (None, None), "{way}");
                    });
                });
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let work = async {
                tokio::task::yield_now().await;
                let _native = kit.tracer().span("native");
                assert_eq!(along(), expected, "{way}");
            };
            runtime.block_on(work.instrument(child));
            let explicit = info_span!(parent: None, "root");
            explicit.in_scope(|| assert_eq!(along(), (None, None), "{way}: a new trace has nothing along"));
        }
    });
}

#[test]
fn a_context_and_spans_of_tracing_are_left_in_any_order() {
    each(|way, kit| {
        let tracer = kit.tracer();
        for _ in 0..100 {
            let owned = tracer.owned("owned");
            let outer = info_span!("outer").entered();
            let attached = tracer.context_of(&owned).attach();
            let inner = info_span!("inner").entered();
            let innermost = tracer.current_span_context();
            drop(outer);
            assert_eq!(tracer.current_span_context(), innermost, "{way}");
            drop(attached);
            assert_eq!(tracer.current_span_context(), innermost, "{way}");
            drop(inner);
            assert_eq!(tracer.current_span_context(), None, "{way}");
        }
    });
}
