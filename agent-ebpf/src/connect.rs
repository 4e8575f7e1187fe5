//! Connects: who connects, before the socket has a cookie, and with what result; and which
//! connections are the agent's own.

use agent_common::{
    Connecting, Counter, FlowKey, Header, LastReceive, Pending, SocketRecord, kind, not_captured, pending,
    transfer_flags,
};

use crate::{
    context::{Actor, distrust, meaningful_receive},
    kernel::{self, Sock},
    maps::{OWN_FLOWS, PENDING, offset, tunable},
    ring, selected,
    task::Task,
};

/// In the context of connect(): the current thread is the client.
#[inline(always)]
pub(crate) fn begin(sock: Sock) -> Result<(), Counter> {
    let actor = Actor::current();
    let own = actor.pid == tunable!(agent_pid);
    let process = selected::flags(actor.pid);
    if !own && process == 0 {
        return Ok(());
    }
    if !kernel::traceable(sock)? {
        return Ok(());
    }
    let what = if own { pending::OWN } else { pending::CONNECTING };
    if PENDING.insert(sock, Pending { pid: actor.pid, what }, 0).is_err() {
        return Err(Counter::PendingFull);
    }
    if own {
        return Ok(());
    }
    let family: u16 = kernel::read(sock, offset!(sock_family))?;
    let mut flow = FlowKey::EMPTY;
    kernel::flow_into(sock, family, &mut flow)?;
    let trusted = distrust()? != not_captured::IO_URING;
    let mut task = if trusted { Task::current(actor) } else { Task::NONE };
    let mut last = if trusted { task.last_receive(actor) } else { LastReceive::NONE };
    let mut task = task.of_send(actor);
    if last.cookie == 0 {
        task = task.creator(actor);
        if task.flags & transfer_flags::HANDOFF != 0 {
            last = task.last_receive_of_creator(actor);
        }
    }
    last = meaningful_receive(process, last);
    let record = Connecting {
        header: Header { flags: task.flags, ..ring::header(kind::CONNECTING, 0, 0) },
        socket: sock,
        last_cookie: last.cookie,
        last_position: last.position,
        pid: actor.pid,
        tid: actor.tid,
        family,
        peer_port: flow.peer_port,
        padding: 0,
        peer: flow.peer,
        task: task.id,
    };
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropConnect) }
}

#[inline(always)]
pub(crate) fn succeed(sock: Sock) -> Result<(), Counter> {
    let Some(connect) = taken(sock) else { return Ok(()) };
    if connect.what == pending::OWN {
        return remember_own(sock);
    }
    socket_record(Header { ..ring::header(kind::CONNECTED, 0, 0) }, sock)
}

#[inline(always)]
pub(crate) fn fail(sock: Sock) -> Result<(), Counter> {
    let Some(connect) = taken(sock) else { return Ok(()) };
    if connect.what == pending::OWN {
        return Ok(());
    }
    // Only who closes the socket is still to be reported.
    if PENDING.insert(sock, Pending { what: pending::FAILED, ..connect }, 0).is_err() {
        crate::count::add(Counter::PendingFull, 1);
    }
    socket_record(ring::header(kind::CONNECT_FAILED, 0, kernel::error(sock)), sock)
}

/// Takes the connect in progress of a socket.
#[inline(always)]
fn taken(sock: Sock) -> Option<Pending> {
    // SAFETY: the entry is copied at once.
    let connect = unsafe { PENDING.get(sock) }.copied()?;
    let _gone = PENDING.remove(sock);
    Some(connect)
}

#[inline(always)]
fn socket_record(header: Header, sock: Sock) -> Result<(), Counter> {
    let record = SocketRecord { header, socket: sock, cookie: kernel::cookie(sock)? };
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropConnect) }
}

/// A connection of the agent is established: if the peer is traced, its end is never traced.
#[inline(always)]
fn remember_own(sock: Sock) -> Result<(), Counter> {
    let family: u16 = kernel::read(sock, offset!(sock_family))?;
    let mut ours = FlowKey::EMPTY;
    kernel::flow_into(sock, family, &mut ours)?;
    let theirs = FlowKey {
        local: ours.peer,
        peer: ours.local,
        local_port: ours.peer_port,
        peer_port: ours.local_port,
        padding: 0,
    };
    OWN_FLOWS.insert(theirs, 1, 0).map_err(|_| Counter::PendingFull)
}
