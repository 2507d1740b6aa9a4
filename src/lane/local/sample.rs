//! Samples of histograms. [`sample`] is hot.
//!
//! A sample takes one of four paths: into its series' slot in the lane's spill, found through the slot cache; into the
//! ring; into a new slot of the spill, if the ring is full; into the shared histogram, if the spill is full too.

use super::attach::{LOCAL, LocalLane, attach, own_head, sample_lane, slot_cache, with_lane};
use super::{lets_through, skip};
use crate::lane::{Distribution, HistogramHandle, Ids, Key, Lane, LaneRegistry, TraceFlags};
use crate::record::{exemplar_words, layout};
use crate::stats::{Kind, Reason};
use crate::sync::{Arc, Ordering};

/// Spilled samples between two checks of the aggregator's heartbeat: a check costs a clock reading.
const LOOK_EVERY: u32 = 1 << 12;

/// Records a value.
#[inline(always)]
pub(crate) fn sample(histogram: &HistogramHandle, value: u64) {
    let to = &*histogram.to;
    if let Some(slot) = slot_cache().get(to.key) {
        // One comparison has checked all of: attached, to the right instance, not inside a span that wants exemplars,
        // let through by the switch, counted in the spill.
        if !slot.add(to, value) {
            sample_slow(histogram, value);
        }
        return;
    }
    let Some(lane) = sample_lane(to.base) else { return sample_slow(histogram, value) };
    let gate = lane.ring.gate();
    if gate.lets_samples_through() {
        send(lane, histogram, value);
    } else {
        skip(lane, Kind::Sample, gate);
    }
}

/// Slow path of [`sample`]: inside a span that wants exemplars, for a value that the fast path refuses, or on a thread
/// that is not attached.
#[inline(never)]
pub(crate) fn sample_slow(histogram: &HistogramHandle, value: u64) {
    if !sample_attached(histogram, value) {
        sample_unattached(histogram, value);
    }
}

/// Records a value with its exemplar; `false` if this thread is not attached to the histogram's instance.
#[inline(always)]
fn sample_attached(histogram: &HistogramHandle, value: u64) -> bool {
    let to = &*histogram.to;
    let recorded = with_lane(to.base, |local| {
        let gate = local.lane.ring.gate();
        if gate.lets_samples_through() {
            exemplify(&local, to, value);
            count_or_send(local.lane, histogram, value);
        } else {
            skip(local.lane, Kind::Sample, gate);
        }
    });
    recorded.is_some()
}

/// Sends the value and its span as an exemplar, if the span wants exemplars and this epoch has none of this series and
/// power of two yet.
#[inline(always)]
fn exemplify(local: &LocalLane<'_>, to: &Distribution, value: u64) {
    // The span is checked first: a sample in an unsampled span must not use up the epoch's exemplar.
    if let Some(ids) =
        local.thread_state.spans.current().filter(|ids| ids.trace_flags.has(TraceFlags::EXAMPLES))
    {
        let epoch = local.lanes.epoch.load(Ordering::Relaxed); // a number that publishes nothing
        if local.thread_state.is_example(to.series(), value, epoch) {
            send_exemplar(local, ids, to, value);
        }
    }
}

#[cold]
#[inline(never)]
fn send_exemplar(local: &LocalLane<'_>, ids: Ids, to: &Distribution, value: u64) {
    let (high, low) = ((ids.trace_id >> 64) as u64, ids.trace_id as u64);
    let body = [value.min(to.layout.highest()), local.lanes.clock.ticks(), high, low, ids.span_id];
    let tally = &local.lane.tally;
    let words = exemplar_words(to.series(), body);
    // Spans matter more than exemplars, so exemplars leave them half of the ring.
    let reserve = local.lane.ring.capacity() as u64 / 2;
    let sent = || tally.exemplar_sent();
    if local.lane.ring.push_leaving(reserve, own_head(), words, [], sent) {
        tally.add_other_words(words.len());
    } else {
        tally.exemplar_without_room();
    }
}

/// Counts a sample in the spill if its slot is cached, and otherwise sends it by the ring.
fn count_or_send(lane: &Lane, histogram: &HistogramHandle, value: u64) {
    let slot = lane.spill.slot_cache.get(histogram.to.key);
    if !slot.is_some_and(|slot| slot.add(&histogram.to, value)) {
        send(lane, histogram, value);
    }
}

/// Sends a sample by the ring.
#[inline(never)]
fn send(lane: &Lane, histogram: &HistogramHandle, value: u64) {
    let to = &*histogram.to;
    if value > to.plain_max {
        return send_wide(lane, histogram, value);
    }
    let word = (value << layout::SAMPLE_SHIFT) | to.word;
    if !lane.ring.push_sample(own_head(), [word]) {
        spill(lane, to, &histogram.lanes, value);
    }
}

/// Sends a value that does not fit one word, or clamps one above the highest.
#[cold]
#[inline(never)]
fn send_wide(lane: &Lane, histogram: &HistogramHandle, value: u64) {
    let to = &*histogram.to;
    let kept = value.min(to.layout.highest());
    if kept < value {
        lane.tally.clamped();
    }
    if kept <= to.plain_max {
        return count_or_send(lane, histogram, kept);
    }
    let words = [layout::header(layout::KIND_WIDE_SAMPLE, to.series(), 2, 0, 0), kept];
    if lane.ring.push_sample(own_head(), words) {
        lane.tally.add_other_words(1);
    } else {
        spill(lane, to, &histogram.lanes, kept);
    }
}

/// Ring full: counts the sample in the spill. Later samples of this series go straight to the spill.
#[cold]
#[inline(never)]
pub(super) fn spill(lane: &Lane, to: &Distribution, lanes: &LaneRegistry, value: u64) {
    count_in_spill(lane, to, value);
    let spills = LOCAL.with(|local| local.spills.replace(local.spills.get().wrapping_add(1)));
    if spills.is_multiple_of(LOOK_EVERY) {
        lanes.suspect_stall(lane, lanes.clock.ticks());
    }
}

/// Counts a sample in the lane's spill, or in the shared histogram if the spill is full.
pub(super) fn count_in_spill(lane: &Lane, to: &Distribution, value: u64) {
    if !lane.count_in_spill(to, value) {
        lane.tally.sent(Kind::Sample);
        lane.tally.coarse();
        to.shared_histogram.add(value);
    }
}

/// Records a value from a thread that is not attached to the instance.
#[cold]
#[inline(never)]
fn sample_unattached(histogram: &HistogramHandle, value: u64) {
    let HistogramHandle { to, lanes } = histogram;
    match attach(lanes) {
        Ok(()) => {
            let recorded = sample_attached(histogram, value);
            debug_assert!(recorded, "it has just attached");
        }
        Err(reason) => {
            if lanes.admits_unattached(Kind::Sample, reason) {
                let kept = value.min(to.layout.highest());
                if kept < value {
                    lanes.shared.shared_clamped();
                }
                lanes.share_sample(&to.shared_histogram, kept);
            }
        }
    }
}

/// Counts a value that a histogram cannot record, such as NaN, as dropped.
#[cold]
pub(crate) fn reject_sample(lanes: &Arc<LaneRegistry>, reason: Reason) {
    let attached = attach(lanes).is_ok();
    let base = Key::new(lanes.instance, 0).0;
    LOCAL.with(|local| match local.lane(base).filter(|_| attached) {
        Some(lane) => lane.tally.dropped(Kind::Sample, reason),
        None => lanes.shared.shared_dropped(Kind::Sample, reason),
    });
}

/// Decides whether a measurement should be made now; one that should not is counted.
#[inline(always)]
pub(crate) fn wants_sample(histogram: &HistogramHandle) -> bool {
    let to = &histogram.to;
    lets_through(to.base, Kind::Sample).unwrap_or_else(|| wants_sample_unattached(histogram))
}

#[cold]
#[inline(never)]
fn wants_sample_unattached(histogram: &HistogramHandle) -> bool {
    match attach(&histogram.lanes) {
        Ok(()) => wants_sample(histogram),
        Err(reason) => histogram.lanes.admits_unattached(Kind::Sample, reason),
    }
}
