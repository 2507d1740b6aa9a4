//! A test kit for programs that use tellane: an instance with a mock clock, and short queries for the spans, logs and
//! metrics it recorded. Cold. Its assertions panic.
//!
//! Each [`Kit`] has an instance of its own, so tests do not see each other's records, on any number of threads; spans
//! follow their tasks ([`InSpan`](crate::InSpan)) to other threads.
//!
//! ```
//! use std::time::Duration;
//! use tellane::{Level, testing::Kit};
//!
//! fn serve(tracer: &tellane::Tracer, log: &tellane::Logger) {
//!     let _request = tracer.span("request");
//!     tracer.span("query").set("rows", 3_u64);
//!     tellane::warn!(log, "slow", limit = 2);
//! }
//!
//! let kit = Kit::new();
//! serve(&kit.tracer(), &kit.logger("shop"));
//! assert_eq!(kit.tree(), "request\n  query\n");
//! assert_eq!(kit.outline(), "request\n  ! warn shop: slow limit=2\n  query rows=3\n");
//! assert_eq!(kit.span("query").duration, Duration::ZERO); // the clock stands still
//! kit.assert_logged(Level::Warn, "slow", "request");
//! kit.assert_nothing_lost();
//! ```
//!
//! # Code that uses the installed instance
//!
//! The code under test above takes its tracer and its logger as arguments. Prefer this, or fields of a struct, because
//! each test then has an instance of its own. Code that uses [`tracer()`](crate::tracer()),
//! [`logger()`](crate::logger()) or a static (`counter!`) gets the one instance of the process, and a test cannot
//! replace it: a static keeps its handle, and a check for a replacement would slow down every call in every program.
//!
//! Such tests share [`Kit::installed`]. [`Kit::during`] separates the spans and logs of one test from those of the
//! others by their trace. Metrics cannot be separated, so put a test of a static's total into a test binary of its own,
//! or give its series a label that no other test uses.

mod kit;
mod outline;
mod recorded;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

pub use kit::Kit;
pub use recorded::Recorded;
