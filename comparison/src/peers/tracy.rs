//! tracy-client: two items a span into a queue of the thread, which a thread of its own sends to the viewer. Without a
//! viewer they pile up, so there is one: it reads, and counts bytes.
//!
//! With the feature `manual-lifetime`: without it Tracy starts before `main` in every process of this program, and its
//! thread wakes a hundred times a second in each.

use super::Account;
use crate::rate::{Rate, flow};
use crate::row::{Batch, Row, SPANS, timed};
use crate::{subject, workload};
use std::time::Duration;
use tracy_client::{Client, Span, SpanLocation, span_location};

mod viewer;

/// What a span takes at the least when it is unpacked: a begin of a type, a time and a place (8 bytes), an end of a
/// type and a time.
const LEAST: u64 = 1 + 1 + 8 + 1 + 1;

static SPANS_MADE: Account = Account::new();

fn start() -> Client {
    let port = viewer::free_port();
    // Many virtual machines do not say that their counter is steady; Tracy would end the process.
    let settings = [("TRACY_PORT", port.to_string()), ("TRACY_NO_INVARIANT_CHECK", "1".into())];
    for (name, value) in settings {
        // SAFETY: the process has one thread that looks at its environment, and this is it.
        unsafe { std::env::set_var(name, value) };
    }
    let client = Client::start();
    viewer::open(port);
    client
}

/// What Tracy sends by itself in a tenth of a second (the load of the machine, ten times a second) takes less.
const IDLE: u64 = 256;

/// Waits until as much has come as so many spans take at the least, and no more than idling takes. It must not wait for
/// silence: idling, Tracy sends something about as often as is looked here, and on a busy machine more often.
fn settled(spans: u64) {
    let (mut before, mut quiet) = (viewer::seen(), 0);
    while quiet == 0 || (before < LEAST * spans && quiet < 100) {
        std::thread::sleep(Duration::from_millis(100));
        let now = viewer::seen();
        quiet = if now - before < IDLE { quiet + 1 } else { 0 };
        before = now;
    }
    assert!(before >= LEAST * spans, "{before} bytes came of {spans} spans");
}

fn batch(spans: u32, body: impl FnOnce() -> Batch) -> Batch {
    SPANS_MADE.make(u64::from(spans));
    body()
}

/// The client's handle is a token of no size; the location is made once.
#[inline(always)]
fn span(client: &Client, location: &'static SpanLocation) -> Span {
    client.clone().span(location, 0)
}

fn tree(client: &Client) {
    let (root, child, leaf) = (span_location!("root"), span_location!("child"), span_location!("leaf"));
    workload::tree(|| span(client, root), || span(client, child), || span(client, leaf));
}

pub(super) fn rows() -> Vec<Row> {
    let client = start();
    let (client_child, client_attributes) = (client.clone(), client.clone());
    let child = move |calls| {
        let location = span_location!("child");
        batch(calls, || timed(calls, |_| drop(span(&client_child, location))))
    };
    let attributes = move |calls| {
        let location = span_location!("attributes");
        batch(calls, || {
            timed(calls, |number| {
                let span = span(&client_attributes, location);
                span.emit_value(u64::from(number));
                span.emit_text("GET");
            })
        })
    };
    vec![
        Row::batch(subject::SPAN_ROOT, "Client::span, no ids", SPANS, child.clone()),
        Row::batch(subject::SPAN_CHILD, "Client::span, no ids", SPANS, child.clone()),
        Row::batch_on_two(subject::SPAN_CHILD_2T, "Client::span, no ids", SPANS, child),
        Row::batch(subject::SPAN_TREE, "Client::span, no ids", SPANS, move |calls| {
            batch(calls / 100 * 100, || timed(calls / 100, |_| tree(&client)))
        })
        .warm(100),
        Row::batch_on_two(
            subject::SPAN_ATTRIBUTES_2T,
            "emit_value, emit_text, no ids",
            SPANS,
            attributes.clone(),
        ),
        Row::batch(subject::SPAN_ATTRIBUTES, "emit_value, emit_text, no ids", SPANS, attributes).checked(
            |_| {
                settled(SPANS_MADE.made());
                0
            },
        ),
    ]
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_SPANS, "Client::span, no ids", |time| {
        let client = start();
        let before = viewer::time();
        let burst = |calls| (0..calls / 100).for_each(|_| tree(&client));
        let mut flow = flow(time, 10_000, burst, |made| {
            settled(made);
            made
        });
        // The viewer is another program's work.
        flow.background = flow.background.saturating_sub(viewer::time() - before);
        flow
    })]
}
