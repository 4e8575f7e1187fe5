//! What each thread received since it last sent something. Its last receive is a reliable cause
//! only if it received nothing else in between.
//!
//! An event loop that reads two messages before it acts on the first, or a timer that fires when
//! nothing is new, sends something whose last receive belongs to another request. If that happens
//! to the call and to the response alike, both sides agree on the wrong request.

use rustc_hash::FxHashMap;

use super::{
    Deferral, Runner,
    ambiguity::{InputAmbiguity, mark},
    request_of,
    turns::Turn,
};
use crate::{
    event::{
        Actor, Connecting, ConnectionId, Direction, LastReceive, Layer, Mark, Task, Timestamp, Transfer,
    },
    protocol::Origin,
    trace::{
        exchange::Key,
        exchanges::{Connection, Exchanges},
        span::SpanKind,
    },
};

/// Threads whose receives are remembered. Beyond this number all of them are forgotten, and what
/// they send next is ambiguous.
const RUNNERS: usize = 65_536;
/// Receives from different connections that are compared with each other.
const SEVERAL: usize = 8;

/// What threads, or goroutines, have received since they last sent something.
#[derive(Debug, Default)]
pub(in crate::trace) struct Receives {
    received: FxHashMap<(u32, Runner), Received>,
    /// The deferral of each process that defers anything.
    deferrals: FxHashMap<u32, Deferral>,
    /// The current turn of each thread of these processes.
    turns: FxHashMap<(u32, Runner), Turn>,
    /// Threads that were forgotten to make room.
    pub(in crate::trace) forgotten: u64,
}

/// What was received from one connection since the last send.
#[derive(Debug, Clone, Copy)]
struct ReceivedBytes {
    connection: ConnectionId,
    /// Positions of the first and the last byte.
    first: u64,
    last: u64,
}

/// What was received from different connections since the last send. The first `count` are in use.
#[derive(Debug, Clone, Copy)]
struct Received {
    bytes: [ReceivedBytes; SEVERAL],
    count: usize,
    /// Something was sent since these were received.
    used: bool,
    /// Set if the latest of them is the end of a connection.
    connection_end: Option<ConnectionEnd>,
    /// Set if the only thing sent since is this response.
    response: Option<LastResponse>,
    /// An unexplained response was sent before that one, and no call was closed after it. The next
    /// call that is closed may belong to it.
    earlier_unexplained: bool,
}

/// A response that a thread sent last, and the kernel's last receive at that time.
#[derive(Debug, Clone, Copy)]
struct LastResponse {
    answered: LastAnswered,
    /// On which it was sent.
    connection: ConnectionId,
    receive: Option<(ConnectionId, u64)>,
    /// The first open call that was closed after it.
    closed_call: Option<Key>,
}

/// The request that a thread has answered last.
#[derive(Debug, Clone, Copy)]
pub(in crate::trace) struct LastAnswered {
    pub(in crate::trace) request: Key,
    /// When the request was read.
    pub(super) read_at: Timestamp,
    /// Nothing that the thread had received explains the response, and only the call in question
    /// was closed for it or for an earlier unexplained response.
    pub(super) pending: bool,
    /// How many calls have the request as their request side.
    pub(super) calls: usize,
}

/// The end of a connection on which a call was not answered, taken as a receive. The kernel does
/// not see it as one, so its last receive is still `before`.
#[derive(Debug, Clone, Copy)]
struct ConnectionEnd {
    receive: (ConnectionId, u64),
    before: Option<(ConnectionId, u64)>,
}

impl ConnectionEnd {
    fn is_last(&self, receive: Option<LastReceive>) -> bool {
        self.before == receive.map(|receive| (receive.connection, receive.position))
    }
}

impl Receives {
    /// A system call moved bytes. Returns the last receive of a send with the ambiguity filled in.
    pub(in crate::trace) fn moved(
        &mut self,
        exchanges: &Exchanges,
        transfer: &Transfer<'_>,
    ) -> Option<LastReceive> {
        let runner = (transfer.thread.pid, Runner::of(transfer.thread, transfer.task));
        match transfer.direction {
            Direction::In => {
                if transfer.length > 0 {
                    let last = transfer.position.saturating_add(u64::from(transfer.length) - 1);
                    let (connection, first) = (transfer.connection, transfer.position);
                    self.received(exchanges, runner, ReceivedBytes { connection, first, last });
                }
                None
            }
            Direction::Out => {
                let receive = self.sent(exchanges, runner, transfer.connection, transfer.last_receive);
                self.deferred(exchanges, runner, transfer.connection, receive)
            }
        }
    }

    /// Sets the deferral that is assumed for a process from now on.
    pub(in crate::trace) fn set_deferral(&mut self, pid: u32, deferral: Deferral) {
        if deferral != Deferral::Nothing {
            self.deferrals.insert(pid, deferral);
        } else if !self.deferrals.is_empty() && self.deferrals.remove(&pid).is_some() {
            self.turns.retain(|(owner, _), _| *owner != pid);
        }
    }

    /// Replaces the last receive by the cause of a message in a process that defers work.
    fn deferred(
        &mut self,
        exchanges: &Exchanges,
        runner: (u32, Runner),
        connection: ConnectionId,
        receive: Option<LastReceive>,
    ) -> Option<LastReceive> {
        let Some(deferral) = self.deferrals.get(&runner.0).copied() else { return receive };
        let Some(turn) = self.turns.get_mut(&runner) else { return receive };
        let connection_here = exchanges.connection(connection);
        if connection_here.is_some_and(|it| it.connect_cause.is_some() || it.is_multiplexed()) {
            // The cause of the connect counts. A multiplexed connection does not say in which order
            // its messages are handled.
            return receive;
        }
        let kind = |connection| {
            exchanges.connection(connection).and_then(|it| exchanges.last(it)).map(|exchange| exchange.kind)
        };
        let found = match kind(connection) {
            Some(SpanKind::Server) => turn.responds(connection),
            Some(SpanKind::Client) | None => {
                turn.calls(connection, deferral, |(from, _)| kind(from) == Some(SpanKind::Server))
            }
        };
        let Some((connection, position)) = found else { return receive };
        let single = InputAmbiguity::Single;
        Some(LastReceive { connection, layer: Layer::Wire, position, mark: mark(single, single) })
    }

    /// A thread connects, which counts as a send. Returns its last receive with the ambiguity
    /// filled in.
    pub(in crate::trace) fn connects(
        &mut self,
        exchanges: &Exchanges,
        connecting: &Connecting,
    ) -> Option<LastReceive> {
        if let Some(Task::Handoff(_)) = connecting.task {
            return connecting.last_receive;
        }
        let runner = (connecting.thread.pid, Runner::of(connecting.thread, connecting.task));
        // A socket address cannot equal a connection's cookie, so it can stand for the connection
        // here.
        let connection = ConnectionId(connecting.socket.0);
        let receive = self.sent(exchanges, runner, connection, connecting.last_receive);
        self.deferred(exchanges, runner, connection, receive)
    }

    /// A thread has seen that a call ends without a response. `receive` is the position at which
    /// the response would have begun.
    pub(in crate::trace) fn saw_end(
        &mut self,
        exchanges: &Exchanges,
        actor: &Actor,
        receive: (ConnectionId, u64),
    ) {
        let runner = (actor.thread.pid, Runner::of(actor.thread, actor.task));
        let (connection, position) = receive;
        self.received(exchanges, runner, ReceivedBytes { connection, first: position, last: position });
        if let Some(received) = self.received.get_mut(&runner) {
            let before = actor.last_receive.map(|receive| (receive.connection, receive.position));
            received.connection_end = Some(ConnectionEnd { receive, before });
        }
    }

    /// A thread has just answered a request. Returns whether something that it had received
    /// explains the response.
    pub(in crate::trace) fn answered(
        &mut self,
        exchanges: &Exchanges,
        request: Key,
        origin: &Origin,
    ) -> bool {
        let Some(exchange) = exchanges.get(request) else { return false };
        let (read_at, live) = (exchange.at, exchange.live.as_deref());
        let explained = is_explained(exchanges, read_at, origin.last_receive);
        let runner = (origin.thread.pid, Runner::of_origin(origin));
        let Some(received) = self.received.get_mut(&runner) else { return explained };
        let receive = origin.last_receive.map(|receive| (receive.connection, receive.position));
        let pending = !received.earlier_unexplained && !explained;
        let answered = LastAnswered {
            request,
            read_at,
            pending,
            calls: live.map_or(usize::MAX, |live| live.calls.len()),
        };
        let connection = exchange.connection;
        received.response = Some(LastResponse { answered, connection, receive, closed_call: None });
        explained
    }

    /// The request that a thread answered last, if it has neither read nor sent anything since. It
    /// closes this open call now.
    pub(in crate::trace) fn answered_before_close(
        &mut self,
        actor: &Actor,
        call: Key,
    ) -> Option<LastAnswered> {
        let runner = (actor.thread.pid, Runner::of(actor.thread, actor.task));
        let received = self.received.get_mut(&runner)?;
        let end =
            received.connection_end.filter(|end| end.is_last(actor.last_receive)).map(|end| end.receive);
        let receive = end.or(actor.last_receive.map(|receive| (receive.connection, receive.position)));
        let response = received.response.as_mut().filter(|response| response.receive == receive)?;
        let first = *response.closed_call.get_or_insert(call) == call;
        Some(LastAnswered { pending: response.answered.pending && first, ..response.answered })
    }

    /// The last receive of a thread that closes a connection now.
    pub(in crate::trace) fn last_receive_of(
        &self,
        exchanges: &Exchanges,
        actor: &Actor,
    ) -> Option<LastReceive> {
        let received = self.received.get(&(actor.thread.pid, Runner::of(actor.thread, actor.task)));
        with_input_ambiguity(received, exchanges, actor.last_receive)
    }

    fn received(&mut self, exchanges: &Exchanges, runner: (u32, Runner), bytes: ReceivedBytes) {
        if !self.deferrals.is_empty() && self.deferrals.contains_key(&runner.0) {
            self.received_in_turn(exchanges, runner, bytes);
        }
        if let Some(received) = self.received.get_mut(&runner) {
            if received.used {
                (received.count, received.used) = (0, false);
            }
            (received.connection_end, received.response, received.earlier_unexplained) = (None, None, false);
            received.add(bytes);
            return;
        }
        if self.received.len() >= RUNNERS {
            self.forgotten += self.received.len() as u64;
            self.received.clear();
        }
        let received = Received {
            bytes: [bytes; SEVERAL],
            count: 1,
            used: false,
            connection_end: None,
            response: None,
            earlier_unexplained: false,
        };
        self.received.insert(runner, received);
    }

    fn received_in_turn(&mut self, exchanges: &Exchanges, runner: (u32, Runner), bytes: ReceivedBytes) {
        if exchanges.connection(bytes.connection).is_some_and(Connection::is_multiplexed) {
            return;
        }
        if self.turns.len() >= RUNNERS {
            self.turns.clear();
        }
        self.turns.entry(runner).or_default().received((bytes.connection, bytes.last));
    }

    fn sent(
        &mut self,
        exchanges: &Exchanges,
        runner: (u32, Runner),
        connection: ConnectionId,
        receive: Option<LastReceive>,
    ) -> Option<LastReceive> {
        let mut received = self.received.get_mut(&runner);
        if let Some(received) = &mut received {
            // A send on another connection than the last response's means that the response is no
            // longer the last send.
            let before = received.response.take_if(|response| response.connection != connection);
            received.earlier_unexplained |=
                before.is_some_and(|response| response.answered.pending && response.closed_call.is_none());
        }
        let receive = with_input_ambiguity(received.as_deref(), exchanges, receive)?;
        if let Some(received) = received {
            received.used = true;
        }
        Some(receive)
    }
}

/// The last receive of a thread, and how ambiguous it is.
fn with_input_ambiguity(
    received: Option<&Received>,
    exchanges: &Exchanges,
    receive: Option<LastReceive>,
) -> Option<LastReceive> {
    let unmarked =
        |(connection, position), layer| LastReceive { connection, layer, position, mark: Mark::default() };
    let end = received.and_then(|received| received.connection_end).filter(|end| end.is_last(receive));
    let receive = match end {
        Some(end) => unmarked(end.receive, Layer::Wire),
        None => receive.map(|receive| unmarked((receive.connection, receive.position), receive.layer))?,
    };
    let Some(received) = received else { return Some(receive) };
    if received.count == 1 && !received.is_multiplexed(exchanges) {
        let ambiguity = received.of_one_message(receive);
        return Some(LastReceive { mark: mark(ambiguity, ambiguity), ..receive });
    }
    let (for_call, for_response) = received.ambiguity(exchanges, receive);
    Some(LastReceive { mark: mark(for_call, for_response), ..receive })
}

/// Whether the thread's last receive is the response to a call, or the end of one, that was sent
/// after this request was read. That is a reason to answer the request, unless it was already the
/// reason for another response.
fn is_explained(exchanges: &Exchanges, read_at: Timestamp, receive: Option<LastReceive>) -> bool {
    let Some(receive) =
        receive.filter(|receive| InputAmbiguity::for_response(*receive) != InputAmbiguity::Reused)
    else {
        return false;
    };
    let message =
        exchanges.connection(receive.connection).and_then(|it| exchanges.by_received(it, receive.position));
    message.is_some_and(|message| message.kind == SpanKind::Client && message.at > read_at)
}

impl Received {
    fn add(&mut self, bytes: ReceivedBytes) {
        let known = self.bytes[..self.count.min(SEVERAL)]
            .iter_mut()
            .find(|known| known.connection == bytes.connection);
        if let Some(known) = known {
            known.last = bytes.last;
            return;
        }
        if let Some(entry) = self.bytes.get_mut(self.count) {
            *entry = bytes;
        }
        self.count += 1;
    }

    /// Whether the only one came from a multiplexed connection.
    fn is_multiplexed(&self, exchanges: &Exchanges) -> bool {
        exchanges.any_multiplexed()
            && exchanges.connection(self.bytes[0].connection).is_some_and(Connection::is_multiplexed)
    }

    /// The ambiguity of the only message.
    fn of_one_message(&self, receive: LastReceive) -> InputAmbiguity {
        // A receive from an opaque connection stands for its cause, which is on another connection.
        if self.bytes[0].connection != receive.connection {
            InputAmbiguity::Several
        } else if self.used {
            InputAmbiguity::Reused
        } else {
            InputAmbiguity::Single
        }
    }

    /// The ambiguity for a call, and for a response.
    fn ambiguity(&self, exchanges: &Exchanges, receive: LastReceive) -> (InputAmbiguity, InputAmbiguity) {
        if self.count > SEVERAL {
            return (InputAmbiguity::Several, InputAmbiguity::Several);
        }
        let (mut all, mut responses) = (Messages::default(), Messages::default());
        for ReceivedBytes { connection, first, last } in &self.bytes[..self.count] {
            let named = *connection == receive.connection;
            exchanges.each_received_between(*connection, *first, *last, |message| {
                let request = message.and_then(|message| request_of(message, message.key));
                all.add(request, named);
                // A request that was read is no reason to answer another one.
                if message.is_none_or(|message| message.kind == SpanKind::Client) {
                    responses.add(request, named);
                }
            });
        }
        (all.ambiguity(self.used), responses.ambiguity(self.used))
    }
}

/// Messages that a thread has received, by the inbound requests that they belong to.
#[derive(Debug, Default)]
struct Messages {
    count: usize,
    /// The request of the first one.
    request: Option<Key>,
    /// Another one belongs to another request, or it is not known to which.
    differ: bool,
    /// One of them came from the connection of the last receive. A receive from an opaque connection
    /// stands for its cause, which is on another connection.
    named: bool,
}

impl Messages {
    fn add(&mut self, request: Option<Key>, named: bool) {
        if self.count == 0 {
            self.request = request;
        }
        self.differ |= request.is_none() || request != self.request;
        self.named |= named;
        self.count += 1;
    }

    const fn ambiguity(&self, used: bool) -> InputAmbiguity {
        match self.count {
            _ if !self.named => InputAmbiguity::Several,
            1 if used => InputAmbiguity::Reused,
            1 => InputAmbiguity::Single,
            _ if self.differ => InputAmbiguity::Several,
            _ => InputAmbiguity::SameRequest,
        }
    }
}
