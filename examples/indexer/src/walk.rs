//! Walks the directory tree on one thread, always in the same order.

use crate::meters::{LOST_DIRECTORIES, QUEUE_DEPTH, QUEUE_WAIT};
use crossbeam_channel::Sender;
use std::fs;
use std::path::{Path, PathBuf};
use tellane::Stopwatch;

/// A file on its way to an indexing thread.
#[derive(Debug)]
pub(crate) struct Job {
    /// The file's number in this pass.
    pub(crate) file: u32,
    pub(crate) path: PathBuf,
    /// Started by the walker, stopped by the thread that receives the job.
    pub(crate) waiting: Stopwatch<'static>,
}

#[derive(Debug)]
pub(crate) struct Walk {
    queue: Sender<Job>,
    files: u32,
    bytes_left: u64,
}

impl Walk {
    pub(crate) fn new(queue: Sender<Job>, max_bytes: u64) -> Self {
        Self { queue, files: 0, bytes_left: max_bytes }
    }

    /// Sends every file below a directory; `false` if some were left out because of the limit.
    pub(crate) fn directory(&mut self, directory: &Path) -> bool {
        let Ok(entries) = fs::read_dir(directory) else {
            LOST_DIRECTORIES.inc();
            return true;
        };
        let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
        // Sorted, so that the limit cuts off the same files in every pass. Otherwise the passes could not be compared.
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.iter().filter(|entry| !is_hidden(entry)).all(|entry| self.entry(entry))
    }

    fn entry(&mut self, entry: &fs::DirEntry) -> bool {
        let path = entry.path();
        match entry.metadata() {
            // Symbolic links are not followed, since they may form a cycle.
            Ok(found) if found.is_symlink() => true,
            Ok(found) if found.is_dir() => path.join("CACHEDIR.TAG").exists() || self.directory(&path),
            Ok(found) if found.is_file() => match self.bytes_left.checked_sub(found.len()) {
                Some(left) => {
                    self.bytes_left = left;
                    self.send(path)
                }
                None => false,
            },
            Ok(_) => true,             // a socket, a device
            Err(_) => self.send(path), // removed or not permitted: the thread that fails to read it counts it
        }
    }

    fn send(&mut self, path: PathBuf) -> bool {
        QUEUE_DEPTH.add(1.0);
        let sent = self.queue.send(Job { file: self.files, path, waiting: QUEUE_WAIT.start() });
        if sent.is_err() {
            QUEUE_DEPTH.sub(1.0); // all indexing threads have ended
        }
        self.files += 1;
        sent.is_ok()
    }
}

fn is_hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}
