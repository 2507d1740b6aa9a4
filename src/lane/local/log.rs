//! Log records in a lane's ring. Hot.

use super::attach::{LocalLane, own_head};
use super::skip;
use crate::level::Level;
use crate::record::layout;
use crate::stats::{Kind, Reason};

impl LocalLane<'_> {
    /// Writes a log record; `false` if it does not fit. The lower its level, the more of the ring it leaves free.
    #[inline(always)]
    pub(crate) fn push_log<const N: usize, const M: usize>(
        &self,
        level: Level,
        words: [u64; N],
        items: [&[u64]; M],
    ) -> bool {
        let (tally, ring) = (&self.lane.tally, &self.lane.ring);
        let reserve = Self::reserve(ring.capacity(), level);
        let pushed = ring.push_leaving(reserve, own_head(), words, items, || tally.sent(Kind::Log));
        let length = items.iter().fold(N, |words, part| words + part.len());
        if pushed {
            tally.add_other_words(length);
        } else {
            let oversize = length > ring.capacity();
            tally.dropped(Kind::Log, if oversize { Reason::Oversize } else { Reason::RingFull });
            tally.log_shed(level as usize - 1);
        }
        pushed
    }

    /// Words of the ring that a log record of this level leaves free: half of them for TRACE, a quarter for DEBUG, and
    /// so on; none for ERROR.
    #[inline(always)]
    fn reserve(capacity: usize, level: Level) -> u64 {
        if level == Level::Error { 0 } else { capacity as u64 >> level as u32 }
    }

    /// The most words that a log record of this level may have. A longer one would never fit.
    #[cold]
    pub(crate) fn longest_log(&self, level: Level) -> usize {
        let capacity = self.lane.ring.capacity();
        (capacity - Self::reserve(capacity, level) as usize).min(layout::WORDS_MAX)
    }

    /// Counts a log record that the switch keeps out.
    #[inline(always)]
    pub(crate) fn skip_log(&self) {
        skip(self.lane, Kind::Log, self.lane.ring.gate());
    }
}
