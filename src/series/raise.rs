//! Counters that are set to what somebody else counted. Cold: adds up all lanes under a lock.

use super::metric_registry::MetricRegistry;
use crate::lane::{Key, local};

impl MetricRegistry {
    /// Raises a counter to at least `count`: what it has already, from whomever, is not added again. `false` in the
    /// child of a fork, and from within a lock of the registry; then nothing is done.
    pub(crate) fn raise(&self, cell: Key, count: u64) -> bool {
        let lanes = &self.lanes;
        if lanes.is_forked() {
            return false;
        }
        // One at a time: two that saw the same total would both add what is missing. Additions of other threads that
        // come meanwhile come after this one.
        let raise = || {
            let _one_at_a_time = self.numbering.lock();
            let mut total = [0];
            lanes.sum_cells(cell.index() as usize, &mut total);
            let missing = count.saturating_sub(total[0]);
            // To the shared cell, since this thread's own may need a row that has yet to grow.
            lanes.share_count(cell.index() as usize, missing);
        };
        local::locked(raise).is_some()
    }
}
