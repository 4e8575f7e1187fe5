//! Records in the ring. Each starts with [`Header`]; a [`Transfer`] is followed by its captured
//! bytes.

use crate::ExeKey;

/// Most bytes captured from the start of one system call.
pub const CAPTURE_MAX: usize = 4096;

/// Most bytes captured from the end of one system call.
pub const TAIL_MAX: usize = 16;

/// Values of [`Header::kind`].
pub mod kind {
    pub const TRANSFER: u8 = 1;
    pub const OPENED: u8 = 2;
    pub const HALF_CLOSED: u8 = 3;
    pub const CLOSED: u8 = 4;
    pub const CONNECTING: u8 = 5;
    pub const CONNECTED: u8 = 6;
    pub const CONNECT_FAILED: u8 = 7;
    pub const FORK: u8 = 8;
    pub const EXEC: u8 = 9;
    pub const EXIT: u8 = 10;
    pub const LISTEN: u8 = 11;
    pub const CGROUP: u8 = 12;
    pub const LOCAL_CLOSED: u8 = 13;
    pub const RELEASED: u8 = 15;
    pub const REDIRECTED: u8 = 14;
}

/// Bits of `Header::flags` of a [`Transfer`]. Records with [`By`] have those bits that say what
/// `task` is.
pub mod transfer_flags {
    /// The system call also consumed the peer's FIN: the direction ends with it.
    pub const FIN: u8 = 1;
    /// `TransferRest::task` is a goroutine's id.
    pub const GOROUTINE: u8 = 2;
    /// Goroutine `TransferRest::task` had the writer of this connection send for it. The last
    /// receive is that of `TransferRest::task`.
    pub const HANDOFF: u8 = 4;
    /// `TransferRest::task` is the address of a CPython context.
    pub const CONTEXT: u8 = 8;
    /// The record has a [`LastReceive`](crate::LastReceive).
    pub const LAST_RECEIVE: u8 = 16;
    /// The record has a [`TransferRest`](crate::TransferRest).
    pub const REST: u8 = 32;
}

/// First bytes of every record.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Header {
    pub kind: u8,
    /// [`OUT`](crate::OUT) or [`IN`](crate::IN).
    pub direction: u8,
    /// Why no bytes were captured: a value of [`not_captured`](crate::not_captured).
    pub not_captured: u8,
    pub flags: u8,
    /// Transfer: bytes that the system call moved. Closed, connect failed: errno. Fork, exec,
    /// listen: `Process::trials`.
    pub length: u32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub at: u64,
}

const _: () = assert!(size_of::<Header>() == 16);

/// One system call that moved bytes. [`transfer_flags`] say which of the following parts the record
/// has: a [`LastReceive`](crate::LastReceive), a [`TransferRest`]. `head + tail` bytes of payload end it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Transfer {
    pub header: Header,
    pub cookie: u64,
    pub position: u64,
    pub pid: u32,
    pub tid: u32,
    pub head: u32,
    pub tail: u32,
}

const _: () = assert!(size_of::<Transfer>() == 48);

/// What most transfers have not: all of it is 0 where a record has no such part.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct TransferRest {
    /// Bytes of this connection and direction lost so far.
    pub dropped: u64,
    /// Records of this process lost so far.
    pub process_drops: u64,
    /// The goroutine or context that runs on this thread, by `flags`; 0: not known.
    pub task: u64,
}

const _: () = assert!(size_of::<TransferRest>() == 24);

/// A connection was first observed.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Opened {
    pub header: Header,
    pub cookie: u64,
    pub pid: u32,
    pub tid: u32,
    pub network_namespace: u32,
    /// AF_INET (2) or AF_INET6 (10).
    pub family: u16,
    /// Host byte order.
    pub local_port: u16,
    /// Network byte order, as in struct sock_common.
    pub peer_port: u16,
    pub padding: u16,
    /// Absolute sequence numbers of [`FIRST_POSITION`], out and in.
    pub first_sequence: [u32; 2],
    /// Bytes that had moved before, out and in. 0: the connection's start was observed.
    /// [`UNKNOWN_EARLIER`]: the kernel does not say.
    pub earlier: [u32; 2],
    /// IPv4 addresses use the first four bytes.
    pub local: [u8; 16],
    pub peer: [u8; 16],
    /// Effective user of the calling thread; [`UNKNOWN_USER`].
    pub user: u32,
}

const _: () = assert!(size_of::<Opened>() == 96);

/// Position of the next byte, in either direction, when the connection is first observed. A system
/// call that had moved its bytes by then and reports them afterwards has a smaller position. This
/// is a multiple of 2^32, so that the low half of a position added to `Opened::first_sequence`
/// gives the sequence number.
pub const FIRST_POSITION: u64 = 1 << 32;

/// So many bytes or more, or the kernel does not count them.
pub const UNKNOWN_EARLIER: u32 = u32::MAX;

/// Who made the system call, with the last receive and the task there (`transfer_flags`).
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct By {
    pub last_cookie: u64,
    pub last_position: u64,
    pub task: u64,
    pub pid: u32,
    pub tid: u32,
}

const _: () = assert!(size_of::<By>() == 32);

impl By {
    /// Nobody.
    pub const NOBODY: Self = Self { last_cookie: 0, last_position: 0, task: 0, pid: 0, tid: 0 };
}

/// No more bytes come in `header.direction` after `position`. Of kind `REDIRECTED`: the first bytes
/// that passed by TCP end there.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct HalfClosed {
    pub header: Header,
    pub cookie: u64,
    pub position: u64,
    pub by: By,
}

const _: () = assert!(size_of::<HalfClosed>() == 64);

/// Bit of `LocalClosed::header.flags`: the peer's FIN had come before.
pub const PEER_FINISHED: u8 = 1;

/// The program has closed its end of the connection: it can neither send nor receive on it any
/// more. Where the direction out ends at the same time, no [`HalfClosed`] is sent. [`Closed`]
/// follows when TCP has finished with the connection.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct LocalClosed {
    pub header: Header,
    pub cookie: u64,
    /// Where either direction ends, out and in.
    pub position: [u64; 2],
    /// Who closed it.
    pub by: By,
}

const _: () = assert!(size_of::<LocalClosed>() == 72);

/// The program has closed a socket whose end had been reported before: by [`Closed`] after a reset
/// or a timeout, or by a connect that failed. `cookie` is 0 where there was no connection.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Released {
    pub header: Header,
    /// Address of the struct sock.
    pub socket: u64,
    pub cookie: u64,
    pub by: By,
}

const _: () = assert!(size_of::<Released>() == 64);

/// The end of a connection, with the kernel's counts (out, in).
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Closed {
    pub header: Header,
    pub cookie: u64,
    pub observed: [u64; 2],
    pub dropped: [u64; 2],
    pub skipped: [u64; 2],
}

const _: () = assert!(size_of::<Closed>() == 72);

/// A selected process begins to connect.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Connecting {
    pub header: Header,
    /// Address of the struct sock.
    pub socket: u64,
    pub last_cookie: u64,
    pub last_position: u64,
    pub pid: u32,
    pub tid: u32,
    pub family: u16,
    /// Network byte order.
    pub peer_port: u16,
    pub padding: u32,
    pub peer: [u8; 16],
    /// What the runtime runs, by `header.flags`. With [`transfer_flags::HANDOFF`] it is the
    /// goroutine that started the connecting one, because the connecting one has received nothing;
    /// the last receive is that goroutine's, too.
    pub task: u64,
}

const _: () = assert!(size_of::<Connecting>() == 80);

/// The peer has accepted a connect (`cookie`), or the connect failed (`header.length` is the
/// errno).
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct SocketRecord {
    pub header: Header,
    pub socket: u64,
    pub cookie: u64,
}

const _: () = assert!(size_of::<SocketRecord>() == 32);

/// Bits of [`Header::flags`] in records of exec and listen.
pub mod process_flags {
    /// The kernel has selected the process, and no rule can say otherwise.
    pub const DECIDED: u8 = 1;
}

/// A user id that is not known: (uid_t) -1, which no process has.
pub const UNKNOWN_USER: u32 = u32::MAX;

/// What the kernel knows of a process at the moment of a record. 0 (user: [`UNKNOWN_USER`]) where
/// it could not be read.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct TaskFacts {
    /// Effective user, as the initial user namespace numbers it.
    pub user: u32,
    /// Process id of the parent.
    pub parent: u32,
    /// When its main thread began: nanoseconds since boot.
    pub start_time: u64,
    /// `start_code` and `start_stack` of its memory, which /proc/PID/stat shows too: an exec
    /// changes them.
    pub image: [u64; 2],
    /// Its executable; inode 0: not known.
    pub exe: ExeKey,
}

const _: () = assert!(size_of::<TaskFacts>() == 48);

/// Fork, exit, listen, cgroup change of a process; the first part of an exec.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ProcessRecord {
    pub header: Header,
    pub pid: u32,
    /// Fork: the child. Listen: the port.
    pub other: u32,
    /// Of the process; fork: of the child.
    pub facts: TaskFacts,
}

const _: () = assert!(size_of::<ProcessRecord>() == 72);

/// Most bytes reported of the name under which a file was executed, with its NUL.
pub const EXEC_NAME: usize = 256;

/// Most bytes reported of a program's arguments.
pub const EXEC_ARGUMENTS: usize = 1024;

/// A process has executed a program.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ExecRecord {
    pub process: ProcessRecord,
    /// Bytes of the arguments, NULs included. More than [`EXEC_ARGUMENTS`]: they are cut. 0: not
    /// known.
    pub arguments_length: u32,
    /// Bytes of the name with its NUL; 0: not known.
    pub name_length: u32,
    pub name: [u8; EXEC_NAME],
    pub arguments: [u8; EXEC_ARGUMENTS],
}

const _: () = assert!(size_of::<ExecRecord>() == 80 + EXEC_NAME + EXEC_ARGUMENTS);
