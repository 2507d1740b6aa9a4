//! A log file of bounded size: when it is full it is rotated, and a number of old files is kept. Cold: only the thread
//! of the sinks writes to it.
//!
//! This is our own code because two crates did not fit: `tracing-appender` (0.2) rotates by time only, and
//! `file-rotate` (0.8), which rotates by size, reports writes as successful while its file cannot be opened, so that
//! records would be lost uncounted, and panics if the target of a rename exists.
//!
//! Another program may move, delete or truncate the file, and another process may write to it, too. So the size is not
//! remembered: each write locks the file and checks which file the path leads to now. Including the write itself, this
//! takes four system calls for up to 32 KiB of lines.

use super::lock::Lock;
use crate::sync::Arc;
use crate::sync::fixed::{AtomicU64, Ordering};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The size at which a log file is rotated, and the number of old files that are kept. The latest old file is `name.1`,
/// the oldest `name.N`.
///
/// A rotation renames all old files, which takes a few microseconds each. If you keep all files (`files: u32::MAX`),
/// choose `bytes` so that there are thousands of them, not millions.
///
/// A rotation that fails, for example because the directory is read-only, loses no record: the file grows above its
/// bound, and each later write tries to rotate it again.
///
/// ```
/// let daily_enough = tellane::Rotation { bytes: 10 << 20, files: 3 };
/// assert!(daily_enough.bytes < tellane::Rotation::default().bytes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The most bytes of one file. A single line longer than this gets a file of its own, which then exceeds the bound.
    /// A file can also exceed it if another program holds a lock on the file for more than a second. Default 100 MiB.
    pub bytes: u64,
    /// The number of old files that are kept. Default 5.
    pub files: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 100 << 20, files: 5 }
    }
}

/// The file of a sink, with its rotation.
#[derive(Debug)]
pub(super) struct RotatingFile {
    /// Absolute, so that the file stays the same if the program changes its working directory.
    path: PathBuf,
    rotation: Rotation,
    open: OpenFile,
    lock: Lock,
    /// The number of writes that went to the open file although it was full or no longer at its path, because it could
    /// not be rotated or reopened.
    failed: Arc<AtomicU64>,
}

/// The open file that lines are written to, until the path leads to another one.
#[derive(Debug)]
struct OpenFile {
    file: File,
    identity: FileId,
    /// `true` for a regular file; `false` for a pipe or a device, which has no size and is never rotated.
    is_regular: bool,
    /// `true` if the last write ended a line. The file is rotated only between lines.
    at_line_start: bool,
}

impl OpenFile {
    /// Opens or creates the file for appending.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        let is_regular = metadata.is_file();
        // A program that was killed may have left a line without its end, which must not join with the next one. A pipe
        // is not checked, since reading from it would remove bytes.
        let is_cut = is_regular && metadata.len() > 0 && last_byte(path).is_ok_and(|last| last != b'\n');
        let at_line_start = !is_cut || file.write_all(b"\n").is_ok();
        Ok(Self { file, identity: file_id(&metadata), is_regular, at_line_start })
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
        let open = OpenFile::open(&path)?;
        Ok(Self { path, rotation, open, lock: Lock::default(), failed: Arc::default() })
    }

    /// The counter of writes for which the rotation failed; the reader resets it.
    pub(super) fn failed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failed)
    }

    /// Writes as many whole lines as fit into the file that the path leads to. If that file cannot be rotated or
    /// opened, the lines go to the file that is open, so none is lost.
    fn write_locked(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each round but the last finds a file that is full, or that was moved while this process waited for its lock.
        for _ in 0..ROUNDS {
            let is_locked = self.lock.wait_for(&self.open.file);
            let current = fs::metadata(&self.path).ok();
            let Some(current) = current.filter(|current| file_id(current) == self.open.identity) else {
                let Ok(other) = OpenFile::open(&self.path) else { break };
                self.replace(other);
                continue;
            };
            let fits = self.fitting(bytes, current.len());
            if fits > 0 {
                return self.open.write(&bytes[..fits]);
            }
            // Not without the lock: two processes that rotate one file at the same time would rotate it twice.
            if !is_locked || self.rotate().is_err() {
                break;
            }
        }
        self.failed.fetch_add(1, Ordering::Relaxed); // a count that orders nothing else
        self.open.write(bytes)
    }

    /// Releases the open file's lock and continues with another file.
    fn replace(&mut self, other: OpenFile) {
        self.lock.release(&self.open.file);
        self.open = other;
    }

    /// Renames each old file to the next number and the full file to `name.1`, and opens a new one. An attempt that
    /// fails halfway leaves a gap in the numbers, and the next attempt starts at the gap, so only the oldest file is
    /// ever overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        // If the path is a link, its target is renamed, and the link stays where it was made.
        let base = fs::canonicalize(&self.path)?;
        if self.rotation.files == 0 {
            fs::remove_file(&base)?;
        } else {
            // Counts up to the first gap, not to `files`, which may be 4 billion.
            let exists = |number: &u32| fs::symlink_metadata(old_name(&base, *number)).is_ok();
            let moved = (1..self.rotation.files).take_while(exists).last().unwrap_or(0);
            for number in (1..=moved).rev() {
                fs::rename(old_name(&base, number), old_name(&base, number + 1))?;
            }
            fs::rename(&base, old_name(&base, 1))?;
        }
        let new = OpenFile::open(&self.path)?;
        self.replace(new);
        Ok(())
    }

    /// The number of bytes, up to the end of a line, that fit a file of this size. 0 if the file must be rotated first.
    fn fitting(&self, bytes: &[u8], size: u64) -> usize {
        if !self.open.at_line_start {
            return first_line(bytes); // the rest of a line that began in this file
        }
        let room = usize::try_from(self.rotation.bytes.saturating_sub(size)).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return bytes.len();
        }
        let whole = bytes[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && size == 0 { first_line(bytes) } else { whole }
    }
}

/// The most files that one write may find at its path, one after the other. The number is large because another process
/// that writes a burst into small files rotates some twenty times while this one sleeps once.
const ROUNDS: usize = 1_000;

/// The name of the old file with this number.
fn old_name(base: &Path, number: u32) -> PathBuf {
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

/// The length of the first line, including its end.
fn first_line(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1)
}

/// A file's device and inode number, which are equal for two names of one file.
#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(file: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// A file's time of creation, where std offers no file number.
#[cfg(not(unix))]
type FileId = Option<std::time::SystemTime>;

#[cfg(not(unix))]
fn file_id(file: &Metadata) -> FileId {
    file.created().ok()
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open.is_regular {
            return self.open.write(bytes);
        }
        let written = self.write_locked(bytes);
        self.lock.release(&self.open.file);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // writes are not buffered
    }
}
