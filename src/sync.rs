//! The crate's atomics and locks: those of std in a normal build, those of loom under `--cfg tellane_loom`.
//!
//! All other files import them from here; `tests/architecture.rs` refuses `std::sync::atomic` elsewhere. This module
//! also declares the planted bugs: mistakes that the models and fuzz targets must find, compiled away in a normal
//! build.

#[cfg(tellane_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(tellane_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Always the `Arc` of std: loom's cannot hold unsized values, and its reference counts would add orderings to the
/// models that tellane must not rely on.
pub(crate) use std::sync::Arc;

/// Atomics for process-wide statics. Always those of std, since loom has no const constructors and does not model
/// statics.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
}

/// An unbounded channel. Loom cannot model crossbeam's channel, so models use a queue of their own.
#[cfg(not(tellane_loom))]
pub(crate) mod queue {
    pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
}
#[cfg(tellane_loom)]
pub(crate) mod queue;

#[cfg(not(tellane_loom))]
use std::sync::{Mutex as Inner, MutexGuard};

#[cfg(tellane_loom)]
use loom::sync::{Mutex as Inner, MutexGuard};

/// A mutex for cold paths. A panic while it is held does not poison it: every critical section in tellane leaves its
/// value consistent after each step, and telemetry must not turn one panic into many.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Allocates a slice of `len` zeroed words. The allocator returns large slices as untouched pages, so a ring or a spill
/// takes physical memory only for the parts that are used.
#[cfg(not(tellane_loom))]
#[allow(unsafe_code)] // safe Rust cannot allocate zeroed atomics, and writing each word would commit every page
pub(crate) fn zeroed_words(len: usize) -> Box<[AtomicU64]> {
    // SAFETY: AtomicU64 has the layout of u64 (std documents it), for which all-zero bytes are the value 0.
    unsafe { Box::<[AtomicU64]>::new_zeroed_slice(len).assume_init() }
}

#[cfg(tellane_loom)]
pub(crate) fn zeroed_words(len: usize) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

/// Reads a word that only this thread writes. A plain read can be folded into the instruction that uses the value,
/// which compilers do not do with an atomic load; an atomic load takes two more instructions per sample, of about
/// forty.
#[cfg(not(tellane_loom))]
#[inline(always)]
#[allow(unsafe_code)] // a plain read
pub(crate) fn own(word: &AtomicU64) -> u64 {
    // SAFETY: a plain read races only with writes, and no other thread writes this word. It does not race with the
    // atomic reads of other threads.
    unsafe { word.as_ptr().read() }
}

#[cfg(tellane_loom)]
pub(crate) fn own(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// A writer's own copy of an atomic that it alone writes. Empty in a normal build: reading the atomic itself costs no
/// more, and updating a copy would take one more store. Under loom it is a real copy, because loom forgets a load that
/// is followed by a store of the same thread and would explore almost nothing (tokio-rs/loom#392).
#[cfg(not(tellane_loom))]
#[derive(Debug)]
pub(crate) struct OwnCopy;

#[cfg(not(tellane_loom))]
impl OwnCopy {
    pub(crate) const fn new(_value: u64) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn get(&self, atomic: &AtomicU64) -> u64 {
        atomic.load(Ordering::Relaxed) // written by this thread
    }

    #[inline(always)]
    pub(crate) fn set(&self, _value: u64) {}
}

#[cfg(tellane_loom)]
#[derive(Debug)]
pub(crate) struct OwnCopy(std::cell::Cell<u64>);

#[cfg(tellane_loom)]
impl OwnCopy {
    pub(crate) const fn new(value: u64) -> Self {
        Self(std::cell::Cell::new(value))
    }

    pub(crate) fn get(&self, _atomic: &AtomicU64) -> u64 {
        self.0.get()
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.set(value);
    }
}

/// Planted bugs: mistakes that a model or a fuzz target must find. In a normal build [`planted`](plant::planted) is the
/// constant `false`, and the compiler removes the branch.
pub(crate) mod plant {
    /// One planted bug.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u8)]
    pub(crate) enum Bug {
        /// The ring publishes its head with Relaxed.
        RelaxedPublish = 1,
        /// The ring publishes its head before the words are in place.
        EarlyPublish,
        /// The consumer reads the head with Relaxed.
        RelaxedTake,
        /// The consumer grants credit with Relaxed, so words may be overwritten while they are being read.
        RelaxedGrant,
        /// The consumer writes to the cache lines it has read only after it has granted credit for them.
        LateClaim,
        /// The producer counts one more free word than there is.
        RoomOffByOne,
        /// Cursors are compared without wrapping.
        NoWrap,
        /// A thread that takes over a lane starts at the beginning of its ring.
        StaleHead,
        /// A lane is retired without one more drain.
        NoRedrain,
        /// A spilled sample is added to its slot's sum before it is in its bucket.
        LateBucket,
        /// The sum of a slot overflows before the carry is stored.
        LateCarry,
        /// The aggregator reads a slot's sum after its counts, so the sum contains samples that the counts lack.
        LateSum,
        /// A slot is published before the split words of its divided buckets are stored.
        LateSplit,
        /// A shared sample is added to its series' sum before it is counted.
        EarlySum,
        /// A lane that attaches and detaches between two steps of the aggregator is retired unread.
        MissedLane,
        /// A new lane is published to the aggregator without synchronisation.
        LostRegistration,
        /// A probe's lease never runs out.
        NoLease,
        /// A thread that begins a probe reads the lease back from the switch, which may hold another thread's lease by
        /// now.
        OthersLease,
        /// The switch is written with a plain store.
        PlainSwitch,
        /// A change of the switch is numbered when it is logged, not when it is made.
        NumberApart,
        /// The log of the switch accepts an entry even if its writer is too late.
        LateEntry,
        /// Uptime waits until a clock that was set back has caught up.
        WaitForClock,
        /// The clock is read before the time that the reading is compared with.
        EarlyReading,
        /// A slot is cached without checking if the switch has gone off meanwhile.
        UncheckedCache,
        /// A closed lane can be given another mode.
        Reopened,
        /// Shutdown does not sweep the records that arrived after its last drain.
        NoSweep,
        /// Shutdown sweeps the rings but not the spills.
        RingsOnly,
        /// A ledger reads the aggregated counts after the recorded counts.
        LateRead,
        /// A ledger gathers the lanes before it reads the aggregated counts.
        EarlyGather,
        /// A retired lane's counts are added to the total after the lane has left the list.
        LateAbsorb,
        /// A new lane reads the switch before it joins.
        EarlyMode,
        /// The switch is read before its state is stored to all lanes, not for each lane.
        EarlyState,
        /// A record is counted after it is published.
        CountAfterPublish,
        /// Log records count as settled without a synchronisation with the sinks' writes.
        RelaxedSettle,
        /// Log records count as settled before they are in the ledger.
        EarlySettle,
        /// Log records that are lost on their way to the sinks are never settled.
        UnsettledLoss,
        /// The generation of a handle to trace state and baggage is not compared with the entry's generation.
        StaleHandle,
        /// The decoder trusts the word count of a header.
        TrustLength,
        /// The encoder truncates wide values to their low bits.
        CutWide,
        /// The parser of `traceparent` accepts upper-case digits, too.
        LaxHex,
        /// A full table is searched only once, although its last entry may have been added meanwhile.
        SingleCheck,
        /// A table is marked as full with a Relaxed store, so its entries may not be visible.
        RelaxedClose,
        /// The report's columns are as wide as the longest name.
        WideColumn,
    }

    #[cfg(not(any(tellane_loom, tellane_plant)))]
    #[inline(always)]
    pub(crate) const fn planted(_: Bug) -> bool {
        false
    }

    #[cfg(any(tellane_loom, tellane_plant))]
    mod chosen {
        use super::Bug;
        use std::sync::atomic::{AtomicU8, Ordering};

        static CHOSEN: AtomicU8 = AtomicU8::new(0);

        pub(crate) fn planted(bug: Bug) -> bool {
            CHOSEN.load(Ordering::Relaxed) == bug as u8
        }

        /// Plants one bug for the whole process, or none.
        #[allow(dead_code)] // called by tests only
        pub(crate) fn plant(bug: Option<Bug>) {
            CHOSEN.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
        }
    }

    #[cfg(any(tellane_loom, tellane_plant))]
    #[allow(unused_imports)] // each kind of check uses one of them
    pub(crate) use chosen::{plant, planted};
}
