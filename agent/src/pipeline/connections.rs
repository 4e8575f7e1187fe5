//! The table of open connections, bounded: when it is full the longest silent ones make room.

use rustc_hash::FxHashMap;

use crate::{
    event::{ConnectionId, Timestamp},
    protocol::Connection,
};

/// One in this many connections makes room at a time, so that finding them costs little per connection.
const EVICTED_SHARE: usize = 16;

/// Open connections by id.
#[derive(Debug)]
pub(super) struct Connections {
    open: FxHashMap<ConnectionId, Connection>,
    most: usize,
    /// Those that hold something that time may release.
    ticking: Vec<ConnectionId>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { open: FxHashMap::default(), most: most.max(1), ticking: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.open.get_mut(&id)
    }

    pub(super) fn insert(&mut self, id: ConnectionId, connection: Connection) {
        self.open.insert(id, connection);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.open.remove(&id)
    }

    /// Time may release something of this connection.
    pub(super) fn tick_later(&mut self, id: ConnectionId) {
        if self.ticking.last() != Some(&id) {
            self.ticking.push(id);
        }
    }

    /// Those to tick now, each once, in a fixed order.
    pub(super) fn take_ticking(&mut self) -> Vec<ConnectionId> {
        let mut ticking = std::mem::take(&mut self.ticking);
        ticking.sort_unstable();
        ticking.dedup();
        ticking
    }

    /// When the table is full: the longest silent connections, taken out, in a fixed order.
    pub(super) fn make_room(&mut self) -> Vec<(ConnectionId, Connection)> {
        if self.open.len() < self.most {
            return Vec::new();
        }
        let mut silent: Vec<(Timestamp, ConnectionId)> =
            self.open.iter().map(|(id, connection)| (connection.last_activity(), *id)).collect();
        silent.sort_unstable();
        silent.truncate((self.most / EVICTED_SHARE).max(1));
        silent.into_iter().filter_map(|(_, id)| Some((id, self.open.remove(&id)?))).collect()
    }

    /// Takes out everything, in a fixed order.
    pub(super) fn take_all(&mut self) -> Vec<(ConnectionId, Connection)> {
        let mut all: Vec<_> = self.open.drain().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}
