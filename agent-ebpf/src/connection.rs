//! The life of a connection: cookie, first sight, position. What comes before it is in `connect.rs`, its end in `close.rs`.

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

// enum sock_ops callbacks (include/uapi/linux/bpf.h)
const TCP_CONNECT_CB: u32 = 3;
const ACTIVE_ESTABLISHED_CB: u32 = 4;
const PASSIVE_ESTABLISHED_CB: u32 = 5;

// TCP states (include/net/tcp_states.h)
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const FIN_WAIT1: i32 = 4;
const FIN_WAIT2: i32 = 5;
const CLOSE: i32 = 7;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;
const CLOSING: i32 = 11;

/// How many sequence numbers there are. Bytes are told apart within half of them.
const SEQUENCES: u64 = 1 << 32;

// Flag of bpf_map_update_elem (include/uapi/linux/bpf.h)
const BPF_NOEXIST: u64 = 1;

/// A connection's entry in CONNECTIONS. It may be removed by the close while a call uses it: the kernel keeps the memory
/// until the program ends, and a preallocated entry reused meanwhile is one connection's counters off by one call.
#[derive(Clone, Copy)]
pub(crate) struct Traced {
    pub cookie: u64,
    pub state: *mut Connection,
}

/// Makes the cookie of a new socket, for every process: at passive establishment nobody knows yet who will accept.
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

/// The traced connection of a socket; made at first sight. `None`: not one to trace.
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
    let opened = open(sock, cookie, length, direction)?;
    if opened.is_some() {
        log_opened(ctx, cookie);
    }
    Ok(opened)
}

/// Beside `open` and not in it: stacks of what calls each other add up.
#[inline(never)]
fn log_opened<C: EbpfContext>(ctx: &C, cookie: u64) {
    aya_log_ebpf::debug!(ctx, "connection {} of process {} opened", cookie, Actor::current().pid);
}

/// First sight of a connection. Two CPUs may come here at once, one with a send and one with a receive: the entry of the first
/// one is kept, and each tells of it before it tells of its call, so that no call is told before it.
#[inline(never)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values by value are copied to the stack"
)]
fn open(sock: Sock, cookie: u64, length: u32, direction: usize) -> Result<Option<Traced>, Counter> {
    let actor = Actor::current();
    if !kernel::traceable(sock)? {
        return Ok(None);
    }
    if cookie == 0 {
        return Err(Counter::NoCookie);
    }
    let scratch = SCRATCH.get_ptr_mut(direction as u32).ok_or(Counter::ReadFailed)?;
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program ends.
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
        // No sequence number counts this call's bytes; the call itself will (`redirected`).
    } else if direction == OUT {
        out = out.wrapping_sub(length);
    } else {
        copied = copied.wrapping_sub(length);
    }
    state.base = [u64::from(out), u64::from(copied)];
    state.next = [FIRST_POSITION | u64::from(out), FIRST_POSITION | u64::from(copied)];
    forget_receive(state);
    for direction in [OUT, IN] {
        // SAFETY: fields of this CPU's scratch. Volatile for the reason that `forget_receive` gives.
        unsafe {
            write_volatile(&raw mut state.dropped[direction], 0);
            write_volatile(&raw mut state.skipped[direction], 0);
        }
    }
    state.flags = if own { conn_flags::OWN } else { 0 };
    // The peer may have reset it before anyone read from it.
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
            // So may others before it.
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
    if own {
        return Ok(None);
    }
    // Once more, although it is known: the compiler would make the result's tag of the pointer (ARCHITECTURE, "Lessons").
    match CONNECTIONS.get_ptr_mut(cookie) {
        Some(state) => Ok(Some(Traced { cookie, state })),
        None => Err(Counter::ConnectionsFull),
    }
}

/// Bytes that had moved before the connection's first sight, by the kernel's RFC 4898 counters, which count from the
/// handshake. A call that has moved them may still be on its way out of the kernel. They are read without the socket's lock: where
/// another thread sends meanwhile they may not fit together, and the stream counts as older.
#[inline(always)]
fn earlier_into(sock: Sock, record: &mut Opened) {
    record.earlier = [passed(sock, OUT, record.first_sequence), passed(sock, IN, record.first_sequence)];
}

/// Bytes of a direction that TCP has moved before `sequence` (out, in); [`UNKNOWN_EARLIER`] where it does not count them.
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

/// Bytes between the first one of a stream, of which `moved` lie before `next`, and the one at `here`.
#[inline(always)]
fn bytes_since(moved: u64, next: u32, here: u32) -> u32 {
    if moved >= SEQUENCES / 2 {
        return UNKNOWN_EARLIER;
    }
    let bytes = here.wrapping_sub(next.wrapping_sub(moved as u32));
    // A FIN counts in `next`; in `moved` some kernels count it, others do not.
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

/// Moves a direction to sequence number `sequence`. A call does so when it has told of its bytes: a reset may come meanwhile, on
/// another CPU, and what a direction has not moved yet keeps the end from being told before (`close::awaited`).
#[inline(always)]
pub(crate) fn advance(state: *mut Connection, direction: usize, sequence: u32) {
    // SAFETY: see `Traced`; one aligned word is stored, two threads on one socket at worst store the older one last.
    unsafe {
        let known = (*state).next[direction];
        let moved = sequence.wrapping_sub(known as u32) as i32;
        if moved > 0 {
            (*state).next[direction] = known.wrapping_add(i64::from(moved) as u64);
        }
    }
}

/// Whether a call of `length` bytes that ended at `sequence` did not start where the last one ended.
#[inline(always)]
pub(crate) fn jumps(state: *mut Connection, direction: usize, sequence: u32, length: u32) -> bool {
    // SAFETY: see `Traced`.
    let known = unsafe { (*state).next[direction] } as u32;
    known.wrapping_add(length) != sequence
}

/// Whether no byte of a direction has moved since the last call, as TCP counts.
#[inline(always)]
pub(crate) fn stands(state: *mut Connection, direction: usize, sequence: u32) -> bool {
    // SAFETY: see `Traced`.
    unsafe { (*state).next[direction] as u32 == sequence }
}

/// A call has moved bytes, and TCP's count stands still: a sockmap took them to the other socket's queue
/// (`tcp_bpf_send_verdict`, `tcp_bpf_recvmsg`, net/ipv4/tcp_bpf.c). From here the call's length makes the position, and user
/// space hears that positions are no sequence numbers. Where no sockmap has the socket another thread's call has counted the
/// bytes of both.
#[inline(never)]
pub(crate) fn redirected(sock: Sock, traced: &Traced, direction: usize, length: u32) {
    if !kernel::replaced(sock) {
        return;
    }
    add(Counter::Redirected, 1);
    let direction = direction & 1;
    let state = traced.state;
    // SAFETY: see `Traced`.
    unsafe { atomic_add(&raw mut (*state).base[direction], u64::from(length).wrapping_neg()) };
    // SAFETY: see `Traced`.
    let flags = unsafe { (*state).flags };
    if flags & conn_flags::REDIRECTED != 0 {
        return;
    }
    let record = HalfClosed {
        header: ring::header(kind::REDIRECTED, direction as u8, 0),
        cookie: traced.cookie,
        position: position(state, direction),
        by: By::NOBODY,
    };
    if ring::put(&record) {
        // SAFETY: see `Traced`.
        unsafe { (*state).flags = flags | conn_flags::REDIRECTED };
    } else {
        add(Counter::DropRedirected, 1);
    }
}

/// fexit: a receive of TCP has ended, maybe inside of that of a sockmap.
#[inline(always)]
pub(crate) fn note_inner_receive(sock: Sock) {
    if offset!(sock_user_data) == MISSING || !kernel::is_set(sock, offset!(sock_user_data)) {
        return;
    }
    if let Ok(Some(traced)) = known(sock) {
        // SAFETY: see `Traced`.
        unsafe { (*traced.state).flags |= conn_flags::INNER_RECEIVE };
    }
}

/// fexit: whether the receive of a sockmap's socket that ends now was told by the one inside of it.
#[inline(always)]
pub(crate) fn take_inner_receive(sock: Sock) -> bool {
    let Ok(Some(traced)) = known(sock) else { return false };
    // SAFETY: see `Traced`.
    let flags = unsafe { (*traced.state).flags };
    // SAFETY: see `Traced`.
    unsafe { (*traced.state).flags = flags & !conn_flags::INNER_RECEIVE };
    flags & conn_flags::INNER_RECEIVE != 0
}

/// An opaque connection is written: what its answer will carry. Two writes with different receives: nothing.
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

/// Nothing is carried. Word by word: of two zeros in a row the compiler makes a call of memset, and calls cost stack, of
/// which there are 512 bytes in all.
#[inline(always)]
fn forget_receive(state: *mut Connection) {
    // SAFETY: see `Traced`.
    unsafe {
        write_volatile(&raw mut (*state).carried.cookie, 0);
        write_volatile(&raw mut (*state).carried.position, 0);
    }
}

/// An opaque connection is read: the input that its last write had.
#[inline(always)]
pub(crate) fn carried(state: *mut Connection) -> LastReceive {
    // SAFETY: see `Traced`.
    unsafe {
        (*state).flags &= !conn_flags::WROTE;
        (*state).carried
    }
}

/// Adds without losing what another CPU adds at the same time.
#[inline(always)]
pub(crate) fn atomic_add(slot: *mut u64, n: u64) {
    // SAFETY: `slot` is an aligned word of a map value; BPF_XADD is in every kernel.
    unsafe {
        core::arch::asm!("lock *(u64 *)({slot} + 0) += {n}", slot = in(reg) slot, n = in(reg) n);
    }
}

/// A TCP socket changes its state. May run in softirq: `current` is only meaningful where the state says so.
#[inline(always)]
pub(crate) fn try_state(ctx: &RawTracePointContext, sock: Sock, old: i32, new: i32) -> Result<(), Counter> {
    match (old, new) {
        (_, SYN_SENT) => connect::begin(sock),
        (SYN_SENT, ESTABLISHED) => connect::succeed(sock),
        (SYN_SENT, CLOSE) => connect::fail(sock),
        (_, LISTEN) => listening(sock),
        // close() after shutdown(SHUT_WR) tells the same state once more (`tcp_close_state`, net/ipv4/tcp.c).
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

/// Where a direction stands.
#[inline(always)]
pub(crate) fn position(state: *mut Connection, direction: usize) -> u64 {
    // SAFETY: see `Traced`.
    unsafe { (*state).next[direction].wrapping_sub((*state).base[direction]) }
}
