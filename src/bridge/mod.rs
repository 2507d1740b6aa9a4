//! Bridges that record the telemetry of other crates' facades (`log`, `metrics`, `tracing`) into an instance. Each is
//! behind its own feature. Cold, except for the handles that a bridge returns; a bridge only records: it reads nothing
//! back and changes no other module.

#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tracing")]
pub mod tracing;
