//! Runs the `indexer` program and compares its output with a naive count of the same words.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Passes of a run with `--passes 1`: the warm-up and one with telemetry on, one with it off.
const ON: u64 = 2;
const ALL: u64 = 3;

fn indexer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_indexer")).args(arguments).output().unwrap()
}

fn fresh_directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _was_not_there = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Pseudo-random text: `seed` picks it, words repeat, case and punctuation vary.
fn prose(seed: u64, words: usize) -> String {
    let mut state = seed;
    let mut text = String::new();
    for _ in 0..words {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (word, style) = ((state >> 33) % 300, (state >> 45) % 4);
        let _infallible = match style {
            0 => write!(text, "Word{} ", word * word),
            1 => write!(text, "word{}, ", word * word),
            2 => writeln!(text, "größe{word}"),
            _ => write!(text, "x{}-", word % 7),
        };
    }
    text
}

/// Writes the files to be indexed, and others that must be left out.
fn lay_out(root: &Path) -> Vec<String> {
    let texts = vec![
        prose(1, 20_000), // several batches
        prose(2, 500),
        String::new(),
        format!("before {} after", "long".repeat(10_000)), // a word longer than a batch
        "one-two_three, Four! ÄÖÜ ÄÖÜ äöü 日本語 1984".into(),
    ];
    fs::create_dir_all(root.join("a/b")).unwrap();
    let places = ["first.txt", "a/second.rs", "a/empty.txt", "a/b/long.rs", "a/b/none"];
    for (place, text) in places.iter().zip(&texts) {
        fs::write(root.join(place), text).unwrap();
    }
    fs::write(root.join("picture.bin"), b"words before a\0byte").unwrap();
    fs::write(root.join("latin1.txt"), b"caf\xe9 words").unwrap();
    fs::write(root.join(".hidden"), "hidden words").unwrap();
    fs::create_dir_all(root.join("cache")).unwrap();
    fs::write(root.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    fs::write(root.join("cache/cached.txt"), "cached words").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root, root.join("a/circle")).unwrap();
    texts
}

/// Counts for each word its occurrences and the files that contain it.
fn count_naively(texts: &[String]) -> BTreeMap<String, (u64, u64)> {
    let mut counts = BTreeMap::<String, (u64, u64)>::new();
    for text in texts {
        let text = text.to_ascii_lowercase();
        let mut words: Vec<_> = text.split(|letter: char| !letter.is_alphanumeric()).collect();
        words.retain(|word| !word.is_empty());
        words.iter().for_each(|word| counts.entry(word.to_string()).or_default().0 += 1);
        words.sort_unstable();
        words.dedup();
        words.iter().for_each(|word| counts.entry(word.to_string()).or_default().1 += 1);
    }
    counts
}

/// Returns a sample of the exposition text.
fn exposed(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

/// Parses the numbers of a ledger line.
fn ledger(line: &str) -> [u64; 5] {
    let names = ["recorded", "aggregated", "dropped", "suppressed", "in_flight"];
    let parts: Vec<_> = line.strip_prefix("ledger ").expect(line).split(' ').collect();
    assert_eq!(parts.len(), names.len(), "{line}");
    std::array::from_fn(|at| {
        parts[at].strip_prefix(names[at]).unwrap().strip_prefix('=').unwrap().parse().unwrap()
    })
}

#[test]
fn words_counters_and_ledger_agree_with_a_naive_count() {
    let root = fresh_directory("indexer-words");
    let metrics = fresh_directory("indexer-metrics").join("metrics.prom");
    let texts = lay_out(&root);
    let arguments = ["--passes", "1", "--threads", "3", "--prometheus", metrics.to_str().unwrap()];
    let output = indexer(&[&arguments[..], &[root.to_str().unwrap()]].concat());
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");

    let counts = count_naively(&texts);
    let mut frequent: Vec<_> = counts.iter().filter(|(word, _)| word.chars().count() >= 5).collect();
    frequent.sort_by_key(|(word, (occurrences, _))| (std::cmp::Reverse(*occurrences), *word));
    let expected: Vec<_> = frequent
        .iter()
        .take(10)
        .map(|(word, (occurrences, files))| {
            vec![word.to_string(), occurrences.to_string(), files.to_string()]
        })
        .collect();
    let table = out.lines().skip_while(|line| !line.starts_with("most frequent words")).skip(1);
    let printed: Vec<Vec<_>> = table
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().map(|cell| cell.replace(',', "")).collect())
        .collect();
    assert_eq!(printed, expected, "{out}");

    // The slowest traces are printed as trees, with a root and indented children.
    let slowest = out.lines().skip_while(|line| *line != "slowest traces").skip(1);
    let slowest: Vec<_> = slowest.take_while(|line| line.starts_with("  ")).collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    assert!(slowest.iter().any(|line| depth(line) == 2), "{out}");
    assert!(slowest.iter().any(|line| depth(line) > 2), "{out}");

    let text = fs::read_to_string(&metrics).unwrap();
    let tokens: u64 = counts.values().map(|(occurrences, _)| occurrences).sum();
    let token_bytes: u64 =
        counts.iter().map(|(word, (occurrences, _))| word.len() as u64 * occurrences).sum();
    let postings: u64 = counts.values().map(|(_, files)| files).sum();
    let indexed = texts.len() as u64;
    let read = indexed + 2;
    for (series, count) in [
        // Counters and gauges still count while the switch is off.
        ("index_files_total{outcome=\"indexed\"}", ALL * indexed),
        ("index_files_total{outcome=\"binary\"}", ALL),
        ("index_files_total{outcome=\"not_utf8\"}", ALL),
        ("index_tokens_total", ALL * tokens),
        ("index_postings_total", ALL * postings),
        ("index_new_words_total", ALL * counts.len() as u64),
        ("index_read_bytes_total{extension=\"rs\"}", ALL * (texts[1].len() + texts[3].len()) as u64),
        ("index_queue_depth", 0),
        // Samples and spans are skipped while it is off.
        ("index_token_bytes_count", ON * tokens),
        ("index_token_bytes_sum", ON * token_bytes),
        ("index_file_bytes_count", ON * read),
        ("index_read_seconds_count", ON * read),
        ("index_queue_wait_seconds_count", ON * read),
        (
            "traces_span_metrics_duration_seconds_count{span_name=\"index file\",span_kind=\"SPAN_KIND_INTERNAL\"}",
            ON * read,
        ),
        (
            "traces_span_metrics_duration_seconds_count{span_name=\"merge\",span_kind=\"SPAN_KIND_INTERNAL\"}",
            ON * indexed,
        ),
    ] {
        assert_eq!(exposed(&text, series), count, "{series}");
    }

    let mut last = out.lines().rev();
    let (why, line) = (last.next().unwrap(), last.next().unwrap());
    let [recorded, aggregated, dropped, suppressed, in_flight] = ledger(line);
    assert_eq!((dropped, in_flight), (0, 0), "{out}");
    assert_eq!(recorded, aggregated + suppressed);
    assert_eq!(aggregated, ON * suppressed, "one pass off, two on");
    // The suppressed records are explained, and nothing looks like a loss.
    let number: String = why.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(number, suppressed.to_string(), "{why}");
    assert!(why.ends_with("records of the passes with telemetry off, as intended"), "{why}");
    assert!(!err.contains("dropped"), "{err}"); // only the progress of the passes
    assert!(exposed(&text, "tellane_exemplars_offered_total") > 0, "there were exemplars");
}

#[test]
fn the_size_limit_is_kept_and_reported() {
    let root = fresh_directory("indexer-bound");
    for name in ["1.txt", "2.txt", "3.txt"] {
        fs::write(root.join(name), "words ".repeat(100_000)).unwrap();
    }
    let output = indexer(&["--passes", "1", "--max-mib", "1", root.to_str().unwrap()]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("1 files, 0.6 MiB, 100,000 words, 1 of them distinct"), "{out}");
    assert!(out.contains("stopped at the limit of 1 MiB"), "{out}");
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    let nowhere = fresh_directory("indexer-nowhere").join("not-there");
    let file = fresh_directory("indexer-file").join("file");
    fs::write(&file, "words").unwrap();
    for (arguments, message) in [
        (vec![nowhere.to_str().unwrap()], "not-there"),
        (vec![file.to_str().unwrap()], "cannot read"),
        (vec![".", "."], "only one DIR is allowed"),
        (vec!["--fast"], "unknown option --fast"),
        (vec!["--passes"], "--passes needs a value"),
        (vec!["--passes", "0"], "--passes needs a number above 0, not 0"),
        (vec!["--max-mib", "much"], "--max-mib needs a number above 0, not much"),
    ] {
        let output = indexer(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains(message), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty());
    }
    let help = indexer(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--prometheus FILE"));
}
