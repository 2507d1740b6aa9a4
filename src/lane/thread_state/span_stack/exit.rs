//! The slow paths of a thread's stack: entries that are exited out of order, and those too deep to be kept. Cold.
//!
//! Guards know their places, so an entry in the middle is not taken out. It becomes a tombstone, which mirrors the entry
//! below until it is the innermost and is popped. While a tombstone is on the stack, `top` is raised by [`DISORDER`]: no
//! fast path then takes an entry for the innermost, and none has to look for tombstones.
//!
//! A thread that always enters the next context before it leaves the last one never pops its tombstones. When they leave
//! no room they are taken out, and the other entries move down. From then on, until the stack is empty, places are mere
//! numbers in ascending order, and guards look theirs up.

use super::{DEPTH, Ids, SpanStack, StackIndex, TraceFlags};
use crate::context::{Handle, Hold};
use crate::lane::laneless;
use std::cell::Cell;

/// Added to `top` while a tombstone is on the stack. More than any place, and less than that of a span on no stack.
pub(super) const DISORDER: StackIndex = 1 << 30;
/// The place of an entry that is too deep to be kept, on a stack whose entries have moved.
const DEEP: StackIndex = DISORDER - 1;

/// The rule by which an entry is exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A span's guard. Spans opened inside that are still open go with it, since they may have been leaked; a context
    /// attached inside, or a span entered there, stays, and so does everything from there on.
    Span,
    /// The guard of an attached context or an entered span. Whatever was opened inside stays.
    Entered,
    /// The end of a future's poll. Everything opened inside goes with it.
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

    /// Whether nothing is open here.
    pub(crate) fn is_empty(&self) -> bool {
        self.top.get() < 0
    }

    /// Makes a span the innermost of a stack that has tombstones, or no room for it.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_slow(&self, span: Ids) -> StackIndex {
        let mut place = self.real_top() + 1;
        if place as usize == DEPTH && self.top.get() >= DISORDER {
            place = self.compact();
        }
        let mut known_as = place;
        if let Some(entry) = self.open[..DEPTH].get(place as usize) {
            entry.set(span);
            let last = place.checked_sub(1).and_then(|last| self.places.get(last as usize));
            known_as = match last {
                Some(last) if self.moved.get() => (last.get() + 1) % DEEP,
                _ => place,
            };
            self.places[place as usize].set(known_as);
        } else if self.moved.get() {
            known_as = DEEP;
        }
        self.settle(place);
        known_as
    }

    /// Takes the tombstones out of a full stack; returns the first free place.
    fn compact(&self) -> StackIndex {
        let mut free = 0;
        for (at, entry) in self.open[..DEPTH].iter().enumerate() {
            if !entry.get().trace_flags.has(TraceFlags::EXITED) {
                let known_as = if self.moved.get() { self.places[at].get() } else { at as StackIndex };
                self.places[free].set(known_as);
                self.open[free].set(entry.get());
                free += 1;
            }
        }
        self.moved.set(true);
        free as StackIndex
    }

    /// Where the entry of a guard is; `None` if it has been exited.
    fn find(&self, known_as: StackIndex, span_id: u64) -> Option<StackIndex> {
        let entries = self.kept_entries();
        let place = match self.moved.get() {
            false => known_as as usize,
            true => self.places[..entries.len()].iter().position(|place| place.get() == known_as)?,
        };
        let entry = entries.get(place)?.get();
        (entry.span_id == span_id && !entry.trace_flags.has(TraceFlags::EXITED))
            .then_some(place as StackIndex)
    }

    /// Exits the entry of this place and id. One that is gone already changes nothing. Says whether the stack is empty
    /// then. Allocates.
    #[cold]
    #[inline(never)]
    pub(crate) fn exit(&self, place: StackIndex, span_id: u64, how: Exit) -> bool {
        let is_deep = if self.moved.get() { place == DEEP } else { place >= DEPTH as StackIndex };
        if laneless::is_here(place) {
            laneless::leave(place, how); // the thread had no lane when it was entered
        } else if is_deep {
            self.exit_deep();
        } else if let Some(place) = self.find(place, span_id) {
            self.exit_at(place, how);
        }
        self.is_empty()
    }

    /// Of entries that are too deep to be kept only the number is known.
    fn exit_deep(&self) {
        let top = self.real_top();
        if top >= DEPTH as StackIndex {
            self.settle(top - 1);
        }
    }

    fn exit_at(&self, place: StackIndex, how: Exit) {
        let top = self.real_top();
        let handle = self.open[place as usize].get().trace_flags.handle();
        let inside = &self.kept_entries()[place as usize + 1..];
        let stays = match how {
            Exit::Poll => None,
            Exit::Entered if place < top => Some(place + 1),
            Exit::Entered => None,
            Exit::Span => inside
                .iter()
                .position(|open| open.get().trace_flags.has(TraceFlags::ENTERED))
                .map(|first| place + 1 + first as StackIndex),
        };
        match stays {
            None => self.settle(place - 1),
            Some(stays) => {
                self.bury(place, stays);
                self.keep(handle);
                self.settle(top);
            }
        }
    }

    /// Keeps what the entries that stay have inherited from one that goes.
    fn keep(&self, handle: Handle) {
        let mut kept = self.kept.borrow_mut();
        if self.inherits(handle)
            && kept.iter().all(|hold| hold.handle() != handle)
            && let Some(hold) = Hold::again(handle)
        {
            kept.push(hold);
        }
    }

    fn inherits(&self, handle: Handle) -> bool {
        let has_it =
            |trace_flags: TraceFlags| trace_flags.handle() == handle && !trace_flags.has(TraceFlags::EXITED);
        self.kept_entries().iter().any(|open| has_it(open.get().trace_flags))
    }

    /// Exits the innermost span of this id, and nothing else.
    #[cfg(feature = "tracing")]
    #[cold]
    #[inline(never)]
    pub(crate) fn exit_by_id(&self, span_id: u64) -> bool {
        let is_it = |open: &Cell<Ids>| {
            open.get().span_id == span_id && !open.get().trace_flags.has(TraceFlags::EXITED)
        };
        match self.kept_entries().iter().rposition(is_it) {
            Some(place) => self.exit_at(place as StackIndex, Exit::Entered),
            None => {
                laneless::leave_span(span_id); // the thread had no lane when it was entered
                self.exit_deep(); // too deep to be kept, or not here
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

    /// Ends every slow path: pops the tombstones from the top, and sets the mode and the copy of the innermost entry.
    fn settle(&self, top: StackIndex) {
        let is_tombstone = |place: StackIndex| {
            let kept = usize::try_from(place).ok().filter(|place| *place < DEPTH);
            kept.is_some_and(|place| self.open[place].get().trace_flags.has(TraceFlags::EXITED))
        };
        let mut top = top;
        while is_tombstone(top) {
            top -= 1;
        }
        let deepest = top.min(DEPTH as StackIndex - 1);
        // Without the look at the mode a stack of a million spans would be searched at every one of them.
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
