//! What figures were measured on and of, as every record in `perf/record/` says it. The comparison takes this file in,
//! too, so that all say it alike. Cold.

use serde_json::{Value, json};
use std::process::Command;

/// What a command prints; `None` if it fails.
fn says(command: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(command).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runnable threads, the mean of the last minute.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// As a run begins; what it leaves behind is said by [`ended`]. The figures hang on `sources`, beside the crate itself:
/// what of them is not in the commit is told.
pub(crate) fn now(root: &str, sources: &[&str], command: &str) -> Value {
    // Outside of a clone, or on a machine that does not say: better so than no figures.
    let or_unknown = |told: Option<String>| told.unwrap_or_else(|| "unknown".to_owned());
    let mut commit = or_unknown(says("git", &["-C", root, "rev-parse", "--short", "HEAD"]));
    let status = [&["-C", root, "status", "--porcelain", "--", "src", "Cargo.toml"][..], sources].concat();
    if says("git", &status).is_some_and(|changes| !changes.is_empty()) {
        commit.push_str(" and uncommitted changes");
    }
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    // Not `available_parallelism`: that asks which of them the calling thread may use.
    let processors = info.lines().filter(|line| line.starts_with("processor")).count();
    json!({
        "commit": commit,
        "rustc": or_unknown(says("rustc", &["--version"])),
        "cpu": or_unknown(model.map(str::to_owned)),
        "processors": processors,
        "load": load(),
        "date": or_unknown(says("date", &["-u", "+%F"])),
        "command": command,
    })
}

/// The same with the load as the run ends: the run itself is about one of its runnable threads.
pub(crate) fn ended(mut conditions: Value) -> Value {
    conditions["load_after"] = load().into();
    conditions
}

/// In one sentence, without its point; `None` if one of them is not told.
pub(crate) fn sentence(conditions: &Value) -> Option<String> {
    let told = |name: &str| conditions[name].as_str().filter(|text| !text.is_empty());
    let load = told("load").map_or_else(String::new, |load| {
        let after = told("load_after").map_or_else(String::new, |after| format!(" and {after} after"));
        format!(" load {load} before{after},")
    });
    Some(format!(
        "Commit {}, {}, {} x {},{load} {}: `{}`",
        told("commit")?,
        told("rustc")?,
        conditions["processors"].as_u64()?,
        told("cpu")?,
        told("date")?,
        told("command")?,
    ))
}
