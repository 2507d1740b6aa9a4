//! The one door to atomics and locks: std in a normal build, loom's stand-ins under `--cfg tellane_loom`.
//!
//! Everybody calls it; nobody else names `std::sync::atomic` (tests/architecture.rs refuses). It also holds the planted bugs:
//! mistakes that the models and fuzz targets must find, compiled away unless a check asks for them.

#[cfg(tellane_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(tellane_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Always std's: loom's holds no unsized value, and its counts would give the models orderings that tellane must not
/// rely on.
pub(crate) use std::sync::Arc;

/// Atomics of process-wide statics. Loom has no const constructor and models no statics, so these are always std's.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
}

/// A channel without a bound. Loom does not see into crossbeam's, so models have a queue of their own.
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

/// A mutex for cold paths. A panic while it is held does not poison it: every critical section in tellane leaves
/// its value whole at each step, and telemetry must not turn one panic into many.
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

/// A slice of `len` zeroed words. The allocator hands large ones out as untouched pages, so that a ring or a spill
/// costs memory only as far as it is used.
#[cfg(not(tellane_loom))]
#[allow(unsafe_code)] // one call: safe Rust has no zeroed allocation of atomics, and writing each word commits every page
pub(crate) fn zeroed_words(len: usize) -> Box<[AtomicU64]> {
    // SAFETY: AtomicU64 has the layout of u64 (std documents it), for which all-zero bytes are the value 0.
    unsafe { Box::<[AtomicU64]>::new_zeroed_slice(len).assume_init() }
}

#[cfg(tellane_loom)]
pub(crate) fn zeroed_words(len: usize) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

/// Reads a word that nobody but this thread writes, as part of whatever instruction wants it: compilers fold no atomic
/// load into another instruction. That costs two more a sample, of some forty.
#[cfg(not(tellane_loom))]
#[inline(always)]
#[allow(unsafe_code)] // a plain read
pub(crate) fn own(word: &AtomicU64) -> u64 {
    // SAFETY: a plain read races with writes only, and there are none by other threads; with their atomic reads it does
    // not.
    unsafe { word.as_ptr().read() }
}

#[cfg(tellane_loom)]
pub(crate) fn own(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// A writer's own copy of an atomic that it alone writes. Nothing in a normal build: reading the atomic itself costs
/// no more, and keeping a copy would be one store more. Under loom a real copy: loom forgets
/// a load that is followed by a store of the same thread, and would explore next to nothing (tokio-rs/loom#392).
#[cfg(not(tellane_loom))]
#[derive(Debug)]
pub(crate) struct OwnCopy;

#[cfg(not(tellane_loom))]
impl OwnCopy {
    pub(crate) const fn of(_value: u64) -> Self {
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
    pub(crate) const fn of(value: u64) -> Self {
        Self(std::cell::Cell::new(value))
    }

    pub(crate) fn get(&self, _atomic: &AtomicU64) -> u64 {
        self.0.get()
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.set(value);
    }
}

/// Mistakes that a model or a fuzz target must find. In a normal build [`planted`](plant::planted) is the constant
/// `false` and the branch is gone.
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
        /// The consumer grants credit with Relaxed: words may be overwritten while they are being read.
        RelaxedGrant,
        /// The consumer writes to the lines that it has read after it has granted credit for them.
        LateClaim,
        /// The producer believes in one word more room than there is.
        RoomOffByOne,
        /// Cursors are compared without wrapping.
        NoWrap,
        /// A thread that takes a lane over starts at the beginning of its ring.
        StaleHead,
        /// A lane is retired without one more drain.
        NoRedrain,
        /// A spilled sample is added to its slot's sum before it is in its bucket.
        LateBucket,
        /// A spilled sample makes its slot's sum run over before the carry says so.
        LateCarry,
        /// The aggregator reads a slot's sum after its counts, which then lack samples of the sum.
        LateSum,
        /// A slot can be walked to before its divided buckets are marked.
        LateMark,
        /// A shared sample is added to its series' sum before it is counted.
        EarlySum,
        /// A lane that comes and goes between two roll calls is retired unread.
        UnmetLane,
        /// A new lane is published to the aggregator without synchronisation.
        LostRegistration,
        /// A probe's lease never runs out.
        NoLease,
        /// Who begins a probe reads the lease back from the switch, where it may be another's by now.
        OthersLease,
        /// The switch is written with a plain store.
        PlainSwitch,
        /// A change of the switch is numbered when it is noted, not when it is made.
        NumberApart,
        /// The log of the switch takes an entry however late its writer comes.
        LateEntry,
        /// A clock that was set back is waited for.
        WaitForClock,
        /// The clock is read before the time that the reading is compared with.
        EarlyReading,
        /// A slot is kept near without a look whether the switch has gone off meanwhile.
        BlindKeep,
        /// A closed lane can be given another mode.
        Reopened,
        /// Shutdown does not sweep what arrived after its last drain.
        NoSweep,
        /// Shutdown sweeps the rings, and nothing beside them.
        RingsOnly,
        /// A ledger reads what is aggregated after what was recorded.
        LateLook,
        /// A ledger gathers the lanes before it reads what is aggregated.
        EarlyGather,
        /// A retired lane's counts are taken over after the lane has left the list.
        LateAbsorb,
        /// A new lane reads the switch before it joins.
        EarlyMode,
        /// The switch is read before its state is put into all lanes, not while.
        EarlyState,
        /// A record is counted after it is published.
        CountAfterPublish,
        /// Log records count as settled without what was written of them being seen.
        RelaxedSettle,
        /// Log records count as settled before they are in the account.
        EarlySettle,
        /// Log records that are lost on their way to the sinks are never settled.
        UnsettledLoss,
        /// A handle of trace state and baggage is not compared with its entry's turn.
        StaleHandle,
        /// The decoder trusts the word count of a header.
        TrustLength,
        /// The encoder cuts wide values to their low bits.
        CutWide,
        /// The reader of `traceparent` takes upper-case digits, too.
        LaxHex,
        /// A full table is looked at once, though its last entry may have come meanwhile.
        OneLook,
        /// A table is closed without its entries being seen.
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
        #[allow(dead_code)] // the tests' part
        pub(crate) fn plant(bug: Option<Bug>) {
            CHOSEN.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
        }
    }

    #[cfg(any(tellane_loom, tellane_plant))]
    #[allow(unused_imports)] // each kind of check uses its own part
    pub(crate) use chosen::{plant, planted};
}
