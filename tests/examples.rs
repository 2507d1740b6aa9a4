//! The examples that check themselves, run: each asserts what it shows and ends with 0.

use std::path::Path;
use std::process::Command;

/// `cargo test` builds the examples beside the tests; `cargo test --test examples` by itself does not.
fn run(example: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let name = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    let program = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is missing: `cargo build --examples` makes it", program.display());
    let output = Command::new(program).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{example}: {out}{}", String::from_utf8_lossy(&output.stderr));
    out
}

#[test]
fn async_tasks_keep_their_spans() {
    assert!(run("async_tasks").contains("dropped=0"));
}

#[test]
fn contexts_are_propagated() {
    assert!(!run("propagation").is_empty());
}

#[test]
fn traces_are_sampled_by_their_outcome() {
    assert!(!run("tail_sampling").is_empty());
}
