//! A multiplexing protocol made for the tests: messages of many exchanges are interleaved in frames, replies come in any order
//! and before their requests are whole, either end may begin exchanges, some have no reply, and some frames belong to none.
//!
//! A connection begins with [`PREFACE`], sent by its client. A frame is `length: u16, kind: u8, exchange: u32`, big-endian, and
//! then `length` bytes. Each end numbers its exchanges by itself: the highest bit of a number says who began it.

use std::collections::BTreeMap;

use super::{
    Begin, Context, ExchangeEnd, ExchangeId, Incomplete, Messaging, Operation, Ordinal, Origin, Outcome,
    Part, Progress, Reply, Role, Rpc, Shape, Status,
    parser::{FirstBytes, Protocol, Read, Recognised, Recognition},
};
use crate::{
    event::{Direction, Timestamp},
    stream::{Cursor, Need},
};

/// What the client of a connection sends first.
pub(crate) const PREFACE: &[u8] = b"MUX1";
/// Bytes in front of a frame's payload.
pub(crate) const HEADER: usize = 7;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Begins an exchange; the payload is its path.
    Request,
    /// The same; no reply will come.
    OneWay,
    /// The same; both ends send [`Kind::Data`] or [`Kind::Interim`] until the [`Kind::Reply`].
    Stream,
    /// More of a request or a reply.
    Data,
    /// A reply that decides nothing.
    Interim,
    /// The reply that decides.
    Reply,
    /// The exchange is over.
    End,
    /// Belongs to no exchange.
    Control,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Request,
        Self::OneWay,
        Self::Stream,
        Self::Data,
        Self::Interim,
        Self::Reply,
        Self::End,
        Self::Control,
    ];

    /// The shape of the exchange that such a frame begins.
    const fn begins(self) -> Option<Shape> {
        match self {
            Self::Request => Some(Shape::RequestReply),
            Self::OneWay => Some(Shape::OneWay),
            Self::Stream => Some(Shape::Stream),
            Self::Data | Self::Interim | Self::Reply | Self::End | Self::Control => None,
        }
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: Kind, exchange: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a frame is small");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.push(kind as u8);
    bytes.extend_from_slice(&exchange.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Kind, exchange and payload length of the frame at the front of these bytes, once its header is there.
pub(crate) fn header(bytes: &[u8]) -> Option<(Kind, u32, usize)> {
    let [high, low, kind, number @ ..] = bytes.first_chunk::<HEADER>()?;
    let kind = *Kind::ALL.get(usize::from(*kind))?;
    Some((kind, u32::from_be_bytes(*number), usize::from(u16::from_be_bytes([*high, *low]))))
}

/// One direction.
#[derive(Debug, Default)]
struct Reader {
    /// Bytes of the frame so far, and who moved the first of them.
    buffer: Vec<u8>,
    origin: Option<Origin>,
    /// Bytes were missed: nothing more is read.
    lost: bool,
}

/// Reads the protocol.
#[derive(Debug)]
pub(super) struct Session {
    readers: [Reader; 2],
    /// Bytes of the preface that are still to come, by direction.
    preface: [usize; 2],
    open: BTreeMap<u32, Ordinal>,
    next: Ordinal,
}

impl Session {
    /// `client`: the direction in which the preface moves, of which so many bytes are still to come.
    fn new(client: Direction, rest: usize) -> Self {
        let mut preface = [0; 2];
        preface[client.index()] = rest;
        Self { readers: Default::default(), preface, open: BTreeMap::new(), next: 0 }
    }

    fn read_frame(&mut self, direction: Direction, end: u64, at: Timestamp, cx: &mut Context<'_>) {
        let reader = &mut self.readers[direction.index()];
        let frame = std::mem::take(&mut reader.buffer);
        let Some(origin) = reader.origin.take() else { return };
        let Some(kind) = Kind::ALL.get(usize::from(frame[2])) else { return reader.lost = true };
        let number = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
        if let Some(shape) = kind.begins() {
            let role = Role::of_request(direction);
            let ordinal = self.next;
            self.next += 1;
            self.open.insert(number, ordinal);
            let begin = Begin { role, shape, origin, multiplexed: true, other_position: 0 };
            cx.out.report.begin(ExchangeId::new(cx.stream, ordinal), &begin);
        }
        let exchange = self.open.get(&number).copied().filter(|_| *kind != Kind::Control);
        let part = Part { direction, range: origin.position..end, exchange };
        cx.out.report.part(cx.stream, &part);
        let Some(ordinal) = exchange else { return };
        let id = ExchangeId::new(cx.stream, ordinal);
        match kind {
            Kind::Request | Kind::OneWay | Kind::Stream => {
                let path = String::from_utf8_lossy(&frame[HEADER..]);
                let path = Some(&*path);
                let operation = match kind {
                    Kind::OneWay => Operation::Messaging(Messaging {
                        system: "mux",
                        operation: "send",
                        destination: path,
                    }),
                    _ => Operation::Rpc(Rpc { system: "mux", method: path, ..Rpc::default() }),
                };
                cx.out.report.described(id, operation);
                if *kind == Kind::OneWay {
                    self.end(number, id, Outcome::Complete, at, cx);
                }
            }
            Kind::Interim | Kind::Reply => {
                let progress = if *kind == Kind::Reply { Progress::Final } else { Progress::Interim };
                let status = Status { code: Some("OK"), is_error: false };
                cx.out.report.reply(id, &origin, progress, Reply::Status(status));
            }
            Kind::End => self.end(number, id, Outcome::Complete, at, cx),
            Kind::Data | Kind::Control => {}
        }
    }

    fn end(&mut self, number: u32, id: ExchangeId, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        self.open.remove(&number);
        let mut incomplete = Incomplete::default();
        if outcome == Outcome::Lost {
            incomplete.add(Incomplete::GAP);
        }
        let end = ExchangeEnd {
            outcome,
            request_body: None,
            response_body: None,
            request_end: None,
            missing: 0,
            incomplete,
        };
        cx.out.report.end(id, at, &end);
    }

    fn end_all(&mut self, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        for (number, ordinal) in std::mem::take(&mut self.open) {
            let id = ExchangeId::new(cx.stream, ordinal);
            self.end(number, id, outcome, at, cx);
        }
    }
}

impl Protocol for Session {
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
        if !first.from_start {
            return Recognised::No;
        }
        first.begin_with(PREFACE, || Self::new(first.direction, PREFACE.len() - first.passed))
    }

    fn next_ordinal(&self) -> Ordinal {
        self.next
    }

    fn go_on_from(&mut self, next: Ordinal) {
        self.next = next;
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read {
        while cursor.length > 0 {
            let preface = &mut self.preface[direction.index()];
            let front = cursor.front();
            let reader = &mut self.readers[direction.index()];
            if reader.lost || front.is_empty() {
                reader.lost = true;
                cursor.miss();
                cursor.skip(u64::MAX);
                continue;
            }
            if *preface > 0 {
                let count = front.len().min(*preface);
                *preface -= count;
                let range = cursor.position..cursor.position + count as u64;
                cx.out.report.part(cx.stream, &Part { direction, range, exchange: None });
                cursor.parse(count);
                continue;
            }
            reader.origin.get_or_insert(Origin {
                at: cursor.at,
                thread: cursor.thread,
                position: cursor.position,
                last_receive: cursor.last_receive,
                task: cursor.task,
            });
            let size = match reader.buffer.first_chunk() {
                Some(length) if reader.buffer.len() >= HEADER => {
                    HEADER + usize::from(u16::from_be_bytes(*length))
                }
                _ => HEADER,
            };
            let count = front.len().min(size - reader.buffer.len());
            reader.buffer.extend_from_slice(&front[..count]);
            cursor.parse(count);
            let whole = reader.buffer.len() >= HEADER
                && reader.buffer.first_chunk().is_some_and(|length| {
                    reader.buffer.len() == HEADER + usize::from(u16::from_be_bytes(*length))
                });
            if whole {
                self.read_frame(direction, cursor.position, cursor.at, cx);
            }
        }
        Read::Done
    }

    fn gap(&mut self, direction: Direction, _: u64, at: Timestamp, cx: &mut Context<'_>) {
        self.readers[direction.index()].lost = true;
        self.end_all(Outcome::Lost, at, cx);
    }

    fn half_closed(&mut self, _: Direction, _: Timestamp, _: &mut Context<'_>) {}

    fn local_closed(&mut self, _: bool, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::ConnectionClosed(None), at, cx);
    }

    fn closed(&mut self, _: u16, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::ConnectionClosed(None), at, cx);
    }

    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::Unfinished, at, cx);
    }

    fn need(&self, _: Direction) -> Need {
        Need::ALL
    }

    fn buffered(&self) -> usize {
        self.readers.iter().map(|reader| reader.buffer.len()).sum()
    }

    fn recognition(&self) -> Recognition {
        Recognition { seen: true, mid_stream: false, understood: true }
    }

    fn give_up(&mut self, _: &mut Context<'_>) {}
}
