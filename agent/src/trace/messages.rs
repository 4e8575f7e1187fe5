//! Messages: what each report of a parser about a message changes in its exchange.

use std::{
    hash::{Hash as _, Hasher as _},
    net::SocketAddr,
    sync::Arc,
};

use rustc_hash::FxHasher;

use super::{
    Tracer,
    causality::{CausalLinks, Causality, Cause, Verdict},
    connection_join::{ConnectionJoin, ConnectionJoins, Partner},
    context,
    counters::Counters,
    exchange::{Exchange, Incoming, Key},
    semantics,
    span::{Span, SpanKind},
};
use crate::{
    event::{ConnectionId, Direction, Endpoint, Task, Timestamp},
    protocol::{ExchangeEnd, Ordinal, Origin, Outcome, http::RequestHead},
    words::{self, equal},
};

/// What is known of a request before its exchange is made.
struct Begun {
    kind: SpanKind,
    /// The offset of its first byte, from which its ids are made.
    stream_offset: u64,
    local: Endpoint,
    peer: Endpoint,
    partner: Partner,
    /// The connection's other end is known.
    joined: bool,
    /// The connection's other end is known, or known not to be on this host.
    join_known: bool,
    /// The cause of the connect, if the request is the first call of its connection.
    connect_cause: Option<Cause>,
    /// The previous request of the connection is not over.
    last_open: bool,
}

impl Tracer {
    /// The first byte of a request.
    pub(super) fn request(
        &mut self,
        (id, ordinal): (ConnectionId, Ordinal),
        direction: Direction,
        origin: &Origin,
        other_position: u64,
    ) {
        if self.exchanges.live >= self.settings.exchanges {
            self.counters.refused_exchanges += 1;
            return;
        }
        let limit = self.settings.exchanges_per_connection;
        if self.exchanges.connection(id).is_some_and(|connection| connection.live >= limit) {
            self.make_room(id);
        }
        let Some(begun) = self.begun(id, ordinal, direction, origin) else {
            self.counters.refused_messages += 1;
            return;
        };
        let Begun { connect_cause, joined, .. } = begun;
        match direction {
            Direction::In => self.counters.requests_received += 1,
            Direction::Out => self.counters.requests_made += 1,
        }
        let Some(key) = self.add_exchange(id, ordinal, begun, origin, other_position) else { return };
        match direction {
            Direction::In => {
                self.processes.request(origin.thread.pid, origin);
                self.task_request(key, origin);
            }
            Direction::Out => {
                if let Some(Task::Handoff(goroutine)) = origin.task {
                    self.judge_handoff(key, goroutine, origin.last_receive);
                } else {
                    let cause = self.cause_of_call(key, connect_cause, origin);
                    self.note_request_side(key, cause);
                }
                self.task_call(key, origin);
            }
        }
        if joined {
            self.joins.request(&mut self.exchanges, &mut self.counters, key, self.now);
        }
        self.decide_settled();
        self.notice_exchange(SpanKind::of_request(direction), key);
    }

    /// What the connection says about a request that begins on it. `None` if the connection is not
    /// known, or knows the request already.
    fn begun(
        &mut self,
        id: ConnectionId,
        ordinal: Ordinal,
        direction: Direction,
        origin: &Origin,
    ) -> Option<Begun> {
        let kind = SpanKind::of_request(direction);
        let connection = self.exchanges.connection(id)?;
        let last = self.exchanges.last(connection);
        if last.is_some_and(|last| last.ordinal >= ordinal) {
            return None;
        }
        let mut begun = Begun {
            kind,
            stream_offset: connection.stream_offset(direction, origin.position),
            local: connection.local.clone(),
            peer: connection.peer.clone(),
            partner: ConnectionJoins::at_start(&connection.join, kind),
            joined: matches!(connection.join, ConnectionJoin::Joined { .. }),
            join_known: !matches!(connection.join, ConnectionJoin::Unknown { .. }),
            connect_cause: connection.connect_cause.filter(|_| kind == SpanKind::Client),
            last_open: !connection.is_multiplexed() && last.is_some_and(Exchange::open),
        };
        if begun.connect_cause.is_some() {
            begun.connect_cause = self.exchanges.connection_mut(id)?.connect_cause.take();
        }
        Some(begun)
    }

    /// The cause of a call, given the cause of its connect if it is the connection's first call.
    fn cause_of_call(&mut self, key: Key, connect_cause: Option<Cause>, origin: &Origin) -> Cause {
        let own = Cause::of(&self.exchanges, &self.processes, origin.last_receive);
        let Some(connect_cause) =
            connect_cause.map(|connect_cause| connect_cause.revalidated(&self.exchanges, &self.processes))
        else {
            return own;
        };
        // A goroutine that was started to connect has received nothing, and the goroutine that
        // writes the call does one thing at a time.
        if connect_cause == Cause::None && matches!(origin.task, Some(Task::Goroutine(_))) {
            return own;
        }
        if Causality::connected_for(&mut self.exchanges, &self.processes, key, connect_cause) {
            return connect_cause;
        }
        if own.is_unambiguous() { own } else { connect_cause.doubted() }
    }

    fn add_exchange(
        &mut self,
        connection: ConnectionId,
        ordinal: Ordinal,
        begun: Begun,
        origin: &Origin,
        other_position: u64,
    ) -> Option<Key> {
        let Begun { kind, stream_offset, local, peer, partner, join_known, last_open, .. } = begun;
        let pid = origin.thread.pid;
        let (process, epoch) = self.facts_of(pid);
        let id = self.identifiers.span(connection, kind.request_direction(), stream_offset);
        let receives_from = match kind {
            SpanKind::Server => origin.position,
            // An earlier response is still awaited. Where this one begins is known when it comes.
            SpanKind::Client if last_open => u64::MAX,
            SpanKind::Client => other_position,
        };
        // The span is built in place, because its memory is allocated first.
        let span = Box::write(
            Box::new_uninit(),
            Span::begin(
                kind,
                semantics::unknown_name(),
                Some(semantics::unknown_http()),
                (Some(local), peer),
                origin.thread,
                process,
            ),
        );
        let mut live = self.exchanges.spare();
        live.begin(span, other_position, partner);
        live.join_known = join_known;
        let make = |key| Exchange {
            key,
            connection,
            ordinal,
            kind,
            id,
            at: origin.at,
            position: origin.position,
            stream_offset,
            receives_from,
            pid,
            context: None,
            fixed_early: false,
            passed_on: false,
            links: match kind {
                SpanKind::Server => CausalLinks::of_request(epoch, origin, last_open),
                SpanKind::Client => CausalLinks::of_call(epoch, origin),
            },
            live: Some(live),
        };
        self.exchanges.push(connection, ordinal, make)
    }

    /// The head of a request.
    pub(super) fn request_head(&mut self, key: Key, head: &RequestHead<'_>) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let (kind, pid) = (exchange.kind, exchange.pid);
        let Some(live) = exchange.live.as_deref_mut() else { return };
        if live.ended.is_some() || live.head_seen {
            return;
        }
        live.head_seen = true;
        let Some(span) = live.span.as_deref_mut() else { return };
        let signature_hash = (kind == SpanKind::Client).then(|| signature_hash(head, &span.peer));
        self.semantics.request(span, head, &mut self.counters);
        self.processes.note_export(pid, kind, head);
        let context = (head.traceparent.as_deref(), head.tracestate.as_deref());
        if let Some(incoming) = incoming(context, &mut self.counters) {
            self.pass_through.take(exchange, key, incoming);
        }
        let Some(live) = exchange.live.as_deref_mut() else { return };
        let (partner_request, join_known) = (live.partner_request.take(), live.join_known);
        self.note_content(key, head.content);
        if let Some(signature_hash) = signature_hash {
            self.judge_by_request_side(key, signature_hash);
        }
        if !join_known {
            self.joins.head(&mut self.exchanges, &mut self.counters, key, head.prefix, self.now);
        }
        self.decide_settled();
        self.try_decide(key);
        if let Some(request) = partner_request {
            self.try_decide(request);
        }
    }

    /// The first byte of a response.
    pub(super) fn response(&mut self, key: Key, origin: &Origin, interim: bool, status: u16) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let kind = exchange.kind;
        let Some(live) = exchange.live.as_deref_mut() else { return };
        let (first, join_known) = (live.first_response.is_none(), live.join_known);
        if first {
            live.first_response = Some(origin.at);
        }
        if !interim {
            live.status = Some(status).filter(|status| *status != 0);
        }
        match kind {
            SpanKind::Client => {
                if !interim {
                    exchange.links.call_answered(origin.at);
                }
                if first {
                    exchange.receives_from = origin.position;
                    exchange.links.response_read(origin);
                    if !join_known {
                        let connection = exchange.connection;
                        self.joins.response(&mut self.exchanges, connection, self.now);
                    }
                }
            }
            SpanKind::Server if interim => {}
            SpanKind::Server => {
                let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
                if let Some(ended) = self.causality.answer_request(exchanges, processes, key, origin, true) {
                    self.answered(key, ended, origin);
                }
            }
        }
    }

    /// A request was answered. `ended` is the call whose response side names it, with its verdict.
    fn answered(&mut self, key: Key, ended: Option<(Key, Verdict)>, origin: &Origin) {
        if let Some((call, verdict)) = ended {
            self.take_verdict(call, verdict);
        }
        if !self.receives.answered(&self.exchanges, key, origin) {
            Causality::unexplained(&self.exchanges, &mut self.processes, key, origin.at);
        }
        self.judge_calls(key, Some(origin));
        self.task_answered(key, Some(origin));
        let pid = origin.thread.pid;
        if let Some(process) = self.processes.get_mut(pid) {
            process.confidence.reconsider_receive_order();
            self.receives.set_deferral(pid, process.confidence.deferral());
        }
    }

    /// A request has ended, so if it has no response it never will. Whoever closed its connection
    /// instead did so for a reason, which counts like the cause of a response.
    fn request_over(&mut self, key: Key, closing: Option<Origin>) {
        let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
        match closing {
            Some(origin) => {
                if let Some(ended) = self.causality.answer_request(exchanges, processes, key, &origin, false)
                {
                    self.answered(key, ended, &origin);
                }
            }
            None if Causality::unanswered(exchanges, processes, key) => {
                self.judge_calls(key, None);
                self.task_answered(key, None);
            }
            None => {}
        }
    }

    /// Both messages of an exchange are over.
    pub(super) fn end(&mut self, key: Key, at: Timestamp, end: &ExchangeEnd) {
        let unix_offset = self.unix_offset;
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let (kind, pid, start) = (exchange.kind, exchange.pid, exchange.at);
        if end.outcome == Outcome::Upgraded {
            // From here on the connection carries another protocol.
            exchange.links.cause_nothing();
        }
        let Some(live) = exchange.live.as_deref_mut() else { return };
        if live.ended.is_some() {
            return;
        }
        let given_up = matches!(end.outcome, Outcome::ClientAborted(_));
        let at = at.max(start);
        live.ended = Some(at);
        self.open.end(kind);
        if let Some(span) = live.span.as_deref_mut() {
            span.start = start.0.saturating_add(unix_offset);
            span.end = at.0.saturating_add(unix_offset);
            let first = live.first_response.map(|first| first.clamp(start, at));
            span.first_response_byte = first.map(|first| first.0.saturating_add(unix_offset));
            semantics::conclude(span, live.status, end);
        }
        if !live.head_seen {
            // The head will not come any more, and without it the other end cannot be found.
            live.head_seen = true;
            live.partner = match live.partner {
                Partner::Pending => Partner::Absent,
                known => known,
            };
        }
        let partner_request = live.partner_request.take();
        let closing = live.closing.take();
        if kind == SpanKind::Client {
            exchange.links.call_ended(at, given_up);
            Causality::call_over(&mut self.exchanges, &mut self.processes, key);
            self.task_call_over(key);
            self.judge_outlived(key);
        } else {
            if let Some(incoming) = live.incoming.as_deref() {
                self.pass_through.close(pid, incoming.parent, key);
            }
            self.request_over(key, closing.map(|closing| *closing));
        }
        self.finish_or_wait(key);
        if let Some(request) = partner_request {
            self.try_decide(request);
        }
    }
}

/// The hash of a call's signature: peer, method and the first part of the path.
fn signature_hash(head: &RequestHead<'_>, peer: &Endpoint) -> u64 {
    let path = head.target.as_bytes();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let ends = |word| equal(word, b'/') | equal(word, b'?') | equal(word, b'#');
    let end = words::position(path, 0, ends).unwrap_or(path.len());
    let mut hasher = FxHasher::default();
    match peer {
        Endpoint::Inet(SocketAddr::V4(peer)) => hasher.write_u32(peer.ip().to_bits()),
        Endpoint::Inet(SocketAddr::V6(peer)) => hasher.write_u128(peer.ip().to_bits()),
        Endpoint::Unix(peer) => peer.hash(&mut hasher),
    }
    hasher.write_u16(peer.inet().map_or(0, |peer| peer.port()));
    hasher.write(head.method.as_bytes());
    hasher.write(&path[..end]);
    hasher.finish()
}

/// Reads the trace context from the head of a request.
pub(super) fn incoming(
    (traceparent, sent): (Option<&str>, Option<&str>),
    counters: &mut Counters,
) -> Option<Incoming> {
    let value = traceparent?;
    let Some(parent) = context::trace_parent(value) else {
        counters.invalid_traceparents += 1;
        return None;
    };
    let state = sent.and_then(context::trace_state).filter(|state| !state.is_empty());
    let complete = sent.map(|sent| sent.trim_matches([' ', '\t'])).filter(|sent| !sent.is_empty());
    counters.invalid_tracestates += u64::from(state != complete);
    Some(Incoming { parent, state: state.map(Arc::from) })
}
