//! All connections of a capture: finds that of a segment, lets time pass, makes room.

use std::{
    collections::HashMap,
    hash::{Hash as _, Hasher as _},
    net::SocketAddr,
};

use siphasher::sip::SipHasher13;

use super::{
    Options, Report,
    connection::{Connection, Context},
    half::PASSED_WAIT,
    piece::Room,
    tcp::Segment,
};
use crate::event::{Event, Timestamp};

/// Time between two ticks, as with the live source.
const TICK: u64 = 100_000_000;
/// After a pause of more than this many ticks most of them are left out: only the last one matters.
const TICKS_AT_ONCE: u64 = 64;
/// One in this many connections makes room at a time.
const EVICTED_SHARE: usize = 64;

/// Both ends, the lower one first.
type Key = [SocketAddr; 2];

pub(super) struct Table<'a> {
    options: &'a Options,
    /// Hashed with a random key, because addresses are hostile. Never iterated unsorted.
    connections: HashMap<Key, Connection>,
    /// Connections that wait for something.
    waiting: Vec<Key>,
    room: Room,
    next_tick: Option<u64>,
    /// How often connections have made room: no two draws are alike.
    draws: u64,
    /// The latest time seen.
    now: Timestamp,
}

impl<'a> Table<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        let limits = options.limits;
        Self {
            options,
            connections: HashMap::new(),
            waiting: Vec::new(),
            room: Room {
                used: 0,
                all: limits.waiting_bytes,
                each: limits.waiting_bytes_each,
                segments: limits.waiting_segments_each,
            },
            next_tick: None,
            draws: 0,
            now: Timestamp::default(),
        }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Time has reached `at`: gives up what has waited long enough, and sends a tick.
    pub(super) fn advance(&mut self, at: Timestamp, report: &mut Report, sink: &mut dyn FnMut(&Event<'_>)) {
        self.now = self.now.max(at);
        let mut next = self.next_tick.unwrap_or_else(|| at.0.saturating_add(TICK));
        let mut ticks = 0;
        while at.0 >= next && next < u64::MAX {
            if ticks == TICKS_AT_ONCE {
                next += (at.0 - next) / TICK * TICK;
            }
            ticks += 1;
            self.expire(Timestamp(next), report, sink);
            // Older holes were given up: what waits for an acknowledged hole is at most this old.
            sink(&Event::Tick { at: Timestamp(next.saturating_sub(PASSED_WAIT)) });
            next = next.saturating_add(TICK);
        }
        self.next_tick = Some(next);
    }

    /// Takes a segment.
    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        report: &mut Report,
        sink: &mut dyn FnMut(&Event<'_>),
    ) {
        let key =
            if segment.from <= segment.to { [segment.from, segment.to] } else { [segment.to, segment.from] };
        let side = usize::from(segment.from != key[0]);
        let mut cx = Context { options: self.options, room: &mut self.room, report, sink };
        if let Some(connection) = self.connections.get_mut(&key)
            && connection.superseded(side, segment, self.options)
        {
            if segment.syn {
                connection.end(segment.at, &mut cx);
            }
            connection.forget(segment.at, &mut cx);
            self.connections.remove(&key);
        }
        if !self.connections.contains_key(&key) {
            let Some(connection) = begin(key, side, segment, &mut cx) else { return };
            self.make_room(segment.at, report, sink);
            self.connections.insert(key, connection);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let mut cx = Context { options: self.options, room: &mut self.room, report, sink };
        let waits = connection.segment(side, segment, self.now, &mut cx);
        if waits && !connection.listed {
            connection.listed = true;
            self.waiting.push(key);
            self.tidy_waiting();
        }
    }

    /// A connection that took the place of another one is listed anew.
    fn tidy_waiting(&mut self) {
        if self.waiting.len() > self.connections.len() * 2 + 1_024 {
            self.waiting.sort_unstable();
            self.waiting.dedup();
        }
    }

    /// The capture ends.
    pub(super) fn finish(&mut self, report: &mut Report, sink: &mut dyn FnMut(&Event<'_>)) {
        let mut keys: Vec<Key> = self.connections.keys().copied().collect();
        keys.sort_unstable();
        let mut cx = Context { options: self.options, room: &mut self.room, report, sink };
        for key in keys {
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.forget(self.now, &mut cx);
            }
        }
    }

    fn expire(&mut self, now: Timestamp, report: &mut Report, sink: &mut dyn FnMut(&Event<'_>)) {
        let mut cx = Context { options: self.options, room: &mut self.room, report, sink };
        let connections = &mut self.connections;
        self.waiting.sort_unstable();
        self.waiting.dedup();
        self.waiting.retain(|key| {
            let Some(connection) = connections.get_mut(key) else { return false };
            connection.listed = connection.wait(now, &mut cx);
            connection.listed
        });
    }

    /// Makes room in a full table: of those connections that were silent for longer than the
    /// others, some are drawn by lot and evicted. If the longest silent one always went, somewhat
    /// more connections than there is room for, used in turn, would each go right before it is used
    /// again. Nobody saw them end, so no end is reported.
    fn make_room(&mut self, at: Timestamp, report: &mut Report, sink: &mut dyn FnMut(&Event<'_>)) {
        if self.connections.len() < self.options.limits.connections.max(1) {
            return;
        }
        let mut silent: Vec<(Timestamp, Key)> =
            self.connections.iter().map(|(key, connection)| (connection.last, *key)).collect();
        silent.sort_unstable();
        silent.truncate(silent.len().div_ceil(2));
        self.draws += 1;
        let draws = self.draws;
        silent.sort_by_cached_key(|(_, key)| lot(draws, key));
        silent.truncate((self.options.limits.connections / EVICTED_SHARE).max(1));
        for (_, key) in silent {
            if let Some(mut connection) = self.connections.remove(&key) {
                report.evicted_connections += 1;
                let mut cx = Context { options: self.options, room: &mut self.room, report, sink };
                connection.forget(at, &mut cx);
            }
        }
    }
}

/// What a segment of an unknown connection begins, if anything: without a handshake only a message
/// begins one.
fn begin(key: Key, side: usize, segment: &Segment<'_>, cx: &mut Context<'_>) -> Option<Connection> {
    if segment.rst {
        return None;
    }
    if segment.syn {
        return Some(Connection::with_handshake(key));
    }
    let Some(opening) = (cx.options.opening)(segment.bytes) else {
        cx.report.unattributed_bytes += u64::from(segment.length);
        return None;
    };
    Some(Connection::without_handshake(key, side, segment, opening))
}

/// A number that is the same in every reading of the capture.
fn lot(draws: u64, key: &Key) -> u64 {
    // With its fixed keys.
    let mut hasher = SipHasher13::new();
    (draws, key).hash(&mut hasher);
    hasher.finish()
}
