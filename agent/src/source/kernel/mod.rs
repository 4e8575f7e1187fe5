//! The live source: loads the BPF programs, finds out which hooks this kernel has, attaches them,
//! reads the ring.
//!
//! This is the only module of the agent with `unsafe`: aya needs a promise that map values are
//! plain data, and a map that is mapped into memory is a pointer.

mod attach;
mod attach_mode;
pub mod btf;
mod cgroup;
mod control;
mod decode;
mod error;
#[cfg(test)]
mod frames;
mod load;
mod memory;
mod misses;
mod object;
mod offsets;
mod pids;
mod pod;
mod reader;
mod receives;
mod ring_size;
mod selftest;
pub mod sock_diag;
mod switches;
mod thread_slots;
mod uprobe;

pub use attach_mode::{AttachMode, AttachReport, HookReport, HookState, UnknownAttachMode};
pub use cgroup::{CgroupRoot, cgroup_id, cgroup_root};
pub use decode::{Notice, ProcessNotice, decode};
pub use error::{AttachError, KernelError};
pub use load::{KernelSource, Settings};
pub use reader::{Batch, Fill};
pub use uprobe::table::{
    FileKey, GO_NET_HTTP, Offsets, Place, Probe, ProbeSet, ProbeSite, ProbedFile, Unlocated,
};
