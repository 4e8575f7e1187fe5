//! Known hazards of kernels and hosts (the table of ARCHITECTURE.md), as far as this machine shows them.

use std::fs;

use super::check::{Check, Verdict, kernel_version};

/// Every known hazard, also those that do not apply here.
pub(super) fn all() -> Vec<Check> {
    vec![lockdown(), memlock(), preemption(), io_uring(), mptcp()]
}

/// Lockdown refuses reads of kernel or user memory by BPF.
fn lockdown() -> Check {
    const NAME: &str = "lockdown";
    let Ok(state) = fs::read_to_string("/sys/kernel/security/lockdown") else {
        return Check::new(NAME, Verdict::Yes, "not active (no /sys/kernel/security/lockdown)");
    };
    let active =
        state.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(mode, _)| mode);
    match active {
        "none" => Check::new(NAME, Verdict::Yes, "not active"),
        "integrity" => Check::new(NAME, Verdict::Yes, "integrity: reads by BPF are allowed"),
        mode => Check::new(
            NAME,
            Verdict::No,
            &format!("{mode}: the kernel refuses reads of memory by BPF; boot without it"),
        ),
    }
}

fn memlock() -> Check {
    match kernel_version() {
        Some((major, minor, _)) if (major, minor) < (5, 11) => Check::new(
            "RLIMIT_MEMLOCK",
            Verdict::Yes,
            "map memory counts against it before 5.11; the agent raises its own limit",
        ),
        _ => Check::new("RLIMIT_MEMLOCK", Verdict::Yes, "map memory does not count against it"),
    }
}

/// A preempted fexit program makes the kernel skip the same program of another task: those calls are unseen.
fn preemption() -> Check {
    let version = fs::read_to_string("/proc/sys/kernel/version").unwrap_or_default();
    let old = kernel_version().is_some_and(|(major, minor, _)| (major, minor) < (6, 3));
    if old && version.split_whitespace().any(|word| word == "PREEMPT") {
        return Check::new(
            "preemption",
            Verdict::Warning,
            "this kernel preempts fexit programs and then skips calls; the ledger shows them as unseen",
        );
    }
    Check::new("preemption", Verdict::Yes, "the programs are not preempted in a way that skips calls")
}

fn io_uring() -> Check {
    const NAME: &str = "io_uring";
    match fs::read_to_string("/proc/sys/kernel/io_uring_disabled").as_deref().map(str::trim) {
        Ok("2") => Check::new(NAME, Verdict::Yes, "disabled on this host"),
        _ => Check::new(
            NAME,
            Verdict::Yes,
            "bytes that go through it are seen by length only, counted as io_uring",
        ),
    }
}

fn mptcp() -> Check {
    const NAME: &str = "MPTCP";
    match fs::read_to_string("/proc/sys/net/mptcp/enabled").as_deref().map(str::trim) {
        Ok("1") => Check::new(
            NAME,
            Verdict::Yes,
            "enabled; its sockets are not traced, their calls are counted as mptcp",
        ),
        _ => Check::new(NAME, Verdict::Yes, "not enabled"),
    }
}
