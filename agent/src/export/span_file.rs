//! The span file as others treat it: moved, deleted, truncated, on a full disk, a pipe whose reader comes and goes.
//!
//! Before each write the file is compared with what its path names. A path that names nothing or another file is opened
//! anew, so that nothing is written where nobody will look for it. A pipe never blocks the exporter for good: without a
//! reader, or with one that does not read, the write fails and is tried again with the next spans.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::file::Lines;

/// How long a reader of a pipe may pause, in milliseconds: below what the end of a run grants an exporter.
const PAUSE: u16 = 2_000;

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
    #[error(
        "the span file {path} is a socket, which cannot be opened: set `export.file.path` to a file, or write to standard \
         output with `export.console: {{ format: json }}`"
    )]
    IsSocket { path: PathBuf },
    #[error("nobody reads the pipe {path}: start its reader")]
    Unread { path: PathBuf },
    #[error("cannot open the span file {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        Self::other(error)
    }
}

/// What somebody has done to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Change {
    /// Its path named nothing or another file; it is opened anew.
    Moved,
    /// It has become shorter (copytruncate).
    Truncated,
    /// It was opened anew because somebody asked for it (SIGHUP).
    Asked,
}

impl Change {
    pub(crate) const ALL: [Self; 3] = [Self::Moved, Self::Truncated, Self::Asked];

    /// Value of the metrics' label.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Truncated => "truncated",
            Self::Asked => "signal",
        }
    }
}

/// The file behind a path, opened for appending.
#[derive(Debug)]
pub(crate) struct SpanFile {
    path: PathBuf,
    /// `None` while it cannot be opened.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    kind: Kind,
    /// The last line of a destination that cannot be truncated (a pipe), or of an earlier run, is torn.
    torn: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Device and inode, and the length after the last write.
    Regular {
        identity: (u64, u64),
        length: u64,
    },
    Pipe,
    /// A device: it has no length and is not replaced.
    Other,
}

impl SpanFile {
    /// Opens it, or makes it. A pipe that nobody reads yet is no error.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let open = match Open::at(path) {
            Err(FileError::Unread { .. }) => None,
            opened => Some(opened?),
        };
        Ok(Self { path: path.into(), open })
    }

    fn open_again(&mut self) -> io::Result<()> {
        self.open = None;
        self.open = Some(Open::at(&self.path)?);
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> Result<Self, FileError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            return Err(FileError::NoDirectory { path: path.into(), parent: parent.into() });
        }
        let before = fs::metadata(path).ok();
        let is =
            |what: fn(&fs::FileType) -> bool| before.as_ref().is_some_and(|meta| what(&meta.file_type()));
        if is(fs::FileType::is_socket) {
            return Err(FileError::IsSocket { path: path.into() });
        }
        let pipe = is(fs::FileType::is_fifo);
        let mut options = OpenOptions::new();
        // A pipe without a reader would block the open, and one with a reader that pauses the write.
        options.append(true).custom_flags(libc::O_NOCTTY | if pipe { libc::O_NONBLOCK } else { 0 });
        let opened = if pipe {
            options.open(path)
        } else {
            // Reading is for the look at the last byte; without the right to read there is no look.
            options.create(true).mode(0o640);
            options.clone().read(true).open(path).or_else(|_| options.open(path))
        };
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::IsADirectory => FileError::IsDirectory { path: path.into() },
            ErrorKind::PermissionDenied => FileError::Denied { path: path.into() },
            _ if pipe && source.raw_os_error() == Some(libc::ENXIO) => {
                FileError::Unread { path: path.into() }
            }
            _ => FileError::Open { path: path.into(), source },
        };
        let mut file = opened.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let torn = ends_in_the_middle_of_a_line(&mut file, &metadata).unwrap_or(false);
        Ok(Self { file, kind: Kind::of(&metadata), torn })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        // Asked every time, since others (log rotation) may have truncated the file.
        let before = self.file.metadata()?;
        let torn = std::mem::take(&mut self.torn);
        let (written, result) =
            if torn { self.write_counted(&[b"\n", lines].concat()) } else { self.write_counted(lines) };
        if result.is_err() {
            let restored = written == 0 || before.is_file() && self.file.set_len(before.len()).is_ok();
            self.torn = torn || !restored;
        }
        if let Kind::Regular { length, .. } = &mut self.kind {
            *length = before.len() + if result.is_ok() { written as u64 } else { 0 };
        }
        result
    }

    /// Writes all of `bytes`; on an error, tells how many were written before.
    fn write_counted(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.waited() => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Waits until the reader of a pipe has made room; false when it does not read.
    fn waited(&self) -> bool {
        let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        poll(&mut files, PollTimeout::from(PAUSE)).is_ok_and(|ready| ready > 0)
    }
}

impl Kind {
    fn of(metadata: &Metadata) -> Self {
        if metadata.is_file() {
            return Self::Regular { identity: identity(metadata), length: metadata.len() };
        }
        if metadata.file_type().is_fifo() { Self::Pipe } else { Self::Other }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether a regular file lacks its last line feed, because an earlier run was killed while it wrote.
fn ends_in_the_middle_of_a_line(file: &mut File, metadata: &Metadata) -> io::Result<bool> {
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
        if self.open.is_none() {
            self.open_again()?;
        }
        let Some(open) = &mut self.open else { return Err(ErrorKind::NotFound.into()) };
        let result = open.write(lines);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            // Another reader may come.
            self.open = None;
        }
        result
    }

    fn follow(&mut self) -> io::Result<Option<Change>> {
        let Some(open) = &mut self.open else {
            self.open_again()?;
            return Ok(None);
        };
        let Kind::Regular { identity: own, length } = &mut open.kind else { return Ok(None) };
        match fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == *own => {
                let shorter = metadata.len() < *length;
                *length = metadata.len();
                Ok(shorter.then_some(Change::Truncated))
            }
            _ => {
                self.open_again()?;
                Ok(Some(Change::Moved))
            }
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        match &self.open {
            // Its reader would take a closed pipe for the end.
            Some(Open { kind: Kind::Pipe | Kind::Other, .. }) => Ok(()),
            _ => self.open_again(),
        }
    }
}
