//! What holds for the spans of any run.

use std::collections::HashSet;

use wirespan::{
    pipeline::Engine,
    trace::span::{Span, SpanEvent},
};

/// The spans that came out since the last call; notices of open ones are no spans.
pub(crate) fn drain(engine: &mut Engine) -> impl Iterator<Item = Span> + '_ {
    engine.drain().filter_map(|traced| match traced {
        SpanEvent::Span(span) => Some(*span),
        SpanEvent::Open(_) => None,
    })
}

/// Each span comes out once, and is what [`check_each`] says.
pub(crate) fn check(spans: &[Span]) {
    let mut seen = HashSet::new();
    for span in spans {
        assert!(seen.insert(span.id), "twice: {span:?}");
    }
    check_each(spans);
}

/// A span has its ids, does not end before it begins, was answered in between, and is not its own
/// parent.
pub(crate) fn check_each(spans: &[Span]) {
    for span in spans {
        assert!(span.trace.0 != [0; 16] && span.id.0 != [0; 8], "no id: {span:?}");
        assert!(span.start <= span.end, "it ends before it begins: {span:?}");
        let answered = span.first_response_byte.is_none_or(|first| (span.start..=span.end).contains(&first));
        assert!(answered, "it was answered at another time: {span:?}");
        assert!(span.parent.is_none_or(|parent| parent.span != span.id), "its own parent: {span:?}");
    }
}
