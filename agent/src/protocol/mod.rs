//! Protocols: what a connection's bytes mean. One folder per protocol; all of them report *exchanges* (a request and its
//! response) to a [`Report`], which is all that the trace layer knows of a protocol.

mod detect;
pub mod http;
pub mod http1;
mod http2;
mod interest;
mod limits;
mod mask;
#[cfg(test)]
pub(crate) mod mux;
mod operation;
mod otlp;
mod parser;
mod recorder;
mod report;
mod session;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

pub use interest::{Interest, MOST_FIELDS};
pub use limits::{Counters, Limits};
pub use mask::ConnectionMask;
pub use operation::{Database, Messaging, Operation, Reply, Rpc, Status};
pub use recorder::{Message, Recorder};
pub use report::{
    Begin, ExchangeEnd, ExchangeId, Incomplete, Ordinal, Origin, Outcome, Part, Progress, Report, Role, Shape,
};
pub use session::Session;

use crate::{
    event::{Feedback, Opening},
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

/// What connections share with their owner.
#[derive(Debug, Default)]
pub struct Output<R: ?Sized = dyn Report> {
    /// Requests to the source of events, appended.
    pub feedback: Vec<Feedback>,
    /// What the owner wants to know of request heads.
    pub interest: Interest,
    /// Running totals: the owner reads them, no one resets them here.
    pub counters: Counters,
    /// The same of the order of bytes.
    pub stream: stream::Counters,
    /// Takes what the parsers report.
    pub report: R,
}
