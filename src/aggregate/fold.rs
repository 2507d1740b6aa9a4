//! Where records go, once they are read: counted, kept, or held. Called by the step with every record it reads; off
//! every hot path, and yet what decides how much one core drains.

use super::histograms::{ExemplarSlot, Histograms};
use super::logs::LogReorderBuffer;
use super::spans::KeptSpans;
use super::tail_sampling::{PassTime, TailSampler};
use crate::clock::{Anchor, SET_BACK, Scale};
use crate::instance::Instance;
use crate::record::{Frame, frame, layout, move_times};
use crate::stats::{KINDS, Kind, Reason};
use crate::sync::{Arc, Ordering};

/// Where a test may make the aggregator fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailPoint {
    /// A drain pass begins.
    Step,
    /// A span has been read and is about to be folded.
    Span,
    /// Between two passes, where no panic is expected: one ends the work of the thread.
    Between,
}

/// A test's means to make the aggregator panic or stall.
#[derive(Clone, Default)]
pub(crate) struct FailPoints(pub(crate) Option<Arc<dyn Fn(FailPoint) + Send + Sync>>);

impl FailPoints {
    #[inline]
    pub(super) fn visit(&self, at: FailPoint) {
        if let Some(hook) = &self.0 {
            hook(at);
        }
    }
}

impl std::fmt::Debug for FailPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Injector(set)" } else { "Injector(none)" })
    }
}

#[derive(Debug)]
pub(super) struct Folded {
    instance: Arc<Instance>,
    pub(super) injector: FailPoints,
    scale: Scale,
    /// The number of each span name's histogram; `NO_READER` of those that no span has had so far.
    durations: Vec<u32>,
    pub(super) histograms: Histograms,
    pub(super) spans: KeptSpans,
    pub(super) logs: LogReorderBuffer,
    /// Traces that wait for their outcome; `None` if it does not count.
    pub(super) tail_sampler: Option<TailSampler>,
    /// The present pass.
    at: PassTime,
    /// The start of the present pass, in ticks, if records of before the clock was set back may still come: a record
    /// that ended later is looked at more closely. The greatest number of all otherwise.
    horizon: u64,
    /// The last time at which the clock was set back.
    step_back: StepBack,
    pub(super) aggregated: [u64; KINDS],
    /// Exemplars that histograms hold, and those that newer ones have replaced.
    pub(super) exemplars: [u64; 2],
    /// Whether the instance has shut down: what is found now came too late.
    pub(super) late: bool,
}

/// A clock that was set back.
#[derive(Clone, Copy, Debug, Default)]
struct StepBack {
    /// The last reading of before, in ticks. From there on nothing tells a record of before from a later one.
    until: u64,
    /// Added to a reading of before, wrapping, it makes the reading of the same wall time of after.
    by: u64,
}

/// No histogram has this number.
const NO_READER: u32 = u32::MAX;

/// The account that the words of a ring's next entry belong to. An exemplar has one of its own: the record is its
/// sample, which travels on its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Account {
    Records(Kind),
    Exemplars,
}

impl Account {
    /// The account of the entry that begins with this word.
    pub(super) fn of(first: u64) -> Self {
        match layout::kind(first) {
            layout::KIND_SPAN => Self::Records(Kind::Span),
            layout::KIND_LOG => Self::Records(Kind::Log),
            layout::KIND_EXEMPLAR => Self::Exemplars,
            _ => Self::Records(Kind::Sample),
        }
    }
}

impl Folded {
    pub(super) fn new(instance: &Arc<Instance>, kept_words: usize, injector: FailPoints) -> Self {
        Self {
            instance: Arc::clone(instance),
            injector,
            scale: instance.lanes.clock.scale(),
            durations: Vec::new(),
            histograms: Histograms::new(&instance.lanes),
            spans: KeptSpans::new(kept_words),
            logs: LogReorderBuffer::default(),
            tail_sampler: None,
            at: PassTime { pass: 0, ticks: 0 },
            horizon: u64::MAX,
            step_back: StepBack::default(),
            aggregated: [0; KINDS],
            exemplars: [0; 2],
            late: false,
        }
    }

    pub(super) fn begin_pass(&mut self, pass: u64) {
        let ticks = if self.tail_sampler.is_some() { self.instance.lanes.uptime.ticks() } else { 0 };
        self.at = PassTime { pass, ticks };
        if self.horizon != u64::MAX {
            let now = self.instance.lanes.clock.ticks();
            self.horizon = if now < self.step_back.until { now } else { u64::MAX };
        }
        self.logs.begin(&self.instance);
    }

    /// The clock was set back between two anchors. What was recorded before keeps the wall time that it had: all times
    /// are moved so that the new anchor dates them as the old one did. So there is one anchor to a snapshot, and a span
    /// that is folded later pays one comparison.
    ///
    /// Of two records the place in time is guessed: what ended after the step, in the very pass in which the clock was
    /// set back, counts as of before; a span that was open from before the step until the clock caught up, as of after.
    #[cold]
    pub(super) fn set_back(&mut self, before: &Anchor, after: &Anchor) {
        let by = before.offset_to(after, self.scale);
        self.step_back = StepBack { until: before.ticks, by };
        self.horizon = after.ticks;
        if by != 0 {
            self.spans.move_times(by);
            self.histograms.move_times(by);
            self.tail_sampler.iter_mut().for_each(|tail_sampler| tail_sampler.move_times(by));
        }
    }

    /// Whether a reading lies ahead of the clock: it was made before the clock was set back.
    fn is_of_before(&self, at: u64) -> bool {
        let clock = &self.instance.lanes.clock;
        at > self.horizon && at > clock.ticks().saturating_add(clock.ticks_in(SET_BACK))
    }

    /// Folds a span that ended behind the horizon: with its times moved, if it is one of before the clock was set back.
    #[cold]
    #[inline(never)]
    fn span_behind_horizon(&mut self, span: Frame<'_>) {
        let [_, start, duration, ..] = *span.words else { return self.fold_span(span) };
        if !self.is_of_before(start.saturating_add(duration)) {
            return self.fold_span(span);
        }
        // One that was still open then has no length, and some of its events may be of after.
        let (now, by) = (self.instance.lanes.clock.ticks(), self.step_back.by);
        let moved = |at: u64| if duration == 0 && at <= now { at } else { at.wrapping_add(by) };
        let mut words = span.words.to_vec();
        move_times(&mut words, moved);
        if let Ok(span) = frame(&words) {
            self.fold_span(span);
        }
    }

    /// Books records as read: `lost` of them were of no use.
    #[inline]
    pub(super) fn account(&mut self, kind: Kind, records: u64, lost: u64) {
        let shared = &self.instance.lanes.shared;
        if self.late {
            shared.shared_lost(kind, Reason::AfterShutdown, records);
            return;
        }
        if kind == Kind::Log {
            let shown = &self.instance.lanes.aggregated[kind as usize];
            shown.fetch_add(records - lost, Ordering::Release); // the writer of the sinks counts there, too
        }
        self.aggregated[kind as usize] += records - lost;
        if lost > 0 {
            shared.shared_lost(kind, Reason::Corrupt, lost);
        }
    }

    /// Books an entry that could not be read, or that nothing knows.
    #[cold]
    pub(super) fn lose(&mut self, account: Account) {
        match account {
            Account::Records(kind) => self.account(kind, 1, 1),
            Account::Exemplars => self.instance.lanes.shared.shared_exemplars_lost(1),
        }
    }

    /// Hands an exemplar to its histogram.
    fn exemplar(&mut self, record: Frame<'_>) {
        let mut example = record.exemplar().ok().filter(|_| !self.late);
        if let Some(example) = &mut example
            && self.is_of_before(example.at)
        {
            example.at = example.at.wrapping_add(self.step_back.by);
        }
        match example.and_then(|example| self.histograms.exemplify(example)) {
            Some(ExemplarSlot::Free) => self.exemplars[0] += 1,
            Some(ExemplarSlot::Taken) => self.exemplars[1] += 1,
            None => self.lose(Account::Exemplars),
        }
    }

    /// The one-word samples that these words begin with; how many they are. Nothing in it can fail.
    #[inline]
    pub(super) fn samples(&mut self, words: &[u64]) -> usize {
        let (samples, unknown) = if self.late {
            (words.iter().take_while(|word| layout::kind(**word) == layout::KIND_SAMPLE).count(), 0)
        } else {
            self.histograms.add_samples(words)
        };
        self.account(Kind::Sample, samples as u64, unknown as u64);
        samples
    }

    /// Counts a span, and keeps it, or holds it until the outcome of its trace is known.
    #[inline(always)]
    pub(super) fn span(&mut self, span: Frame<'_>) {
        if span.words[1].wrapping_add(span.words[2]) > self.horizon {
            self.span_behind_horizon(span);
        } else {
            self.fold_span(span);
        }
    }

    #[inline(always)]
    fn fold_span(&mut self, span: Frame<'_>) {
        if self.late {
            return self.account(Kind::Span, 1, 0);
        }
        self.injector.visit(FailPoint::Span);
        let header = span.header();
        let Some(durations) = self.durations_of(layout::id(header)) else {
            return self.account(Kind::Span, 1, 1);
        };
        if layout::flags(header) & !layout::FLAGS_SPAN != 0 {
            return self.account(Kind::Span, 1, 1);
        }
        let nanos = self.scale.nanos(span.words[2]);
        if nanos > layout::SAMPLE_MAX {
            self.instance.lanes.shared.shared_clamped();
        }
        match self.tail_sampler {
            None => self.spans.keep(span, self.at.pass),
            Some(_) => self.hold(span, durations, nanos),
        }
        if self.histograms.add(durations, nanos) {
            self.aggregated[Kind::Span as usize] += 1;
        } else {
            self.account(Kind::Span, 1, 1);
        }
    }

    /// Keeps a span, or holds it until the outcome of its trace is known.
    #[inline(never)]
    fn hold(&mut self, span: Frame<'_>, durations: u32, nanos: u64) {
        let Self { histograms, spans, tail_sampler, at, .. } = self;
        let Some(tail_sampler) = tail_sampler else { return };
        let mut keep = |span: &Frame<'_>| spans.keep(*span, at.pass);
        let flags = layout::flags(span.header());
        if flags & (layout::FLAG_SAMPLED | layout::FLAG_HELD) != layout::FLAG_HELD {
            tail_sampler.take_sampled(&span, &mut keep);
        } else {
            let asked = tail_sampler.rules.slower_than_p99 && flags & layout::FLAG_LOCAL_ROOT != 0;
            let above_p99 = asked && histograms.is_above_p99(durations, nanos);
            tail_sampler.take(&span, *at, above_p99, &mut keep);
        }
    }

    /// An entry that is neither a span nor a one-word sample.
    #[inline(never)]
    pub(super) fn other(&mut self, record: Frame<'_>) {
        let header = record.header();
        let Account::Records(kind) = Account::of(header) else { return self.exemplar(record) };
        let known = match layout::kind(header) {
            _ if self.late => true,
            layout::KIND_WIDE_SAMPLE => self.histograms.add(layout::id(header), record.words[1]),
            layout::KIND_LOG => {
                let known = self.logs.take(&record);
                if known && self.logs.has_reader() {
                    return; // it is counted when it has been written
                }
                known
            }
            _ => false, // definitions do not travel by ring
        };
        self.account(kind, 1, u64::from(!known));
    }

    /// The number of the histogram of a span name's durations.
    #[inline]
    fn durations_of(&mut self, name: u32) -> Option<u32> {
        match self.durations.get(name as usize) {
            Some(known) if *known != NO_READER => Some(*known),
            _ => self.meet_name(name),
        }
    }

    /// A name that no span has had so far, or none at all.
    #[cold]
    fn meet_name(&mut self, name: u32) -> Option<u32> {
        let durations = self.instance.names.span_by_id(name)?.known.red_metrics.durations();
        let name = name as usize;
        self.durations.resize(self.durations.len().max(name + 1), NO_READER);
        self.durations[name] = durations;
        Some(durations)
    }

    /// After a pass that went through.
    pub(super) fn end_pass(&mut self, ending: bool) {
        let Self { spans, tail_sampler, at, .. } = self;
        // What is let go now has waited for a pass already: as if it had come in the one before.
        let mut keep = |span: &Frame<'_>| spans.keep(*span, at.pass.saturating_sub(1));
        if let Some(tail_sampler) = tail_sampler {
            tail_sampler.end_of_pass(*at, &mut keep);
            if ending {
                tail_sampler.settle(&mut keep);
            }
        }
        spans.end_of_pass(at.pass);
    }

    pub(super) fn awaits_a_pass(&self) -> bool {
        self.logs.awaits_a_pass() || self.tail_sampler.as_ref().is_some_and(TailSampler::awaits_a_pass)
    }

    pub(super) fn bytes(&self) -> usize {
        let tail_sampler = self.tail_sampler.as_ref().map_or(0, TailSampler::bytes);
        let names = size_of::<u32>() * self.durations.capacity();
        names + self.histograms.bytes() + self.spans.bytes() + self.logs.bytes() + tail_sampler
    }
}
