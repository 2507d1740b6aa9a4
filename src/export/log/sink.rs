//! Sinks: the outputs that log records are written to. Cold.

use super::file::{RotatingFile, Rotation};
use super::format::Format;
use crate::snapshot::LogRecord;
use crate::sync::fixed::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use crate::unwind::caught;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

/// Bytes collected before they are written; a chunk may exceed this by one record.
const CHUNK: usize = 32 << 10;

/// An output for log records: a standard stream, a file, a writer, or memory. The builder's
/// [`log_to`](crate::Builder::log_to) can be called for any number of sinks. A separate thread writes them.
///
/// Records that a sink fails to write (disk full, pipe closed) are counted as
/// [`SinkFailed`](crate::Reason::SinkFailed), and the next records are tried again. If a sink blocks until the queue is
/// full, the records that do not fit the queue are counted as [`SinkFull`](crate::Reason::SinkFull).
///
/// ```
/// use tellane::{Format, Sink, Telemetry};
/// let telemetry = Telemetry::builder("shop").log_to(Sink::stderr(Format::Human)).start()?;
/// tellane::info!(telemetry.logger("shop"), "open", tills = 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "appender")]
#[doc(alias = "writer")]
#[must_use = "a sink does nothing until it is passed to the builder's `log_to`"]
pub struct Sink(Output);

enum Output {
    Lines(Lines),
    Memory(Arc<MemoryBuffer>),
}

/// A writer that receives one line for each record.
struct Lines {
    out: Box<dyn Write + Send>,
    format: Format,
    colour: bool,
    /// For a file, the number of writes that found it full or moved away since a rotation failed; `None` for other
    /// outputs.
    rotations_failed: Option<Arc<AtomicU64>>,
    /// `true` if a failed write may have left an unfinished line.
    torn: bool,
}

/// The latest records of a memory sink.
#[derive(Debug)]
struct MemoryBuffer {
    cap: usize,
    records: Mutex<VecDeque<LogRecord>>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Output::Lines(lines) => {
                f.debug_struct("Sink").field("format", &lines.format).finish_non_exhaustive()
            }
            Output::Memory(kept) => f.debug_struct("Sink").field("cap", &kept.cap).finish_non_exhaustive(),
        }
    }
}

impl Sink {
    /// Creates a sink for the program's standard output. [`Format::Human`] is in colour if that is a terminal and the
    /// environment variable `NO_COLOR` is not set. On Unix the sink bypasses the buffer and the lock of
    /// [`std::io::stdout`], so a thread that holds that lock does not block the logs.
    ///
    /// ```
    /// use tellane::{Format, Sink, Telemetry};
    /// let telemetry = Telemetry::builder("shop").log_to(Sink::stdout(Format::Logfmt)).start()?;
    /// # drop(telemetry);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdout(format: Format) -> Self {
        let colour = io::stdout().is_terminal();
        Self::lines(format, standard::output(), colour)
    }

    /// Creates a sink for the program's standard error; otherwise like [`stdout`](Self::stdout).
    ///
    /// ```
    /// use tellane::{Format, Sink, Telemetry};
    /// let telemetry = Telemetry::builder("shop").log_to(Sink::stderr(Format::Human)).start()?;
    /// # drop(telemetry);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stderr(format: Format) -> Self {
        let colour = io::stderr().is_terminal();
        Self::lines(format, standard::error(), colour)
    }

    /// Creates a sink for a file. The file is created if it does not exist, appended to if it does, and rotated
    /// according to `rotation`.
    ///
    /// Other programs may move, delete or truncate the file: the next record then goes to a new file at the path, or to
    /// the truncated file. Several processes may log to one file: on a local file system, each line stays whole, the
    /// size bound holds, and one of the processes rotates. If another program holds a lock on the file, the sink waits
    /// for it once, for a second; after that, lines are written without the lock and the file is not rotated.
    ///
    /// ```
    /// use tellane::{Format, Rotation, Sink, Telemetry};
    /// let path = std::env::temp_dir().join(format!("tellane-doc-{}.log", std::process::id()));
    /// let telemetry = Telemetry::builder("shop").log_to(Sink::file(&path, Rotation::default(), Format::Json)?).start()?;
    /// telemetry.logger("shop").info("open");
    /// assert!(telemetry.shutdown(std::time::Duration::from_secs(5)).finished);
    /// assert!(std::fs::read_to_string(&path)?.contains("\"message\":\"open\""));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The operating system's error if the file cannot be opened. Records that cannot be written later are counted as
    /// [`SinkFailed`](crate::Reason::SinkFailed), and the next records are tried again.
    pub fn file(path: impl AsRef<Path>, rotation: Rotation, format: Format) -> io::Result<Self> {
        let file = RotatingFile::open(path.as_ref(), rotation)?;
        let failed = file.failed();
        let mut sink = Self::lines(format, Box::new(file), false);
        if let Output::Lines(lines) = &mut sink.0 {
            lines.rotations_failed = Some(failed);
        }
        Ok(sink)
    }

    /// Creates a sink for any writer. The writer receives whole lines, several in one call if several are queued, and
    /// is flushed after each batch. If the writer blocks, only the logs wait.
    ///
    /// ```
    /// use tellane::{Format, Sink, Telemetry};
    /// let (mut reader, writer) = std::io::pipe()?;
    /// let telemetry = Telemetry::builder("shop").log_to(Sink::writer(Format::Json, Box::new(writer))).start()?;
    /// tellane::info!(telemetry.logger("shop"), "open");
    /// drop(telemetry); // and with it the pipe's end
    /// let mut text = String::new();
    /// std::io::Read::read_to_string(&mut reader, &mut text)?;
    /// assert!(text.contains("\"message\":\"open\""));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self::lines(format, out, false)
    }

    /// Creates a sink that keeps the latest `cap` records in memory, for tests.
    ///
    /// ```
    /// use tellane::{Sink, Telemetry};
    /// let (sink, kept) = Sink::memory(2);
    /// let telemetry = Telemetry::builder("shop").log_to(sink).start()?;
    /// let log = telemetry.logger("shop");
    /// (0..5_u64).for_each(|number| tellane::info!(log, "count", number = number));
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(kept.records().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory(cap: usize) -> (Self, LogMemory) {
        let kept = Arc::new(MemoryBuffer { cap, records: Mutex::default() });
        (Self(Output::Memory(Arc::clone(&kept))), LogMemory(kept))
    }

    fn lines(format: Format, out: Box<dyn Write + Send>, terminal: bool) -> Self {
        // https://no-color.org: no colour if the variable is set and not empty.
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(Output::Lines(Lines { out, format, colour, rotations_failed: None, torn: false }))
    }

    /// The number of rotations that have failed since the last call.
    pub(super) fn rotations_failed(&self) -> u64 {
        match &self.0 {
            Output::Lines(Lines { rotations_failed: Some(failed), .. }) => failed.swap(0, Ordering::Relaxed),
            Output::Lines(_) | Output::Memory(_) => 0,
        }
    }

    /// Writes the records that are not `None`, and sets `accepted` to `false` for each record that was not written.
    pub(super) fn write(&mut self, records: &[Option<LogRecord>], accepted: &mut [bool]) {
        match &mut self.0 {
            Output::Memory(kept) => {
                let mut all = kept.records.lock();
                for record in records.iter().flatten() {
                    all.push_back(record.clone());
                    if all.len() > kept.cap {
                        all.pop_front();
                    }
                }
            }
            Output::Lines(lines) => {
                let before = accepted.to_vec();
                // A writer that panics must not keep the other sinks from their records.
                let written = caught(|| lines.write(records, accepted));
                if written.is_none() {
                    lines.torn = true;
                    accepted.fill(false);
                }
                debug_assert!(before.iter().zip(&*accepted).all(|(before, after)| *before || !after));
            }
        }
    }
}

impl Lines {
    /// Formats the records and writes them in chunks, then flushes the writer.
    fn write(&mut self, records: &[Option<LogRecord>], accepted: &mut [bool]) {
        let mut chunk = String::new();
        // For each record of the chunk, its index and the byte at which it ends.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let Some(record) = record else { continue };
            self.format.write(record, self.colour, &mut chunk);
            ends.push((number, chunk.len()));
            if chunk.len() >= CHUNK {
                self.write_chunk(&chunk, &ends, accepted);
                chunk.clear();
                ends.clear();
            }
        }
        self.write_chunk(&chunk, &ends, accepted);
        if self.out.flush().is_err() {
            accepted.fill(false); // there is no way to tell which records were still buffered
        }
    }

    /// Writes a chunk; only records whose last byte was written stay accepted.
    fn write_chunk(&mut self, chunk: &str, ends: &[(usize, usize)], accepted: &mut [bool]) {
        if chunk.is_empty() {
            return;
        }
        // End the unfinished line of an earlier failure first, so that the next record has a line of its own.
        if self.torn && self.write_bytes(b"\n") == 1 {
            self.torn = false;
        }
        let written = if self.torn { 0 } else { self.write_bytes(chunk.as_bytes()) };
        for (number, end) in ends {
            accepted[*number] &= *end <= written;
        }
        let at_an_end = written == 0 || ends.iter().any(|(_, end)| *end == written);
        self.torn |= !at_an_end;
    }

    /// Writes bytes until the first failure; returns how many were written.
    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more.min(bytes.len() - written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }
}

/// The records of a [`Sink::memory`], for tests.
///
/// ```
/// let (sink, kept) = tellane::Sink::memory(100);
/// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
/// tellane::info!(telemetry.logger("shop"), "open");
/// telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(&*kept.records()[0].message, "open");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogMemory(Arc<MemoryBuffer>);

impl LogMemory {
    /// The records, oldest first. Recent records may not have arrived yet: take a
    /// [`snapshot`](crate::Telemetry::snapshot) first, which waits for them.
    ///
    /// ```
    /// let (_sink, kept) = tellane::Sink::memory(100);
    /// assert!(kept.records().is_empty());
    /// ```
    pub fn records(&self) -> Vec<LogRecord> {
        self.0.records.lock().iter().cloned().collect()
    }

    /// Removes and returns the records, oldest first.
    ///
    /// ```
    /// let (sink, kept) = tellane::Sink::memory(100);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// tellane::info!(telemetry.logger("shop"), "open");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!((kept.take().len(), kept.take().len()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "drain")]
    #[doc(alias = "clear")]
    pub fn take(&self) -> Vec<LogRecord> {
        self.0.records.lock().drain(..).collect()
    }
}

/// The standard streams without std's buffer and lock.
#[cfg(unix)]
mod standard {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;

    pub(super) fn output() -> Box<dyn Write + Send> {
        duplicate(&io::stdout())
    }

    pub(super) fn error() -> Box<dyn Write + Send> {
        duplicate(&io::stderr())
    }

    /// Duplicates the stream's descriptor. If the program has closed the stream, returns a writer that fails: std's
    /// streams pretend to succeed then, and the records would be lost without being counted.
    fn duplicate(stream: &impl AsFd) -> Box<dyn Write + Send> {
        match stream.as_fd().try_clone_to_owned() {
            Ok(descriptor) => Box::new(File::from(descriptor)),
            Err(_) => Box::new(SinkClosed),
        }
    }

    /// A writer whose every write fails, in place of a closed stream.
    struct SinkClosed;

    impl Write for SinkClosed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(not(unix))]
mod standard {
    use std::io::{self, Write};

    pub(super) fn output() -> Box<dyn Write + Send> {
        Box::new(io::stdout())
    }

    pub(super) fn error() -> Box<dyn Write + Send> {
        Box::new(io::stderr())
    }
}
