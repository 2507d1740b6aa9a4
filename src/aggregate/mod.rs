//! Folds what the lanes hold into histograms, spans and totals. Off every hot path.
//!
//! [`Step`] is one pass over all lanes, driven by hand in tests; [`worker`] is the thread that drives it otherwise:
//! sleeps by the fill it finds, catches panics, answers requests, and works the switch by [`policy`].

mod histograms;
mod logs;
mod outcome;
mod pacing;
mod policy;
mod shown;
mod spans;
mod step;
#[cfg(all(test, not(tellane_loom)))]
mod tests;
mod worker;

pub(crate) use pacing::Pacing;
pub(crate) use policy::Thresholds;
pub use step::Injection;
pub(crate) use step::{Injector, Step};
pub(crate) use worker::{Request, Worker, become_own_thread, is_own_thread};
