//! The finished span: typed fields of one HTTP exchange (or failed connect), which each exporter
//! encodes in its own way.

use std::{borrow::Cow, sync::Arc};

use super::{
    http::Http,
    operation::{self, Operation},
};
use crate::event::{Direction, Endpoint, ProcessFacts, Thread};

/// W3C / OTLP trace id. All zeros is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// W3C / OTLP span id. All zeros is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// OTLP span kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    Server,
    Client,
}

impl SpanKind {
    /// The kind of a span whose request goes in this direction.
    #[must_use]
    pub const fn of_request(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::Server,
            Direction::Out => Self::Client,
        }
    }

    /// The direction of the request, seen from the process whose span it is.
    #[must_use]
    pub const fn request_direction(self) -> Direction {
        match self {
            Self::Server => Direction::In,
            Self::Client => Direction::Out,
        }
    }
}

/// How the parent of a span is known: the value of `wirespan.parent.evidence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// An incoming `traceparent`, or one that the program itself put on its outgoing request.
    Traceparent,
    /// Both ends of one connection on this host.
    Connection,
    /// Request side and response side agree.
    BothSides,
    /// The request side alone, in a process that has shown that this suffices.
    RequestSide,
    /// The response side alone, in a process that has shown that this suffices.
    ResponseSide,
    /// The call is the request sent on.
    Content,
    /// The goroutine that handed the request to the one which wrote it.
    Goroutine,
    /// The same task of the runtime wrote call and response.
    Task,
}

impl Evidence {
    /// The attribute's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traceparent => "traceparent",
            Self::Connection => "connection",
            Self::BothSides => "both_sides",
            Self::RequestSide => "request_side",
            Self::ResponseSide => "response_side",
            Self::Content => "content",
            Self::Goroutine => "goroutine",
            Self::Task => "task",
        }
    }
}

/// The parent of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    pub span: SpanId,
    pub evidence: Evidence,
    /// The parent is not visible to this agent (it came by header).
    pub remote: bool,
}

/// A relation that is not a parent: one that was found too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub trace: TraceId,
    pub span: SpanId,
    pub evidence: Evidence,
}

/// OTLP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Unset,
    Error,
}

/// A span; every text in it is already redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<Parent>,
    pub links: Vec<Link>,
    /// W3C trace flags (bit 0: sampled).
    pub flags: u8,
    pub trace_state: Box<str>,
    pub kind: SpanKind,
    /// Low-cardinality name per semantic conventions: the method (`HTTP` when unknown), `connect`
    /// for a failed connect.
    pub name: Cow<'static, str>,
    /// Unix nanoseconds: first byte of the request.
    pub start: u64,
    /// Unix nanoseconds: last byte of the response.
    pub end: u64,
    pub status: Status,
    /// `error.type`.
    pub error: Option<String>,
    /// Unix nanoseconds: first byte of the (first) response.
    pub first_response_byte: Option<u64>,
    /// `None` for a connect that failed, and of another protocol.
    pub http: Option<Http>,
    /// What protocols other than HTTP say.
    pub operation: Option<Box<Operation>>,
    /// This process's end of the connection.
    pub local: Option<Endpoint>,
    /// The other end.
    pub peer: Endpoint,
    pub thread_id: u32,
    /// `wirespan.incomplete`: what was missing, e.g. `truncated`, `gap`. Empty for a span made from
    /// complete data.
    pub incomplete: Vec<&'static str>,
    /// Bytes that were needed and are missing.
    pub missing_bytes: u64,
    /// The span was exported before its parent could be known.
    pub parent_unknown: bool,
    pub process: Arc<ProcessFacts>,
}

/// The kind of a span as OTLP has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpKind {
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

impl Span {
    /// The kind under which it is exported. Who sends a message is its producer, whoever gets it
    /// unasked its consumer.
    #[must_use]
    pub fn otlp_kind(&self) -> OtlpKind {
        let is_message = |operation: &Operation| operation.kind == operation::Kind::Messaging;
        match (self.kind, self.operation.as_deref().is_some_and(is_message)) {
            (SpanKind::Server, false) => OtlpKind::Server,
            (SpanKind::Client, false) => OtlpKind::Client,
            (SpanKind::Client, true) => OtlpKind::Producer,
            (SpanKind::Server, true) => OtlpKind::Consumer,
        }
    }

    /// A span of which only the thread and its peer are known.
    #[inline(always)]
    pub(super) fn begin(
        kind: SpanKind,
        name: Cow<'static, str>,
        http: Option<Http>,
        (local, peer): (Option<Endpoint>, Endpoint),
        thread: Thread,
        process: Arc<ProcessFacts>,
    ) -> Self {
        Self {
            trace: TraceId([0; 16]),
            id: SpanId([0; 8]),
            parent: None,
            links: Vec::new(),
            flags: 0,
            trace_state: Box::default(),
            kind,
            name,
            start: 0,
            end: 0,
            status: Status::Unset,
            error: None,
            first_response_byte: None,
            http,
            operation: None,
            local,
            peer,
            thread_id: thread.tid,
            incomplete: Vec::new(),
            missing_bytes: 0,
            parent_unknown: false,
            process,
        }
    }
}

/// What the trace layer emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanEvent {
    /// A finished span, exactly once.
    Span(Box<Span>),
    /// A request that has been open for a second, with what is known so far. `end` is the time of
    /// this notice. For people only.
    Open(Box<Span>),
}
