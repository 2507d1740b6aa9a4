//! The contexts of a thread that has no lane to stand in: there were too many threads, the instance has shut down, or
//! this process is the child of a fork. Spans do nothing there, and headers must go on all the same. Cold.
//!
//! A stack like a desk's, without a bound. It keeps trace state and baggage itself, so that the child of a fork takes no
//! lock for them. A thread that gets a lane later keeps these entries below those of its desk.

use super::{Exit, Ids, StackIndex, TraceFlags, local};
use crate::context::Propagated;
use crate::sync::Arc;
use std::cell::RefCell;
use std::mem::ManuallyDrop;

/// The place of the first entry; each further one is below. No desk has such places.
const FIRST: StackIndex = -2;

struct Entry {
    base: u64,
    ids: Ids,
    propagated: Option<Arc<Propagated>>,
    place: StackIndex,
}

thread_local! {
    /// Never dropped with its thread: to register a destructor, the C library takes a lock that the child of a fork may
    /// find taken for ever. [`leave`] frees the memory with the last entry.
    static ENTRIES: ManuallyDrop<RefCell<Vec<Entry>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Whether an entry of this place is here and not on a desk.
pub(crate) fn is_here(place: StackIndex) -> bool {
    place <= FIRST
}

/// Runs `act`, which may allocate; `None` from within it, for an allocator that records.
fn entries<R>(act: impl FnOnce(&mut Vec<Entry>) -> R) -> Option<R> {
    local::without_recording(|| {
        ENTRIES.with(|entries| {
            let mut all = entries.try_borrow_mut().ok()?;
            let result = act(&mut all);
            if all.is_empty() && all.capacity() > 0 {
                *all = Vec::new();
            }
            Some(result)
        })
    })
}

/// Makes ids and what they carry the innermost of this thread.
pub(crate) fn enter(base: u64, ids: Ids, propagated: Option<Arc<Propagated>>) -> Option<StackIndex> {
    entries(|all| {
        let place = all.last().map_or(FIRST, |last| last.place - 1);
        all.push(Entry { base, ids, propagated, place });
        place
    })
}

/// Leaves the entry of this place, and what `how` says of those inside. One that is gone changes nothing.
pub(crate) fn leave(place: StackIndex, how: Exit) {
    let gone = entries(|all| {
        let at = all.iter().position(|entry| entry.place == place)?;
        let end = match how {
            Exit::Entered => at + 1,
            Exit::Poll => all.len(),
            Exit::Span => {
                let stays = |entry: &Entry| entry.ids.trace_flags.has(TraceFlags::ENTERED);
                all[at + 1..].iter().position(stays).map_or(all.len(), |stays| at + 1 + stays)
            }
        };
        Some(all.drain(at..end).collect::<Vec<_>>())
    });
    local::without_recording(|| drop(gone)); // not under the borrow
}

/// Leaves the innermost entry of this span.
#[cfg(feature = "tracing")]
pub(crate) fn leave_span(span_id: u64) {
    let is_it = |entry: &Entry| entry.ids.span_id == span_id;
    let gone = entries(|all| all.iter().rposition(is_it).map(|at| all.remove(at)));
    local::without_recording(|| drop(gone));
}

/// The innermost entry, of this instance if one is given: its base, its ids, and what they carry.
pub(crate) fn current(base: Option<u64>) -> Option<(u64, Ids, Option<Arc<Propagated>>)> {
    let is_it = |entry: &&Entry| base.is_none_or(|base| entry.base == base);
    entries(|all| all.iter().rfind(is_it).map(|entry| (entry.base, entry.ids, entry.propagated.clone())))?
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn put(base: u64, span_id: u64, trace_flags: u64) -> StackIndex {
        enter(base, Ids { trace_id: 1, span_id, trace_flags: TraceFlags(trace_flags) }, None)
            .expect("the thread lives")
    }

    fn top(base: Option<u64>) -> Option<u64> {
        current(base).map(|(_, ids, _)| ids.span_id)
    }

    #[test]
    fn entries_leave_in_any_order() {
        let (a, b) = (put(7, 1, TraceFlags::ENTERED), put(7, 2, TraceFlags::ENTERED));
        assert!(is_here(a) && is_here(b) && !is_here(-1) && !is_here(0));
        leave(a, Exit::Entered);
        assert_eq!(top(None), Some(2), "the last one stays");
        let c = put(8, 3, 0);
        assert_eq!((top(None), top(Some(7)), top(Some(9))), (Some(3), Some(2), None));
        leave(a, Exit::Entered);
        leave(b, Exit::Poll);
        assert_eq!(top(None), None, "a poll takes along what is inside");
        leave(c, Exit::Span);
        let (d, _leaked, _stays) = (put(7, 4, 0), put(7, 5, 0), put(7, 6, TraceFlags::ENTERED));
        leave(d, Exit::Span);
        assert_eq!(ENTRIES.with(|all| all.borrow().len()), 1);
        assert_eq!(top(None), Some(6), "a span takes what leaked, and no context");
    }
}
