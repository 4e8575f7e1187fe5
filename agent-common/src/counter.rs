//! Counters of the BPF programs: one slot each in a per-CPU array, exported by name.

macro_rules! counters {
    ($($variant:ident = $name:literal, $label:literal, $help:literal;)+) => {
        /// One counter; the discriminant is its slot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $($variant),+ }

        impl Counter {
            /// Every counter, in slot order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Metric name (without `wirespan_` and `_total`).
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Value of the metric's label: `program` for `bpf_calls`, else `reason`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),+ }
            }
        }

        /// Number of slots.
        pub const COUNTERS: u32 = Counter::ALL.len() as u32;
    };
}

counters! {
    CallSend = "bpf_calls", "send", "calls of each BPF program";
    CallReceive = "bpf_calls", "receive", "calls of each BPF program";
    CallState = "bpf_calls", "socket_state", "calls of each BPF program";
    CallSockOps = "bpf_calls", "sock_ops", "calls of each BPF program";
    CallFork = "bpf_calls", "process_fork", "calls of each BPF program";
    CallExec = "bpf_calls", "process_exec", "calls of each BPF program";
    CallExit = "bpf_calls", "process_exit", "calls of each BPF program";
    CallCgroup = "bpf_calls", "cgroup_attach", "calls of each BPF program";
    Events = "kernel_events", "transfer", "records put into the ring";
    Bytes = "kernel_captured_bytes", "transfer", "payload bytes copied into the ring";
    SkipBody = "kernel_skipped_calls", "body", "calls without an event because nobody needs their bytes";
    SkipOpaque = "kernel_skipped_calls", "opaque", "calls without an event because nobody needs their bytes";
    DropTransfer = "kernel_drops", "ring_full_transfer", "records for which the ring had no room";
    DropOpened = "kernel_drops", "ring_full_opened", "records for which the ring had no room";
    DropClosed = "kernel_drops", "ring_full_closed", "records for which the ring had no room (read from the map later)";
    DropHalfClosed = "kernel_drops", "ring_full_half_closed", "records for which the ring had no room";
    DropConnect = "kernel_drops", "ring_full_connect", "records for which the ring had no room";
    DropProcess = "kernel_drops", "ring_full_process", "records for which the ring had no room (the next scan of /proc makes up for it)";
    NoCookie = "kernel_untraced_calls", "no_cookie", "calls on TCP sockets that could not be traced";
    Mptcp = "kernel_untraced_calls", "mptcp", "calls on TCP sockets that could not be traced";
    KernelSocket = "kernel_untraced_calls", "kernel_socket", "calls on TCP sockets that could not be traced";
    ReadFailed = "kernel_untraced_calls", "read_failed", "calls on TCP sockets that could not be traced";
    ConnectionsFull = "kernel_map_full", "connections", "a kernel map had no room for an entry";
    ProcessesFull = "kernel_map_full", "processes", "a kernel map had no room for an entry";
    ThreadsFull = "kernel_map_full", "threads", "a kernel map had no room for an entry";
    PendingFull = "kernel_map_full", "pending", "a kernel map had no room for an entry";
}
