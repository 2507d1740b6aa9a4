//! The text report: errors beside the spans that failed, a row for each kind of span, text from elsewhere, long names.

mod support;

use std::collections::BTreeSet;
use support::PATIENCE;
use tellane::{Report, SpanKind, Telemetry};

const KINDS: [SpanKind; 5] =
    [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];

fn start() -> Telemetry {
    Telemetry::builder("shop").start().expect("it starts")
}

fn report(telemetry: &Telemetry) -> String {
    Report(&telemetry.snapshot(PATIENCE).expect("a snapshot")).to_string()
}

/// The line that begins with these words, and the line after it.
fn row<'a>(report: &'a str, start: &str) -> (&'a str, &'a str) {
    let mut lines = report.lines();
    let row = lines.find(|line| line.trim_start().starts_with(start));
    (row.unwrap_or_else(|| panic!("no row {start} in\n{report}")), lines.next().unwrap_or_default())
}

#[test]
fn errors_stand_below_the_span_that_failed() {
    let telemetry = start();
    let tracer = telemetry.tracer();
    for number in 0..4 {
        let mut span = tracer.span("order");
        if number == 0 {
            span.fail();
        }
    }
    for number in 0..3 {
        let mut span = tracer.span_with_kind("order", SpanKind::Server);
        if number < 2 {
            span.fail();
        }
    }
    drop(tracer.span("fine"));
    let report = report(&telemetry);
    let (own, below) = row(&report, "order  ");
    assert!(own.contains(" 4 "), "{own}");
    assert_eq!(below, "    errors 1 (25.00 %)");
    let (_, below) = row(&report, "order (server)  ");
    assert_eq!(below, "    errors 2 (66.67 %)");
    assert_eq!(report.matches("    errors ").count(), 2, "{report}");
}

#[test]
fn each_kind_of_a_span_has_a_row_of_its_own() {
    let telemetry = start();
    let tracer = telemetry.tracer();
    for kind in KINDS {
        drop(tracer.span_with_kind("order", kind));
        drop(tracer.span_with_kind("order (server)", kind));
    }
    let report = report(&telemetry);
    let rows: Vec<&str> = report
        .lines()
        .skip_while(|line| !line.starts_with("spans"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim().split("  ").next().unwrap_or_default())
        .collect();
    assert_eq!(rows.len(), 2 * KINDS.len(), "{report}");
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "two equal rows in\n{report}");
    assert!(rows.contains(&"order") && rows.contains(&"order (client)"), "{report}");
}

/// What could begin a line, paint, or turn the text around it: controls, separators, bidirectional marks.
const HARMFUL: &str =
    "\n\r\t\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}";

#[test]
fn texts_are_escaped_as_in_the_logs() {
    let telemetry = Telemetry::builder(HARMFUL).start().expect("it starts");
    telemetry.counter("calls_total").label("text", HARMFUL).register().expect("a good name").inc();
    telemetry.histogram("sizes").label("text", HARMFUL).register().expect("a good name").record(1);
    telemetry.gauge("level").label("text", "a\",forged=\"b").register().expect("a good name").set(1.0);
    let mut span = telemetry.tracer().span(HARMFUL);
    span.set("key =\u{202e}", HARMFUL);
    span.set("plain", "two words");
    span.fail();
    drop(span);
    let report = report(&telemetry);
    let harm = report.chars().find(|letter| *letter != '\n' && HARMFUL.contains(*letter));
    assert_eq!(harm, None, "{report:?}");
    // The same letters as a log line shows.
    let escaped = "\\n\\r\\t\\u001b\\u007f\\u0085\\u009b\\u2028\\u2029\\u061c\\u200e\\u200f\\u202a\\u202e\\u2066\\u2069";
    assert!(report.starts_with(escaped), "{report}");
    assert!(report.contains(&format!("calls_total{{text=\"{escaped}\"}}")), "{report}");
    assert!(report.contains("level{text=\"a\\\",forged=\\\"b\"}"), "a value cannot end early: {report}");
    assert!(report.contains(&format!(" key___=\"{escaped}\" plain=\"two words\"\n")), "{report}");
}

#[test]
fn a_long_name_widens_nothing_but_its_own_row() {
    let telemetry = start();
    let names: Vec<String> = (0..13).map(|number| format!("label_{number}")).collect();
    let labels: Vec<&str> = names.iter().map(|name| &**name).collect();
    let labels: [&str; 13] = labels.try_into().expect("13 labels");
    // Each byte is shown by six letters: 79,872 in all, more than a column of `format!` can have.
    let value = "\u{1}".repeat(1_024);
    let values = [&*value; 13];
    telemetry.counter("calls_total").family(labels).expect("good names").with(values).add(7);
    telemetry.histogram("sizes").family(labels).expect("good names").with(values).record(7);
    telemetry.counter("short_total").register().expect("a good name").add(8);
    telemetry.histogram("small").register().expect("a good name").record(9);
    drop(telemetry.tracer().build(&"x".repeat(500)).start());
    let report = report(&telemetry);
    for name in ["calls_total", "sizes"] {
        let (long, _) = row(&report, name);
        assert!(long.len() > 6 * 13 * 1_024 && long.contains("label_12="), "it is shown whole");
    }
    for name in ["counters and gauges", "short_total", "distributions", "small", "spans"] {
        let (short, _) = row(&report, name);
        assert!(short.chars().count() < 200, "{name} has {} columns", short.chars().count());
    }
}
