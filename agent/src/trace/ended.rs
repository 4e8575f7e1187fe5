//! Ends of connections as threads see them. A thread that reads the peer's FIN or closes a
//! connection knows from then on that a call on it gets no response. That is as good a cause for
//! its next send as a response would be. The kernel's last receive covers bytes only, so the tracer
//! adds these ends.

use super::{
    Tracer,
    causality::Causality,
    exchange::{Exchange, Key},
    span::SpanKind,
};
use crate::{
    event::{Actor, ConnectionId, Timestamp},
    protocol::Origin,
};

impl Tracer {
    /// A thread has closed a connection. Called before the parser ends its exchanges.
    pub(super) fn closed_by(&mut self, id: ConnectionId, actor: &Actor, at: Timestamp) {
        self.notice_given_up(id, actor);
        self.notice_end(id, actor);
        self.notice_closing(id, actor, at);
    }

    /// A thread has shut down its sending direction. Called before the parser sees that.
    pub(super) fn shut_by(&mut self, id: ConnectionId, actor: &Actor, at: Timestamp) {
        self.notice_given_up(id, actor);
        if let Some(call) = self.last_exchange(id) {
            call.links.shut();
        }
        self.notice_closing(id, actor, at);
    }

    /// If a thread closes a call right after it has answered a request, with nothing read in
    /// between, it has given that call up. In tokio, a timeout drops what it cancels once the task
    /// that waited for it has run on. If nothing else says whose call it is, this only explains why
    /// nothing was read before the response.
    fn notice_given_up(&mut self, id: ConnectionId, actor: &Actor) {
        let is_open = |call: &&mut Exchange| {
            call.kind == SpanKind::Client
                && call.pid == actor.thread.pid
                && call.open()
                && !call.links.is_answered()
        };
        let Some(call) = self.last_exchange(id).filter(is_open).map(|call| call.key) else { return };
        if let Some(answered) = self.receives.answered_before_close(actor, call) {
            Causality::closed_after_response(&mut self.exchanges, &mut self.processes, call, answered);
        }
    }

    /// The exchange that began last on a connection, unless it is one of several that are
    /// interleaved.
    fn last_exchange(&mut self, id: ConnectionId) -> Option<&mut Exchange> {
        let connection = self.exchanges.connection(id).filter(|connection| !connection.is_multiplexed())?;
        let key = self.exchanges.last(connection)?.key;
        self.exchanges.get_mut(key)
    }

    /// A thread has read the peer's FIN or closed the connection, so a call on it that is not
    /// answered never will be. Counts if no other thread has seen that before. Called before the
    /// parser ends the exchange.
    pub(super) fn notice_end(&mut self, id: ConnectionId, actor: &Actor) {
        // The end of a multiplexed connection tells nothing of one call among several.
        let Some(connection) = self.exchanges.connection(id).filter(|it| !it.is_multiplexed()) else {
            return;
        };
        let begun = |exchange: &&Exchange| exchange.receives_from != u64::MAX;
        let Some(call) = self.exchanges.of(connection).rev().find(begun) else {
            return;
        };
        let ends = call.kind == SpanKind::Client
            && call.pid == actor.thread.pid
            && (call.open() || call.links.has_failed())
            && call.links.may_end();
        let (key, pid, position) = (call.key, call.pid, call.receives_from);
        let request_side = call.links.request_side();
        let failed = call.links.has_failed() && !call.links.is_given_up();
        let answered = |request: Key| self.exchanges.get(request).is_none_or(|it| it.links.is_answered());
        // Where request sides say whose a call is, one that is closed after its request was
        // answered is mere cleanup, unless the peer had ended it.
        let started = self.processes.get(pid).is_some_and(|process| process.confidence.agrees_mostly());
        if !ends || !failed && started && request_side.is_some_and(answered) {
            return;
        }
        self.receives.saw_end(&self.exchanges, actor, (id, position));
        if let Some(call) = self.exchanges.get_mut(key) {
            call.links.see_end(actor);
        }
    }

    /// A thread has shut down its sending direction or closed the connection. Requests on it that
    /// are not answered never will be, and this thread is the one that decided so.
    fn notice_closing(&mut self, id: ConnectionId, actor: &Actor, at: Timestamp) {
        let open = |exchange: &Exchange| {
            exchange.kind == SpanKind::Server
                && exchange.pid == actor.thread.pid
                && exchange.open()
                && !exchange.links.is_answered()
        };
        let open = self.keys(id, open);
        if open.is_empty() {
            return;
        }
        let last_receive = self.receives.last_receive_of(&self.exchanges, actor);
        let closing = Origin { at, thread: actor.thread, position: 0, last_receive, task: actor.task };
        for key in open {
            if let Some(live) = self.exchanges.live_mut(key) {
                live.closing.get_or_insert_with(|| Box::new(closing));
            }
        }
    }
}
