//! Label families: the cap on series and its overflow, exact under many threads, with values of any length.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tellane::testing::Kit;
use tellane::{Config, Label, MetricKind, PointValue, RegisterError, Snapshot};

/// Number of series of a metric and the sum of their counts.
fn series(snapshot: &Snapshot, name: &str) -> (usize, u64) {
    let counts = snapshot.points().filter(|point| point.name() == name).map(|point| match point.value() {
        PointValue::Counter(total) => *total,
        PointValue::UpDownCounter(sum) => *sum as u64,
        PointValue::Gauge(value) => *value as u64,
        PointValue::Histogram(view) => view.count(),
        other => panic!("{other:?}"),
    });
    counts.fold((0, 0), |(series, total), count| (series + 1, total + count))
}

#[test]
fn above_the_cap_totals_stay_exact_from_many_threads() {
    const VALUES: usize = 1_000;
    let kit = Kit::with(Config { series_cap: 50, ..Config::default() });
    let texts: Vec<String> = (0..VALUES).map(|number| format!("value {number}")).collect();
    let counters = kit.telemetry().counter("calls_total").family(["a", "b"]).expect("a good name");
    let sums = kit.telemetry().up_down_counter("sums").family(["a"]).expect("a good name");
    let gauges = kit.telemetry().gauge("levels").family(["a"]).expect("a good name");
    let sizes = kit.telemetry().histogram("sizes").digits(1).family(["a"]).expect("a good name");
    let timers = kit.telemetry().timer("work").family(["a"]).expect("a good name");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (texts, counters, sums, gauges, sizes, timers) =
                (&texts, &counters, &sums, &gauges, &sizes, &timers);
            scope.spawn(move || {
                for number in 0..VALUES {
                    let text = &texts[(number * 7 + thread * 131) % VALUES];
                    counters.with([text, "same"]).inc();
                    sums.with([text]).inc();
                    gauges.with([text]).add(1.0);
                    sizes.with([text]).record(1);
                    timers.with([text]).record(Duration::from_millis(1));
                }
            });
        }
    });
    kit.end();
    let last = kit.snapshot();
    for name in ["calls_total", "sums", "levels", "sizes", "work_seconds"] {
        assert_eq!(series(&last, name), (51, 8 * VALUES as u64), "{name}: the cap, and one for the rest");
    }
    let overflow = last.counter("calls_total", &[("a", "__overflow__"), ("b", "__overflow__")]);
    let kept: u64 = last
        .points()
        .filter(|point| {
            point.name() == "calls_total" && point.labels().all(|(_, value)| value != "__overflow__")
        })
        .map(|point| match point.value() {
            PointValue::Counter(total) => *total,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(overflow, Some(8 * VALUES as u64 - kept));
    // Families count each call that met the overflow series: eight threads, so many values, five metrics.
    assert!(last.pipeline().overflowed >= 5 * (VALUES as u64 - 50), "{:?}", last.pipeline());
}

#[test]
fn each_metric_may_name_its_own_cap() {
    let kit = Kit::with(Config { series_cap: 2, ..Config::default() });
    let values = ["a", "b", "c", "d", "e"];
    let one = kit.telemetry().counter("one_total").series_cap(1).family(["v"]).expect("a good name");
    let three = kit.telemetry().histogram("three").series_cap(3).family(["v"]).expect("a good name");
    let ten = kit.telemetry().gauge("ten").series_cap(10).family(["v"]).expect("a good name");
    let default = kit.telemetry().up_down_counter("two").family(["v"]).expect("a good name");
    // No cap of zero: the first combination is always kept.
    let zero = kit.telemetry().timer("zero").series_cap(0).family(["v"]).expect("a good name");
    for value in values {
        one.with([value]).inc();
        three.with([value]).record(1);
        ten.with([value]).add(1.0);
        default.with([value]).inc();
        zero.with([value]).time(|| ());
    }
    let snapshot = kit.snapshot();
    let expected = [("one_total", 2), ("three", 4), ("ten", 5), ("two", 3), ("zero_seconds", 2)];
    for (name, count) in expected {
        assert_eq!(series(&snapshot, name), (count, 5), "{name}");
    }
    assert_eq!(
        snapshot.points().find(|point| point.name() == "two").map(|p| p.kind()),
        Some(MetricKind::UpDownCounter)
    );
}

#[test]
fn long_values_meet_the_overflow_series_and_take_no_place() {
    let kit = Kit::with(Config { series_cap: 3, label_value_max: 8, ..Config::default() });
    let family = kit.telemetry().counter("calls_total").family(["route"]).expect("a good name");
    family.with(["/a/very/long/route"]).inc();
    family.with([&"x".repeat(1 << 20)]).add(10);
    for value in ["", "12345678", "äöü", "fourth"] {
        family.with([value]).add(100);
    }
    let snapshot = kit.snapshot();
    let count = |value| snapshot.counter("calls_total", &[("route", value)]);
    assert_eq!(
        [count(""), count("12345678"), count("äöü")],
        [Some(100); 3],
        "the cap does not count the overflow"
    );
    assert_eq!((count("fourth"), count("__overflow__")), (None, Some(111)));
    assert_eq!(snapshot.pipeline().overflowed, 3);
}

#[test]
fn values_are_told_apart_whatever_their_bytes() {
    let kit = Kit::new();
    let family = kit.telemetry().counter("calls_total").family(["a", "b"]).expect("a good name");
    let pairs =
        [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], ["a\0b", "c"], ["ab\n", "c"], ["AB", "c"]];
    for (number, pair) in pairs.into_iter().enumerate() {
        family.with(pair).add(number as u64 + 1);
    }
    let snapshot = kit.snapshot();
    for (number, [a, b]) in pairs.into_iter().enumerate() {
        assert_eq!(
            snapshot.counter("calls_total", &[("a", a), ("b", b)]),
            Some(number as u64 + 1),
            "{a:?} {b:?}"
        );
    }
}

#[test]
fn the_same_metric_registered_twice_is_one() {
    let kit = Kit::new();
    let first =
        kit.telemetry().counter("calls_total").label("zone", "x").family(["route"]).expect("the first");
    let again = kit.telemetry().counter("calls").label("zone", "x").family(["route"]).expect("the same");
    let other_zone =
        kit.telemetry().counter("calls").label("zone", "y").family(["route"]).expect("another zone");
    let single = kit.telemetry().counter("calls_total").label("route", "/cart").label("zone", "x");
    let single = single.register().expect("one of its series");
    first.with(["/cart"]).inc();
    again.with(["/cart"]).add(10);
    single.add(100);
    other_zone.with(["/cart"]).add(1_000);
    let kept = first.with(["/cart"]).clone();
    drop((first, again));
    kept.add(10_000);
    let snapshot = kit.snapshot();
    assert_eq!(snapshot.counter("calls_total", &[("zone", "x"), ("route", "/cart")]), Some(10_111));
    assert_eq!(snapshot.counter("calls_total", &[("zone", "y"), ("route", "/cart")]), Some(1_000));
    assert_eq!(series(&snapshot, "calls_total"), (2, 11_111));
}

#[test]
fn a_second_family_finds_what_the_first_registered() {
    let kit = Kit::new();
    let family =
        || kit.telemetry().counter("shared_total").series_cap(1).family(["which"]).expect("one definition");
    let (first, second) = (family(), family());
    first.with(["x"]).inc();
    second.with(["y"]).inc(); // above the cap
    second.with(["x"]).inc(); // registered by the first, and not met by the second before it was full
    second.with(["y"]).inc();
    let snapshot = kit.snapshot();
    let count = |which| snapshot.counter("shared_total", &[("which", which)]);
    assert_eq!((count("x"), count("__overflow__")), (Some(2), Some(2)));
}

#[derive(Clone, Copy)]
struct Digit(usize);

impl Label for Digit {
    const VALUES: &'static [&'static str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

    fn index(self) -> usize {
        self.0
    }
}

#[test]
fn fixed_families_count_each_combination_from_many_threads() {
    let kit = Kit::new();
    let calls = kit.telemetry().counter("calls_total").label("by", "test");
    let calls = calls.fixed_family::<(Digit, bool)>(["digit", "odd"]).expect("a good name");
    let sizes = kit.telemetry().histogram("sizes").fixed_family::<(Digit,)>(["digit"]).expect("a good name");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..1_000 {
                    calls.with((Digit(number % 10), number % 2 == 1)).inc();
                    sizes.with((Digit(number % 5),)).record(number as u64);
                }
            });
        }
    });
    let snapshot = kit.snapshot();
    for (number, digit) in Digit::VALUES.iter().enumerate() {
        let odd = bool::VALUES[number % 2];
        let labels = [("digit", *digit), ("odd", odd), ("by", "test")];
        assert_eq!(snapshot.counter("calls_total", &labels), Some(400), "{labels:?}");
    }
    assert_eq!(series(&snapshot, "calls_total"), (10, 4_000), "only combinations that were used are series");
    assert_eq!(series(&snapshot, "sizes"), (5, 4_000));
    kit.end();
}

#[test]
fn above_the_cap_and_with_indexes_that_are_none_fixed_totals_stay_exact() {
    let kit = Kit::with(Config { series_cap: 3, ..Config::default() });
    let calls =
        kit.telemetry().counter("calls_total").fixed_family::<(Digit,)>(["digit"]).expect("a good name");
    for number in 0..10 {
        (0..10).for_each(|_| calls.with((Digit(number),)).inc());
    }
    calls.with((Digit(10),)).inc(); // none of its values
    calls.with((Digit(usize::MAX),)).inc();
    let snapshot = kit.snapshot();
    assert_eq!(series(&snapshot, "calls_total"), (4, 102));
    assert_eq!(snapshot.counter("calls_total", &[("digit", "2")]), Some(10));
    assert_eq!(snapshot.counter("calls_total", &[("digit", "__overflow__")]), Some(72));
}

#[test]
fn what_is_none_of_a_labels_values_meets_the_overflow_of_all_labels_and_is_counted() {
    let kit = Kit::new();
    let calls = kit.telemetry().counter("calls_total").label("by", "test");
    let calls = calls.fixed_family::<(Digit,)>(["digit"]).expect("a good name");
    (0..3).for_each(|_| calls.with((Digit(10),)).inc());
    calls.with((Digit(1),)).inc();
    let snapshot = kit.snapshot();
    let overflow = [("digit", "__overflow__"), ("by", "__overflow__")];
    assert_eq!(snapshot.counter("calls_total", &overflow), Some(3));
    assert_eq!(series(&snapshot, "calls_total"), (2, 4));
    assert_eq!(snapshot.pipeline().overflowed, 3);
}

#[test]
fn a_family_and_a_fixed_one_of_one_metric_share_its_series() {
    let kit = Kit::new();
    let by_text = kit.telemetry().counter("calls_total").family(["digit"]).expect("a good name");
    let by_number =
        kit.telemetry().counter("calls_total").fixed_family::<(Digit,)>(["digit"]).expect("the same metric");
    by_text.with(["7"]).inc();
    by_number.with((Digit(7),)).add(2);
    let snapshot = kit.snapshot();
    assert_eq!(snapshot.counter("calls_total", &[("digit", "7")]), Some(3));
}

#[test]
fn too_many_combinations_are_refused() {
    #[derive(Clone, Copy)]
    struct Many;

    impl Label for Many {
        const VALUES: &'static [&'static str] = &["same"; 1_025];

        fn index(self) -> usize {
            0
        }
    }

    let kit = Kit::new();
    let refused = kit.telemetry().counter("calls_total").fixed_family::<(Many, Many)>(["a", "b"]);
    assert!(matches!(refused, Err(RegisterError::Exhausted)));
}

/// Two threads meet a combination at once, the last one below the cap. Both count in its own series.
#[test]
fn a_combination_that_is_kept_loses_no_count_to_the_overflow() {
    const ROUNDS: usize = 2_000;
    let kit = Kit::new();
    let telemetry = kit.telemetry();
    let too_long = "x".repeat(10_000);
    let families: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let name = format!("round_{round}_total");
            let family = telemetry.counter(&name).series_cap(1).family(["route"]).expect("a good name");
            family.with([&too_long]).inc(); // the overflow series is there
            family
        })
        .collect();
    let arrived = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for (round, family) in families.iter().enumerate() {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    for spins in 1.. {
                        if arrived.load(Ordering::SeqCst) >= 2 * (round + 1) {
                            break;
                        }
                        if spins % 100 == 0 {
                            std::thread::yield_now(); // the other thread may have no core
                        }
                    }
                    family.with(["/kept"]).inc();
                }
            });
        }
    });
    let snapshot = kit.snapshot();
    for round in 0..ROUNDS {
        let count = |route| snapshot.counter(&format!("round_{round}_total"), &[("route", route)]);
        assert_eq!((count("/kept"), count("__overflow__")), (Some(2), Some(1)), "round {round}");
    }
}
