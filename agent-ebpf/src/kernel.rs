//! Reads kernel structures, by the offsets that the agent took from BTF.

use agent_common::{Counter, FlowKey, MISSING};
use aya_ebpf::helpers::{bpf_probe_read_kernel, generated::bpf_skc_to_tcp_sock};

use crate::maps::offset;

/// A `struct sock *`, as a number: never dereferenced, only read through helpers.
pub(crate) type Sock = u64;

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
/// Bit of `sk_flags`: the peer's FIN was received in order (`enum sock_flags`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h>).
const SOCK_DONE: u64 = 1 << 1;

/// Reads a `T` at `base + offset`.
#[inline(always)]
pub(crate) fn read<T>(base: u64, offset: u32) -> Result<T, Counter> {
    let address = (base + u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(address) }.map_err(|_| Counter::ReadFailed)
}

/// A field of a structure whose type the verifier knows: an argument of a program that is checked
/// against BTF, or the result of a helper. This is a plain load, where [`read`] needs a helper. The
/// offset is a constant of a frozen map, so that the verifier knows which field it is.
#[inline(always)]
pub(crate) fn field<T: Copy>(base: u64, offset: u32) -> T {
    // SAFETY: the verifier refuses what is no field of the type; a load that faults gives 0.
    unsafe { core::ptr::read_volatile((base + u64::from(offset)) as *const T) }
}

/// Whether a pointer field is not null. In assembly: the compiler may compute with the value, and
/// the verifier refuses that of a pointer.
#[inline(always)]
pub(crate) fn is_set(base: u64, offset: u32) -> bool {
    let pointer: u64 = field(base, offset);
    let set: u64;
    // SAFETY: changes only its output.
    unsafe {
        core::arch::asm!("{set} = 1", "if {pointer} != 0 goto +1", "{set} = 0", set = out(reg) set, pointer = in(reg) pointer);
    }
    set != 0
}

/// The socket's cookie; 0 until somebody asks for it.
#[inline(always)]
pub(crate) fn cookie(sock: Sock) -> Result<u64, Counter> {
    read(sock, offset!(sock_cookie))
}

/// A `struct tcp_sock *`, as the verifier knows it.
#[derive(Clone, Copy)]
pub(crate) struct Tcp(u64);

impl Tcp {
    /// Of a socket that the verifier knows; `None`: it is not TCP.
    #[inline(always)]
    pub(crate) fn of(sock: Sock) -> Option<Self> {
        // SAFETY: the verifier checks that this is a socket; the helper looks whether it is TCP.
        let tcp = unsafe { bpf_skc_to_tcp_sock(sock as *mut _) } as u64;
        if tcp == 0 { None } else { Some(Self(tcp)) }
    }

    #[inline(always)]
    pub(crate) fn write_seq(self) -> u32 {
        field(self.0, offset!(write_seq))
    }

    #[inline(always)]
    pub(crate) fn copied_seq(self) -> u32 {
        field(self.0, offset!(copied_seq))
    }

    /// Whether an upper-layer protocol (kTLS) is on the socket: the bytes at the system call are
    /// not those of the stream.
    #[inline(always)]
    pub(crate) fn upper_layer(self) -> bool {
        offset!(ulp_ops) != MISSING && is_set(self.0, offset!(ulp_ops))
    }
}

/// Whether this is a plain TCP socket of a program.
#[inline(always)]
pub(crate) fn traceable(sock: Sock) -> Result<bool, Counter> {
    let family: u16 = read(sock, offset!(sock_family))?;
    if family != AF_INET && family != AF_INET6 {
        return Ok(false);
    }
    let protocol: u16 = read(sock, offset!(sock_protocol))?;
    if protocol == IPPROTO_MPTCP {
        return Err(Counter::Mptcp);
    }
    if protocol != IPPROTO_TCP {
        return Ok(false);
    }
    let kern: u8 = read(sock, offset!(sock_kern_byte))?;
    if u32::from(kern) & offset!(sock_kern_mask) != 0 {
        return Err(Counter::KernelSocket);
    }
    Ok(true)
}

/// The `struct sock *` of a `struct socket *`, both known to the verifier; 0: it has none any more.
#[inline(always)]
pub(crate) fn socket_of(socket: u64) -> Sock {
    field(socket, offset!(socket_sk))
}

#[inline(always)]
pub(crate) fn write_seq(sock: Sock) -> Result<u32, Counter> {
    read(sock, offset!(write_seq))
}

#[inline(always)]
pub(crate) fn copied_seq(sock: Sock) -> Result<u32, Counter> {
    read(sock, offset!(copied_seq))
}

/// Whether the program has read past the peer's FIN, which counts one in `copied_seq`
/// (`found_fin_ok` in `tcp_recvmsg_locked`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).
#[inline(always)]
pub(crate) fn fin_consumed(sock: Sock, copied: u32) -> Result<bool, Counter> {
    let flags: u64 = read(sock, offset!(sock_flags))?;
    if flags & SOCK_DONE == 0 {
        return Ok(false);
    }
    let next: u32 = read(sock, offset!(rcv_nxt))?;
    Ok(next == copied)
}

/// Whether received bytes wait to be read. A FIN that was received and not yet read counts one in
/// `rcv_nxt`.
#[inline(always)]
pub(crate) fn unread(sock: Sock, copied: u32) -> Result<bool, Counter> {
    let flags: u64 = read(sock, offset!(sock_flags))?;
    let next: u32 = read(sock, offset!(rcv_nxt))?;
    let waiting = next.wrapping_sub(copied);
    Ok(waiting > u32::from(flags & SOCK_DONE != 0))
}

/// Whether something may have replaced the operations of the socket: a sockmap's `sk_psock`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/linux/skmsg.h>). No other user of
/// `sk_user_data` takes a connection that a process reads and writes itself.
#[inline(always)]
pub(crate) fn replaced(sock: Sock) -> bool {
    offset!(sock_user_data) != MISSING && read::<u64>(sock, offset!(sock_user_data)).unwrap_or(0) != 0
}

/// `SHUTDOWN_MASK` (<https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h>): both
/// directions.
const BOTH_SHUT: u8 = 3;

/// Whether both directions are shut: by the program, or the receiving one by the peer's FIN
/// (`tcp_fin`, <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>). Without the
/// field the result is false.
#[inline(always)]
pub(crate) fn both_shut(sock: Sock) -> Result<bool, Counter> {
    if offset!(sock_shutdown) == MISSING {
        return Ok(false);
    }
    let shutdown: u8 = read(sock, offset!(sock_shutdown))?;
    Ok(shutdown & BOTH_SHUT == BOTH_SHUT)
}

/// Whether the peer's FIN was received in order, read or not.
#[inline(always)]
pub(crate) fn peer_finished(sock: Sock) -> Result<bool, Counter> {
    let flags: u64 = read(sock, offset!(sock_flags))?;
    Ok(flags & SOCK_DONE != 0)
}

/// The low 16 bits of `sk_err`: an errno.
#[inline(always)]
pub(crate) fn error(sock: Sock) -> u32 {
    read::<u32>(sock, offset!(sock_err)).unwrap_or(0) & 0xffff
}

/// Both ends of a socket; IPv4 addresses in IPv4-mapped form.
#[inline(always)]
pub(crate) fn flow_into(sock: Sock, family: u16, flow: &mut FlowKey) -> Result<(), Counter> {
    let peer_port: u16 = read(sock, offset!(sock_dport))?;
    flow.local_port = read(sock, offset!(sock_num))?;
    flow.peer_port = u16::from_be(peer_port);
    flow.padding = 0;
    if family == AF_INET6 {
        flow.local = read(sock, offset!(sock_v6_rcv_saddr))?;
        flow.peer = read(sock, offset!(sock_v6_daddr))?;
        return Ok(());
    }
    map(&mut flow.local, read(sock, offset!(sock_rcv_saddr))?);
    map(&mut flow.peer, read(sock, offset!(sock_daddr))?);
    Ok(())
}

/// `::ffff:a.b.c.d`
#[inline(always)]
fn map(address: &mut [u8; 16], v4: u32) {
    let words = address.as_mut_ptr().cast::<u32>();
    // SAFETY: 16 bytes, aligned to 4 within a `FlowKey`. Volatile, or the compiler emits memset.
    unsafe {
        words.write_volatile(0);
        words.add(1).write_volatile(0);
        words.add(2).write_volatile(0xffff_u32.to_be());
        words.add(3).write_volatile(v4);
    }
}

/// Inode of the socket's network namespace.
#[inline(always)]
pub(crate) fn network_namespace(sock: Sock) -> Result<u32, Counter> {
    let net: u64 = read(sock, offset!(sock_net))?;
    read(net, offset!(net_inum))
}
