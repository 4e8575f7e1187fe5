//! Connections as the kernel reports them: transfers in any order that overlap, are cut, not
//! captured or lost, with forks, ends and time between them. As long as the kernel's counts are
//! right, every ledger balances.
//!
//! Input: steps of one byte (what: 4 bits, which end: 2 bits, direction: 1 bit, cut: 1 bit) and
//! what each needs.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use wirespan::{
    event::{
        CaptureMode, Closed, ConnectionId, Direction, Earlier, Event, Feedback, LastReceive, Layer, Mark,
        NotCaptured, Opened, ProcessFacts, SocketId, Thread, Timestamp, Transfer,
    },
    pipeline::{Engine, Settings},
    protocol, trace,
    trace::span::Span,
};

use crate::{reader::Choices, spans};

/// What all connections may buffer.
const BUFFERED: usize = 4 * 1024;
/// Connections open at once: fewer than the ends there are, so that some are evicted.
const CONNECTIONS: usize = 3;
const ENDS: usize = 4;
const MILLISECOND: u64 = 1_000_000;
/// More than the most bytes of a transfer.
const JUMP: u64 = 1 << 24;

const PHRASES: [&[u8]; 16] = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PUT /c HTTP/1.1\r\nContent-Length: 200000\r\n\r\n",
    b"HEAD /d HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"GET /e HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 502 x\r\nContent-Length: 200000\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
];

pub(crate) fn run(data: &[u8]) {
    play(data);
}

fn play(data: &[u8]) -> Vec<Span> {
    let mut world = World::new();
    let mut choices = Choices(data);
    while !choices.is_empty() {
        world.step(&mut choices);
    }
    world.finish()
}

/// The positions of both directions when a connection is first observed.
const FIRST_POSITION: u64 = 1 << 32;
/// Bytes that had moved before that and may be reported after it.
const BEFORE: u64 = 40;

/// What the kernel knows of one end of a connection.
#[derive(Debug)]
struct End {
    id: ConnectionId,
    /// The position of the stream, by direction.
    position: [u64; 2],
    dropped: [u64; 2],
    skipped: [u64; 2],
    /// Transfers may overlap from here on: nothing before it was lost or left out.
    told: [u64; 2],
    skip_until: [u64; 2],
    opaque: bool,
    /// A transfer that is reported later than it happened.
    late: Option<Late>,
}

#[derive(Debug, Clone, Copy)]
struct Late {
    at: Timestamp,
    direction: Direction,
    position: u64,
    bytes: &'static [u8],
}

struct World {
    engine: Engine,
    now: u64,
    ends: [Option<End>; ENDS],
    opened: u64,
    drops: [u64; 2],
    inputs: HashMap<Thread, LastReceive>,
    found: Vec<Span>,
}

impl World {
    fn new() -> Self {
        let limits = protocol::Limits {
            head_bytes: 512,
            held_transfers: 8,
            held_bytes: 2_048,
            pending_requests: 4,
            ..protocol::Limits::default()
        };
        let trace = trace::Settings {
            waiting_spans: 16,
            exchanges: 32,
            exchanges_per_connection: 8,
            connections: 8,
            ..trace::Settings::default()
        };
        let idle = Duration::from_secs(60);
        let settings = Settings { trace, limits, connections: CONNECTIONS, buffered_bytes: BUFFERED, idle };
        let mut world = Self {
            engine: Engine::new(settings),
            now: MILLISECOND,
            ends: [const { None }; ENDS],
            opened: 0,
            drops: [0; 2],
            inputs: HashMap::new(),
            found: Vec::new(),
        };
        world.feed(&Event::Clock { at: Timestamp(0), unix_offset: 1_700_000_000_000_000_000 });
        world.feed(&Event::RunKey([7; 16]));
        for pid in [1, 2] {
            world.process(pid);
        }
        world
    }

    fn feed(&mut self, event: &Event<'_>) {
        self.engine.feed(event);
        assert!(self.engine.connections() <= CONNECTIONS, "{} connections", self.engine.connections());
        assert!(self.engine.buffered() <= BUFFERED, "{} bytes are buffered", self.engine.buffered());
        assert_eq!(self.engine.tally().ledger.violations, 0, "after {event:?}");
        let feedback: Vec<_> = self.engine.drain_feedback().collect();
        for order in feedback {
            self.obey(order);
        }
        self.found.extend(spans::drain(&mut self.engine));
    }

    /// Carries out feedback, as the kernel does.
    fn obey(&mut self, order: Feedback) {
        let id = order.connection();
        let Some(place) = self.ends.iter_mut().find(|end| end.as_ref().is_some_and(|end| end.id == id))
        else {
            return;
        };
        match (order, place.as_mut()) {
            (Feedback::Capture { directions, .. }, Some(end)) => {
                end.skip_until = directions.map(|capture| capture.skip_until);
                end.opaque = directions.iter().all(|capture| capture.mode == CaptureMode::Nothing);
            }
            (Feedback::Forget { .. }, _) => *place = None,
            (Feedback::Capture { .. }, None) => {}
        }
    }

    fn process(&mut self, pid: u32) {
        let facts = ProcessFacts { pid, service_name: "s".into(), ..ProcessFacts::default() };
        self.feed(&Event::Process { at: Timestamp(self.now), facts: Box::new(facts) });
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let step = choices.byte();
        let number = usize::from(step >> 4 & 3);
        let direction = if step & 0x40 == 0 { Direction::Out } else { Direction::In };
        let cut = if step & 0x80 == 0 { 0 } else { choices.byte() };
        self.now += MILLISECOND;
        self.open(number);
        match step & 15 {
            0..=5 => {
                let phrase = PHRASES[usize::from(choices.byte() % 16)];
                self.call(number, direction, 0, phrase, cut);
            }
            6 => {
                let count = usize::from(choices.byte());
                let bytes = choices.bytes(count);
                self.call(number, direction, 0, bytes, cut);
            }
            7 => {
                let back = u64::from(choices.byte());
                let phrase = PHRASES[usize::from(choices.byte() % 16)];
                self.call(number, direction, back, phrase, cut);
            }
            8 => self.lose(number, direction, u64::from(choices.short()), false),
            9 => self.lose(number, direction, u64::from(choices.short()), true),
            10 => self.postpone(number, direction, PHRASES[usize::from(choices.byte() % 16)]),
            11 => self.tell_late(number),
            12 => self.half_close(number, direction),
            13 => self.close(number, u16::from(cut)),
            14 => {
                self.now += u64::from(choices.short()) * MILLISECOND;
                self.feed(&Event::Tick { at: Timestamp(self.now) });
            }
            _ => self.other(choices.byte()),
        }
    }

    fn thread(&self, number: usize) -> Thread {
        let pid = if number.is_multiple_of(2) { 1 } else { 2 };
        Thread { pid, tid: pid * 10 + u32::from((self.now / MILLISECOND).is_multiple_of(8)) }
    }

    /// Ends 0 and 1 are those of one connection, so are 2 and 3, if they are opened one after the
    /// other.
    fn open(&mut self, number: usize) {
        if self.ends[number].is_some() {
            return;
        }
        self.opened += 1;
        let id = ConnectionId(self.opened);
        let pair = u8::try_from(number / 2).expect("there are few");
        let mut address =
            [SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2 + pair], 999))];
        let mut first_sequence = [u32::MAX - 3, 9];
        if number % 2 == 1 {
            address.reverse();
            first_sequence.reverse();
        }
        let opened = Opened {
            at: Timestamp(self.now),
            connection: id,
            thread: self.thread(number),
            local: address[0].into(),
            peer: address[1].into(),
            network_namespace: 1,
            first_sequence,
            first_position: FIRST_POSITION,
            earlier: match self.opened % 5 {
                0 => [Earlier::Unknown; 2],
                1 => [Earlier::Nothing, Earlier::Bytes(BEFORE)],
                2 => [Earlier::Bytes(BEFORE), Earlier::Nothing],
                _ => [Earlier::Nothing; 2],
            },
        };
        self.ends[number] = Some(End {
            id,
            position: [FIRST_POSITION; 2],
            dropped: [0; 2],
            skipped: [0; 2],
            told: opened.earlier.map(|earlier| match earlier {
                Earlier::Nothing => FIRST_POSITION,
                _ => FIRST_POSITION - BEFORE,
            }),
            skip_until: [0; 2],
            opaque: false,
            late: None,
        });
        self.feed(&Event::Opened(opened));
    }

    /// A transfer at the stream's front, or `back` bytes before it.
    fn call(&mut self, number: usize, direction: Direction, back: u64, bytes: &[u8], cut: u8) {
        let Some(end) = self.ends[number].as_mut() else { return };
        let index = direction.index();
        let position = end.position[index].saturating_sub(back).max(end.told[index]);
        let after = position + bytes.len() as u64;
        let before = end.position[index];
        end.position[index] = before.max(after);
        if end.opaque || after < end.skip_until[index] {
            end.skipped[index] += after.saturating_sub(before);
            end.told[index] = end.position[index];
            return;
        }
        self.tell(number, Timestamp(self.now), direction, position, bytes, cut);
    }

    fn tell(
        &mut self,
        number: usize,
        at: Timestamp,
        direction: Direction,
        position: u64,
        bytes: &[u8],
        cut: u8,
    ) {
        let thread = self.thread(number);
        let drops = self.drops[number % 2];
        let Some(end) = self.ends[number].as_ref() else { return };
        let (id, dropped) = (end.id, end.dropped[direction.index()]);
        let not_captured = (cut == u8::MAX).then_some(NotCaptured::Fault);
        let (head, tail) = match cut {
            0 => (bytes, &[][..]),
            u8::MAX => (&[][..], &[][..]),
            _ => {
                let (head, rest) = bytes.split_at(usize::from(cut & 63).min(bytes.len()));
                (head, &rest[rest.len() - usize::from(cut >> 6).min(rest.len())..])
            }
        };
        let last_receive = self.inputs.get(&thread).copied();
        let transfer = Transfer {
            at,
            connection: id,
            layer: Layer::Wire,
            direction,
            position,
            length: u32::try_from(bytes.len()).expect("a call is small"),
            thread,
            head,
            tail,
            not_captured,
            last_receive: last_receive.filter(|_| direction == Direction::Out),
            task: None,
            dropped,
            process_drops: drops,
        };
        if direction == Direction::In && !bytes.is_empty() {
            let position = position + bytes.len() as u64 - 1;
            self.inputs.insert(
                thread,
                LastReceive { connection: id, layer: Layer::Wire, position, mark: Mark::default() },
            );
        }
        self.feed(&Event::Transfer(transfer));
    }

    /// Bytes move without an event; the kernel counts them if the ring was full.
    fn lose(&mut self, number: usize, direction: Direction, count: u64, counted: bool) {
        let Some(end) = self.ends[number].as_mut() else { return };
        let index = direction.index();
        let count = if count > 60_000 { JUMP + count } else { count };
        end.position[index] += count;
        end.told[index] = end.position[index];
        if counted {
            end.dropped[index] += count;
            self.drops[number % 2] += 1;
        }
    }

    fn postpone(&mut self, number: usize, direction: Direction, bytes: &'static [u8]) {
        self.tell_late(number);
        let at = Timestamp(self.now);
        let Some(end) = self.ends[number].as_mut() else { return };
        let position = end.position[direction.index()];
        end.position[direction.index()] += bytes.len() as u64;
        end.told[direction.index()] = end.position[direction.index()];
        end.late = Some(Late { at, direction, position, bytes });
    }

    fn tell_late(&mut self, number: usize) {
        let late = self.ends[number].as_mut().and_then(|end| end.late.take());
        if let Some(Late { at, direction, position, bytes }) = late {
            self.tell(number, at, direction, position, bytes, 0);
        }
    }

    fn half_close(&mut self, number: usize, direction: Direction) {
        let Some(end) = self.ends[number].as_ref() else { return };
        let (connection, position) = (end.id, end.position[direction.index()]);
        self.feed(&Event::HalfClosed {
            at: Timestamp(self.now),
            connection,
            layer: Layer::Wire,
            direction,
            position,
            actor: None,
        });
    }

    fn close(&mut self, number: usize, errno: u16) {
        let Some(end) = self.ends[number].take() else { return };
        self.feed(&Event::Closed(Closed {
            at: Timestamp(self.now),
            connection: end.id,
            layer: Layer::Wire,
            errno,
            observed: end.position.map(|position| position - FIRST_POSITION),
            dropped: end.dropped,
            skipped: end.skipped,
        }));
    }

    fn other(&mut self, what: u8) {
        let at = Timestamp(self.now);
        let pid = 1 + u32::from(what >> 4 & 1);
        let socket = SocketId(1 + u64::from(what >> 5));
        match what & 3 {
            0 => self.feed(&Event::Fork { at, parent: pid, child: 3 - pid }),
            1 => self.feed(&Event::Exit { at, pid }),
            2 => self.process(pid),
            _ => self.feed(&Event::ConnectFailed { at, socket, errno: u16::from(what) }),
        }
    }

    fn finish(mut self) -> Vec<Span> {
        self.now += MILLISECOND;
        for number in 0..ENDS {
            // Half of them are open when the agent ends.
            if number % 2 == 0 {
                self.close(number, 0);
            }
        }
        self.feed(&Event::Shutdown { at: Timestamp(self.now) });
        assert_eq!((self.engine.connections(), self.engine.buffered()), (0, 0), "something is left");
        let ledger = self.engine.tally().ledger;
        let known = ledger.parsed + ledger.skipped + ledger.truncated + ledger.dropped;
        assert_eq!(ledger.observed, known + ledger.unseen, "{ledger:?}");
        spans::check(&self.found);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use wirespan::trace::span::Evidence;

    use super::*;

    /// The properties are of something: what the seeds say is understood.
    #[test]
    fn two_ends_of_a_connection_are_two_spans() {
        let spans = play(include_bytes!("../corpus/stream/two-ends"));
        let evidence: Vec<_> = spans.iter().filter_map(|span| Some(span.parent?.evidence)).collect();
        assert_eq!((spans.len(), evidence), (2, vec![Evidence::Connection]));
    }
}
