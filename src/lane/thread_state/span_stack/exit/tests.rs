//! Exits in any order, held against a plain list of the entries that are still open.

use super::*;

fn ids(span_id: u64) -> Ids {
    Ids { trace_id: 1, span_id, trace_flags: TraceFlags(TraceFlags::SAMPLED) }
}

fn entered(span_id: u64) -> Ids {
    Ids { trace_flags: TraceFlags(TraceFlags::SAMPLED | TraceFlags::ENTERED), ..ids(span_id) }
}

fn current(stack: &SpanStack) -> u64 {
    stack.current().map_or(0, |ids| ids.span_id)
}

fn leave(stack: &SpanStack, place: StackIndex, span_id: u64, how: Exit) -> bool {
    stack.pop(place, span_id).unwrap_or_else(|| stack.exit(place, span_id, how))
}

#[cfg(feature = "tracing")]
fn exit_unordered(stack: &SpanStack, span_id: u64) {
    let _empty = stack.exit_unordered(span_id).unwrap_or_else(|| stack.exit_by_id(span_id));
}

#[test]
fn an_attached_context_stays_until_its_own_guard_goes() {
    let stack = SpanStack::new();
    let first = stack.enter(entered(1));
    let second = stack.enter(entered(2));
    assert!(!leave(&stack, first, 1, Exit::Entered));
    assert_eq!(current(&stack), 2);
    let span = stack.enter(ids(3));
    assert!(!leave(&stack, second, 2, Exit::Entered));
    assert_eq!(current(&stack), 3);
    assert!(leave(&stack, span, 3, Exit::Span));
    assert_eq!(stack.current(), None);
    assert!(stack.is_empty(), "no tombstone stays behind");
}

#[test]
fn a_span_takes_the_spans_inside_along_and_no_context() {
    let stack = SpanStack::new();
    let outer = stack.enter(ids(1));
    let leaked = stack.enter(ids(2));
    let context = stack.enter(entered(3));
    let inner = stack.enter(ids(4));
    leave(&stack, outer, 1, Exit::Span);
    assert_eq!(current(&stack), 4);
    leave(&stack, inner, 4, Exit::Span);
    assert_eq!(current(&stack), 3);
    leave(&stack, leaked, 2, Exit::Span);
    assert_eq!(current(&stack), 3, "it went with the outer one");
    assert!(leave(&stack, context, 3, Exit::Entered));
    assert_eq!(current(&stack), 0);
}

#[test]
fn a_poll_takes_everything_along() {
    let stack = SpanStack::new();
    let around = stack.enter(entered(1));
    let poll = stack.enter(ids(2));
    let context = stack.enter(entered(3));
    leave(&stack, poll, 2, Exit::Poll);
    assert_eq!(current(&stack), 1);
    leave(&stack, context, 3, Exit::Entered);
    assert_eq!(current(&stack), 1);
    assert!(leave(&stack, around, 1, Exit::Entered));
}

#[test]
fn without_anything_around_a_tombstone_is_nobody() {
    let stack = SpanStack::new();
    let first = stack.enter(entered(1));
    let second = stack.enter(entered(2));
    leave(&stack, first, 1, Exit::Entered);
    leave(&stack, second, 2, Exit::Entered);
    assert_eq!(stack.current(), None);
    assert!(
        !TraceFlags(TraceFlags::SAMPLED | TraceFlags::EXITED).inherited().has(TraceFlags::EXITED),
        "no child inherits it"
    );
}

#[cfg(feature = "tracing")]
#[test]
fn one_entered_twice_is_left_twice() {
    let stack = SpanStack::new();
    for id in [1, 2, 1] {
        stack.enter(ids(id));
    }
    exit_unordered(&stack, 1);
    assert_eq!(current(&stack), 2);
    exit_unordered(&stack, 2);
    assert_eq!(current(&stack), 1);
    exit_unordered(&stack, 1);
    exit_unordered(&stack, 1);
    assert!(stack.is_empty());
}

#[cfg(feature = "tracing")]
#[test]
fn guards_in_between_keep_their_places() {
    let stack = SpanStack::new();
    for _ in 0..1_000 {
        stack.enter(ids(1));
        let guard = stack.enter(ids(2));
        stack.enter(ids(3));
        exit_unordered(&stack, 1);
        exit_unordered(&stack, 3);
        assert_eq!(current(&stack), 2);
        assert!(leave(&stack, guard, 2, Exit::Span), "what has been left is nobody's parent");
        assert!(stack.is_empty(), "and does not stay");
    }
}

/// A plain list of what is open: id, whether it stays when a span around it ends.
struct Model(Vec<(u64, bool)>);

impl Model {
    fn exit(&mut self, id: u64, how: Exit) {
        let Some(at) = self.0.iter().position(|(of, _)| *of == id) else { return };
        let stays = match how {
            Exit::Poll => self.0.len(),
            Exit::Entered => at + 1,
            Exit::Span => {
                let inside = self.0[at + 1..].iter().position(|(_, stays)| *stays);
                inside.map_or(self.0.len(), |inside| at + 1 + inside)
            }
        };
        self.0.drain(at..stays);
    }
}

#[test]
fn random_exits_against_a_list() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(0xD129_42F0_5F4B_64D5).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let stack = SpanStack::new();
    let mut model = Model(Vec::new());
    // Every guard that was ever made and not dropped, whether its entry is still there or not.
    let mut guards: Vec<(StackIndex, u64, Exit)> = Vec::new();
    let (mut most, mut compacted) = (0, 0);
    for id in 1..200_000 {
        if guards.len() < 100 && random(2) == 0 {
            let how = [Exit::Span, Exit::Span, Exit::Entered, Exit::Entered, Exit::Poll][random(5)];
            let stays = how == Exit::Entered;
            let place = stack.enter(if stays { entered(id) } else { ids(id) });
            model.0.push((id, stays));
            guards.push((place, id, how));
        } else if !guards.is_empty() {
            let at = random(guards.len());
            let (place, id, how) = guards.swap_remove(at);
            model.exit(id, how);
            leave(&stack, place, id, how);
        }
        most = most.max(stack.kept_entries().len());
        compacted += u32::from(stack.moved.get());
        assert_eq!(current(&stack), model.0.last().map_or(0, |(id, _)| *id));
        assert_eq!(stack.is_empty(), model.0.is_empty());
        assert!(stack.real_top() < DEPTH as StackIndex, "fewer than are kept are open");
    }
    assert!(most == DEPTH && compacted > 1_000, "full stacks are among them: {most}, {compacted}");
}

#[test]
fn a_thread_may_enter_the_next_before_it_leaves_the_last_for_ever() {
    let stack = SpanStack::new();
    let outer = stack.enter(ids(1));
    let mut last = (stack.enter(entered(2)), 2);
    for id in 3..10_000 {
        let next = (stack.enter(entered(id)), id);
        leave(&stack, last.0, last.1, Exit::Entered);
        assert_eq!(current(&stack), id);
        last = next;
    }
    leave(&stack, last.0, last.1, Exit::Entered);
    assert_eq!(current(&stack), 1);
    assert!(leave(&stack, outer, 1, Exit::Span));
    let first = stack.enter(ids(1));
    assert_eq!((first, stack.moved.get()), (0, false));
    assert_eq!(stack.pop(first, 1), Some(true), "back on the fast path");
}

#[test]
fn entries_of_one_span_are_told_apart() {
    let context = |number: u64| Ids { trace_id: number.into(), ..entered(7) };
    let trace = |stack: &SpanStack| stack.current().map(|ids| ids.trace_id);
    let stack = SpanStack::new();
    let mut last = stack.enter(context(0));
    for number in 1..1_000 {
        let next = stack.enter(context(number));
        assert_eq!(trace(&stack), Some(number.into()));
        leave(&stack, last, 7, Exit::Entered);
        assert_eq!(trace(&stack), Some(number.into()));
        last = next;
    }
    assert!(stack.moved.get());
    leave(&stack, last, 7, Exit::Entered);
    assert!(stack.is_empty());
}

#[test]
fn deeper_than_is_kept() {
    let stack = SpanStack::new();
    let count = 3 * DEPTH as u64;
    let places: Vec<_> = (1..=count).map(|id| stack.enter(entered(id))).collect();
    assert_eq!(current(&stack), DEPTH as u64);
    // From the outermost to the innermost, which is all out of order.
    for (place, id) in places.into_iter().zip(1..=count) {
        assert!(!stack.is_empty());
        leave(&stack, place, id, Exit::Entered);
    }
    assert!(stack.is_empty());
    assert_eq!(stack.current(), None);

    // The same behind moved entries.
    let mut last = stack.enter(entered(1));
    for id in 2..=200 {
        let next = stack.enter(entered(id));
        leave(&stack, last, id - 1, Exit::Entered);
        last = next;
    }
    assert!(stack.moved.get());
    let places: Vec<_> = (1_000..1_000 + count).map(|id| stack.enter(entered(id))).collect();
    assert_eq!(current(&stack), 1_000 + DEPTH as u64 - 2);
    for (number, place) in (0..count).rev().zip(places.into_iter().rev()) {
        leave(&stack, place, 1_000 + number, Exit::Entered);
    }
    assert_eq!(current(&stack), 200);
    leave(&stack, last, 200, Exit::Entered);
    assert!(stack.is_empty());
}
