//! Parents and children: programs made at random, against a tree kept by hand; and every way a span can end.

mod support;

use proptest::prelude::*;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use support::{PATIENCE, patient};
use tellane::testing::Kit;
use tellane::{
    Config, Context, FinishedSpan, InSpan, Kind, OwnedSpan, Span, SpanKind, SpanLimits, Status, Value,
};

/// Spans begin and end in two ways: by a clock that takes one instruction to read, in as few as may be; and by any other.
/// A machine whose kernel does not keep its time by that counter has the second one only.
fn kits() -> [Kit; 2] {
    kits_with(Config::default())
}

fn kits_with(config: Config) -> [Kit; 2] {
    let Config { shed_share, stall_after, .. } = patient();
    let kit = Kit::on_system_clock(Config { shed_share, stall_after, ..config.clone() });
    if kit.telemetry().clock_source() != "tsc" {
        eprintln!("this machine's clock is {}: both ways are one here", kit.telemetry().clock_source());
    }
    [Kit::with(config), kit]
}

/// All kept spans, by their name. Names are unique in these tests.
fn by_name(kit: &Kit) -> HashMap<String, FinishedSpan> {
    kit.spans().into_iter().map(|span| (span.name.to_string(), span)).collect()
}

/// All kept spans, by what was set on them as their number.
fn by_number(kit: &Kit) -> HashMap<usize, FinishedSpan> {
    let numbered = |span: FinishedSpan| match span.attributes[0].1 {
        Value::U64(number) => (number as usize, span),
        _ => panic!("{span:?}"),
    };
    kit.spans().into_iter().map(numbered).collect()
}

/// One step of a program that opens and closes spans.
#[derive(Clone, Debug)]
enum Act {
    /// Opens a guard inside what is current.
    Open,
    /// Opens an owned span inside what is current.
    Own,
    /// Drops the guard of this place among the open ones, in whatever order.
    Close(usize),
    /// Drops the owned span of this place, here or on another thread.
    Disown(usize, bool),
    /// Opens and closes a span inside an owned one, here or on another thread.
    Within(usize, bool),
    /// Leaks the innermost guard.
    Leak,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => Just(Act::Open),
        2 => Just(Act::Own),
        4 => (0..8_usize).prop_map(Act::Close),
        2 => (0..8_usize, any::<bool>()).prop_map(|(at, here)| Act::Disown(at, here)),
        2 => (0..8_usize, any::<bool>()).prop_map(|(at, here)| Act::Within(at, here)),
        1 => Just(Act::Leak),
    ]
}

/// The oracle: the stack of open guards by number, as the docs say it behaves, and the parent of every span.
#[derive(Default)]
struct Oracle {
    stack: Vec<usize>,
    parents: Vec<Option<usize>>,
    ended: Vec<bool>,
}

impl Oracle {
    fn begin(&mut self) -> usize {
        self.parents.push(self.stack.last().copied());
        self.ended.push(false);
        self.parents.len() - 1
    }

    /// A guard that is dropped takes what was opened inside it from the stack.
    fn close(&mut self, number: usize) {
        self.ended[number] = true;
        if let Some(at) = self.stack.iter().position(|open| *open == number) {
            self.stack.truncate(at);
        }
    }
}

fn run(acts: &[Act], kit: &Kit) -> Oracle {
    let tracer = kit.tracer();
    let mut oracle = Oracle::default();
    let (mut guards, mut owned): (Vec<(usize, Span)>, Vec<(usize, OwnedSpan)>) = (Vec::new(), Vec::new());
    for act in acts {
        match *act {
            Act::Open => {
                let number = oracle.begin();
                oracle.stack.push(number);
                guards.push((number, tracer.span("guard")));
                guards.last_mut().expect("it is there").1.set("number", number as u64);
            }
            Act::Own => {
                let number = oracle.begin();
                owned.push((number, tracer.owned("owned")));
                owned.last_mut().expect("it is there").1.set("number", number as u64);
            }
            Act::Close(at) if !guards.is_empty() => {
                let (number, guard) = guards.remove(at % guards.len());
                oracle.close(number);
                drop(guard);
            }
            Act::Disown(at, here) if !owned.is_empty() => {
                let (number, span) = owned.remove(at % owned.len());
                oracle.ended[number] = true;
                if here {
                    drop(span);
                } else {
                    std::thread::scope(|scope| scope.spawn(move || drop(span)).join()).expect("no panic");
                }
            }
            Act::Within(at, here) if !owned.is_empty() => {
                let (parent, span) = &owned[at % owned.len()];
                oracle.parents.push(Some(*parent));
                oracle.ended.push(true);
                let number = (oracle.parents.len() - 1) as u64;
                let inside = || {
                    let _inside = span.enter();
                    tracer.span("inside").set("number", number);
                };
                if here {
                    inside();
                } else {
                    std::thread::scope(|scope| {
                        let context = tracer.context_of(span);
                        let tracer = &tracer;
                        let other = scope.spawn(move || {
                            let _attached = context.attach();
                            tracer.span("inside").set("number", number);
                        });
                        other.join().expect("no panic");
                    });
                }
            }
            Act::Leak if !guards.is_empty() => {
                let (_, guard) = guards.pop().expect("one is open");
                std::mem::forget(guard); // stays on the stack until one around it ends
            }
            _ => {}
        }
    }
    while let Some((number, guard)) = guards.pop() {
        oracle.close(number);
        drop(guard);
    }
    owned.drain(..).for_each(|(number, span)| {
        oracle.ended[number] = true;
        drop(span);
    });
    oracle
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_make_the_trees_that_they_should(acts in prop::collection::vec(act(), 0..60)) {
        for kit in kits() {
            let oracle = run(&acts, &kit);
            let found = by_number(&kit);
            let ids: HashMap<u64, usize> = found.iter().map(|(number, span)| (span.span_id, *number)).collect();
            prop_assert_eq!(found.len(), oracle.ended.iter().filter(|ended| **ended).count());
            for (number, parent) in oracle.parents.iter().enumerate().filter(|(number, _)| oracle.ended[*number]) {
                let span = &found[&number];
                match parent {
                    None => {
                        prop_assert_eq!(span.parent_id, None);
                        prop_assert!(span.local_root);
                    }
                    // A parent that was leaked is in nobody's records, but its children name it all the same.
                    Some(parent) if !oracle.ended[*parent] => prop_assert!(span.parent_id.is_some()),
                    Some(parent) => {
                        prop_assert_eq!(span.parent_id.and_then(|id| ids.get(&id)), Some(parent));
                        prop_assert_eq!(span.trace_id, found[parent].trace_id);
                        prop_assert!(!span.local_root);
                    }
                }
            }
            prop_assert_eq!(kit.end().kind(Kind::Span).aggregated as usize, found.len());
        }
    }
}

#[test]
fn a_panic_fails_every_span_that_it_unwinds_through() {
    for kit in kits() {
        let tracer = kit.tracer();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _outer = tracer.span("outer");
            let _inner = tracer.owned("inner");
            panic!("as it happens");
        }));
        assert!(outcome.is_err());
        drop(tracer.span("after"));
        let found = kit.recorded();
        for name in ["outer", "inner"] {
            assert_eq!((found.span(name).status, found.span(name).panicked), (Status::Error, true), "{name}");
        }
        assert_eq!((found.span("after").status, found.span("after").parent_id), (Status::Unset, None));
        let labels = [("span_name", "inner"), ("span_kind", "SPAN_KIND_INTERNAL")];
        assert_eq!(kit.counter("traces_span_metrics_errors_total", &labels), 1);
    }
}

#[test]
fn a_million_nested_spans_take_no_more_room() {
    for kit in kits() {
        let tracer = kit.tracer();
        let depth: u64 = 1_000_000;
        let mut open: Vec<Span> = (0..depth).map(|_| tracer.span("nested")).collect();
        while let Some(innermost) = open.pop() {
            drop(innermost);
        }
        assert_eq!(tracer.current_span_context(), None);
        assert_eq!(kit.end().kind(Kind::Span).recorded, depth);
        assert_eq!(kit.snapshot().span_durations("nested").map(|taken| taken.count()), Some(depth));
    }
}

#[test]
fn what_is_over_a_limit_is_counted() {
    let span_limits =
        SpanLimits { attributes: 3, events: 2, links: 1, event_attributes: 1, link_attributes: 1, value: 4 };
    let config = Config { span_limits, ..Config::default() };
    let kit = Kit::with(config);
    let tracer = kit.tracer();
    let other = tracer.owned("other").span_context().expect("on");
    let mut span = tracer.span("limited");
    for key in ["a", "b", "c", "d", "e"] {
        (0..10_u64).for_each(|number| span.set(key, number));
    }
    for _ in 0..5 {
        span.event("event").set("text", "longer").set("one too many", true).set("and one more", true);
        span.link(other).set("text", "four").set("one too many", true);
    }
    span.fail_with("a long story");
    span.end();
    let found = kit.recorded();
    let span = found.span("limited");
    assert_eq!(span.attributes, ["a", "b", "c"].map(|key| (key.into(), Value::U64(9))));
    assert_eq!((span.attributes_dropped, span.events_dropped, span.links_dropped), (20, 3, 4));
    assert_eq!((span.events.len(), span.links.len()), (2, 1));
    assert_eq!(span.events[1].attributes, [("text".into(), Value::Cut("long".into()))]);
    assert_eq!((span.events[1].attributes_dropped, span.links[0].attributes_dropped), (2, 1));
    assert_eq!(span.links[0].attributes, [("text".into(), Value::Str("four".into()))]);
    assert_eq!(span.status_message.as_deref(), Some("a lo"));
}

#[test]
fn attributes_of_keys_above_the_cap_are_left_out_and_counted() {
    let (sink, kept) = tellane::Sink::memory(100);
    let config = Config { names_cap: 4, ..Config::default() };
    let telemetry =
        tellane::Telemetry::builder("keys").config(config).log_to(sink).start().expect("it starts");
    let (tracer, log) = (telemetry.tracer(), telemetry.logger("app"));
    let long: &'static str = "k".repeat(1_025).leak();
    for _ in 0..3 {
        let mut span = tracer.span("capped");
        for (number, key) in ["a", "b", "c", "d", "e", "f", "e"].into_iter().enumerate() {
            span.set(key, number as u64);
        }
        span.set("f", "a text");
        span.set(long, true);
        span.event("a").set("b", 1_u64).set("e", 2_u64);
        span.event("a name above the cap");
        span.end();
        tellane::info!(log, "capped", a = 1, e = 2, f = 3);
        let mut draft = log.at(tellane::Level::Info);
        draft.set("a", 1);
        draft.set("f", 3);
        draft.emit("drafted");
    }
    let snapshot = telemetry.snapshot(PATIENCE).expect("it answers");
    assert_eq!(snapshot.spans().count(), 3);
    for span in snapshot.spans() {
        let expected: Vec<_> =
            (0..).zip(["a", "b", "c", "d"]).map(|(number, key)| (key.into(), Value::U64(number))).collect();
        assert_eq!(span.attributes, expected);
        assert_eq!(span.attributes_dropped, 5);
        assert_eq!(
            (&span.events[0].attributes[..], span.events[0].attributes_dropped),
            (&[("b".into(), Value::U64(1))][..], 1)
        );
        assert_eq!((&*span.events[1].name, span.events_dropped), ("__overflow__", 0));
    }
    let dropped: Vec<_> = kept.records().iter().map(|log| (log.fields.len(), log.fields_dropped)).collect();
    assert_eq!(dropped, [(1, 2), (1, 1)].repeat(3));
}

#[test]
fn ten_thousand_attributes_and_a_text_of_a_mebibyte() {
    let keys: &'static str = (0..10_000).map(|number| format!("{number:05}")).collect::<String>().leak();
    let span_limits = SpanLimits { attributes: u16::MAX, value: u16::MAX, ..SpanLimits::default() };
    let config = Config { span_limits, names_cap: 20_000, ..Config::default() };
    let kit = Kit::with(config);
    let tracer = kit.tracer();
    for round in 0..3 {
        let mut span = tracer.span("many");
        (0..10_000).for_each(|number| span.set(&keys[5 * number..5 * number + 5], number));
        span.end();
        let mut span = tracer.span("long");
        span.set("first", round);
        span.set("text", "x".repeat(1 << 20).as_str());
        span.set("short", "x".repeat(30_000).as_str());
        span.set("text", "x".repeat(1_000).as_str());
        span.set("short", "x".repeat(31_000).as_str());
        span.end();
    }
    let found = by_name(&kit);
    let many = &found["many"];
    let kept = (4_095 - 7 - 1) / 2;
    assert_eq!((many.attributes.len(), usize::from(many.attributes_dropped)), (kept, 10_000 - kept));
    let long = &found["long"];
    assert_eq!(long.attributes[1], ("text".into(), Value::Str("x".repeat(1_000))));
    assert_eq!(long.attributes[2], ("short".into(), Value::Str("x".repeat(31_000))));
    assert_eq!(long.attributes_dropped, 1, "there was no room for `short` while `text` was long");
    kit.end();
}

#[test]
fn an_owned_span_ends_where_it_is_dropped_and_keeps_its_parent() {
    for kit in kits() {
        let tracer = kit.tracer();
        let outer = tracer.span("outer");
        let mut moved = tracer.owned("moved");
        moved.set("here", true);
        let outer_id = outer.span_context().expect("on").span_id;
        drop(outer);
        let (to, from) = mpsc::channel();
        std::thread::scope(|scope| {
            let tracer = &tracer;
            scope.spawn(move || {
                let mut moved: OwnedSpan = from.recv().expect("it comes");
                moved.set("there", true);
                let inside = moved.enter();
                drop(tracer.span("inside"));
                drop(inside);
                drop(tracer.span("outside"));
                drop(moved);
            });
            to.send(moved).expect("it is awaited");
        });
        let found = kit.recorded();
        assert_eq!(found.span("moved").parent_id, Some(outer_id));
        assert_eq!(found.span("moved").attributes.len(), 2);
        assert_eq!(found.span("inside").parent_id, Some(found.span("moved").span_id));
        assert_eq!(found.span("outside").parent_id, None);
    }
}

#[test]
fn names_are_counted_by_kind_and_may_be_made_while_running() {
    let kit = Kit::with(Config { sampling: 0.0, ..Config::default() });
    let tracer = kit.tracer();
    for route in ["/a", "/b", "/a"] {
        let name = format!("GET {route}");
        drop(tracer.build(&name).kind(SpanKind::Server).start());
        drop(tracer.build(&name).kind(SpanKind::Client).start_owned());
    }
    drop(tracer.span_with_kind("GET /a", SpanKind::Server));
    let snapshot = kit.snapshot();
    let count = |name, kind| {
        let labels = [("span_name", name), ("span_kind", kind)];
        snapshot.histogram("traces_span_metrics_duration_seconds", &labels).map(|taken| taken.count())
    };
    assert_eq!(
        count("GET /a", "SPAN_KIND_SERVER"),
        Some(3),
        "a literal and a text of the same letters are one name"
    );
    assert_eq!(count("GET /a", "SPAN_KIND_CLIENT"), Some(2));
    assert_eq!(count("GET /b", "SPAN_KIND_SERVER"), Some(1));
    assert_eq!(count("GET /b", "SPAN_KIND_INTERNAL"), None);
    assert_eq!(snapshot.span_durations("GET /a").map(|taken| taken.count()), Some(5));
}

#[test]
fn a_rate_limit_caps_what_is_sampled_and_counts_all() {
    let kit = Kit::with(Config { traces_per_second: Some(5), ..Config::default() });
    let tracer = kit.tracer();
    (0..100).for_each(|_| drop(tracer.span("request")));
    kit.clock().advance(std::time::Duration::from_secs(1));
    (0..100).for_each(|_| drop(tracer.span("request")));
    let snapshot = kit.snapshot();
    assert_eq!(snapshot.spans().count(), 10);
    assert_eq!(snapshot.span_durations("request").map(|taken| taken.count()), Some(200));
    assert_eq!(snapshot.ledger().kind(Kind::Span).unsampled, 190);
    assert_eq!(snapshot.pipeline().traces_limited, 190);
}

#[test]
fn head_sampling_keeps_its_share_and_decides_by_the_trace_id() {
    const TRACES: usize = 20_000;
    let kit = Kit::with(Config { sampling: 0.25, ..Config::default() });
    let tracer = kit.tracer();
    let sampled = (0..TRACES).filter(|_| tracer.span("request").is_sampled()).count();
    // Six standard deviations of a binomial distribution: 0.25 +- 6 * sqrt(0.25 * 0.75 / 20,000).
    assert!((4_632..=5_368).contains(&sampled), "{sampled} of {TRACES}");

    // Two processes that decide for themselves decide alike, and more at a higher ratio includes less at a lower.
    let by_id = |sampling| Kit::with(Config { sampling, parent_based: false, ..Config::default() });
    let (one, other, more) = (by_id(0.25), by_id(0.25), by_id(0.5));
    let decisions = |kit: &Kit, number: u64| {
        let id = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let header = format!("00-{id:032x}-{id:016x}-00");
        let context = Context::extract(&HashMap::from([("traceparent".to_owned(), header)]));
        kit.tracer().build("request").parent(&context).start().is_sampled()
    };
    let mut kept = 0;
    for number in 1..1_000 {
        let [first, second, third] = [&one, &other, &more].map(|kit| decisions(kit, number));
        assert_eq!(first, second);
        assert!(third || !first);
        kept += usize::from(first);
    }
    assert!((150..350).contains(&kept), "{kept}");

    // Whoever is asked to respect the parent does, at whatever ratio.
    let never = Kit::with(Config { sampling: 0.0, ..Config::default() });
    let header = format!("00-{:032x}-{:016x}-01", 7, 7);
    let context = Context::extract(&HashMap::from([("traceparent".to_owned(), header)]));
    assert!(never.tracer().build("request").parent(&context).start().is_sampled());
    assert!(!never.tracer().span("request").is_sampled());
}

#[test]
fn exemplars_name_the_span_they_were_recorded_in() {
    let unsampled = kits_with(Config { sampling: 0.0, ..Config::default() });
    kits().into_iter().zip(unsampled).for_each(|(kit, unsampled)| exemplars(&kit, &unsampled));
}

fn exemplars(kit: &Kit, unsampled: &Kit) {
    let sizes = kit.telemetry().histogram("sizes").register().expect("a good name");
    let others = unsampled.telemetry().histogram("sizes").register().expect("a good name");
    let (tracer, cold) = (kit.tracer(), unsampled.tracer());
    sizes.record(1);
    {
        let outer = tracer.span("outer");
        (0..1_000).for_each(|_| sizes.record(100));
        let inner = tracer.span("inner");
        (0..1_000).for_each(|_| sizes.record(10_000));
        drop(inner);
        drop(outer);
        let _cold = cold.span("cold");
        (0..1_000).for_each(|_| others.record(100));
    }
    (0..1_000).for_each(|_| sizes.record(1_000_000));
    let wide = kit.telemetry().histogram("wide").highest(1 << 50).register().expect("a good name");
    wide.record(1 << 44);
    {
        let _large = tracer.span("large");
        (0..1_000).for_each(|_| wide.record(1 << 45)); // more than one word holds
        wide.record(1 << 60); // clamped
        let _cold = cold.span("cold"); // of the other instance: this thread comes back to ours by the sample
        wide.record(1 << 42);
    }
    // Back at ours inside of what wants no exemplars, inside of what does.
    let late = kit.telemetry().histogram("late").register().expect("a good name");
    {
        let _around = tracer.span("around");
        let baggage = tellane::Baggage::empty().with("user", "alice").expect("a good key");
        let aside = tracer.attach(&Context::default().with_baggage(baggage));
        others.record(1);
        late.record(1);
        drop(aside);
        let _child = tracer.span("inner");
        late.record(1 << 20);
    }
    let snapshot = kit.snapshot();
    let spans: HashMap<u64, String> =
        snapshot.spans().map(|span| (span.span_id, span.name.to_string())).collect();
    let view = snapshot.histogram("sizes", &[]).expect("registered");
    let found: Vec<_> =
        view.exemplars().iter().map(|found| (found.value, spans[&found.span_id].as_str())).collect();
    assert_eq!(found, [(10_000.0, "inner"), (100.0, "outer")]);
    assert_eq!(view.count(), 3_001);
    let view = snapshot.histogram("wide", &[]).expect("registered");
    let mut found: Vec<_> =
        view.exemplars().iter().map(|found| (found.value, spans[&found.span_id].as_str())).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let large = [1_u64 << 42, 1 << 45, 1 << 50].map(|value| (value as f64, "large"));
    assert_eq!((found, view.count()), (large.to_vec(), 1_003));
    let view = snapshot.histogram("late", &[]).expect("registered");
    assert!(view.exemplars().iter().any(|found| spans[&found.span_id] == "inner"), "{:?}", view.exemplars());
    let nothing = unsampled.snapshot();
    assert_eq!(nothing.histogram("sizes", &[]).map(|view| view.exemplars().len()), Some(0));
    assert_eq!(nothing.ledger().exemplars().offered, 0);
    kit.end();
}

#[test]
fn a_context_is_taken_to_another_thread_with_what_it_carries() {
    for kit in kits() {
        let tracer = kit.tracer();
        let order = tracer.span("order");
        let baggage = tellane::Baggage::empty().with("user", "alice").expect("a good key");
        let attached = tracer.current_context().with_baggage(baggage).attach();
        let context = Context::current();
        assert_eq!(context.span(), order.span_context());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(Context::current().span(), None);
                let _attached = context.attach();
                let _child = tracer.span("child");
                assert_eq!(
                    tracer.current_context().baggage().get("user"),
                    Some("alice"),
                    "children inherit it"
                );
            });
        });
        drop(attached);
        assert_eq!(Context::current().baggage().get("user"), None, "it ends with its guard");
        drop(order);
        drop(tracer.span("root")); // a name that is known
        let baggage = tellane::Baggage::empty().with("user", "bob").expect("a good key");
        {
            let _attached = tracer.attach(&Context::default().with_baggage(baggage));
            let _root = tracer.span("root");
            assert_eq!(tracer.current_context().baggage().get("user"), Some("bob"), "and so does a root");
        }
        let found = kit.recorded();
        assert_eq!(found.span("child").parent_id, Some(found.span("order").span_id));
        assert!(!found.span("child").local_root, "its parent is in this process");
    }
}

#[test]
fn a_request_from_elsewhere_goes_on_here() {
    let request = |flags: &str| {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        Context::extract(&HashMap::from([
            ("traceparent".to_owned(), parent),
            ("tracestate".to_owned(), "congo=t61".to_owned()),
            ("baggage".to_owned(), "user=alice".to_owned()),
        ]))
    };
    kits().iter().for_each(|kit| goes_on(kit, &request));
    let alone = Kit::with(Config { parent_based: false, ..Config::default() });
    let _attached = alone.tracer().attach(&request("00"));
    assert!(alone.tracer().span("by itself").is_sampled());
}

fn goes_on(kit: &Kit, request: &impl Fn(&str) -> Context) {
    let tracer = kit.tracer();
    {
        let _attached = tracer.attach(&request("01"));
        let span = tracer.span_with_kind("sampled", SpanKind::Server);
        let mut out: HashMap<String, String> = HashMap::new();
        tracer.current_context().inject(&mut out);
        let own = span.span_context().expect("on");
        assert_eq!(
            out["traceparent"],
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", own.span_id)
        );
        assert_eq!((out["tracestate"].as_str(), out["baggage"].as_str()), ("congo=t61", "user=alice"));
    }
    {
        let _attached = tracer.attach(&request("02"));
        let span = tracer.span("not sampled there");
        assert!(!span.is_sampled() && !span.is_recorded());
        let mut out: HashMap<String, String> = HashMap::new();
        tracer.current_context().inject(&mut out);
        assert!(out["traceparent"].ends_with("-02"), "random it stays: {out:?}");
    }
    drop(tracer.build("by builder").parent(&request("01")).start());
    let found = kit.recorded();
    let span = found.span("sampled");
    assert_eq!(
        (span.trace_id, span.parent_id),
        (0x4bf92f3577b34da6a3ce929d0e0e4736, Some(0x00f067aa0ba902b7))
    );
    assert!(span.local_root);
    assert_eq!(found.span("by builder").trace_state.as_deref(), Some("congo=t61"));
    assert!(found.spans().iter().all(|span| *span.name != *"not sampled there"));
}

#[test]
fn tasks_keep_their_span_over_threads_and_awaits() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let name = task.to_string();
            let inner = tracer.clone();
            let work = async move {
                for step in 0..10 {
                    tokio::task::yield_now().await;
                    drop(inner.build(&format!("{task}.{step}")).start());
                }
            };
            runtime.spawn(work.in_span(tracer.build(&name).start_owned()))
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    let found = by_name(&kit);
    assert_eq!(found.len(), 64 * 11);
    for (name, span) in &found {
        match name.split_once('.') {
            Some((task, _)) => assert_eq!(span.parent_id, Some(found[task].span_id), "{name}"),
            None => assert_eq!((span.parent_id, span.cancelled), (None, false), "{name}"),
        }
    }
}

#[test]
fn a_future_that_is_dropped_ends_its_span_once_as_cancelled() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    struct SpanOnDrop(tellane::Tracer);
    impl Drop for SpanOnDrop {
        fn drop(&mut self) {
            drop(self.0.span("clean up"));
        }
    }
    let inside = SpanOnDrop(tracer.clone());
    let never = async move {
        let _inside = inside;
        std::future::pending::<()>().await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut never = Box::pin(never.in_span(tracer.owned("loser")));
        std::future::poll_fn(|context| {
            assert!(never.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(never); // what `select!` does with those that lose
        drop(std::future::pending::<()>().in_span(tracer.owned("never polled")));
        std::future::ready(()).in_span(tracer.owned("winner")).await;
    });
    let panics = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { panic!("as it happens") }.in_span(tracer.owned("panics")))
    }));
    assert!(panics.is_err());
    assert_eq!(tracer.current_span_context(), None, "a panic leaves the span as well");
    let found = kit.recorded();
    let ends = |name: &str| (found.span(name).cancelled, found.span(name).panicked);
    assert_eq!(
        (ends("loser"), ends("never polled"), ends("winner")),
        ((true, false), (true, false), (false, false))
    );
    assert_eq!(ends("panics"), (false, true));
    assert_eq!(found.span("clean up").parent_id, Some(found.span("loser").span_id));
    assert_eq!(kit.telemetry().ledger().kind(Kind::Span).recorded, 5, "each ended once");
}

/// Polls a future until it panics, keeps it, and drops it when nothing unwinds any more.
fn panic_and_drop_later(future: impl Future) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = Box::pin(future);
    let mut poll = || catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context).is_ready()));
    let panicked = (0..10).any(|_| poll().is_err());
    assert!(panicked);
    drop(future);
}

#[test]
fn a_future_whose_panic_is_caught_fails_though_it_is_dropped_later() {
    for kit in kits() {
        let tracer = kit.tracer();
        let broken = || async {
            tokio::task::yield_now().await;
            panic!("as it happens")
        };
        let broken_result = async {
            broken().await;
            Ok::<(), String>(())
        };
        struct PanicsOnDrop;
        impl Drop for PanicsOnDrop {
            fn drop(&mut self) {
                panic!("as it happens")
            }
        }
        let breaks_at_its_end = async {
            let _inside = PanicsOnDrop;
        };
        let breaks_when_dropped = || async {
            let _inside = PanicsOnDrop;
            std::future::pending::<()>().await;
        };
        // A future of its own, that stays as it is when it panics: a `select!` or a server's loop polls others then.
        let plain = std::future::poll_fn(|_| -> std::task::Poll<()> { panic!("as it happens") });
        panic_and_drop_later(broken().in_span(tracer.owned("async")));
        panic_and_drop_later(broken_result.in_span_err(tracer.owned("async result")));
        panic_and_drop_later(plain.in_span(tracer.owned("poll_fn")));
        panic_and_drop_later(breaks_at_its_end.in_span(tracer.owned("at its end")));
        panic_and_drop_later(
            async { broken().in_span(tracer.owned("inner")).await }.in_span(tracer.owned("outer")),
        );
        let mut dropped = Box::pin(breaks_when_dropped().in_span(tracer.owned("when dropped")));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(dropped))).is_err());
        assert_eq!(tracer.current_span_context(), None, "every span was left");
        let found = kit.recorded();
        let names = ["async", "async result", "poll_fn", "at its end", "inner", "outer", "when dropped"];
        for name in names {
            let span = found.span(name);
            let end = (span.status, span.panicked, span.cancelled);
            assert_eq!(end, (Status::Error, true, false), "{name}");
            let labels = [("span_name", name), ("span_kind", "SPAN_KIND_INTERNAL")];
            assert_eq!(kit.counter("traces_span_metrics_errors_total", &labels), 1, "{name}");
        }
        kit.assert_nothing_lost();
    }
}

#[test]
fn a_guard_leaked_in_a_poll_does_not_leak_into_other_tasks() {
    for kit in kits() {
        let tracer = kit.tracer();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let leaking = async {
            std::mem::forget(tracer.span("leaked"));
            tokio::task::yield_now().await;
            drop(tracer.span("child"));
        };
        runtime.block_on(leaking.in_span(tracer.owned("task")));
        drop(tracer.span("after"));
        let found = kit.recorded();
        assert_eq!(found.span("child").parent_id, Some(found.span("task").span_id));
        assert_eq!(found.span("after").parent_id, None);
    }
}

#[test]
fn a_future_that_has_ended_panics_when_it_is_polled_again() {
    let kit = Kit::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut plain = Box::pin(async {}.in_span(kit.tracer().owned("plain")));
    let mut fails = Box::pin(async { Err::<(), _>("no") }.in_span_err(kit.tracer().owned("fails")));
    assert!(plain.as_mut().poll(&mut context).is_ready());
    assert!(fails.as_mut().poll(&mut context).is_ready());
    for again in [
        catch_unwind(AssertUnwindSafe(|| plain.as_mut().poll(&mut context).is_ready())),
        catch_unwind(AssertUnwindSafe(|| fails.as_mut().poll(&mut context).is_ready())),
    ] {
        let panic = again.expect_err("it says so");
        assert_eq!(panic.downcast_ref(), Some(&"a future in a span was polled after it had completed"));
    }
    assert_eq!(kit.outline(), "fails failed: \"no\"\nplain\n", "each ended once, and well");
    kit.assert_nothing_lost();
}

#[test]
fn refused_headers_are_counted_once_where_the_context_is_first_used() {
    let (kit, other) = (Kit::new(), Kit::new());
    let tracer = kit.tracer();
    let counts = |kit: &Kit| {
        let taken = kit.snapshot();
        let pipeline = taken.pipeline();
        (pipeline.traceparents_refused, pipeline.tracestates_refused, pipeline.baggage_members_refused)
    };
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let whole = Context::extract(&[("traceparent", good), ("tracestate", "a=1"), ("baggage", "a=1")]);
    drop(tracer.attach(&whole));
    assert_eq!(counts(&kit), (0, 0, 0));
    let no_parent = Context::extract(&[("traceparent", "?"), ("baggage", "a=1,b,c")]);
    assert_eq!(counts(&kit), (0, 0, 0), "nobody has used it");
    for clone in [no_parent.clone(), no_parent.with_baggage(tellane::Baggage::empty()), no_parent] {
        drop(tracer.attach(&clone));
        drop(other.tracer().attach(&clone));
    }
    assert_eq!((counts(&kit), counts(&other)), ((1, 0, 2), (0, 0, 0)), "one request counts once");
    let bad_state = Context::extract(&[("traceparent", good), ("tracestate", "A=1")]);
    drop(other.tracer().build("request").parent(&bad_state).start());
    assert_eq!((counts(&kit), counts(&other)), ((1, 0, 2), (0, 1, 0)));
    let snapshot = kit.snapshot();
    let text = tellane::prometheus::render(&snapshot);
    assert!(text.contains("tellane_headers_refused_total{header=\"baggage\"} 2\n"), "{text}");
    assert!(tellane::Report(&snapshot).to_string().contains("traceparents refused 1\n"));
}

#[test]
fn an_entered_span_that_a_panic_leaves_fails_though_the_panic_is_caught() {
    for kit in kits() {
        let tracer = kit.tracer();
        let broken = tracer.owned("broken");
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _inside = broken.enter();
            panic!("as it happens")
        }));
        assert!(caught.is_err());
        drop(broken);

        // Entered and left by a destructor while another panic unwinds, and whole.
        struct Enters(tellane::OwnedSpan);
        impl Drop for Enters {
            fn drop(&mut self) {
                drop(self.0.enter());
            }
        }
        let whole = std::sync::Mutex::new(None);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            struct Gives<'a>(Option<Enters>, &'a std::sync::Mutex<Option<Enters>>);
            impl Drop for Gives<'_> {
                fn drop(&mut self) {
                    let span = self.0.take().expect("given once");
                    drop(span.0.enter());
                    *self.1.lock().expect("no panic under the lock") = Some(span);
                }
            }
            let _gives = Gives(Some(Enters(tracer.owned("whole"))), &whole);
            panic!("as it happens")
        }));
        assert!(caught.is_err());
        drop(whole.into_inner().expect("no panic under the lock"));

        let snapshot = kit.snapshot();
        let outcome = |name: &str| {
            let span = snapshot.spans().find(|span| &*span.name == name).expect("it ended");
            (span.status, span.panicked)
        };
        assert_eq!(outcome("broken"), (Status::Error, true));
        assert_eq!(outcome("whole"), (Status::Unset, false));
    }
}
