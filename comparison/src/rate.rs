//! A rate: one thread records without a pause, and what the process pays beside it is looked at, too.
//!
//! Each run has a process of its own, so that memory and processor time are this peer's alone.

use crate::machine;
use std::time::{Duration, Instant};

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// Calls that were timed.
    pub(crate) calls: u64,
    pub(crate) took: Duration,
    /// Records in all, those before the clock was started included.
    pub(crate) made: u64,
    /// Those of them that never arrived.
    pub(crate) lost: u64,
    /// Growth of resident memory while it ran, in KiB.
    pub(crate) grew: i64,
    /// Processor time of the thread that makes the calls, while they are timed.
    pub(crate) caller: Duration,
    /// Processor time of all but the calls themselves, until the last record was dealt with.
    pub(crate) background: Duration,
}

/// One peer's way to record flat out.
pub(crate) struct Rate {
    pub(crate) subject: &'static str,
    pub(crate) how: &'static str,
    /// What this way does not promise that the others do; empty if it is all there.
    pub(crate) weaker: &'static str,
    pub(crate) run: Box<dyn FnOnce(Duration) -> Flow>,
}

impl Rate {
    /// A rate; `run` sets everything up and measures with [`flow`].
    pub(crate) fn new(
        subject: &'static str,
        how: &'static str,
        run: impl FnOnce(Duration) -> Flow + 'static,
    ) -> Self {
        Self { subject, how, weaker: "", run: Box::new(run) }
    }

    /// Says what this way does not promise that the others do. It is shown, but is nobody's best peer.
    pub(crate) fn weaker(mut self, what: &'static str) -> Self {
        self.weaker = what;
        self
    }
}

/// Bursts of `calls` for this long; `arrived` waits for the last record, and is told how many were made.
pub(crate) fn flow(
    time: Duration,
    calls: u32,
    mut burst: impl FnMut(u32),
    arrived: impl FnOnce(u64) -> u64,
) -> Flow {
    machine::run_on(&[0]);
    burst(calls);
    let resident = machine::resident();
    let (process, thread, start) = (machine::process_time(), machine::thread_time(), Instant::now());
    let mut made = 0;
    loop {
        burst(calls);
        made += u64::from(calls);
        if start.elapsed() >= time {
            break;
        }
    }
    let (took, own) = (start.elapsed(), machine::thread_time() - thread);
    let grew = (machine::resident() - resident).max(0);
    let all = made + u64::from(calls);
    let arrived = arrived(all);
    let background = (machine::process_time() - process).saturating_sub(own);
    machine::run_anywhere();
    assert!(arrived <= all && arrived > 0, "{arrived} arrived of {all} that were made");
    Flow { calls: made, took, made: all, lost: all - arrived, grew, caller: own, background }
}
