//! Ambiguous receives: messages that were read together, and calls that no request causes.

use super::{
    scenario::{agree, earn_confidence},
    world::{SECOND, World, thread},
};
use crate::{
    event::{ConnectionId, Thread},
    trace::span::Evidence,
};

/// A trusted process with an open request: its thread, a client and three backends.
fn trusted_with_open_request() -> (World, Thread, ConnectionId, Vec<ConnectionId>) {
    let mut world = World::new();
    let own = thread(1, 0);
    earn_confidence(&mut world);
    let client = world.open(own);
    let backends = (0..3).map(|_| world.open(own)).collect();
    let other = world.open(own);
    world.read_request(other, own, "/other");
    (world, own, client, backends)
}

/// Three concurrent calls. The cause of the response is the last of their responses alone.
#[test]
fn concurrent_calls_get_parents_once_their_signature_is_consistent() {
    let (mut world, own, client, backends) = trusted_with_open_request();
    for round in 0..800 {
        let request = world.read_request(client, own, "/");
        let calls: Vec<_> = backends.iter().map(|backend| world.write_request(*backend, own, "/x")).collect();
        for call in &calls {
            world.read_response(*call, own);
        }
        world.answer(request, own);
        world.pass(SECOND);
        if round > 750 {
            calls.iter().for_each(|call| world.assert_child(*call, request, Evidence::RequestSide));
        }
    }
}

/// Calls that have a request side alone count while they wait for a response side. Otherwise
/// confidence would grow that much later.
#[test]
fn calls_that_wait_for_a_response_side_count_meanwhile() {
    let (mut world, own, client, backends) = trusted_with_open_request();
    let mut last = vec![];
    for round in 0..700 {
        let request = world.read_request(client, own, "/");
        let calls: Vec<_> = backends.iter().map(|backend| world.write_request(*backend, own, "/x")).collect();
        calls.iter().for_each(|call| world.read_response(*call, own));
        world.answer(request, own);
        if round > 650 {
            last.push((request, calls));
        }
    }
    world.pass(40 * SECOND);
    for (request, calls) in last {
        calls.iter().for_each(|call| world.assert_child(*call, request, Evidence::RequestSide));
    }
}

/// Tasks that move between threads, like Java's virtual threads. A thread sends a call for what it
/// read, and goes on with another task's request.
#[test]
fn a_second_call_with_the_same_cause_may_belong_to_another_request() {
    let mut world = World::new();
    let (one, two) = (thread(1, 0), thread(1, 1));
    agree(&mut world, 1_000);
    let clients = [world.open(one), world.open(one)];
    let backends = [world.open(one), world.open(one)];
    let requests = [world.read_request(clients[0], one, "/"), world.read_request(clients[1], two, "/")];
    let calls = [0, 1].map(|at| world.write_request(backends[at], one, "/"));
    for at in [0, 1] {
        world.read_response(calls[at], two);
        world.answer(requests[at], two);
    }
    world.pass(40 * SECOND);
    world.assert_child(calls[0], requests[0], Evidence::RequestSide);
    world.assert_root(calls[1]);
}

/// A poller whose responses happen to be read together with those of requests' calls. Both sides of
/// its calls agree.
#[test]
fn a_poller_gets_no_parent_although_both_sides_agree() {
    let mut world = World::new();
    let own = thread(1, 0);
    earn_confidence(&mut world);
    let (client, backend, polled) = (world.open(own), world.open(own), world.open(own));
    let mut polls = vec![];
    for round in 0..1_000 {
        let request = world.read_request(client, own, "/");
        let call = world.write_request(backend, own, "/out/1");
        let poll = (round % 2 == 0).then(|| world.write_request(polled, own, "/poll"));
        world.read_response(call, own);
        if let Some(poll) = poll {
            // Now and then both responses are read before the request is answered.
            let together = round % 20 == 0;
            if !together {
                world.answer(request, own);
            }
            world.read_response(poll, own);
            if together {
                world.answer(request, own);
            }
            polls.push(poll);
        } else {
            world.answer(request, own);
            world.pass(SECOND);
            world.assert_child(call, request, Evidence::BothSides);
        }
    }
    world.pass(40 * SECOND);
    for poll in polls {
        world.assert_root(poll);
    }
}

/// Two requests are read in one turn, and so are both responses. Both sides of the calls agree on
/// the wrong request.
#[test]
fn agreement_of_messages_read_together_does_not_count() {
    let mut world = World::new();
    let own = thread(1, 0);
    earn_confidence(&mut world);
    let (one, two) = (world.open(own), world.open(own));
    let backends = [world.open(own), world.open(own)];
    let (first, second) = (world.read_request(one, own, "/1"), world.read_request(two, own, "/2"));
    let calls = [0, 1].map(|at| world.write_request(backends[at], own, "/x"));
    world.read_response(calls[1], own);
    world.read_response(calls[0], own);
    world.answer(second, own);
    world.answer(first, own);
    world.pass(SECOND);
    world.assert_root(calls[0]);
    world.assert_root(calls[1]);
}

/// A poller whose calls have a response side only when their responses are read together with
/// others. Otherwise no request explains them.
#[test]
fn evidence_against_a_signature_counts_for_calls_judged_at_once() {
    let mut world = World::new();
    let own = thread(1, 0);
    earn_confidence(&mut world);
    let (client, backend, polled) = (world.open(own), world.open(own), world.open(own));
    let mut polls = vec![];
    for _ in 0..200 {
        let idle = world.write_request(polled, own, "/poll");
        world.read_response(idle, own);
        let request = world.read_request(client, own, "/");
        let call = world.write_request(backend, own, "/out/1");
        let poll = world.write_request(polled, own, "/poll");
        world.read_response(call, own);
        world.read_response(poll, own);
        world.answer(request, own);
        polls.extend([idle, poll]);
    }
    world.pass(40 * SECOND);
    for poll in polls {
        world.assert_root(poll);
    }
}

/// A hundred concurrent calls that only their response sides explain. While they are in flight they
/// do not count against themselves.
#[test]
fn calls_in_flight_do_not_outvote_ended_ones() {
    let mut world = World::new();
    let own = thread(1, 0);
    let other = world.open(own);
    let ends: Vec<_> = (0..100).map(|_| (world.open(own), world.open(own))).collect();
    for round in 0..6 {
        let calls: Vec<_> = ends
            .iter()
            .map(|(client, backend)| {
                let request = world.read_request(*client, own, "/");
                // The last receive of the thread belongs to no message.
                world.read_more(other, own);
                (request, world.write_request(*backend, own, "/out"))
            })
            .collect();
        for (request, call) in &calls {
            world.read_response(*call, own);
            world.answer(*request, own);
        }
        world.pass(SECOND);
        if round > 2 {
            calls
                .iter()
                .for_each(|(request, call)| world.assert_child(*call, *request, Evidence::ResponseSide));
        }
    }
}

/// A loop that answers some turns after it has what it waited for, with one request at a time, and
/// a timer's calls. Now and then a timer's call begins after the request and ends right before its
/// response.
#[test]
fn a_poller_during_deferred_responses_gets_no_parent() {
    for (first, seed) in [(true, 1_u64), (false, 2), (true, 3), (false, 4)] {
        let mut world = World::new();
        let own = thread(1, 0);
        let (client, backend, polled) = (world.open(own), world.open(own), world.open(own));
        let (mut polls, mut pairs, mut dice) = (vec![], vec![], seed);
        let mut roll = |links: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % links
        };
        for round in 0..2_000 {
            // The timer's call began before the first request.
            if round == 0 || roll(4) == 0 {
                let poll = world.write_request(polled, own, "/poll/1");
                world.read_response(poll, own);
                polls.push(poll);
            }
            let request = world.read_request(client, own, "/in/1");
            let kind = roll(3);
            let poll = (first && kind == 0).then(|| {
                let poll = world.write_request(polled, own, "/poll/1");
                world.read_response(poll, own);
                poll
            });
            let call = world.write_request(backend, own, "/out/1");
            pairs.push((request, call));
            if kind == 1 {
                let poll = world.write_request(polled, own, "/poll/1");
                world.read_response(call, own);
                world.read_response(poll, own);
                polls.push(poll);
            } else {
                world.read_response(call, own);
            }
            polls.extend(poll);
            world.answer(request, own);
        }
        world.pass(40 * SECOND);
        for poll in polls {
            world.assert_root(poll);
        }
        let right =
            pairs.iter().filter(|(_, call)| world.find(*call).is_some_and(|span| span.parent.is_some()));
        assert!(right.count() > 1_000);
    }
}

/// A timer's calls fall into step with requests for a while. More than half of them lie between a
/// request and its call, so the request's call continues them, and none is sent while no request is
/// open. That some were sent at such times before is not forgotten.
#[test]
fn a_poller_in_step_with_requests_gets_no_parent() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend, polled) = (world.open(own), world.open(own), world.open(own));
    let (mut polls, mut pairs) = (vec![], vec![]);
    for round in 0..600 {
        let mut poll = |world: &mut World| {
            let poll = world.write_request(polled, own, "/poll/1");
            world.read_response(poll, own);
            polls.push(poll);
        };
        let in_step = round > 200;
        if !in_step && round % 8 == 0 {
            poll(&mut world);
        }
        let request = world.read_request(client, own, "/in/1");
        let before = if in_step { round % 5 < 3 } else { round % 8 == 1 };
        if before {
            poll(&mut world);
        }
        let call = world.write_request(backend, own, "/out/1");
        if !before {
            poll(&mut world);
        }
        world.read_response(call, own);
        world.answer(request, own);
        pairs.push((request, call));
    }
    world.pass(40 * SECOND);
    polls.iter().for_each(|poll| world.assert_root(*poll));
    // Until its signature is known, a response that follows two receives shows nothing.
    for (request, call) in &pairs[30..] {
        world.assert_child(*call, *request, Evidence::BothSides);
    }
}

/// A timer's calls have the same signature as the requests' calls, and that is mostly consistent.
/// Now and then one is sent after the request's call, and its response is the last receive when the
/// request is answered.
#[test]
fn a_poller_with_the_same_signature_gets_no_parent() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend, polled) = (world.open(own), world.open(own), world.open(own));
    let (mut polls, mut pairs) = (vec![], vec![]);
    for round in 0..1_500 {
        let poll_alone = round < 1_000 && round % 20 == 0;
        if poll_alone {
            let poll = world.write_request(polled, own, "/out/poll");
            world.read_response(poll, own);
            polls.push(poll);
        }
        let request = world.read_request(client, own, "/in/1");
        let call = world.write_request(backend, own, "/out/1");
        let poll = (round % 100 == 99).then(|| {
            // The cause of the connect is the last receive at its beginning.
            let connection = world.connect(own);
            world.read_response(call, own);
            let poll = world.write_request(connection, own, "/out/poll");
            world.read_response(poll, own);
            poll
        });
        if poll.is_none() {
            world.read_response(call, own);
        }
        world.answer(request, own);
        polls.extend(poll);
        pairs.push((request, call, poll.is_some()));
    }
    world.pass(40 * SECOND);
    polls.iter().for_each(|poll| world.assert_root(*poll));
    for (request, call, is_timers) in &pairs[30..] {
        if !is_timers {
            world.assert_child(*call, *request, Evidence::BothSides);
        }
    }
}
