//! Sampling by outcome through the public API: what is kept and why, what comes late, the caps, and that metrics of
//! spans are exact whatever is dropped.

use std::collections::HashMap;
use std::time::Duration;
use tellane::testing::Kit;
use tellane::{
    Config, Context, MockClock, Report, Snapshot, TailSampling, TailSamplingStats, Tracer, prometheus,
};

const MILLI: Duration = Duration::from_millis(1);

/// Only what a test asks for keeps a trace.
fn nothing() -> TailSampling {
    TailSampling { errors: false, slower_than_p99: false, ..TailSampling::default() }
}

fn start(sampling: f64, outcome: TailSampling) -> (Kit, Tracer, MockClock) {
    // A span is kept or dropped here, and never lost on the way.
    let config = Config { sampling, tail_sampling: Some(outcome), ring_words: 1 << 18, ..Config::default() };
    // The clock jumps, and the aggregator has done nothing wrong.
    let config = Config { kept_spans: 1 << 20, stall_after: Duration::from_secs(1 << 30), ..config };
    let kit = Kit::with(config);
    let (tracer, hand) = (kit.tracer(), kit.clock().clone());
    (kit, tracer, hand)
}

fn look(kit: &Kit) -> std::sync::Arc<Snapshot> {
    let snapshot = kit.snapshot();
    assert_adds_up(&snapshot);
    snapshot
}

/// Every span that was aggregated was kept, dropped, or is held.
#[track_caller]
fn assert_adds_up(snapshot: &Snapshot) {
    let decisions = snapshot.tail_sampling();
    let decided = decisions.spans_kept + decisions.spans_dropped + decisions.spans_held;
    assert_eq!(decided, snapshot.ledger().kind(tellane::Kind::Span).aggregated, "{decisions:?}");
    assert_eq!(snapshot.spans().count() as u64, decisions.spans_kept, "{decisions:?}");
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.spans().map(|span| span.name.to_string()).collect()
}

/// A trace of a root and a child, and how long the root takes.
fn trace(tracer: &Tracer, hand: &MockClock, name: &'static str, takes: Duration) {
    let _root = tracer.span(name);
    drop(tracer.span("child"));
    hand.advance(takes);
}

#[test]
fn a_failure_keeps_the_whole_trace_and_the_rest_goes() {
    let (kit, tracer, hand) = start(0.0, TailSampling { errors: true, ..nothing() });
    trace(&tracer, &hand, "well", MILLI);
    {
        let _root = tracer.span("root");
        tracer.span("failed").fail();
        drop(tracer.span("after"));
    }
    let snapshot = look(&kit);
    assert_eq!(names(&snapshot), ["failed", "after", "root"]);
    assert!(snapshot.spans().all(|span| !span.sampled));
    let decisions = snapshot.tail_sampling();
    assert_eq!((decisions.error, decisions.uninteresting), (1, 1));
    assert_eq!((decisions.spans_kept, decisions.spans_dropped, decisions.traces_held), (3, 2, 0));
    kit.end();
}

#[test]
fn a_slow_root_keeps_its_trace_and_a_slow_child_does_not() {
    let (kit, tracer, hand) = start(0.0, TailSampling { slower_than: Some(10 * MILLI), ..nothing() });
    trace(&tracer, &hand, "fast", MILLI);
    trace(&tracer, &hand, "just as long", 10 * MILLI);
    trace(&tracer, &hand, "slow", 11 * MILLI);
    {
        let root = tracer.span("root");
        let child = tracer.span("slow child");
        drop(root);
        hand.advance(11 * MILLI);
        drop(child);
    }
    let snapshot = look(&kit);
    assert_eq!(names(&snapshot), ["child", "slow"]);
    assert_eq!((snapshot.tail_sampling().slow, snapshot.tail_sampling().uninteresting), (1, 3));
}

#[test]
fn a_root_above_the_99th_percentile_of_its_name_and_kind_is_kept() {
    let (kit, tracer, hand) = start(0.0, TailSampling { slower_than_p99: true, ..nothing() });
    for _ in 0..99 {
        trace(&tracer, &hand, "order", 10 * MILLI);
        trace(&tracer, &hand, "report", 1_000 * MILLI);
    }
    trace(&tracer, &hand, "order", 500 * MILLI); // there are not enough to say
    let snapshot = look(&kit);
    assert_eq!(snapshot.tail_sampling().traces_kept(), 0);
    trace(&tracer, &hand, "order", 10 * MILLI);
    trace(&tracer, &hand, "order", 50 * MILLI);
    trace(&tracer, &hand, "report", 1_000 * MILLI);
    trace(&tracer, &hand, "report", 50 * MILLI);
    let snapshot = look(&kit);
    assert_eq!(names(&snapshot), ["child", "order"]);
    assert_eq!(snapshot.tail_sampling().slow_p99, 1);
    assert_eq!(snapshot.spans().last().map(|span| span.duration), Some(50 * MILLI));
}

#[test]
fn an_attribute_keeps_a_trace_by_key_or_by_value() {
    let attributes =
        vec![("debug".into(), None), ("tier".into(), Some("gold".into())), ("n".into(), Some("3".into()))];
    let (kit, tracer, _hand) = start(0.0, TailSampling { attributes, ..nothing() });
    let one = |name: &'static str, set: &dyn Fn(&mut tellane::Span)| {
        let _root = tracer.span(name);
        let mut child = tracer.span("child");
        set(&mut child);
    };
    one("plain", &|_| {});
    one("debug", &|span| span.set("debug", false));
    one("gold", &|span| span.set("tier", "gold"));
    one("silver", &|span| span.set("tier", "silver"));
    one("no longer gold", &|span| {
        span.set("tier", "gold");
        span.set("tier", "silver");
    });
    one("three", &|span| span.set("n", 3_u64));
    one("four", &|span| span.set("n", 4_u64));
    one("elsewhere", &|span| span.set("name", "gold debug tier"));
    let snapshot = look(&kit);
    let roots: Vec<_> = names(&snapshot).into_iter().filter(|name| name != "child").collect();
    assert_eq!(roots, ["debug", "gold", "three"]);
    assert_eq!((snapshot.tail_sampling().attribute, snapshot.tail_sampling().uninteresting), (3, 5));
}

#[test]
fn a_child_on_another_thread_that_ended_before_its_root_is_kept_with_it() {
    let (kit, tracer, _hand) = start(0.0, TailSampling { errors: true, ..nothing() });
    for round in 1..=100 {
        let root = tracer.span("root");
        let child = tracer.owned("child");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut child = child;
                child.fail();
            });
        });
        drop(root);
        let decisions = look(&kit).tail_sampling().clone();
        assert_eq!((decisions.error, decisions.spans_kept), (round, 2 * round), "{decisions:?}");
        assert_eq!((decisions.late_kept, decisions.late_dropped), (0, 0));
    }
}

#[test]
fn a_second_call_in_one_trace_is_decided_by_its_own_outcome() {
    let (kit, tracer, _hand) = start(0.0, TailSampling { errors: true, ..nothing() });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let headers = HashMap::from([("traceparent".to_owned(), parent.to_owned())]);
    let call = |fails: bool| {
        let _inside = tracer.attach(&Context::extract(&headers));
        let mut root = tracer.span("called");
        drop(tracer.span("inside"));
        if fails {
            root.fail();
        }
    };
    call(false);
    let snapshot = look(&kit);
    assert_eq!((snapshot.tail_sampling().uninteresting, snapshot.tail_sampling().spans_dropped), (1, 2));
    call(false);
    let snapshot = look(&kit);
    let decisions = snapshot.tail_sampling();
    assert_eq!((decisions.uninteresting, decisions.late_dropped), (1, 2), "one trace, counted once");
    call(true);
    let snapshot = look(&kit);
    assert_eq!(names(&snapshot), ["inside", "called"]);
    let decisions = snapshot.tail_sampling();
    assert_eq!((decisions.uninteresting, decisions.error, decisions.reconsidered), (1, 1, 1));
    assert_eq!((decisions.late_kept, decisions.late_dropped, decisions.traces_held), (2, 2, 0));
    kit.end();
}

#[test]
fn what_comes_after_the_decision_is_kept_with_it_or_held_again() {
    let (kit, tracer, hand) = start(0.0, TailSampling { errors: true, ..nothing() });
    let pair = |fails: bool| {
        let mut root = tracer.span("root");
        if fails {
            root.fail();
        }
        tracer.owned("late")
    };
    let (of_kept, of_dropped) = (pair(true), pair(false));
    let before = look(&kit).tail_sampling().clone();
    assert_eq!((before.error, before.uninteresting), (1, 1));
    std::thread::scope(|scope| {
        scope.spawn(move || drop((of_kept, of_dropped)));
    });
    let snapshot = look(&kit);
    let decisions = snapshot.tail_sampling();
    assert_eq!((decisions.late_kept, decisions.late_dropped, decisions.traces_held), (1, 0, 1));
    hand.advance(TailSampling::default().longest_wait);
    let snapshot = look(&kit);
    let decisions = snapshot.tail_sampling();
    assert_eq!((decisions.late_kept, decisions.late_dropped, decisions.traces_held), (1, 1, 0));
    assert_eq!((decisions.traces_kept(), decisions.traces_dropped()), (1, 1), "decided once");
    assert_eq!(names(&snapshot), ["root", "late"]);
}

#[test]
fn caps_hold_and_say_so() {
    let caps = TailSampling { errors: true, traces: 10, spans_per_trace: 3, ..nothing() };
    let (kit, tracer, _hand) = start(0.0, caps.clone());
    // Of 30 traces that are all open at once, one failed: of each a child has ended, its root has not.
    let roots: Vec<_> = (0..30).map(|number| (number, tracer.build("root").root().start_owned())).collect();
    for (number, root) in &roots {
        let _inside = tracer.attach(&tracer.context_of(root));
        let mut child = tracer.span("child");
        if *number == 3 {
            child.fail();
        }
    }
    let snapshot = look(&kit);
    let decisions = snapshot.tail_sampling();
    assert_eq!((decisions.traces_held, decisions.error, decisions.evicted), (10, 1, 19));
    drop(roots);
    let decisions = look(&kit).tail_sampling().clone();
    assert_eq!((decisions.uninteresting, decisions.evicted, decisions.error), (10, 19, 1));
    assert_eq!((decisions.late_kept, decisions.late_dropped), (1, 19));
    // The fifth child is above the cap, and yet its failure counts; the root has its place.
    let (kit, tracer, _hand) = start(0.0, caps);
    {
        let _root = tracer.span("root");
        (0..4).for_each(|_| drop(tracer.span("child")));
        tracer.span("failed").fail();
    }
    let snapshot = look(&kit);
    assert_eq!(names(&snapshot), ["child", "child", "child", "root"]);
    assert_eq!((snapshot.tail_sampling().error, snapshot.tail_sampling().spans_above_cap), (1, 2));
}

#[test]
fn held_bytes_have_a_cap() {
    let (kit, tracer, _hand) = start(0.0, TailSampling { bytes: 10 * 7 * 8, ..nothing() });
    let roots: Vec<_> = (0..30).map(|_| tracer.build("root").root().start_owned()).collect();
    for root in &roots {
        let _inside = tracer.attach(&tracer.context_of(root));
        drop(tracer.span("child"));
    }
    let snapshot = look(&kit);
    assert_eq!((snapshot.tail_sampling().traces_held, snapshot.tail_sampling().evicted), (10, 20));
}

#[test]
fn a_root_that_does_not_end_is_not_waited_for_without_end() {
    let outcome = TailSampling { errors: true, longest_wait: Duration::from_secs(5), ..nothing() };
    let (kit, tracer, hand) = start(0.0, outcome);
    let (well, failed) =
        (tracer.build("well").root().start_owned(), tracer.build("failed").root().start_owned());
    for (root, fails) in [(&well, false), (&failed, true)] {
        let _inside = tracer.attach(&tracer.context_of(root));
        let mut child = tracer.span("child");
        if fails {
            child.fail();
        }
    }
    assert_eq!(look(&kit).tail_sampling().traces_held, 2);
    hand.advance(Duration::from_secs(6));
    let decisions = look(&kit).tail_sampling().clone();
    assert_eq!((decisions.timed_out, decisions.error, decisions.traces_held), (1, 1, 0));
    drop((well, failed));
    assert_eq!(names(&look(&kit)), ["child", "failed"]);
}

#[test]
fn at_shutdown_the_rest_is_decided_by_what_is_known() {
    let (kit, tracer, _hand) = start(0.0, TailSampling { errors: true, ..nothing() });
    let roots: Vec<_> = (0..2).map(|_| tracer.build("open").root().start_owned()).collect();
    for (number, root) in roots.iter().enumerate() {
        let _inside = tracer.attach(&tracer.context_of(root));
        let mut child = tracer.span("child");
        if number == 0 {
            child.fail();
        }
    }
    drop(tracer.build("ended").root().start());
    kit.end();
    let last = kit.snapshot();
    assert_adds_up(&last);
    let decisions = last.tail_sampling();
    assert_eq!((decisions.error, decisions.timed_out, decisions.uninteresting), (1, 1, 1));
    assert_eq!((decisions.traces_held, decisions.spans_held), (0, 0));
}

#[test]
fn metrics_are_exact_whatever_is_dropped() {
    let outcome = TailSampling { errors: true, slower_than: Some(90 * MILLI), ratio: 0.25, ..nothing() };
    let (kit, tracer, hand) = start(0.2, outcome);
    for number in 0..1_000_u32 {
        let mut root = tracer.span("order");
        drop(tracer.span("child"));
        hand.advance(number % 100 * MILLI);
        if number % 10 == 0 {
            root.fail();
        }
    }
    let snapshot = look(&kit);
    let orders = snapshot.span_durations("order").expect("there were some");
    let sum: u64 = (0..1_000).map(|number| number % 100).sum();
    assert_eq!((orders.count(), orders.sum_recorded()), (1_000, u128::from(sum) * 1_000_000));
    let failed = snapshot.points().filter(|point| point.name() == "traces_span_metrics_errors_total");
    let failed = failed.filter(|point| point.labels().any(|label| label == ("span_name", "order")));
    let failed: Vec<_> = failed.map(|point| point.value().clone()).collect();
    assert_eq!(failed, [tellane::PointValue::Counter(100)]);
    let decisions = snapshot.tail_sampling();
    let decided = decisions.traces_kept() + decisions.traces_dropped();
    assert_eq!((decided, decisions.traces_held), (1_000, 0), "{decisions:?}");
    for (_, reason, count) in decisions.traces() {
        let expected = ["ratio", "error", "slow", "share", "uninteresting"].contains(&reason);
        assert_eq!(count > 0, expected, "{reason}: {decisions:?}");
    }
    // A tenth failed, at random four of five of them were not sampled: far from either end.
    assert!((40..=100).contains(&decisions.error), "{decisions:?}");
    let traces: std::collections::BTreeSet<_> = snapshot.spans().map(|span| span.trace_id).collect();
    assert_eq!(traces.len() as u64, decisions.traces_kept());
    assert_eq!(decisions.spans_kept, 2 * decisions.traces_kept(), "kept whole");
    kit.end();
}

#[test]
fn decisions_are_exported() {
    let (kit, tracer, _hand) = start(0.0, TailSampling { errors: true, ..nothing() });
    tracer.span("failed").fail();
    let snapshot = look(&kit);
    let text = prometheus::render(&snapshot);
    assert!(text.contains("tellane_traces_total{decision=\"kept\",reason=\"error\"} 1\n"), "{text}");
    assert!(text.contains("tellane_traces_total{decision=\"dropped\",reason=\"evicted\"} 0\n"), "{text}");
    let report = Report(&snapshot).to_string();
    let lines: Vec<Vec<_>> = report.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["tail", "sampling", "count"]), "{report}");
    assert!(lines.contains(&vec!["kept", "error", "1"]), "{report}");
    let both = snapshot.merge(&snapshot).expect("they are one");
    assert_eq!(both.tail_sampling().error, 2);
    let none = Kit::new();
    drop(none.tracer().span("sampled"));
    let snapshot = none.snapshot();
    assert_eq!(*snapshot.tail_sampling(), TailSamplingStats::default());
    assert!(!Report(&snapshot).to_string().contains("tail sampling"));
}

#[test]
fn the_slowest_traces_are_trees() {
    let (kit, tracer, hand) = start(0.0, TailSampling { slower_than: Some(MILLI), ..nothing() });
    for number in 0..20_u32 {
        let mut root = tracer.span("root");
        root.set("number", number);
        let outer = tracer.span("outer");
        let mut inner = tracer.span("inner");
        inner.fail();
        hand.advance(number * MILLI);
        drop(inner);
        drop(outer);
        drop(tracer.span("second"));
        if number % 5 == 0 {
            look(&kit);
        }
    }
    let slowest = look(&kit).slowest_traces();
    let durations: Vec<_> = slowest.iter().map(|trace| trace.root.duration.as_millis()).collect();
    assert_eq!(durations, [19, 18, 17, 16, 15, 14, 13, 12]);
    let tree = "root 19ms number=19\n  outer 19ms\n    inner 19ms error\n  second 0ns\n";
    assert_eq!(slowest[0].to_string(), tree);
    assert!(slowest.iter().all(|trace| trace.spans.len() == 3 && trace.more == 0));
}

#[test]
fn faults_of_the_settings_are_named() {
    let outcome =
        TailSampling { ratio: f64::NAN, traces: 0, spans_per_trace: 0, bytes: 0, ..TailSampling::default() };
    let outcome = TailSampling { longest_wait: Duration::ZERO, ..outcome };
    let faults = Config { tail_sampling: Some(outcome), ..Config::default() }.faults();
    let settings: Vec<_> = faults.into_iter().map(|fault| fault.setting).collect();
    let expected = ["ratio", "traces", "spans_per_trace", "bytes", "longest_wait"];
    assert_eq!(settings, expected.map(|setting| format!("tail_sampling.{setting}")));
}
