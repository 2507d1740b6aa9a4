//! Tail sampling: holds the traces that head sampling left out until they are decided. The fold passes encoded spans
//! in; off every hot path. This file starts no thread and reads no clock: the number and the ticks of each pass are
//! given, so tests drive it by hand.
//!
//! A trace whose local root is read in one pass is decided at the end of the next pass. A child that ended before its
//! root was published before the root, but perhaps in a ring that this pass had drained already; the next pass drains
//! every ring once more.
//!
//! A trace may have several local roots, one after the other, if a service is called twice in one trace. So spans that
//! come after their trace was dropped are held again until a local root of theirs ends. Spans that come after their
//! trace was kept are kept.

#[cfg(all(test, not(tellane_loom)))]
mod tests;

use crate::clock::Clock;
use crate::config::TailSampling;
use crate::names::NameTables;
use crate::record::{Frame, Item, Span, Value, frame, layout, move_times};
use crate::snapshot::TailSamplingStats;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The rules of a [`TailSampling`] in the form that encoded spans are compared with: keys are numbers, times are ticks.
#[derive(Clone, Debug)]
pub(super) struct SamplingPolicy {
    pub(super) errors: bool,
    pub(super) slower_than: Option<u64>,
    pub(super) slower_than_p99: bool,
    pub(super) attributes: Vec<(u32, Option<String>)>,
    /// Traces whose mixed id is below this are kept in any case; the maximum keeps all.
    pub(super) share: u64,
    pub(super) traces: usize,
    pub(super) spans_per_trace: usize,
    pub(super) bytes: usize,
    pub(super) longest_wait: u64,
}

// Flags for the rules that a trace matches.
const ERROR: u8 = 1;
const SLOW: u8 = 2;
const SLOW_P99: u8 = 4;
const ATTRIBUTE: u8 = 8;

impl SamplingPolicy {
    pub(super) fn new(tail_sampling: &TailSampling, names: &NameTables, clock: &Clock) -> Self {
        let ticks = |wait: Duration| clock.ticks_in(wait);
        let attributes = tail_sampling.attributes.iter().map(|(key, text)| (names.key(key), text.clone()));
        Self {
            errors: tail_sampling.errors,
            slower_than: tail_sampling.slower_than.map(ticks),
            slower_than_p99: tail_sampling.slower_than_p99,
            // Number 0 stands for all keys above the cap, so it would match attributes that were not asked for.
            attributes: attributes.filter(|(key, _)| *key != 0).collect(),
            share: (tail_sampling.ratio * (u64::MAX as f64)) as u64, // saturates: 1.0 gives the maximum
            traces: tail_sampling.traces,
            spans_per_trace: tail_sampling.spans_per_trace,
            bytes: tail_sampling.bytes,
            longest_wait: ticks(tail_sampling.longest_wait),
        }
    }

    /// The flags of the rules that a span matches.
    fn matched(&self, span: &Frame<'_>, above_p99: bool) -> u8 {
        let mut matched = 0;
        if self.errors && layout::flags(span.header()) & layout::FLAG_STATUS == FAILED {
            matched |= ERROR;
        }
        if span.is_local_root() {
            if self.slower_than.is_some_and(|bound| span.words[2] > bound) {
                matched |= SLOW;
            }
            if self.slower_than_p99 && above_p99 {
                matched |= SLOW_P99;
            }
        }
        if !self.attributes.is_empty() && self.has_attribute(span) {
            matched |= ATTRIBUTE;
        }
        matched
    }

    /// Returns `true` if a span has one of the attributes asked for.
    fn has_attribute(&self, span: &Frame<'_>) -> bool {
        // A quick test that spares most spans the decoding. It may be wrong, since a word of a text may look like an
        // item.
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
            // The last value of a key counts, as in finished spans.
            let value = span.items.iter().rev().find_map(|item| match item {
                Item::Attribute(of, value) if of == key => Some(value),
                _ => None,
            });
            value.is_some_and(|value| text.as_ref().is_none_or(|text| is_written(value, text)))
        })
    }

    /// Returns `true` if a trace belongs to the share that is kept in any case.
    fn is_in_share(&self, trace_id: u128) -> bool {
        mixed(trace_id) < self.share || self.share == u64::MAX
    }
}

// Indices into `TailSampler::orders`: traces held for the first time, and traces held again.
const FIRST: usize = 0;
const AGAIN: usize = 1;

/// Returns `true` if a value equals the text of a rule. A float may be written without a decimal point.
fn is_written(value: &Value, text: &str) -> bool {
    let is_number = |number: &f64| text.parse().is_ok_and(|written: f64| written == *number);
    value.to_string() == text || matches!(value, Value::F64(number) if is_number(number))
}

/// The status of a span that failed.
const FAILED: u64 = 2;

/// The trace id of a span.
fn trace_of(span: &Frame<'_>) -> u128 {
    (u128::from(span.words[3]) << 64) | u128::from(span.words[4])
}

/// Mixes a trace id into a number that decides on the share, the same in every process. The id's low half alone would
/// not do, since head sampling has decided by it. The mixer is the finalizer of MurmurHash3.
fn mixed(trace_id: u128) -> u64 {
    let mut mixed = (trace_id >> 64) as u64 ^ trace_id as u64;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// The pass in which a span was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassTime {
    /// The number of the pass.
    pub(super) pass: u64,
    /// The ticks of uptime at its beginning, which never go back.
    pub(super) ticks: u64,
}

/// The function that kept spans are passed to.
pub(super) type Keep<'a> = dyn FnMut(&Frame<'_>) + 'a;

/// A trace that awaits its decision.
#[derive(Debug)]
struct PendingTrace {
    /// Distinguishes this trace from an earlier or later one with the same id.
    serial: u64,
    /// `true` if the trace was dropped before and is held again.
    again: bool,
    /// The ticks of the pass in which its first span was read.
    since: u64,
    has_root: bool,
    /// The flags of the rules that its spans match.
    matched: u8,
    spans: u64,
    words: Vec<u64>,
}

/// The event that makes a trace be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    RootEnded,
    Evicted,
    TimedOut,
}

/// The decision on a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Head sampling took it.
    Sampled,
    Kept,
    Dropped,
}

/// All held traces, and the latest decisions.
#[derive(Debug)]
pub(super) struct TailSampler {
    pub(super) policy: SamplingPolicy,
    traces: HashMap<u128, PendingTrace>,
    /// Serial and id of the held traces, oldest first, and of some that are decided already. There is one queue for
    /// traces held for the first time and one for those held again. The latter are evicted first, since some of them
    /// will get no local root any more.
    orders: [VecDeque<(u64, u128)>; 2],
    /// Pass, serial and id of the traces whose local root has ended.
    ended: VecDeque<(u64, u64, u128)>,
    serial: u64,
    /// The words of held spans, and the words allocated for them.
    words: usize,
    allocated: usize,
    decided: HashMap<u128, Decision>,
    /// The ids in `decided`, oldest first.
    remembered: VecDeque<u128>,
    stats: TailSamplingStats,
}

impl TailSampler {
    pub(super) fn new(policy: SamplingPolicy) -> Self {
        Self {
            policy,
            traces: HashMap::new(),
            orders: Default::default(),
            ended: VecDeque::new(),
            serial: 0,
            words: 0,
            allocated: 0,
            decided: HashMap::new(),
            remembered: VecDeque::new(),
            stats: TailSamplingStats::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.allocated
            + self.traces.capacity() * size_of::<(u128, PendingTrace)>()
            + self.orders.iter().map(VecDeque::capacity).sum::<usize>() * size_of::<(u64, u128)>()
            + self.ended.capacity() * size_of::<(u64, u64, u128)>()
            + self.decided.capacity() * size_of::<(u128, Decision)>()
            + self.remembered.capacity() * size_of::<u128>()
    }

    pub(super) fn stats(&self) -> &TailSamplingStats {
        &self.stats
    }

    /// Returns `true` if the local root of a trace has ended, so that the next pass decides the trace.
    pub(super) fn awaits_a_pass(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Adds a span of a trace that head sampling left out. `above_p99` matters for local roots only.
    pub(super) fn add(&mut self, span: &Frame<'_>, at: PassTime, above_p99: bool, keep: &mut Keep<'_>) {
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
        trace.matched |= self.policy.matched(span, above_p99);
        let is_root = span.is_local_root();
        // The root comes last, so it is held even above the cap: a trace without its root would be useless.
        if trace.spans < self.policy.spans_per_trace as u64 || is_root {
            let allocated = trace.words.capacity();
            trace.words.extend_from_slice(span.words);
            trace.spans += 1;
            self.words += span.words.len();
            self.allocated += trace.words.capacity() - allocated;
            self.stats.spans_held += 1;
        } else {
            self.stats.spans_dropped += 1;
            self.stats.spans_above_cap += 1;
            self.stats.late_dropped += u64::from(trace.again);
        }
        if is_root && !trace.has_root {
            trace.has_root = true;
            self.ended.push_back((at.pass, trace.serial, id));
        }
        while self.traces.len() > self.policy.traces || 8 * self.words > self.policy.bytes {
            let Some(oldest) = self.oldest(AGAIN).or_else(|| self.oldest(FIRST)) else { break };
            self.decide(oldest, Trigger::Evicted, keep);
        }
    }

    /// Begins to hold a trace.
    fn begin(&mut self, id: u128, at: PassTime, again: bool) {
        self.serial += 1;
        let (serial, since) = (self.serial, at.ticks);
        let trace =
            PendingTrace { serial, again, since, has_root: false, matched: 0, spans: 0, words: vec![] };
        self.traces.insert(id, trace);
        self.stats.traces_held += 1;
        let traces = &self.traces;
        let order = &mut self.orders[usize::from(again)];
        if order.len() > 2 * traces.len() + 64 {
            // More than half of the entries are of decided traces: remove those.
            order.retain(|(serial, id)| traces.get(id).is_some_and(|trace| trace.serial == *serial));
        }
        order.push_back((serial, id));
    }

    /// Keeps a span whose trace was kept before.
    fn keep_late(&mut self, span: &Frame<'_>, decision: Decision, keep: &mut Keep<'_>) {
        keep(span);
        self.stats.spans_kept += 1;
        self.stats.late_kept += u64::from(decision == Decision::Kept);
    }

    /// Adds a span of a trace that head sampling took, and keeps it. Spans of the trace that are held, because another
    /// process did not sample it, are kept too.
    pub(super) fn add_sampled(&mut self, span: &Frame<'_>, keep: &mut Keep<'_>) {
        let id = trace_of(span);
        let decision = self.decided.get(&id).copied();
        let mut was_dropped = decision == Some(Decision::Dropped);
        if let Some(trace) = self.remove(id) {
            was_dropped |= trace.again;
            self.release(&trace, keep);
        }
        if decision.is_none() || was_dropped {
            self.stats.ratio += 1;
            self.stats.reconsidered += u64::from(was_dropped);
        }
        self.remember(id, Decision::Sampled);
        keep(span);
        self.stats.spans_kept += 1;
    }

    /// Moves the times of all held spans by this many ticks, wrapping, after the clock was set back.
    #[cold]
    pub(super) fn move_times(&mut self, by: u64) {
        self.traces.values_mut().for_each(|trace| move_times(&mut trace.words, |at| at.wrapping_add(by)));
    }

    /// Ends a pass that did not panic: decides the traces whose local root ended in an earlier pass, and those that
    /// have waited for the longest wait.
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
                // A trace whose root has just ended is decided in the next pass anyway.
                if trace.has_root || at.ticks.saturating_sub(trace.since) < self.policy.longest_wait {
                    break;
                }
                self.decide(id, Trigger::TimedOut, keep);
            }
        }
    }

    /// Decides all held traces by the spans read so far, because no more will come.
    pub(super) fn decide_all(&mut self, keep: &mut Keep<'_>) {
        self.ended.clear();
        while let Some(id) = self.oldest(FIRST).or_else(|| self.oldest(AGAIN)) {
            let has_root = self.traces.get(&id).is_some_and(|trace| trace.has_root);
            self.decide(id, if has_root { Trigger::RootEnded } else { Trigger::TimedOut }, keep);
        }
    }

    /// The trace that has been held for the longest time, among those held for the first time or those held again.
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

    /// Stops holding a trace, and returns it.
    fn remove(&mut self, id: u128) -> Option<PendingTrace> {
        let trace = self.traces.remove(&id)?;
        self.words -= trace.words.len();
        self.allocated -= trace.words.capacity();
        self.stats.traces_held -= 1;
        self.stats.spans_held -= trace.spans;
        Some(trace)
    }

    /// Keeps the held spans of a trace.
    fn release(&mut self, trace: &PendingTrace, keep: &mut Keep<'_>) {
        let mut rest = &trace.words[..];
        while let Ok(span) = frame(rest) {
            keep(&span);
            rest = &rest[span.words.len()..];
        }
        self.stats.spans_kept += trace.spans;
        self.stats.late_kept += if trace.again { trace.spans } else { 0 };
    }

    /// Decides a trace by the rules that its spans match.
    fn decide(&mut self, id: u128, trigger: Trigger, keep: &mut Keep<'_>) {
        let Some(trace) = self.remove(id) else { return };
        let in_share = self.policy.is_in_share(id);
        let stats = &mut self.stats;
        let (count, kept) = match trace.matched {
            matched if matched & ERROR != 0 => (&mut stats.error, true),
            matched if matched & SLOW != 0 => (&mut stats.slow, true),
            matched if matched & SLOW_P99 != 0 => (&mut stats.slow_p99, true),
            matched if matched & ATTRIBUTE != 0 => (&mut stats.attribute, true),
            _ if in_share => (&mut stats.share, true),
            _ => match trigger {
                Trigger::RootEnded => (&mut stats.uninteresting, false),
                Trigger::Evicted => (&mut stats.evicted, false),
                Trigger::TimedOut => (&mut stats.timed_out, false),
            },
        };
        // A trace that is dropped again was counted when it was dropped at first.
        *count += u64::from(kept || !trace.again);
        if kept {
            stats.reconsidered += u64::from(trace.again);
            self.release(&trace, keep);
        } else {
            stats.spans_dropped += trace.spans;
            stats.late_dropped += if trace.again { trace.spans } else { 0 };
        }
        self.remember(id, if kept { Decision::Kept } else { Decision::Dropped });
    }

    /// Remembers a decision, and forgets the oldest if there are too many.
    fn remember(&mut self, id: u128, decision: Decision) {
        if let Some(known) = self.decided.get_mut(&id) {
            *known = decision;
            return;
        }
        if self.remembered.len() >= self.policy.traces.saturating_mul(4)
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.decided.remove(&oldest);
        }
        self.decided.insert(id, decision);
        self.remembered.push_back(id);
    }
}
