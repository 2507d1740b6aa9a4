//! What goes along with a trace beside its ids. Cold: few traces have it.

use super::{Baggage, TraceState};

/// Trace state and baggage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) state: TraceState,
    pub(crate) baggage: Baggage,
}

impl Carried {
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_empty() && self.baggage.is_empty()
    }
}
