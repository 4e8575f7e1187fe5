//! The engine: every event goes to the trace layer and, if it concerns a connection, to its parser; what the parser says
//! goes to the trace layer; spans come out. Single-threaded, without a clock: the same events give the same spans.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Closed, ConnectionId, Direction, Event, Feedback, Opened, Timestamp, Transfer},
    protocol::{Connection, Counters as ProtocolCounters, Limits, Output},
    trace::{self, Tracer, span::Traced},
};

use super::{connections::Connections, tally::Tally};

/// How the engine is set up. Event logs hold it under these names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub trace: trace::Settings,
    pub limits: Limits,
    /// Connections parsed at once; beyond it the longest silent make room (default 65,536).
    pub connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { trace: trace::Settings::default(), limits: Limits::default(), connections: 65_536 }
    }
}

/// Parsers and trace layer behind one door.
#[derive(Debug)]
pub struct Engine {
    tracer: Tracer,
    connections: Connections,
    limits: Limits,
    output: Output,
    feedback: Vec<Feedback>,
    tally: Tally,
}

impl Engine {
    /// An engine that has seen nothing; the first events should be the clock and the run key.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            tracer: Tracer::new(settings.trace),
            connections: Connections::new(settings.connections),
            limits: settings.limits,
            output: Output::default(),
            feedback: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Takes one event.
    pub fn feed(&mut self, event: &Event<'_>) {
        self.tally.count(event);
        if let Event::Shutdown { at } = event {
            self.finish_all(*at);
        }
        self.tracer.event(event);
        match event {
            Event::Opened(opened) => self.open(opened),
            Event::Transfer(transfer) => self.transfer(transfer),
            Event::HalfClosed { at, connection, direction, position } => {
                self.half_closed(*at, *connection, *direction, *position);
            }
            Event::Closed(closed) => self.close(closed),
            Event::Tick { at } => self.tick(*at),
            _ => {}
        }
    }

    /// Finished spans and notices since the last call.
    pub fn drain(&mut self) -> impl Iterator<Item = Traced> + '_ {
        self.tracer.drain()
    }

    /// What the source is asked for, since the last call.
    pub fn drain_feedback(&mut self) -> impl Iterator<Item = Feedback> + '_ {
        self.feedback.drain(..)
    }

    /// Counts of events, bytes, withheld calls and the ledger.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts of the parsers.
    #[must_use]
    pub const fn protocol_counters(&self) -> &ProtocolCounters {
        &self.output.counters
    }

    /// Counts of the trace layer.
    pub fn trace_counters(&self) -> trace::Counters {
        self.tracer.counters()
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn open(&mut self, opened: &Opened) {
        for (id, mut connection) in self.connections.make_room() {
            self.tally.evicted += 1;
            connection.finish(opened.at, &mut self.output);
            self.tally.ledger.add(&connection.snapshot());
            self.feedback.push(Feedback::Opaque { connection: id });
            self.tell(id);
        }
        self.connections.insert(opened.connection, Connection::new(opened, &self.limits));
    }

    fn transfer(&mut self, transfer: &Transfer<'_>) {
        let id = transfer.connection;
        let Some(connection) = self.connections.get_mut(id) else {
            self.tally.stray_transfers += 1;
            return;
        };
        connection.transfer(transfer, &mut self.output);
        let waits = connection.needs_tick();
        if waits {
            self.connections.tick_later(id);
        }
        self.tell(id);
    }

    fn half_closed(&mut self, at: Timestamp, id: ConnectionId, direction: Direction, position: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.half_closed(at, direction, position, &mut self.output);
        if connection.needs_tick() {
            self.connections.tick_later(id);
        }
        self.tell(id);
    }

    fn close(&mut self, closed: &Closed) {
        let Some(mut connection) = self.connections.remove(closed.connection) else { return };
        let ledger = connection.closed(closed, &mut self.output);
        // Nothing can be skipped any more of what has ended.
        self.feedback.retain(|feedback| feedback.connection() != closed.connection);
        self.output.feedback.clear();
        if ledger.violation() {
            tracing::warn!(connection = closed.connection.0, ?ledger, "the loss ledger does not balance");
        }
        self.tally.ledger.add(&ledger);
        self.tell(closed.connection);
    }

    fn tick(&mut self, at: Timestamp) {
        for id in self.connections.take_ticking() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.tick(at, &mut self.output);
            if connection.needs_tick() {
                self.connections.tick_later(id);
            }
            self.tell(id);
        }
    }

    /// Everything that is open ends as it stands.
    fn finish_all(&mut self, at: Timestamp) {
        for (id, mut connection) in self.connections.take_all() {
            connection.finish(at, &mut self.output);
            self.tally.ledger.add(&connection.snapshot());
            self.tell(id);
        }
    }

    /// Hands on what the parser of `id` has just said.
    fn tell(&mut self, id: ConnectionId) {
        for message in self.output.messages.drain(..) {
            self.tracer.message(id, message);
        }
        self.feedback.append(&mut self.output.feedback);
    }
}
