//! The indexing threads: they receive files from the queue, read them, split them into words and merge these into the
//! index.

use crate::index::Index;
use crate::meters::{
    BINARY, FILE_SIZE, INDEXED, Meters, NOT_UTF8, QUEUE_DEPTH, READ_TIME, TOKEN_SIZE, TOKENS, UNREADABLE,
};
use crate::walk::Job;
use crossbeam_channel::Receiver;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Approximate length of the text that is split into words in one span.
const BATCH_BYTES: usize = 16 << 10;
/// A file with a NUL byte among this many first bytes counts as binary.
const BINARY_BYTES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Worker<'a> {
    pub(crate) root: &'a Path,
    pub(crate) index: &'a Index,
    pub(crate) meters: &'a Meters,
    /// Content of the present file. The buffer is reused for all files.
    pub(crate) content: Vec<u8>,
}

impl Worker<'_> {
    /// Processes files until the queue is empty and the walker has ended.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        for job in queue {
            QUEUE_DEPTH.sub(1.0);
            job.waiting.stop();
            self.file(job.file, &job.path);
        }
    }

    fn file(&mut self, number: u32, path: &Path) {
        let mut span = self.meters.tracer.span("index file");
        let shown = path.strip_prefix(self.root).unwrap_or(path);
        span.set("path", &*shown.to_string_lossy());
        if READ_TIME.time(|| read(path, &mut self.content)).is_err() {
            UNREADABLE.inc();
            span.fail();
            return;
        }
        let bytes = self.content.len() as u64;
        span.set("bytes", bytes);
        FILE_SIZE.record(bytes);
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("none");
        self.meters.bytes_read.with([extension]).add(bytes);

        if self.content.iter().take(BINARY_BYTES).any(|byte| *byte == 0) {
            BINARY.inc();
            return;
        }
        // In place and ASCII only: one pass, and no allocation.
        self.content.make_ascii_lowercase();
        let Ok(text) = str::from_utf8(&self.content) else {
            NOT_UTF8.inc();
            return;
        };
        let mut counts = HashMap::default();
        let mut tokens = 0;
        batches(text).for_each(|batch| tokens += self.tokenize(batch, &mut counts));
        span.set("tokens", tokens);
        self.merge(number, &counts);
        INDEXED.inc();
    }

    /// Counts the words of a batch and returns their number. The innermost loop.
    fn tokenize<'t>(&self, batch: &'t str, counts: &mut HashMap<&'t str, u64, RandomState>) -> u64 {
        let mut span = self.meters.tracer.span("tokenize batch");
        let mut tokens = 0;
        for word in words(batch) {
            TOKENS.inc();
            TOKEN_SIZE.record(word.len() as u64);
            *counts.entry(word).or_default() += 1;
            tokens += 1;
        }
        span.set("bytes", batch.len());
        tokens
    }

    fn merge(&self, file: u32, counts: &HashMap<&str, u64, RandomState>) {
        let mut span = self.meters.tracer.span("merge");
        span.set("words", counts.len());
        for (word, occurrences) in counts {
            self.index.insert(word, file, *occurrences);
        }
    }
}

fn read(path: &Path, content: &mut Vec<u8>) -> io::Result<()> {
    content.clear();
    File::open(path)?.read_to_end(content)?;
    Ok(())
}

/// Splits a text into words: runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Splits a text into batches of about [`BATCH_BYTES`], always between two words.
fn batches(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let least = rest.floor_char_boundary(BATCH_BYTES.min(rest.len()));
        let end = rest[least..].find(|letter: char| !letter.is_alphanumeric());
        let (batch, after) = rest.split_at(end.map_or(rest.len(), |end| least + end));
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}
