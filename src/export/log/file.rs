//! A log file with a bound: it begins anew when it is full, and a number of old files is kept. Cold: only the thread of
//! the sinks writes to it.
//!
//! Own code after a look at two crates: `tracing-appender` (0.2) rotates by time only, and `file-rotate` (0.8), which
//! does by size, takes writes as done while its file could not be opened, so that records would be lost uncounted, and
//! panics where a rename meets a file.
//!
//! Another program may move, delete or empty the file, and another process may write to it, too. So its size is not
//! remembered: each write locks the file and looks at what the path leads to now. With the write itself these are four
//! system calls for up to 32 KiB of lines.

use super::lock::Lock;
use crate::sync::Arc;
use crate::sync::fixed::{AtomicU64, Ordering};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Size at which a log file begins anew, and number of old files that are kept: the latest is `name.1`, the oldest
/// `name.N`.
///
/// A rotation renames every old file that there is. It takes a few microseconds for each, so whoever keeps all files
/// (`files: u32::MAX`) should choose `bytes` such that there are thousands of them, not millions.
///
/// A rotation that fails, because the directory is read-only for example, costs no record: the file grows above its
/// bound, and each further write tries again to rotate it.
///
/// ```
/// let daily_enough = tellane::Rotation { bytes: 10 << 20, files: 3 };
/// assert!(daily_enough.bytes < tellane::Rotation::default().bytes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file may have, at most. A single line longer than this gets a file of its own, which then exceeds the
    /// bound. So does a file whose lock another program does not release for a second. Default 100 MiB.
    pub bytes: u64,
    /// Old files that are kept. Default 5.
    pub files: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 100 << 20, files: 5 }
    }
}

#[derive(Debug)]
pub(super) struct RotatingFile {
    /// Absolute, so that a program that changes its directory does not change the file.
    path: PathBuf,
    rotation: Rotation,
    open: OpenFile,
    lock: Lock,
    /// Writes to a file that is full, or no longer where its path leads, since it could not be begun anew.
    failed: Arc<AtomicU64>,
}

/// The file that lines go to, until the path leads to another.
#[derive(Debug)]
struct OpenFile {
    file: File,
    identity: Identity,
    /// A pipe or a device is `false`: it has no size and is never moved.
    is_ordinary: bool,
    /// `true` if the last write ended a line. The file is rotated only there.
    at_line_start: bool,
}

impl OpenFile {
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        let is_ordinary = metadata.is_file();
        // A line that a killed program left without its end must not swallow the next one. A pipe is not looked at:
        // to read from it would take something out.
        let is_cut = is_ordinary && metadata.len() > 0 && last_byte(path).is_ok_and(|last| last != b'\n');
        let at_line_start = !is_cut || file.write_all(b"\n").is_ok();
        Ok(Self { file, identity: identity(&metadata), is_ordinary, at_line_start })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.at_line_start = bytes[..written].last().map_or(self.at_line_start, |last| *last == b'\n');
        Ok(written)
    }
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let open = OpenFile::at(&path)?;
        Ok(Self { path, rotation, open, lock: Lock::default(), failed: Arc::default() })
    }

    /// How many writes went to a file that could not be begun anew.
    pub(super) fn failed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failed)
    }

    /// Writes whole lines, as many as fit, into the file that the path leads to. A file that cannot be rotated or
    /// opened costs no line: the one that is open takes them.
    fn write_locked(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each round but the last meets a file that is full, or that was moved away while this one waited for it.
        for _ in 0..ROUNDS {
            let is_locked = self.lock.wait_for(&self.open.file);
            let there = fs::metadata(&self.path).ok();
            let Some(there) = there.filter(|there| identity(there) == self.open.identity) else {
                let Ok(other) = OpenFile::at(&self.path) else { break };
                self.replace(other);
                continue;
            };
            let fits = self.fitting(bytes, there.len());
            if fits > 0 {
                return self.open.write(&bytes[..fits]);
            }
            // Two programs that rotate one file at once would rotate it twice.
            if !is_locked || self.rotate().is_err() {
                break;
            }
        }
        self.failed.fetch_add(1, Ordering::Relaxed); // a figure that stands for itself
        self.open.write(bytes)
    }

    fn replace(&mut self, other: OpenFile) {
        self.lock.release(&self.open.file);
        self.open = other;
    }

    /// Moves the old files one number on, the full one to `name.1`, and begins a new one. An attempt that fails half-way
    /// leaves a gap, which is where the next attempt begins: only the oldest file is ever overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        // Of a link, the target is moved: the link is where somebody wants to find the file.
        let base = fs::canonicalize(&self.path)?;
        if self.rotation.files == 0 {
            fs::remove_file(&base)?;
        } else {
            // Up to the first gap, not up to `files`: that may be 4 billion.
            let is_taken = |number: &u32| fs::symlink_metadata(old(&base, *number)).is_ok();
            let moved = (1..self.rotation.files).take_while(is_taken).last().unwrap_or(0);
            for number in (1..=moved).rev() {
                fs::rename(old(&base, number), old(&base, number + 1))?;
            }
            fs::rename(&base, old(&base, 1))?;
        }
        let new = OpenFile::at(&self.path)?;
        self.replace(new);
        Ok(())
    }

    /// Bytes that have room in a file of this size, up to the end of a line. 0 if the file is to be rotated first.
    fn fitting(&self, bytes: &[u8], size: u64) -> usize {
        if !self.open.at_line_start {
            return first_line(bytes); // the rest of a line that began here
        }
        let room = usize::try_from(self.rotation.bytes.saturating_sub(size)).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return bytes.len();
        }
        let whole = bytes[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && size == 0 { first_line(bytes) } else { whole }
    }
}

/// Files that one write may meet at its path, one after the other. Many, since another process that writes a burst into
/// small files begins some twenty of them while this one sleeps once.
const ROUNDS: usize = 1_000;

/// The name of an old file.
fn old(base: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(base);
    name.push(format!(".{number}"));
    name.into()
}

/// The last byte of a file that is not empty.
fn last_byte(path: &Path) -> io::Result<u8> {
    let mut last = [0];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0])
}

/// Length of the first line, its end included.
fn first_line(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1)
}

/// Device and number of a file: equal for two names of one file.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// Time of creation, where std knows no number of a file.
#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

#[cfg(not(unix))]
fn identity(file: &Metadata) -> Identity {
    file.created().ok()
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open.is_ordinary {
            return self.open.write(bytes);
        }
        let written = self.write_locked(bytes);
        self.lock.release(&self.open.file);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is kept back
    }
}
