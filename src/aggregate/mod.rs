//! Folds what the lanes hold into histograms, spans and totals. Off every hot path.
//!
//! [`Step`] is one pass over all lanes, driven by hand in tests; [`worker`] is the thread that drives it otherwise:
//! sleeps by the fill it finds, catches panics, answers requests, and works the switch by [`policy`].

mod fold;
mod histograms;
mod latest;
mod logs;
mod outcome;
mod pacing;
mod policy;
mod shown;
mod slack;
mod spans;
mod step;
#[cfg(all(test, not(tellane_loom)))]
mod tests;
mod worker;

pub use fold::Injection;
pub(crate) use fold::Injector;
pub(crate) use pacing::Pacing;
pub(crate) use policy::Thresholds;
pub(crate) use step::Step;
pub(crate) use worker::{Death, Request, Worker, become_own_thread, is_own_thread};
