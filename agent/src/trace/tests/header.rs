//! What programs say themselves: `traceparent` and `tracestate`.

use super::world::{SECOND, World, get, thread};
use crate::{
    protocol::http::RequestHead,
    trace::span::{Evidence, Parent, SpanId, TraceId},
};

const CONTEXT: &str = "00-0102030405060708090a0b0c0d0e0f10-a1a2a3a4a5a6a7a8-00";
const TRACE: TraceId = TraceId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const SPAN: SpanId = SpanId([0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8]);

fn with_context(traceparent: &str) -> RequestHead<'static> {
    RequestHead {
        traceparent: Some(traceparent.to_owned().into()),
        tracestate: Some("vendor=1".into()),
        ..get("/")
    }
}

const REMOTE: Parent = Parent { span: SPAN, evidence: Evidence::Traceparent, remote: true };

#[test]
fn an_incoming_trace_context_is_continued() {
    let mut world = World::new();
    let own = thread(1, 0);
    let client = world.open(own);
    let request = world.read_request_head(client, own, with_context(CONTEXT));
    world.answer(request, own);
    world.pass(SECOND);
    let span = world.span(request);
    assert_eq!((span.trace, span.parent), (TRACE, Some(REMOTE)));
    assert_eq!((span.flags, &*span.trace_state), (0, "vendor=1"));
    assert_eq!(world.tracer.counters().parents_traceparent, 1);
}

#[test]
fn an_invalid_trace_context_is_not_continued() {
    let mut world = World::new();
    let own = thread(1, 0);
    let client = world.open(own);
    let request = world.read_request_head(client, own, with_context("00-nonsense"));
    world.answer(request, own);
    world.pass(SECOND);
    world.assert_root(request);
    assert_eq!(&*world.span(request).trace_state, "");
    assert_eq!(world.tracer.counters().invalid_traceparents, 1);
}

#[test]
fn a_call_inherits_the_context_of_its_request() {
    let mut world = World::new();
    let own = thread(1, 0);
    let (client, backend) = (world.open(own), world.open(own));
    let request = world.read_request_head(client, own, with_context(CONTEXT));
    let call = world.write_request(backend, own, "/");
    world.read_response(call, own);
    world.answer(request, own);
    world.pass(SECOND);
    world.assert_child(call, request, Evidence::BothSides);
    assert_eq!(world.span(call).trace, TRACE);
    assert_eq!(&*world.span(call).trace_state, "vendor=1");
}

#[test]
fn a_calls_own_context_wins_over_causality_and_at_the_receiver() {
    let mut world = World::new();
    let (own, server) = (thread(1, 0), thread(2, 0));
    let client = world.open(own);
    let (out, into) = world.open_both(own, server, 1_000, 0);
    let outer = world.read_request(client, own, "/");
    let call = world.write_request_head(out, own, with_context(CONTEXT));
    let request = world.read_request_head(into, server, with_context(CONTEXT));
    world.answer(request, server);
    world.read_response(call, own);
    world.answer(outer, own);
    world.pass(SECOND);
    world.assert_root(outer);
    assert_eq!((world.span(call).trace, world.span(call).parent), (TRACE, Some(REMOTE)));
    assert_eq!((world.span(request).trace, world.span(request).parent), (TRACE, Some(REMOTE)));
    assert!(world.spans.iter().all(|span| span.links.is_empty()));
}

#[test]
fn a_proxy_forwards_a_trace_context() {
    for receive_first in [false, true] {
        let mut world = World::new();
        let (proxy, server) = (thread(1, 0), thread(2, 0));
        let client = world.open(proxy);
        let (out, into) = world.open_both(proxy, server, 1_000, 0);
        for _ in 0..3 {
            let outer = world.read_request_head(client, proxy, with_context(CONTEXT));
            let (call, request) = if receive_first {
                let request = world.read_request_head(into, server, with_context(CONTEXT));
                (world.write_request_head(out, proxy, with_context(CONTEXT)), request)
            } else {
                let call = world.write_request_head(out, proxy, with_context(CONTEXT));
                (call, world.read_request_head(into, server, with_context(CONTEXT)))
            };
            world.answer(request, server);
            world.read_response(call, proxy);
            world.answer(outer, proxy);
            world.pass(SECOND);
            assert_eq!(world.span(outer).parent, Some(REMOTE));
            world.assert_child(call, outer, Evidence::Traceparent);
            world.assert_child(request, call, Evidence::Connection);
        }
        assert_eq!(world.tracer.counters().parents_traceparent_forwarded, 3);
    }
}

#[test]
fn a_context_that_two_open_requests_have_is_no_pass_through() {
    let mut world = World::new();
    let proxy = thread(1, 0);
    let (one, two, out) = (world.open(proxy), world.open(proxy), world.open(proxy));
    let first = world.read_request_head(one, proxy, with_context(CONTEXT));
    let second = world.read_request_head(two, proxy, with_context(CONTEXT));
    let call = world.write_request_head(out, proxy, with_context(CONTEXT));
    world.read_response(call, proxy);
    world.answer(first, proxy);
    world.answer(second, proxy);
    world.pass(SECOND);
    assert_eq!(world.span(call).parent, Some(REMOTE));
}

#[test]
fn a_context_of_a_closed_request_or_another_process_is_no_pass_through() {
    let mut world = World::new();
    let proxy = thread(1, 0);
    let (one, out, elsewhere) = (world.open(proxy), world.open(proxy), world.open(thread(2, 0)));
    let first = world.read_request_head(one, proxy, with_context(CONTEXT));
    world.answer(first, proxy);
    world.read_request_head(elsewhere, thread(2, 0), with_context(CONTEXT));
    let call = world.write_request_head(out, proxy, with_context(CONTEXT));
    world.read_response(call, proxy);
    assert_eq!(world.span(call).parent, Some(REMOTE));
}
