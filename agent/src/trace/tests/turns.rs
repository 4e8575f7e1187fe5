//! Event loops that defer the work which follows from a receive to the end of their turn.

use super::world::{Exchange, SECOND, World};
use crate::{event::Thread, trace::span::Evidence};

const OWN: Thread = Thread { pid: 1, tid: 1_000 };

/// The request and a call that it caused.
type Pair = (Exchange, Exchange);

/// Four overlapping requests at a time, each with two calls one after the other. The second calls
/// are sent at the end of the turn that reads the responses to the first calls, in the order that
/// `order` gives.
fn chains(rounds: usize, order: impl Fn(usize, usize) -> usize) -> (World, Vec<Pair>) {
    const AT_ONCE: usize = 4;
    let mut world = World::new();
    let clients: Vec<_> = (0..AT_ONCE).map(|_| world.open(OWN)).collect();
    let backends: Vec<_> = (0..2 * AT_ONCE).map(|_| world.open(OWN)).collect();
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let mut open = Vec::new();
        for (client, backend) in clients.iter().zip(&backends) {
            let request = world.read_request(*client, OWN, "/");
            open.push((request, world.write_request(*backend, OWN, "/out/1")));
        }
        open.rotate_left(round % AT_ONCE);
        for (_, first) in &open {
            world.read_response(*first, OWN);
        }
        let mut second = Vec::new();
        for number in 0..AT_ONCE {
            let (request, first) = open[order(round, number)];
            let call = world.write_request(backends[AT_ONCE + number], OWN, "/out/2");
            pairs.extend([(first, request), (call, request)]);
            second.push((request, call));
        }
        for (request, call) in second {
            world.read_response(call, OWN);
            world.answer(request, OWN);
        }
    }
    // Calls without a response side wait for one for half a minute.
    world.pass(40 * SECOND);
    (world, pairs)
}

/// How many calls have the right parent. Asserts that none has a wrong one.
fn linked(world: &World, pairs: &[Pair]) -> usize {
    let of = |(call, request): &&Pair| {
        let parent = world.span(*call).parent.map(|parent| (parent.span, parent.evidence));
        assert!(parent.is_none_or(|(span, _)| span == world.id(*request)), "a wrong parent");
        parent.is_some()
    };
    pairs.iter().filter(of).count()
}

#[test]
fn calls_deferred_in_order_get_right_parents() {
    let (world, pairs) = chains(60, |_, number| number);
    assert_eq!(linked(&world, &pairs[200..]), pairs.len() - 200);
    let (call, request) = pairs[pairs.len() - 1];
    world.assert_child(call, request, Evidence::BothSides);
}

/// A loop that handles what is ready in a different order each time. Only the last call of each
/// chain is known, by its response side.
#[test]
fn calls_deferred_in_no_order_are_unlinked() {
    for seed in 0..4 {
        let (world, pairs) =
            chains(80, |round, number| (number * (1 + 2 * (round % 2)) + round * 3 + seed) % 4);
        let first: Vec<_> = pairs.iter().step_by(2).copied().collect();
        let known = linked(&world, &first);
        assert!(known < first.len() / 4, "{known} of {}", first.len());
        linked(&world, &pairs);
    }
}
