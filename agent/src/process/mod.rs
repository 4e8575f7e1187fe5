//! Processes: which of them are traced, and who they are.
//!
//! [`rules`] holds what the user asked for. [`table`] keeps the matching processes while they fork,
//! execute, listen and exit. [`runtime`] finds the goroutines and asyncio tasks of a process.
//! [`facts`] reads the facts for its OpenTelemetry resource. All of them read /proc through
//! [`ProcRoot`], so that tests give them a directory of their own.

mod arguments;
pub mod attributes;
mod candidate;
mod cgroup;
mod container;
pub mod facts;
mod files;
pub mod listeners;
pub mod proc_root;
pub mod rules;
pub mod runtime;
mod service;
pub mod table;

#[cfg(test)]
mod fake;

pub use candidate::Candidate;
pub(crate) use files::key_of;
pub use proc_root::{ProcError, ProcRoot};
pub use rules::{Decision, FileVerdict, Glob, Rule, RuleError, Selection, Undecided};
pub use table::{Change, Table};
