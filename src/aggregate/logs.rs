//! Puts log records in the order of their times: they are kept until no earlier record can come any more, sorted, and
//! sent to the writer of the sinks. Off every hot path.

use crate::clock::{Anchor, SET_BACK};
use crate::instance::Instance;
use crate::record::{self, Frame, Message, Record, Value, encode, layout};
use crate::snapshot::{BatchSender, LogBatch};
use crate::stats::{Kind, Reason};
use crate::sync::Ordering;
use std::ops::Range;

/// The size at which a batch is sent, in words; a batch may exceed it by one record. Small batches, because a batch
/// that does not fit the queue is lost as a whole.
const BATCH_WORDS: usize = 1 << 14;

/// Log records that wait until their order is certain.
#[derive(Debug, Default)]
pub(super) struct LogReorderBuffer {
    sender: Option<BatchSender>,
    words: Vec<u64>,
    /// The time of each record in ticks, and its range in `words`. Records of earlier passes come first.
    records: Vec<(u64, Range<usize>)>,
    /// The number of records from earlier passes.
    earlier: usize,
    /// The start of the pass, in ticks. Records made later may be missing from lanes that were read early in the pass.
    began: u64,
    /// `true` if the clock was set back and records from after the step are waiting.
    awaits_a_pass: bool,
    /// The clock's anchor at the end of the last pass.
    anchor: Option<Anchor>,
}

impl LogReorderBuffer {
    pub(super) fn set_sender(&mut self, sender: BatchSender) {
        self.sender = Some(sender);
    }

    /// Drops the sender, so that the writer ends after the batches that are queued.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    pub(super) fn bytes(&self) -> usize {
        let queued = self.sender.as_ref().map_or(0, |sender| sender.queue_stats.bytes());
        queued + 8 * self.words.capacity() + size_of::<(u64, Range<usize>)>() * self.records.capacity()
    }

    /// Begins a pass.
    pub(super) fn begin(&mut self, instance: &Instance) {
        self.earlier = self.records.len();
        if self.sender.is_some() {
            self.began = instance.lanes.clock.ticks();
        }
    }

    /// Adds a record; `false` if its flags or its level are not valid.
    pub(super) fn add(&mut self, record: &Frame<'_>) -> bool {
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

    /// Returns `true` if a snapshot must make one more pass to send the records that were made before it.
    pub(super) fn awaits_a_pass(&self) -> bool {
        self.awaits_a_pass
    }

    /// Returns `true` if there are sinks. Then records are counted when they have been written.
    pub(super) fn has_sinks(&self) -> bool {
        self.sender.is_some()
    }

    /// Sends the records whose order is certain, or all records if this is the `end`.
    ///
    /// The order of a record of an earlier pass is certain, because every ring has been drained once more since. That
    /// does not depend on the clock, so a clock that was set back delays no record.
    pub(super) fn hand_over(&mut self, instance: &Instance, end: bool) {
        self.report_held_back(instance, end);
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
            // Records from before the step go first, dated by the anchor of the last pass. A record that lies ahead of
            // the clock is one of them. The others wait for the next pass, since their order is not certain yet.
            let (mut old, new): (Vec<_>, Vec<_>) = std::mem::take(&mut self.records)
                .into_iter()
                .enumerate()
                .partition(|(number, (at, _))| *number < earlier || *at > now.ticks);
            old.sort_by_key(|(_, (at, _))| *at);
            self.send(instance, old.iter().map(|(_, (_, range))| range), before);
            self.records = new.into_iter().map(|(_, record)| record).collect();
            (self.began, earlier) = (0, 0);
        }
        self.awaits_a_pass = set_back && !end && !self.records.is_empty();
        // A record of an earlier pass is ready even if its time is later than this pass's start.
        for (at, _) in &mut self.records[..earlier] {
            *at = self.began.min(*at);
        }
        // A stable sort: records of the same time stay in the order in which they were read.
        self.records.sort_by_key(|(at, _)| *at);
        let is_ready = |(at, _): &(u64, Range<usize>)| end || *at <= self.began;
        let ready = self.records.partition_point(is_ready);
        self.send(instance, self.records[..ready].iter().map(|(_, range)| range), now);
        if ready == 0 && !set_back {
            return;
        }
        // Records made during the pass wait for the next one.
        let mut left = Vec::new();
        let mut records = Vec::new();
        for (at, range) in self.records.drain(ready..) {
            let start = left.len();
            left.extend_from_slice(&self.words[range]);
            records.push((at, start..left.len()));
        }
        (self.words, self.records) = (left, records);
    }

    /// Sends records to the writer of the sinks, in batches.
    fn send<'a>(&self, instance: &Instance, ranges: impl Iterator<Item = &'a Range<usize>>, anchor: Anchor) {
        let Some(sender) = &self.sender else { return };
        let mut batch = LogBatch { words: Vec::new(), records: 0, anchor };
        let send = |batch: &mut LogBatch| {
            let full = std::mem::replace(batch, LogBatch { words: Vec::new(), records: 0, anchor });
            let records = full.records;
            if let Err(reason) = sender.send(full) {
                instance.lanes.shared.shared_lost(Kind::Log, reason, records);
            }
        };
        for range in ranges {
            batch.words.extend_from_slice(&self.words[range.clone()]);
            batch.records += 1;
            if batch.words.len() >= BATCH_WORDS {
                send(&mut batch);
            }
        }
        if batch.records > 0 {
            send(&mut batch);
        }
    }

    /// Adds one record for each statement whose records were held back by the rate limit in a second that has ended.
    fn report_held_back(&mut self, instance: &Instance, end: bool) {
        let now = if self.sender.is_some() { self.began } else { instance.lanes.clock.ticks() };
        for held in instance.logs.take_held_back(now, end) {
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
