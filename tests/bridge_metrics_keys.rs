//! The bridge from the `metrics` crate, for keys without end: whoever sends label values makes them. Above a metric's cap, and
//! where a name is refused, a key that was never seen takes no allocation either, but for those that are remembered, and
//! every record is counted where it belongs.
#![allow(unsafe_code)] // an allocator that counts
#![cfg(feature = "metrics")]

#[path = "support/counting.rs"]
mod counting;
mod support;

use metrics::{Key, Label, Level, Metadata, Recorder as _};
use support::{PATIENCE, patient};
use tellane::bridge::metrics::Recorder;
use tellane::{Config, Telemetry};

static FROM: Metadata<'static> = Metadata::new("", Level::INFO, None);

fn key(name: &str, labels: &[(&str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(name.to_string(), value.to_string())).collect();
    Key::from_parts(name.to_owned(), labels)
}

fn started(config: Config) -> (Telemetry, Recorder) {
    let telemetry = Telemetry::builder("keys").config(config).start().expect("it starts");
    let recorder = Recorder::new(&telemetry);
    (telemetry, recorder)
}

/// Allocations and releases of this thread while each key is used twice by a counter and by a histogram.
fn allocations(recorder: &Recorder, keys: &[Key]) -> u64 {
    let before = counting::calls();
    for key in keys.iter().chain(keys) {
        recorder.register_counter(key, &FROM).increment(1);
        recorder.register_histogram(key, &FROM).record(1.0);
    }
    counting::calls() - before
}

#[test]
fn keys_above_a_cap_take_no_allocation_and_count_where_they_belong() {
    let (telemetry, recorder) = started(Config { series_cap: 3, ..patient() });
    // Two label names, in both orders, and a value that the limit does not let in.
    let by_hand =
        telemetry.counter("routes_total").label("route", "/hand").label("by", "b").register().expect("good");
    by_hand.inc();
    let own =
        [key("routes", &[("by", "b"), ("route", "/1")]), key("routes", &[("route", "/2"), ("by", "b")])];
    let many: Vec<Key> = (0..20_000)
        .map(|number| format!("/{number}/more"))
        .map(|route| key("routes", &[("route", &route), ("by", "b")]))
        .collect();
    let long: Vec<Key> = (0..100)
        .map(|number| format!("/{number}/{}", "x".repeat(2 << 10)))
        .map(|route| key("routes", &[("by", "b"), ("route", &route)]))
        .collect();
    for key in &own {
        recorder.register_counter(key, &FROM).increment(1);
        recorder.register_histogram(key, &FROM).record(1.0);
    }
    // The histogram has one series to go.
    recorder.register_histogram(&key("routes", &[("by", "b"), ("route", "/hand")]), &FROM).record(1.0);
    let first = [key("routes", &[("by", "b"), ("route", "the first above the cap")])];
    allocations(&recorder, &first);
    let remembered = allocations(&recorder, &many[..1 << 14]);
    assert!((1..1_000_000).contains(&remembered), "{remembered}");
    assert_eq!(allocations(&recorder, &many[1 << 14..]), 0, "keys that nobody has met");
    assert_eq!(allocations(&recorder, &many), 0, "20,000 keys");
    assert_eq!(allocations(&recorder, &long), 0, "long keys");
    // A series by hand keeps its own count, and so do keys that stand for the same labels.
    let twice = key("routes", &[("route", "/"), ("by", "b"), ("route", "/hand")]);
    let again = [key("routes", &[("route", "/hand"), ("by", "b")]), twice];
    assert_eq!(allocations(&recorder, &again), 0, "a series by hand");
    assert_eq!(allocations(&recorder, &own), 0, "keys that are remembered");
    // Without labels there is no cap.
    recorder.register_counter(&key("routes", &[]), &FROM).increment(5);
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let count = |route| snapshot.counter("routes_total", &[("route", route), ("by", "b")]);
    assert_eq!(["/hand", "/1", "/2"].map(count), [Some(1 + 4), Some(3), Some(3)]);
    let overflowing = snapshot.counter("routes_total", &[("route", "__overflow__"), ("by", "__overflow__")]);
    let all = 2 * (1 + 2 * 20_000 + 100);
    assert_eq!(overflowing, Some(all));
    assert_eq!(snapshot.counter("routes_total", &[]), Some(5));
    let view =
        |route, by| snapshot.histogram("routes", &[("by", by), ("route", route)]).map(|view| view.count());
    assert_eq!(["/hand", "/1", "/2"].map(|route| view(route, "b")), [Some(5), Some(3), Some(3)]);
    assert_eq!(view("__overflow__", "__overflow__"), Some(all));
    assert_eq!(snapshot.pipeline().overflowed, 2 * all);
    assert!(telemetry.faults().is_empty());
}

#[test]
fn values_that_are_too_long_take_no_allocation_below_the_cap() {
    let (telemetry, recorder) = started(Config { series_cap: 3, label_value_max: 8, ..patient() });
    let long = |number: usize| key("sizes", &[("size", &format!("too long {number}"))]);
    let keys: Vec<Key> = (0..20_000).map(long).collect();
    allocations(&recorder, &keys);
    assert_eq!(allocations(&recorder, &keys), 0);
    let short = [key("sizes", &[("size", "short")])];
    allocations(&recorder, &short);
    // At the cap, the set that is known already takes over what is there.
    for number in 0..5 {
        allocations(&recorder, &[key("sizes", &[("size", &number.to_string())])]);
    }
    assert_eq!(allocations(&recorder, &keys), 0);
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let count = |size| snapshot.counter("sizes_total", &[("size", size)]);
    assert_eq!(["short", "0", "1", "2"].map(count), [Some(2), Some(2), Some(2), None]);
    assert_eq!(count("__overflow__"), Some(3 * 20_000 * 2 + 2 * 3));
}

#[test]
fn refused_keys_take_no_allocation() {
    let (telemetry, recorder) = started(Config { names_cap: 20, ..patient() });
    telemetry.gauge("busy").register().expect("a good name");
    telemetry.gauge("busy_total").register().expect("a good name");
    let of_one_name = |number: usize| key("busy", &[("number", &number.to_string())]);
    let values: Vec<Key> = (0..2_000).map(of_one_name).collect();
    allocations(&recorder, &values[..1]);
    assert_eq!(allocations(&recorder, &values), 0, "one name");
    let names: Vec<Key> = (0..2_000).map(|number| key(&format!("name_{number}"), &[("a", "b")])).collect();
    allocations(&recorder, &names);
    assert_eq!(allocations(&recorder, &names), 0, "names above the cap");
    assert!(telemetry.faults().len() <= 100);
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_eq!(snapshot.counter("name_0_total", &[("a", "b")]), Some(4));
}

#[test]
fn threads_that_reach_the_cap_together_lose_nothing() {
    let (telemetry, recorder) = started(Config { series_cap: 50, ..patient() });
    let keys: Vec<Key> = (0..200).map(|number| key("calls", &[("number", &number.to_string())])).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in keys.iter().cycle().take(10 * keys.len()) {
                    recorder.register_counter(key, &FROM).increment(1);
                }
            });
        }
    });
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let counts: Vec<(bool, u64)> = snapshot
        .points()
        .filter(|point| point.name() == "calls_total")
        .map(|point| match point.value() {
            tellane::PointValue::Counter(count) => {
                (point.labels().any(|(_, value)| value == "__overflow__"), *count)
            }
            other => unreachable!("a counter: {other:?}"),
        })
        .collect();
    assert_eq!(counts.len(), 51);
    for (is_overflow, count) in counts {
        assert_eq!(count, if is_overflow { 150 * 40 } else { 40 });
    }
}
