//! Deferred records of statics that cannot be registered at the moment. The case: the program's global allocator
//! records through a static for the first time while tellane, on the same thread, allocates under a lock that the
//! registration needs. The record waits in a table of the process until the thread has left tellane; then the static's
//! metric is registered and the record is counted. Cold. Deferring a record allocates nothing and takes no lock.
//!
//! The table starts with a fixed part. It grows only when the thread has left tellane, and before it is full, so that
//! it has space for the records that an allocator makes while it grows. Records that do not fit are counted as lost:
//! see [`lost`].

use super::counter::CounterInner;
use super::definition::StaticDefinition;
use super::{Gauge, Histogram};
use crate::instance::{Instance, global};
use crate::lane::local;
use crate::stats::{Kind, Reason};
use crate::sync::Arc;
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

/// Statics in each part of the table. A part is allocated when the earlier parts are half used.
const PARTS: [usize; 3] = [64, 192, 768];
/// The most statics in the whole table. A static stays in the table for the life of the process.
const STATICS_MAX: usize = PARTS[0] + PARTS[1] + PARTS[2];
/// The most samples that can wait at the same time. Records of counters and gauges are summed and need no entry here.
const SAMPLES_MAX: usize = 4_096;

/// A handle of any type, for replaying deferred records.
#[derive(Debug)]
pub(super) enum Any {
    Count(CounterInner),
    Level(Gauge),
    Sample(Histogram),
}

/// Registers the metric of a definition; `None` if it is refused. The static reports the refusal at its own first use.
pub(super) type Make = fn(&StaticDefinition, &Arc<Instance>) -> Option<Any>;

/// One deferred call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DeferredRecord {
    /// An amount for a counter, modulo 2^64.
    Count(u64),
    /// A gauge's new value.
    Set(f64),
    /// A difference for a gauge.
    Add(f64),
    /// A histogram's value, as an integer.
    Sample(u64),
    /// A histogram's value, in the exported unit.
    Number(f64),
}

/// Defers a record until this thread has left tellane, or counts it as lost.
pub(super) fn defer(definition: &StaticDefinition, make: Make, record: DeferredRecord) {
    let kept = match TABLE.entry(definition, make) {
        None => false,
        Some((_, entry)) if entry.made.get().is_some() => {
            entry.record(record); // allocates nothing: inside tellane, records go to the shared counts
            return;
        }
        Some((number, entry)) => TABLE.store(number, entry, record),
    };
    match kept {
        true => local::afterwards(replay),
        false => lost(definition),
    }
}

/// Counts as lost a record that can be neither made nor deferred: samples in the ledger, counter and gauge records in
/// the faults.
#[cold]
pub(super) fn lost(definition: &StaticDefinition) {
    if let Some(instance) = global() {
        if definition.is_sampled() {
            instance.lanes.shared.shared_dropped(Kind::Sample, Reason::Reentrant);
        } else {
            instance.faults.count_lost_of(definition.name);
        }
    }
}

/// Registers the statics of all deferred records, and replays the records. Registering allocates, so more records may
/// be deferred meanwhile, also of statics that are registered already. All handles exist before the first record is
/// replayed, and replaying allocates nothing, so this ends.
fn replay() {
    let Some(instance) = global().filter(|instance| !instance.lanes.is_forked()) else { return };
    local::without_recording(|| {
        TABLE.grow();
        TABLE.make(instance);
        TABLE.settle();
    });
}

static TABLE: DeferTable = DeferTable::new();

/// The table of statics with deferred records.
struct DeferTable {
    first: [StaticEntry; PARTS[0]],
    more: [OnceLock<Box<[StaticEntry]>>; PARTS.len() - 1],
    /// Number of entries in use. Relaxed: each entry is given to one caller, and the entry's `OnceLock`s publish its
    /// contents.
    taken: AtomicU64,
    samples: [Sample; SAMPLES_MAX],
    /// Number of the next sample; its index is this modulo `SAMPLES_MAX`. Relaxed: each sample's `state` publishes its
    /// contents.
    next: AtomicU64,
}

/// The entry of one static, with the sum of its deferred counts and gauge changes.
struct StaticEntry {
    of: OnceLock<(StaticDefinition, Make)>,
    /// The handle; `None` inside if its metric was refused.
    made: OnceLock<Option<Any>>,
    /// Sum of deferred additions. Relaxed: it publishes no other memory.
    count: AtomicU64,
    level: DeferredLevel,
}

/// The deferred change of a gauge, behind a spin lock. A thread that holds it allocates nothing and runs no foreign
/// code, so other threads wait for a few instructions only.
struct DeferredLevel {
    state: AtomicU32,
    /// A value or a difference, according to `state`. Relaxed: ordered by `state`.
    bits: AtomicU64,
}

/// The states of a [`DeferredLevel`] and of a [`Sample`]. The state of a stored sample is derived from the number of
/// its static, see [`DeferTable::store_sample`].
const NOTHING: u32 = 0;
const DIFFERENCE: u32 = 1;
const VALUE: u32 = 2;
const BUSY: u32 = u32::MAX;

/// One deferred sample.
struct Sample {
    state: AtomicU32,
    /// The value. Relaxed: ordered by `state`.
    bits: AtomicU64,
}

impl DeferTable {
    const fn new() -> Self {
        Self {
            first: [const { StaticEntry::new() }; PARTS[0]],
            more: [const { OnceLock::new() }; PARTS.len() - 1],
            taken: AtomicU64::new(0),
            samples: [const { Sample { state: AtomicU32::new(NOTHING), bits: AtomicU64::new(0) } };
                SAMPLES_MAX],
            next: AtomicU64::new(0),
        }
    }

    /// The entry of a number, if its part of the table is allocated.
    fn at(&self, mut number: usize) -> Option<&StaticEntry> {
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

    /// Iterates over the entries in use, including entries that are added meanwhile.
    fn entries(&self) -> impl Iterator<Item = (usize, &StaticEntry)> {
        // `taken` is read for each entry: more may be added while a caller works.
        (0..STATICS_MAX)
            .take_while(|number| (*number as u64) < self.taken.load(Ordering::Relaxed))
            .filter_map(|number| Some((number, self.at(number)?)))
    }

    /// Returns the entry of a static, and takes a new one if it has none. Two racing threads may take two entries for
    /// the same static: both lead to the same metric.
    fn entry(&self, definition: &StaticDefinition, make: Make) -> Option<(usize, &StaticEntry)> {
        let is_its =
            |(_, entry): &(usize, &StaticEntry)| entry.of.get().is_some_and(|(of, _)| of == definition);
        if let Some(there) = self.entries().find(is_its) {
            return Some(there);
        }
        let next = |taken| self.at(taken as usize).map(|_| taken + 1);
        let number = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()? as usize;
        let entry = self.at(number)?;
        entry.of.set((*definition, make)).ok()?; // never fails: only this caller has the entry
        Some((number, entry))
    }

    /// Stores a record of a static that has no handle yet. `false` if it does not fit.
    fn store(&self, number: usize, entry: &StaticEntry, record: DeferredRecord) -> bool {
        match record {
            DeferredRecord::Count(amount) => {
                entry.count.fetch_add(amount, Ordering::Relaxed);
                true
            }
            DeferredRecord::Set(_) | DeferredRecord::Add(_) => {
                entry.level.with(|waiting| *waiting = Some(sum(*waiting, record)));
                true
            }
            DeferredRecord::Sample(value) => self.store_sample(number, false, value),
            DeferredRecord::Number(value) => self.store_sample(number, true, value.to_bits()),
        }
    }

    fn store_sample(&self, number: usize, is_number: bool, bits: u64) -> bool {
        let at = self.next.fetch_add(1, Ordering::Relaxed) as usize % SAMPLES_MAX;
        let Some(sample) = self.samples.get(at) else { return false };
        // Acquire pairs with the Release in `settle`: the old value was read before it is overwritten.
        if sample.state.compare_exchange(NOTHING, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        sample.bits.store(bits, Ordering::Relaxed);
        // Release pairs with the Acquire in `settle`.
        sample.state.store((number as u32 + 1) << 1 | u32::from(is_number), Ordering::Release);
        true
    }

    /// Allocates the next part of the table if the existing parts are half used.
    fn grow(&self) {
        let mut size = PARTS[0];
        for (part, more) in self.more.iter().zip(&PARTS[1..]) {
            if self.taken.load(Ordering::Relaxed) as usize > size / 2 {
                part.get_or_init(|| (0..*more).map(|_| StaticEntry::new()).collect());
            }
            size += more;
        }
    }

    /// Creates the handles of all statics in the table, including statics that are added meanwhile.
    fn make(&self, instance: &Arc<Instance>) {
        for (_, entry) in self.entries() {
            if let (Some((definition, make)), None) = (entry.of.get(), entry.made.get()) {
                let made = make(definition, instance);
                let _another_thread_was_faster = entry.made.set(made);
            }
        }
    }

    /// Replays all deferred records. Statics without a handle belong to threads that are still inside tellane; those
    /// threads replay their records themselves.
    fn settle(&self) {
        for (_, entry) in self.entries().filter(|(_, entry)| entry.made.get().is_some()) {
            entry.settle();
        }
        for sample in &self.samples {
            // Acquire pairs with the Release in `store_sample`.
            let state = sample.state.load(Ordering::Acquire);
            if matches!(state, NOTHING | BUSY) {
                continue;
            }
            let Some(entry) = self.at((state >> 1) as usize - 1).filter(|entry| entry.made.get().is_some())
            else {
                continue;
            };
            // Acquire again: the slot may by now hold a later sample of the same static.
            if sample.state.compare_exchange(state, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let bits = sample.bits.load(Ordering::Relaxed);
                sample.state.store(NOTHING, Ordering::Release); // pairs with the Acquire in `store_sample`
                entry.record(if state & 1 == 0 {
                    DeferredRecord::Sample(bits)
                } else {
                    DeferredRecord::Number(f64::from_bits(bits))
                });
            }
        }
    }
}

impl StaticEntry {
    const fn new() -> Self {
        Self {
            of: OnceLock::new(),
            made: OnceLock::new(),
            count: AtomicU64::new(0),
            level: DeferredLevel { state: AtomicU32::new(NOTHING), bits: AtomicU64::new(0) },
        }
    }

    /// Records through the handle. Does nothing if the static's metric was refused.
    fn record(&self, record: DeferredRecord) {
        match (self.made.get().and_then(Option::as_ref), record) {
            (Some(Any::Count(counter)), DeferredRecord::Count(amount)) => counter.add(amount),
            (Some(Any::Level(gauge)), DeferredRecord::Set(_) | DeferredRecord::Add(_)) => {
                self.level.with(|waiting| {
                    // A deferred change of this gauge comes first: it was made earlier.
                    for record in [waiting.take(), Some(record)].into_iter().flatten() {
                        apply(gauge, record);
                    }
                })
            }
            (Some(Any::Sample(histogram)), DeferredRecord::Sample(value)) => histogram.record(value),
            (Some(Any::Sample(histogram)), DeferredRecord::Number(value)) => histogram.record_f64(value),
            _ => {}
        }
    }

    /// Replays the sums of counts and gauge changes.
    fn settle(&self) {
        match self.count.swap(0, Ordering::Relaxed) {
            0 => {}
            amount => self.record(DeferredRecord::Count(amount)),
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

impl DeferredLevel {
    /// Runs `act` with the deferred change, under the spin lock. `act` must not allocate.
    fn with(&self, act: impl FnOnce(&mut Option<DeferredRecord>)) {
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
            DIFFERENCE => Some(DeferredRecord::Add(value)),
            VALUE => Some(DeferredRecord::Set(value)),
            _ => None,
        };
        act(&mut waiting);
        let (state, value) = match waiting {
            Some(DeferredRecord::Add(value)) => (DIFFERENCE, value),
            Some(DeferredRecord::Set(value)) => (VALUE, value),
            _ => (NOTHING, 0.0),
        };
        self.bits.store(value.to_bits(), Ordering::Relaxed);
        self.state.store(state, Ordering::Release); // pairs with the Acquire above
    }
}

/// Merges two records of a gauge into one.
fn sum(before: Option<DeferredRecord>, record: DeferredRecord) -> DeferredRecord {
    match (before, record) {
        (Some(DeferredRecord::Set(before)), DeferredRecord::Add(difference)) => {
            DeferredRecord::Set(before + difference)
        }
        (Some(DeferredRecord::Add(before)), DeferredRecord::Add(difference)) => {
            DeferredRecord::Add(before + difference)
        }
        _ => record,
    }
}

/// Applies a record to a gauge.
fn apply(gauge: &Gauge, record: DeferredRecord) {
    match record {
        DeferredRecord::Set(value) => gauge.set(value),
        DeferredRecord::Add(difference) => gauge.add(difference),
        _ => {}
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;
    use std::panic::Location;

    fn definition(name: &'static str) -> StaticDefinition {
        StaticDefinition {
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

    /// Stores a record; returns `true` if it fit.
    fn keep(table: &DeferTable, name: &'static str, record: DeferredRecord) -> bool {
        let entry = table.entry(&definition(name), |_, _| None);
        entry.is_some_and(|(number, entry)| table.store(number, entry, record))
    }

    fn waiting(table: &DeferTable, name: &'static str) -> Option<DeferredRecord> {
        let (_, entry) = table.entry(&definition(name), |_, _| None).expect("it was stored");
        let mut found = None;
        entry.level.with(|waiting| found = *waiting);
        found
    }

    #[test]
    fn counts_and_gauge_changes_are_summed_in_one_entry() {
        let table = Box::new(DeferTable::new());
        for _ in 0..100 {
            assert!(
                keep(&table, "count", DeferredRecord::Count(u64::MAX))
                    && keep(&table, "level", DeferredRecord::Add(0.5))
            );
        }
        assert_eq!(table.taken.load(Ordering::Relaxed), 2);
        assert_eq!(table.first[0].count.load(Ordering::Relaxed), 0_u64.wrapping_sub(100));
        assert_eq!(waiting(&table, "level"), Some(DeferredRecord::Add(50.0)));
        assert!(
            keep(&table, "level", DeferredRecord::Set(1.0))
                && keep(&table, "level", DeferredRecord::Add(0.25))
        );
        assert_eq!(waiting(&table, "level"), Some(DeferredRecord::Set(1.25)));
    }

    #[test]
    fn the_table_takes_the_promised_number_of_statics() {
        let table = Box::new(DeferTable::new());
        for number in 0..PARTS[0] {
            assert!(keep(&table, name(number), DeferredRecord::Count(1)), "{number}");
        }
        assert!(!keep(&table, "no room yet", DeferredRecord::Count(1)), "it grows outside of tellane only");
        for number in PARTS[0]..STATICS_MAX {
            table.grow();
            assert!(keep(&table, name(number), DeferredRecord::Count(1)), "{number}");
        }
        table.grow();
        assert!(!keep(&table, "one more", DeferredRecord::Count(1)));
        assert!(keep(&table, name(STATICS_MAX - 1), DeferredRecord::Count(1)), "it is there");
    }

    #[test]
    fn samples_wait_up_to_their_maximum() {
        let table = Box::new(DeferTable::new());
        for value in 0..SAMPLES_MAX {
            assert!(keep(&table, "sample", DeferredRecord::Sample(value as u64)), "{value}");
        }
        assert!(!keep(&table, "sample", DeferredRecord::Number(0.5)));
        assert!(keep(&table, "count", DeferredRecord::Count(1)), "counts need no such room");
        table.first[0].made.set(None).expect("refused now");
        table.settle();
        assert!(keep(&table, "another sample", DeferredRecord::Number(0.5)), "there is room again");
    }

    #[test]
    fn handles_of_two_types_have_separate_entries() {
        let table = Box::new(DeferTable::new());
        let counter = definition("twice");
        let entry = |definition: &StaticDefinition| table.entry(definition, |_, _| None).expect("room").0;
        let gauge = StaticDefinition { handle: "Gauge", ..counter };
        assert_eq!([entry(&counter), entry(&gauge), entry(&counter)], [0, 1, 0]);
    }

    #[test]
    fn two_threads_lose_nothing_of_one_gauge() {
        let level = DeferredLevel { state: AtomicU32::new(NOTHING), bits: AtomicU64::new(0) };
        let taken = std::sync::Mutex::new(0.0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        level.with(|waiting| *waiting = Some(sum(*waiting, DeferredRecord::Add(1.0))));
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut found = None;
                    level.with(|waiting| found = waiting.take());
                    if let Some(DeferredRecord::Add(difference)) = found {
                        *taken.lock().expect("no panic") += difference;
                    }
                }
            });
        });
        let mut rest = 0.0;
        level.with(|waiting| {
            if let Some(DeferredRecord::Add(difference)) = waiting {
                rest = *difference;
            }
        });
        assert_eq!(taken.into_inner().expect("no panic") + rest, 2_000.0);
    }
}
