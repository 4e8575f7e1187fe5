//! Goroutines in place of threads, and calls that one goroutine hands off to another.

use super::world::{SECOND, World, ok, thread};
use crate::trace::{Settings, causality::Rules, span::Evidence};

fn go() -> World {
    let mut world = World::new();
    world.goroutines = true;
    world
}

#[test]
fn the_first_call_of_a_process_has_its_parent_when_it_is_sent() {
    let mut world = go();
    let (handler, writer, reader) = (thread(1, 1), thread(1, 2), thread(1, 3));
    let (client, backend) = (world.open(handler), world.connect(thread(1, 4)));
    let request = world.read_request(client, handler, "/1");
    let call = world.hand_off(backend, handler, writer, "/1");
    assert_eq!(world.tracer.counters().parents_goroutine, 1);
    world.read_response(call, reader);
    world.answer(request, handler);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::Goroutine);
}

#[test]
fn many_handlers_share_the_goroutines_of_a_connection() {
    let mut world = go();
    let (writer, reader) = (thread(1, 98), thread(1, 99));
    let handlers: Vec<_> = (1..9).map(|number| thread(1, number)).collect();
    let clients: Vec<_> = handlers.iter().map(|handler| world.open(*handler)).collect();
    let backend = world.open(writer);
    let requests: Vec<_> = (0..8).map(|n| world.read_request(clients[n], handlers[n], "/")).collect();
    for n in (0..8).rev() {
        let call = world.hand_off(backend, handlers[n], writer, "/");
        world.read_response(call, reader);
        world.answer(requests[n], handlers[n]);
        world.pass(SECOND);
        world.assert_child(call, requests[n], Evidence::Goroutine);
    }
}

/// A proxy's goroutine reads the rest of the response itself, so the call's response side is right.
#[test]
fn a_continuation_and_a_response_confirm_the_call() {
    let mut world = go();
    let (handler, writer, reader) = (thread(1, 1), thread(1, 2), thread(1, 3));
    let (client, backend) = (world.open(handler), world.open(writer));
    for _ in 0..3 {
        let request = world.read_request(client, handler, "/");
        let mut calls = Vec::new();
        for _ in 0..2 {
            let call = world.hand_off(backend, handler, writer, "/");
            world.respond(call, reader, ok());
            world.read_more(backend, handler);
            world.end(call, super::world::complete());
            calls.push(call);
        }
        world.answer(request, handler);
        world.pass(SECOND);
        for call in calls {
            world.assert_child(call, request, Evidence::Goroutine);
        }
    }
    assert_eq!(world.tracer.counters().conflicts, 0);
}

#[test]
fn calls_of_a_goroutine_that_has_read_nothing_are_unlinked() {
    let mut world = go();
    let (handler, other, writer) = (thread(1, 1), thread(1, 2), thread(1, 3));
    let (client, backend) = (world.open(handler), world.open(writer));
    world.read_request(client, handler, "/");
    let call = world.hand_off(backend, other, writer, "/");
    world.read_response(call, thread(1, 4));
    world.assert_root(call);
    assert_eq!(world.tracer.counters().unlinked_no_cause, 1);
}

#[test]
fn after_its_response_a_request_gets_no_children() {
    let mut world = go();
    let (handler, writer) = (thread(1, 1), thread(1, 2));
    let (client, backend) = (world.open(handler), world.open(writer));
    let request = world.read_request(client, handler, "/");
    world.answer(request, handler);
    let call = world.hand_off(backend, handler, writer, "/");
    world.read_response(call, thread(1, 3));
    world.assert_root(call);
}

#[test]
fn lost_events_name_no_parent() {
    let mut world = go();
    let (handler, writer) = (thread(1, 1), thread(1, 2));
    let (client, backend) = (world.open(handler), world.open(writer));
    world.read_request(client, handler, "/");
    world.lose(1);
    let call = world.hand_off(backend, handler, writer, "/");
    world.read_response(call, thread(1, 3));
    world.assert_root(call);
    assert_eq!(world.tracer.counters().unlinked_loss, 1);
}

/// The server's goroutine has both requests when it serves the first, and still has the second
/// after its response.
#[test]
fn pipelined_requests_get_no_calls() {
    let mut world = go();
    let (handler, writer, reader) = (thread(1, 1), thread(1, 2), thread(1, 3));
    let (client, backend) = (world.open(handler), world.open(writer));
    let first = world.read_request(client, handler, "/1");
    let second = world.read_request(client, handler, "/2");
    let one = world.hand_off(backend, handler, writer, "/1");
    world.read_response(one, reader);
    world.answer(first, handler);
    let two = world.hand_off(backend, handler, writer, "/2");
    world.read_response(two, reader);
    world.answer(second, handler);
    world.assert_root(one);
    world.assert_root(two);
    assert_eq!(world.tracer.counters().unlinked_pipelined, 2);
}

/// A client that does wait sends its next request. A background goroutine may notice it before the
/// end of the previous response is recorded, because that happens when the system call returns.
#[test]
fn a_request_that_a_background_goroutine_noticed_early_is_the_next_one() {
    let mut world = go();
    let (handler, writer, reader, watcher) = (thread(1, 1), thread(1, 2), thread(1, 3), thread(1, 4));
    let (client, backend) = (world.open(handler), world.open(writer));
    let first = world.read_request(client, handler, "/1");
    world.respond(first, handler, ok());
    let second = world.read_request(client, watcher, "/2");
    world.end(first, super::world::complete());
    world.read_more(client, handler);
    let call = world.hand_off(backend, handler, writer, "/2");
    world.read_response(call, reader);
    world.answer(second, handler);
    world.pass(SECOND);
    world.assert_child(call, second, Evidence::Goroutine);
}

#[test]
fn a_response_side_of_another_request_ends_the_trust_in_handoffs() {
    let mut world = go();
    let (one, two, writer) = (thread(1, 1), thread(1, 2), thread(1, 3));
    let (first, second, backend) = (world.open(one), world.open(two), world.open(writer));
    let request = world.read_request(first, one, "/1");
    let other = world.read_request(second, two, "/2");
    let call = world.hand_off(backend, one, writer, "/1");
    world.read_response(call, two);
    world.answer(other, two);
    world.answer(request, one);
    assert_eq!(world.tracer.counters().conflicts, 1);
    let request = world.read_request(first, one, "/3");
    let call = world.hand_off(backend, one, writer, "/3");
    world.read_response(call, thread(1, 4));
    world.answer(request, one);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().unlinked_conflict, 1);
}

/// Handoffs say nothing about request sides.
#[test]
fn handoffs_do_not_count_for_other_evidence() {
    let mut world = go();
    let (handler, writer) = (thread(1, 1), thread(1, 2));
    let (client, backend) = (world.open(handler), world.open(writer));
    for _ in 0..100 {
        let request = world.read_request(client, handler, "/");
        let call = world.hand_off(backend, handler, writer, "/");
        world.read_response(call, thread(1, 3));
        world.answer(request, handler);
    }
    let request = world.read_request(client, handler, "/");
    let call = world.write_request(backend, handler, "/");
    world.read_response(call, thread(1, 3));
    world.answer(request, handler);
    world.pass(SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().unlinked_request_side_only, 1);
}

#[test]
fn a_goroutine_that_connects_for_another_neither_gives_nor_uses_a_cause() {
    let mut world = go();
    let handler = thread(1, 1);
    let client = world.open(handler);
    let request = world.read_request(client, handler, "/");
    let backend = world.connect(thread(1, 2));
    let call = world.write_request(backend, handler, "/");
    world.read_response(call, handler);
    world.answer(request, handler);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
}

#[test]
fn switched_off_it_names_no_parent() {
    let causality = Rules { goroutine: false, ..Rules::default() };
    let mut world = World::with(Settings { causality, open_notice: None, ..Settings::default() });
    world.goroutines = true;
    let (handler, writer) = (thread(1, 1), thread(1, 2));
    let (client, backend) = (world.open(handler), world.open(writer));
    let request = world.read_request(client, handler, "/");
    let call = world.hand_off(backend, handler, writer, "/");
    world.read_response(call, thread(1, 3));
    world.answer(request, handler);
    world.assert_root(call);
}
