//! A thread's end of its lane for models. Loom's threads share one operating system thread, so they cannot find their
//! cells in thread-local storage; here each brings its own.

use super::{Hot, Key, Seats, attach, count_in_place, skip};
use crate::lane::{Directory, Distribution};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::cell::RefCell;

/// What stands in for the thread-locals of one thread. Its drop is the thread's end.
pub(crate) struct Producer {
    hot: Hot,
    /// Hands its lane back when dropped, as at a thread's end.
    _seats: Seats,
}

impl Producer {
    /// Takes a lane, new or used.
    pub(crate) fn enter(directory: &Arc<Directory>) -> Result<Self, Reason> {
        let hot = Hot::nowhere();
        let seats = Seats(RefCell::new(Vec::new()));
        attach(&hot, Key::new(directory.instance, 0).0, &seats, directory)?;
        Ok(Self { hot, _seats: seats })
    }

    /// [`sample`](super::sample), line by line, but for the look at the heartbeat.
    pub(crate) fn sample(&self, to: &Distribution, value: u64) {
        let lane = self.hot.lane(to.base).expect("it has entered");
        let gate = lane.ring.gate();
        if !gate.lets_samples_through() {
            skip(lane, Kind::Sample, gate);
            return;
        }
        let counted = lane.spill.near.find(to.key).is_some_and(|counts| counts.add(to, value))
            || lane.ring.push_sample(&self.hot.head, [(value << super::layout::SAMPLE_SHIFT) | to.word]);
        if !counted {
            count_in_place(lane, to, value);
        }
    }
}
