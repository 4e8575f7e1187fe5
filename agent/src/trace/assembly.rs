//! Assembly: a span is exported when its exchange has ended and its chain to the root is known,
//! because the trace id is the root's. The number of waiting spans and the event time they wait are
//! bounded.

use super::{
    Tracer,
    deadlines::Deadlines,
    exchange::{Context, Exchange, Incoming, Key, Keys, Live, Parentage},
    span::{Evidence, Link, Parent, Span, SpanEvent, SpanKind},
};
use crate::event::Timestamp;

/// Unresolved spans that are followed upwards when one of them has waited too long.
const CHAIN: usize = 1_000;
/// W3C trace flags of a trace that begins here: sampled.
pub(super) const ROOT_FLAGS: u8 = 1;

/// Why a span does not wait any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    Wait,
    Limit,
    Shutdown,
}

/// The spans that wait, and those that are ready.
#[derive(Debug)]
pub(super) struct Assembly {
    waiting: Deadlines<Key>,
    pub(super) ready: Vec<SpanEvent>,
}

impl Assembly {
    pub(super) const fn new() -> Self {
        Self { waiting: Deadlines::new(), ready: Vec::new() }
    }
}

impl Tracer {
    /// The parent of a span is known, or it is known to have none.
    pub(super) fn decide(&mut self, key: Key, parentage: Parentage) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        if exchange.context.is_some() {
            self.decide_late(key, parentage);
            return;
        }
        let mut parentage = parentage;
        let context = match &parentage {
            Parentage::Undecided => return,
            Parentage::Root { .. } => Some(self.root_context(exchange)),
            Parentage::Header => exchange.live.as_deref().and_then(header_context),
            Parentage::Exchange { of, .. } => match self.exchanges.get(*of) {
                Some(parent) => parent.context.clone(),
                None => {
                    self.counters.roots_forgotten += 1;
                    parentage = Parentage::Root { unknown: true };
                    Some(self.root_context(exchange))
                }
            },
        };
        let (kind, pid) = (exchange.kind, exchange.pid);
        if context.is_none()
            && let Parentage::Exchange { of, .. } = &parentage
            && let Some(parent) = self.exchanges.live_mut(*of)
        {
            parent.children.push(key);
        }
        self.count_parent(&parentage);
        if kind == SpanKind::Client {
            self.processes.count_call(pid, !matches!(parentage, Parentage::Root { .. }));
        }
        if let Some(live) = self.exchanges.live_mut(key) {
            live.parentage = parentage;
        }
        if let Some(context) = context {
            self.resolve(key, context);
        }
    }

    /// A parent that is found after the trace id was fixed becomes a link, unless the span had
    /// another parent then.
    fn decide_late(&mut self, key: Key, parentage: Parentage) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let fixed_early = std::mem::take(&mut exchange.fixed_early);
        if let (true, Parentage::Exchange { of, evidence, .. }) = (fixed_early, parentage) {
            self.relate(key, of, evidence);
        }
    }

    fn count_parent(&mut self, parentage: &Parentage) {
        match parentage {
            Parentage::Undecided | Parentage::Root { .. } => {}
            Parentage::Header => self.counters.parents_traceparent += 1,
            Parentage::Exchange { evidence, .. } => match evidence {
                Evidence::Traceparent => self.counters.parents_traceparent_forwarded += 1,
                Evidence::Connection => self.counters.parents_connection += 1,
                Evidence::BothSides => self.counters.parents_both_sides += 1,
                Evidence::RequestSide => self.counters.parents_request_side += 1,
                Evidence::ResponseSide => self.counters.parents_response_side += 1,
                Evidence::Content => self.counters.parents_content += 1,
                Evidence::Goroutine => self.counters.parents_goroutine += 1,
                Evidence::Task => self.counters.parents_task += 1,
            },
        }
    }

    /// An exchange has ended. Its span is exported if its chain is known or can be by now, otherwise
    /// it waits.
    pub(super) fn finish_or_wait(&mut self, key: Key) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        if exchange.context.is_some() && !exchange.fixed_early {
            return self.export(key);
        }
        self.try_decide(key);
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let known = exchange.context.is_some();
        let Some(live) = exchange.live.as_deref_mut() else { return };
        if known {
            return self.export(key);
        }
        if self.shutdown {
            return self.expire_span(key, Expiry::Shutdown);
        }
        live.waiting = true;
        self.counters.waiting += 1;
        let exchanges = &self.exchanges;
        let waits = |key: &Key| exchanges.get(*key).is_some_and(|waiting| !waiting.exported());
        self.assembly.waiting.drop_front(waits);
        self.assembly.waiting.push(self.now.plus(self.parent_wait), key);
        self.assembly.waiting.compact(waits);
        while self.counters.waiting > self.waiting_limit {
            let Some(oldest) = self.assembly.waiting.pop() else { break };
            self.expire_span(oldest, Expiry::Limit);
        }
    }

    /// Exports the spans that have waited long enough.
    pub(super) fn expire_waiting(&mut self) {
        while let Some(key) = self.assembly.waiting.pop_due(self.now) {
            self.expire_span(key, Expiry::Wait);
        }
    }

    /// Exports all waiting spans.
    pub(super) fn expire_all_waiting(&mut self) {
        while let Some(key) = self.assembly.waiting.pop() {
            self.expire_span(key, Expiry::Shutdown);
        }
    }

    /// Fixes the trace of a span that waits for its chain. The topmost span whose parent is not
    /// known becomes the root.
    pub(super) fn expire_span(&mut self, key: Key, reason: Expiry) {
        if self.exchanges.get(key).is_none_or(|exchange| exchange.context.is_some()) {
            return;
        }
        match reason {
            Expiry::Wait => self.counters.expired_wait += 1,
            Expiry::Limit => self.counters.expired_limit += 1,
            Expiry::Shutdown => self.counters.expired_shutdown += 1,
        }
        self.causality.give_up_waiting(&mut self.exchanges, &mut self.processes, key);
        let top = self.topmost(key);
        self.fix_as_it_is(top);
        // The chain is still open only if it is too long, or if hostile sequence numbers made it a
        // ring.
        if self.exchanges.get(key).is_some_and(|exchange| exchange.context.is_none()) {
            self.fix_as_it_is(key);
        }
    }

    /// A notice of an exchange that is still open, with what is known so far.
    pub(super) fn open_span(&self, key: Key) -> Option<Box<Span>> {
        let exchange = self.exchanges.get(key)?;
        let live = exchange.live.as_deref()?;
        let mut span = live.span.clone()?;
        let context = exchange.context.clone().unwrap_or_else(|| self.root_context(exchange));
        identify(&mut span, exchange, &context, &live.parentage, live.incoming.as_deref());
        span.start = self.unix(exchange.at);
        span.end = self.unix(self.now);
        span.first_response_byte = live.first_response.map(|at| self.unix(at));
        Some(span)
    }

    fn topmost(&self, key: Key) -> Key {
        let mut top = key;
        for _ in 0..CHAIN {
            let live = self.exchanges.get(top).and_then(|exchange| exchange.live.as_deref());
            let Some(Parentage::Exchange { of, .. }) = live.map(|live| &live.parentage) else { break };
            if self.exchanges.get(*of).is_none_or(|parent| parent.context.is_some()) {
                break;
            }
            top = *of;
        }
        top
    }

    fn fix_as_it_is(&mut self, key: Key) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let header = match (exchange.kind, exchange.live.as_deref()) {
            (SpanKind::Server, Some(live)) => header_context(live),
            _ => None,
        };
        let (parentage, context) = match header {
            Some(context) => (Parentage::Header, context),
            None => (Parentage::Root { unknown: true }, self.root_context(exchange)),
        };
        if exchange.kind == SpanKind::Client {
            self.processes.count_call(exchange.pid, parentage == Parentage::Header);
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.fixed_early = true;
            if let Some(live) = exchange.live.as_deref_mut() {
                live.parentage = parentage;
            }
        }
        self.resolve(key, context);
    }

    fn root_context(&self, exchange: &Exchange) -> Context {
        let trace = match Self::is_failed_connect(exchange) {
            Some((socket, at)) => self.identifiers.connect(socket, at).0,
            None => {
                let direction = exchange.kind.request_direction();
                self.identifiers.trace(exchange.connection, direction, exchange.stream_offset)
            }
        };
        Context { trace, flags: ROOT_FLAGS, state: None }
    }

    /// The chain of a span is known, and with it the chain of all its descendants.
    fn resolve(&mut self, key: Key, context: Context) {
        let mut descendants = Keys::new();
        self.resolve_one(key, &context, &mut descendants);
        let mut next = 0;
        while let Some(key) = descendants.get(next).copied() {
            self.resolve_one(key, &context, &mut descendants);
            next += 1;
        }
    }

    /// Resolves one span and adds the spans that waited for it to `descendants`.
    fn resolve_one(&mut self, key: Key, context: &Context, descendants: &mut Keys) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        if exchange.context.is_some() {
            return;
        }
        exchange.context = Some(context.clone());
        let Some(live) = exchange.live.as_deref_mut() else { return };
        if !live.children.is_empty() {
            descendants.append(&mut live.children);
        }
        if live.ended.is_some() {
            self.export(key);
        }
    }

    /// Exports a span that has ended and whose chain is known.
    fn export(&mut self, key: Key) {
        let Some(mut live) = self.exchanges.take_live(key) else { return };
        let Some(mut span) = live.span.take() else { return };
        let Some(exchange) = self.exchanges.get(key) else { return };
        let Some(context) = &exchange.context else { return };
        identify(&mut span, exchange, context, &live.parentage, live.incoming.as_deref());
        for (other, evidence) in &live.relations {
            // Of two related spans, the one that is exported later gets the link.
            let Some(other) = self.exchanges.get(*other) else { continue };
            if let (true, Some(context)) = (other.exported(), &other.context) {
                span.links.push(Link { trace: context.trace, span: other.id, evidence: *evidence });
                self.counters.late_links += 1;
            }
        }
        if live.waiting {
            self.counters.waiting -= 1;
        }
        self.exchanges.reuse(live);
        self.emit(span);
    }

    /// Relates a child to a parent that was found after the child's trace was fixed.
    fn relate(&mut self, child: Key, parent: Key, evidence: Evidence) {
        let mut either_waits = false;
        for (one, other) in [(child, parent), (parent, child)] {
            if let Some(live) = self.exchanges.live_mut(one) {
                live.relations.push((other, evidence));
                either_waits = true;
            }
        }
        if !either_waits {
            self.counters.late_lost += 1;
        }
    }

    /// The wall-clock time of an event, in Unix nanoseconds.
    pub(super) const fn unix(&self, at: Timestamp) -> u64 {
        at.0.saturating_add(self.unix_offset)
    }
}

fn header_context(live: &Live) -> Option<Context> {
    let incoming = live.incoming.as_deref()?;
    Some(Context {
        trace: incoming.parent.trace,
        flags: incoming.parent.flags,
        state: incoming.state.clone(),
    })
}

/// Writes ids, parent and context into a span.
fn identify(
    span: &mut Span,
    exchange: &Exchange,
    context: &Context,
    parentage: &Parentage,
    incoming: Option<&Incoming>,
) {
    span.trace = context.trace;
    span.flags = context.flags;
    if let Some(state) = context.state.as_deref() {
        span.trace_state = state.into();
    }
    span.id = exchange.id;
    span.parent = match parentage {
        Parentage::Undecided | Parentage::Root { .. } => None,
        Parentage::Header => incoming.map(|incoming| Parent {
            span: incoming.parent.span,
            evidence: Evidence::Traceparent,
            remote: true,
        }),
        Parentage::Exchange { id, evidence, .. } => {
            Some(Parent { span: *id, evidence: *evidence, remote: false })
        }
    };
    span.parent_unknown = matches!(parentage, Parentage::Root { unknown: true });
}
