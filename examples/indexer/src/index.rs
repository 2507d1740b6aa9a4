//! The inverted index: from a word to the files that contain it, in shards so that threads seldom wait for each other.

use crate::meters::{NEW_WORDS, POSTINGS};
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;

type Shard = HashMap<Box<str>, Postings, RandomState>;

#[derive(Debug, Default)]
struct Postings {
    occurrences: u64,
    /// Numbers of the files.
    files: Vec<u32>,
}

/// A word with its number of occurrences and of files.
#[derive(Debug)]
pub(crate) struct Frequency {
    pub(crate) word: String,
    pub(crate) occurrences: u64,
    pub(crate) files: usize,
}

#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::default() }
    }

    /// Adds the number of occurrences of a word in a file.
    pub(crate) fn insert(&self, word: &str, file: u32, occurrences: u64) {
        let shard = &self.shards[self.hasher.hash_one(word) as usize % SHARDS];
        let mut shard = locked(shard);
        POSTINGS.inc();
        let postings = match shard.get_mut(word) {
            Some(postings) => postings,
            None => {
                NEW_WORDS.inc();
                shard.entry(word.into()).or_default()
            }
        };
        postings.occurrences += occurrences;
        postings.files.push(file);
    }

    pub(crate) fn words(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }

    /// Returns the `most` most frequent words of at least `least_characters` characters.
    pub(crate) fn most_frequent(&self, most: usize, least_characters: usize) -> Vec<Frequency> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = locked(shard);
            let long = shard.iter().filter(|(word, _)| word.chars().count() >= least_characters);
            all.extend(long.map(|(word, postings)| Frequency {
                word: word.to_string(),
                occurrences: postings.occurrences,
                files: postings.files.len(),
            }));
        }
        all.sort_by(|one, other| {
            (Reverse(one.occurrences), &one.word).cmp(&(Reverse(other.occurrences), &other.word))
        });
        all.truncate(most);
        all
    }
}

/// Locks a shard. A shard is consistent after every statement, so a panic of another thread does not matter.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
