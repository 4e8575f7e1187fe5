//! The exchanges that are open, that wait, or that were exported a moment ago, by connection.

use std::{cell::Cell, collections::VecDeque, net::SocketAddr};

use super::{
    causality::{Cause, InheritedCauses},
    connection_join::ConnectionJoin,
    exchange::{Exchange, Key, Live, LiveBox},
    slots::{Slot, Slots},
    span::SpanKind,
    table::Table,
};
use crate::{
    event::{ConnectionId, Direction, Opened, Timestamp},
    protocol::Ordinal,
};

/// Live parts whose memory is kept for others.
const SPARE: usize = 1_024;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// Absolute sequence numbers at first sight, by direction; see [`Opened::first_sequence`].
    pub(super) first_sequence: [u32; 2],
    /// When it was first seen. One that was forgotten may be met again.
    pub(super) opened_at: Timestamp,
    pub(super) join: ConnectionJoin,
    /// What its connect lends to the first request, which may be no cause at all.
    pub(super) connect_cause: Option<Cause>,
    /// No exchange was found on it yet.
    pub(super) no_exchange_yet: bool,
    /// What it carries while that is so and something was written to it.
    pub(super) inherited: Option<Box<InheritedCauses>>,
    /// In the order of their ordinals.
    exchanges: VecDeque<Slot>,
    /// How many of them are not exported.
    pub(super) live: usize,
    /// Something happened since the last search for room.
    touched: bool,
}

impl Connection {
    pub(super) fn new(opened: &Opened) -> Self {
        Self {
            local: canonical(opened.local),
            peer: canonical(opened.peer),
            first_sequence: opened.first_sequence,
            opened_at: opened.at,
            join: ConnectionJoin::default(),
            connect_cause: None,
            no_exchange_yet: true,
            inherited: None,
            exchanges: VecDeque::new(),
            live: 0,
            touched: true,
        }
    }

    /// Where a position stands in the stream, whenever that was first seen: its absolute sequence number, not wrapped. Ids
    /// are made of it, since positions begin anew when a connection that was evicted is met again.
    pub(super) fn stream_offset(&self, direction: Direction, position: u64) -> u64 {
        u64::from(self.first_sequence[direction.index()]).saturating_add(position)
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Exchanges {
    connections: Table<ConnectionId, Connection>,
    slots: Slots,
    /// All connections in the order of their opening, for the search for one to forget; may name some that are gone.
    order: VecDeque<ConnectionId>,
    /// Exported exchanges that are remembered, the oldest first; may name some that are gone.
    exported: VecDeque<Key>,
    remembered: Remembered,
    /// The memory of live parts that went.
    spare: Vec<LiveBox>,
    /// The last one that was asked for by its number: the messages of one exchange come in pairs.
    asked: Cell<Option<Key>>,
    /// Exchanges of all connections that are not exported.
    pub(super) live: usize,
}

/// How many exchanges stay for later spans to name as their parent.
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
        }
    }

    /// The requests that a process has read and not answered, in that order. Looks at all exchanges.
    pub(super) fn unanswered(&self, pid: u32) -> Vec<(Key, Timestamp)> {
        let waits = |exchange: &&Exchange| {
            exchange.kind == SpanKind::Server
                && exchange.pid == pid
                && exchange.open()
                && !exchange.links.is_answered()
        };
        let mut found: Vec<_> = self.slots.iter().filter(waits).map(|it| (it.key, it.at)).collect();
        found.sort_unstable_by_key(|(key, at)| (*at, key.connection.0, key.ordinal));
        found
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

    /// The key of the exchange with this number on its connection.
    pub(super) fn key(&self, connection: ConnectionId, ordinal: Ordinal) -> Option<Key> {
        let asked = self.asked.get().filter(|key| key.connection == connection && key.ordinal == ordinal);
        if let Some(key) = asked
            && self.get(key).is_some()
        {
            return Some(key);
        }
        let connection = self.connections.get(connection)?;
        let index = index_of(connection, &self.slots, ordinal)?;
        let key = self.slots.at(*connection.exchanges.get(index)?)?.key;
        self.asked.set(Some(key));
        Some(key)
    }

    /// The exchanges of a connection, in the order of their requests.
    pub(super) fn of<'a>(
        &'a self,
        connection: &'a Connection,
    ) -> impl DoubleEndedIterator<Item = &'a Exchange> {
        connection.exchanges.iter().filter_map(|slot| self.slots.at(*slot))
    }

    /// The exchange of a connection whose request came last.
    pub(super) fn last(&self, connection: &Connection) -> Option<&Exchange> {
        self.slots.at(*connection.exchanges.back()?)
    }

    /// The exchange that the byte at this position of direction `In` belongs to.
    pub(super) fn by_received(&self, connection: &Connection, position: u64) -> Option<&Exchange> {
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

    /// Adds an exchange to its connection, and forgets what of that would be remembered beyond the bound. `None`: its connection
    /// is not known.
    #[inline]
    pub(super) fn push(
        &mut self,
        id: ConnectionId,
        ordinal: Ordinal,
        make: impl FnOnce(Key) -> Exchange,
    ) -> Option<Key> {
        let connection = self.connections.get_mut(id)?;
        // Room first: one beyond the bound would double what the ring takes.
        while connection.exchanges.len() >= self.remembered.of_connection
            && let Some(oldest) = take_oldest_exported(connection, &self.slots)
        {
            self.slots.empty(oldest);
        }
        let key = self.slots.insert(id, ordinal, make)?;
        connection.touched = true;
        connection.no_exchange_yet = false;
        connection.inherited = None;
        connection.exchanges.push_back(key.slot);
        self.asked.set(Some(key));
        connection.live += 1;
        self.live += 1;
        Some(key)
    }

    /// Where the live part of a new exchange is kept.
    pub(super) fn boxed(&mut self, live: Live) -> LiveBox {
        let mut memory = self.spare.pop().unwrap_or_default();
        memory.put(live);
        memory
    }

    /// Takes the live part of an exchange: from now on it counts as exported.
    pub(super) fn take_live(&mut self, key: Key) -> Option<Live> {
        let memory = &mut self.slots.get_mut(key)?.live;
        let live = memory.take()?;
        if self.spare.len() < SPARE {
            self.spare.push(std::mem::take(memory));
        }
        if let Some(connection) = self.connections.get_mut(key.connection) {
            connection.live -= 1;
        }
        self.live -= 1;
        self.remember(key);
        Some(live)
    }

    /// Remembers an exported exchange; for that the oldest of all goes when there are too many.
    fn remember(&mut self, key: Key) {
        self.exported.push_back(key);
        if self.exported.len() <= self.remembered.in_all {
            return;
        }
        let Some(oldest) = self.exported.pop_front() else { return };
        if !self.slots.get(oldest).is_some_and(Exchange::exported) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(oldest.connection)
            && let Some(index) = index_of(connection, &self.slots, oldest.ordinal)
        {
            connection.exchanges.remove(index);
            // Gives back room that was needed for more.
            if connection.exchanges.capacity() > 4 * connection.exchanges.len().max(4) {
                connection.exchanges.shrink_to(2 * connection.exchanges.len());
            }
        }
        self.slots.empty(oldest.slot);
    }

    /// Forgets a connection. Its exchanges should have been exported.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        self.live -= connection.live;
        connection.exchanges.iter().for_each(|slot| self.slots.empty(*slot));
        Some(connection)
    }

    /// A connection on which nothing happened since it was asked about last, else the one that was opened first: the
    /// second-chance rule, so that connections whose end was never seen do not stay for ever.
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

/// Takes a connection's oldest exported exchange out of it, mostly its first one.
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

/// Where the exchange with this number stands in its connection. Ordinals usually have no holes, so the index is known; else it is
/// searched. Counted from the newest one, which is at hand: the oldest has left the processor's caches.
fn index_of(connection: &Connection, slots: &Slots, ordinal: Ordinal) -> Option<usize> {
    let exchanges = &connection.exchanges;
    let number = |slot: &Slot| slots.at(*slot).map(|exchange| exchange.key.ordinal);
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

/// An IPv4 address that an IPv6 socket shows as `::ffff:a.b.c.d` is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[path = "exchanges_tests.rs"]
mod tests;
