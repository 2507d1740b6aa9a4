//! Items taken apart, to be put where several threads can reach them, and put together again. Warm.

use super::{Block, INLINE_WORDS, Items};

impl Items {
    /// Puts together what [`words`](Self::words) and [`take_block`](Self::take_block) gave. What is above
    /// [`FRAME`](Self::FRAME) is left out.
    #[inline(always)]
    pub(crate) fn from_parts(frame: impl Iterator<Item = u64>, block: Option<Box<Block>>) -> Self {
        Self { inline: frame.take(INLINE_WORDS).collect(), block }
    }
}
