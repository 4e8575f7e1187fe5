//! Lost events: open calls of the process stay unlinked, and nothing else changes.

use super::{
    scenario::one_call,
    world::{SECOND, World, thread},
};
use crate::trace::span::Evidence;

#[test]
fn a_loss_unlinks_open_calls_and_nothing_else() {
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
    assert_eq!(world.tracer.counters().unlinked_loss, 1);
    assert_eq!(world.tracer.counters().losses, 1);
    let (request, call) = one_call(&mut world);
    world.assert_child(call, request, Evidence::BothSides);
}

#[test]
fn a_receive_before_a_loss_causes_nothing_after_it() {
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
    assert_eq!(world.tracer.counters().unlinked_loss, 1);
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
