//! The engine: every event goes to the trace layer and, if it concerns a connection, to its parser; what the parser says
//! goes to the trace layer; spans come out. Single-threaded, without a clock: the same events give the same spans.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    event::{
        Asked, Closed, ConnectionId, DEFAULT_CONNECTIONS, Direction, Event, Feedback, Layer, LocalClosed,
        NotCaptured, Opened, Timestamp, Transfer,
    },
    protocol::{Connection, Counters as ProtocolCounters, Interest, Limits, Output},
    stream,
    trace::{self, Figures, Tracer, TrustLevel, span::SpanEvent},
};

use super::{
    connections::{Bounds, Connections, Eviction},
    services::Services,
    tally::Tally,
};

/// Silent connections are looked for so often: nanoseconds of event time.
const IDLE_SEARCH: u64 = 10_000_000_000;

/// How the engine is set up. Event logs hold it under these names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub trace: trace::Settings,
    pub limits: Limits,
    /// Connections parsed at once; beyond it the longest silent make room (default [`DEFAULT_CONNECTIONS`]).
    pub connections: usize,
    /// Bytes that all connections together may buffer (default 128 MiB); beyond it the longest silent of those that buffer
    /// something make room.
    pub buffered_bytes: usize,
    /// A connection on which nothing moved for so long makes room (default 1 h).
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trace: trace::Settings::default(),
            limits: Limits::default(),
            connections: DEFAULT_CONNECTIONS as usize,
            buffered_bytes: 128 << 20,
            idle: Duration::from_secs(3_600),
        }
    }
}

/// Parsers and trace layer behind one door.
#[derive(Debug)]
pub struct Engine {
    connections: Connections,
    limits: Limits,
    /// The tracer is what parsers report to.
    output: Output<Tracer>,
    feedback: Vec<Feedback>,
    tally: Tally,
    services: Services,
    next_idle_search: Timestamp,
}

/// How far the processes of a service are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfidence {
    /// `other`: all beyond the bound.
    pub service: Arc<str>,
    /// Processes, by `TrustLevel as usize`.
    pub standings: [u64; TrustLevel::ALL.len()],
    /// The sums of theirs.
    pub figures: Figures,
}

impl Engine {
    /// An engine that has seen nothing; the first events should be the clock and the run key.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let interest = Interest::in_fields(settings.trace.wanted_fields());
        let report = Tracer::new(settings.trace);
        Self {
            connections: Connections::new(Bounds {
                connections: settings.connections,
                buffered: settings.buffered_bytes,
                idle: u64::try_from(settings.idle.as_nanos()).unwrap_or(u64::MAX),
            }),
            next_idle_search: Timestamp::default(),
            limits: settings.limits,
            output: Output {
                feedback: Vec::new(),
                interest,
                counters: ProtocolCounters::default(),
                stream: stream::Counters::default(),
                report,
            },
            feedback: Vec::new(),
            tally: Tally::default(),
            services: Services::default(),
        }
    }

    /// Takes one event.
    ///
    /// This function and those of parser and tracer that it calls are never inlined, so that `bench pipeline` finds them.
    #[inline(never)]
    pub fn feed(&mut self, event: &Event<'_>) {
        self.settle(event);
        self.tally.count(event);
        if is_of_plaintext(event) {
            self.tally.stray_transfers += u64::from(matches!(event, Event::Transfer(_)));
            return;
        }
        let marked = self.output.report.with_input_ambiguity(event);
        let event = marked.as_ref().unwrap_or(event);
        // What ends by this event is told before the trace layer hears of it.
        match event {
            Event::Opened(opened) if self.connections.began_with(opened) => {
                self.output.stream.opened_again += 1;
                return;
            }
            Event::Shutdown { at } => self.finish_all(*at),
            Event::Opened(opened) => self.end_older(opened),
            _ => {}
        }
        self.output.report.event(event);
        match event {
            Event::Opened(opened) => self.open(opened),
            Event::Transfer(transfer) => self.transfer(transfer),
            Event::HalfClosed { at, connection, direction, position, .. } => {
                self.half_closed(*at, *connection, *direction, *position);
            }
            Event::LocalClosed(closed) => self.local_close(closed),
            Event::Closed(closed) => self.close(closed),
            Event::Asked(asked) => self.taken(asked),
            Event::Tick { at } => self.tick(*at),
            _ => {}
        }
    }

    /// Finished spans and notices since the last call.
    pub fn drain(&mut self) -> impl Iterator<Item = SpanEvent> + '_ {
        self.output.report.drain()
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

    /// Counts of the order of connections' bytes.
    #[must_use]
    pub const fn stream_counters(&self) -> &stream::Counters {
        &self.output.stream
    }

    /// Counts of the trace layer.
    pub fn trace_counters(&self) -> trace::Counters {
        self.output.report.counters()
    }

    /// How far the processes with most calls are believed, at most `limit`; and how many have made calls.
    #[must_use]
    pub fn standings(&self, limit: usize) -> (Vec<trace::ProcessConfidence>, usize) {
        self.output.report.process_confidence(limit)
    }

    /// The same by service, of the processes in `standings`.
    pub fn service_confidence(&mut self, standings: &[trace::ProcessConfidence]) -> Vec<ServiceConfidence> {
        let mut all: Vec<ServiceConfidence> = Vec::new();
        for process in standings {
            let service = self.services.label(&process.service);
            let index = all.iter().position(|one| one.service == service).unwrap_or_else(|| {
                all.push(ServiceConfidence {
                    service,
                    standings: Default::default(),
                    figures: Figures::default(),
                });
                all.len() - 1
            });
            all[index].standings[process.level as usize] += 1;
            all[index].figures.add(&process.figures);
        }
        all
    }

    /// Calls whose bytes were withheld, by reason and service, since start.
    pub fn withheld_by_service(&mut self) -> BTreeMap<(NotCaptured, Arc<str>), u64> {
        let Self { tally, output, services, .. } = self;
        let tracer = &output.report;
        tally.withheld_by_service(|pid| services.label(&tracer.service(pid)))
    }

    /// What is counted for a process becomes its service's before the process ends or becomes another.
    fn settle(&mut self, event: &Event<'_>) {
        let pid = match event {
            Event::Exit { pid, .. } => *pid,
            Event::Process { facts, .. } => facts.pid,
            _ => return,
        };
        if self.tally.withholds(pid) {
            let service = self.services.label(&self.output.report.service(pid));
            self.tally.settle(pid, &service);
        }
    }

    /// Bytes that all connections buffer now.
    #[must_use]
    pub const fn buffered(&self) -> usize {
        self.connections.buffered()
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Met again after it was forgotten, and the order to forget it came late.
    fn end_older(&mut self, opened: &Opened) {
        if let Some(connection) = self.connections.remove(opened.connection) {
            self.end(opened.at, connection);
        }
    }

    fn open(&mut self, opened: &Opened) {
        if self.connections.is_full() {
            let silent = self.connections.silent();
            self.evict(opened.at, silent, Eviction::Connections);
        }
        self.connections.insert(opened.connection, Connection::new(opened, &self.limits));
    }

    /// These connections make room: what is open on them ends as unfinished, and the source forgets them too.
    fn evict(&mut self, at: Timestamp, ids: Vec<ConnectionId>, reason: Eviction) {
        for id in ids {
            let Some(connection) = self.connections.remove(id) else { continue };
            self.tally.count_evicted(reason);
            self.end(at, connection);
            self.output.report.forget(id);
            self.feedback.push(Feedback::Forget { connection: id });
        }
    }

    /// What is open on a connection ends as it stands.
    fn end(&mut self, at: Timestamp, mut connection: Connection) {
        connection.finish(at, &mut self.output);
        self.tally.ledger.add(&connection.snapshot());
        self.settle_output();
    }

    fn transfer(&mut self, transfer: &Transfer<'_>) {
        let id = transfer.connection;
        let output = &mut self.output;
        if self.connections.work(id, |connection| connection.transfer(transfer, output)).is_none() {
            self.tally.stray_transfers += 1;
            return;
        }
        self.settle_output();
        if self.connections.is_heavy() {
            let heavy = self.connections.heavy();
            self.evict(transfer.at, heavy, Eviction::Memory);
        }
    }

    fn half_closed(&mut self, at: Timestamp, id: ConnectionId, direction: Direction, position: u64) {
        let output = &mut self.output;
        let known =
            self.connections.work(id, |connection| connection.half_closed(at, direction, position, output));
        if known.is_some() {
            self.settle_output();
        }
    }

    /// The source captures as it was asked. The connection may have been evicted meanwhile.
    fn taken(&mut self, asked: &Asked) {
        self.connections.work(asked.stream.connection, |connection| connection.taken(asked.directions));
    }

    fn local_close(&mut self, closed: &LocalClosed) {
        let id = closed.connection;
        let output = &mut self.output;
        if self.connections.work(id, |connection| connection.local_closed(closed, output)).is_some() {
            self.settle_output();
        }
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
        self.settle_output();
    }

    fn tick(&mut self, at: Timestamp) {
        for id in self.connections.take_ticking() {
            let output = &mut self.output;
            if self.connections.work(id, |connection| connection.tick(at, output)).is_some() {
                self.settle_output();
            }
        }
        if at >= self.next_idle_search {
            self.next_idle_search = at.plus(IDLE_SEARCH);
            let idle = self.connections.idle(at);
            self.evict(at, idle, Eviction::Idle);
        }
    }

    /// Everything that is open ends as it stands.
    fn finish_all(&mut self, at: Timestamp) {
        for (_, connection) in self.connections.take_all() {
            self.end(at, connection);
        }
    }

    /// A parser has worked: the source hears what is asked of it, and the parsers what is wanted from now on.
    fn settle_output(&mut self) {
        self.feedback.append(&mut self.output.feedback);
        self.output.interest.content = self.output.report.wants_content();
    }
}

/// Whether an event is about a plaintext. No source has one yet; what a log says of it is counted and passed over.
const fn is_of_plaintext(event: &Event<'_>) -> bool {
    let layer = match event {
        Event::Transfer(transfer) => transfer.layer,
        Event::HalfClosed { layer, .. } => *layer,
        Event::Closed(closed) => closed.layer,
        Event::Asked(asked) => asked.stream.layer,
        Event::PlaintextOpened(_) => Layer::Plaintext,
        _ => Layer::Wire,
    };
    matches!(layer, Layer::Plaintext)
}
