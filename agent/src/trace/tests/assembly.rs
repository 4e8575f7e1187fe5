//! Waiting spans: their limits, parents that are found too late, and the end of the run.

use super::{
    scenario::agree,
    world::{Exchange, SECOND, UNIX_OFFSET, World, complete, get, ok, thread},
};
use crate::{
    protocol::http::RequestHead,
    trace::{
        Settings,
        span::{Evidence, Link},
    },
};

/// A request whose call is over but that is not answered yet.
fn unanswered(world: &mut World) -> (Exchange, Exchange) {
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request(client, own, "/");
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    (request, call)
}

#[test]
fn a_call_waits_for_the_response_to_its_request() {
    let mut world = World::new();
    let (request, call) = unanswered(&mut world);
    world.pass(29 * SECOND);
    assert!(world.find(call).is_none());
    world.answer(request, thread(1, 0));
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
    assert_eq!(world.tracer.counters().expired_wait, 0);
}

/// A long poll, in a process whose request sides are trusted. Its calls are exported while it is
/// open.
#[test]
fn a_call_of_a_trusted_process_waits_for_no_response() {
    let mut world = World::new();
    let own = thread(1, 0);
    agree(&mut world, 1_000);
    let (request, call) = unanswered(&mut world);
    world.pass(SECOND);
    let parent = world.span(call).parent.unwrap();
    assert_eq!((parent.span, parent.evidence), (world.id(request), Evidence::RequestSide));
    assert!(world.find(request).is_none());
    world.pass(60 * SECOND);
    world.answer(request, own);
    world.pass(SECOND);
    world.assert_root(request);
    assert_eq!(world.tracer.counters().expired_wait, 0);
}

#[test]
fn a_parent_found_after_the_wait_is_a_link_on_the_later_span() {
    let mut world = World::new();
    let (request, call) = unanswered(&mut world);
    world.pass(31 * SECOND);
    world.assert_root(call);
    assert!(world.span(call).parent_unknown);
    assert_eq!(world.tracer.counters().expired_wait, 1);
    assert_eq!(world.tracer.counters().waiting, 0);

    world.answer(request, thread(1, 0));
    world.assert_root(request);
    let link =
        Link { trace: world.span(call).trace, span: world.span(call).id, evidence: Evidence::BothSides };
    assert_eq!(world.span(request).links, [link]);
    assert_eq!(world.tracer.counters().late_links, 1);
}

#[test]
fn an_open_span_at_the_top_of_an_expired_chain_is_linked_when_its_parent_is_found() {
    let mut world = World::new();
    let (own, server) = (thread(1, 0), thread(2, 0));
    let client = world.open(own);
    let (out, into) = world.open_both(own, server, 1_000, 0);
    let outer = world.read_request(client, own, "/");
    let call = world.write_request(out, own, "/");
    let request = world.read_request(into, server, "/");
    world.answer(request, server);
    world.respond(call, own, ok());
    // The request at the other end waits for the call, whose response is still being read.
    world.pass(31 * SECOND);
    assert!(world.find(call).is_none());
    let trace = world.span(request).trace;
    assert_eq!(world.span(request).parent.map(|parent| parent.evidence), Some(Evidence::Connection));
    world.answer(outer, own);
    world.end(call, complete());
    let call = world.span(call);
    assert_eq!((call.trace, call.parent, call.parent_unknown), (trace, None, true));
    let outer = world.span(outer);
    assert_eq!(call.links, [Link { trace: outer.trace, span: outer.id, evidence: Evidence::BothSides }]);
    assert!(outer.links.is_empty());
}

#[test]
fn the_number_of_waiting_spans_is_bounded() {
    let mut world = World::with(Settings { waiting_spans: 3, ..Settings::default() });
    let open: Vec<_> = (0..5).map(|_| unanswered(&mut world)).collect();
    assert_eq!(world.tracer.counters().waiting, 3);
    assert_eq!(world.tracer.counters().expired_limit, 2);
    for (_, call) in &open[..2] {
        assert!(world.span(*call).parent_unknown);
    }
    for (_, call) in &open[2..] {
        assert!(world.find(*call).is_none());
    }
}

#[test]
fn shutdown_exports_waiting_spans_and_those_that_end_later() {
    let mut world = World::new();
    let (request, call) = unanswered(&mut world);
    let own = thread(2, 0);
    let context = "00-0102030405060708090a0b0c0d0e0f10-a1a2a3a4a5a6a7a8-01".to_owned();
    let client = world.open(own);
    let head = RequestHead { traceparent: Some(context.into()), ..get("/") };
    let continued = world.read_request_head(client, own, head);
    world.answer(continued, own);
    world.shutdown();
    assert!(world.span(call).parent_unknown);
    assert!(!world.span(continued).parent_unknown, "its header needs no waiting");
    assert_eq!(world.span(continued).parent.map(|parent| parent.remote), Some(true));
    assert_eq!(world.tracer.counters().expired_shutdown, 1);
    world.end(request, super::world::ended(crate::protocol::Outcome::Unfinished));
    assert_eq!(world.span(request).incomplete, ["unfinished"]);
    assert_eq!(world.tracer.counters().exchanges, 0);
    assert_eq!(world.tracer.counters().waiting, 0);
}

#[test]
fn times_are_wall_clock_times() {
    let mut world = World::new();
    let own = thread(1, 0);
    let backend = world.open(own);
    let call = world.write_request(backend, own, "/");
    let start = world.now;
    world.pass(SECOND);
    world.respond(call, own, ok());
    let first = world.now;
    world.pass(SECOND);
    world.end(call, complete());
    let span = world.span(call);
    assert_eq!(span.start, UNIX_OFFSET + start);
    assert_eq!(span.first_response_byte, Some(UNIX_OFFSET + first));
    assert_eq!(span.end, UNIX_OFFSET + first + SECOND);
    assert_eq!(span.thread_id, own.tid);
}
