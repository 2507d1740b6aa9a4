//! What programs record through other facades, taken into an instance. Each bridge stands behind a feature of its
//! own. Cold, but for the handles that a bridge gives out; a bridge reads nothing back and changes no other room.

#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tracing")]
pub mod tracing;
