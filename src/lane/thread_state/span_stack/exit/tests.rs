//! Exits in any order, compared with a plain list of the entries that are still open.

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

fn exit(stack: &SpanStack, index: StackIndex, span_id: u64, how: Exit) -> bool {
    stack.pop(index, span_id).unwrap_or_else(|| stack.exit(index, span_id, how))
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
    assert!(!exit(&stack, first, 1, Exit::Entered));
    assert_eq!(current(&stack), 2);
    let span = stack.enter(ids(3));
    assert!(!exit(&stack, second, 2, Exit::Entered));
    assert_eq!(current(&stack), 3);
    assert!(exit(&stack, span, 3, Exit::Span));
    assert_eq!(stack.current(), None);
    assert!(stack.is_empty(), "no tombstone stays behind");
}

#[test]
fn ending_a_span_exits_the_spans_inside_but_no_context() {
    let stack = SpanStack::new();
    let outer = stack.enter(ids(1));
    let leaked = stack.enter(ids(2));
    let context = stack.enter(entered(3));
    let inner = stack.enter(ids(4));
    exit(&stack, outer, 1, Exit::Span);
    assert_eq!(current(&stack), 4);
    exit(&stack, inner, 4, Exit::Span);
    assert_eq!(current(&stack), 3);
    exit(&stack, leaked, 2, Exit::Span);
    assert_eq!(current(&stack), 3, "it went with the outer one");
    assert!(exit(&stack, context, 3, Exit::Entered));
    assert_eq!(current(&stack), 0);
}

#[test]
fn the_end_of_a_poll_exits_everything_inside() {
    let stack = SpanStack::new();
    let around = stack.enter(entered(1));
    let poll = stack.enter(ids(2));
    let context = stack.enter(entered(3));
    exit(&stack, poll, 2, Exit::Poll);
    assert_eq!(current(&stack), 1);
    exit(&stack, context, 3, Exit::Entered);
    assert_eq!(current(&stack), 1);
    assert!(exit(&stack, around, 1, Exit::Entered));
}

#[test]
fn a_tombstone_at_the_bottom_is_no_span() {
    let stack = SpanStack::new();
    let first = stack.enter(entered(1));
    let second = stack.enter(entered(2));
    exit(&stack, first, 1, Exit::Entered);
    exit(&stack, second, 2, Exit::Entered);
    assert_eq!(stack.current(), None);
    assert!(
        !TraceFlags(TraceFlags::SAMPLED | TraceFlags::EXITED).inherited().has(TraceFlags::EXITED),
        "no child inherits it"
    );
}

#[cfg(feature = "tracing")]
#[test]
fn a_span_entered_twice_is_exited_twice() {
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
fn guards_in_between_keep_their_entries() {
    let stack = SpanStack::new();
    for _ in 0..1_000 {
        stack.enter(ids(1));
        let guard = stack.enter(ids(2));
        stack.enter(ids(3));
        exit_unordered(&stack, 1);
        exit_unordered(&stack, 3);
        assert_eq!(current(&stack), 2);
        assert!(exit(&stack, guard, 2, Exit::Span), "an exited span is no parent");
        assert!(stack.is_empty(), "and does not stay");
    }
}

/// A plain list of open entries: the id, and `true` if the entry stays when an enclosing span ends.
struct ListModel(Vec<(u64, bool)>);

impl ListModel {
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
    let mut model = ListModel(Vec::new());
    // All guards that are not dropped yet, whether their entries are still on the stack or not.
    let mut guards: Vec<(StackIndex, u64, Exit)> = Vec::new();
    let (mut most, mut compacted) = (0, 0);
    for id in 1..200_000 {
        if guards.len() < 100 && random(2) == 0 {
            let how = [Exit::Span, Exit::Span, Exit::Entered, Exit::Entered, Exit::Poll][random(5)];
            let stays = how == Exit::Entered;
            let index = stack.enter(if stays { entered(id) } else { ids(id) });
            model.0.push((id, stays));
            guards.push((index, id, how));
        } else if !guards.is_empty() {
            let at = random(guards.len());
            let (index, id, how) = guards.swap_remove(at);
            model.exit(id, how);
            exit(&stack, index, id, how);
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
fn a_thread_may_always_enter_the_next_before_it_exits_the_last() {
    let stack = SpanStack::new();
    let outer = stack.enter(ids(1));
    let mut last = (stack.enter(entered(2)), 2);
    for id in 3..10_000 {
        let next = (stack.enter(entered(id)), id);
        exit(&stack, last.0, last.1, Exit::Entered);
        assert_eq!(current(&stack), id);
        last = next;
    }
    exit(&stack, last.0, last.1, Exit::Entered);
    assert_eq!(current(&stack), 1);
    assert!(exit(&stack, outer, 1, Exit::Span));
    let first = stack.enter(ids(1));
    assert_eq!((first, stack.moved.get()), (0, false));
    assert_eq!(stack.pop(first, 1), Some(true), "back on the fast path");
}

#[test]
fn entries_of_one_span_are_distinct() {
    let context = |number: u64| Ids { trace_id: number.into(), ..entered(7) };
    let trace = |stack: &SpanStack| stack.current().map(|ids| ids.trace_id);
    let stack = SpanStack::new();
    let mut last = stack.enter(context(0));
    for number in 1..1_000 {
        let next = stack.enter(context(number));
        assert_eq!(trace(&stack), Some(number.into()));
        exit(&stack, last, 7, Exit::Entered);
        assert_eq!(trace(&stack), Some(number.into()));
        last = next;
    }
    assert!(stack.moved.get());
    exit(&stack, last, 7, Exit::Entered);
    assert!(stack.is_empty());
}

#[test]
fn entries_too_deep_to_be_kept_are_counted() {
    let stack = SpanStack::new();
    let count = 3 * DEPTH as u64;
    let indices: Vec<_> = (1..=count).map(|id| stack.enter(entered(id))).collect();
    assert_eq!(current(&stack), DEPTH as u64);
    // From the outermost to the innermost, which is all out of order.
    for (index, id) in indices.into_iter().zip(1..=count) {
        assert!(!stack.is_empty());
        exit(&stack, index, id, Exit::Entered);
    }
    assert!(stack.is_empty());
    assert_eq!(stack.current(), None);

    // The same behind moved entries.
    let mut last = stack.enter(entered(1));
    for id in 2..=200 {
        let next = stack.enter(entered(id));
        exit(&stack, last, id - 1, Exit::Entered);
        last = next;
    }
    assert!(stack.moved.get());
    let indices: Vec<_> = (1_000..1_000 + count).map(|id| stack.enter(entered(id))).collect();
    assert_eq!(current(&stack), 1_000 + DEPTH as u64 - 2);
    for (number, index) in (0..count).rev().zip(indices.into_iter().rev()) {
        exit(&stack, index, 1_000 + number, Exit::Entered);
    }
    assert_eq!(current(&stack), 200);
    exit(&stack, last, 200, Exit::Entered);
    assert!(stack.is_empty());
}
