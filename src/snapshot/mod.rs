//! Immutable results, read by exporters, reports and tests. Cold.
//!
//! The aggregator makes each [`Snapshot`]. A snapshot is consistent (a histogram's count is the sum of its buckets, by
//! construction) and shared by reference count, so any number of readers cost no more than one.

mod bounds;
mod catalogue;
mod cumulative;
mod distribution;
mod events;
mod hdr_v2;
mod last_values;
mod log;
mod merge;
mod saved;
#[expect(clippy::module_inception, reason = "the room is named for this type")]
mod snapshot;
mod span;
mod tail_sampling;
mod trace;

pub(crate) use catalogue::{Catalogue, TextTemplate};
pub(crate) use cumulative::BucketBounds;
pub use distribution::HistogramView;
pub use events::{Exemplar, SpanEvent, SpanLink};
pub use log::LogRecord;
pub(crate) use log::{BatchReceiver, BatchSender, LogBatch, QueueStats, QueuedBatch, log_queue, read_logs};
pub use saved::ReadError;
pub use snapshot::{Pipeline, Point, PointValue, Snapshot};
pub use span::FinishedSpan;
pub(crate) use span::{EncodedTrace, Names, SpanBatch};
pub use tail_sampling::TailSamplingStats;
pub use trace::Trace;
