//! Writes an event log while events come. The session never waits for the disk: a thread of the
//! recorder does.
//!
//! What waits for the disk is bounded. At that bound, at the size limit or at an error of the disk
//! the recording stops for good, so that the file holds the events of the run from the first one
//! on, without a hole. Later events are counted.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::Notify;

use super::{Blocks, TooLarge};
use crate::event::Event;

/// Most blocks that wait for the disk: 64 MiB when each is complete.
const WAITING_BLOCKS: usize = 1_024;

/// How long the end waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is recorded, and how much.
#[derive(Debug, Clone)]
pub struct RecorderSettings {
    pub output: Output,
    /// Bytes that the log may have.
    pub max_bytes: u64,
    /// Whether whoever records masks payload first. The recorder writes what it gets.
    pub redact: bool,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A file, which must not exist yet.
    File(PathBuf),
    /// For another program to read, as `ssh` or `gzip`.
    Stdout,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

/// Why a recording cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("{path} exists already; remove it or name another file")]
    Exists { path: PathBuf },
    #[error("cannot create {path}: {source}")]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: Output, source: io::Error },
    #[error("the configuration does not fit into the event log: {0}")]
    Header(#[from] TooLarge),
    #[error("cannot start the thread of the recorder: {0}; raise the limit of threads")]
    Thread(io::Error),
}

/// Why a recording ended before the run did. Everything written until then can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("the event log has reached its limit of {0} bytes")]
    Limit(u64),
    #[error("cannot write the event log: {0}; free space, or record to another disk")]
    Write(String),
    #[error(
        "the disk does not keep up with the events ({WAITING_BLOCKS} blocks wait); record to a faster disk or select less"
    )]
    Slow,
    #[error("nobody reads the event log any more")]
    Unread,
    #[error("the disk did not take the rest of the event log within {} s", PATIENCE.as_secs())]
    Stuck,
    #[error(transparent)]
    Event(#[from] TooLarge),
}

impl Stop {
    /// Whether the user asked for this end.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Limit(_))
    }
}

/// The result of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Events in the file.
    pub events: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Blocks in the file, that of the header included.
    pub blocks: u64,
    /// Events of the run that are not in the file.
    pub dropped: u64,
    pub stopped: Option<Stop>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, bytes, blocks, dropped, .. } = self;
        write!(f, "{events} events recorded, {bytes} bytes in {blocks} blocks, {dropped} events dropped")
    }
}

/// A recording in progress.
#[derive(Debug)]
pub struct Recorder {
    blocks: Blocks,
    redacts: bool,
    max_bytes: u64,
    /// Bytes handed to the thread.
    handed: u64,
    /// Events in the block that is being filled.
    pending: u64,
    /// Events that did not reach the thread.
    lost: u64,
    /// `None` once nothing more is written.
    to_disk: Option<SyncSender<Block>>,
    done: Receiver<()>,
    written: Arc<Mutex<Summary>>,
    over: Arc<Notify>,
}

/// A block on its way to the disk.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    events: u64,
}

impl Recorder {
    /// Makes the file (mode 0600) and writes its first block. `over` is notified when the recording
    /// stops by itself.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn start(settings: &RecorderSettings, header: &str, over: Arc<Notify>) -> Result<Self, CreateError> {
        let (blocks, first) = Blocks::begin(header)?;
        let mut file = match &settings.output {
            Output::File(path) => create(path)?,
            Output::Stdout => stdout()?,
        };
        file.write_all(&first).map_err(|source| {
            if let Output::File(path) = &settings.output {
                // An empty file would be in the way of the next attempt.
                drop(std::fs::remove_file(path));
            }
            CreateError::Write { path: settings.output.clone(), source }
        })?;
        let handed = first.len() as u64;
        let written = Arc::new(Mutex::new(Summary { bytes: handed, blocks: 1, ..Summary::default() }));
        let (to_disk, blocks_to_write) = sync_channel(WAITING_BLOCKS);
        let (finished, done) = channel();
        let own = matches!(settings.output, Output::File(_));
        let writer = Writer { file, own, written: Arc::clone(&written), over: Arc::clone(&over) };
        let body = move || {
            writer.run(&blocks_to_write);
            drop(finished);
        };
        thread::Builder::new().name("recorder".to_owned()).spawn(body).map_err(CreateError::Thread)?;
        Ok(Self {
            blocks,
            redacts: settings.redact,
            max_bytes: settings.max_bytes,
            handed,
            pending: 0,
            lost: 0,
            to_disk: Some(to_disk),
            done,
            written,
            over,
        })
    }

    /// Whether events must be masked before they are recorded.
    #[must_use]
    pub const fn redacts(&self) -> bool {
        self.redacts
    }

    /// Records an event; never waits. A tick or the shutdown completes the block.
    pub fn record(&mut self, event: &Event<'_>) {
        if self.to_disk.is_none() {
            self.lost += 1;
            return;
        }
        let full = match self.blocks.add(event) {
            Ok(full) => full,
            Err(error) => {
                self.pending += 1;
                return self.stop(Some(error.into()));
            }
        };
        self.pending += 1;
        let ends_block = matches!(event, Event::Tick { .. } | Event::Shutdown { .. });
        let block = if ends_block { full.or_else(|| self.blocks.seal()) } else { full };
        if let Some(block) = block {
            self.hand_over(block);
        }
    }

    /// What was written so far, and what was not.
    #[must_use]
    pub fn progress(&self) -> Summary {
        let mut summary = lock(&self.written).clone();
        summary.dropped += self.lost;
        summary
    }

    /// Writes what is left and waits for the disk, for 2 s at most.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        if let Some(block) = self.blocks.seal() {
            self.hand_over(block);
        }
        self.to_disk = None;
        // The thread drops its end when it is done; a message never comes.
        let stuck =
            matches!(self.done.recv_timeout(PATIENCE), Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        if stuck {
            lock(&self.written).stopped.get_or_insert(Stop::Stuck);
        }
        self.progress()
    }

    fn hand_over(&mut self, bytes: Vec<u8>) {
        let Some(to_disk) = &self.to_disk else { return };
        let size = bytes.len() as u64;
        if lock(&self.written).stopped.is_some() {
            return self.stop(None);
        }
        if self.handed.saturating_add(size) > self.max_bytes {
            return self.stop(Some(Stop::Limit(self.max_bytes)));
        }
        match to_disk.try_send(Block { bytes, events: self.pending }) {
            Ok(()) => {
                self.handed += size;
                self.pending = 0;
            }
            Err(TrySendError::Full(_)) => self.stop(Some(Stop::Slow)),
            // The thread ends only after this recorder has, unless it failed in an unforeseen way.
            Err(TrySendError::Disconnected(_)) => {
                self.stop(Some(Stop::Write("the recorder's thread has ended".to_owned())));
            }
        }
    }

    /// Records nothing from here on; without a reason the thread has given one.
    fn stop(&mut self, why: Option<Stop>) {
        self.to_disk = None;
        self.lost += std::mem::take(&mut self.pending);
        if let Some(why) = why {
            stopped(&self.written, &self.over, why);
        }
    }
}

/// Makes a file that only its owner can read. A link that someone has put there is not followed.
fn create(path: &Path) -> Result<File, CreateError> {
    let created = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    created.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => CreateError::Exists { path: path.into() },
        _ => CreateError::Create { path: path.into(), source },
    })
}

/// Standard output, past the buffer of [`io::stdout`].
fn stdout() -> Result<File, CreateError> {
    let own = io::stdout().as_fd().try_clone_to_owned();
    own.map(File::from).map_err(|source| CreateError::Write { path: Output::Stdout, source })
}

/// The thread that writes to the disk.
#[derive(Debug)]
struct Writer {
    file: File,
    /// A file of the recorder's own, and not standard output, which may be a pipe or hold other
    /// things.
    own: bool,
    written: Arc<Mutex<Summary>>,
    over: Arc<Notify>,
}

impl Writer {
    fn run(mut self, blocks: &Receiver<Block>) {
        let mut failed = false;
        for block in blocks {
            if !failed && let Err(error) = self.file.write_all(&block.bytes) {
                self.failed(&error);
                failed = true;
            }
            let mut written = lock(&self.written);
            if failed {
                // Blocks are still taken, so that lost ones are counted, but nothing is written
                // behind a hole.
                written.dropped += block.events;
                continue;
            }
            written.events += block.events;
            written.bytes += block.bytes.len() as u64;
            written.blocks += 1;
        }
        // Some file systems report only now that there was no room.
        if !failed
            && self.own
            && let Err(error) = self.file.sync_all()
        {
            self.failed(&error);
        }
    }

    fn failed(&self, error: &io::Error) {
        // A torn block does no harm, but whole ones are nicer to look at.
        if self.own {
            drop(self.file.set_len(lock(&self.written).bytes));
        }
        let why = match error.kind() {
            ErrorKind::BrokenPipe => Stop::Unread,
            _ => Stop::Write(error.to_string()),
        };
        stopped(&self.written, &self.over, why);
    }
}

/// Notes why the recording is over. A failure counts for more than the limit that was met before
/// it.
fn stopped(written: &Mutex<Summary>, over: &Notify, why: Stop) {
    let mut summary = lock(written);
    if summary.stopped.as_ref().is_none_or(|before| !before.is_failure()) {
        tracing::warn!("the recording has stopped: {why}; what was written until now can be replayed");
        summary.stopped = Some(why);
    }
    over.notify_one();
}

fn lock(written: &Mutex<Summary>) -> std::sync::MutexGuard<'_, Summary> {
    // Plain numbers: nothing can be half changed.
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        event::Timestamp,
        source::log::{End, LogReader},
    };

    fn settings(path: PathBuf) -> RecorderSettings {
        RecorderSettings { output: Output::File(path), max_bytes: u64::MAX, redact: false }
    }

    fn start(settings: &RecorderSettings) -> Result<Recorder, CreateError> {
        Recorder::start(settings, "{}", Arc::default())
    }

    fn tick(at: u64) -> Event<'static> {
        Event::Tick { at: Timestamp(at) }
    }

    fn read(path: &Path) -> (u64, Option<End>) {
        let mut reader = LogReader::open(File::open(path).unwrap()).unwrap();
        let mut events = 0;
        while reader.next_event().unwrap().is_some() {
            events += 1;
        }
        (events, reader.end())
    }

    #[test]
    fn a_recording_is_private_whole_and_accounted_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut recorder = start(&settings(path.clone())).unwrap();
        for at in 0..10 {
            recorder.record(&tick(at));
        }
        recorder.record(&Event::Shutdown { at: Timestamp(10) });
        let summary = recorder.finish();
        assert_eq!((summary.events, summary.blocks, summary.dropped, summary.stopped), (11, 12, 0, None));
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (summary.bytes, 0o600));
        assert_eq!(read(&path), (11, Some(End::Whole)));
        assert!(matches!(start(&settings(path)), Err(CreateError::Exists { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = start(&settings("/nowhere/log".into())).unwrap_err().to_string();
        assert!(error.starts_with("cannot create /nowhere/log"), "{error}");
    }

    #[test]
    fn the_limit_ends_the_recording_between_two_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let over = Arc::new(Notify::new());
        let settings = RecorderSettings { max_bytes: 200, ..settings(path.clone()) };
        let mut recorder = Recorder::start(&settings, "{}", Arc::clone(&over)).unwrap();
        for at in 0..20 {
            recorder.record(&tick(at));
        }
        let summary = recorder.finish();
        assert_eq!(summary.stopped, Some(Stop::Limit(200)));
        assert!(!Stop::Limit(200).is_failure());
        assert_eq!(summary.events + summary.dropped, 20);
        assert!(summary.bytes <= 200 && summary.events > 2, "{summary}");
        assert_eq!(read(&path), (summary.events, Some(End::Early)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(over.notified());
    }

    #[test]
    fn a_reader_that_leaves_ends_the_recording() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let (written, over) = (Arc::new(Mutex::new(Summary::default())), Arc::new(Notify::new()));
        let writer = Writer { file, own: false, written: Arc::clone(&written), over: Arc::clone(&over) };
        let (to_pipe, blocks) = sync_channel(1);
        to_pipe.send(Block { bytes: vec![0; 10], events: 3 }).unwrap();
        drop(to_pipe);
        writer.run(&blocks);
        let summary = lock(&written).clone();
        assert_eq!((summary.dropped, summary.stopped), (3, Some(Stop::Unread)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(over.notified());
    }

    /// /dev/full takes nothing, as a full disk.
    #[test]
    fn a_full_disk_is_reported_and_what_was_written_counts() {
        let stopped_before = Some(Stop::Limit(20));
        let written = Arc::new(Mutex::new(Summary { stopped: stopped_before, ..Summary::default() }));
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let writer = Writer { file, own: true, written: Arc::clone(&written), over: Arc::default() };
        let (to_disk, blocks) = sync_channel(2);
        to_disk.send(Block { bytes: vec![0; 10], events: 1 }).unwrap();
        to_disk.send(Block { bytes: vec![0; 10], events: 1 }).unwrap();
        drop(to_disk);
        writer.run(&blocks);
        let summary = lock(&written).clone();
        assert_eq!((summary.events, summary.bytes, summary.dropped), (0, 0, 2));
        // Behind a block that is missing nothing may follow, also when the limit had ended the
        // recording before.
        stopped(&written, &Notify::new(), Stop::Limit(1));
        let summary = lock(&written).clone();
        let why = summary.stopped.unwrap();
        assert!(why.is_failure() && why.to_string().contains("No space left"), "{why}");
    }
}
