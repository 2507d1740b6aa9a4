//! Log formats and sinks. Cold: runs on a thread of its own, never on a caller's and never on the aggregator's, because
//! a sink may block.
//!
//! A record is always one line and cannot change the terminal's colours, whatever its texts contain: see
//! `export::escape`. Records that a sink fails to write are counted as lost; the next records are tried again.

mod file;
mod format;
mod lock;
mod sink;
mod time;
mod writer;

pub use file::Rotation;
pub use format::Format;
pub use sink::{LogMemory, Sink};
pub(crate) use writer::Writer;
