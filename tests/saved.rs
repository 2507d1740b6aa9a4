//! Saved snapshots: what goes out comes back, and any other bytes are refused.

mod support;

use proptest::prelude::*;
use support::PATIENCE;
use tellane::{Config, Kind, MetricKind, ReadError, Snapshot, Status, Telemetry, Unit, prometheus};

fn filled() -> (Telemetry, std::sync::Arc<Snapshot>) {
    let telemetry = Telemetry::builder("shöp \\ \u{1f}").start().unwrap();
    let odd = "line\nbreak \u{1f} back\\slash \"quote\"";
    telemetry.counter("orders_total").help(odd).label("odd", odd).register().unwrap().add(u64::MAX);
    telemetry.up_down_counter("waiting").register().unwrap().add(-5);
    telemetry.gauge("heat").register().unwrap().set(f64::NEG_INFINITY);
    telemetry.gauge("unset_bytes").bytes().register().unwrap();
    let fine = telemetry
        .histogram("fine")
        .digits(4)
        .highest(u64::MAX)
        .scale(8.0)
        .bounds(&[0.5, 1.0])
        .register()
        .unwrap();
    (0..10_000_u64).for_each(|number| fine.record(number * number * 7)); // more filled buckets than one record holds
    fine.record(u64::MAX);
    telemetry.timer("empty").register().unwrap();
    let tracer = telemetry.tracer();
    let mut span = tracer.span("pack");
    span.set("box", 7_u64);
    span.set("to", "Zürich");
    span.fail();
    drop(span);
    drop(tracer.span("send"));
    telemetry.histogram("fine_too").register().unwrap().record_f64(f64::NAN);
    let snapshot = telemetry.snapshot(PATIENCE).unwrap();
    (telemetry, snapshot)
}

#[test]
fn what_goes_out_comes_back() {
    let (_telemetry, here) = filled();
    let there = Snapshot::from_bytes(&here.to_bytes().unwrap()).unwrap();
    assert_eq!(there.service(), here.service());
    assert_eq!((there.taken_at(), there.uptime()), (here.taken_at(), here.uptime()));
    assert_eq!(there.ledger(), here.ledger());
    assert_eq!(there.ledger().kind(Kind::Span).aggregated, 2);
    assert_eq!(there.points().len(), here.points().len());
    for (read, written) in there.points().zip(here.points()) {
        assert_eq!((read.name(), read.help(), read.kind()), (written.name(), written.help(), written.kind()));
        assert_eq!((read.unit(), read.bounds()), (written.unit(), written.bounds()));
        assert!(read.labels().eq(written.labels()));
        assert_eq!(read.value(), written.value());
    }
    let spans: Vec<_> = there.spans().collect();
    assert_eq!(spans, here.spans().collect::<Vec<_>>());
    assert_eq!((&*spans[0].name, spans[0].status, spans[0].attributes.len()), ("pack", Status::Error, 2));
    assert_eq!(there.slowest_spans(), here.slowest_spans());
}

#[test]
fn a_saved_snapshot_merges_like_a_live_one() {
    let (telemetry, here) = filled();
    let there = Snapshot::from_bytes(&here.to_bytes().unwrap()).unwrap();
    let (live, read) = (here.merge(&here).unwrap(), there.merge(&here).unwrap());
    let series = |snapshot: &Snapshot| {
        prometheus::render(snapshot).split("# HELP tellane_").next().unwrap().to_owned()
    };
    assert_eq!(series(&live), series(&read));
    assert_eq!(read.histogram("fine", &[]).unwrap().count(), 20_002);
    assert_eq!(read.spans().count(), 4);
    assert_eq!(read.ledger().total().recorded, 2 * telemetry.ledger().total().recorded);
}

#[test]
fn every_cut_and_every_wrong_word_is_told() {
    let (_telemetry, here) = filled();
    let bytes = here.to_bytes().unwrap();
    assert!(matches!(Snapshot::from_bytes(&[]), Err(ReadError::Record(_))));
    assert!(matches!(Snapshot::from_bytes(&bytes[8..]), Err(ReadError::Record(_))));
    for odd in 1..8 {
        assert!(Snapshot::from_bytes(&bytes[..bytes.len() - odd]).is_err());
    }
    let error = Snapshot::from_bytes(&bytes[..bytes.len() - 8]).unwrap_err();
    assert!(error.to_string().starts_with("not a saved snapshot: "), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    // Figures of a series that was not defined.
    let stray = [tellane::record::MAGIC, 0x0000_0000_0200_0005, 1].map(u64::to_le_bytes).concat();
    let error = Snapshot::from_bytes(&stray).unwrap_err();
    assert_eq!(error, ReadError::Unexpected);
    assert!(
        error.to_string().contains("a record is unexpected") && std::error::Error::source(&error).is_none()
    );
}

/// All that is long in one instance: nothing of it keeps the snapshot from being saved.
#[test]
fn long_texts_are_saved() {
    let config = Config { label_value_max: 100_000, ..Config::default() };
    let telemetry = Telemetry::builder(&"s".repeat(70_000)).config(config).start().unwrap();
    let name = format!("/path/{}", "ü/".repeat(11_000)); // 33,006 bytes
    telemetry.tracer().build(&name).start().set("key", true);
    let backslashes = "\\".repeat(1_024);
    let labels: Vec<String> = (0..16).map(|number| format!("label_{number}")).collect();
    let bounds: Vec<f64> = (1..=2_000).map(f64::from).collect();
    let mut histogram = telemetry.histogram("wide").bounds(&bounds).help("Help.");
    for label in &labels {
        histogram = histogram.label(label, &backslashes);
    }
    histogram.register().unwrap().record(7);
    let here = telemetry.snapshot(PATIENCE).unwrap();
    let there = Snapshot::from_bytes(&here.to_bytes().unwrap()).unwrap();
    assert_eq!((there.service(), there.points().len()), (here.service(), here.points().len()));
    for (read, written) in there.points().zip(here.points()) {
        assert_eq!(
            (read.name(), read.bounds(), read.value()),
            (written.name(), written.bounds(), written.value())
        );
        assert!(read.labels().eq(written.labels()));
    }
    let wide = there.points().find(|point| point.name() == "wide").expect("it was registered");
    assert_eq!((wide.bounds().len(), wide.labels().count()), (2_000, 16));
    assert!(wide.labels().all(|(_, value)| value == backslashes));
    assert_eq!(there.spans().collect::<Vec<_>>(), here.spans().collect::<Vec<_>>());
    assert!(there.spans().count() == 1 && there.spans().all(|span| *span.name == name));
    assert_eq!(there.span_durations(&name).map(|taken| taken.count()), Some(1));
}

#[test]
fn of_a_long_help_text_the_beginning_is_kept() {
    let telemetry = Telemetry::builder("shop").start().unwrap();
    telemetry.gauge("level").help(&"ä".repeat(100_000)).register().unwrap();
    let here = telemetry.snapshot(PATIENCE).unwrap();
    let help = here.points().next().expect("one series").help();
    assert_eq!(help, format!("{}…", "ä".repeat(2_046)), "4,095 bytes: another letter would be one too many");
    let there = Snapshot::from_bytes(&here.to_bytes().unwrap()).unwrap();
    assert_eq!(there.points().next().expect("one series").help(), help);
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        thread_local! {
            static BYTES: Vec<u8> = filled().1.to_bytes().unwrap();
        }
        let mut bytes = BYTES.with(Clone::clone);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = Snapshot::from_bytes(&bytes) {
            // What is still a snapshot can be used like one.
            prop_assert!(read.points().all(|point| point.kind() == MetricKind::Histogram || point.bounds().is_empty()));
            prop_assert!(read.points().all(|point| matches!(point.unit(), Unit::None | Unit::Seconds | Unit::Bytes)));
            prop_assert!(!prometheus::render(&read).is_empty());
            prop_assert!(!tellane::Report(&read).to_string().is_empty());
            prop_assert!(read.merge(&read).is_ok());
        }
    }
}
