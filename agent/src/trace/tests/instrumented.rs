//! Programs that export their own spans.

use super::world::{Exchange, SECOND, World, get, thread};
use crate::{
    protocol::http::RequestHead,
    trace::{Instrumented, Settings, span::Evidence},
};

fn world(instrumented: Instrumented) -> World {
    World::with(Settings { instrumented, open_notice: None, ..Settings::default() })
}

fn post(target: &str) -> RequestHead<'static> {
    RequestHead { method: "POST".into(), ..get(target) }
}

/// A process sends its traces to a collector.
fn export(world: &mut World, pid: u32) -> Exchange {
    let own = thread(pid, 9);
    let connection = world.open(own);
    let call = world.write_request_head(connection, own, post("/otlp/v1/traces?x"));
    world.read_response(call, own);
    call
}

/// A call of process 1 that process 2 receives.
fn talk(world: &mut World) -> (Exchange, Exchange) {
    let (client, server) = (thread(1, 0), thread(2, 0));
    let (one, two) = world.open_both(client, server, 7_000, 0);
    let call = world.write_request(one, client, "/");
    let request = world.read_request(two, server, "/");
    world.answer(request, server);
    world.read_response(call, client);
    (call, request)
}

#[test]
fn spans_of_a_program_that_exports_its_own_are_left_out() {
    let mut world = world(Instrumented::Skip);
    let exported = export(&mut world, 1);
    let (call, request) = talk(&mut world);
    world.pass(SECOND);
    world.shutdown();
    assert!(world.find(exported).is_none() && world.find(call).is_none());
    // The called process refers to no span that nobody exports.
    world.assert_root(request);
    assert_eq!(world.tracer.counters().left_out, 2);
    assert_eq!(world.spans.len(), 1);
}

#[test]
fn they_are_exported_if_configured() {
    let mut world = world(Instrumented::Join);
    export(&mut world, 1);
    let (call, request) = talk(&mut world);
    world.pass(SECOND);
    world.shutdown();
    world.assert_child(request, call, Evidence::Connection);
    assert_eq!(world.tracer.counters().left_out, 0);
}

#[test]
fn a_collector_or_proxy_is_not_instrumented() {
    let mut world = world(Instrumented::Skip);
    let relay = thread(1, 0);
    let connection = world.open(relay);
    let received = world.read_request_head(connection, relay, post("/v1/traces"));
    let sent = export(&mut world, 1);
    world.answer(received, relay);
    world.pass(SECOND);
    assert!(world.find(sent).is_some());
}

#[test]
fn exporting_over_grpc_counts_until_exec() {
    let mut world = world(Instrumented::Skip);
    world.tracer.exports_by_grpc(1);
    let (call, _) = talk(&mut world);
    world.pass(SECOND);
    assert!(world.find(call).is_none());
    world.exec(1, "/bin/other");
    let (call, request) = talk(&mut world);
    world.pass(SECOND);
    world.assert_child(request, call, Evidence::Connection);
}
