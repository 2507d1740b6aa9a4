//! The progress bar on standard error, which shows the latest snapshot of the telemetry and never waits for a new one.

use crate::report::{Totals, grouped, mib};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};
use tellane::Telemetry;

/// Interval at which telemetry publishes snapshots and the bar is updated.
pub(crate) const REFRESH: Duration = Duration::from_millis(100);
/// Interval of progress lines if standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Width of the bar. The whole line then fits 80 columns; a longer one wraps, and each update would begin a new line.
const BAR: usize = 12;

#[derive(Debug)]
pub(crate) struct Progress<'a> {
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) title: String,
    /// Totals before this pass.
    pub(crate) before: Totals,
    /// Bytes of a whole pass, known after the first.
    pub(crate) bytes: Option<u64>,
}

impl Progress<'_> {
    /// Shows the progress of the pass until the other end of `over` is dropped.
    pub(crate) fn run(self, over: &Receiver<()>) {
        let mut out = stderr();
        let bar = out.is_terminal();
        let began = Instant::now();
        let mut line_at = LINE_EVERY;
        // Failed writes are ignored: if standard error is closed, there is nobody to show progress to.
        while over.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
            let elapsed = began.elapsed();
            if bar {
                let _unseen = write!(out, "\r\x1b[K{}", self.line(elapsed));
            } else if elapsed >= line_at {
                line_at += LINE_EVERY;
                let _unseen = writeln!(out, "{}", self.line(elapsed));
            }
        }
        let _unseen = if bar {
            write!(out, "\r\x1b[K")
        } else {
            writeln!(out, "{} {:.2?}", self.title, began.elapsed())
        };
    }

    fn line(&self, elapsed: Duration) -> String {
        let snapshot = self.telemetry.latest();
        let done = Totals::of(&snapshot).since(&self.before);
        let bar = match self.bytes {
            Some(bytes) => {
                let filled = (BAR as u64 * done.bytes / bytes.max(1)).min(BAR as u64) as usize;
                ["#".repeat(filled), "-".repeat(BAR - filled)].concat()
            }
            None => format!("{:-^BAR$}", " counting "),
        };
        let speed = mib(done.bytes) / elapsed.as_secs_f64();
        let waiting = snapshot.gauge("index_queue_depth", &[]).unwrap_or_default();
        format!(
            "{:<14} [{bar}] {:>7} files  {:>6.1} MiB  {speed:>5.1} MiB/s  {waiting:>3} queued",
            self.title,
            grouped(done.files),
            mib(done.bytes)
        )
    }
}
