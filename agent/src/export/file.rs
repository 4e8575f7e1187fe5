//! OTLP JSON lines into a file, by a thread of its own: a slow or full disk holds up nothing else.
//!
//! The file is appended to (mode 0640 when made: URLs are nobody else's business) and holds whole lines only: when a write
//! fails, what it wrote is cut off again, its spans are counted as dropped, and the next write is tried as if nothing had
//! been. If the agent is killed in the middle of a write, the next start ends the torn line before it appends. What happens
//! when others move, delete or truncate the file is the matter of `super::span_file`.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

pub use super::span_file::FileError;
use super::{
    feed::{DropReason, Feed},
    json::LineWriter,
    resource::HostResource,
    span_file::{Change, SpanFile},
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

/// Where lines go: whole or not at all.
pub(crate) trait Lines {
    /// Writes `lines`, which end with a line feed.
    ///
    /// # Errors
    /// When not all could be written; then the destination has been restored as far as it allows.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Sees to it that the next write goes to where the destination's name points; what has happened to it, if anything.
    ///
    /// # Errors
    /// When there is no such place now.
    fn follow(&mut self) -> io::Result<Option<Change>> {
        Ok(None)
    }

    /// Opens the destination anew, as after log rotation.
    ///
    /// # Errors
    /// When it cannot be opened; then it is tried again with the next write.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether nobody will ever read what is written from now on.
    fn closed(&self) -> bool {
        false
    }
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
            if self.feed.take_reopen() {
                self.reopen();
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
        let result = self.follow().and_then(|()| self.destination.append(&self.buffer));
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

    fn follow(&mut self) -> io::Result<()> {
        let Some(change) = self.destination.follow()? else { return Ok(()) };
        self.feed.add_file_change(change);
        // Told when it was not the agent's own failure that has passed.
        if self.failing.is_none() {
            match change {
                Change::Moved => tracing::warn!(
                    destination = self.name,
                    "the file was moved or deleted: spans go to a new one of its name"
                ),
                Change::Truncated | Change::Asked => {
                    tracing::info!(destination = self.name, "the file was truncated: spans are appended");
                }
            }
        }
        Ok(())
    }

    /// What was asked for by a signal: what waits goes to the old file, the rest to the one that the path names now.
    fn reopen(&mut self) {
        self.flush();
        match self.destination.reopen() {
            Ok(()) => self.feed.add_file_change(Change::Asked),
            Err(error) => self.failed(&error, 0),
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
