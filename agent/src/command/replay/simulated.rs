//! A simulated run for tests: two traced processes, and what they send each other.

use crate::{
    event::{
        Closed, ConnectionId, Direction, Earlier, Endpoint, Event, LastReceive, Layer, Mark, Opened,
        ProcessFacts, Thread, Timestamp, Transfer, UnixAddress,
    },
    source::log::samples::Owned,
};

pub(super) const MILLI: u64 = 1_000_000;
pub(super) const FRONT: Thread = Thread { pid: 10, tid: 11 };
pub(super) const BACK: Thread = Thread { pid: 20, tid: 20 };
/// A text in every request and response that must not survive a redaction.
pub(super) const SECRET: &str = "s3cret-value";

/// A run: a front server that answers each request after a call to a back server; both are traced.
pub(super) struct Run {
    pub(super) events: Vec<Owned>,
    pub(super) at: u64,
    positions: [[u64; 2]; 4],
}

impl Run {
    pub(super) fn new() -> Self {
        let mut run = Self::with_processes();
        run.open(1, FRONT, ("10.0.0.1:80", "10.0.0.9:5000"), [1_000, 2_000]);
        run.open(2, FRONT, ("10.0.0.1:6000", "10.0.0.2:81"), [3_000, 4_000]);
        run.open(3, BACK, ("10.0.0.2:81", "10.0.0.1:6000"), [4_000, 3_000]);
        run
    }

    pub(super) fn with_processes() -> Self {
        let mut run = Self { events: vec![], at: 5_000 * MILLI, positions: [[0; 2]; 4] };
        run.push(Event::Clock { at: Timestamp(run.at), unix_offset: 1_700_000_000_000_000_000 });
        run.push(Event::RunKey([7; 16]));
        for (thread, name) in [(FRONT, "front"), (BACK, "back")] {
            let facts = ProcessFacts {
                pid: thread.pid,
                start_time: 99,
                executable: format!("/opt/{name}").into(),
                command_args: vec![name.into(), format!("--key={SECRET}")],
                service_name: name.into(),
                ..ProcessFacts::default()
            };
            run.push(Event::Process { at: Timestamp(run.at), facts: Box::new(facts) });
        }
        run
    }

    pub(super) fn push(&mut self, event: Event<'static>) {
        self.events.push(event.into());
    }

    pub(super) fn open(
        &mut self,
        id: u64,
        thread: Thread,
        (local, peer): (&str, &str),
        first_sequence: [u32; 2],
    ) {
        let opened = Opened {
            at: Timestamp(self.at),
            connection: ConnectionId(id),
            thread,
            local: endpoint(local),
            peer: endpoint(peer),
            network_namespace: 1,
            first_sequence,
            first_position: 0,
            earlier: [Earlier::Nothing; 2],
        };
        self.push(Event::Opened(opened));
    }

    pub(super) fn transfer(
        &mut self,
        id: usize,
        direction: Direction,
        thread: Thread,
        input: Option<usize>,
        text: &str,
    ) {
        self.at += MILLI;
        let last_receive = input.map(|id| LastReceive {
            connection: ConnectionId(id as u64),
            layer: Layer::Wire,
            position: self.positions[id][Direction::In.index()] - 1,
            mark: Mark::default(),
        });
        let position = &mut self.positions[id][direction.index()];
        let transfer = Transfer {
            at: Timestamp(self.at),
            connection: ConnectionId(id as u64),
            layer: Layer::Wire,
            direction,
            position: *position,
            length: u32::try_from(text.len()).unwrap(),
            thread,
            head: &[],
            tail: &[],
            not_captured: None,
            last_receive,
            task: None,
            dropped: 0,
            process_drops: 0,
        };
        *position += text.len() as u64;
        self.events.push(Owned::transfer(transfer, text.as_bytes()));
    }

    /// Bytes that a TLS library has decrypted.
    pub(super) fn plaintext(at: Timestamp, connection: ConnectionId, text: &str) -> Owned {
        let transfer = Transfer {
            at,
            connection,
            layer: Layer::Plaintext,
            direction: Direction::In,
            position: 0,
            length: u32::try_from(text.len()).unwrap(),
            thread: BACK,
            head: &[],
            tail: &[],
            not_captured: None,
            last_receive: None,
            task: None,
            dropped: 0,
            process_drops: 0,
        };
        Owned::transfer(transfer, text.as_bytes())
    }

    pub(super) fn exchange(&mut self, number: usize) {
        use Direction::{In, Out};
        let asked = format!(
            "POST /{SECRET}/{number}?token={SECRET}&q={SECRET} HTTP/1.1\r\nHost: {SECRET}:8080\r\nUser-Agent: {SECRET}\r\nContent-Length: {}\r\n\r\n{SECRET}",
            SECRET.len()
        );
        let inner = format!("GET /inner/{SECRET} HTTP/1.1\r\nHost: inner\r\nCookie: {SECRET}\r\n\r\n");
        let answer =
            format!("HTTP/1.1 200 {SECRET}\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{SECRET}\r\n0\r\n\r\n");
        let (answer, rest) = answer.split_at(answer.len() / 2);
        let failed = format!("HTTP/1.1 50{} {SECRET}\r\nContent-Length: 0\r\n\r\n", number % 5);
        self.transfer(1, In, FRONT, None, &asked);
        self.transfer(2, Out, FRONT, Some(1), &inner);
        self.transfer(3, In, BACK, None, &inner);
        self.transfer(3, Out, BACK, Some(3), answer);
        self.transfer(3, Out, BACK, Some(3), rest);
        self.transfer(2, In, FRONT, None, answer);
        self.transfer(2, In, FRONT, None, rest);
        self.transfer(1, Out, FRONT, Some(2), &failed);
        if number.is_multiple_of(3) {
            self.at += 60 * MILLI;
            self.push(Event::Tick { at: Timestamp(self.at) });
        }
    }

    pub(super) fn end(mut self) -> Vec<Owned> {
        for id in 1..=3 {
            let observed = self.positions[id];
            let closed = Closed {
                at: Timestamp(self.at),
                connection: ConnectionId(id as u64),
                layer: Layer::Wire,
                errno: 0,
                observed,
                dropped: [0; 2],
                skipped: [0; 2],
            };
            self.push(Event::Closed(closed));
        }
        self.push(Event::Shutdown { at: Timestamp(self.at + MILLI) });
        self.events
    }
}

/// An address and port, a path, an abstract name behind `@`, or nothing for an unnamed unix socket.
pub(super) fn endpoint(text: &str) -> Endpoint {
    match text.as_bytes() {
        [] => Endpoint::Unix(UnixAddress::Unnamed),
        path @ [b'/', ..] => Endpoint::Unix(UnixAddress::Path(path.into())),
        [b'@', name @ ..] => Endpoint::Unix(UnixAddress::Abstract(name.into())),
        _ => Endpoint::Inet(text.parse().unwrap()),
    }
}
