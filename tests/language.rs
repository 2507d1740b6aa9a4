//! The language of the doc comments: a first line names the thing or the act. One that opens with a relative pronoun
//! ("What is kept here") makes the reader guess the noun.

use std::fs;
use std::path::{Path, PathBuf};

const RELATIVE: [&str; 12] = [
    "What", "Whatever", "Whether", "Who", "Whoever", "Whom", "Whose", "Where", "Wherever", "How", "Which",
    "When",
];

/// The first lines of all doc comments of a source, with their line numbers.
fn first_lines(source: &str) -> Vec<(usize, &str)> {
    let mut first = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(source.lines()) {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        if let Some(text) = doc.filter(|_| !inside) {
            first.push((number, text.trim_start()));
        }
        inside = doc.is_some();
    }
    first
}

fn is_relative(text: &str) -> bool {
    text.split(|letter: char| !letter.is_alphabetic()).next().is_some_and(|word| RELATIVE.contains(&word))
}

fn sources(below: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).expect("the sources can be listed") {
        let path = entry.expect("an entry of the sources").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn fewer_than_two_in_a_hundred_docs_open_with_a_relative_pronoun() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for below in ["src", "macros/src"] {
        sources(&root.join(below), &mut paths);
    }
    let (mut all, mut relative) = (0, Vec::new());
    for path in paths {
        let source = fs::read_to_string(&path).expect("a source can be read");
        for (number, text) in first_lines(&source) {
            all += 1;
            if is_relative(text) {
                relative.push(format!("{}:{number}: {text}", path.display()));
            }
        }
    }
    assert!(all > 1_000, "{all} docs: the sources were not found");
    assert!(relative.len() * 100 < 2 * all, "{} of {all}:\n{}", relative.len(), relative.join("\n"));
}

#[test]
fn the_measure_tells_openings_apart() {
    let source = "/// What is kept.\n/// More.\nfn a() {}\n/// Whatsoever.\nfn b() {}\n  //! Where it is.\n/// A queue.\n";
    let found: Vec<_> =
        first_lines(source).into_iter().map(|(number, text)| (number, is_relative(text))).collect();
    assert_eq!(found, [(1, true), (4, false), (6, true)]);
}
