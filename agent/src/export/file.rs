//! OTLP JSON lines into a file, by a thread of its own: a slow or full disk holds up nothing else.
//!
//! The file is appended to (mode 0640 when made: URLs are nobody else's business) and holds whole lines only: when a write
//! fails, what it wrote is cut off again, its spans are counted as dropped, and the next write is tried as if nothing had
//! been. If the agent is killed in the middle of a write, the next start ends the torn line before it appends. Rotate with
//! copytruncate.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    feed::{DropReason, Feed},
    json::LineWriter,
    resource::HostResource,
};
use crate::pipeline::queue::{DEFAULT_CAPACITY, Next, Piece};

/// Bytes gathered before a write.
const WRITE_SIZE: usize = 256 * 1_024;
/// Nothing stays in the buffer for longer than this (a second is promised).
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// Spans of one line at most.
const MAX_LINE_SPANS: usize = 512;

/// Settings of the file exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    pub path: PathBuf,
    /// Entries that may wait for the disk; [`DEFAULT_CAPACITY`].
    pub queue_entries: usize,
}

impl FileSettings {
    /// The defaults for `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, queue_entries: DEFAULT_CAPACITY }
    }
}

/// Why the span file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(
        "the directory of the span file {path} does not exist: create {parent} or set another `export.file.path`"
    )]
    NoDirectory { path: PathBuf, parent: PathBuf },
    #[error("the span file {path} is a directory: set `export.file.path` to a file")]
    IsDirectory { path: PathBuf },
    #[error(
        "no permission to write the span file {path}: change its owner or mode, or set another `export.file.path`"
    )]
    Denied { path: PathBuf },
    #[error("cannot open the span file {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
}

/// Where lines go: whole or not at all.
pub(crate) trait Lines {
    /// Writes `lines`, which end with a line feed.
    ///
    /// # Errors
    /// When not all could be written; then the destination has been restored as far as it allows.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Whether nobody will ever read what is written from now on.
    fn closed(&self) -> bool {
        false
    }
}

/// A file opened for appending.
#[derive(Debug)]
pub(crate) struct SpanFile {
    file: File,
    /// The last line of a destination that cannot be truncated (a pipe) is torn.
    torn: bool,
}

impl SpanFile {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            return Err(FileError::NoDirectory { path: path.into(), parent: parent.into() });
        }
        // Reading is for the look at the last byte; without the right to read there is no look.
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640);
        let opened = options.clone().read(true).open(path).or_else(|_| options.open(path));
        let mut file = opened.map_err(|source| match source.kind() {
            ErrorKind::IsADirectory => FileError::IsDirectory { path: path.into() },
            ErrorKind::PermissionDenied => FileError::Denied { path: path.into() },
            _ => FileError::Open { path: path.into(), source },
        })?;
        let torn = ends_in_the_middle_of_a_line(&mut file).unwrap_or(false);
        Ok(Self { file, torn })
    }

    /// Cuts off what a failed write left behind.
    fn restore(&mut self, whole: Option<u64>) {
        let restored = whole.is_some_and(|length| self.file.set_len(length).is_ok());
        if !restored {
            self.torn = true;
        }
    }
}

/// Whether a regular file lacks its last line feed, because an earlier run was killed while it wrote.
fn ends_in_the_middle_of_a_line(file: &mut File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last[0] != b'\n')
}

impl Lines for SpanFile {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        // Asked every time, since others (log rotation) may have truncated the file.
        let metadata = self.file.metadata()?;
        let whole = metadata.is_file().then_some(metadata.len());
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let (written, result) = write_counted(&mut self.file, lines);
        if result.is_err() && written > 0 {
            self.restore(whole);
        }
        result
    }
}

/// Writes all of `bytes`; on an error, tells how many were written before.
fn write_counted(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// The exporter: takes batches from its feed, writes lines to its destination.
#[derive(Debug)]
pub(crate) struct LineExporter<L> {
    feed: Arc<Feed>,
    writer: LineWriter,
    destination: L,
    /// What logs call the destination.
    name: String,
    flush_after: Duration,
    buffer: Vec<u8>,
    /// Spans whose lines are in the buffer.
    buffered: u64,
    /// When the buffer got its first line.
    since: Instant,
    /// Spans lost since writing began to fail.
    failing: Option<u64>,
}

impl LineExporter<SpanFile> {
    pub(crate) fn open(
        settings: &FileSettings,
        host: HostResource,
        feed: Arc<Feed>,
    ) -> Result<Self, FileError> {
        let destination = SpanFile::open(&settings.path)?;
        let name = format!("span file {}", settings.path.display());
        Ok(Self::new(destination, name, FLUSH_AFTER, host, feed))
    }
}

impl<L: Lines> LineExporter<L> {
    pub(crate) fn new(
        destination: L,
        name: String,
        flush_after: Duration,
        host: HostResource,
        feed: Arc<Feed>,
    ) -> Self {
        Self {
            feed,
            writer: LineWriter::new(host),
            destination,
            name,
            flush_after,
            buffer: Vec::new(),
            buffered: 0,
            since: Instant::now(),
            failing: None,
        }
    }

    /// Runs until the queue is closed and empty, or the reader of the destination is gone for good (a closed pipe).
    pub(crate) fn run(mut self) {
        loop {
            match self.feed.queue.next_within(MAX_LINE_SPANS, self.flush_after) {
                Next::Piece(piece) => self.take(&piece),
                Next::Idle => self.flush(),
                Next::Closed => return self.flush(),
            }
            if self.destination.closed() {
                return;
            }
        }
    }

    fn take(&mut self, piece: &Piece) {
        if self.buffered == 0 {
            self.since = Instant::now();
        }
        self.buffered += self.writer.line(piece.entries(), &mut self.buffer);
        if self.buffer.len() >= WRITE_SIZE || self.since.elapsed() >= self.flush_after {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.buffered == 0 {
            return;
        }
        let result = self.destination.append(&self.buffer);
        self.buffer.clear();
        let spans = std::mem::take(&mut self.buffered);
        match result {
            Ok(()) => {
                self.feed.add_exported(spans);
                self.recovered();
            }
            Err(error) => {
                self.feed.add_failed_attempt();
                self.feed.add_dropped(DropReason::Write, spans);
                self.failed(&error, spans);
            }
        }
    }

    /// One line in the log when writing works again.
    fn recovered(&mut self) {
        if let Some(lost_spans) = self.failing.take() {
            tracing::info!(destination = self.name, lost_spans, "spans can be written again");
        }
    }

    /// One line in the log when writing begins to fail, not one per write.
    fn failed(&mut self, error: &io::Error, spans: u64) {
        if self.failing.is_none() && !self.destination.closed() {
            tracing::warn!(
                destination = self.name,
                %error,
                "cannot write spans: they are dropped and counted until it works again; free space or fix permissions"
            );
        }
        *self.failing.get_or_insert(0) += spans;
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
