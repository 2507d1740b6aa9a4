//! The aggregator: folds the records in the lanes into histograms, spans and totals. Off every hot path.
//!
//! [`Step`] makes one pass over all lanes, and tests drive it by hand. In a program the thread in [`worker`] drives it:
//! the worker sleeps according to the rings' fill ([`pacing`]), catches panics, answers requests, and moves the switch
//! by [`policy`].

mod catalogue;
mod fold;
mod histograms;
mod logs;
mod pacing;
mod policy;
mod span_ring;
mod spans;
mod step;
mod tail_sampling;
#[cfg(all(test, not(tellane_loom)))]
mod tests;
mod timer_slack;
mod worker;

pub use fold::FailPoint;
pub(crate) use fold::FailPoints;
pub(crate) use pacing::Pacing;
pub(crate) use policy::Thresholds;
pub(crate) use step::Step;
pub(crate) use worker::{Death, Request, Worker, become_own_thread, is_own_thread};
