//! A peer's process as the program sees it: started, asked, heard, and watched. One that does not answer is told by
//! name, with what was asked of it and what its threads are at, and is ended: a hang is a failure like any other.

use crate::peers::PEERS;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// The slowest answers take some seconds: a rate with all that it left behind.
const LONGEST: Duration = Duration::from_secs(60);

/// What is waited for just now: since when, the process, and what it was asked.
static WAIT: Mutex<Option<(Instant, u32, String)>> = Mutex::new(None);

/// How to talk with it.
pub(crate) struct Process {
    pub(crate) name: &'static str,
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program again, as the process of the peer with this number.
    pub(crate) fn start(number: usize, arguments: &[String]) -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| drop(std::thread::spawn(watch)));
        let name = PEERS[number].name;
        let this = std::env::current_exe().expect("the program knows where it is");
        let mut child = Command::new(this)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let asks = child.stdin.take().expect("it was asked for");
        let answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { name, child, asks, answers }
    }

    /// The fields of its next line. `asked` says what it is at, in case the line does not come.
    pub(crate) fn hear(&mut self, asked: &str) -> Vec<String> {
        wait_for(Some((Instant::now(), self.child.id(), format!("{}: {asked}", self.name))));
        let mut line = String::new();
        let heard = self.answers.read_line(&mut line).unwrap_or(0);
        wait_for(None);
        assert!(heard > 0, "{} ended early ({asked}): see its message above", self.name);
        line.trim_end_matches('\n').split('\t').map(str::to_owned).collect()
    }

    pub(crate) fn emit(&mut self, line: &str) {
        let said = writeln!(self.asks, "{line}").and_then(|()| self.asks.flush());
        said.unwrap_or_else(|error| panic!("{} ended early: {error}", self.name));
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn wait(mut self) {
        wait_for(Some((Instant::now(), self.child.id(), format!("{}: the end of its process", self.name))));
        let ended = self.child.wait().expect("it was started");
        wait_for(None);
        assert!(ended.success(), "{} failed: {ended}", self.name);
    }
}

fn wait_for(what: Option<(Instant, u32, String)>) {
    *WAIT.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

/// Looks every two seconds whether something takes too long. Ending the process lets the one who waits go on, and fail.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let wait = WAIT.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, process, what)) = wait.as_ref().filter(|(since, ..)| since.elapsed() > LONGEST)
        else {
            continue;
        };
        eprintln!(
            "\nno answer for {} s from {what}; its threads:\n{}",
            since.elapsed().as_secs(),
            threads(*process)
        );
        // SAFETY: takes numbers; the process is a child that nobody has waited for yet, so the number is its own.
        unsafe { libc::kill(*process as libc::pid_t, libc::SIGKILL) };
    }
}

/// A process's threads: names, states, processor time in ticks, and what they wait for in the kernel.
fn threads(process: u32) -> String {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return String::new() };
    let line = |task: std::fs::DirEntry| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let stat = read("stat");
        // After the name, which may hold anything: the state, and at 11 and 12 the times.
        let fields: Vec<_> = stat.rsplit_once(") ").map_or("", |parts| parts.1).split(' ').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or("?");
        let (state, user, kernel) = (field(0), field(11), field(12));
        format!("  {}: {state}, {user} + {kernel} ticks, {}\n", read("comm").trim_end(), read("wchan"))
    };
    tasks.flatten().map(line).collect()
}
