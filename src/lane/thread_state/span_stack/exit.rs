//! The slow paths of a thread's stack: entries that are exited out of order, and those too deep to be kept. Cold.
//!
//! Guards store their stack index, so an entry in the middle cannot be removed. It becomes a tombstone, which mirrors
//! the entry below until it is the innermost and is popped. While a tombstone is on the stack, `top` is raised by
//! [`DISORDER`]: every fast path then fails its comparison with the top, and none has to check for tombstones.
//!
//! A thread that always enters the next context before it exits the last one never pops its tombstones. When they fill
//! the stack they are removed, and the other entries move down. From then on, until the stack is empty, the indices
//! that guards store are mere numbers in ascending order, and an exit has to search for its entry.

use super::{DEPTH, Ids, SpanStack, StackIndex, TraceFlags};
use crate::context::{Hold, PropagatedHandle};
use crate::lane::laneless;
use std::cell::Cell;

/// Offset added to `top` while a tombstone is on the stack. Above any index, and below that of a span on no stack.
pub(super) const DISORDER: StackIndex = 1 << 30;
/// The index of an entry that is too deep to be kept, on a stack whose entries have moved.
const DEEP: StackIndex = DISORDER - 1;

/// The rule by which an entry is exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A span's guard. Spans that were opened inside and are still open are exited with it, since they may have been
    /// leaked. A context attached inside, or a span entered there, stays, and so does every entry after it.
    Span,
    /// The guard of an attached context or an entered span. Entries inside stay.
    Entered,
    /// The end of a future's poll. All entries inside are exited with it.
    Poll,
}

impl SpanStack {
    fn real_top(&self) -> StackIndex {
        let top = self.top.get();
        if top >= DISORDER { top - DISORDER } else { top }
    }

    /// Entries that are kept, tombstones among them.
    pub(super) fn kept_entries(&self) -> &[Cell<Ids>] {
        &self.open[..((self.real_top() + 1) as usize).min(DEPTH)]
    }

    /// Returns `true` if the stack has no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.top.get() < 0
    }

    /// Slow path of [`enter`](Self::enter): pushes a span onto a stack that has tombstones or is full.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_slow(&self, span: Ids) -> StackIndex {
        let mut index = self.real_top() + 1;
        if index as usize == DEPTH && self.top.get() >= DISORDER {
            index = self.compact();
        }
        let mut guard_index = index;
        if let Some(entry) = self.open[..DEPTH].get(index as usize) {
            entry.set(span);
            let last = index.checked_sub(1).and_then(|last| self.guard_indices.get(last as usize));
            guard_index = match last {
                Some(last) if self.moved.get() => (last.get() + 1) % DEEP,
                _ => index,
            };
            self.guard_indices[index as usize].set(guard_index);
        } else if self.moved.get() {
            guard_index = DEEP;
        }
        self.settle(index);
        guard_index
    }

    /// Takes the tombstones out of a full stack; returns the first free index.
    fn compact(&self) -> StackIndex {
        let mut free = 0;
        for (at, entry) in self.open[..DEPTH].iter().enumerate() {
            if !entry.get().trace_flags.has(TraceFlags::EXITED) {
                let guard_index =
                    if self.moved.get() { self.guard_indices[at].get() } else { at as StackIndex };
                self.guard_indices[free].set(guard_index);
                self.open[free].set(entry.get());
                free += 1;
            }
        }
        self.moved.set(true);
        free as StackIndex
    }

    /// The position of a guard's entry; `None` if it has been exited.
    fn position(&self, guard_index: StackIndex, span_id: u64) -> Option<StackIndex> {
        let entries = self.kept_entries();
        let index = match self.moved.get() {
            false => guard_index as usize,
            true => {
                self.guard_indices[..entries.len()].iter().position(|index| index.get() == guard_index)?
            }
        };
        let entry = entries.get(index)?.get();
        (entry.span_id == span_id && !entry.trace_flags.has(TraceFlags::EXITED))
            .then_some(index as StackIndex)
    }

    /// Exits the entry of this index and id; returns `true` if the stack is empty then. Does nothing if the entry has
    /// been exited already. May allocate.
    #[cold]
    #[inline(never)]
    pub(crate) fn exit(&self, index: StackIndex, span_id: u64, how: Exit) -> bool {
        let is_deep = if self.moved.get() { index == DEEP } else { index >= DEPTH as StackIndex };
        if laneless::is_laneless(index) {
            laneless::exit(index, how); // the thread had no lane when it was entered
        } else if is_deep {
            self.exit_deep();
        } else if let Some(index) = self.position(index, span_id) {
            self.exit_at(index, how);
        }
        self.is_empty()
    }

    /// Exits an entry that is too deep to be kept. Only the number of such entries is known.
    fn exit_deep(&self) {
        let top = self.real_top();
        if top >= DEPTH as StackIndex {
            self.settle(top - 1);
        }
    }

    fn exit_at(&self, index: StackIndex, how: Exit) {
        let top = self.real_top();
        let handle = self.open[index as usize].get().trace_flags.handle();
        let inside = &self.kept_entries()[index as usize + 1..];
        let stays = match how {
            Exit::Poll => None,
            Exit::Entered if index < top => Some(index + 1),
            Exit::Entered => None,
            Exit::Span => inside
                .iter()
                .position(|open| open.get().trace_flags.has(TraceFlags::ENTERED))
                .map(|first| index + 1 + first as StackIndex),
        };
        match stays {
            None => self.settle(index - 1),
            Some(stays) => {
                self.bury(index, stays);
                self.retain(handle);
                self.settle(top);
            }
        }
    }

    /// Keeps the trace state and baggage of an exited entry alive, if entries that stay have inherited them.
    fn retain(&self, handle: PropagatedHandle) {
        let mut kept = self.kept.borrow_mut();
        if self.inherits(handle)
            && kept.iter().all(|hold| hold.handle() != handle)
            && let Some(hold) = Hold::upgrade(handle)
        {
            kept.push(hold);
        }
    }

    /// Returns `true` if an open entry has this trace state and baggage.
    fn inherits(&self, handle: PropagatedHandle) -> bool {
        let has_it =
            |trace_flags: TraceFlags| trace_flags.handle() == handle && !trace_flags.has(TraceFlags::EXITED);
        self.kept_entries().iter().any(|open| has_it(open.get().trace_flags))
    }

    /// Exits the innermost span of this id, and no other; returns `true` if the stack is empty then.
    #[cfg(feature = "tracing")]
    #[cold]
    #[inline(never)]
    pub(crate) fn exit_by_id(&self, span_id: u64) -> bool {
        let is_it = |open: &Cell<Ids>| {
            open.get().span_id == span_id && !open.get().trace_flags.has(TraceFlags::EXITED)
        };
        match self.kept_entries().iter().rposition(is_it) {
            Some(index) => self.exit_at(index as StackIndex, Exit::Entered),
            None => {
                laneless::exit_by_id(span_id); // the thread had no lane when it was entered
                self.exit_deep(); // too deep to be kept, or not on this stack
            }
        }
        self.is_empty()
    }

    /// Makes tombstones of the entries from `from` up to `to`.
    fn bury(&self, from: StackIndex, to: StackIndex) {
        self.top.set(self.real_top() + DISORDER);
        let mut around = match from {
            0 => Ids::NOBODY,
            _ => self.open[from as usize - 1].get(),
        };
        around.trace_flags = TraceFlags((around.trace_flags.0 & !TraceFlags::ENTERED) | TraceFlags::EXITED);
        let entries = self.kept_entries();
        let (below, above) = entries.split_at(to as usize);
        below[from as usize..].iter().for_each(|open| open.set(around));
        let tombstones = above.iter().take_while(|open| open.get().trace_flags.has(TraceFlags::EXITED));
        tombstones.for_each(|open| open.set(around));
    }

    /// Restores the invariants at the end of every slow path: pops the tombstones from the top, and updates `top`'s
    /// offset and the copy of the innermost entry.
    fn settle(&self, top: StackIndex) {
        let is_tombstone = |index: StackIndex| {
            let kept = usize::try_from(index).ok().filter(|index| *index < DEPTH);
            kept.is_some_and(|index| self.open[index].get().trace_flags.has(TraceFlags::EXITED))
        };
        let mut top = top;
        while is_tombstone(top) {
            top -= 1;
        }
        let deepest = top.min(DEPTH as StackIndex - 1);
        // The offset is tested first: otherwise each exit from a stack of a million spans would search it.
        let moved = self.moved.get() && top >= 0;
        let disorder = self.top.get() >= DISORDER && (moved || (0..=deepest).any(is_tombstone));
        self.moved.set(moved);
        if let Ok(deepest) = usize::try_from(deepest) {
            self.open[DEPTH].set(self.open[deepest].get());
        }
        self.top.set(if disorder { top + DISORDER } else { top });
        self.kept.borrow_mut().retain(|hold| self.inherits(hold.handle()));
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests;
