//! The bridge from the `metrics` crate: what its macros record is in the snapshot, to the last record, whatever the
//! names and labels.

mod support;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use support::{PATIENCE, assert_balanced, assert_whole, patient};
use tellane::bridge::metrics::Recorder;
use tellane::{Config, Kind, MetricKind, PointValue, Reason, RegisterError, Snapshot, Telemetry};

/// Runs `record` with a recorder of its own and gives what came of it.
fn recorded(config: Config, record: impl FnOnce(&Telemetry, &Recorder)) -> (Telemetry, Arc<Snapshot>) {
    let telemetry = Telemetry::builder("bridge").config(config).start().expect("it starts");
    let recorder = Recorder::new(&telemetry);
    with_local_recorder(&recorder, || record(&telemetry, &recorder));
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_whole(&snapshot);
    (telemetry, snapshot)
}

fn point<'a>(snapshot: &'a Snapshot, name: &str) -> tellane::Point<'a> {
    snapshot.points().find(|point| point.name() == name).expect("registered")
}

#[test]
fn all_three_kinds_arrive() {
    let (telemetry, snapshot) = recorded(Config::default(), |_, _| {
        let kept = counter!("http.requests", "method" => "GET");
        kept.increment(2);
        counter!("http.requests", "method" => "GET").increment(3);
        let level = gauge!("pool/size");
        level.set(10);
        level.increment(2.5);
        gauge!("pool/size").decrement(0.5);
        for millis in [100_u64, 200, 300] {
            histogram!("wait_seconds").record(Duration::from_millis(millis));
        }
        histogram!("wait_seconds").record_many(0.4, 2);
    });
    assert_eq!(snapshot.counter("http_requests_total", &[("method", "GET")]), Some(5));
    assert_eq!(snapshot.gauge("pool_size", &[]), Some(12.0));
    let wait = snapshot.histogram("wait_seconds", &[]).expect("recorded");
    assert_eq!((wait.count(), wait.sum(), wait.min(), wait.max()), (5, 1.4, Some(0.1), Some(0.4)));
    assert!(telemetry.faults().is_empty());
    assert_balanced(&telemetry.shutdown(PATIENCE).ledger);
}

#[test]
fn one_name_takes_any_labels() {
    let (telemetry, snapshot) = recorded(Config::default(), |_, _| {
        counter!("calls").increment(1);
        counter!("calls", "a" => "x").increment(2);
        counter!("calls", "b" => "x").increment(4);
        counter!("calls", "a" => "x", "b" => "y").increment(8);
        counter!("calls", "b" => "y", "a" => "x").increment(16); // the same series
        histogram!("sizes").record(1.0);
        histogram!("sizes", "a" => "x").record(2.0);
    });
    assert!(telemetry.faults().is_empty());
    assert_eq!(snapshot.counter("calls_total", &[]), Some(1));
    assert_eq!(snapshot.counter("calls_total", &[("a", "x")]), Some(2));
    assert_eq!(snapshot.counter("calls_total", &[("b", "x")]), Some(4));
    assert_eq!(snapshot.counter("calls_total", &[("a", "x"), ("b", "y")]), Some(24));
    let text = tellane::prometheus::render(&snapshot);
    for line in ["# TYPE calls_total counter\n", "# HELP calls_total ", "# TYPE sizes histogram\n"] {
        assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
    }
    assert!(text.contains("\ncalls_total{a=\"x\",b=\"y\"} 24\n"), "{text}");
    assert!(text.contains("\nsizes_count 1\n") && text.contains("\nsizes_count{a=\"x\"} 1\n"), "{text}");
    // Saved, read and merged: series with the same label values and other names stay apart.
    let read = Snapshot::from_bytes(&snapshot.to_bytes().expect("short texts")).expect("saved above");
    let both = read.merge(&snapshot).expect("the same metrics");
    assert_eq!(both.points().len(), snapshot.points().len());
    for (labels, total) in
        [(&[][..], 2), (&[("a", "x")], 4), (&[("b", "x")], 8), (&[("a", "x"), ("b", "y")], 48)]
    {
        assert_eq!(both.counter("calls_total", labels), Some(total), "{labels:?}");
    }
}

#[test]
fn ordinary_handles_still_agree_on_their_labels() {
    let (telemetry, snapshot) = recorded(Config::default(), |telemetry, _| {
        telemetry.counter("calls").label("b", "1").label("a", "2").register().expect("the first").inc();
        counter!("calls", "a" => "2", "b" => "1").increment(1); // labels in another order
        counter!("calls", "c" => "3").increment(1);
        let error = telemetry.counter("calls").label("d", "4").register().expect_err("another set");
        assert!(matches!(error, RegisterError::Conflict { .. }), "{error}");
        telemetry.counter("calls").label("c", "3").register().expect("the bridge's set").inc();
    });
    assert_eq!(snapshot.counter("calls_total", &[("a", "2"), ("b", "1")]), Some(2));
    assert_eq!(snapshot.counter("calls_total", &[("c", "3")]), Some(2));
    assert!(telemetry.faults().is_empty());
}

#[test]
fn machines_that_met_labels_in_another_order_merge() {
    let (_here, here) = recorded(Config::default(), |telemetry, _| {
        telemetry.counter("calls").label("b", "1").label("a", "2").register().expect("the first").add(5);
    });
    let (_there, there) = recorded(Config::default(), |_, _| {
        counter!("calls", "z" => "0").increment(3);
        counter!("calls", "a" => "2", "b" => "1").increment(7);
    });
    for both in [here.merge(&there), there.merge(&here)].map(|both| both.expect("one type")) {
        assert_eq!(both.counter("calls_total", &[("a", "2"), ("b", "1")]), Some(12));
        assert_eq!(both.counter("calls_total", &[("z", "0")]), Some(3));
        assert_eq!(both.points().filter(|point| point.name() == "calls_total").count(), 2);
    }
}

#[test]
fn a_histogram_registered_beforehand_keeps_its_shape() {
    let (telemetry, snapshot) = recorded(Config::default(), |telemetry, _| {
        let own = telemetry.histogram("price").scale(100.0).bounds(&[1.0, 5.0]).help("Paid.");
        own.register().expect("the first").record(250);
        histogram!("price").record(2.456);
        histogram!("price", "town" => "Leith").record(4.0);
    });
    let price = snapshot.histogram("price", &[]).expect("recorded");
    assert_eq!((price.count(), price.min(), price.max()), (2, Some(2.46), Some(2.5)));
    let labelled = snapshot.points().filter(|point| point.name() == "price").last().expect("recorded");
    assert_eq!((labelled.bounds(), labelled.help()), (&[1.0, 5.0][..], "Paid."));
    assert!(telemetry.faults().is_empty());
}

#[test]
fn absolute_raises_and_never_lowers() {
    let (_telemetry, snapshot) = recorded(Config::default(), |telemetry, _| {
        let seen = counter!("seen");
        seen.absolute(10);
        seen.absolute(4);
        seen.increment(1);
        counter!("seen").absolute(11); // is there already
        counter!("seen").absolute(20);
        seen.increment(2);
        let native = telemetry.counter("seen").register().expect("the same");
        native.add(8);
        seen.absolute(25);
    });
    assert_eq!(snapshot.counter("seen_total", &[]), Some(30));
}

#[test]
fn threads_lose_nothing() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 5_000;
    let telemetry = Telemetry::builder("threads").config(patient()).start().expect("it starts");
    let recorders = [Recorder::new(&telemetry), Recorder::new(&telemetry)];
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let recorder = &recorders[thread as usize % 2];
            scope.spawn(move || {
                with_local_recorder(recorder, || {
                    let kept = counter!("kept");
                    for round in 0..ROUNDS {
                        kept.increment(1);
                        counter!("looked_up", "thread" => thread.to_string()).increment(2);
                        counter!("looked_up").increment(1);
                        counter!("raised").absolute(round * THREADS + thread);
                        gauge!("level").increment(1.0);
                        histogram!("values").record(round as f64);
                    }
                });
            });
        }
    });
    let report = telemetry.shutdown(PATIENCE);
    assert_balanced(&report.ledger);
    let last = telemetry.latest();
    assert_eq!(last.counter("kept_total", &[]), Some(THREADS * ROUNDS));
    assert_eq!(last.counter("looked_up_total", &[]), Some(THREADS * ROUNDS));
    for thread in 0..THREADS {
        let labels = [("thread", &*thread.to_string())];
        assert_eq!(last.counter("looked_up_total", &labels), Some(2 * ROUNDS));
    }
    assert_eq!(last.counter("raised_total", &[]), Some(THREADS * ROUNDS - 1));
    assert_eq!(last.gauge("level", &[]), Some((THREADS * ROUNDS) as f64));
    let values = last.histogram("values", &[]).expect("recorded");
    assert_eq!(
        (values.count(), values.sum()),
        (THREADS * ROUNDS, (THREADS * ROUNDS * (ROUNDS - 1) / 2) as f64)
    );
}

#[test]
fn what_is_no_value_is_counted() {
    let (telemetry, _) = recorded(Config::default(), |_, _| {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5, 1.0] {
            histogram!("values").record(value);
        }
    });
    let ledger = telemetry.shutdown(PATIENCE).ledger;
    assert_eq!(ledger.kind(Kind::Sample).dropped.by(Reason::Invalid), 4);
    assert_eq!(telemetry.latest().histogram("values", &[]).map(|values| values.count()), Some(1));
    assert_balanced(&ledger);
}

#[test]
fn histograms_span_the_units_people_use() {
    let (_telemetry, snapshot) = recorded(Config::default(), |_, _| {
        describe_histogram!("took", Unit::Milliseconds, "Time.");
        describe_histogram!("volume", Unit::Tebibytes, "Space.");
        for value in [0.000_25, 3_600_000.0] {
            histogram!("took").record(value); // a quarter of a microsecond, and an hour
        }
        histogram!("volume").record(1_000_000.0);
        for value in [0.000_002, 5e12] {
            histogram!("unknown").record(value);
        }
        for value in [1.0, 1e12] {
            histogram!("reply_bytes").record(value);
        }
        for value in [0.000_000_001, 31_536_000.0] {
            histogram!("age_seconds").record(value);
        }
    });
    for (name, min, max) in [
        ("took", 0.000_25, 3_600_000.0),
        ("volume", 1_000_000.0, 1_000_000.0),
        ("unknown", 0.000_002, 5e12),
        ("reply_bytes", 1.0, 1e12),
        ("age_seconds", 1e-9, 31_536_000.0),
    ] {
        let view = snapshot.histogram(name, &[]).expect("recorded");
        assert_eq!((view.min(), view.max()), (Some(min), Some(max)), "{name}");
        let high = view.quantile(1.0).expect("not empty");
        assert!((high / max - 1.0).abs() < 0.008, "{name}: {high}");
    }
    assert_eq!(snapshot.ledger().clamped(), 0);
}

#[test]
fn descriptions_count_before_the_first_use() {
    let (_telemetry, snapshot) = recorded(Config::default(), |_, _| {
        describe_counter!("sent", Unit::Bytes, "Bytes sent.");
        describe_gauge!("age", Unit::Seconds, "Replaced below.");
        describe_gauge!("age", Unit::Seconds, "Age of the oldest.");
        describe_histogram!("wait", Unit::Milliseconds, "Waiting.");
        counter!("sent").increment(7);
        gauge!("age").set(1.5);
        histogram!("wait").record(3.0);
        counter!("late").increment(1);
        describe_counter!("late", Unit::Bytes, "Too late.");
        counter!("late", "k" => "v").increment(1); // the same name still
        describe_counter!("age", "A counter's, not the gauge's.");
    });
    let said = |name| {
        let point = point(&snapshot, name);
        (point.help(), point.unit())
    };
    assert_eq!(said("sent_bytes_total"), ("Bytes sent.", tellane::Unit::Bytes));
    assert_eq!(said("age_seconds"), ("Age of the oldest.", tellane::Unit::Seconds));
    assert_eq!(said("wait"), ("Waiting. (milliseconds)", tellane::Unit::None));
    assert_eq!(said("late_total"), ("late_total", tellane::Unit::None));
    assert_eq!(snapshot.counter("late_total", &[("k", "v")]), Some(1));
}

#[test]
fn names_that_become_the_same_are_told_apart_or_refused() {
    let (telemetry, snapshot) = recorded(Config::default(), |telemetry, recorder| {
        counter!("jobs.done").increment(1);
        counter!("jobs-done").increment(2);
        for _ in 0..3 {
            gauge!("jobs.done.total").set(5.0); // the counter's name
            gauge!("jobs.done.total", "k" => "v").set(5.0);
        }
        with_local_recorder(&Recorder::new(telemetry), || counter!("jobs_done").increment(4));
        with_local_recorder(recorder, || histogram!("wait").record(1.0));
        counter!("wait.count").increment(1); // `wait_count_total`: no clash
        gauge!("wait.count").set(1.0); // what the histogram shows its count as
        counter!("a".repeat(201)).increment(1);
    });
    assert_eq!(snapshot.counter("jobs_done_total", &[]), Some(1));
    assert_eq!([2, 4].map(|count| series_with(&snapshot, count).len()), [1, 1], "names of their own");
    let faults = telemetry.faults();
    let names: Vec<_> = faults.iter().map(|fault| &*fault.name).collect();
    assert_eq!(names, ["jobs.done.total", "wait.count", &"a".repeat(201)], "one fault for each name");
    assert!(matches!(faults[0].error, RegisterError::Conflict { .. }));
    assert!(matches!(faults[2].error, RegisterError::BadName { .. }));
    assert_eq!(snapshot.pipeline().faults, 3);
    assert_eq!(snapshot.histogram("wait", &[]).map(|wait| wait.count()), Some(1));
}

/// The series of a snapshot whose value is this count.
fn series_with<'a>(snapshot: &'a Snapshot, count: u64) -> Vec<tellane::Point<'a>> {
    snapshot.points().filter(|point| *point.value() == PointValue::Counter(count)).collect()
}

#[test]
fn distinct_names_have_series_of_their_own() {
    let names = [
        "",
        "_",
        "__",
        "日本",
        "語",
        "dup",
        "dup_total",
        "dup.total",
        "b.c",
        "b-c",
        "b_c",
        "b_c_total",
        "9x",
        "_9x",
        "tellane_a",
        "_tellane_a",
        "wait",
        "wait_seconds",
        "wait.seconds",
        "wait_seconds_total",
        "x",
        "x_2",
        "x.2",
    ];
    let long = ["y".repeat(199) + ".", "y".repeat(199) + "-"];
    let names: Vec<String> = names.into_iter().map(str::to_owned).chain(long).collect();
    let (telemetry, snapshot) = recorded(Config::default(), |telemetry, _| {
        describe_counter!("wait", Unit::Seconds, "Waiting.");
        for _ in 0..2 {
            for (name, bit) in names.iter().zip(0_u64..) {
                counter!(name.clone()).increment(1 << bit);
                let other = Recorder::new(telemetry);
                with_local_recorder(&other, || {
                    describe_counter!("wait", Unit::Seconds, "Waiting."); // each recorder has its own
                    counter!(name.clone()).increment(1 << (bit + 30));
                });
            }
        }
    });
    assert!(telemetry.faults().is_empty(), "{:?}", telemetry.faults());
    assert_eq!(snapshot.points().len(), names.len());
    for (name, bit) in names.iter().zip(0_u64..) {
        let found = series_with(&snapshot, (2 << bit) + (2 << (bit + 30)));
        assert_eq!(found.len(), 1, "{name:?} has a series of its own");
        assert!(found[0].name().len() <= 207, "{}", found[0].name());
    }
    // The first of them has the plain name; the others say in their help text what they are.
    assert_eq!(snapshot.counter("dup_total", &[]), Some((2 << 5) + (2 << 35)));
    let told = series_with(&snapshot, (2 << 6) + (2 << 36))[0];
    assert_eq!(told.help(), "Recorded as \"dup_total\".");
    assert!(told.name().starts_with("dup_") && told.name().ends_with("_total"), "{}", told.name());
    let read = Snapshot::from_bytes(&snapshot.to_bytes().expect("short")).expect("saved above");
    assert_eq!(read.points().len(), names.len());
}

#[test]
fn a_name_is_told_apart_in_the_same_way_in_every_process() {
    let told = |first: &'static str| {
        let (_, snapshot) = recorded(Config::default(), |_, _| {
            counter!(first).increment(1);
            counter!("jobs-done").increment(2);
        });
        series_with(&snapshot, 2)[0].name().to_owned()
    };
    assert_eq!(told("jobs.done"), told("jobs/done"));
    // FNV-1a of 32 bits of the name as it was given.
    assert_eq!(told("jobs.done"), "jobs_done_5c9f1c20_total");
}

#[test]
fn gauges_and_histograms_are_told_apart_too() {
    let (telemetry, snapshot) = recorded(Config::default(), |_, _| {
        describe_histogram!("took", Unit::Seconds, "Time.");
        for (name, value) in [("took", 1.0), ("took_seconds", 2.0), ("took.seconds", 4.0)] {
            histogram!(name).record(value);
            histogram!(name, "k" => "v").record(value);
        }
        for (name, value) in [("heat.now", 1.0), ("heat-now", 2.0), ("heat_now", 4.0)] {
            gauge!(name).set(value);
            gauge!(name, "k" => "v").set(value);
        }
    });
    assert!(telemetry.faults().is_empty());
    let (mut sums, mut levels) = (Vec::new(), Vec::new());
    for point in snapshot.points() {
        match point.value() {
            PointValue::Histogram(view) => {
                assert!(point.name().ends_with("_seconds"), "the unit stays: {}", point.name());
                sums.push((view.sum() as u64, view.count()));
            }
            PointValue::Gauge(level) => levels.push(*level as u64),
            other => panic!("{other:?}"),
        }
    }
    sums.sort_unstable();
    levels.sort_unstable();
    assert_eq!(sums, [(1, 1), (1, 1), (2, 1), (2, 1), (4, 1), (4, 1)]);
    assert_eq!(levels, [1, 1, 2, 2, 4, 4]);
}

#[test]
fn distinct_label_names_have_series_of_their_own() {
    let sets: [&[(&str, &str)]; 13] = [
        &[("b.c", "1")],
        &[("b:c", "1")],
        &[("b_c", "1")],
        &[("b_c_2", "1")],
        &[("b.c", "1"), ("b:c", "2")],
        &[("b.c", "2"), ("b:c", "1")],
        &[("b_c", "1"), ("b_c_2", "2")],
        &[("le", "1")],
        &[("exported_le", "1")],
        &[("", "1")],
        &[("日本", "1")],
        &[("_", "1")],
        &[("9", "1"), ("_9", "1")],
    ];
    let (telemetry, snapshot) = recorded(Config::default(), |telemetry, _| {
        for _ in 0..2 {
            for (set, bit) in sets.into_iter().zip(0_u64..) {
                counter!("calls", set).increment(1 << bit);
                let other = Recorder::new(telemetry);
                with_local_recorder(&other, || counter!("calls", set).increment(1 << (bit + 20)));
            }
        }
        counter!("other", "b:c" => "1").increment(1);
    });
    assert!(telemetry.faults().is_empty(), "{:?}", telemetry.faults());
    for (set, bit) in sets.into_iter().zip(0_u64..) {
        let found = series_with(&snapshot, (2 << bit) + (2 << (bit + 20)));
        assert_eq!(found.len(), 1, "{set:?}");
        let mut values: Vec<&str> = found[0].labels().map(|(_, value)| value).collect();
        let mut given: Vec<&str> = set.iter().map(|(_, value)| *value).collect();
        values.sort_unstable();
        given.sort_unstable();
        assert_eq!(values, given);
    }
    assert_eq!(
        snapshot.counter("calls_total", &[("b_c", "1")]),
        Some(2 + (2 << 20)),
        "the first has the plain name"
    );
    assert_eq!(
        snapshot.counter("other_total", &[("b_c", "1")]),
        Some(1),
        "another metric's labels are its own"
    );
}

/// Number of series of a metric and the sum of their counts.
fn series(snapshot: &Snapshot, name: &str) -> (usize, u64) {
    let counts = snapshot.points().filter(|point| point.name() == name).map(|point| match point.value() {
        PointValue::Counter(total) => *total,
        PointValue::Histogram(view) => view.count(),
        other => panic!("{other:?}"),
    });
    counts.fold((0, 0), |(series, total), count| (series + 1, total + count))
}

#[test]
fn above_the_cap_totals_are_exact() {
    let config = Config { series_cap: 10, label_value_max: 20, ..Config::default() };
    let (_telemetry, snapshot) = recorded(config, |_, _| {
        for round in 0..3 {
            for number in 0..100 {
                counter!("calls", "a" => number.to_string()).increment(1);
                counter!("calls", "b" => number.to_string()).increment(1);
                histogram!("sizes", "a" => number.to_string()).record(f64::from(round));
            }
        }
        counter!("calls").increment(1);
        counter!("long", "a" => "x".repeat(21)).increment(1);
    });
    // The cap is the name's: 10 series over both sets, an overflow series for each set, and the one without labels.
    assert_eq!(series(&snapshot, "calls_total"), (13, 601));
    assert_eq!(series(&snapshot, "sizes"), (11, 300));
    assert_eq!(snapshot.counter("calls_total", &[("a", "0")]), Some(3));
    assert_eq!(snapshot.counter("calls_total", &[("b", "__overflow__")]), Some(285));
    assert_eq!(snapshot.counter("long_total", &[("a", "__overflow__")]), Some(1));
    assert!(snapshot.pipeline().overflowed > 0);
}

#[test]
fn long_names_labels_and_descriptions_are_not_kept() {
    let long = |number: usize| format!("{number}{}", "n".repeat(1 << 20));
    let (telemetry, snapshot) = recorded(Config::default(), |_, _| {
        for number in 0..20 {
            ::metrics::describe_counter!(long(number), "Never shown.");
            counter!(long(number)).increment(1);
            counter!("calls", "path" => long(number)).increment(1);
            counter!("calls", long(number) => "x").increment(1);
        }
        ::metrics::describe_gauge!("level", "d".repeat(1 << 20));
        gauge!("level").set(1.0);
    });
    assert_eq!(snapshot.counter("calls_total", &[("path", "__overflow__")]), Some(20));
    assert!(telemetry.faults().len() > 20, "no name, and no label");
    let shown = telemetry.faults().iter().map(|fault| fault.name.len() + fault.error.to_string().len()).max();
    assert!(shown < Some(4_000), "{shown:?} bytes of a fault");
    let level = snapshot.points().find(|point| point.name() == "level").expect("it was set");
    assert_eq!(level.help().len(), 4_096);
    // A lane takes 256 KiB; of 60 MiB of texts nothing stays.
    assert!(snapshot.pipeline().bytes < 1 << 20, "{} bytes", snapshot.pipeline().bytes);
}

#[test]
fn names_and_sets_of_labels_have_caps_too() {
    let config = Config { names_cap: 20, ..Config::default() };
    let (telemetry, snapshot) = recorded(config, |_, _| {
        for number in 0..200 {
            counter!("calls", format!("label_{number}") => "x").increment(1);
        }
        for number in 0..200 {
            counter!(format!("name {number}")).increment(1);
        }
    });
    assert_eq!(series(&snapshot, "calls_total"), (65, 200), "64 sets, and the overflow of the first");
    assert_eq!(snapshot.counter("calls_total", &[("label_0", "__overflow__")]), Some(136));
    let names: BTreeSet<_> = snapshot.points().map(|point| point.name()).collect();
    // Two of the 20 are the spans' own, which have no series yet.
    assert_eq!(names.len(), 18);
    assert_eq!(telemetry.faults()[0].error, RegisterError::Exhausted);
    assert_eq!(telemetry.faults().len(), 100, "the first hundred are kept");
}

#[test]
fn handles_outlive_the_shutdown() {
    let telemetry = Telemetry::builder("ends").start().expect("it starts");
    let recorder = Recorder::new(&telemetry);
    let values = with_local_recorder(&recorder, || histogram!("values"));
    values.record(1.0);
    assert!(telemetry.shutdown(PATIENCE).finished);
    values.record(2.0);
    with_local_recorder(&recorder, || {
        histogram!("values").record(3.0);
        counter!("new").absolute(3);
    });
    assert_eq!(telemetry.ledger().kind(Kind::Sample).dropped.by(Reason::AfterShutdown), 2);
    assert_eq!(telemetry.latest().histogram("values", &[]).map(|values| values.count()), Some(1));
    drop(telemetry);
    values.record(4.0); // nobody is there
}

/// What a program does.
#[derive(Clone, Debug)]
enum Act {
    Add(u64),
    Raise(u64),
    Level(i32),
    Value(u16),
}

fn acts() -> impl Strategy<Value = Vec<(usize, Vec<(usize, usize)>, Act)>> {
    let act = prop_oneof![
        (0..100_u64).prop_map(Act::Add),
        (0..300_u64).prop_map(Act::Raise),
        (-50..50).prop_map(Act::Level),
        any::<u16>().prop_map(Act::Value),
    ];
    let labels = prop::collection::vec((0..3_usize, 0..3_usize), 0..4);
    prop::collection::vec((0..3_usize, labels, act), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_distinct_keys_have_series_of_their_own(
        keys in prop::collection::vec(
            ("[-._:/9ab日]{0,3}", prop::collection::btree_map("[-._:9a日]{0,2}|le", "[xy]", 0..3)), 1..50,
        ),
    ) {
        let mut oracle: BTreeMap<(String, BTreeMap<String, String>), u64> = BTreeMap::new();
        let (telemetry, snapshot) = recorded(Config::default(), |_, _| {
            for (name, labels) in keys {
                let given: Vec<_> = labels.iter().map(|(label, value)| (label.clone(), value.clone())).collect();
                counter!(name.clone(), &given).increment(1);
                *oracle.entry((name, labels)).or_default() += 1;
            }
        });
        prop_assert!(telemetry.faults().is_empty(), "{:?}", telemetry.faults());
        let total = |point: tellane::Point<'_>| match point.value() {
            PointValue::Counter(total) => *total,
            other => panic!("{other:?}"),
        };
        let mut found: Vec<u64> = snapshot.points().map(total).collect();
        let mut expected: Vec<u64> = oracle.into_values().collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_program_of_any_calls_gives_what_a_map_gives(acts in acts()) {
        const NAMES: [[&str; 3]; 3] = [["a", "b.c", "b-c"], ["g.a", "g.b", "g b"], ["h.a", "h/b", "h-b"]];
        let mut oracle: BTreeMap<(String, BTreeMap<String, String>), (u64, f64, u64, u64)> = BTreeMap::new();
        let (telemetry, snapshot) = recorded(Config::default(), |_, _| {
            for (name, labels, act) in &acts {
                let labels: Vec<(String, String)> =
                    labels.iter().map(|(label, value)| (format!("l{label}"), format!("v{value}"))).collect();
                let kind = match act {
                    Act::Add(_) | Act::Raise(_) => 0,
                    Act::Level(_) => 1,
                    Act::Value(_) => 2,
                };
                let raw = NAMES[kind][*name];
                // Of the same label twice the greatest value counts, whatever the order.
                let mut sorted = labels.clone();
                sorted.sort();
                let expected = oracle.entry((raw.to_owned(), sorted.into_iter().collect())).or_default();
                match act {
                    Act::Add(amount) => {
                        counter!(raw, &labels).increment(*amount);
                        expected.0 += amount;
                    }
                    Act::Raise(count) => {
                        counter!(raw, &labels).absolute(*count);
                        expected.0 = expected.0.max(*count);
                    }
                    Act::Level(level) if level % 2 == 0 => {
                        gauge!(raw, &labels).set(*level);
                        expected.1 = f64::from(*level);
                    }
                    Act::Level(level) => {
                        gauge!(raw, &labels).increment(*level);
                        expected.1 += f64::from(*level);
                    }
                    Act::Value(value) => {
                        histogram!(raw, &labels).record(*value);
                        expected.2 += 1;
                        expected.3 += u64::from(*value);
                    }
                }
            }
        });
        prop_assert!(telemetry.faults().is_empty());
        prop_assert_eq!(snapshot.points().len(), oracle.len());
        // The first of the names that become the same has the plain name, the others say what they are.
        let mut plain: BTreeMap<String, &str> = BTreeMap::new();
        for (name, _, act) in &acts {
            let kind = match act {
                Act::Add(_) | Act::Raise(_) => 0,
                Act::Level(_) => 1,
                Act::Value(_) => 2,
            };
            let raw = NAMES[kind][*name];
            plain.entry(raw.replace(['.', '-', '/', ' '], "_")).or_insert(raw);
        }
        let is_plain = |raw: &str| plain.values().any(|first| *first == raw);
        for ((raw, labels), (count, level, values, sum)) in &oracle {
            let word = raw.replace(['.', '-', '/', ' '], "_");
            let found: Vec<_> = snapshot.points().filter(|point| {
                let is_named = if is_plain(raw) {
                    [word.clone(), format!("{word}_total")].contains(&point.name().to_owned())
                } else {
                    point.help() == format!("Recorded as {raw:?}.")
                };
                let theirs: BTreeMap<_, _> = labels.iter().map(|(label, value)| (&**label, &**value)).collect();
                is_named && point.labels().collect::<BTreeMap<_, _>>() == theirs
            }).collect();
            prop_assert_eq!(found.len(), 1, "{} {:?}", raw, labels);
            match found[0].value() {
                PointValue::Counter(total) => prop_assert_eq!(total, count),
                PointValue::Gauge(value) => prop_assert_eq!(value, level),
                PointValue::Histogram(view) => {
                    prop_assert_eq!((view.count(), view.sum()), (*values, *sum as f64));
                }
                other => prop_assert!(false, "{raw} {labels:?}: {other:?}"),
            }
        }
        let read = Snapshot::from_bytes(&snapshot.to_bytes().expect("short")).expect("saved above");
        prop_assert_eq!(read.points().len(), oracle.len());
        let again = read.merge(&snapshot).expect("the same metrics");
        prop_assert_eq!(again.points().len(), oracle.len());
    }
}

#[test]
fn a_kind_is_what_was_asked_for() {
    let (_telemetry, snapshot) = recorded(Config::default(), |_, _| {
        counter!("x").increment(1);
        gauge!("x").set(2.0);
    });
    let kinds: Vec<_> = snapshot.points().map(|point| (point.name(), point.kind())).collect();
    assert_eq!(kinds, [("x", MetricKind::Gauge), ("x_total", MetricKind::Counter)]);
}
