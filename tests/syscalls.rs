//! After a thread's first touch, no hot call makes a system call: the kernel is asked to kill the process at the first
//! one, and 100,000 rounds of every call go by.
//!
//! The thread that is watched runs in a process of its own, this test binary once more. The filter holds for that
//! thread only; the aggregator beside it lives as ever. Writing and ending the thread stay allowed: so it can say how
//! far it came.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // seccomp has no safe door

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use support::{PATIENCE, eventually};
use tellane::{
    Clock, Config, Counter, Family, Gauge, Histogram, Kind, LazyCounter, LazyTimer, Logger, Reason, Sink,
    Telemetry, Timer, Tracer,
};

/// What the child is to do, in its environment.
const ROLE: &str = "TELLANE_SYSCALLS";
const RECORD: &str = "record";
const CALL_THE_KERNEL: &str = "call the kernel";

const WATCHED: &str = "under the filter\n";
const PROOF: &str = "no system call\n";

/// Rounds before the filter, twice: with everything on, and as it will be.
const WARM: u64 = 100;
const ROUNDS: u64 = 100_000;

static HITS: LazyCounter = tellane::counter!("hits_total", "Hits.");
static WORK: LazyTimer = tellane::timer!("static_work", "Work.");

/// Held by a test, it holds the aggregators of the instances that are to be full.
static GATE: Mutex<()> = Mutex::new(());
/// Aggregators at the gate.
static AT_THE_GATE: AtomicUsize = AtomicUsize::new(0);

/// What differs between instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// The one that statics record into.
    Installed,
    /// Nobody drains the ring: samples are counted in the lane, spans are shed.
    Full,
    Off,
    Unsampled,
}

struct Instance {
    case: Case,
    telemetry: Telemetry,
    counter: Counter,
    family: Family<Counter, 2>,
    /// Its cap is reached by a series that the family has not met.
    full: Family<Counter, 1>,
    gauge: Gauge,
    sizes: Histogram,
    wide: Histogram,
    timer: Timer,
    tracer: Tracer,
    log: Logger,
}

impl Instance {
    fn new(case: Case, clock: &Clock) -> Self {
        let config = Config {
            ring_words: if case == Case::Full { 64 } else { 1 << 10 },
            sampling: if case == Case::Unsampled { 0.0 } else { 1.0 },
            stall_after: PATIENCE,
            shed_share: 1.0,
            ..Config::default()
        };
        let builder = Telemetry::builder("silent").config(config).clock(clock.clone());
        let builder = builder.log_to(Sink::memory(10).0);
        let telemetry = match case {
            Case::Installed => builder.install(),
            Case::Full => {
                let wait = |_| {
                    AT_THE_GATE.fetch_add(1, Ordering::SeqCst);
                    drop(GATE.lock().unwrap_or_else(PoisonError::into_inner));
                    AT_THE_GATE.fetch_sub(1, Ordering::SeqCst);
                };
                builder.inject(wait).start()
            }
            Case::Off | Case::Unsampled => builder.start(),
        }
        .expect("it starts");
        let kept = telemetry.counter("full_total").series_cap(1).label("route", "/kept").register();
        kept.expect("a good name").inc();
        Self {
            case,
            full: telemetry.counter("full_total").family(["route"]).expect("a good name"),
            counter: telemetry.counter("calls_total").register().expect("a good name"),
            family: telemetry.counter("by_route_total").family(["method", "route"]).expect("a good name"),
            gauge: telemetry.gauge("level").register().expect("a good name"),
            sizes: telemetry.histogram("sizes").register().expect("a good name"),
            wide: telemetry.histogram("wide").highest(u64::MAX).register().expect("a good name"),
            timer: telemetry.timer("work").register().expect("a good name"),
            tracer: telemetry.tracer(),
            log: telemetry.logger("silent"),
            telemetry,
        }
    }

    fn round(&self) {
        self.counter.inc();
        self.family.with(["GET", "/cart"]).inc();
        self.full.with(["/none"]).inc();
        self.gauge.add(1.0);
        self.sizes.record(77);
        self.wide.record(u64::MAX - 1);
        self.timer.time(|| ());
        let mut span = self.tracer.span("request");
        span.set("path", "/etc/hosts");
        span.set("bytes", 240_u64);
        span.fail();
        drop(self.tracer.span("inside"));
        tellane::info!(self.log, "request", path = "/etc/hosts", bytes = 240_u64);
        tellane::debug!(self.log, "level off", bytes = 240_u64);
        self.log.warn("a text");
        drop(span);
        if self.case == Case::Installed {
            HITS.inc();
            WORK.time(|| ());
        }
    }

    /// The rounds were no idle ones: everything that was recorded is found.
    fn check(&self) {
        let all = 2 * WARM + ROUNDS;
        let (case, counted) = (self.case, if self.case == Case::Off { WARM } else { all });
        let snapshot = self.telemetry.snapshot(PATIENCE).expect("a snapshot");
        assert_eq!(snapshot.counter("calls_total", &[]), Some(all), "{case:?}");
        let labels = [("method", "GET"), ("route", "/cart")];
        assert_eq!(snapshot.counter("by_route_total", &labels), Some(all), "{case:?}");
        let over = snapshot.counter("full_total", &[("route", "__overflow__")]);
        assert_eq!(over, Some(all), "{case:?}");
        assert_eq!(snapshot.gauge("level", &[]), Some(all as f64), "{case:?}");
        for name in ["sizes", "wide", "work_seconds"] {
            let count = snapshot.histogram(name, &[]).map(|view| view.count());
            assert_eq!(count, Some(counted), "{case:?} {name}");
        }
        for name in ["request", "inside"] {
            let count = snapshot.span_durations(name).map(|view| view.count());
            assert_eq!(count, Some(counted), "{case:?} {name}");
        }
        if self.case == Case::Installed {
            assert_eq!(snapshot.counter("hits_total", &[]), Some(all));
            assert_eq!(snapshot.histogram("static_work_seconds", &[]).map(|view| view.count()), Some(all));
        }
        let spans = snapshot.ledger().kind(Kind::Span);
        assert_eq!(spans.recorded, 2 * all, "{case:?}");
        let logs = snapshot.ledger().kind(Kind::Log);
        assert!(logs.recorded >= 2 * all, "{case:?}: {logs:?}");
        if case == Case::Off {
            assert_eq!(logs.switched_off, 2 * (all - WARM), "{logs:?}");
        }
        match case {
            Case::Full => assert!(spans.dropped.by(Reason::RingFull) > ROUNDS, "{spans:?}"),
            Case::Off => assert_eq!(spans.switched_off, 2 * (all - WARM), "{spans:?}"),
            Case::Unsampled => assert_eq!(spans.suppressed(), 2 * all, "{spans:?}"),
            Case::Installed => {}
        }
    }
}

/// From now on this thread may write and end itself; anything else ends the process.
fn forbid_system_calls() {
    fn instruction(code: u32, yes: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: yes, jf: 0, k }
    }
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let verdict = libc::BPF_RET | libc::BPF_K;
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // the call's number
        instruction(is, 2, libc::SYS_write as u32),
        instruction(is, 1, libc::SYS_exit as u32),
        instruction(verdict, 0, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(verdict, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let (yes, no): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: changes what this process may do, and touches no memory. No core is to be left behind by the child
    // that is killed on purpose.
    let promised = unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, no, no, no, no);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, no, no, no)
    };
    assert_eq!(promised, 0, "no_new_privs was refused: {}", std::io::Error::last_os_error());
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: the kernel copies the program, whose pointer and length are those of a live array.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    let error = std::io::Error::last_os_error();
    assert_eq!(filtered, 0, "this test needs seccomp filters, and the kernel refused one: {error}");
}

/// By one system call and nothing else: std's lock and buffer are none of this test's business.
fn emit(text: &str) {
    // SAFETY: the pointer and the length are those of a live string.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
}

/// The watched thread, to its end.
fn be_watched(instances: &[Instance], calls_the_kernel: bool, done: &AtomicBool) -> ! {
    for instance in instances {
        (0..WARM).for_each(|_| instance.round());
        if instance.case == Case::Off {
            instance.telemetry.switch().force_off();
        }
        (0..WARM).for_each(|_| instance.round());
    }
    forbid_system_calls();
    emit(WATCHED);
    if calls_the_kernel {
        // SAFETY: asks for a number. It does not come back.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    for instance in instances {
        (0..ROUNDS).for_each(|_| instance.round());
    }
    emit(PROOF);
    done.store(true, Ordering::Release);
    loop {
        // SAFETY: ends this thread, which nobody joins; without destructors, which would call the kernel.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

fn child(role: &str) {
    let mut clocks = vec![Clock::mock().0];
    let system = Clock::system();
    // A clock of the operating system's may call it, and says so where it is chosen.
    if system.source() == "tsc" {
        clocks.push(system);
    }
    let mut instances = Vec::new();
    for clock in &clocks {
        let cases = [Case::Installed, Case::Full, Case::Off, Case::Unsampled];
        // One instance of a process can be installed: the one by the best clock there is.
        let best = std::ptr::eq(clock, &clocks[clocks.len() - 1]);
        let cases = cases.into_iter().filter(|case| best || *case != Case::Installed);
        instances.extend(cases.map(|case| Instance::new(case, clock)));
    }
    let held = GATE.lock().expect("not poisoned");
    eventually("nobody drains what is to be full", || AT_THE_GATE.load(Ordering::SeqCst) == clocks.len());
    let (instances, done) = (Arc::new(instances), Arc::new(AtomicBool::new(false)));
    let (theirs, finished, calls_the_kernel) =
        (Arc::clone(&instances), Arc::clone(&done), role == CALL_THE_KERNEL);
    let watched = std::thread::spawn(move || be_watched(&theirs, calls_the_kernel, &finished));
    // Never joined: it ends behind std's back. Should it fail before the filter stands, that is seen here.
    eventually("all rounds are made", || done.load(Ordering::Acquire) || watched.is_finished());
    assert!(done.load(Ordering::Acquire), "the watched thread panicked before it was watched");
    drop(held);
    instances.iter().for_each(Instance::check);
}

/// Runs a test of this binary once more, in a role; what it printed and how it ended.
fn run_child(test: &str, role: &str) -> (String, ExitStatus) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("this binary starts");
    for _ in 0..2 * PATIENCE.as_millis() {
        if child.try_wait().expect("a child to wait for").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ended_already = child.kill(); // else it hangs
    // It prints a few lines, which a pipe holds.
    let output = child.wait_with_output().expect("its output");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status)
}

#[test]
fn recording_makes_no_system_call() {
    if let Ok(role) = std::env::var(ROLE) {
        return child(&role);
    }
    let (said, status) = run_child("recording_makes_no_system_call", RECORD);
    assert!(said.contains(WATCHED), "the filter does not stand, see above: {status}\n{said}");
    assert!(said.contains(PROOF), "a call of the kernel was made, or it hangs: {status}\n{said}");
    assert!(status.success(), "what was recorded is not what is found, see above: {status}\n{said}");
}

#[test]
fn the_filter_finds_a_system_call() {
    if let Ok(role) = std::env::var(ROLE) {
        return child(&role);
    }
    let (said, status) = run_child("the_filter_finds_a_system_call", CALL_THE_KERNEL);
    assert!(said.contains(WATCHED), "the filter does not stand, see above: {status}\n{said}");
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}\n{said}");
    assert!(!said.contains(PROOF), "{said}");
}
