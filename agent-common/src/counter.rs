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
    "wirespan_bpf_skipped_syscalls_total" by "reason": "System calls of traced processes without a record, \
        because nothing needs their bytes." {
        SkipBody = "body": "all bytes belong to a message body of known length";
        SkipOpaque = "not_parsed": "the connection is not parsed any more";
    }
    "wirespan_ring_dropped_records_total" by "type": "Records that found no room in the ring buffer." {
        DropTransfer = "transfer": "bytes that a system call moved: the ledger has them as `dropped`";
        DropOpened = "opened": "the first observation of a connection";
        DropClosed = "closed": "the end of a connection; the agent reads it from the kernel's map later";
        DropHalfClosed = "half_closed": "the end of one direction";
        DropLocalClosed = "local_closed": "the program closed the connection";
        DropReleased = "released": "the program closed a socket whose connection had ended before";
        DropRedirected = "redirected": "a sockmap takes the bytes of the connection past TCP";
        DropConnect = "connect": "a connect began, succeeded or failed";
        DropProcess = "process": "the life of a process; the next scan of /proc makes up for it";
    }
    "wirespan_bpf_asyncio_task_lookups_total" by "result": "Captured sends of CPython processes, by whether the \
        current task was found." {
        ContextsRead = "found": "the record names the task";
        ContextsNone = "not_found": "the record names no task";
    }
    "wirespan_bpf_redirected_syscalls_total" by "reason": "System calls whose bytes bypassed TCP; the lengths \
        of the system calls make their positions." {
        Redirected = "sockmap": "a sockmap handed the bytes to another socket";
    }
    "wirespan_bpf_untraced_syscalls_total" by "reason": "System calls on TCP sockets that could not be traced." {
        NoCookie = "no_cookie": "the socket has no cookie";
        Mptcp = "mptcp": "the socket is one of Multipath TCP";
        KernelSocket = "kernel_socket": "the socket belongs to the kernel";
        ReadFailed = "read_failed": "memory of the kernel or of the process could not be read";
    }
    "wirespan_bpf_refused_map_entries_total" by "map": "Entries that found no room in a BPF map; what they \
        stand for is not traced." {
        ConnectionsFull = "connections": "a connection";
        ProcessesFull = "processes": "a selected process";
        ThreadsFull = "threads": "the last receive of a thread";
        GoroutinesFull = "goroutines": "the last receive of a goroutine";
        HandoffsFull = "handoffs": "a request that a goroutine hands over";
        PendingFull = "connects": "a connect in progress";
    }
}
