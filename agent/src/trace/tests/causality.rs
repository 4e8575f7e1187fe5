//! Causality from two sides: which request caused a call.

use super::world::{World, ended, ok, status, thread};
use crate::{protocol::Outcome, trace::span::Evidence};

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
    world.pass(super::world::SECOND);
    for (request, call) in pairs {
        world.assert_child(call, request, Evidence::TwoSided);
        world.assert_root(request);
    }
    assert_eq!(world.spans.len(), 120 + 320);
    assert_eq!(world.tracer.counters().contradictions, 0);
}

#[test]
fn the_first_call_needs_no_history() {
    let mut world = World::new();
    let (server, call) = one_call(&mut world);
    world.assert_child(call, server, Evidence::TwoSided);
}

/// Makes process 1 trusted: its sides agree often enough while its requests overlap.
pub(super) fn earn_confidence(world: &mut World) {
    agree(world, 30);
}

/// Process 1 makes two calls a round whose sides agree while both are open.
pub(super) fn agree(world: &mut World, rounds: usize) {
    let own = thread(1, 0);
    let clients = [world.open(own), world.open(own)];
    let backends = [world.open(own), world.open(own)];
    for _ in 0..rounds {
        let pairs = [0, 1].map(|at| {
            (world.read_request(clients[at], own, "/"), world.write_request(backends[at], own, "/"))
        });
        for (request, call) in pairs {
            world.read_response(call, own);
            world.answer(request, own);
        }
        world.pass(super::world::SECOND);
    }
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
    world.pass(super::world::SECOND);
    for (request, call) in pairs.into_iter().skip(4).flatten() {
        world.assert_child(call, request, Evidence::TwoSided);
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
    world.pass(super::world::SECOND);
    for (_, call) in &pairs[..36] {
        assert!(world.span(*call).parent.is_none());
    }
    for (request, call) in &pairs[40..] {
        let evidence = world.span(*call).parent.expect("a parent").evidence;
        assert!(matches!(evidence, Evidence::End | Evidence::TwoSided));
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
    world.pass(40 * super::world::SECOND);
    let counters = world.tracer.counters();
    assert_eq!((counters.parents_end, counters.parents_start, counters.parents_two_sided), (0, 0, 0));
}

/// Evidence that is switched off names no parent.
#[test]
fn evidence_can_be_switched_off() {
    use crate::trace::{Settings, causality::Rules};
    let rules = Rules {
        two_sided: false,
        start: false,
        end: false,
        task: false,
        goroutine: false,
        across_threads: false,
        content: false,
    };
    let mut world = World::with(Settings { causality: rules, open_notice: None, ..Settings::default() });
    earn_confidence(&mut world);
    let (request, call) = one_call(&mut world);
    world.assert_root(call);
    world.assert_root(request);
}

/// Thread 0 of process 1 serves one request with one call.
pub(super) fn one_call(world: &mut World) -> (super::world::Exchange, super::world::Exchange) {
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    (request, call)
}

#[test]
fn the_first_calls_under_concurrency_are_not_trusted() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (one, two) = (world.open(own), world.open(own));
    let mut rounds = Vec::new();
    for _ in 0..31 {
        let request = world.read_request(one, own, "/");
        let backend = world.open(own);
        let other = world.read_request(two, own, "/other");
        let call = world.write_request(backend, own, "/");
        world.read_response(call, own);
        world.answer(other, own);
        world.answer(request, own);
        rounds.push((call, other));
    }
    world.pass(super::world::SECOND);
    for (call, _) in &rounds[..29] {
        world.assert_root(*call);
    }
    let (call, other) = rounds[29];
    world.assert_child(call, other, Evidence::TwoSided);
    let (call, other) = rounds[30];
    world.assert_child(call, other, Evidence::TwoSided);
    assert_eq!(world.tracer.counters().orphans_unproven, 29);
}

#[test]
fn a_conflict_unlinks_the_calls_of_the_whole_process() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (one, two) = (world.open(own), world.open(own));
    let backend = world.open(own);
    let first = world.read_request(one, own, "/1");
    let second = world.read_request(two, own, "/2");
    // The first request causes this call, but it is sent after the second was read. So the request
    // side is wrong and the response side is right.
    let call = world.write_request(backend, own, "/1");
    world.read_response(call, own);
    world.answer(first, own);
    world.answer(second, own);
    world.pass(super::world::SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().contradictions, 1);
    assert_eq!(world.tracer.counters().orphans_contradiction, 1);

    let (request, call) = one_call(&mut world);
    world.assert_root(call);
    world.assert_root(request);
    assert!(!world.span(call).parent_unknown, "it is known that nothing is known");

    for _ in 0..400 {
        one_call(&mut world);
    }
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::TwoSided);
}

#[test]
fn another_process_is_judged_by_itself() {
    let mut world = World::new();
    sides_differ_in(&mut world, 2);
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::TwoSided);
}

fn sides_differ_in(world: &mut World, pid: u32) {
    let own = thread(pid, 0);
    let (one, two, backend) = (world.open(own), world.open(own), world.open(own));
    let first = world.read_request(one, own, "/1");
    let second = world.read_request(two, own, "/2");
    let call = world.write_request(backend, own, "/1");
    world.read_response(call, own);
    world.answer(first, own);
    world.answer(second, own);
}

#[test]
fn a_child_process_earns_its_own_confidence() {
    let mut world = World::new();
    sides_differ_in(&mut world, 1);
    world.fork(thread(1, 0), thread(9, 0));
    let own = thread(9, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    world.assert_child(call, request, Evidence::TwoSided);
    assert_eq!(&*world.span(call).process.service_name, "service-1");
    assert_eq!(world.span(call).process.pid, 9);
}

#[test]
fn two_calls_in_a_row_confirm_each_other() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let first = world.write_request(backend, own, "/1");
    world.read_response(first, own);
    let second = world.write_request(backend, own, "/2");
    world.read_response(second, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    world.assert_child(first, request, Evidence::TwoSided);
    world.assert_child(second, request, Evidence::TwoSided);
}

#[test]
fn a_chain_whose_response_side_is_another_request_conflicts_as_a_whole() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (one, two, backend) = (world.open(own), world.open(own), world.open(own));
    let other = world.read_request(two, own, "/other");
    let request = world.read_request(one, own, "/");
    let first = world.write_request(backend, own, "/1");
    world.read_response(first, own);
    let second = world.write_request(backend, own, "/2");
    world.read_response(second, own);
    world.answer(other, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    world.assert_root(first);
    world.assert_root(second);
    assert_eq!(world.tracer.counters().contradictions, 2);
}

#[test]
fn body_bytes_count_as_a_receive() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.respond(call, own, ok());
    world.read_more(backend, own);
    world.respond(request, own, ok());
    world.read_more(backend, own);
    world.end(call, super::world::complete());
    world.end(request, super::world::complete());
    world.pass(super::world::SECOND);
    world.assert_child(call, request, Evidence::TwoSided);
}

#[test]
fn an_interim_response_answers_nothing() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    world.respond(request, own, status(100));
    world.read_more(client, own);
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    world.assert_child(call, request, Evidence::TwoSided);
    assert_eq!(world.span(request).http.as_ref().unwrap().status, Some(200));
}

#[test]
fn a_call_still_open_when_its_request_is_answered_is_unlinked() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.answer(request, own);
    world.read_response(call, own);
    world.pass(super::world::SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_start_only, 1);
}

#[test]
fn a_call_without_a_receive_is_a_root_at_once() {
    let mut world = World::new();
    let own = thread(1, 0);
    let backend = world.open(own);
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_none, 1);
}

#[test]
fn an_answered_request_causes_nothing() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    world.answer(request, own);
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_none, 1);
}

#[test]
fn a_response_uses_up_its_cause() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let own = thread(1, 0);
    let (one, two, backend) = (world.open(own), world.open(own), world.open(own));
    let other = world.read_request(two, own, "/other");
    let request = world.read_request(one, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    // If the response's cause were not used up, this response would conflict with the call.
    world.answer(other, own);
    world.pass(super::world::SECOND);
    world.assert_child(call, request, Evidence::TwoSided);
    assert_eq!(world.tracer.counters().contradictions, 0);
}

#[test]
fn a_call_older_than_the_request_is_not_its_child() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (one, two, backend) = (world.open(own), world.open(own), world.open(own));
    let request = world.read_request(one, own, "/");
    let call = world.write_request(backend, own, "/");
    let younger = world.read_request(two, own, "/younger");
    world.read_response(call, own);
    world.answer(younger, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().contradictions, 0);
    assert_eq!(world.tracer.counters().orphans_start_only, 1);
}

#[test]
fn the_cause_of_a_connect_is_used_for_the_first_call_only() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let (own, other) = (thread(1, 0), thread(1, 1));
    let (one, two) = (world.open(own), world.open(own));
    let request = world.read_request(one, own, "/");
    let backend = world.connect(own);
    // The first call on the connection is sent when another request is the last receive.
    let younger = world.read_request(two, own, "/younger");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    let second = world.write_request(backend, own, "/second");
    world.read_response(second, own);
    world.answer(younger, other);
    world.pass(super::world::SECOND);
    world.assert_child(call, request, Evidence::TwoSided);
    world.assert_root(second);
}

#[test]
fn a_connect_without_a_receive_gives_no_cause() {
    let mut world = World::new();
    let own = thread(1, 0);
    let backend = world.connect(own);
    let client = world.open(own);
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(super::world::SECOND);
    world.assert_root(call);
}

#[test]
fn a_request_that_is_never_answered_gives_no_parent() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.end(request, ended(Outcome::ClientAborted(None)));
    world.pass(super::world::SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_unanswered, 1);
}

#[test]
fn pipelined_requests_on_both_sides() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let first = world.read_request(client, own, "/1");
    let first_call = world.write_request(backend, own, "/1");
    let second = world.read_request(client, own, "/2");
    let second_call = world.write_request(backend, own, "/2");
    world.read_response(first_call, own);
    world.answer(first, own);
    world.read_response(second_call, own);
    world.answer(second, own);
    world.pass(super::world::SECOND);
    world.assert_child(first_call, first, Evidence::TwoSided);
    world.assert_child(second_call, second, Evidence::TwoSided);
}

#[test]
fn calls_beyond_the_limit_of_a_request_are_unlinked() {
    let settings = super::super::Settings { calls_per_request: 2, ..Default::default() };
    let mut world = World::with(settings);
    let own = thread(1, 0);
    let client = world.open(own);
    let request = world.read_request(client, own, "/");
    let backends: Vec<_> = (0..3).map(|_| world.open(own)).collect();
    let calls: Vec<_> = backends.iter().map(|backend| world.write_request(*backend, own, "/")).collect();
    for call in &calls {
        world.read_response(*call, own);
    }
    world.answer(request, own);
    world.pass(super::world::SECOND);
    assert_eq!(world.tracer.counters().orphans_bound, 1);
    assert_eq!(world.tracer.counters().orphans_start_only, 2);
    assert_eq!(world.spans.len(), 4);
}
