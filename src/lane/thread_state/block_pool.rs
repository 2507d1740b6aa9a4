//! Blocks for spans and logs with more items than their frame holds. Cold.

use crate::record::Block;
use std::cell::RefCell;

/// Blocks that a thread keeps for the next long span.
const BLOCKS: usize = 4;

/// The spare blocks of one thread.
#[derive(Debug)]
pub(crate) struct BlockPool {
    #[allow(clippy::vec_box)] // the box itself goes to a span and comes back
    spare: RefCell<Vec<Box<Block>>>,
}

impl BlockPool {
    pub(super) fn new() -> Self {
        Self { spare: RefCell::new(Vec::with_capacity(BLOCKS)) }
    }

    /// Takes a block that was given back.
    #[cold]
    pub(crate) fn take(&self) -> Option<Box<Block>> {
        self.spare.borrow_mut().pop()
    }

    /// Gives a block back. Returns it if the pool is full; the caller drops it.
    #[cold]
    pub(crate) fn give(&self, mut block: Box<Block>) -> Option<Box<Block>> {
        let mut spare = self.spare.borrow_mut();
        if spare.len() >= BLOCKS {
            return Some(block);
        }
        block.clear();
        spare.push(block);
        None
    }
}
