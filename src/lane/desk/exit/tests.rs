//! Exits in any order, held against a plain list of the entries that are still open.

use super::*;

fn ids(span_id: u64) -> Ids {
    Ids { trace_id: 1, span_id, marks: Marks(Marks::SAMPLED) }
}

fn entered(span_id: u64) -> Ids {
    Ids { marks: Marks(Marks::SAMPLED | Marks::ENTERED), ..ids(span_id) }
}

fn current(desk: &Desk) -> u64 {
    desk.current().map_or(0, |ids| ids.span_id)
}

fn leave(desk: &Desk, place: Place, span_id: u64, how: Exit) -> bool {
    desk.pop(place, span_id).unwrap_or_else(|| desk.exit(place, span_id, how))
}

#[cfg(feature = "tracing")]
fn step_out(desk: &Desk, span_id: u64) {
    let _empty = desk.step_out(span_id).unwrap_or_else(|| desk.exit_by_id(span_id));
}

#[test]
fn an_attached_context_stays_until_its_own_guard_goes() {
    let desk = Desk::new();
    let first = desk.enter(entered(1));
    let second = desk.enter(entered(2));
    assert!(!leave(&desk, first, 1, Exit::Entered));
    assert_eq!(current(&desk), 2);
    let span = desk.enter(ids(3));
    assert!(!leave(&desk, second, 2, Exit::Entered));
    assert_eq!(current(&desk), 3);
    assert!(leave(&desk, span, 3, Exit::Span));
    assert_eq!(desk.current(), None);
    assert!(desk.is_empty(), "no tombstone stays behind");
}

#[test]
fn a_span_takes_the_spans_inside_along_and_no_context() {
    let desk = Desk::new();
    let outer = desk.enter(ids(1));
    let leaked = desk.enter(ids(2));
    let context = desk.enter(entered(3));
    let inner = desk.enter(ids(4));
    leave(&desk, outer, 1, Exit::Span);
    assert_eq!(current(&desk), 4);
    leave(&desk, inner, 4, Exit::Span);
    assert_eq!(current(&desk), 3);
    leave(&desk, leaked, 2, Exit::Span);
    assert_eq!(current(&desk), 3, "it went with the outer one");
    assert!(leave(&desk, context, 3, Exit::Entered));
    assert_eq!(current(&desk), 0);
}

#[test]
fn a_poll_takes_everything_along() {
    let desk = Desk::new();
    let around = desk.enter(entered(1));
    let poll = desk.enter(ids(2));
    let context = desk.enter(entered(3));
    leave(&desk, poll, 2, Exit::Poll);
    assert_eq!(current(&desk), 1);
    leave(&desk, context, 3, Exit::Entered);
    assert_eq!(current(&desk), 1);
    assert!(leave(&desk, around, 1, Exit::Entered));
}

#[test]
fn without_anything_around_a_tombstone_is_nobody() {
    let desk = Desk::new();
    let first = desk.enter(entered(1));
    let second = desk.enter(entered(2));
    leave(&desk, first, 1, Exit::Entered);
    leave(&desk, second, 2, Exit::Entered);
    assert_eq!(desk.current(), None);
    assert!(!Marks(Marks::SAMPLED | Marks::LEFT).inherited().has(Marks::LEFT), "no child inherits it");
}

#[cfg(feature = "tracing")]
#[test]
fn one_entered_twice_is_left_twice() {
    let desk = Desk::new();
    for id in [1, 2, 1] {
        desk.enter(ids(id));
    }
    step_out(&desk, 1);
    assert_eq!(current(&desk), 2);
    step_out(&desk, 2);
    assert_eq!(current(&desk), 1);
    step_out(&desk, 1);
    step_out(&desk, 1);
    assert!(desk.is_empty());
}

#[cfg(feature = "tracing")]
#[test]
fn guards_in_between_keep_their_places() {
    let desk = Desk::new();
    for _ in 0..1_000 {
        desk.enter(ids(1));
        let guard = desk.enter(ids(2));
        desk.enter(ids(3));
        step_out(&desk, 1);
        step_out(&desk, 3);
        assert_eq!(current(&desk), 2);
        assert!(leave(&desk, guard, 2, Exit::Span), "what has been left is nobody's parent");
        assert!(desk.is_empty(), "and does not stay");
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
    let desk = Desk::new();
    let mut model = Model(Vec::new());
    // Every guard that was ever made and not dropped, whether its entry is still there or not.
    let mut guards: Vec<(Place, u64, Exit)> = Vec::new();
    let (mut most, mut compacted) = (0, 0);
    for id in 1..200_000 {
        if guards.len() < 100 && random(2) == 0 {
            let how = [Exit::Span, Exit::Span, Exit::Entered, Exit::Entered, Exit::Poll][random(5)];
            let stays = how == Exit::Entered;
            let place = desk.enter(if stays { entered(id) } else { ids(id) });
            model.0.push((id, stays));
            guards.push((place, id, how));
        } else if !guards.is_empty() {
            let at = random(guards.len());
            let (place, id, how) = guards.swap_remove(at);
            model.exit(id, how);
            leave(&desk, place, id, how);
        }
        most = most.max(desk.kept_entries().len());
        compacted += u32::from(desk.moved.get());
        assert_eq!(current(&desk), model.0.last().map_or(0, |(id, _)| *id));
        assert_eq!(desk.is_empty(), model.0.is_empty());
        assert!(desk.real_top() < DEPTH as Place, "fewer than are kept are open");
    }
    assert!(most == DEPTH && compacted > 1_000, "full stacks are among them: {most}, {compacted}");
}

#[test]
fn a_thread_may_enter_the_next_before_it_leaves_the_last_for_ever() {
    let desk = Desk::new();
    let outer = desk.enter(ids(1));
    let mut last = (desk.enter(entered(2)), 2);
    for id in 3..10_000 {
        let next = (desk.enter(entered(id)), id);
        leave(&desk, last.0, last.1, Exit::Entered);
        assert_eq!(current(&desk), id);
        last = next;
    }
    leave(&desk, last.0, last.1, Exit::Entered);
    assert_eq!(current(&desk), 1);
    assert!(leave(&desk, outer, 1, Exit::Span));
    let first = desk.enter(ids(1));
    assert_eq!((first, desk.moved.get()), (0, false));
    assert_eq!(desk.pop(first, 1), Some(true), "back on the fast path");
}

#[test]
fn entries_of_one_span_are_told_apart() {
    let context = |number: u64| Ids { trace_id: number.into(), ..entered(7) };
    let trace = |desk: &Desk| desk.current().map(|ids| ids.trace_id);
    let desk = Desk::new();
    let mut last = desk.enter(context(0));
    for number in 1..1_000 {
        let next = desk.enter(context(number));
        assert_eq!(trace(&desk), Some(number.into()));
        leave(&desk, last, 7, Exit::Entered);
        assert_eq!(trace(&desk), Some(number.into()));
        last = next;
    }
    assert!(desk.moved.get());
    leave(&desk, last, 7, Exit::Entered);
    assert!(desk.is_empty());
}

#[test]
fn deeper_than_is_kept() {
    let desk = Desk::new();
    let count = 3 * DEPTH as u64;
    let places: Vec<_> = (1..=count).map(|id| desk.enter(entered(id))).collect();
    assert_eq!(current(&desk), DEPTH as u64);
    // From the outermost to the innermost, which is all out of order.
    for (place, id) in places.into_iter().zip(1..=count) {
        assert!(!desk.is_empty());
        leave(&desk, place, id, Exit::Entered);
    }
    assert!(desk.is_empty());
    assert_eq!(desk.current(), None);

    // The same behind moved entries.
    let mut last = desk.enter(entered(1));
    for id in 2..=200 {
        let next = desk.enter(entered(id));
        leave(&desk, last, id - 1, Exit::Entered);
        last = next;
    }
    assert!(desk.moved.get());
    let places: Vec<_> = (1_000..1_000 + count).map(|id| desk.enter(entered(id))).collect();
    assert_eq!(current(&desk), 1_000 + DEPTH as u64 - 2);
    for (number, place) in (0..count).rev().zip(places.into_iter().rev()) {
        leave(&desk, place, 1_000 + number, Exit::Entered);
    }
    assert_eq!(current(&desk), 200);
    leave(&desk, last, 200, Exit::Entered);
    assert!(desk.is_empty());
}
