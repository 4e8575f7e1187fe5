//! The contract between parsers and the trace layer: all that the latter knows of any protocol.
//!
//! A parser reports *exchanges* to a [`Report`]: `begin`, `described`?, `reply`*, `end` for each. Exchanges of one connection may
//! overlap. What an exchange does ([`Operation`]) and how it was answered ([`Reply`]) are the protocol's own; everything else is
//! the same for all of them.

use std::{fmt, ops::Range};

use super::{Operation, Reply, Status};
use crate::event::{ConnectionId, Direction, LastReceive, Layer, StreamId, Task, Thread, Timestamp};

/// Number of an exchange on its connection, in the order in which they begin: from 0, and those of the plaintext from
/// [`ExchangeId::OF_PLAINTEXT`].
pub type Ordinal = u64;

/// Names an exchange while the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    pub connection: ConnectionId,
    pub ordinal: Ordinal,
}

impl ExchangeId {
    /// The first ordinal of a plaintext. A parser counts from 0 on either stream.
    pub const OF_PLAINTEXT: Ordinal = 1 << 63;

    /// Exchange `number` of a stream.
    #[must_use]
    #[inline]
    pub const fn new(stream: StreamId, number: u64) -> Self {
        Self { connection: stream.connection, ordinal: number | (stream.layer as u64) << 63 }
    }

    /// The stream with its bytes.
    #[must_use]
    pub const fn stream(self) -> StreamId {
        let layer = if self.ordinal < Self::OF_PLAINTEXT { Layer::Wire } else { Layer::Plaintext };
        StreamId { connection: self.connection, layer }
    }
}

/// Where and by whom the first byte of a message was sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub at: Timestamp,
    pub thread: Thread,
    /// Position of the message's first byte in its direction.
    pub position: u64,
    /// What the thread had received last; `None` for messages that were received.
    pub last_receive: Option<LastReceive>,
    /// What the runtime was running on the thread.
    pub task: Option<Task>,
}

/// What the traced process does in an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends the request.
    Client,
    /// It receives the request.
    Server,
}

impl Role {
    /// Of the process whose request moves in this direction.
    #[must_use]
    pub const fn of_request(direction: Direction) -> Self {
        match direction {
            Direction::Out => Self::Client,
            Direction::In => Self::Server,
        }
    }

    /// The direction of the request.
    #[must_use]
    pub const fn request_direction(self) -> Direction {
        match self {
            Self::Client => Direction::Out,
            Self::Server => Direction::In,
        }
    }
}

/// Which messages an exchange has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    RequestReply,
    /// No reply will come. How long its receiver works for it, nobody sees.
    OneWay,
    /// Both ends send messages for as long as it lasts, in any order. It is answered by its last reply, with which its server ends
    /// it.
    Stream,
}

/// The first byte of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    pub role: Role,
    pub shape: Shape,
    pub origin: Origin,
    /// Messages of several exchanges are interleaved on the connection. The parser reports whose bytes are whose
    /// ([`Report::part`]). Otherwise the bytes of a direction belong to one exchange until another one's begin.
    pub multiplexed: bool,
    /// Position of the next byte that the application had not moved in the other direction.
    pub other_position: u64,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Another reply follows, and this one decides nothing: HTTP's 1xx other than 101, and a message of a stream.
    Interim,
    /// The one that decides. Of a stream it is the last one.
    Final,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both messages were seen to their ends.
    Complete,
    /// CONNECT accepted or 101: the exchange ends with the response head and the connection is opaque from there.
    Upgraded,
    /// The connection ended before the response was complete. `Some(errno)` when by an error such as ECONNRESET.
    ConnectionClosed(Option<u16>),
    /// The client went away before the response was complete. Seen from the server: its reset or FIN came first. Seen from the
    /// client: its program closed the connection, and the server had not ended anything.
    ClientAborted(Option<u16>),
    /// The server ended the exchange without a whole response. The reason in the words of the protocol.
    Reset(&'static str),
    /// Bytes were lost or not captured, so that the end of the exchange is not known exactly.
    Lost,
    /// The agent stopped or evicted the connection while the exchange was open.
    Unfinished,
}

/// The end of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeEnd {
    pub outcome: Outcome,
    /// Payload bytes of the request as on the wire (chunk framing excluded); `None` when it could not be known.
    pub request_body: Option<u64>,
    pub response_body: Option<u64>,
    /// Time at which the last byte of the request was moved.
    pub request_end: Option<Timestamp>,
    /// Bytes that the parser needed and did not get (truncated, dropped, unseen) in this exchange.
    pub missing: u64,
    /// What happened to it.
    pub incomplete: Incomplete,
}

/// Why what is known of an exchange is not whole: a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Incomplete(u8);

impl Incomplete {
    pub const GAP: Self = Self(1);
    pub const JOINED_MID_STREAM: Self = Self(2);
    pub const MALFORMED: Self = Self(4);
    pub const NOT_CAPTURED: Self = Self(8);
    pub const OVERLAP: Self = Self(16);
    pub const TRUNCATED: Self = Self(32);
    /// The values of `wirespan.incomplete`, in the order of the bits, which is that of the alphabet.
    const NAMES: [&str; 6] =
        ["gap", "joined_mid_stream", "malformed", "not_captured", "overlap", "truncated"];

    /// Adds a reason.
    pub const fn add(&mut self, reason: Self) {
        self.0 |= reason.0;
    }

    /// Whether everything is known.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The values of `wirespan.incomplete`, sorted.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = move |(bit, name): (usize, &'static str)| (self.0 & 1 << bit != 0).then_some(name);
        Self::NAMES.into_iter().enumerate().filter_map(set)
    }
}

/// Some bytes of a direction of a multiplexed stream, and the exchange that they belong to. `None`: to none of them
/// (control messages).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub direction: Direction,
    pub range: Range<u64>,
    pub exchange: Option<Ordinal>,
}

/// Takes what parsers report, in the order in which it happened on a connection.
pub trait Report: fmt::Debug {
    /// The first byte of an exchange.
    fn begin(&mut self, exchange: ExchangeId, begin: &Begin);
    /// Whose these bytes are, on a multiplexed stream, in the order of positions.
    fn part(&mut self, stream: StreamId, part: &Part);
    /// What the exchange asks for: its head is complete, or given up.
    fn described(&mut self, exchange: ExchangeId, operation: Operation<'_>);
    /// The first byte of a reply, which moved at `origin`.
    fn reply(&mut self, exchange: ExchangeId, origin: &Origin, progress: Progress, reply: Reply<'_>);
    /// The status of an exchange, where it comes after the reply has begun (trailers).
    fn status(&mut self, exchange: ExchangeId, status: Status<'_>);
    /// The exchange is over.
    fn end(&mut self, exchange: ExchangeId, at: Timestamp, end: &ExchangeEnd);
    /// A process sends traces over OTLP itself.
    fn exports_traces(&mut self, pid: u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_and_match_their_bits() {
        let mut all = Incomplete::default();
        for (reason, name) in [
            (Incomplete::GAP, "gap"),
            (Incomplete::JOINED_MID_STREAM, "joined_mid_stream"),
            (Incomplete::MALFORMED, "malformed"),
            (Incomplete::NOT_CAPTURED, "not_captured"),
            (Incomplete::OVERLAP, "overlap"),
            (Incomplete::TRUNCATED, "truncated"),
        ] {
            assert_eq!(reason.names().collect::<Vec<_>>(), [name]);
            all.add(reason);
        }
        assert!(all.names().is_sorted() && all.names().count() == 6);
    }
}
