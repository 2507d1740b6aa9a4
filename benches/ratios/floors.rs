//! The bare ideas, written by hand: what a call cannot be cheaper than on this machine.

#![allow(unsafe_code)] // the raw counter, and pinning

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static CELL: AtomicU64 = const { AtomicU64::new(0) };
    static BUCKETS: [AtomicU64; 8192] = const { [const { AtomicU64::new(0) }; 8192] };
    static EXACT: [Cell<u64>; 3] = const { [Cell::new(0), Cell::new(u64::MAX), Cell::new(0)] };
    static HEAD: Cell<usize> = const { Cell::new(0) };
    static RING: [AtomicU64; 32768] = const { [const { AtomicU64::new(0) }; 32768] };
}

/// A thread-local cell with one writer.
#[inline(always)]
pub(crate) fn add() {
    CELL.with(|cell| cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed));
}

/// The bucket of a value by its highest bits, and a thread-local count with one writer.
#[inline(always)]
pub(crate) fn log_linear(value: u64) {
    let octave = 63 - (value | 255).leading_zeros() - 7;
    let index = ((octave as usize) << 7) + (value >> octave) as usize;
    BUCKETS.with(|buckets| {
        let bucket = &buckets[index & 8191];
        bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    });
}

/// The same, and the exact sum, minimum and maximum.
#[inline(always)]
pub(crate) fn log_linear_exact(value: u64) {
    log_linear(value);
    EXACT.with(|[sum, min, max]| {
        sum.set(sum.get().wrapping_add(value));
        if value < min.get() {
            min.set(value);
        }
        if value > max.get() {
            max.set(value);
        }
    });
}

/// Two raw clock readings and a record of seven words into a thread-local ring, published.
#[inline(always)]
pub(crate) fn span(number: u32) {
    let start = ticks();
    let words = [u64::from(number), start, ticks() - start, 1, 2, 3, 4];
    RING.with(|ring| {
        HEAD.with(|head| {
            let at = head.get();
            for (offset, word) in words.into_iter().enumerate() {
                ring[(at + offset) & 32767].store(word, Ordering::Relaxed);
            }
            head.set(at + 7);
        });
    });
}

/// One raw clock reading.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// One clock reading.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ticks() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Keeps the calling thread on these processors. Where that cannot be had, the scheduler decides.
#[cfg(target_os = "linux")]
pub(crate) fn run_on(processors: &[usize]) {
    // SAFETY: a set of zeros is an empty one; the pointer and the size given are those of `set`.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        processors.iter().for_each(|processor| libc::CPU_SET(*processor, &mut set));
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// Keeps the calling thread on these processors. Where that cannot be had, the scheduler decides.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run_on(_processors: &[usize]) {}

/// What the floors have counted; keeps them from being optimised away.
pub(crate) fn total() -> u64 {
    CELL.with(|cell| cell.load(Ordering::Relaxed))
        + EXACT.with(|exact| exact[2].get())
        + BUCKETS.with(|buckets| buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum::<u64>())
        + RING.with(|ring| ring[0].load(Ordering::Relaxed))
}
