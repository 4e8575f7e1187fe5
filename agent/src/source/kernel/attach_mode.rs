//! Attach modes: the sets of hooks by which the agent can see sends and receives. Says which of
//! them this kernel has, and what the kernel answered for each hook; `doctor` prints it.

use std::{fmt, str::FromStr};

use super::{KernelError, btf::Btf, error::AttachError};

/// A set of hooks that see sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// raw_tp `sock_send_length` / `sock_recv_length` (Linux 6.3).
    RawTracepoint,
    /// fexit of `tcp_sendmsg` / `tcp_recvmsg`, `tcp_sendpage`, `tcp_splice_read` (Linux 5.5).
    Fexit,
}

impl AttachMode {
    /// Best first.
    pub const ALL: [Self; 2] = [Self::RawTracepoint, Self::Fexit];

    /// What `--attach-mode` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint => "raw_tp",
            Self::Fexit => "fexit",
        }
    }

    /// The hooks of this mode: BPF program and kernel hook. A mode works without those that say
    /// what is lost.
    pub(super) const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::RawTracepoint => RAW_TRACEPOINTS,
            Self::Fexit => FEXITS,
        }
    }
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`AttachMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown attach mode {0:?}: it is one of raw_tp, fexit")]
pub struct UnknownAttachMode(String);

impl FromStr for AttachMode {
    type Err = UnknownAttachMode;

    fn from_str(name: &str) -> Result<Self, UnknownAttachMode> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownAttachMode(name.to_owned()))
    }
}

/// A BPF program and where it is attached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    pub(super) program: &'static str,
    /// Raw tracepoint or function.
    pub(super) target: &'static str,
    /// What is lost without it; `None`: tracing needs it.
    pub(super) without: Option<&'static str>,
}

impl Hook {
    const fn needed(program: &'static str, target: &'static str) -> Self {
        Self { program, target, without: None }
    }

    const fn optional(program: &'static str, target: &'static str, without: &'static str) -> Self {
        Self { program, target, without: Some(without) }
    }
}

const RAW_TRACEPOINTS: &[Hook] = &[
    Hook::needed("sock_send_length", "sock_send_length"),
    Hook::needed("sock_recv_length", "sock_recv_length"),
];

const FEXITS: &[Hook] = &[
    Hook::needed("tcp_sendmsg", "tcp_sendmsg"),
    Hook::needed("tcp_recvmsg", "tcp_recvmsg"),
    Hook::optional("tcp_sendpage", "tcp_sendpage", "removed in 6.5, where sendfile passes tcp_sendmsg"),
    Hook::optional("tcp_splice_read", "tcp_splice_read", "bytes spliced from sockets are unseen"),
    Hook::optional("tcp_bpf_sendmsg", "tcp_bpf_sendmsg", "sends of sockets in a sockmap are unseen"),
    Hook::optional("tcp_bpf_recvmsg", "tcp_bpf_recvmsg", "what a sockmap hands to a socket is unseen"),
];

/// The raw tracepoints that every attach mode shares.
pub(super) const SHARED: &[Hook] = &[
    Hook::needed("inet_sock_set_state", "inet_sock_set_state"),
    Hook::needed("tcp_destroy_sock", "tcp_destroy_sock"),
    Hook::needed("sched_process_fork", "sched_process_fork"),
    Hook::needed("sched_process_exec", "sched_process_exec"),
    Hook::needed("sched_process_exit", "sched_process_exit"),
    Hook::optional(
        "cgroup_attach_task",
        "cgroup_attach_task",
        "a process moved into a selected cgroup is found by the next scan of /proc",
    ),
];

/// What became of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookState {
    Attached,
    /// The kernel has refused it, for this reason.
    Refused(String),
}

/// One hook in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReport {
    pub hook: String,
    /// `raw_tp`, `fexit`, `sock_ops` or `uprobe`.
    pub kind: &'static str,
    pub state: HookState,
    /// What is lost without it.
    pub without: Option<&'static str>,
}

/// What the agent found and chose at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachReport {
    pub mode: Option<&'static str>,
    pub hooks: Vec<HookReport>,
    /// Attach modes better than the chosen one, and why they were not taken.
    pub rejected: Vec<(&'static str, String)>,
}

/// Whether, by its type information, the kernel has the hooks of an attach mode.
pub(super) fn available(btf: &Btf, mode: AttachMode) -> Result<(), AttachError> {
    for hook in mode.hooks().iter().filter(|h| h.without.is_none()) {
        let there = match mode {
            AttachMode::RawTracepoint => btf.has_typedef(&format!("btf_trace_{}", hook.target)),
            AttachMode::Fexit => btf.parameters(hook.target).is_some(),
        };
        if !there {
            return Err(match mode {
                AttachMode::RawTracepoint => AttachError::NoTracepoint(hook.target),
                AttachMode::Fexit => AttachError::NoFunction(hook.target),
            });
        }
    }
    Ok(())
}

/// Where tcp_recvmsg has its flags and fexit its return value: `(flags, result)`.
pub(super) fn recvmsg_slots(btf: &Btf) -> (u32, u32) {
    let Some(parameters) = btf.parameters("tcp_recvmsg") else { return (0, 0) };
    let flags = parameters.iter().position(|p| p == "flags").unwrap_or(0);
    (u32::try_from(flags).unwrap_or(0), u32::try_from(parameters.len()).unwrap_or(0))
}

/// The attach modes to try, best first, and those that this kernel cannot have.
pub(super) struct Candidates {
    pub(super) modes: Vec<AttachMode>,
    pub(super) rejected: Vec<(&'static str, String)>,
}

pub(super) fn candidates(btf: &Btf, forced: Option<AttachMode>) -> Result<Candidates, KernelError> {
    let mut found = Candidates { modes: Vec::new(), rejected: Vec::new() };
    for mode in AttachMode::ALL.into_iter().filter(|&mode| forced.is_none_or(|wanted| wanted == mode)) {
        match available(btf, mode) {
            Ok(()) => found.modes.push(mode),
            Err(reason) => found.rejected.push((mode.name(), reason.to_string())),
        }
    }
    if found.modes.is_empty() {
        let reasons: Vec<String> =
            found.rejected.iter().map(|(mode, why)| format!("{mode}: {why}")).collect();
        return Err(KernelError::NoAttachMode(reasons.join("; ")));
    }
    Ok(found)
}
