//! The clock that times single calls from outside: the raw counter, fenced so that the whole call lies between two
//! readings; elsewhere than on x86-64 the OS clock.

#![allow(unsafe_code)] // the raw counter

use std::time::{Duration, Instant};

/// Ticks, read when all before is done, and before all behind begins.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has the three instructions; they touch no memory.
    unsafe {
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        now
    }
}

/// Nanoseconds of the OS clock.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ticks() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Nanoseconds a tick, found by comparison with the OS clock over `time`.
pub(crate) fn nanos_per_tick(time: Duration) -> f64 {
    let (start, first) = (Instant::now(), ticks());
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
    let took = start.elapsed();
    took.as_nanos() as f64 / ticks().saturating_sub(first).max(1) as f64
}
