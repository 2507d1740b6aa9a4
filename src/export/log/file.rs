//! A file that begins anew when it has grown, and keeps so many of the old ones.
//!
//! Own code after a look at two crates: `tracing-appender` (0.2) rotates by time only, and `file-rotate` (0.8), which
//! does by size, takes writes as done while its file could not be opened, so that records would be lost uncounted, and
//! panics where a rename meets a file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// When a log file begins anew, and how many old ones are kept: the latest is `name.1`, the oldest `name.N`.
///
/// ```
/// let daily_enough = tellane::Rotation { bytes: 10 << 20, files: 3 };
/// assert!(daily_enough.bytes < tellane::Rotation::default().bytes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file may have. It has more only if a single write is larger. Default 100 MiB.
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
    path: PathBuf,
    rotation: Rotation,
    /// `None` after a failure to open it: the next write tries again.
    file: Option<File>,
    size: u64,
    /// Whether the last byte was the end of a line: only there it may rotate.
    whole: bool,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let mut opened = Self { path: path.into(), rotation, file: None, size: 0, whole: true };
        opened.reopen()?;
        Ok(opened)
    }

    fn reopen(&mut self) -> io::Result<&mut File> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        Ok(self.file.insert(file))
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    /// Moves every file one number on; the last one goes. A name that is not there is nothing to move.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let there_is = |moved: io::Result<()>| match moved {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if self.rotation.files == 0 {
            there_is(fs::remove_file(&self.path))?;
        } else {
            for number in (1..self.rotation.files).rev() {
                there_is(fs::rename(self.old(number), self.old(number + 1)))?;
            }
            there_is(fs::rename(&self.path, self.old(1)))?;
        }
        self.reopen().map(drop)
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.whole && self.size > 0 && self.size.saturating_add(bytes.len() as u64) > self.rotation.bytes {
            self.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen()?,
        };
        let written = file.write(bytes)?;
        self.size += written as u64;
        self.whole = bytes[..written].last().map_or(self.whole, |last| *last == b'\n');
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is kept back
    }
}
