//! Protocols: what a connection's bytes mean. One folder per protocol; all of them tell of *exchanges* (a request and
//! its response) in the words of [`Message`], which is all that the trace layer knows of a protocol.

mod detect;
pub mod http1;
mod interest;
mod limits;
mod otlp;
mod parser;
mod session;
#[cfg(test)]
mod tests;

pub use interest::{Interest, MOST_FIELDS};
pub use limits::{Counters, Limits};
pub use session::Session;

use compact_str::CompactString;

use crate::{
    event::{Direction, Feedback, LastReceive, Opening, Task, Thread, Timestamp},
    stream,
};

/// A connection whose bytes are read by a parser of this layer.
pub type Connection = stream::Connection<Session>;

/// What every step of a parser may use.
type Context<'a> = stream::Context<'a, Output, Limits>;

/// The message whose complete first line stands at the front of `bytes`, of any protocol known here.
#[must_use]
pub fn opening(bytes: &[u8]) -> Option<Opening> {
    http1::opening(bytes)
}

/// Number of an exchange on its connection, from 0, in the order of the requests.
pub type Ordinal = u64;

/// Where and by whom the first byte of a request or response was read or written.
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

/// What a parser says of one connection. For each exchange: `Request`, `RequestHead`?, `Response`*, `End`; exchanges may
/// overlap (pipelining), the messages of one exchange come in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The first byte of a request. `direction` `Out`: this process is the client; `In`: it is the server.
    /// `other_position`: where the other direction stood.
    Request { ordinal: Ordinal, direction: Direction, origin: Origin, other_position: u64 },
    /// The request's head is complete (or given up: `head.incomplete`).
    RequestHead { ordinal: Ordinal, head: RequestHead },
    /// The first byte of a response. `interim` when it is a 1xx other than 101; then another one follows.
    Response { ordinal: Ordinal, origin: Origin, head: ResponseHead },
    /// Both messages of the exchange are over.
    End { ordinal: Ordinal, at: Timestamp, end: ExchangeEnd },
}

/// The head of an HTTP request. Text is lossy UTF-8 of what was on the wire, not yet redacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHead {
    pub method: CompactString,
    /// The request target as sent: origin-form, absolute-form, authority-form or `*`.
    pub target: CompactString,
    /// Minor version: 0 or 1.
    pub version_minor: u8,
    pub host: Option<CompactString>,
    pub user_agent: Option<CompactString>,
    /// The only `traceparent`; `None` also when the header stands there twice (W3C: then it is invalid).
    pub traceparent: Option<CompactString>,
    /// All `tracestate` fields joined by a comma.
    pub tracestate: Option<CompactString>,
    /// The first 16 bytes of the request (zero-filled), by which both ends of a connection recognise each other.
    pub prefix: [u8; 16],
    /// Bytes of the head on the wire, when its end was seen.
    pub head_size: Option<u64>,
    /// The head did not fit the capture limit or a gap fell into it; fields after that are missing.
    pub incomplete: bool,
    /// Fields that the caller is interested in, by name in lower case, in the order in which they came.
    pub fields: Vec<(CompactString, CompactString)>,
    /// If the caller is interested and the head is complete.
    pub content: Option<Content>,
}

/// By which a request that a proxy forwards is recognised: hashes of what proxies do not change. Another run of the agent has
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// Of method, target and the fields about the sender and what is wanted.
    pub base: u64,
    /// Of the fields that name one request (`X-Request-ID`, `traceparent` …); 0: there are none.
    pub identity: u64,
}

/// The head of an HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseHead {
    pub status: u16,
    pub version_minor: u8,
    pub head_size: Option<u64>,
    pub incomplete: bool,
    /// 1xx other than 101.
    pub interim: bool,
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
    /// client: its program let go, and the server had not ended anything.
    ClientAborted(Option<u16>),
    /// Bytes were lost or withheld so that the end of the exchange is not known exactly.
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
    /// Short names of what happened: `gap`, `joined_mid_stream`, `malformed`, `not_captured`, `overlap`, `truncated` (sorted, unique).
    pub incomplete: Vec<&'static str>,
}

/// What connections report, appended by each of their methods.
#[derive(Debug, Default)]
pub struct Output {
    pub messages: Vec<Message>,
    pub feedback: Vec<Feedback>,
    /// Processes that were seen to send traces over OTLP/gRPC.
    pub exporters: Vec<u32>,
    /// What the owner wants to know of request heads.
    pub interest: Interest,
    /// Running totals: the owner reads them, no one resets them here.
    pub counters: Counters,
    /// The same of the order of bytes.
    pub stream: stream::Counters,
}
