//! tellane's spans. An instance a row: its ledger says how many spans the row lost.

use super::{DEADLINE, rest, settings, started};
use crate::rate::{Rate, flow};
use crate::row::{CALLS, Row, SPANS, pending, poll, timed};
use crate::{subject, workload};
use tellane::{Config, InSpan, Kind, TailSampling, Telemetry, Tracer};

pub(in crate::peers) fn rows() -> Vec<Row> {
    let fresh = || started("spans");
    let sparse = || {
        let builder = Telemetry::builder("sparse").config(settings()).sampling(0.0);
        builder.start().expect("the settings are valid")
    };
    let held = || {
        let config = Config { sampling: 0.0, tail_sampling: Some(TailSampling::default()), ..settings() };
        Telemetry::builder("held").config(config).start().expect("the settings are valid")
    };
    vec![
        row(fresh(), |tracer| {
            Row::one(subject::SPAN_ROOT, "Tracer::span", SPANS, move |_| {
                let _span = tracer.span("span");
            })
        }),
        row(fresh(), |tracer| {
            Row::batch(subject::SPAN_CHILD, "Tracer::span", SPANS, move |calls| {
                let _root = tracer.span("around");
                timed(calls, |_| {
                    let _span = tracer.span("span");
                })
            })
        }),
        row(fresh(), |tracer| {
            Row::batch_on_two(subject::SPAN_CHILD_2T, "Tracer::span", SPANS, move |calls| {
                let _root = tracer.span("around");
                timed(calls, |_| {
                    let _span = tracer.span("span");
                })
            })
        }),
        row(fresh(), |tracer| {
            Row::batch(subject::SPAN_TREE, "Tracer::span", SPANS, move |calls| {
                let span = || tracer.span("span");
                timed(calls / 100, |_| workload::tree(span, span, span))
            })
            .warm(100)
        }),
        row(fresh(), |tracer| {
            Row::batch(subject::SPAN_ATTRIBUTES, "Span::set, twice", SPANS, move |calls| {
                let _root = tracer.span("around");
                timed(calls, |number| {
                    let mut span = tracer.span("span");
                    span.set("number", number);
                    span.set("method", "GET");
                })
            })
        }),
        row(fresh(), |tracer| {
            Row::batch_on_two(subject::SPAN_ATTRIBUTES_2T, "Span::set, twice", SPANS, move |calls| {
                let _root = tracer.span("around");
                timed(calls, |number| {
                    let mut span = tracer.span("span");
                    span.set("number", number);
                    span.set("method", "GET");
                })
            })
        }),
        row(sparse(), |tracer| {
            Row::one(subject::SPAN_UNSAMPLED, "Tracer::span, duration still counted", SPANS, move |_| {
                let _span = tracer.span("span");
            })
        }),
        row(held(), |tracer| {
            Row::one(subject::SPAN_HELD, "Tracer::span, kept if the outcome asks for it", SPANS, move |_| {
                let _span = tracer.span("span");
            })
        }),
        polled(fresh()),
    ]
}

/// A row on an instance of its own: every duration must count, what was shed is lost.
fn row(telemetry: Telemetry, make: impl FnOnce(Tracer) -> Row) -> Row {
    make(telemetry.tracer()).rest(rest(&telemetry)).checked(move |made| {
        let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
        let counted = snapshot.span_durations("span").map_or(0, |taken| taken.count());
        assert_eq!(counted, made.calls, "spans counted, and made");
        telemetry.ledger().kind(Kind::Span).dropped.total()
    })
}

/// A future in a span of its own each batch; the spans are counted, and as many as there were batches.
fn polled(telemetry: Telemetry) -> Row {
    let tracer = telemetry.tracer();
    Row::batch(subject::ASYNC_POLL, "Future::in_span, an owned span", CALLS, move |calls| {
        poll(calls, pending().in_span(tracer.owned("polled")))
    })
    .rest(rest(&telemetry))
    .checked(move |made| {
        let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
        let counted = snapshot.span_durations("polled").map_or(0, |taken| taken.count());
        assert_eq!(counted, made.batches, "spans counted, and made");
        telemetry.ledger().kind(Kind::Span).dropped.total()
    })
}

pub(in crate::peers) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_SPANS, "Tracer::span; durations all counted", |time| {
        let telemetry = started("flat out");
        let tracer = telemetry.tracer();
        let span = || tracer.span("span");
        let burst = |calls| (0..calls / 100).for_each(|_| workload::tree(span, span, span));
        flow(time, 100_000, burst, |made| {
            let spans = telemetry.shutdown(DEADLINE).ledger.kind(Kind::Span);
            assert_eq!(spans.recorded, made);
            let snapshot = telemetry.latest();
            assert_eq!(snapshot.span_durations("span").map(|taken| taken.count()), Some(made));
            made - spans.dropped.total()
        })
    })]
}
