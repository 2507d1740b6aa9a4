//! What a run is judged by, and what the page makes of it: runs of a few rows, made up here.

use crate::page::{BEGIN, END, between_marks, unexplained, without_a_word};
use crate::run::{Case, Figures, Flows, Run};
use crate::{conditions, records, report, subject, verdict};
use serde_json::{Value, json};
use std::path::Path;

const ADD: &str = "thread-local add, one writer";

fn case(subject: &str, peer: &str, weaker: &str) -> Case {
    let how = if peer == "floor" { ADD } else { "inc" };
    Case { subject: subject.into(), peer: peer.into(), how: how.into(), threads: 1, weaker: weaker.into() }
}

fn row(peer: &str, weaker: &str, median: f64) -> Figures {
    let case = case(subject::COUNTER, peer, weaker);
    Figures { case, median, min: median / 2.0, rounds: 3, allocations: 0.0, made: 30, lost: 0 }
}

fn rate(peer: &str, millions: f64, lost: u64, background: f64) -> Flows {
    let case = case(subject::FLAT_OUT_HISTOGRAM, peer, "");
    let caller = Some(1e3 / millions);
    Flows { case, millions, made: 1_000, lost, grew: 0, background, caller, runs: 3 }
}

fn told() -> Value {
    json!({
        "commit": "abc1234", "rustc": "rustc 1.95.0", "cpu": "One", "processors": 2, "load": "0.1",
        "load_after": "1.1", "date": "2026-11-25", "command": "cargo run",
    })
}

fn run(rows: Vec<Figures>, rates: Vec<Flows>) -> Run {
    Run { conditions: told(), rows, rates }
}

#[track_caller]
fn line<'text>(text: &'text str, begin: &str) -> &'text str {
    text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin} is not in {text}"))
}

/// The line of the target "counter add, 1 thread": limit 1.3, floor then 0.9, prometheus then 2.6.
#[track_caller]
fn counter(rows: Vec<Figures>) -> String {
    line(&verdict::table(&run(rows, Vec::new())), "| counter add, 1 thread").to_owned()
}

/// The line of the target "flat-out histogram".
#[track_caller]
fn flat_out(rates: Vec<Flows>) -> String {
    line(&verdict::table(&run(Vec::new(), rates)), "| flat-out histogram").to_owned()
}

#[test]
fn prose_around_the_marks_stays() {
    let page = format!("# Head\n\n{BEGIN}\nold\n{END}\n\n## Why\n\nBecause.\n");
    let new = between_marks(&page, "new\n\n").expect("both marks are there");
    assert_eq!(new, format!("# Head\n\n{BEGIN}\n\nnew\n\n{END}\n\n## Why\n\nBecause.\n"));
    assert_eq!(between_marks(&new, "new").as_deref(), Some(new.as_str()), "a second time changes nothing");
    assert!(between_marks("no marks", "new").is_none());
    assert!(between_marks(&format!("{END} {BEGIN}"), "new").is_none(), "in the wrong order");
}

#[test]
fn a_slower_row_loses_to_the_best_peer_that_promises_as_much() {
    let rows = vec![
        row("tellane", "", 3.0),
        row("contatori", "", 2.0),
        row("prometheus", "unflushed", 1.0),
        row("floor", "", 0.5),
    ];
    let text = report::losers(&run(rows, Vec::new()));
    assert!(text.starts_with("Of 1 figures of tellane"), "{text}");
    assert_eq!(line(&text, "| counter"), "| counter | inc | 1.50 **loses** | contatori, inc |");
    let rows = vec![row("tellane", "", 1.0), row("contatori", "", 2.0)];
    assert!(!report::losers(&run(rows, Vec::new())).contains("**loses**"));
}

#[test]
fn a_row_that_promises_less_stands_in_a_list_of_its_own() {
    let rows = vec![
        row("tellane", "", 3.0),
        row("contatori", "", 4.0),
        row("prometheus", "one thread", 2.0),
        row("micromegas", "unsummed", 2.5),
        row("floor", "", 0.5),
    ];
    let all = run(rows, Vec::new());
    assert!(!report::losers(&all).contains("**loses**"));
    let text = report::behind_weaker(&all);
    assert_eq!(line(&text, "| counter"), "| counter | inc | 1.50 | prometheus, inc | one thread |");
    assert_eq!(text.matches("| counter |").count(), 1, "the best of them only: {text}");
    let ahead = run(vec![row("tellane", "", 1.0), row("prometheus", "one thread", 2.0)], Vec::new());
    assert!(report::behind_weaker(&ahead).starts_with("No figure"), "{}", report::behind_weaker(&ahead));
    let mut weaker = rate("micromegas", 400.0, 0, 0.0);
    weaker.case.weaker = "drops".into();
    let text = report::behind_weaker(&run(Vec::new(), vec![rate("tellane", 200.0, 0, 0.0), weaker]));
    assert_eq!(
        line(&text, "| flat out, histogram |"),
        "| flat out, histogram | inc | 2.00 | micromegas, inc | drops |"
    );
    assert!(text.contains("| flat out, histogram: total CPU | inc | 2.00 |"), "{text}");
}

#[test]
fn a_rate_loses_by_what_it_reaches_and_by_what_all_threads_pay() {
    // 4 ns and 4 in the background, where the peer takes 5 in all.
    let rates = vec![rate("tellane", 250.0, 0, 4.0), rate("metriken", 200.0, 0, 0.0)];
    let text = report::losers(&run(Vec::new(), rates));
    assert!(text.starts_with("Of 2 figures of tellane that have a peer's beside them, 1 lose"), "{text}");
    let lost = "| flat out, histogram: total CPU | inc | 1.60 **loses** | metriken, inc |";
    assert_eq!(line(&text, "| flat out"), lost);
    let rates = vec![rate("tellane", 100.0, 0, 0.0), rate("metriken", 200.0, 0, 10.0)];
    let text = report::losers(&run(Vec::new(), rates));
    assert_eq!(line(&text, "| flat out"), "| flat out, histogram | inc | 2.00 **loses** | metriken, inc |");
}

#[test]
fn a_rate_that_promises_less_is_shown_in_italics_and_nobody_s_best_peer() {
    let mut weaker = rate("micromegas", 400.0, 0, 0.0);
    weaker.case.weaker = "drops".into();
    let all = run(Vec::new(), vec![rate("tellane", 250.0, 0, 4.0), rate("metriken", 200.0, 0, 0.5), weaker]);
    let text = report::subjects(&all);
    let shown = "| micromegas | inc (*drops*) | 400.0 | 0 | 0.0 | 0.00 | 2.50 | 0.50 |";
    assert_eq!(line(&text, "| micromegas"), shown);
    assert!(line(&text, "| **tellane**").ends_with("| 4.00 | 8.00 | 0.80 |"), "{text}");
    assert!(report::losers(&all).contains("| metriken, inc |"));
}

#[test]
fn a_run_that_did_not_measure_the_caller_has_no_total() {
    let old = Flows { caller: None, ..rate("tellane", 250.0, 0, 4.0) };
    let text = report::subjects(&run(Vec::new(), vec![old, rate("metriken", 200.0, 0, 0.5)]));
    assert!(line(&text, "| **tellane**").ends_with("| 4.00 | - | 0.80 |"), "{text}");
    assert!(line(&text, "| metriken").ends_with("| 0.50 | 5.50 | 1.00 |"), "{text}");
}

#[test]
fn a_limit_and_both_ratios_are_judged_each_by_itself() {
    // All three: 1.2 of 1.3; 1.33 of 1.44 to the floor; 0.44 of 0.50 to prometheus, whoever else is quicker.
    let rows = |ours, floor, peer| {
        vec![
            row("tellane", "", ours),
            row("floor", "", floor),
            row("prometheus", "", peer),
            row("other", "", 1.0),
        ]
    };
    let all = counter(rows(1.2, 0.9, 2.7));
    assert_eq!(
        all,
        "| counter add, 1 thread | inc | 1.3 | 1.20, met | 1.44 x 0.9 | 1.33 x 0.90, held \
         | 0.500 x 2.6 (prometheus) | 0.444 x 2.70, held | 1.20 x 1.00 (other) |"
    );
    // A slower machine, on which all take twice as long, misses the limit and holds the ratios.
    let slower = counter(rows(2.4, 1.8, 5.4));
    assert!(slower.contains("| 2.40, **missed** |"), "{slower}");
    assert!(
        slower.contains("| 1.33 x 1.80, held |") && slower.contains("| 0.444 x 5.40, held |"),
        "{slower}"
    );
    // A quicker one the other way round: each can fail alone.
    let floor = counter(rows(1.2, 0.8, 2.7));
    assert!(floor.contains("| 1.20, met |") && floor.contains("| 1.50 x 0.80, **not held** |"), "{floor}");
    assert!(floor.contains("| 0.444 x 2.70, held |"), "{floor}");
    let peer = counter(rows(1.2, 0.9, 2.3));
    assert!(peer.contains("| 1.20, met |") && peer.contains("| 1.33 x 0.90, held |"), "{peer}");
    assert!(peer.contains("| 0.522 x 2.30, **not held** |"), "{peer}");
}

#[test]
fn the_head_line_counts_each_verdict() {
    let rows = vec![row("tellane", "", 1.2), row("floor", "", 0.8), row("prometheus", "", 2.7)];
    let text = verdict::table(&run(rows, Vec::new()));
    let head = text.lines().next().expect("it has lines");
    assert!(head.starts_with("Limits: 1 met, 0 missed, 26 not measured."), "{head}");
    assert!(head.contains("floor: 0 held, 1 not, 11 not measured."), "{head}");
    assert!(head.ends_with("names: 1 held, 0 not, 20 not measured."), "{head}");
}

#[test]
fn a_floor_or_a_peer_that_was_not_measured_is_said_to_be_missing() {
    let alone = counter(vec![row("tellane", "", 1.4), row("prometheus", "unflushed", 0.5)]);
    assert_eq!(
        alone,
        "| counter add, 1 thread | inc | 1.3 | 1.40, **missed** | 1.44 x 0.9 | not measured in this run \
         | 0.500 x 2.6 (prometheus) | not measured in this run | - |"
    );
    let nobody = counter(Vec::new());
    assert!(nobody.starts_with("| counter add, 1 thread | - | 1.3 | not measured in this run |"), "{nobody}");
    // A limit that hangs on a peer is open without it.
    let rates = flat_out(vec![rate("tellane", 110.0, 0, 3.0)]);
    assert!(rates.contains("| 110 M/s, not measured in this run |"), "{rates}");
    // The issue names a floor or a peer for each ratio that it asks, and none for others.
    let text = verdict::table(&run(Vec::new(), Vec::new()));
    assert!(line(&text, "| log call, 2 fields").ends_with("| - | - | - | - | - |"), "{text}");
}

#[test]
fn a_rate_must_reach_the_peer_of_its_run_and_lose_nothing() {
    let judged =
        |ours, lost| flat_out(vec![rate("tellane", ours, lost, 3.0), rate("metriken", 100.0, 0, 0.1)]);
    let met = judged(110.5, 0);
    assert!(met.contains("| at least 1.1 times metriken | 110 M/s, met |"), "{met}");
    // Limit then: 1.1 times the middle of 209 and 269; that of the floor's 290 and 388 is 339.
    assert!(met.contains("| 290-388 M/s / 1.29 | not measured in this run |"), "{met}");
    let ratio = "| 209-269 M/s (metriken) / 0.909 | 100 M/s / 0.905, held | 100 M/s (metriken) / 0.905 |";
    assert!(met.ends_with(ratio), "{met}");
    let missed = judged(109.0, 0);
    assert!(missed.contains("| 109 M/s, **missed** |"), "{missed}");
    assert!(missed.contains("| 100 M/s / 0.917, **not held** |"), "{missed}");
    let lossy = judged(120.0, 1);
    assert!(lossy.contains("| 120 M/s, **missed**: lost records, or memory that grew |"), "{lossy}");
}

#[test]
fn background_that_is_next_to_nothing_counts_as_a_tenth_of_a_nanosecond() {
    let judged = |ours| {
        let rates = vec![rate("tellane", 100.0, 0, ours), rate("metriken", 100.0, 0, 0.0005)];
        line(&verdict::table(&run(Vec::new(), rates)), "| background CPU per histogram").to_owned()
    };
    assert!(judged(0.04).contains("| under 0.1, met |"));
    assert!(judged(0.04).contains("| 40.00 x 0.1 (metriken) | 1.00 x under 0.1, held |"), "{}", judged(0.04));
    assert!(judged(4.1).contains("| 41.00 x under 0.1, **not held** |"), "{}", judged(4.1));
}

#[test]
fn a_kept_run_is_read_as_it_was() {
    let kept = run(vec![row("tellane", "", 1.25)], vec![rate("tellane", 1.5, 2, 0.25)]);
    let text = serde_json::to_string(&kept).expect("numbers and texts");
    let read: Run = serde_json::from_str(&text).expect("it was just written");
    assert_eq!(report::subjects(&read), report::subjects(&kept));
    assert_eq!(report::head(&read), report::head(&kept));
    let head = "Commit abc1234, rustc 1.95.0, 2 x One, load 0.1 before and 1.1 after, 2026-11-25: `cargo run`, 3 rounds";
    assert!(report::head(&kept).starts_with(head), "{}", report::head(&kept));
}

#[test]
fn what_misses_its_target_or_loses_is_to_be_named_in_the_prose() {
    // The limit of 1.3 is missed, the ratios to floor (0.9) and prometheus (2.6) are held, and nobody is quicker.
    let slow = || vec![row("tellane", "", 1.4), row("floor", "", 1.1), row("prometheus", "", 3.0)];
    let found = |rows, prose| without_a_word(&run(rows, Vec::new()), prose);
    assert_eq!(found(slow(), "counter"), ["`counter` misses its limit"], "no backticks");
    assert_eq!(found(slow(), "`counter, 2 threads`"), ["`counter` misses its limit"], "another's name");
    let twice = [slow(), slow()].concat();
    assert_eq!(found(twice, ""), ["`counter` misses its limit"], "of two rows");
    assert!(found(slow(), "The row `counter` is slow.").is_empty());
    let floor = vec![row("tellane", "", 1.2), row("floor", "", 0.5), row("prometheus", "", 3.0)];
    assert_eq!(found(floor, ""), ["`counter` does not hold its ratio to the floor"]);
    let peer = vec![row("tellane", "", 1.2), row("floor", "", 1.1), row("prometheus", "", 1.3)];
    assert_eq!(found(peer, ""), ["`counter` does not hold its ratio to the peer that its target names"]);
    let lost = vec![row("tellane", "", 1.2), row("prometheus", "", 3.0), row("contatori", "", 1.0)];
    assert_eq!(found(lost, ""), ["`counter` loses to the best peer"]);
    let good = vec![row("tellane", "", 1.2), row("floor", "", 1.1), row("prometheus", "", 3.0)];
    assert!(found(good, "").is_empty());
    // Two at once, in one line; a name that goes over the end of a line is a name.
    let rates = || vec![rate("tellane", 100.0, 0, 3.0), rate("metriken", 100.0, 0, 0.1)];
    let both = without_a_word(&run(Vec::new(), rates()), "");
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(both[0].starts_with("`flat out, histogram` misses its limit, does not hold"), "{both:?}");
    assert!(both[0].ends_with("loses to the best peer"), "{both:?}");
    assert!(without_a_word(&run(Vec::new(), rates()), "of `flat out,\nhistogram` that").is_empty());
}

#[test]
fn a_name_counts_only_behind_the_tables() {
    let folder = std::env::temp_dir().join(format!("prose-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for a test");
    let (page, from) = (folder.join("PERF.md"), folder.join("run.json"));
    run(vec![row("tellane", "", 1.4)], Vec::new()).write(&from);
    let found = |text: String| {
        std::fs::write(&page, text).expect("a file for a test");
        unexplained(&page, &from)
    };
    let before = found(format!("`counter`\n{BEGIN}\n`counter`\n{END}\n"));
    let behind = found(format!("{BEGIN}\n{END}\nOf `counter`.\n"));
    std::fs::remove_dir_all(&folder).expect("it was just made");
    assert_eq!(before, ["`counter` misses its limit"]);
    assert!(behind.is_empty(), "{behind:?}");
}

/// A folder of records, as `perf/record/`.
fn records_in(name: &str, files: &[(&str, &str)]) -> String {
    let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for a test");
    files.iter().for_each(|(file, text)| std::fs::write(folder.join(file), text).expect("a file for a test"));
    let text = records::text(&folder);
    std::fs::remove_dir_all(&folder).expect("it was just made");
    text
}

#[test]
fn a_record_says_what_it_was_made_on() {
    let here = conditions::ended(conditions::now(env!("CARGO_MANIFEST_DIR"), &[], "some command"));
    let sentence = conditions::sentence(&here).expect("all is told");
    assert!(sentence.starts_with("Commit ") && sentence.ends_with(": `some command`"), "{sentence}");
    let latency = json!({ "conditions": here, "short": false, "rows": [{ "call": "inc", "nanos": 1.5 }] });
    let csv = format!("# clock tsc, valgrind-3\n# {sentence}\ncall,instructions\ninc,10\n");
    let files = [("latency.json", &*latency.to_string()), ("instructions.csv", &csv)];
    let text = records_in("told", &files);
    assert_eq!(text.matches(&format!("\n{sentence}.\n")).count(), 2, "{text}");
    assert!(text.contains("\nclock tsc, valgrind-3\n") && text.contains("\nshort false.\n"), "{text}");
    assert!(!text.contains("conditions"), "{text}");
}

#[test]
fn a_record_that_does_not_say_it_is_shown_with_that() {
    let no_date = json!({ "conditions": { "commit": "abc" }, "rows": [] });
    let files = [("latency.json", &*no_date.to_string()), ("instructions.csv", "# clock tsc\ncall\ninc\n")];
    let text = records_in("untold", &files);
    assert_eq!(text.matches("**Made on unknown conditions**").count(), 2, "{text}");
}

#[test]
fn a_missing_record_is_said_to_be_missing() {
    let text = records::text(Path::new("/nowhere"));
    assert_eq!(text.matches("**Not measured**").count(), 3, "{text}");
    assert!(text.contains("`ci/instructions.sh`"), "{text}");
}
