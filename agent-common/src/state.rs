//! Keys and values of the maps.

/// Values of the map `EXES`.
pub mod verdict {
    /// A process that executes this file is selected.
    pub const SELECT: u32 = 1;
    /// No rule can select a process that executes this file.
    pub const IGNORE: u32 = 2;
    /// No rule excludes a process that executes this file: the kernel may decide by cgroup or port.
    pub const ALLOW: u32 = 3;
    /// The file alone does not decide. The same holds for a file that is not in the map.
    pub const OPEN: u32 = 4;
}

/// Bits of [`Connection::flags`].
pub mod conn_flags {
    /// The FIN was sent: `out` is final.
    pub const FIN_SENT: u32 = 1;
    /// The FIN was read and reported.
    pub const FIN_READ: u32 = 2;
    /// Closed, but the record found no room: the agent reads this entry.
    pub const CLOSED: u32 = 4;
    /// On an opaque connection: the program has sent since its last receive.
    pub const WROTE: u32 = 8;
    /// The TCP state is CLOSE, but bytes are still to be read or reported. The record of the end
    /// comes with the last of them, or when the kernel destroys the socket.
    pub const DRAINING: u32 = 32;
    /// Direction out is framed by chunks: its system calls are captured whole. In: the next bit.
    pub const WHOLE_OUT: u32 = 64;
    /// The program has closed its end, and that was reported.
    pub const LOCAL_CLOSED: u32 = 256;
    /// Direction out: the last system call ended inside a head. In: the next bit.
    pub const HEAD_OUT: u32 = 4096;
    /// Its end was reported before its program closed it: only who closes it is still to be
    /// reported.
    pub const ENDED: u32 = 2048;
    /// Bytes of it passed by TCP, and that was reported: positions count the bytes of system calls.
    pub const REDIRECTED: u32 = 512;
    /// fexit: TCP's own receive, inside a sockmap's, has reported the bytes of the receive that
    /// ends now.
    pub const INNER_RECEIVE: u32 = 1024;
    /// A connection of the agent's own exporter, seen from the collector: never traced.
    pub const OWN: u32 = 16;
}

/// Connection and position of the last byte that a thread received; cookie 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct LastReceive {
    pub cookie: u64,
    pub position: u64,
}

const _: () = assert!(size_of::<LastReceive>() == 16);

impl LastReceive {
    /// Nothing was received.
    pub const NONE: Self = Self { cookie: 0, position: 0 };
}

/// Slots of the map `THREAD_SLOTS`.
pub const THREAD_SLOTS: u32 = 1 << 16;

/// The two words of a slot of the map `THREAD_SLOTS`, which has the last receive of a thread: cookie
/// and position, each above a tag that says whose they are among the threads of this slot. 0: the
/// slot is empty.
pub mod thread_slot {
    use crate::{LastReceive, THREAD_SLOTS};

    /// Ids have 22 bits at most (`PID_MAX_LIMIT`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/threads.h>), of which 16 name the
    /// slot; no tag is 0.
    const TAG_BITS: u32 = 7;
    const TAG: u64 = (1 << TAG_BITS) - 1;

    const fn tag(tid: u32) -> u64 {
        (tid / THREAD_SLOTS) as u64 + 1
    }

    /// Whether a word is this thread's.
    #[must_use]
    #[inline(always)]
    pub const fn is_of(word: u64, tid: u32) -> bool {
        word & TAG == tag(tid)
    }

    /// The words of a thread's receive.
    #[must_use]
    #[inline(always)]
    pub const fn packed(tid: u32, receive: LastReceive) -> [u64; 2] {
        [receive.cookie << TAG_BITS | tag(tid), receive.position << TAG_BITS | tag(tid)]
    }

    /// The receive of the thread that has the slot by its first word.
    #[must_use]
    #[inline(always)]
    pub const fn unpacked(tid: u32, [cookie, position]: [u64; 2]) -> LastReceive {
        if !is_of(position, tid) {
            return LastReceive::NONE;
        }
        LastReceive { cookie: self::cookie(cookie), position: (position as i64 >> TAG_BITS) as u64 }
    }

    /// The cookie in the first word. Cookies count up from 1 or, when an interrupt takes one while
    /// another is taken, down from -1 (`gen_cookie_next`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/cookie.h>): the sign is kept.
    #[must_use]
    #[inline(always)]
    pub const fn cookie(word: u64) -> u64 {
        (word as i64 >> TAG_BITS) as u64
    }
}

/// Values of [`Runtime::kind`].
pub mod runtime {
    pub const GO: u32 = 1;
    pub const CPYTHON: u32 = 2;
}

/// How the programs find the goroutine or context on the calling thread, as the agent found it in
/// the executable. Processes without an entry are keyed by their threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Runtime {
    pub kind: u32,
    /// Go: offset of `goid` in `g`. CPython: offset of `context` in `PyThreadState`.
    pub offset: u32,
    /// CPython: address of the pthread key of the current `PyThreadState`. Go: a 32-bit number for
    /// this run of the program, which tells its goroutines from those of an earlier program with
    /// the same pid.
    pub key: u64,
    /// CPython: address of `PyContext_Type`.
    pub context_type: u64,
    /// CPython: offset of the values of the first pthread keys from the base of the thread-local
    /// memory. Go: offset of `parentGoid` in `g`; 0: not known.
    pub specific: u32,
    pub padding: u32,
}

const _: () = assert!(size_of::<Runtime>() == 32);

/// A goroutine, or a `net/http` request by its address, in one run of a Go program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct GoKey {
    pub pid: u32,
    /// Low half of [`Runtime::key`].
    pub run: u32,
    /// Go never gives a number twice in one run.
    pub id: u64,
}

const _: () = assert!(size_of::<GoKey>() == 16);

/// The last receive of a goroutine, or the one that comes with a request handed to another
/// goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct GoReceive {
    pub last: LastReceive,
    /// The goroutine that handed over the request which this one writes; `last` is that
    /// goroutine's. 0: none.
    pub handoff_from: u64,
}

const _: () = assert!(size_of::<GoReceive>() == 24);

impl GoReceive {
    /// Nothing was received.
    pub const NONE: Self = Self { last: LastReceive::NONE, handoff_from: 0 };
}

/// Bits of a byte of the map `PIDS`.
pub mod pid_flags {
    /// The process is traced.
    pub const SELECTED: u8 = 1;
    /// The process moves bytes of sockets through io_uring: the last receive of its threads means
    /// nothing.
    pub const RINGS: u8 = 2;
    /// Records of the process were lost: `Process::drops` is not 0.
    pub const LOST: u8 = 4;
}

/// Pids in an entry of `PIDS`, one byte each: the kernel rounds the size of array entries up to
/// eight bytes.
pub const PIDS_PER_ENTRY: u32 = 8;

/// A selected process.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Process {
    /// Records of this process lost so far.
    pub drops: u64,
    /// Not 0: [`pid_flags::RINGS`].
    pub rings: u32,
    /// Records that asked the agent whether to trace the process; 0: the agent has selected it. A
    /// fork inherits the number.
    pub trials: u32,
}

impl Process {
    /// A process that the agent has just selected.
    pub const SELECTED: Self = Self { drops: 0, rings: 0, trials: 0 };

    /// A process that the kernel has begun to trace, and about which it asks the agent.
    pub const ON_TRIAL: Self = Self { trials: 1, ..Self::SELECTED };
}

const _: () = assert!(size_of::<Process>() == 16);

/// A traced connection. Arrays are (out, in).
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Connection {
    /// Sequence number after the last byte seen, unwrapped: the low 32 bits are the kernel's.
    pub next: [u64; 2],
    /// The same when first observed, less `FIRST_POSITION`: position = sequence - base.
    pub base: [u64; 2],
    /// Bytes whose record found no room.
    pub dropped: [u64; 2],
    /// Bytes that needed no record.
    pub skipped: [u64; 2],
    /// On an opaque connection: the last receive that came before its last send.
    pub carried: LastReceive,
    /// Inside a head: its last four bytes so far, and its length so far.
    pub head_end: [u32; 2],
    pub head_bytes: [u32; 2],
    pub flags: u32,
    /// errno at the close.
    pub errno: u16,
    /// Not 0 once the agent has its `Opened` record. Until then every program that finds the entry
    /// sends one.
    pub announced: u16,
}

const _: () = assert!(size_of::<Connection>() == 104);

/// What the agent asks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Control {
    /// Cookie of the connection. It stands first because the kernel writes it before the other
    /// fields (`control` in agent-ebpf).
    pub cookie: u64,
    /// System calls that end at or before this position make no record (out, in).
    pub skip_until: [u64; 2],
    /// Not 0: no records at all.
    pub opaque: u64,
    /// Bit 0 out, bit 1 in: system calls are captured whole.
    pub whole: u64,
}

impl Control {
    /// The agent asks for nothing.
    #[must_use]
    pub const fn nothing(cookie: u64) -> Self {
        Self { cookie, skip_until: [0; 2], opaque: 0, whole: 0 }
    }
}

const _: () = assert!(size_of::<Control>() == 40);

/// A connect in progress.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Pending {
    pub pid: u32,
    /// [`pending`].
    pub what: u32,
}

/// Values of [`Pending::what`].
pub mod pending {
    /// A connect in progress.
    pub const CONNECTING: u32 = 0;
    /// A connect of the agent itself, in progress.
    pub const OWN: u32 = 1;
    /// A connect that has failed, until its socket is destroyed.
    pub const FAILED: u32 = 2;
}

const _: () = assert!(size_of::<Pending>() == 8);

/// An executable file: the kernel's device number and the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ExeKey {
    pub inode: u64,
    pub device: u64,
}

const _: () = assert!(size_of::<ExeKey>() == 16);

/// A TCP connection of the agent as its *peer* sees it (the peer's own end first). Ports in host
/// byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct FlowKey {
    pub local: [u8; 16],
    pub peer: [u8; 16],
    pub local_port: u16,
    pub peer_port: u16,
    pub padding: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// To be filled in.
    pub const EMPTY: Self = Self { local: [0; 16], peer: [0; 16], local_port: 0, peer_port: 0, padding: 0 };
}
