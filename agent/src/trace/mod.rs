//! From exchanges to spans with parents.
//!
//! The [`Tracer`] receives every event and every report of a parser, in the order in which the
//! kernel saw them, and emits spans. It uses no clock and no randomness, and its output does not
//! depend on the order of a hash map. So the same events give the same spans.
//!
//! The parent of a call is, in this order:
//!
//! 1. what the call's own `traceparent` names, or the open request whose `traceparent` it forwards
//!    (`context`, `pass_through`);
//! 2. the request that causality finds from what its thread, goroutine or task did (`causality`);
//! 3. the request that the call forwards, by its content (`content`).
//!
//! The parent of an inbound request is the call at the other end of its connection
//! (`connection_join`), unless the calling program sent a trace context of its own; then what its
//! `traceparent` names. A span without any of these is a root.

mod assembly;
mod causality;
mod connect;
mod connection_join;
mod content;
mod context;
mod counters;
mod deadlines;
mod ended;
mod errors;
mod exchange;
mod exchanges;
mod forwarded;
pub mod http;
mod identifiers;
mod instrumented;
mod lifetime;
mod messages;
mod open;
pub mod operation;
mod parents;
mod parts;
mod pass_through;
mod process;
mod redaction;
mod report;
mod semantics;
mod settings;
mod slots;
pub mod span;
mod start;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod trust;
mod unproven;

use std::sync::Arc;

pub use causality::Rules as CausalityRules;
pub use counters::Counters;
pub use forwarded::Forwarded;
pub use instrumented::Instrumented;
pub use redaction::{REDACTED, Redaction, SENSITIVE_QUERY_NAMES};
pub use settings::{Settings, TextLimits};
pub use trust::{Figures, ProcessConfidence, TrustLevel};

use self::{
    assembly::Assembly,
    causality::{Causality, Receives},
    connect::Connects,
    connection_join::ConnectionJoins,
    content::Contents,
    deadlines::Deadlines,
    exchange::Key,
    exchanges::{Connection, Exchanges, Remembered},
    identifiers::Identifiers,
    open::OpenExchanges,
    pass_through::PassThrough,
    process::Processes,
    semantics::Semantics,
    settings::nanos,
    span::SpanEvent,
};
use crate::event::{
    Connecting, ConnectionId, Direction, Event, Opened, ProcessFacts, SocketId, Timestamp, Transfer,
};

/// What gets a notice once it has been open for long.
#[derive(Debug, Clone, Copy)]
enum Notice {
    Exchange(Key),
    Connect(SocketId, Timestamp),
}

/// What is forgotten a while after its end.
#[derive(Debug, Clone, Copy)]
enum Gone {
    /// Claims of calls by tasks of this process up to this time, if the process is not trusted by
    /// then.
    Claims(u32, Timestamp),
    /// The connection that was first observed at this time.
    Connection(ConnectionId, Timestamp),
    Process(u32),
    /// Calls of this process that began to wait for its confidence at this time.
    Unproven(u32, Timestamp),
}

/// Makes spans from messages. Single-threaded. Each method does a constant amount of work, apart
/// from what it releases.
#[derive(Debug)]
pub struct Tracer {
    settings: Settings,
    semantics: Semantics,
    identifiers: Identifiers,
    unix_offset: u64,
    /// The latest event time seen.
    now: Timestamp,
    shutdown: bool,
    exchanges: Exchanges,
    open: OpenExchanges,
    processes: Processes,
    causality: Causality,
    receives: Receives,
    joins: ConnectionJoins,
    pass_through: PassThrough,
    connects: Connects,
    contents: Contents,
    assembly: Assembly,
    notices: Deadlines<Notice>,
    gone: Deadlines<Gone>,
    /// Nanoseconds.
    parent_wait: u64,
    waiting_limit: u64,
    counters: Counters,
}

impl Tracer {
    /// A tracer that has seen nothing. The first events should be the clock and the run key.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            semantics: Semantics {
                limits: settings.text,
                redaction: settings.redaction.clone(),
                forwarded: settings.forwarded.clone(),
                shown: settings.correlation_headers.clone(),
                hosts: Default::default(),
                clients: Default::default(),
            },
            identifiers: Identifiers::new(&[0; 16]),
            unix_offset: 0,
            now: Timestamp::default(),
            shutdown: false,
            exchanges: Exchanges::new(Remembered {
                in_all: settings.remembered_exchanges,
                of_connection: settings.recent_exchanges,
            }),
            open: OpenExchanges::new(),
            processes: Processes::new(settings.processes),
            causality: Causality::new(settings.causality),
            receives: Receives::default(),
            joins: ConnectionJoins::new(nanos(settings.flow_wait), settings.flow_keys),
            pass_through: PassThrough::default(),
            connects: Connects::new(settings.connects),
            contents: Contents::default(),
            assembly: Assembly::new(),
            notices: Deadlines::new(),
            gone: Deadlines::new(),
            parent_wait: nanos(settings.parent_wait),
            waiting_limit: settings.waiting_spans as u64,
            counters: Counters::default(),
            settings,
        }
    }

    /// The event with the ambiguity of its last receive filled in. The parser may hold an event
    /// back, so this must be known before. `None` if the event is no send, or its thread has received
    /// nothing.
    #[must_use]
    #[inline(never)]
    pub fn with_input_ambiguity<'a>(&mut self, event: &Event<'a>) -> Option<Event<'a>> {
        match event {
            Event::Transfer(transfer) => {
                let last_receive = Some(self.receives.moved(&self.exchanges, transfer)?);
                Some(Event::Transfer(Transfer { last_receive, ..*transfer }))
            }
            Event::Connecting(connecting) => {
                let last_receive = self.receives.connects(&self.exchanges, connecting);
                Some(Event::Connecting(Connecting { last_receive, ..connecting.clone() }))
            }
            _ => None,
        }
    }

    /// Handles an event, before the parser sees it.
    #[inline(never)]
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Clock { at, unix_offset } => {
                self.unix_offset = *unix_offset;
                self.advance(*at);
            }
            Event::RunKey(key) => self.identifiers = Identifiers::new(key),
            Event::Process { at, facts } => {
                self.advance(*at);
                let kept = self.processes.facts(facts);
                self.count_process(kept);
            }
            Event::Fork { at, parent, child } => {
                self.advance(*at);
                let kept = self.processes.fork(*parent, *child);
                self.count_process(kept);
            }
            Event::Exit { at, pid } => {
                self.advance(*at);
                self.processes.exit(*pid);
                self.forget_later(Gone::Process(*pid));
            }
            Event::Connecting(connecting) => {
                self.advance(connecting.at);
                self.connecting(connecting);
            }
            Event::Connected { at, socket, connection } => {
                self.advance(*at);
                self.connected(*socket, *connection);
            }
            Event::ConnectFailed { at, socket, errno } => {
                self.advance(*at);
                self.connect_failed(*at, *socket, *errno);
            }
            Event::Opened(opened) => {
                self.advance(opened.at);
                self.opened(opened);
            }
            Event::Transfer(transfer) => {
                self.advance(transfer.at);
                if self.processes.drops(transfer.thread.pid, transfer.process_drops) {
                    self.counters.losses += 1;
                }
                if self
                    .exchanges
                    .connection(transfer.connection)
                    .is_some_and(|connection| connection.no_exchange_yet)
                {
                    causality::propagate_cause(&mut self.exchanges, &self.processes, transfer);
                }
            }
            Event::Asked(_) | Event::PlaintextOpened(_) => {}
            Event::Tick { at } => self.advance(*at),
            Event::Shutdown { at } => {
                self.advance(*at);
                self.finish();
            }
            Event::HalfClosed { .. }
            | Event::LocalClosed(_)
            | Event::Released { .. }
            | Event::Redirected { .. }
            | Event::Closed(_) => self.closing_event(event),
        }
    }

    /// Handles an event by which a connection ends, in part or as a whole.
    #[inline]
    fn closing_event(&mut self, event: &Event<'_>) {
        match event {
            Event::HalfClosed { at, connection, direction, actor, .. } => {
                self.advance(*at);
                match (direction, actor) {
                    (Direction::In, Some(actor)) => self.notice_end(*connection, actor),
                    (Direction::Out, Some(actor)) => self.shut_by(*connection, actor, *at),
                    (_, None) => {}
                }
            }
            Event::LocalClosed(closed) => {
                self.advance(closed.at);
                self.closed_by(closed.connection, &closed.actor, closed.at);
            }
            Event::Released { at, connection, socket, actor } => {
                self.advance(*at);
                match connection {
                    Some(connection) => self.closed_by(*connection, actor, *at),
                    None => self.failed_connect_closed(*socket, actor, *at),
                }
            }
            Event::Redirected { at, connection } => {
                self.advance(*at);
                self.joins.give_up_positions(&mut self.exchanges, *connection);
                self.decide_settled();
            }
            Event::Closed(closed) => {
                self.advance(closed.at);
                self.connects.take_connect_cause(closed.connection);
                self.forget_connection_later(closed.connection);
            }
            _ => {}
        }
    }

    /// The finished spans and notices, in the order in which they became ready.
    pub fn drain(&mut self) -> impl Iterator<Item = SpanEvent> + '_ {
        self.assembly.ready.drain(..)
    }

    /// What was counted so far, and how much is held right now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            conflicts: self.causality.conflicts,
            evicted_threads: self.receives.forgotten,
            evicted_contents: self.contents.forgotten,
            evicted_parts: self.exchanges.evicted_parts,
            task_conflicts: self.causality.task_conflicts,
            exchanges: self.exchanges.live as u64,
            open_server: self.open.server,
            open_client: self.open.client,
            oldest_open_seconds: self
                .open
                .oldest(&self.exchanges)
                .map_or(0, |since| self.now.since(since) / 1_000_000_000),
            connections: self.exchanges.connections() as u64,
            ..self.counters
        }
    }

    /// Moves event time forward, and does what is due by then.
    fn advance(&mut self, at: Timestamp) {
        if at <= self.now {
            return;
        }
        self.now = at;
        self.joins.expire(&mut self.exchanges, &mut self.counters, at);
        self.decide_settled();
        self.expire_waiting();
        self.emit_notices();
        while let Some(gone) = self.gone.pop_due(at) {
            match gone {
                Gone::Claims(pid, until) => self.expire_claims(pid, until),
                Gone::Process(pid) => {
                    self.processes.forget(pid);
                    let deferral = self
                        .processes
                        .get(pid)
                        .map(|process| process.confidence.deferral())
                        .unwrap_or_default();
                    self.receives.set_deferral(pid, deferral);
                }
                Gone::Unproven(pid, until) => self.expire_unproven(pid, until),
                Gone::Connection(id, opened_at) => self.forget_connection(id, opened_at),
            }
        }
    }

    /// No further event will come. What waits is exported as it is, and so is what ends from now
    /// on.
    fn finish(&mut self) {
        self.shutdown = true;
        while let Some(gone) = self.gone.pop() {
            match gone {
                Gone::Claims(pid, until) => self.expire_claims(pid, until),
                Gone::Unproven(pid, until) => self.expire_unproven(pid, until),
                Gone::Connection(..) | Gone::Process(_) => {}
            }
        }
        self.joins.expire_all(&mut self.exchanges, &mut self.counters);
        self.decide_settled();
        self.expire_all_waiting();
    }

    fn count_process(&mut self, kept: bool) {
        self.counters.refused_processes += u64::from(!kept);
    }

    /// The facts of a process, and its epoch.
    fn facts_of(&mut self, pid: u32) -> (Arc<ProcessFacts>, u32) {
        let (facts, epoch, kept) = self.processes.facts_of(pid);
        self.count_process(kept);
        (facts, epoch)
    }

    /// Makes room for one more connection.
    fn make_room_for(&mut self, id: ConnectionId) {
        let full = self.exchanges.connections() >= self.settings.connections
            && self.exchanges.connection(id).is_none();
        if full && let Some(id) = self.exchanges.least_needed() {
            self.counters.evicted_connections += 1;
            self.evict_connection(id);
        }
    }

    fn opened(&mut self, opened: &Opened) {
        self.make_room_for(opened.connection);
        let mut connection = Connection::new(opened);
        connection.connect_cause = self.connects.take_connect_cause(opened.connection);
        self.evict_connection(opened.connection);
        self.exchanges.insert(opened.connection, connection);
    }
}
