//! What exchanges ask for and how they are answered, in the words of OpenTelemetry's conventions. A protocol whose words are
//! here needs nothing in `trace` and `export`.

use super::http;

/// What an exchange asks for. A parser says so at the latest before the end of the exchange.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    Http(&'a http::RequestHead<'a>),
    Rpc(Rpc<'a>),
    Database(Database<'a>),
    Messaging(Messaging<'a>),
}

/// How an exchange is answered.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    Http(&'a http::ResponseHead),
    /// Of every other protocol.
    Status(Status<'a>),
}

/// A remote procedure call (<https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/>).
#[derive(Debug, Clone, Copy, Default)]
pub struct Rpc<'a> {
    /// `rpc.system.name`.
    pub system: &'static str,
    /// `rpc.method`, with its package and service.
    pub method: Option<&'a str>,
    /// The trace context that the request carries.
    pub traceparent: Option<&'a str>,
    pub tracestate: Option<&'a str>,
}

/// A request to a database (<https://opentelemetry.io/docs/specs/semconv/database/database-spans/>). Its text is none of it,
/// because of what may stand there.
#[derive(Debug, Clone, Copy)]
pub struct Database<'a> {
    /// `db.system.name`.
    pub system: &'static str,
    /// `db.operation.name`.
    pub operation: Option<&'a str>,
    /// `db.collection.name`.
    pub collection: Option<&'a str>,
}

/// An operation on a message (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>).
#[derive(Debug, Clone, Copy)]
pub struct Messaging<'a> {
    /// `messaging.system`.
    pub system: &'static str,
    /// `messaging.operation.type`: `send`, `receive`, `process` …
    pub operation: &'static str,
    /// `messaging.destination.name`.
    pub destination: Option<&'a str>,
}

/// The status of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// As the protocol writes it. `None`: the reply has none.
    pub code: Option<&'a str>,
    /// It is an error, seen from this end of the connection.
    pub is_error: bool,
}
