//! Runtimes whose tasks are known: how the kernel side finds which goroutine or which asyncio task a thread runs.
//!
//! What is found in an executable is true of the file, so it is read once per file; where it lies in memory is read per
//! process.

pub mod go;

use std::path::PathBuf;

use agent_common::{Runtime, runtime};

use super::ProcRoot;
use crate::source::kernel::{self, FileKey};

/// How to find the tasks of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub runtime: Runtime,
    /// Without these probes the process is followed by its threads.
    pub hand_over: Option<HandOver>,
}

/// Where a program hands a request from one task to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// Probes in a file are shared by all its processes.
    pub file: FileKey,
    /// A path to it, in no matter whose mount namespace.
    pub path: PathBuf,
    pub at: kernel::HandOver,
}

/// Which runtimes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub goroutines: bool,
}

/// Finds runtimes, and remembers what it has read.
#[derive(Debug)]
pub struct Runtimes {
    wanted: Wanted,
    go: go::Programs,
    /// Runs of Go programs so far: the kernel side tells goroutines of one from those of another by it.
    runs: u32,
}

impl Runtimes {
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, go: go::Programs::default(), runs: 0 }
    }

    /// How to find the tasks of process `pid`; `None`: it has none, or none that are known.
    #[must_use]
    pub fn detect(&mut self, proc: &ProcRoot, pid: u32) -> Option<Found> {
        if self.wanted.goroutines { self.go(proc, pid) } else { None }
    }

    fn go(&mut self, proc: &ProcRoot, pid: u32) -> Option<Found> {
        let path = proc.file(pid, "exe");
        let (file, program) = self.go.of(&path)?;
        let program = program.ok()?;
        self.runs = self.runs.wrapping_add(1);
        let key = u64::from(self.runs);
        let runtime = Runtime { kind: runtime::GO, offset: program.goid, key, context_type: 0 };
        Some(Found { runtime, hand_over: program.hand_over.map(|at| HandOver { file, path, at }) })
    }
}
