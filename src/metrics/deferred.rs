//! Records of statics that cannot be registered now. The program's global allocator records through a static for the
//! first time while tellane, on the same thread, allocates under a lock that the registration needs. The record waits
//! in a table of the process until the thread is outside of tellane again; then the static's metric is registered and
//! the record counts. Cold. Keeping a record allocates nothing and takes no lock.
//!
//! The table starts with a fixed part and grows outside of tellane, so that there is always room for what the growth
//! itself makes an allocator record. What finds no room is counted as lost: see [`lost`].

use super::counter::CounterInner;
use super::lazy::Definition;
use super::{Gauge, Histogram};
use crate::instance::{Instance, global};
use crate::lane::local;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

/// Statics in each part of the table; a part is made when those before it are half used.
const PARTS: [usize; 3] = [64, 192, 768];
/// Statics that the table holds in all. One stays in the table for the life of the process.
const STATICS_MAX: usize = PARTS[0] + PARTS[1] + PARTS[2];
/// Samples that wait at the same time. Counts and gauges add up and take no place here.
const SAMPLES_MAX: usize = 4_096;

/// A handle of any type, to record what has waited.
#[derive(Debug)]
pub(super) enum Any {
    Count(CounterInner),
    Level(Gauge),
    Sample(Histogram),
}

/// Registers the metric of a definition; `None` if it is refused, which its static reports at its own first use.
pub(super) type Make = fn(&Definition, &Arc<Instance>) -> Option<Any>;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Record {
    /// An amount for a counter, modulo 2^64.
    Count(u64),
    /// A gauge's new value.
    Set(f64),
    /// A difference for a gauge.
    Add(f64),
    /// A histogram's value, as an integer.
    Sample(u64),
    /// A histogram's value, in the unit shown.
    Number(f64),
}

/// Keeps a record until this thread is outside of tellane, or counts it as lost.
pub(super) fn defer(definition: &Definition, make: Make, record: Record) {
    let kept = match TABLE.place(definition, make) {
        None => false,
        Some((_, place)) if place.made.get().is_some() => {
            place.record(record); // allocates nothing: from in here it goes to the shared counts
            return;
        }
        Some((number, place)) => TABLE.keep(number, place, record),
    };
    match kept {
        true => local::afterwards(replay),
        false => lost(definition),
    }
}

/// Counts a record that can neither be made nor wait: a sample in the ledger, one of a counter or gauge in the faults.
#[cold]
pub(super) fn lost(definition: &Definition) {
    if let Some(instance) = global() {
        if definition.is_sampled() {
            instance.lanes.shared.shared_dropped(Kind::Sample, Reason::Reentrant);
        } else {
            instance.faults.lose(definition.name);
        }
    }
}

/// Registers the statics whose records wait, and records. Registering allocates, so more may come meanwhile, also of
/// statics that are registered already; all handles are there before the first record is taken, and recording allocates
/// nothing, so this ends.
fn replay() {
    let Some(instance) = global().filter(|instance| !instance.lanes.is_forked()) else { return };
    local::without_recording(|| {
        TABLE.grow();
        TABLE.make(instance);
        TABLE.settle();
    });
}

static TABLE: Table = Table::new();

struct Table {
    first: [Place; PARTS[0]],
    more: [OnceLock<Box<[Place]>>; PARTS.len() - 1],
    /// Places that are given out. Relaxed: each is given to one caller, and what is in it says itself when it is there.
    taken: AtomicU64,
    samples: [Sample; SAMPLES_MAX],
    /// The next place for a sample, modulo their number. Relaxed, as above.
    next: AtomicU64,
}

/// One static, and those of its records that add up.
struct Place {
    of: OnceLock<(Definition, Make)>,
    /// The handle, or that its metric was refused.
    made: OnceLock<Option<Any>>,
    /// Relaxed: a sum that stands for itself.
    count: AtomicU64,
    level: Level,
}

/// What waits for a gauge. Its thread and whoever settles it take turns; who has it allocates nothing and calls nobody,
/// so the other's turn comes after a few instructions.
struct Level {
    state: AtomicU32,
    /// A value or a difference, by `state`. Relaxed: `state` orders it.
    bits: AtomicU64,
}

/// The states of a [`Level`] and of a [`Sample`]. A sample that is there has the number of its static, see
/// [`Table::keep_sample`].
const NOTHING: u32 = 0;
const DIFFERENCE: u32 = 1;
const VALUE: u32 = 2;
const BUSY: u32 = u32::MAX;

struct Sample {
    state: AtomicU32,
    /// Relaxed: `state` orders it.
    bits: AtomicU64,
}

impl Table {
    const fn new() -> Self {
        Self {
            first: [const { Place::new() }; PARTS[0]],
            more: [const { OnceLock::new() }; PARTS.len() - 1],
            taken: AtomicU64::new(0),
            samples: [const { Sample { state: AtomicU32::new(NOTHING), bits: AtomicU64::new(0) } };
                SAMPLES_MAX],
            next: AtomicU64::new(0),
        }
    }

    /// A place by its number, if its part is there.
    fn at(&self, mut number: usize) -> Option<&Place> {
        if number < self.first.len() {
            return self.first.get(number);
        }
        number -= self.first.len();
        for (part, size) in self.more.iter().zip(&PARTS[1..]) {
            if number < *size {
                return part.get()?.get(number);
            }
            number -= size;
        }
        None
    }

    fn places(&self) -> impl Iterator<Item = (usize, &Place)> {
        // The count is read anew each time: more may come while a caller works.
        (0..STATICS_MAX)
            .take_while(|number| (*number as u64) < self.taken.load(Ordering::Relaxed))
            .filter_map(|number| Some((number, self.at(number)?)))
    }

    /// The place of a static, which takes one if it has none. Two threads at once may take two for the same static:
    /// both lead to the same metric.
    fn place(&self, definition: &Definition, make: Make) -> Option<(usize, &Place)> {
        let is_its = |(_, place): &(usize, &Place)| place.of.get().is_some_and(|(of, _)| of == definition);
        if let Some(there) = self.places().find(is_its) {
            return Some(there);
        }
        let next = |taken| self.at(taken as usize).map(|_| taken + 1);
        let number = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()? as usize;
        let place = self.at(number)?;
        place.of.set((*definition, make)).ok()?; // never fails: the place is this caller's
        Some((number, place))
    }

    /// Keeps a record of a static that has no handle yet. `false` if there is no room.
    fn keep(&self, number: usize, place: &Place, record: Record) -> bool {
        match record {
            Record::Count(amount) => {
                place.count.fetch_add(amount, Ordering::Relaxed);
                true
            }
            Record::Set(_) | Record::Add(_) => {
                place.level.with(|waiting| *waiting = Some(sum(*waiting, record)));
                true
            }
            Record::Sample(value) => self.keep_sample(number, false, value),
            Record::Number(value) => self.keep_sample(number, true, value.to_bits()),
        }
    }

    fn keep_sample(&self, number: usize, is_number: bool, bits: u64) -> bool {
        let at = self.next.fetch_add(1, Ordering::Relaxed) as usize % SAMPLES_MAX;
        let Some(place) = self.samples.get(at) else { return false };
        // Acquire pairs with the Release in `settle`: the value there was read before it is overwritten.
        if place.state.compare_exchange(NOTHING, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        place.bits.store(bits, Ordering::Relaxed);
        // Release pairs with the Acquire in `settle`.
        place.state.store((number as u32 + 1) << 1 | u32::from(is_number), Ordering::Release);
        true
    }

    /// Makes the next part of the table if those that are there are half used.
    fn grow(&self) {
        let mut size = PARTS[0];
        for (part, more) in self.more.iter().zip(&PARTS[1..]) {
            if self.taken.load(Ordering::Relaxed) as usize > size / 2 {
                part.get_or_init(|| (0..*more).map(|_| Place::new()).collect());
            }
            size += more;
        }
    }

    /// Makes the handles of all statics in the table, also of those that come meanwhile.
    fn make(&self, instance: &Arc<Instance>) {
        for (_, place) in self.places() {
            if let (Some((definition, make)), None) = (place.of.get(), place.made.get()) {
                let made = make(definition, instance);
                let _another_thread_was_faster = place.made.set(made);
            }
        }
    }

    /// Records what has waited. Statics without a handle belong to threads that are not outside yet, which do this
    /// themselves.
    fn settle(&self) {
        for (_, place) in self.places().filter(|(_, place)| place.made.get().is_some()) {
            place.settle();
        }
        for sample in &self.samples {
            // Acquire pairs with the Release in `keep_sample`.
            let state = sample.state.load(Ordering::Acquire);
            if matches!(state, NOTHING | BUSY) {
                continue;
            }
            let Some(place) = self.at((state >> 1) as usize - 1).filter(|place| place.made.get().is_some())
            else {
                continue;
            };
            // Acquire, once more: it may be a later sample of the same static that is found there now.
            if sample.state.compare_exchange(state, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let bits = sample.bits.load(Ordering::Relaxed);
                sample.state.store(NOTHING, Ordering::Release); // pairs with the Acquire in `keep_sample`
                place.record(if state & 1 == 0 {
                    Record::Sample(bits)
                } else {
                    Record::Number(f64::from_bits(bits))
                });
            }
        }
    }
}

impl Place {
    const fn new() -> Self {
        Self {
            of: OnceLock::new(),
            made: OnceLock::new(),
            count: AtomicU64::new(0),
            level: Level { state: AtomicU32::new(NOTHING), bits: AtomicU64::new(0) },
        }
    }

    /// Records by the handle. A static whose metric was refused does nothing.
    fn record(&self, record: Record) {
        match (self.made.get().and_then(Option::as_ref), record) {
            (Some(Any::Count(counter)), Record::Count(amount)) => counter.add(amount),
            (Some(Any::Level(gauge)), Record::Set(_) | Record::Add(_)) => self.level.with(|waiting| {
                // What this thread set before comes before.
                for record in [waiting.take(), Some(record)].into_iter().flatten() {
                    apply(gauge, record);
                }
            }),
            (Some(Any::Sample(histogram)), Record::Sample(value)) => histogram.record(value),
            (Some(Any::Sample(histogram)), Record::Number(value)) => histogram.record_f64(value),
            _ => {}
        }
    }

    /// Records what adds up.
    fn settle(&self) {
        match self.count.swap(0, Ordering::Relaxed) {
            0 => {}
            amount => self.record(Record::Count(amount)),
        }
        self.level.with(|waiting| {
            if let (Some(record), Some(Any::Level(gauge))) =
                (waiting.take(), self.made.get().and_then(Option::as_ref))
            {
                apply(gauge, record);
            }
        });
    }
}

impl Level {
    /// Runs `act` with what waits. `act` must not allocate.
    fn with(&self, act: impl FnOnce(&mut Option<Record>)) {
        let state = loop {
            let state = self.state.load(Ordering::Relaxed);
            // Acquire pairs with the Release below.
            if state != BUSY
                && self.state.compare_exchange(state, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                break state;
            }
            std::thread::yield_now();
        };
        let value = f64::from_bits(self.bits.load(Ordering::Relaxed));
        let mut waiting = match state {
            DIFFERENCE => Some(Record::Add(value)),
            VALUE => Some(Record::Set(value)),
            _ => None,
        };
        act(&mut waiting);
        let (state, value) = match waiting {
            Some(Record::Add(value)) => (DIFFERENCE, value),
            Some(Record::Set(value)) => (VALUE, value),
            _ => (NOTHING, 0.0),
        };
        self.bits.store(value.to_bits(), Ordering::Relaxed);
        self.state.store(state, Ordering::Release); // pairs with the Acquire above
    }
}

/// One record of a gauge in place of two.
fn sum(before: Option<Record>, record: Record) -> Record {
    match (before, record) {
        (Some(Record::Set(before)), Record::Add(difference)) => Record::Set(before + difference),
        (Some(Record::Add(before)), Record::Add(difference)) => Record::Add(before + difference),
        _ => record,
    }
}

fn apply(gauge: &Gauge, record: Record) {
    match record {
        Record::Set(value) => gauge.set(value),
        Record::Add(difference) => gauge.add(difference),
        _ => {}
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use std::panic::Location;

    fn definition(name: &'static str) -> Definition {
        Definition {
            name,
            help: "",
            labels: &[],
            handle: "Counter",
            bytes: false,
            seconds: false,
            at: Location::caller(),
        }
    }

    fn name(number: usize) -> &'static str {
        Box::leak(number.to_string().into_boxed_str())
    }

    /// Keeps a record; says whether there was room.
    fn keep(table: &Table, name: &'static str, record: Record) -> bool {
        let place = table.place(&definition(name), |_, _| None);
        place.is_some_and(|(number, place)| table.keep(number, place, record))
    }

    fn waiting(table: &Table, name: &'static str) -> Option<Record> {
        let (_, place) = table.place(&definition(name), |_, _| None).expect("it was kept");
        let mut found = None;
        place.level.with(|waiting| found = *waiting);
        found
    }

    #[test]
    fn counts_and_levels_add_up_in_one_place() {
        let table = Box::new(Table::new());
        for _ in 0..100 {
            assert!(
                keep(&table, "count", Record::Count(u64::MAX)) && keep(&table, "level", Record::Add(0.5))
            );
        }
        assert_eq!(table.taken.load(Ordering::Relaxed), 2);
        assert_eq!(table.first[0].count.load(Ordering::Relaxed), 0_u64.wrapping_sub(100));
        assert_eq!(waiting(&table, "level"), Some(Record::Add(50.0)));
        assert!(keep(&table, "level", Record::Set(1.0)) && keep(&table, "level", Record::Add(0.25)));
        assert_eq!(waiting(&table, "level"), Some(Record::Set(1.25)));
    }

    #[test]
    fn the_table_has_room_for_as_many_statics_as_it_says() {
        let table = Box::new(Table::new());
        for number in 0..PARTS[0] {
            assert!(keep(&table, name(number), Record::Count(1)), "{number}");
        }
        assert!(!keep(&table, "no room yet", Record::Count(1)), "it grows outside of tellane only");
        for number in PARTS[0]..STATICS_MAX {
            table.grow();
            assert!(keep(&table, name(number), Record::Count(1)), "{number}");
        }
        table.grow();
        assert!(!keep(&table, "one more", Record::Count(1)));
        assert!(keep(&table, name(STATICS_MAX - 1), Record::Count(1)), "it is there");
    }

    #[test]
    fn samples_wait_up_to_their_number() {
        let table = Box::new(Table::new());
        for value in 0..SAMPLES_MAX {
            assert!(keep(&table, "sample", Record::Sample(value as u64)), "{value}");
        }
        assert!(!keep(&table, "sample", Record::Number(0.5)));
        assert!(keep(&table, "count", Record::Count(1)), "counts need no such room");
        table.first[0].made.set(None).expect("refused now");
        table.settle();
        assert!(keep(&table, "another sample", Record::Number(0.5)), "there is room again");
    }

    #[test]
    fn handles_of_two_types_have_places_of_their_own() {
        let table = Box::new(Table::new());
        let counter = definition("twice");
        let place = |definition: &Definition| table.place(definition, |_, _| None).expect("room").0;
        let gauge = Definition { handle: "Gauge", ..counter };
        assert_eq!([place(&counter), place(&gauge), place(&counter)], [0, 1, 0]);
    }

    #[test]
    fn two_threads_lose_nothing_of_one_gauge() {
        let level = Level { state: AtomicU32::new(NOTHING), bits: AtomicU64::new(0) };
        let taken = std::sync::Mutex::new(0.0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        level.with(|waiting| *waiting = Some(sum(*waiting, Record::Add(1.0))));
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut found = None;
                    level.with(|waiting| found = waiting.take());
                    if let Some(Record::Add(difference)) = found {
                        *taken.lock().expect("no panic") += difference;
                    }
                }
            });
        });
        let mut rest = 0.0;
        level.with(|waiting| {
            if let Some(Record::Add(difference)) = waiting {
                rest = *difference;
            }
        });
        assert_eq!(taken.into_inner().expect("no panic") + rest, 2_000.0);
    }
}
