//! The producing end of a lane for models. Loom's threads share one operating system thread, and so its thread-locals;
//! here each thread owns its [`ThreadLocal`].

use super::attach::{Attachments, ThreadLocal, attach_slow};
use super::sample::count_in_spill;
use super::skip;
use crate::lane::{Distribution, Key, LaneRegistry};
use crate::record::layout;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::cell::RefCell;

/// Stand-in for the thread-locals of one thread. Dropping it stands for the thread's end.
pub(crate) struct Producer {
    local: ThreadLocal,
    /// Hands the lane back when dropped, as at a thread's end.
    _attachments: Attachments,
}

impl Producer {
    /// Attaches to a lane, new or used.
    pub(crate) fn enter(lanes: &Arc<LaneRegistry>) -> Result<Self, Reason> {
        let local = ThreadLocal::nowhere();
        let attachments = Attachments(RefCell::new(Vec::new()));
        attach_slow(&local, Key::new(lanes.instance, 0).0, &attachments, lanes)?;
        Ok(Self { local, _attachments: attachments })
    }

    /// Records like [`sample`](super::sample), line by line, but without the check of the heartbeat.
    pub(crate) fn sample(&self, to: &Distribution, value: u64) {
        let lane = self.local.lane(to.base).expect("`enter` attached it");
        let gate = lane.ring.gate();
        if !gate.lets_samples_through() {
            skip(lane, Kind::Sample, gate);
            return;
        }
        let counted = lane.spill.slot_cache.get(to.key).is_some_and(|counts| counts.add(to, value))
            || lane.ring.push_sample(&self.local.head, [(value << layout::SAMPLE_SHIFT) | to.word]);
        if !counted {
            count_in_spill(lane, to, value);
        }
    }
}
