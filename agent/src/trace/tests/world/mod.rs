//! The fake host: processes, connections and threads whose reads and writes become events and
//! messages.

mod checks;
mod closing;
mod messages;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

pub(in crate::trace::tests) use messages::{complete, ended, get, ok, status};

use crate::{
    event::{
        Closed, Connecting, ConnectionId, Direction, Earlier, Event, LastReceive, Layer, Mark, Opened,
        ProcessFacts, SocketId, Task, Thread, Timestamp, Transfer,
    },
    protocol::{
        Begin, ExchangeEnd, ExchangeId, Message, Operation, Origin, Progress, Reply, Report as _, Role,
        Shape,
        http::{RequestHead, ResponseHead},
    },
    trace::{
        Settings, Tracer,
        span::{Span, SpanEvent},
    },
};

pub(in crate::trace::tests) const MILLISECOND: u64 = 1_000_000;
pub(in crate::trace::tests) const SECOND: u64 = 1_000 * MILLISECOND;
pub(in crate::trace::tests) const UNIX_OFFSET: u64 = 1_700_000_000 * SECOND;
/// Bytes of every request and response.
const LENGTH: u32 = 100;

/// One exchange of the fake host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::trace::tests) struct Exchange {
    pub(in crate::trace::tests) connection: ConnectionId,
    pub(in crate::trace::tests) ordinal: u64,
    pub(in crate::trace::tests) direction: Direction,
    /// Absolute sequence number of the request's first byte.
    stream_offset: u64,
}

#[derive(Debug, Default)]
pub(in crate::trace::tests) struct Pipe {
    pub(in crate::trace::tests) position: [u64; 2],
    first_sequence: [u32; 2],
    requests: u64,
}

#[derive(Debug)]
pub(in crate::trace::tests) struct World {
    pub(in crate::trace::tests) tracer: Tracer,
    pub(in crate::trace::tests) now: u64,
    pub(in crate::trace::tests) spans: Vec<Span>,
    pub(in crate::trace::tests) notices: Vec<Span>,
    /// The task that the program's runtime runs now. Sends name it.
    pub(in crate::trace::tests) task: Option<Task>,
    pub(in crate::trace::tests) last_receive: BTreeMap<u32, LastReceive>,
    pub(in crate::trace::tests) pipes: BTreeMap<ConnectionId, Pipe>,
    drops: BTreeMap<u32, u64>,
    next_connection: u64,
    /// Threads stand for goroutines with the same numbers.
    pub(in crate::trace::tests) goroutines: bool,
    /// Exchanges begin on multiplexed connections.
    pub(in crate::trace::tests) multiplexed: bool,
    /// Of the exchanges that begin.
    pub(in crate::trace::tests) shape: Shape,
    /// The goroutine that has handed off what is sent next.
    handoff_from: Option<u32>,
}

/// Thread ids are pid * 1000 + number.
pub(in crate::trace::tests) fn thread(pid: u32, number: u32) -> Thread {
    Thread { pid, tid: pid * 1_000 + number }
}

pub(in crate::trace::tests) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 1), port).into()
}

impl World {
    pub(in crate::trace::tests) fn new() -> Self {
        Self::with(Settings { open_notice: None, ..Settings::default() })
    }

    pub(in crate::trace::tests) fn with(settings: Settings) -> Self {
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
            shape: Shape::RequestReply,
            multiplexed: false,
            handoff_from: None,
        };
        world.event(&Event::Clock { at: Timestamp(SECOND), unix_offset: UNIX_OFFSET });
        world.event(&Event::RunKey(*b"a key for a test"));
        for pid in 1..=4 {
            world.process(pid);
        }
        world
    }

    pub(in crate::trace::tests) fn process(&mut self, pid: u32) {
        self.exec(pid, &format!("/bin/program-{pid}"));
    }

    /// A process executes a program.
    pub(in crate::trace::tests) fn exec(&mut self, pid: u32, executable: &str) {
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

    pub(in crate::trace::tests) fn exit(&mut self, pid: u32) {
        let at = self.step();
        self.event(&Event::Exit { at, pid });
    }

    pub(in crate::trace::tests) fn fork(&mut self, parent: Thread, child: Thread) {
        let at = self.step();
        if let Some(receive) = self.last_receive.get(&parent.tid).copied() {
            self.last_receive.insert(child.tid, receive);
        }
        self.event(&Event::Fork { at, parent: parent.pid, child: child.pid });
    }

    /// A connection whose other end is not on this host.
    pub(in crate::trace::tests) fn open(&mut self, thread: Thread) -> ConnectionId {
        let base = u32::try_from(self.next_connection * 7_919).unwrap();
        self.open_with(thread, [base, base + 1])
    }

    pub(in crate::trace::tests) fn open_with(
        &mut self,
        thread: Thread,
        first_sequence: [u32; 2],
    ) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.meet(connection, thread, first_sequence);
        connection
    }

    /// A connection is first observed, perhaps again after it was forgotten.
    pub(in crate::trace::tests) fn meet(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        first_sequence: [u32; 2],
    ) {
        self.meet_later(connection, thread, first_sequence, [Earlier::Nothing; 2]);
    }

    /// The same when so many bytes had moved.
    pub(in crate::trace::tests) fn meet_later(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        first_sequence: [u32; 2],
        earlier: [Earlier; 2],
    ) {
        self.next_connection = self.next_connection.max(connection.0 + 1);
        let at = self.step();
        self.pipes.insert(connection, Pipe { first_sequence, ..Pipe::default() });
        self.event(&Event::Opened(Opened {
            at,
            connection,
            thread,
            local: address(8_080).into(),
            peer: address(50_000).into(),
            network_namespace: 1,
            first_sequence,
            first_position: 0,
            earlier,
        }));
    }

    /// Both ends of a connection, client first, each with the sequence numbers at which it was
    /// first observed. The client's end has seen `ahead` bytes more in either direction than the
    /// server's.
    pub(in crate::trace::tests) fn open_both(
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
    pub(in crate::trace::tests) fn connect(&mut self, thread: Thread) -> ConnectionId {
        let socket = self.connecting(thread);
        let connection = ConnectionId(self.next_connection);
        let at = self.step();
        self.event(&Event::Connected { at, socket, connection });
        assert_eq!(self.open(thread), connection);
        connection
    }

    pub(in crate::trace::tests) fn connecting(&mut self, thread: Thread) -> SocketId {
        let socket = SocketId(0xffff_8000_0000_0000 + self.next_connection * 64);
        let at = self.step();
        let last_receive = self.last_receive.get(&thread.tid).copied();
        let event = Event::Connecting(Connecting {
            at,
            socket,
            thread,
            peer: address(9_000).into(),
            last_receive,
            task: self.task,
        });
        let event = self.tracer.with_input_ambiguity(&event).unwrap_or(event);
        self.event(&event);
        socket
    }

    /// Loses events of this process. Its next event reports it.
    pub(in crate::trace::tests) fn lose(&mut self, pid: u32) {
        *self.drops.entry(pid).or_default() += 1;
    }

    /// A thread reads a whole request.
    pub(in crate::trace::tests) fn read_request(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        target: &str,
    ) -> Exchange {
        self.read_request_head(connection, thread, get(target))
    }

    pub(in crate::trace::tests) fn read_request_head(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        head: RequestHead<'static>,
    ) -> Exchange {
        self.request(connection, thread, Direction::In, head)
    }

    /// A thread writes a whole request.
    pub(in crate::trace::tests) fn write_request(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        target: &str,
    ) -> Exchange {
        self.write_request_head(connection, thread, get(target))
    }

    pub(in crate::trace::tests) fn write_request_head(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        head: RequestHead<'static>,
    ) -> Exchange {
        self.request(connection, thread, Direction::Out, head)
    }

    fn request(
        &mut self,
        connection: ConnectionId,
        thread: Thread,
        direction: Direction,
        head: RequestHead<'static>,
    ) -> Exchange {
        let origin = self.moved(connection, direction, thread);
        let pipe = self.pipes.get_mut(&connection).unwrap();
        let ordinal = pipe.requests;
        pipe.requests += 1;
        let stream_offset = u64::from(pipe.first_sequence[direction.index()]) + origin.position;
        let other_position = pipe.position[direction.reverse().index()];
        let begin = Begin {
            role: Role::of_request(direction),
            origin,
            shape: self.shape,
            multiplexed: self.multiplexed,
            other_position,
        };
        self.message(connection, Message::Begin { ordinal, begin });
        self.message(connection, Message::Described { ordinal, head });
        Exchange { connection, ordinal, direction, stream_offset }
    }

    /// A goroutine hands off a request to the one that writes it.
    pub(in crate::trace::tests) fn hand_off(
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
    pub(in crate::trace::tests) fn answer(&mut self, exchange: Exchange, thread: Thread) {
        self.respond(exchange, thread, ok());
        self.end(exchange, complete());
    }

    /// A thread reads the whole response to a call.
    pub(in crate::trace::tests) fn read_response(&mut self, exchange: Exchange, thread: Thread) {
        self.respond(exchange, thread, ok());
        self.end(exchange, complete());
    }

    /// The whole response, of either side, without the end of the exchange.
    pub(in crate::trace::tests) fn respond(
        &mut self,
        exchange: Exchange,
        thread: Thread,
        head: ResponseHead,
    ) {
        let origin = self.moved(exchange.connection, exchange.direction.reverse(), thread);
        let interim = (100..200).contains(&head.status) && head.status != 101;
        let progress = if interim { Progress::Interim } else { Progress::Final };
        let message = Message::Reply { ordinal: exchange.ordinal, origin, progress, head };
        self.message(exchange.connection, message);
    }

    /// More bytes of the response are read. No message reports them.
    pub(in crate::trace::tests) fn read_more(&mut self, connection: ConnectionId, thread: Thread) {
        self.moved(connection, Direction::In, thread);
    }

    /// Bytes are written that are not HTTP.
    pub(in crate::trace::tests) fn write_more(&mut self, connection: ConnectionId, thread: Thread) {
        self.moved(connection, Direction::Out, thread);
    }

    pub(in crate::trace::tests) fn end(&mut self, exchange: Exchange, end: ExchangeEnd) {
        let message = Message::End { ordinal: exchange.ordinal, at: Timestamp(self.now), end };
        self.message(exchange.connection, message);
    }

    pub(in crate::trace::tests) fn close(&mut self, connection: ConnectionId) {
        let at = self.step();
        self.event(&Event::Closed(Closed {
            at,
            connection,
            layer: Layer::Wire,
            errno: 0,
            observed: [0; 2],
            dropped: [0; 2],
            skipped: [0; 2],
        }));
    }

    /// Time passes, with its ticks.
    pub(in crate::trace::tests) fn pass(&mut self, nanos: u64) {
        let until = self.now + nanos;
        while self.now < until {
            self.now = (self.now + 100 * MILLISECOND).min(until);
            self.event(&Event::Tick { at: Timestamp(self.now) });
        }
    }

    pub(in crate::trace::tests) fn shutdown(&mut self) {
        let at = self.step();
        self.event(&Event::Shutdown { at });
    }

    pub(in crate::trace::tests) fn event(&mut self, event: &Event<'_>) {
        self.tracer.event(event);
        self.drain();
    }

    /// A sockmap takes bytes of the connection past TCP.
    pub(in crate::trace::tests) fn redirect(&mut self, connection: ConnectionId) {
        let at = self.step();
        self.event(&Event::Redirected { at, connection });
    }

    pub(in crate::trace::tests) fn message(&mut self, connection: ConnectionId, message: Message) {
        let id = |ordinal| ExchangeId { connection, ordinal };
        let tracer = &mut self.tracer;
        match message {
            Message::Begin { ordinal, begin } => tracer.begin(id(ordinal), &begin),
            Message::Described { ordinal, head } => tracer.described(id(ordinal), Operation::Http(&head)),
            Message::Reply { ordinal, origin, progress, head } => {
                tracer.reply(id(ordinal), &origin, progress, Reply::Http(&head));
            }
            Message::Other { .. } => unreachable!("the fake host speaks HTTP"),
            Message::End { ordinal, at, end } => crate::protocol::Report::end(tracer, id(ordinal), at, &end),
        }
        self.drain();
    }

    pub(in crate::trace::tests) fn step(&mut self) -> Timestamp {
        self.now += 1_000;
        Timestamp(self.now)
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
                layer: Layer::Wire,
                position: position + u64::from(length) - 1,
                mark: Mark::default(),
            };
            self.last_receive.insert(thread.tid, last);
        }
        let moved = Event::Transfer(Transfer {
            at,
            connection,
            layer: Layer::Wire,
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
