//! What is known of a traced process: facts read once from /proc, carried as an event so that a replay needs no /proc.

use std::sync::Arc;

use agent_common::ExeKey;

/// Names one process for as long as the agent runs, although pids are reused: pid and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    pub pid: u32,
    /// Clock ticks after boot (field 22 of /proc/pid/stat).
    pub start_time: u64,
}

/// `service.name` of a process of which nothing is known (semantic conventions of the resource).
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// From here on a pid is no process's: Linux gives none above 2^22 (`PID_MAX_LIMIT`). A source that sees no processes, as
/// a packet capture, lets these speak.
pub const FIRST_VIRTUAL_PID: u32 = 1 << 31;

/// Facts about a process for its OpenTelemetry resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessFacts {
    pub pid: u32,
    /// Clock ticks after boot (field 22 of /proc/pid/stat).
    pub start_time: u64,
    /// `None`: not known, or none in this pid namespace.
    pub parent_pid: Option<u32>,
    /// Path of the executable, without " (deleted)"; empty: not known.
    pub executable: Arc<str>,
    /// Arguments as the program sees them, none when they are not known; values that look like secrets are replaced before they get here.
    pub command_args: Vec<String>,
    /// By rule, OTEL_SERVICE_NAME, systemd unit, executable: in this order.
    pub service_name: Arc<str>,
    /// `service.namespace`, `deployment.environment.name` … from OTEL_RESOURCE_ATTRIBUTES of the process.
    pub resource_attributes: Vec<(String, String)>,
    /// 64 hex digits, when the process runs in a container.
    pub container_id: Option<Arc<str>>,
    /// Effective user; `None`: not known.
    pub user_id: Option<u32>,
}

/// What the kernel says of a process at the moment of an event. User space reads later, when the process may be gone, be
/// another program or another user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelFacts {
    /// The kernel has selected the process, and no rule can say otherwise.
    pub decided: bool,
    /// Which of the kernel's questions about this process this is.
    pub trial: u32,
    /// Clock ticks after boot.
    pub start_time: Option<u64>,
    /// Where code and stack lie: an exec changes them.
    pub image: Option<(u64, u64)>,
    pub parent: Option<u32>,
    pub user: Option<u32>,
    /// The executable.
    pub file: Option<ExeKey>,
    /// The name under which it was executed.
    pub name: Option<String>,
    /// Its arguments, when they are known in full.
    pub arguments: Option<Vec<String>>,
}

impl ProcessFacts {
    /// The identity of the process.
    #[must_use]
    pub const fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, start_time: self.start_time }
    }

    /// Nothing but the service name is a fact: there is no process, and the host is not this one.
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        self.pid >= FIRST_VIRTUAL_PID
    }
}

/// The arguments in a program's argument area, without what a title that the program has put there left of the old ones:
/// zeros, which read as empty arguments.
#[must_use]
pub fn arguments_in(area: &[u8]) -> Vec<String> {
    let mut all: Vec<&[u8]> = area.split(|b| *b == 0).collect();
    let empty = all.iter().rev().take_while(|part| part.is_empty()).count();
    let is_title = all.first().is_some_and(|first| first.contains(&b' '));
    if empty > 1 || is_title {
        all.truncate(all.len() - empty);
    }
    all.into_iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_title_leaves_is_no_argument() {
        for (area, expected) in [
            (&b"app\0--token\0t\0"[..], &["app", "--token", "t", ""][..]),
            (b"app\0\0x", &["app", "", "x"]),
            (b"nginx: worker process\0\0\0\0", &["nginx: worker process"]),
            (b"php-fpm: pool www\0", &["php-fpm: pool www"]),
            (b"postgres\0\0\0", &["postgres"]),
            (b"app", &["app"]),
        ] {
            assert_eq!(arguments_in(area), expected, "{}", area.escape_ascii());
        }
    }
}
