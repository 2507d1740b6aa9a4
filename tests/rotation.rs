//! Log files: their bound, a rotation that cannot be done, and other programs at the same file.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::{PATIENCE, assert_balanced};
use tellane::{Config, Format, Kind, Ledger, Logger, Reason, Report, Rotation, Sink, Telemetry};

/// An empty directory for one test.
fn directory(test: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("tellane-rotation-{test}-{}", std::process::id()));
    let _left_by_another = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory
}

fn start(path: &Path, rotation: Rotation) -> (Telemetry, Logger) {
    let sink = Sink::file(path, rotation, Format::Logfmt).expect("it can be opened");
    let config = Config { logs_per_second: None, ring_words: 1 << 16, ..Config::default() };
    let telemetry = Telemetry::builder("test").config(config).log_to(sink).start().expect("it starts");
    let log = telemetry.logger("app");
    (telemetry, log)
}

/// Writes one record and waits until the sink has it.
fn write(telemetry: &Telemetry, log: &Logger, message: &str) {
    log.info(message);
    telemetry.snapshot(PATIENCE).expect("a snapshot");
}

#[track_caller]
fn assert_all_written(ledger: &Ledger, records: u64) {
    assert_balanced(ledger);
    assert_eq!(ledger.kind(Kind::Log).aggregated, records, "{ledger}");
}

/// The files of a log, the oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let old = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    let mut files: Vec<PathBuf> = (1..).map(old).take_while(|file| file.is_file()).collect();
    files.reverse();
    files.push(path.into());
    files
}

/// The values of the field `number`, in the order of the files. Panics at a line that has none: it is torn.
fn numbers(files: &[PathBuf]) -> Vec<u64> {
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("it is there")).collect();
    let number = |line: &str| line.rsplit_once("number=").and_then(|(_, number)| number.parse().ok());
    text.lines().map(|line| number(line).unwrap_or_else(|| panic!("torn: {line:?}"))).collect()
}

fn sizes(files: &[PathBuf]) -> Vec<u64> {
    files.iter().map(|file| fs::metadata(file).expect("it is there").len()).collect()
}

/// What the messages in a file say.
fn messages(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("it is there");
    text.lines()
        .map(|line| line.rsplit_once("msg=").map_or(line, |(_, message)| message).to_owned())
        .collect()
}

#[test]
fn no_file_is_above_its_bound_however_many_lines_come_at_once() {
    let directory = directory("bound");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation { bytes: 2_000, files: 100 });
    for number in 0..500_u64 {
        tellane::info!(log, "numbered", number = number);
    }
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 500);
    let files = files(&path);
    assert_eq!(numbers(&files), (0..500).collect::<Vec<_>>());
    let sizes = sizes(&files);
    assert!(sizes.iter().all(|size| *size <= 2_000), "{sizes:?}");
    assert!(
        sizes[..sizes.len() - 1].iter().all(|size| *size > 1_800),
        "none begins anew too early: {sizes:?}"
    );
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn a_line_above_the_bound_has_a_file_to_itself() {
    let directory = directory("long");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation { bytes: 500, files: 10 });
    let long = "x".repeat(900);
    for number in 0..3_u64 {
        tellane::info!(log, "short", number = number * 2);
        tellane::info!(log, "long", text = long.as_str(), number = number * 2 + 1);
    }
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 6);
    let files = files(&path);
    assert_eq!(numbers(&files), [0, 1, 2, 3, 4, 5]);
    for (file, size) in files.iter().zip(sizes(&files)) {
        let lines = fs::read_to_string(file).expect("it is there").lines().count();
        assert!(size <= 500 || lines == 1, "{} has {size} bytes and {lines} lines", file.display());
    }
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn to_keep_all_files_costs_no_more_than_there_are() {
    let directory = directory("all");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation { bytes: 200, files: u32::MAX });
    for number in 0..60_u64 {
        tellane::info!(log, "numbered", number = number);
        telemetry.snapshot(PATIENCE).expect("a snapshot");
    }
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished, "it is still busy with names that do not exist");
    assert_all_written(&end.ledger, 60);
    let files = files(&path);
    assert!(files.len() >= 20, "{files:?}");
    assert_eq!(numbers(&files), (0..60).collect::<Vec<_>>());
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn the_oldest_file_goes() {
    for files_kept in [0, 1, 3] {
        let directory = directory("oldest");
        let path = directory.join("app.log");
        let (telemetry, log) = start(&path, Rotation { bytes: 300, files: files_kept });
        for number in 0..100_u64 {
            tellane::info!(log, "numbered", number = number);
        }
        assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 100);
        let files = files(&path);
        assert_eq!(files.len(), files_kept as usize + 1);
        let numbers = numbers(&files);
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&99));
        fs::remove_dir_all(&directory).expect("it goes");
    }
}

#[test]
fn a_rotation_that_fails_loses_nothing() {
    for kept in [1, 3] {
        let directory = directory("fails");
        let path = directory.join("app.log");
        // Nothing can be renamed to these.
        for number in 1..=kept {
            fs::create_dir_all(directory.join(format!("app.log.{number}/full"))).expect("a directory");
        }
        let (telemetry, log) = start(&path, Rotation { bytes: 500, files: kept });
        for number in 0..50_u64 {
            tellane::info!(log, "numbered", number = number);
            telemetry.snapshot(PATIENCE).expect("a snapshot");
        }
        assert_eq!(numbers(std::slice::from_ref(&path)), (0..50).collect::<Vec<_>>());
        let failed = || telemetry.snapshot(PATIENCE).expect("a snapshot").pipeline().log_rotations_failed;
        let stuck = failed();
        assert!(stuck > 1, "{stuck}: each write tries again, and says so");
        let text = tellane::prometheus::render(&telemetry.latest());
        assert!(text.contains(&format!("\ntellane_log_rotations_failed_total {stuck}\n")), "{text}");
        let report = Report(&telemetry.latest()).to_string();
        assert!(report.contains(&format!("log rotations failed {stuck}")), "{report}");
        // When the way is free it rotates again.
        for number in 1..=kept {
            fs::remove_dir_all(directory.join(format!("app.log.{number}"))).expect("it goes");
        }
        for number in 50..60_u64 {
            tellane::info!(log, "numbered", number = number);
            telemetry.snapshot(PATIENCE).expect("a snapshot");
        }
        assert_eq!(failed(), stuck, "that is over");
        assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 60);
        assert!(sizes(std::slice::from_ref(&path))[0] <= 500);
        assert!(directory.join("app.log.1").is_file());
        fs::remove_dir_all(&directory).expect("it goes");
    }
}

#[test]
fn a_file_that_is_moved_or_deleted_is_begun_anew() {
    let directory = directory("moved");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation::default());
    write(&telemetry, &log, "one");
    fs::rename(&path, directory.join("moved")).expect("it can be moved");
    write(&telemetry, &log, "two");
    assert_eq!(messages(&directory.join("moved")), ["one"]);
    assert_eq!(messages(&path), ["two"]);
    fs::remove_file(&path).expect("it can be deleted");
    write(&telemetry, &log, "three");
    assert_eq!(messages(&path), ["three"]);
    // Another program's file, put in its place, is appended to.
    fs::write(directory.join("other"), "other\n").expect("it can be written");
    fs::rename(directory.join("other"), &path).expect("it can be moved");
    write(&telemetry, &log, "four");
    assert_eq!(messages(&path), ["other", "four"]);
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 4);
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn lines_are_not_lost_while_the_file_cannot_be_begun_anew() {
    let directory = directory("gone");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation::default());
    write(&telemetry, &log, "one");
    fs::rename(&path, directory.join("moved")).expect("it can be moved");
    fs::create_dir(&path).expect("a directory in its place");
    write(&telemetry, &log, "two");
    assert_eq!(messages(&directory.join("moved")), ["one", "two"]);
    fs::remove_dir(&path).expect("it goes");
    write(&telemetry, &log, "three");
    assert_eq!(messages(&path), ["three"]);
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 3);
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn a_file_that_another_program_empties_has_its_room_again() {
    let directory = directory("emptied");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation { bytes: 300, files: 3 });
    for _ in 0..10 {
        write(&telemetry, &log, "again");
        fs::File::options().write(true).truncate(true).open(&path).expect("it is there");
    }
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 10);
    assert!(!directory.join("app.log.1").exists(), "it was never full");
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn two_instances_share_a_file() {
    const LINES: u64 = 2_000;
    let directory = directory("shared");
    let path = directory.join("app.log");
    let both = [0, 1].map(|_| start(&path, Rotation { bytes: 2_000, files: 10_000 }));
    std::thread::scope(|scope| {
        for (telemetry, log) in &both {
            scope.spawn(move || {
                for number in 0..LINES {
                    tellane::info!(log, "numbered", number = number);
                    if number % 50 == 0 {
                        telemetry.snapshot(PATIENCE).expect("a snapshot");
                    }
                }
            });
        }
    });
    for (telemetry, _) in &both {
        assert_all_written(&telemetry.shutdown(PATIENCE).ledger, LINES);
    }
    let files = files(&path);
    let mut numbers = numbers(&files);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..LINES).flat_map(|number| [number; 2]).collect::<Vec<_>>());
    let sizes = sizes(&files);
    assert!(sizes.iter().all(|size| *size <= 2_000), "{sizes:?}");
    assert!(sizes[..sizes.len() - 1].iter().all(|size| *size > 1_800), "rotated twice: {sizes:?}");
    fs::remove_dir_all(&directory).expect("it goes");
}

/// Two processes write to one file at once. Every line is there, and no file is above its bound.
#[test]
fn two_processes_share_a_file() {
    const LINES: u64 = 1_000;
    const CHILD: &str = "TELLANE_ROTATION_CHILD";
    let write_all = |path: &Path| {
        let (telemetry, log) = start(path, Rotation { bytes: 2_000, files: 10_000 });
        for number in 0..LINES {
            tellane::info!(log, "numbered", number = number);
            if number % 50 == 0 {
                telemetry.snapshot(PATIENCE).expect("a snapshot");
            }
        }
        assert_all_written(&telemetry.shutdown(PATIENCE).ledger, LINES);
    };
    if let Some(path) = std::env::var_os(CHILD) {
        return write_all(Path::new(&path));
    }
    let directory = directory("processes");
    let path = directory.join("app.log");
    let child = std::process::Command::new(std::env::current_exe().expect("a test binary has a path"))
        .args(["two_processes_share_a_file", "--exact", "--nocapture"])
        .env(CHILD, &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    write_all(&path);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let files = files(&path);
    let mut numbers = numbers(&files);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..LINES).flat_map(|number| [number; 2]).collect::<Vec<_>>());
    let sizes = sizes(&files);
    assert!(sizes.iter().all(|size| *size <= 2_000), "{sizes:?}");
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn a_line_that_was_cut_off_stays_alone() {
    let directory = directory("cut");
    let path = directory.join("app.log");
    fs::write(&path, "whole\nhal").expect("it can be written");
    let (telemetry, log) = start(&path, Rotation::default());
    write(&telemetry, &log, "one");
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 1);
    assert_eq!(messages(&path), ["whole", "hal", "one"]);
    fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn a_relative_path_stays_where_it_was() {
    let directory = directory("relative");
    let elsewhere = directory.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    std::env::set_current_dir(&directory).expect("it is there");
    let (telemetry, log) = start(Path::new("app.log"), Rotation { bytes: 300, files: 100 });
    std::env::set_current_dir(&elsewhere).expect("it is there");
    for number in 0..20_u64 {
        tellane::info!(log, "numbered", number = number);
        telemetry.snapshot(PATIENCE).expect("a snapshot");
    }
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 20);
    assert_eq!(numbers(&files(&directory.join("app.log"))), (0..20).collect::<Vec<_>>());
    std::env::set_current_dir(std::env::temp_dir()).expect("it is there");
    fs::remove_dir_all(&directory).expect("it goes");
}

/// By way of a link, so that a fault moves the link and not the machine's device.
#[cfg(unix)]
#[test]
fn what_is_no_ordinary_file_is_never_moved() {
    let directory = directory("device");
    let path = directory.join("app.log");
    std::os::unix::fs::symlink("/dev/null", &path).expect("a link");
    let (telemetry, log) = start(&path, Rotation { bytes: 100, files: 3 });
    for number in 0..50_u64 {
        tellane::info!(log, "numbered", number = number);
        telemetry.snapshot(PATIENCE).expect("a snapshot");
    }
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 50);
    assert!(path.is_symlink() && !directory.join("app.log.1").exists());
    fs::remove_dir_all(&directory).expect("it goes");
}

/// A link stays a link: its target is what is rotated.
#[cfg(unix)]
#[test]
fn a_link_is_followed() {
    let directory = directory("link");
    fs::create_dir(directory.join("there")).expect("a directory");
    let (path, target) = (directory.join("app.log"), directory.join("there/app.log"));
    std::os::unix::fs::symlink(&target, &path).expect("a link");
    let (telemetry, log) = start(&path, Rotation { bytes: 300, files: 100 });
    for number in 0..20_u64 {
        tellane::info!(log, "numbered", number = number);
        telemetry.snapshot(PATIENCE).expect("a snapshot");
    }
    assert_all_written(&telemetry.shutdown(PATIENCE).ledger, 20);
    assert!(path.is_symlink());
    assert_eq!(numbers(&files(&target)), (0..20).collect::<Vec<_>>());
    fs::remove_dir_all(&directory).expect("it goes");
}

#[cfg(target_os = "linux")]
#[test]
fn a_lock_of_another_program_holds_up_no_line() {
    let directory = directory("locked");
    let path = directory.join("app.log");
    let (telemetry, log) = start(&path, Rotation { bytes: 300, files: 100 });
    write(&telemetry, &log, "one");
    let other = fs::File::open(&path).expect("it is there");
    other.lock().expect("it is free");
    for _ in 0..20 {
        log.info("again");
    }
    let end = telemetry.shutdown(PATIENCE);
    assert!(end.finished);
    assert_eq!(end.ledger.kind(Kind::Log).dropped.by(Reason::SinkFailed), 0);
    assert_all_written(&end.ledger, 21);
    assert_eq!(messages(&path).len(), 21, "it is not rotated under the other's lock");
    fs::remove_dir_all(&directory).expect("it goes");
}
