//! The program, its peers, and what happens between them in a schedule.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

use crate::{
    event::{
        ConnectionId, Direction, Earlier, Event, LastReceive, Layer, Mark, Opened, ProcessFacts, Thread,
        Timestamp, Transfer,
    },
    pipeline::{Engine, Settings},
    protocol::mux::{HEADER, Kind, PREFACE, frame, header},
    trace::span::{Span, SpanEvent},
};

const PID: u32 = 7;
/// The connection on which clients ask; calls go out on the others.
const INBOUND: usize = 0;
const CONNECTIONS: usize = 3;
/// What a peer numbers on a connection that the program has opened.
const PUSHED: u32 = 1 << 31;

/// How the program goes about its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// It reads one message at a time and handles it at once.
    OneByOne,
    /// It reads what is there and handles each message at once, in their order.
    AtOnce,
    /// It handles messages some time after it has read them, the oldest first.
    Queue,
    /// It handles any of the messages that it has read.
    AnyOrder,
}

pub(super) const STYLES: [Style; 4] = [Style::OneByOne, Style::AtOnce, Style::Queue, Style::AnyOrder];

/// A message that the program has read, of this job.
#[derive(Debug, Clone, Copy)]
enum Message {
    Request(u32),
    /// One more of a stream that a peer has begun.
    More(u32),
    /// One of a stream that the program has begun.
    Part(u32),
    Reply(u32),
}

/// What the program does for a request.
#[derive(Debug, Clone, Copy)]
struct Job {
    /// Where its request came from, and its number there; no number: no reply is wanted.
    connection: usize,
    number: Option<u32>,
    /// Calls that are still to be made, and that are open.
    to_make: u32,
    open: u32,
    /// Calls are made one after the other.
    sequential: bool,
    /// The request is a stream, on which so many messages are still to be handled.
    more: Option<u32>,
}

/// One connection of the program.
#[derive(Debug, Default)]
struct Socket {
    position: [u64; 2],
    /// Bytes that have come and were not read, and what was read of a frame that is not whole.
    incoming: VecDeque<u8>,
    partial: Vec<u8>,
    /// Calls that the peer has not answered, and the job of each call.
    unanswered: Vec<u32>,
    jobs: HashMap<u32, u32>,
    /// Streams that the peer has begun, and how many messages it will still send.
    streams: HashMap<u32, u32>,
    /// Calls that are streams and were not answered.
    streaming: Vec<u32>,
    /// Numbers of this end and of the peer.
    next: [u32; 2],
}

pub(super) struct Program {
    random: fastrand::Rng,
    style: Style,
    threads: u32,
    engine: Engine,
    now: u64,
    sockets: Vec<Socket>,
    last_receive: BTreeMap<u32, LastReceive>,
    jobs: BTreeMap<u32, Job>,
    next_job: u32,
    /// How many requests come.
    requests: u32,
    /// Calls are made one after the other, and everything is answered.
    plain: bool,
    streams: bool,
    waiting: VecDeque<Message>,
    spans: Vec<Span>,
}

impl Program {
    pub(super) fn new(seed: u64, style: Style, threads: u32, requests: u32, plain: bool) -> Self {
        let mut program = Self {
            random: fastrand::Rng::with_seed(seed),
            style,
            threads,
            engine: Engine::new(Settings::default()),
            now: 1_000_000_000,
            sockets: (0..CONNECTIONS).map(|_| Socket::default()).collect(),
            last_receive: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            requests,
            plain,
            streams: !plain && seed % 2 == 1,
            waiting: VecDeque::new(),
            spans: Vec::new(),
        };
        let at = Timestamp(program.now);
        program.engine.feed(&Event::Clock { at, unix_offset: 0 });
        program.engine.feed(&Event::RunKey([7; 16]));
        let facts = Box::new(ProcessFacts { pid: PID, start_time: 1, ..ProcessFacts::default() });
        program.engine.feed(&Event::Process { at, facts });
        (0..CONNECTIONS).for_each(|connection| program.open(connection));
        program.sockets[INBOUND].incoming.extend(PREFACE);
        (1..CONNECTIONS).for_each(|connection| program.transfer(connection, Direction::Out, 1, PREFACE));
        program
    }

    fn open(&mut self, connection: usize) {
        let number = u32::try_from(connection).unwrap();
        let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let opened = Opened {
            at: self.tick(),
            connection: id(connection),
            thread: Thread { pid: PID, tid: 1 },
            local: address(1_000).into(),
            peer: address(2_000).into(),
            network_namespace: 1,
            first_sequence: [number * 1_000_000, number * 2_000_000 + 1],
            first_position: 0,
            earlier: [Earlier::Nothing; 2],
        };
        self.engine.feed(&Event::Opened(opened));
    }

    fn tick(&mut self) -> Timestamp {
        self.now += self.random.u64(1_000..200_000);
        Timestamp(self.now)
    }

    fn transfer(&mut self, connection: usize, direction: Direction, tid: u32, bytes: &[u8]) {
        let at = self.tick();
        let position = &mut self.sockets[connection].position[direction.index()];
        let first = *position;
        *position += bytes.len() as u64;
        let last_receive = self.last_receive.get(&tid).copied().filter(|_| direction == Direction::Out);
        if direction == Direction::In {
            let position = *position - 1;
            let receive = LastReceive {
                connection: id(connection),
                layer: Layer::Wire,
                position,
                mark: Mark::default(),
            };
            self.last_receive.insert(tid, receive);
        }
        self.engine.feed(&Event::Transfer(Transfer {
            at,
            connection: id(connection),
            layer: Layer::Wire,
            direction,
            position: first,
            length: u32::try_from(bytes.len()).unwrap(),
            thread: Thread { pid: PID, tid },
            head: bytes,
            tail: &[],
            not_captured: None,
            last_receive,
            task: None,
            dropped: 0,
            process_drops: 0,
        }));
        self.take_spans();
    }

    fn take_spans(&mut self) {
        self.spans.extend(self.engine.drain().filter_map(|event| match event {
            SpanEvent::Span(span) => Some(*span),
            SpanEvent::Open(_) => None,
        }));
    }

    /// A message leaves in one system call or in two.
    fn send(&mut self, connection: usize, tid: u32, bytes: &[u8]) {
        let cut = if self.random.u8(..) < 40 { self.random.usize(0..bytes.len()) } else { 0 };
        for piece in [&bytes[..cut], &bytes[cut..]].into_iter().filter(|piece| !piece.is_empty()) {
            self.transfer(connection, Direction::Out, tid, piece);
        }
    }

    /// Once in a while, unless all is plain.
    fn rarely(&mut self) -> bool {
        !self.plain && self.random.u8(..) < 16
    }

    /// In some of the schedules exchanges are often streams.
    fn often(&mut self) -> bool {
        self.streams && self.random.u8(..) < 90
    }

    /// A peer begins an exchange.
    fn asks(&mut self, connection: usize, bit: u32) {
        let job = self.next_job;
        self.next_job += 1;
        let one_way = self.rarely();
        let more = (!one_way && self.often()).then(|| self.random.u32(0..4));
        let to_make = self.random.u32(0..4);
        let sequential = self.plain || self.random.bool();
        let socket = &mut self.sockets[connection];
        let number = socket.next[1] | bit;
        socket.next[1] += 1;
        let wanted = (!one_way).then_some(number);
        self.jobs.insert(job, Job { connection, number: wanted, to_make, open: 0, sequential, more });
        socket.streams.extend(more.map(|more| (number, more)));
        let kind = kind(one_way, more.is_some());
        socket.jobs.insert(number, job);
        socket.incoming.extend(frame(kind, number, format!("/{job}").as_bytes()));
        if !self.plain && more.is_none() && self.random.bool() {
            socket.incoming.extend(frame(Kind::Data, number, &[b'x'; 9]));
        }
    }

    /// A peer sends more of a stream that it has begun.
    fn says_more(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        let mut open: Vec<u32> = socket.streams.keys().copied().collect();
        open.sort_unstable();
        let Some(number) = self.random.choice(open) else { return };
        match socket.streams.get_mut(&number) {
            Some(left @ 1..) => {
                *left -= 1;
                socket.incoming.extend(frame(Kind::Data, number, b"more"));
            }
            _ => drop(socket.streams.remove(&number)),
        }
    }

    /// The peer says something of a call, perhaps the last.
    fn answers(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        if socket.unanswered.is_empty() {
            return;
        }
        let index = self.random.usize(0..socket.unanswered.len());
        let number = socket.unanswered[index];
        let kinds = [Kind::Interim, Kind::Data, Kind::Control, Kind::Reply, Kind::Reply];
        let kind = if self.plain { Kind::Reply } else { kinds[self.random.usize(0..kinds.len())] };
        socket.incoming.extend(frame(kind, number, b"answer"));
        if kind == Kind::Reply {
            socket.incoming.extend(frame(Kind::End, number, b""));
            socket.unanswered.swap_remove(index);
            socket.streaming.retain(|streaming| *streaming != number);
        }
    }

    fn peers_move(&mut self) {
        if self.next_job < self.requests && self.jobs.len() < 6 {
            match self.random.u8(..) {
                0..100 => self.asks(INBOUND, 0),
                100..110 if !self.plain => self.asks(1, PUSHED),
                _ => {}
            }
        }
        (1..CONNECTIONS).for_each(|connection| self.answers(connection));
        [INBOUND, 1].into_iter().for_each(|connection| self.says_more(connection));
    }

    /// A thread reads from a connection, and handles what it has read if that is its style.
    fn read(&mut self) {
        let connection = self.random.usize(0..CONNECTIONS);
        let tid = self.random.u32(1..=self.threads);
        let socket = &mut self.sockets[connection];
        let available = socket.incoming.len();
        if available == 0 {
            return;
        }
        let count = match self.style {
            // What the first bytes are says which protocol it is.
            _ if socket.position[1] == 0 && connection == INBOUND => PREFACE.len(),
            Style::OneByOne => message_length(socket.incoming.make_contiguous()),
            // What is there, or a part of it where the buffer is too small.
            _ if self.random.bool() => available,
            _ => self.random.usize(1..=available),
        };
        let bytes: Vec<u8> = socket.incoming.drain(..count).collect();
        socket.partial.extend_from_slice(&bytes);
        if connection == INBOUND && socket.partial.starts_with(PREFACE) {
            socket.partial.drain(..PREFACE.len());
        }
        self.transfer(connection, Direction::In, tid, &bytes);
        self.take_messages(connection);
        if matches!(self.style, Style::OneByOne | Style::AtOnce) {
            while let Some(message) = self.waiting.pop_front() {
                self.handle(message, tid);
            }
        }
    }

    /// Takes the whole frames out of what was read.
    fn take_messages(&mut self, connection: usize) {
        let socket = &mut self.sockets[connection];
        while let Some((kind, number, length)) = header(&socket.partial)
            && socket.partial.len() >= HEADER + length
        {
            socket.partial.drain(..HEADER + length);
            match kind {
                Kind::Request | Kind::OneWay | Kind::Stream => {
                    self.waiting.push_back(Message::Request(socket.jobs[&number]));
                }
                Kind::Reply => self.waiting.push_back(Message::Reply(socket.jobs[&number])),
                Kind::Data | Kind::Interim if socket.streaming.contains(&number) => {
                    self.waiting.push_back(Message::Part(socket.jobs[&number]));
                }
                Kind::Data
                    if self.jobs.get(&socket.jobs[&number]).is_some_and(|job| {
                        job.more.is_some() && (job.connection, job.number) == (connection, Some(number))
                    }) =>
                {
                    self.waiting.push_back(Message::More(socket.jobs[&number]));
                }
                Kind::Data | Kind::Interim | Kind::End | Kind::Control => {}
            }
        }
    }

    /// A thread does some of what waits.
    fn work(&mut self) {
        let message = match self.style {
            Style::AnyOrder if !self.waiting.is_empty() => {
                self.waiting.remove(self.random.usize(0..self.waiting.len()))
            }
            _ => self.waiting.pop_front(),
        };
        if let Some(message) = message {
            let tid = self.random.u32(1..=self.threads);
            self.handle(message, tid);
        }
    }

    fn handle(&mut self, message: Message, tid: u32) {
        let (Message::Request(number)
        | Message::More(number)
        | Message::Part(number)
        | Message::Reply(number)) = message;
        let Some(mut job) = self.jobs.get(&number).copied() else { return };
        match message {
            Message::Request(_) => {}
            Message::More(_) => {
                job.more = job.more.map(|more| more - 1);
                job.to_make += self.random.u32(0..2);
                self.says_on_stream(job, number, tid);
            }
            Message::Part(_) => {
                job.to_make += u32::from(self.rarely());
                self.says_on_stream(job, number, tid);
            }
            Message::Reply(_) => job.open -= 1,
        }
        while job.to_make > 0 && (job.open == 0 || !job.sequential) {
            job.to_make -= 1;
            job.open += u32::from(self.call(number, job.to_make, tid));
        }
        if job.open > 0 || job.more.is_some_and(|more| more > 0) {
            self.jobs.insert(number, job);
            return;
        }
        self.jobs.remove(&number);
        if let Some(number) = job.number {
            self.send(job.connection, tid, &frame(Kind::Reply, number, b"done"));
            self.send(job.connection, tid, &frame(Kind::End, number, b""));
        }
    }

    /// The program sends a message on a stream of this job, or on none.
    fn says_on_stream(&mut self, job: Job, of: u32, tid: u32) {
        if job.more.is_some() && self.random.bool() {
            let number = job.number.expect("a stream has a reply");
            return self.send(job.connection, tid, &frame(Kind::Interim, number, b"so far"));
        }
        for connection in 1..CONNECTIONS {
            let socket = &self.sockets[connection];
            let own = socket.streaming.iter().copied().find(|number| socket.jobs[number] == of);
            if let Some(number) = own {
                return self.send(connection, tid, &frame(Kind::Data, number, b"onward"));
            }
        }
    }

    /// Makes a call for a job; whether it will be answered.
    fn call(&mut self, job: u32, count: u32, tid: u32) -> bool {
        let connection = self.random.usize(1..CONNECTIONS);
        let one_way = self.rarely();
        let stream = !one_way && self.often();
        let socket = &mut self.sockets[connection];
        let number = socket.next[0];
        socket.next[0] += 1;
        socket.jobs.insert(number, job);
        if !one_way {
            socket.unanswered.push(number);
        }
        socket.streaming.extend(Some(number).filter(|_| stream));
        let kind = kind(one_way, stream);
        self.send(connection, tid, &frame(kind, number, format!("/{job}/{count}").as_bytes()));
        !one_way
    }

    /// Everything that can happen does, in some order.
    pub(super) fn run(mut self) -> Vec<Span> {
        let mut quiet = 0;
        while quiet < 300 {
            let before = self.now;
            self.peers_move();
            self.read();
            if !matches!(self.style, Style::OneByOne | Style::AtOnce) && self.random.bool() {
                self.work();
            }
            quiet = if self.now == before { quiet + 1 } else { 0 };
        }
        let at = self.tick();
        self.engine.feed(&Event::Shutdown { at });
        self.take_spans();
        self.spans
    }
}

/// The first frame of an exchange.
const fn kind(one_way: bool, stream: bool) -> Kind {
    match (one_way, stream) {
        (true, _) => Kind::OneWay,
        (_, true) => Kind::Stream,
        (_, false) => Kind::Request,
    }
}

fn id(connection: usize) -> ConnectionId {
    ConnectionId(connection as u64 + 1)
}

/// Length of the frame at the front, and of the end of its exchange if that follows.
fn message_length(bytes: &[u8]) -> usize {
    let Some((_, exchange, length)) = header(bytes) else { return bytes.len() };
    let first = (HEADER + length).min(bytes.len());
    match header(&bytes[first..]) {
        Some((Kind::End, other, length)) if other == exchange => first + HEADER + length,
        _ => first,
    }
}
