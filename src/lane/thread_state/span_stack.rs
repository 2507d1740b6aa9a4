//! A thread's stack of open spans. Hot: entering and exiting in order. [`exit`] has the rest.

mod exit;

pub(crate) use exit::Exit;

use super::{Ids, TraceFlags};
use crate::context::Hold;
use std::cell::{Cell, RefCell};

/// Entries that are kept, a power of two. Deeper spans are recorded as children of the deepest kept one.
pub(crate) const DEPTH: usize = 128;

/// A stack index; -1 is below the bottom. Signed, so that one comparison tells the top from indices above and below.
pub(crate) type StackIndex = isize;

/// The open spans of one thread, innermost last.
#[derive(Debug)]
pub(crate) struct SpanStack {
    /// The index of the innermost entry; -1 if there is none. Above [`DISORDER`](exit::DISORDER) while a tombstone is
    /// on the stack: then every fast path fails its comparison, and [`exit`] takes over.
    top: Cell<StackIndex>,
    /// The entries, and behind them a copy of the innermost for when `top` is no index into them.
    open: [Cell<Ids>; DEPTH + 1],
    /// Set when entries have moved away from the indices that their guards hold; `guard_indices` has those indices
    /// then.
    moved: Cell<bool>,
    guard_indices: [Cell<StackIndex>; DEPTH],
    /// Trace state and baggage kept after their guard was dropped, since spans started under it are still open.
    kept: RefCell<Vec<Hold>>,
}

impl SpanStack {
    /// Writes the fields for which zeros are no value, or the wrong one, into zeroed memory.
    ///
    /// # Safety
    /// `at` points to zeroed memory for a whole stack, which nobody else reads.
    #[allow(unsafe_code)] // see `ThreadState::new`
    pub(super) unsafe fn init(at: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe {
            (&raw mut (*at).top).write(Cell::new(-1));
            (&raw mut (*at).kept).write(RefCell::new(Vec::new()));
        }
    }

    #[cfg(all(test, not(tellane_loom)))]
    fn new() -> Self {
        Self {
            top: Cell::new(-1),
            open: std::array::from_fn(|_| Cell::default()),
            moved: Cell::default(),
            guard_indices: std::array::from_fn(|_| Cell::default()),
            kept: RefCell::default(),
        }
    }

    /// The innermost open span.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<Ids> {
        let top = self.top.get();
        if top < 0 { None } else { Some(self.open[(top as usize).min(DEPTH)].get()) }
    }

    /// Returns `true` if an open span has one of these flags.
    #[cold]
    pub(crate) fn any_has(&self, trace_flags: u64) -> bool {
        self.kept_entries().iter().any(|open| open.get().trace_flags.has(trace_flags))
    }

    /// The index of the next span and the entry below it; `None` if the next span needs the slow path of
    /// [`enter`](Self::enter).
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<(StackIndex, Option<Ids>)> {
        let index = self.top.get() + 1;
        if index as usize >= DEPTH {
            return None;
        }
        Some((index, if index == 0 { None } else { Some(self.open[index as usize - 1].get()) }))
    }

    /// The entry below an index that [`next`](Self::next) has returned.
    #[inline(always)]
    pub(crate) fn around(&self, index: StackIndex) -> Option<Ids> {
        // The mask saves a bounds check.
        if index == 0 { None } else { Some(self.open[(index - 1) as usize & (DEPTH - 1)].get()) }
    }

    /// Makes a span the innermost, at the index that [`next`](Self::next) has just returned.
    #[inline(always)]
    pub(crate) fn enter_at(&self, index: StackIndex, span: Ids) {
        debug_assert_eq!(index, self.top.get() + 1);
        self.open[index as usize].set(span);
        self.top.set(index);
    }

    /// Makes a span the innermost; returns its index.
    #[inline(always)]
    pub(crate) fn enter(&self, span: Ids) -> StackIndex {
        self.enter_from(&span)
    }

    /// Like [`enter`](Self::enter), but copies the ids from a reference.
    #[inline(always)]
    pub(crate) fn enter_from(&self, span: &Ids) -> StackIndex {
        let index = self.top.get() + 1;
        if index as usize >= DEPTH {
            return self.enter_slow(*span);
        }
        self.open[index as usize].set(*span);
        self.top.set(index);
        index
    }

    /// The innermost index; raised while there is a tombstone.
    #[inline(always)]
    pub(crate) fn top(&self) -> StackIndex {
        self.top.get()
    }

    /// Fast path of an exit: pops the entry if it is the innermost. `Some(true)` if the stack is empty then; `None` for
    /// any other entry, which is left to [`exit`](Self::exit).
    #[inline(always)]
    pub(crate) fn pop(&self, index: StackIndex, span_id: u64) -> Option<bool> {
        // The mask saves a bounds check: an index that is too deep finds an entry of another id.
        if index != self.top.get() || self.open[index as usize & (DEPTH - 1)].get().span_id != span_id {
            return None;
        }
        let below = index - 1;
        self.top.set(below);
        Some(below < 0)
    }

    /// Fast path of an exit by id, as `tracing` exits spans: pops the span if it is the innermost. `Some(true)` if the
    /// stack is empty then; `None` if the exit needs the slow path, [`exit_by_id`](Self::exit_by_id).
    #[cfg(feature = "tracing")]
    #[inline(always)]
    pub(crate) fn exit_unordered(&self, span_id: u64) -> Option<bool> {
        let top = self.top.get();
        let entry = self.open[..DEPTH].get(top as usize)?;
        if entry.get().span_id != span_id {
            return None;
        }
        self.top.set(top - 1);
        Some(top == 0)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn ids(span_id: u64) -> Ids {
        Ids { trace_id: 1, span_id, trace_flags: TraceFlags(TraceFlags::SAMPLED) }
    }

    #[test]
    fn spans_nest_and_are_exited_in_any_order() {
        let stack = SpanStack::new();
        let end = |index, span_id| {
            stack.pop(index, span_id).unwrap_or_else(|| stack.exit(index, span_id, Exit::Span))
        };
        let (a, b) = (stack.enter(ids(1)), stack.enter(ids(2)));
        end(a, 1);
        assert_eq!(stack.current(), None, "the outer one takes the inner one along");
        let (c, d) = (stack.enter(ids(3)), stack.enter(ids(4)));
        end(b, 2);
        assert_eq!(stack.current(), Some(ids(4)), "ending a span twice exits no other span");
        end(d, 4);
        assert_eq!(stack.current(), Some(ids(3)));
        end(c, 3);
        assert_eq!(stack.current(), None);
    }

    #[test]
    fn a_million_open_spans_take_no_more_room() {
        let stack = SpanStack::new();
        let guard_indices: Vec<_> = (1..=1_000_000).map(|id| stack.enter(ids(id))).collect();
        assert_eq!(stack.current(), Some(ids(DEPTH as u64)));
        for index in guard_indices.into_iter().rev() {
            let span_id = index as u64 + 1;
            stack.pop(index, span_id).unwrap_or_else(|| stack.exit(index, span_id, Exit::Span));
        }
        assert_eq!(stack.current(), None);
    }
}
