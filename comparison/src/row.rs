//! A row: one peer's way to do one thing, timed a batch at a time. The loop here is the only code between a peer's
//! call and the clock.

use crate::{alloc, machine, second};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Calls in a batch of something cheap.
pub(crate) const CALLS: u32 = 10_000;
/// Calls in a batch on two threads: long enough that both are at it nearly all the time.
pub(crate) const CALLS_2T: u32 = 100_000;
/// Spans in a batch. With the warm-up it stays below the smallest queue among the peers (OpenTelemetry's 2,048), and
/// fits tellane's ring: what is timed is the call, and not how spans are shed. The rates show that.
pub(crate) const SPANS: u32 = 1_800;

/// What a batch took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) took: Duration,
    /// Allocations of the calling thread.
    pub(crate) allocations: u64,
}

/// How often a row was called in all, warm-up included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    /// Calls, on all threads.
    pub(crate) calls: u64,
    /// Batches, on all threads.
    pub(crate) batches: u64,
}

/// Times a loop of `calls`; the closure is told the number of the call.
#[inline(always)]
pub(crate) fn timed(calls: u32, mut call: impl FnMut(u32)) -> Batch {
    let before = alloc::made();
    let start = Instant::now();
    for number in 0..calls {
        call(black_box(number));
    }
    let took = start.elapsed();
    Batch { took, allocations: alloc::made() - before }
}

/// What is never done.
pub(crate) fn pending() -> impl Future<Output = ()> {
    std::future::poll_fn(|_| Poll::Pending)
}

/// Times so many polls of a future that is never done.
#[inline(always)]
pub(crate) fn poll(calls: u32, future: impl Future<Output = ()>) -> Batch {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    timed(calls, |_| assert!(black_box(&mut future).as_mut().poll(&mut context).is_pending()))
}

/// One peer's way to do one thing.
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    /// How the peer is called, in few words.
    pub(crate) how: &'static str,
    pub(crate) threads: u32,
    /// What this way does not promise that the others do; empty if it is all there.
    pub(crate) weaker: &'static str,
    calls: u32,
    /// The calls of the warm-up that goes before every batch.
    warm: u32,
    run: Box<dyn FnMut(u32) -> Batch>,
    rest: Box<dyn FnMut()>,
    check: Box<dyn FnOnce(Made) -> u64>,
    made: Made,
}

impl Row {
    /// A call on one thread.
    pub(crate) fn one(
        subject: &'static str,
        how: &'static str,
        calls: u32,
        mut call: impl FnMut(u32) + 'static,
    ) -> Self {
        Self::batch(subject, how, calls, move |calls| timed(calls, &mut call))
    }

    /// The same call on two threads at once, each with its own copy of the closure: read from the other's stack, it
    /// may share a cache line with what the other writes there.
    pub(crate) fn two(
        subject: &'static str,
        how: &'static str,
        calls: u32,
        call: impl Fn(u32) + Clone + Send + 'static,
    ) -> Self {
        Self::batch_on_two(subject, how, calls, move |calls| timed(calls, &call))
    }

    /// A batch of any shape on one thread.
    pub(crate) fn batch(
        subject: &'static str,
        how: &'static str,
        calls: u32,
        run: impl FnMut(u32) -> Batch + 'static,
    ) -> Self {
        Self {
            subject,
            how,
            threads: 1,
            weaker: "",
            calls,
            warm: calls / 10,
            run: Box::new(run),
            rest: Box::new(|| ()),
            check: Box::new(|_| 0),
            made: Made::default(),
        }
    }

    /// A batch of any shape on two threads at once. The time is the calling thread's.
    pub(crate) fn batch_on_two(
        subject: &'static str,
        how: &'static str,
        calls: u32,
        run: impl Fn(u32) -> Batch + Clone + Send + 'static,
    ) -> Self {
        let theirs = run.clone();
        let row = Self::batch(subject, how, calls, move |calls| second::both(calls, theirs.clone(), &run));
        Self { threads: 2, ..row }
    }

    /// A single call that takes long by itself, with one call to warm up.
    pub(crate) fn long(subject: &'static str, how: &'static str, call: impl FnMut(u32) + 'static) -> Self {
        Self { warm: 1, ..Self::one(subject, how, 1, call) }
    }

    /// Another warm-up than a tenth of a batch.
    pub(crate) fn warm(mut self, calls: u32) -> Self {
        self.warm = calls;
        self
    }

    /// What to do before each batch, not timed: let the background catch up.
    pub(crate) fn rest(mut self, rest: impl FnMut() + 'static) -> Self {
        self.rest = Box::new(rest);
        self
    }

    /// Says what this way does not promise that the others do. It is shown, but is nobody's best peer.
    pub(crate) fn weaker(mut self, what: &'static str) -> Self {
        self.weaker = what;
        self
    }

    /// What the peer says it has counted must be what was made.
    pub(crate) fn exact(self, counted: impl FnOnce() -> u64 + 'static) -> Self {
        self.checked(move |made| {
            assert_eq!(counted(), made.calls, "what was counted, and what was made");
            0
        })
    }

    /// What arrived is at most what was made, and something; the rest is lost, and shown. `around` spans are made
    /// in each batch beside those that are counted as calls.
    pub(crate) fn arrived(self, around: u64, arrived: impl FnOnce() -> u64 + 'static) -> Self {
        self.checked(move |made| {
            let (made, arrived) = (made.calls + around * made.batches, arrived());
            assert!(arrived <= made, "{arrived} arrived of {made} that were made");
            assert!(arrived > 0 || made == 0, "nothing arrived of {made}");
            made - arrived
        })
    }

    /// Looks at the result after all rounds, and says how many records were lost.
    pub(crate) fn checked(mut self, check: impl FnOnce(Made) -> u64 + 'static) -> Self {
        self.check = Box::new(check);
        self
    }

    /// One batch: nanoseconds and allocations a call.
    pub(crate) fn round(&mut self) -> (f64, f64) {
        (self.rest)();
        if self.threads == 1 {
            machine::run_on(&[0]);
        }
        if self.warm > 0 {
            self.one_batch(self.warm);
        }
        let batch = self.one_batch(self.calls);
        machine::run_anywhere();
        let calls = f64::from(self.calls);
        (batch.took.as_nanos() as f64 / calls, batch.allocations as f64 / calls)
    }

    fn one_batch(&mut self, calls: u32) -> Batch {
        self.made.calls += u64::from(calls) * u64::from(self.threads);
        self.made.batches += u64::from(self.threads);
        (self.run)(calls)
    }

    /// The row's check: calls made, and records lost.
    pub(crate) fn settle(self) -> (u64, u64) {
        (self.made.calls, (self.check)(self.made))
    }
}
