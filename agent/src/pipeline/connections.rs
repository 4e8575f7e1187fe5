//! The table of open connections, bounded in number, in the bytes that they buffer, and in how long they are silent: beyond
//! that silent ones make room.
//!
//! When there are too many, those that go are drawn from the half that is silent longer. If the longest silent one always went,
//! somewhat more connections than there is room for, used in turn, would each go right before it is used again.

use std::hash::Hasher as _;

use rustc_hash::{FxHashMap, FxHasher};

use crate::{
    event::{ConnectionId, Opened, Timestamp},
    protocol::Connection,
};

/// One in this many connections, or bytes, makes room at a time, so that finding them costs little for each.
const EVICTED_SHARE: usize = 16;

/// Why a connection makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// There are too many.
    Connections,
    /// All together buffer too much.
    Memory,
    /// Nothing moved on it for long.
    Idle,
}

impl Eviction {
    pub(crate) const ALL: [Self; 3] = [Self::Connections, Self::Memory, Self::Idle];

    /// The value of the `reason` label in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connection_limit",
            Self::Memory => "buffer_limit",
            Self::Idle => "idle_timeout",
        }
    }
}

/// What the table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    pub(super) buffered: usize,
    /// Nanoseconds of event time.
    pub(super) idle: u64,
}

/// A connection, and the bytes that it buffers since it worked last; a new one has none.
#[derive(Debug)]
struct Open {
    connection: Connection,
    buffered: usize,
}

/// Open connections by id.
#[derive(Debug)]
pub(super) struct Connections {
    /// Boxed: a table of large values doubles in large steps, half of it empty.
    open: FxHashMap<ConnectionId, Box<Open>>,
    bounds: Bounds,
    /// Bytes that all of them buffer.
    buffered: usize,
    /// How often connections have made room: no draw is like the one before.
    draws: u64,
    /// Those that hold something that time may release.
    ticking: Vec<ConnectionId>,
}

impl Connections {
    pub(super) fn new(bounds: Bounds) -> Self {
        let bounds = Bounds { connections: bounds.connections.max(1), ..bounds };
        Self { open: FxHashMap::default(), bounds, buffered: 0, draws: 0, ticking: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Bytes that all connections buffer.
    pub(super) const fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether it is open since this first sight.
    pub(super) fn began_with(&self, opened: &Opened) -> bool {
        self.open.get(&opened.connection).is_some_and(|open| open.connection.began_with(opened))
    }

    /// Lets a connection work. `None`: there is no such connection.
    pub(super) fn work(&mut self, id: ConnectionId, work: impl FnOnce(&mut Connection)) -> Option<()> {
        let Open { connection, buffered } = &mut **self.open.get_mut(&id)?;
        work(connection);
        let before = std::mem::replace(buffered, connection.buffered());
        self.buffered = self.buffered + *buffered - before;
        if connection.needs_tick() && self.ticking.last() != Some(&id) {
            self.ticking.push(id);
        }
        Some(())
    }

    pub(super) fn insert(&mut self, id: ConnectionId, connection: Connection) {
        self.open.insert(id, Box::new(Open { connection, buffered: 0 }));
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let open = self.open.remove(&id)?;
        self.buffered -= open.buffered;
        Some(open.connection)
    }

    /// Those to tick now, each once, in a fixed order.
    pub(super) fn take_ticking(&mut self) -> Vec<ConnectionId> {
        let mut ticking = std::mem::take(&mut self.ticking);
        ticking.sort_unstable();
        ticking.dedup();
        ticking
    }

    /// Whether another one finds no room.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= self.bounds.connections
    }

    /// Whether all together buffer too much.
    pub(super) const fn is_heavy(&self) -> bool {
        self.buffered > self.bounds.buffered
    }

    /// Connections that make room for others, drawn from the longer silent half; the same events give the same ones.
    pub(super) fn silent(&mut self) -> Vec<ConnectionId> {
        let mut silent = self.by_silence(|_| true);
        silent.truncate(silent.len().div_ceil(2));
        self.draws += 1;
        let draws = self.draws;
        silent.sort_by_cached_key(|id| {
            let mut hasher = FxHasher::default();
            hasher.write_u64(draws);
            hasher.write_u64(id.0);
            hasher.finish()
        });
        silent.truncate((self.bounds.connections / EVICTED_SHARE).max(1));
        silent
    }

    /// The longest silent of those that buffer something, until enough is freed.
    pub(super) fn heavy(&self) -> Vec<ConnectionId> {
        let keep = self.bounds.buffered - self.bounds.buffered / EVICTED_SHARE;
        let mut left = self.buffered;
        let mut heavy = self.by_silence(|open| open.buffered > 0);
        heavy.retain(|id| {
            let needed = left > keep;
            left -= if needed { self.open[id].buffered } else { 0 };
            needed
        });
        heavy
    }

    /// Those on which nothing has moved for too long, in a fixed order.
    pub(super) fn idle(&self, now: Timestamp) -> Vec<ConnectionId> {
        self.by_silence(|open| now.since(open.connection.last_activity()) >= self.bounds.idle)
    }

    fn by_silence(&self, which: impl Fn(&Open) -> bool) -> Vec<ConnectionId> {
        let chosen = self.open.iter().filter(|(_, open)| which(open));
        let mut silent: Vec<(Timestamp, ConnectionId)> =
            chosen.map(|(id, open)| (open.connection.last_activity(), *id)).collect();
        silent.sort_unstable();
        silent.into_iter().map(|(_, id)| id).collect()
    }

    /// Takes out everything, in a fixed order.
    pub(super) fn take_all(&mut self) -> Vec<(ConnectionId, Connection)> {
        self.buffered = 0;
        let mut all: Vec<_> = self.open.drain().map(|(id, open)| (id, open.connection)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Direction, Earlier, Layer, Thread, Transfer},
        protocol::{Limits, Output, Recorder},
    };

    fn opened(id: u64, at: u64) -> Opened {
        let end = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        Opened {
            at: Timestamp(at),
            connection: ConnectionId(id),
            thread: Thread { pid: 1, tid: 1 },
            local: end.into(),
            peer: end.into(),
            network_namespace: 1,
            first_sequence: [0; 2],
            first_position: 0,
            earlier: [Earlier::Nothing; 2],
        }
    }

    fn call(id: u64, at: u64) -> Transfer<'static> {
        Transfer {
            at: Timestamp(at),
            connection: ConnectionId(id),
            layer: Layer::Wire,
            direction: Direction::Out,
            position: at,
            length: 1,
            thread: Thread { pid: 1, tid: 1 },
            head: b"x",
            tail: &[],
            not_captured: None,
            last_receive: None,
            task: None,
            dropped: 0,
            process_drops: 0,
        }
    }

    /// Of 1,000 connections one is used after the other, again and again; there is room for 960.
    #[test]
    fn somewhat_too_many_in_turn_cost_some_of_them() {
        let mut connections =
            Connections::new(Bounds { connections: 960, buffered: 1 << 20, idle: u64::MAX });
        let (mut out, mut found, mut at) = (Output::<Recorder>::default(), [0; 6], 0);
        for round in &mut found {
            for id in 1..=1_000 {
                at += 1;
                if connections.work(ConnectionId(id), |one| one.transfer(&call(id, at), &mut out)).is_some() {
                    *round += 1;
                    continue;
                }
                if connections.is_full() {
                    for id in connections.silent() {
                        connections.remove(id);
                    }
                }
                connections.insert(ConnectionId(id), Connection::new(&opened(id, at), &Limits::default()));
            }
        }
        assert!(found[1..].iter().all(|found| *found > 600), "found in each round: {found:?}");
    }

    /// What has long been silent goes before what is used.
    #[test]
    fn what_is_used_stays() {
        let mut connections =
            Connections::new(Bounds { connections: 100, buffered: 1 << 20, idle: u64::MAX });
        let mut out = Output::<Recorder>::default();
        for id in 1..=100 {
            connections.insert(ConnectionId(id), Connection::new(&opened(id, id), &Limits::default()));
        }
        for id in 51..=100 {
            connections.work(ConnectionId(id), |one| one.transfer(&call(id, 1_000 + id), &mut out));
        }
        assert!(connections.silent().iter().all(|id| id.0 <= 50));
    }
}
