//! Operations of protocols other than HTTP: the name of their spans, and what becomes attributes
//! by OpenTelemetry's conventions for RPC, databases and messaging.

use std::{
    borrow::Cow,
    hash::{Hash as _, Hasher as _},
};

use compact_str::CompactString;
use rustc_hash::FxHasher;

use super::{Tracer, exchange::Key, messages, span::SpanKind};
use crate::protocol::{self, Database, Messaging, Rpc, Status};

/// Which conventions an operation follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Rpc,
    Database,
    Messaging,
}

#[cfg(test)]
impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Rpc, Self::Database, Self::Messaging];
}

/// What is known of an operation and its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub kind: Kind,
    /// `rpc.system.name`, `db.system.name` or `messaging.system`.
    pub system: &'static str,
    /// `rpc.method`, `db.operation.name` or `messaging.operation.type`.
    pub name: Option<CompactString>,
    /// `db.collection.name` or `messaging.destination.name`.
    pub target: Option<CompactString>,
    /// `rpc.response.status_code` or `db.response.status_code`.
    pub status: Option<CompactString>,
}

impl Operation {
    /// What the parser reported, its texts with at most `limit` bytes. `None` for HTTP, which has
    /// a place of its own. Also returns how many texts were cut.
    fn of(operation: protocol::Operation<'_>, limit: usize) -> Option<(Self, u64)> {
        let (kind, system, name, target) = match operation {
            protocol::Operation::Http(_) => return None,
            protocol::Operation::Rpc(Rpc { system, method, .. }) => (Kind::Rpc, system, method, None),
            protocol::Operation::Database(Database { system, operation, collection }) => {
                (Kind::Database, system, operation, collection)
            }
            protocol::Operation::Messaging(Messaging { system, operation, destination }) => {
                (Kind::Messaging, system, Some(operation), destination)
            }
        };
        let mut cut = 0;
        let mut text = |text: &str| {
            cut += u64::from(text.len() > limit);
            CompactString::from(&text[..text.floor_char_boundary(limit)])
        };
        let (name, target) = (name.map(&mut text), target.map(&mut text));
        Some((Self { kind, system, name, target, status: None }, cut))
    }

    /// The name of its span.
    fn span_name(&self) -> Cow<'static, str> {
        match (&self.name, &self.target) {
            (Some(name), Some(target)) => format!("{name} {target}").into(),
            (Some(text), None) | (None, Some(text)) => text.to_string().into(),
            (None, None) => self.system.into(),
        }
    }
}

impl Tracer {
    /// What an exchange asks for, of another protocol than HTTP.
    pub(super) fn operation(&mut self, key: Key, operation: protocol::Operation<'_>) {
        let context = match operation {
            protocol::Operation::Rpc(rpc) => (rpc.traceparent, rpc.tracestate),
            _ => (None, None),
        };
        let Some((operation, cut)) = Operation::of(operation, self.semantics.limits.path) else { return };
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let kind = exchange.kind;
        let Some(live) = exchange.live.as_deref_mut() else { return };
        if live.ended.is_some() || live.head_seen {
            return;
        }
        live.head_seen = true;
        let Some(span) = live.span.as_deref_mut() else { return };
        self.counters.truncated_attributes += cut;
        let mut hasher = FxHasher::default();
        (&span.peer, operation.kind, operation.system, &operation.name).hash(&mut hasher);
        span.name = operation.span_name();
        span.http = None;
        span.operation = Some(Box::new(operation));
        if let Some(incoming) = messages::incoming(context, &mut self.counters) {
            self.pass_through.take(exchange, key, incoming);
        }
        let Some(live) = exchange.live.as_deref_mut() else { return };
        let (partner_request, join_known) = (live.partner_request.take(), live.join_known);
        self.note_content(key, None);
        if kind == SpanKind::Client {
            self.judge_by_request_side(key, hasher.finish());
        }
        if !join_known {
            self.joins.head(&mut self.exchanges, &mut self.counters, key, [0; 16], self.now);
        }
        self.decide_settled();
        self.try_decide(key);
        if let Some(request) = partner_request {
            self.try_decide(request);
        }
    }

    /// The status of a reply. An error is the span's unless something worse ends the exchange.
    pub(super) fn reply_status(&mut self, key: Key, status: Status<'_>) {
        let Some(live) = self.exchanges.live_mut(key) else { return };
        let Some(span) = live.span.as_deref_mut() else { return };
        let Some(operation) = span.operation.as_deref_mut() else { return };
        operation.status = status.code.map(CompactString::from);
        span.error = status.is_error.then(|| status.code.unwrap_or("_OTHER").to_owned());
    }
}
