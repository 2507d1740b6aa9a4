//! What is asked of the operating system: processors, processor time, memory. Cold.

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
