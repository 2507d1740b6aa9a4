//! Exits in any order, held against a plain list of the entries that are still open.

use super::*;

fn ids(span_id: u64) -> Ids {
    Ids { trace_id: 1, span_id, trace_flags: TraceFlags(TraceFlags::SAMPLED) }
}

fn entered(span_id: u64) -> Ids {
    Ids { trace_flags: TraceFlags(TraceFlags::SAMPLED | TraceFlags::ENTERED), ..ids(span_id) }
}

fn current(thread_state: &ThreadState) -> u64 {
    thread_state.current().map_or(0, |ids| ids.span_id)
}

fn leave(thread_state: &ThreadState, place: StackIndex, span_id: u64, how: Exit) -> bool {
    thread_state.pop(place, span_id).unwrap_or_else(|| thread_state.exit(place, span_id, how))
}

#[cfg(feature = "tracing")]
fn exit_unordered(thread_state: &ThreadState, span_id: u64) {
    let _empty = thread_state.exit_unordered(span_id).unwrap_or_else(|| thread_state.exit_by_id(span_id));
}

#[test]
fn an_attached_context_stays_until_its_own_guard_goes() {
    let thread_state = ThreadState::new();
    let first = thread_state.enter(entered(1));
    let second = thread_state.enter(entered(2));
    assert!(!leave(&thread_state, first, 1, Exit::Entered));
    assert_eq!(current(&thread_state), 2);
    let span = thread_state.enter(ids(3));
    assert!(!leave(&thread_state, second, 2, Exit::Entered));
    assert_eq!(current(&thread_state), 3);
    assert!(leave(&thread_state, span, 3, Exit::Span));
    assert_eq!(thread_state.current(), None);
    assert!(thread_state.is_empty(), "no tombstone stays behind");
}

#[test]
fn a_span_takes_the_spans_inside_along_and_no_context() {
    let thread_state = ThreadState::new();
    let outer = thread_state.enter(ids(1));
    let leaked = thread_state.enter(ids(2));
    let context = thread_state.enter(entered(3));
    let inner = thread_state.enter(ids(4));
    leave(&thread_state, outer, 1, Exit::Span);
    assert_eq!(current(&thread_state), 4);
    leave(&thread_state, inner, 4, Exit::Span);
    assert_eq!(current(&thread_state), 3);
    leave(&thread_state, leaked, 2, Exit::Span);
    assert_eq!(current(&thread_state), 3, "it went with the outer one");
    assert!(leave(&thread_state, context, 3, Exit::Entered));
    assert_eq!(current(&thread_state), 0);
}

#[test]
fn a_poll_takes_everything_along() {
    let thread_state = ThreadState::new();
    let around = thread_state.enter(entered(1));
    let poll = thread_state.enter(ids(2));
    let context = thread_state.enter(entered(3));
    leave(&thread_state, poll, 2, Exit::Poll);
    assert_eq!(current(&thread_state), 1);
    leave(&thread_state, context, 3, Exit::Entered);
    assert_eq!(current(&thread_state), 1);
    assert!(leave(&thread_state, around, 1, Exit::Entered));
}

#[test]
fn without_anything_around_a_tombstone_is_nobody() {
    let thread_state = ThreadState::new();
    let first = thread_state.enter(entered(1));
    let second = thread_state.enter(entered(2));
    leave(&thread_state, first, 1, Exit::Entered);
    leave(&thread_state, second, 2, Exit::Entered);
    assert_eq!(thread_state.current(), None);
    assert!(
        !TraceFlags(TraceFlags::SAMPLED | TraceFlags::EXITED).inherited().has(TraceFlags::EXITED),
        "no child inherits it"
    );
}

#[cfg(feature = "tracing")]
#[test]
fn one_entered_twice_is_left_twice() {
    let thread_state = ThreadState::new();
    for id in [1, 2, 1] {
        thread_state.enter(ids(id));
    }
    exit_unordered(&thread_state, 1);
    assert_eq!(current(&thread_state), 2);
    exit_unordered(&thread_state, 2);
    assert_eq!(current(&thread_state), 1);
    exit_unordered(&thread_state, 1);
    exit_unordered(&thread_state, 1);
    assert!(thread_state.is_empty());
}

#[cfg(feature = "tracing")]
#[test]
fn guards_in_between_keep_their_places() {
    let thread_state = ThreadState::new();
    for _ in 0..1_000 {
        thread_state.enter(ids(1));
        let guard = thread_state.enter(ids(2));
        thread_state.enter(ids(3));
        exit_unordered(&thread_state, 1);
        exit_unordered(&thread_state, 3);
        assert_eq!(current(&thread_state), 2);
        assert!(leave(&thread_state, guard, 2, Exit::Span), "what has been left is nobody's parent");
        assert!(thread_state.is_empty(), "and does not stay");
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
    let thread_state = ThreadState::new();
    let mut model = Model(Vec::new());
    // Every guard that was ever made and not dropped, whether its entry is still there or not.
    let mut guards: Vec<(StackIndex, u64, Exit)> = Vec::new();
    let (mut most, mut compacted) = (0, 0);
    for id in 1..200_000 {
        if guards.len() < 100 && random(2) == 0 {
            let how = [Exit::Span, Exit::Span, Exit::Entered, Exit::Entered, Exit::Poll][random(5)];
            let stays = how == Exit::Entered;
            let place = thread_state.enter(if stays { entered(id) } else { ids(id) });
            model.0.push((id, stays));
            guards.push((place, id, how));
        } else if !guards.is_empty() {
            let at = random(guards.len());
            let (place, id, how) = guards.swap_remove(at);
            model.exit(id, how);
            leave(&thread_state, place, id, how);
        }
        most = most.max(thread_state.kept_entries().len());
        compacted += u32::from(thread_state.moved.get());
        assert_eq!(current(&thread_state), model.0.last().map_or(0, |(id, _)| *id));
        assert_eq!(thread_state.is_empty(), model.0.is_empty());
        assert!(thread_state.real_top() < DEPTH as StackIndex, "fewer than are kept are open");
    }
    assert!(most == DEPTH && compacted > 1_000, "full stacks are among them: {most}, {compacted}");
}

#[test]
fn a_thread_may_enter_the_next_before_it_leaves_the_last_for_ever() {
    let thread_state = ThreadState::new();
    let outer = thread_state.enter(ids(1));
    let mut last = (thread_state.enter(entered(2)), 2);
    for id in 3..10_000 {
        let next = (thread_state.enter(entered(id)), id);
        leave(&thread_state, last.0, last.1, Exit::Entered);
        assert_eq!(current(&thread_state), id);
        last = next;
    }
    leave(&thread_state, last.0, last.1, Exit::Entered);
    assert_eq!(current(&thread_state), 1);
    assert!(leave(&thread_state, outer, 1, Exit::Span));
    let first = thread_state.enter(ids(1));
    assert_eq!((first, thread_state.moved.get()), (0, false));
    assert_eq!(thread_state.pop(first, 1), Some(true), "back on the fast path");
}

#[test]
fn entries_of_one_span_are_told_apart() {
    let context = |number: u64| Ids { trace_id: number.into(), ..entered(7) };
    let trace = |thread_state: &ThreadState| thread_state.current().map(|ids| ids.trace_id);
    let thread_state = ThreadState::new();
    let mut last = thread_state.enter(context(0));
    for number in 1..1_000 {
        let next = thread_state.enter(context(number));
        assert_eq!(trace(&thread_state), Some(number.into()));
        leave(&thread_state, last, 7, Exit::Entered);
        assert_eq!(trace(&thread_state), Some(number.into()));
        last = next;
    }
    assert!(thread_state.moved.get());
    leave(&thread_state, last, 7, Exit::Entered);
    assert!(thread_state.is_empty());
}

#[test]
fn deeper_than_is_kept() {
    let thread_state = ThreadState::new();
    let count = 3 * DEPTH as u64;
    let places: Vec<_> = (1..=count).map(|id| thread_state.enter(entered(id))).collect();
    assert_eq!(current(&thread_state), DEPTH as u64);
    // From the outermost to the innermost, which is all out of order.
    for (place, id) in places.into_iter().zip(1..=count) {
        assert!(!thread_state.is_empty());
        leave(&thread_state, place, id, Exit::Entered);
    }
    assert!(thread_state.is_empty());
    assert_eq!(thread_state.current(), None);

    // The same behind moved entries.
    let mut last = thread_state.enter(entered(1));
    for id in 2..=200 {
        let next = thread_state.enter(entered(id));
        leave(&thread_state, last, id - 1, Exit::Entered);
        last = next;
    }
    assert!(thread_state.moved.get());
    let places: Vec<_> = (1_000..1_000 + count).map(|id| thread_state.enter(entered(id))).collect();
    assert_eq!(current(&thread_state), 1_000 + DEPTH as u64 - 2);
    for (number, place) in (0..count).rev().zip(places.into_iter().rev()) {
        leave(&thread_state, place, 1_000 + number, Exit::Entered);
    }
    assert_eq!(current(&thread_state), 200);
    leave(&thread_state, last, 200, Exit::Entered);
    assert!(thread_state.is_empty());
}
