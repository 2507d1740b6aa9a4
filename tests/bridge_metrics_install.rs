//! The bridge as the global recorder of the process, fed by a crate that knows nothing of tellane: metrics-process,
//! which reads the process's own figures. What it emitted is held against what the system says. Then a fork.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // fork

mod support;

use support::PATIENCE;
use tellane::bridge::metrics::{InstallError, Recorder};
use tellane::{MetricKind, Telemetry, Unit};

#[test]
fn a_crate_that_emits_through_metrics_is_heard() {
    let early = metrics::counter!("early");
    early.increment(1); // nobody listens
    let telemetry = Telemetry::builder("process").start().expect("it starts");
    assert_eq!(Recorder::install(&telemetry), Ok(()));
    assert_eq!(Recorder::install(&telemetry), Err(InstallError::AlreadyInstalled));
    early.increment(1); // made before: deaf for good

    let collector = metrics_process::Collector::new("own.");
    collector.describe();
    let pages: Vec<u8> = vec![1; 32 << 20]; // so that there is memory to be seen
    collector.collect();
    // On another thread, as its users run it; counts and levels are set anew, not added.
    std::thread::scope(|scope| scope.spawn(|| collector.collect()).join()).expect("no panic");
    assert_eq!(pages.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 32 << 20);

    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    let gauge = |name: &str| snapshot.gauge(name, &[]).unwrap_or_else(|| panic!("{name} was emitted"));
    let resident = gauge("own_process_resident_memory_bytes");
    let virtual_memory = gauge("own_process_virtual_memory_bytes");
    assert!(resident >= (32 << 20) as f64 && resident < virtual_memory, "{resident} of {virtual_memory}");
    // This test, the harness, the aggregator: more than one, less than a hundred.
    assert!((2.0..100.0).contains(&gauge("own_process_threads")));
    assert!(gauge("own_process_open_fds") >= 3.0);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    assert_eq!(gauge("own_process_max_fds"), limit.rlim_cur as f64);
    let started = gauge("own_process_start_time_seconds");
    let now = snapshot.taken_at().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    // The kernel's clock ticks, and boot time is known to a second.
    assert!(started <= now.as_secs_f64() + 2.0 && started > now.as_secs_f64() - 86_400.0, "{started}");
    let cpu = snapshot.counter("own_process_cpu_seconds_total", &[]).expect("emitted");
    assert!((cpu as f64) <= now.as_secs_f64() - started + 86_400.0, "{cpu}");

    let point = |name: &str| snapshot.points().find(|point| point.name() == name).expect("emitted");
    let memory = point("own_process_resident_memory_bytes");
    assert_eq!((memory.kind(), memory.unit()), (MetricKind::Gauge, Unit::Bytes));
    assert_eq!(memory.help(), "Resident memory size in bytes.");
    assert_eq!(point("own_process_cpu_seconds_total").kind(), MetricKind::Counter);
    assert!(telemetry.faults().is_empty(), "{:?}", telemetry.faults());
    assert!(snapshot.points().all(|point| !point.name().starts_with("early")));

    in_a_fork(&telemetry);
    assert!(telemetry.shutdown(PATIENCE).finished);
}

/// The child of a fork: nothing is registered, nothing hangs, and the parent's counts stay the parent's.
fn in_a_fork(telemetry: &Telemetry) {
    let known = metrics::counter!("known");
    known.increment(1);
    // SAFETY: the child records, and ends by `_exit`: no thread, no destructor, no lock of std's.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        known.increment(1);
        known.absolute(100);
        metrics::counter!("known").increment(1);
        metrics::counter!("new").increment(1);
        metrics::gauge!("new").set(1.0);
        metrics::histogram!("new").record(1.0);
        metrics::describe_counter!("new", "Too late.");
        // SAFETY: ends this process and nothing else.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody else waits for, `status` lives long enough.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status}");
    let snapshot = telemetry.snapshot(PATIENCE).expect("a snapshot");
    assert_eq!(snapshot.counter("known_total", &[]), Some(1));
    assert_eq!(snapshot.counter("new_total", &[]), None);
}
