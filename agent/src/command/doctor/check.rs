//! What tracing needs from the machine: kernel, types, privileges, mounts. Each check ends with
//! yes, no (and why) or unknown.

use std::{fmt, fs, path::Path};

use serde::Serialize;

use crate::source::kernel::{btf::Btf, cgroup_root};

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Yes,
    No,
    Warning,
    Unknown,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
}

impl Check {
    pub(super) fn new(name: &'static str, verdict: Verdict, detail: &str) -> Self {
        Self { name, verdict, detail: detail.to_owned() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Yes => "yes ",
            Verdict::No => "no  ",
            Verdict::Warning => "warn",
            Verdict::Unknown => "?   ",
        };
        write!(f, "{mark} {:<18} {}", self.name, self.detail)
    }
}

/// Every check that needs no program loaded.
pub(super) fn all() -> Vec<Check> {
    vec![kernel(), types(), privileges(), cgroup2(), tracefs(), namespaces()]
}

/// `major.minor` of the running kernel.
pub(super) fn kernel_version() -> Option<(u32, u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.trim().split(['.', '-', '+']).map_while(|n| n.parse::<u32>().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let detail = format!("Linux {} on {}", release.trim(), std::env::consts::ARCH);
    match kernel_version() {
        Some((major, minor, _)) if (major, minor) < (5, 10) => {
            Check::new("kernel", Verdict::No, &format!("{detail}; wirespan needs 5.10 or later"))
        }
        Some(_) => Check::new("kernel", Verdict::Yes, &detail),
        None => Check::new(
            "kernel",
            Verdict::Unknown,
            "its version could not be read from /proc/sys/kernel/osrelease",
        ),
    }
}

fn types() -> Check {
    match Btf::of_kernel() {
        Ok(_) => Check::new("type information", Verdict::Yes, crate::source::kernel::btf::VMLINUX),
        Err(error) => Check::new("type information", Verdict::No, &error.to_string()),
    }
}

/// Numbers of include/uapi/linux/capability.h.
const NEEDED: [(u32, &str); 4] =
    [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE")];
const SYS_ADMIN: u32 = 21;

/// What is lost without them; the rest works.
const WANTED: [(u32, &str); 3] = [
    (SYS_ADMIN, "CAP_SYS_ADMIN: connections older than the agent in other network namespaces are not traced"),
    (2, "CAP_DAC_READ_SEARCH: port rules do not find processes of other users"),
    (23, "CAP_SYS_NICE: records may be lost while all CPUs are taken (capture.nice)"),
];

fn privileges() -> Check {
    let Some(effective) = effective_capabilities() else {
        return Check::new("capabilities", Verdict::Unknown, "could not be read from /proc/self/status");
    };
    let has = |bit: u32| effective >> bit & 1 == 1;
    // CAP_SYS_ADMIN implies CAP_BPF and CAP_PERFMON.
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(bit, _)| !(has(*bit) || has(SYS_ADMIN) && *bit >= 38))
        .map(|(_, name)| *name)
        .collect();
    let lost: Vec<&str> = WANTED.iter().filter(|(bit, _)| !has(*bit)).map(|(_, what)| *what).collect();
    if missing.is_empty() && lost.is_empty() {
        return Check::new("capabilities", Verdict::Yes, "all that are needed");
    }
    if missing.is_empty() {
        return Check::new("capabilities", Verdict::Warning, &format!("without {}", lost.join("; without ")));
    }
    Check::new("capabilities", Verdict::No, &format!("missing {}; run as root", missing.join(", ")))
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn cgroup2() -> Check {
    match cgroup_root() {
        Ok(root) => Check::new("cgroup2", Verdict::Yes, &format!("mounted at {}", root.0.display())),
        Err(error) => Check::new("cgroup2", Verdict::No, &error.to_string()),
    }
}

fn tracefs() -> Check {
    let mounted = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .find(|path| Path::new(path).join("available_events").exists());
    match mounted {
        Some(path) => Check::new("tracefs", Verdict::Yes, &format!("mounted at {path} (not needed)")),
        None => Check::new("tracefs", Verdict::Yes, "not mounted (not needed)"),
    }
}

/// Inode numbers of the initial namespaces (include/linux/proc_ns.h).
const PROC_PID_INIT_INO: u64 = 0xEFFF_FFFC;
const PROC_CGROUP_INIT_INO: u64 = 0xEFFF_FFFB;

fn namespaces() -> Check {
    let mut child = Vec::new();
    for (name, initial) in [("pid", PROC_PID_INIT_INO), ("cgroup", PROC_CGROUP_INIT_INO)] {
        let Some(inode) = namespace(name) else {
            return Check::new("namespaces", Verdict::Unknown, "could not be read from /proc/self/ns");
        };
        if inode != initial {
            child.push(name);
        }
    }
    if child.is_empty() {
        return Check::new("namespaces", Verdict::Yes, "the host's pid and cgroup namespaces");
    }
    let detail = format!(
        "the agent runs in a child {} namespace, where process ids and cgroup paths are not the kernel's: run it with \
         hostPID and the host's cgroup namespace",
        child.join(" and ")
    );
    Check::new("namespaces", Verdict::No, &detail)
}

/// The inode in `pid:[4026531836]`.
fn namespace(name: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
    let text = link.to_str()?;
    text.split_once('[')?.1.trim_end_matches(']').parse().ok()
}
