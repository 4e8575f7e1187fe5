//! Why the kernel source cannot run, each with what to do.

use std::io;

use aya::programs::ProgramError;
use thiserror::Error;

use super::{btf::BtfError, offsets::MissingField};
use crate::{causes::with_causes, event::NotCaptured};

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
    Hook { hook: &'static str, reason: AttachError },
    #[error("the map {map} could not be used: {reason}")]
    Map { map: &'static str, reason: String },
    #[error(
        "no cgroup2 hierarchy is mounted, and sock_ops needs one: mount it with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NoCgroup2,
    #[error("cannot read {path}: {source}")]
    Io { path: String, source: io::Error },
}

/// Why a hook, a probe or an attach mode cannot be used.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error("the program is not in this build")]
    NotBuilt,
    #[error("{}", refusal(.0))]
    Refused(ProgramError),
    #[error("{}", with_causes(.0))]
    Types(aya::BtfError),
    #[error("this kernel has no tracepoint {0} (it came with 6.3)")]
    NoTracepoint(&'static str),
    #[error("this kernel has no function {0} to hook")]
    NoFunction(&'static str),
    #[error("{hook}: {reason}")]
    Hook { hook: &'static str, reason: Box<Self> },
    #[error(transparent)]
    Kernel(Box<KernelError>),
    #[error("the self-test on loopback failed: {0}")]
    Loopback(io::Error),
    #[error("self-test: {syscall} was not seen ({seen} of {all} system calls were)")]
    NotSeen { syscall: &'static str, seen: usize, all: usize },
    #[error(
        "self-test: {syscall} moved {moved} bytes, seen were {seen} with {captured} captured ({reason:?})"
    )]
    SeenOtherwise {
        syscall: &'static str,
        moved: usize,
        seen: usize,
        captured: usize,
        reason: Option<NotCaptured>,
    },
    #[error("the agent's own file cannot be read")]
    OwnFile,
    #[error("{0} files carry probes already")]
    TooManyFiles(usize),
}

impl From<ProgramError> for AttachError {
    fn from(error: ProgramError) -> Self {
        if let ProgramError::LoadError { verifier_log, .. } = &error {
            tracing::debug!("verifier log:\n{verifier_log}");
        }
        Self::Refused(error)
    }
}

impl From<aya::BtfError> for AttachError {
    fn from(error: aya::BtfError) -> Self {
        Self::Types(error)
    }
}

impl From<KernelError> for AttachError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(Box::new(error))
    }
}

/// Lines of a verifier log that are shown: the reason stands at its end.
const SHOWN_LINES: usize = 6;

/// The error with its causes; of a verifier log only the end. `RUST_LOG=debug` shows all.
fn refusal(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return with_causes(error) };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    if end.is_empty() { io_error.to_string() } else { format!("{io_error}: {}", end.join(" | ")) }
}
