//! The current span of a thread, where spans are left in any order. Hot.

use super::{HOT, Here, Hot};
use crate::lane::{Ids, Marks};

impl Here<'_> {
    /// Makes a span the innermost one that may be left out of order.
    #[inline(always)]
    pub(crate) fn step_in(&self, ids: Ids) {
        if ids.marks.has(Marks::EXAMPLES) {
            HOT.with(Hot::shut_samples);
        }
        self.desk.step_in(ids);
    }

    /// Ends what [`step_in`](Self::step_in) began, and nothing else.
    #[inline(always)]
    pub(crate) fn step_out(&self, span_id: u64) {
        self.desk.step_out(span_id);
        if self.desk.is_empty() {
            HOT.with(|hot| hot.open_samples(self.lane));
        }
    }
}
