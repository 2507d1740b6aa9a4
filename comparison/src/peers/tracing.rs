//! tracing, six ways, each in a process of its own, since a process has one global subscriber and the documentation
//! has it set globally: without one, with the registry alone, with a layer that does nothing (not fmt), with the
//! layer of tracing-opentelemetry, and with tellane's layer and subscriber.

use super::Account;
use super::opentelemetry::spans::provider;
use crate::rate::{Rate, flow};
use crate::row::{CALLS, Row, SPANS, pending, poll, timed};
use crate::{subject, workload};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::cell::Cell;
use std::time::Duration;
use tellane::bridge::tracing::{Layer as Ours, Subscriber as OurSubscriber};
use tellane::{Kind, Telemetry};
use tracing::span::{Attributes, EnteredSpan, Id};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Long enough for any machine; nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(60);

thread_local! {
    /// Spans of this thread that were given an id; what there is to check where nobody receives them.
    static GIVEN: Cell<u64> = const { Cell::new(0) };
}

#[inline(always)]
fn given(span: EnteredSpan) -> EnteredSpan {
    GIVEN.with(|given| given.set(given.get() + u64::from(span.id().is_some())));
    span
}

pub(super) fn without_subscriber() -> Vec<Row> {
    vec![
        Row::one(subject::OFF, "info_span!, entered", CALLS, |_| drop(info_span!("off").entered())),
        Row::one(subject::OFF, "info_span!, entered, 2 fields", CALLS, |number| {
            drop(info_span!("off", number, method = "GET").entered());
        }),
    ]
}

pub(super) fn with_registry() -> Vec<Row> {
    tracing::subscriber::set_global_default(tracing_subscriber::registry()).expect("the first one");
    // Each row checks what its own batches were given.
    span_rows().into_iter().chain([polled()]).map(|row| row.weaker("nobody receives the spans")).collect()
}

/// Hears of everything, does nothing with it.
struct Idle;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Idle {
    fn on_new_span(&self, _attributes: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {}
    fn on_enter(&self, _id: &Id, _context: Context<'_, S>) {}
    fn on_exit(&self, _id: &Id, _context: Context<'_, S>) {}
    fn on_close(&self, _id: Id, _context: Context<'_, S>) {}
}

pub(super) fn with_layer() -> Vec<Row> {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Idle))
        .expect("the first one");
    span_rows().into_iter().chain([polled()]).map(|row| row.weaker("nothing is kept of the spans")).collect()
}

fn bridge(provider: &SdkTracerProvider) {
    let layer = tracing_opentelemetry::layer::<Registry>().with_tracer(provider.tracer("comparison"));
    // What it adds to each span by default, and can do without.
    let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .expect("the first one");
}

pub(super) fn with_opentelemetry() -> Vec<Row> {
    static ALL: Account = Account::new();
    let (provider, counting) = provider();
    bridge(&provider);
    // Polls are in one span a batch, everything else in one a call.
    let rows =
        span_rows().into_iter().map(|row| (row, false)).chain([(polled(), true)]).map(|(row, is_polled)| {
            let (flush, counting, provider) = (provider.clone(), counting.clone(), provider.clone());
            row.rest(move || flush.force_flush().expect("the processor runs")).checked(move |made| {
                // The exporter cannot tell the rows apart: what it has seen must reach what they made so far.
                provider.force_flush().expect("the processor runs");
                ALL.make(if is_polled { made.batches } else { made.calls });
                ALL.at_least(counting.seen());
                0
            })
        });
    rows.collect()
}

/// Rows that end in tellane: nobody's peer, but to be seen beside the registry.
fn in_tellane(telemetry: Telemetry) -> Vec<Row> {
    let rows = span_rows().into_iter().map(|row| {
        let (resting, telemetry) = (telemetry.clone(), telemetry.clone());
        row.weaker("tellane beneath")
            .rest(move || drop(resting.snapshot(DEADLINE).expect("the aggregator keeps up between batches")))
            .checked(move |_| {
                let snapshot = telemetry.snapshot(DEADLINE).expect("the aggregator is idle");
                let spans = snapshot.ledger().kind(Kind::Span);
                assert_eq!(spans.recorded, spans.aggregated + spans.dropped.total());
                spans.dropped.total() // of all rows so far
            })
    });
    rows.collect()
}

pub(super) fn with_tellane_layer() -> Vec<Row> {
    let telemetry = Telemetry::builder("layer").start().expect("the defaults are valid");
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ours::new(&telemetry)))
        .expect("the first one");
    in_tellane(telemetry)
}

pub(super) fn with_tellane_subscriber() -> Vec<Row> {
    let telemetry = Telemetry::builder("subscriber").start().expect("the defaults are valid");
    OurSubscriber::new(&telemetry).install().expect("the first one");
    in_tellane(telemetry)
}

fn tree() {
    let root = || given(info_span!(parent: None, "root").entered());
    let child = || given(info_span!("child").entered());
    let leaf = || given(info_span!("leaf").entered());
    workload::tree(root, child, leaf);
}

/// A batch, and a check that every one of its spans was given an id.
fn all_given(calls: u32, batch: impl FnOnce() -> crate::row::Batch) -> crate::row::Batch {
    let before = GIVEN.with(Cell::get);
    let batch = batch();
    assert_eq!(GIVEN.with(Cell::get) - before, u64::from(calls), "spans that were recorded");
    batch
}

fn span_rows() -> Vec<Row> {
    let child = |calls| {
        let _root = info_span!(parent: None, "around").entered();
        all_given(calls, || timed(calls, |_| drop(given(info_span!("child").entered()))))
    };
    let attributes = |calls| {
        let _root = info_span!(parent: None, "around").entered();
        let call = |number| drop(given(info_span!("attributes", number, method = "GET").entered()));
        all_given(calls, || timed(calls, call))
    };
    vec![
        Row::batch(subject::SPAN_ROOT, "info_span!(parent: None), entered", SPANS, |calls| {
            let call = |_| drop(given(info_span!(parent: None, "root").entered()));
            all_given(calls, || timed(calls, call))
        }),
        Row::batch(subject::SPAN_CHILD, "info_span!, entered", SPANS, child),
        // With the spans of both threads below the queue of OpenTelemetry.
        Row::batch_on_two(subject::SPAN_CHILD_2T, "info_span!, entered", SPANS / 2, child),
        Row::batch(subject::SPAN_TREE, "info_span!, entered", SPANS, |calls| {
            all_given(calls / 100 * 100, || timed(calls / 100, |_| tree()))
        })
        .warm(100),
        Row::batch_on_two(subject::SPAN_ATTRIBUTES_2T, "info_span!, 2 fields", SPANS / 2, attributes),
        Row::batch(subject::SPAN_ATTRIBUTES, "info_span!, 2 fields", SPANS, attributes),
    ]
}

/// A future in a span of its own each batch.
fn polled() -> Row {
    Row::batch(subject::ASYNC_POLL, "Instrument::instrument", CALLS, |calls| {
        poll(calls, pending().instrument(info_span!(parent: None, "polled")))
    })
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_SPANS, "info_span!, entered", |time| {
        let (provider, counting) = provider();
        bridge(&provider);
        flow(
            time,
            10_000,
            |calls| (0..calls / 100).for_each(|_| tree()),
            |_| {
                provider.force_flush().expect("the processor runs");
                counting.seen()
            },
        )
    })]
}
