//! Calls without a response: they get their parents, but prove nothing about their process.

use super::{
    scenario::earn_confidence,
    world::{Exchange, SECOND, World, thread},
};
use crate::{
    event::{ConnectionId, Thread},
    trace::span::{Evidence, Span},
};

/// How a call fails, as seen by the thread that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    HangUp,
    Reset,
    Close,
}

const WAYS: [Way; 3] = [Way::HangUp, Way::Reset, Way::Close];
const OWN: Thread = Thread { pid: 1, tid: 1_000 };

fn fail(world: &mut World, way: Way, call: Exchange) {
    match way {
        Way::HangUp => world.hang_up(call, OWN),
        Way::Reset => world.reset(call, OWN),
        Way::Close => world.close_exchange(call, OWN),
    }
}

#[test]
fn the_first_failed_call_has_its_parent() {
    for way in WAYS {
        let mut world = World::new();
        let (client, backend) = (world.open(OWN), world.open(OWN));
        let request = world.read_request(client, OWN, "/");
        let call = world.write_request(backend, OWN, "/");
        fail(&mut world, way, call);
        world.answer(request, OWN);
        world.pass(SECOND);
        world.assert_child(call, request, Evidence::BothSides);
    }
}

/// One event loop with eight requests at a time, where every third call fails.
#[test]
fn failed_calls_do_not_affect_answered_ones() {
    for way in WAYS {
        let mut world = World::new();
        earn_confidence(&mut world);
        let mut pairs = Vec::new();
        let clients: Vec<_> = (0..8).map(|_| world.open(OWN)).collect();
        for round in 0..30 {
            let mut open = Vec::new();
            for client in &clients {
                let backend = world.open(OWN);
                let request = world.read_request(*client, OWN, "/");
                open.push((request, world.write_request(backend, OWN, "/")));
            }
            open.rotate_left(round % 8);
            for (number, (request, call)) in open.into_iter().enumerate() {
                match number % 3 {
                    0 => fail(&mut world, way, call),
                    _ => world.read_response(call, OWN),
                }
                world.answer(request, OWN);
                pairs.push((request, call));
            }
        }
        world.pass(SECOND);
        for (request, call) in pairs {
            world.assert_child(call, request, Evidence::BothSides);
        }
        assert_eq!(world.tracer.counters().conflicts, 0);
    }
}

/// An event loop with a timer before each call, whose response sides are trusted. No failed call
/// changes that.
#[test]
fn responses_after_failed_calls_do_not_count_as_uncovered() {
    for way in WAYS {
        let mut world = World::new();
        let clients: Vec<_> = (0..4).map(|_| world.open(OWN)).collect();
        let mut pairs = Vec::new();
        for round in 0..60 {
            let requests: Vec<_> =
                clients.iter().map(|client| world.read_request(*client, OWN, "/")).collect();
            let calls: Vec<_> = clients
                .iter()
                .map(|_| {
                    let backend = world.open(OWN);
                    world.write_request(backend, OWN, "/")
                })
                .collect();
            for (number, (request, call)) in requests.into_iter().zip(calls).enumerate() {
                match (round + number) % 4 {
                    0 => fail(&mut world, way, call),
                    _ => world.read_response(call, OWN),
                }
                world.answer(request, OWN);
                pairs.push((request, call));
            }
        }
        world.pass(SECOND);
        let linked = pairs[60..].iter().filter(|(request, call)| {
            let parent = world.span(*call).parent.map(|parent| parent.span);
            assert!(parent.is_none_or(|parent| parent == world.id(*request)), "a wrong parent");
            parent.is_some()
        });
        assert!(linked.count() > 170, "of 180");
    }
}

/// Failed calls count neither for nor against their process.
#[test]
fn failed_calls_earn_no_confidence() {
    let mut world = World::new();
    let clients = [world.open(OWN), world.open(OWN)];
    let mut last = None;
    for _ in 0..100 {
        let requests = clients.map(|client| world.read_request(client, OWN, "/"));
        for request in requests {
            let backend = world.open(OWN);
            let call = world.write_request(backend, OWN, "/");
            world.hang_up(call, OWN);
            world.answer(request, OWN);
            last = Some(call);
        }
    }
    world.pass(SECOND);
    let figures = &world.tracer.process_confidence(4).0;
    assert!(figures.iter().all(|level| level.figures.consistent == 0), "{figures:?}");
    assert!(last.is_some());
}

/// A fallback: the second call is made because the first failed.
#[test]
fn a_fallback_and_the_call_before_it_have_the_request_as_parent() {
    for way in WAYS {
        let mut world = World::new();
        earn_confidence(&mut world);
        let (client, backend) = (world.open(OWN), world.open(OWN));
        let request = world.read_request(client, OWN, "/");
        let first = world.write_request(backend, OWN, "/");
        fail(&mut world, way, first);
        let backend = world.open(OWN);
        let second = world.write_request(backend, OWN, "/");
        world.read_response(second, OWN);
        world.answer(request, OWN);
        world.pass(SECOND);
        world.assert_child(first, request, Evidence::BothSides);
        world.assert_child(second, request, Evidence::BothSides);
    }
}

fn connects(world: &World) -> Vec<&Span> {
    world.spans.iter().filter(|span| span.name == "connect").collect()
}

#[test]
fn a_refused_connect_has_the_request_as_parent_that_was_answered_after_it() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let (one, two) = (world.open(OWN), world.open(OWN));
    let other = world.read_request(one, OWN, "/1");
    let request = world.read_request(two, OWN, "/2");
    world.refused(OWN);
    world.answer(request, OWN);
    world.answer(other, OWN);
    world.pass(SECOND);
    let parent = connects(&world)[0].parent.expect("a parent");
    assert_eq!((parent.span, parent.evidence), (world.id(request), Evidence::BothSides));
    assert_eq!(connects(&world)[0].trace, world.span(request).trace);
}

/// Only the thread that saw a call fail has that as its last receive, and only until it receives
/// something else.
#[test]
fn what_is_read_after_the_end_of_a_call_counts_instead() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let clients = [world.open(OWN), world.open(OWN)];
    let backends = [world.open(OWN), world.open(OWN)];
    let first = world.read_request(clients[0], OWN, "/1");
    let failing = world.write_request(backends[0], OWN, "/");
    world.hang_up(failing, OWN);
    let second = world.read_request(clients[1], OWN, "/2");
    let call = world.write_request(backends[1], OWN, "/");
    world.read_response(call, OWN);
    world.answer(second, OWN);
    world.answer(first, OWN);
    world.pass(SECOND);
    world.assert_child(call, second, Evidence::BothSides);
    assert!(world.span(failing).parent.is_none(), "nothing says that the response followed from it");
}

/// nginx's 499: the client leaves, the upstream connection is closed, then the client's.
#[test]
fn a_request_that_its_server_gives_up_counts_as_answered() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let (client, backend) = (world.open(OWN), world.open(OWN));
    let other = world.open(OWN);
    let request = world.read_request(client, OWN, "/");
    let call = world.write_request(backend, OWN, "/");
    let open = world.read_request(other, OWN, "/other");
    world.close_exchange(call, OWN);
    world.close_exchange(request, OWN);
    world.answer(open, OWN);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
}

/// A client that leaves takes no response from the requests whose calls are answered at that
/// moment.
#[test]
fn a_request_that_is_given_up_uses_up_no_response() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let (leaving, client, backend) = (world.open(OWN), world.open(OWN), world.open(OWN));
    let gone = world.read_request(leaving, OWN, "/gone");
    let request = world.read_request(client, OWN, "/");
    let call = world.write_request(backend, OWN, "/");
    world.read_response(call, OWN);
    world.close_exchange(gone, OWN);
    world.answer(request, OWN);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
    assert!(
        world
            .tracer
            .process_confidence(4)
            .0
            .iter()
            .all(|level| level.figures.covered == level.figures.responses)
    );
}

/// A program whose call times out closes the call's connection after it has answered the request.
#[test]
fn a_call_that_is_closed_after_its_request_was_answered_was_given_up() {
    let mut world = World::new();
    let (client, backend) = (world.open(OWN), world.open(OWN));
    let request = world.read_request(client, OWN, "/");
    let call = world.write_request(backend, OWN, "/");
    world.answer(request, OWN);
    world.close_exchange(call, OWN);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
    // If a call goes on and is answered, it was not given up.
    let request = world.read_request(client, OWN, "/");
    let backend = world.open(OWN);
    let call = world.write_request(backend, OWN, "/");
    world.answer(request, OWN);
    world.read_response(call, OWN);
    world.pass(SECOND);
    assert!(world.span(call).parent.is_none());
}

/// A timeout fires on a thread that has read another request meanwhile. What the task drops is
/// closed right after its response.
#[test]
fn a_call_that_is_closed_right_after_the_response_was_given_up() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let clients = [world.open(OWN), world.open(OWN)];
    let backends = [world.open(OWN), world.open(OWN)];
    let request = world.read_request(clients[0], OWN, "/");
    let call = world.write_request(backends[0], OWN, "/");
    let other = world.read_request(clients[1], OWN, "/");
    world.answer(request, OWN);
    world.close_exchange(call, OWN);
    world.answer(other, OWN);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
    // If the thread reads or sends something else in between, the call may have been closed because
    // of that.
    let request = world.read_request(clients[0], OWN, "/");
    let call = world.write_request(backends[1], OWN, "/");
    let other = world.read_request(clients[1], OWN, "/");
    world.answer(request, OWN);
    world.answer(other, OWN);
    world.close_exchange(call, OWN);
    world.pass(SECOND);
    assert!(world.span(call).parent.is_none());
}

/// A response that a timer caused counts against response sides, unless the request's call is given
/// up right after it.
#[test]
fn a_response_before_a_given_up_call_does_not_count_as_uncovered() {
    let mut world = World::new();
    let clients = [world.open(OWN), world.open(OWN)];
    let mut uncovered = 0;
    for answered in [false, true] {
        let backend = world.open(OWN);
        let request = world.read_request(clients[0], OWN, "/");
        let call = world.write_request(backend, OWN, "/");
        let other = world.read_request(clients[1], OWN, "/");
        world.answer(request, OWN);
        if answered {
            world.answer(other, OWN);
            world.read_response(call, OWN);
            uncovered += 1;
        } else {
            world.close_exchange(call, OWN);
            world.answer(other, OWN);
        }
        world.pass(SECOND);
        let figures = world.tracer.process_confidence(4).0[0].figures;
        assert_eq!(figures.responses - figures.covered, uncovered);
    }
}

/// The same if another call with the same request side goes on: the thread that took over that
/// call's task had read this request last.
#[test]
fn a_response_does_not_count_as_uncovered_if_the_first_call_is_given_up_next() {
    let mut world = World::new();
    let clients = [world.open(OWN), world.open(OWN)];
    let backends = [world.open(OWN), world.open(OWN)];
    let request = world.read_request(clients[0], OWN, "/");
    let call = world.write_request(backends[0], OWN, "/");
    world.write_request(backends[1], OWN, "/");
    world.read_request(clients[1], OWN, "/");
    world.answer(request, OWN);
    let uncovered = |world: &World| {
        let figures = world.tracer.process_confidence(4).0[0].figures;
        figures.responses - figures.covered
    };
    assert_eq!(uncovered(&world), 1);
    world.close_exchange(call, OWN);
    assert_eq!(uncovered(&world), 0);
}

/// The same for a call without a request side, if it is closed right after the response.
#[test]
fn a_response_does_not_count_as_uncovered_if_a_call_without_request_side_is_given_up_next() {
    let mut world = World::new();
    let (clients, other) = ([world.open(OWN), world.open(OWN)], thread(1, 7));
    let mut uncovered = 0;
    for reads in [false, true, false] {
        let request = world.read_request(clients[0], OWN, "/");
        let backend = world.open(other);
        let call = world.write_request(backend, other, "/");
        let hanging = world.read_request(clients[1], OWN, "/");
        world.answer(request, OWN);
        if reads {
            world.answer(hanging, OWN);
            uncovered += 1;
        }
        world.close_exchange(call, OWN);
        if !reads {
            world.answer(hanging, OWN);
        }
        world.pass(SECOND);
        let figures = world.tracer.process_confidence(4).0[0].figures;
        assert_eq!(figures.responses - figures.covered, uncovered);
        assert!(world.span(call).parent.is_none(), "it explains the response but belongs to no request");
    }
}

/// The number of a thread that reads nothing.
const IDLE: u32 = 7;

/// A request of this client and a call for it that another thread sends, so the call has no request
/// side.
fn call_from_idle(world: &mut World, client: ConnectionId) -> (Exchange, Exchange) {
    let idle = thread(1, IDLE);
    let request = world.read_request(client, OWN, "/");
    let backend = world.open(idle);
    (request, world.write_request(backend, idle, "/"))
}

/// A process whose response sides are trusted and whose requests are read by several threads, a
/// client, and the client's last request with its call.
fn with_trusted_response_sides() -> (World, ConnectionId, (Exchange, Exchange)) {
    let mut world = World::new();
    let (client, hanging) = (world.open(OWN), world.open(thread(1, 8)));
    world.read_request(hanging, thread(1, 8), "/hanging");
    let mut last = None;
    for _ in 0..120 {
        let (request, call) = call_from_idle(&mut world, client);
        world.read_response(call, OWN);
        world.answer(request, OWN);
        last = Some((request, call));
    }
    (world, client, last.expect("calls were made"))
}

/// With several threads, one closes what another has given up, which is no cause of its next
/// response. The peer's FIN is none either, once the program has shut down its sending direction.
#[test]
fn a_given_up_call_has_no_parent_by_response_side_alone() {
    for shuts in [false, true] {
        let (mut world, client, (last, answered)) = with_trusted_response_sides();
        let (request, given_up) = call_from_idle(&mut world, client);
        if shuts {
            world.shut_down(given_up, OWN);
            world.hang_up(given_up, OWN);
        } else {
            world.close_exchange(given_up, OWN);
        }
        world.answer(request, OWN);
        world.pass(SECOND);
        assert!(world.span(given_up).parent.is_none());
        world.assert_child(answered, last, Evidence::ResponseSide);
    }
}

/// The thread that saw a call fail knows of it, not the thread that sent the call.
#[test]
fn a_failed_call_is_the_last_receive_of_the_thread_that_saw_it() {
    let (mut world, client, _) = with_trusted_response_sides();
    let (request, call) = call_from_idle(&mut world, client);
    world.hang_up(call, OWN);
    world.answer(request, OWN);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::ResponseSide);
}

/// The cause of a response may be the failure of another call.
#[test]
fn a_call_closed_after_a_response_caused_by_a_failure_was_given_up() {
    let mut world = World::new();
    earn_confidence(&mut world);
    let clients = [world.open(OWN), world.open(OWN)];
    let backends = [world.open(OWN), world.open(OWN)];
    let request = world.read_request(clients[0], OWN, "/");
    let call = world.write_request(backends[0], OWN, "/");
    let other = world.read_request(clients[1], OWN, "/");
    let failing = world.write_request(backends[1], OWN, "/");
    world.hang_up(failing, OWN);
    world.answer(other, OWN);
    world.answer(request, OWN);
    world.close_exchange(call, OWN);
    world.pass(SECOND);
    world.assert_child(failing, other, Evidence::BothSides);
    world.assert_child(call, request, Evidence::BothSides);
}

/// What one thread receives is no cause of what another thread sends.
#[test]
fn a_failure_that_another_thread_saw_is_no_cause() {
    let mut world = World::new();
    let (one, two) = (thread(1, 0), thread(1, 1));
    let clients = [world.open(one), world.open(two)];
    let backend = world.open(one);
    let first = world.read_request(clients[0], one, "/1");
    let call = world.write_request(backend, one, "/");
    let second = world.read_request(clients[1], two, "/2");
    world.hang_up(call, one);
    world.answer(second, two);
    world.answer(first, one);
    world.pass(SECOND);
    assert!(world.span(call).parent.is_none_or(|parent| parent.span == world.id(first)));
    assert_eq!(world.tracer.counters().conflicts, 0);
}
