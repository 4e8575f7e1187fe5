//! Connects. The cause of a successful one is kept for the first call of its connection; a failed
//! one gets a span.
//!
//! A failed connect is a call without a response. It is an exchange on a connection of its own,
//! whose number no socket cookie has. So it is judged like any other call.

use rustc_hash::FxHashMap;

use super::{
    Tracer,
    causality::{CausalLinks, Causality, Cause},
    connection_join::Partner,
    errors,
    exchange::Exchange,
    exchanges::Connection,
    span::{Span, SpanKind, Status},
};
use crate::{
    event::{
        Actor, Connecting, ConnectionId, Earlier, Endpoint, LastReceive, Opened, SocketId, Task, Thread,
        Timestamp,
    },
    protocol::Origin,
};

/// Connections from this number on are failed connects. Socket cookies come from a counter and stay
/// far below.
const FAILED: u64 = 1 << 63;

/// The name of a failed connect's span.
const NAME: &str = "connect";

/// A connect in progress.
#[derive(Debug, Clone)]
struct Connect {
    at: Timestamp,
    thread: Thread,
    peer: Endpoint,
    cause: Cause,
    /// The goroutine that started the connecting one, and its last receive.
    started: Option<(u64, LastReceive)>,
    task: Option<Task>,
}

/// Connects in progress, and the causes of those that succeeded before their connection was seen.
#[derive(Debug)]
pub(super) struct Connects {
    open: FxHashMap<SocketId, Connect>,
    connect_causes: FxHashMap<ConnectionId, Cause>,
    /// Failed connects by their sockets, until a socket is closed or used again.
    failed: FxHashMap<SocketId, ConnectionId>,
    /// How many connects have failed.
    failures: u64,
    limit: usize,
}

impl Connects {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            open: FxHashMap::default(),
            connect_causes: FxHashMap::default(),
            failed: FxHashMap::default(),
            failures: 0,
            limit,
        }
    }

    /// Takes the cause of this connection's connect. It is given out once.
    pub(super) fn take_connect_cause(&mut self, connection: ConnectionId) -> Option<Cause> {
        self.connect_causes.remove(&connection)
    }

    /// Whether the connect that began at `at` has no result yet.
    pub(super) fn in_progress(&self, socket: SocketId, at: Timestamp) -> bool {
        self.open.get(&socket).is_some_and(|connect| connect.at == at)
    }
}

impl Tracer {
    pub(super) fn connecting(&mut self, connecting: &Connecting) {
        let started = self.started(connecting);
        let cause = match connecting.task {
            // A goroutine that was started to connect has received nothing, and its connection may
            // serve another request.
            Some(Task::Handoff(_)) => Cause::None,
            _ => Cause::of(&self.exchanges, &self.processes, connecting.last_receive),
        };
        let connect = Connect {
            at: connecting.at,
            thread: connecting.thread,
            peer: connecting.peer.clone(),
            cause,
            started,
            task: connecting.task,
        };
        self.connects.failed.remove(&connecting.socket);
        let full = self.connects.open.len() >= self.connects.limit;
        if full && !self.connects.open.contains_key(&connecting.socket) {
            self.counters.refused_connects += 1;
            return;
        }
        self.connects.open.insert(connecting.socket, connect);
        self.notice_connect(connecting.socket, connecting.at);
    }

    /// The goroutine that started the connecting one, if it serves a request.
    ///
    /// `net/http` starts a goroutine to connect on behalf of the one that makes a call. That one
    /// has read its request and nothing else, and waits for no other call. (A goroutine whose call
    /// ends may make room for somebody else's connection.)
    fn started(&self, connecting: &Connecting) -> Option<(u64, LastReceive)> {
        let (Some(Task::Handoff(goroutine)), Some(receive)) = (connecting.task, connecting.last_receive)
        else {
            return None;
        };
        let connection = self.exchanges.connection(receive.connection)?;
        let request = self.exchanges.by_received(connection, receive.position)?;
        let serves = request.kind == SpanKind::Server && !request.links.waits_for_call();
        serves.then_some((goroutine, receive))
    }

    pub(super) fn connected(&mut self, socket: SocketId, id: ConnectionId) {
        let Some(connect) = self.connects.open.remove(&socket) else { return };
        if let Some(connection) = self.exchanges.connection_mut(id) {
            connection.connect_cause = Some(connect.cause);
        } else if self.connects.connect_causes.len() < self.connects.limit {
            self.connects.connect_causes.insert(id, connect.cause);
        } else {
            self.counters.refused_connects += 1;
        }
    }

    pub(super) fn connect_failed(&mut self, at: Timestamp, socket: SocketId, errno: u16) {
        let Some(connect) = self.connects.open.remove(&socket) else { return };
        let mut span = self.connect_span(socket, &connect);
        span.end = self.unix(at).max(span.start);
        span.status = Status::Error;
        span.error = Some(errors::connect_error_type(errno).into_owned());
        self.counters.failed_connects += 1;
        self.connects.failures += 1;
        let connection = ConnectionId(FAILED | self.connects.failures);
        self.fail(connection, socket, &connect, span, at);
        if self.connects.failed.len() >= self.connects.limit {
            // Nobody will know who closes these sockets. Event logs before version 1.3 never record
            // it, so the map would only grow.
            self.connects.failed.clear();
        }
        self.connects.failed.insert(socket, connection);
    }

    /// A thread has closed the socket of a failed connect.
    pub(super) fn failed_connect_closed(&mut self, socket: SocketId, actor: &Actor, at: Timestamp) {
        if let Some(connection) = self.connects.failed.remove(&socket) {
            self.closed_by(connection, actor, at);
        }
    }

    /// Adds the exchange of a call that ended before it was sent.
    fn fail(
        &mut self,
        id: ConnectionId,
        socket: SocketId,
        connect: &Connect,
        span: Box<Span>,
        at: Timestamp,
    ) {
        let Thread { pid, .. } = connect.thread;
        self.make_room_for(id);
        self.exchanges.insert(id, Connection::new(&nowhere(id, connect, at)));
        let epoch = self.processes.get(pid).map_or(0, |process| process.epoch);
        let origin = Origin {
            at: connect.at,
            thread: connect.thread,
            position: 0,
            last_receive: None,
            task: connect.task,
        };
        let mut links = CausalLinks::of_call(epoch, &origin);
        links.call_ended(at, false);
        let span_id = span.id;
        let mut live = self.exchanges.spare();
        live.begin(span, 0, Partner::Absent);
        (live.ended, live.head_seen) = (Some(at), true);
        let make = |key| Exchange {
            key,
            connection: id,
            ordinal: 0,
            kind: SpanKind::Client,
            id: span_id,
            at: connect.at,
            position: 0,
            stream_offset: socket.0,
            receives_from: 0,
            pid,
            context: None,
            fixed_early: false,
            passed_on: false,
            links,
            live: Some(live),
        };
        let Some(key) = self.exchanges.push(id, 0, make) else { return };
        if let Some((goroutine, receive)) = connect.started {
            self.judge_handoff(key, goroutine, Some(receive));
        } else {
            let cause = connect.cause.revalidated(&self.exchanges, &self.processes);
            self.note_request_side(key, cause);
        }
        self.task_call(key, &origin);
        Causality::call_over(&mut self.exchanges, &mut self.processes, key);
        self.finish_or_wait(key);
        self.forget_connection_later(id);
    }

    /// The socket and the time from which the ids of a failed connect are made. `None` if the
    /// exchange is something else.
    pub(super) fn is_failed_connect(exchange: &Exchange) -> Option<(SocketId, Timestamp)> {
        (exchange.connection.0 >= FAILED).then_some((SocketId(exchange.stream_offset), exchange.at))
    }

    /// A notice of a connect that began at `at` and is still in progress.
    pub(super) fn open_connect(&mut self, socket: SocketId, at: Timestamp) -> Option<Box<Span>> {
        let connect = self.connects.open.get(&socket).filter(|connect| connect.at == at)?.clone();
        let mut span = self.connect_span(socket, &connect);
        span.end = self.unix(self.now).max(span.start);
        Some(span)
    }

    /// A span with the ids of a root. A parent may change them.
    fn connect_span(&mut self, socket: SocketId, connect: &Connect) -> Box<Span> {
        let (trace, id) = self.identifiers.connect(socket, connect.at);
        let (process, _) = self.facts_of(connect.thread.pid);
        let mut span = Span::begin(
            SpanKind::Client,
            NAME.into(),
            None,
            (None, connect.peer.clone()),
            connect.thread,
            process,
        );
        span.trace = trace;
        span.id = id;
        span.flags = super::assembly::ROOT_FLAGS;
        span.start = self.unix(connect.at);
        Box::new(span)
    }
}

/// The connection that a failed connect did not make.
fn nowhere(connection: ConnectionId, connect: &Connect, at: Timestamp) -> Opened {
    Opened {
        at,
        connection,
        thread: connect.thread,
        local: connect.peer.clone(),
        peer: connect.peer.clone(),
        network_namespace: 0,
        first_sequence: [0; 2],
        first_position: 0,
        earlier: [Earlier::Nothing; 2],
    }
}
