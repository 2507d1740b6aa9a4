//! Where log records go.

use super::file::{RotatingFile, Rotation};
use super::format::Format;
use crate::snapshot::LogRecord;
use crate::sync::fixed::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use crate::unwind::caught;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

/// Bytes that are written in one go, or one record more.
const CHUNK: usize = 32 << 10;

/// Where log records go: the builder's [`log_to`](crate::Builder::log_to) takes any number of them. They are written by
/// a thread of their own.
///
/// What a sink does not take (disk full, pipe closed) is counted as [`SinkFailed`](crate::Reason::SinkFailed), and the
/// next records are tried again; what finds too many waiting, because a sink blocks, as
/// [`SinkFull`](crate::Reason::SinkFull).
///
/// ```
/// use tellane::{Format, Sink, Telemetry};
/// let telemetry = Telemetry::builder("shop").log_to(Sink::stderr(Format::Human)).start()?;
/// tellane::info!(telemetry.logger("shop"), "open", tills = 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "hand it to the builder's `log_to`"]
pub struct Sink(To);

enum To {
    Lines(Lines),
    Memory(Arc<MemoryBuffer>),
}

/// A stream of lines.
struct Lines {
    out: Box<dyn Write + Send>,
    format: Format,
    colour: bool,
    /// Of a file: writes to it though it was full or moved away.
    rotations_failed: Option<Arc<AtomicU64>>,
    /// Whether the last that was written is not the end of a line.
    torn: bool,
}

#[derive(Debug)]
struct MemoryBuffer {
    cap: usize,
    records: Mutex<VecDeque<LogRecord>>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            To::Lines(lines) => f.debug_struct("Sink").field("format", &lines.format).finish_non_exhaustive(),
            To::Memory(kept) => f.debug_struct("Sink").field("cap", &kept.cap).finish_non_exhaustive(),
        }
    }
}

impl Sink {
    /// The program's standard output. [`Format::Human`] is in colour if that is a terminal and the environment's
    /// `NO_COLOR` is not set. It goes past the buffer and the lock of [`std::io::stdout`]: a program that is slow to
    /// release them stops no logs.
    ///
    /// ```
    /// use tellane::{Format, Sink, Telemetry};
    /// let telemetry = Telemetry::builder("shop").log_to(Sink::stdout(Format::Logfmt)).start()?;
    /// # drop(telemetry);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdout(format: Format) -> Self {
        let colour = io::stdout().is_terminal();
        Self::lines(format, standard::out(), colour)
    }

    /// The program's standard error; otherwise like [`stdout`](Self::stdout).
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

    /// A file, created if it does not exist and appended to if it does, and rotated as `rotation` says.
    ///
    /// Other programs may move, delete or empty the file: the next record goes to a new file at the path, or into the
    /// room that is free again. Several processes may log to one file: on a local file system, each line stays whole,
    /// the bound holds, and one of them rotates. A lock that another program holds on the file is waited for once, for
    /// a second; then lines are written without it and the file is not rotated.
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
    /// The error of the operating system if the file cannot be opened. Records that cannot be written later are counted
    /// as [`SinkFailed`](crate::Reason::SinkFailed), and the next ones are tried again.
    pub fn file(path: impl AsRef<Path>, rotation: Rotation, format: Format) -> io::Result<Self> {
        let file = RotatingFile::open(path.as_ref(), rotation)?;
        let failed = file.failed();
        let mut sink = Self::lines(format, Box::new(file), false);
        if let To::Lines(lines) = &mut sink.0 {
            lines.rotations_failed = Some(failed);
        }
        Ok(sink)
    }

    /// Any writer. It gets whole lines, many in one call if many wait, and may block: then the logs wait, and nothing
    /// else does. It is flushed after each batch.
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

    /// The latest `cap` records in memory, for tests.
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
        (Self(To::Memory(Arc::clone(&kept))), LogMemory(kept))
    }

    fn lines(format: Format, out: Box<dyn Write + Send>, terminal: bool) -> Self {
        // https://no-color.org: set and not empty.
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(To::Lines(Lines { out, format, colour, rotations_failed: None, torn: false }))
    }

    /// Rotations that have failed since the last call.
    pub(super) fn rotations_failed(&self) -> u64 {
        match &self.0 {
            To::Lines(Lines { rotations_failed: Some(failed), .. }) => failed.swap(0, Ordering::Relaxed),
            To::Lines(_) | To::Memory(_) => 0,
        }
    }

    /// Writes records, those that are there; `taken` of each that was not is set to false.
    pub(super) fn take(&mut self, records: &[Option<LogRecord>], taken: &mut [bool]) {
        match &mut self.0 {
            To::Memory(kept) => {
                let mut all = kept.records.lock();
                for record in records.iter().flatten() {
                    all.push_back(record.clone());
                    if all.len() > kept.cap {
                        all.pop_front();
                    }
                }
            }
            To::Lines(lines) => {
                let before = taken.to_vec();
                // A writer that panics must not take the others along.
                let written = caught(|| lines.take(records, taken));
                if written.is_none() {
                    lines.torn = true;
                    taken.fill(false);
                }
                debug_assert!(before.iter().zip(&*taken).all(|(before, after)| *before || !after));
            }
        }
    }
}

impl Lines {
    fn take(&mut self, records: &[Option<LogRecord>], taken: &mut [bool]) {
        let mut chunk = String::new();
        // For each record in the chunk, its number and where it ends.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let Some(record) = record else { continue };
            self.format.write(record, self.colour, &mut chunk);
            ends.push((number, chunk.len()));
            if chunk.len() >= CHUNK {
                self.put(&chunk, &ends, taken);
                chunk.clear();
                ends.clear();
            }
        }
        self.put(&chunk, &ends, taken);
        if self.out.flush().is_err() {
            taken.fill(false); // what was buffered, nobody can say
        }
    }

    fn put(&mut self, chunk: &str, ends: &[(usize, usize)], taken: &mut [bool]) {
        if chunk.is_empty() {
            return;
        }
        // Half a line is left over from a failure.
        if self.torn && self.write(b"\n") == 1 {
            self.torn = false;
        }
        let written = if self.torn { 0 } else { self.write(chunk.as_bytes()) };
        for (number, end) in ends {
            taken[*number] &= *end <= written;
        }
        let at_an_end = written == 0 || ends.iter().any(|(_, end)| *end == written);
        self.torn |= !at_an_end;
    }

    /// Bytes that were written before the first failure.
    fn write(&mut self, bytes: &[u8]) -> usize {
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

/// What a [`Sink::memory`] holds.
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
    /// The records, oldest first. Those of a moment ago may still be on their way: a
    /// [`snapshot`](crate::Telemetry::snapshot) waits for them.
    ///
    /// ```
    /// let (_sink, kept) = tellane::Sink::memory(100);
    /// assert!(kept.records().is_empty());
    /// ```
    pub fn records(&self) -> Vec<LogRecord> {
        self.0.records.lock().iter().cloned().collect()
    }

    /// Takes the records out, oldest first.
    ///
    /// ```
    /// let (sink, kept) = tellane::Sink::memory(100);
    /// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
    /// tellane::info!(telemetry.logger("shop"), "open");
    /// telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!((kept.take().len(), kept.take().len()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(&self) -> Vec<LogRecord> {
        self.0.records.lock().drain(..).collect()
    }
}

/// The standard streams, without std's buffer and lock.
#[cfg(unix)]
mod standard {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;

    pub(super) fn out() -> Box<dyn Write + Send> {
        duplicate(&io::stdout())
    }

    pub(super) fn error() -> Box<dyn Write + Send> {
        duplicate(&io::stderr())
    }

    /// Another descriptor of the same stream. If the program has closed it, one that fails: std would not, and the
    /// records would be lost uncounted.
    fn duplicate(stream: &impl AsFd) -> Box<dyn Write + Send> {
        match stream.as_fd().try_clone_to_owned() {
            Ok(descriptor) => Box::new(File::from(descriptor)),
            Err(_) => Box::new(SinkClosed),
        }
    }

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

    pub(super) fn out() -> Box<dyn Write + Send> {
        Box::new(io::stdout())
    }

    pub(super) fn error() -> Box<dyn Write + Send> {
        Box::new(io::stderr())
    }
}
