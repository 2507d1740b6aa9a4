//! The counts of a histogram's declared bounds are exact and inclusive, by whatever way the samples came: ring, spill,
//! shared counts, span durations, merged and saved snapshots. The oracle counts the samples one by one, as numbers in
//! the unit shown, and knows neither buckets nor extremes.

mod support;

use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{PATIENCE, patient};
use tellane::record::{Decoder, Record, encode, from_bytes, to_bytes};
use tellane::{Clock, Config, Histogram, ReadError, Snapshot, Telemetry, prometheus};

/// How samples reach the aggregator.
#[derive(Clone, Copy, Debug)]
enum Way {
    Ring,
    Spill,
    /// A thread without a lane.
    Shared,
    /// A lane without a spill, and a full ring.
    SharedByFullRing,
}

const WAYS: [Way; 4] = [Way::Ring, Way::Spill, Way::Shared, Way::SharedByFullRing];

fn start(way: Way) -> Telemetry {
    // The aggregator sleeps through the test but for its snapshots, or the ring would never be full.
    let config = match way {
        Way::Ring => Config { ring_words: 1 << 16, ..patient() },
        Way::Spill => Config { ring_words: 64, ..patient() },
        Way::Shared => Config { lane_cap: 0, ..patient() },
        Way::SharedByFullRing => Config { ring_words: 64, spill_bytes: 0, ..patient() },
    };
    Telemetry::builder("buckets").config(config).start().expect("it starts")
}

fn snapshot(telemetry: &Telemetry) -> std::sync::Arc<Snapshot> {
    telemetry.snapshot(PATIENCE).expect("in time")
}

/// Bound and count of each line of a histogram's exposition, the infinite bound included.
fn exposed(snapshot: &Snapshot, name: &str) -> Vec<(f64, u64)> {
    let text = prometheus::render(snapshot);
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("_bucket{"));
    let bound_and_count = |line: &str| {
        let (labels, count) = line.split_once("} ").expect("labels, then a number");
        let bound = labels.split("le=\"").nth(1).expect("a bound").trim_end_matches('"');
        (bound.parse().expect("a number"), count.parse().expect("a count"))
    };
    lines.map(bound_and_count).collect()
}

/// What [`exposed`] must be: samples one by one, each as a number in the unit shown.
fn counted(values: &[u64], scale: f64, bounds: &[f64]) -> Vec<(f64, u64)> {
    let within = |bound: &f64| values.iter().filter(|value| **value as f64 / scale <= *bound).count() as u64;
    bounds.iter().chain([&f64::INFINITY]).map(|bound| (*bound, within(bound))).collect()
}

fn bounds_of(snapshot: &Snapshot, name: &str) -> Vec<f64> {
    let point = snapshot.points().find(|point| point.name() == name).expect("registered");
    point.bounds().to_vec()
}

#[test]
fn samples_on_a_bound_are_within_it() {
    for way in WAYS {
        let telemetry = start(way);
        let timer = telemetry.timer("reply").register().expect("a good name");
        // Fills the ring where it is to be full; all on the bound.
        let many = if matches!(way, Way::Ring) { 10 } else { 1_000 };
        (0..many).for_each(|_| timer.record(Duration::from_millis(25)));
        timer.record(Duration::from_millis(60));
        let text = prometheus::render(&snapshot(&telemetry));
        let line = format!("reply_seconds_bucket{{le=\"0.025\"}} {many}\n");
        assert!(text.contains(&line), "{way:?}: {text}");
    }
}

#[test]
fn every_default_bound_is_exact() {
    type Make = fn(&Telemetry) -> (Histogram, &'static str, f64);
    let units: [Make; 3] = [
        |telemetry| (telemetry.histogram("wait").seconds().register().expect("good"), "wait_seconds", 1e9),
        |telemetry| (telemetry.histogram("size").bytes().register().expect("good"), "size_bytes", 1.0),
        |telemetry| (telemetry.histogram("items").register().expect("good"), "items", 1.0),
    ];
    for (way, unit) in WAYS.into_iter().flat_map(|way| units.map(|unit| (way, unit))) {
        let telemetry = start(way);
        let (histogram, name, scale) = unit(&telemetry);
        let bounds = bounds_of(&snapshot(&telemetry), name);
        let near = bounds.iter().flat_map(|bound| {
            let on = (bound * scale).round() as u64;
            [on, on, on, on - 1, on + 1, on + 1]
        });
        let mut values: Vec<u64> = near.collect();
        values.extend((0..1_000).map(|number| number * 100_000_007 % 5_000_000_011));
        values.iter().for_each(|value| histogram.record(*value));
        let wanted = counted(&values, scale, &bounds);
        assert_eq!(exposed(&snapshot(&telemetry), name), wanted, "{name} by {way:?}");
    }
}

#[test]
fn a_bucket_never_falls_between_scrapes() {
    for way in WAYS {
        let telemetry = start(way);
        let timer = telemetry.timer("reply").register().expect("a good name");
        let mut before = vec![];
        // Each is the greatest so far, and the first shares its bucket with the bound of 100 ms.
        for micros in [99_800, 300_000, 249_900, 999_000, 4_000_000] {
            (0..100).for_each(|_| timer.record(Duration::from_micros(micros)));
            let now: Vec<u64> =
                exposed(&snapshot(&telemetry), "reply_seconds").into_iter().map(|(_, count)| count).collect();
            assert!(
                before.iter().zip(&now).all(|(before, now)| before <= now),
                "{way:?}: {before:?}, {now:?}"
            );
            before = now;
        }
        // Bounds that nobody declared are not exact, and do not fall either.
        let whole = snapshot(&telemetry);
        let view = whole.histogram("reply_seconds", &[]).expect("registered");
        assert_eq!(view.cumulative(&[0.099_9, 0.4]).collect::<Vec<_>>(), [0, 300]);
        if matches!(way, Way::Ring | Way::Spill) {
            assert_eq!(view.cumulative(&[4.0]).collect::<Vec<_>>(), [400], "the last bucket straddles it");
        }
    }
}

#[test]
fn span_durations_are_exact_at_the_bounds() {
    for (way, sampling) in WAYS.into_iter().flat_map(|way| [1.0, 0.0].map(|sampling| (way, sampling))) {
        let config = match way {
            Way::Ring => Config { ring_words: 1 << 16, ..patient() },
            Way::Spill => Config { ring_words: 128, ..patient() },
            Way::Shared => Config { lane_cap: 0, ..patient() },
            Way::SharedByFullRing => Config { ring_words: 128, spill_bytes: 0, ..patient() },
        };
        let (clock, hand) = Clock::mock();
        // The clock's hand moves by hours, in which the aggregator looks stalled.
        let config = Config { sampling, stall_after: Duration::from_secs(1 << 20), ..config };
        let telemetry = Telemetry::builder("buckets").config(config).clock(clock).start().expect("it starts");
        let tracer = telemetry.tracer();
        let micros = [25_000, 24_999, 25_001, 100, 99, 101, 250_000, 100_000, 99_999, 7_500_000, 7_500_001];
        let values: Vec<u64> = micros.iter().cycle().take(1_100).map(|micros| micros * 1_000).collect();
        for (number, value) in values.iter().enumerate() {
            let (guard, owned) = if number % 2 == 0 {
                (Some(tracer.span("work")), None)
            } else {
                (None, Some(tracer.owned("work")))
            };
            hand.advance(Duration::from_nanos(*value));
            drop((guard, owned));
        }
        let name = "traces_span_metrics_duration_seconds";
        let taken = snapshot(&telemetry);
        let wanted = counted(&values, 1e9, &bounds_of(&taken, name));
        assert_eq!(exposed(&taken, name), wanted, "{way:?}, sampling {sampling}");
    }
}

/// Handles of families lead to the same counts; 100,000 samples, some of them on the bounds.
#[test]
fn families_are_exact_at_the_bounds() {
    for way in WAYS {
        let telemetry = start(way);
        let by_text = telemetry.histogram("by_text").seconds().family(["route"]).expect("a good name");
        let fixed = telemetry
            .histogram("by_enum")
            .seconds()
            .fixed_family::<(bool,)>(["cached"])
            .expect("a good name");
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 100_000_000
        };
        let on_bounds = [1, 5, 10, 25, 50, 100].map(|millis| millis * 1_000_000_u64);
        let values: Vec<u64> =
            (0..100_000).map(|_| uniform()).chain(on_bounds.into_iter().cycle().take(60)).collect();
        for value in &values {
            by_text.with(["/cart"]).record(*value);
            fixed.with((true,)).record(*value);
        }
        let taken = snapshot(&telemetry);
        for name in ["by_text", "by_enum"] {
            let shown = format!("{name}_seconds");
            let lines = exposed(&taken, &shown);
            let lines: Vec<_> = lines.into_iter().rev().take(bounds_of(&taken, &shown).len() + 1).collect();
            let mut wanted = counted(&values, 1e9, &bounds_of(&taken, &shown));
            wanted.reverse();
            assert_eq!(lines, wanted, "{name}, {way:?}");
        }
    }
}

#[test]
fn bounds_of_any_kind_are_exact() {
    // Fractions of recorded integers, zero and below, two within one recorded integer, at and above the highest value.
    let bounds =
        [-1.0, 0.0, 0.4, 99.5, 300.2, 300.7, 1_001.0, 1_002.0, 1_003.0, 4_999.0, 5_000.0, 1e6, 1e300];
    for (way, digits) in WAYS.into_iter().flat_map(|way| [1, 2, 3].map(|digits| (way, digits))) {
        let telemetry = start(way);
        let builder = telemetry.histogram("items").digits(digits).highest(5_000).bounds(&bounds);
        let histogram = builder.register().expect("a good name");
        let values: Vec<u64> = (0..6_000).collect();
        values.iter().for_each(|value| histogram.record(*value));
        let kept: Vec<u64> = values.iter().map(|value| (*value).min(5_000)).collect();
        let wanted = counted(&kept, 1.0, &bounds);
        assert_eq!(exposed(&snapshot(&telemetry), "items"), wanted, "{way:?}, {digits} digits");
    }
}

#[test]
fn bounds_above_the_integers_that_a_double_holds_are_exact() {
    let bound = 1_u64 << 60;
    for way in WAYS {
        let telemetry = start(way);
        let builder = telemetry.histogram("items").highest(u64::MAX).bounds(&[(1_u64 << 60) as f64]);
        let histogram = builder.register().expect("a good name");
        (0..100).for_each(|_| {
            [bound - 1, bound, bound + 1].map(|value| histogram.record(value)).into_iter().collect()
        });
        assert_eq!(exposed(&snapshot(&telemetry), "items")[0].1, 200, "{way:?}");
    }
}

#[test]
fn merged_and_saved_snapshots_stay_exact() {
    let values: [Vec<u64>; 2] = [0, 1].map(|odd| (0..3_000).map(|number| number * 2 + odd).collect());
    let bounds = [100.0, 500.0, 1_000.0, 1_001.0, 5_000.0];
    let here_and_there = [0, 1].map(|at| {
        let telemetry = start([Way::Ring, Way::Spill][at]);
        let builder = telemetry.histogram("items").bounds(&bounds);
        let histogram = builder.register().expect("a good name");
        values[at].iter().for_each(|value| histogram.record(*value));
        snapshot(&telemetry)
    });
    let all = counted(&values.concat(), 1.0, &bounds);
    let [here, there] = &here_and_there;
    assert_eq!(exposed(&here.merge(there).expect("one precision"), "items"), all);
    let read = Snapshot::from_bytes(&there.to_bytes().expect("short")).expect("whole");
    assert_eq!(exposed(&read, "items"), counted(&values[1], 1.0, &bounds));
    assert_eq!(read.histogram("items", &[]), there.histogram("items", &[]));
    assert_eq!(exposed(&here.merge(&read).expect("one precision"), "items"), all);
    assert_eq!(exposed(&read.merge(here).expect("one precision"), "items"), all);
}

/// Two versions of a service declare other bounds: those that both have stand in what is made of both, and are exact.
#[test]
fn a_merge_shows_the_bounds_that_are_exact_in_both() {
    let of = |bounds: &[f64], by: &str, values: std::ops::Range<u64>| {
        let telemetry = start(Way::Ring);
        let builder = telemetry.histogram("items").bounds(bounds).label("by", by);
        let histogram = builder.register().expect("a good name");
        values.for_each(|value| histogram.record(value));
        snapshot(&telemetry)
    };
    // 7 has a bucket of its own, so that every histogram is exact there. 1,000 is in both, 500 and 2,000 are not.
    let old = of(&[7.0, 500.0, 1_000.0], "a", 0..3_000);
    for by in ["a", "b"] {
        let new = of(&[1_000.0, 2_000.0], by, 0..4_000);
        for (left, right) in [(&old, &new), (&new, &old)] {
            let both = left.merge(right).expect("one precision");
            // The first series' bounds: by "a", in which the left one's stay if both are.
            let wanted: &[(f64, u64)] = match (by, std::ptr::eq(left, &old)) {
                ("a", true) => &[(7.0, 16), (1_000.0, 2_002), (f64::INFINITY, 7_000)],
                ("a", false) => &[(1_000.0, 2_002), (f64::INFINITY, 7_000)],
                _ => &[
                    (7.0, 8),
                    (1_000.0, 1_001),
                    (f64::INFINITY, 3_000),
                    (7.0, 8),
                    (1_000.0, 1_001),
                    (f64::INFINITY, 4_000),
                ],
            };
            assert_eq!(exposed(&both, "items"), wanted);
            let again = Snapshot::from_bytes(&both.to_bytes().expect("short")).expect("whole");
            assert_eq!(exposed(&again, "items"), wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn exposed_counts_are_those_of_counting_one_by_one(
        way in prop::sample::select(WAYS.to_vec()),
        digits in 1..=4_u8,
        bounds in prop::collection::btree_set(0..1_u64 << 41, 0..12),
        quarters in prop::bool::ANY,
        values in prop::collection::vec((0..1_u64 << 40, 0..40_u32, any::<prop::sample::Index>(), -2..=2_i64), 1..400),
    ) {
        // With a scale of four, every bound falls on an integer or on quarters between two.
        let scale = if quarters { 0.25 } else { 1.0 };
        let bounds: Vec<f64> = bounds.into_iter().map(|bound| bound as f64).collect();
        let value_of = |(value, shift, at, beside): (u64, u32, prop::sample::Index, i64)| {
            if shift % 2 == 0 || bounds.is_empty() {
                return value >> shift;
            }
            let on = (bounds[at.index(bounds.len())] * scale) as u64;
            on.saturating_add_signed(beside).min((1 << 40) - 1)
        };
        let values: Vec<u64> = values.into_iter().map(value_of).collect();
        let telemetry = start(way);
        let builder = telemetry.histogram("items").digits(digits).scale(scale).bounds(&bounds);
        let histogram = builder.register().expect("a good name");
        let (first, second) = values.split_at(values.len() / 2);
        first.iter().for_each(|value| histogram.record(*value));
        let early = snapshot(&telemetry);
        prop_assert_eq!(exposed(&early, "items"), counted(first, scale, &bounds));
        second.iter().for_each(|value| histogram.record(*value));
        let late = snapshot(&telemetry);
        let wanted = counted(&values, scale, &bounds);
        prop_assert_eq!(exposed(&late, "items"), wanted.clone());
        let read = Snapshot::from_bytes(&late.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(exposed(&read, "items"), wanted);
        let both: Vec<u64> = first.iter().chain(&values).copied().collect();
        prop_assert_eq!(exposed(&read.merge(&early).unwrap(), "items"), counted(&both, scale, &bounds));
    }
}

/// Tells threads to end, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads record flat out while snapshots are taken. The mean of what a snapshot counted is a mean of samples: never
/// below the least, never above the greatest.
fn check_means(config: Config, values: &'static [u64]) {
    let telemetry = Telemetry::builder("means").config(config).start().expect("it starts");
    let histogram = telemetry.histogram("items").highest(u64::MAX).register().expect("a good name");
    let done = AtomicBool::new(false);
    let recorded = std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| {
            scope.spawn(|| {
                let mut recorded = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    values.iter().for_each(|value| histogram.record(*value));
                    recorded += 1;
                }
                recorded
            })
        });
        let ends = Ends(&done);
        let mut before = (0, 0);
        for _ in 0..300 {
            let taken = snapshot(&telemetry);
            let view = taken.histogram("items", &[]).expect("registered");
            let (count, sum) = (u128::from(view.count()), view.sum_recorded());
            let (least, greatest) = (values.iter().min().expect("some"), values.iter().max().expect("some"));
            assert!(sum <= count * u128::from(*greatest), "{sum} of {count} samples up to {greatest}");
            assert!(sum >= count * u128::from(*least), "{sum} of {count} samples from {least}");
            assert!(before.0 <= count && before.1 <= sum, "{before:?}, then {:?}", (count, sum));
            before = (count, sum);
        }
        drop(ends);
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<u64>()
    });
    let taken = snapshot(&telemetry);
    let view = taken.histogram("items", &[]).expect("registered");
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    assert_eq!(view.sum_recorded(), sum * u128::from(recorded), "exact when nobody records");
    assert_eq!(view.count(), recorded * values.len() as u64);
}

#[test]
fn the_sum_of_a_live_snapshot_is_one_of_its_samples() {
    let spill = || Config { ring_words: 64, ..patient() };
    let shared = || Config { lane_cap: 0, ..patient() };
    for config in [spill, shared] {
        check_means(config(), &[1_000]);
        check_means(config(), &[1_000, 1_001]);
        check_means(config(), &[1 << 63, (1 << 63) + 2]);
        check_means(config(), &[u64::MAX]);
    }
}

/// The records of a saved snapshot with the figures of its bounds replaced, as bytes.
fn with_figures(saved: &[u8], replace: impl Fn(Vec<u64>) -> Vec<Vec<u64>>) -> Vec<u8> {
    let words = from_bytes(saved).expect("the magic");
    let mut changed = Vec::new();
    for record in Decoder::new(&words) {
        match record.expect("a record") {
            Record::Figures { what: 9, id, words } => {
                for words in replace(words) {
                    encode(&Record::Figures { what: 9, id, words }, &mut changed).expect("short");
                }
            }
            other => encode(&other, &mut changed).expect("as it was"),
        }
    }
    to_bytes(&changed)
}

#[test]
fn figures_of_bounds_that_no_samples_make_are_refused() {
    let telemetry = start(Way::Ring);
    // 1,000 and 1,001 divide one bucket, of the four samples 1,000 to 1,003; 5,000 divides another.
    let builder = telemetry.histogram("items").bounds(&[7.0, 1_000.0, 1_001.0, 5_000.0]);
    let histogram = builder.register().expect("a good name");
    (0..6_000).for_each(|value| histogram.record(value));
    let saved = snapshot(&telemetry).to_bytes().expect("short");
    // 5,000 is in the bucket from 4,992 to 5,023.
    let good = vec![0, 1, 2, 9];
    let same = with_figures(&saved, |words| {
        assert_eq!(words, good);
        vec![words]
    });
    assert_eq!(same, saved);
    let refused: [&[&[u64]]; 12] = [
        &[&[0, 2, 1, 9]],                // falls within a bucket
        &[&[0, 1, 5, 9]],                // above the count of its bucket
        &[&[0, 1, 2, 33]],               // the same in another bucket
        &[&[0, u64::MAX, u64::MAX, 9]],  // would run over when added
        &[&[0, 1, 2]],                   // one too few
        &[&[0, 1, 2, 9, 9]],             // one too many
        &[&[0]],                         // none at all, in a record
        &[&[]],                          // not even the number of the first
        &[&[1, 1, 2, 9]],                // not from the first
        &[&[u64::MAX, 1, 2, 9]],         // far from it
        &[&[0, 1, 2, 9], &[3, 9]],       // behind the last
        &[&[0, 1, 2, 9], &[0, 1, 2, 9]], // twice
    ];
    for figures in refused {
        let bytes = with_figures(&saved, |_| figures.iter().map(|words| words.to_vec()).collect());
        assert_eq!(Snapshot::from_bytes(&bytes).map(drop), Err(ReadError::Unexpected), "{figures:?}");
    }
    // Without figures only the bound that ends a bucket is exact, and no other is shown.
    let old = Snapshot::from_bytes(&with_figures(&saved, |_| Vec::new())).expect("whole");
    assert_eq!(exposed(&old, "items"), [(7.0, 8), (f64::INFINITY, 6_000)]);
    let again = Snapshot::from_bytes(&old.to_bytes().expect("short")).expect("whole");
    assert_eq!(exposed(&again, "items"), exposed(&old, "items"));
    let both = old.merge(&snapshot(&telemetry)).expect("one precision");
    assert_eq!(exposed(&both, "items"), [(7.0, 16), (f64::INFINITY, 12_000)]);
}

#[test]
fn many_bounds_in_one_bucket_are_exact() {
    // All divide the bucket from 98,304 to 102,399 of one digit, or the next one.
    let bounds: Vec<f64> = (0..1_700).map(|number| f64::from(100_001 + 2 * number)).collect();
    let telemetry = start(Way::Ring);
    let builder = telemetry.histogram("items").digits(1).bounds(&bounds);
    let histogram = builder.register().expect("a good name");
    let values: Vec<u64> = (100_000..103_400).collect();
    values.iter().for_each(|value| histogram.record(*value));
    let here = snapshot(&telemetry);
    let wanted = counted(&values, 1.0, &bounds);
    assert_eq!(exposed(&here, "items"), wanted);
    let there = Snapshot::from_bytes(&here.to_bytes().expect("short enough")).expect("whole");
    assert_eq!(exposed(&there, "items"), wanted);
}

proptest! {
    /// Whatever the figures of bounds, what is read shows counts that never fall from bound to bound.
    #[test]
    fn hostile_figures_of_bounds_are_refused_or_possible(
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![0..40_u64, any::<u64>()]), 1..4),
    ) {
        thread_local! {
            static SAVED: Vec<u8> = {
                let telemetry = start(Way::Ring);
                let builder = telemetry.histogram("items").bounds(&[1_000.0, 1_001.0, 1_002.0, 5_000.0, 5_010.0]);
                let histogram = builder.register().expect("a good name");
                (0..6_000).for_each(|value| histogram.record(value));
                snapshot(&telemetry).to_bytes().expect("short")
            };
        }
        let bytes = SAVED.with(|saved| with_figures(saved, |mut words| {
            damage.iter().for_each(|(at, word)| *at.get_mut(&mut words) = *word);
            vec![words]
        }));
        if let Ok(read) = Snapshot::from_bytes(&bytes) {
            let counts: Vec<u64> = exposed(&read, "items").into_iter().map(|(_, count)| count).collect();
            prop_assert!(counts.is_sorted() && counts.last() == Some(&6_000), "{counts:?}");
            prop_assert!(read.merge(&read).is_ok() && !tellane::Report(&read).to_string().is_empty());
        }
    }
}
