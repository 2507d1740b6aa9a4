//! Traces that are held until their outcome is known, and what is decided then. Fed with encoded spans by the step; off
//! every hot path. It starts no thread and reads no clock: passes are numbered and ticks given, so tests drive it by
//! hand.
//!
//! A local root met in one pass is decided at the end of the next: a child that ended before its root was published
//! before the root was, if perhaps in a ring that had been drained already, and every ring is drained once more by then.
//!
//! A trace may have several local roots, one after the other: a service that is called twice in one trace. So spans that
//! come after their trace was dropped are held again, until a local root of theirs ends. Spans that come after it was
//! kept are kept.

#[cfg(all(test, not(tellane_loom)))]
mod tests;

use crate::clock::Clock;
use crate::config::TailSampling;
use crate::names::Names;
use crate::record::{Frame, Item, Span, Value, frame, layout, move_times};
use crate::snapshot::TailSamplingStats;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// An [`TailSampling`] as spans are held against it: keys are numbers, times are ticks.
#[derive(Clone, Debug)]
pub(super) struct SamplingPolicy {
    pub(super) errors: bool,
    pub(super) slower_than: Option<u64>,
    pub(super) slower_than_p99: bool,
    pub(super) attributes: Vec<(u32, Option<String>)>,
    /// Traces whose mixed id is below this are kept; the maximum stands for all.
    pub(super) share: u64,
    pub(super) traces: usize,
    pub(super) spans_per_trace: usize,
    pub(super) bytes: usize,
    pub(super) longest_wait: u64,
}

// What was found in a trace.
const ERROR: u8 = 1;
const SLOW: u8 = 2;
const SLOW_P99: u8 = 4;
const ATTRIBUTE: u8 = 8;

impl SamplingPolicy {
    pub(super) fn new(tail_sampling: &TailSampling, names: &Names, clock: &Clock) -> Self {
        let ticks = |wait: Duration| clock.ticks_in(wait);
        let attributes = tail_sampling.attributes.iter().map(|(key, text)| (names.key(key), text.clone()));
        Self {
            errors: tail_sampling.errors,
            slower_than: tail_sampling.slower_than.map(ticks),
            slower_than_p99: tail_sampling.slower_than_p99,
            // Number 0 stands in for all keys above the cap: it would match what nobody asked for.
            attributes: attributes.filter(|(key, _)| *key != 0).collect(),
            share: (tail_sampling.ratio * (u64::MAX as f64)) as u64, // saturates: 1.0 gives the maximum
            traces: tail_sampling.traces,
            spans_per_trace: tail_sampling.spans_per_trace,
            bytes: tail_sampling.bytes,
            longest_wait: ticks(tail_sampling.longest_wait),
        }
    }

    /// What there is to be found in a span.
    fn look(&self, span: &Frame<'_>, above_p99: bool) -> u8 {
        let mut found = 0;
        if self.errors && layout::flags(span.header()) & layout::FLAG_STATUS == FAILED {
            found |= ERROR;
        }
        if span.is_local_root() {
            if self.slower_than.is_some_and(|bound| span.words[2] > bound) {
                found |= SLOW;
            }
            if self.slower_than_p99 && above_p99 {
                found |= SLOW_P99;
            }
        }
        if !self.attributes.is_empty() && self.has_attribute(span) {
            found |= ATTRIBUTE;
        }
        found
    }

    fn has_attribute(&self, span: &Frame<'_>) -> bool {
        // A word of a text may look like an item: this only spares most spans the decoding.
        let may_be = |word: &u64| {
            layout::item_parts(*word).is_some_and(|item| {
                item.tag == layout::TAG_ATTRIBUTE && self.attributes.iter().any(|(key, _)| *key == item.key)
            })
        };
        let items = &span.words[layout::SPAN_WORDS.min(span.words.len())..];
        items.iter().any(may_be) && span.span().is_ok_and(|span| self.matches(&span))
    }

    fn matches(&self, span: &Span) -> bool {
        self.attributes.iter().any(|(key, text)| {
            // Of a key that was set again, the last value counts, as in finished spans.
            let value = span.items.iter().rev().find_map(|item| match item {
                Item::Attribute(of, value) if of == key => Some(value),
                _ => None,
            });
            value.is_some_and(|value| text.as_ref().is_none_or(|text| is_written(value, text)))
        })
    }

    fn is_in_share(&self, trace_id: u128) -> bool {
        mixed(trace_id) < self.share || self.share == u64::MAX
    }
}

// The orders of traces.
const FIRST: usize = 0;
const AGAIN: usize = 1;

/// Whether a value is written so. A float may be written without a point.
fn is_written(value: &Value, text: &str) -> bool {
    let is_number = |number: &f64| text.parse().is_ok_and(|written: f64| written == *number);
    value.to_string() == text || matches!(value, Value::F64(number) if is_number(number))
}

/// The status of a span that failed.
const FAILED: u64 = 2;

fn trace_of(span: &Frame<'_>) -> u128 {
    (u128::from(span.words[3]) << 64) | u128::from(span.words[4])
}

/// A number by which to draw traces, the same in every process. Not the id's low half: head sampling went by that. The
/// finalizer of MurmurHash3.
fn mixed(trace_id: u128) -> u64 {
    let mut mixed = (trace_id >> 64) as u64 ^ trace_id as u64;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// When a span came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassTime {
    /// The number of the pass.
    pub(super) pass: u64,
    /// Ticks of uptime at its beginning; these never go back.
    pub(super) ticks: u64,
}

/// Where kept spans go.
pub(super) type Keep<'a> = dyn FnMut(&Frame<'_>) + 'a;

/// A trace that waits for its decision.
#[derive(Debug)]
struct PendingTrace {
    /// Tells it from another one of the same id, before or after.
    serial: u64,
    /// The trace was dropped before, and more of it has come since.
    again: bool,
    /// The ticks at which its first span came in.
    since: u64,
    has_root: bool,
    found: u8,
    spans: u64,
    words: Vec<u64>,
}

/// Why a trace is decided just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    RootEnded,
    Evicted,
    TimedOut,
}

/// What became of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Sampled,
    Kept,
    Dropped,
}

/// All traces held, and the decisions on the latest before them.
#[derive(Debug)]
pub(super) struct TailSampler {
    pub(super) rules: SamplingPolicy,
    traces: HashMap<u128, PendingTrace>,
    /// Serial and id, oldest first; with some that are decided already. Traces that are held for the first time, and
    /// those held again. The latter go first when room is needed: some of them have no local root to come.
    orders: [VecDeque<(u64, u128)>; 2],
    /// Pass, serial and id of those whose local root has ended.
    ended: VecDeque<(u64, u64, u128)>,
    serial: u64,
    /// Words held, and words set aside for them.
    words: usize,
    room: usize,
    decided: HashMap<u128, Decision>,
    /// Whose fates are remembered, oldest first.
    remembered: VecDeque<u128>,
    tail_sampling: TailSamplingStats,
}

impl TailSampler {
    pub(super) fn new(rules: SamplingPolicy) -> Self {
        Self {
            rules,
            traces: HashMap::new(),
            orders: Default::default(),
            ended: VecDeque::new(),
            serial: 0,
            words: 0,
            room: 0,
            decided: HashMap::new(),
            remembered: VecDeque::new(),
            tail_sampling: TailSamplingStats::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.room
            + self.traces.capacity() * size_of::<(u128, PendingTrace)>()
            + self.orders.iter().map(VecDeque::capacity).sum::<usize>() * size_of::<(u64, u128)>()
            + self.ended.capacity() * size_of::<(u64, u64, u128)>()
            + self.decided.capacity() * size_of::<(u128, Decision)>()
            + self.remembered.capacity() * size_of::<u128>()
    }

    pub(super) fn tail_sampling(&self) -> &TailSamplingStats {
        &self.tail_sampling
    }

    /// Whether a trace's root has ended, and only the next pass is waited for.
    pub(super) fn awaits_a_pass(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes a span of a trace that is not sampled. `above_p99` is asked of local roots only.
    pub(super) fn take(&mut self, span: &Frame<'_>, at: PassTime, above_p99: bool, keep: &mut Keep<'_>) {
        let id = trace_of(span);
        if !self.traces.contains_key(&id) {
            match self.decided.get(&id).copied() {
                Some(decision @ (Decision::Kept | Decision::Sampled)) => {
                    return self.keep_late(span, decision, keep);
                }
                Some(Decision::Dropped) => self.begin(id, at, true),
                None => self.begin(id, at, false),
            }
        }
        let Some(trace) = self.traces.get_mut(&id) else { return };
        trace.found |= self.rules.look(span, above_p99);
        let is_root = span.is_local_root();
        // The root comes last: without it the others would have no beginning.
        if trace.spans < self.rules.spans_per_trace as u64 || is_root {
            let room = trace.words.capacity();
            trace.words.extend_from_slice(span.words);
            trace.spans += 1;
            self.words += span.words.len();
            self.room += trace.words.capacity() - room;
            self.tail_sampling.spans_held += 1;
        } else {
            self.tail_sampling.spans_dropped += 1;
            self.tail_sampling.spans_above_cap += 1;
            self.tail_sampling.late_dropped += u64::from(trace.again);
        }
        if is_root && !trace.has_root {
            trace.has_root = true;
            self.ended.push_back((at.pass, trace.serial, id));
        }
        while self.traces.len() > self.rules.traces || 8 * self.words > self.rules.bytes {
            let Some(oldest) = self.oldest(AGAIN).or_else(|| self.oldest(FIRST)) else { break };
            self.decide(oldest, Trigger::Evicted, keep);
        }
    }

    fn begin(&mut self, id: u128, at: PassTime, again: bool) {
        self.serial += 1;
        let (serial, since) = (self.serial, at.ticks);
        let trace = PendingTrace { serial, again, since, has_root: false, found: 0, spans: 0, words: vec![] };
        self.traces.insert(id, trace);
        self.tail_sampling.traces_held += 1;
        let traces = &self.traces;
        let order = &mut self.orders[usize::from(again)];
        if order.len() > 2 * traces.len() + 64 {
            // Of each that is held, one more is decided: time to clear up.
            order.retain(|(serial, id)| traces.get(id).is_some_and(|trace| trace.serial == *serial));
        }
        order.push_back((serial, id));
    }

    fn keep_late(&mut self, span: &Frame<'_>, decision: Decision, keep: &mut Keep<'_>) {
        keep(span);
        self.tail_sampling.spans_kept += 1;
        self.tail_sampling.late_kept += u64::from(decision == Decision::Kept);
    }

    /// Takes a span of a sampled trace. If spans of it are held, since elsewhere it was not sampled, they are kept too.
    pub(super) fn take_sampled(&mut self, span: &Frame<'_>, keep: &mut Keep<'_>) {
        let id = trace_of(span);
        let decision = self.decided.get(&id).copied();
        let mut was_dropped = decision == Some(Decision::Dropped);
        if let Some(trace) = self.remove(id) {
            was_dropped |= trace.again;
            self.release(&trace, keep);
        }
        if decision.is_none() || was_dropped {
            self.tail_sampling.ratio += 1;
            self.tail_sampling.reconsidered += u64::from(was_dropped);
        }
        self.remember(id, Decision::Sampled);
        keep(span);
        self.tail_sampling.spans_kept += 1;
    }

    /// Moves the times of all spans that are held by so many ticks, wrapping: the clock was set back.
    #[cold]
    pub(super) fn move_times(&mut self, by: u64) {
        self.traces.values_mut().for_each(|trace| move_times(&mut trace.words, |at| at.wrapping_add(by)));
    }

    /// After a pass that went through: decides what was waiting for that.
    pub(super) fn end_of_pass(&mut self, at: PassTime, keep: &mut Keep<'_>) {
        while let Some((pass, serial, id)) = self.ended.front().copied() {
            if pass >= at.pass {
                break;
            }
            self.ended.pop_front();
            if self.traces.get(&id).is_some_and(|trace| trace.serial == serial) {
                self.decide(id, Trigger::RootEnded, keep);
            }
        }
        for which in [FIRST, AGAIN] {
            while let Some(id) = self.oldest(which) {
                let Some(trace) = self.traces.get(&id) else { break };
                // One whose root has just ended is decided at the next pass anyway.
                if trace.has_root || at.ticks.saturating_sub(trace.since) < self.rules.longest_wait {
                    break;
                }
                self.decide(id, Trigger::TimedOut, keep);
            }
        }
    }

    /// Decides everything by what is known: nothing more will come.
    pub(super) fn settle(&mut self, keep: &mut Keep<'_>) {
        self.ended.clear();
        while let Some(id) = self.oldest(FIRST).or_else(|| self.oldest(AGAIN)) {
            let has_root = self.traces.get(&id).is_some_and(|trace| trace.has_root);
            self.decide(id, if has_root { Trigger::RootEnded } else { Trigger::TimedOut }, keep);
        }
    }

    /// The trace that has been held for longest, of the first or of the second order.
    fn oldest(&mut self, which: usize) -> Option<u128> {
        let Self { traces, orders, .. } = self;
        loop {
            let (serial, id) = *orders[which].front()?;
            if traces.get(&id).is_some_and(|trace| trace.serial == serial) {
                return Some(id);
            }
            orders[which].pop_front();
        }
    }

    fn remove(&mut self, id: u128) -> Option<PendingTrace> {
        let trace = self.traces.remove(&id)?;
        self.words -= trace.words.len();
        self.room -= trace.words.capacity();
        self.tail_sampling.traces_held -= 1;
        self.tail_sampling.spans_held -= trace.spans;
        Some(trace)
    }

    /// Keeps what is held of a trace.
    fn release(&mut self, trace: &PendingTrace, keep: &mut Keep<'_>) {
        let mut rest = &trace.words[..];
        while let Ok(span) = frame(rest) {
            keep(&span);
            rest = &rest[span.words.len()..];
        }
        self.tail_sampling.spans_kept += trace.spans;
        self.tail_sampling.late_kept += if trace.again { trace.spans } else { 0 };
    }

    fn decide(&mut self, id: u128, cause: Trigger, keep: &mut Keep<'_>) {
        let Some(trace) = self.remove(id) else { return };
        let in_share = self.rules.is_in_share(id);
        let tail_sampling = &mut self.tail_sampling;
        let (count, kept) = match trace.found {
            found if found & ERROR != 0 => (&mut tail_sampling.error, true),
            found if found & SLOW != 0 => (&mut tail_sampling.slow, true),
            found if found & SLOW_P99 != 0 => (&mut tail_sampling.slow_p99, true),
            found if found & ATTRIBUTE != 0 => (&mut tail_sampling.attribute, true),
            _ if in_share => (&mut tail_sampling.share, true),
            _ => match cause {
                Trigger::RootEnded => (&mut tail_sampling.uninteresting, false),
                Trigger::Evicted => (&mut tail_sampling.evicted, false),
                Trigger::TimedOut => (&mut tail_sampling.timed_out, false),
            },
        };
        // A trace that is dropped again was counted when it was dropped at first.
        *count += u64::from(kept || !trace.again);
        if kept {
            tail_sampling.reconsidered += u64::from(trace.again);
            self.release(&trace, keep);
        } else {
            tail_sampling.spans_dropped += trace.spans;
            tail_sampling.late_dropped += if trace.again { trace.spans } else { 0 };
        }
        self.remember(id, if kept { Decision::Kept } else { Decision::Dropped });
    }

    fn remember(&mut self, id: u128, decision: Decision) {
        if let Some(known) = self.decided.get_mut(&id) {
            *known = decision;
            return;
        }
        if self.remembered.len() >= self.rules.traces.saturating_mul(4)
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.decided.remove(&oldest);
        }
        self.decided.insert(id, decision);
        self.remembered.push_back(id);
    }
}
