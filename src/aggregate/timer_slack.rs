//! Makes this thread's sleeps as short as they are asked to be. Cold; has unsafe code, since std has no word for it.

/// Linux lets a thread oversleep by 50 µs, so that wake-ups fall together. A ring that is written flat out fills in
/// twice that time.
#[allow(unsafe_code)] // std has no way to say it
pub(super) fn none_for_this_thread() {
    #[cfg(target_os = "linux")]
    // SAFETY: this option reads one number and no memory, and changes nothing but this thread's timers. Should a filter
    // forbid it, the sleeps stay as long as they were.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

#[cfg(all(test, target_os = "linux", not(tellane_loom)))]
mod tests {
    #[test]
    fn a_thread_has_no_slack_from_then_on() {
        let shown = || {
            let this = std::fs::read_link("/proc/thread-self").expect("Linux shows it");
            let number = this.file_name().expect("the thread's number").to_owned();
            let path = std::path::Path::new("/proc").join(number).join("timerslack_ns");
            std::fs::read_to_string(path).expect("Linux shows it").trim().to_owned()
        };
        std::thread::spawn(move || {
            super::none_for_this_thread();
            assert_eq!(shown(), "1");
        })
        .join()
        .expect("no panic");
    }
}
