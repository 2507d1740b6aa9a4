//! The page: everything between the two marks of PERF.md is made here, out of what is kept in `perf/record/`. What
//! stands outside them is written by hand and stays. Cold; measures nothing.

use crate::report::push;
use crate::run::Run;
use crate::{records, report, subject, verdict};
use std::path::Path;

pub(crate) const BEGIN: &str = "<!-- figures -->";
pub(crate) const END: &str = "<!-- end of figures -->";

/// The heading of [`report::behind_weaker`].
pub(crate) const BEHIND_WEAKER: &str = "Behind a row that promises less";

/// The subjects of a run that was kept in `from` which the page owes an explanation, with what of them.
pub(crate) fn unexplained(page: &Path, from: &Path) -> Vec<String> {
    let name = page.display();
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
    let prose = prose(&text).unwrap_or_else(|| panic!("{name} has not the marks {BEGIN}, {END}"));
    without_a_word(&Run::read(from), prose)
}

/// What stands behind the tables.
fn prose(page: &str) -> Option<&str> {
    Some(page.split_once(BEGIN)?.1.split_once(END)?.1)
}

/// What misses a limit, does not hold a ratio or loses to the best peer, and is not named in the prose, in backticks. A
/// name may go over the end of a line.
pub(crate) fn without_a_word(run: &Run, prose: &str) -> Vec<String> {
    let prose = prose.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut all = verdict::unfulfilled(run);
    let lost = report::lost(run);
    let mut found = Vec::new();
    for subject in subject::ALL {
        if lost.contains(&subject) {
            all.push((subject, "loses to the best peer"));
        }
        let mut what: Vec<&str> = Vec::new();
        for (_, one) in all.iter().filter(|(of, _)| *of == subject) {
            if !what.contains(one) {
                what.push(one);
            }
        }
        if !what.is_empty() && !prose.contains(&format!("`{subject}`")) {
            found.push(format!("`{subject}` {}", what.join(", ")));
        }
    }
    found
}

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
pub(crate) fn between_marks(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim_end()))
}

fn figures(run: &Run, kept: &str, records: &Path) -> String {
    let mut text = report::head(run);
    push(&mut text, format_args!("All figures: [{kept}](perf/record/{kept}).\n\n"));
    push(&mut text, format_args!("## The targets\n\n{}\n", verdict::table(run)));
    push(&mut text, format_args!("## Where tellane loses\n\n{}\n", report::losers(run)));
    let weaker = report::behind_weaker(run);
    push(&mut text, format_args!("### {BEHIND_WEAKER}\n\n{weaker}\n"));
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
