//! Immutable results: what exporters, reports and tests read. Cold.
//!
//! A [`Snapshot`] is taken by the aggregator, never torn (a histogram's count is the sum of its buckets, by
//! construction), shared by reference count, and costs nothing more however many read it.

mod bounds;
mod catalogue;
mod cumulative;
mod decisions;
mod distribution;
mod events;
mod hdr_v2;
mod last_values;
mod log;
mod merge;
mod saved;
mod span;
mod taken;
mod trace;

pub(crate) use catalogue::{Catalogue, Pieces};
pub(crate) use cumulative::Cuts;
pub use decisions::Decisions;
pub use distribution::HistogramView;
pub use events::{Exemplar, SpanEvent, SpanLink};
pub use log::LogRecord;
pub(crate) use log::{Inbox, LogBatch, Mail, Outbox, Parcel, outbox, read_logs};
pub use saved::ReadError;
pub use span::FinishedSpan;
pub(crate) use span::{EncodedTrace, Names, SpanBatch};
pub use taken::{Pipeline, Point, PointValue, Snapshot};
pub use trace::Trace;
