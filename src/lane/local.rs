//! Thread-local access to the current lane. Hot: [`add`], [`sample`] and [`with_lane`].
//!
//! Functions named `*_cold` and `*_unattached` are for a thread that is not attached to the instance yet; functions
//! named `*_slow` are slow paths of an attached thread.

mod attach;
mod counter;
mod guards;
mod log;
#[cfg(all(test, tellane_loom))]
pub(crate) mod loom;
mod reentry;
mod sample;
mod span;

pub(crate) use attach::{LocalLane, attach, current, detach, mark_own_thread, thread_state_if_on, with_lane};
pub(crate) use counter::{add, add_cold};
pub(crate) use reentry::{afterwards, locked, try_without_recording, without_recording};
pub(crate) use sample::{reject_sample, sample, wants_sample};
pub(crate) use span::{enter_span, enter_span_at};

use super::{Gate, Lane};
use crate::stats::{Kind, Reason};

/// Asks the switch whether a record of this kind is let through at an instance now; what it keeps out is counted.
/// `None` if this thread is not attached to the instance.
#[inline(always)]
pub(crate) fn lets_through(base: u64, kind: Kind) -> Option<bool> {
    with_lane(base, |local| {
        let gate = local.lane.ring.gate();
        let on = gate.lets_samples_through();
        if !on {
            skip(local.lane, kind, gate);
        }
        on
    })
}

/// Counts a record that the switch keeps out. Inline, since a call would cost more than all else of a record that is
/// off.
#[inline(always)]
fn skip(lane: &Lane, kind: Kind, gate: Gate) {
    if gate.is_closed() {
        drop_late(lane, kind);
    } else {
        lane.tally.switched_off(kind);
    }
}

/// Counts a record that comes after shutdown.
#[cold]
#[inline(never)]
fn drop_late(lane: &Lane, kind: Kind) {
    lane.tally.dropped(kind, Reason::AfterShutdown);
}
