//! One request with its response: what is known of it and of its parent, before and after its span
//! is exported.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    causality::{CausalLinks, Verdict},
    connection_join::Partner,
    context::TraceParent,
    slots::Slot,
    span::{Evidence, Span, SpanId, SpanKind, TraceId},
};
use crate::{
    event::{ConnectionId, Timestamp},
    protocol::{Ordinal, Origin, http::Content},
};

/// Identifies an exchange by its connection and its number there, and says in which slot it is
/// kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) connection: ConnectionId,
    pub(super) ordinal: Ordinal,
    pub(super) slot: Slot,
}

impl Key {
    /// Whether both keys, which have the same slot, identify the same exchange.
    #[inline]
    pub(super) fn names_same(self, other: Self) -> bool {
        self.ordinal == other.ordinal && self.connection == other.connection
    }
}

/// A list that mostly has one key or none.
pub(super) type Keys = SmallVec<[Key; 1]>;

/// What a span passes on to its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: TraceId,
    pub(super) flags: u8,
    pub(super) state: Option<Arc<str>>,
}

/// A valid `traceparent` with its `tracestate`, from the request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) parent: TraceParent,
    pub(super) state: Option<Arc<str>>,
}

/// What is known about a span's parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parentage {
    Undecided,
    /// It has none. `unknown`: its parent was not waited for any longer.
    Root {
        unknown: bool,
    },
    /// The span that the `traceparent` names, which this agent does not see.
    Header,
    /// Another exchange that this agent sees.
    Exchange {
        of: Key,
        id: SpanId,
        evidence: Evidence,
    },
}

/// One request with its response. Holds what is needed after its span was exported; the rest is in
/// [`Live`].
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) key: Key,
    pub(super) kind: SpanKind,
    pub(super) id: SpanId,
    /// When the first byte of the request was read or written.
    pub(super) at: Timestamp,
    /// The position of that byte in the request's direction.
    pub(super) position: u64,
    /// The same position as an absolute sequence number, from which its ids are made.
    pub(super) stream_offset: u64,
    /// Bytes received from this position on belong to this exchange, until the next one's begin.
    /// `u64::MAX` if it is not known yet.
    pub(super) receives_from: u64,
    /// The process that read or wrote the first byte.
    pub(super) pid: u32,
    /// Set once the chain to the root is known.
    pub(super) context: Option<Context>,
    /// The context was fixed before the parent was known.
    pub(super) fixed_early: bool,
    /// Client: the `traceparent` that it carries is one that its process received.
    pub(super) passed_on: bool,
    pub(super) links: CausalLinks,
    /// Empty once the span was exported.
    pub(super) live: LiveBox,
}

impl Exchange {
    pub(super) fn exported(&self) -> bool {
        self.live.as_deref().is_none()
    }

    /// The head of the request was read. Returns kind and process the first time while the exchange
    /// is open.
    pub(super) fn first_head(&mut self) -> Option<(SpanKind, u32)> {
        let live = self.live.as_deref_mut().filter(|live| live.ended.is_none() && !live.head_seen)?;
        live.head_seen = true;
        Some((self.kind, self.pid))
    }

    /// Whether it is neither exported nor ended.
    pub(super) fn open(&self) -> bool {
        self.live.as_deref().is_some_and(|live| live.ended.is_none())
    }
}

/// Holds the live part of an exchange. When that is taken the memory stays for another exchange,
/// which saves an allocation.
#[derive(Debug, Default)]
pub(super) struct LiveBox(Option<Box<Option<Live>>>);

impl LiveBox {
    pub(super) fn put(&mut self, live: Live) {
        match &mut self.0 {
            Some(memory) => **memory = Some(live),
            None => self.0 = Some(Box::new(Some(live))),
        }
    }

    pub(super) fn take(&mut self) -> Option<Live> {
        self.0.as_deref_mut()?.take()
    }

    #[inline]
    pub(super) fn as_deref(&self) -> Option<&Live> {
        self.0.as_deref()?.as_ref()
    }

    #[inline]
    pub(super) fn as_deref_mut(&mut self) -> Option<&mut Live> {
        self.0.as_deref_mut()?.as_mut()
    }
}

/// The part of an exchange that is dropped when its span is exported.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) span: Box<Span>,
    pub(super) status: Option<u16>,
    pub(super) first_response: Option<Timestamp>,
    /// When both messages were over.
    pub(super) ended: Option<Timestamp>,
    /// The head was read, or will not come any more.
    pub(super) head_seen: bool,
    pub(super) incoming: Option<Box<Incoming>>,
    pub(super) parentage: Parentage,
    /// Bytes that had moved in the other direction when the request began.
    pub(super) other_position: u64,
    /// When the request began, the connection's other end was known, or known not to be on this
    /// host.
    pub(super) join_known: bool,
    /// Server: the exchange at the other end of the connection.
    pub(super) partner: Partner,
    /// Client: the exchange at the other end, if it waits for this one's head.
    pub(super) partner_request: Option<Key>,
    /// Client: the open request whose `traceparent` this one forwards.
    pub(super) passes_on: Option<Key>,
    /// Client: the verdict of causality.
    pub(super) verdict: Option<Verdict>,
    /// Server: who closed its connection, and when.
    pub(super) closing: Option<Box<Origin>>,
    /// Client: it has already waited for its process to be trusted.
    pub(super) has_waited: bool,
    /// Server: calls that are judged when it is answered.
    pub(super) calls: Keys,
    /// Its content, if any process needs contents.
    pub(super) content: Option<Content>,
    /// Server: calls with the same content, decided on when it is answered.
    pub(super) same_content: Vec<Key>,
    /// Spans that wait for this one's context.
    pub(super) children: Keys,
    /// Spans that turned out to be parent or child of this one after its trace id was fixed.
    pub(super) relations: Vec<(Key, Evidence)>,
    /// It is counted among the waiting spans.
    pub(super) waiting: bool,
}

impl Live {
    pub(super) fn new(span: Box<Span>, other_position: u64, partner: Partner) -> Self {
        Self {
            span,
            status: None,
            first_response: None,
            ended: None,
            head_seen: false,
            incoming: None,
            parentage: Parentage::Undecided,
            other_position,
            partner,
            join_known: false,
            partner_request: None,
            passes_on: None,
            verdict: None,
            closing: None,
            has_waited: false,
            calls: Keys::new(),
            content: None,
            same_content: Vec::new(),
            children: Keys::new(),
            relations: Vec::new(),
            waiting: false,
        }
    }
}
