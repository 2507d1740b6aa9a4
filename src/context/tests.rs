//! The headers' tables: every malformed case that the standards name. What holds for any input is in
//! `properties`.

mod baggage;
mod incoming;
mod properties;
mod traceparent;
mod tracestate;
