//! One request with its response: what is known of it and of its parent, before and after its span
//! is exported.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
};

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

/// Identifies an exchange: the slot in which it is kept (lower half), and its number among all
/// exchanges (upper half, not 0), so that the slot's next exchange is not taken for it. It is one
/// word, since each exchange keeps keys of many others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(NonZeroU64);

impl Key {
    /// The key of no exchange.
    pub(super) const NONE: Self = Self(NonZeroU64::MIN);

    pub(super) fn new(slot: Slot, number: NonZeroU32) -> Self {
        let number = u64::from(number.get()) << 32;
        NonZeroU64::new(number | u64::from(slot.0)).map_or(Self::NONE, Self)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the slot")]
    pub(super) const fn slot(self) -> Slot {
        Slot(self.0.get() as u32)
    }

    #[inline]
    pub(super) const fn is_none(self) -> bool {
        self.0.get() >> 32 == 0
    }
}

#[cfg(test)]
impl Key {
    /// The key of an exchange that is kept nowhere.
    pub(super) fn of_none(number: u32) -> Self {
        Self::new(Slot(u32::MAX), NonZeroU32::MIN.saturating_add(number))
    }
}

/// A list that mostly has one or two keys, or none.
pub(super) type Keys = SmallVec<[Key; 2]>;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Parentage {
    #[default]
    Undecided,
    /// It has none. `unknown`: its parent was not waited for any longer.
    Root { unknown: bool },
    /// The span that the `traceparent` names, which this agent does not see.
    Header,
    /// Another exchange that this agent sees.
    Exchange { of: Key, id: SpanId, evidence: Evidence },
}

/// One request with its response. Holds what is needed after its span was exported; the rest is in
/// [`Live`].
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) key: Key,
    pub(super) connection: ConnectionId,
    /// Its number on the connection.
    pub(super) ordinal: Ordinal,
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
    /// `None` once the span was exported.
    pub(super) live: Option<Box<Live>>,
}

impl Exchange {
    pub(super) fn exported(&self) -> bool {
        self.live.as_deref().is_none()
    }

    /// Whether it is neither exported nor ended.
    pub(super) fn open(&self) -> bool {
        self.live.as_deref().is_some_and(|live| live.ended.is_none())
    }
}

/// The part of an exchange that is dropped when its span is exported. Its memory then serves
/// another exchange.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// `None` in memory that is not in use.
    pub(super) span: Option<Box<Span>>,
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
    /// A new exchange, in memory that is empty. What is not set here, [`Live::clear`] has set.
    pub(super) fn begin(&mut self, span: Box<Span>, other_position: u64, partner: Partner) {
        self.span = Some(span);
        self.other_position = other_position;
        self.partner = partner;
    }

    /// Makes the memory fit for another exchange. Each field is reset where it lies.
    pub(super) fn clear(&mut self) {
        let Self {
            span,
            status,
            first_response,
            ended,
            head_seen,
            incoming,
            parentage,
            other_position: _,
            join_known,
            partner: _,
            partner_request,
            passes_on,
            verdict,
            closing,
            has_waited,
            calls,
            content,
            same_content,
            children,
            relations,
            waiting,
        } = self;
        (*span, *status, *first_response, *ended) = (None, None, None, None);
        (*head_seen, *join_known, *has_waited, *waiting) = (false, false, false, false);
        (*incoming, *closing, *content) = (None, None, None);
        *parentage = Parentage::Undecided;
        (*partner_request, *passes_on, *verdict) = (None, None, None);
        (*calls, *children) = (Keys::new(), Keys::new());
        (*same_content, *relations) = (Vec::new(), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100,000 exported exchanges are remembered by default, and up to 200,000 are open or wait.
    #[test]
    fn exchanges_stay_small() {
        assert!(size_of::<Exchange>() <= 272);
        assert!(size_of::<Live>() <= 264);
        assert!(size_of::<Span>() <= 624);
    }
}
