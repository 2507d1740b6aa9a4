//! Hostile texts: whatever is logged, a record is one line, paints nothing, and JSON reads back as what was said.

mod support;

use proptest::prelude::*;
use std::sync::LazyLock;
use support::PATIENCE;
use tellane::{Config, Format, Level, LogMemory, LogRecord, Sink, Telemetry, Value};

static RUNNING: LazyLock<(Telemetry, LogMemory)> = LazyLock::new(|| {
    let (sink, kept) = Sink::memory(100);
    let config = Config { logs_per_second: None, ..Config::default() };
    (Telemetry::builder("test").config(config).log_to(sink).start().expect("it starts"), kept)
});

/// Everything here logs to one instance, one at a time.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn logged(target: &str, message: &str, text: &str) -> LogRecord {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (telemetry, kept) = &*RUNNING;
    let logger = telemetry.logger(target);
    logger.at(Level::Warn).with("text", text).with("a \"key\"=\n\u{1b}[31m", 1).emit(message);
    telemetry.snapshot(PATIENCE).expect("a snapshot");
    kept.take().pop().expect("one record")
}

/// By the sets of Unicode that terminals and line readers act on.
fn is_harmful(letter: char) -> bool {
    let code = u32::from(letter);
    code < 0x20
        || (0x7f..0xa0).contains(&code)
        || [0x2028, 0x2029, 0x061c, 0x200e, 0x200f].contains(&code)
        || (0x202a..=0x202e).contains(&code)
        || (0x2066..=0x2069).contains(&code)
}

fn check(target: &str, message: &str, text: &str) {
    let record = logged(target, message, text);
    assert_eq!((&*record.target, &*record.message), (target, message));
    assert_eq!(record.fields[0].1, Value::Str(text.to_owned()));
    for format in [Format::Human, Format::Logfmt, Format::Json] {
        let line = format.line(&record);
        assert!(!line.contains(is_harmful), "{format:?}: {line:?}");
    }
    let line = Format::Json.line(&record);
    let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["target"], target);
    assert_eq!(json["message"], message);
    assert_eq!(json["fields"]["text"], text);
    assert_eq!(json["level"], "warn");
    let line = Format::Logfmt.line(&record);
    // Told apart by a reader that knows quotes and nothing else.
    let mut pairs = Vec::new();
    let (mut quoted, mut escaped, mut present) = (false, false, String::new());
    for letter in line.chars() {
        match letter {
            ' ' if !quoted => pairs.push(std::mem::take(&mut present)),
            '"' if !escaped => quoted = !quoted,
            _ => present.push(letter),
        }
        escaped = letter == '\\' && !escaped;
    }
    pairs.push(present);
    let keys: Vec<&str> = pairs.iter().filter_map(|pair| pair.split('=').next()).collect();
    assert_eq!(keys, ["time", "level", "target", "msg", "text", "a__key____[31m"], "{line}");
}

#[test]
fn known_tricks_fail() {
    let tricks = [
        "two\nlines",
        "2026-01-01T00:00:00Z ERROR app: forged",
        "\r\u{1b}[2K\u{1b}[31mred\u{1b}[0m",
        "\u{9b}31m c1",
        "\u{2028}\u{2029}\u{85}",
        "\u{202e}txt.exe\u{2066}",
        "a=b level=error \"quoted\" \\",
        "\\\" level=error",
        "",
        " ",
        "\u{0}\u{7f}",
        "…",
    ];
    for trick in tricks {
        check("app", trick, trick);
        check(trick, "message", trick);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_forges_a_line(
        message in proptest::collection::vec(any::<char>(), 0..40),
        text in "[\\x00-\\x20\"\\\\=a\\u{7f}-\\u{a0}\\u{200c}-\\u{2070}]{0,40}",
    ) {
        let message: String = message.into_iter().collect();
        check("app", &message, &text);
    }
}
