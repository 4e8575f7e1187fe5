//! Reads of kernel structures by the offsets that user space took from BTF.

use agent_common::{Counter, FlowKey};
use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::maps::offset;

/// A `struct sock *`, as a number: never dereferenced, only read through helpers.
pub type Sock = u64;

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
/// Bit of `sk_flags`: the peer's FIN was received in order (`enum sock_flags`, include/net/sock.h).
const SOCK_DONE: u64 = 1 << 1;

/// Reads a `T` at `base + offset`.
#[inline(always)]
pub fn read<T>(base: u64, offset: u32) -> Result<T, Counter> {
    let address = (base + u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(address) }.map_err(|_| Counter::ReadFailed)
}

/// The socket's cookie; 0 while nobody has asked for it.
#[inline(always)]
pub fn cookie(sock: Sock) -> Result<u64, Counter> {
    read(sock, offset!(sock_cookie))
}

/// Whether this is a user's plain TCP socket.
#[inline(always)]
pub fn traceable(sock: Sock) -> Result<bool, Counter> {
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

/// `struct sock *` of a `struct socket *`.
#[inline(always)]
pub fn socket_of(socket: u64) -> Result<Sock, Counter> {
    read(socket, offset!(socket_sk))
}

#[inline(always)]
pub fn write_seq(sock: Sock) -> Result<u32, Counter> {
    read(sock, offset!(write_seq))
}

#[inline(always)]
pub fn copied_seq(sock: Sock) -> Result<u32, Counter> {
    read(sock, offset!(copied_seq))
}

/// Whether the user has read past the peer's FIN, which counts one in `copied_seq`
/// (found_fin_ok in tcp_recvmsg_locked, net/ipv4/tcp.c).
#[inline(always)]
pub fn fin_consumed(sock: Sock, copied: u32) -> Result<bool, Counter> {
    let flags: u64 = read(sock, offset!(sock_flags))?;
    if flags & SOCK_DONE == 0 {
        return Ok(false);
    }
    let next: u32 = read(sock, offset!(rcv_nxt))?;
    Ok(next == copied)
}

/// Whether received bytes wait to be read. A FIN that was received and not read yet counts one in `rcv_nxt`.
#[inline(always)]
pub fn unread(sock: Sock, copied: u32) -> Result<bool, Counter> {
    let flags: u64 = read(sock, offset!(sock_flags))?;
    let next: u32 = read(sock, offset!(rcv_nxt))?;
    let waiting = next.wrapping_sub(copied);
    Ok(waiting > u32::from(flags & SOCK_DONE != 0))
}

/// The low 16 bits of `sk_err`: an errno.
#[inline(always)]
pub fn error(sock: Sock) -> u32 {
    read::<u32>(sock, offset!(sock_err)).unwrap_or(0) & 0xffff
}

/// Both ends of a socket. IPv4 addresses stand in IPv4-mapped form.
#[inline(always)]
pub fn flow_into(sock: Sock, family: u16, flow: &mut FlowKey) -> Result<(), Counter> {
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
fn map(address: &mut [u8; 16], v4: [u8; 4]) {
    *address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]];
}

/// Inode of the socket's network namespace.
#[inline(always)]
pub fn network_namespace(sock: Sock) -> Result<u32, Counter> {
    let net: u64 = read(sock, offset!(sock_net))?;
    read(net, offset!(net_inum))
}
