//! The thread `tellane-log`: takes batches and writes them to the sinks. It may block for ever, and nobody waits for it
//! longer than a deadline says.

use super::sink::Sink;
use crate::instance::Instance;
use crate::snapshot::{BatchReceiver, QueuedBatch, read_logs};
use crate::sync::{Arc, Ordering};
use crate::unwind::caught;

/// What the thread owns.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) receiver: BatchReceiver,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) instance: Arc<Instance>,
}

impl Writer {
    /// Runs until the other end is gone and everything is written.
    pub(crate) fn run(mut self) {
        while let Some(mut queued) = self.receiver.recv() {
            // A fault costs this batch, which counts its records as lost when it is dropped, and not the thread.
            let _written = caught(|| self.write(&mut queued));
        }
        // One by one: a writer of the program's may panic when it is dropped, and two such panics at once abort.
        for sink in self.sinks {
            let _dropped = caught(|| drop(sink));
        }
    }

    fn write(&mut self, queued: &mut QueuedBatch) {
        let records: Vec<_> = read_logs(&queued.batch, &self.instance).collect();
        let mut taken: Vec<bool> = records.iter().map(Option::is_some).collect();
        queued.corrupt =
            queued.batch.records.saturating_sub(taken.iter().filter(|read| **read).count() as u64);
        for sink in &mut self.sinks {
            sink.take(&records, &mut taken);
            self.instance.logs.rotations_failed.fetch_add(sink.rotations_failed(), Ordering::Relaxed);
        }
        queued.written = taken.iter().filter(|taken| **taken).count() as u64;
    }
}
