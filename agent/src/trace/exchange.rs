//! One request with its response: what is known of it, and of its parent, until and after its span is exported.

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
    protocol::{Content, Ordinal, Origin},
};

/// Names an exchange: its connection, its number there, and where it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) connection: ConnectionId,
    pub(super) ordinal: Ordinal,
    pub(super) slot: Slot,
}

impl Key {
    /// Whether it names the exchange that the other does, both with the same slot.
    #[inline]
    pub(super) fn names_same(self, other: Self) -> bool {
        self.ordinal == other.ordinal && self.connection == other.connection
    }
}

/// Keys of which there is mostly one, or none.
pub(super) type Keys = SmallVec<[Key; 1]>;

/// What a span hands down to its children.
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

/// What is known of a span's parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parentage {
    Undecided,
    /// There is none. `unknown`: it was not waited for any longer.
    Root {
        unknown: bool,
    },
    /// What the header says, out of our sight.
    Header,
    /// Another exchange that we have seen.
    Exchange {
        of: Key,
        id: SpanId,
        evidence: Evidence,
    },
}

/// One request with its response. What is needed after its span was exported stands here, the rest in [`Live`].
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) key: Key,
    pub(super) kind: SpanKind,
    pub(super) id: SpanId,
    /// First byte of the request.
    pub(super) at: Timestamp,
    /// Position of that byte in the request's direction.
    pub(super) position: u64,
    /// That position for its id.
    pub(super) stream_offset: u64,
    /// Bytes received from this position on belong to this exchange, until another one's begin. `u64::MAX`: not known yet.
    pub(super) receives_from: u64,
    /// The process that read or wrote the first byte.
    pub(super) pid: u32,
    /// Set when the chain to the root is known.
    pub(super) context: Option<Context>,
    /// The context was fixed before the parent was known.
    pub(super) fixed_early: bool,
    /// Client: its `traceparent` is one that it forwards.
    pub(super) passed_on: bool,
    pub(super) links: CausalLinks,
    /// Empty once the span was exported.
    pub(super) live: LiveBox,
}

impl Exchange {
    pub(super) fn exported(&self) -> bool {
        self.live.as_deref().is_none()
    }

    /// The head of its request is here; what it is and whose, the first time while it is open.
    pub(super) fn first_head(&mut self) -> Option<(SpanKind, u32)> {
        let live = self.live.as_deref_mut().filter(|live| live.ended.is_none() && !live.head_seen)?;
        live.head_seen = true;
        Some((self.kind, self.pid))
    }

    /// Neither exported nor at its end.
    pub(super) fn open(&self) -> bool {
        self.live.as_deref().is_some_and(|live| live.ended.is_none())
    }
}

/// Holds the live part of an exchange. The memory stays when that is received, for another exchange: an allocation less for each.
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

/// The part of an exchange that goes when its span is exported.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) span: Box<Span>,
    pub(super) status: Option<u16>,
    pub(super) first_response: Option<Timestamp>,
    /// Last byte, when both messages are over.
    pub(super) ended: Option<Timestamp>,
    /// The head was read, or will not come any more.
    pub(super) head_seen: bool,
    pub(super) incoming: Option<Box<Incoming>>,
    pub(super) parentage: Parentage,
    /// Bytes that had gone the other way when the request began.
    pub(super) other_position: u64,
    /// Whether the connection's other end was known when the request began, or known not to be here.
    pub(super) join_known: bool,
    /// Server: the other end of the connection.
    pub(super) partner: Partner,
    /// Client: the request at the other end, when it waits for this one's head.
    pub(super) partner_request: Option<Key>,
    /// Client: the open request whose `traceparent` this one forwards.
    pub(super) passes_on: Option<Key>,
    /// Client: what causality found.
    pub(super) verdict: Option<Verdict>,
    /// Server: who closed its connection.
    pub(super) closing: Option<Box<Origin>>,
    /// Client: it has waited for its process to be trusted.
    pub(super) has_waited: bool,
    /// Server: calls whose verdict waits for the answer.
    pub(super) calls: Keys,
    /// If it was asked for.
    pub(super) content: Option<Content>,
    /// Server: calls with its content, to be decided on when it is answered.
    pub(super) same_content: Vec<Key>,
    /// Spans that wait for this one's context.
    pub(super) children: Keys,
    /// Spans related to this one too late to be parent or child.
    pub(super) relations: Vec<(Key, Evidence)>,
    /// Counted among the waiting spans.
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
