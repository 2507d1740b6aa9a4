//! For tests of programs that use tellane: an instance on a clock that stands still, and short ways to ask what was
//! recorded. Cold. Its assertions panic: that is what they are for.
//!
//! An instance belongs to whoever started it, so tests that have a [`Kit`] each do not see each other's records, on
//! however many threads they run; spans follow their tasks ([`InSpan`](crate::InSpan)) wherever these go.
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
//! What is tested here takes its tracer and its logger as arguments, or in a struct: that is the way to be preferred,
//! because each test has an instance of its own then. Code that asks for [`tracer()`](crate::tracer()),
//! [`logger()`](crate::logger()) or a static (`counter!`) gets the process's one instance, and no test can put another
//! in its place: a static keeps its handle, and to look for a replacement first would be paid for by every call of every
//! program. Such tests share [`Kit::installed`]. [`Kit::during`] tells the spans and logs of one test from those of the
//! others by their trace; metrics cannot be told apart, so a test of a static's total goes to a test binary of its own,
//! or gives its series a label that no other test uses.

mod kit;
mod outline;
mod recorded;
#[cfg(all(test, not(tellane_loom)))]
mod tests;

pub use kit::Kit;
pub use recorded::Recorded;
