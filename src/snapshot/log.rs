//! Log records between the aggregator and the sinks: encoded batches, their queue, and decoded records. Cold.
//!
//! The aggregator makes the batches and hands them to a [`BatchSender`], which never blocks. The thread that writes the
//! sinks takes them from the [`BatchReceiver`] and decodes them.

#[cfg(all(test, tellane_loom))]
mod loom;

use super::last_values::last_values;
use crate::clock::{Anchor, Scale};
use crate::instance::Instance;
use crate::level::Level;
use crate::record::{DecodeError, Log, Message, Value, frame};
use crate::stats::{Kind, Reason};
use crate::sync::plant::{Bug, planted};
use crate::sync::queue::{Receiver, Sender, unbounded};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::targets::Callsite;

/// A decoded log record, as sinks receive it.
///
/// ```
/// use tellane::{Level, Sink, Telemetry, Value};
/// let (sink, kept) = Sink::memory(100);
/// let telemetry = Telemetry::builder("shop").log_to(sink).start()?;
/// tellane::warn!(telemetry.logger("shop::cart"), "stock is low", left = 3);
/// telemetry.snapshot(std::time::Duration::from_secs(5))?; // waits for the sinks
/// let record = &kept.records()[0];
/// assert_eq!((record.level, &*record.target, &*record.message), (Level::Warn, "shop::cart", "stock is low"));
/// assert_eq!((&*record.fields[0].0, &record.fields[0].1), ("left", &Value::I64(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogRecord {
    /// The time of the record, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The record's level.
    pub level: Level,
    /// The name of the logger.
    pub target: Arc<str>,
    /// The message, without the fields.
    pub message: Arc<str>,
    /// Trace id and span id of the span that was open on the thread; `None` if there was none.
    pub span: Option<(u128, u64)>,
    /// Keys and values, in the order in which they were set. A key that was set again has its last value.
    pub fields: Vec<(Arc<str>, Value)>,
    /// The number of fields that were dropped because they did not fit.
    pub fields_dropped: u16,
    /// The module of the log statement; `None` if the record was not made by a macro.
    pub module: Option<&'static str>,
    /// File and line of the log statement; `None` if the record was not made by a macro.
    pub location: Option<(&'static str, u32)>,
}

/// Encoded log records of one pass, in the order of their times.
#[derive(Debug)]
pub(crate) struct LogBatch {
    pub(crate) words: Vec<u64>,
    pub(crate) records: u64,
    /// Converts the records' ticks to wall time.
    pub(crate) anchor: Anchor,
}

impl LogBatch {
    /// The batch's share of the queue's bound, in words: its records, and 32 for the batch itself.
    fn weight(&self) -> u64 {
        self.words.len() as u64 + 32
    }
}

impl LogRecord {
    /// Decodes a record; `None` if it refers to a target, log statement or key that does not exist.
    pub(crate) fn decode(log: Log, anchor: &Anchor, scale: Scale, instance: &Instance) -> Option<Self> {
        let target = Arc::clone(&instance.logs.target_by_id(log.target)?.text);
        let (message, module, location) = match log.message {
            Message::Text(text) => (text.into(), None, None),
            Message::Callsite(callsite) => {
                let callsite = Callsite::by_number(callsite)?;
                (callsite.message.into(), Some(callsite.module), Some((callsite.file, callsite.line)))
            }
        };
        let name = |key| instance.names.key_by_id(key);
        log.fields.iter().all(|(key, _)| name(*key).is_some()).then_some(())?;
        Some(Self {
            unix_nanos: anchor.unix_nanos(log.at, scale),
            level: log.level,
            target,
            message,
            span: log.span,
            fields: last_values(log.fields, name),
            fields_dropped: log.fields_dropped,
            module,
            location,
        })
    }
}

/// Decodes the records of a batch: `None` for each record that cannot be decoded. Ends early if the framing is broken.
pub(crate) fn read_logs<'a>(
    batch: &'a LogBatch,
    instance: &'a Instance,
) -> impl Iterator<Item = Option<LogRecord>> + 'a {
    let scale = instance.lanes.clock.scale();
    let mut rest = &*batch.words;
    std::iter::from_fn(move || {
        let next: Result<_, DecodeError> = frame(rest);
        let next = next.ok()?;
        rest = &rest[next.words.len()..];
        Some(next.log().ok().and_then(|log| LogRecord::decode(log, &batch.anchor, scale, instance)))
    })
}

/// The most words that may be queued for the sinks: 16 MiB.
#[cfg(not(tellane_loom))]
const QUEUED_MAX: u64 = 1 << 21;
#[cfg(tellane_loom)]
const QUEUED_MAX: u64 = 40;

/// Counts of the queue to the sinks, shared by both of its ends.
#[derive(Debug, Default)]
pub(crate) struct QueueStats {
    /// Records sent so far.
    sent: AtomicU64,
    /// Records of `sent` that have been written, or counted as lost.
    settled: AtomicU64,
    /// Words of the batches that are in the queue or being written.
    queued_words: AtomicU64,
}

impl QueueStats {
    /// The number of records sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Returns `true` if this many records have been written, or counted as lost.
    pub(crate) fn has_settled(&self, records: u64) -> bool {
        // Acquire pairs with the Release of `QueuedBatch`'s drop: a thread that sees the count also sees the ledger's
        // figures that were written before it.
        self.settled.load(Ordering::Acquire) >= records
    }

    /// Bytes of the batches that are in the queue or being written.
    pub(crate) fn bytes(&self) -> usize {
        8 * self.queued_words.load(Ordering::Relaxed) as usize
    }
}

/// A batch in the queue, or in the hands of the writer. Its drop counts its records in the ledger: those that were not
/// written by then are lost. So they are counted even if the writer's thread dies and its batches with it.
#[derive(Debug)]
pub(crate) struct QueuedBatch {
    pub(crate) batch: LogBatch,
    /// Records that every sink has accepted.
    pub(crate) written: u64,
    /// Records that cannot be decoded.
    pub(crate) corrupt: u64,
    queue_stats: Arc<QueueStats>,
    instance: Arc<Instance>,
}

impl Drop for QueuedBatch {
    fn drop(&mut self) {
        let Self { batch, written, corrupt, queue_stats, instance } = self;
        let settle = |order| queue_stats.settled.fetch_add(batch.records, order);
        if planted(Bug::EarlySettle) {
            settle(Ordering::Release);
        }
        let lanes = &instance.lanes;
        let failed = batch.records.saturating_sub(*written + *corrupt);
        for (reason, lost) in [(Reason::Corrupt, *corrupt), (Reason::SinkFailed, failed)] {
            if lost > 0 {
                lanes.shared.shared_lost(Kind::Log, reason, lost);
            }
        }
        lanes.aggregated[Kind::Log as usize].fetch_add(*written, Ordering::Release);
        queue_stats.queued_words.fetch_sub(batch.weight(), Ordering::Relaxed);
        if planted(Bug::EarlySettle) || (planted(Bug::UnsettledLoss) && failed > 0) {
            return;
        }
        // Last, so that a thread that waits for these records finds them in the ledger.
        settle(if planted(Bug::RelaxedSettle) { Ordering::Relaxed } else { Ordering::Release });
    }
}

/// The aggregator's end of the queue. When it is dropped, the writer ends after the last batch.
#[derive(Debug)]
pub(crate) struct BatchSender {
    batches: Sender<QueuedBatch>,
    pub(crate) queue_stats: Arc<QueueStats>,
    instance: Arc<Instance>,
}

/// The writer's end of the queue.
#[derive(Debug)]
pub(crate) struct BatchReceiver {
    batches: Receiver<QueuedBatch>,
}

/// Creates the queue to the sinks. The channel itself is unbounded; [`BatchSender::send`] bounds the queue by words, so
/// that neither many small batches nor few large ones take more memory than that.
pub(crate) fn log_queue(instance: &Arc<Instance>) -> (BatchSender, BatchReceiver) {
    let (batches, receiver) = unbounded();
    (
        BatchSender { batches, queue_stats: Arc::default(), instance: Arc::clone(instance) },
        BatchReceiver { batches: receiver },
    )
}

impl BatchSender {
    /// Queues a batch, and never blocks. On an error the batch is gone, and the caller must count its records as lost
    /// for the reason given.
    pub(crate) fn send(&self, batch: LogBatch) -> Result<(), Reason> {
        let (records, weight) = (batch.records, batch.weight());
        // Relaxed: there is one sender, and if the writer's `fetch_sub` is seen late, the worst result is that a batch
        // is refused although there was room.
        let queued = self.queue_stats.queued_words.load(Ordering::Relaxed);
        if queued > 0 && queued + weight > QUEUED_MAX {
            return Err(Reason::SinkFull);
        }
        self.queue_stats.queued_words.fetch_add(weight, Ordering::Relaxed);
        self.queue_stats.sent.fetch_add(records, Ordering::Release);
        let (queue_stats, instance) = (Arc::clone(&self.queue_stats), Arc::clone(&self.instance));
        let queued = QueuedBatch { batch, written: 0, corrupt: 0, queue_stats, instance };
        drop(self.batches.send(queued)); // without a writer the batch comes back, and its drop counts its records
        Ok(())
    }
}

impl BatchReceiver {
    /// Waits for the next batch; `None` if the sender is gone and the queue is empty.
    pub(crate) fn recv(&self) -> Option<QueuedBatch> {
        self.batches.recv().ok()
    }
}
