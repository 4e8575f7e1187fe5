//! Programs that speak a multiplexing protocol on both sides: messages of many exchanges are interleaved on few connections, and
//! one read may hold several of them or a part of one. Whatever the schedule, no call gets a wrong parent; where a program
//! reads one message at a time and handles it at once, nearly all calls get theirs.

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
    trace::span::{Span, SpanEvent, SpanId, SpanKind},
};

const PID: u32 = 7;
/// The connection on which clients ask; calls go out on the others.
const INBOUND: usize = 0;
const CONNECTIONS: usize = 3;
/// Requests of a schedule.
const SHORT: u32 = 60;
/// What a peer numbers on a connection that the program has opened.
const PUSHED: u32 = 1 << 31;

/// How the program goes about its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// It reads one message at a time and handles it at once.
    OneByOne,
    /// It reads what is there and handles each message at once, in their order.
    AtOnce,
    /// It handles messages some time after it has read them, the oldest first.
    Queue,
    /// It handles any of the messages that it has read.
    AnyOrder,
}

const STYLES: [Style; 4] = [Style::OneByOne, Style::AtOnce, Style::Queue, Style::AnyOrder];

/// A message that the program has read, of this job.
#[derive(Debug, Clone, Copy)]
enum Message {
    Request(u32),
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
    /// Numbers of this end and of the peer.
    next: [u32; 2],
}

struct Program {
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
    waiting: VecDeque<Message>,
    spans: Vec<Span>,
}

impl Program {
    fn new(seed: u64, style: Style, threads: u32, requests: u32, plain: bool) -> Self {
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

    /// A peer begins an exchange.
    fn asks(&mut self, connection: usize, bit: u32) {
        let job = self.next_job;
        self.next_job += 1;
        let one_way = self.rarely();
        let to_make = self.random.u32(0..4);
        let sequential = self.plain || self.random.bool();
        let socket = &mut self.sockets[connection];
        let number = socket.next[1] | bit;
        socket.next[1] += 1;
        let wanted = (!one_way).then_some(number);
        self.jobs.insert(job, Job { connection, number: wanted, to_make, open: 0, sequential });
        let kind = if one_way { Kind::OneWay } else { Kind::Request };
        socket.jobs.insert(number, job);
        socket.incoming.extend(frame(kind, number, format!("/{job}").as_bytes()));
        if !self.plain && self.random.bool() {
            socket.incoming.extend(frame(Kind::Data, number, &[b'x'; 9]));
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
                Kind::Request | Kind::OneWay => {
                    self.waiting.push_back(Message::Request(socket.jobs[&number]));
                }
                Kind::Reply => self.waiting.push_back(Message::Reply(socket.jobs[&number])),
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
        let (Message::Request(number) | Message::Reply(number)) = message;
        let Some(mut job) = self.jobs.get(&number).copied() else { return };
        if let Message::Reply(_) = message {
            job.open -= 1;
        }
        while job.to_make > 0 && (job.open == 0 || !job.sequential) {
            job.to_make -= 1;
            job.open += u32::from(self.call(number, job.to_make, tid));
        }
        if job.open > 0 {
            self.jobs.insert(number, job);
            return;
        }
        self.jobs.remove(&number);
        if let Some(number) = job.number {
            self.send(job.connection, tid, &frame(Kind::Reply, number, b"done"));
            self.send(job.connection, tid, &frame(Kind::End, number, b""));
        }
    }

    /// Makes a call for a job; whether it will be answered.
    fn call(&mut self, job: u32, count: u32, tid: u32) -> bool {
        let connection = self.random.usize(1..CONNECTIONS);
        let one_way = self.rarely();
        let socket = &mut self.sockets[connection];
        let number = socket.next[0];
        socket.next[0] += 1;
        socket.jobs.insert(number, job);
        if !one_way {
            socket.unanswered.push(number);
        }
        let kind = if one_way { Kind::OneWay } else { Kind::Request };
        self.send(connection, tid, &frame(kind, number, format!("/{job}/{count}").as_bytes()));
        !one_way
    }

    /// Everything that can happen does, in some order.
    fn run(mut self) -> Vec<Span> {
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

/// Calls with the right parent, with a wrong one, and all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Score {
    right: u32,
    wrong: u32,
    calls: u32,
}

fn score(spans: &[Span]) -> Score {
    let path = |span: &Span| span.http.as_ref().and_then(|http| http.path()).unwrap_or_default().to_owned();
    let requests: HashMap<SpanId, String> =
        spans.iter().filter(|span| span.kind == SpanKind::Server).map(|span| (span.id, path(span))).collect();
    let mut score = Score::default();
    for call in spans.iter().filter(|span| span.kind == SpanKind::Client) {
        score.calls += 1;
        let Some(parent) = &call.parent else { continue };
        let path = path(call);
        let job = path.rsplit_once('/').map_or("", |(job, _)| job);
        let is_right = requests.get(&parent.span).is_some_and(|request| request == job);
        score.right += u32::from(is_right);
        score.wrong += u32::from(!is_right);
    }
    score
}

/// Schedules of each style; `WIRESPAN_SCHEDULES` asks for more.
fn schedules() -> u64 {
    std::env::var("WIRESPAN_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn no_schedule_gives_a_wrong_parent() {
    for (style, threads) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 3)]) {
        let mut sum = Score::default();
        for seed in 0..schedules() {
            let found = score(&Program::new(seed, style, threads, SHORT, false).run());
            assert_eq!(found.wrong, 0, "{style:?}, {threads} threads, seed {seed}: {found:?}");
            sum.right += found.right;
            sum.calls += found.calls;
        }
        println!("{style:?}, {threads} threads: {sum:?}");
    }
}

/// A one-way request was over for the tracer when it was read, and the program still made calls for it. The only other request
/// then seemed to be alone, and got such a call.
#[test]
fn a_one_way_request_may_still_have_calls() {
    let found = score(&Program::new(508, Style::AtOnce, 1, SHORT, false).run());
    assert_eq!(found.wrong, 0, "{found:?}");
}

/// A program that is observed for long shows which of its sides can be trusted.
#[test]
fn a_long_schedule_gives_calls_their_parents() {
    for (style, threads) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 3)]) {
        for plain in [false, true] {
            let found = score(&Program::new(1, style, threads, 4_000, plain).run());
            println!("{style:?}, {threads} threads, plain: {plain}: {found:?}");
            assert_eq!(found.wrong, 0, "{style:?}, {threads} threads: {found:?}");
            if style == Style::OneByOne && plain {
                assert!(found.right * 10 > found.calls * 9, "{threads} threads: {found:?}");
            }
        }
    }
}
