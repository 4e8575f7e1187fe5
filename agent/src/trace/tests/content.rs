//! Content: calls that forward a request, made by a proxy whose event loop says nothing.

use super::world::{Exchange, SECOND, World, get, thread};
use crate::{
    event::{ConnectionId, Thread},
    protocol::http::{Content, RequestHead},
    trace::span::Evidence,
};

const LOOP: Thread = Thread { pid: 1, tid: 1_000 };

fn head(base: u64, identity: u64) -> RequestHead<'static> {
    RequestHead { content: Some(Content { base, identity }), ..get("/") }
}

/// A proxy whose event loop reads everything that is there, then writes everything that is due.
/// Neither side of a call says anything.
struct Proxy {
    world: World,
    clients: Vec<ConnectionId>,
    backends: Vec<ConnectionId>,
}

impl Proxy {
    fn new() -> Self {
        let mut world = World::new();
        let clients = (0..3).map(|_| world.open(thread(1, 0))).collect();
        let backends = (0..3).map(|_| world.open(thread(1, 0))).collect();
        Self { world, clients, backends }
    }

    /// A proxy that is known to need contents.
    fn warm() -> Self {
        let mut proxy = Self::new();
        for round in 0..3 {
            proxy.round(&[head(1_000 + 2 * round, 0), head(1_001 + 2 * round, 0)], Clone::clone);
        }
        proxy.world.pass(SECOND);
        proxy
    }

    /// All requests arrive, are forwarded and are answered, in a mixed order.
    fn round(
        &mut self,
        heads: &[RequestHead<'static>],
        sent: impl Fn(&RequestHead<'static>) -> RequestHead<'static>,
    ) -> Vec<(Exchange, Exchange)> {
        let world = &mut self.world;
        let requests: Vec<_> = heads
            .iter()
            .zip(&self.clients)
            .map(|(head, it)| world.read_request_head(*it, LOOP, head.clone()))
            .collect();
        let calls: Vec<_> = heads
            .iter()
            .zip(&self.backends)
            .map(|(head, it)| world.write_request_head(*it, LOOP, sent(head)))
            .collect();
        for call in &calls {
            world.read_response(*call, LOOP);
        }
        for request in &requests {
            world.answer(*request, LOOP);
        }
        requests.into_iter().zip(calls).collect()
    }
}

#[test]
fn a_process_that_receives_nothing_needs_no_contents() {
    let mut world = World::new();
    let backend = world.open(thread(2, 0));
    let client = Thread { pid: 2, tid: 2_000 };
    let call = world.write_request_head(backend, client, head(1, 0));
    world.read_response(call, client);
    world.pass(SECOND);
    assert!(!world.tracer.wants_content());
    assert!(Proxy::warm().world.tracer.wants_content());
}

#[test]
fn a_proxy_with_one_event_loop_is_solved_by_content() {
    let mut proxy = Proxy::warm();
    let mut pairs = vec![];
    for round in 0..10 {
        let heads = [0, 1, 2].map(|at| head(10 * round + at, 0));
        pairs.extend(proxy.round(&heads, Clone::clone));
    }
    proxy.world.pass(SECOND);
    for (request, call) in pairs {
        proxy.world.assert_child(call, request, Evidence::Content);
    }
}

/// A proxy under load from its second request on. Nothing has to be learned first.
#[test]
fn the_first_calls_of_a_busy_proxy_get_parents() {
    let mut proxy = Proxy::new();
    assert!(!proxy.world.tracer.wants_content());
    proxy.round(&[get("/")], Clone::clone);
    let content = |base| proxy.world.tracer.wants_content().then_some(Content { base, identity: 0 });
    let heads = [1, 2, 3].map(|base| RequestHead { content: content(base), ..get("/") });
    let pairs = proxy.round(&heads, Clone::clone);
    proxy.world.pass(SECOND);
    for (request, call) in pairs {
        proxy.world.assert_child(call, request, Evidence::Content);
    }
}

/// A process that answers everything itself.
#[test]
fn contents_of_a_process_without_calls_are_kept_at_first_only() {
    let mut world = World::new();
    let (client, own) = (world.open(thread(2, 0)), thread(2, 0));
    for number in 0..300 {
        let request = world.read_request(client, own, "/");
        assert_eq!(world.tracer.wants_content(), number < 200, "request {number}");
        world.answer(request, own);
    }
    let backend = world.open(own);
    world.write_request(backend, own, "/");
    world.pass(SECOND);
    assert!(world.tracer.wants_content(), "a call that nothing explains");
}

#[test]
fn contents_are_not_kept_for_processes_that_exited() {
    let mut world = World::new();
    for (pid, exec) in [(2, true), (3, false)] {
        let client = world.open(thread(pid, 0));
        world.read_request(client, thread(pid, 0), "/");
        assert!(world.tracer.wants_content());
        if exec {
            world.exec(pid, "/bin/another");
        } else {
            world.exit(pid);
            world.pass(60 * SECOND);
        }
        assert!(!world.tracer.wants_content());
    }
}

/// Varnish: one thread reads a request and answers it, another one calls the backend. Every
/// response is covered by its own request, so response sides are trusted. But none ever comes, so
/// none is waited for.
#[test]
fn a_proxy_whose_calls_are_made_by_other_threads_is_solved_by_content() {
    let mut world = World::new();
    let clients = [0; 3].map(|_| world.open(thread(1, 0)));
    let backends = [0; 3].map(|_| world.open(thread(1, 0)));
    let mut last = vec![];
    for round in 0..200_u32 {
        let heads = [0, 1, 2].map(|at| head(u64::from(10 * round + at), 0));
        let mut requests = vec![];
        for (at, (client, head)) in (0..).zip(clients.iter().zip(&heads)) {
            requests.push((world.read_request_head(*client, thread(1, at), head.clone()), thread(1, at)));
        }
        let mut calls = vec![];
        for (at, (backend, head)) in (0..).zip(backends.iter().zip(&heads)) {
            // Any idle thread.
            let fetcher = thread(1, 10 + (at + round) % 3);
            calls.push(world.write_request_head(*backend, fetcher, head.clone()));
            world.read_response(calls[calls.len() - 1], fetcher);
        }
        for (request, session) in &requests {
            world.answer(*request, *session);
        }
        if round >= 5 {
            last.extend(requests.into_iter().map(|(request, _)| request).zip(calls));
        }
    }
    world.pass(SECOND);
    for (request, call) in last {
        world.assert_child(call, request, Evidence::Content);
    }
}

#[test]
fn equal_requests_match_nothing_unless_a_request_id_distinguishes_them() {
    let mut proxy = Proxy::warm();
    let alike = proxy.round(&[head(5, 0), head(5, 0)], Clone::clone);
    let named = proxy.round(&[head(5, 7), head(5, 8)], Clone::clone);
    proxy.world.pass(SECOND);
    for (_, call) in alike {
        proxy.world.assert_root(call);
    }
    for (request, call) in named {
        proxy.world.assert_child(call, request, Evidence::Content);
    }
}

#[test]
fn a_request_id_that_the_proxy_adds_is_ignored() {
    let mut proxy = Proxy::warm();
    let pairs = proxy.round(&[head(5, 0), head(6, 0)], |received| {
        let base = received.content.unwrap().base;
        head(base, base + 100)
    });
    proxy.world.pass(SECOND);
    for (request, call) in pairs {
        proxy.world.assert_child(call, request, Evidence::Content);
    }
}

#[test]
fn a_retried_call_matches_nothing() {
    let mut proxy = Proxy::warm();
    let world = &mut proxy.world;
    let other = world.read_request_head(proxy.clients[1], LOOP, head(6, 0));
    let request = world.read_request_head(proxy.clients[0], LOOP, head(5, 0));
    world.read_more(proxy.clients[1], LOOP);
    let calls = [0, 1].map(|at| world.write_request_head(proxy.backends[at], LOOP, head(5, 0)));
    for call in calls {
        world.read_response(call, LOOP);
    }
    world.answer(other, LOOP);
    world.answer(request, LOOP);
    world.pass(SECOND);
    for call in calls {
        world.assert_root(call);
    }
}

/// Two instances of the same program ask each other the same.
#[test]
fn equality_alone_matches_only_a_call_within_its_request() {
    let mut proxy = Proxy::warm();
    let world = &mut proxy.world;
    let asked = world.read_request_head(proxy.clients[0], LOOP, head(5, 0));
    world.answer(asked, LOOP);
    let own = world.write_request_head(proxy.backends[0], LOOP, head(5, 0));
    world.read_response(own, LOOP);
    let named = world.read_request_head(proxy.clients[0], LOOP, head(5, 9));
    world.answer(named, LOOP);
    let later = world.write_request_head(proxy.backends[0], LOOP, head(5, 9));
    world.read_response(later, LOOP);
    world.pass(SECOND);
    world.assert_root(own);
    world.assert_child(later, named, Evidence::Content);
}

#[test]
fn a_request_of_unknown_content_may_be_the_cause_too() {
    let mut proxy = Proxy::warm();
    let world = &mut proxy.world;
    let cut = world.read_request_head(proxy.clients[2], LOOP, get("/"));
    let pairs = proxy.round(&[head(5, 0), head(6, 0)], Clone::clone);
    proxy.world.answer(cut, LOOP);
    let cut = proxy.world.read_request_head(proxy.clients[2], LOOP, get("/long"));
    let again = proxy.round(&[head(7, 0), head(8, 0)], Clone::clone);
    proxy.world.answer(cut, LOOP);
    proxy.world.pass(SECOND);
    for (_, call) in pairs {
        proxy.world.assert_root(call);
    }
    for (request, call) in again {
        proxy.world.assert_child(call, request, Evidence::Content);
    }
}

/// An outage: a request from quiet times hangs, and its content was not kept.
#[test]
fn a_hanging_request_does_not_prevent_matches_of_others() {
    let mut proxy = Proxy::new();
    for _ in 0..201 {
        let request = proxy.world.read_request(proxy.clients[0], LOOP, "/");
        proxy.world.answer(request, LOOP);
    }
    assert!(!proxy.world.tracer.wants_content());
    let hangs = proxy.world.read_request(proxy.clients[2], LOOP, "/hangs");
    let first = proxy.round(&[get("/a"), get("/b")], Clone::clone);
    proxy.world.pass(SECOND);
    let content = |base| RequestHead { content: Some(Content { base, identity: 0 }), ..get("/a") };
    let pairs = proxy.round(&[content(1), content(2)], Clone::clone);
    proxy.world.answer(hangs, LOOP);
    proxy.world.pass(SECOND);
    for (_, call) in first {
        proxy.world.assert_root(call);
    }
    for (request, call) in pairs {
        proxy.world.assert_child(call, request, Evidence::Content);
    }
}

#[test]
fn lost_events_make_no_parent() {
    let mut proxy = Proxy::warm();
    let world = &mut proxy.world;
    let requests = [0, 1].map(|at| world.read_request_head(proxy.clients[at], LOOP, head(5 + at as u64, 0)));
    world.lose(1);
    let calls = [0, 1].map(|at| world.write_request_head(proxy.backends[at], LOOP, head(5 + at as u64, 0)));
    for call in calls {
        world.read_response(call, LOOP);
    }
    for request in requests {
        world.answer(request, LOOP);
    }
    world.pass(SECOND);
    for call in calls {
        world.assert_root(call);
    }
}
