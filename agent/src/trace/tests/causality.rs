//! Two-sided causality: who caused a call.

use super::world::{World, ended, ok, status, thread};
use crate::{protocol::Outcome, trace::span::Evidence};

#[test]
fn a_keep_alive_proxy_under_concurrency() {
    let mut world = World::new();
    let proxy = thread(1, 0);
    prove(&mut world);
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
        // Answers come in another order than the requests.
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

/// Process 1 agrees with itself often enough, while its requests overlap, to be trusted.
pub(super) fn prove(world: &mut World) {
    agree(world, 30);
}

/// It makes twice as many calls, two at a time, whose links agree.
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

/// A pool gives a connection to whoever waits by the time that it is there, and who has made it takes another one.
#[test]
fn connections_that_a_pool_gives_away_do_no_harm() {
    let mut world = World::new();
    let own = thread(1, 0);
    prove(&mut world);
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

/// Node with a timer before each call: the start side is any request's, the end side is right.
#[test]
fn a_timer_before_the_call_is_understood_by_its_end_sides() {
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

/// A completion queue: any worker answers, so that an end side says nothing of the answered request.
#[test]
fn end_sides_across_threads_are_not_believed() {
    let mut world = World::new();
    let (loop_thread, workers) = (thread(1, 0), [thread(1, 1), thread(1, 2)]);
    let clients = [world.open(loop_thread), world.open(loop_thread)];
    let backends = [world.open(workers[0]), world.open(workers[1])];
    for _ in 0..200 {
        let requests = clients.map(|client| world.read_request(client, loop_thread, "/"));
        for at in [0, 1] {
            let call = world.write_request(backends[at], workers[at], "/");
            world.read_response(call, workers[at]);
            // Whose turn it is to be answered has nothing to do with whose call this was.
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
    prove(&mut world);
    let (request, call) = one_call(&mut world);
    world.assert_root(call);
    world.assert_root(request);
}

/// Thread 1.0 serves one request with one call.
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
fn the_first_calls_under_concurrency_are_not_believed() {
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
fn sides_that_differ_orphan_the_whole_process() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (one, two) = (world.open(own), world.open(own));
    let backend = world.open(own);
    let first = world.read_request(one, own, "/1");
    let second = world.read_request(two, own, "/2");
    // Caused by the first, sent after the second was read: the start side is wrong, the end side is right.
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
fn a_child_process_earns_its_own_belief() {
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
fn a_chain_that_ends_in_another_request_contradicts_all_of_it() {
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
fn body_bytes_count_as_input() {
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
fn a_call_still_open_when_its_request_is_answered_is_an_orphan() {
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
fn a_call_without_input_is_a_root_at_once() {
    let mut world = World::new();
    let own = thread(1, 0);
    let backend = world.open(own);
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_none, 1);
}

#[test]
fn an_answered_request_triggers_nothing() {
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
fn an_answer_uses_its_trigger_up() {
    let mut world = World::new();
    prove(&mut world);
    let own = thread(1, 0);
    let (one, two, backend) = (world.open(own), world.open(own), world.open(own));
    let other = world.read_request(two, own, "/other");
    let request = world.read_request(one, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    // Without the rule this answer would contradict the call.
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
fn a_connect_lends_its_trigger_to_the_first_request_only() {
    let mut world = World::new();
    prove(&mut world);
    let (own, other) = (thread(1, 0), thread(1, 1));
    let (one, two) = (world.open(own), world.open(own));
    let request = world.read_request(one, own, "/");
    let backend = world.connect(own);
    // The connection's first request goes out while another request was the last input.
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
fn a_connect_without_input_lends_nothing() {
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
    prove(&mut world);
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
fn too_many_calls_of_one_request_are_orphans() {
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
