//! Log records of a pass: kept until it is certain that no earlier one is still to come, sorted, handed over.

use crate::clock::Anchor;
use crate::record::{self, Frame, Message, Record, Value, encode, layout};
use crate::series::Registry;
use crate::snapshot::{LogBatch, Outbox};
use crate::stats::{Kind, Reason};
use crate::sync::Ordering;
use std::ops::Range;

/// Words of a batch, or one record more: what does not fit the queue is lost by batches.
const BATCH_WORDS: usize = 1 << 14;

/// What waits for the end of a pass.
#[derive(Debug, Default)]
pub(super) struct LogPass {
    outbox: Option<Outbox>,
    words: Vec<u64>,
    /// Time in ticks, and where among the words.
    records: Vec<(u64, Range<usize>)>,
    /// When the pass began, in ticks: of what came later, some may be in lanes that were read before.
    began: u64,
}

impl LogPass {
    pub(super) fn set_outbox(&mut self, outbox: Outbox) {
        self.outbox = Some(outbox);
    }

    /// No more will come: the writer ends when it has written what it has.
    pub(super) fn close(&mut self) {
        self.outbox = None;
    }

    pub(super) fn bytes(&self) -> usize {
        let waiting = self.outbox.as_ref().map_or(0, |outbox| outbox.mail.bytes());
        waiting + 8 * self.words.capacity() + size_of::<(u64, Range<usize>)>() * self.records.capacity()
    }

    pub(super) fn begin(&mut self, registry: &Registry) {
        if self.outbox.is_some() {
            self.began = registry.directory.clock.ticks();
        }
    }

    /// Takes a record; `false` if it is none that can be shown.
    pub(super) fn take(&mut self, record: &Frame<'_>) -> bool {
        let flags = layout::flags(record.header());
        if flags & !layout::FLAGS_LOG != 0 || !(1..=5).contains(&(flags & layout::FLAG_LEVEL)) {
            return false;
        }
        if self.outbox.is_some() {
            let start = self.words.len();
            self.words.extend_from_slice(record.words);
            self.records.push((record.words[1], start..self.words.len()));
        }
        true
    }

    /// Whether somebody will read them: then they are counted when they have been written.
    pub(super) fn has_reader(&self) -> bool {
        self.outbox.is_some()
    }

    /// Hands over what is sure to be in order; at the end, everything.
    pub(super) fn hand_over(&mut self, registry: &Registry, anchor: Anchor, end: bool) {
        self.tell_of_held_back(registry, end);
        let Some(outbox) = &self.outbox else { return };
        if self.records.is_empty() {
            return;
        }
        // By time; those of one time stay as they came.
        self.records.sort_by_key(|(at, _)| *at);
        let ready =
            if end { self.records.len() } else { self.records.partition_point(|(at, _)| *at <= self.began) };
        let mut batch = LogBatch { words: Vec::new(), records: 0, anchor };
        let post = |batch: &mut LogBatch| {
            let full = std::mem::replace(batch, LogBatch { words: Vec::new(), records: 0, anchor });
            let records = full.records;
            if let Err(reason) = outbox.post(full) {
                registry.directory.shared.shared_lost(Kind::Log, reason, records);
            }
        };
        for (_, at) in &self.records[..ready] {
            batch.words.extend_from_slice(&self.words[at.clone()]);
            batch.records += 1;
            if batch.words.len() >= BATCH_WORDS {
                post(&mut batch);
            }
        }
        if batch.records > 0 {
            post(&mut batch);
        }
        // What came while the pass ran stays for the next.
        let mut left = Vec::new();
        let mut records = Vec::new();
        for (at, place) in self.records.drain(ready..) {
            let start = left.len();
            left.extend_from_slice(&self.words[place]);
            records.push((at, start..left.len()));
        }
        (self.words, self.records) = (left, records);
    }

    /// One record for each statement whose second has ended and that had something held back in it.
    fn tell_of_held_back(&mut self, registry: &Registry, end: bool) {
        let now = if self.outbox.is_some() { self.began } else { registry.directory.clock.ticks() };
        for held in registry.logs.settle(now, end) {
            let text = || Message::Text("records were held back".into());
            let key = registry.names.key("held_back");
            let log = record::Log {
                target: held.target,
                level: held.level,
                at: now,
                message: held.site.map_or_else(text, Message::Site),
                fields: vec![(key, Value::U64(held.records))],
                ..record::Log::default()
            };
            let start = self.words.len();
            let made = encode(&Record::Log(log), &mut self.words);
            let directory = &registry.directory;
            directory.shared.shared_sent(Kind::Log);
            if made.is_err() {
                directory.shared.shared_lost(Kind::Log, Reason::Invalid, 1);
            } else if self.outbox.is_some() {
                self.records.push((now, start..self.words.len()));
            } else {
                self.words.clear();
                directory.aggregated[Kind::Log as usize].fetch_add(1, Ordering::Release);
            }
        }
    }
}
