//! The rooms of `src/` and who may import whom: one table, and the sources held against it.
//!
//! A room imports only rooms of a lower layer. The table is that of ARCHITECTURE.md and is stricter in some places:
//! rooms that share a layer there but have an order here have a layer of their own. So `metrics`, `trace` and `snapshot`
//! cannot see `aggregate`, and `aggregate` and `export`, on one layer, cannot see each other. Tests inside `src/` are left
//! out: they may stand at the front door.

use std::fs;
use std::path::{Path, PathBuf};

const LAYERS: [(&str, u32); 28] = [
    ("sync", 0),
    ("error", 0),
    ("level", 0),
    ("unwind", 0),
    ("clock", 1),
    ("stats", 1),
    ("config", 1),
    ("record", 2),
    ("context", 2),
    ("switch", 2),
    ("lane", 3),
    ("names", 4),
    ("series", 5),
    ("targets", 5),
    ("sampling", 5),
    ("instance", 6),
    ("metrics", 7),
    ("trace", 7),
    ("log", 7),
    ("snapshot", 7),
    ("aggregate", 8),
    ("export", 8),
    ("telemetry", 9),
    ("testing", 10),
    ("bridge", 10),
    // The models' harness, and doors for checks: compiled only for them.
    ("model", 1),
    ("fuzzing", 11),
    ("loom", 11),
];

/// Rooms that `aggregate` could import by its layer and yet must not: producers and consumer share no code.
const NEVER: [(&str, &str); 3] = [("aggregate", "metrics"), ("aggregate", "trace"), ("aggregate", "log")];

/// Files that may name std's atomics and locks: the shim, and the harness that counts what loom does from outside.
const SHIM: [&str; 2] = ["sync.rs", "model.rs"];

/// Files that may say `unsafe`, and why is in their heads.
const UNSAFE: [&str; 9] = [
    "sync.rs",
    "clock.rs",
    "lane/thread_state.rs",
    "lane/thread_state/span_stack.rs",
    "lane/local/attach.rs",
    "lane/fork.rs",
    "lane/ring.rs",
    "lane/spill/slot_cache.rs",
    "aggregate/timer_slack.rs",
];

fn layer(room: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == room).map(|(_, layer)| *layer)
}

/// The source without comments, and without the tests at its end.
fn code(source: &str) -> String {
    let source = source.split("\nmod tests {").next().unwrap_or_default();
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The rooms named by `crate::room` and `crate::{room, ...}`.
fn imports(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|letter| letter == '$' || letter == '_' || letter.is_alphanumeric()) {
            continue; // a macro's `$crate`, which speaks of public names
        }
        let rest = &code[at + path.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            rooms.push(word(rest).to_owned());
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                letter if start && !letter.is_whitespace() => {
                    rooms.push(word(&list[at..]).to_owned());
                    start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

/// What is wrong with a file of this path below `src/`.
fn faults(path: &str, source: &str) -> Vec<String> {
    let code = code(source);
    let room = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let mut faults = Vec::new();
    if path != "lib.rs" {
        match layer(room) {
            None => faults.push(format!("{path}: the room {room} is not in the table")),
            Some(own) => {
                for other in imports(&code).into_iter().filter(|other| other != room) {
                    let below = layer(&other).is_some_and(|other| other < own);
                    if !below || NEVER.contains(&(room, other.as_str())) {
                        faults.push(format!("{path}: {room} must not import {other}"));
                    }
                }
                // In a file of the root, `super` is the root, unless a module inside the file says it.
                let root_file = !path.contains('/');
                let climbs = code.contains("super::super::")
                    || (root_file
                        && LAYERS.iter().any(|(room, _)| code.contains(&format!("super::{room}::"))));
                if climbs && own < 11 {
                    faults.push(format!("{path}: leaves its room by super::"));
                }
            }
        }
    }
    if !SHIM.contains(&path) && (code.contains("std::sync::atomic") || code.contains("core::sync::atomic")) {
        faults.push(format!("{path}: names std's atomics"));
    }
    let std_locks = ["Mutex", "RwLock", "Condvar"].map(|lock| format!("std::sync::{lock}"));
    if !SHIM.contains(&path) && std_locks.iter().any(|lock| code.contains(lock)) {
        faults.push(format!("{path}: names std's locks"));
    }
    let uses_unsafe =
        code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).any(|w| w == "unsafe");
    if uses_unsafe && !UNSAFE.contains(&path) {
        faults.push(format!("{path}: has unsafe code"));
    }
    faults
}

fn sources(below: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).expect("src/ can be listed") {
        let path = entry.expect("an entry of src/").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_room_imports_only_rooms_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let found: Vec<String> = files
        .iter()
        .filter(|file| !file.iter().any(|part| part == "tests" || part == "tests.rs"))
        .flat_map(|file| {
            let path = file.strip_prefix(&root).expect("below src/").to_string_lossy().replace('\\', "/");
            faults(&path, &fs::read_to_string(file).expect("readable"))
        })
        .collect();
    assert_eq!(found, [""; 0], "{} files", files.len());
    assert!(files.len() > 30, "the walk found only {} files", files.len());
}

#[test]
fn planted_edges_are_caught() {
    let planted = [
        ("lane/ring.rs", "use crate::instance::Instance;", 1),
        ("metrics/counter.rs", "use crate::{\n    lane::{Key, local},\n    aggregate::Step,\n};", 1),
        ("aggregate/step.rs", "use crate::metrics::Counter;", 1),
        ("aggregate/step.rs", "fn f() { crate::trace::g() }", 1),
        ("export/console.rs", "use crate::aggregate::Step;", 1),
        ("stats/tally.rs", "use super::super::lane::Lane;", 1),
        ("switch.rs", "use super::lane::Lane;", 1),
        ("newroom/mod.rs", "", 1),
        ("stats/tally.rs", "use std::sync::atomic::AtomicU64;", 1),
        ("names/table.rs", "static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());", 1),
        ("stats/tally.rs", "let x = unsafe { y() };", 1),
        ("metrics/lazy.rs", "// use crate::aggregate::Step;\n$crate::Counter", 0),
        ("switch.rs", "#![deny(unsafe_code)]\nmod inner {\n    use super::*;\n}", 0),
        ("export/console.rs", "#[cfg(test)]\nmod tests {\n    use crate::aggregate::Step;\n}", 0),
    ];
    for (path, source, count) in planted {
        let found = faults(path, source);
        assert_eq!(found.len(), count, "{path}: {source:?} gave {found:?}");
    }
}
