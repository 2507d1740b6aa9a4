//! Text output: the console report, the Prometheus text format, and the sinks of log records. Cold; reads snapshots and
//! batches of log records, and nothing else.

mod console;
mod escape;
mod log;
pub mod prometheus;

pub use console::Report;
pub(crate) use log::Writer;
pub use log::{Format, LogMemory, Rotation, Sink};
