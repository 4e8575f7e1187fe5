//! The connection join: finds both ends of a connection that has both ends on this host. It is made
//! once per connection; from then on positions of one end map to positions of the other.
//!
//! Two ends belong together if one sent and the other received a request that begins at the same
//! absolute TCP sequence number and with the same 16 bytes, while the other direction was at the
//! same absolute number. That holds across NAT and network namespaces. Either end may be observed
//! first, because a receive may be recorded before its own send.
//!
//! On a multiplexed connection no request says where the other direction was. Its ends belong
//! together if both streams of one begin at the absolute sequence numbers of the other's, which
//! TCP chose at random for this connection ([`Start`]). That needs no request, and is found also on
//! connections that are older than the agent, as long as TCP knows how many bytes had moved.
//!
//! A server's end waits for its partner until events that are
//! [`Settings::flow_wait`](super::Settings) younger than its first request have been read. A
//! client's end has nothing to wait for, because its parent comes from its own process. It stays
//! registered until its first response has been there for that long, because a busy server may read
//! late.

use rustc_hash::FxHashMap;

use super::{
    counters::Counters,
    deadlines::Deadlines,
    exchange::{Exchange, Key},
    exchanges::{Connection, Exchanges},
    span::SpanKind,
    start::Start,
};
use crate::event::{ConnectionId, Direction, Endpoint, Timestamp};

/// Requests under which one connection is registered. One is enough unless the agent started late.
const KEYS_PER_CONNECTION: usize = 8;

/// Waits that may time out one after the other before the other end is taken to be on another host.
/// It may only be late: a system call that sends a large request is recorded when it returns.
const MOST_MISSES: u8 = 3;

/// What is known of the other end of a connection.
#[derive(Debug)]
pub(super) enum ConnectionJoin {
    Unknown {
        /// The keys under which it is registered.
        keys: Vec<JoinKey>,
        /// A deadline is set.
        timed: bool,
        /// How many deadlines have passed.
        missed: u8,
    },
    /// `offset`: position of a byte at the other end minus its position at this end, wrapping, by
    /// this end's direction.
    Joined { partner: ConnectionId, offset: [u64; 2] },
    /// The other end is not traced here, or could not be recognised.
    Remote,
}

impl ConnectionJoin {
    /// At the beginning. A unix socket has no sequence numbers by which its ends could be joined.
    pub(super) const fn of(peer: &Endpoint) -> Self {
        if peer.is_unix() {
            Self::Remote
        } else {
            Self::Unknown { keys: Vec::new(), timed: false, missed: 0 }
        }
    }
}

/// The other end of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Partner {
    Pending,
    #[default]
    Absent,
    Exchange(Key),
}

/// The part of a request that both ends see alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct JoinKey {
    kind: SpanKind,
    /// Absolute sequence number of the request's first byte.
    request: u32,
    /// Absolute sequence number of the next byte in the other direction at that moment.
    other: u32,
    prefix: [u8; 16],
}

#[derive(Debug, Clone, Copy)]
enum Wait {
    /// For a partner of this connection.
    Connection(ConnectionId),
    /// For the other end of this request, on a joined connection.
    Request(Key),
}

/// Joins connections.
#[derive(Debug)]
pub(super) struct ConnectionJoins {
    /// The first exchange that was registered under each key.
    registered: FxHashMap<JoinKey, Key>,
    /// Multiplexed connections by the sequence numbers at which their streams begin. `None`: more
    /// than one connection has these numbers, so nobody can tell which.
    starts: FxHashMap<[u32; 2], Option<ConnectionId>>,
    deadlines: Deadlines<Wait>,
    /// Requests whose [`Partner`] is no longer pending. The caller decides on them.
    settled: Vec<Key>,
    /// Nanoseconds.
    wait: u64,
    limit: usize,
}

impl ConnectionJoins {
    pub(super) fn new(wait: u64, limit: usize) -> Self {
        Self {
            registered: FxHashMap::default(),
            starts: FxHashMap::default(),
            deadlines: Deadlines::new(),
            settled: Vec::new(),
            wait,
            limit,
        }
    }

    /// The partner of a request before it was looked for.
    pub(super) const fn at_start(join: &ConnectionJoin, kind: SpanKind) -> Partner {
        match (join, kind) {
            (_, SpanKind::Client) | (ConnectionJoin::Remote, SpanKind::Server) => Partner::Absent,
            (ConnectionJoin::Unknown { .. } | ConnectionJoin::Joined { .. }, SpanKind::Server) => {
                Partner::Pending
            }
        }
    }

    /// Whether the partner of some request is no longer pending.
    pub(super) const fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Takes the requests whose partner is no longer pending.
    pub(super) fn take_settled(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.settled)
    }

    /// Gives back the list that was taken, so that its memory is reused.
    pub(super) fn settled_decided(&mut self, mut settled: Vec<Key>) {
        if self.settled.is_empty() {
            settled.clear();
            self.settled = settled;
        }
    }

    /// A connection turns out to be multiplexed.
    pub(super) fn multiplexed(
        &mut self,
        exchanges: &mut Exchanges,
        counters: &mut Counters,
        id: ConnectionId,
        now: Timestamp,
    ) {
        let Some(connection) = exchanges.connection_mut(id) else { return };
        let ConnectionJoin::Unknown { keys, .. } = &mut connection.join else { return };
        for key in keys.drain(..) {
            self.registered.remove(&key);
        }
        let Some(start) = connection.start else { return };
        if let Some(Some(other)) = self.starts.get(&start.opposite()).copied()
            && other != id
            && self.starts.get(&start.sequence).is_none_or(|named| *named == Some(id))
            && let Some(partner) = exchanges.connection(other)
            && matches!(partner.join, ConnectionJoin::Unknown { .. })
            && let Some(theirs) = partner.start.filter(|theirs| theirs.sequence == start.opposite())
        {
            self.starts.remove(&start.opposite());
            let ends = [(id, other, start.offset_to(&theirs)), (other, id, theirs.offset_to(&start))];
            return self.join_ends(exchanges, counters, ends, now);
        }
        if self.starts.len() >= self.limit {
            counters.refused_join_keys += 1;
            return;
        }
        let same = self.starts.entry(start.sequence).or_insert(Some(id));
        if *same != Some(id) {
            *same = None;
        }
    }

    /// The first byte of a request was seen on a connection that may be joined already.
    pub(super) fn request(
        &mut self,
        exchanges: &mut Exchanges,
        counters: &mut Counters,
        key: Key,
        now: Timestamp,
    ) {
        let Some(exchange) = exchanges.get(key) else { return };
        let Some(connection) = exchanges.connection(exchange.connection) else { return };
        let ConnectionJoin::Joined { partner, offset: [offset, _] } = connection.join else { return };
        match exchange.kind {
            SpanKind::Server => self.pair(exchanges, counters, key, now),
            SpanKind::Client => {
                let position = exchange.position.wrapping_add(offset);
                let server = exchanges
                    .connection(partner)
                    .and_then(|connection| exchanges.by_request(connection, SpanKind::Server, position))
                    .map(|server| server.key);
                if let Some(server) = server {
                    self.settle(exchanges, server, Partner::Exchange(key));
                }
            }
        }
    }

    /// The head of a request was read. Looks for the other end of its connection if that is not
    /// known.
    pub(super) fn head(
        &mut self,
        exchanges: &mut Exchanges,
        counters: &mut Counters,
        key: Key,
        prefix: [u8; 16],
        now: Timestamp,
    ) {
        let Some(exchange) = exchanges.get(key) else { return };
        let (kind, id) = (exchange.kind, exchange.connection);
        let Some(connection) = exchanges.connection(id) else { return };
        if !matches!(connection.join, ConnectionJoin::Unknown { .. }) {
            return;
        }
        if connection.is_multiplexed() {
            if kind == SpanKind::Server {
                self.set_deadline(exchanges, id, now);
            }
            return;
        }
        let Some(own) = join_key(connection, exchange, prefix) else { return };
        let opposite = match kind {
            SpanKind::Server => JoinKey { kind: SpanKind::Client, ..own },
            SpanKind::Client => JoinKey { kind: SpanKind::Server, ..own },
        };
        if let Some(other) = self.registered.get(&opposite).copied()
            && exchanges.get(other).is_some_and(|other| other.connection != id)
        {
            match kind {
                SpanKind::Server => self.join(exchanges, counters, other, key, now),
                SpanKind::Client => self.join(exchanges, counters, key, other, now),
            }
            return;
        }
        self.register(exchanges, counters, own, key);
        if kind == SpanKind::Server {
            self.set_deadline(exchanges, id, now);
        }
    }

    /// A response has begun. If the server is traced here, its end appears within the wait.
    pub(super) fn response(&mut self, exchanges: &mut Exchanges, id: ConnectionId, now: Timestamp) {
        self.set_deadline(exchanges, id, now);
    }

    /// Gives up what has waited long enough.
    pub(super) fn expire(&mut self, exchanges: &mut Exchanges, counters: &mut Counters, now: Timestamp) {
        while let Some(wait) = self.deadlines.pop_due(now) {
            self.give_up(exchanges, counters, wait);
        }
    }

    /// Gives up all waits, because no further event will come.
    pub(super) fn expire_all(&mut self, exchanges: &mut Exchanges, counters: &mut Counters) {
        while let Some(wait) = self.deadlines.pop() {
            self.give_up(exchanges, counters, wait);
        }
    }

    /// From now on positions of this connection are not sequence numbers, so requests of its two
    /// ends cannot be matched.
    pub(super) fn give_up_positions(&mut self, exchanges: &mut Exchanges, id: ConnectionId) {
        let Some(connection) = exchanges.connection_mut(id) else { return };
        let join = std::mem::replace(&mut connection.join, ConnectionJoin::Remote);
        let start = connection.start.take();
        self.unregister(&join);
        self.unregister_start(id, start);
        for key in pending_requests(exchanges, id) {
            self.settle(exchanges, key, Partner::Absent);
        }
    }

    /// The connection is no longer remembered.
    pub(super) fn forget(&mut self, connection: &Connection) {
        self.unregister(&connection.join);
    }

    /// A multiplexed connection is no longer remembered.
    pub(super) fn forget_start(&mut self, id: ConnectionId, connection: &Connection) {
        if connection.is_multiplexed() {
            self.unregister_start(id, connection.start);
        }
    }

    /// How many requests are registered.
    #[cfg(test)]
    pub(super) fn registered(&self) -> usize {
        self.registered.len() + self.starts.len()
    }

    fn register(&mut self, exchanges: &mut Exchanges, counters: &mut Counters, own: JoinKey, key: Key) {
        if self.registered.len() >= self.limit {
            counters.refused_join_keys += 1;
            return;
        }
        let Some(id) = exchanges.get(key).map(|exchange| exchange.connection) else { return };
        let Some(connection) = exchanges.connection_mut(id) else { return };
        let ConnectionJoin::Unknown { keys, .. } = &mut connection.join else { return };
        if keys.len() < KEYS_PER_CONNECTION && !self.registered.contains_key(&own) {
            keys.push(own);
            self.registered.insert(own, key);
        }
    }

    fn unregister(&mut self, join: &ConnectionJoin) {
        if let ConnectionJoin::Unknown { keys, .. } = join {
            for key in keys {
                self.registered.remove(key);
            }
        }
    }

    fn unregister_start(&mut self, id: ConnectionId, start: Option<Start>) {
        if let Some(start) = start
            && self.starts.get(&start.sequence) == Some(&Some(id))
        {
            self.starts.remove(&start.sequence);
        }
    }

    fn set_deadline(&mut self, exchanges: &mut Exchanges, id: ConnectionId, now: Timestamp) {
        let Some(connection) = exchanges.connection_mut(id) else { return };
        if let ConnectionJoin::Unknown { timed, .. } = &mut connection.join
            && !*timed
        {
            *timed = true;
            self.deadlines.push(now.plus(self.wait), Wait::Connection(id));
        }
    }

    fn give_up(&mut self, exchanges: &mut Exchanges, counters: &mut Counters, wait: Wait) {
        match wait {
            Wait::Connection(id) => {
                let Some(connection) = exchanges.connection_mut(id) else { return };
                let ConnectionJoin::Unknown { missed, .. } = connection.join else { return };
                let missed = missed + 1;
                let next = match missed {
                    MOST_MISSES.. => ConnectionJoin::Remote,
                    _ => ConnectionJoin::Unknown { keys: Vec::new(), timed: false, missed },
                };
                let join = std::mem::replace(&mut connection.join, next);
                self.unregister(&join);
                counters.connections_remote += u64::from(missed == 1);
                for key in pending_requests(exchanges, id) {
                    self.settle(exchanges, key, Partner::Absent);
                }
            }
            Wait::Request(key) => {
                let pending = exchanges.live_mut(key).is_some_and(|live| live.partner == Partner::Pending);
                if pending {
                    counters.unmatched_requests += 1;
                    self.settle(exchanges, key, Partner::Absent);
                }
            }
        }
    }

    fn join(
        &mut self,
        exchanges: &mut Exchanges,
        counters: &mut Counters,
        client: Key,
        server: Key,
        now: Timestamp,
    ) {
        let begin = |key| exchanges.get(key).map(|exchange| (exchange.connection, exchange.position));
        let (Some((client, sent)), Some((server, received))) = (begin(client), begin(server)) else { return };
        // Requests go one way on such a connection.
        let there = [received.wrapping_sub(sent); 2];
        let back = [sent.wrapping_sub(received); 2];
        self.join_ends(exchanges, counters, [(client, server, there), (server, client, back)], now);
    }

    /// Both ends with their partners and offsets.
    fn join_ends(
        &mut self,
        exchanges: &mut Exchanges,
        counters: &mut Counters,
        ends: [(ConnectionId, ConnectionId, [u64; 2]); 2],
        now: Timestamp,
    ) {
        counters.connections_joined += 1;
        for (own, partner, offset) in ends {
            if let Some(connection) = exchanges.connection_mut(own) {
                let joined = ConnectionJoin::Joined { partner, offset };
                let join = std::mem::replace(&mut connection.join, joined);
                self.unregister(&join);
            }
        }
        for (own, ..) in ends {
            for key in pending_requests(exchanges, own) {
                self.pair(exchanges, counters, key, now);
            }
        }
    }

    /// Looks for the other end of a request on a joined connection.
    fn pair(&mut self, exchanges: &mut Exchanges, counters: &mut Counters, key: Key, now: Timestamp) {
        let Some(exchange) = exchanges.get(key) else { return };
        let Some(connection) = exchanges.connection(exchange.connection) else { return };
        let ConnectionJoin::Joined { partner, offset: [_, offset] } = connection.join else { return };
        let position = exchange.position.wrapping_add(offset);
        let client = exchanges.connection(partner);
        let found = client.and_then(|client| exchanges.by_request(client, SpanKind::Client, position));
        if let Some(found) = found {
            let found = found.key;
            self.settle(exchanges, key, Partner::Exchange(found));
        } else if client.is_none_or(|client| last_of(exchanges, client).is_some_and(|last| last > position)) {
            counters.unmatched_requests += 1;
            self.settle(exchanges, key, Partner::Absent);
        } else {
            self.deadlines.push(now.plus(self.wait), Wait::Request(key));
        }
    }

    fn settle(&mut self, exchanges: &mut Exchanges, key: Key, partner: Partner) {
        if let Some(live) = exchanges.live_mut(key)
            && live.partner == Partner::Pending
        {
            live.partner = partner;
            self.settled.push(key);
        }
    }
}

/// The position of the last call on this connection.
fn last_of(exchanges: &Exchanges, connection: &Connection) -> Option<u64> {
    let last = match connection.is_multiplexed() {
        false => exchanges.last(connection),
        // Either end may begin exchanges.
        true => exchanges.of(connection).rfind(|exchange| exchange.kind == SpanKind::Client),
    };
    last.map(|last| last.position)
}

/// The key of a request. `None` if the exchange was exported.
fn join_key(connection: &Connection, exchange: &Exchange, prefix: [u8; 16]) -> Option<JoinKey> {
    let direction = exchange.kind.request_direction();
    Some(JoinKey {
        kind: exchange.kind,
        request: sequence(connection, direction, exchange.position),
        other: sequence(connection, direction.reverse(), exchange.live.as_deref()?.other_position),
        prefix,
    })
}

/// The absolute TCP sequence number of a position.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers are 32 bits wide and wrap")]
const fn sequence(connection: &Connection, direction: Direction, position: u64) -> u32 {
    connection.first_sequence[direction.index()].wrapping_add(position as u32)
}

/// The requests received on this connection whose partner is pending.
fn pending_requests(exchanges: &Exchanges, id: ConnectionId) -> Vec<Key> {
    let Some(connection) = exchanges.connection(id) else { return Vec::new() };
    exchanges
        .of(connection)
        .filter(|exchange| {
            exchange.kind == SpanKind::Server
                && exchange.live.as_deref().is_some_and(|live| live.partner == Partner::Pending)
        })
        .map(|exchange| exchange.key)
        .collect()
}
