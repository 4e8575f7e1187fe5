//! The fake host: processes, connections and threads whose reads and writes become events and
//! messages.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use crate::{
    event::{
        Clarity, Closed, Connecting, ConnectionId, Direction, Earlier, Event, LastReceive, Opened,
        ProcessFacts, SocketId, Task, Thread, Timestamp, Transfer,
    },
    protocol::{ExchangeEnd, Message, Origin, Outcome, RequestHead, ResponseHead},
    trace::{
        Settings, Tracer,
        span::{Evidence, Span, SpanEvent, SpanId},
    },
};

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;
pub(super) const UNIX_OFFSET: u64 = 1_700_000_000 * SECOND;
/// Bytes of every request and response.
const LENGTH: u32 = 100;

/// One exchange of the fake host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exchange {
    pub(super) connection: ConnectionId,
    pub(super) ordinal: u64,
    pub(super) direction: Direction,
    /// Absolute sequence number of the request's first byte.
    stream_offset: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) position: [u64; 2],
    first_sequence: [u32; 2],
    requests: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) tracer: Tracer,
    pub(super) now: u64,
    pub(super) spans: Vec<Span>,
    pub(super) notices: Vec<Span>,
    /// The task that the program's runtime runs now. Sends name it.
    pub(super) task: Option<Task>,
    pub(super) last_receive: BTreeMap<u32, LastReceive>,
    pub(super) pipes: BTreeMap<ConnectionId, Pipe>,
    drops: BTreeMap<u32, u64>,
    next_connection: u64,
    /// Threads stand for goroutines with the same numbers.
    pub(super) goroutines: bool,
    /// The goroutine that has handed off what is sent next.
    handoff_from: Option<u32>,
}

/// Thread ids are pid * 1000 + number.
pub(super) fn thread(pid: u32, number: u32) -> Thread {
    Thread { pid, tid: pid * 1_000 + number }
}

pub(super) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 1), port).into()
}

pub(super) fn get(target: &str) -> RequestHead {
    let mut prefix = [0; 16];
    let line = format!("GET {target} HTTP/1.1\r\n");
    for (to, from) in prefix.iter_mut().zip(line.bytes()) {
        *to = from;
    }
    RequestHead {
        method: "GET".into(),
        target: target.into(),
        version_minor: 1,
        prefix,
        ..RequestHead::default()
    }
}

pub(super) fn ok() -> ResponseHead {
    status(200)
}

pub(super) fn status(status: u16) -> ResponseHead {
    ResponseHead {
        status,
        version_minor: 1,
        interim: (100..200).contains(&status) && status != 101,
        ..ResponseHead::default()
    }
}

pub(super) fn complete() -> ExchangeEnd {
    ended(Outcome::Complete)
}

pub(super) fn ended(outcome: Outcome) -> ExchangeEnd {
    ExchangeEnd {
        outcome,
        request_body: Some(0),
        response_body: Some(2),
        request_end: None,
        missing: 0,
        incomplete: Vec::new(),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Settings { open_notice: None, ..Settings::default() })
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut world = Self {
            tracer: Tracer::new(settings),
            now: SECOND,
            spans: Vec::new(),
            notices: Vec::new(),
            task: None,
            last_receive: BTreeMap::new(),
            pipes: BTreeMap::new(),
            drops: BTreeMap::new(),
            next_connection: 1,
            goroutines: false,
            handoff_from: None,
        };
        world.event(&Event::Clock { at: Timestamp(SECOND), unix_offset: UNIX_OFFSET });
        world.event(&Event::RunKey(*b"a key for a test"));
        for pid in 1..=4 {
            world.process(pid);
        }
        world
    }

    pub(super) fn process(&mut self, pid: u32) {
        self.exec(pid, &format!("/bin/program-{pid}"));
    }

    /// A process executes a program.
    pub(super) fn exec(&mut self, pid: u32, executable: &str) {
        let facts = ProcessFacts {
            pid,
            start_time: 1,
            executable: executable.into(),
            service_name: format!("service-{pid}").into(),
            ..ProcessFacts::default()
        };
        let at = self.step();
        self.event(&Event::Process { at, facts: Box::new(facts) });
    }

    pub(super) fn exit(&mut self, pid: u32) {
        let at = self.step();
        self.event(&Event::Exit { at, pid });
    }

    pub(super) fn fork(&mut self, parent: Thread, child: Thread) {
        let at = self.step();
        if let Some(receive) = self.last_receive.get(&parent.tid).copied() {
            self.last_receive.insert(child.tid, receive);
        }
        self.event(&Event::Fork { at, parent: parent.pid, child: child.pid });
    }

    /// A connection whose other end is not on this host.
    pub(super) fn open(&mut self, thread: Thread) -> ConnectionId {
        let base = u32::try_from(self.next_connection * 7_919).unwrap();
        self.open_with(thread, [base, base + 1])
    }

    pub(super) fn open_with(&mut self, thread: Thread, first_sequence: [u32; 2]) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.meet(connection, thread, first_sequence);
        connection
    }

    /// A connection is first observed, perhaps again after it was forgotten.
    pub(super) fn meet(&mut self, connection: ConnectionId, thread: Thread, first_sequence: [u32; 2]) {
        let at = self.step();
        self.pipes.insert(connection, Pipe { first_sequence, ..Pipe::default() });
        self.event(&Event::Opened(Opened {
            at,
            connection,
            thread,
            local: address(8_080),
            peer: address(50_000),
            network_namespace: 1,
            first_sequence,
            first_position: 0,
            earlier: [Earlier::Nothing; 2],
        }));
    }

    /// Both ends of a connection, client first, each with the sequence numbers at which it was
    /// first observed. The client's end has seen `ahead` bytes more in either direction than the
    /// server's.
    pub(super) fn open_both(
        &mut self,
        client: Thread,
        server: Thread,
        base: u32,
        ahead: u64,
    ) -> (ConnectionId, ConnectionId) {
        let other = base.wrapping_mul(31).wrapping_add(5);
        let ahead_sequence = u32::try_from(ahead).unwrap();
        let one =
            self.open_with(client, [base.wrapping_sub(ahead_sequence), other.wrapping_sub(ahead_sequence)]);
        self.pipes.get_mut(&one).unwrap().position = [ahead; 2];
        if ahead > 0 {
            self.transfer(one, Direction::Out, 0, u32::try_from(ahead).unwrap(), client);
            self.transfer(one, Direction::In, 0, u32::try_from(ahead).unwrap(), client);
        }
        let two = self.open_with(server, [other, base]);
        (one, two)
    }

    /// A new connection whose connect this thread begins now.
    pub(super) fn connect(&mut self, thread: Thread) -> ConnectionId {
        let socket = self.connecting(thread);
        let connection = ConnectionId(self.next_connection);
        let at = self.step();
        self.event(&Event::Connected { at, socket, connection });
        assert_eq!(self.open(thread), connection);
        connection
    }

    pub(super) fn connecting(&mut self, thread: Thread) -> SocketId {
        let socket = SocketId(0xffff_8000_0000_0000 + self.next_connection * 64);
        let at = self.step();
        let last_receive = self.last_receive.get(&thread.tid).copied();
        let event = Event::Connecting(Connecting {
            at,
            socket,
            thread,
            peer: address(9_000),
            last_receive,
            task: self.task,
        });
        let event = self.tracer.with_input_ambiguity(&event).unwrap_or(event);
        self.event(&event);
        socket
    }

    /// Loses events of this process. Its next event reports it.
    pub(super) fn lose(&mut self, pid: u32) {
        *self.drops.entry(pid).or_default() += 1;
    }

    /// A thread reads a whole request.
    pub(super) fn read_request(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        target: &str,
    ) -> Exchange {
        self.read_request_head(connection, thread, get(target))
    }

    pub(super) fn read_request_head(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        head: RequestHead,
    ) -> Exchange {
        self.request(connection, thread, Direction::In, head)
    }

    /// A thread writes a whole request.
    pub(super) fn write_request(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        target: &str,
    ) -> Exchange {
        self.write_request_head(connection, thread, get(target))
    }

    pub(super) fn write_request_head(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        head: RequestHead,
    ) -> Exchange {
        self.request(connection, thread, Direction::Out, head)
    }

    fn request(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        direction: Direction,
        head: RequestHead,
    ) -> Exchange {
        let origin = self.moved(connection, direction, thread);
        let pipe = self.pipes.get_mut(&connection).unwrap();
        let ordinal = pipe.requests;
        pipe.requests += 1;
        let stream_offset = u64::from(pipe.first_sequence[direction.index()]) + origin.position;
        let other_position = pipe.position[direction.reverse().index()];
        self.message(connection, Message::Request { ordinal, direction, origin, other_position });
        self.message(connection, Message::RequestHead { ordinal, head });
        Exchange { connection, ordinal, direction, stream_offset }
    }

    /// A goroutine hands off a request to the one that writes it.
    pub(super) fn hand_off(
        &mut self,
        connection: ConnectionId,
        from: Thread,
        writer: Thread,
        target: &str,
    ) -> Exchange {
        self.handoff_from = Some(from.tid);
        self.request(connection, writer, Direction::Out, get(target))
    }

    /// A thread writes the whole response to a request.
    pub(super) fn answer(&mut self, exchange: Exchange, thread: Thread) {
        self.respond(exchange, thread, ok());
        self.end(exchange, complete());
    }

    /// A thread reads the whole response to a call.
    pub(super) fn read_response(&mut self, exchange: Exchange, thread: Thread) {
        self.respond(exchange, thread, ok());
        self.end(exchange, complete());
    }

    /// The whole response, of either side, without the end of the exchange.
    pub(super) fn respond(&mut self, exchange: Exchange, thread: Thread, head: ResponseHead) {
        let origin = self.moved(exchange.connection, exchange.direction.reverse(), thread);
        let message = Message::Response { ordinal: exchange.ordinal, origin, head };
        self.message(exchange.connection, message);
    }

    /// More bytes of the response are read. No message reports them.
    pub(super) fn read_more(&mut self, connection: ConnectionId, thread: Thread) {
        self.moved(connection, Direction::In, thread);
    }

    /// Bytes are written that are not HTTP.
    pub(super) fn write_more(&mut self, connection: ConnectionId, thread: Thread) {
        self.moved(connection, Direction::Out, thread);
    }

    pub(super) fn end(&mut self, exchange: Exchange, end: ExchangeEnd) {
        let message = Message::End { ordinal: exchange.ordinal, at: Timestamp(self.now), end };
        self.message(exchange.connection, message);
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        let at = self.step();
        self.event(&Event::Closed(Closed {
            at,
            connection,
            errno: 0,
            observed: [0; 2],
            dropped: [0; 2],
            skipped: [0; 2],
        }));
    }

    /// Time passes, with its ticks.
    pub(super) fn pass(&mut self, nanos: u64) {
        let until = self.now + nanos;
        while self.now < until {
            self.now = (self.now + 100 * MILLISECOND).min(until);
            self.event(&Event::Tick { at: Timestamp(self.now) });
        }
    }

    pub(super) fn shutdown(&mut self) {
        let at = self.step();
        self.event(&Event::Shutdown { at });
    }

    pub(super) fn event(&mut self, event: &Event<'_>) {
        self.tracer.event(event);
        self.drain();
    }

    /// A sockmap takes bytes of the connection past TCP.
    pub(super) fn redirect(&mut self, connection: ConnectionId) {
        let at = self.step();
        self.event(&Event::Redirected { at, connection });
    }

    pub(super) fn message(&mut self, connection: ConnectionId, message: Message) {
        self.tracer.message(connection, &mut { message });
        self.drain();
    }

    pub(super) fn step(&mut self) -> Timestamp {
        self.now += 1_000;
        Timestamp(self.now)
    }

    /// The id of the exchange's span.
    pub(super) fn id(&self, exchange: Exchange) -> SpanId {
        self.tracer.identifiers.span(exchange.connection, exchange.direction, exchange.stream_offset)
    }

    /// Its span, if it was emitted.
    pub(super) fn find(&self, exchange: Exchange) -> Option<&Span> {
        let id = self.id(exchange);
        let mut spans = self.spans.iter().filter(|span| span.id == id);
        let span = spans.next();
        assert!(spans.next().is_none(), "a span was given out twice");
        span
    }

    #[track_caller]
    pub(super) fn span(&self, exchange: Exchange) -> &Span {
        self.find(exchange).unwrap_or_else(|| panic!("no span of {exchange:?}"))
    }

    /// Asserts that the child's parent is this exchange, by this evidence, in one trace.
    #[track_caller]
    pub(super) fn assert_child(&self, child: Exchange, parent: Exchange, evidence: Evidence) {
        let (child, parent) = (self.span(child), self.span(parent));
        let found = child.parent.unwrap_or_else(|| panic!("no parent: {child:?}"));
        assert_eq!((found.span, found.evidence, found.remote), (parent.id, evidence, false));
        assert_eq!(child.trace, parent.trace);
        assert_eq!((child.flags, &child.trace_state), (parent.flags, &parent.trace_state));
        assert!(!child.parent_unknown);
    }

    /// Asserts that the span is the root of its own trace.
    #[track_caller]
    pub(super) fn assert_root(&self, exchange: Exchange) {
        let span = self.span(exchange);
        assert_eq!(span.parent, None);
        let Exchange { connection, direction, stream_offset, .. } = exchange;
        assert_eq!(span.trace, self.tracer.identifiers.trace(connection, direction, stream_offset));
        assert_eq!(span.flags, 1);
    }

    /// One system call that moves a message.
    fn moved(&mut self, connection: ConnectionId, direction: Direction, thread: Thread) -> Origin {
        let position = self.pipes[&connection].position[direction.index()];
        self.pipes.get_mut(&connection).unwrap().position[direction.index()] += u64::from(LENGTH);
        self.transfer(connection, direction, position, LENGTH, thread)
    }

    fn transfer(
        &mut self,
        connection: ConnectionId,
        direction: Direction,
        position: u64,
        length: u32,
        thread: Thread,
    ) -> Origin {
        let at = self.step();
        let handoff_from = self.handoff_from.take();
        let task = match handoff_from {
            Some(from) => Some(Task::Handoff(from.into())),
            None if direction == Direction::Out && self.task.is_some() => self.task,
            None => self.goroutines.then(|| Task::Goroutine(thread.tid.into())),
        };
        let last_receive = match direction {
            Direction::Out => self.last_receive.get(&handoff_from.unwrap_or(thread.tid)).copied(),
            Direction::In => None,
        };
        if direction == Direction::In {
            let last = LastReceive {
                connection,
                position: position + u64::from(length) - 1,
                for_call: Clarity::Mixed,
                for_answer: Clarity::Mixed,
            };
            self.last_receive.insert(thread.tid, last);
        }
        let moved = Event::Transfer(Transfer {
            at,
            connection,
            direction,
            position,
            length,
            thread,
            head: &[],
            tail: &[],
            not_captured: None,
            last_receive,
            task,
            dropped: 0,
            process_drops: self.drops.get(&thread.pid).copied().unwrap_or(0),
        });
        let moved = self.tracer.with_input_ambiguity(&moved).unwrap_or(moved);
        let Event::Transfer(Transfer { last_receive, .. }) = moved else { unreachable!("it is a transfer") };
        self.event(&moved);
        Origin { at, thread, position, last_receive, task }
    }

    fn drain(&mut self) {
        for traced in self.tracer.drain() {
            match traced {
                SpanEvent::Span(span) => self.spans.push(*span),
                SpanEvent::Open(span) => self.notices.push(*span),
            }
        }
    }
}
