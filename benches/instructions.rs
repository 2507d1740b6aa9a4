//! One hot call, made so many times, for callgrind to count: `ci/instructions.sh` runs one process a call.
//!
//! `instructions NAME CALLS` makes the calls inside [`measured`], the only function whose events are counted; `--list`
//! prints the names, `--clock` what the calls take time from, `--conditions` what they were counted on. The aggregator is
//! held up meanwhile, so that it leaves the simulated caches alone; the rings have room for all. Without arguments (`cargo test --benches`) every call is made and its result asserted; nothing is timed.

mod support;

use std::hint::black_box;
use std::sync::{MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::{DEADLINE, Gate, NEVER, balanced, caught_up, gated, values};
use tellane::{
    Config, Counter, Family, FixedFamily, InSpan, Kind, LazyCounter, LazyGauge, LazyHistogram, LazyTimer,
    Level, Logger, OwnedSpan, TailSampling, Telemetry, Tracer, counter, gauge, histogram, timer,
};

static HITS: LazyCounter = counter!("hits_total", "A counter in a static.");
static LEVEL: LazyGauge = gauge!("level", "A gauge in a static.");
static SIZES: LazyHistogram = histogram!("sizes", "A histogram in a static.");
static WORK: LazyTimer = timer!("worked", "A timer in a static.");

/// Calls before those that are counted: the lane, the names and the labels are there.
const FIRST: u32 = 100;

/// So many samples fill the ring's half, and more: the lane counts those that follow.
const HALF: usize = 1 << 15;

/// The calls, in an order in which one process can make them all: what is not installed comes before what is.
const CALLS: [(&str, fn(u32)); 58] = [
    ("empty loop", |calls| made(calls, |_| ())),
    ("not installed: counter inc", |calls| made(calls, |_| HITS.inc())),
    ("not installed: gauge set", |calls| made(calls, |number| LEVEL.set(f64::from(number)))),
    ("not installed: histogram record", |calls| made(calls, |number| SIZES.record(u64::from(number)))),
    ("not installed: timer", |calls| made(calls, |_| drop(WORK.start()))),
    ("counter inc", counter_inc),
    ("counter add", counter_add),
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
    ("counter inc in a fixed family", |calls| counter_fixed(calls, false)),
    ("up-down-counter add", up_down),
    ("gauge set", |calls| gauge_set(calls, false)),
    ("gauge add", gauge_add),
    ("histogram record into the ring", |calls| histogram_record(calls, 0)),
    ("histogram record flat out", |calls| histogram_record(calls, HALF)),
    ("histogram record in a static", histogram_static),
    ("histogram record by 2 variable labels", |calls| histogram_family(calls, false)),
    ("histogram record in a fixed family", |calls| histogram_fixed(calls, false)),
    ("histogram record_f64", histogram_float),
    ("histogram record in a sampled span", histogram_in_span),
    ("timer", |calls| timed(calls, true)),
    ("timer record", timer_record),
    ("span root", |calls| span(calls, Config::default(), false)),
    ("span child", |calls| span(calls, Config::default(), true)),
    ("span child with 2 attributes", |calls| span_attributes(calls, false)),
    ("span child with an event", |calls| span_event(calls, false)),
    ("span owned", |calls| span_owned(calls, false)),
    ("span unsampled", |calls| span(calls, Config { sampling: 0.0, ..Config::default() }, false)),
    ("span held", |calls| span(calls, holding(), false)),
    ("span shed", span_shed),
    ("poll of a future in a span", |calls| poll_in_span(calls, false)),
    ("log with 2 fields", log_fields),
    ("log below the level", log_off),
    ("off: counter inc (goes on)", off_counter),
    ("off: counter inc by 2 variable labels (goes on)", |calls| {
        off_counter_family(calls, ["GET", "/shop/7/items"]);
    }),
    ("off: counter inc in a fixed family (goes on)", |calls| counter_fixed(calls, true)),
    ("off: gauge set (goes on)", |calls| gauge_set(calls, true)),
    ("off: histogram record", off_histogram),
    ("off: histogram record by 2 variable labels", |calls| histogram_family(calls, true)),
    ("off: histogram record in a fixed family", |calls| histogram_fixed(calls, true)),
    ("off: timer", |calls| timed(calls, false)),
    ("off: span", off_span),
    ("off: span with 2 attributes", |calls| span_attributes(calls, true)),
    ("off: span with an event", |calls| span_event(calls, true)),
    ("off: span owned", |calls| span_owned(calls, true)),
    ("off: poll of a future in a span", |calls| poll_in_span(calls, true)),
    ("off: log with 2 fields", off_log),
    ("noop: counter inc", |calls| {
        let noop = black_box(tellane::Counter::noop());
        made(calls, |_| noop.inc());
    }),
    ("noop: counter inc by 2 labels", |calls| {
        let noop = black_box(Family::<Counter, 2>::noop());
        made(calls, |_| noop.with(["GET", black_box("/shop/7/items")]).inc());
    }),
    ("noop: counter inc in a fixed family", |calls| {
        let noop = black_box(FixedFamily::<Counter, (bool, bool)>::noop());
        made(calls, |number| noop.with((number & 1 == 0, number & 2 == 0)).inc());
    }),
    ("noop: gauge set", |calls| {
        let noop = black_box(tellane::Gauge::noop());
        made(calls, |number| noop.set(f64::from(number)));
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
    ("noop: log with 2 fields", |calls| {
        let noop = black_box(Logger::noop());
        assert!(!noop.enabled(Level::Error));
        made(calls, |number| tellane::info!(noop, "order placed", number = number, by = "web"));
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
    Config { sampling: 0.0, tail_sampling: Some(TailSampling::default()), ..Config::default() }
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

fn counter_add(calls: u32) {
    held(Config::default(), |held| {
        let counter = held.telemetry.counter("bytes_total").register().expect("a fresh name");
        made(calls, |number| counter.add(u64::from(number & 7)));
        let sum = |calls: u32| (0..calls).map(|number| u64::from(number & 7)).sum::<u64>();
        assert_eq!(held.end(Kind::Sample).1.counter("bytes_total", &[]), Some(sum(FIRST) + sum(calls)));
    });
}

fn up_down(calls: u32) {
    held(Config::default(), |held| {
        let open = held.telemetry.up_down_counter("open").register().expect("a fresh name");
        made(calls, |number| open.add(i64::from(number & 7) - 2));
        let sum = |calls: u32| (0..calls).map(|number| i64::from(number & 7) - 2).sum::<i64>();
        assert_eq!(held.end(Kind::Sample).1.up_down_counter("open", &[]), Some(sum(FIRST) + sum(calls)));
    });
}

/// The instance that is installed, its aggregator held up while `act` runs.
fn installed(act: impl FnOnce()) -> std::sync::Arc<tellane::Snapshot> {
    static INSTALLED: OnceLock<(Telemetry, Gate)> = OnceLock::new();
    let (telemetry, gate) = INSTALLED.get_or_init(|| {
        let gate = Gate::default();
        let config = Config { stall_after: NEVER, ..Config::default() };
        let builder = Telemetry::builder("bench").config(config).inject(gate.hook());
        (builder.install().expect("the first one"), gate)
    });
    let bar = gate.shut();
    act();
    drop(bar);
    caught_up(telemetry)
}

fn counter_static(calls: u32) {
    let snapshot = installed(|| made(calls, |_| HITS.inc()));
    assert_eq!(snapshot.counter("hits_total", &[]), Some(all(calls)));
}

/// As many samples before as fill the ring's half, as where the same is recorded by a handle.
fn histogram_static(calls: u32) {
    let values = values();
    let snapshot = installed(|| {
        values.iter().cycle().take(HALF).for_each(|value| SIZES.record(*value));
        made(calls, |number| SIZES.record(black_box(values[number as usize & 8191])));
    });
    let count = snapshot.histogram("sizes", &[]).map(|view| view.count());
    assert_eq!(count, Some(all(calls) + HALF as u64));
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

fn counter_fixed(calls: u32, off: bool) {
    held(Config::default(), |held| {
        let builder = held.telemetry.counter("cached_total");
        let family = builder.fixed_family::<(bool, bool)>(["hit", "fresh"]).expect("a fresh name");
        if off {
            held.telemetry.switch().force_off();
        }
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

fn gauge_set(calls: u32, off: bool) {
    held(Config::default(), |held| {
        let gauge = held.telemetry.gauge("depth").register().expect("a fresh name");
        if off {
            held.telemetry.switch().force_off();
        }
        made(calls, |number| gauge.set(f64::from(number)));
        let last = held.end(Kind::Sample).1.gauge("depth", &[]);
        assert_eq!(last, Some(f64::from(calls) - 1.0));
    });
}

fn gauge_add(calls: u32) {
    held(Config::default(), |held| {
        let gauge = held.telemetry.gauge("depth").register().expect("a fresh name");
        made(calls, |_| gauge.add(0.5));
        let last = held.end(Kind::Sample).1.gauge("depth", &[]);
        assert_eq!(last, Some(0.5 * all(calls) as f64));
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

/// Asserts that an instance that was on, or off, has found all samples of a series, or has skipped them.
#[track_caller]
fn recorded_or_off(held: Held<'_>, calls: u32, off: bool, find: impl Fn(&tellane::Snapshot) -> u64) {
    let (samples, snapshot) = held.end(Kind::Sample);
    let skipped = if off { all(calls) } else { 0 };
    assert_eq!((samples.recorded, samples.switched_off), (all(calls), skipped));
    assert_eq!(find(&snapshot), all(calls) - skipped);
}

/// One combination, as with the counters by labels.
fn histogram_family(calls: u32, off: bool) {
    let [method, route] = ["GET", "/shop/7/items"].map(String::from);
    held(Config::default(), |held| {
        let family = held.telemetry.histogram("reply").family(["method", "route"]).expect("a fresh name");
        if off {
            held.telemetry.switch().force_off();
        }
        made(calls, |number| {
            family.with([black_box(&*method), black_box(&*route)]).record(u64::from(number));
        });
        recorded_or_off(held, calls, off, |snapshot| {
            let labels = [("method", "GET"), ("route", "/shop/7/items")];
            snapshot.histogram("reply", &labels).map_or(0, |view| view.count())
        });
    });
}

fn histogram_fixed(calls: u32, off: bool) {
    held(Config::default(), |held| {
        let builder = held.telemetry.histogram("reply");
        let family = builder.fixed_family::<(bool, bool)>(["hit", "fresh"]).expect("a fresh name");
        if off {
            held.telemetry.switch().force_off();
        }
        made(calls, |number| family.with((number & 1 == 0, number & 2 == 0)).record(u64::from(number)));
        recorded_or_off(held, calls, off, |snapshot| {
            let texts = ["true", "false"];
            let pairs = texts.iter().flat_map(|hit| texts.iter().map(move |fresh| (*hit, *fresh)));
            let views = pairs.filter_map(|(hit, fresh)| {
                snapshot.histogram("reply", &[("hit", hit), ("fresh", fresh)]).map(|view| view.count())
            });
            views.sum()
        });
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

fn timer_record(calls: u32) {
    held(Config::default(), |held| {
        let timer = held.telemetry.timer("work").register().expect("a fresh name");
        made(calls, |number| timer.record(Duration::from_nanos(u64::from(number))));
        let snapshot = held.end(Kind::Sample).1;
        let count = snapshot.histogram("work_seconds", &[]).map(|view| view.count());
        assert_eq!(count, Some(all(calls)));
    });
}

fn span(calls: u32, config: Config, child: bool) {
    let (sampled, holds) = (config.sampling > 0.0, config.tail_sampling.is_some());
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

/// Asserts that of so many spans all were aggregated, or, with the switch off, at most the one around them; says how many.
#[track_caller]
fn kept_or_off(spans: &tellane::KindLedger, made: u64, off: bool) -> u64 {
    let kept = made - spans.switched_off;
    assert_eq!((spans.recorded, spans.aggregated), (made, kept));
    assert!(if off { kept <= 1 } else { kept == made }, "{kept} of {made} were kept");
    kept
}

fn span_attributes(calls: u32, off: bool) {
    let set_two = |tracer: &Tracer, number: u32| {
        let mut span = tracer.span("work");
        span.set("number", number);
        span.set("method", "GET");
    };
    saying(calls, off, set_two, 2, |span| span.attributes.len());
}

fn span_event(calls: u32, off: bool) {
    let notes_retry = |tracer: &Tracer, number: u32| {
        tracer.span("work").event("retry").set("attempt", number);
    };
    saying(calls, off, notes_retry, 1, |span| span.events.len());
}

/// Spans of which each says so many things, with the switch on or off. It is one call for both: another place that says the
/// same would change what is inlined into this one (with an event that took 64 instructions more).
fn saying(
    calls: u32,
    off: bool,
    emit: impl Fn(&Tracer, u32),
    things: u64,
    said: fn(&tellane::FinishedSpan) -> usize,
) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        let around = tracer.span("around");
        if off {
            held.telemetry.switch().force_off();
        }
        made(calls, |number| emit(&tracer, number));
        drop(around);
        let (spans, snapshot) = held.end(Kind::Span);
        let kept = kept_or_off(&spans, all(calls) + 1, off);
        let found: usize = snapshot.spans().map(|span| said(&span)).sum();
        assert_eq!(found as u64, things * kept.saturating_sub(1));
    });
}

fn span_owned(calls: u32, off: bool) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        if off {
            held.telemetry.switch().force_off();
        }
        made(calls, |_| drop(tracer.owned("work")));
        let (spans, snapshot) = held.end(Kind::Span);
        assert_eq!(spans.dropped.total(), 0);
        let counted = snapshot.span_durations("work").map_or(0, |view| view.count());
        assert_eq!(counted, kept_or_off(&spans, all(calls), off));
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

fn poll_in_span(calls: u32, off: bool) {
    held(Config::default(), |held| {
        if off {
            held.telemetry.switch().force_off();
        }
        assert_eq!(polled(calls, held.telemetry.tracer().owned("polled")), all(calls));
        let (spans, snapshot) = held.end(Kind::Span);
        let skipped = u64::from(off);
        assert_eq!((spans.recorded, spans.switched_off), (1, skipped));
        let counted = snapshot.span_durations("polled").map_or(0, |view| view.count());
        assert_eq!(counted, 1 - skipped);
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

fn off_counter_family(calls: u32, labels: [&str; 2]) {
    let texts = labels.map(String::from);
    held(Config::default(), |held| {
        let family =
            held.telemetry.counter("served_total").family(["method", "route"]).expect("a fresh name");
        held.telemetry.switch().force_off();
        made(calls, |_| family.with([black_box(&*texts[0]), black_box(&*texts[1])]).inc());
        let snapshot = held.end(Kind::Sample).1;
        let labels = [("method", labels[0]), ("route", labels[1])];
        assert_eq!(snapshot.counter("served_total", &labels), Some(all(calls)));
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

fn off_span(calls: u32) {
    held(Config::default(), |held| {
        let tracer = held.telemetry.tracer();
        held.telemetry.switch().force_off();
        made(calls, |_| drop(tracer.span("off")));
        let spans = held.end(Kind::Span).0;
        assert_eq!((spans.recorded, spans.switched_off), (all(calls), all(calls)));
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
