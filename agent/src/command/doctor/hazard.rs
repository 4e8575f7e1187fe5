//! Known hazards of kernels and hosts, as far as this machine shows them.

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

/// While an fexit program is preempted, the kernel skips the same program for other tasks: their
/// system calls are not seen.
fn preemption() -> Check {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if kernel_version().is_none_or(|(major, minor, _)| (major, minor) >= (6, 3)) {
        return Check::new(
            PREEMPTION,
            Verdict::Yes,
            "the programs are not preempted in a way that skips system calls",
        );
    }
    let release = read("/proc/sys/kernel/osrelease");
    preemption_before_6_3(
        &read("/proc/sys/kernel/version"),
        &read("/sys/kernel/debug/sched/preempt"),
        &read("/proc/cmdline"),
        &read(&format!("/boot/config-{}", release.trim())),
    )
}

const PREEMPTION: &str = "preemption";

/// Decides by the kernel's version line, its mode (`none voluntary (full)`, where debugfs is
/// mounted), its command line and its build configuration.
fn preemption_before_6_3(version: &str, mode: &str, command_line: &str, config: &str) -> Check {
    let has = |text: &str, wanted: &str| text.split_whitespace().any(|word| word == wanted);
    let dynamic = has(version, "PREEMPT_DYNAMIC");
    // The first source that says anything decides.
    let full = [
        (has(mode, "(full)"), mode.contains('(')),
        (has(command_line, "preempt=full"), command_line.contains("preempt=")),
        (has(config, "CONFIG_PREEMPT=y"), !config.is_empty()),
    ]
    .into_iter()
    .find_map(|(full, says)| says.then_some(full));
    if has(version, "PREEMPT") || has(version, "PREEMPT_RT") || dynamic && full == Some(true) {
        return Check::new(
            PREEMPTION,
            Verdict::Warning,
            "this kernel preempts fexit programs and then skips system calls: unseen bytes, and \
             wirespan_bpf_recursion_misses_total; boot with preempt=voluntary where it is PREEMPT_DYNAMIC",
        );
    }
    if dynamic && full.is_none() {
        return Check::new(
            PREEMPTION,
            Verdict::Unknown,
            "with preempt=full this kernel would skip system calls (wirespan_bpf_recursion_misses_total); \
             mount debugfs to know, or boot with preempt=voluntary",
        );
    }
    Check::new(PREEMPTION, Verdict::Yes, "the programs are not preempted in a way that skips system calls")
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
            "enabled; its sockets are not traced, their system calls are counted as mptcp",
        ),
        _ => Check::new(NAME, Verdict::Yes, "not enabled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_preemption() {
        let verdict = |version, mode, command_line, config| {
            preemption_before_6_3(version, mode, command_line, config).verdict
        };
        let (fixed, dynamic) = ("#1 SMP PREEMPT Debian", "#1 SMP PREEMPT_DYNAMIC Debian");
        assert_eq!(verdict("#1 SMP Debian 5.10.1", "", "", ""), Verdict::Yes);
        assert_eq!(verdict(fixed, "", "", ""), Verdict::Warning);
        assert_eq!(verdict("#1 SMP PREEMPT_RT Debian", "", "", ""), Verdict::Warning);
        assert_eq!(verdict(dynamic, "none (voluntary) full\n", "preempt=full", ""), Verdict::Yes);
        assert_eq!(verdict(dynamic, "none voluntary (full)\n", "", ""), Verdict::Warning);
        assert_eq!(verdict(dynamic, "", "quiet preempt=full", ""), Verdict::Warning);
        assert_eq!(verdict(dynamic, "", "preempt=none quiet", "CONFIG_PREEMPT=y\n"), Verdict::Yes);
        assert_eq!(
            verdict(dynamic, "", "quiet", "CONFIG_PREEMPT=y\nCONFIG_PREEMPT_DYNAMIC=y\n"),
            Verdict::Warning
        );
        let debian = "CONFIG_PREEMPT_VOLUNTARY=y\n# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_DYNAMIC=y\n";
        assert_eq!(verdict(dynamic, "", "quiet", debian), Verdict::Yes);
        assert_eq!(verdict(dynamic, "", "quiet", ""), Verdict::Unknown);
    }
}
