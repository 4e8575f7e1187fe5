//! What is known of a traced process: facts read once from /proc, carried as an event so that a replay needs no /proc.

use std::sync::Arc;

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
    pub parent_pid: u32,
    /// Path of the executable, without " (deleted)".
    pub executable: Arc<str>,
    /// Arguments as the program sees them; values that look like secrets are replaced before they get here.
    pub command_args: Vec<String>,
    /// By rule, OTEL_SERVICE_NAME, systemd unit, executable: in this order.
    pub service_name: Arc<str>,
    /// `service.namespace`, `deployment.environment.name` … from OTEL_RESOURCE_ATTRIBUTES of the process.
    pub resource_attributes: Vec<(String, String)>,
    /// 64 hex digits, when the process runs in a container.
    pub container_id: Option<Arc<str>>,
    /// Numeric user id.
    pub user_id: u32,
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
