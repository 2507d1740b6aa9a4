//! Compares the sampler with a naive model, and tests the timing rule with lanes that are drained in any order.

use super::*;
use crate::record::{Record, Status, Value, encode};
use proptest::prelude::*;

fn policy() -> SamplingPolicy {
    SamplingPolicy {
        errors: true,
        slower_than: Some(100),
        slower_than_p99: true,
        attributes: vec![(7, None), (8, Some("gold".into()))],
        share: 0,
        traces: 1_000,
        spans_per_trace: 1_000,
        bytes: 1 << 20,
        longest_wait: 1_000,
    }
}

/// The fields of a span that matter to the sampler.
#[derive(Clone, Copy, Debug, Default)]
struct TestSpan {
    trace: u8,
    number: u64,
    root: bool,
    fails: bool,
    sampled: bool,
    duration: u64,
    above_p99: bool,
    /// The key of an attribute, and `true` if its value is the one asked for.
    key: Option<(u32, bool)>,
}

impl TestSpan {
    fn words(self) -> Vec<u64> {
        let value = |gold: bool| Value::Str(if gold { "gold" } else { "silver" }.into());
        let span = Span {
            name: 1,
            duration: self.duration,
            trace_id: u128::from(self.trace) + 1,
            span_id: self.number + 1,
            status: if self.fails { Status::Error } else { Status::Unset },
            sampled: self.sampled,
            held: !self.sampled,
            local_root: self.root,
            items: self.key.map(|(key, gold)| Item::Attribute(key, value(gold))).into_iter().collect(),
            ..Span::default()
        };
        let mut words = Vec::new();
        encode(&Record::Span(span), &mut words).unwrap();
        words
    }

    fn matched(self) -> u8 {
        let attribute = self.key.is_some_and(|(key, gold)| key == 7 || (key == 8 && gold));
        (if self.fails { ERROR } else { 0 })
            | (if self.root && self.duration > 100 { SLOW } else { 0 })
            | (if self.root && self.above_p99 { SLOW_P99 } else { 0 })
            | (if attribute { ATTRIBUTE } else { 0 })
    }
}

fn test_span(traces: u8) -> impl Strategy<Value = TestSpan> {
    let rarely = || prop::bool::weighted(0.1);
    let key = prop::option::weighted(0.2, (6..9_u32, any::<bool>()));
    let shape = (0..traces, prop::bool::weighted(0.2), rarely(), prop::bool::weighted(0.02));
    (shape, (0..110_u64, rarely()), key).prop_map(
        |((trace, root, fails, sampled), (duration, above_p99), key)| TestSpan {
            trace,
            number: 0,
            root,
            fails,
            sampled,
            duration,
            above_p99,
            key,
        },
    )
}

/// A held trace of the model.
struct OpenTrace {
    trace: u8,
    again: bool,
    since: u64,
    /// The pass in which its root was read, and the number of that span.
    root: Option<(u64, u64)>,
    matched: u8,
    spans: Vec<Vec<u64>>,
}

/// A model of the sampler that searches lists from end to end.
struct NaiveSampler {
    policy: SamplingPolicy,
    open: Vec<OpenTrace>,
    decided: Vec<(u8, Decision)>,
    kept: Vec<Vec<u64>>,
    stats: TailSamplingStats,
}

impl NaiveSampler {
    fn remember(&mut self, trace: u8, decision: Decision) {
        if let Some((_, known)) = self.decided.iter_mut().find(|(known, _)| *known == trace) {
            *known = decision;
            return;
        }
        if self.decided.len() == 4 * self.policy.traces {
            self.decided.remove(0);
        }
        self.decided.push((trace, decision));
    }

    fn keep(&mut self, spans: Vec<Vec<u64>>) {
        self.stats.spans_kept += spans.len() as u64;
        self.kept.extend(spans);
    }

    fn decide(&mut self, at: usize, trigger: Trigger) {
        let open = self.open.remove(at);
        let stats = &mut self.stats;
        let count = match (
            open.matched & ERROR,
            open.matched & SLOW,
            open.matched & SLOW_P99,
            open.matched & ATTRIBUTE,
        ) {
            (ERROR, ..) => Ok(&mut stats.error),
            (_, SLOW, ..) => Ok(&mut stats.slow),
            (_, _, SLOW_P99, _) => Ok(&mut stats.slow_p99),
            (_, _, _, ATTRIBUTE) => Ok(&mut stats.attribute),
            _ if self.policy.is_in_share(u128::from(open.trace) + 1) => Ok(&mut stats.share),
            _ if trigger == Trigger::RootEnded => Err(&mut stats.uninteresting),
            _ if trigger == Trigger::Evicted => Err(&mut stats.evicted),
            _ => Err(&mut stats.timed_out),
        };
        match (count, open.again) {
            (Ok(count), false) => *count += 1,
            (Ok(count), true) => {
                *count += 1;
                stats.reconsidered += 1;
                stats.late_kept += open.spans.len() as u64;
            }
            (Err(count), false) => {
                *count += 1;
                stats.spans_dropped += open.spans.len() as u64;
                return self.remember(open.trace, Decision::Dropped);
            }
            (Err(_), true) => {
                stats.spans_dropped += open.spans.len() as u64;
                stats.late_dropped += open.spans.len() as u64;
                return self.remember(open.trace, Decision::Dropped);
            }
        }
        self.keep(open.spans);
        self.remember(open.trace, Decision::Kept);
    }

    fn add(&mut self, test_span: TestSpan, at: PassTime) {
        let decision = self.decided.iter().position(|(trace, _)| *trace == test_span.trace);
        let open = self.open.iter().position(|open| open.trace == test_span.trace);
        match (open, decision) {
            (open, decision) if test_span.sampled => {
                let mut dropped =
                    decision.is_some_and(|decision| self.decided[decision].1 == Decision::Dropped);
                if let Some(open) = open {
                    let open = self.open.remove(open);
                    if open.again {
                        dropped = true;
                        self.stats.late_kept += open.spans.len() as u64;
                    }
                    self.keep(open.spans);
                }
                if dropped {
                    self.stats.reconsidered += 1;
                }
                if dropped || decision.is_none() {
                    self.stats.ratio += 1;
                }
                self.remember(test_span.trace, Decision::Sampled);
                self.keep(vec![test_span.words()]);
            }
            (None, Some(decision)) if self.decided[decision].1 != Decision::Dropped => {
                self.keep(vec![test_span.words()]);
                self.stats.late_kept += u64::from(self.decided[decision].1 == Decision::Kept);
            }
            (open, decision) => {
                let open = open.unwrap_or_else(|| {
                    let (trace, since, again) = (test_span.trace, at.ticks, decision.is_some());
                    self.open.push(OpenTrace {
                        trace,
                        again,
                        since,
                        root: None,
                        matched: 0,
                        spans: Vec::new(),
                    });
                    self.open.len() - 1
                });
                let open = &mut self.open[open];
                open.matched |= test_span.matched();
                if open.spans.len() < self.policy.spans_per_trace || test_span.root {
                    open.spans.push(test_span.words());
                } else {
                    self.stats.spans_dropped += 1;
                    self.stats.spans_above_cap += 1;
                    self.stats.late_dropped += u64::from(open.again);
                }
                if test_span.root {
                    open.root.get_or_insert((at.pass, test_span.number));
                }
                while self.open.len() > self.policy.traces || 8 * self.words() > self.policy.bytes {
                    let again = self.open.iter().position(|open| open.again);
                    self.decide(again.unwrap_or(0), Trigger::Evicted);
                }
            }
        }
    }

    fn words(&self) -> usize {
        self.open.iter().flat_map(|open| &open.spans).map(Vec::len).sum()
    }

    fn end_of_pass(&mut self, at: PassTime) {
        let ended = |open: &OpenTrace| open.root.filter(|(pass, _)| *pass < at.pass);
        // In the order in which their roots were read.
        let mut order: Vec<_> =
            self.open.iter().filter_map(|open| Some((ended(open)?, open.trace))).collect();
        order.sort();
        for (_, trace) in order {
            if let Some(at) = self.open.iter().position(|open| open.trace == trace) {
                self.decide(at, Trigger::RootEnded);
            }
        }
        for again in [false, true] {
            while let Some(first) = self.open.iter().position(|open| open.again == again) {
                let open = &self.open[first];
                if open.root.is_some() || at.ticks - open.since < 1_000 {
                    break;
                }
                self.decide(first, Trigger::TimedOut);
            }
        }
    }

    fn decide_all(&mut self) {
        self.open.sort_by_key(|open| open.again);
        while let Some(open) = self.open.first() {
            let trigger = if open.root.is_some() { Trigger::RootEnded } else { Trigger::TimedOut };
            self.decide(0, trigger);
        }
    }

    fn stats(&self) -> TailSamplingStats {
        let spans: usize = self.open.iter().map(|open| open.spans.len()).sum();
        let mut stats = self.stats.clone();
        (stats.traces_held, stats.spans_held) = (self.open.len() as u64, spans as u64);
        stats
    }
}

#[derive(Clone, Debug)]
enum SamplerAct {
    Add(TestSpan),
    EndOfPass(u64),
}

fn acts() -> impl Strategy<Value = Vec<SamplerAct>> {
    let act = prop_oneof![
        5 => test_span(20).prop_map(SamplerAct::Add),
        1 => (0..300_u64).prop_map(SamplerAct::EndOfPass),
    ];
    prop::collection::vec(act, 0..300)
}

/// Sorts spans, since spans that are decided together come in any order.
fn sorted(mut spans: Vec<Vec<u64>>) -> Vec<Vec<u64>> {
    spans.sort();
    spans
}

proptest! {
    #[test]
    fn it_decides_what_a_naive_model_decides(
        acts in acts(),
        (traces, spans_per_trace, words) in (1..12_usize, 1..6_usize, 20..400_usize),
        share in prop_oneof![Just(0), Just(u64::MAX / 2), Just(u64::MAX)],
    ) {
        let policy = SamplingPolicy { traces, spans_per_trace, bytes: 8 * words, share, ..policy() };
        let mut tail_sampler = TailSampler::new(policy.clone());
        let stats = TailSamplingStats::default();
        let mut model = NaiveSampler { policy, open: Vec::new(), decided: Vec::new(), kept: Vec::new(), stats };
        let mut at = PassTime { pass: 1, ticks: 0 };
        let (mut kept, mut number) = (Vec::new(), 0);
        for act in acts {
            let mut keep = |span: &Frame<'_>| kept.push(span.words.to_vec());
            match act {
                SamplerAct::Add(test_span) => {
                    number += 1;
                    let test_span = TestSpan { number, ..test_span };
                    let words = test_span.words();
                    let span = frame(&words).unwrap();
                    if test_span.sampled {
                        tail_sampler.add_sampled(&span, &mut keep);
                    } else {
                        tail_sampler.add(&span, at, test_span.above_p99, &mut keep);
                    }
                    model.add(test_span, at);
                }
                SamplerAct::EndOfPass(ticks) => {
                    at.ticks += ticks;
                    tail_sampler.end_of_pass(at, &mut keep);
                    model.end_of_pass(at);
                    at.pass += 1;
                }
            }
            prop_assert_eq!(tail_sampler.stats(), &model.stats());
            prop_assert_eq!(tail_sampler.words, model.words());
            let allocated: usize = tail_sampler.traces.values().map(|trace| trace.words.capacity()).sum();
            prop_assert_eq!(tail_sampler.allocated, allocated);
            prop_assert!(tail_sampler.bytes() >= 8 * allocated);
            prop_assert!(8 * tail_sampler.words <= tail_sampler.policy.bytes && tail_sampler.traces.len() <= traces);
            prop_assert!(tail_sampler.decided.len() <= 4 * traces && tail_sampler.remembered.len() == tail_sampler.decided.len());
            prop_assert!(tail_sampler.orders.iter().all(|order| order.len() <= 2 * traces + 67));
        }
        tail_sampler.decide_all(&mut |span| kept.push(span.words.to_vec()));
        model.decide_all();
        prop_assert_eq!(tail_sampler.stats(), &model.stats());
        prop_assert_eq!(tail_sampler.stats().spans_held + tail_sampler.words as u64 + tail_sampler.allocated as u64, 0);
        let spans = tail_sampler.stats().spans_kept + tail_sampler.stats().spans_dropped;
        prop_assert_eq!((spans, tail_sampler.stats().spans_kept), (number, kept.len() as u64));
        prop_assert_eq!(sorted(kept), sorted(model.kept));
    }

    /// A service that is called several times in one trace. Each call is decided by its own spans: the first call that
    /// fails and all later ones are kept, and the calls before it are dropped.
    #[test]
    fn each_call_of_a_trace_is_decided_by_its_own_outcome(
        calls in prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.05), 1..6), 1..8),
    ) {
        let mut tail_sampler = TailSampler::new(policy());
        let mut kept = Vec::new();
        let mut keep = |span: &Frame<'_>| kept.push(span.words[5] - 1);
        let (mut pass, mut number) = (1, 0);
        let mut expected = Vec::new();
        for spans in &calls {
            let first = number;
            for (at, fails) in spans.iter().enumerate() {
                let root = at + 1 == spans.len();
                let test_span = TestSpan { number, root, fails: *fails, ..TestSpan::default() };
                tail_sampler.add(&frame(&test_span.words()).unwrap(), PassTime { pass, ticks: 0 }, false, &mut keep);
                number += 1;
            }
            if !expected.is_empty() || spans.contains(&true) {
                expected.extend(first..number);
            }
            for _ in 0..2 {
                tail_sampler.end_of_pass(PassTime { pass, ticks: 0 }, &mut keep);
                pass += 1;
            }
        }
        let (stats, failed) = (tail_sampler.stats(), calls.iter().position(|spans| spans.contains(&true)));
        prop_assert_eq!((stats.error, stats.uninteresting), (failed.is_some().into(), (failed != Some(0)).into()));
        prop_assert_eq!(stats.reconsidered, u64::from(failed.is_some_and(|call| call > 0)));
        prop_assert_eq!((stats.spans_kept, stats.spans_dropped), (expected.len() as u64, number - expected.len() as u64));
        prop_assert_eq!((stats.traces_held, stats.spans_held), (0, 0));
        prop_assert_eq!(kept, expected);
    }

    /// Lanes are drained one after the other while spans are published to the others, so a root may be read before its
    /// child.
    #[test]
    fn spans_that_ended_before_their_root_are_decided_with_it(
        traces in prop::collection::vec(prop::collection::vec((0..4_usize, prop::bool::weighted(0.1)), 1..6), 1..6),
        acts in prop::collection::vec(prop::option::of(0..6_usize), 0..120),
    ) {
        let mut tail_sampler = TailSampler::new(policy());
        let mut kept = Vec::new();
        let mut left: Vec<VecDeque<_>> = traces.iter().cloned().map(VecDeque::from).collect();
        let mut lanes: [Vec<TestSpan>; 4] = Default::default();
        let (mut at, mut turn) = (PassTime { pass: 1, ticks: 0 }, 0);
        // At the end, the remaining spans of each trace, then enough passes.
        let rest = (0..traces.len()).flat_map(|trace| [Some(trace); 6]).chain([None; 16]);
        for act in acts.into_iter().chain(rest) {
            let mut keep = |span: &Frame<'_>| kept.push(u128::from(span.words[4]) - 1);
            match act {
                Some(trace) => {
                    let Some(spans) = left.get_mut(trace) else { continue };
                    let Some((lane, fails)) = spans.pop_front() else { continue };
                    let root = spans.is_empty(); // the root ends last
                    lanes[lane].push(TestSpan { trace: trace as u8, root, fails, ..TestSpan::default() });
                }
                None => {
                    for test_span in lanes[turn].drain(..) {
                        tail_sampler.add(&frame(&test_span.words()).unwrap(), at, false, &mut keep);
                    }
                    turn = (turn + 1) % lanes.len();
                    if turn == 0 {
                        tail_sampler.end_of_pass(at, &mut keep);
                        at.pass += 1;
                    }
                }
            }
        }
        let failed = |spans: &Vec<(usize, bool)>| spans.iter().any(|(_, fails)| *fails);
        for (number, spans) in traces.iter().enumerate() {
            let of_it = kept.iter().filter(|trace| **trace == number as u128).count();
            prop_assert_eq!(of_it, if failed(spans) { spans.len() } else { 0 });
        }
        let stats = tail_sampler.stats();
        prop_assert_eq!((stats.late_kept, stats.late_dropped, stats.traces_held), (0, 0, 0));
        let failed = traces.iter().filter(|spans| failed(spans)).count();
        prop_assert_eq!((stats.error, stats.uninteresting), (failed as u64, (traces.len() - failed) as u64));
    }
}

#[test]
fn the_share_is_drawn_evenly_from_any_ids() {
    let quarter = SamplingPolicy { share: u64::MAX / 4, ..policy() };
    // Ids that are numbered, ids with an empty half, and the half of the ids that head sampling left out.
    let ids: [fn(u128) -> u128; 3] = [|id| id, |id| id << 64, |id| u128::from(u64::MAX) - id];
    for ids in ids {
        let drawn = (1..=10_000).filter(|id| quarter.is_in_share(ids(*id))).count();
        assert!((2_300..=2_700).contains(&drawn), "{drawn}");
    }
    assert!(!SamplingPolicy { share: 0, ..policy() }.is_in_share(1));
    assert!(SamplingPolicy { share: u64::MAX, ..policy() }.is_in_share(1));
}
