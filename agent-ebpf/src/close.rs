//! How a connection ends: a half-close, the program's close, the end of TCP.

use agent_common::{
    By, Closed, Connection, Counter, FIRST_POSITION, HalfClosed, IN, LocalClosed, MISSING, OUT,
    PEER_FINISHED, Released, conn_flags, kind, pending, switch,
};
use aya_ebpf::{EbpfContext, programs::RawTracePointContext};

use crate::{
    connection::{self, Traced, advance, known, position},
    kernel::{self, Sock},
    maps::{CONNECTIONS, CONTROLS, PENDING, SWITCHES, offset},
    ring, task,
};

// TCP states (<https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>)
const ESTABLISHED: i32 = 1;
const CLOSE_WAIT: i32 = 8;

/// In the context of close(), shutdown() or exit. The kernel changes the state before it queues the
/// FIN (`tcp_close_state`, then `tcp_send_fin`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>): `write_seq` does not count the
/// FIN yet.
///
/// For its program the connection has ended when both directions are shut and nothing is left to
/// read. shutdown() leaves received bytes readable; close() with unread bytes goes to CLOSE
/// (`__tcp_close`).
#[inline(always)]
pub(crate) fn shut(sock: Sock) -> Result<(), Counter> {
    let Some(traced) = unended(sock)? else { return Ok(()) };
    let flags = connection::flags(traced.state);
    let first = flags & conn_flags::FIN_SENT == 0;
    if first {
        // From here on `write_seq` counts the FIN.
        advance(traced.state, OUT, kernel::write_seq(sock)?);
        connection::set_flags(traced.state, flags | conn_flags::FIN_SENT);
    }
    let copied = kernel::copied_seq(sock)?;
    if kernel::both_shut(sock)? && !kernel::unread(sock, copied)? {
        return local_closed(sock, &traced, copied);
    }
    if !first {
        return Ok(());
    }
    half_closed(traced.cookie, OUT, position(traced.state, OUT))
}

/// Reports that a direction has ended, and who ended it.
#[inline(always)]
fn half_closed(cookie: u64, direction: usize, position: u64) -> Result<(), Counter> {
    let header = ring::header(kind::HALF_CLOSED, direction as u8, 0);
    let mut record = HalfClosed { header, cookie, position, by: By::NOBODY };
    record.header.flags = task::by_into(&mut record.by) as u8;
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropHalfClosed) }
}

/// The same of the direction in, for receives: a global function (`no_mangle`, numbers only), so that
/// they do not carry its stack. 0: it was reported.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn half_closed_in(cookie: u64, position: u64) -> u32 {
    u32::from(half_closed(cookie, IN, position).is_err())
}

/// Reports, once, that the program has closed its end. It will never read what it has not read by
/// now.
#[inline(always)]
fn local_closed(sock: Sock, traced: &Traced, copied: u32) -> Result<(), Counter> {
    let state = traced.state;
    let flags = connection::flags(state);
    if flags & (conn_flags::LOCAL_CLOSED | conn_flags::OWN) != 0 {
        return Ok(());
    }
    connection::set_flags(state, flags | conn_flags::LOCAL_CLOSED);
    if flags & conn_flags::FIN_SENT == 0 {
        advance(state, OUT, kernel::write_seq(sock)?);
    }
    let fin = kernel::fin_consumed(sock, copied)?;
    advance(state, IN, if fin { copied.wrapping_sub(1) } else { copied });
    let peer = if kernel::peer_finished(sock)? { PEER_FINISHED } else { 0 };
    let mut record = LocalClosed {
        header: ring::header(kind::LOCAL_CLOSED, OUT as u8, 0),
        cookie: traced.cookie,
        position: [position(state, OUT), position(state, IN)],
        by: By::NOBODY,
    };
    record.header.flags = peer | task::by_into(&mut record.by) as u8;
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropLocalClosed) }
}

/// The TCP state is CLOSE. After a half-close by the program, or before a reset, unread bytes are
/// still readable. A reset may also come while a system call that has moved bytes has not reported
/// them. In both cases the end waits for that last system call, or for the destruction of the
/// socket.
#[inline(always)]
pub(crate) fn closed(ctx: &RawTracePointContext, sock: Sock, old: i32) -> Result<(), Counter> {
    let Some(traced) = unended(sock)? else { return Ok(()) };
    let state = traced.state;
    let copied = kernel::copied_seq(sock)?;
    let errno = kernel::error(sock) as u16;
    // SAFETY: see `Traced`.
    unsafe { (*state).errno = errno };
    let reported =
        if errno == 0 && by_program(sock, old)? { local_closed(sock, &traced, copied) } else { Ok(()) };
    if awaited(sock, state, copied)? {
        connection::set_flags(state, connection::flags(state) | conn_flags::DRAINING);
        return reported;
    }
    end(ctx, sock, &traced, copied)?;
    reported
}

/// Whether close() itself set the state CLOSE: with bytes unread or a linger time of 0. In the
/// other states the peer's FIN may have shut both directions, in softirq.
#[inline(always)]
fn by_program(sock: Sock, old: i32) -> Result<bool, Counter> {
    let sends = old == ESTABLISHED || old == CLOSE_WAIT;
    Ok(kernel::both_shut(sock)? && (sends || !kernel::peer_finished(sock)?))
}

/// Whether a system call that moves bytes, or has moved some, is still to come or to end.
#[inline(always)]
fn awaited(sock: Sock, state: *mut Connection, copied: u32) -> Result<bool, Counter> {
    if kernel::unread(sock, copied)? {
        return Ok(true);
    }
    // SAFETY: see `Traced`.
    let (flags, next) = unsafe { ((*state).flags, (*state).next) };
    // From the FIN on `write_seq` counts it; everything sent was reported before.
    if flags & conn_flags::FIN_SENT == 0 && kernel::write_seq(sock)? != next[OUT] as u32 {
        return Ok(true);
    }
    let fin = u32::from(kernel::fin_consumed(sock, copied)?);
    Ok(copied.wrapping_sub(fin) != next[IN] as u32)
}

/// `tcp_destroy_sock(sk)`: nobody can read the socket any more.
#[inline(always)]
pub(crate) fn try_destroy(ctx: &RawTracePointContext, sock: Sock) -> Result<(), Counter> {
    let Some(traced) = known(sock)? else { return failed_connect_closed(sock) };
    if connection::flags(traced.state) & conn_flags::ENDED != 0 {
        forget(traced.cookie);
        return released(sock, traced.cookie);
    }
    let copied = kernel::copied_seq(sock)?;
    end(ctx, sock, &traced, copied)?;
    // Nobody can close the socket any more.
    forget(traced.cookie);
    Ok(())
}

/// The socket of a failed connect, in the context of close(): nothing else keeps such a socket.
#[inline(always)]
fn failed_connect_closed(sock: Sock) -> Result<(), Counter> {
    // SAFETY: the entry is copied at once.
    let Some(failed) = (unsafe { PENDING.get(sock) }).copied() else { return Ok(()) };
    if failed.what != pending::FAILED {
        return Ok(());
    }
    let _gone = PENDING.remove(sock);
    released(sock, 0)
}

/// In the context of close(): TCP had finished with the socket before.
#[inline(always)]
fn released(sock: Sock, cookie: u64) -> Result<(), Counter> {
    let mut record =
        Released { header: ring::header(kind::RELEASED, OUT as u8, 0), socket: sock, cookie, by: By::NOBODY };
    record.header.flags = task::by_into(&mut record.by) as u8;
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropReleased) }
}

/// The entry of a connection whose end was not reported yet.
#[inline(always)]
fn unended(sock: Sock) -> Result<Option<Traced>, Counter> {
    let Some(traced) = known(sock)? else { return Ok(None) };
    if connection::flags(traced.state) & conn_flags::ENDED != 0 {
        return Ok(None);
    }
    Ok(Some(traced))
}

/// After a system call on a connection whose TCP state may be CLOSE already: reports the end if
/// that was the last byte.
#[inline(always)]
pub(crate) fn drained<C: EbpfContext>(ctx: &C, sock: Sock, traced: &Traced) -> Result<(), Counter> {
    if connection::flags(traced.state) & conn_flags::DRAINING == 0 {
        return Ok(());
    }
    drain(ctx, sock, traced.cookie, traced.state)
}

/// Not inlined: it runs rarely, and inlined it slowed down every send and receive (measured,
/// docs/verifier-lessons.md).
#[inline(never)]
fn drain<C: EbpfContext>(ctx: &C, sock: Sock, cookie: u64, state: *mut Connection) -> Result<(), Counter> {
    let copied = kernel::copied_seq(sock)?;
    if awaited(sock, state, copied)? {
        return Ok(());
    }
    end(ctx, sock, &Traced { cookie, state }, copied)
}

/// Reports the end, with the kernel's own counts. The entry stays until the program has closed the
/// socket, too.
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
                position(state, OUT).wrapping_sub(FIRST_POSITION),
                position(state, IN).wrapping_sub(FIRST_POSITION),
            ],
            dropped: (*state).dropped,
            skipped: (*state).skipped,
        }
    };
    if flags & conn_flags::OWN == 0 && !ring::put(&record) {
        // The agent finds the entry when it sees the counter rise.
        connection::set_flags(state, flags | conn_flags::CLOSED);
        return Err(Counter::DropClosed);
    }
    aya_log_ebpf::debug!(ctx, "connection {} closed, errno {}", traced.cookie, errno);
    if flags & (conn_flags::LOCAL_CLOSED | conn_flags::OWN) == 0 && offset!(sock_shutdown) != MISSING {
        // SAFETY: see `Traced`.
        unsafe {
            (*state).flags = (flags | conn_flags::ENDED | conn_flags::FIN_READ) & !conn_flags::DRAINING;
        }
        return Ok(());
    }
    forget(traced.cookie);
    Ok(())
}

#[inline(always)]
fn forget(cookie: u64) {
    let _gone = CONNECTIONS.remove(cookie);
    if SWITCHES.is_on(switch::CONTROLS_POSTED) {
        let _gone = CONTROLS.remove(cookie);
    }
}
