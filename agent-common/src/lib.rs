//! What crosses the boundary between the BPF programs and the agent: records in the ring, values in
//! maps, tunables.
//!
//! Only integers and arrays, with explicit padding and a size assertion each; never `bool`, `enum`
//! or `Option`.

#![no_std]

mod code;
mod counter;
mod offsets;
mod record;
mod state;

pub use code::{IN, OUT, not_captured, report_listen, switch};
pub use counter::{COUNTERS, Counter};
pub use offsets::{CGROUP_RULES, MISSING, Offsets, PORT_RULES, Tunables};
pub use record::{
    By, CAPTURE_MAX, Closed, Connecting, EXEC_ARGUMENTS, EXEC_NAME, ExecRecord, FIRST_POSITION, HalfClosed,
    Header, LocalClosed, Opened, PEER_FINISHED, ProcessRecord, Released, SocketRecord, TAIL_MAX, TaskFacts,
    Transfer, TransferRest, UNKNOWN_EARLIER, UNKNOWN_USER, kind, process_flags, transfer_flags,
};
pub use state::{
    Connection, Control, ExeKey, FlowKey, GoKey, GoReceive, LastReceive, PIDS_PER_ENTRY, Pending, Process,
    Runtime, THREAD_SLOTS, conn_flags, pending, pid_flags, runtime, thread_slot, verdict,
};

/// Most iovecs of one system call that the programs look at; bytes beyond them are truncated.
pub const IOVECS: usize = 32;
