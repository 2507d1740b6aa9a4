//! Lowers this thread's timer slack, so that short sleeps stay short. Cold. Unsafe, since std does not offer `prctl`.

/// Sets this thread's timer slack to the minimum on Linux. By default Linux lets a thread oversleep by 50 µs to batch
/// wake-ups, and a ring that is written flat out fills in twice that time.
#[allow(unsafe_code)] // std does not offer this
pub(super) fn minimize() {
    #[cfg(target_os = "linux")]
    // SAFETY: this option takes one number, accesses no memory, and changes only this thread's timers. If a seccomp
    // filter forbids the call, the sleeps stay as long as they were.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

#[cfg(all(test, target_os = "linux", not(tellane_loom)))]
mod tests {
    #[test]
    fn the_slack_is_one_nanosecond_afterwards() {
        let slack = || {
            let this = std::fs::read_link("/proc/thread-self").expect("Linux shows it");
            let number = this.file_name().expect("the thread's number").to_owned();
            let path = std::path::Path::new("/proc").join(number).join("timerslack_ns");
            std::fs::read_to_string(path).expect("Linux shows it").trim().to_owned()
        };
        std::thread::spawn(move || {
            super::minimize();
            assert_eq!(slack(), "1");
        })
        .join()
        .expect("no panic");
    }
}
