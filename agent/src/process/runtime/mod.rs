//! Runtimes with known tasks: how the BPF programs find the goroutine or the asyncio task that a
//! thread runs.
//!
//! Results about an executable hold for its file, so they are read once per file. Addresses in
//! memory are read per process.

pub mod cpython;
pub mod go;

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    os::unix::fs::MetadataExt as _,
};

use agent_common::{Runtime, runtime};
use rustc_hash::FxHashMap;

use super::ProcRoot;
use crate::source::kernel::{FileKey, GO_NET_HTTP, ProbeSite};

/// How to find the tasks of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub runtime: Runtime,
    /// Without these probes the process is followed by its threads.
    pub probe_sites: Vec<ProbeSite>,
}

/// Most processes without a runtime that are remembered.
const WAITING: usize = 16_384;

/// A process is examined again with its connections of these numbers (bits): by then it has loaded
/// its libraries.
const TRIES: u32 = 1 << 7;

/// Which runtimes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub goroutines: bool,
    /// CPython's contexts.
    pub contexts: bool,
}

/// Finds runtimes, and remembers what it has read.
#[derive(Debug)]
pub struct Runtimes {
    wanted: Wanted,
    go: go::Programs,
    goroutines: Runs,
    python: cpython::Programs,
    /// Processes without a runtime, and how many connections they have opened since.
    waiting: FxHashMap<u32, u32>,
    /// How many processes there were so far, by result.
    results: BTreeMap<(&'static str, &'static str), u64>,
}

/// Numbers of the runs of Go programs. By its number the BPF programs know the goroutines of one
/// run from those of another. A process keeps its number as long as it runs the same program,
/// however often it is examined.
#[derive(Debug, Default)]
struct Runs {
    last: u32,
    current: FxHashMap<u32, (FileKey, u32)>,
}

impl Runs {
    fn of(&mut self, pid: u32, file: FileKey) -> u32 {
        match self.current.get(&pid) {
            Some((same, run)) if *same == file => *run,
            _ => {
                self.last = self.last.wrapping_add(1);
                self.current.insert(pid, (file, self.last));
                self.last
            }
        }
    }
}

impl Runtimes {
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            go: go::Programs::default(),
            goroutines: Runs::default(),
            python: cpython::Programs::default(),
            waiting: FxHashMap::default(),
            results: BTreeMap::new(),
        }
    }

    /// How to find the tasks of process `pid`; `None`: it has none, or none that are known.
    #[must_use]
    pub fn detect(&mut self, proc: &ProcRoot, pid: u32) -> Option<Found> {
        let go = if self.wanted.goroutines { self.go(proc, pid) } else { None };
        if go.is_some() {
            // The program that it ran before may have been examined.
            self.waiting.remove(&pid);
            return go;
        }
        self.python(proc, pid).map(|runtime| Found { runtime, probe_sites: Vec::new() })
    }

    fn go(&mut self, proc: &ProcRoot, pid: u32) -> Option<Found> {
        let path = proc.file(pid, "exe");
        let (file, program) = self.go.of(&path)?;
        let program = program.ok()?;
        let runtime = Runtime {
            kind: runtime::GO,
            offset: program.goid,
            key: self.goroutines.of(pid, file).into(),
            context_type: 0,
            specific: program.parent.unwrap_or(0),
            padding: 0,
        };
        let site = |offsets| ProbeSite { file, path, set: &GO_NET_HTTP, offsets };
        Some(Found { runtime, probe_sites: program.probes.map(site).into_iter().collect() })
    }

    fn python(&mut self, proc: &ProcRoot, pid: u32) -> Option<Runtime> {
        if !self.wanted.contexts {
            return None;
        }
        let Some(found) = self.python.detect(proc, pid) else {
            if self.waiting.len() >= WAITING {
                self.waiting.clear();
            }
            self.waiting.entry(pid).or_default();
            return None;
        };
        self.waiting.remove(&pid);
        let result = match found {
            Ok(_) => "on",
            Err(off) => off.name(),
        };
        *self.results.entry(("cpython", result)).or_default() += 1;
        match found {
            Ok(runtime) => Some(runtime),
            Err(off) => {
                tracing::debug!("process {pid} is a CPython whose tasks are not known: {off:?}");
                None
            }
        }
    }

    /// A process runs another program, or is gone.
    pub fn forget(&mut self, pid: u32) {
        self.waiting.remove(&pid);
        self.goroutines.current.remove(&pid);
    }

    /// Process `pid` has opened a connection. Returns whether to examine it again: it may have
    /// loaded a library with a runtime after it was selected.
    pub fn connected(&mut self, pid: u32) -> bool {
        let Some(count) = self.waiting.get_mut(&pid) else { return false };
        *count += 1;
        let again = count.is_power_of_two();
        if *count >= TRIES {
            self.waiting.remove(&pid);
        }
        again
    }

    /// How many processes were examined, by runtime and result.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.results.iter().map(|((runtime, result), count)| (*runtime, *result, *count))
    }
}

/// Names a regular file, whatever its path. A change of the content is a change of its time.
fn file_key(file: &File) -> Option<FileKey> {
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let changed = metadata.ctime().wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec());
    Some([metadata.dev(), metadata.ino(), metadata.len(), changed.cast_unsigned()])
}

#[cfg(test)]
mod tests;
