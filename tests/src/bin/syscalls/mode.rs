//! The ways in which bytes move.

use std::io;

/// Which system calls move the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadWrite,
    /// `readv` and `writev` with three buffers.
    Vectors,
    /// `writev` with 48 buffers: more than a tracer looks at.
    ManyVectors,
    /// `recv` and `send`.
    SendRecv,
    /// `recvfrom` and `sendto`, with the peer's address asked for.
    SendTo,
    /// `recvmsg` and `sendmsg` with two buffers.
    SendMsg,
    /// `recvmmsg` and `sendmmsg` with two messages.
    SendMmsg,
    /// Bodies go out by `sendfile`.
    Sendfile,
    /// Bodies go in and out by `splice`.
    Splice,
    /// Everything is looked at with `MSG_PEEK` before it is read.
    Peek,
    /// Bodies are thrown away with `MSG_TRUNC`.
    Truncate,
    /// Not blocking, with the smallest send buffer: partial writes and EAGAIN.
    Partial,
    /// One byte per system call.
    Bytes,
    /// `read` and `write` of the 32-bit kernel interface.
    Int80,
    /// `read` and `write` in a task that has an io_uring and moves nothing through it.
    IdleRing,
    /// Through an io_uring, while the thread makes other system calls with other buffers.
    Ring,
}

impl Mode {
    pub(crate) const ALL: [Self; 16] = [
        Self::ReadWrite,
        Self::Vectors,
        Self::ManyVectors,
        Self::SendRecv,
        Self::SendTo,
        Self::SendMsg,
        Self::SendMmsg,
        Self::Sendfile,
        Self::Splice,
        Self::Peek,
        Self::Truncate,
        Self::Partial,
        Self::Bytes,
        Self::Int80,
        Self::IdleRing,
        Self::Ring,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::Vectors => "readv-writev",
            Self::ManyVectors => "many-iovecs",
            Self::SendRecv => "send-recv",
            Self::SendTo => "sendto-recvfrom",
            Self::SendMsg => "sendmsg-recvmsg",
            Self::SendMmsg => "sendmmsg-recvmmsg",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::Peek => "peek",
            Self::Truncate => "trunc",
            Self::Partial => "partial",
            Self::Bytes => "bytes",
            Self::Int80 => "int80",
            Self::IdleRing => "idle-io-uring",
            Self::Ring => "io-uring",
        }
    }

    pub(crate) fn named(name: &str) -> io::Result<Self> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| io::Error::other(format!("no mode {name}: `syscalls modes` lists them")))
    }
}
