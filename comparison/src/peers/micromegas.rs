//! micromegas-tracing: two events a span into a buffer of the thread, handed over in blocks of ten megabytes to a sink
//! that counts them and lets go. Metrics are events, too: nothing is summed here.

use super::Account;
use crate::rate::{Rate, flow};
use crate::row::{Batch, CALLS, CALLS_2T, Row, SPANS, timed};
use crate::{second, subject, workload};
use micromegas_tracing::dispatch::{flush_metrics_buffer, flush_thread_buffer, init_thread_stream};
use micromegas_tracing::event::{EventSink, TracingBlock};
use micromegas_tracing::guards::{ThreadSpanGuard, TracingSystemGuard};
use micromegas_tracing::logs::{LogBlock, LogMetadata, LogStream};
use micromegas_tracing::metrics::{MetricsBlock, MetricsStream};
use micromegas_tracing::process_info::ProcessInfo;
use micromegas_tracing::property_set::DynProperty;
use micromegas_tracing::spans::{ThreadBlock, ThreadStream};
use micromegas_tracing::{imetric, span_scope, static_span_desc};
use std::collections::HashMap;
use std::fmt::Arguments;
use std::sync::Arc;

/// Begins and ends.
static EVENTS: Account = Account::new();
static METRICS: Account = Account::new();

struct Counting;

impl EventSink for Counting {
    fn on_startup(&self, _: Arc<ProcessInfo>) {}
    fn on_shutdown(&self) {}
    fn on_log_enabled(&self, _: &LogMetadata) -> bool {
        false
    }
    fn on_log(&self, _: &LogMetadata, _: &[DynProperty<'_>], _: i64, _: Arguments<'_>) {}
    fn on_init_log_stream(&self, _: &LogStream) {}
    fn on_process_log_block(&self, _: Arc<LogBlock>) {}
    fn on_init_metrics_stream(&self, _: &MetricsStream) {}
    fn on_process_metrics_block(&self, block: Arc<MetricsBlock>) {
        METRICS.see(block.nb_objects() as u64);
    }
    fn on_init_thread_stream(&self, _: &ThreadStream) {}
    fn on_process_thread_block(&self, block: Arc<ThreadBlock>) {
        EVENTS.see(block.nb_objects() as u64);
    }
    fn is_busy(&self) -> bool {
        false
    }
}

/// The buffers of its own benches. Lives as long as the process.
fn start() {
    const MIB: usize = 1 << 20;
    let sink = Arc::new(Counting);
    let guard =
        TracingSystemGuard::new(10 * MIB, MIB, 10 * MIB, sink, HashMap::new(), true).expect("the first one");
    std::mem::forget(guard);
    init_thread_stream();
}

/// A batch of `spans`, which are two events each.
fn spans(spans: u32, batch: impl FnOnce() -> Batch) -> Batch {
    EVENTS.make(2 * u64::from(spans));
    batch()
}

fn tree() {
    static_span_desc!(ROOT, "root");
    static_span_desc!(CHILD, "child");
    static_span_desc!(LEAF, "leaf");
    workload::tree(
        || ThreadSpanGuard::new(&ROOT),
        || ThreadSpanGuard::new(&CHILD),
        || ThreadSpanGuard::new(&LEAF),
    );
}

pub(super) fn rows() -> Vec<Row> {
    start();
    second::over_there(init_thread_stream);
    let child = |calls| {
        spans(calls, || {
            timed(calls, |_| {
                span_scope!("child");
            })
        })
    };
    let attributes = |calls| {
        spans(calls, || {
            timed(calls, |number| drop(span_scope!(name = "attributes", number = %number, method = "GET")))
        })
    };
    vec![
        Row::batch(subject::COUNTER, "imetric!", CALLS, |calls| {
            METRICS.make(u64::from(calls));
            timed(calls, |_| imetric!("calls", "count", 1))
        })
        .weaker("an event each, summed elsewhere"),
        Row::batch_on_two(subject::COUNTER_2T, "imetric!", CALLS_2T / 10, |calls| {
            METRICS.make(u64::from(calls));
            timed(calls, |_| imetric!("calls", "count", 1))
        })
        .weaker("an event each, summed elsewhere")
        .checked(|_| {
            flush_metrics_buffer();
            METRICS.lost()
        }),
        Row::batch(subject::SPAN_ROOT, "span_scope!, no ids", SPANS, child),
        Row::batch(subject::SPAN_CHILD, "span_scope!, no ids", SPANS, child),
        Row::batch_on_two(subject::SPAN_CHILD_2T, "span_scope!, no ids", SPANS, child),
        Row::batch(subject::SPAN_TREE, "span_scope!, no ids", SPANS, |calls| {
            spans(calls / 100 * 100, || timed(calls / 100, |_| tree()))
        })
        .warm(100),
        Row::batch_on_two(subject::SPAN_ATTRIBUTES_2T, "span_scope!, no ids", SPANS, attributes),
        Row::batch(subject::SPAN_ATTRIBUTES, "span_scope!, no ids", SPANS, attributes).checked(|_| {
            second::over_there(flush_thread_buffer);
            flush_thread_buffer();
            EVENTS.lost() / 2
        }),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![
        Rate::new(subject::FLAT_OUT_SPANS, "span_scope!, no ids", |time| {
            start();
            flow(
                time,
                10_000,
                |calls| (0..calls / 100).for_each(|_| tree()),
                |_| {
                    flush_thread_buffer();
                    EVENTS.seen() / 2
                },
            )
        })
        .weaker("its sink drops the blocks unread"),
    ]
}
