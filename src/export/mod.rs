//! Snapshots as text. Cold; reads snapshots and nothing else.

mod console;
pub mod prometheus;

pub use console::Report;
