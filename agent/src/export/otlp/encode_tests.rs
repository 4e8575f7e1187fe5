//! Holds the encoder's bytes against those that opentelemetry-proto's own types make of the same spans: for the samples, for
//! lengths around every border of a varint, and for random spans in batches.

use std::{
    iter,
    net::{IpAddr, SocketAddr},
    slice,
    sync::Arc,
};

use proptest::{collection, option, prelude::*, sample};
use prost::Message as _;

use super::{Encoder, convert::Converter};
use crate::{
    event::{Endpoint, FIRST_VIRTUAL_PID, ProcessFacts},
    export::HostResource,
    pipeline::samples,
    trace::{
        http::{Http, Text},
        operation::{Kind, Operation},
        span::{Evidence, Link, Parent, Span, SpanEvent, SpanId, SpanKind, Status, TraceId},
    },
};

/// Lengths at which a varint, or a length that contains it, gets one more byte.
const BORDERS: [usize; 5] = [0, 127, 128, 16_383, 16_384];

fn host() -> HostResource {
    HostResource { name: Some("node".into()), id: None, attributes: vec![("team".into(), "a".into())] }
}

fn traced(span: Span) -> SpanEvent {
    SpanEvent::Span(Box::new(span))
}

/// What is written must be, byte by byte, what opentelemetry-proto's own types make of the same spans.
fn assert_same(entries: &[SpanEvent]) {
    let (written, count) = Encoder::new(host()).request(entries.iter());
    let expected = Converter::new(host()).request(entries.iter());
    assert!(written == expected.encode_to_vec(), "not the bytes of {expected:?}");
    let spans = expected.resource_spans.iter().flat_map(|all| &all.scope_spans);
    assert_eq!(spans.map(|scope| scope.spans.len() as u64).sum::<u64>(), count);
}

#[test]
fn requests_are_those_of_opentelemetry_proto() {
    let all: Vec<_> = samples::variety().into_iter().map(traced).collect();
    for one in &all {
        assert_same(slice::from_ref(one));
    }
    assert_same(&all);
    assert_same(&[samples::open()]);
    assert_same(&[]);
}

#[test]
fn an_encoder_can_be_used_again() {
    let mut encoder = Encoder::new(host());
    let entries = [traced(samples::client_span())];
    let first = encoder.request(entries.iter());
    assert_eq!(encoder.request(entries.iter()), first);
}

#[test]
fn texts_of_any_length() {
    for length in (0..200).chain(BORDERS) {
        let text = "x".repeat(length);
        let mut span = samples::client_span();
        let http = span.http.as_mut().unwrap();
        http.set(Text::Path, Some(&text));
        http.set(Text::UserAgent, Some(&text));
        http.request_headers = vec![("x".into(), text.as_str().into()), (text.as_str().into(), "x".into())];
        assert_same(&[traced(span.clone())]);
        span.name = text.clone().into();
        span.trace_state = text.as_str().into();
        span.error = Some(text);
        span.http = None;
        assert_same(&[traced(span)]);
    }
}

/// The span's own length passes the borders of a varint, byte by byte.
#[test]
fn spans_of_any_length() {
    let bare = || Span { name: "".into(), trace_state: Box::default(), ..samples::connect_span() };
    let shortest = Encoder::new(HostResource::default()).request([traced(bare())].iter()).0.len();
    for border in [1_024, 16_384, 2_097_152] {
        for length in border - shortest - 8..border - shortest + 500 {
            if border > 16_384 && length % 50 != 0 {
                continue;
            }
            let mut span = bare();
            span.trace_state = "x".repeat(length).into();
            assert_same(&[traced(span)]);
        }
    }
}

#[test]
fn batches_of_any_size() {
    for count in (1..60).chain([512, 2_500, 4_000]) {
        let batch: Vec<_> = iter::repeat_n(samples::server_span(), count).map(traced).collect();
        assert_same(&batch);
    }
}

/// Spans of several processes by turns are grouped, in the order in which the processes came.
#[test]
fn processes_by_turns() {
    let processes: Vec<_> = (1..4).map(process).collect();
    let batch: Vec<_> = (0..50)
        .map(|index: usize| {
            let process = Arc::clone(&processes[index * index % 3]);
            traced(Span { process, ..samples::server_span() })
        })
        .collect();
    assert_same(&batch);
}

#[test]
fn addresses_of_every_kind() {
    for octet in 0..=u8::MAX {
        for octets in [[octet, 0, 10, 255], [1, octet, octet, octet]] {
            assert_same(&[traced(between(IpAddr::from(octets)))]);
        }
    }
    for text in ["::", "::1", "::ffff:1.2.3.4", "::1.2.3.4", "fe80::1", "1:2:3:4:5:6:7:8", "1:0:0:2::3"] {
        assert_same(&[traced(between(text.parse().unwrap()))]);
    }
}

fn between(address: IpAddr) -> Span {
    let end = Some(SocketAddr::new(address, 80));
    let local = end.map(Endpoint::Inet);
    Span { local, peer: SocketAddr::new(address, 65_535).into(), http: None, ..samples::server_span() }
}

fn process(pid: u32) -> Arc<ProcessFacts> {
    Arc::new(ProcessFacts { pid, ..samples::facts() })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<String>(),
        4 => (0..300_usize).prop_map(|length| "x".repeat(length)),
        1 => sample::select(&BORDERS[..]).prop_map(|length| "x".repeat(length)),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    // Numbers of any size in bits, not nearly always the largest.
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let mapped = any::<([u8; 4], u16)>().prop_map(|(octets, port)| {
        SocketAddr::new(std::net::Ipv4Addr::from(octets).to_ipv6_mapped().into(), port)
    });
    prop_oneof![any::<SocketAddr>(), mapped]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    sample::select(
        &[
            Evidence::Traceparent,
            Evidence::Connection,
            Evidence::BothSides,
            Evidence::RequestSide,
            Evidence::ResponseSide,
            Evidence::Content,
            Evidence::Goroutine,
            Evidence::Task,
        ][..],
    )
}

fn parent() -> impl Strategy<Value = Parent> {
    (any::<[u8; 8]>(), evidence(), any::<bool>()).prop_map(|(span, evidence, remote)| Parent {
        span: SpanId(span),
        evidence,
        remote,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (any::<[u8; 16]>(), any::<[u8; 8]>(), evidence()).prop_map(|(trace, span, evidence)| Link {
        trace: TraceId(trace),
        span: SpanId(span),
        evidence,
    })
}

fn http() -> impl Strategy<Value = Http> {
    let words = (
        sample::select(&["", "GET", "POST", "_OTHER"][..]),
        sample::select(&["", "http", "https"][..]),
        sample::select(&["", "1.0", "1.1"][..]),
    );
    let texts = collection::vec(option::of(text()), 7);
    let ports = option::of(any::<u16>());
    let headers = collection::vec((sample::select(&["a", "b", "x-request-id"][..]), text()), 0..4);
    (
        words,
        texts,
        [ports.clone(), ports.clone(), ports],
        [option::of(number()), option::of(number())],
        headers,
    )
        .prop_map(
            |((method, scheme, version), texts, [status, server_port, client_port], sizes, headers)| {
                let mut http = Http {
                    method,
                    scheme,
                    status,
                    version,
                    server_port,
                    client_port,
                    request_headers: headers
                        .into_iter()
                        .map(|(name, value)| (name.into(), value.into()))
                        .collect(),
                    request_body_size: sizes[0],
                    response_body_size: sizes[1],
                    ..Http::default()
                };
                for (which, text) in Text::ALL.into_iter().zip(&texts) {
                    http.set(which, text.as_deref());
                }
                http
            },
        )
}

fn operation() -> impl Strategy<Value = Operation> {
    let texts = [option::of(text()), option::of(text()), option::of(text())];
    (sample::select(&Kind::ALL[..]), texts).prop_map(|(kind, texts)| {
        let [name, target, status] = texts.map(|text| text.map(Into::into));
        Operation { kind, system: "sample", name, target, status }
    })
}

fn span() -> impl Strategy<Value = Span> {
    let place = (any::<[u8; 16]>(), any::<[u8; 8]>(), option::of(parent()), collection::vec(link(), 0..3));
    let context = (any::<u8>(), text(), any::<[bool; 3]>());
    let said = (text(), option::of(text()), option::of(http()));
    let numbers = ([number(), number(), number()], option::of(number()), any::<u32>());
    let ends = (option::of(address()), address());
    let incomplete = sample::subsequence(vec!["gap", "truncated", "limit"], 0..=3);
    let processes = vec![process(1), process(2), process(FIRST_VIRTUAL_PID)];
    (place, context, said, numbers, ends, incomplete, sample::select(processes), option::of(operation()))
        .prop_map(|(place, context, said, numbers, ends, incomplete, process, operation)| Span {
            trace: TraceId(place.0),
            id: SpanId(place.1),
            parent: place.2,
            links: place.3,
            flags: context.0,
            trace_state: context.1.into(),
            kind: if context.2[0] { SpanKind::Server } else { SpanKind::Client },
            status: if context.2[1] { Status::Error } else { Status::Unset },
            parent_unknown: context.2[2],
            name: said.0.into(),
            error: said.1,
            operation: operation.filter(|_| said.2.is_none()).map(Box::new),
            http: said.2,
            start: numbers.0[0],
            end: numbers.0[1],
            missing_bytes: numbers.0[2],
            first_response_byte: numbers.1,
            thread_id: numbers.2,
            local: ends.0.map(Endpoint::Inet),
            peer: ends.1.into(),
            incomplete,
            process,
        })
}

proptest! {
    #[test]
    fn any_span_in_any_batch(batch in collection::vec(span(), 0..6)) {
        let batch: Vec<_> = batch.into_iter().map(traced).collect();
        assert_same(&batch);
    }
}
