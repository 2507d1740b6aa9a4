//! What may be registered, started, merged and asked for, what is refused and how it says so; and that instances side
//! by side do not meet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tellane::testing::Kit;
use tellane::{
    Config, Counter, Family, Gauge, Histogram, Kind, MergeError, Reason, RegisterError, Snapshot,
    SnapshotError, StartError, Switch, Telemetry, Timer, Tracer, UpDownCounter,
};

#[test]
fn every_refusal_has_its_variant_and_says_why() {
    let kit = Kit::new();
    let telemetry = kit.telemetry();
    let bad_names =
        ["", "9lives", "a-b", "a b", "__reserved", "ä", "a\nb", "tellane_state", &"a".repeat(201)];
    for name in bad_names {
        let error = telemetry.counter(name).register().map(drop);
        assert_eq!(error, Err(RegisterError::BadName { name: name.to_owned() }));
        let error = error.expect_err("checked above").to_string();
        assert!(
            error.contains("is not a metric name: use ASCII letters") && !error.contains('\n'),
            "{error}"
        );
    }
    for label in ["", "a:b", "__name__", "le", "quantile", "1st", "a\"b"] {
        let error = telemetry.gauge("labelled").label(label, "x").register().map(drop);
        assert_eq!(error, Err(RegisterError::BadLabel { label: label.to_owned() }));
        let error = error.expect_err("checked above").to_string();
        assert!(error.contains("is not a label name: use ASCII letters"), "{error}");
    }
    let twice = telemetry.counter("twice").label("a", "1").family(["b", "a"]).map(drop);
    assert_eq!(twice, Err(RegisterError::DuplicateLabel { label: "a".into() }));

    let histogram = |name| telemetry.histogram(name);
    for digits in [0, 6, 255] {
        let error = histogram("digits").digits(digits).register().map(drop);
        assert_eq!(error, Err(RegisterError::BadDigits { digits }));
    }
    for highest in [0, 1] {
        let error = histogram("highest").highest(highest).register().map(drop);
        assert_eq!(error, Err(RegisterError::BadHighest { highest }));
    }
    let error = telemetry.timer("longest").longest(Duration::ZERO).register().map(drop);
    assert_eq!(error, Err(RegisterError::BadHighest { highest: 0 }));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(histogram("scale").scale(scale).register().map(drop), Err(RegisterError::BadScale));
    }
    for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[f64::NAN], &[1.0, f64::INFINITY]] {
        assert_eq!(histogram("bounds").bounds(bounds).register().map(drop), Err(RegisterError::BadBounds));
    }
    let bounds: Vec<f64> = (0..2_001).map(f64::from).collect();
    let error = histogram("bounds").bounds(&bounds).register().map(drop);
    assert_eq!(error, Err(RegisterError::TooManyBounds { bounds: 2_001 }));
    let error = histogram("bounds").bounds(&bounds).family(["town"]).map(drop);
    assert_eq!(error, Err(RegisterError::TooManyBounds { bounds: 2_001 }));
    // None of them left anything behind.
    let names = ["labelled", "twice", "digits", "highest", "longest", "scale", "bounds"];
    for name in names {
        telemetry.gauge(name).register().expect("the name is free");
    }
}

#[test]
fn a_conflict_says_where_the_name_was_taken() {
    let kit = Kit::new();
    let telemetry = kit.telemetry();
    telemetry.counter("requests_total").label("kind", "web").register().expect("the first"); // this line
    let line = line!() - 1;
    let gauge = telemetry.gauge("requests_total").register().expect_err("another type");
    let RegisterError::Conflict { name, first, wanted, at } = &gauge else { panic!("{gauge:?}") };
    assert_eq!((name.as_str(), at.line()), ("requests_total", line));
    assert!(at.file().ends_with("registration.rs"), "{at}");
    assert!(first.starts_with("Counter") && wanted.starts_with("Gauge"), "{first} {wanted}");
    assert!(gauge.to_string().contains(&format!("registration.rs:{line}")), "{gauge}");

    let conflicts = |error: Result<(), RegisterError>| matches!(error, Err(RegisterError::Conflict { .. }));
    assert!(conflicts(telemetry.counter("requests").register().map(drop)), "other labels");
    assert!(conflicts(telemetry.counter("requests").label("kin", "web").register().map(drop)));
    assert!(telemetry.counter("requests").label("kind", "api").register().is_ok(), "the same metric");
    telemetry.histogram("sizes").bytes().register().expect("the first");
    assert!(conflicts(telemetry.histogram("sizes").bytes().digits(3).register().map(drop)));
    // Names that the exposition needs.
    assert!(conflicts(telemetry.gauge("sizes_bytes_count").register().map(drop)));
    assert!(conflicts(telemetry.histogram("sizes_bytes_sum").register().map(drop)));
    telemetry.gauge("load_bucket").register().expect("the first");
    assert!(conflicts(telemetry.histogram("load").register().map(drop)));
    // Names that spans need.
    assert!(conflicts(telemetry.gauge("traces_span_metrics_duration_seconds").register().map(drop)));
    assert!(conflicts(telemetry.counter("traces_span_metrics_errors").register().map(drop)));
    let mut span = telemetry.tracer().span("still counted");
    span.fail();
    drop(span);
    let snapshot = kit.snapshot();
    assert_eq!(snapshot.span_durations("still counted").map(|view| view.count()), Some(1));
}

#[test]
fn a_bad_configuration_is_refused_with_every_fault() {
    let config = Config {
        ring_words: 100,
        spill_bytes: usize::MAX,
        lane_cap: usize::MAX,
        batch: f64::NAN,
        shortest_sleep: Duration::ZERO,
        longest_sleep: Duration::MAX,
        flush_interval: Duration::ZERO,
        series_cap: 0,
        names_cap: 0,
        sampling: -0.1,
        stall_after: Duration::ZERO,
        shed_share: f64::INFINITY,
        shed_after: Duration::ZERO,
        retry: Duration::ZERO,
        probe_lease: Duration::ZERO,
        ..Config::default()
    };
    let error = Telemetry::builder("bad").config(config).start().expect_err("nothing of it is usable");
    let StartError::Config(faults) = &error else { panic!("{error:?}") };
    let settings: Vec<_> = faults.iter().map(|fault| fault.setting).collect();
    let expected = [
        "ring_words",
        "spill_bytes",
        "lane_cap",
        "batch",
        "shortest_sleep",
        "flush_interval",
        "series_cap",
        "names_cap",
        "sampling",
        "stall_after",
        "shed_share",
        "shed_after",
        "retry",
        "probe_lease",
    ];
    assert_eq!(settings, expected);
    let text = error.to_string();
    assert!(faults.iter().all(|fault| text.contains(&fault.to_string())), "{text}");
    let other = Config {
        longest_sleep: Duration::from_nanos(1),
        retry_max: Duration::from_nanos(1),
        ..Config::default()
    };
    let settings: Vec<_> = other.faults().into_iter().map(|fault| fault.setting).collect();
    assert_eq!(settings, ["longest_sleep", "retry_max"]);
    assert!(Config::default().faults().is_empty());
    assert!(std::error::Error::source(&error).is_none());
    let thread = StartError::Thread(std::io::Error::other("none left"));
    assert_eq!(thread.to_string(), "the operating system has no thread for the aggregator: none left");
    assert!(std::error::Error::source(&thread).is_some());
}

#[test]
fn snapshots_of_different_metrics_do_not_merge() {
    let kits = [Kit::new(), Kit::new(), Kit::new()];
    let [a, b, c] = kits.each_ref().map(Kit::telemetry);
    a.histogram("sizes").register().expect("a good name").record(1);
    b.histogram("sizes").register().expect("a good name").record(2);
    b.gauge("only_b").register().expect("a good name").set(1.5);
    c.histogram("sizes").digits(3).register().expect("a good name").record(3);
    let [a, b, c] = kits.each_ref().map(Kit::snapshot);
    let error = a.merge(&c).expect_err("another precision");
    assert_eq!(error, MergeError::Mismatch { name: "sizes".into() });
    assert_eq!(
        error.to_string(),
        "sizes has another type, unit or precision in the other snapshot: merge snapshots of one definition"
    );
    let both = a.merge(&b).expect("the same metrics");
    let sizes = both.histogram("sizes", &[]).expect("in both");
    assert_eq!((sizes.count(), sizes.sum(), sizes.min(), sizes.max()), (2, 3.0, Some(1.0), Some(2.0)));
    assert_eq!(both.gauge("only_b", &[]), Some(1.5));
    assert_eq!(both.ledger().kind(Kind::Sample).recorded, 2);
}

#[test]
fn snapshot_errors_say_what_happened() {
    let deadline = SnapshotError::Deadline { after: Duration::from_millis(5) };
    assert_eq!(
        deadline.to_string(),
        "the aggregator did not answer within 5ms: allow more time, or use the last snapshot, which `latest` returns"
    );
    assert_eq!(
        SnapshotError::Ended.to_string(),
        "the aggregator failed, or has ended without a shutdown; `latest` returns its last snapshot"
    );
    assert_eq!(
        SnapshotError::OwnThread.to_string(),
        "one of tellane's own threads cannot wait for a snapshot: use `latest` there"
    );
    assert_eq!(
        SnapshotError::Forked.to_string(),
        "this process is a forked child without an aggregator: start a new instance in it"
    );
    let texts = [
        RegisterError::Exhausted.to_string(),
        RegisterError::Forked.to_string(),
        RegisterError::BadScale.to_string(),
        RegisterError::BadBounds.to_string(),
        RegisterError::TooManyBounds { bounds: 2_001 }.to_string(),
        RegisterError::BadDigits { digits: 9 }.to_string(),
        RegisterError::BadHighest { highest: 1 }.to_string(),
        RegisterError::DuplicateLabel { label: "a".into() }.to_string(),
        StartError::AlreadyInstalled.to_string(),
        StartError::Forked.to_string(),
    ];
    let expected = [
        "no number is left: an instance has room for 2^20 histograms and 2^31 counters, and a bridge for \
         `Config::names_cap` metric names; register fewer, or raise the cap",
        "this process is a forked child: start a new instance in it",
        "the scale must be finite and above zero, such as 1e9 for values in nanoseconds shown in seconds",
        "bucket bounds must be finite and strictly increasing: sort them and remove duplicates",
        "a histogram cannot have 2001 bucket bounds: use at most 2000, since each is a line of every scrape",
        "a histogram cannot have 9 significant digits: use 1 to 5",
        "the highest trackable value cannot be 1: use 2 or more",
        "the label \"a\" is named twice: name each label once",
        "a global instance is installed already: `Telemetry::installed` returns it, and `start` makes another one beside it",
        "this process is a forked child whose parent was installing telemetry at the fork: use `start` here",
    ];
    assert_eq!(texts, expected);
    // That each occurs: Deadline and OwnThread in shutdown.rs, Forked in fork.rs, Ended in faults.rs.
}

/// A histogram is shown under three more names. Of two threads that register a name and one of these at once, one
/// succeeds.
#[test]
fn a_histogram_and_a_name_derived_from_it_are_not_both_registered() {
    const ROUNDS: usize = 4_000;
    let kit = Kit::new();
    let telemetry = kit.telemetry();
    let arrived = AtomicUsize::new(0);
    // Threads that a barrier wakes run one after the other: only threads that spin meet in the registry.
    let meet = |round: usize| {
        arrived.fetch_add(1, Ordering::SeqCst);
        for spins in 1.. {
            if arrived.load(Ordering::SeqCst) >= 2 * (round + 1) {
                break;
            }
            if spins % 100 == 0 {
                std::thread::yield_now(); // the other thread may have no core
            }
        }
    };
    let (histograms, derived) = std::thread::scope(|scope| {
        let histograms = scope.spawn(|| {
            let register = |round| {
                let name = format!("wait_{round}");
                meet(round);
                telemetry.histogram(&name).register().is_ok()
            };
            (0..ROUNDS).map(register).collect::<Vec<bool>>()
        });
        let derived = scope.spawn(|| {
            let register = |round| {
                let name = format!("wait_{round}_{}", ["bucket", "sum", "count"][round % 3]);
                meet(round);
                telemetry.gauge(&name).register().is_ok()
            };
            (0..ROUNDS).map(register).collect::<Vec<bool>>()
        });
        (histograms.join().expect("no panic"), derived.join().expect("no panic"))
    });
    for round in 0..ROUNDS {
        assert_ne!(histograms[round], derived[round], "round {round}: one of the two is registered");
    }
}

#[test]
fn instances_side_by_side_do_not_meet() {
    let instances = [Kit::new(), Kit::new(), Kit::new()];
    let handles: Vec<_> = instances
        .iter()
        .map(|kit| {
            (
                kit.telemetry().counter("calls_total").register().expect("a good name"),
                kit.telemetry().histogram("sizes").register().expect("a good name"),
                kit.tracer(),
            )
        })
        .collect();
    // Alternating on each of several threads, spans open across the change of place.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..1_000_usize {
                    let (counter, sizes, tracer) = &handles[round % 3];
                    let mut outer = tracer.span("outer");
                    outer.set("round", round);
                    let (other_counter, other_sizes, other_tracer) = &handles[(round + 1) % 3];
                    let inner = other_tracer.span("inner");
                    counter.inc();
                    other_counter.add(10);
                    sizes.record(1);
                    other_sizes.record(100);
                    let ids = (outer.span_context(), inner.span_context());
                    let (Some(outer), Some(inner)) = ids else { panic!("both are on: {ids:?}") };
                    assert_ne!(outer.trace_id, inner.trace_id, "a trace belongs to one instance");
                }
            });
        }
    });
    for (place, kit) in instances.iter().enumerate() {
        let outer = 4 * (0..1_000).filter(|round| round % 3 == place).count() as u64;
        let inner = 4 * (0..1_000).filter(|round| (round + 1) % 3 == place).count() as u64;
        let ledger = kit.end();
        let last = kit.snapshot();
        assert_eq!(last.counter("calls_total", &[]), Some(outer + 10 * inner));
        let sizes = last.histogram("sizes", &[]).expect("registered");
        assert_eq!((sizes.count(), sizes.sum_recorded()), (outer + inner, u128::from(outer + 100 * inner)));
        assert_eq!(last.span_durations("outer").map(|view| view.count()), Some(outer));
        assert_eq!(last.span_durations("inner").map(|view| view.count()), Some(inner));
        assert!(last.spans().all(|span| span.parent_id.is_none()), "neither is the other's child");
        assert_eq!(ledger.kind(Kind::Span).dropped.by(Reason::Corrupt), 0);
    }
}

#[test]
fn handles_go_anywhere_and_noops_do_nothing() {
    fn anywhere<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    anywhere::<Counter>();
    anywhere::<UpDownCounter>();
    anywhere::<Gauge>();
    anywhere::<Histogram>();
    anywhere::<Timer>();
    anywhere::<Tracer>();
    anywhere::<Family<Counter, 2>>();
    anywhere::<Family<Timer, 1>>();
    anywhere::<Telemetry>();
    anywhere::<Switch>();
    anywhere::<Snapshot>();
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<RegisterError>();
    error::<StartError>();
    error::<SnapshotError>();
    error::<MergeError>();

    let kit = Kit::new();
    let telemetry = kit.telemetry();
    telemetry.counter("real_total").register().expect("a good name").inc(); // this thread has a lane
    Counter::noop().add(5);
    UpDownCounter::noop().dec();
    Gauge::noop().set(1.0);
    Histogram::noop().record(u64::MAX);
    Histogram::noop().record_f64(f64::NAN);
    assert_eq!(Timer::noop().start().stop(), None);
    Family::<Counter, 1>::noop().with(["x"]).inc();
    let mut span = Tracer::noop().span("nothing");
    span.set("key", 1);
    span.fail();
    assert!(span.span_context().is_none() && !span.is_sampled());
    drop(span);
    drop(tellane::Span::noop());
    assert_eq!(kit.end().total().recorded, 0);
    assert_eq!(kit.counter("real_total", &[]), 1);
}
