//! One drain pass over all lanes, and the making of snapshots. Starts no thread and never sleeps, so tests drive it by
//! hand.

#[cfg(all(test, tellane_loom))]
mod loom;

use super::catalogue::CatalogueBuilder;
use super::fold::{Account, FailPoint, FailPoints, Fold};
use super::histograms::SpillSeen;
use super::tail_sampling::{SamplingPolicy, TailSampler};
use crate::clock::Anchor;
use crate::config::TailSampling;
use crate::instance::Instance;
use crate::lane::{Consumer, Lane, LaneRegistry};
use crate::record::{DecodeError, frame, frame_of_span, layout};
use crate::sampling::RateLimit;
use crate::snapshot::{BatchSender, Names, Pipeline, Snapshot, SpanBatch};
use crate::stats::{Kind, Reason};
use crate::sync::plant::{Bug, planted};
use crate::sync::{Arc, Ordering};
use std::time::Duration;

/// Statistics of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PassStats {
    /// The number of words drained.
    pub(crate) words: usize,
    /// The fill of the fullest ring, in 1/1,000.
    pub(crate) fill_permille: u32,
}

/// The aggregator's state, and its drain pass [`run`](Self::run).
#[derive(Debug)]
pub(crate) struct Step {
    instance: Arc<Instance>,
    service: Arc<str>,
    readers: Vec<LaneReader>,
    /// Words copied out of a ring; the words before `read` have been folded.
    words: Vec<u64>,
    read: usize,
    /// The account of the entry that is being folded; used to count the entry as lost if folding it panics.
    in_hand: Option<Account>,
    /// The index of the lane being drained. `words` holds words of this lane only, and may end inside a record.
    draining: Option<usize>,
    /// `true` if the remaining words that this lane had published are given up.
    lost: bool,
    fold: Fold,
    catalogue_builder: CatalogueBuilder,
    steps: u64,
    pub(crate) restarts: u64,
    anchor: Anchor,
    /// `true` if words were given up whose records could not be counted.
    given_up: bool,
    /// `true` before the last snapshot: then each pass decides all held traces.
    ending: bool,
}

/// The reading end of a lane.
#[derive(Debug)]
struct LaneReader {
    lane: Arc<Lane>,
    consumer: Consumer,
    spill: SpillSeen,
}

impl LaneReader {
    fn new(lane: &Arc<Lane>) -> Self {
        Self { lane: Arc::clone(lane), consumer: Consumer::new(&lane.ring), spill: SpillSeen::default() }
    }
}

/// The number of words folded at a time. They stay in the first-level cache: with 4,096 words, which fill that cache, a
/// span took 10 % longer.
const CHUNK: usize = 1024;

impl Step {
    pub(crate) fn new(
        instance: Arc<Instance>,
        service: Arc<str>,
        kept_words: usize,
        fail_points: FailPoints,
    ) -> Self {
        Self {
            anchor: instance.lanes.clock.anchor(),
            service,
            readers: Vec::new(),
            words: Vec::with_capacity(CHUNK + layout::WORDS_MAX),
            read: 0,
            in_hand: None,
            draining: None,
            lost: false,
            fold: Fold::new(&instance, kept_words, fail_points),
            catalogue_builder: CatalogueBuilder::default(),
            steps: 0,
            restarts: 0,
            given_up: false,
            ending: false,
            instance,
        }
    }

    /// Turns on tail sampling: traces are held until they are decided.
    pub(crate) fn holding(mut self, tail_sampling: &TailSampling) -> Self {
        let policy = SamplingPolicy::new(tail_sampling, &self.instance.names, &self.instance.lanes.clock);
        self.fold.tail_sampler = Some(TailSampler::new(policy));
        self
    }

    fn lanes(&self) -> Arc<LaneRegistry> {
        Arc::clone(&self.instance.lanes)
    }

    /// Sets the sender that log records go to. Called once, before the first pass.
    pub(crate) fn log_to(&mut self, sender: BatchSender) {
        self.fold.logs.set_sender(sender);
    }

    /// Sends all log records that are left, whether or not their order is certain.
    pub(crate) fn finish_logs(&mut self) {
        self.fold.logs.hand_over(&self.instance, true);
    }

    /// Drops the sender of log records, which ends the writer of the sinks.
    pub(crate) fn close_logs(&mut self) {
        self.fold.logs.close();
    }

    /// Drains each lane once, up to the words that it held when its turn came.
    pub(crate) fn run(&mut self) -> PassStats {
        self.steps += 1;
        self.fold.fail_points.visit(FailPoint::Step);
        if self.instance.lanes.clock.ticks() < self.anchor.ticks {
            self.measure_wall_time(); // before any record from after the step is read
        }
        self.recover_from_panic();
        let lanes = self.lanes();
        self.fold.begin_pass(self.steps);
        self.add_new_lanes(&lanes);
        let mut stats = PassStats::default();
        for at in 0..self.readers.len() {
            let waiting = self.readers[at].consumer.waiting(&self.readers[at].lane.ring);
            let capacity = self.readers[at].lane.ring.capacity() as u64;
            stats.fill_permille = stats.fill_permille.max((1_000 * waiting / capacity) as u32);
            stats.words += self.drain(at);
        }
        self.retire_surplus();
        if !self.fold.late {
            self.fold.logs.hand_over(&self.instance, false);
        }
        self.fold.end_pass(self.ending);
        self.publish(&lanes);
        stats
    }

    /// Retires idle lanes above the cap, after draining each of them once more.
    pub(super) fn retire_surplus(&mut self) {
        let lanes = self.lanes();
        let mut retiring = None;
        while lanes.retire(|lane| retiring = self.drain_last(lane)) {
            // Only after the lane is retired: if draining it panics, the lane is idle again, and its reader must still
            // know what it has read.
            retiring.take().into_iter().for_each(|at| self.remove_reader(at));
        }
    }

    /// Removes the reader of a retired lane; the last reader moves to its index.
    fn remove_reader(&mut self, at: usize) {
        self.readers.swap_remove(at);
        if let Some(moved) = self.readers.get(at) {
            moved.lane.reader.store(at, Ordering::Relaxed);
        }
    }

    /// Adds a reader for each lane that has joined since the last roll call.
    fn add_new_lanes(&mut self, lanes: &LaneRegistry) {
        let readers = &mut self.readers;
        lanes.drain_joined(|lane| {
            // Relaxed, here and above: only the aggregator reads and writes the index.
            lane.reader.store(readers.len(), Ordering::Relaxed);
            readers.push(LaneReader::new(&lane));
        });
    }

    /// Finishes a pass that panicked: the entry that was being folded is counted as corrupt, and its lane is drained
    /// before all others, since `words` may end inside a record that continues in that lane's ring.
    fn recover_from_panic(&mut self) {
        match self.in_hand.take() {
            Some(Account::Records(kind)) => {
                self.instance.lanes.shared.shared_lost(kind, Reason::Corrupt, 1);
            }
            Some(Account::Exemplars) => self.instance.lanes.shared.shared_exemplars_lost(1),
            None => {}
        }
        if let Some(at) = self.draining {
            self.fold_words();
            self.drain(at);
        }
    }

    /// Drains one lane's ring and folds its records; returns the number of words.
    fn drain(&mut self, at: usize) -> usize {
        let mut drained = 0;
        self.draining = Some(at);
        let reader = &mut self.readers[at];
        let end = reader.consumer.waiting(&reader.lane.ring) as usize;
        while drained < end {
            let reader = &mut self.readers[at];
            let most = CHUNK.min(end - drained);
            let copied = reader.consumer.drain(&reader.lane.ring, most, &mut self.words);
            if copied == 0 {
                break;
            }
            drained += copied;
            if self.lost {
                self.words.clear();
            }
            self.fold_words();
        }
        if self.read < self.words.len() {
            self.give_up_words(); // producers publish whole records only, so these words are corrupt
        }
        self.lost = false;
        self.draining = None;
        drained
    }

    /// Drains a lane that is being retired: its thread has ended, and no other thread takes it over. Returns its
    /// reader's index. The lane may have joined after the last roll call, but it joined before it became idle, so a
    /// roll call now includes it.
    fn drain_last(&mut self, lane: &Lane) -> Option<usize> {
        let had_reader = lane.reader.load(Ordering::Relaxed) != Lane::NO_READER;
        self.add_new_lanes(&self.lanes());
        let at = lane.reader.load(Ordering::Relaxed);
        if at == Lane::NO_READER {
            return None; // cannot happen: the lane has joined
        }
        if !planted(Bug::NoRedrain) && (had_reader || !planted(Bug::MissedLane)) {
            self.drain(at);
            self.drain_spill(at);
        }
        Some(at)
    }

    /// Drains one lane's spill.
    fn drain_spill(&mut self, at: usize) {
        let LaneReader { lane, spill, .. } = &mut self.readers[at];
        let samples = self.fold.histograms.drain_spill(&lane.spill, spill);
        self.fold.account(Kind::Sample, samples, 0);
    }

    /// Folds the whole records in `words`; words of an unfinished record stay.
    fn fold_words(&mut self) {
        let Self { words, read, in_hand, fold, .. } = self;
        let error = loop {
            let rest = &words[*read..];
            let Some(&first) = rest.first() else { break None };
            match layout::kind(first) {
                layout::KIND_SAMPLE => *read += fold.samples(rest),
                // Spans have an arm of their own because the other kinds are rarely frequent.
                layout::KIND_SPAN => match frame_of_span(first, rest) {
                    Ok(span) => {
                        *read += span.words.len();
                        *in_hand = Some(Account::Records(Kind::Span));
                        fold.span(span);
                        *in_hand = None;
                    }
                    Err(error) => break Some(error),
                },
                _ => match frame(rest) {
                    Ok(record) => {
                        *read += record.words.len();
                        *in_hand = Some(Account::of_entry(first));
                        fold.other(record);
                        *in_hand = None;
                    }
                    Err(error) => break Some(error),
                },
            }
        };
        if error.is_some_and(|error| !matches!(error, DecodeError::Truncated { .. })) {
            self.give_up_words();
        }
        self.words.drain(..self.read);
        self.read = 0;
    }

    /// Gives up the words that this ring has published so far, because the start of the next record cannot be found.
    /// They are counted as one corrupt record now; their other records are counted when the instance ends. The ring
    /// continues with the words that are published next.
    fn give_up_words(&mut self) {
        let first = self.words.get(self.read).copied().unwrap_or_default();
        self.fold.lose(Account::of_entry(first));
        self.read = self.words.len();
        self.lost = true;
        self.given_up = true;
    }

    /// Counts the records of given-up words as corrupt. After the end no record can be in flight, so all those that are
    /// missing from the ledger were given up.
    fn count_given_up(&mut self) {
        if std::mem::take(&mut self.given_up) {
            let lanes = &self.instance.lanes;
            let ledger = lanes.ledger();
            for kind in Kind::ALL {
                lanes.shared.shared_lost(kind, Reason::Corrupt, ledger.kind(kind).in_flight);
            }
            lanes.shared.shared_exemplars_lost(ledger.exemplars().in_flight());
        }
    }

    /// Publishes the numbers of aggregated records and exemplars, for the ledger.
    fn publish(&self, lanes: &LaneRegistry) {
        for (kind, count) in Kind::ALL.into_iter().zip(self.fold.aggregated) {
            let published = &lanes.aggregated[kind as usize];
            if kind == Kind::Log {
                continue; // added up by `Fold::account`, and by the writer of the sinks
            }
            // Release pairs with the Acquire of the ledger: a reader that sees the count also sees that its records
            // were recorded.
            published.store(count, Ordering::Release);
        }
        for (published, count) in lanes.exemplars.iter().zip(self.fold.exemplars) {
            // Usually unchanged. Without this comparison each pass would take the cache line from its readers, and the
            // models would explore every order of stores that store nothing new. Relaxed: only this thread writes it.
            if published.load(Ordering::Relaxed) != count {
                // Release pairs as above: a reader that sees the count also sees the offers before it.
                published.store(count, Ordering::Release);
            }
        }
    }

    /// Applies the switch's state to lanes that have another one, and measures wall time again.
    pub(crate) fn keep_up(&mut self) {
        self.instance.lanes.apply_mode();
        self.measure_wall_time();
    }

    /// Measures again which wall time the ticks stand for.
    fn measure_wall_time(&mut self) {
        let clock = &self.instance.lanes.clock;
        let now = clock.anchor();
        let before = std::mem::replace(&mut self.anchor, now);
        if before.is_ahead_of(now.ticks, clock) {
            self.fold.set_back(&before, &now);
        }
    }

    /// Drains the samples that do not come through rings: spills and shared counts.
    pub(super) fn collect(&mut self) {
        (0..self.readers.len()).for_each(|at| self.drain_spill(at));
        let samples = self.fold.histograms.drain_shared();
        self.fold.account(Kind::Sample, samples, 0);
        let lanes = self.lanes();
        self.publish(&lanes);
    }

    /// Counts the records that producers published, spilled or shared while the lanes were being closed. Called after
    /// the shutdown.
    pub(crate) fn sweep(&mut self) {
        if !planted(Bug::NoSweep) {
            self.fold.late = true;
            self.run();
            if !planted(Bug::RingsOnly) {
                self.collect();
            }
            self.count_given_up();
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.instance.bytes()
            + self.instance.lanes.bytes()
            + self.fold.bytes()
            + self.catalogue_builder.bytes()
    }

    /// Makes each later pass decide all held traces by the spans read so far. Called before the last snapshot.
    pub(crate) fn settle(&mut self) {
        self.ending = true;
    }

    /// Makes a snapshot that includes all records made before this call.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        if !self.fold.late {
            self.run();
            if self.fold.awaits_a_pass() {
                self.run(); // so that traces that ended before this call are decided in this snapshot
            }
            self.collect();
        }
        self.catalogue_builder.refresh(&self.instance);
        let lanes = self.lanes();
        // The new epoch makes producers offer exemplars again.
        lanes.epoch.fetch_add(1, Ordering::Relaxed);
        let now = lanes.clock.ticks();
        if now < self.anchor.ticks {
            self.measure_wall_time(); // the clock was set back since the pass began
        }
        let mut sums = vec![0; lanes.shared_cells.count()];
        lanes.sum_cells(0, &mut sums);
        let (anchor, ticks) = (self.anchor, lanes.clock.scale());
        let time = |at| anchor.unix_nanos(at, ticks);
        let values = self.catalogue_builder.values(&sums, &mut self.fold.histograms, time);
        let (latest, slowest, traces) = self.fold.spans.share();
        let scale = lanes.clock.scale();
        Snapshot {
            service: Arc::clone(&self.service),
            unix_nanos: self.anchor.unix_nanos(now, scale),
            uptime: Duration::from_millis(lanes.uptime.millis()),
            catalogue: self.catalogue_builder.catalogue(),
            values,
            spans: vec![SpanBatch {
                names: Names::Live(Arc::clone(&self.instance)),
                anchor: self.anchor,
                scale,
                latest,
                slowest,
                traces,
            }],
            ledger: lanes.ledger(),
            tail_sampling: self
                .fold
                .tail_sampler
                .as_ref()
                .map(|tail_sampler| tail_sampler.stats().clone())
                .unwrap_or_default(),
            pipeline: self.pipeline(),
        }
    }

    fn pipeline(&self) -> Pipeline {
        let lanes = &self.instance.lanes;
        let (lane_count, idle_lanes) = lanes.counts();
        let tracing = &self.instance.sampling;
        let [traceparents_refused, tracestates_refused, baggage_members_refused] = tracing.headers.counts();
        Pipeline {
            state: lanes.switch.position().effective(),
            transitions: lanes.switch.changes.made(),
            steps: self.steps,
            restarts: self.restarts,
            lanes: lane_count,
            idle_lanes,
            bytes: self.bytes(),
            spans_evicted: self.fold.spans.evicted(),
            overflowed: self.instance.metrics.overflowed(),
            traces_limited: tracing.rate_limit.as_ref().map_or(0, RateLimit::refused),
            traceparents_refused,
            tracestates_refused,
            baggage_members_refused,
            log_rotations_failed: self.instance.logs.rotations_failed.load(Ordering::Relaxed),
            faults: self.instance.faults().len(),
        }
    }
}
