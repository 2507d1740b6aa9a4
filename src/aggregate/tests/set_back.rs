//! Tests with a counter that starts again from a lower value while wall time goes on, as on a restored machine.

use super::*;
use crate::Snapshot;
use crate::config::TailSampling;
use crate::metrics::TimerBuilder;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// Name, start and times of the events of the latest spans.
fn dated(snapshot: &Snapshot) -> Vec<(String, u64, Vec<u64>)> {
    let of = |span: FinishedSpan| {
        let events = span.events.iter().map(|event| event.unix_nanos).collect();
        (span.name.to_string(), span.start_unix_nanos, events)
    };
    snapshot.spans().map(of).collect()
}

/// Records a span of a second, with an event in its middle.
fn second(bench: &Bench, name: &'static str) {
    let half = Duration::from_nanos(SECOND / 2);
    let mut span = bench.tracer().span(name);
    bench.hand.advance(half);
    span.event("half");
    bench.hand.advance(half);
}

#[test]
fn each_span_keeps_the_wall_time_at_which_it_was_made() {
    let half = SECOND / 2;
    // Set far back, so that the moved times lie before tick 0, and less far.
    for back_to in [1, HOUR / 2] {
        let mut bench = bench(1 << 10, FailPoints::default());
        bench.hand.set(HOUR);
        second(&bench, "kept");
        bench.step.run();
        bench.step.keep_up();
        second(&bench, "in the ring");
        let mut open = bench.tracer().span("open");
        bench.hand.advance(Duration::from_secs(1));
        open.event("before");
        bench.hand.set_counter(back_to);
        bench.hand.advance(Duration::from_secs(1));
        open.event("after");
        drop(open);
        second(&bench, "after");
        let expected = [
            ("kept", HOUR, vec![HOUR + half]),
            ("in the ring", HOUR + SECOND, vec![HOUR + SECOND + half]),
            ("open", HOUR + 2 * SECOND, vec![HOUR + 3 * SECOND, HOUR + 4 * SECOND]),
            ("after", HOUR + 4 * SECOND, vec![HOUR + 4 * SECOND + half]),
        ];
        let expected: Vec<_> = expected.map(|(name, start, events)| (name.to_owned(), start, events)).into();
        // Again after the clock has caught up, when old readings cannot be told from new ones any more.
        for wait in [0, 2 * HOUR] {
            bench.hand.advance(Duration::from_nanos(wait));
            let snapshot = bench.step.snapshot();
            assert_eq!(dated(&snapshot), expected, "set back to {back_to}, {wait} ns later");
            let slowest = snapshot.slowest_spans();
            for (name, start, _) in &expected {
                let span = slowest.iter().find(|span| *span.name == **name).expect("among the slowest");
                assert_eq!(span.start_unix_nanos, *start, "{name}, set back to {back_to}");
            }
            let saved = Snapshot::from_bytes(&snapshot.to_bytes().expect("small")).expect("whole");
            assert_eq!(dated(&saved), expected, "saved, set back to {back_to}");
        }
        assert_balanced(&bench.ledger());
    }
}

#[test]
fn exemplars_keep_the_wall_time_at_which_they_were_made() {
    let mut bench = bench(1 << 10, FailPoints::default());
    let timer = TimerBuilder::new(&bench.instance, "packing").register().expect("a good name");
    bench.hand.set(HOUR);
    let lane = bench.lane();
    let send = |value: u64, at: u64| {
        let words = record::exemplar_words(0, [value, at, 3, 4, 5]);
        assert!(lane.ring.push_leaving(0, &OwnCopy::new(lane.ring.published()), words, [], || {
            lane.tally.exemplar_sent();
        }));
    };
    timer.record(Duration::from_nanos(1));
    send(1, HOUR);
    bench.step.run();
    bench.step.keep_up();
    bench.hand.advance(Duration::from_secs(1));
    send(1_000, HOUR + SECOND);
    bench.hand.set_counter(1);
    send(1_000_000, 1);
    bench.hand.advance(Duration::from_secs(1));
    let snapshot = bench.step.snapshot();
    let histogram = snapshot.histogram("packing_seconds", &[]).expect("registered");
    let times: Vec<_> = histogram.exemplars().iter().map(|exemplar| exemplar.unix_nanos).collect();
    assert_eq!(times, [HOUR + SECOND, HOUR + SECOND, HOUR], "the largest first");
}

#[test]
fn held_spans_keep_the_wall_time_at_which_they_were_made() {
    let Bench { instance, step, hand } = bench(1 << 10, FailPoints::default());
    let tail_sampling = TailSampling { slower_than_p99: false, ..TailSampling::default() };
    let step = step.holding(&tail_sampling);
    let mut bench = Bench { instance, step, hand };
    bench.hand.set(HOUR);
    let lane = bench.lane();
    let send = |span_id: u64, local_root: bool, start: u64| {
        let status = if local_root { record::Status::Error } else { record::Status::Unset };
        let name = bench.instance.span_name("held", record::SpanKind::Internal).name();
        let span =
            record::Span { name, start, trace_id: 9, span_id, local_root, status, ..Default::default() };
        let mut words = Vec::new();
        encode(&Record::Span(span), &mut words).expect("short");
        words[0] = layout::header_more(words[0], 0, layout::FLAG_HELD, 0);
        let head = OwnCopy::new(lane.ring.published());
        assert!(lane.ring.push_leaving(0, &head, [], [&words], || lane.tally.sent(Kind::Span)));
    };
    send(1, false, HOUR);
    bench.step.run();
    bench.step.keep_up();
    bench.hand.set_counter(1);
    bench.hand.advance(Duration::from_secs(1));
    send(2, true, SECOND);
    let spans: Vec<_> =
        bench.step.snapshot().spans().map(|span| (span.span_id, span.start_unix_nanos)).collect();
    assert_eq!(spans, [(1, HOUR), (2, HOUR + SECOND - 1)]);
}
