//! Connections that do not carry HTTP, between a request and what it causes, before the kernel side
//! knows that they are opaque.

use super::world::{Exchange, SECOND, World};
use crate::{
    event::{ConnectionId, Thread},
    trace::span::Evidence,
};

const OWN: Thread = Thread { pid: 1, tid: 1_000 };

/// A query with so many exchanges of bytes on a database connection.
fn ask(world: &mut World, database: ConnectionId, turns: usize) {
    for _ in 0..turns {
        world.write_more(database, OWN);
        world.read_more(database, OWN);
    }
}

fn call(world: &mut World, backend: ConnectionId) -> Exchange {
    world.write_request(backend, OWN, "/out")
}

#[test]
fn a_database_connection_of_its_own_does_not_hide_a_request() {
    let mut world = World::new();
    let (client, backend) = (world.open(OWN), world.open(OWN));
    for turns in [1, 2, 7] {
        let request = world.read_request(client, OWN, "/");
        let database = world.connect(OWN);
        ask(&mut world, database, turns);
        world.close(database);
        let call = call(&mut world, backend);
        world.read_response(call, OWN);
        world.answer(request, OWN);
        world.pass(SECOND);
        world.assert_child(call, request, Evidence::BothSides);
    }
}

#[test]
fn nor_does_one_between_two_responses() {
    let mut world = World::new();
    let (client, backend) = (world.open(OWN), world.open(OWN));
    for _ in 0..3 {
        let request = world.read_request(client, OWN, "/");
        let call = call(&mut world, backend);
        world.read_response(call, OWN);
        let database = world.connect(OWN);
        ask(&mut world, database, 3);
        let other = world.connect(OWN);
        ask(&mut world, other, 3);
        world.answer(request, OWN);
        world.pass(SECOND);
        world.assert_child(call, request, Evidence::BothSides);
    }
}

/// A query was written for a request that is answered by now. The result causes nothing.
#[test]
fn a_receive_after_the_response_causes_nothing() {
    let mut world = World::new();
    let (client, backend) = (world.open(OWN), world.open(OWN));
    for _ in 0..40 {
        let request = world.read_request(client, OWN, "/");
        let database = world.connect(OWN);
        world.write_more(database, OWN);
        world.answer(request, OWN);
        world.read_more(database, OWN);
        let call = call(&mut world, backend);
        world.read_response(call, OWN);
        world.pass(40 * SECOND);
        world.assert_root(call);
    }
}

/// A timer's query is sent after a request was read, and leads to a call. The response to that call
/// is sometimes read together with the response to the request's own call.
#[test]
fn a_timers_query_makes_no_parent() {
    let mut world = World::new();
    let (client, backend, polled) = (world.open(OWN), world.open(OWN), world.open(OWN));
    for round in 0..400 {
        let request = world.read_request(client, OWN, "/");
        let own = call(&mut world, backend);
        let database = world.connect(OWN);
        ask(&mut world, database, 1);
        let poll = world.write_request(polled, OWN, "/poll");
        world.read_response(own, OWN);
        let together = round % 20 == 0;
        if !together {
            world.answer(request, OWN);
        }
        world.read_response(poll, OWN);
        if together {
            world.answer(request, OWN);
        }
        world.pass(40 * SECOND);
        world.assert_root(poll);
    }
}
