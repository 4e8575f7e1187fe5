//! The records of format 1 whose bodies are others since format 2. Format 1 has no plaintext and no
//! unix sockets; what a minor version added stands at the end of a body, and may be missing.

use super::{
    Actor, Closed, Connecting, Cursor, Earlier, Event, LastReceive, Layer, LocalClosed, Malformed, Mark,
    Opened, SocketId, Task, Transfer, connection, count, direction_of, earlier, first_position, inet, kind,
    not_captured, thread, time,
};

/// `None`: a record of this kind has the same body in both formats.
pub(super) fn event<'a>(kind: u8, body: &mut Cursor<'a>) -> Result<Option<Event<'a>>, Malformed> {
    Ok(Some(match kind {
        kind::CONNECTING => Event::Connecting(connecting(body)?),
        kind::OPENED => Event::Opened(opened(body)?),
        kind::TRANSFER => Event::Transfer(transfer(body)?),
        kind::HALF_CLOSED => Event::HalfClosed {
            at: time(body)?,
            connection: connection(body)?,
            layer: Layer::Wire,
            direction: direction_of(body.flag()?),
            position: count(body)?,
            actor: if body.is_empty() { None } else { Some(actor(body)?) },
        },
        kind::LOCAL_CLOSED => Event::LocalClosed(LocalClosed {
            at: time(body)?,
            connection: connection(body)?,
            position: [count(body)?, count(body)?],
            peer_finished: body.flag()?,
            actor: actor(body)?,
        }),
        kind::RELEASED => Event::Released {
            at: time(body)?,
            connection: if body.flag()? { Some(connection(body)?) } else { None },
            socket: SocketId(body.u64()?),
            actor: actor(body)?,
        },
        kind::CLOSED => Event::Closed(Closed {
            at: time(body)?,
            connection: connection(body)?,
            layer: Layer::Wire,
            errno: body.u16()?,
            observed: [count(body)?, count(body)?],
            dropped: [count(body)?, count(body)?],
            skipped: [count(body)?, count(body)?],
        }),
        _ => return Ok(None),
    }))
}

fn connecting(body: &mut Cursor<'_>) -> Result<Connecting, Malformed> {
    Ok(Connecting {
        at: time(body)?,
        socket: SocketId(body.u64()?),
        thread: thread(body)?,
        peer: inet(body)?.into(),
        last_receive: last_receive(body)?,
        task: task(body)?,
    })
}

fn opened(body: &mut Cursor<'_>) -> Result<Opened, Malformed> {
    let mut opened = Opened {
        at: time(body)?,
        connection: connection(body)?,
        thread: thread(body)?,
        local: inet(body)?.into(),
        peer: inet(body)?.into(),
        network_namespace: body.u32()?,
        first_sequence: [body.u32()?, body.u32()?],
        first_position: 0,
        earlier: [Earlier::unless(body.flag()?), Earlier::unless(body.flag()?)],
    };
    // Since 1.2.
    if !body.is_empty() {
        opened.first_position = first_position(body)?;
        opened.earlier = [earlier(body)?, earlier(body)?];
    }
    Ok(opened)
}

fn transfer<'a>(body: &mut Cursor<'a>) -> Result<Transfer<'a>, Malformed> {
    let transfer = Transfer {
        at: time(body)?,
        connection: connection(body)?,
        layer: Layer::Wire,
        direction: direction_of(body.flag()?),
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
    super::checked(transfer)
}

/// Since 1.3; the last field of its record.
fn actor(body: &mut Cursor<'_>) -> Result<Actor, Malformed> {
    Ok(Actor { thread: thread(body)?, last_receive: last_receive(body)?, task: task(body)? })
}

fn last_receive(body: &mut Cursor<'_>) -> Result<Option<LastReceive>, Malformed> {
    if !body.flag()? {
        return Ok(None);
    }
    let (connection, position) = (connection(body)?, count(body)?);
    Ok(Some(LastReceive { connection, layer: Layer::Wire, position, mark: Mark::default() }))
}

/// Missing bytes mean none: version 1.0 has no tasks.
fn task(body: &mut Cursor<'_>) -> Result<Option<Task>, Malformed> {
    if body.is_empty() {
        return Ok(None);
    }
    match body.u8()? {
        0 => Err(super::NO_SUCH_TASK),
        kind => super::task(kind, body),
    }
}
