//! Raising a counter to an absolute value, for bridges. Cold: adds up all lanes under a lock.

use super::metric_registry::MetricRegistry;
use crate::lane::{Key, local};

impl MetricRegistry {
    /// Raises a counter to at least `count`: counts that it has already, from any thread, are not added again. Returns
    /// `false` and does nothing in a forked child, and if this thread holds a lock of the registry.
    pub(crate) fn raise(&self, cell: Key, count: u64) -> bool {
        let lanes = &self.lanes;
        if lanes.is_forked() {
            return false;
        }
        // One at a time: two threads that saw the same total would both add the difference. Concurrent additions of
        // other threads count as coming after this one.
        let raise = || {
            let _one_at_a_time = self.numbering.lock();
            let mut total = [0];
            lanes.sum_cells(cell.index() as usize, &mut total);
            let missing = count.saturating_sub(total[0]);
            // Added to the shared cell, since this thread's own cell may be in a row that is not allocated yet.
            lanes.share_count(cell.index() as usize, missing);
        };
        local::locked(raise).is_some()
    }
}
