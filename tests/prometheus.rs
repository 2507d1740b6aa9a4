//! The text format, held against Prometheus' own parser; and text from outside, which can break neither it nor the
//! report.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use support::PATIENCE;
use tellane::{Config, Kind, Report, Snapshot, Telemetry, prometheus};

/// What `promtool check metrics` says, and whether it is content.
fn promtool(text: &str) -> (bool, String) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("promtool: {error}; install it: apt-get install -y --no-install-recommends prometheus")
    });
    let mut input = child.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("promtool reads all of it");
    drop(input);
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn assert_accepted(snapshot: &Snapshot) -> String {
    let text = prometheus::render(snapshot);
    let (accepted, said) = promtool(&text);
    assert!(accepted && said.is_empty(), "{said}\n{text}");
    text
}

fn start(service: &str) -> Telemetry {
    Telemetry::builder(service).start().expect("it starts")
}

const HOSTILE: [&str; 12] = [
    "plain",
    "",
    "quote \" quote",
    "back \\ slash \\n not a newline \\",
    "line\nbreak",
    "carriage\rreturn",
    "tab\tand nul\0",
    "# HELP forged_total x\n# TYPE forged_total counter\nforged_total 1",
    "\"} 5\nforged_total{a=\"",
    "ünïcödé → 🦀 \u{202E}reversed\u{2028}line",
    "\x1b[31mred\x1b[0m \x07",
    "{le=\"+Inf\"}",
];

#[test]
fn the_checker_checks() {
    let (accepted, said) = promtool("orders_total{kind=\"web} 1\n");
    assert!(!accepted, "{said}");
}

#[test]
fn every_kind_of_metric_is_accepted() {
    let telemetry = start("shop");
    telemetry.counter("orders_total").help("Orders placed.").register().expect("a good name").add(u64::MAX);
    telemetry.counter("sent").bytes().help("Bytes sent.").register().expect("a good name").add(1 << 60);
    telemetry.up_down_counter("open_connections").help("Open.").register().expect("a good name").add(-3);
    let levels = telemetry.gauge("level").help("Levels.").family(["of"]).expect("a good name");
    for (name, value) in [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("max", f64::MAX),
        ("tiny", f64::MIN_POSITIVE),
        ("-0", -0.0),
        ("third", 1.0 / 3.0),
    ] {
        levels.with([name]).set(value);
    }
    let sizes = telemetry.histogram("basket_items").help("Items.").family(["shop"]).expect("a good name");
    for value in [0, 1, 2, 5, 1_000, 1 << 39] {
        sizes.with(["a"]).record(value);
    }
    sizes.with(["empty"]).record_f64(f64::NAN);
    telemetry.histogram("plain").help("No bounds.").bounds(&[]).register().expect("a good name").record(1);
    telemetry.timer("wait").help("Waiting.").register().expect("a good name").time(|| ());
    let mut span = telemetry.tracer().span("checkout");
    span.fail();
    drop(span);

    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let text = assert_accepted(&snapshot);
    for line in [
        "orders_total 18446744073709551615",
        "# TYPE sent_bytes_total counter",
        "# TYPE open_connections gauge",
        "open_connections -3",
        "level{of=\"nan\"} NaN",
        "level{of=\"inf\"} +Inf",
        "level{of=\"-inf\"} -Inf",
        "basket_items_bucket{shop=\"a\",le=\"1\"} 2",
        "basket_items_bucket{shop=\"a\",le=\"+Inf\"} 6",
        "basket_items_count{shop=\"a\"} 6",
        "basket_items_bucket{shop=\"empty\",le=\"+Inf\"} 0",
        "plain_bucket{le=\"+Inf\"} 1",
        "wait_seconds_count 1",
        "traces_span_metrics_errors_total{span_name=\"checkout\",span_kind=\"SPAN_KIND_INTERNAL\"} 1",
        "tellane_records_total{kind=\"span\"} 1",
        "tellane_dropped_total{kind=\"sample\",reason=\"invalid\"} 1",
        "tellane_state 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    for (name, value) in [("max", f64::MAX), ("tiny", f64::MIN_POSITIVE), ("third", 1.0 / 3.0)] {
        let start = format!("level{{of=\"{name}\"}} ");
        let shown = text.lines().find_map(|line| line.strip_prefix(&start)).expect("shown");
        assert_eq!(shown.parse(), Ok(value), "{name} reads back as it was");
    }
}

#[test]
fn an_instance_with_nothing_in_it_is_accepted_too() {
    let telemetry = start("empty");
    assert_accepted(&telemetry.latest());
    assert_accepted(&telemetry.snapshot(PATIENCE).expect("a snapshot"));
}

#[test]
fn hostile_labels_and_help_come_out_escaped() {
    let telemetry = start("hostile");
    let family = telemetry.counter("calls_total").help("Calls.").family(["text"]).expect("a good name");
    for (number, text) in HOSTILE.into_iter().enumerate() {
        family.with([text]).add(number as u64 + 1);
        let name = format!("helped_{number}");
        telemetry.gauge(&name).help(text).register().expect("a good name").set(number as f64);
    }
    for (number, text) in HOSTILE.into_iter().enumerate() {
        let mut span = telemetry.tracer().span(text);
        span.set(text, text);
        if number % 2 == 0 {
            span.fail();
        }
    }
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let text = assert_accepted(&snapshot);
    assert!(!text.lines().any(|line| line.starts_with("forged_total")), "{text}");
    // Read back: every value is there once, as it was.
    for (number, label) in HOSTILE.into_iter().enumerate() {
        let shown = label.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        let line = format!("calls_total{{text=\"{shown}\"}} {}\n", number + 1);
        assert_eq!(text.matches(&line).count(), 1, "{line}");
    }
}

#[test]
fn the_reports_lines_cannot_be_forged() {
    let forged = "ledger recorded=0 aggregated=0 dropped=0 suppressed=0 in_flight=0";
    let evil: &'static str =
        "x\nledger recorded=0 aggregated=0 dropped=0 suppressed=0 in_flight=0\r\n\x1b[2J\u{85}";
    let telemetry = start(evil);
    telemetry.counter("calls_total").label("text", evil).register().expect("a good name").inc();
    telemetry.histogram("sizes").label("text", evil).register().expect("a good name").record(1);
    let mut span = telemetry.tracer().span(evil);
    span.set(evil, evil);
    span.fail();
    drop(span);
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let report = Report(&snapshot).to_string();
    assert!(!report.lines().any(|line| line == forged), "{report}");
    assert!(!report.chars().any(|letter| letter.is_control() && letter != '\n'), "{report:?}");
    let plain = start("plain");
    plain.counter("calls_total").label("text", "x").register().expect("a good name").inc();
    plain.histogram("sizes").label("text", "x").register().expect("a good name").record(1);
    let mut span = plain.tracer().span("x");
    span.set("x", "x");
    span.fail();
    drop(span);
    let plain = Report(&plain.snapshot(PATIENCE).expect("a snapshot")).to_string();
    for report in [&report, &plain] {
        assert!(report.contains("\n    errors 1 (100.00 %)\n"), "{report}");
    }
    assert_eq!(report.lines().count(), plain.lines().count(), "{report}");
    let last = report.lines().last().expect("a line");
    assert_eq!(last, "ledger recorded=2 aggregated=2 dropped=0 suppressed=0 in_flight=0");
}

#[test]
fn the_report_shows_what_was_recorded_whatever_the_scale() {
    let config = Config { ring_words: 64, ..Config::default() };
    let telemetry = Telemetry::builder("report").config(config).start().expect("it starts");
    telemetry.counter("idle_total").register().expect("a good name");
    telemetry.counter("calls_total").register().expect("a good name").add(1_234_567);
    let odd = telemetry.histogram("odd").seconds().scale(1e-12).register().expect("a good name");
    odd.record(1 << 39);
    telemetry.histogram("sent").bytes().register().expect("a good name").record(3 << 20);
    telemetry.gauge("level").register().expect("a good name").set(f64::NAN);
    telemetry.histogram("invalid").register().expect("a good name").record_f64(-1.0);
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let report = Report(&snapshot).to_string();
    assert!(report.contains("1,234,567") && report.contains("3 MiB") && report.contains("NaN"), "{report}");
    assert!(report.contains("dropped invalid 1"), "{report}");
    assert!(!report.contains("idle_total"), "{report}");
    assert_eq!(snapshot.ledger().kind(Kind::Sample).aggregated, 2);
    assert_accepted(&snapshot);
}
