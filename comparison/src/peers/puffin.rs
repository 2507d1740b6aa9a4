//! puffin: scopes into a stream of the thread, a frame now and then, and a sink that counts the frames' scopes.

use super::Account;
use crate::rate::{Rate, flow};
use crate::row::{Batch, CALLS, Row, SPANS, timed};
use crate::{subject, workload};
use puffin::{GlobalProfiler, profile_scope, profile_scope_custom};

static SCOPES: Account = Account::new();

fn start() {
    puffin::set_scopes_on(true);
    let count = |frame: std::sync::Arc<puffin::FrameData>| SCOPES.see(frame.meta().num_scopes as u64);
    GlobalProfiler::lock().add_sink(Box::new(count));
}

fn frame() {
    GlobalProfiler::lock().new_frame();
}

/// A scope around a batch, as its own benches have it: without one each scope is sent by itself.
fn within(calls: u32, body: impl FnOnce() -> Batch) -> Batch {
    SCOPES.make(u64::from(calls) + 1);
    profile_scope!("around");
    body()
}

fn tree() {
    let root = || profile_scope_custom!("root");
    let child = || profile_scope_custom!("child");
    let leaf = || profile_scope_custom!("leaf");
    workload::tree(root, child, leaf);
}

pub(super) fn rows() -> Vec<Row> {
    start();
    let child = |calls| within(calls, || timed(calls, |_| drop(profile_scope_custom!("child"))));
    // It keeps one text a scope: the number would have to be written into it.
    let attributes = |calls| {
        let call = |number: u32| drop(profile_scope_custom!("attributes", format!("{number} GET")));
        within(calls, || timed(calls, call))
    };
    let rows = vec![
        Row::batch(subject::OFF, "profile_scope!, scopes off", CALLS, |calls| {
            puffin::set_scopes_on(false);
            let batch = timed(calls, |_| drop(profile_scope_custom!("off")));
            puffin::set_scopes_on(true);
            batch
        }),
        Row::batch(subject::SPAN_ROOT, "profile_scope!", SPANS, |calls| {
            SCOPES.make(u64::from(calls));
            timed(calls, |_| drop(profile_scope_custom!("root")))
        }),
        Row::batch(subject::SPAN_CHILD, "profile_scope!", SPANS, child),
        Row::batch_on_two(subject::SPAN_CHILD_2T, "profile_scope!", SPANS, child),
        Row::batch(subject::SPAN_TREE, "profile_scope!", SPANS, |calls| {
            SCOPES.make(u64::from(calls / 100 * 100));
            timed(calls / 100, |_| tree())
        })
        .warm(100),
        Row::batch_on_two(
            subject::SPAN_ATTRIBUTES_2T,
            "profile_scope!, one formatted text",
            SPANS,
            attributes,
        ),
        Row::batch(subject::SPAN_ATTRIBUTES, "profile_scope!, one formatted text", SPANS, attributes)
            .checked(|_| {
                frame();
                SCOPES.lost()
            }),
    ];
    rows.into_iter().map(|row| row.rest(frame)).collect()
}

pub(super) fn rates() -> Vec<Rate> {
    vec![Rate::new(subject::FLAT_OUT_SPANS, "profile_scope!, a frame each 10,000", |time| {
        start();
        let burst = |calls| {
            (0..calls / 100).for_each(|_| tree());
            frame();
        };
        flow(time, 10_000, burst, |_| {
            frame();
            SCOPES.seen()
        })
    })]
}
