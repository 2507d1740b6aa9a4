//! Sampling and span limits, shared by all tracers of an instance. Cold; tracers copy what their hot calls need.

use crate::clock::Clock;
use crate::config::SpanLimits;
use crate::context::HeaderFaults;
use crate::lane::TraceFlags;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// The tracing settings of an instance.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// The share of new traces that are sampled, from 0 to 1.
    pub(crate) ratio: f64,
    /// Set if a trace that began in another process is sampled as it was there.
    pub(crate) parent_based: bool,
    pub(crate) rate_limit: Option<RateLimit>,
    /// Set if traces that are not sampled are held for tail sampling.
    pub(crate) holds: bool,
    /// Set if samples in sampled spans become exemplars.
    pub(crate) exemplars: bool,
    pub(crate) span_limits: SpanLimits,
    pub(crate) headers: HeadersRefused,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            parent_based: true,
            rate_limit: None,
            holds: false,
            exemplars: true,
            span_limits: SpanLimits::default(),
            headers: HeadersRefused::default(),
        }
    }
}

impl Sampling {
    pub(crate) fn sampled_flags(&self) -> TraceFlags {
        TraceFlags(TraceFlags::SAMPLED | if self.exemplars { TraceFlags::EXAMPLES } else { 0 })
    }

    pub(crate) fn unsampled_flags(&self) -> TraceFlags {
        TraceFlags(if self.holds { TraceFlags::HELD } else { 0 })
    }
}

/// Counts of request headers, or parts of them, that were refused.
#[derive(Debug, Default)]
pub(crate) struct HeadersRefused {
    traceparents: AtomicU64,
    tracestates: AtomicU64,
    baggage_members: AtomicU64,
}

impl HeadersRefused {
    /// Counts the faults of one request's headers.
    #[cold]
    pub(crate) fn count(&self, faults: &HeaderFaults) {
        // Relaxed: counts that publish nothing.
        self.traceparents.fetch_add(u64::from(faults.traceparent.is_some()), Ordering::Relaxed);
        self.tracestates.fetch_add(u64::from(faults.tracestate.is_some()), Ordering::Relaxed);
        self.baggage_members.fetch_add(u64::from(faults.baggage_dropped), Ordering::Relaxed);
    }

    /// Refused trace parents, trace states and baggage members.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [&self.traceparents, &self.tracestates, &self.baggage_members]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

/// A limit on new traces per second: a token bucket of one second, stored as the time at which it is full again.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Ticks that one trace is worth.
    ticks_per_trace: u64,
    /// The ticks that fill an empty bucket: a second.
    burst: u64,
    /// The tick at which the bucket is full again.
    full_at: AtomicU64,
    refused: AtomicU64,
}

impl RateLimit {
    pub(crate) fn new(traces_per_second: u32, clock: &Clock) -> Self {
        let second = clock.ticks_in(Duration::from_secs(1));
        Self {
            ticks_per_trace: second / u64::from(traces_per_second.max(1)),
            burst: second,
            full_at: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes a token; `false` if the bucket is empty. After the clock was set back, the bucket is full again.
    #[cold]
    pub(crate) fn admits(&self, clock: &Clock) -> bool {
        // Relaxed: the bucket is one number, and guards no other memory.
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            // The clock is read after the bucket, whose time was made from an earlier reading. So an empty bucket is
            // full at most a second from now, unless the clock was set back. An eighth of a second of slack is for
            // cores whose clocks disagree.
            let now = clock.ticks();
            let latest = now.saturating_add(self.burst).saturating_add(self.burst / 8);
            let full_at = if full_at > latest { now } else { full_at };
            let next = full_at.max(now).saturating_add(self.ticks_per_trace);
            (next <= now.saturating_add(self.burst)).then_some(next)
        });
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Traces that it kept from being sampled.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_tokens_and_a_burst_no_more() {
        let (clock, hand) = Clock::mock();
        let limit = RateLimit::new(10, &clock);
        let admitted = |tries: u32| (0..tries).filter(|_| limit.admits(&clock)).count();
        assert_eq!(admitted(50), 10);
        hand.advance(Duration::from_millis(300));
        assert_eq!(admitted(50), 3);
        hand.advance(Duration::from_secs(60));
        assert_eq!(admitted(50), 10, "what was not used is not saved up");
        assert_eq!(limit.refused(), 40 + 47 + 40);
    }

    #[test]
    fn a_clock_that_goes_back_fills_the_bucket() {
        let (clock, hand) = Clock::mock();
        let limit = RateLimit::new(10, &clock);
        let admitted = |tries: u32| (0..tries).filter(|_| limit.admits(&clock)).count();
        hand.advance(Duration::from_secs(3_600));
        assert_eq!(admitted(50), 10);
        hand.set(5_000_000_000);
        assert_eq!(admitted(50), 10, "an hour before");
        hand.advance(Duration::from_millis(300));
        assert_eq!(admitted(50), 3, "and by the rate from then on");
        hand.set(5_200_000_000);
        assert_eq!(admitted(50), 0, "a step of an eighth of a second may be two cores that disagree");
        hand.advance(Duration::from_millis(1_500));
        assert_eq!(admitted(50), 10);
    }
}
