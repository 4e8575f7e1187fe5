//! From the bytes of a record to an event: the counterpart of `encode`, for bytes that may come
//! from anyone.

mod old;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    sync::Arc,
};

use agent_common::UNKNOWN_USER;

use super::{
    cursor::{Cursor, Malformed},
    format::{MAX_COUNT, MAX_TIME, Version, address, flags, kind},
};
use crate::event::{
    Actor, Asked, Capture, CaptureMode, Closed, Connecting, ConnectionId, Direction, Earlier, Endpoint,
    Event, LastReceive, Layer, LocalClosed, Mark, NotCaptured, Opened, PlaintextOpened, ProcessFacts,
    SocketId, StreamId, Task, Thread, Timestamp, Transfer, UnixAddress,
};

const NO_SUCH_FLAG: Malformed = Malformed("a flag that does not exist is set");
const NO_SUCH_TASK: Malformed = Malformed("a task is of no kind that exists");

/// Decodes the body of one record. Only a file of a newer minor version may have more fields than
/// are read here.
pub(super) fn event(kind: u8, body: &[u8], version: Version) -> Result<Event<'_>, Malformed> {
    let mut body = Cursor::new(body);
    let old = if version.is_old() { old::event(kind, &mut body)? } else { None };
    let event = match old {
        Some(event) => event,
        None => current(kind, &mut body, version)?,
    };
    if !body.is_empty() && !version.is_newer() {
        return Err(Malformed("a record is longer than its fields"));
    }
    Ok(event)
}

fn current<'a>(kind: u8, body: &mut Cursor<'a>, version: Version) -> Result<Event<'a>, Malformed> {
    Ok(match kind {
        kind::CLOCK => Event::Clock { at: time(body)?, unix_offset: time(body)?.0 },
        kind::RUN_KEY => Event::RunKey(body.array()?),
        kind::PROCESS => Event::Process { at: time(body)?, facts: Box::new(process(body)?) },
        kind::FORK => Event::Fork { at: time(body)?, parent: body.u32()?, child: body.u32()? },
        kind::EXIT => Event::Exit { at: time(body)?, pid: body.u32()? },
        kind::CONNECTING => Event::Connecting(connecting(body)?),
        kind::CONNECTED => {
            Event::Connected { at: time(body)?, socket: SocketId(body.u64()?), connection: connection(body)? }
        }
        kind::CONNECT_FAILED => {
            Event::ConnectFailed { at: time(body)?, socket: SocketId(body.u64()?), errno: body.u16()? }
        }
        kind::OPENED => Event::Opened(opened(body)?),
        kind::PLAINTEXT_OPENED => Event::PlaintextOpened(PlaintextOpened {
            at: time(body)?,
            connection: connection(body)?,
            thread: thread(body)?,
            earlier: [earlier(body)?, earlier(body)?],
        }),
        kind::TRANSFER => Event::Transfer(transfer(body)?),
        kind::HALF_CLOSED => half_closed(body)?,
        kind::RELEASED => Event::Released {
            at: time(body)?,
            connection: if body.flag()? { Some(connection(body)?) } else { None },
            socket: SocketId(body.u64()?),
            actor: actor(body)?,
        },
        kind::REDIRECTED => Event::Redirected { at: time(body)?, connection: connection(body)? },
        kind::LOCAL_CLOSED => Event::LocalClosed(LocalClosed {
            at: time(body)?,
            connection: connection(body)?,
            position: [count(body)?, count(body)?],
            peer_finished: body.flag()?,
            actor: actor(body)?,
        }),
        kind::CLOSED => Event::Closed(closed(body)?),
        kind::ASKED => Event::Asked(asked(body, version)?),
        kind::TICK => Event::Tick { at: time(body)? },
        kind::SHUTDOWN => Event::Shutdown { at: time(body)? },
        _ => return Err(Malformed("a record is no event")),
    })
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
    let (at, socket, thread, peer) = (time(body)?, SocketId(body.u64()?), thread(body)?, endpoint(body)?);
    let (last_receive, task) = cause(body.u8()?, body)?;
    Ok(Connecting { at, socket, thread, peer, last_receive, task })
}

fn opened(body: &mut Cursor<'_>) -> Result<Opened, Malformed> {
    let opened = Opened {
        at: time(body)?,
        connection: connection(body)?,
        thread: thread(body)?,
        local: endpoint(body)?,
        peer: endpoint(body)?,
        network_namespace: body.u32()?,
        first_sequence: [body.u32()?, body.u32()?],
        first_position: first_position(body)?,
        earlier: [earlier(body)?, earlier(body)?],
    };
    if opened.local.is_unix() == opened.peer.is_unix() {
        Ok(opened)
    } else {
        Err(Malformed("only one end of a connection is a unix socket"))
    }
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
    let (at, connection, what) = (time(body)?, connection(body)?, body.u8()?);
    let (position, length, thread) = (count(body)?, body.u32()?, thread(body)?);
    let (not_captured, dropped, process_drops) = (not_captured(body)?, count(body)?, count(body)?);
    let (last_receive, task) = cause(what >> flags::CAUSE, body)?;
    checked(Transfer {
        at,
        connection,
        layer: layer_of(what & flags::PLAINTEXT != 0),
        direction: direction_of(what & flags::IN != 0),
        position,
        length,
        thread,
        head: body.bytes()?,
        tail: body.bytes()?,
        not_captured,
        last_receive,
        task,
        dropped,
        process_drops,
    })
}

fn checked(transfer: Transfer<'_>) -> Result<Transfer<'_>, Malformed> {
    if transfer.head.len() + transfer.tail.len() > transfer.length as usize {
        return Err(Malformed("a transfer holds more bytes than it moved"));
    }
    Ok(transfer)
}

fn half_closed<'a>(body: &mut Cursor<'_>) -> Result<Event<'a>, Malformed> {
    let (at, connection, what, position) = (time(body)?, connection(body)?, body.u8()?, count(body)?);
    if what & !(flags::IN | flags::PLAINTEXT | flags::ACTOR) != 0 {
        return Err(NO_SUCH_FLAG);
    }
    Ok(Event::HalfClosed {
        at,
        connection,
        layer: layer_of(what & flags::PLAINTEXT != 0),
        direction: direction_of(what & flags::IN != 0),
        position,
        actor: if what & flags::ACTOR != 0 { Some(actor(body)?) } else { None },
    })
}

fn actor(body: &mut Cursor<'_>) -> Result<Actor, Malformed> {
    let thread = thread(body)?;
    let (last_receive, task) = cause(body.u8()?, body)?;
    Ok(Actor { thread, task, last_receive })
}

/// The fields that these flags announce.
fn cause(cause: u8, body: &mut Cursor<'_>) -> Result<(Option<LastReceive>, Option<Task>), Malformed> {
    let layer = layer_of(cause & flags::LAST_OF_PLAINTEXT != 0);
    let last = match cause & flags::LAST_RECEIVE != 0 {
        true => Some(LastReceive {
            connection: connection(body)?,
            layer,
            position: count(body)?,
            mark: Mark::default(),
        }),
        false if layer == Layer::Plaintext => return Err(NO_SUCH_FLAG),
        false => None,
    };
    Ok((last, task(cause >> flags::TASK, body)?))
}

fn asked(body: &mut Cursor<'_>, version: Version) -> Result<Asked, Malformed> {
    let (at, connection, layer) = (time(body)?, connection(body)?, layer_of(body.flag()?));
    let mut capture = || Ok(Capture { mode: capture_mode(body, version)?, skip_until: body.u64()? });
    Ok(Asked { at, stream: StreamId { connection, layer }, directions: [capture()?, capture()?] })
}

/// A mode that only newer agents have captures what this one asks for without being asked.
fn capture_mode(body: &mut Cursor<'_>, version: Version) -> Result<CaptureMode, Malformed> {
    let number = body.u8()?;
    match CaptureMode::ALL.into_iter().find(|mode| *mode as u8 == number) {
        Some(mode) => Ok(mode),
        None if version.is_newer() => Ok(CaptureMode::default()),
        None => Err(Malformed("a mode of capture does not exist")),
    }
}

fn closed(body: &mut Cursor<'_>) -> Result<Closed, Malformed> {
    Ok(Closed {
        at: time(body)?,
        connection: connection(body)?,
        layer: layer_of(body.flag()?),
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

const fn direction_of(is_in: bool) -> Direction {
    if is_in { Direction::In } else { Direction::Out }
}

const fn layer_of(plaintext: bool) -> Layer {
    if plaintext { Layer::Plaintext } else { Layer::Wire }
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

fn task(kind: u8, body: &mut Cursor<'_>) -> Result<Option<Task>, Malformed> {
    Ok(Some(match kind {
        0 => return Ok(None),
        1 => Task::Goroutine(body.u64()?),
        2 => Task::Handoff(body.u64()?),
        3 => Task::Context(body.u64()?),
        _ => return Err(NO_SUCH_TASK),
    }))
}

fn endpoint(body: &mut Cursor<'_>) -> Result<Endpoint, Malformed> {
    Ok(Endpoint::Unix(match body.clone().u8()? {
        address::PATH => UnixAddress::Path(unix_name(body, |name| !name.is_empty() && !name.contains(&0))?),
        // The zero before the name has room of its own.
        address::ABSTRACT => {
            UnixAddress::Abstract(unix_name(body, |name| name.len() < UnixAddress::LONGEST)?)
        }
        address::UNNAMED => {
            body.u8()?;
            UnixAddress::Unnamed
        }
        _ => return Ok(inet(body)?.into()),
    }))
}

/// The kind and, behind its length (u8), a name that can be.
fn unix_name(body: &mut Cursor<'_>, can_be: impl FnOnce(&[u8]) -> bool) -> Result<Arc<[u8]>, Malformed> {
    let [_kind, length] = body.array()?;
    let name = body.take(length.into())?;
    if name.len() <= UnixAddress::LONGEST && can_be(name) {
        Ok(name.into())
    } else {
        Err(Malformed("a unix socket has a name that no socket can have"))
    }
}

fn inet(body: &mut Cursor<'_>) -> Result<SocketAddr, Malformed> {
    match body.u8()? {
        address::IPV4 => Ok(SocketAddrV4::new(Ipv4Addr::from(body.array::<4>()?), body.u16()?).into()),
        address::IPV6 => {
            let octets = body.array::<16>()?;
            let (port, flow, scope) = (body.u16()?, body.u32()?, body.u32()?);
            Ok(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
        }
        _ => Err(Malformed("an address is of no kind that exists")),
    }
}
