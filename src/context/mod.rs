//! W3C context propagation: `traceparent` and `tracestate` (Trace Context level 2), and `baggage`. Pure functions over
//! header values, no unsafe. Called once per request, not per span.
//!
//! The contract of this module: incoming headers are untrusted. Reading them scans at most a fixed number of bytes,
//! allocates at most a small multiple of that, never panics, and never fails a request: a refused header gives an empty
//! value and a reason that can be counted ([`HeaderFaults`]). Outgoing headers obey the same limits.
//!
//! | header | limit | over the limit |
//! |---|---|---|
//! | `traceparent` | one value, 55 bytes; of higher versions the first 56 are read | the header is ignored |
//! | `tracestate` | 8,192 bytes, 32 members | the whole header is ignored |
//! | `baggage` | 8,192 bytes, 64 members | further members are dropped and counted |

mod baggage;
#[cfg(feature = "http")]
mod header_map;
mod headers;
mod incoming;
mod members;
mod propagated;
#[cfg(all(test, not(tellane_loom)))]
mod tests;
mod traceparent;
mod tracestate;

pub use baggage::{Baggage, BaggageError, BaggageMember};
pub use headers::{Extract, Inject};
pub use incoming::{HeaderFaults, Incoming, inject};
pub(crate) use propagated::{Hold, Propagated, PropagatedHandle};
pub use traceparent::{RemoteParent, TraceparentError};
pub use tracestate::{TraceState, TracestateError};
