//! Folds records: counts them, keeps them, or holds them for tail sampling. The step calls this for every record that
//! it reads. Off every hot path, but it decides how many records a second one core can drain.

use super::histograms::{ExemplarSlot, Histograms};
use super::logs::LogReorderBuffer;
use super::spans::KeptSpans;
use super::tail_sampling::{PassTime, TailSampler};
use crate::clock::{Anchor, SET_BACK, Scale};
use crate::instance::Instance;
use crate::record::{Frame, frame, layout, move_times};
use crate::stats::{KINDS, Kind, Reason};
use crate::sync::{Arc, Ordering};

/// A point at which a test may make the aggregator panic or stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailPoint {
    /// A drain pass begins.
    Step,
    /// A span has been read and is about to be folded.
    Span,
    /// Between two passes, where no panic is caught: a panic here ends the worker.
    Between,
}

/// A test's hook, called at each [`FailPoint`].
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

/// The state that records are folded into.
#[derive(Debug)]
pub(super) struct Fold {
    instance: Arc<Instance>,
    pub(super) fail_points: FailPoints,
    scale: Scale,
    /// The number of the duration histogram of each span name; `UNKNOWN` for names that no span has had so far.
    durations: Vec<u32>,
    pub(super) histograms: Histograms,
    pub(super) spans: KeptSpans,
    pub(super) logs: LogReorderBuffer,
    /// The traces held for tail sampling; `None` if tail sampling is off.
    pub(super) tail_sampler: Option<TailSampler>,
    /// The current pass.
    at: PassTime,
    /// The start of the current pass, in ticks, if records from before the clock was set back may still come: a record
    /// that ended later than this may be one of them, and is checked. Otherwise `u64::MAX`.
    horizon: u64,
    /// The last step of the clock back.
    step_back: StepBack,
    pub(super) aggregated: [u64; KINDS],
    /// Exemplars that histograms hold, and those that newer ones have replaced.
    pub(super) exemplars: [u64; 2],
    /// `true` after the shutdown: records found now are counted as too late.
    pub(super) late: bool,
}

/// A step of the clock back.
#[derive(Clone, Copy, Debug, Default)]
struct StepBack {
    /// The last reading before the step, in ticks. When the clock reaches it again, records from before and after the
    /// step cannot be told apart any more.
    until: u64,
    /// The number to add, wrapping, to a reading from before the step to get the reading of the same wall time after
    /// it.
    by: u64,
}

/// The number of no histogram.
const UNKNOWN: u32 = u32::MAX;

/// The account in which a ring's next entry is counted. Exemplars have an account of their own: the record is the
/// sample, which is sent separately.
#[derive(Clone, Copy, Debug)]
pub(super) enum Account {
    Records(Kind),
    Exemplars,
}

impl Account {
    /// The account of the entry that begins with this word.
    pub(super) fn of_entry(first: u64) -> Self {
        match layout::kind(first) {
            layout::KIND_SPAN => Self::Records(Kind::Span),
            layout::KIND_LOG => Self::Records(Kind::Log),
            layout::KIND_EXEMPLAR => Self::Exemplars,
            _ => Self::Records(Kind::Sample),
        }
    }
}

impl Fold {
    pub(super) fn new(instance: &Arc<Instance>, kept_words: usize, fail_points: FailPoints) -> Self {
        Self {
            instance: Arc::clone(instance),
            fail_points,
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

    /// Begins a pass over all lanes.
    pub(super) fn begin_pass(&mut self, pass: u64) {
        let ticks = if self.tail_sampler.is_some() { self.instance.lanes.uptime.ticks() } else { 0 };
        self.at = PassTime { pass, ticks };
        if self.horizon != u64::MAX {
            let now = self.instance.lanes.clock.ticks();
            self.horizon = if now < self.step_back.until { now } else { u64::MAX };
        }
        self.logs.begin(&self.instance);
    }

    /// Keeps the dates right after the clock was set back between two anchors. Records from before the step keep their
    /// wall time: all their times are moved so that the new anchor dates them as the old one did. So a snapshot needs
    /// only one anchor, and a span that is folded later pays one comparison.
    ///
    /// The side of the step is guessed for two kinds of records. A record that ended after the step, but in the pass in
    /// which the clock was set back, counts as from before it. A span that was open from before the step until the
    /// clock caught up counts as from after it.
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

    /// Returns `true` if a reading lies ahead of the clock, so that it must be from before the clock was set back.
    fn is_from_before_step(&self, at: u64) -> bool {
        let clock = &self.instance.lanes.clock;
        at > self.horizon && at > clock.ticks().saturating_add(clock.ticks_in(SET_BACK))
    }

    /// Slow path of [`span`](Self::span), for a span that ended after the horizon. If the span is from before the clock
    /// was set back, its times are moved first.
    #[cold]
    #[inline(never)]
    fn span_after_horizon(&mut self, span: Frame<'_>) {
        let [_, start, duration, ..] = *span.words else { return self.fold_span(span) };
        if !self.is_from_before_step(start.saturating_add(duration)) {
            return self.fold_span(span);
        }
        // A span that was open during the step has no duration, and some of its events may be from after the step.
        let (now, by) = (self.instance.lanes.clock.ticks(), self.step_back.by);
        let moved = |at: u64| if duration == 0 && at <= now { at } else { at.wrapping_add(by) };
        let mut words = span.words.to_vec();
        move_times(&mut words, moved);
        if let Ok(span) = frame(&words) {
            self.fold_span(span);
        }
    }

    /// Counts records as read; `lost` of them could not be used.
    #[inline]
    pub(super) fn account(&mut self, kind: Kind, records: u64, lost: u64) {
        let shared = &self.instance.lanes.shared;
        if self.late {
            shared.shared_lost(kind, Reason::AfterShutdown, records);
            return;
        }
        if kind == Kind::Log {
            let published = &self.instance.lanes.aggregated[kind as usize];
            published.fetch_add(records - lost, Ordering::Release); // added, since the writer of the sinks counts here too
        }
        self.aggregated[kind as usize] += records - lost;
        if lost > 0 {
            shared.shared_lost(kind, Reason::Corrupt, lost);
        }
    }

    /// Counts an entry as lost: it could not be decoded, or refers to something unknown.
    #[cold]
    pub(super) fn lose(&mut self, account: Account) {
        match account {
            Account::Records(kind) => self.account(kind, 1, 1),
            Account::Exemplars => self.instance.lanes.shared.shared_exemplars_lost(1),
        }
    }

    /// Gives an exemplar to its histogram.
    fn exemplar(&mut self, record: Frame<'_>) {
        let mut example = record.exemplar().ok().filter(|_| !self.late);
        if let Some(example) = &mut example
            && self.is_from_before_step(example.at)
        {
            example.at = example.at.wrapping_add(self.step_back.by);
        }
        match example.and_then(|example| self.histograms.keep_exemplar(example)) {
            Some(ExemplarSlot::Free) => self.exemplars[0] += 1,
            Some(ExemplarSlot::Replaced) => self.exemplars[1] += 1,
            None => self.lose(Account::Exemplars),
        }
    }

    /// Folds the one-word samples at the start of these words and returns their number. Nothing in it can panic.
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

    /// Counts a span, and keeps it or holds it until its trace is decided.
    #[inline(always)]
    pub(super) fn span(&mut self, span: Frame<'_>) {
        if span.words[1].wrapping_add(span.words[2]) > self.horizon {
            self.span_after_horizon(span);
        } else {
            self.fold_span(span);
        }
    }

    #[inline(always)]
    fn fold_span(&mut self, span: Frame<'_>) {
        if self.late {
            return self.account(Kind::Span, 1, 0);
        }
        self.fail_points.visit(FailPoint::Span);
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

    /// Gives a span to tail sampling, which keeps it or holds it until its trace is decided.
    #[inline(never)]
    fn hold(&mut self, span: Frame<'_>, durations: u32, nanos: u64) {
        let Self { histograms, spans, tail_sampler, at, .. } = self;
        let Some(tail_sampler) = tail_sampler else { return };
        let mut keep = |span: &Frame<'_>| spans.keep(*span, at.pass);
        let flags = layout::flags(span.header());
        if flags & (layout::FLAG_SAMPLED | layout::FLAG_HELD) != layout::FLAG_HELD {
            tail_sampler.add_sampled(&span, &mut keep);
        } else {
            let needs_p99 = tail_sampler.policy.slower_than_p99 && flags & layout::FLAG_LOCAL_ROOT != 0;
            let above_p99 = needs_p99 && histograms.is_above_p99(durations, nanos);
            tail_sampler.add(&span, *at, above_p99, &mut keep);
        }
    }

    /// Folds an entry that is neither a span nor a one-word sample.
    #[inline(never)]
    pub(super) fn other(&mut self, record: Frame<'_>) {
        let header = record.header();
        let Account::Records(kind) = Account::of_entry(header) else { return self.exemplar(record) };
        let known = match layout::kind(header) {
            _ if self.late => true,
            layout::KIND_WIDE_SAMPLE => self.histograms.add(layout::id(header), record.words[1]),
            layout::KIND_LOG => {
                let known = self.logs.add(&record);
                if known && self.logs.has_sinks() {
                    return; // counted when the sinks have written it
                }
                known
            }
            _ => false, // rings carry no definitions
        };
        self.account(kind, 1, u64::from(!known));
    }

    /// The number of the histogram of a span name's durations; `None` if there is no such name.
    #[inline]
    fn durations_of(&mut self, name: u32) -> Option<u32> {
        match self.durations.get(name as usize) {
            Some(known) if *known != UNKNOWN => Some(*known),
            _ => self.durations_of_slow(name),
        }
    }

    /// Slow path of [`durations_of`](Self::durations_of): the first span of a name, or an unknown name.
    #[cold]
    fn durations_of_slow(&mut self, name: u32) -> Option<u32> {
        let durations = self.instance.names.span_by_id(name)?.known.red_metrics.durations();
        let name = name as usize;
        self.durations.resize(self.durations.len().max(name + 1), UNKNOWN);
        self.durations[name] = durations;
        Some(durations)
    }

    /// Ends a pass that did not panic: decides held traces, all of them if `ending`.
    pub(super) fn end_pass(&mut self, ending: bool) {
        let Self { spans, tail_sampler, at, .. } = self;
        // A trace that is released now has been held for a pass already, so its spans count as read in the pass before.
        let mut keep = |span: &Frame<'_>| spans.keep(*span, at.pass.saturating_sub(1));
        if let Some(tail_sampler) = tail_sampler {
            tail_sampler.end_of_pass(*at, &mut keep);
            if ending {
                tail_sampler.decide_all(&mut keep);
            }
        }
        spans.end_of_pass(at.pass);
    }

    /// Returns `true` if a snapshot must make one more pass, for records or traces that this pass could not finish.
    pub(super) fn awaits_a_pass(&self) -> bool {
        self.logs.awaits_a_pass() || self.tail_sampler.as_ref().is_some_and(TailSampler::awaits_a_pass)
    }

    pub(super) fn bytes(&self) -> usize {
        let tail_sampler = self.tail_sampler.as_ref().map_or(0, TailSampler::bytes);
        let names = size_of::<u32>() * self.durations.capacity();
        names + self.histograms.bytes() + self.spans.bytes() + self.logs.bytes() + tail_sampler
    }
}
