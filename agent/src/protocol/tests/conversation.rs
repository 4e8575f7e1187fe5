//! A conversation: feeds transfers to a connection and shows what came of it in short lines.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    event::{
        Actor, CaptureMode, Closed, ConnectionId, Direction, Earlier, Feedback, LastReceive, Layer,
        LocalClosed, NotCaptured, Opened, Thread, Timestamp, Transfer,
    },
    protocol::{Connection, Limits, Message, Output, Recorder},
    stream::Ledger,
};

pub(super) const ID: ConnectionId = ConnectionId(7);
pub(super) const MILLISECOND: u64 = 1_000_000;

/// A connection under test; each transfer is one millisecond after the one before.
#[derive(Debug)]
pub(super) struct Conversation {
    pub connection: Connection,
    pub out: Output<Recorder>,
    pub now: u64,
    /// Where both directions stood at first observation.
    first_position: u64,
    /// Next position by direction.
    pub position: [u64; 2],
    /// What a transfer captures at most: first and last bytes.
    pub capture: (usize, usize),
    pub dropped: [u64; 2],
    pub skipped: [u64; 2],
    pub thread: Thread,
    pub last_receive: Option<LastReceive>,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self::with(Limits::default(), [true; 2])
    }

    pub(super) fn with(limits: Limits, from_start: [bool; 2]) -> Self {
        Self::joined(limits, 0, from_start.map(Earlier::unless))
    }

    /// First seen after so many bytes; transfers that were logged later may lie before this position.
    pub(super) fn joined(limits: Limits, first_position: u64, earlier: [Earlier; 2]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let opened = Opened {
            at: Timestamp(0),
            connection: ID,
            thread: Thread { pid: 1, tid: 1 },
            local: address.into(),
            peer: address.into(),
            network_namespace: 1,
            first_sequence: [0; 2],
            first_position,
            earlier,
        };
        Self {
            connection: Connection::new(&opened, &limits),
            out: Output::default(),
            now: 0,
            first_position,
            position: [first_position; 2],
            capture: (usize::MAX, 0),
            dropped: [0; 2],
            skipped: [0; 2],
            thread: Thread { pid: 1, tid: 1 },
            last_receive: None,
        }
    }

    /// One transfer at any position and time.
    pub(super) fn at(
        &mut self,
        direction: Direction,
        position: u64,
        bytes: &[u8],
        not_captured: Option<NotCaptured>,
    ) {
        let (head, tail) = self.capture;
        let (head, tail) = if not_captured.is_some() {
            (&[][..], &[][..])
        } else if bytes.len() <= head {
            (bytes, &[][..])
        } else {
            (&bytes[..head], &bytes[bytes.len() - tail.min(bytes.len() - head)..])
        };
        self.connection.transfer(
            &Transfer {
                at: Timestamp(self.now),
                connection: ID,
                layer: Layer::Wire,
                direction,
                position,
                length: u32::try_from(bytes.len()).unwrap(),
                thread: self.thread,
                head,
                tail,
                not_captured,
                last_receive: self.last_receive,
                task: None,
                dropped: self.dropped[direction.index()],
                process_drops: 0,
            },
            &mut self.out,
        );
    }

    /// The next transfer of a direction.
    pub(super) fn cursor(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.now += MILLISECOND;
        let position = self.position[direction.index()];
        self.position[direction.index()] += bytes.as_ref().len() as u64;
        self.at(direction, position, bytes.as_ref(), None);
        self
    }

    /// The traced process receives.
    pub(super) fn receive(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.cursor(Direction::In, bytes)
    }

    /// The traced process sends.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.cursor(Direction::Out, bytes)
    }

    /// A transfer whose bytes may not be read.
    pub(super) fn not_captured(
        &mut self,
        direction: Direction,
        length: usize,
        reason: NotCaptured,
    ) -> &mut Self {
        self.now += MILLISECOND;
        let position = self.position[direction.index()];
        self.position[direction.index()] += length as u64;
        self.at(direction, position, &vec![0; length], Some(reason));
        self
    }

    /// Bytes that pass without an event.
    pub(super) fn unseen(&mut self, direction: Direction, length: u64) -> &mut Self {
        self.now += MILLISECOND;
        self.position[direction.index()] += length;
        self
    }

    /// Bytes whose event finds no room in the ring.
    pub(super) fn drop(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let length = bytes.as_ref().len() as u64;
        self.dropped[direction.index()] += length;
        self.unseen(direction, length)
    }

    pub(super) fn tick(&mut self, milliseconds: u64) -> &mut Self {
        self.now += milliseconds * MILLISECOND;
        self.connection.tick(Timestamp(self.now), &mut self.out);
        self
    }

    pub(super) fn fin(&mut self, direction: Direction) -> &mut Self {
        self.now += MILLISECOND;
        let position = self.position[direction.index()];
        self.connection.half_closed(Timestamp(self.now), direction, position, &mut self.out);
        self
    }

    /// The program lets go of the connection.
    pub(super) fn let_go(&mut self, peer_finished: bool) -> &mut Self {
        self.now += MILLISECOND;
        let closed = LocalClosed {
            at: Timestamp(self.now),
            connection: ID,
            actor: Actor { thread: self.thread, task: None, last_receive: None },
            position: self.position,
            peer_finished,
        };
        self.connection.local_closed(&closed, &mut self.out);
        self
    }

    /// Closes and checks the ledger's identity.
    pub(super) fn close(&mut self, errno: u16) -> Ledger {
        self.now += MILLISECOND;
        let ledger = self.connection.closed(
            &Closed {
                at: Timestamp(self.now),
                connection: ID,
                layer: Layer::Wire,
                errno,
                observed: self.position.map(|position| position - self.first_position),
                dropped: self.dropped,
                skipped: self.skipped,
            },
            &mut self.out,
        );
        for account in ledger.directions {
            assert!(!account.violation, "{account:?}");
            let known = account.parsed + account.skipped + account.truncated + account.dropped;
            assert_eq!(account.observed, known + account.unseen);
        }
        assert!(!self.connection.needs_tick());
        ledger
    }

    /// The messages so far, one short line each: `>0` request, `>0 GET /` its head, `<0 200` response, `=0 Complete 0/5`
    /// end with body sizes, flags after it.
    pub(super) fn told(&self) -> Vec<String> {
        self.out.report.messages.iter().map(tell).collect()
    }

    /// Only the ends.
    pub(super) fn ends(&self) -> Vec<String> {
        self.told().into_iter().filter(|line| line.starts_with('=')).collect()
    }

    /// One line per exchange: method, target, final status, outcome.
    pub(super) fn exchanges(&self) -> Vec<String> {
        summarise(&self.out.report.messages)
    }

    pub(super) fn opaque(&self) -> bool {
        let nothing = |feedback: &Feedback| match feedback {
            Feedback::Capture { directions, .. } => {
                directions.iter().all(|capture| capture.mode == CaptureMode::Nothing)
            }
            Feedback::Forget { .. } => false,
        };
        self.out.feedback.iter().any(nothing)
    }
}

pub(super) fn summarise(messages: &[Message]) -> Vec<String> {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for message in messages {
        match message {
            Message::Begin { ordinal, .. } => lines.push((*ordinal, String::new())),
            Message::Described { ordinal, head } => {
                let line = lines.iter_mut().find(|line| line.0 == *ordinal).expect("Request comes first");
                line.1 = format!("{} {}", head.method, head.target);
            }
            Message::Reply { ordinal, head, .. } => {
                let line = lines.iter_mut().find(|line| line.0 == *ordinal).expect("Request comes first");
                line.1 += &format!(" {}", head.status);
            }
            Message::Other { .. } => {}
            Message::End { ordinal, end, .. } => {
                let line = lines.iter_mut().find(|line| line.0 == *ordinal).expect("Request comes first");
                line.1 += &format!(" {:?}", end.outcome);
            }
        }
    }
    lines.into_iter().map(|line| line.1).collect()
}

fn tell(message: &Message) -> String {
    let size = |size: Option<u64>| size.map_or("?".to_owned(), |size| size.to_string());
    let cut = |incomplete: bool| if incomplete { " cut" } else { "" };
    match message {
        Message::Begin { ordinal, begin } => format!(">{ordinal} {:?}", begin.role.request_direction()),
        Message::Described { ordinal, head } => {
            format!(">{ordinal} {} {}{}", head.method, head.target, cut(head.incomplete))
        }
        Message::Reply { ordinal, head, .. } => {
            format!("<{ordinal} {}{}", head.status, cut(head.incomplete))
        }
        Message::Other { ordinal, text } => format!("?{ordinal} {text}"),
        Message::End { ordinal, end, .. } => {
            let mut line = format!(
                "={ordinal} {:?} {}/{}",
                end.outcome,
                size(end.request_body),
                size(end.response_body)
            );
            for name in end.incomplete.names() {
                line += &format!(" {name}");
            }
            line
        }
    }
}
