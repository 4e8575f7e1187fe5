//! The life of a connection: cookie, first sight, position, half-close, end. What comes before it is in `connect.rs`.

use core::ptr::write_volatile;

use agent_common::{
    Closed, Connection, Counter, FIRST_POSITION, HalfClosed, LastInput, MISSING, Opened, UNKNOWN_EARLIER,
    conn_flags, kind,
};
use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_socket_cookie,
    programs::{RawTracePointContext, SockOpsContext},
};

use crate::{
    connect,
    context::Caller,
    count::add,
    facts,
    kernel::{self, Sock},
    maps::{CONNECTIONS, CONTROLS, OWN_FLOWS, SCRATCH, SWITCHES, offset, tunable},
    process, ring,
    socket::{IN, OUT},
};

// enum sock_ops callbacks (include/uapi/linux/bpf.h)
const TCP_CONNECT_CB: u32 = 3;
const ACTIVE_ESTABLISHED_CB: u32 = 4;
const PASSIVE_ESTABLISHED_CB: u32 = 5;

// TCP states (include/net/tcp_states.h)
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;

// Flag of bpf_map_update_elem (include/uapi/linux/bpf.h)
const BPF_NOEXIST: u64 = 1;

/// A connection's entry in CONNECTIONS. It may be removed by the close while a call uses it: the kernel keeps the memory
/// until the program ends, and a preallocated entry reused meanwhile is one connection's counters off by one call.
#[derive(Clone, Copy)]
pub struct Traced {
    pub cookie: u64,
    pub state: *mut Connection,
}

/// Makes the cookie of a new socket, for every process: at passive establishment nobody knows yet who will accept.
#[inline(always)]
pub fn make_cookie(ctx: &SockOpsContext) {
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
pub fn find<C: EbpfContext>(
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
        let (flags, told) = unsafe { ((*state).flags, (*state).told) };
        if flags & conn_flags::OWN != 0 {
            return Ok(None);
        }
        if told != 0 {
            return Ok(Some(Traced { cookie, state }));
        }
    }
    open(ctx, sock, cookie, length, direction)
}

/// First sight of a connection. Two CPUs may come here at once, one with a send and one with a receive: the entry of the first
/// one is kept, and each tells of it before it tells of its call, so that no call is told before it.
#[inline(never)]
fn open<C: EbpfContext>(
    ctx: &C,
    sock: Sock,
    cookie: u64,
    length: u32,
    direction: usize,
) -> Result<Option<Traced>, Counter> {
    let caller = Caller::current();
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
    if direction == OUT {
        out = out.wrapping_sub(length);
    } else {
        copied = copied.wrapping_sub(length);
    }
    state.base = [u64::from(out), u64::from(copied)];
    state.next = [FIRST_POSITION | u64::from(out), FIRST_POSITION | u64::from(copied)];
    forget_input(state);
    for direction in [OUT, IN] {
        // SAFETY: fields of this CPU's scratch. Volatile for the reason that `forget_input` gives.
        unsafe {
            write_volatile(&raw mut state.dropped[direction], 0);
            write_volatile(&raw mut state.skipped[direction], 0);
        }
    }
    state.flags = if own { conn_flags::OWN } else { 0 };
    state.errno = 0;
    state.told = 0;
    let first = CONNECTIONS.insert(cookie, &*state, BPF_NOEXIST).is_ok();
    let Some(state) = CONNECTIONS.get_ptr_mut(cookie) else { return Err(Counter::ConnectionsFull) };
    if !own {
        record.header = ring::header(kind::OPENED, direction as u8, 0);
        record.cookie = cookie;
        record.pid = caller.pid;
        record.tid = caller.tid;
        record.network_namespace = kernel::network_namespace(sock)?;
        record.family = family;
        record.local_port = flow.local_port;
        record.peer_port = flow.peer_port;
        record.padding = 0;
        // SAFETY: see `Traced`.
        record.first_sequence = unsafe { [(*state).base[OUT] as u32, (*state).base[IN] as u32] };
        earlier_into(sock, record);
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
        unsafe { (*state).told = 1 };
    }
    aya_log_ebpf::debug!(ctx, "connection {} of process {} opened", cookie, caller.pid);
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
    record.earlier = [UNKNOWN_EARLIER; 2];
    if offset!(bytes_received) == MISSING
        || offset!(bytes_sent) == MISSING
        || offset!(bytes_retrans) == MISSING
    {
        return;
    }
    let received = kernel::read::<u64>(sock, offset!(bytes_received)).unwrap_or(u64::MAX);
    let next = kernel::read::<u32>(sock, offset!(rcv_nxt)).unwrap_or(0);
    record.earlier[IN] = bytes_since(received, next, record.first_sequence[IN]);
    let sent = kernel::read::<u64>(sock, offset!(bytes_sent)).unwrap_or(u64::MAX);
    let again = kernel::read::<u64>(sock, offset!(bytes_retrans)).unwrap_or(0);
    let next = kernel::read::<u32>(sock, offset!(snd_nxt)).unwrap_or(0);
    record.earlier[OUT] = bytes_since(sent.wrapping_sub(again), next, record.first_sequence[OUT]);
}

/// Bytes between the first one of a stream, of which `moved` lie before `next`, and the one at `here`.
#[inline(always)]
fn bytes_since(moved: u64, next: u32, here: u32) -> u32 {
    if moved >= 1 << 31 {
        return UNKNOWN_EARLIER;
    }
    let bytes = here.wrapping_sub(next.wrapping_sub(moved as u32));
    // A FIN counts in `next`; in `moved` some kernels count it, others do not.
    if bytes == u32::MAX { 0 } else { bytes }
}

/// Moves a direction to sequence number `sequence` and returns its position.
#[inline(always)]
pub fn advance(state: *mut Connection, direction: usize, sequence: u32) -> u64 {
    // SAFETY: see `Traced`; one aligned word is stored, two threads on one socket at worst store the older one last.
    unsafe {
        let known = (*state).next[direction];
        let moved = sequence.wrapping_sub(known as u32) as i32;
        let now = known.wrapping_add(i64::from(moved) as u64);
        if moved > 0 {
            (*state).next[direction] = now;
        }
        now.wrapping_sub((*state).base[direction])
    }
}

/// Whether a call of `length` bytes that ended at `sequence` did not start where the last one ended.
#[inline(always)]
pub fn jumps(state: *mut Connection, direction: usize, sequence: u32, length: u32) -> bool {
    // SAFETY: see `Traced`.
    let known = unsafe { (*state).next[direction] } as u32;
    known.wrapping_add(length) != sequence
}

/// An opaque connection is written: what its answer will carry. Two writes with different inputs: nothing.
#[inline(always)]
pub fn carry(state: *mut Connection, input: LastInput) {
    // SAFETY: see `Traced`.
    unsafe {
        let same = (*state).carried.cookie == input.cookie && (*state).carried.position == input.position;
        if (*state).flags & conn_flags::WROTE == 0 {
            (*state).carried = input;
            (*state).flags |= conn_flags::WROTE;
        } else if !same {
            forget_input(state);
        }
    }
}

/// Nothing is carried. Word by word: of two zeros in a row the compiler makes a call of memset, and calls cost stack, of
/// which there are 512 bytes in all.
#[inline(always)]
fn forget_input(state: *mut Connection) {
    // SAFETY: see `Traced`.
    unsafe {
        write_volatile(&raw mut (*state).carried.cookie, 0);
        write_volatile(&raw mut (*state).carried.position, 0);
    }
}

/// An opaque connection is read: the input that its last write had.
#[inline(always)]
pub fn carried(state: *mut Connection) -> LastInput {
    // SAFETY: see `Traced`.
    unsafe {
        (*state).flags &= !conn_flags::WROTE;
        (*state).carried
    }
}

/// Adds without losing what another CPU adds at the same time.
#[inline(always)]
pub fn atomic_add(slot: *mut u64, n: u64) {
    // SAFETY: `slot` is an aligned word of a map value; BPF_XADD is in every kernel.
    unsafe {
        core::arch::asm!("lock *(u64 *)({slot} + 0) += {n}", slot = in(reg) slot, n = in(reg) n);
    }
}

/// A TCP socket changes its state. May run in softirq: `current` is only meaningful where the state says so.
#[inline(always)]
pub fn try_state(ctx: &RawTracePointContext, sock: Sock, old: i32, new: i32) -> Result<(), Counter> {
    match (old, new) {
        (_, SYN_SENT) => connect::begin(sock),
        (SYN_SENT, ESTABLISHED) => connect::succeed(sock),
        (SYN_SENT, CLOSE) => connect::fail(sock),
        (_, LISTEN) => listening(sock),
        (_, FIN_WAIT1 | LAST_ACK) => fin_sent(sock),
        (_, CLOSE) => closed(ctx, sock),
        _ => Ok(()),
    }
}

/// In the context of listen(): a rule may select by port.
#[inline(always)]
fn listening(sock: Sock) -> Result<(), Counter> {
    if tunable!(report_listen) == 0 {
        return Ok(());
    }
    if !kernel::traceable(sock)? {
        return Ok(());
    }
    let port: u16 = kernel::read(sock, offset!(sock_num))?;
    process::try_listen(Caller::current(), u32::from(port))
}

/// The state changes before the FIN is queued (tcp_close_state, then tcp_send_fin): `write_seq` is still without it.
#[inline(always)]
fn fin_sent(sock: Sock) -> Result<(), Counter> {
    let Some(traced) = known(sock)? else { return Ok(()) };
    // SAFETY: see `Traced`.
    let flags = unsafe { (*traced.state).flags };
    if flags & conn_flags::FIN_SENT != 0 {
        // close() after shutdown(SHUT_WR) tells FIN_WAIT1 once more, and now the FIN counts in `write_seq`.
        return Ok(());
    }
    let position = advance(traced.state, OUT, kernel::write_seq(sock)?);
    // SAFETY: see `Traced`.
    unsafe { (*traced.state).flags = flags | conn_flags::FIN_SENT };
    let record =
        HalfClosed { header: ring::header(kind::HALF_CLOSED, OUT as u8, 0), cookie: traced.cookie, position };
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropHalfClosed) }
}

/// The entry of a connection that is already traced.
#[inline(always)]
fn known(sock: Sock) -> Result<Option<Traced>, Counter> {
    let cookie = kernel::cookie(sock)?;
    if cookie == 0 {
        return Ok(None);
    }
    Ok(CONNECTIONS.get_ptr_mut(cookie).map(|state| Traced { cookie, state }))
}

/// The TCP state is CLOSE. Bytes that the program has not read yet are still readable (after a half-close by the program, or
/// before a reset), and a reset may come inside a call that has moved bytes and has not told yet: then the end waits for the
/// last call or for the socket's destruction.
#[inline(always)]
fn closed(ctx: &RawTracePointContext, sock: Sock) -> Result<(), Counter> {
    let Some(traced) = known(sock)? else { return Ok(()) };
    let state = traced.state;
    let copied = kernel::copied_seq(sock)?;
    // SAFETY: see `Traced`.
    unsafe { (*state).errno = kernel::error(sock) as u16 };
    if awaited(sock, state, copied)? {
        // SAFETY: see `Traced`.
        unsafe { (*state).flags |= conn_flags::DRAINING };
        return Ok(());
    }
    end(ctx, sock, &traced, copied)
}

/// Whether a call is still to come or to end that moves bytes, or has moved some.
#[inline(always)]
fn awaited(sock: Sock, state: *mut Connection, copied: u32) -> Result<bool, Counter> {
    if kernel::unread(sock, copied)? {
        return Ok(true);
    }
    // SAFETY: see `Traced`.
    let (flags, next) = unsafe { ((*state).flags, (*state).next) };
    // From the FIN on it counts in `write_seq`; what was sent is told before (`fin_sent`).
    if flags & conn_flags::FIN_SENT == 0 && kernel::write_seq(sock)? != next[OUT] as u32 {
        return Ok(true);
    }
    let fin = u32::from(kernel::fin_consumed(sock, copied)?);
    Ok(copied.wrapping_sub(fin) != next[IN] as u32)
}

/// `tcp_destroy_sock(sk)`: nobody can read any more.
#[inline(always)]
pub fn try_destroy(ctx: &RawTracePointContext, sock: Sock) -> Result<(), Counter> {
    let Some(traced) = known(sock)? else { return Ok(()) };
    let copied = kernel::copied_seq(sock)?;
    end(ctx, sock, &traced, copied)
}

/// After a call on a connection whose TCP state may be CLOSE already: was that the last byte?
#[inline(always)]
pub fn drained<C: EbpfContext>(ctx: &C, sock: Sock, traced: &Traced) -> Result<(), Counter> {
    // SAFETY: see `Traced`.
    if unsafe { (*traced.state).flags } & conn_flags::DRAINING == 0 {
        return Ok(());
    }
    drain(ctx, sock, traced)
}

/// Not inlined: it is rare, and inlined it made the calls that do not need it slower (measured, ARCHITECTURE).
#[inline(never)]
fn drain<C: EbpfContext>(ctx: &C, sock: Sock, traced: &Traced) -> Result<(), Counter> {
    let copied = kernel::copied_seq(sock)?;
    if awaited(sock, traced.state, copied)? {
        return Ok(());
    }
    end(ctx, sock, traced, copied)
}

/// The end: the kernel's own counts, then the entry goes.
#[inline(always)]
fn end<C: EbpfContext>(ctx: &C, sock: Sock, traced: &Traced, copied: u32) -> Result<(), Counter> {
    let state = traced.state;
    // SAFETY: see `Traced`.
    let (flags, errno) = unsafe { ((*state).flags, (*state).errno) };
    if flags & conn_flags::FIN_SENT == 0 {
        advance(state, OUT, kernel::write_seq(sock)?);
    }
    let fin = kernel::fin_consumed(sock, copied)?;
    advance(state, IN, if fin { copied.wrapping_sub(1) } else { copied });
    // SAFETY: see `Traced`.
    let record = unsafe {
        Closed {
            header: ring::header(kind::CLOSED, 0, u32::from(errno)),
            cookie: traced.cookie,
            observed: [
                (*state).next[OUT].wrapping_sub((*state).base[OUT]).wrapping_sub(FIRST_POSITION),
                (*state).next[IN].wrapping_sub((*state).base[IN]).wrapping_sub(FIRST_POSITION),
            ],
            dropped: (*state).dropped,
            skipped: (*state).skipped,
        }
    };
    if flags & conn_flags::OWN == 0 && !ring::put(&record) {
        // SAFETY: see `Traced`. User space finds the entry when it sees the counter rise.
        unsafe { (*state).flags = flags | conn_flags::CLOSED };
        return Err(Counter::DropClosed);
    }
    let _gone = CONNECTIONS.remove(traced.cookie);
    if let Some(&posted) = SWITCHES.get(1)
        && posted != 0
    {
        let _gone = CONTROLS.remove(traced.cookie);
    }
    aya_log_ebpf::debug!(ctx, "connection {} closed, errno {}", traced.cookie, errno);
    Ok(())
}
