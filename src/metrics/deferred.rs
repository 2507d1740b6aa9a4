//! Records of statics that cannot be registered now. The program's global allocator records through a static for the
//! first time while tellane, on the same thread, allocates under a lock that the registration needs. The record waits in
//! the thread's own list until the thread is outside of tellane again; then the static's metric is registered and the
//! record counts. Cold. The list allocates nothing and takes no lock.

use super::counter::Tap;
use super::lazy::Definition;
use super::{Gauge, Histogram};
use crate::lane::local;
use crate::series::{Registry, global};
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use std::cell::Cell;

/// Statics whose records wait on one thread. An allocator uses a few, and each is registered at the next occasion.
const STATICS: usize = 16;
/// Records that wait on one thread. Those that add up take one place for each static.
const RECORDS: usize = 64;

/// A handle of any type, to replay records with.
#[derive(Debug)]
pub(super) enum Any {
    Count(Tap),
    Level(Gauge),
    Sample(Histogram),
}

/// Registers the metric of a definition; `None` if it is refused, which its static reports at its own first use.
pub(super) type Make = fn(&Definition, &Arc<Registry>) -> Option<Any>;

/// What was recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    /// An amount for a counter, modulo 2^64.
    Count(u64),
    /// A gauge's new value.
    Set(f64),
    /// A difference for a gauge.
    Add(f64),
    /// A histogram's value.
    Sample(u64),
}

/// This thread's list.
struct Waiting {
    statics: [Cell<Option<(Definition, Make)>>; STATICS],
    /// In the order of recording, with the static's index.
    records: [Cell<Option<(usize, Record)>>; RECORDS],
}

thread_local! {
    static WAITING: Waiting = const {
        Waiting {
            statics: [const { Cell::new(None) }; STATICS],
            records: [const { Cell::new(None) }; RECORDS],
        }
    };
}

/// Keeps a record until this thread is outside of tellane. A sample that finds no room is counted as dropped.
pub(super) fn defer(definition: &Definition, make: Make, record: Record) {
    if WAITING.with(|waiting| waiting.keep(definition, make, record)) {
        local::afterwards(replay);
    } else if let (Record::Sample(_), Some(registry)) = (record, global()) {
        registry.directory.shared.shared_dropped(Kind::Sample, Reason::Reentrant);
    }
}

impl Waiting {
    /// `false` if there is no room.
    fn keep(&self, definition: &Definition, make: Make, record: Record) -> bool {
        let is_its = |place: &Cell<Option<(Definition, Make)>>| {
            place.get().is_none_or(|(there, _)| there == *definition)
        };
        let Some(number) = self.statics.iter().position(is_its) else { return false };
        let same = |place: &&Cell<Option<(usize, Record)>>| place.get().is_some_and(|(of, _)| of == number);
        // A record that adds up with the static's last one needs no place of its own.
        let last = self.records.iter().rev().find(same);
        let sum = last.and_then(|last| match (last.get()?.1, record) {
            (Record::Count(before), Record::Count(amount)) => {
                Some((last, Record::Count(before.wrapping_add(amount))))
            }
            (Record::Set(_), Record::Set(value)) => Some((last, Record::Set(value))),
            (Record::Set(before), Record::Add(difference)) => Some((last, Record::Set(before + difference))),
            (Record::Add(before), Record::Add(difference)) => Some((last, Record::Add(before + difference))),
            (Record::Add(_), Record::Set(value)) => Some((last, Record::Set(value))),
            _ => None,
        });
        // Samples do not add up. They leave room for what does, so that no count is lost for their sake.
        let most = if matches!(record, Record::Sample(_)) { RECORDS - STATICS } else { RECORDS };
        let free = || self.records.iter().take(most).find(|place| place.get().is_none());
        let Some((place, record)) = sum.or_else(|| Some((free()?, record))) else { return false };
        place.set(Some((number, record)));
        if let Some(its) = self.statics.get(number) {
            its.set(Some((*definition, make)));
        }
        true
    }
}

/// Registers the statics whose records wait, and records. Registering allocates, so more may come meanwhile, also of
/// statics that are registered already; all handles are there before the first record is taken, and recording allocates
/// nothing, so this ends.
fn replay() {
    let Some(registry) = global().filter(|registry| !registry.directory.is_forked()) else { return };
    local::aside(|| {
        let mut made: [Option<Any>; STATICS] = [const { None }; STATICS];
        WAITING.with(|waiting| {
            for (place, made) in waiting.statics.iter().zip(&mut made) {
                *made = place.get().and_then(|(definition, make)| make(&definition, registry));
            }
            for place in &waiting.records {
                let Some((number, record)) = place.take() else { continue };
                match (made.get(number).and_then(Option::as_ref), record) {
                    (Some(Any::Count(tap)), Record::Count(amount)) => tap.add(amount),
                    (Some(Any::Level(gauge)), Record::Set(value)) => gauge.set(value),
                    (Some(Any::Level(gauge)), Record::Add(difference)) => gauge.add(difference),
                    (Some(Any::Sample(histogram)), Record::Sample(value)) => histogram.record(value),
                    _ => {} // refused: a static without a metric does nothing
                }
            }
            waiting.statics.iter().for_each(|place| place.set(None));
        });
    });
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use std::panic::Location;

    fn waiting() -> Waiting {
        Waiting {
            statics: [const { Cell::new(None) }; STATICS],
            records: [const { Cell::new(None) }; RECORDS],
        }
    }

    fn definition(name: &'static str) -> Definition {
        Definition { name, help: "", labels: &[], bytes: false, seconds: false, at: Location::caller() }
    }

    #[test]
    fn what_adds_up_takes_one_place_and_samples_leave_room_for_it() {
        let waiting = waiting();
        let keep = |name, record| waiting.keep(&definition(name), |_, _| None, record);
        for value in 0..100 {
            assert!(keep("count", Record::Count(u64::MAX)) && keep("level", Record::Add(0.5)));
            assert_eq!(keep("sample", Record::Sample(value)), value < 46, "{value}");
        }
        assert!(keep("level", Record::Set(1.0)) && keep("level", Record::Add(0.25)));
        assert!(keep("another count", Record::Count(1)), "there is room left");
        let kept: Vec<_> = waiting.records.iter().filter_map(Cell::get).collect();
        assert_eq!(kept.len(), 49);
        assert!(
            matches!(kept[0], (0, Record::Count(count)) if count == 0_u64.wrapping_sub(100)),
            "{:?}",
            kept[0]
        );
        assert!(matches!(kept[1], (1, Record::Set(1.25))), "{:?}", kept[1]);
        assert!(matches!(kept[47], (2, Record::Sample(45))) && matches!(kept[48], (3, Record::Count(1))));
    }

    #[test]
    fn more_statics_than_places_are_refused() {
        let waiting = waiting();
        let names: [&'static str; STATICS] = std::array::from_fn(|at| &"abcdefghijklmnop"[at..=at]);
        let keep = |name| waiting.keep(&definition(name), |_, _| None, Record::Count(1));
        assert!(names.into_iter().all(keep) && names.into_iter().all(keep));
        assert!(!keep("one more"));
    }
}
