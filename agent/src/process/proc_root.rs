//! Bounded reads below /proc. That a process is gone is an ordinary result here (`Ok(None)`), never
//! an error.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use procfs::{FromRead, process::Stat};

use super::cgroup::Cgroups;
use crate::event::{KernelFacts, arguments_in};

/// Most bytes of a command line that rules see. The kernel allows 2 MiB; later bytes are not
/// matched.
pub const MAX_COMMAND_LINE: u64 = 128 * 1024;
/// Most bytes of an environment in which OTEL_* variables are searched.
pub const MAX_ENVIRONMENT: u64 = 256 * 1024;
/// Most bytes of /proc/PID/cgroup, status and mountinfo that are read.
pub const MAX_TABLE: u64 = 1024 * 1024;
/// Most bytes of /proc/PID/maps in which libraries are searched.
pub const MAX_MAPS: u64 = 16 * 1024 * 1024;
/// Most file descriptors of one process in which listening sockets are searched.
pub const MAX_DESCRIPTORS: usize = 65_536;

/// A file of /proc could not be read although its process exists.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}; run as root with the host's /proc mounted")]
pub struct ProcError {
    pub path: String,
    pub source: io::Error,
}

/// The directory where procfs is mounted: /proc, or what a test put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcRoot(PathBuf);

impl Default for ProcRoot {
    fn default() -> Self {
        Self(PathBuf::from("/proc"))
    }
}

/// The fields of /proc/PID/stat that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// 0: none in this pid namespace.
    pub(crate) parent: u32,
    /// Clock ticks after boot.
    pub(crate) start_time: u64,
    /// Where the kernel put code and stack at exec. Address space randomisation makes them new with
    /// each exec: a child with its parent's values was forked and has executed nothing.
    pub(crate) image: (u64, u64),
}

impl Life {
    /// Whether this is the same process, and has executed nothing in between.
    pub(crate) fn is_same_program(&self, other: &Self) -> bool {
        self.start_time == other.start_time && self.image == other.image
    }

    /// Whether this is the program that the kernel reported. An agent without the permission to
    /// look at a process reads 1 for its image; of an ending process everybody reads 0.
    pub(crate) fn is_of(&self, reported: &KernelFacts) -> bool {
        reported.start_time.is_none_or(|start| start == self.start_time)
            && (self.image.0 == 1 || reported.image.is_none_or(|image| image == self.image))
    }
}

impl ProcRoot {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.0.join(pid.to_string()).join(name)
    }

    /// All process ids, ascending. Threads are not listed.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>, ProcError> {
        let entries = fs::read_dir(&self.0).map_err(|e| error(&self.0, e))?;
        let mut pids: Vec<u32> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// Parent and start time; `None` for a process that is gone or a zombie.
    pub(crate) fn life(&self, pid: u32) -> Result<Option<Life>, ProcError> {
        let path = self.file(pid, "stat");
        let Some(bytes) = read_bounded(&path, MAX_TABLE)? else { return Ok(None) };
        let Ok(stat) = Stat::from_read(bytes.as_slice()) else { return Ok(None) };
        if matches!(stat.state, 'Z' | 'X' | 'x') {
            return Ok(None);
        }
        Ok(Some(Life {
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            start_time: stat.starttime,
            image: (stat.startcode, stat.startstack),
        }))
    }

    /// Whether the process runs, zombies left out.
    pub(crate) fn is_alive(&self, pid: u32) -> bool {
        self.life(pid).is_ok_and(|life| life.is_some())
    }

    /// Path of the executable without " (deleted)"; `None` when the process is gone or is a kernel
    /// thread.
    pub(crate) fn executable(&self, pid: u32) -> Result<Option<String>, ProcError> {
        let Some(target) = self.link(pid, "exe")? else { return Ok(None) };
        let path = target.strip_suffix(" (deleted)").unwrap_or(&target);
        Ok(Some(path.to_owned()))
    }

    /// The arguments, at most [`MAX_COMMAND_LINE`] bytes of them; empty when the process is gone.
    pub(crate) fn arguments(&self, pid: u32) -> Result<Vec<String>, ProcError> {
        let bytes = read_bounded(&self.file(pid, "cmdline"), MAX_COMMAND_LINE)?.unwrap_or_default();
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(arguments_in(bytes))
    }

    /// Values of the named variables in the environment with which the process was started. None
    /// without permission, or when it is gone.
    pub(crate) fn environment<const N: usize>(&self, pid: u32, names: [&str; N]) -> [Option<String>; N] {
        let bytes =
            read_bounded(&self.file(pid, "environ"), MAX_ENVIRONMENT).ok().flatten().unwrap_or_default();
        names.map(|name| {
            bytes.split(|b| *b == 0).find_map(|entry| {
                let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(String::from_utf8_lossy(value).into_owned())
            })
        })
    }

    /// The cgroups of the process; none when it is gone.
    pub(crate) fn cgroups(&self, pid: u32) -> Result<Cgroups, ProcError> {
        Ok(self.text(pid, "cgroup")?.map(|text| Cgroups::parse(&text)).unwrap_or_default())
    }

    /// Effective user id.
    pub(crate) fn user(&self, pid: u32) -> Result<Option<u32>, ProcError> {
        let Some(status) = self.text(pid, "status")? else { return Ok(None) };
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        Ok(ids.and_then(|ids| ids.split_ascii_whitespace().nth(1)?.parse().ok()))
    }

    /// The process's mappings; `None` when it is gone or may not be looked at.
    pub(crate) fn maps(&self, pid: u32) -> Option<String> {
        let bytes = read_bounded(&self.file(pid, "maps"), MAX_MAPS).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn mount_table(&self, pid: u32) -> Result<Option<String>, ProcError> {
        self.text(pid, "mountinfo")
    }

    /// Where the agent has its cgroup hierarchies mounted, longest path first, so that the first
    /// matching prefix is the right one.
    pub(crate) fn cgroup_mounts(&self) -> Vec<String> {
        let bytes =
            read_bounded(&self.0.join("self/mountinfo"), MAX_TABLE).ok().flatten().unwrap_or_default();
        super::cgroup::mounts(&String::from_utf8_lossy(&bytes))
    }

    /// Identity of a namespace (`net`, `mnt`): its inode.
    pub(crate) fn namespace(&self, pid: u32, kind: &str) -> Result<Option<u64>, ProcError> {
        Ok(self.link(pid, &format!("ns/{kind}"))?.and_then(|target| bracketed(&target)))
    }

    /// The namespace of the agent itself.
    pub(crate) fn own_namespace(&self, kind: &str) -> Option<u64> {
        bracketed(fs::read_link(self.0.join("self/ns").join(kind)).ok()?.to_str()?)
    }

    /// Inodes of the sockets that the process has open, and whether [`MAX_DESCRIPTORS`] cut the
    /// search.
    pub(crate) fn sockets(&self, pid: u32) -> Result<(Vec<u64>, bool), ProcError> {
        let path = self.file(pid, "fd");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if is_gone(&e) => return Ok((Vec::new(), false)),
            Err(e) => return Err(error(&path, e)),
        };
        let mut inodes = Vec::new();
        for (count, entry) in entries.flatten().enumerate() {
            if count == MAX_DESCRIPTORS {
                return Ok((inodes, true));
            }
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let Some(socket) = target.to_str().filter(|t| t.starts_with("socket:")) else { continue };
            inodes.extend(bracketed(socket));
        }
        Ok((inodes, false))
    }

    /// An open /proc/PID/net file, to be read line by line; `None` when the process is gone or the
    /// protocol is off.
    pub(crate) fn net_table(&self, pid: u32, name: &str) -> Result<Option<File>, ProcError> {
        let path = self.file(pid, "net").join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(error(&path, e)),
        }
    }

    fn link(&self, pid: u32, name: &str) -> Result<Option<String>, ProcError> {
        let path = self.file(pid, name);
        match fs::read_link(&path) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(error(&path, e)),
        }
    }

    fn text(&self, pid: u32, name: &str) -> Result<Option<String>, ProcError> {
        let bytes = read_bounded(&self.file(pid, name), MAX_TABLE)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ProcError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(error(path, e)),
    }
}

/// A process may vanish before the open (ENOENT) or between open and read (ESRCH). One that is exiting has given up its
/// mount namespace before it is a zombie: its mount table is EINVAL (`mounts_open_common`,
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc_namespace.c>).
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EINVAL))
}

fn error(path: &Path, source: io::Error) -> ProcError {
    ProcError { path: path.display().to_string(), source }
}

/// The number in `socket:[123]` or `net:[123]`.
fn bracketed(text: &str) -> Option<u64> {
    text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}
