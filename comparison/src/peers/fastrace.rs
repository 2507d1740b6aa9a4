//! fastrace: roots and thread-local children, and a reporter that counts by name.

use crate::rate::{Rate, flow};
use crate::row::{CALLS, Row, SPANS, pending, poll, timed};
use crate::{subject, workload};
use fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use fastrace::future::FutureExt;
use fastrace::local::LocalSpan;
use fastrace::{Span, flush};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

static SEEN: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

/// Counts by name what arrives, and lets go of it.
struct Counting;

impl Reporter for Counting {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        let mut seen = SEEN.lock().expect("nobody panics with it");
        let seen = seen.get_or_insert_default();
        for span in spans {
            match seen.get_mut(&*span.name) {
                Some(count) => *count += 1,
                None => drop(seen.insert(span.name.into_owned(), 1)),
            }
        }
    }
}

fn seen(name: &str) -> u64 {
    flush();
    let seen = SEEN.lock().expect("nobody panics with it");
    seen.as_ref().and_then(|seen| seen.get(name)).copied().unwrap_or(0)
}

/// Spans that are not to be kept must not arrive.
fn none(name: &str) -> u64 {
    assert_eq!(seen(name), 0, "spans named {name} arrived");
    0
}

/// A root around a batch of local spans, and the local spans.
#[inline(always)]
fn within<R>(body: impl FnOnce() -> R) -> R {
    let root = Span::root("around", SpanContext::random());
    let _guard = root.set_local_parent();
    body()
}

fn tree(name: &'static str) {
    let root = || {
        let root = Span::root(name, SpanContext::random());
        let guard = root.set_local_parent();
        (guard, root)
    };
    let local = || LocalSpan::enter_with_local_parent(name);
    workload::tree(root, local, local);
}

fn properties(number: u32) -> [(&'static str, Cow<'static, str>); 2] {
    [("number", Cow::from(number.to_string())), ("method", Cow::from("GET"))]
}

pub(super) fn rows() -> Vec<Row> {
    fastrace::set_reporter(Counting, Config::default());
    let row = |name: &'static str, row: Row| row.rest(flush).arrived(0, move || seen(name));
    vec![
        row(
            "root",
            Row::one(subject::SPAN_ROOT, "Span::root", SPANS, |_| {
                drop(Span::root("root", SpanContext::random()))
            }),
        ),
        row(
            "child",
            Row::batch(subject::SPAN_CHILD, "LocalSpan", SPANS, |calls| {
                within(|| timed(calls, |_| drop(LocalSpan::enter_with_local_parent("child"))))
            }),
        ),
        row(
            "child two",
            Row::batch_on_two(subject::SPAN_CHILD_2T, "LocalSpan", SPANS, |calls| {
                within(|| timed(calls, |_| drop(LocalSpan::enter_with_local_parent("child two"))))
            }),
        ),
        row(
            "tree",
            Row::batch(subject::SPAN_TREE, "Span::root, LocalSpan", SPANS, |calls| {
                timed(calls / 100, |_| tree("tree"))
            })
            .warm(100),
        ),
        row(
            "attributes",
            Row::batch(subject::SPAN_ATTRIBUTES, "LocalSpan::with_properties", SPANS, |calls| {
                within(|| {
                    timed(calls, |number| {
                        let span = LocalSpan::enter_with_local_parent("attributes");
                        drop(span.with_properties(|| properties(number)));
                    })
                })
            }),
        ),
        row(
            "attributes two",
            Row::batch_on_two(subject::SPAN_ATTRIBUTES_2T, "LocalSpan::with_properties", SPANS, |calls| {
                within(|| {
                    timed(calls, |number| {
                        let span = LocalSpan::enter_with_local_parent("attributes two");
                        drop(span.with_properties(|| properties(number)));
                    })
                })
            }),
        ),
        Row::batch(subject::ASYNC_POLL, "FutureExt::in_span", CALLS, |calls| {
            poll(calls, pending().in_span(Span::root("polled", SpanContext::random())))
        })
        .rest(flush)
        .checked(|made| made.batches - seen("polled")),
        Row::one(subject::SPAN_UNSAMPLED, "SpanContext::sampled(false)", SPANS, |_| {
            drop(Span::root("unsampled", SpanContext::random().sampled(false)));
        })
        .rest(flush)
        .weaker("nothing is counted")
        .checked(|_| none("unsampled")),
        Row::one(subject::OFF, "LocalSpan without a root", CALLS, |_| {
            drop(LocalSpan::enter_with_local_parent("off"));
        })
        .checked(|_| none("off")),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_SPANS, "Span::root, LocalSpan", |time| {
        fastrace::set_reporter(Counting, Config::default());
        flow(
            time,
            10_000,
            |calls| (0..calls / 100).for_each(|_| tree("tree")),
            |_| {
                // The caller lives on, and its queue is read until nothing comes any more.
                let mut before = seen("tree");
                loop {
                    std::thread::sleep(Duration::from_millis(50));
                    let now = seen("tree");
                    if now == before {
                        return now;
                    }
                    before = now;
                }
            },
        )
    })]
}
