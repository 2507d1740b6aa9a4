//! Current contexts of a thread without a lane: there are too many threads, the instance has shut down, or this process
//! is the child of a fork. Spans do nothing on such a thread, but the headers of requests must still be passed on.
//! Cold.
//!
//! A stack like [`SpanStack`](super::ThreadState::spans), without a bound. It owns trace state and baggage, so that the
//! child of a fork takes no lock for them. If the thread gets a lane later, these entries stay below those of the
//! lane's stack.

use super::{Exit, Ids, StackIndex, TraceFlags, local};
use crate::context::Propagated;
use crate::sync::Arc;
use std::cell::RefCell;
use std::mem::ManuallyDrop;

/// The stack index of the first entry; each further entry counts down. A lane's stack has no such indices.
const FIRST: StackIndex = -2;

struct LanelessEntry {
    base: u64,
    ids: Ids,
    propagated: Option<Arc<Propagated>>,
    index: StackIndex,
}

thread_local! {
    /// The entries, innermost last. Never dropped with the thread: to register a destructor, the C library takes a lock
    /// that may be locked for ever in the child of a fork. [`exit`] frees the memory with the last entry.
    static ENTRIES: ManuallyDrop<RefCell<Vec<LanelessEntry>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Returns `true` if an index is one of this stack, not of a lane's stack.
pub(crate) fn is_laneless(index: StackIndex) -> bool {
    index <= FIRST
}

/// Runs `act` with the entries; `act` may allocate. `None` if an allocator that records calls this from within `act`.
fn entries<R>(act: impl FnOnce(&mut Vec<LanelessEntry>) -> R) -> Option<R> {
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

/// Pushes ids with their trace state and baggage; returns their index.
pub(crate) fn enter(base: u64, ids: Ids, propagated: Option<Arc<Propagated>>) -> Option<StackIndex> {
    entries(|all| {
        let index = all.last().map_or(FIRST, |last| last.index - 1);
        all.push(LanelessEntry { base, ids, propagated, index });
        index
    })
}

/// Exits the entry of this index, and the entries inside it as `how` says. Does nothing if the entry has been exited.
pub(crate) fn exit(index: StackIndex, how: Exit) {
    let gone = entries(|all| {
        let at = all.iter().position(|entry| entry.index == index)?;
        let end = match how {
            Exit::Entered => at + 1,
            Exit::Poll => all.len(),
            Exit::Span => {
                let stays = |entry: &LanelessEntry| entry.ids.trace_flags.has(TraceFlags::ENTERED);
                all[at + 1..].iter().position(stays).map_or(all.len(), |stays| at + 1 + stays)
            }
        };
        Some(all.drain(at..end).collect::<Vec<_>>())
    });
    local::without_recording(|| drop(gone)); // not under the borrow
}

/// Exits the innermost entry of this span.
#[cfg(feature = "tracing")]
pub(crate) fn exit_by_id(span_id: u64) {
    let is_it = |entry: &LanelessEntry| entry.ids.span_id == span_id;
    let gone = entries(|all| all.iter().rposition(is_it).map(|at| all.remove(at)));
    local::without_recording(|| drop(gone));
}

/// The innermost entry, of this instance if one is given: its base, its ids, its trace state and baggage.
pub(crate) fn current(base: Option<u64>) -> Option<(u64, Ids, Option<Arc<Propagated>>)> {
    let is_it = |entry: &&LanelessEntry| base.is_none_or(|base| entry.base == base);
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
    fn entries_are_exited_in_any_order() {
        let (a, b) = (put(7, 1, TraceFlags::ENTERED), put(7, 2, TraceFlags::ENTERED));
        assert!(is_laneless(a) && is_laneless(b) && !is_laneless(-1) && !is_laneless(0));
        exit(a, Exit::Entered);
        assert_eq!(top(None), Some(2), "the last one stays");
        let c = put(8, 3, 0);
        assert_eq!((top(None), top(Some(7)), top(Some(9))), (Some(3), Some(2), None));
        exit(a, Exit::Entered);
        exit(b, Exit::Poll);
        assert_eq!(top(None), None, "a poll takes along what is inside");
        exit(c, Exit::Span);
        let (d, _leaked, _stays) = (put(7, 4, 0), put(7, 5, 0), put(7, 6, TraceFlags::ENTERED));
        exit(d, Exit::Span);
        assert_eq!(ENTRIES.with(|all| all.borrow().len()), 1);
        assert_eq!(top(None), Some(6), "a span takes what leaked, and no context");
    }
}
