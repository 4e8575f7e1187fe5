//! Numbers of the system calls that move bytes of a socket or connect it, on x86-64
//! (<https://github.com/torvalds/linux/blob/v6.12/arch/x86/entry/syscalls/syscall_64.tbl>).

pub(crate) const READ: u64 = 0;
pub(crate) const WRITE: u64 = 1;
pub(crate) const READV: u64 = 19;
pub(crate) const WRITEV: u64 = 20;
pub(crate) const SENDFILE: u64 = 40;
pub(crate) const CONNECT: u64 = 42;
pub(crate) const SENDTO: u64 = 44;
pub(crate) const RECVFROM: u64 = 45;
pub(crate) const SENDMSG: u64 = 46;
pub(crate) const RECVMSG: u64 = 47;
pub(crate) const SPLICE: u64 = 275;
pub(crate) const RECVMMSG: u64 = 299;
pub(crate) const SENDMMSG: u64 = 307;
pub(crate) const PREADV2: u64 = 327;
pub(crate) const PWRITEV2: u64 = 328;
