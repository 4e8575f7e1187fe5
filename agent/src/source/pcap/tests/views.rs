//! Whose spans are made, and what they say of who acted.

use super::{
    View, options, run,
    talk::{Client, Server, Talk, request, response},
};
use crate::trace::span::{Evidence, SpanKind};

fn two_requests() -> Talk {
    Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).bye()
}

#[test]
fn one_span_for_each_request_from_either_view() {
    for (view, kind) in [(View::Client, "client"), (View::Server, "server")] {
        let outcome = run(&two_requests().file(), &options(view));
        assert_eq!(outcome.lines(), [format!("{kind} GET /a 200 0/5"), format!("{kind} GET /b 200 0/6")]);
        assert!(outcome.spans.iter().all(|span| span.parent.is_none() && !span.parent_unknown));
    }
}

#[test]
fn both_ends_are_joined() {
    for talk in [two_requests(), {
        let mut late = two_requests();
        late.packets.drain(..3);
        late
    }] {
        let outcome = run(&talk.file(), &options(View::Both));
        assert_eq!(outcome.spans.len(), 4);
        for server in outcome.spans.iter().filter(|span| span.kind == SpanKind::Server) {
            let parent = server.parent.unwrap();
            assert_eq!(parent.evidence, Evidence::Connection);
            let client = outcome.spans.iter().find(|span| span.id == parent.span).unwrap();
            assert_eq!((client.kind, client.trace), (SpanKind::Client, server.trace));
            assert_eq!(client.http.as_ref().unwrap().path(), server.http.as_ref().unwrap().path());
            assert_eq!(client.local.as_ref(), Some(&server.peer));
            assert_eq!(Some(&client.peer), server.local.as_ref());
        }
    }
}

#[test]
fn a_context_on_the_wire_is_the_parent_and_no_other_is_inferred() {
    let carried = b"GET /a HTTP/1.1\r\nHost: h\r\ntraceparent: \
                    00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    // A program in the middle takes a request in and passes it on with the same context.
    let (front, middle, back) = ("10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3");
    let inner = Talk::between("10.0.0.2:9".parse().unwrap(), back.parse().unwrap(), [5, 6])
        .later(1_000)
        .handshake()
        .say(Client, carried)
        .say(Server, &response(200, 1));
    let outer = Talk::between(front.parse().unwrap(), middle.parse().unwrap(), [7, 8])
        .handshake()
        .say(Client, carried)
        .then(inner)
        .later(10_000)
        .say(Server, &response(200, 2));
    let outcome = run(&outer.file(), &options(View::Both));
    assert_eq!(outcome.spans.len(), 4);
    for span in &outcome.spans {
        let parent = span.parent.unwrap();
        assert_eq!((parent.evidence, parent.remote), (Evidence::Traceparent, true));
        assert_eq!(parent.span.0, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    }
}

#[test]
fn ids_are_those_of_the_capture() {
    let ids = |talk: &Talk| -> Vec<_> {
        run(&talk.file(), &options(View::Both)).spans.iter().map(|span| (span.trace, span.id)).collect()
    };
    let first = ids(&two_requests());
    assert_eq!(first, ids(&two_requests()));
    let mut sorted = first.clone();
    sorted.sort();
    sorted.dedup_by_key(|(_, id)| *id);
    assert_eq!(sorted.len(), 4);
    let other = Talk::new().again([55, 66]).handshake().exchange("/a", 5).exchange("/b", 6);
    assert!(ids(&other).iter().all(|id| !first.contains(id)));
}

#[test]
fn times_are_those_of_the_packets() {
    let outcome = run(&two_requests().file(), &options(View::Client));
    // Three packets of the handshake, 100 µs apart, then the request.
    let span = &outcome.spans[0];
    assert_eq!(span.start, 1_700_000_000_000_400_000);
    assert_eq!(span.end - span.start, 100_000);
}

#[test]
fn nobody_is_said_to_have_acted() {
    let outcome = run(&two_requests().file(), &options(View::Both));
    for span in &outcome.spans {
        assert!(span.process.is_virtual());
        assert_eq!(&*span.process.service_name, "unknown_service");
    }
    let named = super::Options { service_name: "shop".into(), ..options(View::Client) };
    let outcome = run(&two_requests().file(), &named);
    assert_eq!(&*outcome.spans[0].process.service_name, "shop");
}

#[test]
fn views_have_names() {
    for view in [View::Client, View::Server, View::Both] {
        assert_eq!(view.to_string().parse(), Ok(view));
    }
    assert!("Client".parse::<View>().is_err());
}

#[test]
fn pipelined_requests_are_paired_by_order() {
    let all = [request("/a"), request("/b"), request("/c")].concat();
    let replies = [response(200, 1), response(404, 2), response(500, 3)].concat();
    let talk = Talk::new().handshake().say_cut(Client, &all, 50).say_cut(Server, &replies, 30).bye();
    let outcome = run(&talk.file(), &options(View::Client));
    assert_eq!(
        outcome.lines(),
        ["client GET /a 200 0/1", "client GET /b 404 0/2 404", "client GET /c 500 0/3 500"]
    );
}
