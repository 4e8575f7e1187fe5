//! Connections with both ends on this host.

use super::world::{MILLISECOND, SECOND, World, thread};
use crate::{
    event::{ConnectionId, Earlier, Thread},
    trace::span::Evidence,
};

const CLIENT: Thread = Thread { pid: 1, tid: 1_000 };
const SERVER: Thread = Thread { pid: 2, tid: 2_000 };

/// Two ends of a multiplexed connection whose streams begin at these sequence numbers. So many bytes had moved before each end
/// was first observed.
fn multiplexed(
    world: &mut World,
    [sent, received]: [u32; 2],
    before: [[u64; 2]; 2],
) -> (ConnectionId, ConnectionId) {
    world.multiplexed = true;
    let mut end = |thread, start: [u32; 2], before: [u64; 2]| {
        let id = ConnectionId(world.pipes.keys().last().map_or(1, |last| last.0 + 1));
        let sequence = [0, 1].map(|index| start[index].wrapping_add(before[index] as u32));
        let earlier = before.map(|bytes| if bytes == 0 { Earlier::Nothing } else { Earlier::Bytes(bytes) });
        world.meet_later(id, thread, sequence, earlier);
        id
    };
    (end(CLIENT, [sent, received], before[0]), end(SERVER, [received, sent], before[1]))
}

/// A message that no end has observed moves the positions of both: 100 bytes.
fn exchange(world: &mut World, (out, into): (ConnectionId, ConnectionId), linked: bool) {
    let call = world.write_request(out, CLIENT, "/");
    let request = world.read_request(into, SERVER, "/");
    world.answer(request, SERVER);
    world.read_response(call, CLIENT);
    world.pass(SECOND);
    match linked {
        true => world.assert_child(request, call, Evidence::Connection),
        false => world.assert_root(request),
    }
    world.assert_root(call);
}

/// The other direction may stand anywhere when a request begins, and either end may begin exchanges.
#[test]
fn multiplexed_connections_are_joined_by_where_their_streams_begin() {
    for start in [[1_000, 77], [u32::MAX, u32::MAX - 1]] {
        for before in [[[0; 2]; 2], [[500, 7_000]; 2], [[0, 30], [30, 0]]] {
            let mut world = World::new();
            let ends = multiplexed(&mut world, start, before);
            // What was observed of one end alone is the difference of the counts before.
            let linked = before[0][0] == before[1][1] && before[0][1] == before[1][0];
            if linked {
                for _ in 0..3 {
                    exchange(&mut world, ends, true);
                }
                let push = world.write_request(ends.1, SERVER, "/push");
                let pushed = world.read_request(ends.0, CLIENT, "/push");
                world.answer(pushed, CLIENT);
                world.read_response(push, SERVER);
                world.pass(SECOND);
                world.assert_child(pushed, push, Evidence::Connection);
            } else {
                exchange(&mut world, ends, false);
            }
            assert_eq!(world.tracer.counters().connections_joined, 1, "{before:?}");
        }
    }
}

/// Its first requests had passed before the server's end was observed.
#[test]
fn an_end_that_is_observed_later_is_joined_at_the_right_position() {
    let mut world = World::new();
    world.multiplexed = true;
    world.meet_later(ConnectionId(1), CLIENT, [1_000, 77], [Earlier::Nothing; 2]);
    for _ in 0..3 {
        let call = world.write_request(ConnectionId(1), CLIENT, "/");
        world.read_response(call, CLIENT);
    }
    let before = [Earlier::Bytes(300); 2];
    world.meet_later(ConnectionId(2), SERVER, [377, 1_300], before);
    for _ in 0..3 {
        exchange(&mut world, (ConnectionId(1), ConnectionId(2)), true);
    }
}

/// The same addresses at both ends, as in two network namespaces or after a port was used again.
#[test]
fn the_same_addresses_do_not_join_multiplexed_connections() {
    let mut world = World::new();
    let ends: Vec<_> =
        (0..5_u32).map(|number| multiplexed(&mut world, [number * 9, 7], [[0; 2]; 2])).collect();
    for ends in ends.iter().rev() {
        exchange(&mut world, *ends, true);
    }
    let counters = world.tracer.counters();
    assert_eq!((counters.connections_joined, counters.parents_connection), (5, 5));
    let mut world = World::new();
    let (out, _) = multiplexed(&mut world, [1, 2], [[0; 2]; 2]);
    let (_, into) = multiplexed(&mut world, [1, 3], [[0; 2]; 2]);
    exchange(&mut world, (out, into), false);
}

/// Nobody can tell which of two connections with the same numbers it is.
#[test]
fn the_same_numbers_twice_join_nothing() {
    let mut world = World::new();
    let (one, into) = multiplexed(&mut world, [1_000, 77], [[0; 2]; 2]);
    let (two, _) = multiplexed(&mut world, [1_000, 77], [[0; 2]; 2]);
    let calls = [one, two].map(|out| world.write_request(out, CLIENT, "/"));
    let request = world.read_request(into, SERVER, "/");
    world.answer(request, SERVER);
    calls.into_iter().for_each(|call| world.read_response(call, CLIENT));
    world.pass(SECOND);
    world.assert_root(request);
    assert_eq!(world.tracer.counters().connections_joined, 0);
}

/// A socket that is connected to itself, and an end of which TCP does not know where its streams began.
#[test]
fn what_has_no_other_end_is_not_joined() {
    let mut world = World::new();
    let (own, _) = multiplexed(&mut world, [1_000, 1_000], [[0; 2]; 2]);
    exchange(&mut world, (own, own), false);
    assert_eq!(world.tracer.counters().connections_joined, 0);
    let mut world = World::new();
    let (out, _) = multiplexed(&mut world, [1_000, 77], [[0; 2]; 2]);
    let into = ConnectionId(9);
    world.meet_later(into, SERVER, [77, 1_000], [Earlier::Unknown, Earlier::Nothing]);
    exchange(&mut world, (out, into), false);
    assert_eq!(world.tracer.counters().connections_joined, 0);
}

#[test]
fn a_redirected_multiplexed_connection_is_not_joined() {
    let mut world = World::new();
    let ends = multiplexed(&mut world, [1_000, 77], [[0; 2]; 2]);
    world.redirect(ends.0);
    exchange(&mut world, ends, false);
    assert_eq!(world.tracer.counters().connections_joined, 0);
}

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
