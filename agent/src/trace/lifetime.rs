//! What ends without a message of its own: connections that are forgotten, exchanges that make
//! room, and notices of exchanges that stay open for long.

use super::{
    Gone, Notice, Tracer,
    assembly::Expiry,
    exchange::{Exchange, Key},
    settings::nanos,
    span::{SpanEvent, SpanKind},
};
use crate::{
    event::{ConnectionId, SocketId, Timestamp},
    protocol::{ExchangeEnd, Incomplete, Outcome},
};

impl Tracer {
    pub(super) fn forget_later(&mut self, gone: Gone) {
        self.gone.push(self.now.plus(nanos(self.settings.linger)), gone);
    }

    pub(super) fn forget_connection_later(&mut self, id: ConnectionId) {
        if let Some(connection) = self.exchanges.connection(id) {
            let opened_at = connection.opened_at;
            self.forget_later(Gone::Connection(id, opened_at));
        }
    }

    /// Forgets a connection that closed a while ago. It stays while spans of it wait.
    pub(super) fn forget_connection(&mut self, id: ConnectionId, opened_at: Timestamp) {
        let known = self.exchanges.connection(id);
        if known.is_none_or(|connection| connection.opened_at != opened_at) {
            // The connection was observed again since, and lives on.
            return;
        }
        self.end_open(id);
        match self.exchanges.connection(id) {
            Some(connection) if connection.live > 0 => self.forget_connection_later(id),
            Some(_) => self.remove_connection(id),
            None => {}
        }
    }

    /// The source knows nothing of this connection any more, so no event will end it.
    pub fn forget(&mut self, id: ConnectionId) {
        self.connects.take_connect_cause(id);
        self.forget_connection_later(id);
    }

    /// Forgets a connection at once. Its spans are exported as they are.
    pub(super) fn evict_connection(&mut self, id: ConnectionId) {
        self.end_open(id);
        for key in self.keys(id, |exchange| !exchange.exported()) {
            self.expire_span(key, Expiry::Limit);
        }
        self.remove_connection(id);
    }

    /// Ends the oldest exchange of a connection that has too many.
    pub(super) fn make_room(&mut self, id: ConnectionId) {
        let limit = self.settings.exchanges_per_connection;
        let full = self.exchanges.connection(id).is_some_and(|connection| connection.live >= limit);
        if !full {
            return;
        }
        let Some(oldest) = self.keys(id, |exchange| !exchange.exported()).first().copied() else { return };
        self.counters.evicted_exchanges += 1;
        self.end_unfinished(oldest);
        self.expire_span(oldest, Expiry::Limit);
    }

    pub(super) fn notice_exchange(&mut self, kind: SpanKind, key: Key) {
        self.open.begin(&self.exchanges, kind, key, self.now);
        let Some(after) = self.settings.open_notice else { return };
        self.notices.push(self.now.plus(nanos(after)), Notice::Exchange(key));
        self.compact_notices();
    }

    pub(super) fn notice_connect(&mut self, socket: SocketId, at: Timestamp) {
        let Some(after) = self.settings.open_notice else { return };
        self.notices.push(self.now.plus(nanos(after)), Notice::Connect(socket, at));
        self.compact_notices();
    }

    /// Emits a notice, once, of each exchange and connect that has been open for long.
    pub(super) fn emit_notices(&mut self) {
        while let Some(notice) = self.notices.pop_due(self.now) {
            let span = match notice {
                Notice::Exchange(key) => {
                    self.exchanges.get(key).is_some_and(Exchange::open).then(|| self.open_span(key)).flatten()
                }
                Notice::Connect(socket, at) => self.open_connect(socket, at),
            };
            if let Some(span) = span.filter(|span| !self.leaves_out(span.process.pid)) {
                self.counters.open_notices += 1;
                self.assembly.ready.push(SpanEvent::Open(span));
            }
        }
    }

    fn compact_notices(&mut self) {
        let (exchanges, connects) = (&self.exchanges, &self.connects);
        self.notices.compact(|notice| match notice {
            Notice::Exchange(key) => exchanges.get(*key).is_some_and(Exchange::open),
            Notice::Connect(socket, at) => connects.in_progress(*socket, *at),
        });
    }

    fn end_open(&mut self, id: ConnectionId) {
        for key in self.keys(id, Exchange::open) {
            self.end_unfinished(key);
        }
    }

    fn end_unfinished(&mut self, key: Key) {
        let end = ExchangeEnd {
            outcome: Outcome::Unfinished,
            request_body: None,
            response_body: None,
            request_end: None,
            missing: 0,
            incomplete: Incomplete::default(),
        };
        self.end(key, self.now, &end);
    }

    pub(super) fn keys(&self, id: ConnectionId, wanted: impl Fn(&Exchange) -> bool) -> Vec<Key> {
        let Some(connection) = self.exchanges.connection(id) else { return Vec::new() };
        let exchanges = self.exchanges.of(connection).filter(|exchange| wanted(exchange));
        exchanges.map(|exchange| exchange.key).collect()
    }

    fn remove_connection(&mut self, id: ConnectionId) {
        if let Some(connection) = self.exchanges.remove(id) {
            self.joins.forget(&connection);
            self.joins.forget_start(id, &connection);
        }
    }
}
