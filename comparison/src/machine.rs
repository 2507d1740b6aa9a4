//! What is asked of the operating system: processors, processor time, memory, and what the run was made on. Cold.

use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::Duration;

/// Keeps the calling thread on these processors. Where that cannot be had, the scheduler decides.
pub(crate) fn run_on(processors: &[usize]) {
    // SAFETY: a set of zeros is an empty one; the pointer and the size given are those of `set`.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        processors.iter().for_each(|processor| libc::CPU_SET(*processor, &mut set));
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// Lets the calling thread run anywhere again.
pub(crate) fn run_anywhere() {
    run_on(&(0..processors()).collect::<Vec<_>>());
}

/// How many processors there are, whatever the calling thread is kept on.
pub(crate) fn processors() -> usize {
    // SAFETY: takes a number, gives a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of `time`.
    unsafe { libc::clock_gettime(id, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processor time that the calling thread has used.
pub(crate) fn thread_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time that all threads of the process have used.
pub(crate) fn process_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Resident memory in KiB.
pub(crate) fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// What a command prints; nothing if it fails.
fn says(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().ok().filter(|output| output.status.success());
    output.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What a run was made on and of.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Conditions {
    pub(crate) commit: String,
    pub(crate) rustc: String,
    #[serde(rename = "cpu")]
    pub(crate) processor: String,
    pub(crate) processors: usize,
    /// Runnable threads of the last minute, before the run and after it; the run itself is about one of them.
    pub(crate) load: String,
    pub(crate) load_after: String,
    pub(crate) date: String,
    pub(crate) command: String,
}

/// Runnable threads, the mean of the last minute.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

impl Conditions {
    pub(crate) fn now() -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut commit = says("git", &["-C", root, "rev-parse", "--short", "HEAD"]);
        let sources =
            ["src", "Cargo.toml", "comparison/src", "comparison/Cargo.toml", "comparison/Cargo.lock"];
        let status = [&["-C", root, "status", "--porcelain", "--"][..], &sources].concat();
        if !says("git", &status).is_empty() {
            commit.push_str(" and uncommitted changes");
        }
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        Self {
            commit,
            rustc: says("rustc", &["--version"]),
            processor: model.unwrap_or_default().to_owned(),
            processors: processors(),
            load: load(),
            load_after: String::new(),
            date: says("date", &["-u", "+%F"]),
            command: format!("cargo run --release -- {}", arguments.join(" ")),
        }
    }
}
