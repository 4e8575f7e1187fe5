//! Generated traffic: the events that a kernel would give of programs with many connections, a round at a time.
//!
//! 32 threads of each program are at work at once, in random order, each on a connection of its own; a thread that is done
//! takes any other connection. Of 100 exchanges one loses a call, and one is the last of its connection; of 50 plain ones one
//! is two pipelined requests.

use std::{net::SocketAddr, ops::Range, sync::Arc};

use wirespan::event::{
    Clarity, Closed, ConnectionId, Direction, Earlier, Event, LastInput, Opened, ProcessFacts, Thread,
    Timestamp, Transfer,
};

use super::heads;

/// Threads at work at once.
const WORKERS: usize = 32;

/// What the kernel captures of a call, by default: its first and its last bytes.
const CAPTURED: usize = 4_096;
const CAPTURED_END: usize = 16;

const TICK: u64 = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mix {
    /// A server, and requests with the shortest of heads
    Plain,
    /// A server, and requests and responses as browsers and sites write them: chunked, long, short, without a body
    Browser,
    /// A client, seen from its side
    Client,
    /// A server that makes a call for each request
    Gateway,
    /// All of them in turn
    Mixed,
}

/// What a slot, that is one connection or a gateway's two, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Browser,
    Client,
    Gateway,
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Browser, Kind::Client, Kind::Gateway];

impl Kind {
    const fn pid(self) -> u32 {
        1_000 * (self as u32 + 1)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Connection {
    cookie: u64,
    position: [u64; 2],
    dropped: [u64; 2],
}

#[derive(Debug)]
struct Slot {
    kind: Kind,
    busy: bool,
    /// The second one is a gateway's call.
    connections: [Connection; 2],
}

/// A thread's work: the calls that remain of an exchange, the last one first.
#[derive(Debug, Default)]
struct Work {
    slot: usize,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    connection: usize,
    direction: Direction,
    bytes: Bytes,
    lost: bool,
}

#[derive(Debug, Clone, Copy)]
enum Bytes {
    PlainRequest,
    TwoPlainRequests,
    PlainResponse,
    BrowserRequest,
    BrowserHead(&'static str, &'static str),
    BrowserPage,
    Chunk,
    LastChunk,
    Body(usize),
    CallRequest,
    CallResponse,
}

#[derive(Debug)]
enum Record {
    Transfer(Moved),
    Opened(Opened),
    Closed(Closed),
    Tick(Timestamp),
}

/// A transfer whose bytes lie in the round's.
#[derive(Debug)]
struct Moved {
    at: Timestamp,
    connection: ConnectionId,
    direction: Direction,
    position: u64,
    length: u32,
    thread: Thread,
    head: Range<usize>,
    tail: Range<usize>,
    last_input: Option<LastInput>,
    dropped: u64,
    process_drops: u64,
}

#[derive(Debug)]
pub(super) struct Traffic {
    slots: Vec<Slot>,
    workers: Vec<Work>,
    /// By kind and worker.
    last_inputs: [[Option<LastInput>; WORKERS]; KINDS.len()],
    process_drops: [u64; KINDS.len()],
    records: Vec<Record>,
    bytes: Vec<u8>,
    /// Slots that had no exchange yet: they come first.
    unvisited: usize,
    random: u64,
    at: u64,
    step: u64,
    next_tick: u64,
    cookies: u64,
    requests: u64,
}

impl Traffic {
    pub(super) fn new(mix: Mix, connections: usize, step: u64) -> Self {
        let mut traffic = Self {
            slots: Vec::with_capacity(connections),
            workers: Vec::new(),
            last_inputs: [[None; WORKERS]; KINDS.len()],
            process_drops: [0; KINDS.len()],
            records: Vec::new(),
            bytes: Vec::new(),
            unvisited: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            at: 1_000_000,
            step,
            next_tick: 0,
            cookies: 0,
            requests: 0,
        };
        let mut left = connections;
        for index in 0.. {
            let kind = match mix {
                Mix::Plain => Kind::Plain,
                Mix::Browser => Kind::Browser,
                Mix::Client => Kind::Client,
                Mix::Gateway => Kind::Gateway,
                Mix::Mixed => KINDS[index % KINDS.len()],
            };
            let needed = if kind == Kind::Gateway { 2 } else { 1 };
            if left < needed {
                break;
            }
            left -= needed;
            traffic.slots.push(Slot { kind, busy: false, connections: Default::default() });
        }
        traffic.unvisited = traffic.slots.len();
        // With fewer connections than threads the others have nothing to do.
        traffic.workers.resize_with(WORKERS.min(traffic.slots.len().div_ceil(2)), Work::default);
        traffic
    }

    /// What comes first: time, the key of the run, the programs.
    pub(super) fn processes(&self) -> Vec<Event<'static>> {
        let at = Timestamp(1);
        let mut events =
            vec![Event::Clock { at, unix_offset: 1_700_000_000_000_000_000 }, Event::RunKey([7; 16])];
        for (kind, name) in KINDS.into_iter().zip(["web", "shop", "worker", "gateway"]) {
            let facts = ProcessFacts {
                pid: kind.pid(),
                start_time: 5,
                executable: Arc::from(format!("/usr/sbin/{name}")),
                command_args: vec![name.to_owned(), "--config".to_owned(), format!("/etc/{name}.conf")],
                service_name: Arc::from(name),
                ..ProcessFacts::default()
            };
            events.push(Event::Process { at, facts: Box::new(facts) });
        }
        events
    }

    /// Requests generated so far.
    pub(super) const fn spans(&self) -> u64 {
        self.requests
    }

    /// The events of the round.
    pub(super) fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.records.iter().map(|record| match record {
            Record::Transfer(moved) => Event::Transfer(Transfer {
                at: moved.at,
                connection: moved.connection,
                direction: moved.direction,
                position: moved.position,
                length: moved.length,
                thread: moved.thread,
                head: &self.bytes[moved.head.clone()],
                tail: &self.bytes[moved.tail.clone()],
                withheld: None,
                last_input: moved.last_input,
                task: None,
                dropped: moved.dropped,
                process_drops: moved.process_drops,
            }),
            Record::Opened(opened) => Event::Opened(*opened),
            Record::Closed(closed) => Event::Closed(*closed),
            Record::Tick(at) => Event::Tick { at: *at },
        })
    }

    /// The next round, in place of the last one: so many exchanges begin in it.
    pub(super) fn generate(&mut self, exchanges: usize) {
        self.records.clear();
        self.bytes.clear();
        let mut begun = 0;
        while begun < exchanges {
            let worker = self.below(self.workers.len());
            if let Some(call) = self.workers[worker].calls.pop() {
                self.call(worker, &call);
                if self.workers[worker].calls.is_empty() {
                    self.end(worker);
                }
            } else {
                self.begin(worker);
                begun += 1;
            }
            if self.at >= self.next_tick {
                self.next_tick = self.at + TICK;
                self.records.push(Record::Tick(Timestamp(self.at)));
            }
        }
    }

    fn begin(&mut self, worker: usize) {
        let slot = self.free_slot();
        self.slots[slot].busy = true;
        for connection in 0..self.connections(slot) {
            if self.slots[slot].connections[connection].cookie == 0 {
                self.open(worker, slot, connection);
            }
        }
        let mut calls = self.exchange(self.slots[slot].kind);
        if self.below(100) == 0 {
            let lost = self.below(calls.len());
            calls[lost].lost = true;
        }
        calls.reverse();
        self.workers[worker] = Work { slot, calls };
    }

    fn end(&mut self, worker: usize) {
        let slot = self.workers[worker].slot;
        self.slots[slot].busy = false;
        if self.below(100) == 0 {
            for connection in 0..self.connections(slot) {
                self.close(slot, connection);
            }
        }
    }

    fn free_slot(&mut self) -> usize {
        if self.unvisited > 0 {
            self.unvisited -= 1;
            return self.unvisited;
        }
        let mut slot = self.below(self.slots.len());
        while self.slots[slot].busy {
            slot = (slot + 1) % self.slots.len();
        }
        slot
    }

    fn connections(&self, slot: usize) -> usize {
        if self.slots[slot].kind == Kind::Gateway { 2 } else { 1 }
    }

    /// The calls of one exchange, in order.
    fn exchange(&mut self, kind: Kind) -> Vec<Call> {
        use Bytes::*;
        use Direction::{In, Out};
        let calls: &[(usize, Direction, Bytes)] = match kind {
            Kind::Plain if self.below(50) == 0 => {
                &[(0, In, TwoPlainRequests), (0, Out, PlainResponse), (0, Out, PlainResponse)]
            }
            Kind::Plain => &[(0, In, PlainRequest), (0, Out, PlainResponse)],
            Kind::Browser => match self.below(4) {
                0 => &[
                    (0, In, BrowserRequest),
                    (0, Out, BrowserHead("200 OK", "Transfer-Encoding: chunked\r\n")),
                    (0, Out, Chunk),
                    (0, Out, Chunk),
                    (0, Out, LastChunk),
                ],
                1 => &[
                    (0, In, BrowserRequest),
                    (0, Out, BrowserHead("200 OK", "Content-Length: 20000\r\n")),
                    (0, Out, Body(20_000)),
                ],
                2 => &[(0, In, BrowserRequest), (0, Out, BrowserHead("304 Not Modified", ""))],
                _ => &[(0, In, BrowserRequest), (0, Out, BrowserPage)],
            },
            Kind::Client => &[(0, Out, CallRequest), (0, In, CallResponse)],
            Kind::Gateway => &[
                (0, In, PlainRequest),
                (1, Out, CallRequest),
                (1, In, CallResponse),
                (0, Out, PlainResponse),
            ],
        };
        let call = |&(connection, direction, bytes)| Call { connection, direction, bytes, lost: false };
        calls.iter().map(call).collect()
    }

    fn open(&mut self, worker: usize, slot: usize, connection: usize) {
        self.cookies += 1;
        let number = self.cookies;
        let kind = self.slots[slot].kind;
        self.slots[slot].connections[connection] = Connection { cookie: number, ..Connection::default() };
        let ours = SocketAddr::from(([10, 0, 0, 1], 80));
        let [_, .., a, b, c] = number.to_be_bytes();
        let theirs = SocketAddr::from(([10, 1 + a % 200, b, c], 1_024 + (number % 60_000) as u16));
        self.records.push(Record::Opened(Opened {
            at: Timestamp(self.at),
            connection: ConnectionId(number),
            thread: thread(kind, worker),
            local: ours,
            peer: theirs,
            network_namespace: 1,
            first_sequence: [(number as u32).wrapping_mul(2_654_435_761), number as u32],
            first_position: 0,
            earlier: [Earlier::Nothing; 2],
        }));
    }

    fn close(&mut self, slot: usize, connection: usize) {
        let Connection { cookie, position, dropped } =
            std::mem::take(&mut self.slots[slot].connections[connection]);
        self.records.push(Record::Closed(Closed {
            at: Timestamp(self.at),
            connection: ConnectionId(cookie),
            errno: 0,
            observed: position,
            dropped,
            skipped: [0, 0],
        }));
    }

    fn call(&mut self, worker: usize, call: &Call) {
        self.at += self.step;
        let slot = self.workers[worker].slot;
        let kind = self.slots[slot].kind;
        let start = self.bytes.len();
        self.write(call.bytes);
        let length = self.bytes.len() - start;
        let connection = &mut self.slots[slot].connections[call.connection];
        let direction = call.direction.index();
        let position = connection.position[direction];
        connection.position[direction] += length as u64;
        let last_input = &mut self.last_inputs[kind as usize][worker];
        if call.direction == Direction::In {
            let last = connection.position[direction] - 1;
            *last_input = Some(LastInput {
                connection: ConnectionId(connection.cookie),
                position: last,
                for_call: Clarity::Mixed,
                for_answer: Clarity::Mixed,
            });
        }
        if call.lost {
            connection.dropped[direction] += length as u64;
            self.process_drops[kind as usize] += 1;
            self.bytes.truncate(start);
            return;
        }
        // Of a long call only the first bytes and the last are kept.
        let mut tail = 0..0;
        let mut head = start..start + length;
        if length > CAPTURED + CAPTURED_END {
            head.end = start + CAPTURED;
            tail = head.end..head.end + CAPTURED_END;
            self.bytes.truncate(tail.end);
        }
        self.records.push(Record::Transfer(Moved {
            at: Timestamp(self.at),
            connection: ConnectionId(connection.cookie),
            direction: call.direction,
            position,
            length: u32::try_from(length).expect("no call is that long"),
            thread: thread(kind, worker),
            head,
            tail,
            last_input: if call.direction == Direction::Out { *last_input } else { None },
            dropped: connection.dropped[direction],
            process_drops: self.process_drops[kind as usize],
        }));
    }

    fn write(&mut self, bytes: Bytes) {
        let requests = match bytes {
            Bytes::TwoPlainRequests => 2,
            Bytes::PlainRequest | Bytes::BrowserRequest | Bytes::CallRequest => 1,
            _ => 0,
        };
        self.requests += requests;
        let (number, out) = (self.requests, &mut self.bytes);
        match bytes {
            Bytes::PlainRequest => heads::plain_request(number, out),
            Bytes::TwoPlainRequests => {
                heads::plain_request(number - 1, out);
                heads::plain_request(number, out);
            }
            Bytes::PlainResponse => heads::plain_response(out),
            Bytes::BrowserRequest => heads::browser_request(number, out),
            Bytes::BrowserHead(status, framing) => heads::browser_head(status, framing, out),
            Bytes::BrowserPage => {
                heads::browser_head("200 OK", "Content-Length: 1200\r\n", out);
                heads::filler(1_200, out);
            }
            Bytes::Chunk => heads::chunk(1_400, out),
            Bytes::LastChunk => out.extend_from_slice(b"0\r\n\r\n"),
            Bytes::Body(length) => heads::filler(length, out),
            Bytes::CallRequest => heads::call(number, out),
            Bytes::CallResponse => heads::call_response(out),
        }
    }

    /// A number below `bound`, of a generator (xorshift) that says the same in every run.
    const fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) as usize) % bound
    }
}

const fn thread(kind: Kind, worker: usize) -> Thread {
    Thread { pid: kind.pid(), tid: kind.pid() + 1 + worker as u32 }
}
