//! Generated traffic: the events that a kernel would give of programs with many connections, a round at a time.
//!
//! 32 threads of each program are at work at once, in random order, each on a connection of its own; a thread that is done
//! takes any other connection. Of 100 exchanges one loses a call, and of as many as `lifetime` says one is the last of its
//! connection; of 50 plain ones one is two pipelined requests. After a lost call nobody can tell which response is whose on a
//! connection that pipelines, until it was idle: such a connection is left alone for a while, as a client's pool does.

use std::{net::SocketAddr, ops::Range, sync::Arc};

use wirespan::event::{
    Closed, ConnectionId, Direction, Earlier, Event, LastReceive, Layer, Mark, Opened, ProcessFacts, Thread,
    Timestamp, Transfer,
};

use super::exchanges::{Call, KINDS, Kind, Mix, exchange};

/// Threads at work at once.
const WORKERS: usize = 32;

/// What the kernel captures of a call, by default: its first and its last bytes.
const CAPTURED: usize = 4_096;
const CAPTURED_END: usize = 16;

const TICK: u64 = 100_000_000;

/// How long a connection is left alone that pipelines and lost a call: longer than the 100 ms after which a request may begin
/// anew.
const REST: u64 = 150_000_000;

/// How often: the first request after a rest shows the loss, the next one is read.
const RESTS: u32 = 2;

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
    /// It has pipelined since it was opened.
    pipelined: bool,
    /// So many exchanges, the running one included, are followed by a rest.
    rests: u32,
    /// Until when it is left alone.
    rests_until: u64,
    /// The second one is a gateway's call.
    connections: [Connection; 2],
}

impl Slot {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            busy: false,
            pipelined: false,
            rests: 0,
            rests_until: 0,
            connections: Default::default(),
        }
    }

    /// An exchange of these calls begins.
    fn plan_rests(&mut self, calls: &[Call]) {
        let pipelines = calls.iter().any(|call| call.bytes.requests() > 1);
        self.pipelined |= pipelines;
        let loses = self.pipelined && calls.iter().any(|call| call.lost);
        // Order is proven by one request alone.
        if loses || (pipelines && self.rests > 0) {
            self.rests = RESTS;
        }
    }

    const fn is_free(&self, at: u64) -> bool {
        !self.busy && self.rests_until <= at
    }
}

/// A thread's work: the calls that remain of an exchange, the last one first.
#[derive(Debug, Default)]
struct Work {
    slot: usize,
    calls: Vec<Call>,
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
    last_receive: Option<LastReceive>,
    dropped: u64,
    process_drops: u64,
}

#[derive(Debug)]
pub(super) struct Traffic {
    slots: Vec<Slot>,
    workers: Vec<Work>,
    /// By kind and worker.
    last_receives: [[Option<LastReceive>; WORKERS]; KINDS.len()],
    process_drops: [u64; KINDS.len()],
    records: Vec<Record>,
    bytes: Vec<u8>,
    /// Slots that had no exchange yet: they come first.
    unvisited: usize,
    random: u64,
    at: u64,
    step: u64,
    lifetime: usize,
    next_tick: u64,
    cookies: u64,
    requests: u64,
}

impl Traffic {
    pub(super) fn new(mix: Mix, connections: usize, step: u64, lifetime: usize) -> Self {
        let mut traffic = Self {
            slots: Vec::with_capacity(connections),
            workers: Vec::new(),
            last_receives: [[None; WORKERS]; KINDS.len()],
            process_drops: [0; KINDS.len()],
            records: Vec::new(),
            bytes: Vec::new(),
            unvisited: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            at: 1_000_000,
            step,
            lifetime,
            next_tick: 0,
            cookies: 0,
            requests: 0,
        };
        let mut left = connections;
        for index in 0.. {
            let kind = mix.kind(index);
            let needed = if kind == Kind::Gateway { 2 } else { 1 };
            if left < needed {
                break;
            }
            left -= needed;
            traffic.slots.push(Slot::new(kind));
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

    /// Event time of the last event.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// The events of the round.
    pub(super) fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.records.iter().map(|record| match record {
            Record::Transfer(moved) => Event::Transfer(Transfer {
                at: moved.at,
                connection: moved.connection,
                layer: Layer::Wire,
                direction: moved.direction,
                position: moved.position,
                length: moved.length,
                thread: moved.thread,
                head: &self.bytes[moved.head.clone()],
                tail: &self.bytes[moved.tail.clone()],
                not_captured: None,
                last_receive: moved.last_receive,
                task: None,
                dropped: moved.dropped,
                process_drops: moved.process_drops,
            }),
            Record::Opened(opened) => Event::Opened(opened.clone()),
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
            } else if let Some(slot) = self.free_slot() {
                self.begin(worker, slot);
                begun += 1;
            } else {
                // All are at work or left alone.
                self.at += self.step;
            }
            if self.at >= self.next_tick {
                self.next_tick = self.at + TICK;
                self.records.push(Record::Tick(Timestamp(self.at)));
            }
        }
    }

    fn begin(&mut self, worker: usize, slot: usize) {
        self.slots[slot].busy = true;
        for connection in 0..self.connections(slot) {
            if self.slots[slot].connections[connection].cookie == 0 {
                self.open(worker, slot, connection);
            }
        }
        let kind = self.slots[slot].kind;
        let mut calls = exchange(kind, |bound| self.below(bound));
        if self.below(100) == 0 {
            let lost = self.below(calls.len());
            calls[lost].lost = true;
        }
        self.slots[slot].plan_rests(&calls);
        calls.reverse();
        self.workers[worker] = Work { slot, calls };
    }

    fn end(&mut self, worker: usize) {
        let index = self.workers[worker].slot;
        let slot = &mut self.slots[index];
        slot.busy = false;
        if slot.rests > 0 {
            slot.rests -= 1;
            slot.rests_until = self.at + REST;
        }
        if self.below(self.lifetime) == 0 {
            for connection in 0..self.connections(index) {
                self.close(index, connection);
            }
            self.slots[index] = Slot::new(self.slots[index].kind);
        }
    }

    fn free_slot(&mut self) -> Option<usize> {
        if self.unvisited > 0 {
            self.unvisited -= 1;
            return Some(self.unvisited);
        }
        let first = self.below(self.slots.len());
        let (before, after) = self.slots.split_at(first);
        let found = after.iter().chain(before).position(|slot| slot.is_free(self.at))?;
        Some((first + found) % self.slots.len())
    }

    fn connections(&self, slot: usize) -> usize {
        if self.slots[slot].kind == Kind::Gateway { 2 } else { 1 }
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
            thread: kind.thread(worker),
            local: ours.into(),
            peer: theirs.into(),
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
            layer: Layer::Wire,
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
        self.requests += call.bytes.requests();
        call.bytes.write(self.requests, &mut self.bytes);
        let length = self.bytes.len() - start;
        let connection = &mut self.slots[slot].connections[call.connection];
        let direction = call.direction.index();
        let position = connection.position[direction];
        connection.position[direction] += length as u64;
        let last_receive = &mut self.last_receives[kind as usize][worker];
        if call.direction == Direction::In {
            let last = connection.position[direction] - 1;
            *last_receive = Some(LastReceive {
                connection: ConnectionId(connection.cookie),
                layer: Layer::Wire,
                position: last,
                mark: Mark::default(),
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
            thread: kind.thread(worker),
            head,
            tail,
            last_receive: if call.direction == Direction::Out { *last_receive } else { None },
            dropped: connection.dropped[direction],
            process_drops: self.process_drops[kind as usize],
        }));
    }

    /// A number below `bound`, of a generator (xorshift) that says the same in every run.
    const fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) as usize) % bound
    }
}
