//! Additions to counters. [`add`] is hot.

use super::attach::{LOCAL, attach, replace_row};
use super::without_recording;
use crate::lane::{Key, LaneRegistry};
use crate::stats::Reason;
use crate::sync::{Arc, Ordering};

/// Adds to a counter's cell; `false` if this thread has no such cell yet, and [`add_cold`] must be called.
#[inline(always)]
pub(crate) fn add(key: Key, amount: u64) -> bool {
    LOCAL.with(|local| {
        let Some(cell) = local.cell(key) else { return false };
        // Relaxed, and no read-modify-write: this thread is the only writer, and a count publishes nothing else.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        true
    })
}

/// Adds to a counter that has no cell on this thread yet, or no lane to have one in. The amount is lost only in a
/// forked child.
#[cold]
#[inline(never)]
pub(crate) fn add_cold(lanes: &Arc<LaneRegistry>, key: Key, amount: u64) {
    match attach(lanes) {
        Ok(()) => {
            let cells = lanes.shared_cells.count();
            if key.index() as usize >= cells {
                return; // no such counter: the error count of a span name that came when no cell was left
            }
            LOCAL.with(|local| {
                if let Some(lane) = local.lane(key.base()) {
                    // The row is locked and replaced, so a recording allocator must not come back for it.
                    without_recording(|| lane.cells.grow(cells));
                    replace_row(local, lanes.instance, lane.cells.raw());
                }
            });
            add(key, amount);
        }
        Err(Reason::Forked) => {}
        Err(_) => lanes.share_count(key.index() as usize, amount),
    }
}
