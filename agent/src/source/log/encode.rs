//! An event as bytes. This file is the specification of the records' bodies: fields in the order in
//! which the functions write them. `decode/old.rs` is that of format 1.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC. `text` and `bytes` are a u32 length and the bytes,
//! `list` a u32 count and the elements. Pairs stand in the order out, in.
//!
//! An address is a u8 (4 or 6), the octets, the port u16, and for 6 the flow label and the scope,
//! u32 each; or of a unix socket a u8 (1 path, 2 abstract name, 3 unnamed) and, unless it is
//! unnamed, a u8 length and the bytes. A cause is bits (`format::flags`), then the connection u64
//! and position u64 of a last receive and the u64 of a task, if the bits say that there are such.
//! What had moved when a stream was first observed is a number of bytes, `u64::MAX` where it is not
//! known. An unknown parent is 0, an unknown user `u32::MAX`.

use std::net::SocketAddr;

use agent_common::UNKNOWN_USER;

use super::format::{RECORD_HEADER, address, flags, kind};
use crate::event::{
    Actor, Asked, Closed, Connecting, Direction, Earlier, Endpoint, Event, LastReceive, Layer, LocalClosed,
    Opened, PlaintextOpened, ProcessFacts, Task, Thread, Timestamp, Transfer, UnixAddress,
};

/// Appends the record of `event`.
pub(super) fn event(event: &Event<'_>, out: &mut Vec<u8>) {
    let start = begin(out);
    let kind = match event {
        Event::Clock { at, unix_offset } => {
            time(*at, out);
            u64(*unix_offset, out);
            kind::CLOCK
        }
        Event::RunKey(key) => {
            out.extend_from_slice(key);
            kind::RUN_KEY
        }
        Event::Process { at, facts } => {
            time(*at, out);
            process(facts, out);
            kind::PROCESS
        }
        Event::Fork { at, parent, child } => {
            time(*at, out);
            u32(*parent, out);
            u32(*child, out);
            kind::FORK
        }
        Event::Exit { at, pid } => {
            time(*at, out);
            u32(*pid, out);
            kind::EXIT
        }
        Event::Connecting(event) => connecting(event, out),
        Event::Connected { at, socket, connection } => {
            time(*at, out);
            u64(socket.0, out);
            u64(connection.0, out);
            kind::CONNECTED
        }
        Event::ConnectFailed { at, socket, errno } => {
            time(*at, out);
            u64(socket.0, out);
            u16(*errno, out);
            kind::CONNECT_FAILED
        }
        Event::Opened(event) => opened(event, out),
        Event::Transfer(event) => transfer(event, out),
        Event::PlaintextOpened(event) => plaintext_opened(event, out),
        Event::HalfClosed { at, connection, layer, direction, position, actor: by } => {
            time(*at, out);
            u64(connection.0, out);
            out.push(stream(*direction, *layer) | if by.is_some() { flags::ACTOR } else { 0 });
            u64(*position, out);
            if let Some(by) = by {
                actor(by, out);
            }
            kind::HALF_CLOSED
        }
        Event::Released { at, connection, socket, actor: by } => {
            time(*at, out);
            flag(connection.is_some(), out);
            if let Some(connection) = connection {
                u64(connection.0, out);
            }
            u64(socket.0, out);
            actor(by, out);
            kind::RELEASED
        }
        Event::Redirected { at, connection } => {
            time(*at, out);
            u64(connection.0, out);
            kind::REDIRECTED
        }
        Event::LocalClosed(event) => local_closed(event, out),
        Event::Closed(event) => closed(event, out),
        Event::Asked(event) => asked(event, out),
        Event::Tick { at } => {
            time(*at, out);
            kind::TICK
        }
        Event::Shutdown { at } => {
            time(*at, out);
            kind::SHUTDOWN
        }
    };
    finish(start, kind, out);
}

/// Appends the record of the log's own header.
pub(super) fn header(text: &str, out: &mut Vec<u8>) {
    let start = begin(out);
    out.extend_from_slice(text.as_bytes());
    finish(start, kind::HEADER, out);
}

fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER]);
    start
}

fn finish(start: usize, kind: u8, out: &mut [u8]) {
    // Nothing of more than 4 GiB comes here: a record of more than `MAX_RECORD` bytes is refused.
    let length = u32::try_from(out.len() - start - RECORD_HEADER).unwrap_or(u32::MAX);
    out[start] = kind;
    out[start + 1..start + RECORD_HEADER].copy_from_slice(&length.to_le_bytes());
}

fn process(facts: &ProcessFacts, out: &mut Vec<u8>) {
    u32(facts.pid, out);
    u64(facts.start_time, out);
    u32(facts.parent_pid.unwrap_or(0), out);
    u32(facts.user_id.unwrap_or(UNKNOWN_USER), out);
    text(&facts.executable, out);
    text(&facts.service_name, out);
    flag(facts.container_id.is_some(), out);
    if let Some(container) = &facts.container_id {
        text(container, out);
    }
    list(&facts.command_args, out, |argument, out| text(argument, out));
    list(&facts.resource_attributes, out, |(key, value), out| {
        text(key, out);
        text(value, out);
    });
}

fn connecting(event: &Connecting, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.socket.0, out);
    thread(event.thread, out);
    endpoint(&event.peer, out);
    out.push(cause(event.last_receive, event.task));
    cause_fields(event.last_receive, event.task, out);
    kind::CONNECTING
}

fn opened(event: &Opened, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.connection.0, out);
    thread(event.thread, out);
    endpoint(&event.local, out);
    endpoint(&event.peer, out);
    u32(event.network_namespace, out);
    event.first_sequence.iter().for_each(|sequence| u32(*sequence, out));
    u64(event.first_position, out);
    event.earlier.iter().for_each(|earlier| u64(moved(*earlier), out));
    kind::OPENED
}

fn plaintext_opened(event: &PlaintextOpened, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.connection.0, out);
    thread(event.thread, out);
    event.earlier.iter().for_each(|earlier| u64(moved(*earlier), out));
    kind::PLAINTEXT_OPENED
}

const fn moved(earlier: Earlier) -> u64 {
    match earlier {
        Earlier::Nothing => 0,
        Earlier::Bytes(bytes) => bytes,
        Earlier::Unknown => u64::MAX,
    }
}

fn transfer(event: &Transfer<'_>, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.connection.0, out);
    let (last_receive, task) = (event.last_receive, event.task);
    out.push(stream(event.direction, event.layer) | cause(last_receive, task) << flags::CAUSE);
    u64(event.position, out);
    u32(event.length, out);
    thread(event.thread, out);
    // 0: the bytes were captured; otherwise the number of the reason (`event::NotCaptured`).
    out.push(event.not_captured.map_or(0, |reason| reason as u8));
    u64(event.dropped, out);
    u64(event.process_drops, out);
    cause_fields(last_receive, task, out);
    bytes(event.head, out);
    bytes(event.tail, out);
    kind::TRANSFER
}

fn local_closed(event: &LocalClosed, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.connection.0, out);
    event.position.iter().for_each(|position| u64(*position, out));
    flag(event.peer_finished, out);
    actor(&event.actor, out);
    kind::LOCAL_CLOSED
}

fn actor(actor: &Actor, out: &mut Vec<u8>) {
    thread(actor.thread, out);
    out.push(cause(actor.last_receive, actor.task));
    cause_fields(actor.last_receive, actor.task, out);
}

fn closed(event: &Closed, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.connection.0, out);
    flag(event.layer == Layer::Plaintext, out);
    u16(event.errno, out);
    for pair in [event.observed, event.dropped, event.skipped] {
        pair.iter().for_each(|bytes| u64(*bytes, out));
    }
    kind::CLOSED
}

fn time(at: Timestamp, out: &mut Vec<u8>) {
    u64(at.0, out);
}

fn thread(thread: Thread, out: &mut Vec<u8>) {
    u32(thread.pid, out);
    u32(thread.tid, out);
}

fn asked(event: &Asked, out: &mut Vec<u8>) -> u8 {
    time(event.at, out);
    u64(event.stream.connection.0, out);
    flag(event.stream.layer == Layer::Plaintext, out);
    for capture in event.directions {
        out.push(capture.mode as u8);
        u64(capture.skip_until, out);
    }
    kind::ASKED
}

/// Which bytes a record is about.
const fn stream(direction: Direction, layer: Layer) -> u8 {
    let towards = match direction {
        Direction::In => flags::IN,
        Direction::Out => 0,
    };
    match layer {
        Layer::Plaintext => towards | flags::PLAINTEXT,
        Layer::Wire => towards,
    }
}

/// Which fields [`cause_fields`] writes.
fn cause(last: Option<LastReceive>, task: Option<Task>) -> u8 {
    let last = match last.map(|last| last.layer) {
        None => 0,
        Some(Layer::Wire) => flags::LAST_RECEIVE,
        Some(Layer::Plaintext) => flags::LAST_RECEIVE | flags::LAST_OF_PLAINTEXT,
    };
    let task = match task {
        None => 0,
        Some(Task::Goroutine(_)) => 1,
        Some(Task::Handoff(_)) => 2,
        Some(Task::Context(_)) => 3,
    };
    last | task << flags::TASK
}

fn cause_fields(last: Option<LastReceive>, task: Option<Task>, out: &mut Vec<u8>) {
    if let Some(last) = last {
        u64(last.connection.0, out);
        u64(last.position, out);
    }
    if let Some(Task::Goroutine(id) | Task::Handoff(id) | Task::Context(id)) = task {
        u64(id, out);
    }
}

fn endpoint(endpoint: &Endpoint, out: &mut Vec<u8>) {
    match endpoint {
        Endpoint::Inet(address) => inet(*address, out),
        Endpoint::Unix(UnixAddress::Path(path)) => unix_name(address::PATH, path, out),
        Endpoint::Unix(UnixAddress::Abstract(name)) => unix_name(address::ABSTRACT, name, out),
        Endpoint::Unix(UnixAddress::Unnamed) => out.push(address::UNNAMED),
    }
}

/// A longer name than a socket can have is cut.
fn unix_name(kind: u8, name: &[u8], out: &mut Vec<u8>) {
    let name = &name[..name.len().min(UnixAddress::LONGEST)];
    out.push(kind);
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
}

fn inet(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(address) => {
            out.push(address::IPV4);
            out.extend_from_slice(&address.ip().octets());
            u16(address.port(), out);
        }
        SocketAddr::V6(address) => {
            out.push(address::IPV6);
            out.extend_from_slice(&address.ip().octets());
            u16(address.port(), out);
            u32(address.flowinfo(), out);
            u32(address.scope_id(), out);
        }
    }
}

fn list<T>(elements: &[T], out: &mut Vec<u8>, element: impl Fn(&T, &mut Vec<u8>)) {
    u32(u32::try_from(elements.len()).unwrap_or(u32::MAX), out);
    elements.iter().for_each(|one| element(one, out));
}

fn text(text: &str, out: &mut Vec<u8>) {
    bytes(text.as_bytes(), out);
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX), out);
    out.extend_from_slice(bytes);
}

fn flag(whether: bool, out: &mut Vec<u8>) {
    out.push(u8::from(whether));
}

fn u16(number: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn u32(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn u64(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}
