//! What is measured elsewhere and kept in `perf/record/`, as tables: instructions (CSV), latencies and memory (JSON).
//! Knows nothing of what the columns mean: an array of objects is a table, what stands beside it is said before. Cold.

use crate::conditions;
use crate::report::push;
use serde_json::{Map, Value};
use std::path::Path;

/// A record of the page: its heading, what it is, its file, and the command that makes it.
struct Record {
    title: &'static str,
    about: &'static str,
    file: &'static str,
    command: &'static str,
}

const RECORDS: [Record; 3] = [
    Record {
        title: "Instructions of a call",
        about: "Counted by valgrind, repeatable on a busy machine; CI holds them.",
        file: "instructions.csv",
        command: "ci/instructions.sh",
    },
    Record {
        title: "Latency of single calls",
        about: "What medians of batches cannot show: each call timed by itself.",
        file: "latency.json",
        command: "cargo bench --bench latency -- --json perf/record/latency.json",
    },
    Record {
        title: "Memory",
        about: "Bytes a thread and a series.",
        file: "memory.json",
        command: "cargo bench --bench memory -- --json perf/record/memory.json",
    },
];

/// All of them; of one that is not there it is said how it is made.
pub(crate) fn text(folder: &Path) -> String {
    let mut text = String::new();
    for Record { title, about, file, command } in RECORDS {
        push(&mut text, format_args!("## {title}\n\n"));
        match std::fs::read_to_string(folder.join(file)) {
            Ok(kept) => {
                push(
                    &mut text,
                    format_args!("{about} By `{command}`, kept in [{file}](perf/record/{file}).\n\n"),
                );
                let (on, figures) = if file.ends_with(".csv") { csv(&kept) } else { json(&kept, file) };
                let on = on.unwrap_or_else(|| {
                    format!(
                        "**Made on unknown conditions**: this record does not say commit, compiler, processor, date \
                         and command; `{command}` makes one that does"
                    )
                });
                push(&mut text, format_args!("{on}.\n\n{figures}"));
            }
            Err(_) => push(
                &mut text,
                format_args!(
                    "**Not measured**: `perf/record/{file}` is missing, which `{command}` makes.\n\n"
                ),
            ),
        }
    }
    text
}

/// What it was made on, if it is told, and the figures.
type Told = (Option<String>, String);

fn csv(kept: &str) -> Told {
    let (mut on, mut text, mut is_first) = (None, String::new(), true);
    for line in kept.lines().filter(|line| !line.is_empty()) {
        // What a line of comment says goes before the table.
        if let Some(said) = line.strip_prefix('#') {
            if said.starts_with(" Commit ") {
                on = Some(said.trim().to_owned());
                continue;
            }
            push(&mut text, format_args!("{}\n\n", said.trim()));
            continue;
        }
        let cells: Vec<_> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        push(&mut text, format_args!("| {} |\n", cells.join(" | ")));
        if is_first {
            push(&mut text, format_args!("|---|{}\n", "---:|".repeat(cells.len() - 1)));
            is_first = false;
        }
    }
    text.push('\n');
    (on, text)
}

fn json(kept: &str, file: &str) -> Told {
    let mut value: Value =
        serde_json::from_str(kept).unwrap_or_else(|error| panic!("{file} is no JSON: {error}"));
    let told = value.as_object_mut().and_then(|fields| fields.shift_remove("conditions"));
    let mut text = String::new();
    part(&mut text, "", &value);
    (told.and_then(|told| conditions::sentence(&told)), text)
}

/// Plain fields in a line, then tables, then what holds more of the kind, under its name.
fn part(text: &mut String, name: &str, value: &Value) {
    if !name.is_empty() {
        push(text, format_args!("### {}\n\n", name.replace('_', " ")));
    }
    match value {
        Value::Array(lines) => table(text, lines),
        Value::Object(fields) => {
            let plain = fields.iter().filter(|(_, value)| !is_nested(value));
            let plain: Vec<_> =
                plain.map(|(name, value)| format!("{} {}", name.replace('_', " "), cell(value))).collect();
            if !plain.is_empty() {
                push(text, format_args!("{}.\n\n", plain.join(", ")));
            }
            fields
                .iter()
                .filter(|(_, value)| is_nested(value))
                .for_each(|(name, value)| part(text, name, value));
        }
        other => push(text, format_args!("{}\n\n", cell(other))),
    }
}

fn is_nested(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// The fields of a line, those of what is nested in it under both names.
fn flat(line: &Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, value) in line {
        match value.as_object() {
            Some(inner) => {
                all.extend(inner.iter().map(|(of, value)| (format!("{name}: {of}"), value.clone())))
            }
            None => all.extend([(name.clone(), value.clone())]),
        }
    }
    all
}

/// A column for every field that any of the lines has, in the order of their appearance.
fn table(text: &mut String, lines: &[Value]) {
    let objects: Vec<Map<String, Value>> = lines.iter().filter_map(Value::as_object).map(flat).collect();
    let mut columns: Vec<&String> = Vec::new();
    for name in objects.iter().flat_map(|object| object.keys()) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        let all: Vec<_> = lines.iter().map(cell).collect();
        return push(text, format_args!("{}\n\n", all.join(", ")));
    }
    let is_number =
        |name: &String| objects.iter().all(|object| object.get(name).is_none_or(Value::is_number));
    let names: Vec<_> = columns.iter().map(|name| name.replace('_', " ")).collect();
    let rules: String = columns.iter().map(|name| if is_number(name) { "---:|" } else { "---|" }).collect();
    push(text, format_args!("| {} |\n|{rules}\n", names.join(" | ")));
    for object in &objects {
        let cells: Vec<_> =
            columns.iter().map(|name| object.get(*name).map(cell).unwrap_or_default()).collect();
        push(text, format_args!("| {} |\n", cells.join(" | ")));
    }
    text.push('\n');
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('|', "\\|"),
        Value::Number(number) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}
