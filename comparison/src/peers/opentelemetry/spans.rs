//! OpenTelemetry's tracer with the batch processor as it comes, and an exporter that counts.

use crate::rate::{Rate, flow};
use crate::row::{Row, SPANS, timed};
use crate::subject;
use opentelemetry::trace::{Span, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what arrives, and lets go of it.
#[derive(Clone, Debug, Default)]
pub(in crate::peers) struct Counting(Arc<AtomicU64>);

impl Counting {
    /// How many spans have arrived.
    pub(in crate::peers) fn seen(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// A provider with the batch processor, and what counts behind it.
pub(in crate::peers) fn provider() -> (SdkTracerProvider, Counting) {
    let counting = Counting::default();
    (SdkTracerProvider::builder().with_batch_exporter(counting.clone()).build(), counting)
}

/// A row on a provider of its own; `around` spans go around each batch.
fn row(around: u64, make: impl FnOnce(SdkTracer) -> Row) -> Row {
    let (provider, counting) = provider();
    let flush = provider.clone();
    make(provider.tracer("comparison"))
        .rest(move || flush.force_flush().expect("the processor runs"))
        .arrived(around, move || {
            provider.force_flush().expect("the processor runs");
            counting.seen()
        })
}

fn tree(tracer: &SdkTracer) {
    let start = |parent: &Context| parent.with_span(tracer.start_with_context("span", parent));
    let root = start(&Context::new());
    for _ in 0..9 {
        let child = start(&root);
        for _ in 0..10 {
            drop(tracer.start_with_context("span", &child));
        }
    }
}

fn attributes(number: u32) -> [KeyValue; 2] {
    [KeyValue::new("number", i64::from(number)), KeyValue::new("method", "GET")]
}

pub(in crate::peers) fn rows() -> Vec<Row> {
    let root =
        |tracer: &SdkTracer| Context::new().with_span(tracer.start_with_context("around", &Context::new()));
    vec![
        row(0, |tracer| {
            let nobody = Context::new();
            Row::one(subject::SPAN_ROOT, "Tracer::start_with_context", SPANS, move |_| {
                drop(tracer.start_with_context("span", &nobody));
            })
        }),
        row(1, |tracer| {
            Row::batch(subject::SPAN_CHILD, "Tracer::start_with_context", SPANS, move |calls| {
                let parent = root(&tracer);
                timed(calls, |_| drop(tracer.start_with_context("span", &parent)))
            })
        }),
        row(1, |tracer| {
            Row::batch_on_two(subject::SPAN_CHILD_2T, "Tracer::start_with_context", SPANS / 2, move |calls| {
                let parent = root(&tracer);
                timed(calls, |_| drop(tracer.start_with_context("span", &parent)))
            })
        }),
        row(0, |tracer| {
            Row::batch(subject::SPAN_TREE, "Tracer::start_with_context", SPANS, move |calls| {
                timed(calls / 100, |_| tree(&tracer))
            })
            .warm(100)
        }),
        row(1, |tracer| {
            Row::batch(subject::SPAN_ATTRIBUTES, "SpanBuilder::with_attributes", SPANS, move |calls| {
                let parent = root(&tracer);
                timed(calls, |number| {
                    let builder = tracer.span_builder("span").with_attributes(attributes(number));
                    drop(tracer.build_with_context(builder, &parent));
                })
            })
        }),
        row(1, |tracer| {
            Row::batch_on_two(
                subject::SPAN_ATTRIBUTES_2T,
                "Span::set_attribute, twice",
                SPANS / 2,
                move |calls| {
                    let parent = root(&tracer);
                    timed(calls, |number| {
                        let mut span = tracer.start_with_context("span", &parent);
                        attributes(number).into_iter().for_each(|attribute| span.set_attribute(attribute));
                    })
                },
            )
        }),
        unsampled(),
    ]
}

fn unsampled() -> Row {
    let counting = Counting::default();
    let builder = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff);
    let provider = builder.with_batch_exporter(counting.clone()).build();
    let (tracer, nobody) = (provider.tracer("comparison"), Context::new());
    Row::one(subject::SPAN_UNSAMPLED, "AlwaysOff", SPANS, move |_| {
        drop(tracer.start_with_context("span", &nobody));
    })
    .weaker("nothing is counted")
    .checked(move |_| {
        provider.force_flush().expect("the processor runs");
        assert_eq!(counting.seen(), 0, "spans that are not sampled arrived");
        0
    })
}

pub(in crate::peers) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_SPANS, "Tracer::start_with_context", |time| {
        let (provider, counting) = provider();
        let tracer = provider.tracer("comparison");
        flow(
            time,
            10_000,
            |calls| (0..calls / 100).for_each(|_| tree(&tracer)),
            |_| {
                provider.force_flush().expect("the processor runs");
                counting.seen()
            },
        )
    })]
}
