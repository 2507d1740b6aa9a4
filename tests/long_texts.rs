//! Texts at every limit: what is cut, where, and what is kept of it; and how values are written.

mod support;

use support::patient;
use tellane::testing::Kit;
use tellane::{Config, Format, Level, LogRecord, SpanLimits, Value, info};

/// Lengths around everything that bounds a text: a frame, a record, a length of 16 bits.
fn lengths() -> Vec<usize> {
    let bounds = [0, 8, 16, 240, 248, 4_096, 16_384, 28_000, 32_600, 32_700, 32_768, 40_000, 65_535, 65_536];
    let around = bounds.iter().flat_map(|bound: &usize| bound.saturating_sub(17)..bound + 9);
    around.chain([100_000, 1 << 20]).collect()
}

/// Keeps whatever is said, of a mebibyte, too.
fn kit(log_value: u16, ring_words: usize) -> Kit {
    let span_limits = SpanLimits { value: log_value, ..SpanLimits::default() };
    Kit::with(Config { log_value, ring_words, span_limits, logs_per_second: None, ..patient() })
}

/// `found` is `said`, or its beginning with an ellipsis, and at least so many bytes of it.
#[track_caller]
fn assert_beginning(found: &str, said: &str, least: usize) {
    if found == said {
        return;
    }
    let kept = found.strip_suffix('…').unwrap_or_else(|| panic!("{} bytes without an ellipsis", found.len()));
    assert!(said.starts_with(kept), "not the beginning");
    assert!(kept.len() >= least.min(said.len()), "{} of {} bytes, less than {least}", kept.len(), said.len());
}

#[test]
fn the_beginning_of_a_message_of_any_length_is_kept() {
    for letter in ["x", "é", "日", "😀"] {
        let kit = kit(u16::MAX, 1 << 15);
        let log = kit.logger("app");
        for (number, length) in lengths().into_iter().enumerate() {
            let message = letter.repeat(length / letter.len());
            match number % 3 {
                0 => log.error(&message),
                1 => info!(log, message.as_str(), number = 7_u64, text = "kept", number = 8_u64),
                _ => log.at(Level::Warn).with("number", 8_u64).with("text", "kept").emit(&message),
            }
            let record = kit.logs().pop().expect("it is not lost");
            assert_beginning(&record.message, &message, 32_600);
            let fields = if number % 3 == 0 { 0 } else { 2 };
            assert_eq!((record.fields.len(), record.fields_dropped), (fields, 0), "{length} bytes");
            kit.clock().advance(std::time::Duration::from_secs(1));
        }
        kit.assert_nothing_lost();
    }
}

#[test]
fn a_message_that_fits_a_record_is_whole() {
    let kit = kit(u16::MAX, 1 << 15);
    let log = kit.logger("app");
    let _span = kit.tracer().span("around");
    // 4,095 words, less seven of the longest head and one for what was lost, less the text's own.
    let longest = (4_095 - 8 - 1) * 8;
    for length in longest - 20..=longest {
        log.info(&"x".repeat(length));
        assert_eq!(kit.logs().pop().map(|record| record.message.len()), Some(length));
    }
    log.info(&"x".repeat(longest + 1));
    assert_beginning(&kit.logs().pop().expect("kept").message, &"x".repeat(longest + 1), longest - 3);
}

#[test]
fn the_beginning_of_a_field_of_any_length_is_kept() {
    let kit = kit(u16::MAX, 1 << 15);
    let log = kit.logger("app");
    let said = |record: LogRecord, text: &str, least: usize| {
        assert_eq!((&*record.message, &*record.fields[0].0), ("said", "first"));
        assert_eq!((&*record.fields[1].0, record.fields_dropped), ("text", 0));
        let found = record.fields[1].1.to_string();
        assert_beginning(&found, text, least);
    };
    for length in lengths() {
        let text = "x".repeat(length);
        info!(log, "said", first = 1_u64, text = text.as_str());
        said(kit.logs().pop().expect("it is not lost"), &text, 32_600);
        log.at(Level::Info).with("first", 1_u64).with("text", text.as_str()).emit("said");
        said(kit.logs().pop().expect("it is not lost"), &text, 28_000);
    }
    kit.assert_nothing_lost();
}

#[test]
fn a_message_and_fields_that_are_all_too_long_leave_each_other_room() {
    let kit = kit(u16::MAX, 1 << 15);
    let log = kit.logger("app");
    let long = "x".repeat(60_000);
    info!(log, long.as_str(), a = long.as_str(), b = 7_u64);
    log.at(Level::Info).with("a", long.as_str()).with("b", 7_u64).emit(&long);
    for record in kit.logs() {
        assert_beginning(&record.message, &long, 4_000);
        assert_beginning(&record.fields[0].1.to_string(), &long, 28_000);
        assert_eq!((record.fields.len(), record.fields_dropped), (1, 1), "`b` is counted");
    }
    assert_eq!(kit.logs().len(), 2);
    kit.assert_nothing_lost();
}

#[test]
fn the_beginning_of_a_spans_texts_of_any_length_is_kept() {
    let kit = kit(u16::MAX, 1 << 15);
    for length in lengths() {
        let text = "x".repeat(length);
        let mut span = kit.tracer().span("attribute");
        span.set("first", 1_u64);
        span.set("text", &text);
        span.end();
        let mut span = kit.tracer().span("message");
        span.fail_with(&text);
        span.end();
        let mut span = kit.tracer().span("event");
        span.event("event").set("text", &text);
        span.end();
        let found = kit.recorded();
        let spans = found.spans();
        let of = |name: &str| spans.iter().rev().find(|span| *span.name == *name).expect("it is not lost");
        assert_beginning(&of("attribute").attributes[1].1.to_string(), &text, 32_600);
        let message = of("message").status_message.as_deref().unwrap_or("");
        assert!(
            text.starts_with(message) && message.len() >= length.min(32_600),
            "{length}: {}",
            message.len()
        );
        assert_beginning(&of("event").events[0].attributes[0].1.to_string(), &text, 32_600);
        assert!(["attribute", "message", "event"].iter().all(|name| of(name).attributes_dropped == 0));
    }
    kit.assert_nothing_lost();
}

#[test]
fn what_is_longer_than_a_small_ring_is_cut_to_it() {
    for ring_words in [128, 256, 1 << 12] {
        let kit = kit(u16::MAX, ring_words);
        let log = kit.logger("app");
        for level in [Level::Error, Level::Warn, Level::Info] {
            let text = "x".repeat(20_000);
            log.at(level).with("text", text.as_str()).emit("short");
            let record = kit.logs().pop().expect("it is not lost");
            assert_beginning(&record.fields[0].1.to_string(), &text, ring_words / 4);
            log.emit(level, &text);
            assert_beginning(&kit.logs().pop().expect("it is not lost").message, &text, ring_words / 2);
            let mut span = kit.tracer().span("span");
            span.set("text", &text);
            span.end();
            let span = kit.spans().pop().expect("it is not lost");
            assert_beginning(&span.attributes[0].1.to_string(), &text, ring_words / 2);
        }
        kit.assert_nothing_lost();
    }
}

#[test]
fn limits_of_texts_count_characters() {
    let mut config = Config::default();
    let given = |name: &str| (name == "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT").then(|| "3".to_owned());
    assert!(config.read_env(given).is_empty());
    let kit = Kit::with(Config { log_value: 16, ..config });
    let mut span = kit.tracer().span("span");
    span.set("three", "日本語");
    span.set("four", "日本語文");
    span.event("event").set("three", "日本語").set("four", "日本語文");
    span.fail_with("日本語文");
    span.end();
    let expected =
        [("three".into(), Value::Str("日本語".into())), ("four".into(), Value::Cut("日本語".into()))];
    let span = kit.span("span");
    assert_eq!(span.attributes, expected);
    assert_eq!(span.events[0].attributes, expected);
    assert_eq!(span.status_message.as_deref(), Some("日本語"));
    let log = kit.logger("app");
    let (sixteen, seventeen) = ("語".repeat(16), "語".repeat(17));
    log.at(Level::Info).with("text", sixteen.as_str()).with("more", seventeen.as_str()).emit(&sixteen);
    log.info(&seventeen);
    let records = kit.logs();
    assert_eq!(*records[0].message, *sixteen);
    assert_eq!(records[0].fields[0].1, Value::Str(sixteen.clone()));
    assert_eq!(records[0].fields[1].1, Value::Cut(sixteen));
    assert_eq!(*records[1].message, *format!("{}…", "語".repeat(15)));
}

#[test]
fn a_float_keeps_its_point() {
    let kit = Kit::new();
    let log = kit.logger("app");
    let floats = [2.0, -0.0, 1e21, 1e-9, 0.1, f64::MAX, f64::MIN_POSITIVE];
    let written = ["2.0", "-0.0", "1e21", "1e-9", "0.1", "1.7976931348623157e308", "2.2250738585072014e-308"];
    for (float, text) in floats.into_iter().zip(written) {
        info!(log, "float", v = float);
        let record = kit.logs().pop().expect("just said");
        assert!(Format::Json.line(&record).contains(&format!("\"fields\":{{\"v\":{text}}}")), "{text}");
        assert!(Format::Logfmt.line(&record).ends_with(&format!(" v={text}")), "{text}");
        assert!(Format::Human.line(&record).ends_with(&format!(" v={text}")), "{text}");
        let json: serde_json::Value = serde_json::from_str(&Format::Json.line(&record)).expect("JSON");
        assert!(json["fields"]["v"].is_f64());
        assert_eq!(json["fields"]["v"].as_f64(), Some(float));
        let mut span = kit.tracer().span("span");
        span.set("v", float);
        span.end();
        assert_eq!(kit.spans().pop().map(|span| span.attributes[0].1.to_string()).as_deref(), Some(text));
    }
    for (float, text) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        info!(log, "float", v = float);
        let record = kit.logs().pop().expect("just said");
        assert!(Format::Json.line(&record).contains(&format!("{{\"v\":\"{text}\"}}")), "{text}");
    }
}

#[test]
fn a_raw_identifier_is_a_key_without_its_mark() {
    let kit = Kit::new();
    let log = kit.logger("app");
    info!(log, "said", r#type = "web", "r#kept" = 1, plain = 2);
    tellane::error!(log, String::from("said").as_str(), r#match = true);
    let keys = |record: &LogRecord| record.fields.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(&kit.logs()[0]), ["type", "r#kept", "plain"]);
    assert_eq!(keys(&kit.logs()[1]), ["match"]);
}
