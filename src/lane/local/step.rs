//! The current span of a thread, where spans are left by their ids. Hot.

use super::LocalLane;

impl LocalLane<'_> {
    /// Exits the innermost span of this id, and nothing else.
    #[inline(always)]
    pub(crate) fn exit_unordered(&self, span_id: u64) {
        self.left(self.thread_state.exit_unordered(span_id), |thread_state| thread_state.exit_by_id(span_id));
    }
}
