//! The thread `tellane-log`: takes batches from the queue and writes them to the sinks. Cold. A sink may block it
//! forever, so every wait for this thread has a deadline.

use super::sink::Sink;
use crate::instance::Instance;
use crate::snapshot::{BatchReceiver, QueuedBatch, read_logs};
use crate::sync::{Arc, Ordering};
use crate::unwind::caught;

/// The state of the thread: the queue's receiving end and the sinks.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) receiver: BatchReceiver,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) instance: Arc<Instance>,
}

impl Writer {
    /// Runs until the aggregator has dropped the sending end and all batches are written.
    pub(crate) fn run(mut self) {
        while let Some(mut queued) = self.receiver.recv() {
            // A panic must not end the thread: the later batches would be lost. The drop of this batch counts its records as
            // lost.
            let _written = caught(|| self.write(&mut queued));
        }
        // One by one, because a writer of the program may panic when it is dropped, and a second panic during the first
        // one's unwinding would abort the process.
        for sink in self.sinks {
            let _dropped = caught(|| drop(sink));
        }
    }

    /// Decodes a batch and writes it to all sinks. A record counts as written if every sink accepts it.
    fn write(&mut self, queued: &mut QueuedBatch) {
        let records: Vec<_> = read_logs(&queued.batch, &self.instance).collect();
        let mut accepted: Vec<bool> = records.iter().map(Option::is_some).collect();
        queued.corrupt =
            queued.batch.records.saturating_sub(accepted.iter().filter(|decoded| **decoded).count() as u64);
        for sink in &mut self.sinks {
            sink.write(&records, &mut accepted);
            self.instance.logs.rotations_failed.fetch_add(sink.rotations_failed(), Ordering::Relaxed);
        }
        queued.written = accepted.iter().filter(|accepted| **accepted).count() as u64;
    }
}
