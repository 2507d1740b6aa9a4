//! Log records as lines, and where they go. Cold: on a thread of its own, never on a caller's and never on the
//! aggregator's, because a sink may block.
//!
//! Whatever a text holds, a record stays one line and cannot paint the terminal: see `export::escape`. A sink that fails costs
//! the records it did not take, which are counted; the next ones are tried again.

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
