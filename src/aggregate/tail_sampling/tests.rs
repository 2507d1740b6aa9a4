//! What is held against a naive model of it, and the timing rule against lanes that are drained in any order.

use super::*;
use crate::record::{Record, Status, Value, encode};
use proptest::prelude::*;

fn rules() -> SamplingPolicy {
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

/// A span as a test makes it up.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    trace: u8,
    number: u64,
    root: bool,
    fails: bool,
    sampled: bool,
    duration: u64,
    above_p99: bool,
    /// The key of an attribute, and whether it has the value asked for.
    key: Option<(u32, bool)>,
}

impl Made {
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

    fn found(self) -> u8 {
        let attribute = self.key.is_some_and(|(key, gold)| key == 7 || (key == 8 && gold));
        (if self.fails { ERROR } else { 0 })
            | (if self.root && self.duration > 100 { SLOW } else { 0 })
            | (if self.root && self.above_p99 { SLOW_P99 } else { 0 })
            | (if attribute { ATTRIBUTE } else { 0 })
    }
}

fn made(traces: u8) -> impl Strategy<Value = Made> {
    let rarely = || prop::bool::weighted(0.1);
    let key = prop::option::weighted(0.2, (6..9_u32, any::<bool>()));
    let shape = (0..traces, prop::bool::weighted(0.2), rarely(), prop::bool::weighted(0.02));
    (shape, (0..110_u64, rarely()), key).prop_map(
        |((trace, root, fails, sampled), (duration, above_p99), key)| Made {
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

/// A trace of the model.
struct Open {
    trace: u8,
    again: bool,
    since: u64,
    /// The pass that met its root, and the number of that span.
    root: Option<(u64, u64)>,
    found: u8,
    spans: Vec<Vec<u64>>,
}

/// The same in lists that are searched from end to end.
struct Model {
    rules: SamplingPolicy,
    open: Vec<Open>,
    decided: Vec<(u8, Decision)>,
    kept: Vec<Vec<u64>>,
    told: TailSamplingStats,
}

impl Model {
    fn remember(&mut self, trace: u8, decision: Decision) {
        if let Some((_, known)) = self.decided.iter_mut().find(|(known, _)| *known == trace) {
            *known = decision;
            return;
        }
        if self.decided.len() == 4 * self.rules.traces {
            self.decided.remove(0);
        }
        self.decided.push((trace, decision));
    }

    fn keep(&mut self, spans: Vec<Vec<u64>>) {
        self.told.spans_kept += spans.len() as u64;
        self.kept.extend(spans);
    }

    fn decide(&mut self, at: usize, cause: Trigger) {
        let open = self.open.remove(at);
        let told = &mut self.told;
        let count =
            match (open.found & ERROR, open.found & SLOW, open.found & SLOW_P99, open.found & ATTRIBUTE) {
                (ERROR, ..) => Ok(&mut told.error),
                (_, SLOW, ..) => Ok(&mut told.slow),
                (_, _, SLOW_P99, _) => Ok(&mut told.slow_p99),
                (_, _, _, ATTRIBUTE) => Ok(&mut told.attribute),
                _ if self.rules.is_in_share(u128::from(open.trace) + 1) => Ok(&mut told.share),
                _ if cause == Trigger::RootEnded => Err(&mut told.uninteresting),
                _ if cause == Trigger::Evicted => Err(&mut told.evicted),
                _ => Err(&mut told.timed_out),
            };
        match (count, open.again) {
            (Ok(count), false) => *count += 1,
            (Ok(count), true) => {
                *count += 1;
                told.reconsidered += 1;
                told.late_kept += open.spans.len() as u64;
            }
            (Err(count), false) => {
                *count += 1;
                told.spans_dropped += open.spans.len() as u64;
                return self.remember(open.trace, Decision::Dropped);
            }
            (Err(_), true) => {
                told.spans_dropped += open.spans.len() as u64;
                told.late_dropped += open.spans.len() as u64;
                return self.remember(open.trace, Decision::Dropped);
            }
        }
        self.keep(open.spans);
        self.remember(open.trace, Decision::Kept);
    }

    fn take(&mut self, made: Made, at: PassTime) {
        let decision = self.decided.iter().position(|(trace, _)| *trace == made.trace);
        let open = self.open.iter().position(|open| open.trace == made.trace);
        match (open, decision) {
            (open, decision) if made.sampled => {
                let mut dropped =
                    decision.is_some_and(|decision| self.decided[decision].1 == Decision::Dropped);
                if let Some(open) = open {
                    let open = self.open.remove(open);
                    if open.again {
                        dropped = true;
                        self.told.late_kept += open.spans.len() as u64;
                    }
                    self.keep(open.spans);
                }
                if dropped {
                    self.told.reconsidered += 1;
                }
                if dropped || decision.is_none() {
                    self.told.ratio += 1;
                }
                self.remember(made.trace, Decision::Sampled);
                self.keep(vec![made.words()]);
            }
            (None, Some(decision)) if self.decided[decision].1 != Decision::Dropped => {
                self.keep(vec![made.words()]);
                self.told.late_kept += u64::from(self.decided[decision].1 == Decision::Kept);
            }
            (open, decision) => {
                let open = open.unwrap_or_else(|| {
                    let (trace, since, again) = (made.trace, at.ticks, decision.is_some());
                    self.open.push(Open { trace, again, since, root: None, found: 0, spans: Vec::new() });
                    self.open.len() - 1
                });
                let open = &mut self.open[open];
                open.found |= made.found();
                if open.spans.len() < self.rules.spans_per_trace || made.root {
                    open.spans.push(made.words());
                } else {
                    self.told.spans_dropped += 1;
                    self.told.spans_above_cap += 1;
                    self.told.late_dropped += u64::from(open.again);
                }
                if made.root {
                    open.root.get_or_insert((at.pass, made.number));
                }
                while self.open.len() > self.rules.traces || 8 * self.words() > self.rules.bytes {
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
        let ripe = |open: &Open| open.root.filter(|(pass, _)| *pass < at.pass);
        // In the order in which their roots were met.
        let mut order: Vec<_> = self.open.iter().filter_map(|open| Some((ripe(open)?, open.trace))).collect();
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

    fn settle(&mut self) {
        self.open.sort_by_key(|open| open.again);
        while let Some(open) = self.open.first() {
            let cause = if open.root.is_some() { Trigger::RootEnded } else { Trigger::TimedOut };
            self.decide(0, cause);
        }
    }

    fn told(&self) -> TailSamplingStats {
        let spans: usize = self.open.iter().map(|open| open.spans.len()).sum();
        let mut told = self.told.clone();
        (told.traces_held, told.spans_held) = (self.open.len() as u64, spans as u64);
        told
    }
}

#[derive(Clone, Debug)]
enum Act {
    Take(Made),
    EndOfPass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => made(20).prop_map(Act::Take),
        1 => (0..300_u64).prop_map(Act::EndOfPass),
    ];
    prop::collection::vec(act, 0..300)
}

/// Spans in an order that says nothing: what is decided together comes in any order.
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
        let rules = SamplingPolicy { traces, spans_per_trace, bytes: 8 * words, share, ..rules() };
        let mut tail_sampler = TailSampler::new(rules.clone());
        let told = TailSamplingStats::default();
        let mut model = Model { rules, open: Vec::new(), decided: Vec::new(), kept: Vec::new(), told };
        let mut at = PassTime { pass: 1, ticks: 0 };
        let (mut kept, mut number) = (Vec::new(), 0);
        for act in acts {
            let mut keep = |span: &Frame<'_>| kept.push(span.words.to_vec());
            match act {
                Act::Take(made) => {
                    number += 1;
                    let made = Made { number, ..made };
                    let words = made.words();
                    let span = frame(&words).unwrap();
                    if made.sampled {
                        tail_sampler.take_sampled(&span, &mut keep);
                    } else {
                        tail_sampler.take(&span, at, made.above_p99, &mut keep);
                    }
                    model.take(made, at);
                }
                Act::EndOfPass(ticks) => {
                    at.ticks += ticks;
                    tail_sampler.end_of_pass(at, &mut keep);
                    model.end_of_pass(at);
                    at.pass += 1;
                }
            }
            prop_assert_eq!(tail_sampler.tail_sampling(), &model.told());
            prop_assert_eq!(tail_sampler.words, model.words());
            let room: usize = tail_sampler.traces.values().map(|trace| trace.words.capacity()).sum();
            prop_assert_eq!(tail_sampler.room, room);
            prop_assert!(tail_sampler.bytes() >= 8 * room);
            prop_assert!(8 * tail_sampler.words <= tail_sampler.rules.bytes && tail_sampler.traces.len() <= traces);
            prop_assert!(tail_sampler.decided.len() <= 4 * traces && tail_sampler.remembered.len() == tail_sampler.decided.len());
            prop_assert!(tail_sampler.orders.iter().all(|order| order.len() <= 2 * traces + 67));
        }
        tail_sampler.settle(&mut |span| kept.push(span.words.to_vec()));
        model.settle();
        prop_assert_eq!(tail_sampler.tail_sampling(), &model.told());
        prop_assert_eq!(tail_sampler.tail_sampling().spans_held + tail_sampler.words as u64 + tail_sampler.room as u64, 0);
        let spans = tail_sampler.tail_sampling().spans_kept + tail_sampler.tail_sampling().spans_dropped;
        prop_assert_eq!((spans, tail_sampler.tail_sampling().spans_kept), (number, kept.len() as u64));
        prop_assert_eq!(sorted(kept), sorted(model.kept));
    }

    /// A service that is called several times in one trace. By what there is to know of each call alone: the first that
    /// fails is kept, and all that comes after it; of the calls before it, nothing is.
    #[test]
    fn each_call_of_a_trace_is_decided_by_its_own_outcome(
        calls in prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.05), 1..6), 1..8),
    ) {
        let mut tail_sampler = TailSampler::new(rules());
        let mut kept = Vec::new();
        let mut keep = |span: &Frame<'_>| kept.push(span.words[5] - 1);
        let (mut pass, mut number) = (1, 0);
        let mut expected = Vec::new();
        for spans in &calls {
            let first = number;
            for (at, fails) in spans.iter().enumerate() {
                let root = at + 1 == spans.len();
                let made = Made { number, root, fails: *fails, ..Made::default() };
                tail_sampler.take(&frame(&made.words()).unwrap(), PassTime { pass, ticks: 0 }, false, &mut keep);
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
        let (told, failed) = (tail_sampler.tail_sampling(), calls.iter().position(|spans| spans.contains(&true)));
        prop_assert_eq!((told.error, told.uninteresting), (failed.is_some().into(), (failed != Some(0)).into()));
        prop_assert_eq!(told.reconsidered, u64::from(failed.is_some_and(|call| call > 0)));
        prop_assert_eq!((told.spans_kept, told.spans_dropped), (expected.len() as u64, number - expected.len() as u64));
        prop_assert_eq!((told.traces_held, told.spans_held), (0, 0));
        prop_assert_eq!(kept, expected);
    }

    /// Lanes drained one after the other while others are published to: a root may be met before its child.
    #[test]
    fn what_ended_before_its_root_is_decided_with_it(
        traces in prop::collection::vec(prop::collection::vec((0..4_usize, prop::bool::weighted(0.1)), 1..6), 1..6),
        acts in prop::collection::vec(prop::option::of(0..6_usize), 0..120),
    ) {
        let mut tail_sampler = TailSampler::new(rules());
        let mut kept = Vec::new();
        let mut left: Vec<VecDeque<_>> = traces.iter().cloned().map(VecDeque::from).collect();
        let mut lanes: [Vec<Made>; 4] = Default::default();
        let (mut at, mut turn) = (PassTime { pass: 1, ticks: 0 }, 0);
        // At the end: what is left of each, then passes enough.
        let rest = (0..traces.len()).flat_map(|trace| [Some(trace); 6]).chain([None; 16]);
        for act in acts.into_iter().chain(rest) {
            let mut keep = |span: &Frame<'_>| kept.push(u128::from(span.words[4]) - 1);
            match act {
                Some(trace) => {
                    let Some(spans) = left.get_mut(trace) else { continue };
                    let Some((lane, fails)) = spans.pop_front() else { continue };
                    let root = spans.is_empty(); // it ends last
                    lanes[lane].push(Made { trace: trace as u8, root, fails, ..Made::default() });
                }
                None => {
                    for made in lanes[turn].drain(..) {
                        tail_sampler.take(&frame(&made.words()).unwrap(), at, false, &mut keep);
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
        let told = tail_sampler.tail_sampling();
        prop_assert_eq!((told.late_kept, told.late_dropped, told.traces_held), (0, 0, 0));
        let failed = traces.iter().filter(|spans| failed(spans)).count();
        prop_assert_eq!((told.error, told.uninteresting), (failed as u64, (traces.len() - failed) as u64));
    }
}

#[test]
fn a_share_is_drawn_from_all_over_the_ids() {
    let quarter = SamplingPolicy { share: u64::MAX / 4, ..rules() };
    // As they are: numbered, with one half empty, or the half that head sampling left over.
    let ids: [fn(u128) -> u128; 3] = [|id| id, |id| id << 64, |id| u128::from(u64::MAX) - id];
    for ids in ids {
        let drawn = (1..=10_000).filter(|id| quarter.is_in_share(ids(*id))).count();
        assert!((2_300..=2_700).contains(&drawn), "{drawn}");
    }
    assert!(!SamplingPolicy { share: 0, ..rules() }.is_in_share(1));
    assert!(SamplingPolicy { share: u64::MAX, ..rules() }.is_in_share(1));
}
