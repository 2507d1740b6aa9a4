//! What a request says of the trace it belongs to, in the words of the W3C: `traceparent` and `tracestate` (Trace
//! Context level 2) and `baggage`. Pure functions over header values, no unsafe. Called once a request, not once a span.
//!
//! The contract of the room: what comes in was written by a stranger. Reading it looks at no more than a fixed number
//! of bytes, allocates no more than a small multiple of that, never panics, and never fails a request: what is
//! refused gives an empty part and a reason that can be counted ([`HeaderFaults`]). What goes out obeys the same
//! limits.
//!
//! | header | limit | over it |
//! |---|---|---|
//! | `traceparent` | one value, 55 bytes; of higher versions the first 56 are read | ignored |
//! | `tracestate` | 8,192 bytes, 32 members | the whole is ignored |
//! | `baggage` | 8,192 bytes, 64 members | what is over is dropped and counted |

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
pub(crate) use propagated::{Handle, Hold, Propagated};
pub use traceparent::{RemoteParent, TraceparentError};
pub use tracestate::{TraceState, TracestateError};
