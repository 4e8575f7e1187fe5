//! Connections with both ends on this host.

use super::world::{MILLISECOND, SECOND, World, thread};
use crate::trace::span::Evidence;

#[test]
fn the_receive_comes_after_its_send() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    let (out, into) = world.open_both(client, server, 1_000, 0);
    for _ in 0..3 {
        let call = world.write_request(out, client, "/");
        let request = world.read_request(into, server, "/");
        world.answer(request, server);
        world.read_response(call, client);
        world.assert_child(request, call, Evidence::Connection);
        world.assert_root(call);
    }
    assert_eq!(world.tracer.counters().connections_joined, 1);
    assert_eq!(world.tracer.counters().parents_connection, 3);
}

#[test]
fn the_receive_is_recorded_before_its_send_and_sequence_numbers_wrap() {
    for base in [0, 1_000, u32::MAX - 150, u32::MAX] {
        for ahead in [0, 777] {
            let mut world = World::new();
            let (client, server) = (thread(1, 0), thread(2, 0));
            let (out, into) = world.open_both(client, server, base, ahead);
            for _ in 0..4 {
                let request = world.read_request(into, server, "/");
                let call = world.write_request(out, client, "/");
                world.answer(request, server);
                world.read_response(call, client);
                world.assert_child(request, call, Evidence::Connection);
                world.assert_root(call);
            }
            assert_eq!(world.tracer.counters().connections_joined, 1);
        }
    }
}

#[test]
fn the_ends_of_many_connections_are_not_confused() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    let ends: Vec<_> = (0..20).map(|number| world.open_both(client, server, number * 5_000, 0)).collect();
    let calls: Vec<_> = ends.iter().map(|(out, _)| world.write_request(*out, client, "/same")).collect();
    let requests: Vec<_> =
        ends.iter().rev().map(|(_, into)| world.read_request(*into, server, "/same")).collect();
    for request in requests.iter().rev() {
        world.answer(*request, server);
    }
    for call in &calls {
        world.read_response(*call, client);
    }
    for (call, request) in calls.iter().zip(requests.iter().rev()) {
        world.assert_child(*request, *call, Evidence::Connection);
    }
}

/// Positions that count bytes of system calls prove nothing, because the two ends may have been
/// observed at different system calls.
#[test]
fn the_ends_of_a_redirected_connection_are_not_joined() {
    for after in [0, 2] {
        let mut world = World::new();
        let (client, server) = (thread(1, 0), thread(2, 0));
        let (out, into) = world.open_both(client, server, 1_000, 0);
        let exchange = |world: &mut World| {
            let call = world.write_request(out, client, "/");
            let request = world.read_request(into, server, "/");
            world.answer(request, server);
            world.read_response(call, client);
            (call, request)
        };
        for _ in 0..after {
            let (call, request) = exchange(&mut world);
            world.assert_child(request, call, Evidence::Connection);
        }
        for connection in [out, into] {
            world.redirect(connection);
        }
        let (call, request) = exchange(&mut world);
        world.pass(SECOND);
        world.assert_root(request);
        world.assert_root(call);
        assert_eq!(world.tracer.counters().connections_joined, u64::from(after > 0));
    }
}

#[test]
fn only_the_same_bytes_join() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    let (out, into) = world.open_both(client, server, 1_000, 0);
    let call = world.write_request(out, client, "/one");
    let request = world.read_request(into, server, "/two");
    world.answer(request, server);
    world.read_response(call, client);
    world.pass(SECOND);
    world.assert_root(request);
    world.assert_root(call);
    assert_eq!(world.tracer.counters().connections_joined, 0);
    assert_eq!(world.tracer.counters().connections_remote, 2);
}

#[test]
fn a_connection_without_a_partner_is_remote_after_200_ms() {
    let mut world = World::new();
    let server = thread(1, 0);
    let connection = world.open(server);
    for _ in 0..3 {
        let request = world.read_request(connection, server, "/");
        world.answer(request, server);
        world.pass(190 * MILLISECOND);
        assert!(world.find(request).is_none());
        assert_eq!(world.tracer.counters().waiting, 1);
        world.pass(20 * MILLISECOND);
        world.assert_root(request);
        assert!(!world.span(request).parent_unknown);
        assert_eq!(world.tracer.counters().waiting, 0);
    }
    let next = world.read_request(connection, server, "/");
    world.answer(next, server);
    world.assert_root(next);
    assert_eq!(world.tracer.counters().connections_remote, 1);
    assert_eq!(world.tracer.counters().roots_remote, 4);
}

/// A system call that sends a large request is recorded when it returns.
#[test]
fn a_call_that_is_recorded_too_late_costs_only_its_own_parent() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    let (out, into) = world.open_both(client, server, 1_000, 0);
    let request = world.read_request(into, server, "/large");
    world.pass(SECOND);
    let call = world.write_request(out, client, "/large");
    world.answer(request, server);
    world.read_response(call, client);
    world.assert_root(request);
    for _ in 0..2 {
        let call = world.write_request(out, client, "/");
        let request = world.read_request(into, server, "/");
        world.answer(request, server);
        world.read_response(call, client);
        world.assert_child(request, call, Evidence::Connection);
    }
    assert_eq!(world.tracer.counters().connections_joined, 1);
}

#[test]
fn a_busy_server_may_read_late() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    let (out, into) = world.open_both(client, server, 1_000, 0);
    let call = world.write_request(out, client, "/");
    world.pass(5 * SECOND);
    let request = world.read_request(into, server, "/");
    world.answer(request, server);
    world.read_response(call, client);
    world.assert_child(request, call, Evidence::Connection);
}

#[test]
fn a_request_that_only_the_server_saw_is_a_root() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    let (out, into) = world.open_both(client, server, 1_000, 0);
    let call = world.write_request(out, client, "/");
    let request = world.read_request(into, server, "/");
    world.answer(request, server);
    world.read_response(call, client);
    let lonely = world.read_request(into, server, "/");
    world.answer(lonely, server);
    world.pass(SECOND);
    world.assert_root(lonely);
    assert_eq!(world.tracer.counters().unmatched_requests, 1);
}

#[test]
fn a_chain_over_three_processes_is_one_trace() {
    let mut world = World::new();
    let (first, second, third) = (thread(1, 0), thread(2, 0), thread(3, 0));
    let client = world.open(first);
    let (out, into) = world.open_both(first, second, 1_000, 0);
    let (further, last) = world.open_both(second, third, 9_000, 0);
    for _ in 0..3 {
        let root = world.read_request(client, first, "/");
        let call = world.write_request(out, first, "/a");
        let request = world.read_request(into, second, "/a");
        let inner_call = world.write_request(further, second, "/b");
        let inner = world.read_request(last, third, "/b");
        world.answer(inner, third);
        assert!(world.find(inner).is_none(), "its trace is not known before the root is answered");
        world.read_response(inner_call, second);
        world.answer(request, second);
        world.read_response(call, first);
        world.answer(root, first);
        world.pass(SECOND);
        world.assert_root(root);
        world.assert_child(call, root, Evidence::BothSides);
        world.assert_child(request, call, Evidence::Connection);
        world.assert_child(inner_call, request, Evidence::BothSides);
        world.assert_child(inner, inner_call, Evidence::Connection);
    }
    assert_eq!(world.spans.len(), 15);
    assert_eq!(world.tracer.counters().waiting, 0);
}

#[test]
fn closed_connections_leave_nothing_behind() {
    let mut world = World::new();
    let (client, server) = (thread(1, 0), thread(2, 0));
    for number in 0..50 {
        let (out, into) = world.open_both(client, server, number * 3_000, 0);
        let call = world.write_request(out, client, "/");
        let request = world.read_request(into, server, "/");
        world.answer(request, server);
        world.close(into);
        world.read_response(call, client);
        world.close(out);
        let lonely = world.open(server);
        let request = world.read_request(lonely, server, "/");
        world.close(lonely);
        world.answer(request, server);
    }
    world.pass(5 * SECOND);
    assert_eq!(world.spans.len(), 150);
    assert_eq!(world.tracer.counters().connections, 0);
    assert_eq!(world.tracer.counters().exchanges, 0);
    assert_eq!(world.tracer.joins.registered(), 0);
}
