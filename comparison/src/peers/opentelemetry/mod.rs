//! opentelemetry with its SDK.

pub(super) mod metrics;
pub(super) mod spans;
