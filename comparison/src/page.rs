//! The page: everything between the two marks of PERF.md is made here, out of what is kept in `perf/record/`. What
//! stands outside them is written by hand and stays. Cold; measures nothing.

use crate::report::push;
use crate::run::Run;
use crate::{records, report, targets};
use std::path::Path;

const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

/// Rewrites the page of a run that was kept in `from`. The other records are looked for beside the page, in
/// `perf/record/`.
pub(crate) fn write(page: &Path, from: &Path) {
    let name = page.display();
    let old = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
    let root = page.parent().unwrap_or(Path::new("."));
    let kept = from.file_name().unwrap_or_default().to_string_lossy();
    let figures = figures(&Run::read(from), &kept, &root.join("perf/record"));
    let new =
        between_marks(&old, &figures).unwrap_or_else(|| panic!("{name} has not the marks {BEGIN}, {END}"));
    std::fs::write(page, new).unwrap_or_else(|error| panic!("{name} cannot be written: {error}"));
}

/// The page with new figures; `None` if the marks are not there.
fn between_marks(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim_end()))
}

fn figures(run: &Run, kept: &str, records: &Path) -> String {
    let mut text = report::head(run);
    push(&mut text, format_args!("All figures: [{kept}](perf/record/{kept}).\n\n"));
    push(&mut text, format_args!("## The targets\n\n{}\n", targets::table(run)));
    push(&mut text, format_args!("## Where tellane loses\n\n{}\n", report::losers(run)));
    push(
        &mut text,
        format_args!(
            "## Side by side\n\nNanoseconds a call, the loop around it included (row `empty loop`), sorted by the \
             median. The last column: how many times as long as the best peer (rates: how many times less). In \
             italics: what a row does not promise; such a row is nobody's best peer.\n\n{}",
            report::subjects(run)
        ),
    );
    text.push_str(&records::text(records));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Conditions;
    use crate::run::{Case, Figures, Flows};
    use crate::subject;

    fn case(subject: &str, peer: &str, weaker: &str) -> Case {
        let how = if peer == "floor" { "thread-local add, one writer" } else { "inc" };
        Case {
            subject: subject.into(),
            peer: peer.into(),
            how: how.into(),
            threads: 1,
            weaker: weaker.into(),
        }
    }

    fn row(peer: &str, weaker: &str, median: f64) -> Figures {
        let case = case(subject::COUNTER, peer, weaker);
        Figures { case, median, min: median / 2.0, rounds: 3, allocations: 0.0, made: 30, lost: 0 }
    }

    fn rate(peer: &str, millions: f64, lost: u64, background: f64) -> Flows {
        let case = case(subject::FLAT_OUT_HISTOGRAM, peer, "");
        Flows { case, millions, made: 1_000, lost, grew: 0, background, runs: 3 }
    }

    fn run(rows: Vec<Figures>, rates: Vec<Flows>) -> Run {
        let text = || "x".to_owned();
        let conditions = Conditions {
            commit: "abc1234".into(),
            rustc: text(),
            processor: text(),
            processors: 2,
            load: text(),
            load_after: text(),
            date: text(),
            command: text(),
        };
        Run { conditions, rows, rates }
    }

    fn line<'text>(text: &'text str, begin: &str) -> &'text str {
        text.lines()
            .find(|line| line.starts_with(begin))
            .unwrap_or_else(|| panic!("{begin} is not in {text}"))
    }

    #[test]
    fn prose_around_the_marks_stays() {
        let page = format!("# Head\n\n{BEGIN}\nold\n{END}\n\n## Why\n\nBecause.\n");
        let new = between_marks(&page, "new\n\n").expect("both marks are there");
        assert_eq!(new, format!("# Head\n\n{BEGIN}\n\nnew\n\n{END}\n\n## Why\n\nBecause.\n"));
        assert_eq!(
            between_marks(&new, "new").as_deref(),
            Some(new.as_str()),
            "a second time changes nothing"
        );
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
        assert!(text.starts_with("Of 1 rows of tellane that have a peer, 1 lose"), "{text}");
        assert_eq!(line(&text, "| counter"), "| counter | inc | 1.50 **loses** | contatori, inc |");
        let rows = vec![row("tellane", "", 1.0), row("contatori", "", 2.0)];
        assert!(!report::losers(&run(rows, Vec::new())).contains("**loses**"));
    }

    #[test]
    fn targets_are_judged_by_nanoseconds_beside_the_run_s_own_floor_and_peer() {
        let rows = vec![row("tellane", "", 1.2), row("contatori", "", 2.4), row("floor", "", 0.6)];
        let text = targets::table(&run(rows, Vec::new()));
        let met = line(&text, "| counter add, 1 thread");
        assert!(met.ends_with("| inc | 1.20 | 0.60 (2.00) | 2.40 (0.50), contatori | met |"), "{met}");
        assert!(line(&text, "| timer").ends_with("not measured in this run |"));
        let text = targets::table(&run(vec![row("tellane", "", 1.4)], Vec::new()));
        assert!(line(&text, "| counter add, 1 thread").ends_with("| 1.40 | - | - | **missed** |"), "{text}");
    }

    #[test]
    fn a_rate_must_reach_the_peer_of_its_run_and_lose_nothing() {
        let judged = |ours, lost| {
            let rates = vec![rate("tellane", ours, lost, 3.0), rate("metriken", 100.0, 0, 0.1)];
            let text = targets::table(&run(Vec::new(), rates));
            assert!(line(&text, "| background CPU per histogram record").ends_with("| met |"), "{text}");
            line(&text, "| flat-out histogram").to_owned()
        };
        assert!(judged(110.5, 0).ends_with("| 110 M/s | - | 100 M/s (0.90), metriken | met |"));
        assert!(judged(109.0, 0).ends_with("| **missed** |"));
        assert!(judged(120.0, 1).ends_with("| **missed**: lost records, or memory that grew |"));
    }

    #[test]
    fn a_kept_run_is_read_as_it_was() {
        let kept = run(vec![row("tellane", "", 1.25)], vec![rate("tellane", 1.5, 2, 0.25)]);
        let text = serde_json::to_string(&kept).expect("numbers and texts");
        let read: Run = serde_json::from_str(&text).expect("it was just written");
        assert_eq!(report::subjects(&read), report::subjects(&kept));
        assert_eq!(report::head(&read), report::head(&kept));
    }

    #[test]
    fn a_missing_record_is_said_to_be_missing() {
        let text = records::text(Path::new("/nowhere"));
        assert_eq!(text.matches("**Not measured**").count(), 3, "{text}");
        assert!(text.contains("`ci/instructions.sh`"), "{text}");
    }
}
