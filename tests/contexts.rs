//! What goes along with a trace, and what is current when guards go in any order: trace state and baggage by every way
//! that a span can leave its thread.

mod support;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context as Waker, Poll};
use tellane::testing::Kit;
use tellane::{Baggage, Config, Context, Entered, InSpan, OwnedSpan, Span, TraceState, Tracer};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A request of this user, with trace state.
fn request(user: &str) -> HashMap<String, String> {
    HashMap::from([
        ("traceparent".to_owned(), PARENT.to_owned()),
        ("tracestate".to_owned(), "congo=t61".to_owned()),
        ("baggage".to_owned(), format!("user={user}")),
    ])
}

fn bag(user: &str) -> Baggage {
    Baggage::empty().with("user", user).expect("a good member")
}

fn user_of(context: &Context) -> Option<String> {
    context.baggage().get("user").map(str::to_owned)
}

/// Who this thread works for.
fn user() -> Option<String> {
    user_of(&Context::current())
}

/// The current context is of this user, with the trace state that came along.
#[track_caller]
fn assert_all_along(whose: &str) {
    let context = Context::current();
    assert_eq!(user_of(&context).as_deref(), Some(whose));
    assert_eq!(context.trace_state().get("congo"), Some("t61"), "{whose}");
}

/// An owned span of a request whose context is gone.
fn owned(tracer: &Tracer, user: &str) -> OwnedSpan {
    let _attached = tracer.attach(&Context::extract(&request(user)));
    tracer.owned("request")
}

fn elsewhere<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join()).expect("no panic")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

#[test]
fn an_owned_span_keeps_what_came_along() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let span = owned(&tracer, "alice");
    assert_eq!(user(), None, "its context is gone");
    elsewhere(|| {
        let _inside = span.enter();
        assert_all_along("alice");
        let _child = tracer.span("child");
        assert_all_along("alice");
        let grandchild = tracer.owned("grandchild");
        elsewhere(|| {
            let _inside = grandchild.enter();
            assert_all_along("alice");
        });
    });
    assert_eq!(user_of(&tracer.context_of(&span)).as_deref(), Some("alice"));
    let built = tracer.build("built").parent(&Context::extract(&request("bob"))).start_owned();
    elsewhere(|| {
        let _inside = built.enter();
        assert_all_along("bob");
        elsewhere(|| {
            let _inside = span.enter();
            assert_all_along("alice");
        });
    });
    let _other = tracer.attach(&Context::extract(&request("carol")));
    let _inside = span.enter();
    assert_all_along("alice");
}

#[test]
fn a_built_guard_keeps_what_came_along() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let request = Context::extract(&request("alice"));
    let built = tracer.build("built").parent(&request).start();
    drop(request);
    assert_all_along("alice");
    let child = tracer.owned("child");
    drop(built);
    assert_eq!(user(), None);
    elsewhere(|| {
        let _inside = child.enter();
        assert_all_along("alice");
    });
    // Without a span of its own a context adds its baggage to the parent that the thread has.
    let order = tracer.span("order");
    let built = tracer.build("built").parent(&Context::default().with_baggage(bag("bob"))).start();
    assert_eq!(user().as_deref(), Some("bob"));
    assert_eq!(built.span_context().map(|ids| ids.trace_id), order.span_context().map(|ids| ids.trace_id));
    drop((built, order));
    let root = tracer.build("root").parent(&Context::default().with_baggage(bag("carol"))).start();
    assert_eq!(user().as_deref(), Some("carol"));
    let new = tracer.build("new").root().start();
    assert_eq!(user(), None, "a new trace has nothing along");
    drop((new, root));
}

#[test]
fn futures_in_spans_and_contexts_carry_along_on_any_thread() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let users = ["alice", "bob", "carol", "dave", "eve"];
    runtime().block_on(async {
        let tasks: Vec<_> = users
            .iter()
            .flat_map(|whose| (0..20).map(move |number| (*whose, number)))
            .map(|(whose, number)| {
                let tracer = tracer.clone();
                let span = (number % 2 == 0).then(|| owned(&tracer, whose));
                let context = tracer.extract(&request(whose));
                let work = async move {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                        assert_all_along(whose);
                        let _guard = tracer.span("guard");
                        assert_all_along(whose);
                    }
                    let inner = async { assert_all_along(whose) };
                    inner.in_span(tracer.owned("inner")).await;
                    let task = async move { assert_all_along(whose) }.in_context(Context::current());
                    tokio::spawn(task).await.expect("no panic");
                    let nobody = async { assert_eq!(user(), None) };
                    nobody.in_context(tracer.extract(&HashMap::<String, String>::new())).await;
                    assert_all_along(whose);
                };
                match span {
                    Some(span) => tokio::spawn(work.in_span(span)),
                    None => tokio::spawn(work.in_context(context)),
                }
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    assert_eq!(user(), None);
}

#[test]
fn a_future_in_a_context_needs_no_span_and_leaves_nothing_behind() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    drop(tracer.span("first")); // this thread is at the instance now
    let context = Context::default().with_baggage(bag("alice"));
    let mut polls = 0;
    let work = std::future::poll_fn(|_| {
        polls += 1;
        assert_eq!(user().as_deref(), Some("alice"));
        std::mem::forget(tracer.span("leaked")); // goes with the poll
        if polls < 3 { Poll::Pending } else { Poll::Ready(polls) }
    });
    let mut work = pin!(work.in_context(context));
    let mut waker = Waker::from_waker(std::task::Waker::noop());
    let _around = tracer.attach(&Context::default().with_baggage(bag("bob")));
    for _ in 0..2 {
        assert_eq!(work.as_mut().poll(&mut waker), Poll::Pending);
        assert_eq!((user().as_deref(), tracer.current_span_context()), (Some("bob"), None));
    }
    assert_eq!(work.as_mut().poll(&mut waker), Poll::Ready(3));
    assert_eq!((user().as_deref(), tracer.current_span_context()), (Some("bob"), None));
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.as_mut().poll(&mut waker)));
    assert!(again.is_err(), "it has ended");
    assert_eq!(user().as_deref(), Some("bob"));

    // Destructors run in the context, too, and a panic leaves it.
    struct Asks<'a>(&'a mut Option<String>);
    impl Drop for Asks<'_> {
        fn drop(&mut self) {
            *self.0 = user();
        }
    }
    let mut asked = None;
    let asks = Asks(&mut asked);
    let pending = async move {
        let _asks = asks;
        std::future::pending::<()>().await;
    };
    let mut work = Box::pin(pending.in_context(Context::default().with_baggage(bag("carol"))));
    assert!(work.as_mut().poll(&mut waker).is_pending());
    drop(work);
    assert_eq!(asked.as_deref(), Some("carol"));
    let panics = async { panic!("as it happens") }.in_context(Context::default().with_baggage(bag("dave")));
    let mut panics: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(panics);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics.as_mut().poll(&mut waker)));
    assert!(outcome.is_err());
    assert_eq!(user().as_deref(), Some("bob"));
}

#[test]
fn a_context_goes_to_a_task_and_over_the_wire_again() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let span = owned(&tracer, "alice");
    let context = {
        let _inside = span.enter();
        Context::current()
    };
    assert_eq!(context, tracer.context_of(&span));
    drop(span);
    elsewhere(|| {
        let _attached = context.attach();
        assert_all_along("alice");
        let mut headers = HashMap::new();
        Context::current().inject(&mut headers);
        assert_eq!(
            (headers["tracestate"].as_str(), headers["baggage"].as_str()),
            ("congo=t61", "user=alice")
        );
        let other = Context::current().with_trace_state(TraceState::empty()).with_baggage(bag("bob"));
        let _attached = other.attach();
        let _child = tracer.span("child");
        assert_eq!(Context::current().trace_state(), TraceState::empty());
        assert_eq!(user().as_deref(), Some("bob"));
        let _none = Context::current().with_baggage(Baggage::empty()).attach();
        let owned = tracer.owned("owned");
        elsewhere(|| {
            let _inside = owned.enter();
            assert_eq!(user(), None, "nothing goes along any more");
        });
    });
}

#[test]
fn many_requests_at_once_never_mix() {
    let kit = Kit::with(Config { ring_words: 1 << 10, ..support::patient() });
    let tracer = kit.tracer();
    let start = Arc::new(Barrier::new(4));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (tracer, start) = (&tracer, Arc::clone(&start));
            scope.spawn(move || {
                start.wait();
                let mut open: Vec<(String, OwnedSpan)> = Vec::new();
                for number in 0..2_000_usize {
                    let whose = format!("{thread}.{number}");
                    open.push((whose.clone(), owned(tracer, &whose)));
                    if open.len() > 30 {
                        drop(open.swap_remove(number % 30));
                    }
                    let (whose, span) = &open[number % open.len()];
                    let _inside = span.enter();
                    assert_eq!(user().as_ref(), Some(whose));
                }
            });
        }
    });
}

#[test]
fn of_two_contexts_the_second_stays_until_its_own_guard_goes() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    for _ in 0..1_000 {
        let first = tracer.attach(&Context::extract(&request("alice")));
        let second = tracer.attach(&Context::extract(&request("bob")).with_baggage(bag("bob")));
        drop(first);
        assert_all_along("bob");
        let child = tracer.span("child");
        assert_eq!(
            child.span_context().map(|ids| ids.trace_id),
            Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)
        );
        drop(second);
        assert_all_along("bob"); // the span stays, with what came along
        let owned = tracer.owned("owned");
        drop(child);
        assert_eq!((user(), tracer.current_span_context()), (None, None));
        elsewhere(|| {
            let _inside = owned.enter();
            assert_all_along("bob");
        });
    }
}

#[test]
fn each_context_may_be_attached_before_the_last_one_goes() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let mut last = tracer.attach(&Context::extract(&request("0")));
    for number in 1..1_000 {
        let whose = number.to_string();
        let next = tracer.attach(&Context::extract(&request(&whose)));
        drop(std::mem::replace(&mut last, next));
        assert_all_along(&whose);
        let child = tracer.span("child");
        assert_all_along(&whose);
        drop(child);
    }
    drop(last);
    assert_eq!((user(), tracer.current_span_context()), (None, None));
}

/// Ends three things that are current at once in every order, and asks after each step what is.
fn in_every_order<G>(tracer: &Tracer, begin: impl Fn(usize) -> (G, u64)) {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut open: Vec<Option<(G, u64)>> = (0..3).map(|number| Some(begin(number))).collect();
        for ended in order {
            open[ended] = None;
            let innermost = open.iter().rev().flatten().next().map(|(_, id)| *id);
            assert_eq!(
                tracer.current_span_context().map(|ids| ids.span_id),
                innermost,
                "{order:?}, {ended} has ended"
            );
            let new = tracer.span("new");
            assert_eq!(tracer.current_span_context(), new.span_context());
            drop(new);
            assert_eq!(
                tracer.current_span_context().map(|ids| ids.span_id),
                innermost,
                "{order:?}, {ended} has ended"
            );
        }
    }
}

fn id_of(span: &OwnedSpan) -> u64 {
    span.span_context().expect("on").span_id
}

#[test]
fn three_contexts_or_entered_spans_in_every_order() {
    for kit in [Kit::new(), Kit::on_system_clock(support::patient())] {
        let tracer = kit.tracer();
        let spans: Vec<OwnedSpan> = (0..3).map(|_| tracer.owned("owned")).collect();
        let attach = |number: usize| (tracer.context_of(&spans[number]).attach(), id_of(&spans[number]));
        let enter = |number: usize| (spans[number].enter(), id_of(&spans[number]));
        in_every_order(&tracer, attach);
        in_every_order(&tracer, enter);
        elsewhere(|| in_every_order(&tracer, attach));
        elsewhere(|| in_every_order(&tracer, enter));
        let around = tracer.span("around");
        let inner: Vec<Entered<'_>> = spans.iter().map(OwnedSpan::enter).collect();
        drop(around);
        assert_eq!(
            tracer.current_span_context(),
            spans[2].span_context(),
            "the end of a span around them is not theirs"
        );
        drop(inner);
        assert_eq!(tracer.current_span_context(), None);
    }
}

#[test]
fn guards_mixed_with_contexts_and_entered_spans() {
    enum Guard<'a> {
        ContextGuard(#[allow(dead_code)] tellane::ContextGuard),
        Entered(#[allow(dead_code)] Entered<'a>),
        Span(#[allow(dead_code)] Box<Span>), // a span is half a KiB
    }
    for kit in [Kit::new(), Kit::on_system_clock(support::patient())] {
        let tracer = kit.tracer();
        let spans: Vec<OwnedSpan> = (0..3).map(|_| tracer.owned("owned")).collect();
        for kinds in 0..27 {
            in_every_order_but_guards(&tracer, |number| match kinds / 3_usize.pow(number as u32) % 3 {
                0 => (
                    Guard::ContextGuard(tracer.context_of(&spans[number]).attach()),
                    id_of(&spans[number]),
                    true,
                ),
                1 => (Guard::Entered(spans[number].enter()), id_of(&spans[number]), true),
                _ => {
                    let span = tracer.span("guard");
                    let id = id_of(&span);
                    (Guard::Span(Box::new(span)), id, false)
                }
            });
        }
    }
}

/// The same with guards of spans among them, which take the guards of spans directly inside along.
fn in_every_order_but_guards<G>(tracer: &Tracer, begin: impl Fn(usize) -> (G, u64, bool)) {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut open: Vec<Option<(G, u64, bool)>> = (0..3).map(|number| Some(begin(number))).collect();
        let mut current: Vec<usize> = vec![0, 1, 2];
        for ended in order {
            let stays = open[ended].as_ref().is_some_and(|(_, _, stays)| *stays);
            if let Some(at) = current.iter().position(|number| *number == ended) {
                let is_guard = |number: &usize| open[*number].as_ref().is_some_and(|(_, _, stays)| !stays);
                let along =
                    if stays { 0 } else { current[at + 1..].iter().take_while(|n| is_guard(n)).count() };
                current.drain(at..=at + along);
            }
            open[ended] = None;
            let innermost = current.last().and_then(|number| open[*number].as_ref()).map(|(_, id, _)| *id);
            assert_eq!(
                tracer.current_span_context().map(|ids| ids.span_id),
                innermost,
                "{order:?}, {ended} has ended"
            );
            let parent = tracer.owned("child");
            let same = tracer.current_span_context().map(|ids| ids.trace_id);
            assert!(same.is_none() || parent.span_context().map(|ids| ids.trace_id) == same);
        }
        assert_eq!(tracer.current_span_context(), None);
    }
}

#[test]
fn a_thread_that_ends_with_guards_out_of_order_takes_nothing_along() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    let spans: Vec<OwnedSpan> = (0..3).map(|_| owned(&tracer, "alice")).collect();
    elsewhere(|| {
        let guards: Vec<_> = spans.iter().map(OwnedSpan::enter).collect();
        let mut guards = guards.into_iter();
        drop(guards.next());
        std::mem::forget(guards); // the thread ends inside
    });
    elsewhere(|| {
        assert_eq!((user(), tracer.current_span_context()), (None, None), "the next thread begins outside");
        let _inside = spans[2].enter();
        assert_all_along("alice");
    });
    drop(spans);
    assert_eq!(kit.spans().len(), 3);
}

#[test]
fn exemplars_follow_what_is_current() {
    let kit = Kit::new();
    let (tracer, sizes) = (kit.tracer(), kit.telemetry().histogram("sizes").register().expect("a good name"));
    let spans: Vec<OwnedSpan> = (0..2).map(|_| tracer.owned("owned")).collect();
    let (first, second) = (spans[0].enter(), spans[1].enter());
    drop(first);
    sizes.record(100);
    drop(second);
    sizes.record(1_000_000);
    let snapshot = kit.snapshot();
    let exemplars: Vec<_> = snapshot
        .histogram("sizes", &[])
        .expect("registered")
        .exemplars()
        .iter()
        .map(|e| (e.value, e.span_id))
        .collect();
    assert_eq!(exemplars, [(100.0, id_of(&spans[1]))]);
}
