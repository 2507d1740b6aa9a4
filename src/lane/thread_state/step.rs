//! Spans that are left in any order, as `tracing` leaves them: by their ids, without a guard. Hot.

use super::{DEPTH, ThreadState};

impl ThreadState {
    /// Fast path: pops the span of this id if it is the innermost, and says whether it was the last. `None` if only
    /// [`exit_by_id`](Self::exit_by_id) can tell.
    #[inline(always)]
    pub(crate) fn exit_unordered(&self, span_id: u64) -> Option<bool> {
        let top = self.top.get();
        let entry = self.open[..DEPTH].get(top as usize)?;
        if entry.get().span_id != span_id {
            return None;
        }
        self.top.set(top - 1);
        Some(top == 0)
    }
}
