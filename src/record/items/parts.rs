//! Reassembles items whose parts were stored separately, so that several threads could reach them. Warm.

use super::{Block, INLINE_WORDS, Items};

impl Items {
    /// Creates items from the results of [`words`](Self::words) and [`take_block`](Self::take_block). Words beyond
    /// [`FRAME`](Self::FRAME) are left out.
    #[inline(always)]
    pub(crate) fn from_parts(frame: impl Iterator<Item = u64>, block: Option<Box<Block>>) -> Self {
        Self { inline: frame.take(INLINE_WORDS).collect(), block }
    }
}
