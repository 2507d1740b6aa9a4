//! One hot call, made so many times, for callgrind to count: `ci/instructions.sh` runs one process a call.
//!
//! `instructions NAME CALLS` makes the calls inside [`measured`], the only function whose events are counted; `--list`
//! prints the names, `--clock` what the calls take time from, `--conditions` what they were counted on. The aggregator is
//! held up meanwhile, so that it leaves the simulated caches alone; the rings have room for all. Without arguments (`cargo test --benches`) every call is made and its result asserted; nothing is timed.

mod support;

use std::hint::black_box;
use std::sync::{MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use support::{DEADLINE, Gate, NEVER, balanced, caught_up, gated, values};
use tellane::{
    Config, Counter, Family, FixedFamily, InSpan, Kind, LazyCounter, LazyHistogram, LazyTimer, Outcome,
    OwnedSpan, Telemetry, Tracer, counter, histogram, timer,
};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram in a static.");
static WORK: LazyTimer = timer!("worked", "A timer in a static.");

/// Calls before those that are counted: the lane, the names and the labels are there.
const FIRST: u32 = 100;

/// The calls, in an order in which one process can make them all: what is not installed comes before what is.
const CALLS: [(&str, fn(u32)); 42] = [
    ("empty loop", |calls| made(calls, |_| ())),
    ("not installed: counter inc", |calls| made(calls, |_| HITS.inc())),
    ("not installed: histogram record", |calls| made(calls, |number| SIZES.record(u64::from(number)))),
    ("not installed: timer", |calls| made(calls, |_| drop(WORK.start()))),
    ("counter inc", counter_inc),
    ("counter inc in a static", counter_static),
    ("counter inc by 2 labels", |calls| {
        counter_family(calls, ["GET", "/shop/7/items"], |family, [_, route]| {
            family.with(["GET", black_box(route)]).inc();
        });
    }),
    ("counter inc by 2 variable labels", |calls| {
        counter_family(calls, ["GET", "/shop/7/items"], |family, [method, route]| {
            family.with([black_box(method), black_box(route)]).inc();
        });
    }),
    ("counter inc by 2 variable labels over 24 bytes", |calls| {
        let labels = ["GET, after having been asked twice", "/shop/7/items/of-a-rather-long-name"];
        counter_family(calls, labels, |family, [method, route]| {
            family.with([black_box(method), black_box(route)]).inc();
        });
    }),
    ("counter inc in a fixed family", counter_fixed),
    ("gauge set", gauge_set),
    ("histogram record into the ring", |calls| histogram_record(calls, 0)),
    ("histogram record flat out", |calls| histogram_record(calls, 1 << 15)),
    ("histogram record_f64", histogram_float),
    ("histogram record in a sampled span", histogram_in_span),
    ("timer", |calls| timed(calls, true)),
    ("span root", |calls| span(calls, Config::default(), false)),
    ("span child", |calls| span(calls, Config::default(), true)),
    ("span child with 2 attributes", span_attributes),
    ("span child with an event", span_event),
    ("span owned", span_owned),
    ("span unsampled", |calls| span(calls, Config { sampling: 0.0, ..Config::default() }, false)),
    ("span held", |calls| span(calls, holding(), false)),
    ("span shed", span_shed),
    ("poll of a future in a span", poll_in_span),
    ("log with 2 fields", log_fields),
    ("log below the level", log_off),
    ("off: counter inc (goes on)", off_counter),
    ("off: histogram record", off_histogram),
    ("off: timer", |calls| timed(calls, false)),
    ("off: histogram record in a fixed family", off_histogram_fixed),
    ("off: span", off_span),
    ("off: span owned", off_owned),
    ("off: poll of a future in a span", off_poll),
    ("off: log with 2 fields", off_log),
    ("noop: counter inc", |calls| {
        let noop = black_box(tellane::Counter::noop());
        made(calls, |_| noop.inc());
    }),
    ("noop: histogram record", |calls| {
        let noop = black_box(tellane::Histogram::noop());
        made(calls, |number| noop.record(u64::from(number)));
    }),
    ("noop: span", |calls| {
        let noop = black_box(Tracer::noop());
        made(calls, |_| drop(noop.span("noop")));
    }),
    ("noop: span owned", |calls| {
        let noop = black_box(Tracer::noop());
        made(calls, |_| drop(noop.owned("noop")));
    }),
    ("noop: poll of a future in a span", |calls| {
        assert_eq!(polled(calls, black_box(Tracer::noop()).owned("noop")), all(calls));
    }),
    ("noop: counter inc by 2 labels", |calls| {
        let noop = black_box(Family::<Counter, 2>::noop());
        made(calls, |_| noop.with(["GET", black_box("/shop/7/items")]).inc());
    }),
    ("noop: counter inc in a fixed family", |calls| {
        let noop = black_box(FixedFamily::<Counter, (bool, bool)>::noop());
        made(calls, |number| noop.with((number & 1 == 0, number & 2 == 0)).inc());
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [list] if list == "--list" => CALLS.iter().for_each(|(name, _)| println!("{name}")),
        [clock] if clock == "--clock" => println!("{}", support::start(Config::default()).clock_source()),
        [asked, command] if asked == "--conditions" => {
            let here = support::conditions::now(env!("CARGO_MANIFEST_DIR"), &["benches"], command);
            println!(
                "{}",
                support::conditions::sentence(&here).expect("commit, compiler and processor are known")
            );
        }
        [name, calls] => {
            let (_, run) = CALLS.iter().find(|(known, _)| known == name).expect("a name that --list prints");
            run(calls.parse().expect("a number of calls"));
        }
        _ => {
            assert!(!CALLS.iter().any(|(name, _)| name.contains(',')), "the record is a CSV");
            CALLS.iter().for_each(|(_, run)| run(FIRST));
            println!("{} calls give what they should", CALLS.len());
        }
    }
}

/// The loop whose events are counted, and nothing else's: `--toggle-collect` names it.
#[inline(never)]
fn measured(calls: u32, mut call: impl FnMut(u32)) {
    (0..calls).for_each(|number| call(black_box(number)));
}

fn made(calls: u32, mut call: impl FnMut(u32)) {
    (0..FIRST).for_each(&mut call);
    measured(calls, &mut call);
}

/// An instance whose aggregator stands still from before the first call to behind the last.
struct Held<'a> {
    telemetry: Telemetry,
    bar: Option<MutexGuard<'a, ()>>,
}

impl Held<'_> {
    /// Lets the aggregator go, and says what it found.
    fn end(mut self, kind: Kind) -> (tellane::KindLedger, std::sync::Arc<tellane::Snapshot>) {
        drop(self.bar.take());
        let end = self.telemetry.shutdown(DEADLINE);
        assert!(end.finished);
        (balanced(&end.ledger, kind), self.telemetry.latest())
    }
}

/// Hands a held instance to `act`.
fn held(config: Config, act: impl FnOnce(Held<'_>)) {
    let config = Config { logs_per_second: None, ..config };
    let (telemetry, gate) = gated(config);
    let bar = Some(gate.shut());
    act(Held { telemetry, bar });
}

/// Nothing is sampled; traces wait for their outcome.
fn holding() -> Config {
    Config { sampling: 0.0, outcome: Some(Outcome::default()), ..Config::default() }
}

/// All that were made, the first ones too.
fn all(calls: u32) -> u64 {
    u64::from(calls + FIRST)
}

fn counter_inc(calls: u32) {
    held(Config::default(), |held| {
        let counter = held.telemetry.counter("calls_total").register().expect("a fresh name");
        made(calls, |_| counter.inc());
        assert_eq!(held.end(Kind::Sample).1.counter("calls_total", &[]), Some(all(calls)));
    });
}

fn counter_static(calls: u32) {
    static INSTALLED: OnceLock<(Telemetry, Gate)> = OnceLock::new();
    let (telemetry, gate) = INSTALLED.get_or_init(|| {
        let gate = Gate::default();
        let config = Config { stall_after: NEVER, ..Config::default() };
        let builder = Telemetry::builder("bench").config(config).inject(gate.hook());
        (builder.install().expect("the first one"), gate)
    });
    let bar = gate.shut();
    made(calls, |_| HITS.inc());
    drop(bar);
    assert_eq!(caught_up(telemetry).counter("hits_total", &[]), Some(all(calls)));
}

/// One combination: the hash is seeded anew in each process, and with more of them the look-up would meet others' places
/// now and then.
fn counter_family(calls: u32, labels: [&str; 2], call: impl Fn(&Family<Counter, 2>, &[String; 2])) {
    let texts = labels.map(String::from);
    held(Config::default(), |held| {
        let family =
            held.telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name");
        made(calls, |_| call(&family, &texts));
        let snapshot = held.end(Kind::Sample).1;
        let labels = [("method", labels[0]), ("route", labels[1])];
        assert_eq!(snapshot.counter("served_total", &labels), Some(all(calls)));
    });
}

fn counter_fixed(calls: u32) {
    held(Config::default(), |held| {
        let builder = held.telemetry.counter("cached_total");
        let family = builder.fixed_family::<(bool, bool)>(["hit", "fresh"]).expect("a fresh name");
        made(calls, |number| family.with((number & 1 == 0, number & 2 == 0)).inc());
        let snapshot = held.end(Kind::Sample).1;
        // Each of the four pairs in turn, from the first again where the counted calls begin.
        let pairs = [("true", "true"), ("false", "true"), ("true", "false"), ("false", "false")];
        for (pair, (hit, fresh)) in (0..4).zip(pairs) {
            let times = |calls: u32| u64::from((calls + 3 - pair) / 4);
            let count = snapshot.counter("cached_total", &[("hit", hit), ("fresh", fresh)]);
            assert_eq!(count.unwrap_or(0), times(FIRST) + times(calls));
        }
    });
}

fn gauge_set(calls: u32) {
    held(Config::default(), |held| {
        let gauge = held.telemetry.gauge("depth").register().expect("a fresh name");
        made(calls, |number| gauge.set(f64::from(number)));
        let last = held.end(Kind::Sample).1.gauge("depth", &[]);
        assert_eq!(last, Some(f64::from(calls) - 1.0));
    });
}

/// `before` samples are recorded before: enough of them fill the ring's half, and the lane counts those that follow.
fn histogram_record(calls: u32, before: usize) {
    let values = values();
    held(Config::default(), |held| {
        let histogram = held.telemetry.histogram("latency").seconds().register().expect("a fresh name");
        values.iter().cycle().take(before).for_each(|value| histogram.record(*value));
        made(calls, |number| histogram.record(black_box(values[number as usize & 8191])));
        let (samples, snapshot) = held.end(Kind::Sample);
        let expected = all(calls) + before as u64;
        assert_eq!((samples.recorded, samples.aggregated), (expected, expected));
        let count = snapshot.histogram("latency_seconds", &[]).map(|view| view.count());
        assert_eq!(count, Some(expected));
    });
}

fn histogram_float(calls: u32) {
    held(Config::default(), |held| {
        let histogram = held.telemetry.histogram("latency").seconds().register().expect("a fresh name");
        made(calls, |_| histogram.record_f64(black_box(0.001)));
        let snapshot = held.end(Kind::Sample).1;
        let view = snapshot.histogram("latency_seconds", &[]).expect("it was registered");
        assert_eq!(view.count(), all(calls));
        assert!((view.sum() - 0.001 * all(calls) as f64).abs() < 1e-9, "{} seconds", view.sum());
    });
}

/// The first sample of each power of two goes along as an exemplar; those of the counted calls are mostly later ones.
fn histogram_in_span(calls: u32) {
    let values = values();
    held(Config::default(), |held| {
        let histogram = held.telemetry.histogram("latency").seconds().register().expect("a fresh name");
        let around = held.telemetry.tracer().span("around");
        made(calls, |number| histogram.record(black_box(values[number as usize & 8191])));
        drop(around);
        let snapshot = held.end(Kind::Sample).1;
        let view = snapshot.histogram("latency_seconds", &[]).expect("it was registered");
        assert_eq!(view.count(), all(calls));
        assert!(!view.exemplars().is_empty(), "the span is sampled");
    });
}

fn timed(calls: u32, on: bool) {
    held(Config::default(), |held| {
        let timer = held.telemetry.timer("work").register().expect("a fresh name");
        if !on {
            held.telemetry.switch().force_off();
        }
        made(calls, |_| drop(timer.start()));
        let samples = held.end(Kind::Sample).0;
        let (recorded, off) = (all(calls), if on { 0 } else { all(calls) });
        assert_eq!(
            (samples.recorded, samples.aggregated, samples.switched_off),
            (recorded, recorded - off, off)
        );
    });
}

fn span(calls: u32, config: Config, child: bool) {
    let (sampled, holds) = (config.sampling > 0.0, config.outcome.is_some());
    held(config, |held| {
        let tracer = held.telemetry.tracer();
        let around = child.then(|| tracer.span("around"));
        made(calls, |_| drop(tracer.span("work")));
        drop(around);
        let (spans, snapshot) = held.end(Kind::Span);
        let recorded = all(calls) + u64::from(child);
        let unsampled = if sampled || holds { 0 } else { recorded };
        assert_eq!((spans.recorded, spans.dropped.total(), spans.unsampled), (recorded, 0, unsampled));
        assert_eq!(snapshot.span_durations("work").map(|view| view.count()), Some(all(calls)));
    });
}

fn span_attributes(calls: u32) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        let around = tracer.span("around");
        made(calls, |number| {
            let mut span = tracer.span("work");
            span.set("number", number);
            span.set("method", "GET");
        });
        drop(around);
        let (spans, snapshot) = held.end(Kind::Span);
        assert_eq!((spans.recorded, spans.aggregated), (all(calls) + 1, all(calls) + 1));
        let attributes: usize = snapshot.spans().map(|span| span.attributes.len()).sum();
        assert_eq!(attributes as u64, 2 * all(calls));
    });
}

fn span_event(calls: u32) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        let around = tracer.span("around");
        made(calls, |number| {
            tracer.span("work").event("retry").set("attempt", number);
        });
        drop(around);
        let (spans, snapshot) = held.end(Kind::Span);
        assert_eq!((spans.recorded, spans.aggregated), (all(calls) + 1, all(calls) + 1));
        let events: usize = snapshot.spans().map(|span| span.events.len()).sum();
        assert_eq!(events as u64, all(calls));
    });
}

fn span_owned(calls: u32) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        made(calls, |_| drop(tracer.owned("work")));
        let (spans, snapshot) = held.end(Kind::Span);
        assert_eq!((spans.recorded, spans.dropped.total()), (all(calls), 0));
        assert_eq!(snapshot.span_durations("work").map(|view| view.count()), Some(all(calls)));
    });
}

/// How often a future in this span was polled.
fn polled(calls: u32, span: OwnedSpan) -> u64 {
    let mut polls = 0;
    let pending = std::future::poll_fn(|_| {
        polls += 1;
        Poll::<()>::Pending
    });
    let mut future = Box::pin(pending.in_span(span));
    let mut context = Context::from_waker(Waker::noop());
    made(calls, |_| assert!(black_box(&mut future).as_mut().poll(&mut context).is_pending()));
    drop(future);
    polls
}

fn poll_in_span(calls: u32) {
    held(Config::default(), |held| {
        assert_eq!(polled(calls, held.telemetry.tracer().owned("polled")), all(calls));
        let (spans, snapshot) = held.end(Kind::Span);
        assert_eq!(spans.recorded, 1);
        assert_eq!(snapshot.span_durations("polled").map(|view| view.count()), Some(1));
    });
}

/// The ring is full: the span is shed, its duration counted.
fn span_shed(calls: u32) {
    const BEFORE: u64 = 1 << 13;
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        (0..BEFORE).for_each(|_| drop(tracer.span("work")));
        made(calls, |_| drop(tracer.span("work")));
        let (spans, snapshot) = held.end(Kind::Span);
        let recorded = all(calls) + BEFORE;
        assert_eq!(spans.recorded, recorded);
        assert!(spans.dropped.by(tellane::Reason::RingFull) >= all(calls));
        assert_eq!(snapshot.span_durations("work").map(|view| view.count()), Some(recorded));
    });
}

fn log_fields(calls: u32) {
    held(Config::default(), |held| {
        let log = held.telemetry.logger("bench");
        made(calls, |number| tellane::info!(log, "order placed", number = number, by = "web"));
        let records = held.end(Kind::Log).0;
        assert_eq!((records.recorded, records.aggregated), (all(calls), all(calls)));
    });
}

fn log_off(calls: u32) {
    held(Config::default(), |held| {
        let log = held.telemetry.logger("bench");
        made(calls, |number| tellane::debug!(log, "order placed", number = number, by = "web"));
        assert_eq!(held.end(Kind::Log).0.recorded, 0, "a level that is off is not recorded");
    });
}

fn off_counter(calls: u32) {
    held(Config::default(), |held| {
        let counter = held.telemetry.counter("calls_total").register().expect("a fresh name");
        held.telemetry.switch().force_off();
        made(calls, |_| counter.inc());
        assert_eq!(held.end(Kind::Sample).1.counter("calls_total", &[]), Some(all(calls)));
    });
}

fn off_histogram(calls: u32) {
    held(Config::default(), |held| {
        let histogram = held.telemetry.histogram("latency").seconds().register().expect("a fresh name");
        held.telemetry.switch().force_off();
        made(calls, |number| histogram.record(u64::from(number)));
        let samples = held.end(Kind::Sample).0;
        assert_eq!((samples.recorded, samples.switched_off), (all(calls), all(calls)));
    });
}

fn off_histogram_fixed(calls: u32) {
    held(Config::default(), |held| {
        let builder = held.telemetry.histogram("latency").seconds();
        let family = builder.fixed_family::<(bool, bool)>(["hit", "fresh"]).expect("a fresh name");
        held.telemetry.switch().force_off();
        made(calls, |number| family.with((number & 1 == 0, number & 2 == 0)).record(u64::from(number)));
        let samples = held.end(Kind::Sample).0;
        assert_eq!((samples.recorded, samples.switched_off), (all(calls), all(calls)));
    });
}

fn off_span(calls: u32) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        held.telemetry.switch().force_off();
        made(calls, |_| drop(tracer.span("off")));
        let spans = held.end(Kind::Span).0;
        assert_eq!((spans.recorded, spans.switched_off), (all(calls), all(calls)));
    });
}

fn off_owned(calls: u32) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        held.telemetry.switch().force_off();
        made(calls, |_| drop(tracer.owned("off")));
        let spans = held.end(Kind::Span).0;
        assert_eq!((spans.recorded, spans.switched_off), (all(calls), all(calls)));
    });
}

fn off_poll(calls: u32) {
    held(Config::default(), |held| {
        held.telemetry.switch().force_off();
        assert_eq!(polled(calls, held.telemetry.tracer().owned("off")), all(calls));
        let spans = held.end(Kind::Span).0;
        assert_eq!((spans.recorded, spans.switched_off), (1, 1));
    });
}

fn off_log(calls: u32) {
    held(Config::default(), |held| {
        let log = held.telemetry.logger("bench");
        held.telemetry.switch().force_off();
        made(calls, |number| tellane::info!(log, "order placed", number = number, by = "web"));
        let records = held.end(Kind::Log).0;
        assert_eq!((records.recorded, records.switched_off), (all(calls), all(calls)));
    });
}
