//! Compares the text with one that is written naively from a snapshot's public accessors.

use super::*;
use crate::{MetricKind, Telemetry};
use proptest::prelude::*;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn naive(snapshot: &Snapshot) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n");
    let number =
        |number: f64| format!("{number}").replace("inf", "Inf").replace("Inf", "+Inf").replace("-+", "-");
    let mut text = String::new();
    let mut last = "";
    for point in snapshot.points() {
        let name = point.name();
        if name != last {
            let kind = match point.kind() {
                MetricKind::Counter => "counter",
                MetricKind::Histogram => "histogram",
                _ => "gauge",
            };
            text += &format!("# HELP {name} {}\n# TYPE {name} {kind}\n", escape(point.help()));
            last = name;
        }
        let labels = |le: Option<f64>| {
            let own = point
                .labels()
                .map(|(name, value)| format!("{name}=\"{}\"", escape(value).replace('"', "\\\"")));
            let all: Vec<_> = own.chain(le.map(|bound| format!("le=\"{}\"", number(bound)))).collect();
            if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
        };
        match point.value() {
            PointValue::Counter(total) => text += &format!("{name}{} {total}\n", labels(None)),
            PointValue::UpDownCounter(sum) => {
                text += &format!("{name}{} {}\n", labels(None), number(*sum as f64))
            }
            PointValue::Gauge(value) => text += &format!("{name}{} {}\n", labels(None), number(*value)),
            PointValue::Histogram(view) => {
                for (bound, below) in point.bounds().iter().zip(view.cumulative(point.bounds())) {
                    text += &format!("{name}_bucket{} {below}\n", labels(Some(*bound)));
                }
                text += &format!("{name}_bucket{} {}\n", labels(Some(f64::INFINITY)), view.count());
                text += &format!("{name}_sum{} {}\n", labels(None), number(view.sum()));
                text += &format!("{name}_count{} {}\n", labels(None), view.count());
            }
        }
    }
    text
}

#[track_caller]
fn assert_as_naive(snapshot: &Snapshot) {
    let (text, wanted) = (render(snapshot), naive(snapshot));
    assert_eq!(text.get(..wanted.len()), Some(&*wanted));
    assert!(text[wanted.len()..].starts_with("# HELP tellane_records_total "));
}

fn word() -> impl Strategy<Value = String> {
    "[ab\\\\\"\nü,{}=]{0,6}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Series are added between the scrapes in any order, with two sets of bounds, and saved, read and merged.
    #[test]
    fn the_text_is_that_of_the_points(
        rounds in prop::collection::vec(prop::collection::vec((0..5_usize, 0..4_usize, word(), any::<u64>(), 0..64_u32), 0..8), 1..5),
        help in word(),
    ) {
        let telemetry = Telemetry::builder("text").start().unwrap();
        let mut older: Option<(std::sync::Arc<Snapshot>, String)> = None;
        for round in rounds {
            for (kind, number, label, value, shift) in round {
                let (name, value) = (format!("m{number}_{kind}"), value >> shift);
                match kind {
                    0 => telemetry.counter(&name).help(&help).label("of", &label).register().unwrap().add(value),
                    1 => telemetry.up_down_counter(&name).register().unwrap().add(-(value as i64)),
                    2 => telemetry.gauge(&name).label("of", &label).register().unwrap().set(f64::from_bits(value)),
                    3 => telemetry.histogram(&name).bounds(&[0.5, 3.0, 1e6]).label("of", &label).register().unwrap().record(value),
                    _ => telemetry.histogram(&name).seconds().bounds(&[]).register().unwrap().record(value),
                }
            }
            let snapshot = telemetry.snapshot(PATIENCE).unwrap();
            assert_as_naive(&snapshot);
            prop_assert!(snapshot.points().map(|point| point.identity.key()).is_sorted());
            prop_assert_eq!(snapshot.points().len(), telemetry.instance().metrics.catalogue.count());
            assert_as_naive(&Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap());
            assert_as_naive(&snapshot.merge(&snapshot).unwrap());
            if let Some((older, text)) = &older {
                prop_assert_eq!(&render(older), text);
                assert_as_naive(&snapshot.merge(older).unwrap());
            }
            let text = render(&snapshot);
            older = Some((snapshot, text));
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them(bits: u64, whole: i64, shift in 0..64_u32) {
        for number in [f64::from_bits(bits), (whole >> shift) as f64, (whole >> shift) as f64 / 8.0] {
            let mut text = String::new();
            float(&mut text, number);
            if number.is_finite() {
                prop_assert_eq!(text, format!("{number}"));
            }
        }
    }
}

#[test]
fn numbers_at_the_edges() {
    for (number, wanted) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (9_007_199_254_740_991.0, "9007199254740991"),
        (9_007_199_254_740_992.0, "9007199254740992"),
        (-9_007_199_254_740_992.0, "-9007199254740992"),
        (u64::MAX as f64, "18446744073709552000"),
        (1e-9, "0.000000001"),
    ] {
        let mut text = String::new();
        float(&mut text, number);
        assert_eq!(text, wanted);
    }
}

#[test]
fn the_template_is_made_once() {
    let telemetry = Telemetry::builder("text").start().unwrap();
    let orders = telemetry.counter("orders_total").register().unwrap();
    let first = telemetry.snapshot(PATIENCE).unwrap();
    let text = render(&first);
    orders.inc();
    let second = telemetry.snapshot(PATIENCE).unwrap();
    let made = second.catalogue.text_template(|_| unreachable!("made for the first"));
    assert!(std::ptr::eq(made, first.catalogue.text_template(|_| unreachable!("made before"))));
    assert!(text.contains("\norders_total 0\n") && render(&second).contains("\norders_total 1\n"));
    telemetry.gauge("load").register().unwrap().set(0.5);
    let third = render(&telemetry.snapshot(PATIENCE).unwrap());
    assert!(third.contains("\nload 0.5\n") && third.contains("\norders_total 1\n"));
}
