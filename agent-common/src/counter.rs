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

            /// Metric name.
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
    CallSend = "wirespan_bpf_calls_total", "send", "calls of each BPF program";
    CallReceive = "wirespan_bpf_calls_total", "receive", "calls of each BPF program";
    CallState = "wirespan_bpf_calls_total", "socket_state", "calls of each BPF program";
    CallDestroy = "wirespan_bpf_calls_total", "socket_destroy", "calls of each BPF program";
    CallSockOps = "wirespan_bpf_calls_total", "sock_ops", "calls of each BPF program";
    CallFork = "wirespan_bpf_calls_total", "process_fork", "calls of each BPF program";
    CallExec = "wirespan_bpf_calls_total", "process_exec", "calls of each BPF program";
    CallExit = "wirespan_bpf_calls_total", "process_exit", "calls of each BPF program";
    CallCgroup = "wirespan_bpf_calls_total", "cgroup_attach", "calls of each BPF program";
    CallRoundTrip = "wirespan_bpf_calls_total", "go_round_trip", "calls of each BPF program";
    CallRequestWrite = "wirespan_bpf_calls_total", "go_request_write", "calls of each BPF program";
    Events = "wirespan_kernel_events_total", "transfer", "records put into the ring";
    Bytes = "wirespan_kernel_captured_bytes_total", "transfer", "payload bytes copied into the ring";
    SkipBody = "wirespan_kernel_skipped_calls_total", "body", "calls without an event because nobody needs their bytes";
    SkipOpaque = "wirespan_kernel_skipped_calls_total", "opaque", "calls without an event because nobody needs their bytes";
    DropTransfer = "wirespan_kernel_drops_total", "ring_full_transfer", "records for which the ring had no room";
    DropOpened = "wirespan_kernel_drops_total", "ring_full_opened", "records for which the ring had no room";
    DropClosed = "wirespan_kernel_drops_total", "ring_full_closed", "records for which the ring had no room (read from the map later)";
    DropHalfClosed = "wirespan_kernel_drops_total", "ring_full_half_closed", "records for which the ring had no room";
    DropLocalClosed = "wirespan_kernel_drops_total", "ring_full_local_closed", "records for which the ring had no room";
    DropReleased = "wirespan_kernel_drops_total", "ring_full_released", "records for which the ring had no room";
    DropRedirected = "wirespan_kernel_drops_total", "ring_full_redirected", "records for which the ring had no room";
    DropConnect = "wirespan_kernel_drops_total", "ring_full_connect", "records for which the ring had no room";
    DropProcess = "wirespan_kernel_drops_total", "ring_full_process", "records for which the ring had no room (the next scan of /proc makes up for it)";
    ContextsRead = "wirespan_kernel_contexts_total", "read", "captured sends of CPython processes, by whether a context was found";
    ContextsNone = "wirespan_kernel_contexts_total", "none", "captured sends of CPython processes, by whether a context was found";
    Redirected = "wirespan_kernel_redirected_calls_total", "sockmap", "calls whose bytes a sockmap took past TCP; their positions are counted by the calls";
    NoCookie = "wirespan_kernel_untraced_calls_total", "no_cookie", "calls on TCP sockets that could not be traced";
    Mptcp = "wirespan_kernel_untraced_calls_total", "mptcp", "calls on TCP sockets that could not be traced";
    KernelSocket = "wirespan_kernel_untraced_calls_total", "kernel_socket", "calls on TCP sockets that could not be traced";
    ReadFailed = "wirespan_kernel_untraced_calls_total", "read_failed", "calls on TCP sockets that could not be traced";
    ConnectionsFull = "wirespan_kernel_map_full_total", "connections", "a kernel map had no room for an entry";
    ProcessesFull = "wirespan_kernel_map_full_total", "processes", "a kernel map had no room for an entry";
    ThreadsFull = "wirespan_kernel_map_full_total", "threads", "a kernel map had no room for an entry";
    GoroutinesFull = "wirespan_kernel_map_full_total", "goroutines", "a kernel map had no room for an entry";
    HandedFull = "wirespan_kernel_map_full_total", "handed", "a kernel map had no room for an entry";
    PendingFull = "wirespan_kernel_map_full_total", "pending", "a kernel map had no room for an entry";
}
