//! Runtimes whose tasks are known: how the kernel side finds which goroutine or which asyncio task a thread runs.
//!
//! What is found in an executable is true of the file, so it is read once per file; where it lies in memory is read per
//! process.

pub mod cpython;

use std::collections::BTreeMap;

use agent_common::Runtime;
use rustc_hash::FxHashMap;

use super::ProcRoot;

/// Processes without a runtime that are remembered.
const WAITING: usize = 16_384;

/// A process is looked at again with its connections of these numbers: by then it has loaded its libraries.
const TRIES: u32 = 1 << 7;

/// Which runtimes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// CPython's contexts.
    pub contexts: bool,
}

/// Finds runtimes, and remembers what it has read.
#[derive(Debug)]
pub struct Runtimes {
    wanted: Wanted,
    python: cpython::Programs,
    /// Processes in which none was found, and how many connections they have opened since.
    waiting: FxHashMap<u32, u32>,
    /// Processes by what was found of their runtime, ever.
    results: BTreeMap<(&'static str, &'static str), u64>,
}

impl Runtimes {
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            python: cpython::Programs::default(),
            waiting: FxHashMap::default(),
            results: BTreeMap::new(),
        }
    }

    /// How to find the tasks of process `pid`; `None`: it has none, or none that are known.
    pub fn detect(&mut self, proc: &ProcRoot, pid: u32) -> Option<Runtime> {
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

    /// A process was given another program, or is gone.
    pub fn forget(&mut self, pid: u32) {
        self.waiting.remove(&pid);
    }

    /// Process `pid` has opened a connection: whether it should be looked at once more, since a library with a runtime may
    /// have been loaded after the process was selected.
    pub fn connected(&mut self, pid: u32) -> bool {
        let Some(count) = self.waiting.get_mut(&pid) else { return false };
        *count += 1;
        let again = count.is_power_of_two();
        if *count >= TRIES {
            self.waiting.remove(&pid);
        }
        again
    }

    /// How many processes were looked at, by runtime and by what was found.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.results.iter().map(|((runtime, result), count)| (*runtime, *result, *count))
    }
}
