//! Why the kernel source cannot run, each with what to do.

use std::io;

use thiserror::Error;

use super::{btf::BtfError, offsets::MissingField};

/// Why tracing cannot start.
#[derive(Debug, Error)]
pub enum KernelError {
    #[error(transparent)]
    Btf(#[from] BtfError),
    #[error(transparent)]
    Field(#[from] MissingField),
    #[error("the BPF programs are missing from this build: build without AYA_BUILD_SKIP")]
    Stub,
    #[error("loading BPF needs root (or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_PTRACE): {0}")]
    Permission(String),
    #[error("this kernel refused the BPF object: {0}")]
    Load(String),
    #[error(
        "no way to see sends and receives works on this kernel: {0}; run `wirespan doctor` for each hook"
    )]
    NoAttachMode(String),
    #[error("the hook {hook} could not be attached: {reason}")]
    Hook { hook: &'static str, reason: String },
    #[error("the map {map} could not be used: {reason}")]
    Map { map: &'static str, reason: String },
    #[error(
        "no cgroup2 hierarchy is mounted, and sock_ops needs one: mount it with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NoCgroup2,
    #[error("cannot read {path}: {source}")]
    Io { path: String, source: io::Error },
}
