//! The current span of a thread, where spans are left by their ids. Hot.

use super::Here;

impl Here<'_> {
    /// Exits the innermost span of this id, and nothing else.
    #[inline(always)]
    pub(crate) fn step_out(&self, span_id: u64) {
        self.left(self.desk.step_out(span_id), |desk| desk.exit_by_id(span_id));
    }
}
