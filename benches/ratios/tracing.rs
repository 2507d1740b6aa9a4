//! Spans made through `tracing`: a registry with a layer that does nothing, and tellane's two ways in, in one run.
//!
//! A process has one global subscriber, and one that is set for a scope costs more with every call. So the global one
//! here is all three, and each batch says whose turn it is: a load and a branch that all rows pay alike.

use crate::rows::{SPANS, rested, row};
use crate::{Row, timed};
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tellane::Telemetry;
use tellane::bridge::tracing::{Layer, Subscriber};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, info_span};
use tracing_subscriber::layer::{Context, Layered, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Hears of everything, does nothing with it.
struct Idle;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Idle {
    fn on_new_span(&self, _attributes: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {}
    fn on_enter(&self, _id: &Id, _context: Context<'_, S>) {}
    fn on_exit(&self, _id: &Id, _context: Context<'_, S>) {}
    fn on_close(&self, _id: Id, _context: Context<'_, S>) {}
}

static TURN: AtomicU8 = AtomicU8::new(0);
const IDLE: u8 = 0;
const LAYER: u8 = 1;
const ALONE: u8 = 2;

struct InTurn {
    idle: Layered<Idle, Registry>,
    layer: Layered<Layer, Registry>,
    alone: Subscriber,
}

macro_rules! whose {
    ($self:ident, $one:ident => $act:expr) => {
        match TURN.load(Ordering::Relaxed) {
            IDLE => {
                let $one = &$self.idle;
                $act
            }
            LAYER => {
                let $one = &$self.layer;
                $act
            }
            _ => {
                let $one = &$self.alone;
                $act
            }
        }
    };
}

impl tracing::Subscriber for InTurn {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        whose!(self, one => one.new_span(attributes))
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        whose!(self, one => one.record(id, values));
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        whose!(self, one => one.record_follows_from(id, follows));
    }

    fn event(&self, event: &Event<'_>) {
        whose!(self, one => one.event(event));
    }

    fn enter(&self, id: &Id) {
        whose!(self, one => one.enter(id));
    }

    fn exit(&self, id: &Id) {
        whose!(self, one => one.exit(id));
    }

    fn clone_span(&self, id: &Id) -> Id {
        whose!(self, one => one.clone_span(id))
    }

    fn try_close(&self, id: Id) -> bool {
        whose!(self, one => one.try_close(id))
    }
}

fn root(calls: u32) -> Duration {
    timed(calls, |number| {
        black_box(number);
        drop(info_span!(parent: None, "root").entered());
    })
}

fn child(calls: u32) -> Duration {
    let _root = info_span!(parent: None, "around").entered();
    timed(calls, |number| {
        black_box(number);
        drop(info_span!("child").entered());
    })
}

fn two_fields(calls: u32) -> Duration {
    let _root = info_span!(parent: None, "around").entered();
    timed(calls, |number| drop(info_span!("fields", number, method = "GET").entered()))
}

fn tree(calls: u32) -> Duration {
    timed(calls / 100, |number| {
        black_box(number);
        let _root = info_span!(parent: None, "tree").entered();
        for _ in 0..9 {
            let _branch = info_span!("branch").entered();
            (0..10).for_each(|_| drop(info_span!("leaf").entered()));
        }
    })
}

type Batch = fn(u32) -> Duration;

const BATCHES: [(Batch, [&str; 3]); 4] = [
    (root, ["tracing, root: registry, no-op layer", "tracing, root: layer", "tracing, root: subscriber"]),
    (child, ["tracing, child: registry, no-op layer", "tracing, child: layer", "tracing, child: subscriber"]),
    (
        two_fields,
        [
            "tracing, 2 fields: registry, no-op layer",
            "tracing, 2 fields: layer",
            "tracing, 2 fields: subscriber",
        ],
    ),
    (
        tree,
        [
            "tracing, tree of 100: registry, no-op layer",
            "tracing, tree of 100: layer",
            "tracing, tree of 100: subscriber",
        ],
    ),
];

/// What the layer may take beside a registry with one that does nothing, and the subscriber.
const AT_MOST: [f64; 2] = [3.0, 0.5];

pub(crate) fn rows() -> (Vec<Row>, Telemetry) {
    let telemetry = Telemetry::builder("tracing").start().expect("defaults are valid");
    let all = InTurn {
        idle: tracing_subscriber::registry().with(Idle),
        layer: tracing_subscriber::registry().with(Layer::new(&telemetry)),
        alone: Subscriber::new(&telemetry),
    };
    tracing::subscriber::set_global_default(all).expect("the first one");
    let in_turn = |turn: u8, batch: Batch| {
        move |calls| {
            TURN.store(turn, Ordering::Relaxed);
            batch(calls)
        }
    };
    let own = telemetry.tracer();
    let beside = move |calls| {
        let _root = own.span("around");
        timed(calls, |number| {
            black_box(number);
            drop(own.span("child"));
        })
    };
    let mut rows = vec![rested(&telemetry, row("tracing, beside: tellane's own child", None, SPANS, beside))];
    for (batch, [idle, layer, alone]) in BATCHES {
        rows.push(row(idle, None, SPANS, in_turn(IDLE, batch)));
        let bound = Some((idle, AT_MOST[0]));
        rows.push(rested(&telemetry, row(layer, bound, SPANS, in_turn(LAYER, batch))));
        let bound = Some((idle, AT_MOST[1]));
        rows.push(rested(&telemetry, row(alone, bound, SPANS, in_turn(ALONE, batch))));
    }
    (rows, telemetry)
}
