//! What is said through the `log` crate, by this test and by a crate that knows nothing of tellane.

use log::Log;
use std::fmt;
use tellane::bridge::log::Bridge;
use tellane::testing::Kit;
use tellane::{Config, Kind, Level};

/// Hands a record to a bridge, as the `log` crate does.
fn emit(bridge: &Bridge, level: log::Level, target: &str, arguments: fmt::Arguments<'_>) {
    bridge.log(&log::Record::builder().level(level).target(target).args(arguments).build());
}

#[test]
fn a_crate_that_logs_is_heard_and_its_records_are_in_the_open_span() {
    let kit = Kit::new();
    Bridge::install(kit.telemetry()).expect("the only one in this process");
    kit.telemetry().set_level("globset", Level::Trace);
    let tracer = kit.tracer();
    let span = tracer.span("match globs");
    let mut globs = globset::GlobSetBuilder::new();
    for pattern in ["*.rs", "src/**/tests.rs", "Cargo.toml"] {
        globs.add(globset::Glob::new(pattern).expect("a good pattern"));
    }
    let set = globs.build().expect("a set");
    assert!(set.is_match("lib.rs"));
    let records = kit.logs();
    assert!(!records.is_empty(), "globset says how it built the set");
    let ids = span.span_context().expect("on");
    for record in &records {
        assert!(record.target.starts_with("globset"), "{record:?}");
        assert!(record.level <= Level::Debug, "{record:?}");
        assert_eq!(record.span, Some((ids.trace_id, ids.span_id)), "{record:?}");
    }
    assert!(
        records.iter().any(|record| record.message.to_string().contains("built glob set")),
        "{records:?}"
    );
    drop(span);
    kit.telemetry().set_level("globset", None);
    let before = kit.logs().len();
    globset::GlobSetBuilder::new().add(globset::Glob::new("*.md").expect("good")).build().expect("a set");
    assert_eq!(kit.logs().len(), before, "nothing more, without a restart");
}

#[test]
fn levels_targets_and_long_messages_come_through() {
    let config = Config { logs_per_second: None, log_value: u16::MAX, ..Config::default() };
    let kit = Kit::with(config);
    let bridge = Bridge::new(kit.telemetry());
    kit.telemetry().set_levels("warn,quiet=off,loud=trace").expect("good rules");
    let long = "x".repeat(5_000);
    for target in ["other", "quiet", "loud", "loud::inner"] {
        for level in log::Level::iter() {
            emit(&bridge, level, target, format_args!("{target} {level} {long}"));
        }
    }
    let records = kit.logs();
    let count = |target: &str| records.iter().filter(|record| *record.target == *target).count();
    assert_eq!((count("other"), count("quiet"), count("loud"), count("loud::inner")), (2, 0, 5, 5));
    for record in &records {
        let name = record.level.name().to_uppercase();
        assert_eq!(record.message.to_string(), format!("{} {name} {long}", record.target));
    }
}

#[test]
fn one_target_stands_in_for_all_that_are_too_long() {
    let kit = Kit::new();
    let bridge = Bridge::new(kit.telemetry());
    let bytes = || kit.snapshot().pipeline().bytes;
    emit(&bridge, log::Level::Info, "short", format_args!("heard"));
    let before = bytes();
    for number in 0..50 {
        let target = format!("{number}{}", "t".repeat(1 << 20));
        emit(&bridge, log::Level::Info, &target, format_args!("heard, too"));
    }
    let records = kit.logs();
    let count = |target: &str| records.iter().filter(|record| *record.target == *target).count();
    assert_eq!((count("short"), count("__overflow__")), (1, 50));
    let more = bytes().saturating_sub(before); // what waited for the sinks has been let go
    assert!(more < 1 << 16, "50 targets of 1 MiB: {more} bytes more");
}

#[test]
fn a_value_that_logs_while_it_is_shown_does_not_deadlock() {
    struct Chatty<'a>(&'a Bridge);
    impl fmt::Display for Chatty<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            emit(self.0, log::Level::Info, "inner", format_args!("while showing {}", 1));
            f.write_str("shown")
        }
    }
    let kit = Kit::new();
    let bridge = Bridge::new(kit.telemetry());
    emit(&bridge, log::Level::Info, "outer", format_args!("{}", Chatty(&bridge)));
    let texts: Vec<_> = kit.logs().iter().map(|record| record.message.to_string()).collect();
    assert_eq!(texts, ["while showing 1", "shown"]);
}

#[test]
fn many_threads_and_targets_are_accounted_for() {
    let config = Config { logs_per_second: None, ..Config::default() };
    let kit = Kit::with(config);
    let bridge = Bridge::new(kit.telemetry());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let bridge = &bridge;
            scope.spawn(move || {
                for number in 0..500 {
                    let target = format!("target{}", number % 10);
                    emit(bridge, log::Level::Warn, &target, format_args!("{thread} {number}"));
                }
            });
        }
    });
    let logs = kit.end().kind(Kind::Log);
    assert_eq!(logs.recorded, 4_000);
    assert_eq!(kit.logs().len() as u64, logs.aggregated);
    emit(&bridge, log::Level::Error, "target1", format_args!("too late"));
    assert_eq!(kit.telemetry().ledger().kind(Kind::Log).dropped.by(tellane::Reason::AfterShutdown), 1);
}
