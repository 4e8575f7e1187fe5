//! Numbers that both sides of the boundary write and read: directions, slots of maps, reasons.

/// Index of what the traced process sends, in every pair of the boundary; value of
/// `Header::direction`.
pub const OUT: usize = 0;

/// The same for what it receives.
pub const IN: usize = 1;

/// Values of `Header::not_captured`: why a system call was seen and its bytes were not captured.
pub mod not_captured {
    /// The bytes were captured.
    pub const NONE: u8 = 0;
    /// The task uses io_uring: its saved registers may belong to an unrelated system call.
    pub const IO_URING: u8 = 1;
    /// A 32-bit task or system call: its registers follow another convention.
    pub const TASK_32: u8 = 2;
    /// An upper-layer protocol (kTLS) is on the socket.
    pub const UPPER_LAYER: u8 = 3;
    /// A system call whose arguments the programs do not read.
    pub const SYSCALL: u8 = 4;
    /// sendfile or splice: the bytes never pass user memory.
    pub const SPLICE: u8 = 5;
    /// MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_ERRQUEUE.
    pub const FLAGS: u8 = 6;
    /// User memory could not be read.
    pub const FAULT: u8 = 7;
}

/// Slots of the map `SWITCHES`. A slot is off while it is 0.
pub mod switch {
    /// The reader sleeps in epoll: a record must wake it.
    pub const READER_SLEEPS: u32 = 0;
    /// The agent has written to `CONTROLS` at least once: the programs look there.
    pub const CONTROLS_POSTED: u32 = 1;
    /// The same for `RUNTIMES`.
    pub const RUNTIMES_POSTED: u32 = 2;
    /// Number of slots.
    pub const COUNT: u32 = 3;
    /// A slot is on.
    pub const ON: u32 = 1;
    /// A slot is off.
    pub const OFF: u32 = 0;
}

/// Values of `Tunables::report_listen`: which processes are reported when they begin to listen.
pub mod report_listen {
    /// None: no rule looks at ports.
    pub const NONE: u32 = 0;
    /// Processes that the agent has not selected: some rule selects by port.
    pub const UNDECIDED: u32 = 1;
    /// Every process: some rule excludes by port.
    pub const ALL: u32 = 2;
}
