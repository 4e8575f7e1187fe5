//! Causality from two sides: which request caused a call.

use super::{
    scenario::{Server, call_of, conflict_in, earn_confidence, one_call},
    world::{SECOND, World, complete, ended, ok, status, thread},
};
use crate::{
    protocol::Outcome,
    trace::{Settings, causality::Rules, span::Evidence},
};

#[test]
fn a_keep_alive_proxy_under_concurrency() {
    let mut world = World::new();
    let proxy = thread(1, 0);
    earn_confidence(&mut world);
    let clients: Vec<_> = (0..8).map(|_| world.open(proxy)).collect();
    let backends: Vec<_> = (0..8).map(|_| world.open(proxy)).collect();
    let mut pairs = Vec::new();
    for round in 0..20 {
        let mut open = Vec::new();
        for (client, backend) in clients.iter().zip(&backends) {
            let request = world.read_request(*client, proxy, "/");
            let call = world.write_request(*backend, proxy, "/");
            open.push((request, call));
        }
        // The order of the responses differs from the order of the requests.
        open.rotate_left(round % 8);
        for (request, call) in open {
            world.read_response(call, proxy);
            world.answer(request, proxy);
            pairs.push((request, call));
        }
    }
    world.pass(SECOND);
    for (request, call) in pairs {
        world.assert_child(call, request, Evidence::BothSides);
        world.assert_root(request);
    }
    assert_eq!(world.spans.len(), 120 + 320);
    assert_eq!(world.tracer.counters().conflicts, 0);
}

#[test]
fn the_first_call_needs_no_history() {
    let mut world = World::new();
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::BothSides);
}

/// A pool gives a new connection to whoever waits when it is ready. The one who made it gets
/// another one.
#[test]
fn connections_that_a_pool_gives_away_make_no_wrong_parents() {
    let mut world = World::new();
    let own = thread(1, 0);
    earn_confidence(&mut world);
    let clients = [world.open(own), world.open(own)];
    let idle = world.open(own);
    let mut pairs = Vec::new();
    for _ in 0..20 {
        let first = world.read_request(clients[0], own, "/");
        let made = world.connect(own);
        let taken = world.write_request(idle, own, "/");
        let second = world.read_request(clients[1], own, "/");
        let calls = [(first, taken), (second, world.write_request(made, own, "/"))];
        for (request, call) in calls {
            world.read_response(call, own);
            world.answer(request, own);
        }
        pairs.push(calls);
    }
    world.pass(SECOND);
    for (request, call) in pairs.into_iter().skip(4).flatten() {
        world.assert_child(call, request, Evidence::BothSides);
    }
}

/// Node with a timer before each call. The request side names any request, the response side names
/// the right one.
#[test]
fn a_timer_before_the_call_is_solved_by_response_sides() {
    let mut world = World::new();
    let own = thread(1, 0);
    let clients: Vec<_> = (0..4).map(|_| world.open(own)).collect();
    let backends: Vec<_> = (0..4).map(|_| world.open(own)).collect();
    let mut pairs = Vec::new();
    for _ in 0..40 {
        let requests: Vec<_> = clients.iter().map(|client| world.read_request(*client, own, "/")).collect();
        // Every timer fires after the last request was read.
        let calls: Vec<_> = backends.iter().map(|backend| world.write_request(*backend, own, "/")).collect();
        for (request, call) in requests.into_iter().zip(calls) {
            world.read_response(call, own);
            world.answer(request, own);
            pairs.push((request, call));
        }
    }
    world.pass(SECOND);
    for (_, call) in &pairs[..36] {
        assert!(world.span(*call).parent.is_none());
    }
    for (request, call) in &pairs[40..] {
        let evidence = world.span(*call).parent.expect("a parent").evidence;
        assert!(matches!(evidence, Evidence::ResponseSide | Evidence::BothSides));
        world.assert_child(*call, *request, evidence);
    }
}

/// A completion queue: any worker answers, so a response side says nothing about the answered
/// request.
#[test]
fn response_sides_across_threads_are_not_trusted() {
    let mut world = World::new();
    let (loop_thread, workers) = (thread(1, 0), [thread(1, 1), thread(1, 2)]);
    let clients = [world.open(loop_thread), world.open(loop_thread)];
    let backends = [world.open(workers[0]), world.open(workers[1])];
    for _ in 0..200 {
        let requests = clients.map(|client| world.read_request(client, loop_thread, "/"));
        for at in [0, 1] {
            let call = world.write_request(backends[at], workers[at], "/");
            world.read_response(call, workers[at]);
            // Which request is answered has nothing to do with whose call this was.
            world.answer(requests[1 - at], workers[at]);
        }
    }
    world.pass(40 * SECOND);
    let counters = world.tracer.counters();
    assert_eq!(
        (counters.parents_response_side, counters.parents_request_side, counters.parents_both_sides),
        (0, 0, 0)
    );
}

/// Evidence that is switched off names no parent.
#[test]
fn evidence_can_be_switched_off() {
    let causality = Rules {
        both_sides: false,
        request_side: false,
        response_side: false,
        task: false,
        goroutine: false,
        across_threads: false,
        content: false,
    };
    let mut world = World::with(Settings { causality, open_notice: None, ..Settings::default() });
    earn_confidence(&mut world);
    let (request, call) = one_call(&mut world);
    world.assert_root(call);
    world.assert_root(request);
}

#[test]
fn the_first_calls_under_concurrency_are_not_trusted() {
    let mut server = Server::new();
    let (one, two) = (server.open(), server.open());
    let mut rounds = Vec::new();
    for _ in 0..31 {
        let request = server.request_on(one, "/");
        let backend = server.open();
        let other = server.request_on(two, "/other");
        let call = server.call_on(backend, "/");
        server.read(call);
        server.answer(other);
        server.answer(request);
        rounds.push((call, other));
    }
    server.wait();
    for (call, _) in &rounds[..29] {
        server.assert_root(*call);
    }
    for (call, other) in &rounds[29..] {
        server.assert_child(*call, *other);
    }
    assert_eq!(server.counters().unlinked_unproven, 29);
}

#[test]
fn a_conflict_unlinks_the_calls_of_the_whole_process() {
    let mut world = World::new();
    let call = conflict_in(&mut world, 1);
    world.pass(SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().conflicts, 1);
    assert_eq!(world.tracer.counters().unlinked_conflict, 1);

    let (request, call) = one_call(&mut world);
    world.assert_root(call);
    world.assert_root(request);
    assert!(!world.span(call).parent_unknown, "it is known to have no known parent");

    for _ in 0..400 {
        one_call(&mut world);
    }
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::BothSides);
}

#[test]
fn another_process_is_judged_by_itself() {
    let mut world = World::new();
    conflict_in(&mut world, 2);
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::BothSides);
}

#[test]
fn a_child_process_earns_its_own_confidence() {
    let mut world = World::new();
    conflict_in(&mut world, 1);
    world.fork(thread(1, 0), thread(9, 0));
    let (request, call) = call_of(&mut world, thread(9, 0));
    world.assert_child(call, request, Evidence::BothSides);
    assert_eq!(&*world.span(call).process.service_name, "service-1");
    assert_eq!(world.span(call).process.pid, 9);
}

#[test]
fn two_calls_in_a_row_confirm_each_other() {
    let mut server = Server::new();
    let backend = server.open();
    let request = server.request("/");
    let first = server.call_on(backend, "/1");
    server.read(first);
    let second = server.call_on(backend, "/2");
    server.read(second);
    server.answer(request);
    server.wait();
    server.assert_child(first, request);
    server.assert_child(second, request);
}

#[test]
fn a_chain_whose_response_side_is_another_request_conflicts_as_a_whole() {
    let mut server = Server::new();
    let backend = server.open();
    let other = server.request("/other");
    let request = server.request("/");
    let first = server.call_on(backend, "/1");
    server.read(first);
    let second = server.call_on(backend, "/2");
    server.read(second);
    server.answer(other);
    server.answer(request);
    server.wait();
    server.assert_root(first);
    server.assert_root(second);
    assert_eq!(server.counters().conflicts, 2);
}

#[test]
fn body_bytes_count_as_a_receive() {
    let mut server = Server::new();
    let own = server.thread;
    let request = server.request("/");
    let call = server.call("/");
    server.world.respond(call, own, ok());
    server.world.read_more(call.connection, own);
    server.world.respond(request, own, ok());
    server.world.read_more(call.connection, own);
    server.world.end(call, complete());
    server.world.end(request, complete());
    server.wait();
    server.assert_child(call, request);
}

#[test]
fn an_interim_response_answers_nothing() {
    let mut server = Server::new();
    let own = server.thread;
    let request = server.request("/");
    server.world.respond(request, own, status(100));
    server.world.read_more(request.connection, own);
    let call = server.call("/");
    server.read(call);
    server.answer(request);
    server.wait();
    server.assert_child(call, request);
    assert_eq!(server.world.span(request).http.as_ref().unwrap().status, Some(200));
}

#[test]
fn a_call_still_open_when_its_request_is_answered_is_unlinked() {
    let mut server = Server::new();
    let request = server.request("/");
    let call = server.call("/");
    server.answer(request);
    server.read(call);
    server.wait();
    server.assert_root(call);
    assert_eq!(server.counters().unlinked_request_side_only, 1);
}

#[test]
fn a_call_without_a_receive_is_a_root_at_once() {
    let mut server = Server::new();
    let call = server.call("/");
    server.read(call);
    server.assert_root(call);
    assert_eq!(server.counters().unlinked_no_cause, 1);
}

#[test]
fn an_answered_request_causes_nothing() {
    let mut server = Server::new();
    let request = server.request("/");
    server.answer(request);
    let call = server.call("/");
    server.read(call);
    server.assert_root(call);
    assert_eq!(server.counters().unlinked_no_cause, 1);
}

#[test]
fn a_response_uses_up_its_cause() {
    let mut server = Server::trusted();
    let other = server.request("/other");
    let request = server.request("/");
    let call = server.call("/");
    server.read(call);
    server.answer(request);
    // If the response's cause were not used up, this response would conflict with the call.
    server.answer(other);
    server.wait();
    server.assert_child(call, request);
    assert_eq!(server.counters().conflicts, 0);
}

#[test]
fn a_call_older_than_the_request_is_not_its_child() {
    let mut server = Server::new();
    let request = server.request("/");
    let call = server.call("/");
    let younger = server.request("/younger");
    server.read(call);
    server.answer(younger);
    server.answer(request);
    server.wait();
    server.assert_root(call);
    assert_eq!(server.counters().conflicts, 0);
    assert_eq!(server.counters().unlinked_request_side_only, 1);
}

#[test]
fn the_cause_of_a_connect_is_used_for_the_first_call_only() {
    let mut server = Server::trusted();
    let (own, other) = (server.thread, thread(1, 1));
    let request = server.request("/");
    let backend = server.world.connect(own);
    // The first call on the connection is sent when another request is the last receive.
    let younger = server.request("/younger");
    let call = server.call_on(backend, "/");
    server.read(call);
    server.answer(request);
    let second = server.call_on(backend, "/second");
    server.read(second);
    server.world.answer(younger, other);
    server.wait();
    server.assert_child(call, request);
    server.assert_root(second);
}

#[test]
fn a_connect_without_a_receive_gives_no_cause() {
    let mut server = Server::new();
    let backend = server.world.connect(server.thread);
    let request = server.request("/");
    let call = server.call_on(backend, "/");
    server.read(call);
    server.answer(request);
    server.wait();
    server.assert_root(call);
}

#[test]
fn a_request_that_is_never_answered_gives_no_parent() {
    let mut server = Server::new();
    let request = server.request("/");
    let call = server.call("/");
    server.read(call);
    server.world.end(request, ended(Outcome::ClientAborted(None)));
    server.wait();
    server.assert_root(call);
    assert_eq!(server.counters().unlinked_unanswered, 1);
}

#[test]
fn pipelined_requests_on_both_sides() {
    let mut server = Server::trusted();
    let (client, backend) = (server.open(), server.open());
    let first = server.request_on(client, "/1");
    let first_call = server.call_on(backend, "/1");
    let second = server.request_on(client, "/2");
    let second_call = server.call_on(backend, "/2");
    server.read(first_call);
    server.answer(first);
    server.read(second_call);
    server.answer(second);
    server.wait();
    server.assert_child(first_call, first);
    server.assert_child(second_call, second);
}

#[test]
fn calls_beyond_the_limit_of_a_request_are_unlinked() {
    let mut server = Server::with(Settings { calls_per_request: 2, ..Settings::default() });
    let request = server.request("/");
    let calls = [server.call("/"), server.call("/"), server.call("/")];
    for call in calls {
        server.read(call);
    }
    server.answer(request);
    server.wait();
    assert_eq!(server.counters().unlinked_limit, 1);
    assert_eq!(server.counters().unlinked_request_side_only, 2);
    assert_eq!(server.world.spans.len(), 4);
}
