//! The life of a connection: cookie, first observation, position. `connect.rs` has what comes
//! before, `close.rs` the end.

use core::ptr::write_volatile;

use agent_common::{
    By, Connection, Counter, FIRST_POSITION, HalfClosed, IN, LastReceive, MISSING, OUT, Opened,
    UNKNOWN_EARLIER, conn_flags, kind, report_listen,
};
use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_socket_cookie,
    programs::{RawTracePointContext, SockOpsContext},
};

use crate::{
    close, connect,
    context::Actor,
    count::add,
    facts,
    kernel::{self, Sock},
    maps::{CONNECTIONS, OWN_FLOWS, SCRATCH, offset, tunable},
    process, ring,
};

// Operations of sock_ops programs
// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>)
const TCP_CONNECT_CB: u32 = 3;
const ACTIVE_ESTABLISHED_CB: u32 = 4;
const PASSIVE_ESTABLISHED_CB: u32 = 5;

// TCP states (<https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>)
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const FIN_WAIT1: i32 = 4;
const FIN_WAIT2: i32 = 5;
const CLOSE: i32 = 7;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;
const CLOSING: i32 = 11;

/// How many sequence numbers there are. The order of two of them is known within half of these.
const SEQUENCES: u64 = 1 << 32;

// Flag of bpf_map_update_elem
// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>)
const BPF_NOEXIST: u64 = 1;

/// A connection's entry in CONNECTIONS. A close may remove it while a system call uses it. The
/// kernel keeps the memory until the program ends. If it reuses the preallocated entry meanwhile,
/// the counters of one connection are off by one system call.
#[derive(Clone, Copy)]
pub(crate) struct Traced {
    pub cookie: u64,
    pub state: *mut Connection,
}

/// Bits of `conn_flags` of an entry.
#[inline(always)]
pub(crate) fn flags(state: *mut Connection) -> u32 {
    // SAFETY: see `Traced`.
    unsafe { (*state).flags }
}

/// Sets the bits of `conn_flags` of an entry.
#[inline(always)]
pub(crate) fn set_flags(state: *mut Connection, flags: u32) {
    // SAFETY: see `Traced`.
    unsafe { (*state).flags = flags };
}

/// Makes the cookie of every new socket: when a connection is accepted by the kernel, nobody knows
/// yet which process will take it.
#[inline(always)]
pub(crate) fn make_cookie(ctx: &SockOpsContext) {
    match ctx.op() {
        TCP_CONNECT_CB | ACTIVE_ESTABLISHED_CB | PASSIVE_ESTABLISHED_CB => {}
        _ => return,
    }
    add(Counter::CallSockOps, 1);
    // SAFETY: the helper takes the sock_ops context.
    let _cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
}

/// The traced connection of a socket, made when it is first observed. `None`: it is not to be
/// traced.
#[inline(always)]
pub(crate) fn find<C: EbpfContext>(
    ctx: &C,
    sock: Sock,
    length: u32,
    direction: usize,
) -> Result<Option<Traced>, Counter> {
    let cookie = kernel::field(sock, offset!(sock_cookie));
    if cookie != 0
        && let Some(state) = CONNECTIONS.get_ptr_mut(cookie)
    {
        // SAFETY: see `Traced`.
        let (flags, announced) = unsafe { ((*state).flags, (*state).announced) };
        if flags & conn_flags::OWN != 0 {
            return Ok(None);
        }
        if announced != 0 {
            return Ok(Some(Traced { cookie, state }));
        }
    }
    if !open(sock, cookie, length, direction)? {
        return Ok(None);
    }
    log_opened(ctx, cookie);
    match CONNECTIONS.get_ptr_mut(cookie) {
        Some(state) => Ok(Some(Traced { cookie, state })),
        None => Err(Counter::ConnectionsFull),
    }
}

/// Beside `open` and not inside it: the stack frames along a chain of functions add up.
#[inline(never)]
fn log_opened<C: EbpfContext>(ctx: &C, cookie: u64) {
    aya_log_ebpf::debug!(ctx, "connection {} of process {} opened", cookie, Actor::current().pid);
}

/// A connection is first observed. Two CPUs may come here at once, one with a send and one with a
/// receive. The entry of the first one is kept. Each announces the connection before it reports its
/// own system call, so that the agent never sees a system call on an unknown connection. False: it
/// is not to be traced.
#[inline(never)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values by value are copied to the stack"
)]
fn open(sock: Sock, cookie: u64, length: u32, direction: usize) -> Result<bool, Counter> {
    let actor = Actor::current();
    if !kernel::traceable(sock)? {
        return Ok(false);
    }
    if cookie == 0 {
        return Err(Counter::NoCookie);
    }
    let scratch = SCRATCH.get_ptr_mut(direction as u32).ok_or(Counter::ReadFailed)?;
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    let (record, state, flow) =
        unsafe { (&mut (*scratch).opened, &mut (*scratch).connection, &mut (*scratch).flow) };
    let family: u16 = kernel::read(sock, offset!(sock_family))?;
    kernel::flow_into(sock, family, flow)?;
    // SAFETY: values are plain numbers.
    let own = unsafe { OWN_FLOWS.get(&*flow) }.is_some();
    let mut out = kernel::write_seq(sock)?;
    let mut copied = kernel::copied_seq(sock)?;
    if kernel::fin_consumed(sock, copied)? {
        copied = copied.wrapping_sub(1);
    }
    let redirected = kernel::replaced(sock) && passed(sock, direction, [out, copied]) < length;
    if redirected {
        // No sequence number counts the bytes of this system call; `redirected` counts them.
    } else if direction == OUT {
        out = out.wrapping_sub(length);
    } else {
        copied = copied.wrapping_sub(length);
    }
    state.base = [u64::from(out), u64::from(copied)];
    state.next = [FIRST_POSITION | u64::from(out), FIRST_POSITION | u64::from(copied)];
    forget_receive(state);
    for direction in [OUT, IN] {
        // SAFETY: fields of this CPU's scratch. Volatile for the reason that `forget_receive`
        // gives.
        unsafe {
            write_volatile(&raw mut state.dropped[direction], 0);
            write_volatile(&raw mut state.skipped[direction], 0);
        }
    }
    state.flags = if own { conn_flags::OWN } else { 0 };
    // The peer may have reset the connection before anyone read from it.
    state.errno = kernel::error(sock) as u16;
    state.announced = 0;
    let first = CONNECTIONS.insert(cookie, &*state, BPF_NOEXIST).is_ok();
    let Some(state) = CONNECTIONS.get_ptr_mut(cookie) else { return Err(Counter::ConnectionsFull) };
    if !own {
        record.header = ring::header(kind::OPENED, direction as u8, 0);
        record.cookie = cookie;
        record.pid = actor.pid;
        record.tid = actor.tid;
        record.network_namespace = kernel::network_namespace(sock)?;
        record.family = family;
        record.local_port = flow.local_port;
        record.peer_port = flow.peer_port;
        record.padding = 0;
        // SAFETY: see `Traced`.
        record.first_sequence = unsafe { [(*state).base[OUT] as u32, (*state).base[IN] as u32] };
        earlier_into(sock, record);
        if redirected {
            // Earlier system calls may have been redirected, too.
            record.earlier = [UNKNOWN_EARLIER; 2];
        }
        record.local = flow.local;
        record.peer = flow.peer;
        record.user = facts::user(facts::current());
        if !ring::put(record) {
            if first {
                let _gone = CONNECTIONS.remove(cookie);
            }
            return Err(Counter::DropOpened);
        }
        // SAFETY: see `Traced`.
        unsafe { (*state).announced = 1 };
    }
    Ok(!own)
}

/// Bytes that had moved before the connection was first observed, by the kernel's RFC 4898
/// counters, which count from the handshake. The system call that moved them may not have returned
/// yet. The counters are read without the socket's lock: if another thread sends meanwhile they may
/// not fit together, and the stream counts as older.
#[inline(always)]
fn earlier_into(sock: Sock, record: &mut Opened) {
    record.earlier = [passed(sock, OUT, record.first_sequence), passed(sock, IN, record.first_sequence)];
}

/// Bytes of a direction that TCP has moved before `sequence` (out, in); [`UNKNOWN_EARLIER`] where
/// TCP does not count them.
#[inline(always)]
fn passed(sock: Sock, direction: usize, sequence: [u32; 2]) -> u32 {
    if offset!(bytes_received) == MISSING
        || offset!(bytes_sent) == MISSING
        || offset!(bytes_retrans) == MISSING
    {
        return UNKNOWN_EARLIER;
    }
    if direction == IN {
        let received = kernel::read::<u64>(sock, offset!(bytes_received)).unwrap_or(u64::MAX);
        let next = kernel::read::<u32>(sock, offset!(rcv_nxt)).unwrap_or(0);
        return bytes_since(received, next, sequence[IN]);
    }
    let sent = kernel::read::<u64>(sock, offset!(bytes_sent)).unwrap_or(u64::MAX);
    let again = kernel::read::<u64>(sock, offset!(bytes_retrans)).unwrap_or(0);
    let next = kernel::read::<u32>(sock, offset!(snd_nxt)).unwrap_or(0);
    bytes_since(sent.wrapping_sub(again), next, sequence[OUT])
}

/// Bytes between the first one of a stream and the one at `here`. Of the stream, `moved` bytes lie
/// before `next`.
#[inline(always)]
fn bytes_since(moved: u64, next: u32, here: u32) -> u32 {
    if moved >= SEQUENCES / 2 {
        return UNKNOWN_EARLIER;
    }
    let bytes = here.wrapping_sub(next.wrapping_sub(moved as u32));
    // A FIN counts in `next`; some kernels count it in `moved` and others do not.
    if bytes == u32::MAX { 0 } else { bytes }
}

/// The position of sequence number `sequence`.
#[inline(always)]
pub(crate) fn at(state: *mut Connection, direction: usize, sequence: u32) -> u64 {
    // SAFETY: see `Traced`.
    unsafe {
        let known = (*state).next[direction];
        let moved = sequence.wrapping_sub(known as u32) as i32;
        known.wrapping_add(i64::from(moved) as u64).wrapping_sub((*state).base[direction])
    }
}

/// Moves a direction to sequence number `sequence`. A system call does so after it has reported its
/// bytes. A reset may come meanwhile on another CPU; the end is not reported before every direction
/// has been moved (`close::awaited`).
#[inline(always)]
pub(crate) fn advance(state: *mut Connection, direction: usize, sequence: u32) {
    // SAFETY: see `Traced`; one aligned word is stored, two threads on one socket at worst store
    // the older one last.
    unsafe {
        let known = (*state).next[direction];
        let moved = sequence.wrapping_sub(known as u32) as i32;
        if moved > 0 {
            (*state).next[direction] = known.wrapping_add(i64::from(moved) as u64);
        }
    }
}

/// Whether a system call of `length` bytes that ended at `sequence` did not start where the last
/// one ended.
#[inline(always)]
pub(crate) fn jumps(state: *mut Connection, direction: usize, sequence: u32, length: u32) -> bool {
    // SAFETY: see `Traced`.
    let known = unsafe { (*state).next[direction] } as u32;
    known.wrapping_add(length) != sequence
}

/// Whether, as TCP counts, no byte of a direction has moved since the last system call.
#[inline(always)]
pub(crate) fn stands(state: *mut Connection, direction: usize, sequence: u32) -> bool {
    // SAFETY: see `Traced`.
    unsafe { (*state).next[direction] as u32 == sequence }
}

/// A system call has moved bytes, and TCP's count stands still: a sockmap took the bytes to the
/// queue of the other socket (`tcp_bpf_send_verdict`, `tcp_bpf_recvmsg`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_bpf.c>). From here on the length of
/// system calls makes the position, and the agent learns that positions are not sequence numbers.
/// Where no sockmap has the socket, the system call of another thread has counted the bytes of
/// both.
#[inline(never)]
pub(crate) fn redirected(sock: Sock, cookie: u64, state: *mut Connection, direction: usize, length: u32) {
    if !kernel::replaced(sock) {
        return;
    }
    add(Counter::Redirected, 1);
    let direction = direction & 1;
    // SAFETY: see `Traced`.
    unsafe { atomic_add(&raw mut (*state).base[direction], u64::from(length).wrapping_neg()) };
    let flags = flags(state);
    if flags & conn_flags::REDIRECTED != 0 {
        return;
    }
    let record = HalfClosed {
        header: ring::header(kind::REDIRECTED, direction as u8, 0),
        cookie,
        position: position(state, direction),
        by: By::NOBODY,
    };
    if ring::put(&record) {
        set_flags(state, flags | conn_flags::REDIRECTED);
    } else {
        add(Counter::DropRedirected, 1);
    }
}

/// fexit: a receive of TCP has ended, maybe inside a receive of a sockmap.
#[inline(always)]
pub(crate) fn note_inner_receive(sock: Sock) {
    if offset!(sock_user_data) == MISSING || !kernel::is_set(sock, offset!(sock_user_data)) {
        return;
    }
    if let Ok(Some(traced)) = known(sock) {
        set_flags(traced.state, flags(traced.state) | conn_flags::INNER_RECEIVE);
    }
}

/// fexit: whether the receive inside a sockmap's has already reported the bytes of the receive that
/// ends now.
#[inline(always)]
pub(crate) fn take_inner_receive(sock: Sock) -> bool {
    let Ok(Some(traced)) = known(sock) else { return false };
    let flags = flags(traced.state);
    set_flags(traced.state, flags & !conn_flags::INNER_RECEIVE);
    flags & conn_flags::INNER_RECEIVE != 0
}

/// A program sends on an opaque connection: remembers the last receive for the next response. Two
/// sends with different last receives leave none.
#[inline(always)]
pub(crate) fn carry(state: *mut Connection, receive: LastReceive) {
    // SAFETY: see `Traced`.
    unsafe {
        let same = (*state).carried.cookie == receive.cookie && (*state).carried.position == receive.position;
        if (*state).flags & conn_flags::WROTE == 0 {
            (*state).carried = receive;
            (*state).flags |= conn_flags::WROTE;
        } else if !same {
            forget_receive(state);
        }
    }
}

/// Nothing is carried. Word by word: for two zeros in a row the compiler emits memset, whose stack
/// frame counts among the 512 bytes of all.
#[inline(always)]
fn forget_receive(state: *mut Connection) {
    // SAFETY: see `Traced`.
    unsafe {
        write_volatile(&raw mut (*state).carried.cookie, 0);
        write_volatile(&raw mut (*state).carried.position, 0);
    }
}

/// A program receives on an opaque connection: the last receive that its last send had.
#[inline(always)]
pub(crate) fn carried(state: *mut Connection) -> LastReceive {
    // SAFETY: see `Traced`.
    unsafe {
        (*state).flags &= !conn_flags::WROTE;
        (*state).carried
    }
}

/// Adds without losing an addition of another CPU.
#[inline(always)]
pub(crate) fn atomic_add(slot: *mut u64, n: u64) {
    // SAFETY: `slot` is an aligned word of a map value; BPF_XADD is in every kernel.
    unsafe {
        core::arch::asm!("lock *(u64 *)({slot} + 0) += {n}", slot = in(reg) slot, n = in(reg) n);
    }
}

/// A TCP socket changes its state. May run in softirq: `current` means something only in the states
/// that say so.
#[inline(always)]
pub(crate) fn try_state(ctx: &RawTracePointContext, sock: Sock, old: i32, new: i32) -> Result<(), Counter> {
    match (old, new) {
        (_, SYN_SENT) => connect::begin(sock),
        (SYN_SENT, ESTABLISHED) => connect::succeed(sock),
        (SYN_SENT, CLOSE) => connect::fail(sock),
        (_, LISTEN) => listening(sock),
        // close() after shutdown(SHUT_WR) reports the same state once more (`tcp_close_state`,
        // <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).
        (_, FIN_WAIT1 | LAST_ACK) | (FIN_WAIT2, FIN_WAIT2) | (CLOSING, CLOSING) => close::shut(sock),
        (_, CLOSE) => close::closed(ctx, sock, old),
        _ => Ok(()),
    }
}

/// In the context of listen(): a rule may select by port.
#[inline(always)]
fn listening(sock: Sock) -> Result<(), Counter> {
    if tunable!(report_listen) == report_listen::NONE {
        return Ok(());
    }
    if !kernel::traceable(sock)? {
        return Ok(());
    }
    let port: u16 = kernel::read(sock, offset!(sock_num))?;
    process::try_listen(Actor::current(), u32::from(port))
}

/// The entry of a connection that is already traced.
#[inline(always)]
pub(crate) fn known(sock: Sock) -> Result<Option<Traced>, Counter> {
    let cookie = kernel::cookie(sock)?;
    if cookie == 0 {
        return Ok(None);
    }
    Ok(CONNECTIONS.get_ptr_mut(cookie).map(|state| Traced { cookie, state }))
}

/// Next position of a direction.
#[inline(always)]
pub(crate) fn position(state: *mut Connection, direction: usize) -> u64 {
    // SAFETY: see `Traced`.
    unsafe { (*state).next[direction].wrapping_sub((*state).base[direction]) }
}
