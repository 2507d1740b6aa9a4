//! Spans that are left in any order, on a stack made for those that nest. Hot, but for what leaves out of order.

use super::{DEPTH, Desk, Ids, Marks};
use std::cell::Cell;

impl Desk {
    /// Whether any span is open here.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.depth.get() == 0
    }

    /// Makes a span the innermost that may be left before those opened inside it: see [`step_out`](Self::step_out).
    #[inline(always)]
    pub(crate) fn step_in(&self, span: Ids) {
        self.drop_left();
        self.enter(span);
    }

    /// Leaves a span that was stepped into, the innermost of its id, and nothing else: those opened inside it stay. One
    /// that is not here changes nothing.
    #[inline(always)]
    pub(crate) fn step_out(&self, span_id: u64) {
        let depth = self.depth.get();
        let at_top = |ids: Ids| ids.span_id == span_id && !ids.marks.has(Marks::LEFT);
        match depth.checked_sub(1).and_then(|top| self.open.get(top)) {
            Some(top) if at_top(top.get()) => {
                self.depth.set(depth - 1);
                self.drop_left();
            }
            _ => self.step_out_within(span_id),
        }
    }

    /// The places of the others must stay what they are: their owners know them. So this one is not taken out, but
    /// shows what is around it.
    #[cold]
    #[inline(never)]
    fn step_out_within(&self, span_id: u64) {
        let depth = self.depth.get();
        let kept = &self.open[..depth.min(DEPTH)];
        let is_it = |slot: &Cell<Ids>| slot.get().span_id == span_id && !slot.get().marks.has(Marks::LEFT);
        match kept.iter().rposition(is_it) {
            Some(place) => {
                let mut around = place.checked_sub(1).map_or(Ids::default(), |below| kept[below].get());
                around.marks.0 |= Marks::LEFT;
                kept[place].set(around);
                let inside = kept[place + 1..].iter();
                inside.take_while(|slot| slot.get().marks.has(Marks::LEFT)).for_each(|slot| slot.set(around));
            }
            None if depth > DEPTH => self.depth.set(depth - 1), // too deep to be kept: trust the caller
            None => {}
        }
        self.drop_left();
    }

    /// Takes off the top what has been left.
    #[inline(always)]
    pub(super) fn drop_left(&self) {
        let mut depth = self.depth.get();
        while let Some(top) = depth.checked_sub(1)
            && self.open.get(top).is_some_and(|slot| slot.get().marks.has(Marks::LEFT))
        {
            depth = top;
        }
        self.depth.set(depth);
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn ids(span_id: u64) -> Ids {
        Ids { trace_id: 1, span_id, marks: Marks(Marks::SAMPLED) }
    }

    fn current(desk: &Desk) -> u64 {
        desk.current().map_or(0, |ids| ids.span_id)
    }

    #[test]
    fn what_is_left_first_shows_what_is_around_it() {
        let desk = Desk::new();
        (1..=3).for_each(|id| desk.step_in(ids(id)));
        desk.step_out(2);
        assert_eq!(current(&desk), 3);
        desk.step_out(1);
        desk.step_out(3);
        assert!(desk.is_empty(), "nothing stays behind");
    }

    #[test]
    fn one_entered_twice_is_left_twice() {
        let desk = Desk::new();
        [1, 2, 1].into_iter().for_each(|id| desk.step_in(ids(id)));
        desk.step_out(1);
        assert_eq!(current(&desk), 2);
        desk.step_out(2);
        assert_eq!(current(&desk), 1);
        desk.step_out(1);
        desk.step_out(1);
        assert!(desk.is_empty());
    }

    #[test]
    fn guards_in_between_keep_their_places() {
        let desk = Desk::new();
        for _ in 0..1_000 {
            desk.step_in(ids(1));
            let guard = desk.enter(ids(2));
            desk.step_in(ids(3));
            desk.step_out(1);
            desk.step_out(3);
            assert_eq!(current(&desk), 2);
            assert!(desk.leave(guard, 2), "what has been left is nobody's parent");
            assert!(desk.is_empty(), "and does not stay");
        }
        assert!(!Marks(Marks::SAMPLED | Marks::LEFT).inherited().has(Marks::LEFT), "nor goes to a child");
    }

    #[test]
    fn as_random_as_it_gets() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(0xD129_42F0_5F4B_64D5).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let desk = Desk::new();
        let mut open: Vec<u64> = Vec::new();
        for id in 1..100_000 {
            if open.len() < 2 * DEPTH && random(2) == 0 {
                open.push(id);
                desk.step_in(ids(id));
            } else if !open.is_empty() {
                let id = open.remove(random(open.len()));
                desk.step_out(id);
            }
            if desk.depth.get() <= DEPTH {
                assert_eq!(current(&desk), open.last().copied().unwrap_or_default());
            }
            if open.len() > 100 {
                open.drain(..).for_each(|id| desk.step_out(id));
                assert!(desk.is_empty());
            }
        }
    }
}
