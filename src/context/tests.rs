//! Tests of the headers with tables: every malformed case that the standards name. Tests with random input are in
//! `properties`.

mod baggage;
mod incoming;
mod properties;
mod traceparent;
mod tracestate;
