//! One drain pass over all lanes, and the snapshot. Knows no thread and never sleeps.

#[cfg(all(test, tellane_loom))]
mod loom;

use super::catalogue::CatalogueBuilder;
use super::fold::{Account, FailPoint, FailPoints, Folded};
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

/// What one pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Words drained.
    pub(crate) words: usize,
    /// The greatest share of a ring that was full, in 1/1,000.
    pub(crate) fill_permille: u32,
}

/// The aggregator's state.
#[derive(Debug)]
pub(crate) struct Step {
    instance: Arc<Instance>,
    service: Arc<str>,
    readers: Vec<Reader>,
    /// Words copied out of a ring; those before `read` have been folded.
    words: Vec<u64>,
    read: usize,
    /// The account of the entry that is being folded, should folding it panic.
    in_hand: Option<Account>,
    /// The lane that is being drained: the words at hand are its own, and may end inside a record.
    draining: Option<usize>,
    /// Whether the rest of what that lane has published is given up.
    lost: bool,
    folded: Folded,
    catalogue_builder: CatalogueBuilder,
    steps: u64,
    pub(crate) restarts: u64,
    anchor: Anchor,
    /// Whether records were given up that nobody could count.
    given_up: bool,
    /// Whether it is about to: what is held is decided with every pass.
    ending: bool,
}

/// The reading end of a lane.
#[derive(Debug)]
struct Reader {
    lane: Arc<Lane>,
    consumer: Consumer,
    spill: SpillSeen,
}

impl Reader {
    fn new(lane: &Arc<Lane>) -> Self {
        Self { lane: Arc::clone(lane), consumer: Consumer::new(&lane.ring), spill: SpillSeen::default() }
    }
}

/// Words folded in one go: they stay in the first-level cache. With 4,096, all there is of that, a span took 10 % longer.
const CHUNK: usize = 1024;

impl Step {
    pub(crate) fn new(
        instance: Arc<Instance>,
        service: Arc<str>,
        kept_words: usize,
        injector: FailPoints,
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
            folded: Folded::new(&instance, kept_words, injector),
            catalogue_builder: CatalogueBuilder::default(),
            steps: 0,
            restarts: 0,
            given_up: false,
            ending: false,
            instance,
        }
    }

    /// The same, with traces held until their outcome is known.
    pub(crate) fn holding(mut self, tail_sampling: &TailSampling) -> Self {
        let rules = SamplingPolicy::new(tail_sampling, &self.instance.names, &self.instance.lanes.clock);
        self.folded.tail_sampler = Some(TailSampler::new(rules));
        self
    }

    fn lanes(&self) -> Arc<LaneRegistry> {
        Arc::clone(&self.instance.lanes)
    }

    /// From now on log records go there. Called once, before the first pass.
    pub(crate) fn log_to(&mut self, sender: BatchSender) {
        self.folded.logs.set_outbox(sender);
    }

    /// Hands over every log record there is.
    pub(crate) fn finish_logs(&mut self) {
        self.folded.logs.hand_over(&self.instance, true);
    }

    /// No log record is handed over any more.
    pub(crate) fn close_logs(&mut self) {
        self.folded.logs.close();
    }

    /// Drains every lane once, up to what it held when its turn came.
    pub(crate) fn run(&mut self) -> Found {
        self.steps += 1;
        self.folded.injector.visit(FailPoint::Step);
        if self.instance.lanes.clock.ticks() < self.anchor.ticks {
            self.measure_wall_time(); // before anything of after is read
        }
        self.finish_broken_off();
        let lanes = self.lanes();
        self.folded.begin_pass(self.steps);
        self.meet_lanes(&lanes);
        let mut found = Found::default();
        for at in 0..self.readers.len() {
            let waiting = self.readers[at].consumer.waiting(&self.readers[at].lane.ring);
            let capacity = self.readers[at].lane.ring.capacity() as u64;
            found.fill_permille = found.fill_permille.max((1_000 * waiting / capacity) as u32);
            found.words += self.drain(at);
        }
        self.retire_surplus();
        if !self.folded.late {
            self.folded.logs.hand_over(&self.instance, false);
        }
        self.folded.end_pass(self.ending);
        self.publish(&lanes);
        found
    }

    pub(super) fn retire_surplus(&mut self) {
        let lanes = self.lanes();
        let mut retiring = None;
        while lanes.retire(|lane| retiring = self.last_look(lane)) {
            // Only now: should anything fail before, the lane is idle again, and its reader knows what it has read.
            retiring.take().into_iter().for_each(|at| self.forget(at));
        }
    }

    /// Drops the reader of a lane that is retired; the last reader moves to its place.
    fn forget(&mut self, at: usize) {
        self.readers.swap_remove(at);
        if let Some(moved) = self.readers.get(at) {
            moved.lane.reader.store(at, Ordering::Relaxed);
        }
    }

    fn meet_lanes(&mut self, lanes: &LaneRegistry) {
        let readers = &mut self.readers;
        lanes.drain_joined(|lane| {
            // Relaxed, here and above: only the aggregator reads and writes the index.
            lane.reader.store(readers.len(), Ordering::Relaxed);
            readers.push(Reader::new(&lane));
        });
    }

    /// After a panic: the record in hand is counted as corrupt, and its lane is drained to the end first, since the
    /// words at hand may stop inside a record that goes on in that lane's ring.
    fn finish_broken_off(&mut self) {
        match self.in_hand.take() {
            Some(Account::Records(kind)) => {
                self.instance.lanes.shared.shared_lost(kind, Reason::Corrupt, 1);
            }
            Some(Account::Exemplars) => self.instance.lanes.shared.shared_exemplars_lost(1),
            None => {}
        }
        if let Some(at) = self.draining {
            self.fold();
            self.drain(at);
        }
    }

    fn drain(&mut self, at: usize) -> usize {
        let mut drained = 0;
        self.draining = Some(at);
        let reader = &mut self.readers[at];
        let end = reader.consumer.waiting(&reader.lane.ring) as usize;
        while drained < end {
            let reader = &mut self.readers[at];
            let most = CHUNK.min(end - drained);
            let taken = reader.consumer.drain(&reader.lane.ring, most, &mut self.words);
            if taken == 0 {
                break;
            }
            drained += taken;
            if self.lost {
                self.words.clear();
            }
            self.fold();
        }
        if self.read < self.words.len() {
            self.quarantine(); // a producer publishes whole records only
        }
        self.lost = false;
        self.draining = None;
        drained
    }

    /// Drains a lane whose thread is gone and that no other thread will have; returns its reader's index. The lane may
    /// have come and gone since the last roll call. It joined before it became idle, so a roll call now meets it.
    fn last_look(&mut self, lane: &Lane) -> Option<usize> {
        let was_met = lane.reader.load(Ordering::Relaxed) != Lane::NO_READER;
        self.meet_lanes(&self.lanes());
        let at = lane.reader.load(Ordering::Relaxed);
        if at == Lane::NO_READER {
            return None; // never: it joined
        }
        if !planted(Bug::NoRedrain) && (was_met || !planted(Bug::MissedLane)) {
            self.drain(at);
            self.take_spill(at);
        }
        Some(at)
    }

    fn take_spill(&mut self, at: usize) {
        let Reader { lane, spill, .. } = &mut self.readers[at];
        let taken = self.folded.histograms.take_spill(&lane.spill, spill);
        self.folded.account(Kind::Sample, taken, 0);
    }

    /// Folds the words at hand, as far as they are whole records.
    fn fold(&mut self) {
        let Self { words, read, in_hand, folded, .. } = self;
        let error = loop {
            let rest = &words[*read..];
            let Some(&first) = rest.first() else { break None };
            match layout::kind(first) {
                layout::KIND_SAMPLE => *read += folded.samples(rest),
                // A way of its own: the other kinds are seldom many.
                layout::KIND_SPAN => match frame_of_span(first, rest) {
                    Ok(span) => {
                        *read += span.words.len();
                        *in_hand = Some(Account::Records(Kind::Span));
                        folded.span(span);
                        *in_hand = None;
                    }
                    Err(error) => break Some(error),
                },
                _ => match frame(rest) {
                    Ok(record) => {
                        *read += record.words.len();
                        *in_hand = Some(Account::of(first));
                        folded.other(record);
                        *in_hand = None;
                    }
                    Err(error) => break Some(error),
                },
            }
        };
        if error.is_some_and(|error| !matches!(error, DecodeError::Truncated { .. })) {
            self.quarantine();
        }
        self.words.drain(..self.read);
        self.read = 0;
    }

    /// The thread of records is lost: nobody can say where the next one begins. What was published in this ring up to
    /// now is given up and counted as one corrupt record, the rest of it when the instance ends; the ring goes on with
    /// what is published next.
    fn quarantine(&mut self) {
        let first = self.words.get(self.read).copied().unwrap_or_default();
        self.folded.lose(Account::of(first));
        self.read = self.words.len();
        self.lost = true;
        self.given_up = true;
    }

    /// After the end, when nothing can be on its way any more: what was given up uncounted is what is missing.
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

    fn publish(&self, lanes: &LaneRegistry) {
        for (kind, count) in Kind::ALL.into_iter().zip(self.folded.aggregated) {
            let catalogue_builder = &lanes.aggregated[kind as usize];
            if kind == Kind::Log {
                continue; // counted one by one, and by the writer of the sinks
            }
            // Release pairs with the Acquire of the ledger: who sees the count sees what was recorded before it.
            catalogue_builder.store(count, Ordering::Release);
        }
        for (catalogue_builder, count) in lanes.exemplars.iter().zip(self.folded.exemplars) {
            // Usually unchanged. Without this look each pass would take the line from all who read it, and the models
            // would explore every order of stores that store nothing new. Relaxed: written by this thread only.
            if catalogue_builder.load(Ordering::Relaxed) != count {
                catalogue_builder.store(count, Ordering::Release); // as above: who sees the count sees what was offered before it
            }
        }
    }

    /// Puts the switch's state into lanes that have another, and keeps wall time honest.
    pub(crate) fn keep_up(&mut self) {
        self.instance.lanes.apply_mode();
        self.measure_wall_time();
    }

    /// Measures anew which wall time the ticks stand for.
    fn measure_wall_time(&mut self) {
        let clock = &self.instance.lanes.clock;
        let now = clock.anchor();
        let before = std::mem::replace(&mut self.anchor, now);
        if before.is_ahead_of(now.ticks, clock) {
            self.folded.set_back(&before, &now);
        }
    }

    /// Takes over everything that does not come by ring.
    pub(super) fn collect(&mut self) {
        (0..self.readers.len()).for_each(|at| self.take_spill(at));
        let taken = self.folded.histograms.take_shared();
        self.folded.account(Kind::Sample, taken, 0);
        let lanes = self.lanes();
        self.publish(&lanes);
    }

    /// After shutdown: counts what producers published, spilled or shared while the lanes were being closed.
    pub(crate) fn sweep(&mut self) {
        if !planted(Bug::NoSweep) {
            self.folded.late = true;
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
            + self.folded.bytes()
            + self.catalogue_builder.bytes()
    }

    /// Before the last snapshot: what is held is decided by what is known.
    pub(crate) fn settle(&mut self) {
        self.ending = true;
    }

    /// A snapshot of all that was recorded before this call.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        if !self.folded.late {
            self.run();
            if self.folded.awaits_a_pass() {
                self.run(); // what ended before this call is decided in this snapshot
            }
            self.collect();
        }
        self.catalogue_builder.meet(&self.instance);
        let lanes = self.lanes();
        // From now on producers send new exemplars.
        lanes.epoch.fetch_add(1, Ordering::Relaxed);
        let now = lanes.clock.ticks();
        if now < self.anchor.ticks {
            self.measure_wall_time(); // the clock was set back since the pass began
        }
        let mut sums = vec![0; lanes.shared_cells.count()];
        lanes.sum_cells(0, &mut sums);
        let (anchor, ticks) = (self.anchor, lanes.clock.scale());
        let time = |at| anchor.unix_nanos(at, ticks);
        let values = self.catalogue_builder.values(&sums, &mut self.folded.histograms, time);
        let (latest, slowest, traces) = self.folded.spans.show();
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
                .folded
                .tail_sampler
                .as_ref()
                .map(|tail_sampler| tail_sampler.tail_sampling().clone())
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
            spans_evicted: self.folded.spans.evicted(),
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
