//! Snapshots as text. Cold; reads snapshots and nothing else.

mod console;
mod escape;
mod log;
pub mod prometheus;

pub use console::Report;
pub(crate) use log::Writer;
pub use log::{Format, LogMemory, Rotation, Sink};
