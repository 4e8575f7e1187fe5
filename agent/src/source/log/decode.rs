//! From the bytes of a record to an event: the counterpart of `encode`, for bytes that may come
//! from anyone.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use agent_common::UNKNOWN_USER;

use super::{
    cursor::{Cursor, Malformed},
    format::{MAX_COUNT, MAX_TIME, kind},
};
use crate::event::{
    Actor, Closed, Connecting, ConnectionId, Direction, Earlier, Event, LastReceive, LocalClosed, Mark,
    NotCaptured, Opened, ProcessFacts, SocketId, Task, Thread, Timestamp, Transfer,
};

/// Decodes the body of one record. Only a file of a newer minor version may have more fields than
/// are read here.
pub(super) fn event(kind: u8, body: &[u8], newer: bool) -> Result<Event<'_>, Malformed> {
    let mut body = Cursor::new(body);
    let event = match kind {
        kind::CLOCK => Event::Clock { at: time(&mut body)?, unix_offset: time(&mut body)?.0 },
        kind::RUN_KEY => Event::RunKey(body.array()?),
        kind::PROCESS => Event::Process { at: time(&mut body)?, facts: Box::new(process(&mut body)?) },
        kind::FORK => Event::Fork { at: time(&mut body)?, parent: body.u32()?, child: body.u32()? },
        kind::EXIT => Event::Exit { at: time(&mut body)?, pid: body.u32()? },
        kind::CONNECTING => Event::Connecting(connecting(&mut body)?),
        kind::CONNECTED => Event::Connected {
            at: time(&mut body)?,
            socket: SocketId(body.u64()?),
            connection: connection(&mut body)?,
        },
        kind::CONNECT_FAILED => {
            Event::ConnectFailed { at: time(&mut body)?, socket: SocketId(body.u64()?), errno: body.u16()? }
        }
        kind::OPENED => Event::Opened(opened(&mut body)?),
        kind::TRANSFER => Event::Transfer(transfer(&mut body)?),
        kind::HALF_CLOSED => Event::HalfClosed {
            at: time(&mut body)?,
            connection: connection(&mut body)?,
            direction: direction(&mut body)?,
            position: count(&mut body)?,
            actor: if body.is_empty() { None } else { Some(actor(&mut body)?) },
        },
        kind::RELEASED => Event::Released {
            at: time(&mut body)?,
            connection: if body.flag()? { Some(connection(&mut body)?) } else { None },
            socket: SocketId(body.u64()?),
            actor: actor(&mut body)?,
        },
        kind::REDIRECTED => Event::Redirected { at: time(&mut body)?, connection: connection(&mut body)? },
        kind::LOCAL_CLOSED => Event::LocalClosed(local_closed(&mut body)?),
        kind::CLOSED => Event::Closed(closed(&mut body)?),
        kind::TICK => Event::Tick { at: time(&mut body)? },
        kind::SHUTDOWN => Event::Shutdown { at: time(&mut body)? },
        _ => return Err(Malformed("a record is no event")),
    };
    if !body.is_empty() && !newer {
        return Err(Malformed("a record is longer than its fields"));
    }
    Ok(event)
}

fn process(body: &mut Cursor<'_>) -> Result<ProcessFacts, Malformed> {
    Ok(ProcessFacts {
        pid: body.u32()?,
        start_time: body.u64()?,
        parent_pid: Some(body.u32()?).filter(|pid| *pid != 0),
        user_id: Some(body.u32()?).filter(|user| *user != UNKNOWN_USER),
        executable: body.text()?.into(),
        service_name: body.text()?.into(),
        container_id: if body.flag()? { Some(body.text()?.into()) } else { None },
        command_args: body.list(|body| body.text().map(str::to_owned))?,
        resource_attributes: body.list(|body| Ok((body.text()?.to_owned(), body.text()?.to_owned())))?,
    })
}

fn connecting(body: &mut Cursor<'_>) -> Result<Connecting, Malformed> {
    Ok(Connecting {
        at: time(body)?,
        socket: SocketId(body.u64()?),
        thread: thread(body)?,
        peer: address(body)?,
        last_receive: last_receive(body)?,
        task: task(body)?,
    })
}

fn opened(body: &mut Cursor<'_>) -> Result<Opened, Malformed> {
    let mut opened = Opened {
        at: time(body)?,
        connection: connection(body)?,
        thread: thread(body)?,
        local: address(body)?,
        peer: address(body)?,
        network_namespace: body.u32()?,
        first_sequence: [body.u32()?, body.u32()?],
        first_position: 0,
        earlier: [Earlier::unless(body.flag()?), Earlier::unless(body.flag()?)],
    };
    if !body.is_empty() {
        opened.first_position = first_position(body)?;
        opened.earlier = [earlier(body)?, earlier(body)?];
    }
    Ok(opened)
}

fn first_position(body: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let position = count(body)?;
    if position.trailing_zeros() >= 32 { Ok(position) } else { Err(Malformed("a connection begins nowhere")) }
}

fn earlier(body: &mut Cursor<'_>) -> Result<Earlier, Malformed> {
    match body.u64()? {
        0 => Ok(Earlier::Nothing),
        u64::MAX => Ok(Earlier::Unknown),
        bytes if bytes <= MAX_COUNT => Ok(Earlier::Bytes(bytes)),
        _ => Err(Malformed("a number of bytes is out of range")),
    }
}

fn transfer<'a>(body: &mut Cursor<'a>) -> Result<Transfer<'a>, Malformed> {
    let transfer = Transfer {
        at: time(body)?,
        connection: connection(body)?,
        direction: direction(body)?,
        position: count(body)?,
        length: body.u32()?,
        thread: thread(body)?,
        not_captured: not_captured(body)?,
        last_receive: last_receive(body)?,
        dropped: count(body)?,
        process_drops: count(body)?,
        head: body.bytes()?,
        tail: body.bytes()?,
        task: task(body)?,
    };
    if transfer.head.len() + transfer.tail.len() > transfer.length as usize {
        return Err(Malformed("a transfer holds more bytes than it moved"));
    }
    Ok(transfer)
}

fn local_closed(body: &mut Cursor<'_>) -> Result<LocalClosed, Malformed> {
    Ok(LocalClosed {
        at: time(body)?,
        connection: connection(body)?,
        position: [count(body)?, count(body)?],
        peer_finished: body.flag()?,
        actor: actor(body)?,
    })
}

/// Since 1.3; the last field of its record.
fn actor(body: &mut Cursor<'_>) -> Result<Actor, Malformed> {
    Ok(Actor { thread: thread(body)?, last_receive: last_receive(body)?, task: task(body)? })
}

fn closed(body: &mut Cursor<'_>) -> Result<Closed, Malformed> {
    Ok(Closed {
        at: time(body)?,
        connection: connection(body)?,
        errno: body.u16()?,
        observed: [count(body)?, count(body)?],
        dropped: [count(body)?, count(body)?],
        skipped: [count(body)?, count(body)?],
    })
}

fn time(body: &mut Cursor<'_>) -> Result<Timestamp, Malformed> {
    let at = body.u64()?;
    if at <= MAX_TIME { Ok(Timestamp(at)) } else { Err(Malformed("a time is out of range")) }
}

/// A position, or a number of bytes or events: small enough that sums of them do not overflow.
fn count(body: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let count = body.u64()?;
    if count <= MAX_COUNT { Ok(count) } else { Err(Malformed("a number of bytes is out of range")) }
}

fn connection(body: &mut Cursor<'_>) -> Result<ConnectionId, Malformed> {
    match body.u64()? {
        0 => Err(Malformed("a connection is 0")),
        id => Ok(ConnectionId(id)),
    }
}

fn thread(body: &mut Cursor<'_>) -> Result<Thread, Malformed> {
    Ok(Thread { pid: body.u32()?, tid: body.u32()? })
}

fn direction(body: &mut Cursor<'_>) -> Result<Direction, Malformed> {
    Ok(if body.flag()? { Direction::In } else { Direction::Out })
}

fn not_captured(body: &mut Cursor<'_>) -> Result<Option<NotCaptured>, Malformed> {
    match body.u8()? {
        0 => Ok(None),
        number => match NotCaptured::ALL.into_iter().find(|reason| *reason as u8 == number) {
            Some(reason) => Ok(Some(reason)),
            None => Err(Malformed("bytes were not_captured for no reason that exists")),
        },
    }
}

fn last_receive(body: &mut Cursor<'_>) -> Result<Option<LastReceive>, Malformed> {
    if !body.flag()? {
        return Ok(None);
    }
    Ok(Some(LastReceive { connection: connection(body)?, position: count(body)?, mark: Mark::default() }))
}

/// Missing bytes mean none: a log of version 1.0 has no tasks.
fn task(body: &mut Cursor<'_>) -> Result<Option<Task>, Malformed> {
    if body.is_empty() {
        return Ok(None);
    }
    let (kind, id) = (body.u8()?, body.u64()?);
    match kind {
        1 => Ok(Some(Task::Goroutine(id))),
        2 => Ok(Some(Task::Handoff(id))),
        3 => Ok(Some(Task::Context(id))),
        _ => Err(Malformed("a task is of no kind that exists")),
    }
}

fn address(body: &mut Cursor<'_>) -> Result<SocketAddr, Malformed> {
    match body.u8()? {
        4 => Ok(SocketAddrV4::new(Ipv4Addr::from(body.array::<4>()?), body.u16()?).into()),
        6 => {
            let octets = body.array::<16>()?;
            let (port, flow, scope) = (body.u16()?, body.u32()?, body.u32()?);
            Ok(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
        }
        _ => Err(Malformed("an address is neither IPv4 nor IPv6")),
    }
}
