//! Formats a log record as one line: for people, as logfmt, or as JSON. Cold.

use super::time::rfc3339;
use crate::export::escape::{self, is_harmful};
use crate::level::Level;
use crate::record::Value;
use crate::snapshot::LogRecord;
use std::collections::HashSet;
use std::fmt::Write;

/// The format of a sink's lines. Each record is exactly one line, whatever its texts contain; times are UTC.
///
/// ```
/// use tellane::{Format, Sink, Telemetry};
/// let telemetry = Telemetry::builder("shop").log_to(Sink::stdout(Format::Json)).start()?;
/// tellane::info!(telemetry.logger("shop"), "open", tills = 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `2026-11-25T12:44:55.000123Z  INFO shop: open tills=4`
    #[default]
    Human,
    /// `time=2026-11-25T12:44:55.000123Z level=info target=shop msg=open tills=4`. A field named `level` becomes
    /// `fields.level`.
    Logfmt,
    /// `{"time":"2026-11-25T12:44:55.000123Z","level":"info","target":"shop","message":"open","fields":{"tills":4}}`
    Json,
}

impl Format {
    /// Appends a record's line, including its end. Only [`Human`](Self::Human) uses colour.
    pub(super) fn write(self, record: &LogRecord, colour: bool, into: &mut String) {
        match self {
            Self::Human => human(record, colour, into),
            Self::Logfmt => logfmt(record, into),
            Self::Json => json(record, into),
        }
        into.push('\n');
    }

    /// Formats a record as a line, without the line's end and without colour.
    ///
    /// ```
    /// use tellane::{Format, Sink, Telemetry};
    /// let (sink, kept) = Sink::memory(10);
    /// let telemetry = Telemetry::builder("shop").log_to(sink).start()?;
    /// tellane::info!(telemetry.logger("shop"), "open", tills = 4);
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert!(Format::Logfmt.line(&kept.records()[0]).ends_with(" level=info target=shop msg=open tills=4"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn line(self, record: &LogRecord) -> String {
        let mut line = String::new();
        self.write(record, false, &mut line);
        line.pop();
        line
    }
}

// Writing to a string cannot fail, so the results below are ignored.

fn human(record: &LogRecord, colour: bool, into: &mut String) {
    let paint = |code: &str, into: &mut String| {
        if colour {
            let _written = write!(into, "\u{1b}[{code}m");
        }
    };
    paint("2", into);
    rfc3339(record.unix_nanos, into);
    paint("0", into);
    into.push(' ');
    let (code, name) = match record.level {
        Level::Trace => ("35", "TRACE"),
        Level::Debug => ("34", "DEBUG"),
        Level::Info => ("32", " INFO"),
        Level::Warn => ("33", " WARN"),
        Level::Error => ("31", "ERROR"),
    };
    paint(code, into);
    into.push_str(name);
    paint("0", into);
    into.push(' ');
    escape::plain(&record.target, into);
    into.push_str(": ");
    escape::plain(&record.message, into);
    pairs(record, &OWN_KEYS[HEAD_KEYS..], into);
}

fn logfmt(record: &LogRecord, into: &mut String) {
    into.push_str("time=");
    rfc3339(record.unix_nanos, into);
    let _written = write!(into, " level={} target=", record.level);
    escape::value(&record.target, false, into);
    into.push_str(" msg=");
    escape::value(&record.message, false, into);
    pairs(record, &OWN_KEYS, into);
}

/// The keys that logfmt writes itself: those at the beginning of a line, then those at its end.
const OWN_KEYS: [&str; 7] = ["time", "level", "target", "msg", "fields_dropped", "trace_id", "span_id"];
/// The number of these keys at the beginning.
const HEAD_KEYS: usize = 4;

/// Appends fields and ids as `key=value`. A field with one of the line's own keys gets a prefix: of two equal keys,
/// readers use the first or the last, and a field must not be mistaken for the record's level.
///
/// Two different keys may be written alike, since `user id` becomes `user_id` and `level` becomes `fields.level`. Then
/// the key that was changed gets a number: `user_id.2`.
fn pairs(record: &LogRecord, own_keys: &[&str], into: &mut String) {
    let written: Vec<String> = record.fields.iter().map(|(key, _)| written_key(key, own_keys)).collect();
    let is_changed = |at: usize| written[at] != *record.fields[at].0;
    let any_changed = (0..written.len()).any(is_changed);
    let unchanged = (0..written.len()).filter(|at| any_changed && !is_changed(*at));
    let mut used: HashSet<String> = unchanged.map(|at| written[at].clone()).collect();
    for (at, (_, value)) in record.fields.iter().enumerate() {
        into.push(' ');
        into.push_str(&written[at]);
        if is_changed(at) && !used.insert(written[at].clone()) {
            let mut numbered = (2_u32..).map(|number| format!(".{number}"));
            let free = numbered.find(|suffix| used.insert(format!("{}{suffix}", written[at])));
            into.push_str(&free.unwrap_or_default());
        }
        escape::pair_value(value, into);
    }
    if record.fields_dropped > 0 {
        let _written = write!(into, " fields_dropped={}", record.fields_dropped);
    }
    if let Some((trace_id, span_id)) = record.span {
        let _written = write!(into, " trace_id={trace_id:032x} span_id={span_id:016x}");
    }
}

/// A field's key as written in the line, before a number is added.
fn written_key(key: &str, own_keys: &[&str]) -> String {
    let mut written = String::with_capacity(key.len());
    escape::key(key, &mut written);
    if own_keys.contains(&&*written) {
        written.insert_str(0, "fields.");
    }
    written
}

fn json(record: &LogRecord, into: &mut String) {
    into.push_str("{\"time\":\"");
    rfc3339(record.unix_nanos, into);
    let _written = write!(into, "\",\"level\":\"{}\",\"target\":", record.level);
    escape::quoted(&record.target, false, into);
    into.push_str(",\"message\":");
    escape::quoted(&record.message, false, into);
    if let Some((trace_id, span_id)) = record.span {
        let _written = write!(into, ",\"trace_id\":\"{trace_id:032x}\",\"span_id\":\"{span_id:016x}\"");
    }
    if !record.fields.is_empty() {
        into.push_str(",\"fields\":");
        let mut before = '{';
        for (key, value) in &record.fields {
            into.push(before);
            before = ',';
            escape::quoted(key, false, into);
            into.push(':');
            json_value(value, into);
        }
        into.push('}');
    }
    if record.fields_dropped > 0 {
        let _written = write!(into, ",\"fields_dropped\":{}", record.fields_dropped);
    }
    if let Some((file, line)) = record.location {
        into.push_str(",\"file\":");
        escape::quoted(file, false, into);
        let _written = write!(into, ",\"line\":{line}");
    }
    into.push('}');
}

fn json_value(value: &Value, into: &mut String) {
    match value {
        Value::Str(text) => escape::quoted(text, false, into),
        Value::Cut(text) => escape::quoted(text, true, into),
        // JSON has no notation for NaN and the infinities.
        Value::F64(number) if !number.is_finite() => escape::quoted(&number.to_string(), false, into),
        other => drop(write!(into, "{other}")),
    }
    debug_assert!(!into.ends_with(is_harmful), "every text is escaped");
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_two_fields_of_a_line_have_the_same_key() {
        let keys =
            ["user id", "level", "user_id", "user=id", "fields.level", "user_id.2", "", "_", "b", "user\"id"];
        let fields = keys.into_iter().zip(0..).map(|(key, number)| (key.into(), Value::U64(number)));
        let record = LogRecord {
            unix_nanos: 0,
            level: Level::Warn,
            target: "shop".into(),
            message: "m".into(),
            span: None,
            fields: fields.collect(),
            fields_dropped: 0,
            module: None,
            location: None,
        };
        let line = Format::Logfmt.line(&record);
        let expected = "user_id.3=0 fields.level.2=1 user_id=2 user_id.4=3 fields.level=4 user_id.2=5 _.2=6 _=7 b=8 \
                        user_id.5=9";
        assert!(line.ends_with(&format!(" msg=m {expected}")), "{line}");
    }

    #[test]
    fn colour_changes_nothing_but_escape_codes() {
        let record = LogRecord {
            unix_nanos: 0,
            level: Level::Warn,
            target: "shop".into(),
            message: "stock is low".into(),
            span: None,
            fields: vec![("left".into(), Value::U64(3))],
            fields_dropped: 0,
            module: None,
            location: None,
        };
        let line = |format: Format, colour| {
            let mut line = String::new();
            format.write(&record, colour, &mut line);
            line
        };
        let (plain, painted) = (line(Format::Human, false), line(Format::Human, true));
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(painted.contains("\u{1b}[33m WARN\u{1b}[0m"), "{painted:?}");
        let stripped =
            ["2", "33", "0"].iter().fold(painted, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(stripped, plain);
        for format in [Format::Logfmt, Format::Json] {
            assert_eq!(line(format, true), line(format, false), "formats for machines have no colour");
        }
    }
}
