//! Log records on their way out: encoded in a batch, then in full. Cold.
//!
//! A batch is made by the aggregator and read by whoever writes the sinks; between the two there is an [`BatchSender`], which
//! never makes the aggregator wait.

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

/// A log record, as sinks get it.
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
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// How much it matters.
    pub level: Level,
    /// The name of the logger.
    pub target: Arc<str>,
    /// What it says.
    pub message: Arc<str>,
    /// Trace and span that were open on the thread.
    pub span: Option<(u128, u64)>,
    /// Keys and values, in the order in which they were given; of a key that was given again, the last value.
    pub fields: Vec<(Arc<str>, Value)>,
    /// Fields that did not fit.
    pub fields_dropped: u16,
    /// Where it was made, if it was made by a macro.
    pub module: Option<&'static str>,
    /// File and line, if it was made by a macro.
    pub location: Option<(&'static str, u32)>,
}

/// Log records of one pass, encoded one after the other and in the order of their times.
#[derive(Debug)]
pub(crate) struct LogBatch {
    pub(crate) words: Vec<u64>,
    pub(crate) records: u64,
    /// What their ticks mean.
    pub(crate) anchor: Anchor,
}

impl LogBatch {
    /// What the queue counts it as.
    fn weight(&self) -> u64 {
        self.words.len() as u64 + 32
    }
}

impl LogRecord {
    pub(crate) fn of(log: Log, anchor: &Anchor, scale: Scale, instance: &Instance) -> Option<Self> {
        let target = Arc::clone(&instance.logs.target_of(log.target)?.text);
        let (message, module, location) = match log.message {
            Message::Text(text) => (text.into(), None, None),
            Message::Callsite(callsite) => {
                let callsite = Callsite::of(callsite)?;
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

/// Reads a batch: `None` for each record that cannot be read.
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
        Some(next.log().ok().and_then(|log| LogRecord::of(log, &batch.anchor, scale, instance)))
    })
}

/// What may wait for the sinks, in words: 16 MiB.
#[cfg(not(tellane_loom))]
const WAITING_MAX: u64 = 1 << 21;
#[cfg(tellane_loom)]
const WAITING_MAX: u64 = 40;

/// What both ends of the way to the sinks know. Records, and words that wait.
#[derive(Debug, Default)]
pub(crate) struct QueueStats {
    handed: AtomicU64,
    settled: AtomicU64,
    waiting: AtomicU64,
}

impl QueueStats {
    /// Records handed over so far.
    pub(crate) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// Whether so many have been written, or given up.
    pub(crate) fn has_settled(&self, records: u64) -> bool {
        // Acquire pairs with the Release of `QueuedBatch`'s drop: who sees it sees the account.
        self.settled.load(Ordering::Acquire) >= records
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        8 * self.waiting.load(Ordering::Relaxed) as usize
    }
}

/// A batch on its way. Whoever drops it books it: what was not written by then is lost, also when the writer has gone and
/// the batch with it.
#[derive(Debug)]
pub(crate) struct QueuedBatch {
    pub(crate) batch: LogBatch,
    /// Records that every sink has taken.
    pub(crate) written: u64,
    /// Records that cannot be read.
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
        queue_stats.waiting.fetch_sub(batch.weight(), Ordering::Relaxed);
        if planted(Bug::EarlySettle) || (planted(Bug::UnsettledLoss) && failed > 0) {
            return;
        }
        settle(if planted(Bug::RelaxedSettle) { Ordering::Relaxed } else { Ordering::Release });
    }
}

/// The aggregator's end. Its drop is the writer's end.
#[derive(Debug)]
pub(crate) struct BatchSender {
    batches: Sender<QueuedBatch>,
    pub(crate) queue_stats: Arc<QueueStats>,
    instance: Arc<Instance>,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct BatchReceiver {
    batches: Receiver<QueuedBatch>,
}

/// The way to the sinks. The channel has no bound of its own: what waits is bounded by its words, so that neither many
/// small batches nor few great ones take more memory than that.
pub(crate) fn sender(instance: &Arc<Instance>) -> (BatchSender, BatchReceiver) {
    let (batches, receiver) = unbounded();
    (
        BatchSender { batches, queue_stats: Arc::default(), instance: Arc::clone(instance) },
        BatchReceiver { batches: receiver },
    )
}

impl BatchSender {
    /// Hands a batch over; if it is not taken, why: then the caller books it.
    pub(crate) fn post(&self, batch: LogBatch) -> Result<(), Reason> {
        let (records, weight) = (batch.records, batch.weight());
        let waiting = self.queue_stats.waiting.load(Ordering::Relaxed);
        if waiting > 0 && waiting + weight > WAITING_MAX {
            return Err(Reason::SinkFull);
        }
        self.queue_stats.waiting.fetch_add(weight, Ordering::Relaxed);
        self.queue_stats.handed.fetch_add(records, Ordering::Release);
        let (queue_stats, instance) = (Arc::clone(&self.queue_stats), Arc::clone(&self.instance));
        let queued = QueuedBatch { batch, written: 0, corrupt: 0, queue_stats, instance };
        drop(self.batches.send(queued)); // without a writer it comes back, and books itself
        Ok(())
    }
}

impl BatchReceiver {
    /// The next batch; `None` when there will be none.
    pub(crate) fn next(&self) -> Option<QueuedBatch> {
        self.batches.recv().ok()
    }
}
