//! Content: a proxy sends on what it received. Where the threads of a process tell nothing (one loop serves all), a call whose
//! method, target and end-to-end fields are those of exactly one request that its process received before it, and that went
//! out exactly once, was caused by that request.
//!
//! Equality alone would also join what two programs of the same make ask each other. So one of these must hold besides: the
//! call lies inside of the request (sent after it came, answered before it was), or both propagate_cause the same `X-Request-ID` or
//! its like.
//!
//! Only processes that receive requests take part: with their first requests at any rate, from then on if they have calls that
//! nothing else explains. Of a request that was read before, or whose head is cut, method and target must differ as long as it is
//! open: it may be the cause, too. What is remembered is bounded, in number and in time.

use std::collections::{VecDeque, hash_map::Entry};

use rustc_hash::FxHashMap;

use super::{
    Tracer,
    causality::{self, UnlinkedReason},
    exchange::{Exchange, Key},
    span::{Http, SpanKind},
};
use crate::{event::Timestamp, protocol::Content};

/// What equals was received or sent within this time: nanoseconds.
const WINDOW: u64 = 60_000_000_000;
/// Requests and calls that are remembered.
const REMEMBERED: usize = 65_536;
/// More requests with one content than these need not be looked at: two are too many.
const LOOKED_AT: usize = 8;
/// Open requests without content that a call is compared with. Where there are more its content says nothing.
const WITHOUT_CONTENT: usize = 64;

/// Content within a process.
type Name = (u32, Content);

/// The requests and calls of the last minute.
#[derive(Debug, Default)]
pub(super) struct Contents {
    seen: FxHashMap<Name, Seen>,
    /// The same in the order in which they came.
    order: VecDeque<(Timestamp, Name, Side)>,
    /// Forgotten before their time, to make room.
    pub(super) forgotten: u64,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Request,
    Call,
}

#[derive(Debug, Default)]
struct Seen {
    /// The oldest request, mostly the only one, and those after it.
    first: Option<(Timestamp, Key)>,
    more: VecDeque<(Timestamp, Key)>,
    calls: u64,
}

impl Contents {
    /// A request was received.
    pub(super) fn request(&mut self, pid: u32, key: Key, at: Timestamp, content: Content) {
        let name = (pid, content);
        self.seen.entry(name).or_default().add(at, key);
        self.note(at, name, Side::Request);
    }

    /// A call was sent. One with an identity may be that of a request without: proxies add them.
    pub(super) fn call(&mut self, pid: u32, at: Timestamp, content: Content) {
        for name in
            [Some((pid, content)), anonymous(content).map(|content| (pid, content))].into_iter().flatten()
        {
            self.seen.entry(name).or_default().calls += 1;
            self.note(at, name, Side::Call);
        }
    }

    /// The only request before `at` that the only call with this content can be, and whether they share an identity.
    fn only(&self, pid: u32, at: Timestamp, content: Content) -> Option<(Key, bool)> {
        if content.identity != 0
            && let Some(seen) = self.seen.get(&(pid, content)).filter(|seen| seen.first.is_some())
        {
            return seen.only(at).map(|key| (key, true));
        }
        let content = anonymous(content).unwrap_or(content);
        self.seen.get(&(pid, content))?.only(at).map(|key| (key, false))
    }

    fn note(&mut self, at: Timestamp, name: Name, side: Side) {
        self.order.push_back((at, name, side));
        while let Some((oldest, ..)) = self.order.front() {
            let crowded = self.order.len() > REMEMBERED;
            if at.since(*oldest) <= WINDOW && !crowded {
                return;
            }
            self.forgotten += u64::from(at.since(*oldest) <= WINDOW);
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, name, side)) = self.order.pop_front() else { return };
        let Entry::Occupied(mut entry) = self.seen.entry(name) else { return };
        let seen = entry.get_mut();
        match side {
            Side::Request => seen.first = seen.more.pop_front(),
            Side::Call => seen.calls -= 1,
        }
        if seen.first.is_none() && seen.calls == 0 {
            entry.remove();
        }
    }
}

impl Seen {
    fn add(&mut self, at: Timestamp, request: Key) {
        match self.first {
            None => self.first = Some((at, request)),
            Some(_) => self.more.push_back((at, request)),
        }
    }

    fn only(&self, at: Timestamp) -> Option<Key> {
        if self.calls != 1 || self.more.len() >= LOOKED_AT {
            return None;
        }
        let mut before = self.first.iter().chain(&self.more).filter(|(received, _)| *received < at);
        let (_, key) = before.next()?;
        before.next().is_none().then_some(*key)
    }
}

/// The content without its identity, if it has one.
const fn anonymous(content: Content) -> Option<Content> {
    if content.identity == 0 { None } else { Some(Content { identity: 0, ..content }) }
}

/// What content says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Parent(Key),
    /// It will be known when the request is answered.
    Later,
    Nothing,
}

impl Tracer {
    /// Whether contents are of use to any process.
    #[must_use]
    pub const fn wants_content(&self) -> bool {
        self.settings.causality.content && self.processes.keep_contents()
    }

    /// The head of a request or a call was read.
    pub(super) fn note_content(&mut self, key: Key, content: Option<Content>) {
        let Some(content) = content else { return self.note_without_content(key) };
        let compared = self.differs_from_others(key);
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let (pid, at) = (exchange.pid, exchange.at);
        let Some(process) = self.processes.get_mut(pid).filter(|process| process.keeps_contents()) else {
            return;
        };
        if let Some(live) = exchange.live.as_deref_mut() {
            live.content = Some(content);
        }
        match exchange.kind {
            SpanKind::Server => {
                if !exchange.links.is_answered() && !exchange.links.has_known_content() {
                    process.unknown_contents = process.unknown_contents.saturating_sub(1);
                }
                exchange.links.set_content_known();
                self.contents.request(pid, key, at, content);
            }
            SpanKind::Client => {
                if compared {
                    exchange.links.set_content_known();
                }
                self.contents.call(pid, at, content);
            }
        }
    }

    /// A head was read, and its content is not known.
    fn note_without_content(&mut self, key: Key) {
        let Some(request) = self.exchanges.get(key).filter(|it| it.kind == SpanKind::Server) else { return };
        let Some(process) = self.processes.get_mut(request.pid).filter(|process| process.keeps_contents())
        else {
            return;
        };
        if process.without_content.len() <= WITHOUT_CONTENT {
            process.without_content.push(key);
        }
    }

    /// Whether no open request without content can be what a call sends on.
    fn differs_from_others(&mut self, call: Key) -> bool {
        let Some(call) = self.exchanges.get(call).filter(|it| it.kind == SpanKind::Client) else {
            return false;
        };
        let Some(process) = self.processes.get_mut(call.pid) else { return false };
        if process.unknown_contents == 0 {
            process.without_content.clear();
            return true;
        }
        if process.unknown_contents > WITHOUT_CONTENT as u64 {
            return false;
        }
        let exchanges = &self.exchanges;
        let waits = |key: &Key| {
            exchanges.get(*key).filter(|it| !it.links.is_answered() && !it.links.has_known_content())
        };
        process.without_content.retain(|key| waits(key).is_some());
        let unlike = |key: &&Key| waits(key).is_some_and(|request| differ(request, call));
        let open = &process.without_content;
        open.len() as u64 == process.unknown_contents && open.iter().filter(unlike).count() == open.len()
    }

    /// Looks for the request of a call that has no parent otherwise.
    pub(super) fn by_content(&mut self, key: Key, reason: UnlinkedReason) -> Found {
        if !self.settings.causality.content || matches!(reason, UnlinkedReason::Loss | UnlinkedReason::Limit)
        {
            return Found::Nothing;
        }
        let Some(call) = self.exchanges.get(key) else { return Found::Nothing };
        let exchanges = &self.exchanges;
        let open = || {
            let unknown = |key: &Key| exchanges.get(*key).is_some_and(|it| !it.links.has_known_content());
            exchanges.unanswered(call.pid).into_iter().map(|(key, _)| key).filter(unknown).collect()
        };
        if !self.processes.need_contents(call.pid, open) {
            return Found::Nothing;
        }
        let Some(content) = call.live.as_deref().and_then(|live| live.content) else { return Found::Nothing };
        let Some((request, identified)) = self.contents.only(call.pid, call.at, content) else {
            return Found::Nothing;
        };
        let Some(received) = self.exchanges.get(request) else { return Found::Nothing };
        let lost = |exchange: &Exchange| causality::lost(&self.processes, exchange);
        if lost(call) || lost(received) || call.links.agree_on_other(request) {
            return Found::Nothing;
        }
        if received.links.is_answered() && call.at <= received.links.answered_at() && call.open() {
            // Whether its program gives it up shows when it ends.
            return Found::Later;
        }
        if received.links.is_answered() {
            let sent_inside = call.at <= received.links.answered_at();
            let inside =
                sent_inside && call.links.has_known_content() && call.links.over_within(&received.links);
            return if inside || identified { Found::Parent(request) } else { Found::Nothing };
        }
        self.await_response(key, request)
    }

    fn await_response(&mut self, call: Key, request: Key) -> Found {
        let bound = self.settings.calls_per_request;
        match self.exchanges.live_mut(request) {
            Some(live) if live.same_content.len() < bound => {
                if !live.same_content.contains(&call) {
                    live.same_content.push(call);
                }
                Found::Later
            }
            _ => Found::Nothing,
        }
    }
}

fn http(exchange: &Exchange) -> Option<&Http> {
    exchange.live.as_deref()?.span.http.as_ref()
}

/// Whether a request with such a method and target is not what the call sends on. What was read of the target may be cut.
fn differ(request: &Exchange, call: &Exchange) -> bool {
    let (Some(request), Some(call)) = (http(request), http(call)) else { return false };
    let (Some(received), Some(sent)) = (&request.path, &call.path) else { return false };
    if request.method != call.method {
        return true;
    }
    match &request.query {
        None => !sent.starts_with(received.as_str()),
        Some(query) => {
            received != sent || !call.query.as_ref().is_some_and(|sent| sent.starts_with(query.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::ConnectionId, trace::slots::Slot};

    const CONTENT: Content = Content { base: 5, identity: 0 };
    const NAMED: Content = Content { base: 5, identity: 9 };

    fn key(number: u64) -> Key {
        Key { connection: ConnectionId(number), ordinal: 0, slot: Slot::NONE }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn one_request_before_one_call() {
        let mut contents = Contents::default();
        assert_eq!(contents.only(1, at(9), CONTENT), None);
        contents.request(1, key(1), at(1), CONTENT);
        contents.call(1, at(2), CONTENT);
        assert_eq!(contents.only(1, at(2), CONTENT), Some((key(1), false)));
        assert_eq!(contents.only(2, at(2), CONTENT), None, "another process");
        assert_eq!(contents.only(1, at(1), CONTENT), None, "not before it");
        contents.request(1, key(2), at(3), CONTENT);
        assert_eq!(contents.only(1, at(2), CONTENT), Some((key(1), false)), "what comes later is no cause");
        assert_eq!(contents.only(1, at(4), CONTENT), None);
        contents.request(1, key(3), at(61), CONTENT);
        contents.request(1, key(4), at(64), CONTENT);
        assert_eq!(1 + contents.seen[&(1, CONTENT)].more.len(), 2, "older ones are forgotten");
    }

    #[test]
    fn what_goes_out_twice_is_nobodys() {
        let mut contents = Contents::default();
        contents.request(1, key(1), at(1), CONTENT);
        contents.call(1, at(2), NAMED);
        assert_eq!(contents.only(1, at(2), NAMED), Some((key(1), false)), "the proxy added an identity");
        contents.call(1, at(3), Content { identity: 10, ..CONTENT });
        assert_eq!(contents.only(1, at(2), NAMED), None);
    }

    #[test]
    fn an_identity_tells_alike_requests_apart() {
        let mut contents = Contents::default();
        contents.request(1, key(1), at(1), NAMED);
        contents.request(1, key(2), at(1), Content { identity: 10, ..CONTENT });
        contents.request(1, key(3), at(1), CONTENT);
        contents.call(1, at(2), NAMED);
        assert_eq!(contents.only(1, at(2), NAMED), Some((key(1), true)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut contents = Contents::default();
        for number in 0..2 * REMEMBERED as u64 {
            contents.request(1, key(number), at(1), Content { base: number, identity: 0 });
        }
        assert_eq!((contents.order.len(), contents.seen.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(contents.forgotten, REMEMBERED as u64);
    }
}
