//! Tests of the step, driven by hand one pass at a time: no thread, no sleep, and a mock clock.

mod oracle;
mod set_back;

use super::{FailPoint, FailPoints, Step};
use crate::clock::{Clock, MockClock};
use crate::instance::{Instance, enlist};
use crate::lane::{Lane, LaneRegistry, Limits};
use crate::metrics::{CounterBuilder, HistogramBuilder};
use crate::record::{self, Record, encode, layout};
use crate::sampling::Sampling;
use crate::series::Caps;
use crate::snapshot::FinishedSpan;
use crate::stats::{Kind, Ledger, Reason};
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, OwnCopy};
use crate::targets::LogSettings;
use crate::trace::Tracer;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// An instance without the worker's thread.
struct Bench {
    instance: Arc<Instance>,
    step: Step,
    hand: MockClock,
}

fn bench(ring_words: usize, fail_points: FailPoints) -> Bench {
    bench_with(ring_words, 1 << 14, fail_points)
}

fn bench_with(ring_words: usize, spill_words: usize, fail_points: FailPoints) -> Bench {
    static INSTANCES: AtomicU32 = AtomicU32::new(1 << 20);
    let (clock, hand) = Clock::mock();
    let limits = Limits { ring_words, spill_words, first_cells: 16, lanes: 8, idle: 0 };
    let second = Duration::from_secs(1);
    let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
    let lanes = Arc::new(LaneRegistry::new(instance, limits, clock, second, second));
    let instance = Arc::new(Instance::new(
        lanes,
        Caps { series: 100, names: 100, label: 100 },
        Sampling::default(),
        LogSettings::default(),
    ));
    enlist(&instance);
    let step = Step::new(Arc::clone(&instance), "bench".into(), 1 << 16, fail_points);
    Bench { instance, step, hand }
}

impl Bench {
    fn tracer(&self) -> Tracer {
        Tracer::new(&self.instance)
    }

    fn ledger(&self) -> Ledger {
        self.instance.lanes.ledger()
    }

    fn spans(&mut self) -> Vec<FinishedSpan> {
        self.step.snapshot().spans().collect()
    }

    /// A lane without a thread, for words that no producer would write.
    fn lane(&self) -> Arc<Lane> {
        self.instance.lanes.acquire_lane().expect("below the cap")
    }
}

fn assert_balanced(ledger: &Ledger) {
    for kind in Kind::ALL {
        let account = ledger.kind(kind);
        let found = account.aggregated + account.dropped.total() + account.suppressed();
        assert_eq!((account.recorded, account.in_flight), (found, 0), "{kind:?}: {account:?}");
    }
    let exemplars = ledger.exemplars();
    assert_eq!(exemplars.offered, exemplars.kept + exemplars.replaced + exemplars.no_room, "{exemplars:?}");
}

#[test]
fn durations_and_times_are_those_of_the_clock() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let (tracer, hand) = (bench.tracer(), bench.hand.clone());
    let outer = tracer.span("outer");
    hand.advance(Duration::from_nanos(5));
    let inner = tracer.span("inner");
    hand.advance(Duration::from_micros(7));
    drop(inner);
    hand.advance(Duration::from_secs(3));
    drop(outer);
    let spans = bench.spans();
    let seen: Vec<_> = spans.iter().map(|span| (&*span.name, span.start_unix_nanos, span.duration)).collect();
    let second = 1_000_000_000; // where a mock clock begins
    assert_eq!(
        seen,
        [
            ("inner", second + 5, Duration::from_micros(7)),
            ("outer", second, Duration::from_nanos(3_000_007_005)),
        ]
    );
    assert_eq!((spans[0].parent_id, spans[1].parent_id), (Some(spans[1].span_id), None));
    assert_eq!(spans[0].trace_id, spans[1].trace_id);
    let snapshot = bench.step.snapshot();
    let durations = snapshot.span_durations("outer").expect("one ended");
    assert_eq!((durations.count(), durations.sum_recorded()), (1, 3_000_007_005));
    assert_balanced(&bench.ledger());
}

#[test]
fn a_clock_that_runs_backwards_gives_zero_durations() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let (tracer, hand) = (bench.tracer(), bench.hand.clone());
    let span = tracer.span("backwards");
    hand.set(5);
    drop(span);
    let timer = crate::metrics::TimerBuilder::new(&bench.instance, "timed").register().unwrap();
    hand.set(1_000);
    let running = timer.start();
    hand.set(10);
    assert_eq!(running.stop(), Some(Duration::ZERO));
    assert_eq!(bench.spans()[0].duration, Duration::ZERO);
    let snapshot = bench.step.snapshot();
    assert_eq!(snapshot.histogram("timed_seconds", &[]).and_then(|timed| timed.max()), Some(0.0));
    assert_eq!(snapshot.uptime(), Duration::ZERO);
    assert_balanced(&bench.ledger());
}

#[test]
fn spans_that_end_out_of_order_keep_their_parents_and_times() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let (tracer, hand) = (bench.tracer(), bench.hand.clone());
    let a = tracer.span("a");
    let b = tracer.span("b");
    let c = tracer.span("c");
    let ids: Vec<_> = [&a, &b, &c].map(|span| span.span_context().expect("it is on").span_id).into();
    hand.advance(Duration::from_secs(1));
    drop(a);
    let root = tracer.span("root");
    hand.advance(Duration::from_secs(1));
    drop(c);
    let child = tracer.span("child");
    let root_id = root.span_context().expect("it is on").span_id;
    drop(b);
    drop(root);
    drop(child);
    let seen: Vec<_> = bench
        .spans()
        .iter()
        .map(|span| (span.name.to_string(), span.parent_id, span.duration.as_secs()))
        .collect();
    let expected = [
        ("a", None, 1),
        ("c", Some(ids[1]), 2),
        ("b", Some(ids[0]), 2),
        ("root", None, 1),
        ("child", Some(root_id), 0),
    ];
    assert_eq!(seen, expected.map(|(name, parent, seconds)| (name.to_owned(), parent, seconds)));
}

#[test]
fn a_duration_beyond_the_histogram_is_clamped_and_noted() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let span = bench.tracer().span("long");
    bench.hand.advance(Duration::from_nanos(layout::SAMPLE_MAX + 1));
    drop(span);
    let snapshot = bench.step.snapshot();
    let durations = snapshot.span_durations("long").expect("one ended");
    assert_eq!(durations.sum_recorded(), u128::from(layout::SAMPLE_MAX));
    assert_eq!(bench.ledger().clamped(), 1);
    assert_eq!(
        bench.spans()[0].duration,
        Duration::from_nanos(layout::SAMPLE_MAX + 1),
        "the span keeps its duration"
    );
}

#[test]
fn one_pass_drains_all_published_records() {
    let mut bench = bench(1 << 6, FailPoints::default());
    let sizes = HistogramBuilder::new(&bench.instance, "sizes").highest(u64::MAX).register().unwrap();
    let counter = CounterBuilder::new(&bench.instance, "calls").register().unwrap();
    assert_eq!(bench.step.run().words, 0);
    (0..10).for_each(|value| sizes.record(value));
    sizes.record(u64::MAX);
    counter.add(3);
    let samples = |bench: &Bench| bench.ledger().kind(Kind::Sample);
    assert_eq!((samples(&bench).recorded, samples(&bench).in_flight), (11, 11));
    let found = bench.step.run();
    assert_eq!((found.words, found.fill_permille), (12, 187), "of 64 words");
    assert_eq!((samples(&bench).aggregated, samples(&bench).in_flight), (11, 0));
    (0..1_000).for_each(|value| sizes.record(value));
    let found = bench.step.run();
    assert_eq!(found.words, 32, "samples fill half the ring, the rest is counted in the lane");
    assert_eq!(samples(&bench).in_flight, 968);
    let snapshot = bench.step.snapshot();
    assert_balanced(&bench.ledger());
    let view = snapshot.histogram("sizes", &[]).expect("registered");
    assert_eq!((view.count(), view.sum_recorded()), (1_011, 45 + 499_500 + u128::from(u64::MAX)));
    assert_eq!(snapshot.counter("calls_total", &[]), Some(3));
}

#[test]
fn runs_of_one_series_are_counted_like_single_samples() {
    let mut bench = bench(1 << 14, FailPoints::default());
    let series = ["a", "b"].map(|name| {
        HistogramBuilder::new(&bench.instance, name).digits(1).highest(1 << 30).register().unwrap()
    });
    let mut expected = [(0, 0_u128, u64::MAX, 0); 2];
    // Runs as long as a block, shorter and longer, each after a run of the other series.
    for (turn, length) in [1, 63, 64, 65, 2, 128, 129, 300, 1, 1, 64].into_iter().enumerate() {
        for number in 0..length {
            let value = (number * 0x9E37_79B9) >> (number % 31);
            series[turn % 2].record(value);
            let value = value.min(1 << 30);
            let (count, sum, min, max) = expected[turn % 2];
            expected[turn % 2] = (count + 1, sum + u128::from(value), min.min(value), max.max(value));
        }
    }
    let snapshot = bench.step.snapshot();
    for (name, expected) in ["a", "b"].into_iter().zip(expected) {
        let view = snapshot.histogram(name, &[]).expect("registered");
        assert_eq!((view.count(), view.sum_recorded(), view.min, view.max), expected, "{name}");
        assert_eq!(view.buckets().map(|(_, _, count)| count).sum::<u64>(), view.count());
    }
    assert_balanced(&bench.ledger());
}

#[test]
fn corrupt_words_are_counted_and_skipped() {
    let mut bench = bench(1 << 14, FailPoints::default());
    let sizes = HistogramBuilder::new(&bench.instance, "sizes").register().unwrap();
    sizes.record(0); // registers the series
    let lane = bench.lane();
    let head = OwnCopy::new(0);
    let corrupt = |bench: &Bench| {
        let ledger = bench.ledger();
        Kind::ALL.map(|kind| ledger.kind(kind).dropped.by(Reason::Corrupt)).iter().sum::<u64>()
    };
    let span = |name: u32| {
        let mut words = Vec::new();
        let span = record::Span { name, duration: 1, ..record::Span::default() };
        encode(&Record::Span(span), &mut words).expect("it fits");
        words
    };
    // Framed, but invalid: each is skipped alone.
    let framed = [
        vec![layout::sample(999, 5)],
        vec![layout::header(layout::KIND_WIDE_SAMPLE, 999, 2, 0, 0), 5],
        span(77),
        vec![layout::header(layout::KIND_DEFINITION, 0, 1, 1, 0)],
    ];
    let mut expected = 0;
    for words in &framed {
        assert!(lane.ring.push_span::<true, _, _>(&head, || [], [&words[..]], || ()));
        assert!(lane.ring.push_sample(&head, [layout::sample(0, 7)]));
        expected += 1;
    }
    bench.step.run();
    assert_eq!(corrupt(&bench), expected);
    let sum =
        |bench: &mut Bench| bench.step.snapshot().histogram("sizes", &[]).map(|view| view.sum_recorded());
    assert_eq!(sum(&mut bench), Some(4 * 7), "the samples between them were not lost");

    // Words that cannot be framed lose all words published with them, in any number of chunks, but nothing later.
    let broken = [0, 0xF, layout::header(layout::KIND_SPAN, 0, 3, 0, 0)];
    for word in broken {
        let before = bench.ledger().kind(Kind::Sample).aggregated;
        assert!(lane.ring.push_span::<true, _, _>(&head, || [layout::sample(0, 1), word], [], || ()));
        (0..6_000).for_each(|_| {
            assert!(lane.ring.push_span::<true, _, _>(&head, || [layout::sample(0, 1)], [], || ()))
        });
        bench.step.run();
        expected += 1;
        assert_eq!(corrupt(&bench), expected, "{word:#x}");
        assert_eq!(bench.ledger().kind(Kind::Sample).aggregated - before, 1, "{word:#x}: the one before it");
        assert!(lane.ring.push_sample(&head, [layout::sample(0, 3)]));
        bench.step.run();
    }
    // A record whose length exceeds the published words.
    let endless = layout::header(layout::KIND_SPAN, 0, 4_095, 0, 0);
    assert!(lane.ring.push_span::<true, _, _>(&head, || [endless], [], || ()));
    bench.step.run();
    assert_eq!(corrupt(&bench), expected + 1);
    assert!(lane.ring.push_sample(&head, [layout::sample(0, 5)]));
    assert_eq!(sum(&mut bench), Some(4 * 7 + 3 * (1 + 3) + 5));
    // Given-up records are counted at the end.
    assert!(bench.ledger().kind(Kind::Sample).in_flight > 10_000);
    bench.instance.lanes.close();
    bench.step.sweep();
    let samples = bench.ledger().kind(Kind::Sample);
    assert_eq!((samples.in_flight, samples.recorded), (0, samples.aggregated + samples.dropped.total()));
}

/// Exemplars that no histogram accepts are not lost records: they are counted in their own account.
#[test]
fn exemplars_that_cannot_be_read_are_counted_in_their_own_account() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let sizes = HistogramBuilder::new(&bench.instance, "sizes").register().unwrap();
    sizes.record(0); // registers the series
    let lane = bench.lane();
    let head = OwnCopy::new(0);
    let send = |words: &[u64]| {
        let count = || lane.tally.exemplar_sent();
        assert!(lane.ring.push_span::<true, _, _>(&head, || [], [words], count));
        lane.tally.add_other_words(words.len());
    };
    send(&record::exemplar_words(0, [7, 1, 2, 3, 4]));
    send(&record::exemplar_words(999, [7, 1, 2, 3, 4])); // an unknown series
    send(&[layout::header(layout::KIND_EXEMPLAR, 0, 3, 0, 0), 7, 1]); // too short
    bench.step.run();
    // After the end, one more, and one that cannot be framed, which loses the entry that follows it.
    bench.instance.lanes.close();
    send(&record::exemplar_words(0, [9, 1, 2, 3, 4]));
    send(&[layout::header(layout::KIND_EXEMPLAR, 0, 0, 0, 0)]);
    send(&record::exemplar_words(0, [10, 1, 2, 3, 4]));
    bench.step.sweep();
    let ledger = bench.ledger();
    let exemplars = ledger.exemplars();
    assert_eq!(exemplars.to_string(), "exemplars offered=6 kept=1 replaced=0 no_room=5");
    let total = ledger.total();
    assert_eq!((total.recorded, total.aggregated, total.dropped.total()), (1, 1, 0), "the sample");
    assert_balanced(&ledger);
}

#[test]
fn after_a_panic_the_lane_being_drained_is_finished_first() {
    // Two lanes. Folding the 500th span of the second one panics, in a chunk that ends inside a later span.
    let folds = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&folds);
    let hook = move |at| {
        if at == FailPoint::Span && seen.fetch_add(1, Ordering::Relaxed) == 1_499 {
            std::panic::resume_unwind(Box::new("injected"));
        }
    };
    let mut bench = bench(1 << 14, FailPoints(Some(Arc::new(hook))));
    let tracer = bench.tracer();
    let spans = || (0..1_000).for_each(|_| drop(tracer.span("work")));
    CounterBuilder::new(&bench.instance, "calls").register().unwrap().inc(); // this thread's lane is the first
    std::thread::scope(|scope| {
        scope.spawn(spans).join().expect("no panic");
    });
    spans();
    assert!(catch_unwind(AssertUnwindSafe(|| bench.step.run())).is_err());
    bench.step.run();
    let account = bench.ledger().kind(Kind::Span);
    assert_eq!((account.aggregated, account.dropped.by(Reason::Corrupt)), (1_999, 1));
    assert_balanced(&bench.ledger());
    assert_eq!(bench.step.snapshot().span_durations("work").map(|view| view.count()), Some(1_999));
    assert_eq!(bench.ledger().kind(Kind::Sample).recorded, 0);
}

#[test]
fn a_lane_that_joined_after_the_roll_call_is_drained_before_it_is_retired() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let lane = bench.lane();
    let sizes = HistogramBuilder::new(&bench.instance, "sizes").register().unwrap();
    bench.instance.lanes.hand_back(lane);
    bench.step.run();
    assert_eq!(bench.instance.lanes.counts(), (0, 0), "no idle lane is kept");
    // A lane that joins between the roll call and the retirement of one pass is retired without having had a reader.
    let lane = bench.lane();
    let head = OwnCopy::new(0);
    assert!(lane.ring.push_sample(&head, [layout::sample(0, 5)]));
    bench.instance.lanes.hand_back(lane);
    bench.step.retire_surplus();
    bench.step.run();
    assert_balanced(&bench.ledger());
    assert_eq!(bench.ledger().kind(Kind::Sample).aggregated, 1);
    drop(sizes);
}

#[test]
fn a_panic_while_a_lane_is_retired_leaves_it_idle() {
    let failures = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&failures);
    let hook = move |at| {
        if at == FailPoint::Span && seen.fetch_add(1, Ordering::Relaxed) == 0 {
            std::panic::resume_unwind(Box::new("injected"));
        }
    };
    let mut bench = bench(1 << 10, FailPoints(Some(Arc::new(hook))));
    let counter = CounterBuilder::new(&bench.instance, "calls").register().unwrap();
    let tracer = bench.tracer();
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            counter.add(7);
            (0..3).for_each(|_| drop(tracer.span("work")));
        });
        recording.join().expect("no panic");
    });
    let gone = catch_unwind(AssertUnwindSafe(|| bench.step.retire_surplus()));
    assert!(gone.is_err());
    assert_eq!(bench.instance.lanes.counts(), (1, 1), "the lane is idle again");
    bench.step.run();
    assert_eq!(bench.instance.lanes.counts(), (0, 0));
    assert_balanced(&bench.ledger());
    let spans = bench.ledger().kind(Kind::Span);
    assert_eq!((spans.recorded, spans.aggregated, spans.dropped.by(Reason::Corrupt)), (3, 2, 1));
    assert_eq!(bench.step.snapshot().counter("calls_total", &[]), Some(7));
}

#[test]
fn records_made_while_the_lanes_close_are_swept() {
    let mut bench = bench(1 << 6, FailPoints::default());
    let sizes = HistogramBuilder::new(&bench.instance, "sizes").register().unwrap();
    sizes.record(1);
    let (lane, head) = (bench.lane(), OwnCopy::new(0));
    let lanes = Arc::clone(&bench.instance.lanes);
    lanes.close();
    bench.step.run();
    drop(bench.step.snapshot());
    // The acts of a producer that read the mode before the lane was closed: it uses the ring, its spill, the shared
    // counts.
    let distribution = lanes.distributions.get(0).expect("registered");
    assert!(lane.ring.push_sample(&head, [layout::sample(0, 5)]));
    assert!(lane.spill.add(distribution, 5).is_some() && lane.spill.add(distribution, 6).is_some());
    (0..3).for_each(|value| lanes.share_sample(&distribution.shared_histogram, value));
    assert_eq!(bench.ledger().kind(Kind::Sample).in_flight, 6);
    bench.step.sweep();
    assert_balanced(&bench.ledger());
    let samples = bench.ledger().kind(Kind::Sample);
    assert_eq!((samples.aggregated, samples.dropped.by(Reason::AfterShutdown)), (1, 6));
    bench.step.sweep();
    assert_eq!(bench.ledger().kind(Kind::Sample), samples, "a second sweep finds nothing");
}
