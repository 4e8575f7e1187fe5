//! What tests look at: the spans of the fake host's exchanges, and their parents.

use super::{Exchange, World};
use crate::trace::span::{Evidence, Span, SpanId};

impl World {
    /// The id of the exchange's span.
    pub(in crate::trace::tests) fn id(&self, exchange: Exchange) -> SpanId {
        self.tracer.identifiers.span(exchange.connection, exchange.direction, exchange.stream_offset)
    }

    /// Its span, if it was emitted.
    pub(in crate::trace::tests) fn find(&self, exchange: Exchange) -> Option<&Span> {
        let id = self.id(exchange);
        let mut spans = self.spans.iter().filter(|span| span.id == id);
        let span = spans.next();
        assert!(spans.next().is_none(), "a span was emitted twice");
        span
    }

    #[track_caller]
    pub(in crate::trace::tests) fn span(&self, exchange: Exchange) -> &Span {
        self.find(exchange).unwrap_or_else(|| panic!("no span of {exchange:?}"))
    }

    /// Asserts that the child's parent is this exchange, by this evidence, in one trace.
    #[track_caller]
    pub(in crate::trace::tests) fn assert_child(
        &self,
        child: Exchange,
        parent: Exchange,
        evidence: Evidence,
    ) {
        let (child, parent) = (self.span(child), self.span(parent));
        let found = child.parent.unwrap_or_else(|| panic!("no parent: {child:?}"));
        assert_eq!((found.span, found.evidence, found.remote), (parent.id, evidence, false));
        assert_eq!(child.trace, parent.trace);
        assert_eq!((child.flags, &child.trace_state), (parent.flags, &parent.trace_state));
        assert!(!child.parent_unknown);
    }

    /// Asserts that the span is the root of its own trace.
    #[track_caller]
    pub(in crate::trace::tests) fn assert_root(&self, exchange: Exchange) {
        let span = self.span(exchange);
        assert_eq!(span.parent, None);
        let Exchange { connection, direction, stream_offset, .. } = exchange;
        assert_eq!(span.trace, self.tracer.identifiers.trace(connection, direction, stream_offset));
        assert_eq!(span.flags, 1);
    }
}
