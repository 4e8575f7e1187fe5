//! The exchanges of all connections: those that are open, that wait, or that were exported a moment
//! ago.

use std::{cell::Cell, collections::VecDeque, ops::Range};

use super::{
    causality::{Cause, InheritedCauses},
    connection_join::ConnectionJoin,
    exchange::{Exchange, Key, Live},
    parts::{Owner, Parts},
    slots::{Slot, Slots},
    span::SpanKind,
    start::Start,
    table::Table,
};
use crate::{
    event::{ConnectionId, Direction, Endpoint, Opened, Timestamp},
    protocol::Ordinal,
};

/// Live parts whose memory is kept for reuse.
const SPARE: usize = 1_024;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) local: Endpoint,
    pub(super) peer: Endpoint,
    /// Absolute sequence numbers when the connection was first observed, by direction; see
    /// [`Opened::first_sequence`].
    pub(super) first_sequence: [u32; 2],
    /// The first byte of the stream in either direction, if that is known.
    pub(super) start: Option<Start>,
    /// When it was first observed. A connection that was forgotten may be observed again.
    pub(super) opened_at: Timestamp,
    pub(super) join: ConnectionJoin,
    /// The cause of its connect, for the first call on it. It may be no cause at all.
    pub(super) connect_cause: Option<Cause>,
    /// No exchange was found on it yet.
    pub(super) no_exchange_yet: bool,
    /// What it inherits while that is so and something was written to it.
    pub(super) inherited: Option<Box<InheritedCauses>>,
    /// Whose received bytes are whose, if its exchanges are interleaved.
    parts: Option<Box<Parts>>,
    /// Slots of its exchanges in the order of their ordinals.
    exchanges: VecDeque<Slot>,
    /// How many of them are not exported.
    pub(super) live: usize,
    /// Something happened on it since the last search for room.
    touched: bool,
}

impl Connection {
    pub(super) fn new(opened: &Opened) -> Self {
        Self {
            local: opened.local.to_canonical(),
            peer: opened.peer.to_canonical(),
            first_sequence: opened.first_sequence,
            start: Start::of(opened),
            opened_at: opened.at,
            join: ConnectionJoin::of(&opened.peer),
            connect_cause: None,
            no_exchange_yet: true,
            inherited: None,
            parts: None,
            exchanges: VecDeque::new(),
            live: 0,
            touched: true,
        }
    }

    /// Whether messages of several exchanges are interleaved on it.
    pub(super) const fn is_multiplexed(&self) -> bool {
        self.parts.is_some()
    }

    /// The absolute sequence number of a position, not wrapped. Ids are made from it because it
    /// does not depend on when the connection was first observed. Positions do: they start anew if
    /// the connection was evicted and is observed again.
    pub(super) fn stream_offset(&self, direction: Direction, position: u64) -> u64 {
        u64::from(self.first_sequence[direction.index()]).saturating_add(position)
    }
}

/// All connections with their exchanges.
#[derive(Debug)]
pub(super) struct Exchanges {
    connections: Table<ConnectionId, Connection>,
    slots: Slots,
    /// All connections in the order in which they were opened. May contain connections that are
    /// gone.
    order: VecDeque<ConnectionId>,
    /// Exported exchanges that are remembered, the oldest first. May contain exchanges that are
    /// gone.
    exported: VecDeque<Key>,
    remembered: Remembered,
    /// Memory of live parts that were dropped.
    #[expect(clippy::vec_box, reason = "the boxes are moved, not what is in them")]
    spare: Vec<Box<Live>>,
    /// The last key that was looked up by its ordinal, or made. The messages of one exchange come in
    /// pairs.
    asked: Cell<Option<(ConnectionId, Ordinal, Key)>>,
    /// Exchanges of all connections that are not exported.
    pub(super) live: usize,
    any_multiplexed: bool,
    /// Parts of multiplexed connections that were forgotten to make room.
    pub(super) evicted_parts: u64,
}

/// How many exported exchanges are kept because later spans may name them as parents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remembered {
    pub(super) in_all: usize,
    pub(super) of_connection: usize,
}

impl Exchanges {
    pub(super) fn new(remembered: Remembered) -> Self {
        Self {
            connections: Table::new(),
            slots: Slots::default(),
            order: VecDeque::new(),
            exported: VecDeque::new(),
            remembered,
            spare: Vec::new(),
            asked: Cell::new(None),
            live: 0,
            any_multiplexed: false,
            evicted_parts: 0,
        }
    }

    /// The requests that a process has read and not answered, in the order of reading. Looks at all
    /// exchanges.
    pub(super) fn unanswered(&self, pid: u32) -> Vec<(Key, Timestamp)> {
        let waits = |exchange: &&Exchange| {
            exchange.kind == SpanKind::Server
                && exchange.pid == pid
                && exchange.open()
                && !exchange.links.is_answered()
        };
        let mut found: Vec<_> = self.slots.iter().filter(waits).collect();
        found.sort_unstable_by_key(|it| (it.at, it.connection.0, it.ordinal));
        found.into_iter().map(|it| (it.key, it.at)).collect()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id)
    }

    pub(super) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id)?;
        connection.touched = true;
        Some(connection)
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&Exchange> {
        self.slots.get(key)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Exchange> {
        self.slots.get_mut(key)
    }

    /// The key of the exchange with this ordinal on its connection. The exchange may be forgotten.
    #[inline]
    pub(super) fn key(&self, connection: ConnectionId, ordinal: Ordinal) -> Option<Key> {
        match self.asked.get() {
            Some((id, number, key)) if id == connection && number == ordinal => Some(key),
            _ => self.search(connection, ordinal),
        }
    }

    fn search(&self, id: ConnectionId, ordinal: Ordinal) -> Option<Key> {
        let connection = self.connections.get(id)?;
        // Mostly it is the last one.
        let last = self.last(connection).filter(|last| last.ordinal == ordinal);
        let key = last.or_else(|| self.by_ordinal(connection, ordinal))?.key;
        self.asked.set(Some((id, ordinal, key)));
        Some(key)
    }

    /// The connection of an exchange.
    pub(super) fn connection_of(&self, key: Key) -> Option<&Connection> {
        self.connections.get(self.get(key)?.connection)
    }

    /// The exchanges of a connection, in the order of their requests.
    pub(super) fn of<'a>(
        &'a self,
        connection: &'a Connection,
    ) -> impl DoubleEndedIterator<Item = &'a Exchange> {
        connection.exchanges.iter().filter_map(|slot| self.slots.at(*slot))
    }

    /// The exchange of a connection whose request came last.
    #[inline]
    pub(super) fn last(&self, connection: &Connection) -> Option<&Exchange> {
        self.slots.at(*connection.exchanges.back()?)
    }

    /// Messages of several exchanges are interleaved on this connection.
    /// Returns whether it was not known before that this connection is multiplexed.
    pub(super) fn multiplex(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let is_new = connection.parts.is_none();
        connection.parts.get_or_insert_default();
        self.any_multiplexed = true;
        is_new
    }

    /// Notes whose these received bytes of a multiplexed connection are.
    pub(super) fn add_part(&mut self, id: ConnectionId, range: Range<u64>, exchange: Option<Ordinal>) {
        if let Some(parts) = self.connections.get_mut(id).and_then(|connection| connection.parts.as_mut()) {
            self.evicted_parts += u64::from(parts.add(range, exchange));
        }
    }

    /// Whether some connection was multiplexed. While none was, nobody needs to ask which.
    pub(super) const fn any_multiplexed(&self) -> bool {
        self.any_multiplexed
    }

    /// Calls `each` with every exchange whose messages lie between these positions of direction `In`,
    /// and with `None` for bytes of which that is not known. On a connection that is not multiplexed
    /// only the message of the last byte counts.
    pub(super) fn each_received_between(
        &self,
        id: ConnectionId,
        first: u64,
        last: u64,
        mut each: impl FnMut(Option<&Exchange>),
    ) {
        let Some(connection) = self.connection(id) else { return each(None) };
        let Some(parts) = &connection.parts else { return each(self.by_received(connection, last)) };
        for owner in parts.owners(first, last) {
            each(match owner {
                Owner::Exchange(ordinal) => self.by_ordinal(connection, ordinal),
                Owner::Unknown | Owner::Nobody => None,
            });
        }
    }

    fn by_ordinal(&self, connection: &Connection, ordinal: Ordinal) -> Option<&Exchange> {
        let index = index_of(connection, &self.slots, ordinal)?;
        self.slots.at(*connection.exchanges.get(index)?)
    }

    /// The exchange to which the byte at this position of direction `In` belongs.
    pub(super) fn by_received(&self, connection: &Connection, position: u64) -> Option<&Exchange> {
        if let Some(parts) = &connection.parts {
            let Owner::Exchange(ordinal) = parts.at(position) else { return None };
            return self.by_ordinal(connection, ordinal);
        }
        let slots = connection.exchanges.iter().rev();
        slots.filter_map(|slot| self.slots.at(*slot)).find(|exchange| exchange.receives_from <= position)
    }

    /// The exchange of this kind whose request begins at this position.
    pub(super) fn by_request(
        &self,
        connection: &Connection,
        kind: SpanKind,
        position: u64,
    ) -> Option<&Exchange> {
        let slots = connection.exchanges.iter().rev();
        let begins = |exchange: &&Exchange| exchange.kind == kind && exchange.position == position;
        slots.filter_map(|slot| self.slots.at(*slot)).find(begins)
    }

    /// The live part of an exchange, unless it was exported.
    #[inline]
    pub(super) fn live_mut(&mut self, key: Key) -> Option<&mut Live> {
        self.get_mut(key)?.live.as_deref_mut()
    }

    pub(super) fn insert(&mut self, id: ConnectionId, connection: Connection) {
        match self.connections.insert(id, connection) {
            Some(before) => before.exchanges.into_iter().for_each(|slot| self.slots.empty(slot)),
            None => self.order.push_back(id),
        }
        if self.order.len() > self.connections.len() * 2 + 1_024 {
            let connections = &self.connections;
            self.order.retain(|id| connections.get(*id).is_some());
        }
    }

    /// Adds an exchange to its connection, and drops the oldest exported one there if there are too
    /// many. Returns `None` if the connection is not known.
    #[inline]
    pub(super) fn push(
        &mut self,
        id: ConnectionId,
        ordinal: Ordinal,
        make: impl FnOnce(Key) -> Exchange,
    ) -> Option<Key> {
        let connection = self.connections.get_mut(id)?;
        // This comes first, because one entry beyond the limit would double the ring's memory.
        while connection.exchanges.len() >= self.remembered.of_connection
            && let Some(oldest) = take_oldest_exported(connection, &self.slots)
        {
            self.slots.empty(oldest);
        }
        let key = self.slots.insert(make)?;
        self.asked.set(Some((id, ordinal, key)));
        connection.touched = true;
        connection.no_exchange_yet = false;
        connection.inherited = None;
        connection.exchanges.push_back(key.slot());
        connection.live += 1;
        self.live += 1;
        Some(key)
    }

    /// Memory for the live part of a new exchange.
    pub(super) fn spare(&mut self) -> Box<Live> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes the live part of an exchange, which then counts as exported. [`Exchanges::reuse`] takes
    /// its memory back.
    pub(super) fn take_live(&mut self, key: Key) -> Option<Box<Live>> {
        let exchange = self.slots.get_mut(key)?;
        let live = exchange.live.take()?;
        if let Some(connection) = self.connections.get_mut(exchange.connection) {
            connection.live -= 1;
        }
        self.live -= 1;
        self.remember(key);
        Some(live)
    }

    /// Takes back the memory of a live part.
    pub(super) fn reuse(&mut self, mut live: Box<Live>) {
        if self.spare.len() < SPARE {
            live.clear();
            self.spare.push(live);
        }
    }

    /// Remembers an exported exchange. If there are too many, the oldest of all is dropped.
    fn remember(&mut self, key: Key) {
        self.exported.push_back(key);
        if self.exported.len() <= self.remembered.in_all {
            return;
        }
        let Some(oldest) = self.exported.pop_front() else { return };
        let Some(exchange) = self.slots.get(oldest).filter(|oldest| oldest.exported()) else { return };
        if let Some(connection) = self.connections.get_mut(exchange.connection) {
            // Mostly it is the first one.
            if connection.exchanges.front() == Some(&oldest.slot()) {
                connection.exchanges.pop_front();
            } else if let Some(index) = index_of(connection, &self.slots, exchange.ordinal) {
                connection.exchanges.remove(index);
            }
            // Gives back memory that was needed for more.
            if connection.exchanges.capacity() > 4 * connection.exchanges.len().max(4) {
                connection.exchanges.shrink_to(2 * connection.exchanges.len());
            }
        }
        self.slots.empty(oldest.slot());
    }

    /// Forgets a connection. Its exchanges should have been exported.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        self.live -= connection.live;
        connection.exchanges.iter().for_each(|slot| self.slots.empty(*slot));
        Some(connection)
    }

    /// The connection to evict: one on which nothing happened since the last search, else the one
    /// that was opened first. This is the second-chance rule. It removes connections whose end was
    /// never seen.
    pub(super) fn least_needed(&mut self) -> Option<ConnectionId> {
        const CHANCES: usize = 16;
        let mut asked = 0;
        while let Some(id) = self.order.pop_front() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            asked += 1;
            if !connection.touched || asked > CHANCES {
                return Some(id);
            }
            connection.touched = false;
            self.order.push_back(id);
        }
        None
    }
}

/// Removes the oldest exported exchange of a connection, which mostly is its first.
fn take_oldest_exported(connection: &mut Connection, slots: &Slots) -> Option<Slot> {
    if connection.exchanges.len() == connection.live {
        return None;
    }
    let exported = |slot: &Slot| slots.at(*slot).is_some_and(Exchange::exported);
    if connection.exchanges.front().is_some_and(exported) {
        return connection.exchanges.pop_front();
    }
    let oldest = connection.exchanges.iter().position(exported)?;
    connection.exchanges.remove(oldest)
}

/// The index of the exchange with this ordinal in its connection. Ordinals usually have no gaps, so
/// the index can be calculated; otherwise it is searched. The calculation starts from the newest
/// exchange, which is in the processor's caches, unlike the oldest.
fn index_of(connection: &Connection, slots: &Slots, ordinal: Ordinal) -> Option<usize> {
    let exchanges = &connection.exchanges;
    let number = |slot: &Slot| slots.at(*slot).map(|exchange| exchange.ordinal);
    let behind = usize::try_from(exchanges.back().and_then(number)?.checked_sub(ordinal)?).ok()?;
    let guess = (exchanges.len() - 1).checked_sub(behind);
    if guess.and_then(|guess| exchanges.get(guess)).and_then(number) == Some(ordinal) {
        return guess;
    }
    if exchanges.front().and_then(number)? > ordinal {
        return None;
    }
    exchanges.binary_search_by_key(&Some(ordinal), number).ok()
}

#[cfg(test)]
#[path = "exchanges_tests.rs"]
mod tests;
