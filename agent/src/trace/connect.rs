//! Connects: what the successful ones lend to their connection's first request, and spans for those that failed.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::{
    Tracer,
    causality::Trigger,
    errors,
    span::{Span, SpanKind, Status},
};
use crate::event::{Connecting, ConnectionId, SocketId, Thread, Timestamp};

/// The name of a failed connect's span.
const NAME: &str = "connect";

/// A connect in progress.
#[derive(Debug, Clone, Copy)]
struct Connect {
    at: Timestamp,
    thread: Thread,
    peer: SocketAddr,
    trigger: Trigger,
}

/// Connects in progress, and triggers of those that succeeded before their connection was seen.
#[derive(Debug)]
pub(super) struct Connects {
    open: FxHashMap<SocketId, Connect>,
    lent: FxHashMap<ConnectionId, Trigger>,
    limit: usize,
}

impl Connects {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: FxHashMap::default(), lent: FxHashMap::default(), limit }
    }

    /// What the connect of this connection lends to its first request, once.
    pub(super) fn take_lent(&mut self, connection: ConnectionId) -> Option<Trigger> {
        self.lent.remove(&connection)
    }

    /// Whether the connect that began at `at` has no result yet.
    pub(super) fn in_progress(&self, socket: SocketId, at: Timestamp) -> bool {
        self.open.get(&socket).is_some_and(|connect| connect.at == at)
    }
}

impl Tracer {
    pub(super) fn connecting(&mut self, connecting: &Connecting) {
        let trigger = Trigger::of(&self.exchanges, &self.processes, connecting.last_input);
        let connect =
            Connect { at: connecting.at, thread: connecting.thread, peer: connecting.peer, trigger };
        let full = self.connects.open.len() >= self.connects.limit;
        if full && !self.connects.open.contains_key(&connecting.socket) {
            self.counters.refused_connects += 1;
            return;
        }
        self.connects.open.insert(connecting.socket, connect);
        self.notice_connect(connecting.socket, connecting.at);
    }

    pub(super) fn connected(&mut self, socket: SocketId, id: ConnectionId) {
        let Some(connect) = self.connects.open.remove(&socket) else { return };
        if let Some(connection) = self.exchanges.connection_mut(id) {
            connection.lent = Some(connect.trigger);
        } else if self.connects.lent.len() < self.connects.limit {
            self.connects.lent.insert(id, connect.trigger);
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
        self.give(span);
    }

    /// A notice of a connect that began at `at` and is still in progress.
    pub(super) fn open_connect(&mut self, socket: SocketId, at: Timestamp) -> Option<Box<Span>> {
        let connect = *self.connects.open.get(&socket).filter(|connect| connect.at == at)?;
        let mut span = self.connect_span(socket, &connect);
        span.end = self.unix(self.now).max(span.start);
        Some(span)
    }

    /// A connect is a root: nothing confirms what caused it.
    fn connect_span(&mut self, socket: SocketId, connect: &Connect) -> Box<Span> {
        let (trace, id) = self.identifiers.connect(socket, connect.at);
        let process = self.facts_of(connect.thread.pid);
        let mut span = Span::begin(SpanKind::Client, NAME.into(), connect.peer, connect.thread, process);
        span.trace = trace;
        span.id = id;
        span.flags = super::assembly::ROOT_FLAGS;
        span.start = self.unix(connect.at);
        Box::new(span)
    }
}
