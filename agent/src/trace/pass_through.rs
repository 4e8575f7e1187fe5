//! Pass-through: a proxy forwards the `traceparent` that it received. A call with the context of
//! exactly one open request of its process was caused by that request. If several open requests
//! have it, the call's parent is just what the `traceparent` names.

use rustc_hash::FxHashMap;

use super::{
    context::TraceParent,
    exchange::{Exchange, Incoming, Key},
    span::SpanKind,
};

/// The open requests with a context, by process and context. Flags are ignored, because a proxy may
/// change them.
#[derive(Debug, Default)]
pub(super) struct PassThrough {
    open: FxHashMap<(u32, [u8; 16], [u8; 8]), Vec<Key>>,
}

impl PassThrough {
    /// A request with this context is open in the process.
    pub(super) fn open(&mut self, pid: u32, context: TraceParent, request: Key) {
        self.open.entry(name(pid, context)).or_default().push(request);
    }

    /// The head of this exchange's request has a context.
    pub(super) fn take(&mut self, exchange: &mut Exchange, key: Key, incoming: Incoming) {
        let Some(live) = exchange.live.as_deref_mut() else { return };
        let parent = incoming.parent;
        match exchange.kind {
            SpanKind::Server => self.open(exchange.pid, parent, key),
            SpanKind::Client => {
                live.passes_on = self.only(exchange.pid, parent);
                exchange.passed_on = live.passes_on.is_some();
            }
        }
        live.incoming = Some(Box::new(incoming));
    }

    /// The request is over.
    pub(super) fn close(&mut self, pid: u32, context: TraceParent, request: Key) {
        let name = name(pid, context);
        let Some(requests) = self.open.get_mut(&name) else { return };
        requests.retain(|open| *open != request);
        if requests.is_empty() {
            self.open.remove(&name);
        }
    }

    /// The only open request of the process that has this context.
    pub(super) fn only(&self, pid: u32, context: TraceParent) -> Option<Key> {
        match self.open.get(&name(pid, context))?.as_slice() {
            [request] => Some(*request),
            _ => None,
        }
    }
}

const fn name(pid: u32, context: TraceParent) -> (u32, [u8; 16], [u8; 8]) {
    (pid, context.trace.0, context.span.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::span::{SpanId, TraceId};

    #[test]
    fn only_one_open_request_of_the_same_process() {
        let context = TraceParent { trace: TraceId([1; 16]), span: SpanId([2; 8]), flags: 1 };
        let (one, two) = (Key::of_none(1), Key::of_none(2));
        let mut passes = PassThrough::default();
        assert_eq!(passes.only(7, context), None);
        passes.open(7, context, one);
        assert_eq!(passes.only(7, TraceParent { flags: 0, ..context }), Some(one));
        assert_eq!(passes.only(8, context), None);
        passes.open(7, context, two);
        assert_eq!(passes.only(7, context), None);
        passes.close(7, context, one);
        assert_eq!(passes.only(7, context), Some(two));
        passes.close(7, context, two);
        assert!(passes.open.is_empty());
    }
}
