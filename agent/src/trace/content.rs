//! Content: a proxy forwards what it received. Where one event loop serves everything, its threads
//! say nothing about causes. There a call is taken to be caused by a request if method, target and
//! end-to-end fields are the same, and if exactly one such request was received before it and
//! exactly one such call was sent.
//!
//! Equality alone would also join the independent requests of two similar programs. So one of two
//! more conditions must hold: the call lies within the request (sent after the request arrived,
//! answered before the request was), or both carry the same `X-Request-ID` or a similar field.
//!
//! Only processes that receive requests take part: during their first requests in any case, later
//! only if they have calls that nothing else explains. A request whose content is not known,
//! because it was read earlier or its head was truncated, may also be the cause while it is open.
//! So its method or target must differ from the call's. What is remembered is bounded in number and
//! in time.

use std::collections::{VecDeque, hash_map::Entry};

use rustc_hash::FxHashMap;

use super::{
    Tracer,
    causality::{self, UnlinkedReason},
    exchange::{Exchange, Key},
    exchanges::Exchanges,
    http::Http,
    process::Process,
    span::SpanKind,
};
use crate::{event::Timestamp, protocol::http::Content};

/// Nanoseconds within which equal requests and calls are compared.
const WINDOW: u64 = 60_000_000_000;
/// Requests and calls that are remembered.
const REMEMBERED: usize = 65_536;
/// Requests with the same content that are looked at. Two are too many already.
const LOOKED_AT: usize = 8;
/// Open requests of unknown content that a call is compared with. If there are more, its content
/// says nothing.
const WITHOUT_CONTENT: usize = 64;

/// Stands for a process and a content. The parts of a content are keyed hashes of 64 bits. So two
/// names are equal by chance as rarely as two contents.
type Name = u64;

const fn name(pid: u32, content: Content) -> Name {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    content.base ^ content.identity.rotate_left(32) ^ (pid as u64).wrapping_mul(ODD)
}

/// The requests and calls of the last minute.
#[derive(Debug, Default)]
pub(super) struct Contents {
    seen: FxHashMap<Name, Seen>,
    /// The same in the order in which they came.
    order: VecDeque<(Timestamp, Name, Side)>,
    /// Entries that were evicted within the minute.
    pub(super) forgotten: u64,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Request,
    Call,
}

#[derive(Debug, Default)]
struct Seen {
    /// The oldest request, and the later ones. Mostly there is only one.
    first: Option<(Timestamp, Key)>,
    more: VecDeque<(Timestamp, Key)>,
    calls: u64,
}

impl Contents {
    /// A request was received.
    pub(super) fn request(&mut self, pid: u32, key: Key, at: Timestamp, content: Content) {
        let name = name(pid, content);
        self.seen.entry(name).or_default().add(at, key);
        self.note(at, name, Side::Request);
    }

    /// A call was sent. A call with a request id may forward a request without one, because proxies
    /// add them.
    pub(super) fn call(&mut self, pid: u32, at: Timestamp, content: Content) {
        self.call_named(at, name(pid, content));
        if let Some(content) = anonymous(content) {
            self.call_named(at, name(pid, content));
        }
    }

    fn call_named(&mut self, at: Timestamp, name: Name) {
        self.seen.entry(name).or_default().calls += 1;
        self.note(at, name, Side::Call);
    }

    /// The only request before `at` that the only call with this content can forward, and whether
    /// both have the same request id.
    fn only(&self, pid: u32, at: Timestamp, content: Content) -> Option<(Key, bool)> {
        if content.identity != 0
            && let Some(seen) = self.seen.get(&name(pid, content)).filter(|seen| seen.first.is_some())
        {
            return seen.only(at).map(|key| (key, true));
        }
        let content = anonymous(content).unwrap_or(content);
        self.seen.get(&name(pid, content))?.only(at).map(|key| (key, false))
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

/// The content without its request id, if it has one.
const fn anonymous(content: Content) -> Option<Content> {
    if content.identity == 0 { None } else { Some(Content { identity: 0, ..content }) }
}

/// What the content of a call says about its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Parent(Key),
    /// It will be known when the request is answered.
    Later,
    Nothing,
}

impl Tracer {
    /// Whether any process needs contents.
    #[must_use]
    pub const fn wants_content(&self) -> bool {
        self.settings.causality.content && self.processes.keep_contents()
    }

    /// The head of a request or a call was read.
    pub(super) fn note_content(&mut self, key: Key, content: Option<Content>) {
        let Some(content) = content else { return self.note_without_content(key) };
        let Some(exchange) = self.exchanges.get(key) else { return };
        let (pid, at) = (exchange.pid, exchange.at);
        let Some(process) = self.processes.get_mut(pid).filter(|process| process.keeps_contents()) else {
            return;
        };
        let known = match exchange.kind {
            SpanKind::Server => {
                if !exchange.links.is_answered() && !exchange.links.has_known_content() {
                    process.unknown_contents = process.unknown_contents.saturating_sub(1);
                }
                self.contents.request(pid, key, at, content);
                true
            }
            SpanKind::Client => {
                self.contents.call(pid, at, content);
                differs_from_others(&self.exchanges, process, exchange)
            }
        };
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        if known {
            exchange.links.set_content_known();
        }
        if let Some(live) = exchange.live.as_deref_mut() {
            live.content = Some(content);
        }
    }

    /// A head was read whose content is not known.
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

    /// Looks for the request that a call without another parent forwards.
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
            // When the call ends it shows whether its program gave it up.
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

/// Whether no open request of unknown content can be what this call of the process forwards.
fn differs_from_others(exchanges: &Exchanges, process: &mut Process, call: &Exchange) -> bool {
    if process.unknown_contents == 0 {
        process.without_content.clear();
        return true;
    }
    if process.unknown_contents > WITHOUT_CONTENT as u64 {
        return false;
    }
    let waits =
        |key: &Key| exchanges.get(*key).filter(|it| !it.links.is_answered() && !it.links.has_known_content());
    process.without_content.retain(|key| waits(key).is_some());
    let unlike = |key: &&Key| waits(key).is_some_and(|request| differ(request, call));
    let open = &process.without_content;
    open.len() as u64 == process.unknown_contents && open.iter().filter(unlike).count() == open.len()
}

fn http(exchange: &Exchange) -> Option<&Http> {
    exchange.live.as_deref()?.span.as_deref()?.http.as_ref()
}

/// Whether the call does not forward this request, by method and target. The target of the request
/// may be truncated.
fn differ(request: &Exchange, call: &Exchange) -> bool {
    let (Some(request), Some(call)) = (http(request), http(call)) else { return false };
    let (Some(received), Some(sent)) = (request.path(), call.path()) else { return false };
    if request.method != call.method {
        return true;
    }
    match request.query() {
        None => !sent.starts_with(received),
        Some(query) => received != sent || !call.query().is_some_and(|sent| sent.starts_with(query)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content = Content { base: 5, identity: 0 };
    const NAMED: Content = Content { base: 5, identity: 9 };

    fn key(number: u32) -> Key {
        Key::of_none(number)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn a_call_matches_the_only_request_before_it() {
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
        assert_eq!(1 + contents.seen[&name(1, CONTENT)].more.len(), 2, "older ones are forgotten");
    }

    #[test]
    fn a_content_that_is_sent_twice_matches_nothing() {
        let mut contents = Contents::default();
        contents.request(1, key(1), at(1), CONTENT);
        contents.call(1, at(2), NAMED);
        assert_eq!(contents.only(1, at(2), NAMED), Some((key(1), false)), "the proxy added an identity");
        contents.call(1, at(3), Content { identity: 10, ..CONTENT });
        assert_eq!(contents.only(1, at(2), NAMED), None);
    }

    #[test]
    fn a_request_id_distinguishes_equal_requests() {
        let mut contents = Contents::default();
        contents.request(1, key(1), at(1), NAMED);
        contents.request(1, key(2), at(1), Content { identity: 10, ..CONTENT });
        contents.request(1, key(3), at(1), CONTENT);
        contents.call(1, at(2), NAMED);
        assert_eq!(contents.only(1, at(2), NAMED), Some((key(1), true)));
    }

    #[test]
    fn remembered_contents_are_bounded() {
        let mut contents = Contents::default();
        for number in 0..2 * REMEMBERED as u32 {
            contents.request(1, key(number), at(1), Content { base: number.into(), identity: 0 });
        }
        assert_eq!((contents.order.len(), contents.seen.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(contents.forgotten, REMEMBERED as u64);
    }
}
