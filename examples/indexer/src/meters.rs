//! All metrics of this program.
//!
//! A metric with one fixed series is a static, so it need not be passed around. A family's series and the tracer belong
//! to an instance, so they are passed in [`Meters`].

use tellane::{
    Counter, Family, LazyCounter, LazyGauge, LazyHistogram, LazyTimer, RegisterError, Telemetry, Tracer,
};
use tellane::{counter, gauge, histogram, timer};

macro_rules! files {
    ($outcome:literal) => {
        counter!("index_files_total", "Files found, by outcome.", "outcome" => $outcome)
    };
}

pub(crate) static INDEXED: LazyCounter = files!("indexed");
pub(crate) static BINARY: LazyCounter = files!("binary");
pub(crate) static NOT_UTF8: LazyCounter = files!("not_utf8");
pub(crate) static UNREADABLE: LazyCounter = files!("unreadable");
pub(crate) static LOST_DIRECTORIES: LazyCounter =
    counter!("index_unreadable_directories_total", "Directories that could not be listed.");

pub(crate) static TOKENS: LazyCounter = counter!("index_tokens_total", "Words read, all occurrences.");
pub(crate) static POSTINGS: LazyCounter = counter!("index_postings_total", "Insertions into the index.");
pub(crate) static NEW_WORDS: LazyCounter = counter!("index_new_words_total", "Insertions of a new word.");

pub(crate) static QUEUE_DEPTH: LazyGauge =
    gauge!("index_queue_depth", "Files waiting for an indexing thread.");
pub(crate) static QUEUE_WAIT: LazyTimer =
    timer!("index_queue_wait", "Time a file waits for an indexing thread.");
pub(crate) static READ_TIME: LazyTimer = timer!("index_read", "Time to read a file.");

pub(crate) static FILE_SIZE: LazyHistogram = histogram!("index_file", "Size of the files read.").bytes();
pub(crate) static TOKEN_SIZE: LazyHistogram = histogram!("index_token", "Length of the words read.").bytes();

/// Most extensions with a series of their own; further extensions share the series labelled `__overflow__`.
const EXTENSIONS: usize = 8;

/// Handles that are not statics.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) tracer: Tracer,
    pub(crate) bytes_read: Family<Counter, 1>,
}

impl Meters {
    pub(crate) fn register(telemetry: &Telemetry) -> Result<Self, RegisterError> {
        let bytes_read = telemetry.counter("index_read").help("Bytes read, by the file's extension.").bytes();
        let bytes_read = bytes_read.series_cap(EXTENSIONS).family(["extension"])?;
        Ok(Self { tracer: telemetry.tracer(), bytes_read })
    }
}
