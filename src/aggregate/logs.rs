//! Log records of a pass: kept until it is certain that no earlier one is still to come, sorted, handed over.

use crate::clock::{Anchor, SET_BACK};
use crate::instance::Instance;
use crate::record::{self, Frame, Message, Record, Value, encode, layout};
use crate::snapshot::{BatchSender, LogBatch};
use crate::stats::{Kind, Reason};
use crate::sync::Ordering;
use std::ops::Range;

/// Words of a batch, or one record more: what does not fit the queue is lost by batches.
const BATCH_WORDS: usize = 1 << 14;

/// Log records that wait for the end of a pass.
#[derive(Debug, Default)]
pub(super) struct LogReorderBuffer {
    sender: Option<BatchSender>,
    words: Vec<u64>,
    /// Time in ticks, and the record's place in `words`. Those of earlier passes come first.
    records: Vec<(u64, Range<usize>)>,
    /// Records of earlier passes.
    earlier: usize,
    /// Start of the pass, in ticks: of the records that came later, some may be in lanes that were read before.
    began: u64,
    /// The clock was set back, and records wait that were made after that.
    awaits_a_pass: bool,
    /// The clock at the end of the last pass, and what its ticks meant.
    anchor: Option<Anchor>,
}

impl LogReorderBuffer {
    pub(super) fn set_outbox(&mut self, sender: BatchSender) {
        self.sender = Some(sender);
    }

    /// No more will come: the writer ends when it has written what it has.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    pub(super) fn bytes(&self) -> usize {
        let waiting = self.sender.as_ref().map_or(0, |sender| sender.queue_stats.bytes());
        waiting + 8 * self.words.capacity() + size_of::<(u64, Range<usize>)>() * self.records.capacity()
    }

    pub(super) fn begin(&mut self, instance: &Instance) {
        self.earlier = self.records.len();
        if self.sender.is_some() {
            self.began = instance.lanes.clock.ticks();
        }
    }

    /// Takes a record; `false` if it is none that can be shown.
    pub(super) fn take(&mut self, record: &Frame<'_>) -> bool {
        let flags = layout::flags(record.header());
        if flags & !layout::FLAGS_LOG != 0 || !(1..=5).contains(&(flags & layout::FLAG_LEVEL)) {
            return false;
        }
        if self.sender.is_some() {
            let start = self.words.len();
            self.words.extend_from_slice(record.words);
            self.records.push((record.words[1], start..self.words.len()));
        }
        true
    }

    /// Tells a snapshot to make one more pass, for the records that were made before it.
    pub(super) fn awaits_a_pass(&self) -> bool {
        self.awaits_a_pass
    }

    /// Whether somebody will read them: then they are counted when they have been written.
    pub(super) fn has_reader(&self) -> bool {
        self.sender.is_some()
    }

    /// Hands over the records that are sure to be in order; at the end, all of them.
    ///
    /// A record of an earlier pass is sure to be: every ring has been drained once more since. The clock does not enter
    /// into it, so a clock that was set back holds nothing up.
    pub(super) fn hand_over(&mut self, instance: &Instance, end: bool) {
        self.tell_of_held_back(instance, end);
        if self.sender.is_none() {
            return;
        }
        let mut earlier = std::mem::take(&mut self.earlier);
        let clock = &instance.lanes.clock;
        let now = clock.anchor();
        let before = self.anchor.replace(now).unwrap_or(now);
        let latest = self.records.iter().map(|(at, _)| *at).fold(before.ticks.max(self.began), u64::max);
        let set_back = now.ticks.saturating_add(clock.ticks_in(SET_BACK)) < latest;
        if set_back {
            // Records of before the step go first, dated as they would have been. A record that lies ahead of the
            // clock is one of them. The others wait for the next pass: nothing says yet that they are in order.
            let (mut old, new): (Vec<_>, Vec<_>) = std::mem::take(&mut self.records)
                .into_iter()
                .enumerate()
                .partition(|(number, (at, _))| *number < earlier || *at > now.ticks);
            old.sort_by_key(|(_, (at, _))| *at);
            self.post(instance, old.iter().map(|(_, (_, place))| place), before);
            self.records = new.into_iter().map(|(_, record)| record).collect();
            (self.began, earlier) = (0, 0);
        }
        self.awaits_a_pass = set_back && !end && !self.records.is_empty();
        for (at, _) in &mut self.records[..earlier] {
            *at = self.began.min(*at);
        }
        // By time; records of one time stay as they came.
        self.records.sort_by_key(|(at, _)| *at);
        let is_ready = |(at, _): &(u64, Range<usize>)| end || *at <= self.began;
        let ready = self.records.partition_point(is_ready);
        self.post(instance, self.records[..ready].iter().map(|(_, place)| place), now);
        if ready == 0 && !set_back {
            return;
        }
        // The records that came while the pass ran stay for the next.
        let mut left = Vec::new();
        let mut records = Vec::new();
        for (at, place) in self.records.drain(ready..) {
            let start = left.len();
            left.extend_from_slice(&self.words[place]);
            records.push((at, start..left.len()));
        }
        (self.words, self.records) = (left, records);
    }

    /// Sends records to the writer of the sinks, in batches.
    fn post<'a>(&self, instance: &Instance, places: impl Iterator<Item = &'a Range<usize>>, anchor: Anchor) {
        let Some(sender) = &self.sender else { return };
        let mut batch = LogBatch { words: Vec::new(), records: 0, anchor };
        let post = |batch: &mut LogBatch| {
            let full = std::mem::replace(batch, LogBatch { words: Vec::new(), records: 0, anchor });
            let records = full.records;
            if let Err(reason) = sender.send(full) {
                instance.lanes.shared.shared_lost(Kind::Log, reason, records);
            }
        };
        for place in places {
            batch.words.extend_from_slice(&self.words[place.clone()]);
            batch.records += 1;
            if batch.words.len() >= BATCH_WORDS {
                post(&mut batch);
            }
        }
        if batch.records > 0 {
            post(&mut batch);
        }
    }

    /// One record for each statement whose second has ended and that had something held back in it.
    fn tell_of_held_back(&mut self, instance: &Instance, end: bool) {
        let now = if self.sender.is_some() { self.began } else { instance.lanes.clock.ticks() };
        for held in instance.logs.settle(now, end) {
            let text = || Message::Text("records were held back".into());
            let key = instance.names.key("held_back");
            let log = record::Log {
                target: held.target,
                level: held.level,
                at: now,
                message: held.callsite.map_or_else(text, Message::Callsite),
                fields: vec![(key, Value::U64(held.records))],
                ..record::Log::default()
            };
            let start = self.words.len();
            let made = encode(&Record::Log(log), &mut self.words);
            let lanes = &instance.lanes;
            lanes.shared.shared_sent(Kind::Log);
            if made.is_err() {
                lanes.shared.shared_lost(Kind::Log, Reason::Invalid, 1);
            } else if self.sender.is_some() {
                self.records.push((now, start..self.words.len()));
            } else {
                self.words.clear();
                lanes.aggregated[Kind::Log as usize].fetch_add(1, Ordering::Release);
            }
        }
    }
}
