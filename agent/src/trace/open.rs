//! Exchanges that have not ended: how many there are, and since when the oldest one is open.

use super::{
    deadlines::Deadlines,
    exchange::{Exchange, Key},
    exchanges::Exchanges,
    span::SpanKind,
};
use crate::event::Timestamp;

#[derive(Debug)]
pub(super) struct OpenExchanges {
    pub(super) server: u64,
    pub(super) client: u64,
    /// In the order of their requests. May contain exchanges that have ended.
    order: Deadlines<Key>,
}

impl OpenExchanges {
    pub(super) const fn new() -> Self {
        Self { server: 0, client: 0, order: Deadlines::new() }
    }

    /// A request of this kind was seen at `now`.
    pub(super) fn begin(&mut self, exchanges: &Exchanges, kind: SpanKind, key: Key, now: Timestamp) {
        *self.of(kind) += 1;
        self.order.push(now, key);
        self.order.compact(|key: &Key| exchanges.get(*key).is_some_and(Exchange::open));
    }

    /// An exchange of this kind has ended.
    pub(super) fn end(&mut self, kind: SpanKind) {
        let open = self.of(kind);
        *open = open.saturating_sub(1);
    }

    /// Since when the oldest one is open.
    pub(super) fn oldest(&self, exchanges: &Exchanges) -> Option<Timestamp> {
        self.order.first(|key| exchanges.get(*key).is_some_and(Exchange::open))
    }

    const fn of(&mut self, kind: SpanKind) -> &mut u64 {
        match kind {
            SpanKind::Server => &mut self.server,
            SpanKind::Client => &mut self.client,
        }
    }
}
