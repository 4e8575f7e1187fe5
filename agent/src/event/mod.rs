//! The decoded event: the one language between the sources (kernel, event log, later pcap) and the pipeline.
//!
//! The pipeline knows time, randomness and processes only through what stands here, so the same events give the same
//! spans. Payload is borrowed from the source's buffer: whoever needs it longer copies it.

mod capture;
mod endpoint;
mod limits;
mod process;

use std::ops::Sub;

use agent_common::{IN, OUT, not_captured};

pub use capture::{Asked, Capture, CaptureMode, Feedback};
pub use endpoint::{Endpoint, UnixAddress};
pub use limits::DEFAULT_CONNECTIONS;
pub use process::{FIRST_VIRTUAL_PID, KernelFacts, ProcessFacts, ProcessKey, UNKNOWN_SERVICE, arguments_in};

/// Kernel time: nanoseconds of CLOCK_MONOTONIC. Wall time is this plus the offset of the last [`Event::Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus `nanos`, saturating.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since `earlier`, 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Sub for Timestamp {
    type Output = u64;
    fn sub(self, earlier: Self) -> u64 {
        self.since(earlier)
    }
}

/// A connection is its socket cookie, which the kernel never uses twice while it runs. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Which bytes of a connection: its own, or those that they encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Layer {
    /// What the socket moves.
    #[default]
    Wire,
    /// What a TLS library encrypts into the bytes of the socket, and decrypts out of them.
    Plaintext,
}

/// A stream of bytes in both directions, which has positions, holes and a ledger of its own. Every
/// connection has the one that its socket moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub connection: ConnectionId,
    pub layer: Layer,
}

/// A socket before it has a cookie (connect in progress): the address of its `struct sock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// Who made a system call, and what had been taken in last there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    pub thread: Thread,
    pub task: Option<Task>,
    pub last_receive: Option<LastReceive>,
}

/// Seen from the traced process: `Out` is what it sends, `In` what it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    Out = OUT as u8,
    In = IN as u8,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Out, Self::In];

    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }

    /// 0 for `Out`, 1 for `In`: the order of every `[T; 2]` in this crate.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The message that some bytes begin with, for a source that must ask which end of a connection is the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opening {
    Request,
    Response,
}

/// The thread that made a call; both numbers are of the initial pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread {
    /// Thread group: what people call the process id.
    pub pid: u32,
    pub tid: u32,
}

/// What the runtime of a program runs on a thread while it makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// This goroutine makes the call: it takes the place of the thread.
    Goroutine(u64),
    /// Another goroutine writes what this one has handed over to it, and the last input is that of this one.
    Handoff(u64),
    /// A CPython context (`contextvars`): every task of asyncio has one of its own. An address, which a later context may
    /// have too.
    Context(u64),
}

/// What a thread received last: the stream, and the position of the *last byte* of its last receive there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LastReceive {
    pub connection: ConnectionId,
    pub layer: Layer,
    /// Position in direction `In` of that stream.
    pub position: u64,
    /// Sources leave it at its default.
    pub mark: Mark,
}

/// What the consumer of events notes on one before a parser holds it back. It means nothing to sources and parsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mark(pub u8);

/// Why the bytes of a system call were not captured although it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NotCaptured {
    /// The task uses io_uring: the saved registers may belong to an unrelated system call.
    IoUring = not_captured::IO_URING,
    /// A 32-bit task or system call: the registers follow another convention.
    Task32 = not_captured::TASK_32,
    /// An upper-layer protocol (kTLS) is on the socket.
    UpperLayer = not_captured::UPPER_LAYER,
    /// The system call is not one of the socket reads and writes (e.g. sendmmsg).
    Syscall = not_captured::SYSCALL,
    /// sendfile or splice: the bytes never pass user memory.
    Splice = not_captured::SPLICE,
    /// MSG_OOB, MSG_ERRQUEUE, MSG_TRUNC.
    Flags = not_captured::FLAGS,
    /// Reading user memory failed (page not present, lockdown).
    Fault = not_captured::FAULT,
}

impl NotCaptured {
    pub const ALL: [Self; 7] = [
        Self::IoUring,
        Self::Task32,
        Self::UpperLayer,
        Self::Syscall,
        Self::Splice,
        Self::Flags,
        Self::Fault,
    ];

    /// The value of the `reason` label in the metrics and in `doctor`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Task32 => "task_32bit",
            Self::UpperLayer => "upper_layer_protocol",
            Self::Syscall => "syscall",
            Self::Splice => "splice",
            Self::Flags => "flags",
            Self::Fault => "fault",
        }
    }
}

/// Everything that can enter the pipeline.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Wall-clock offset: Unix nanoseconds = `Timestamp` + `unix_offset`. First event of every source; may repeat.
    Clock {
        at: Timestamp,
        unix_offset: u64,
    },
    /// The key of all span and trace ids of this run.
    RunKey([u8; 16]),
    /// A process is selected, or a selected one executed another program: `facts.pid` speaks as this from now on.
    Process {
        at: Timestamp,
        facts: Box<ProcessFacts>,
    },
    /// A selected process was forked (a new process, not a thread); facts for the child follow when they differ.
    Fork {
        at: Timestamp,
        parent: u32,
        child: u32,
    },
    /// The last thread of a selected process is gone.
    Exit {
        at: Timestamp,
        pid: u32,
    },
    Connecting(Connecting),
    Connected {
        at: Timestamp,
        socket: SocketId,
        connection: ConnectionId,
    },
    ConnectFailed {
        at: Timestamp,
        socket: SocketId,
        /// Positive errno; 0 when the program itself closed the socket before an answer came.
        errno: u16,
    },
    Opened(Opened),
    PlaintextOpened(PlaintextOpened),
    Transfer(Transfer<'a>),
    /// No more bytes will come in `direction` after `position`: FIN sent (`Out`) or FIN read (`In`); of the plaintext,
    /// `close_notify`.
    HalfClosed {
        at: Timestamp,
        connection: ConnectionId,
        layer: Layer,
        direction: Direction,
        position: u64,
        /// Who sent or read it; `None` where that is not known, or where bytes came with it.
        actor: Option<Actor>,
    },
    /// A sockmap takes bytes of the connection past TCP: from here on positions count what the calls moved, and are no
    /// sequence numbers.
    Redirected {
        at: Timestamp,
        connection: ConnectionId,
    },
    LocalClosed(LocalClosed),
    /// A program has closed a socket whose end was told before, by [`Closed`] or [`Event::ConnectFailed`].
    Released {
        at: Timestamp,
        /// `None`: the connect had failed.
        connection: Option<ConnectionId>,
        socket: SocketId,
        actor: Actor,
    },
    Closed(Closed),
    Asked(Asked),
    /// Event time has reached `at` (every 100 ms, also when nothing else happens). All events older than `at` minus
    /// the source's reordering (a few ms) have been delivered.
    Tick {
        at: Timestamp,
    },
    /// The source ends: whatever waits is finished as it stands.
    Shutdown {
        at: Timestamp,
    },
}

impl Event<'_> {
    /// When it happened; `None` for the run key, which has no time.
    #[must_use]
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::RunKey(_) => None,
            Self::Clock { at, .. }
            | Self::Process { at, .. }
            | Self::Fork { at, .. }
            | Self::Exit { at, .. }
            | Self::Connected { at, .. }
            | Self::ConnectFailed { at, .. }
            | Self::HalfClosed { at, .. }
            | Self::Released { at, .. }
            | Self::Redirected { at, .. }
            | Self::Tick { at }
            | Self::Shutdown { at } => Some(*at),
            Self::Connecting(event) => Some(event.at),
            Self::Opened(event) => Some(event.at),
            Self::PlaintextOpened(event) => Some(event.at),
            Self::Transfer(event) => Some(event.at),
            Self::LocalClosed(event) => Some(event.at),
            Self::Closed(event) => Some(event.at),
            Self::Asked(event) => Some(event.at),
        }
    }
}

/// A selected process has begun to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connecting {
    pub at: Timestamp,
    pub socket: SocketId,
    pub thread: Thread,
    pub peer: Endpoint,
    pub last_receive: Option<LastReceive>,
    /// [`Task::Handoff`]: the goroutine that has started the one which connects; the last input is its.
    pub task: Option<Task>,
}

/// A selected process was first observed on a connection; comes before its first [`Transfer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub at: Timestamp,
    pub connection: ConnectionId,
    pub thread: Thread,
    pub local: Endpoint,
    pub peer: Endpoint,
    /// Inode of the network namespace.
    pub network_namespace: u32,
    /// Absolute TCP sequence number of `first_position` (of a unix socket 0), by [`Direction::index`]. That position is a multiple of 2^32, so
    /// that any position's sequence number is this plus its low 32 bits.
    pub first_sequence: [u32; 2],
    /// Position of either direction's next byte when it was first observed. A system call that was logged later may have moved its bytes before
    /// that; they lie before this position.
    pub first_position: u64,
    /// What had moved before that, by [`Direction::index`].
    pub earlier: [Earlier; 2],
}

/// The plaintext of a connection was first observed; comes after [`Opened`], and before the first [`Transfer`] of this
/// layer. Position 0 of either direction is the next byte when it was first observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaintextOpened {
    pub at: Timestamp,
    pub connection: ConnectionId,
    pub thread: Thread,
    /// What had moved before that, by [`Direction::index`].
    pub earlier: [Earlier; 2],
}

/// What had moved in a direction of a connection before it was first observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// The first byte is the stream's first.
    Nothing,
    /// So many bytes, more than none.
    Bytes(u64),
    /// Too many to count, or nobody counts.
    Unknown,
}

impl Earlier {
    /// Where only this is known.
    #[must_use]
    pub const fn unless(from_start: bool) -> Self {
        if from_start { Self::Nothing } else { Self::Unknown }
    }
}

/// One system call moved `length` bytes; they lie at `position .. position + length` of `direction`. With a length of 0
/// only its counts of what was lost say something.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    pub at: Timestamp,
    pub connection: ConnectionId,
    pub layer: Layer,
    pub direction: Direction,
    /// Of the call's first byte; see [`Opened::first_position`].
    pub position: u64,
    pub length: u32,
    pub thread: Thread,
    /// The first bytes of the call, at `position`.
    pub head: &'a [u8],
    /// The last bytes of the call, at `position + length - tail.len()`; empty when `head` is everything.
    pub tail: &'a [u8],
    /// Set when no byte was captured, and why.
    pub not_captured: Option<NotCaptured>,
    /// On sends: what the thread, or the goroutine, had taken in last.
    pub last_receive: Option<LastReceive>,
    pub task: Option<Task>,
    /// Bytes of this connection and direction lost so far because the ring was full.
    pub dropped: u64,
    /// Events of this process lost so far, all connections together.
    pub process_drops: u64,
}

impl Transfer<'_> {
    /// The stream whose bytes these are.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        StreamId { connection: self.connection, layer: self.layer }
    }
}

/// The program has let go of a connection: close(), shutdown() of both directions, or its exit. It can neither send nor receive
/// on it any more, whatever TCP still does with it until [`Closed`]. Also ends direction `Out`, if that was not told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalClosed {
    pub at: Timestamp,
    pub connection: ConnectionId,
    /// Who closed it; not always a thread of the process that used it.
    pub actor: Actor,
    /// Where what the program sent and read ends, by [`Direction::index`].
    pub position: [u64; 2],
    /// The peer's FIN had been received before, read or not.
    pub peer_finished: bool,
}

/// The end of a connection, with the kernel's own counts since it was first observed, by [`Direction::index`]. Or the end of
/// its plaintext alone, with the library's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    pub at: Timestamp,
    pub connection: ConnectionId,
    pub layer: Layer,
    /// Positive errno of the socket (ECONNRESET …), 0 for an ordinary close.
    pub errno: u16,
    /// Bytes of the stream; on the wire by sequence numbers, without the FIN.
    pub observed: [u64; 2],
    /// Bytes whose event found no room in the ring.
    pub dropped: [u64; 2],
    /// Bytes for which no event was made on purpose (skip, opaque).
    pub skipped: [u64; 2],
}
