//! Runtimes whose tasks are known: how the kernel side finds which goroutine or which asyncio task a thread runs.
//!
//! What is found in an executable is true of the file, so it is read once per file; where it lies in memory is read per
//! process.

use agent_common::Runtime;

use super::ProcRoot;

/// How to find the tasks of process `pid`; `None`: it has none, or none that are known.
#[must_use]
pub fn detect(_proc: &ProcRoot, _pid: u32) -> Option<Runtime> {
    None
}
