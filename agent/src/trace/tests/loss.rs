//! Lost events: they orphan what is open in their process, and nothing else.

use super::{
    causality::one_call,
    world::{SECOND, World, thread},
};
use crate::trace::span::Evidence;

#[test]
fn loss_makes_orphans_of_what_is_open_and_of_nothing_else() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.lose(1);
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_loss, 1);
    assert_eq!(world.tracer.counters().losses, 1);
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::BothSides);
}

#[test]
fn what_was_read_before_a_loss_triggers_nothing_after_it() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    world.lose(1);
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(SECOND);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().orphans_loss, 1);
}

#[test]
fn a_loss_in_another_process_does_not_matter() {
    let mut world = World::new();
    let own = thread(1, 0);
    let elsewhere = world.open(thread(2, 0));
    world.read_request(elsewhere, thread(2, 0), "/");
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    world.lose(2);
    world.read_more(elsewhere, thread(2, 0));
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
    assert_eq!(world.tracer.counters().losses, 1);
}
