//! Counters of the BPF programs: one slot each in a per-CPU array, exported by name. The list is also the source of
//! docs/metrics-kernel.md.

macro_rules! counters {
    ($($name:literal by $label:literal: $help:literal { $($variant:ident = $value:literal: $meaning:literal;)+ })+) => {
        /// One counter; the discriminant is its slot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $($($variant),+),+ }

        impl Counter {
            /// Every counter, in slot order; those of one metric stand together.
            pub const ALL: &'static [Self] = &[$($(Self::$variant),+),+];

            /// Metric name.
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self { $($(Self::$variant => $name,)+)+ }
            }

            /// Name of the metric's label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $($(Self::$variant => $label,)+)+ }
            }

            /// Value of the metric's label.
            #[must_use]
            pub const fn value(self) -> &'static str {
                match self { $($(Self::$variant => $value,)+)+ }
            }

            /// What the metric counts: one sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $($(Self::$variant => $help,)+)+ }
            }

            /// What the label's value stands for.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $($(Self::$variant => $meaning,)+)+ }
            }
        }

        /// Number of slots.
        pub const COUNTERS: u32 = Counter::ALL.len() as u32;
    };
}

counters! {
    "wirespan_bpf_program_runs_total" by "program": "Runs of each BPF program." {
        CallSend = "send": "after a system call that sends, of any process";
        CallReceive = "receive": "after a system call that receives, of any process";
        CallState = "socket_state": "a TCP connection changes its state";
        CallDestroy = "socket_destroy": "the kernel destroys a TCP socket";
        CallSockOps = "sock_ops": "a TCP connection is established or connecting";
        CallFork = "process_fork": "a process or thread begins";
        CallExec = "process_exec": "a process executes a program";
        CallExit = "process_exit": "a process or thread ends";
        CallCgroup = "cgroup_attach": "a process moves into another cgroup";
        CallRoundTrip = "go_round_trip": "a goroutine hands a request to `net/http`'s transport";
        CallRequestWrite = "go_request_write": "a goroutine of `net/http` writes a request";
    }
    "wirespan_ring_records_total" by "type": "Records of transfers that BPF programs put into the ring buffer." {
        Events = "transfer": "the bytes of one system call";
    }
    "wirespan_ring_payload_bytes_total" by "type": "Captured bytes in the records of the ring buffer." {
        Bytes = "transfer": "of transfers";
    }
    "wirespan_kernel_skipped_syscalls_total" by "reason": "System calls of traced processes without a record, \
        because nothing needs their bytes." {
        SkipBody = "body": "all bytes belong to a message body of known length";
        SkipOpaque = "opaque": "the connection is not parsed any more";
    }
    "wirespan_kernel_dropped_records_total" by "reason": "Records that found no room in the ring buffer." {
        DropTransfer = "ring_full_transfer": "bytes that a system call moved: the ledger has them as `dropped`";
        DropOpened = "ring_full_opened": "the first observation of a connection";
        DropClosed = "ring_full_closed": "the end of a connection; the agent reads it from the kernel's map later";
        DropHalfClosed = "ring_full_half_closed": "the end of one direction";
        DropLocalClosed = "ring_full_local_closed": "the program closed the connection";
        DropReleased = "ring_full_released": "the program closed a socket whose connection had ended before";
        DropRedirected = "ring_full_redirected": "a sockmap takes the bytes of the connection past TCP";
        DropConnect = "ring_full_connect": "a connect began, succeeded or failed";
        DropProcess = "ring_full_process": "the life of a process; the next scan of /proc makes up for it";
    }
    "wirespan_kernel_python_contexts_total" by "result": "Captured sends of CPython processes, by whether the \
        current task was found." {
        ContextsRead = "read": "the record names the task";
        ContextsNone = "none": "the record names no task";
    }
    "wirespan_kernel_redirected_syscalls_total" by "reason": "System calls whose bytes bypassed TCP; the lengths \
        of the system calls make their positions." {
        Redirected = "sockmap": "a sockmap handed the bytes to another socket";
    }
    "wirespan_kernel_untraced_syscalls_total" by "reason": "System calls on TCP sockets that could not be traced." {
        NoCookie = "no_cookie": "the socket has no cookie";
        Mptcp = "mptcp": "the socket is one of Multipath TCP";
        KernelSocket = "kernel_socket": "the socket belongs to the kernel";
        ReadFailed = "read_failed": "memory of the kernel or of the process could not be read";
    }
    "wirespan_kernel_refused_map_entries_total" by "map": "Entries that found no room in a BPF map; what they \
        stand for is not traced." {
        ConnectionsFull = "connections": "a connection";
        ProcessesFull = "processes": "a selected process";
        ThreadsFull = "threads": "the last receive of a thread";
        GoroutinesFull = "goroutines": "the last receive of a goroutine";
        HandoffsFull = "handoffs": "a request that a goroutine hands over";
        PendingFull = "pending": "a connect in progress";
    }
}
