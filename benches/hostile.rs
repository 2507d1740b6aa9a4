//! What bytes of hostile shape cost to read and to use: linear, and how much a byte.
//!
//! Saved snapshots come from other machines. Each shape here once took time in the square of its length, or would, if a
//! list were gone through for each of its members. `ci/hostile.sh` counts instructions under callgrind, at two sizes, and
//! holds each to its bound of instructions a byte: what is quadratic fails at the larger one.
//!
//! `cargo bench --bench hostile` prints times, beside a plain pass that decodes every record; `-- NAME KIB` does one shape
//! once, inside [`measured`]; `-- --list` prints names and bounds; `-- --write DIRECTORY` writes a small one of each shape,
//! as a seed for the fuzz target `saved`. As a test every shape is read and its result asserted.

use std::hint::black_box;
use std::time::Instant;
use tellane::Snapshot;
use tellane::record::{Decoder, Item, Record, Space, Span, Value, encode, from_bytes, to_bytes};

/// A shape: its name, the instructions that a byte of it may take (about twice what was counted), so many bytes of it, and what is done with them.
type Shape = (&'static str, u32, fn(usize) -> Vec<Vec<u8>>, fn(&[Vec<u8>]) -> usize);

const SHAPES: [Shape; 10] = [
    ("histogram figures, a bucket in each", 40, one_bucket_each, |bytes| {
        read(&bytes[0]).histogram("sizes", &[]).map_or(0, |view| view.buckets().len())
    }),
    ("spans of many attributes", 400, attributes, spans),
    ("spans of many attributes, all of one long key", 200, one_long_key, spans),
    ("spans of 16 attributes, all of long keys", 150, long_keys, spans),
    ("a series of many labels", 800, many_labels, |bytes| {
        read(&bytes[0]).points().map(|point| point.labels().count()).sum()
    }),
    ("a long text in many parts", 12, long_text, |bytes| read(&bytes[0]).service().len()),
    ("batches of no spans", 150, no_spans, |bytes| read(&bytes[0]).spans().count()),
    ("two snapshots of other series, merged", 500, disjoint, merged),
    ("two snapshots of labels in another order, merged", 550, turned, merged),
    ("durations of one span name", 350, durations, |bytes| {
        let snapshot = read(&bytes[0]);
        let points = snapshot.points().len();
        let found: Vec<_> = snapshot.points().map(|point| point.labels().collect::<Vec<_>>()).collect();
        let look_ups = found.iter().filter(|labels| snapshot.histogram(DURATIONS, labels).is_some()).count();
        assert_eq!(look_ups, points);
        snapshot.span_durations("x").map_or(0, |all| all.count() as usize)
    }),
];

const DURATIONS: &str = "traces_span_metrics_duration_seconds";

fn read(bytes: &[u8]) -> Snapshot {
    Snapshot::from_bytes(bytes).expect("of a hostile shape, but a snapshot")
}

fn spans(bytes: &[Vec<u8>]) -> usize {
    read(&bytes[0]).spans().map(|span| span.attributes.len()).sum()
}

fn merged(bytes: &[Vec<u8>]) -> usize {
    read(&bytes[0]).merge(&read(&bytes[1])).expect("they are of one kind").points().len()
}

/// The first records, then as many of the others as there is room for.
fn filled(size: usize, first: Vec<Record>, others: impl Fn(u32) -> Vec<Record>) -> Vec<u8> {
    let mut words = Vec::new();
    let mut put = |records: Vec<Record>| {
        records.iter().for_each(|record| encode(record, &mut words).expect("it fits"));
        words.len() * 8
    };
    let mut bytes = put(first);
    let mut number = 0;
    while bytes < size {
        bytes = put(others(number));
        number += 1;
    }
    to_bytes(&words)
}

fn define(space: Space, id: u32, text: impl Into<String>) -> Record {
    Record::Definition { space, id, text: text.into() }
}

fn figures(what: u16, id: u32, words: Vec<u64>) -> Record {
    Record::Figures { what, id, words }
}

/// A series: kind 0 is a counter, 3 a histogram of five digits.
fn series(id: u32, name: &str, kind: u8, names: &[&str], values: &[&str]) -> Record {
    let (unit, shape) = match kind {
        3 if name == DURATIONS => ("1", ["5", "1000000000000", "41cdcd6500000000"]),
        3 => ("0", ["5", "1000000000000", "3ff0000000000000"]),
        _ => ("0", [""; 3]),
    };
    let (kind, count) = (kind.to_string(), names.len().to_string());
    let fields = [name, "h", &kind, unit].into_iter().chain(shape).chain([&*count]);
    let fields: Vec<&str> = fields.chain(names.iter().chain(values).copied()).collect();
    define(Space::Series, id, fields.join("\u{1f}"))
}

fn one_bucket_each(size: usize) -> Vec<Vec<u8>> {
    let bucket =
        |number: u32| vec![figures(3, 0, vec![1, 2, 1, 0, u64::from(number) * 7_919 % 1_000_003, 1])];
    vec![filled(size, vec![series(0, "sizes", 3, &[], &[])], bucket)]
}

/// Spans of so many attributes, whose keys have these texts.
fn spans_of(size: usize, attributes: u32, keys: Vec<String>) -> Vec<Vec<u8>> {
    let count = keys.len() as u32;
    let mut first = vec![figures(7, 0, vec![0; 3]), define(Space::SpanName, 1, "x")];
    first.extend(keys.into_iter().zip(0..).map(|(text, id)| define(Space::Key, id, text)));
    let items = move || (0..attributes).map(|at| Item::Attribute(at % count, Value::Bool(true))).collect();
    vec![filled(size, first, |_| vec![Record::Span(Span { name: 1, items: items(), ..Span::default() })])]
}

/// Attributes of a span: as many as fit a record, or a small part of the bytes.
fn many(size: usize) -> u32 {
    (size / 128).min(4_000) as u32
}

fn attributes(size: usize) -> Vec<Vec<u8>> {
    let count = many(size);
    spans_of(size, count, (0..count).map(|number| number.to_string()).collect())
}

fn one_long_key(size: usize) -> Vec<Vec<u8>> {
    spans_of(size, many(size), vec!["k".repeat(size / 2)])
}

fn long_keys(size: usize) -> Vec<Vec<u8>> {
    spans_of(size, 16, (10..26).map(|number| format!("{}{number}", "k".repeat(size / 40))).collect())
}

fn many_labels(size: usize) -> Vec<Vec<u8>> {
    let names: Vec<String> = (0..size / 10).map(|number| format!("l{number}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let first = vec![series(0, "a_total", 0, &names, &vec!["x"; names.len()]), figures(0, 0, vec![1])];
    vec![filled(0, first, |_| vec![])]
}

fn long_text(size: usize) -> Vec<Vec<u8>> {
    vec![filled(0, vec![define(Space::Service, 0, "s".repeat(size))], |_| vec![])]
}

fn no_spans(size: usize) -> Vec<Vec<u8>> {
    vec![filled(size, vec![], |_| vec![figures(7, 0, vec![0; 3])])]
}

/// Two snapshots of half the size, of counters with two labels whose first value says whose they are.
fn two(size: usize, whose: [&str; 2], names: [[&str; 2]; 2]) -> Vec<Vec<u8>> {
    let one = |(whose, names): (&str, [&str; 2])| {
        filled(size / 2, vec![], |number| {
            let value = format!("{whose}{number:07}");
            let values = if names[0] == "a" { [&*value, "x"] } else { ["x", &*value] };
            vec![series(number, "a_total", 0, &names, &values), figures(0, number, vec![1])]
        })
    };
    whose.into_iter().zip(names).map(one).collect()
}

fn disjoint(size: usize) -> Vec<Vec<u8>> {
    two(size, ["z", "y"], [["a", "b"], ["a", "b"]]) // the second one's come first
}

fn turned(size: usize) -> Vec<Vec<u8>> {
    two(size, ["z", "z"], [["a", "b"], ["b", "a"]])
}

fn durations(size: usize) -> Vec<Vec<u8>> {
    let one = |number: u32| {
        let values = ["x", &*number.to_string()];
        let bucket = vec![1, 2, 1, 0, u64::from(number) * 7_919 % 1_000_003, 1];
        vec![series(number, DURATIONS, 3, &["span_name", "span_kind"], &values), figures(3, number, bucket)]
    };
    vec![filled(size, vec![], one)]
}

/// The only function that callgrind counts.
#[inline(never)]
fn measured(act: fn(&[Vec<u8>]) -> usize, bytes: &[Vec<u8>]) -> usize {
    black_box(act(black_box(bytes)))
}

/// Every record decoded, and no more.
fn plain_pass(bytes: &[Vec<u8>]) -> usize {
    bytes.iter().map(|bytes| Decoder::new(&from_bytes(bytes).expect("it is a stream")).count()).sum()
}

/// Milliseconds: the least of five.
#[allow(clippy::disallowed_methods)] // a bench looks at the clock from outside
fn least(mut act: impl FnMut() -> usize) -> f64 {
    let times = (0..5).map(|_| {
        let begun = Instant::now();
        black_box(act());
        begun.elapsed().as_secs_f64() * 1e3
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    match &arguments[..] {
        [list] if list == "--list" => SHAPES.iter().for_each(|(name, bound, ..)| println!("{bound} {name}")),
        [write, directory] if write == "--write" => {
            for (name, _, make, _) in SHAPES {
                for (part, bytes) in make(4 << 10).iter().enumerate() {
                    let path = format!("{directory}/{}_{part}", name.replace(", ", "_").replace(' ', "_"));
                    // The target puts the magic in front of what follows a zero.
                    let seed = [&[0], &bytes[8..]].concat();
                    std::fs::write(&path, seed).expect("the directory can be written to");
                }
            }
        }
        [name, kib] => {
            let shape = SHAPES.iter().find(|(known, ..)| known == name).expect("--list prints the names");
            let bytes = shape.2(kib.parse::<usize>().expect("a number of KiB") << 10);
            assert!(measured(shape.3, &bytes) > 0 || *name == SHAPES[6].0);
            println!("{}", bytes.iter().map(Vec::len).sum::<usize>());
        }
        _ if is_bench => {
            println!("{:<52}{:>10}{:>10}{:>12}", "ms per MiB", "1 MiB", "8 MiB", "plain pass");
            for (name, _, make, act) in SHAPES {
                let (small, large) = (make(1 << 20), make(8 << 20));
                let each = [least(|| act(&small)), least(|| act(&large)) / 8.0, least(|| plain_pass(&small))];
                println!("{name:<52}{:>10.1}{:>10.1}{:>12.1}", each[0], each[1], each[2]);
            }
        }
        _ => assert_results(),
    }
}

/// What comes of 64 KiB of each shape.
fn assert_results() {
    let found = SHAPES.map(|(_, _, make, act)| act(&make(64 << 10)));
    let bucket = 7 * 8; // bytes of figures with one bucket
    assert!(found[0].abs_diff((64 << 10) / bucket) < 3, "{} buckets", found[0]);
    assert!(found[1].is_multiple_of(512) && found[1] > 4 * 512, "{} attributes", found[1]);
    assert!((4..20).contains(&found[2]), "{} spans of one key, set again and again", found[2]);
    assert!(found[3].is_multiple_of(16) && found[3] > 1_000, "{} attributes", found[3]);
    assert_eq!((found[4], found[5], found[6]), ((64 << 10) / 10, 64 << 10, 0));
    let [mine, theirs] = [0, 1].map(|at| read(&disjoint(64 << 10)[at]).points().len());
    assert_eq!((found[7], found[8]), (mine + theirs, mine));
    assert!(found[9] > 300, "{} samples", found[9]);
}
